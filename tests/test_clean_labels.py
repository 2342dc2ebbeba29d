"""Right labels of a random sample correct the error probabilities, and come out of a review."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from labelfix.cli import main
from labelfix.decisions import DecisionLog, State, decide
from labelfix.errors import InputError
from labelfix.find import find_issues
from labelfix.review.queue import Queue, Shown, open_queue
from labelfix.review.status import clean_labels
from labelfix.run import open_run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

N, K = 600, 3


def unsure() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Truth, labels of which a fifth are wrong, and a model that is right, but never sure."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, K, N)
    labels = np.where(rng.random(N) < 0.2, (truth + 1) % K, truth)
    pred_probs = rng.dirichlet(np.ones(K), N) * 0.7 + np.eye(K)[truth] * 0.3
    return truth, labels, pred_probs


def sampled(truth: NDArray[np.int64]) -> pl.DataFrame:
    """The right label of every fourth item."""
    rows = np.arange(0, N, 4)
    return pl.DataFrame({"item_id": rows.astype(str), "label": truth[rows].astype(str)})


def test_a_clean_sample_corrects_what_is_expected_of_all_and_leaves_the_order() -> None:
    truth, labels, pred_probs = unsure()
    plain = find_issues(labels, pred_probs, class_names=["0", "1", "2"])
    clean = find_issues(labels, pred_probs, class_names=["0", "1", "2"], clean=sampled(truth))
    assert plain.drop("error_probability").equals(clean.drop("error_probability"))
    wrong = (truth != labels).sum()
    off = [abs(one["error_probability"].sum() - wrong) for one in (plain, clean)]
    assert off[1] < off[0] / 2
    pairs = plain.select("error_probability").with_columns(new=clean["error_probability"])
    assert pairs.sort("error_probability")["new"].is_sorted()


def test_quality_goes_with_it_where_it_is_the_score() -> None:
    truth, labels, pred_probs = unsure()
    names = ["0", "1", "2"]
    found = find_issues(
        labels, pred_probs, class_names=names, clean=sampled(truth), score="error_probability"
    )
    assert (found["quality"] + found["error_probability"]).to_list() == pytest.approx([1.0] * N)


def test_what_tells_nothing_of_the_items_is_refused() -> None:
    _, labels, pred_probs = unsure()
    bad: list[tuple[dict[str, list[str]], str]] = [
        ({"item_id": ["0"]}, "no column label"),
        ({"item_id": ["0", "x", "0"], "label": ["0", "1", "cat"]}, "3 problems"),
        ({"item_id": [], "label": []}, "no rows"),
    ]
    for clean, told in bad:
        with pytest.raises(InputError, match=told):
            find_issues(labels, pred_probs, class_names=["0", "1", "2"], clean=pl.DataFrame(clean))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    _, labels, pred_probs = unsure()
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "probs.npy", pred_probs)
    return ["--labels", str(tmp_path / "labels.npy"), "--pred-probs", str(tmp_path / "probs.npy")]


def review(run: Path, truth: NDArray[np.int64]) -> Queue:
    """Decide on all of the audit slice but its last one."""
    opened = open_run(run)
    print_ = opened.info.dataset.fingerprint
    log = DecisionLog(run / "decisions.jsonl", print_)
    queue = Queue(opened.issues, log.replay)
    for row in queue.audit_rows[:-1].tolist():
        issue = Shown(row, queue.table.row(row, named=True), "review").issue
        right = str(truth[int(issue["item_id"])])
        if right == issue["given_label"]:
            log.append(decide(issue, "keep", reviewer="ann", fingerprint=print_))
        else:
            log.append(
                decide(issue, "set_label", reviewer="ann", fingerprint=print_, after=State(right))
            )
    return open_queue(opened)


def test_a_review_gives_the_sample_and_the_next_run_takes_it(
    files: list[str], tmp_path: Path
) -> None:
    truth, labels, _ = unsure()
    first, again, table = tmp_path / "first", tmp_path / "again", tmp_path / "clean.csv"
    assert main(["find", *files, "--out", str(first), "--quiet"]) == 0
    assert main(["status", str(first), "--clean-labels", str(table)]) == 2  # nothing decided
    assert not table.exists()
    queue = review(first, truth)
    assert main(["status", str(first), "--clean-labels", str(table)]) == 0
    found = pl.read_csv(table, infer_schema=False)
    assert found.equals(clean_labels(queue))
    assert found.height == len(queue.audit_rows) - 1
    assert found["label"].to_list() == [str(truth[int(one)]) for one in found["item_id"]]
    call = ["find", *files, "--clean-labels", str(table), "--out", str(again), "--quiet"]
    assert main(call) == 0
    wrong = (truth != labels).sum()
    before, after = (open_run(run).issues["error_probability"].sum() for run in (first, again))
    assert abs(after - wrong) < abs(before - wrong)
    assert open_run(again).info.options.clean_labels == str(table)


def test_a_bad_sample_is_told_before_anything_is_trained(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("item_id,label\nnobody,0\n")
    call = ["find", *files, "--clean-labels", str(tmp_path / "bad.csv")]
    assert main([*call, "--out", str(tmp_path / "run")]) == 2
    assert "no item 'nobody'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_boxes_have_no_clean_labels(
    box_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(box_run), "--clean-labels", str(tmp_path / "clean.csv")]) == 2
    assert "class labels" in capsys.readouterr().err
    info = open_run(box_run).info.options
    call = ["find", str(info.path), "--predictions", str(info.predictions), "--out"]
    call += [str(tmp_path / "run"), "--clean-labels", str(tmp_path / "clean.csv")]
    assert main(call) == 2
    assert "--clean-labels: found an option for class labels" in capsys.readouterr().err
