"""Options that would do nothing are refused, all of them at once, before any work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl
import pytest

from labelfix.cli import main
from labelfix.errors import InputError
from labelfix.run import open_run
from labelfix.run.dataset import read_again
from labelfix.run.gain import GainOptions, read_versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N = 40
ROWS = "".join(f"{i % 2 + i / 100},n{i},{'ab'[i % 2]}\n" for i in range(N))


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table, probabilities and labels, to work in."""
    (tmp_path / "t.csv").write_text("x,key,label\n" + ROWS)
    np.save(tmp_path / "y.npy", np.arange(N) % 2)
    np.save(tmp_path / "p.npy", np.where(np.arange(N)[:, None] % 2 == [0, 1], 0.9, 0.1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(at: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], set[str]]:
    """Run a command that must fail and leave nothing behind; give the options that it names."""

    def options(call: str) -> set[str]:
        before = {path.name for path in at.iterdir()}
        assert main(call.split()) == 2, call
        assert {path.name for path in at.iterdir()} == before
        told = capsys.readouterr().err
        assert "Traceback" not in told
        parts = told.replace("Error: ", "\n").splitlines()
        return {part.strip().partition(": found")[0] for part in parts if ": found" in part}

    return options


TRAINED = "--folds 3 --duplicates 4 --seed 7 --jobs 2 "


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (
            f"--labels y.npy --pred-probs p.npy {TRAINED} --model knn --voc-pixels continuous "
            "--skip-bad --image x --images . --groups g --features x --dataset-format table "
            "--no-train --class-map a=b --kinds missing --predictions p.json",
            "--folds --duplicates --model --voc-pixels --skip-bad --image --images "
            "--groups --features --dataset-format --no-train --class-map --kinds --predictions",
        ),
        (
            "--labels y.npy --pred-probs p.npy --label x --model knn",
            "--label --model",
        ),
        ("t.csv --model knn --duplicates 4 --kinds missing", "--duplicates --kinds"),
        (
            f"t.csv --pred-probs p.npy {TRAINED} --model knn --groups key --features x",
            "--folds --duplicates --model --groups --features",
        ),
        (
            f"t.csv --dynamics d.npz {TRAINED} --features x --no-train --class-map a=b",
            "--folds --duplicates --features --no-train --class-map",
        ),
        (
            f"c.json --predictions p.json {TRAINED} --model yolo11n.pt --no-train",
            "--folds --duplicates --model --no-train",
        ),
        (
            f"c.json --model yolo11n.pt --no-train {TRAINED}",
            "--folds --duplicates",
        ),
        ("c.json --model yolo11n.pt --class-map a=b", "--class-map"),
        ("t.csv --class-names a --class-names b", "option class_names (--class-names)"),
        ("t.csv --images . --features x", "t.csv"),
        (
            "t.csv --voc-pixels continuous --class-names a",
            "option voc_pixels (--voc-pixels)+option class_names (--class-names)",
        ),
    ],
)
def test_find_names_every_option_that_would_do_nothing(
    call: str, named: str, refused: Callable[[str], set[str]]
) -> None:
    expected = set(named.split("+") if named.startswith("option") else named.split())
    assert refused(f"find {call} --out run") == expected


