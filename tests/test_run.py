"""A run directory is whole, or says that it is not; what a reviewer did in it is never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl
import pytest

from labelfix.atomic import replacing
from labelfix.errors import InputError, LabelfixWarning, RunError
from labelfix.run import FindOptions, find, open_run
from labelfix.run import directory as directory_module
from labelfix.run.dataset import read_again
from labelfix.run.record import RunRecord, encode
from labelfix.schema import CLASS_ISSUES, FOLDS, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

N = 60
FILES = {
    "run.json",
    "items.parquet",
    "annotations.parquet",
    "issues.parquet",
    "predictions.npy",
    "report.html",
}


def write_table(path: Path, seed: int = 0) -> Path:
    """Two classes that a line tells apart, and six labels that are wrong."""
    rng = np.random.default_rng(seed)
    x = np.where(np.arange(N) < N // 2, -2, 2) + rng.normal(0, 0.5, N)
    label = np.where(np.arange(N) < N // 2, "low", "high")
    wrong = rng.choice(N, 6, replace=False)
    label[wrong] = np.where(label[wrong] == "low", "high", "low")
    pl.DataFrame({"x": x, "noise": rng.normal(size=N), "label": label}).write_csv(path)
    return path


@pytest.fixture
def table(tmp_path: Path) -> FindOptions:
    return FindOptions(path=str(write_table(tmp_path / "table.csv")), model="logistic")


@pytest.fixture
def arrays(tmp_path: Path) -> FindOptions:
    rng = np.random.default_rng(1)
    pred_probs = rng.dirichlet([1, 1, 1], N).astype(np.float32)
    labels = np.where(rng.random(N) < 0.8, pred_probs.argmax(axis=1), rng.integers(0, 3, N))
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "probs.npy", pred_probs)
    return FindOptions(
        labels=str(tmp_path / "labels.npy"), pred_probs=(str(tmp_path / "probs.npy"),)
    )


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_holds_what_the_blueprint_says(table: FindOptions, tmp_path: Path) -> None:
    find(table, tmp_path / "run")
    assert names_in(tmp_path / "run") == FILES | {"folds.parquet"}


def test_what_find_returns_is_what_open_run_reads(table: FindOptions, tmp_path: Path) -> None:
    run = find(table, tmp_path / "run")
    again = open_run(tmp_path / "run")
    assert again.info == run.info
    assert again.issues.equals(run.issues)
    assert dict(again.issues.schema) == {name: kind() for name, kind in CLASS_ISSUES.items()}
    assert again.folds is not None
    assert dict(again.folds.schema) == {name: kind() for name, kind in FOLDS.items()}
    assert sorted(again.folds["item_id"]) == sorted(again.issues["item_id"])
    assert again.pred_probs.shape == (N, 2)
    assert isinstance(again.pred_probs, np.memmap)


def test_given_predictions_are_copied_as_they_are(arrays: FindOptions, tmp_path: Path) -> None:
    run = find(arrays, tmp_path / "run")
    given = np.load(arrays.pred_probs[0])
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    kept = open_run(run.path)
    assert kept.pred_probs.dtype == given.dtype
    assert np.array_equal(kept.pred_probs, given)
    assert kept.folds is None


def test_an_ensemble_keeps_the_mean(arrays: FindOptions, tmp_path: Path) -> None:
    first = np.load(arrays.pred_probs[0])
    second = (first + np.float32(1 / 3)) / 2
    np.save(tmp_path / "second.npy", second)
    both = (*arrays.pred_probs, str(tmp_path / "second.npy"))
    options = FindOptions(labels=arrays.labels, pred_probs=both)
    run = find(options, tmp_path / "run")
    assert np.allclose(run.pred_probs, (first + second) / 2, atol=1e-6)
    assert [model.name for model in run.info.models] == ["probs.npy", "second.npy"]


def test_the_record_says_what_was_run(table: FindOptions, tmp_path: Path) -> None:
    command = ("labelfix", "find", "table.csv")
    info = find(table, tmp_path / "run", command=command).info
    assert info.schema_version == SCHEMA_VERSION
    assert info.options == table
    assert info.command == command
    assert info.dataset.items == N
    assert info.dataset.class_names == ("high", "low")
    assert info.dataset.root == str(tmp_path)
    assert {"read", "predict", "score", "report"} == set(info.seconds)
    assert {"python", "numpy", "polars", "sklearn"} <= set(info.versions)
    assert info.findings.flagged == open_run(tmp_path / "run").issues["flagged"].sum()
    assert sum(info.findings.flagged_by_kind.values()) == info.findings.flagged
    assert info.findings.errors_at_least is not None
    assert 0 < info.findings.errors_at_least <= N
    assert 0.5 < info.findings.agreement < 1
    assert msgspec.json.decode(encode(info), type=RunRecord) == info


def test_every_file_that_can_carry_it_says_its_version(table: FindOptions, tmp_path: Path) -> None:
    find(table, tmp_path / "run")
    assert directory_module.SCHEMA_VERSION == SCHEMA_VERSION
    assert json.loads((tmp_path / "run/run.json").read_bytes())["schema_version"] == SCHEMA_VERSION
    for name in ("issues.parquet", "folds.parquet"):
        metadata = pl.read_parquet_metadata(tmp_path / "run" / name)
        assert metadata["labelfix_schema_version"] == str(SCHEMA_VERSION)


def test_the_choice_of_a_model_and_its_reason_are_kept(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.csv")
    (model,) = find(FindOptions(path=str(path)), tmp_path / "run").info.models
    assert model.why
    assert model.name in model.why


def test_repairs_are_warned_of_and_kept(arrays: FindOptions, tmp_path: Path) -> None:
    path = Path(arrays.pred_probs[0])
    np.save(path, np.load(path) * np.float32(1.0005))
    with pytest.warns(LabelfixWarning, match="sum"):
        run = find(arrays, tmp_path / "run")
    assert len(run.info.warnings) == 1
    assert "sum" in run.info.warnings[0]


def test_predictions_for_a_dataset_take_the_place_of_a_model(
    table: FindOptions, tmp_path: Path
) -> None:
    trained = find(table, tmp_path / "trained")
    np.save(tmp_path / "probs.npy", trained.pred_probs)
    options = FindOptions(path=table.path, pred_probs=(str(tmp_path / "probs.npy"),))
    given = find(options, tmp_path / "given")
    assert given.issues["item_id"].to_list() == trained.issues["item_id"].to_list()
    assert given.info.dataset.fingerprint == trained.info.dataset.fingerprint
    assert read_again(given).fingerprint == trained.info.dataset.fingerprint
    assert [model.name for model in given.info.models] == ["probs.npy"]
    with pytest.raises(InputError) as caught:
        find(msgspec.structs.replace(options, model="logistic", folds=3), tmp_path / "given")
    assert [problem.where for problem in caught.value.problems] == ["--model", "--folds"]


def test_columns_that_seem_to_stand_for_other_classes_are_warned_of(
    arrays: FindOptions, tmp_path: Path
) -> None:
    labels = np.load(arrays.labels or "")
    right = np.eye(3)[labels] * 0.8 + 0.2 / 3
    np.save(tmp_path / "probs.npy", right[:, [2, 0, 1]])
    with pytest.warns(LabelfixWarning, match="they call '0' is for the most part labelled '2'"):
        found = find(arrays, tmp_path / "run")
    assert "--class-names" in found.info.warnings[0]
    named = msgspec.structs.replace(arrays, class_names=("2", "0", "1"))
    np.save(tmp_path / "labels.npy", labels.astype(str))
    assert find(named, tmp_path / "named").info.findings.flagged == 0


def test_the_model_whose_columns_are_turned_is_named(arrays: FindOptions, tmp_path: Path) -> None:
    np.save(tmp_path / "turned.npy", np.load(arrays.pred_probs[0])[:, [1, 2, 0]])
    both = (*arrays.pred_probs, str(tmp_path / "turned.npy"))
    with pytest.warns(LabelfixWarning, match="turned.npy: the probabilities agree with"):
        find(msgspec.structs.replace(arrays, pred_probs=both), tmp_path / "run")


def test_rows_in_another_order_are_warned_of(arrays: FindOptions, tmp_path: Path) -> None:
    probs = np.load(arrays.pred_probs[0])
    np.save(arrays.pred_probs[0], np.random.default_rng(0).permutation(probs))
    with pytest.warns(LabelfixWarning, match=r"probs.npy: .* by chance it would be 0\.3"):
        find(arrays, tmp_path / "run")


@pytest.mark.parametrize("model", ["logistic", "auto"])
def test_a_model_that_learned_nothing_is_warned_of_once(
    model: str, table: FindOptions, tmp_path: Path
) -> None:
    file = tmp_path / "table.csv"
    turns = pl.Series("label", ["low", "high"] * (N // 2))  # the columns go by halves
    pl.read_csv(file).with_columns(turns).write_csv(file)
    with pytest.warns(LabelfixWarning, match="given labels get a prob|no model learns"):
        found = find(msgspec.structs.replace(table, model=model), tmp_path / "run")
    assert len(found.info.warnings) == 1


def test_columns_of_a_weak_model_with_many_classes_are_not_doubted(
    arrays: FindOptions, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    labels = np.concatenate([np.arange(100), draw.integers(0, 100, 50)])
    said = np.where(draw.random(150) < 0.2, labels, draw.integers(0, 100, 150))
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "probs.npy", np.eye(100)[said] * 0.5 + 0.005)
    assert find(arrays, tmp_path / "run").info.warnings == ()


def test_what_was_skipped_is_kept(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.csv")
    with path.open("a") as file:
        file.write("1,1,\n")
    options = FindOptions(path=str(path), model="logistic", skip_bad=True)
    run = find(options, tmp_path / "run")
    assert [problem.line for problem in run.info.dataset.skipped] == [N + 2]
    assert open_run(run.path).info.dataset.items == N


BAD: dict[str, Callable[[Path], FindOptions]] = {
    "no such path": lambda at: FindOptions(path=str(at / "nowhere")),
    "nothing to read": lambda _: FindOptions(),
    "labels without probabilities": lambda at: FindOptions(labels=str(at / "labels.npy")),
    "path and labels": lambda at: FindOptions(
        path=str(at / "table.csv"), labels=str(at / "y.npy"), pred_probs=("p.npy",)
    ),
    "no such column": lambda at: FindOptions(path=str(at / "table.csv"), label="nosuch"),
    "no such group column": lambda at: FindOptions(path=str(at / "table.csv"), groups="nosuch"),
    "no such format": lambda at: FindOptions(path=str(at / "table.csv"), dataset_format="nosuch"),
    "no such model": lambda at: FindOptions(path=str(at / "table.csv"), model="nosuch"),
    "no such rule": lambda at: FindOptions(
        path=str(at / "table.csv"), model="logistic", select="nosuch"
    ),
    "no such score": lambda at: FindOptions(
        path=str(at / "table.csv"), model="logistic", score="nosuch"
    ),
    "no such engine": lambda at: FindOptions(
        path=str(at / "table.csv"), model="logistic", engine="nosuch"
    ),
    "boxes": lambda at: FindOptions(path=str(at / "boxes.json")),
    "one class": lambda at: FindOptions(path=str(at / "one.csv"), model="logistic"),
    "NaN": lambda at: FindOptions(labels=str(at / "y.npy"), pred_probs=(str(at / "nan.npy"),)),
    "pickles": lambda at: FindOptions(labels=str(at / "y.npy"), pred_probs=(str(at / "o.npy"),)),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_leaves_no_trace(what: str, tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    (tmp_path / "one.csv").write_text("x,label\n" + "1,a\n2,a\n" * 20)
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    np.save(tmp_path / "y.npy", np.arange(N) % 3)
    np.save(tmp_path / "nan.npy", np.full((N, 3), np.nan))
    np.save(tmp_path / "o.npy", np.array([object()] * N), allow_pickle=True)
    before = names_in(tmp_path)
    with pytest.raises(InputError):
        find(BAD[what](tmp_path), tmp_path / "new" / "run")
    assert names_in(tmp_path) == before


def test_a_bad_rule_is_refused_before_anything_is_trained(
    table: FindOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr("labelfix.predict.out_of_fold", train)
    for change in ({"select": "nosuch"}, {"score": "nosuch"}, {"engine": "nosuch"}):
        options = FindOptions(path=table.path, model=table.model, **change)  # type: ignore[arg-type] # all of them take text
        with pytest.raises(InputError, match="nosuch"):
            find(options, tmp_path / "run")


COUNTING = """
    from pathlib import Path
    from sklearn.linear_model import LogisticRegression

    class Counting(LogisticRegression):
        def fit(self, X, y):
            log = Path(__file__).with_name("fits.txt")
            done = len(log.read_text().split()) if log.exists() else 0
            if done == 2 and not Path(__file__).with_name("calm").exists():
                raise KeyboardInterrupt
            log.write_text("x " * (done + 1))
            return super().fit(X, y)
