"""The queue: everything is shown, blindly mixed, and the same again after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.decisions import DecisionLog, Replay, decide
from labelfix.errors import InputError
from labelfix.review.order import Adaptive
from labelfix.review.queue import (
    Queue,
    Settings,
    Shown,
    change_settings,
    read_settings,
    write_settings,
)

if TYPE_CHECKING:
    from pathlib import Path

PRINT = "fingerprint"
PLAIN = Settings(audit=0, audit_least=0, repeats=0, adaptive=False)


def some_issues(count: int, seed: int = 0, pairs: int = 3) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    names = [f"class {number}" for number in range(pairs)]
    return pl.DataFrame(
        {
            "rank": range(1, count + 1),
            "item_id": [f"{number:05d}.png" for number in random.permutation(count)],
            "kind": ["mislabeled"] * count,
            "quality": np.sort(random.random(count)),
            "given_label": random.choice(names, count),
            "suggested_label": random.choice(names, count),
        }
    ).with_columns(annotation_id="item_id")


def say(queue: Queue, shown: Shown, action: Any = "keep", who: str = "ann", **more: Any) -> None:
    more.setdefault("source", shown.source)
    one = decide(shown.issue, action, reviewer=who, fingerprint=PRINT, **more)
    assert queue.replay.extend([one]) == [""]


def review(queue: Queue, count: int, who: str = "ann") -> list[tuple[int, str]]:
    """Go through the queue; every third is an error."""
    shown: list[tuple[int, str]] = []
    for _ in range(count):
        for one in queue.next(who):
            shown.append((one.row, one.source))
            say(queue, one, "accept" if one.row % 3 == 0 else "keep", who)
    return shown


def test_without_mixing_the_queue_is_the_ranking() -> None:
    queue = Queue(some_issues(30), Replay(), PLAIN)
    assert [row for row, _ in review(queue, 40)] == list(range(30))
    assert queue.next("ann") == []


def test_an_empty_queue_is_empty() -> None:
    assert Queue(some_issues(0), Replay()).next("ann") == []


@settings(max_examples=20)
@given(st.integers(1, 150), st.integers(0, 99), st.booleans())
def test_everything_is_shown_once_and_repeats_once_more(
    count: int, seed: int, adaptive: bool
) -> None:
    chosen = Settings(seed=seed, repeats=0.2, repeat_after=5, adaptive=adaptive)
    shown = review(Queue(some_issues(count, seed), Replay(), chosen), 2 * count)
    assert sorted(row for row, source in shown if source == "review") == list(range(count))
    again = [row for row, source in shown if source == "repeat"]
    assert len(set(again)) == len(again)


@settings(max_examples=15)
@given(st.integers(0, 2**62), st.integers(1, 90))
def test_a_restart_at_any_time_changes_nothing(seed: int, stop: int) -> None:
    issues = some_issues(100)
    chosen = Settings(seed=seed, repeats=0.1, repeat_after=5)
    whole = Queue(issues, Replay(), chosen)
    expected = review(whole, 100)
    first = Queue(issues, Replay(), chosen)
    begun = review(first, stop)
    assert begun + review(Queue(issues, first.replay, chosen), 100 - stop) == expected


def test_undo_brings_the_issue_back_to_where_it_was(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log", PRINT)
    queue = Queue(some_issues(200), log.replay, Settings(repeats=0.1, repeat_after=5))
    for _ in range(40):
        before = queue.next("ann")[0]
        log.append(
            decide(before.issue, "keep", reviewer="ann", fingerprint=PRINT, source=before.source)
        )
        after = queue.next("ann")[0]
        assert after != before
        log.undo("ann")
        assert queue.next("ann")[0].issue == before.issue
        log.redo("ann")
        assert queue.next("ann")[0] == after


def test_the_audit_slice_is_uniform_and_does_not_depend_on_the_ranking() -> None:
    count, size = 400, 50
    hits = np.zeros(count)
    for seed in range(300):
        rows = Queue(some_issues(count), Replay(), Settings(seed=seed)).audit_rows
        assert len(set(rows.tolist())) == size
        hits[rows] += 1
    expected = 300 * size / count
    assert abs(hits[:200].sum() / 200 - expected) < 0.1 * expected, "no end of it is preferred"
    assert hits.max() < 3 * expected
    chi_square = ((hits - expected) ** 2 / expected).sum() / (1 - size / count)
    assert 280 < chi_square < 540, "degrees of freedom 399: within 4 to 5 standard deviations"
    issues = some_issues(count)
    names = issues["item_id"].gather(Queue(issues, Replay()).audit_rows)
    other = issues.reverse()
    assert other["item_id"].gather(Queue(other, Replay()).audit_rows).equals(names)


def test_the_audit_slice_has_the_size_that_is_asked_for() -> None:
    sizes = [len(Queue(some_issues(n), Replay()).audit_rows) for n in (10, 400, 2000)]
    assert sizes == [10, 50, 100]


def test_the_audit_slice_is_mixed_in_at_its_rate_until_it_is_used_up() -> None:
    queue = Queue(some_issues(2000), Replay(), Settings(repeats=0, audit_rate=0.2, adaptive=False))
    slice_ = set(queue.audit_rows.tolist())
    shown = [row for row, _ in review(queue, 800)]
    early = [row for row in shown[:300] if row > 400]
    assert slice_ >= set(early), "so far from the top, only the slice"
    assert 30 < len(early) < 75
    assert slice_ <= set(shown)


def test_repeats_come_later_to_those_who_decided_and_at_their_rate() -> None:
    queue = Queue(some_issues(1500), Replay(), Settings(repeats=0.1, repeat_after=20))
    shown = review(queue, 1200)
    at = {row: number for number, (row, source) in enumerate(shown) if source == "review"}
    waits = [n - at[row] for n, (row, source) in enumerate(shown) if source == "repeat"]
    assert 0.06 < len(waits) / len(shown) < 0.14
    assert min(waits) >= 20
    assert max(waits) < 60
    assert len(set(waits)) > 10
    assert queue.next("bob")[0].source == "review"


def test_two_reviewers_share_the_work_unless_told_to_be_independent() -> None:
    shared = Queue(some_issues(20), Replay(), PLAIN)
    assert [row for row, _ in review(shared, 5, "ann")] == [0, 1, 2, 3, 4]
    assert shared.next("bob")[0].row == 5
    assert shared.next("bob", exclude=[shared.table["issue"][5]])[0].row == 6
    alone = Queue(some_issues(20), shared.replay, Settings(**_plain(), independent=True))
    assert alone.next("bob")[0].row == 0


def _plain() -> dict[str, Any]:
    return {"audit": 0, "audit_least": 0, "repeats": 0, "adaptive": False}


def test_what_is_skipped_comes_last_and_what_is_flagged_goes_to_others() -> None:
    queue = Queue(some_issues(4), Replay(), PLAIN)
    say(queue, queue.next("ann")[0], "skip")
    say(queue, queue.next("ann")[0], "flag")
    assert [one.row for one in queue.next("ann", 9)] == [2, 3, 0]
    assert [one.row for one in queue.next("bob", 9)] == [0, 1, 2, 3]
    assert queue.state.tolist() == [1, 2, 0, 0]


def test_looking_ahead_shows_what_will_come() -> None:
    queue = Queue(some_issues(300), Replay(), Settings(adaptive=False, repeats=0))
    ahead = [one.row for one in queue.next("ann", 40)]
    assert [row for row, _ in review(queue, 40)] == ahead


def test_a_grid_has_open_issues_of_one_kind_and_pair() -> None:
    queue = Queue(some_issues(200), Replay(), PLAIN)
    first = queue.next("ann")[0]
    grid = queue.similar("ann", first.row, 10)
    assert grid[0] == first
    assert len(grid) == 10
    names = ("kind", "given_label", "suggested_label")
    assert {tuple(one.issue[name] for name in names) for one in grid} == {
        tuple(first.issue[name] for name in names)
    }
    for one in grid:
        say(queue, one, batch="grid")
    assert not {one.row for one in queue.similar("ann", first.row)} & {one.row for one in grid}


def test_decisions_move_what_is_alike() -> None:
    issues = some_issues(400)
    queue = Queue(issues, Replay(), Settings(audit=0, audit_least=0, repeats=0))
    wrong = (issues["given_label"] == "class 1").to_numpy()
    for _ in range(60):
        one = queue.next("ann")[0]
        say(queue, one, "accept" if wrong[one.row] else "keep")
    assert wrong[[one.row for one in queue.next("ann", 20)]].all()


def test_the_order_learns_nothing_from_the_audit_slice() -> None:
    queue = Queue(some_issues(300), Replay(), Settings(audit=0.3))
    for row in queue.audit_rows[:40]:
        say(queue, Shown(int(row), queue.table.row(int(row), named=True), "review"), "accept")
    assert queue.suspicion.tolist() == list(range(0, -300, -1))


def test_with_nothing_in_common_learning_keeps_the_order_of_quality() -> None:
    quality = np.sort(np.random.default_rng(0).random(200))
    groups = [np.zeros(200, np.int64)]
    rows = np.arange(50)
    learned = Adaptive().learn(quality, groups, rows, np.arange(50) < 25)
    assert (np.diff(learned.log_odds) <= 0).all()


def test_learning_expects_as_many_errors_as_there_are() -> None:
    """An oracle: with much data, shifts make expected and observed errors equal by group."""
    random = np.random.default_rng(1)
    quality, group = random.random(20_000), random.integers(0, 4, 20_000)
    wrong = random.random(20_000) < np.array([0.1, 0.3, 0.6, 0.9])[group]
    learned = Adaptive().learn(quality, [group], np.arange(20_000), wrong)
    chance = 1 / (1 + np.exp(-learned.log_odds))
    for one in range(4):
        mine = group == one
        assert chance[mine].mean() == pytest.approx(wrong[mine].mean(), abs=0.03)


def test_settings_survive_their_file_and_bad_ones_are_refused(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()
    chosen = Settings(seed=7, audit=0.2, order=Adaptive(shrinkage=2))
    write_settings(tmp_path, chosen)
    assert read_settings(tmp_path) == chosen
    with pytest.raises(InputError, match="3 problems"):
        Settings(audit=2, repeats=-1, order=Adaptive(shrinkage=0))
    (tmp_path / "review.json").write_text('{"audit": 7, "colour": "red"}')
    with pytest.raises(InputError, match="settings of a queue"):
        read_settings(tmp_path)


def test_the_audit_slice_stays_once_anything_was_decided(tmp_path: Path) -> None:
    chosen = change_settings(tmp_path, audit=0.2, repeats=0.1, adaptive=False)
    assert chosen == read_settings(tmp_path) == Settings(audit=0.2, repeats=0.1, adaptive=False)
    with pytest.raises(InputError, match="share from 0 to 1"):
        change_settings(tmp_path, audit=3)
    (tmp_path / "decisions.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="after the first decision"):
        change_settings(tmp_path, audit=0.3, adaptive=True)
    assert read_settings(tmp_path) == chosen
    assert change_settings(tmp_path, audit=0.2, adaptive=True).adaptive


def test_a_hundred_thousand_issues_open_as_fast_as_a_few_sorts_of_them() -> None:
    """In the ratio to sorting their ids, since machines differ."""
    issues = some_issues(100_000)
    names = issues["item_id"].to_list()
    ratios = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(4):
            sorted(names)
        middle = time.process_time()
        assert Queue(issues, Replay()).next("ann")
        ratios.append((time.process_time() - middle) / (middle - start))
    assert min(ratios) < 8