def test_columns_to_learn_from_need_a_model_of_columns(
    at: Path, class_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(class_run)
    table = run.items.select("path", x=pl.col("item_id").str.len_chars())
    table.with_columns(run.annotations["label"]).write_csv(at / "photos.csv")
    call = f"find photos.csv --images {run.info.dataset.root} --features x --folds 2 --out"
    for model in ("auto", "pixels+knn", "pixels+a.b:c", "small-cnn", "finetune:resnet18"):
        assert main([*call.split(), "run", "--model", model]) == 2
        assert "--features: found columns beside images" in capsys.readouterr().err
    assert main([*call.split(), "run", "--model", "columns+knn", "--quiet"]) == 0


def test_two_versions_of_two_formats_take_each_the_options_of_its_own(
    at: Path, class_run: Path
) -> None:
    run = open_run(class_run)
    root = str(run.info.dataset.root)
    photos = run.items.select("path", id="item_id").with_columns(run.annotations["label"])
    photos.write_csv(at / "photos.csv")
    both = GainOptions(original="photos.csv", corrected=root, images=root)
    original, corrected, _ = read_versions(both, None)
    assert (original.format, corrected.format) == ("table", "imagefolder")
    assert original.items["item_id"].equals(corrected.items["item_id"])
    with pytest.raises(InputError, match="option voc_pixels"):
        read_versions(msgspec.structs.replace(both, voc_pixels="continuous"), None)


def test_a_table_that_is_not_there_is_told_as_that(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del at
    call = "find t.csv --model knn --clean-labels nosuch.csv --out run"
    assert main(call.split()) == 2
    assert "nosuch.csv: found no such file" in capsys.readouterr().err


def test_choices_of_the_default_are_no_choices(at: Path) -> None:
    usual = "--folds 5 --duplicates 10 --seed 0 --model auto"
    assert main(f"find t.csv --pred-probs p.npy {usual} --quiet --out run".split()) == 0
    assert open_run(at / "run").info.options.folds == 5


def test_names_of_classes_speak_of_the_columns_of_given_probabilities(at: Path) -> None:
    call = "find t.csv --pred-probs p.npy --class-names b --class-names a --quiet --out run"
    assert main(call.split()) == 0
    run = open_run(at / "run")
    assert run.info.dataset.class_names == ("a", "b")
    assert run.pred_probs[0].tolist() == pytest.approx([0.1, 0.9])
    assert main(["apply", "run", "--dry-run"]) == 2  # nothing decided: the table is read again


def test_an_id_column_of_probabilities_can_be_named_for_a_folder_of_images(
    at: Path, class_run: Path
) -> None:
    photos = open_run(class_run).info.dataset.root
    names = open_run(class_run).items["item_id"]
    classes = {name: [0.2 + 0.4 * item.startswith(name) for item in names] for name in COLOURS}
    other = [f"x/{name}" if row else name for row, name in enumerate(names)]
    table = pl.DataFrame({"id": range(len(names)), "path": other, "picture": names, **classes})
    table.write_csv(at / "p.csv")
    call = f"find {photos} --pred-probs p.csv --id picture --quiet --out run"
    assert main(call.split()) == 0
    assert open_run(at / "run").items["item_id"].equals(names)


COLOURS = ("blue", "green", "red")


@pytest.mark.parametrize("kind", ["class_run", "box_run"])
def test_runs_of_before_options_were_refused_are_read_again(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(kind)
    file = path / "run.json"
    record = json.loads(file.read_text())
    record["options"] |= {"class_names": ["a", "b"], "voc_pixels": "continuous"}
    file.write_text(json.dumps(record))
    run = open_run(path)
    assert run.info.options.class_names == ("a", "b")
    assert read_again(run).items["item_id"].equals(run.items["item_id"])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("slice RUN --label y --skip-bad --draws 9", "--label --skip-bad --draws"),
        ("slice RUN --by x --most 9 --class-map a=b", "--most --class-map"),
        ("slice t.csv --predictions p.npy --draws 9", "--draws"),
        ("slice t.csv --predictions p.npy --key x", "--key"),
        ("filter t.csv --copy --key x", "--copy --key"),
        ("filter t.csv --class-names a", "option+class_names+(--class-names)"),
        (
            "evaluate RUN --allow-removed --label y --force --out o",
            "--allow-removed --label --force",
        ),
        (
            "evaluate --original t.csv --corrected t.csv --prefer ann --split s --parts 6:2:2 "
            "--out o",
            "--prefer --parts",
        ),
        (
            "apply --undo x --prefer ann --images copy --skip-conflicts",
            "--prefer --images --skip-conflicts",
        ),
        ("apply RUN --in-place --images copy", "--images"),
        ("apply RUN --dry-run --segmentation drop", "--segmentation"),
        ("apply RUN --dry-run --in-place --to x", "what to do"),
        ("compare --predictions p.npy --labels a=y.npy --drop all --out o", "--drop"),
        (
            "compare --predictions p.npy --labels a=y.npy --draws 0 --level 0.9 --seed 3 --out o",
            "--level",
        ),
        ("find t.csv --engine x --score y --select z --out o", "engine score select"),
        ("import RUN x.json --same-box 0.7", "--same-box"),
        ("status RUN --clean-labels new.csv --format csv", "--format"),
    ],
)
def test_other_commands_name_every_option_that_would_do_nothing(
    call: str, named: str, class_run: Path, refused: Callable[[str], set[str]]
) -> None:
    expected = {named} if named == "what to do" else {x.replace("+", " ") for x in named.split()}
    assert refused(call.replace("RUN", str(class_run))) == expected


def test_nothing_to_undo_makes_no_log_and_no_corrected_copy(
    at: Path, class_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for act in ("undo", "redo"):
        assert main([act, str(class_run)]) == 2
        assert not (class_run / "decisions.jsonl").exists()
    (class_run / "decisions.jsonl").touch()
    for call in (f"apply {class_run} --to new", f"evaluate {class_run} --out o"):
        assert main(call.split()) == 2
        assert "nothing is decided yet" in capsys.readouterr().err
    assert not (at / "new").exists()


def test_a_reviewer_who_decided_nothing_is_told(
    class_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", str(class_run)]) == 0
    assert main(["log", str(class_run), "--reviewer", "an"]) == 2
    assert "--reviewer: found nothing of 'an'" in capsys.readouterr().err


def test_names_of_classes_that_do_not_read_are_told(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (at / "names.txt").write_bytes(b"caf\xe9\ndog\n")
    call = "compare --predictions p.npy --labels a=y.npy --classes names.txt --out o"
    assert main(call.split()) == 2
    assert "names.txt: found bytes that are no UTF-8 (b'\\xe9')" in capsys.readouterr().err


def test_names_of_items_are_no_slices(class_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slice", str(class_run), "--format", "csv"]) == 0
    facts = {line.partition(",")[0] for line in capsys.readouterr().out.splitlines()[1:]}
    assert facts == {"label"}


def test_a_list_for_a_pipe_is_as_long_as_asked_for(
    at: Path, class_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in ("filter t.csv", f"slice {class_run} --by label"):
        assert main([*call.split(), "--top", "2", "--format", "jsonl"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert main([*call.split(), "--format", "jsonl"]) == 0
        assert len(capsys.readouterr().out.splitlines()) > 2