"""


@pytest.fixture
def counting(table: FindOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FindOptions:
    """Options whose model is interrupted in its third fold, until a file `calm` is there."""
    (tmp_path / "counting_model.py").write_text(textwrap.dedent(COUNTING))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "counting_model", raising=False)
    return FindOptions(path=table.path, model="counting_model:Counting")


def test_an_interrupted_run_says_so_and_goes_on_at_its_fold(
    counting: FindOptions, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        find(counting, tmp_path / "run", command=("labelfix", "find", "a b.csv"))
    assert names_in(tmp_path / "run") == {".partial"}
    with pytest.raises(RunError, match=r"not finished(.|\n)*labelfix find 'a b.csv'"):
        open_run(tmp_path / "run")
    (tmp_path / "calm").touch()
    find(counting, tmp_path / "run")
    assert len((tmp_path / "fits.txt").read_text().split()) == 5
    assert names_in(tmp_path / "run") == FILES | {"folds.parquet"}


def test_an_unfinished_run_on_other_data_is_not_mixed_in(
    counting: FindOptions, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        find(counting, tmp_path / "run")
    other = FindOptions(path=str(write_table(tmp_path / "other.csv", seed=1)), model="logistic")
    with pytest.raises(RunError, match="other data"):
        find(other, tmp_path / "run")
    run = find(other, tmp_path / "run", overwrite=True)
    assert names_in(run.path) == FILES | {"folds.parquet"}


def test_a_run_on_the_same_data_is_replaced(table: FindOptions, tmp_path: Path) -> None:
    find(table, tmp_path / "run")
    again = find(FindOptions(path=table.path, model="knn"), tmp_path / "run")
    assert open_run(tmp_path / "run").info == again.info


def test_a_run_on_other_data_is_replaced_only_if_asked(table: FindOptions, tmp_path: Path) -> None:
    first = find(table, tmp_path / "run")
    other = FindOptions(path=str(write_table(tmp_path / "other.csv", seed=1)), model="logistic")
    with pytest.raises(RunError, match="--overwrite"):
        find(other, tmp_path / "run")
    assert open_run(tmp_path / "run").info == first.info
    find(other, tmp_path / "run", overwrite=True)
    assert open_run(tmp_path / "run").info.options == other


def test_decisions_are_never_touched(table: FindOptions, tmp_path: Path) -> None:
    find(table, tmp_path / "run")
    decisions = tmp_path / "run" / "decisions.jsonl"
    decisions.write_text('{"by": "me"}\n')
    find(table, tmp_path / "run", overwrite=True)
    other = FindOptions(path=str(write_table(tmp_path / "other.csv", seed=1)), model="logistic")
    with pytest.raises(RunError, match="decisions"):
        find(other, tmp_path / "run", overwrite=True)
    assert decisions.read_text() == '{"by": "me"}\n'
    assert open_run(tmp_path / "run").info.options == table


def test_folds_of_an_earlier_run_do_not_stay_beside_given_predictions(
    table: FindOptions, arrays: FindOptions, tmp_path: Path
) -> None:
    find(table, tmp_path / "run")
    find(arrays, tmp_path / "run", overwrite=True)
    assert names_in(tmp_path / "run") == FILES


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("foreign", ["thesis.txt", "predictions.npy", "run.json"])
def test_a_folder_of_other_files_is_left_alone(
    table: FindOptions, tmp_path: Path, foreign: str, overwrite: bool
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / foreign).write_text("{}")
    with pytest.raises(RunError):
        find(table, out, overwrite=overwrite)
    assert names_in(out) == {foreign}
    assert (out / foreign).read_text() == "{}"


def test_a_file_in_the_way_is_left_alone(table: FindOptions, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="is a file"):
        find(table, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_crash_while_writing_leaves_a_run_that_says_it_is_unfinished(
    table: FindOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(table, tmp_path / "run")

    def fail(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(directory_module, "_write_table", fail)
        with pytest.raises(OSError, match="No space"):
            find(table, tmp_path / "run")
    with pytest.raises(RunError, match="not finished"):
        open_run(tmp_path / "run")
    find(table, tmp_path / "run")
    assert names_in(tmp_path / "run") == FILES | {"folds.parquet"}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == {"a.txt"}


def test_a_kill_leaves_the_old_file_and_the_next_run_sweeps_up(
    table: FindOptions, tmp_path: Path
) -> None:
    find(table, tmp_path / "run")
    before = (tmp_path / "run/report.html").read_bytes()
    code = (
        "import os, pathlib, sys\n"
        "from labelfix.atomic import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(9)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run/report.html")], check=False, timeout=120
    )
    assert killed.returncode == 9
    assert (tmp_path / "run/report.html").read_bytes() == before
    assert names_in(tmp_path / "run") > FILES | {"folds.parquet"}
    find(table, tmp_path / "run")
    assert names_in(tmp_path / "run") == FILES | {"folds.parquet"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_files_have_the_usual_permissions(table: FindOptions, tmp_path: Path) -> None:
    find(table, tmp_path / "run")
    (tmp_path / "plain").touch()
    usual = (tmp_path / "plain").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "run").iterdir()} == {usual}


def test_opening_nothing_says_how_to_make_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="labelfix find PATH --out"):
        open_run(tmp_path / "nowhere")


def test_opening_another_folder_says_that_it_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        open_run(tmp_path)


@pytest.mark.parametrize(("version", "advice"), [(0, "make the run again"), (99, "upgrade")])
def test_a_run_of_another_version_says_what_to_do(
    table: FindOptions, tmp_path: Path, version: int, advice: str
) -> None:
    find(table, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_bytes())
    (tmp_path / "run/run.json").write_text(json.dumps({"schema_version": version, "new": record}))
    with pytest.raises(RunError, match=advice):
        open_run(tmp_path / "run")


def test_a_run_of_another_version_on_the_same_data_is_replaced(
    table: FindOptions, tmp_path: Path
) -> None:
    run = find(table, tmp_path / "run")
    old = {"schema_version": 0, "dataset": {"fingerprint": run.info.dataset.fingerprint}}
    (tmp_path / "run/run.json").write_text(json.dumps(old))
    find(table, tmp_path / "run")
    assert open_run(tmp_path / "run").info.options == table


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": 1}'])
def test_a_damaged_record_is_an_error_and_not_a_crash(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError):
        open_run(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and then nothing"])
def test_a_damaged_queue_is_an_error_and_not_a_crash(
    table: FindOptions, tmp_path: Path, content: bytes | None
) -> None:
    find(table, tmp_path / "run")
    queue = tmp_path / "run/issues.parquet"
    queue.unlink() if content is None else queue.write_bytes(content)
    with pytest.raises(RunError, match=r"issues\.parquet"):
        _ = open_run(tmp_path / "run").issues


def test_a_queue_can_be_narrowed(table: FindOptions, tmp_path: Path) -> None:
    run = find(table, tmp_path / "run")
    low = run.queue(given_label="low", flagged=True)
    wanted = run.issues.filter((pl.col("given_label") == "low") & pl.col("flagged"))
    assert low.height
    assert low.equals(wanted)
    assert run.queue(kind="mislabeled").equals(run.issues.filter(pl.col("kind") == "mislabeled"))


def test_unknown_names_are_refused_all_at_once_with_what_is_near(
    table: FindOptions, tmp_path: Path
) -> None:
    run = find(table, tmp_path / "run")
    with pytest.raises(InputError) as caught:
        run.queue(kind="mislabelled", given_label="hgih")
    assert "mislabeled" in str(caught.value)
    assert "high" in str(caught.value)
    assert len(caught.value.problems) == 2
