"""`labelfix evaluate`: two versions on disk, or a run and its decisions, to a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelfix.cli import main
from labelfix.decisions import DecisionLog, State, new_decision
from labelfix.errors import InputError
from labelfix.report.gain import gain_findings
from labelfix.run import FindOptions, find
from labelfix.run.dataset import read_as
from labelfix.run.gain import GainOptions, evaluate, versions_of_run
from labelfix.run.stages import simulate
from labelfix.schema import BOX

if TYPE_CHECKING:
    from pathlib import Path

    from labelfix.schema import Dataset


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Two classes that one column tells apart; a quarter of the labels wrong, and all right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 240)
    noisy = np.where(rng.random(240) < 0.25, 1 - truth, truth)
    table = pl.DataFrame(
        {
            "key": [f"k{n}" for n in range(240)],
            "x": truth + rng.normal(0, 0.2, 240),
            "where": rng.choice(["home", "away"], 240),
        }
    )
    names = np.array(["no", "yes"])
    for name, labels in (("noisy", noisy), ("clean", truth)):
        table.with_columns(label=pl.Series(names[labels])).write_csv(tmp_path / f"{name}.csv")
    return tmp_path / "noisy.csv", tmp_path / "clean.csv"


VOC_BOX = {"xmin": 2, "ymin": 3, "xmax": 20, "ymax": 30}
ARGUMENTS = ["--id", "key", "--model", "knn", "--seeds", "2", "--draws", "50", "--quiet"]


def test_two_versions_give_a_folder(tables: tuple[Path, Path], tmp_path: Path) -> None:
    noisy, clean = map(str, tables)
    out = tmp_path / "out"
    call = ["evaluate", "--original", noisy, "--corrected", clean, "--out", str(out)]
    call += [*ARGUMENTS, "--sources", "where", "--parts", "6:2:2"]
    assert main(call) == 0
    record = json.loads((out / "gain.json").read_text())
    assert record["options"]["sources"] == "where"
    assert record["details"]["split"]["parts"] == [6, 2, 2]
    cells = pl.read_csv(out / "cells.csv").filter(metric="accuracy")
    assert cells["items"].to_list() == [48] * 4
    assert "test labels" in record["findings"][1]
    assert record["findings"][1] in (out / "gain.md").read_text()
    assert (out / "gain.svg").read_text().startswith("<?xml")
    kept = {path: path.stat().st_mtime_ns for path in (out / "trainings").iterdir()}
    assert main(call) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "trainings").iterdir()} == kept


def test_the_effects_come_in_other_formats(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy, clean = map(str, tables)
    call = ["evaluate", "--original", noisy, "--corrected", clean, "--out", str(tmp_path / "out")]
    assert main([*call, *ARGUMENTS, "--format", "csv"]) == 0
    shown = pl.read_csv(capsys.readouterr().out.encode())
    assert shown.columns == ["step", "metric", "effect", "value", "low", "high"]


def decided(noisy: Path, clean: Path, out: Path) -> int:
    """Find with a model, and correct all labels that are wrong, but for one item that goes."""
    run = find(FindOptions(path=str(noisy), id="key", model="knn"), out)
    truth = dict(pl.read_csv(clean).select("key", "label").iter_rows())
    given = run.annotations
    wrong = [row for row in given.iter_rows(named=True) if truth[row["item_id"]] != row["label"]]
    log = DecisionLog(out / "decisions.jsonl", run.info.dataset.fingerprint)
    for number, row in enumerate(wrong):
        what = {"item_id": row["item_id"], "annotation_id": row["annotation_id"]}
        what |= {"reviewer": "ann", "fingerprint": run.info.dataset.fingerprint}
        if number:
            state = State(truth[row["item_id"]])
            log.append(new_decision("set_label", after=state, **what))
        else:
            log.append(new_decision("delete", **what))
    return len(wrong)


def test_a_run_with_decisions_is_both_versions(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy, clean = tables
    wrong = decided(noisy, clean, tmp_path / "run")
    out = tmp_path / "out"
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(out), *ARGUMENTS[2:-1]]) == 0
    changes = pl.read_csv(out / "changes.csv")
    assert changes["relabelled"].sum() == wrong - 1
    assert changes["removed"].sum() == 1
    assert "is the model under test" in capsys.readouterr().err


def test_who_made_the_corrected_version_is_known_of_a_file_too(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy, clean = tables
    decided(noisy, clean, tmp_path / "run")
    assert main(["apply", str(tmp_path / "run"), "--to", str(tmp_path / "applied")]) == 0
    call = [
        "evaluate",
        "--original",
        str(noisy),
        "--corrected",
        str(tmp_path / "applied/noisy.csv"),
    ]
    call += [*ARGUMENTS[:-1], "--allow-removed", "--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(call) == 0
    assert "is the model under test" in capsys.readouterr().err


def test_every_item_that_a_version_lacks_is_listed(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy, clean = tables
    pl.read_csv(clean).head(100).write_csv(tmp_path / "short.csv")
    call = ["--original", str(noisy), "--corrected", str(tmp_path / "short.csv"), *ARGUMENTS]
    for command in ("evaluate", "stages", "simulate"):
        assert main([command, *call, "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert all(f"k{n}" in told for n in range(100, 240))
        assert "--allow-removed" in told
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_evaluated_is_said(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy, clean = map(str, tables)
    assert main(["evaluate", "--original", noisy, "--out", str(tmp_path / "o")]) == 2
    assert "RUN, or --original and --corrected" in capsys.readouterr().err
    call = ["evaluate", "--original", noisy, "--corrected", clean, *ARGUMENTS]
    assert main([*call, "--out", str(tmp_path)]) == 2
    assert "other files" in capsys.readouterr().err
    here = ["evaluate", str(tmp_path / "run"), "--skip-bad", "--out", str(tmp_path / "o")]
    assert main(here) == 2
    assert "--skip-bad: found a choice beside RUN" in capsys.readouterr().err
    assert main(["simulate", "--original", noisy, "--out", str(tmp_path / "o")]) == 2
    told = capsys.readouterr().err
    assert "not both versions" in told
    assert "RUN" not in told
    assert main([*call, "--out", str(tmp_path / "o"), "--parts", "8:1"]) == 2
    assert "8:1:1" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_an_interrupted_evaluation_says_where_it_goes_on(
    tables: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut_short(options: GainOptions, out: Path, **_: Any) -> None:
        (out / "trainings").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("labelfix.run.gain.evaluate", cut_short)
    noisy, clean = map(str, tables)
    out = tmp_path / "out"
    call = ["evaluate", "--original", noisy, "--corrected", clean, *ARGUMENTS, "--out", str(out)]
    assert main(call) == 130
    assert f"{out} keeps what is done; the same command goes on there" in capsys.readouterr().err


def test_what_no_reviewer_can_do_is_said_before_anything_is_trained(
    tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy, clean = map(str, tables)
    monkeypatch.setattr("labelfix.predict.out_of_fold", None)  # whoever calls it fails
    options = GainOptions(original=noisy, corrected=clean, id="key", model="knn")
    with pytest.raises(InputError) as caught:
        simulate(options, [-1, 241], tmp_path / "o", error_rate=1.5)
    assert [one.where for one in caught.value.problems] == ["decisions", "decisions", "error_rate"]
    with pytest.raises(InputError, match="found a run"):
        simulate(GainOptions(run="somewhere"), [1], tmp_path / "o")


def test_a_run_without_decisions_names_the_command_that_begins(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = find(FindOptions(path=str(tables[0]), id="key", model="knn"), tmp_path / "my run")
    assert main(["evaluate", str(run.path), "--out", str(tmp_path / "o")]) == 2
    assert f"labelfix review '{run.path}'" in " ".join(capsys.readouterr().err.split())


def test_one_seed_and_equal_seeds_are_told(tables: tuple[Path, Path], tmp_path: Path) -> None:
    noisy, clean = map(str, tables)
    options = {"original": noisy, "corrected": clean, "id": "key", "model": "knn", "draws": 20}
    one = evaluate(GainOptions(seeds=1, **options), tmp_path / "o")  # type: ignore[arg-type] # mixed values
    assert "there is one seed" in gain_findings(one)[-1]
    two = evaluate(GainOptions(seeds=2, **options), tmp_path / "o")  # type: ignore[arg-type] # mixed values
    assert "Every seed gave the same answers" in gain_findings(two)[-1]
    many = evaluate(GainOptions(seeds=3, resplit=True, **options), tmp_path / "o")  # type: ignore[arg-type] # mixed values
    assert "From training to training the accuracy moves by" in gain_findings(many)[-1]


def test_the_corrected_version_of_a_run_is_what_applying_it_writes(
    tables: tuple[Path, Path], tmp_path: Path
) -> None:
    from labelfix.formats import read
    from labelfix.run import open_run
    from labelfix.run.applying import apply_run

    noisy, clean = tables
    decided(noisy, clean, tmp_path / "run")
    run = open_run(tmp_path / "run")
    apply_run(run, tmp_path / "applied")
    written = read(tmp_path / "applied" / "noisy.csv", id="key")
    _, corrected = versions_of_run(run)
    assert written.annotations.select("item_id", "label").equals(
        corrected.annotations.select("item_id", "label")
    )


def test_corrected_boxes_of_a_run_are_what_applying_it_writes(
    box_run: Path, tmp_path: Path
) -> None:
    from labelfix.formats import read
    from labelfix.run import open_run
    from labelfix.run.applying import apply_run

    run = open_run(box_run)
    given = run.annotations
    fingerprint = run.info.dataset.fingerprint
    log = DecisionLog(box_run / "decisions.jsonl", fingerprint)
    label, box, gone = (given.row(row, named=True) for row in (1, 2, 3))
    what: list[tuple[str, dict[str, Any], State | None]] = [
        ("set_label", label, State("dish")),
        ("set_box", box, State(box=(70.0, 80.0, 200.0, 190.0))),
        ("delete", gone, None),
        ("add_box", {**gone, "annotation_id": None}, State("cup", (10.0, 20.0, 60.0, 70.0))),
    ]
    for action, row, after in what:
        where = {name: row[name] for name in ("item_id", "annotation_id")}
        where |= {"reviewer": "ann", "fingerprint": fingerprint}
        log.append(new_decision(action, after=after, **where))  # type: ignore[arg-type] # names of actions
    original, corrected = versions_of_run(run)
    apply_run(run, tmp_path / "applied")
    columns = ["item_id", "label", "x1", "y1", "x2", "y2", "crowd"]
    written = read(tmp_path / "applied" / "coco.json").annotations.select(columns).sort(columns)
    assert corrected.annotations.select(columns).sort(columns).equals(written)
    assert not original.annotations.select(columns).sort(columns).equals(written)


@pytest.mark.parametrize("command", ["evaluate", "stages", "simulate"])
def test_voc_files_are_evaluated_as_they_are_meant(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Continuous pixels, classes in a given order, and without what cannot be read."""
    corners = "".join(f"<{edge}>{n}</{edge}>" for edge, n in VOC_BOX.items())
    box = f"<object><name>cat</name><bndbox>{corners}</bndbox></object>"
    for name, content in (("good", f"<annotation>{box}</annotation>"), ("bad", "<annotation>")):
        (tmp_path / f"{name}.xml").write_text(content)
        Image.new("L", (64, 48)).save(tmp_path / f"{name}.png")
    seen: list[Dataset] = []

    def keeping(*arguments: Any, **options: Any) -> Dataset:
        seen.append(read_as(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr("labelfix.run.gain.read_as", keeping)
    call = [command, "--original", str(tmp_path), "--corrected", str(tmp_path), "--skip-bad"]
    call += ["--voc-pixels", "continuous", "--class-names", "dog", "--class-names", "cat"]
    assert main([*call, "--out", str(tmp_path / "out")]) == 2  # auto is no detector
    assert [one.annotations.select(BOX).row(0) for one in seen] == [(2, 3, 20, 30)] * 2
    assert [one.class_names for one in seen] == [("dog", "cat")] * 2
    assert [len(one.skipped) for one in seen] == [1, 1]
