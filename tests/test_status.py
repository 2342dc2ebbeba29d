"""Status: what it counts, what it may conclude, and how the command line tells it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from labelfix.cli import main
from labelfix.decisions import Mark, Replay, State, decide, new_decision, read_log
from labelfix.review.order import Adaptive
from labelfix.review.queue import Queue, Settings, Shown, open_queue
from labelfix.review.status import estimate_errors, status
from labelfix.run import open_run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PRINT = "fingerprint"


def some_issues(count: int) -> pl.DataFrame:
    names = [f"{number:05d}.png" for number in range(count)]
    return pl.DataFrame(
        {
            "item_id": names,
            "annotation_id": names,
            "kind": ["mislabeled"] * count,
            "quality": np.linspace(0.01, 0.99, count),
            "given_label": ["cat"] * count,
            "suggested_label": ["dog"] * count,
        }
    )


def say(queue: Queue, row: int, action: Any = "keep", who: str = "ann", **more: Any) -> None:
    issue = queue.table.row(row, named=True)
    one = decide(issue, action, reviewer=who, fingerprint=PRINT, **more)
    assert queue.replay.extend([one]) == [""]


def a_queue(count: int = 10, **chosen: Any) -> Queue:
    return Queue(some_issues(count), Replay(), Settings(**chosen))


# Counting


def test_what_is_done_left_and_found_is_counted() -> None:
    queue = a_queue(10)
    for row, action in enumerate(["accept", "accept", "keep", "skip", "flag"]):
        say(queue, row, action, seconds=row + 1.0)
    new = new_decision(
        "add_box",
        reviewer="ann",
        fingerprint=PRINT,
        item_id="00000.png",
        after=State("dog", (0, 0, 5, 5)),
    )
    queue.replay.extend([new])
    found = status(queue)
    assert (found.issues, found.done, found.left) == (10, 3, 7)
    assert (found.errors, found.skipped, found.flagged, found.new_boxes) == (2, 1, 1, 1)
    assert found.reviewers == {"ann": 3}
    (kind,) = found.kinds
    assert (kind.kind, kind.decided, kind.errors, kind.seconds) == ("mislabeled", 3, 2, 2.0)


def test_errors_that_reviewers_disagree_on_are_told_apart() -> None:
    queue = a_queue(10)
    for row in range(3):
        say(queue, row, "accept")
    say(queue, 0, "keep", "bob")
    say(queue, 1, "accept", "bob")
    found = status(queue)
    assert (found.errors, found.contested, found.conflicts) == (3, 1, 1)


def test_undone_decisions_do_not_count() -> None:
    queue = a_queue(10)
    say(queue, 0, "accept")
    last = queue.replay.decisions[-1]
    step = new_decision("undo", reviewer="ann", fingerprint=PRINT, target=last.id)
    queue.replay.extend([step])
    found = status(queue)
    assert (found.done, found.errors, found.kinds) == (0, 0, ())


def test_agreement_between_reviewers_and_with_themselves() -> None:
    queue = a_queue(10)
    for row, action in [(0, "accept"), (1, "keep"), (2, "accept")]:
        say(queue, row, action)
    for row, action in [(0, "accept"), (1, "accept"), (3, "keep")]:
        say(queue, row, action, "bob")
    say(queue, 0, "accept", source="repeat")
    say(queue, 2, "keep", source="repeat")
    found = status(queue)
    (between,), (within,) = found.between, found.within
    assert (between.who, between.both, between.same) == (("ann", "bob"), 2, 1)
    assert (within.who, within.both, within.same) == (("ann",), 2, 1)
    assert found.conflicts == 1
    assert found.errors == 1, "the second look counts, and the first reviewer where they differ"


def test_agreement_in_boxes_is_their_overlap() -> None:
    queue = a_queue(10)
    say(queue, 0, "set_box", after=State(box=(0, 0, 10, 10)))
    say(queue, 0, "set_box", after=State(box=(0, 0, 10, 9)), source="repeat")
    say(queue, 1, "mark", mark=Mark("group"))
    (within,) = status(queue).within
    assert (within.both, within.same) == (1, 1)
    assert within.iou == pytest.approx(0.9)


# The interval


def go_through(queue: Queue, wrong: NDArray[np.bool_], count: int) -> None:
    for _ in range(count):
        for one in queue.next("ann"):
            say(queue, one.row, "accept" if wrong[one.row] else "keep", source=one.source)


def test_the_interval_is_clopper_pearsons_where_nothing_but_the_slice_was_seen() -> None:
    queue = a_queue(1000, audit_least=80, adaptive=False)
    rows = [int(row) for row in queue.audit_rows if row > 0]  # the first is never seen
    for number, row in enumerate(rows[:60]):
        say(queue, row, "accept" if number < 3 else "keep")
    found = estimate_errors(queue)
    n = len(rows[:60])
    low, high = beta.ppf(0.025, 3, n - 2), beta.ppf(0.975, 4, n - 3)
    assert (found.audited, found.wrong, found.beyond) == (60, 3, 1000)
    assert found.left == (int(np.ceil(low * 1000)) - 3, int(np.floor(high * 1000)) - 3)
    assert found.errors == (found.left[0] + 3, found.left[1] + 3)


def test_only_the_slice_without_a_gap_counts() -> None:
    """What the ranking reached of the slice by itself would make the set look worse."""
    queue = a_queue(1000, adaptive=False)
    first, *others = (int(row) for row in queue.audit_rows)
    for row in sorted(others)[:20]:
        say(queue, row, "accept")
    assert estimate_errors(queue).audited == 0
    say(queue, first)
    assert estimate_errors(queue).audited > 0


def test_what_is_unsettled_widens_the_interval_both_ways() -> None:
    def left(action: str) -> tuple[int, int]:
        queue = a_queue(1000, adaptive=False)
        for number, row in enumerate(queue.audit_rows):
            say(queue, int(row), action if number < 5 else "keep")
        return estimate_errors(queue).left

    assert left("skip") == left("flag")
    assert left("skip")[0] <= left("keep")[0]
    assert left("skip")[1] >= left("accept")[1]
    assert left("accept")[1] > left("keep")[1]


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_interval_holds_what_is_left_about_as_often_as_it_says(adaptive: bool) -> None:
    random = np.random.default_rng(5)
    count, holds, tries = 600, 0, 40
    for seed in range(tries):
        wrong = random.random(count) < np.linspace(0.6, 0.0, count) ** 2
        queue = a_queue(
            count, seed=seed, audit=0.2, audit_rate=0.4, adaptive=adaptive, order=Adaptive()
        )
        go_through(queue, wrong, 150)
        low, high = estimate_errors(queue).left
        holds += low <= wrong.sum() - status(queue).errors <= high
    assert holds >= 0.85 * tries, "expected: 95 %; a fair coin of .95 falls below once in 100"


def test_stopping_is_justified_by_evidence_alone() -> None:
    wrong = np.arange(3000) < 30
    queue = a_queue(3000, audit=0.2, audit_rate=0.5, repeats=0)
    go_through(queue, wrong, 30)
    found = status(queue)
    assert not found.may_stop
    assert "too few" in found.why
    go_through(queue, wrong, 170)
    found = status(queue)
    assert not found.may_stop
    assert "more than the 30 that are tolerated" in found.why
    go_through(queue, wrong, 800)
    found = status(queue)
    assert found.may_stop, found.why
    assert found.errors == 30


def test_when_everything_is_decided_nothing_is_left() -> None:
    queue = a_queue(40)
    go_through(queue, np.arange(40) % 4 == 0, 60)
    found = status(queue)
    assert found.may_stop
    assert found.estimate.left == (0, 0)
    assert found.estimate.errors == (10, 10)


def test_at_the_start_anything_is_possible() -> None:
    assert estimate_errors(a_queue(40)).left == (0, 40)


# The command line


@pytest.fixture
def run(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    pred_probs = np.full((60, 3), 0.1)
    pred_probs[np.arange(60), np.where(np.arange(60) % 10 == 0, (labels + 1) % 3, labels)] = 0.8
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "probs.npy", pred_probs)
    files = ["--labels", str(tmp_path / "labels.npy"), "--pred-probs", str(tmp_path / "probs.npy")]
    assert main(["find", *files, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    return tmp_path / "run"


def decided(run: Path) -> Queue:
    from labelfix.decisions import DecisionLog

    opened = open_run(run)
    print_ = opened.info.dataset.fingerprint
    log = DecisionLog(run / "decisions.jsonl", print_)
    queue = Queue(opened.issues, log.replay)
    for who, row, action in [("ann", 0, "accept"), ("ann", 1, "keep"), ("bob", 0, "keep")]:
        issue = Shown(row, queue.table.row(row, named=True), "review").issue
        log.append(decide(issue, action, reviewer=who, fingerprint=print_, note="so it is"))  # type: ignore[arg-type] # an action
    return queue


def test_log_undo_redo_and_blame_on_the_command_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = decided(run)
    item = queue.table["item_id"][0]
    capsys.readouterr()
    assert main(["log", str(run), "--format", "jsonl", "--reviewer", "ann"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["action"] for row in rows] == ["accept", "keep"]
    assert main(["undo", str(run), "2", "--reviewer", "ann"]) == 0
    assert "Undo of 2 acts of ann" in capsys.readouterr().out
    assert main(["redo", str(run), "--reviewer", "ann", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["blame", str(run), item, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["reviewer"], one["action"], one["undone"]) for one in told] == [
        ("ann", "accept", False),
        ("bob", "keep", False),
        ("ann", "undo", False),
        ("ann", "redo", False),
    ]
    assert main(["log", str(run), "--top", "1"]) == 0
    assert "And 5 before" in capsys.readouterr().out


def test_status_on_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decided(run)
    capsys.readouterr()
    assert main(["status", str(run)]) == 0
    told = capsys.readouterr().out
    assert "Decided 2 of 60 issues, 58 left" in told
    assert "ann and bob agree in 0 of 1" in told
    assert "not justified" in told
    expected = status(open_queue(open_run(run))).expected
    assert f"corrected by the audit: about {expected:,.0f} errors in the whole set" in told
    assert main(["status", str(run), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["conflicts"] == 1
    assert main(["status", str(run), "--format", "csv"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["undo", "RUN", "--reviewer", "carl"], "nothing of carl to undo; others are ann, bob"),
        (["redo", "RUN", "--reviewer", "ann"], "nothing of ann to redo"),
        (["blame", "RUN", "no such item"], "no such item"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    decided(run)
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    assert message in capsys.readouterr().err


def test_a_torn_line_is_reported_and_a_broken_one_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decided(run)
    path = run / "decisions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"schema')
    assert main(["log", str(run)]) == 0
    assert "Warning" in capsys.readouterr().err
    assert main(["undo", str(run), "--reviewer", "ann"]) == 0
    assert "decisions.jsonl.torn" in capsys.readouterr().err
    assert len(read_log(path).decisions) == 4
    path.write_bytes(b"{}\n" + whole)
    for command in ("log", "status", "undo"):
        assert main([command, str(run)]) == 2
        assert f"{path}:1: found no event" in capsys.readouterr().err
    assert path.read_bytes() == b"{}\n" + whole


# Errors to expect


def claimed_issues(count: int, shift: float) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    """Issues whose probabilities are right but for the number of errors, and what is wrong."""
    draw = np.random.default_rng(5)
    odds = np.sort(draw.normal(-2.5, 2, count))[::-1]
    claimed = pl.Series("error_probability", 1 / (1 + np.exp(-odds)))
    wrong = draw.random(count) < 1 / (1 + np.exp(-odds - shift))
    return some_issues(count).with_columns(claimed), wrong


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_the_audit_corrects_how_many_errors_are_expected(shift: float) -> None:
    issues, wrong = claimed_issues(1500, shift)
    queue = Queue(issues, Replay(), Settings(audit_least=150))
    before = status(queue).expected
    assert before == pytest.approx(issues["error_probability"].sum(), abs=0.1)
    for row in queue.audit_rows[:150]:
        say(queue, int(row), "accept" if wrong[row] else "keep")
    after = status(queue).expected
    assert after is not None
    assert before is not None
    assert abs(after - wrong.sum()) < abs(before - wrong.sum()) / 2


def test_all_decided_leaves_nothing_to_expect_but_what_was_found() -> None:
    issues, wrong = claimed_issues(30, 0)
    queue = Queue(issues, Replay(), Settings())
    for row in range(30):
        say(queue, row, "accept" if wrong[row] else "keep")
    assert status(queue).expected == wrong.sum()


def test_issues_without_probabilities_have_no_expectation() -> None:
    assert status(a_queue(10)).expected is None
