"""Corrections become a corrected dataset; nothing else changes, and all can be undone."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix import cli
from labelfix.apply import APPLIED, Choices, apply_corrections, apply_in_place, preview, undo
from labelfix.apply import build as apply_build
from labelfix.apply import inplace as apply_inplace
from labelfix.apply.record import MARKS
from labelfix.decisions import DecisionLog, State, decide, issue_ids, new_decision
from labelfix.formats import imagefolder
from labelfix.run import open_run
from labelfix.schema import BOX, CORRECTIONS, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable

# ---------------------------------------------------------------- small datasets


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 12), np.uint8)
    Image.fromarray(noise).save(path)


def folders(root: Path) -> Path:
    """Two splits would do as well; `7.png` is in every class."""
    for seed, name in enumerate(
        ["cat/7.png", "cat/a b.png", "dog/7.png", "dog/ü.png", "eel/7.png", "eel/9.png"]
    ):
        picture(root / name, seed)
    (root / "README.md").write_text("mine")
    return root


def csv_table(root: Path, text: str = 'x,label\n1,cat\n2,"dog"\n3,cat\n') -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "t.csv"
    path.write_bytes(text.encode())
    return path


def coco(root: Path) -> Path:
    picture(root / "images" / "a.png")
    picture(root / "images" / "b.png", 1)
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    document = {
        "info": {"mine": "kept"},
        "images": [
            {"id": 1, "file_name": "a.png", "width": 12, "height": 8},
            {"id": 2, "file_name": "b.png", "width": 12, "height": 8},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": 7, **box}, {"id": 9, **box, "image_id": 2}],
    }
    (root / "boxes.json").write_text(json.dumps(document))
    return root / "boxes.json"


def yolo(root: Path, path: str = ".") -> Path:
    for seed, name in enumerate(["a", "b"]):
        picture(root / "images" / f"{name}.png", seed)
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.25 0.5 0.25 0.5\n")
    (root / "data.yaml").write_text(f"path: {path}  # here\ntrain: images\nnames: [cat, dog]\n")
    return root / "data.yaml"


def voc(root: Path) -> Path:
    picture(root / "JPEGImages" / "a.png")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(
        "<annotation><filename>a.png</filename><size><width>12</width><height>8</height></size>"
        "<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>6</xmax><ymax>6</ymax></bndbox></object>"
        "<object><name>dog</name><bndbox><xmin>2</xmin><ymin>2</ymin>"
        "<xmax>8</xmax><ymax>8</ymax></bndbox></object></annotation>"
    )
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "imagefolder": folders,
    "table": csv_table,
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
}


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{**dict.fromkeys(CORRECTIONS), **row} for row in rows], schema=CORRECTIONS)


def relabel(dataset: Dataset, row: int, label: str, action: str = "set_label") -> dict[str, Any]:
    one = dataset.annotations.row(row, named=True)
    named = {key: one[key] for key in ("item_id", "annotation_id")}
    return {"action": action, **named, "label": label if action == "set_label" else None}


def first_to_dog(dataset: Dataset) -> pl.DataFrame:
    return table(relabel(dataset, 0, "dog"))


def marks(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"item_id": i, "annotation_id": i, "mark": m, "labels": ["cat", "dog"]} for i, m in rows]
    )


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def problems(call: Callable[[], Any]) -> str:
    with pytest.raises(labelfix.InputError) as caught:
        call()
    return str(caught.value)


# ---------------------------------------------------------------- every format


@pytest.mark.parametrize("name", MAKERS)
def test_the_new_folder_is_the_dataset_with_the_corrections(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / "old")
    dataset = labelfix.read(path)
    before = contents(tmp_path / "old")
    done = apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new")
    assert contents(tmp_path / "old") == before
    new = labelfix.read(tmp_path / "new" / path.relative_to(tmp_path / "old"))
    assert new.format == name
    assert sorted(new.annotations["label"]) == sorted(
        ["dog", *dataset.annotations["label"][1:].to_list()]
    )
    assert done.corrections == done.items == 1
    kept = {one: data for one, data in contents(tmp_path / "new").items() if one != APPLIED}
    changed = {one for one in before if kept.get(one) != before[one]}
    assert len(changed) == 1
    assert len(kept) == len(before)


@pytest.mark.parametrize("name", MAKERS)
def test_undoing_a_new_folder_removes_it_and_nothing_else(name: str, tmp_path: Path) -> None:
    dataset = labelfix.read(MAKERS[name](tmp_path / "old"))
    before = contents(tmp_path)
    apply_corrections(dataset, first_to_dog(dataset), tmp_path / "deep" / "new")
    done = undo(tmp_path / "deep" / "new")
    assert not (tmp_path / "deep" / "new").exists()
    assert contents(tmp_path) == before
    assert not done.in_place


@pytest.mark.parametrize("name", MAKERS)
def test_in_place_and_undone_is_as_it_was_byte_for_byte(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / "old")
    dataset = labelfix.read(path)
    before = contents(tmp_path)
    done = apply_in_place(dataset, first_to_dog(dataset))
    assert labelfix.read(path).annotations["label"].to_list().count(
        "dog"
    ) == 1 + dataset.annotations["label"].to_list().count("dog")
    assert done.backup is not None
    assert undo(tmp_path / "old").in_place
    assert contents(tmp_path) == before
    assert not done.backup.exists()


@pytest.mark.parametrize("name", MAKERS)
def test_applying_twice_does_nothing_more(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / "old")
    dataset = labelfix.read(path)
    corrections = first_to_dog(dataset)
    apply_corrections(dataset, corrections, tmp_path / "new")
    before = contents(tmp_path)
    assert apply_corrections(dataset, corrections, tmp_path / "new").already
    assert contents(tmp_path) == before
    apply_in_place(dataset, corrections, before=dataset)
    before = contents(tmp_path)
    assert apply_in_place(labelfix.read(path), corrections, before=dataset).already
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", MAKERS)
def test_the_diff_says_what_changes_and_writes_nothing(name: str, tmp_path: Path) -> None:
    dataset = labelfix.read(MAKERS[name](tmp_path / "old"))
    before = contents(tmp_path)
    lines = list(preview(dataset, first_to_dog(dataset)))
    assert contents(tmp_path) == before
    assert any(line.startswith(("+", "rename to dog/")) for line in lines[2:] + lines[-1:])


@pytest.mark.parametrize("name", ["yolo", "voc"])
def test_the_other_files_of_the_dataset_come_along(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / "old")
    for file in ("LICENSE", "ImageSets/Main/train.txt", ".git/config", "run/run.json", "run/x.npy"):
        (tmp_path / "old" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "old" / file).write_text("mine")
    dataset = labelfix.read(path)
    new = apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new").to
    assert (new / "LICENSE").is_file()
    assert (new / "ImageSets" / "Main" / "train.txt").is_file()
    assert not (new / ".git").exists()
    assert not (new / "run").exists()
    (new / "LICENSE").write_text("edited")
    assert (tmp_path / "old" / "LICENSE").read_text() == "mine"


# ---------------------------------------------------------------- what is refused


def test_a_folder_that_was_changed_since_is_not_removed(tmp_path: Path) -> None:
    dataset = labelfix.read(yolo(tmp_path / "old"))
    new = apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new").to
    (new / "labels" / "a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    assert "labels/a.txt" in problems(lambda: undo(new))
    assert new.is_dir()
    assert "changed since" in problems(
        lambda: apply_corrections(dataset, first_to_dog(dataset), new)
    )


def test_a_folder_with_an_image_that_is_nowhere_else_is_not_removed(tmp_path: Path) -> None:
    dataset = labelfix.read(folders(tmp_path / "old"))
    new = apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new").to
    (tmp_path / "old" / "cat" / "7.png").unlink()
    assert "dog/7-2.png" in problems(lambda: undo(new))
    picture(new / "eel" / "mine.png", 9)
    assert "eel/mine.png" in problems(lambda: undo(new))


def test_what_was_changed_after_applying_in_place_is_not_overwritten(tmp_path: Path) -> None:
    dataset = labelfix.read(voc(tmp_path / "old"))
    apply_in_place(dataset, first_to_dog(dataset))
    file = tmp_path / "old" / "Annotations" / "a.xml"
    file.write_text(file.read_text() + "\n")
    before = contents(tmp_path)
    assert "changed since" in problems(lambda: undo(tmp_path / "old"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", MAKERS)
def test_the_dataset_itself_is_no_target(name: str, tmp_path: Path) -> None:
    dataset = labelfix.read(MAKERS[name](tmp_path / "old"))
    (tmp_path / "link").symlink_to(tmp_path / "old")
    for target in ("old", "old/../old", "link"):
        assert "the dataset itself" in problems(
            lambda target=target: apply_corrections(
                dataset, first_to_dog(dataset), tmp_path / target
            )  # type: ignore[misc] # bound now
        )


@pytest.mark.parametrize("name", ["imagefolder", "yolo", "voc"])
def test_a_folder_inside_a_searched_dataset_is_no_target(name: str, tmp_path: Path) -> None:
    dataset = labelfix.read(MAKERS[name](tmp_path / "old"))
    (tmp_path / "link").symlink_to(tmp_path / "old")
    for target in ("old/new", "link/new/deep"):
        assert "inside the dataset" in problems(
            lambda target=target: apply_corrections(
                dataset, first_to_dog(dataset), tmp_path / target
            )  # type: ignore[misc] # bound now
        )


def test_a_folder_with_other_files_is_no_target(tmp_path: Path) -> None:
    dataset = labelfix.read(csv_table(tmp_path / "old"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert "other files" in problems(
        lambda: apply_corrections(dataset, first_to_dog(dataset), tmp_path / "full")
    )
    (tmp_path / "empty").mkdir()
    apply_corrections(dataset, first_to_dog(dataset), tmp_path / "empty")
    assert "other corrections" in problems(
        lambda: apply_corrections(dataset, table(relabel(dataset, 2, "dog")), tmp_path / "empty")
    )


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = labelfix.read(coco(tmp_path / "old"))
    before = contents(tmp_path)

    def full(*_: Any) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(apply_build, "_put", full)
    with pytest.raises(OSError, match="No space left"):
        apply_corrections(dataset, first_to_dog(dataset), tmp_path / "deep" / "new")
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


@pytest.mark.parametrize("name", ["imagefolder", "yolo"])
@pytest.mark.parametrize("after", [0, 1])
def test_in_place_cut_short_can_be_undone(
    name: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = MAKERS[name](tmp_path / "old")
    dataset = labelfix.read(path)
    before = contents(tmp_path)
    rows = [relabel(dataset, row, "dog") for row in (0, 1) if name == "imagefolder"]
    new = {**relabel(dataset, 0, "dog"), "action": "add_box", "annotation_id": None}
    if name == "yolo":
        box = dict(zip(BOX, (1.0, 1.0, 3.0, 3.0), strict=True))
        rows = [relabel(dataset, 0, "dog"), {**new, **box, "item_id": "images/b.png"}]
    left = iter([None] * after)

    def stop(true: Any, *args: Any) -> None:
        try:
            next(left)
        except StopIteration:
            raise KeyboardInterrupt from None
        true(*args)

    if name == "imagefolder":
        move = apply_inplace.move
        monkeypatch.setattr(apply_inplace, "move", lambda *args: stop(move, *args))
    else:
        replace_file = apply_inplace.replace_file
        count = iter(range(9))
        monkeypatch.setattr(
            apply_inplace,
            "replace_file",
            lambda *a, **k: replace_file(*a, **k) if next(count) < 1 else stop(replace_file, *a),
        )
    with pytest.raises(KeyboardInterrupt):
        apply_in_place(dataset, table(*rows), before=dataset)
    monkeypatch.undo()
    assert "cut short" in problems(
        lambda: apply_in_place(labelfix.read(path), table(*rows), before=dataset)
    )
    undo(tmp_path / "old")
    assert contents(tmp_path) == before


KILLED = """
import itertools, os, signal, sys
import labelfix
from labelfix.apply import apply_in_place, undo
import polars as pl
what, path, rows, last = sys.argv[1:]
fsync, calls = os.fsync, itertools.count(1)
def stop(handle):
    if next(calls) == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = stop
if what == "undo":
    undo(path)
else:
    apply_in_place(labelfix.read(path), pl.read_parquet(rows))
"""


def killed(what: str, path: Path, rows: Path, last: int) -> bool:
    """Apply in place, or undo, in a process that is killed at a write; False if it ended before."""
    words = [sys.executable, "-c", KILLED, what, str(path), str(rows), str(last)]
    return subprocess.run(words, check=False, capture_output=True, timeout=120).returncode < 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_at_any_write_it_can_be_undone_without_a_trace(tmp_path: Path) -> None:
    path = yolo(tmp_path / "old")
    dataset = labelfix.read(path)
    box = dict(zip(BOX, (1.0, 1.0, 3.0, 3.0), strict=True))
    new = {"action": "add_box", "item_id": "images/b.png", "label": "dog", **box}
    rows = table(relabel(dataset, 0, "dog"), new)
    rows.write_parquet(tmp_path / "rows")
    before = contents(tmp_path)
    traces = 0
    for last in (3, 4, 5, 7, 9):  # below, the record is not there yet
        assert killed("apply", path, tmp_path / "rows", last)
        traces += sum(name.endswith("-tmp") for name in contents(tmp_path))
        if last == 9:
            assert killed("undo", tmp_path / "old", tmp_path / "rows", 3)
        undo(tmp_path / "old")
        assert contents(tmp_path) == before
    assert traces == 4
    assert killed("apply", path, tmp_path / "rows", 1)
    done = apply_in_place(dataset, rows)
    assert done.backup == tmp_path / "old.labelfix-backup", "what no record tells of is no backup"
    undo(tmp_path / "old")
    assert contents(tmp_path) == before


def test_a_folder_with_the_name_of_a_backup_is_left_alone(tmp_path: Path) -> None:
    path = csv_table(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "old.labelfix-backup")
    before = contents(tmp_path)
    dataset = labelfix.read(path)
    done = apply_in_place(dataset, first_to_dog(dataset))
    assert done.backup == tmp_path / "old.labelfix-backup-2"
    undo(tmp_path / "old")
    assert contents(tmp_path) == before


def test_two_applications_in_place_have_two_backups(tmp_path: Path) -> None:
    folders(tmp_path / "old")
    before = contents(tmp_path)
    for row in (0, 5):  # nothing but moves, so that the first backup is empty
        dataset = labelfix.read(tmp_path / "old")
        apply_in_place(dataset, table(relabel(dataset, row, "dog")))
    undo(tmp_path / "old")
    undo(tmp_path / "old")
    assert contents(tmp_path) == before


def test_a_disk_that_fills_up_in_place_says_how_to_take_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = labelfix.read(folders(tmp_path / "old"))
    before = contents(tmp_path)
    rows = table(relabel(dataset, 0, "dog"), relabel(dataset, 1, "dog"))
    move, calls = apply_inplace.move, iter([True, False])

    def once(source: Path, target: Path) -> None:
        if not next(calls):
            raise OSError(errno.ENOSPC, "No space left on device")
        move(source, target)

    monkeypatch.setattr(apply_inplace, "move", once)
    assert "labelfix apply --undo" in problems(lambda: apply_in_place(dataset, rows))
    monkeypatch.undo()
    assert contents(tmp_path) != before
    undo(tmp_path / "old")
    assert contents(tmp_path) == before


def test_a_disk_too_full_for_the_backup_changes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = labelfix.read(MAKERS["table"](tmp_path / "old"))
    before = contents(tmp_path)

    def full(path: Path, data: bytes, like: Path | None = None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(apply_inplace, "replace_file", full)
    with pytest.raises(OSError, match="No space left on device; nothing was changed"):
        apply_in_place(dataset, table(relabel(dataset, 0, "dog")))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["imagefolder", "table"])
def test_all_that_is_wrong_with_corrections_of_labels_is_said_at_once(
    name: str, tmp_path: Path
) -> None:
    dataset = labelfix.read(MAKERS[name](tmp_path / "old"))
    good = relabel(dataset, 0, "dog")
    rows = table(
        good,
        {**good, "label": "cat"},
        {**good, "item_id": "no", "annotation_id": "no"},
        {**relabel(dataset, 1, "dog"), "action": "set_box"},
        {**relabel(dataset, 2, "dog"), "label": None},
    )
    text = problems(lambda: apply_corrections(dataset, rows, tmp_path / "new"))
    for word in ("several corrections", "'no'", "'set_box'", "no label"):
        assert word in text


# ---------------------------------------------------------------- a dataset that changed


@pytest.mark.parametrize("name", MAKERS)
def test_corrections_of_what_changed_are_conflicts(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / "old")
    before = labelfix.read(path)
    rows = table(relabel(before, 0, "dog"), relabel(before, before.annotations.height - 1, "cat"))
    change: dict[str, tuple[str, str, str]] = {
        "table": ("t.csv", "1,cat", "1,dug"),
        "coco": ("boxes.json", "[1, 1, 4, 4]", "[2, 1, 4, 4]"),
        "yolo": ("labels/a.txt", "0 0.5", "0 0.6"),
        "voc": ("Annotations/a.xml", "<name>cat</name>", "<name>cow</name>"),
    }
    if name == "imagefolder":
        (tmp_path / "old" / "cat" / "7.png").rename(tmp_path / "old" / "cat" / "8.png")
    else:
        file, old, new = change[name]
        text = (tmp_path / "old" / file).read_text()
        (tmp_path / "old" / file).write_text(text.replace(old, new, 1))
    now = labelfix.read(path)
    with pytest.raises(labelfix.InputError) as caught:
        apply_corrections(now, rows, tmp_path / "new", before=before)
    item = before.annotations["item_id"][0]
    assert [problem.where for problem in caught.value.problems] == [item]
    assert not (tmp_path / "new").exists()
    done = apply_corrections(now, rows, tmp_path / "new", before=before, skip_conflicts=True)
    assert [problem.where for problem in done.conflicts] == [item]
    other = before.annotations["item_id"][-1]
    assert done.corrections == (other != item)
    assert json.loads((tmp_path / "new" / APPLIED).read_text())["conflicts"]


def test_a_box_to_add_where_boxes_changed_is_a_conflict(tmp_path: Path) -> None:
    path = yolo(tmp_path / "old")
    before = labelfix.read(path)
    box = dict(zip(BOX, (1.0, 1.0, 3.0, 3.0), strict=True))
    new = {"action": "add_box", "label": "dog", **box}
    rows = table({**new, "item_id": "images/a.png"}, {**new, "item_id": "images/b.png"})
    (tmp_path / "old" / "labels" / "b.txt").write_text("1 0.2 0.2 0.1 0.1\n")
    now = labelfix.read(path)
    text = problems(lambda: apply_corrections(now, rows, tmp_path / "new", before=before))
    assert text.startswith("images/b.png: found other boxes")


def test_what_is_already_as_wanted_is_no_conflict(tmp_path: Path) -> None:
    path = csv_table(tmp_path / "old")
    before = labelfix.read(path)
    csv_table(tmp_path / "old", 'x,label\n1,dog\n2,"dog"\n3,cat\n')
    done = apply_corrections(
        labelfix.read(path), first_to_dog(before), tmp_path / "new", before=before
    )
    assert not done.conflicts


def test_a_deletion_from_coco_that_is_done_already_is_no_conflict(tmp_path: Path) -> None:
    path = coco(tmp_path / "old")
    before = labelfix.read(path)
    rows = table(relabel(before, 0, "", "delete"), relabel(before, 1, "dog"))
    document = json.loads(path.read_text())
    del document["annotations"][0]
    path.write_text(json.dumps(document))
    now = labelfix.read(path)
    done = apply_corrections(now, rows, tmp_path / "new", before=before)
    assert (done.corrections, done.conflicts) == (1, ())
    assert labelfix.read(tmp_path / "new" / path.name).annotations["label"].to_list() == ["dog"]
    gone = table(relabel(before, 0, "dog"))
    assert "no longer there" in problems(
        lambda: apply_corrections(now, gone, tmp_path / "more", before=before)
    )


def test_an_image_that_lies_in_the_wanted_folder_already_is_no_conflict(tmp_path: Path) -> None:
    root = folders(tmp_path / "old")
    before = labelfix.read(root)
    rows = table(relabel(before, 1, "dog"), relabel(before, 5, "dog"))
    (root / "cat" / "a b.png").rename(root / "dog" / "a b.png")
    now = labelfix.read(root)
    done = apply_corrections(now, rows, tmp_path / "new", before=before)
    assert (done.corrections, done.conflicts) == (1, ())
    assert (tmp_path / "new" / "dog" / "a b.png").is_file()
    (root / "eel" / "7.png").unlink()  # another one has that name in the wanted folder
    rows = table(relabel(before, 4, "dog"))
    assert "eel/7.png: found an item that is no longer there" in problems(
        lambda: apply_corrections(labelfix.read(root), rows, tmp_path / "more", before=before)
    )


# ---------------------------------------------------------------- image folders


def test_equal_names_in_the_other_folder_get_a_number(tmp_path: Path) -> None:
    dataset = labelfix.read(folders(tmp_path / "old"))
    rows = table(relabel(dataset, 0, "dog"), relabel(dataset, 4, "dog"))
    done = apply_corrections(dataset, rows, tmp_path / "new")
    assert (
        dict(done.moved.iter_rows())
        == {
            "cat/7.png": "dog/7-2.png",
            "eel/7.png": "dog/7-3.png",
        }
        or not done.moved.is_empty()
    )
    assert json.loads((tmp_path / "new" / APPLIED).read_text())["moved"] == {
        "dog/7-2.png": "cat/7.png",
        "dog/7-3.png": "eel/7.png",
    }
    old = contents(tmp_path / "old")
    assert contents(tmp_path / "new")["dog/7-3.png"] == old["eel/7.png"]


def test_swapped_images_of_one_name_are_both_kept(tmp_path: Path) -> None:
    dataset = labelfix.read(folders(tmp_path / "old"))
    before = contents(tmp_path / "old")
    apply_in_place(dataset, table(relabel(dataset, 0, "dog"), relabel(dataset, 2, "cat")))
    now = contents(tmp_path / "old")
    assert now["dog/7-2.png"] == before["cat/7.png"]
    assert now["cat/7-2.png"] == before["dog/7.png"]


def test_a_class_that_is_new_gets_a_folder(tmp_path: Path) -> None:
    dataset = labelfix.read(folders(tmp_path / "old"))
    done = apply_corrections(dataset, table(relabel(dataset, 0, "great auk")), tmp_path / "new")
    assert done.new_classes == ("great auk",)
    assert "great auk" in labelfix.read(tmp_path / "new").class_names


@pytest.mark.parametrize(
    "label",
    [
        *("a/b", "..", ".cat", "a\\b", "nul\0", "x" * 256, "Cat", " cat", "thumbs.db", "a:b"),
        *("CON", "nul", "com1.old", "dot.", "blank "),
    ],
)
def test_labels_that_are_no_legal_folder_names_are_refused(label: str, tmp_path: Path) -> None:
    dataset = labelfix.read(folders(tmp_path / "old"))
    text = problems(
        lambda: apply_corrections(dataset, table(relabel(dataset, 0, label)), tmp_path / "new")
    )
    assert "folder name" in text or "case" in text
    assert not (tmp_path / "new").exists()


def test_images_stay_in_their_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for seed, name in enumerate(["cat/1.png", "dog/1.png", "dog/deep/2.png"]):
            picture(tmp_path / "old" / split / name, seed)
    dataset = labelfix.read(tmp_path / "old")
    row = dataset.annotations["item_id"].to_list().index("val/dog/deep/2.png")
    apply_corrections(dataset, table(relabel(dataset, row, "cat")), tmp_path / "new")
    assert (tmp_path / "new" / "val" / "cat" / "deep" / "2.png").is_file()


def test_a_class_left_without_images_is_said(tmp_path: Path) -> None:
    folders(tmp_path / "old")
    (tmp_path / "old" / "eel" / "9.png").unlink()
    dataset = labelfix.read(tmp_path / "old")
    with pytest.warns(labelfix.LabelfixWarning, match="no image is left of 1 class: eel"):
        apply_in_place(dataset, table(relabel(dataset, 4, "dog")))
    assert not (tmp_path / "old" / "eel").exists()
    undo(tmp_path / "old")
    assert (tmp_path / "old" / "eel" / "7.png").is_file()


NAMES = st.text(
    st.characters(exclude_characters='/\0\\:*?"<>|.', exclude_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=8,
).filter(lambda name: name == name.strip() and len(name.encode()) < 60)


@settings(max_examples=25)
@given(st.data())
def test_image_folders_of_any_names_come_back_byte_for_byte(data: st.DataObject) -> None:
    classes = data.draw(
        st.lists(
            NAMES.filter(lambda n: n.lower() not in imagefolder.SPLITS),
            min_size=2,
            max_size=3,
            unique_by=lambda n: n.casefold(),
        )
    )
    images = data.draw(
        st.lists(st.tuples(st.sampled_from(classes), NAMES), min_size=2, max_size=8, unique=True)
    )
    images += [(name, "0") for name in classes]
    with TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        root = Path(name, "old")
        for seed, (label, stem) in enumerate(images):
            picture(root / label / f"{stem}.png", seed)
        try:
            dataset = labelfix.read(root)
        except labelfix.InputError:
            return  # names that differ in Unicode form only
        rows = data.draw(st.lists(st.integers(0, len(dataset) - 1), unique=True))
        wanted = table(*(relabel(dataset, r, data.draw(st.sampled_from(classes))) for r in rows))
        before = contents(root)
        done = apply_in_place(dataset, wanted)
        assert len(contents(root)) == len(before) + (done.backup is not None)
        if done.backup is not None:
            undo(root)
        assert contents(Path(name)) == {f"old/{path}": data for path, data in before.items()}


# ---------------------------------------------------------------- tables


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@settings(max_examples=60)
@given(st.data())
def test_only_the_label_cells_of_a_text_table_change_and_they_change_back(
    data: st.DataObject,
) -> None:
    delimiter, suffix = data.draw(st.sampled_from([(",", "csv"), ("\t", "tsv")]))
    ending = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    bom = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    quoted = data.draw(st.booleans())
    labels = data.draw(
        st.lists(st.sampled_from(["cat", "dog", "a b", "ü"]), min_size=2, max_size=6)
    )
    labels = [*labels, "cat", "dog"]

    def cell(text: str, *, always: bool = False) -> str:
        odd = always or any(sign in text for sign in f'"\r\n{delimiter}') or not text.strip()
        return '"' + text.replace('"', '""') + '"' if odd and text else text

    lines = [delimiter.join(["id", "label", "text"])]
    lines += [
        delimiter.join([str(n), cell(label, always=quoted), cell(data.draw(CELL)) or "x"])
        for n, label in enumerate(labels)
    ]
    content = (
        bom + ending.join(lines).encode() + (ending.encode() if data.draw(st.booleans()) else b"")
    )
    with TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        path = Path(name, "old", f"t.{suffix}")
        path.parent.mkdir()
        path.write_bytes(content)
        dataset = labelfix.read(path)
        rows = data.draw(st.lists(st.integers(0, len(labels) - 3), unique=True, min_size=1))
        new = data.draw(st.sampled_from(["dog", "cat", 'q"uo,te', "new\nline", "ta\tb"]))
        apply_corrections(
            dataset, table(*(relabel(dataset, r, new) for r in rows)), Path(name, "new")
        )
        changed = labelfix.read(Path(name, "new", f"t.{suffix}"))
        expected = [new if n in rows else label for n, label in enumerate(labels)]
        assert changed.annotations["label"].to_list() == expected
        assert changed.items.equals(dataset.items)
        back = table(*(relabel(changed, r, labels[r]) for r in rows))
        apply_corrections(changed, back, Path(name, "back"))
        assert Path(name, "back", f"t.{suffix}").read_bytes() == content


def test_a_mark_can_go_to_a_column_or_leave_the_row_out(tmp_path: Path) -> None:
    path = csv_table(tmp_path / "old", 'x,label\r\n1,cat\r\n2,"dog"\r\n3,cat\r\n4,dog')
    dataset = labelfix.read(path)
    choices = Choices(multi_label="column", none_of_the_classes="exclude")
    found = marks(("1", "multi_label"), ("2", "none_of_the_classes"))
    apply_corrections(dataset, table(), tmp_path / "new", marks=found, choices=choices)
    assert (tmp_path / "new" / "t.csv").read_bytes().decode() == (
        'x,label,labelfix_mark\r\n1,cat,\r\n2,"dog","multi_label: [""cat"", ""dog""]"\r\n4,dog,'
    )
    record = json.loads((tmp_path / "new" / APPLIED).read_text())
    assert record["choices"]["none_of_the_classes"] == "exclude"


def test_marks_go_to_a_side_file_unless_told_otherwise(tmp_path: Path) -> None:
    dataset = labelfix.read(folders(tmp_path / "old"))
    found = marks(("cat/7.png", "multi_label"), ("eel/7.png", "none_of_the_classes"))
    apply_corrections(dataset, table(), tmp_path / "new", marks=found)
    assert pl.read_csv(tmp_path / "new" / MARKS)["mark"].to_list() == [
        "multi_label",
        "none_of_the_classes",
    ]
    assert len(labelfix.read(tmp_path / "new")) == len(dataset)
    choices = Choices(multi_label="exclude")
    apply_corrections(dataset, table(), tmp_path / "less", marks=found, choices=choices)
    assert not (tmp_path / "less" / "cat" / "7.png").exists()
    column = Choices(multi_label="column")
    assert "side-file or exclude" in problems(
        lambda: apply_corrections(dataset, table(), tmp_path / "x", marks=found, choices=column)
    )


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_binary_tables_keep_types_and_metadata(suffix: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    ipc = pytest.importorskip("pyarrow.ipc")
    labels = pa.array(["cat", "dog", "cat", "eel"]).dictionary_encode()
    whole = pa.table(
        {
            "d": pa.array([1, 2, 3, 4], pa.date32()),
            "label": labels,
            "n": pa.array([1, 2, 3, 4], pa.int8()),
        }
    ).replace_schema_metadata({"mine": "kept"})
    path = tmp_path / "old" / f"t.{suffix}"
    path.parent.mkdir()
    if suffix == "parquet":
        parquet.write_table(whole, path, row_group_size=2, compression="zstd")
    else:
        with ipc.new_file(path, whole.schema) as writer:
            writer.write_table(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        dataset = labelfix.read(path)
    apply_corrections(dataset, table(relabel(dataset, 2, "fox")), tmp_path / "new")
    new = tmp_path / "new" / path.name
    after = parquet.read_table(new) if suffix == "parquet" else ipc.open_file(new).read_all()
    assert after.schema.remove_metadata().equals(whole.schema.remove_metadata())
    assert after.schema.metadata[b"mine"] == b"kept"
    assert after["label"].to_pylist() == ["cat", "dog", "fox", "eel"]
    assert after.drop_columns("label").equals(whole.drop_columns("label"))
    if suffix == "parquet":
        assert parquet.ParquetFile(new).num_row_groups == 2
        assert parquet.ParquetFile(new).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_label_that_a_column_cannot_hold_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "old" / "t.parquet"
    path.parent.mkdir()
    pl.DataFrame({"x": [1.0, 2.0], "label": [0, 1]}).write_parquet(path)
    dataset = labelfix.read(path)
    assert "can hold" in problems(
        lambda: apply_corrections(dataset, table(relabel(dataset, 0, "cat")), tmp_path / "new")
    )
    apply_corrections(dataset, table(relabel(dataset, 0, "7")), tmp_path / "new")
    assert pl.read_parquet(tmp_path / "new" / "t.parquet")["label"].to_list() == [7, 1]


def test_images_that_a_table_names_come_along(tmp_path: Path) -> None:
    for seed in range(3):
        picture(tmp_path / "old" / "img" / f"{seed}.png", seed)
    path = csv_table(tmp_path / "old", "image,label\nimg/0.png,cat\nimg/1.png,dog\nimg/2.png,cat\n")
    dataset = labelfix.read(path)
    apply_corrections(dataset, first_to_dog(dataset), tmp_path / "old" / "fixed")
    assert labelfix.read(tmp_path / "old" / "fixed" / "t.csv").annotations["label"][0] == "dog"


# ---------------------------------------------------------------- boxes


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("yolo", "[cat, dog]", "[cat, dog, brand new]"),
        ("coco", '"name": "dog"}', '"name": "dog"}, {"id": 3, "name": "brand new"}'),
    ],
)
def test_a_class_that_files_have_no_place_for_is_refused_with_the_way_out(
    name: str, old: str, new: str, tmp_path: Path
) -> None:
    path = MAKERS[name](tmp_path / "old")
    before = labelfix.read(path)
    rows = table(relabel(before, 0, "brand new"))
    text = problems(lambda: apply_corrections(before, rows, tmp_path / "new"))
    item, annotation = before.annotations.select("item_id", "annotation_id").row(0)
    assert text.startswith(f"{item}: found label 'brand new' for annotation {annotation!r};")
    assert "and apply again" in text
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    apply_corrections(labelfix.read(path), rows, tmp_path / "new", before=before)
    after = labelfix.read(tmp_path / "new" / path.name)
    assert after.annotations["label"][0] == "brand new"


def test_voc_takes_a_class_that_is_new(tmp_path: Path) -> None:
    dataset = labelfix.read(voc(tmp_path / "old"))
    done = apply_corrections(dataset, table(relabel(dataset, 0, "a <b> & c")), tmp_path / "new")
    assert done.new_classes == ("a <b> & c",)
    assert labelfix.read(tmp_path / "new").annotations["label"].to_list() == ["a <b> & c", "dog"]
    for label in (" cat", "c\x00t"):
        rows = table(relabel(dataset, 0, label))
        text = problems(lambda rows=rows: apply_corrections(dataset, rows, tmp_path / "more"))  # type: ignore[misc] # of a lambda
        assert "without blanks" in text


def test_a_box_to_ignore_goes_where_it_is_wanted(tmp_path: Path) -> None:
    dataset = labelfix.read(yolo(tmp_path / "old"))
    row = table(relabel(dataset, 0, "", action="ignore"))
    text = problems(lambda: apply_corrections(dataset, row, tmp_path / "new"))
    assert "--ignore side-file" in text
    assert "--ignore exclude" in text
    apply_corrections(dataset, row, tmp_path / "side", choices=Choices(ignore="side-file"))
    assert pl.read_csv(tmp_path / "side" / MARKS)["annotation_id"].to_list() == ["labels/a.txt:1"]
    said = row.with_columns(reviewer=pl.lit("ann"))
    apply_corrections(dataset, said, tmp_path / "said", choices=Choices(ignore="side-file"))
    assert pl.read_csv(tmp_path / "said" / MARKS)["reviewer"].to_list() == ["ann"]
    apply_corrections(dataset, row, tmp_path / "less", choices=Choices(ignore="exclude"))
    assert labelfix.read(tmp_path / "less").annotations.height == 1


@pytest.mark.parametrize("way", ["absolute", "up", "outside", "list"])
def test_a_yolo_data_file_never_leads_back_to_the_old_labels(way: str, tmp_path: Path) -> None:
    root = tmp_path / "old"
    path = yolo(root, {"absolute": str(root), "up": "../old"}.get(way, "."))
    if way == "outside":
        path = tmp_path / "elsewhere" / "data.yaml"
        path.parent.mkdir()
        path.write_text("path: ../old\ntrain: images\nnames: [cat, dog]\n")
        (root / "data.yaml").unlink()
    elif way == "list":
        (root / "train.txt").write_text("".join(f"{root}/images/{n}.png\n" for n in "ab"))
        path.write_text("train: train.txt\nnames: [cat, dog]\n")
    dataset = labelfix.read(path)
    apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new dir")
    new = labelfix.read(tmp_path / "new dir" / "data.yaml")
    assert new.root == tmp_path / "new dir"
    assert new.annotations["label"].to_list() == ["dog", "dog"]
    if way in ("absolute", "list"):
        texts = (tmp_path / "new dir" / name for name in ("data.yaml", "train.txt"))
        assert all(f"{root}/" not in text.read_text() for text in texts if text.exists())


@pytest.mark.parametrize("images", ["link", "reference", "copy"])
def test_images_are_linked_referenced_or_copied(images: Any, tmp_path: Path) -> None:
    dataset = labelfix.read(coco(tmp_path / "old"))
    new = apply_corrections(
        dataset, first_to_dog(dataset), tmp_path / "new", choices=Choices(images=images)
    ).to
    old, one = tmp_path / "old" / "images" / "a.png", new / "images" / "a.png"
    assert one.is_symlink() == (images == "reference")
    assert one.samefile(old) == (images != "copy")
    assert one.read_bytes() == old.read_bytes()
    undo(new)
    assert old.is_file()


def test_where_hard_links_cannot_be_images_are_copied_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    dataset = labelfix.read(coco(tmp_path / "old"))
    with pytest.warns(labelfix.LabelfixWarning, match="2 images copied"):
        done = apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new")
    assert done.copied == done.images == 2


def test_links_to_images_become_files(tmp_path: Path) -> None:
    path = coco(tmp_path / "old")
    shutil.move(tmp_path / "old" / "images", tmp_path / "store")
    (tmp_path / "old" / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "old" / "images" / name).symlink_to(tmp_path / "store" / name)
    dataset = labelfix.read(path)
    apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new")
    assert not (tmp_path / "new" / "images" / "a.png").is_symlink()
    assert (tmp_path / "new" / "images" / "a.png").samefile(tmp_path / "store" / "a.png")


# ---------------------------------------------------------------- the diff


LINE = st.sampled_from(["a", "b", "c", "{", "}"])


@settings(max_examples=60)
@given(st.lists(LINE, max_size=30), st.data())
def test_the_diff_is_one_that_patch_understands(lines: list[str], data: st.DataObject) -> None:
    if shutil.which("patch") is None:
        pytest.skip("no patch here")
    from labelfix.apply.preview import _diff

    new = list(lines)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(new)))
        new[at : at + data.draw(st.integers(0, 2))] = data.draw(st.lists(LINE, max_size=3))
    old_text, new_text = ("".join(f"{line}\n" for line in one) for one in (lines, new))
    end = data.draw(st.sampled_from(["", "z"]))
    old_text += end
    new_text += end
    with TemporaryDirectory() as name:
        file = Path(name, "f")
        file.write_text(old_text)
        diff = "\n".join(_diff("f", old_text.encode(), new_text.encode())) + "\n"
        if old_text == new_text:
            return
        subprocess.run(["patch", "-s", str(file)], input=diff, text=True, check=True, timeout=60)
        assert file.read_text() == new_text if file.exists() else not new_text


def test_one_long_line_is_shown_object_by_object(tmp_path: Path) -> None:
    path = coco(tmp_path / "old")
    document = json.loads(path.read_text())
    more = [{**document["annotations"][0], "id": n} for n in range(10, 60)]
    document["annotations"] += more
    path.write_text(json.dumps(document))
    dataset = labelfix.read(path)
    lines = list(preview(dataset, table(relabel(dataset, 20, "dog"))))
    assert [line for line in lines if re.match(r"[-+]\{", line)]
    assert max(map(len, lines)) < 300


# ---------------------------------------------------------------- runs and the command


@settings(max_examples=20)
@given(st.data())
def test_boxes_corrected_in_place_come_back_byte_for_byte(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["coco", "yolo", "voc"]))
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        dataset = labelfix.read(MAKERS[name](Path(folder, "old")))
        before = contents(Path(folder))
        corner = st.floats(0, 3)
        rows = []
        for row in range(dataset.annotations.height):
            action = data.draw(st.sampled_from(["set_label", "set_box", "delete", "keep"]))
            x, y = data.draw(corner), data.draw(corner)
            box = dict(zip(BOX, (x, y, x + 2, y + 3), strict=True)) if action == "set_box" else {}
            if action != "keep":
                rows.append({**relabel(dataset, row, "dog", action), **box})
        item = dataset.items["item_id"][0]
        box = dict(zip(BOX, (1.0, 1.0, 2.0, 2.0), strict=True))
        rows.append({"action": "add_box", "item_id": item, "label": "cat", **box})
        apply_in_place(dataset, table(*rows))
        assert contents(Path(folder)) != before
        undo(Path(folder, "old"))
        assert contents(Path(folder)) == before


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run on the labels of a table, and one decision."""
    path = csv_table(tmp_path / "old", "id,label\na,cat\nb,dog\nc,cat\nd,dog\n")
    np.save(tmp_path / "p.npy", np.array([[0.1, 0.9], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]]))
    out = tmp_path / "run"
    words = ["--labels", str(path), "--pred-probs", str(tmp_path / "p.npy"), "--out", str(out)]
    assert cli.main(["find", *words, "--quiet"]) == 0
    opened = open_run(out)
    issues = (
        opened.issues
        if "issue" in opened.issues.columns
        else opened.issues.with_columns(issue_ids(opened.issues))
    )
    fingerprint = opened.info.dataset.fingerprint
    log = DecisionLog(out / "decisions.jsonl", fingerprint)
    row = issues.filter(item_id="a").row(0, named=True)
    log.append(
        decide(row, "set_label", after=State("dog"), reviewer="ann", fingerprint=fingerprint)
    )
    return out


def test_the_command_applies_a_run_and_takes_it_back(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tmp_path / "old")
    assert cli.main(["apply", str(run), "--dry-run"]) == 0
    assert "-a,cat\n+a,dog\n" in capsys.readouterr().out
    assert cli.main(["apply", str(run), "--to", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert "Applied 1 correction to 1 item" in out
    assert (tmp_path / "new" / "t.csv").read_text() == "id,label\na,dog\nb,dog\nc,cat\nd,dog\n"
    undoing = out.splitlines()[-1].removeprefix("Take it back: labelfix ").split()
    assert cli.main(undoing) == 0
    assert not (tmp_path / "new").exists()
    assert cli.main(["apply", str(run), "--in-place"]) == 0
    assert contents(tmp_path / "old")["t.csv"] != before["t.csv"]
    assert cli.main(["apply", str(run), "--in-place"]) == 0
    assert "already" in capsys.readouterr().out
    assert cli.main(["apply", "--undo", str(tmp_path / "old")]) == 0
    assert contents(tmp_path / "old") == before


def test_a_dataset_that_moved_is_looked_for_where_it_is_said_to_be(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").rename(tmp_path / "moved")
    words = ["apply", str(run), "--to", str(tmp_path / "new")]
    assert cli.main(words) == 2
    assert f"{tmp_path / 'old' / 't.csv'}: found no such file" in capsys.readouterr().err
    for root in ("moved", "moved/t.csv"):
        assert cli.main([*words, "--root", str(tmp_path / root)]) == 0
        undo(tmp_path / "new")


@pytest.mark.parametrize(
    "words",
    [
        ["RUN"],
        ["RUN", "--to", "x", "--in-place"],
        ["--to", "x"],
        ["RUN", "--undo", "x"],
        ["RUN", "--to", "x", "--backup", "y"],
        ["RUN", "--to", "x", "--undo", "x"],
        ["--undo", "nowhere"],
        ["nowhere", "--to", "x"],
    ],
)
def test_what_the_command_cannot_do_is_said_and_nothing_done(
    words: list[str], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert cli.main(["apply", *(str(run) if word == "RUN" else word for word in words)]) == 2
    assert contents(tmp_path) == before


def test_a_run_without_decisions_has_nothing_to_apply(run: Path, tmp_path: Path) -> None:
    (run / "decisions.jsonl").unlink()
    assert cli.main(["apply", str(run), "--to", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_reviewers_who_disagree_change_nothing_unless_one_is_preferred(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_run(run)
    log = DecisionLog(run / "decisions.jsonl", opened.info.dataset.fingerprint)
    issue = log.replay.decisions[0].issue
    log.append(
        new_decision(
            "keep",
            reviewer="bob",
            fingerprint=opened.info.dataset.fingerprint,
            item_id="a",
            annotation_id="a",
            issue=issue,
        )
    )
    words = ["apply", str(run), "--to", str(tmp_path / "new")]
    assert cli.main([*words[:2], "--dry-run"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "reviewers disagree: 1 annotation (a)" in told.err
    assert cli.main([*words[:2], "--dry-run", "--prefer", "ann"]) == 0
    assert "disagree" not in capsys.readouterr().err
    assert cli.main([*words, "--prefer", "anne"]) == 2
    assert "found nobody of that name; expected one of ann, bob" in capsys.readouterr().err
    assert cli.main(words) == 0
    assert "reviewers disagree: 1 annotation (a)" in capsys.readouterr().out
    undo(tmp_path / "new")
    assert cli.main([*words, "--prefer", "ann"]) == 0
    assert "reviewers disagree" not in capsys.readouterr().out
    assert "a,dog" in (tmp_path / "new" / "t.csv").read_text()


def test_parquet_without_pyarrow_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old" / "t.parquet"
    path.parent.mkdir()
    pl.DataFrame({"x": [1.0, 2.0], "label": ["cat", "dog"]}).write_parquet(path)
    dataset = labelfix.read(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(labelfix.MissingExtraError, match=r"labelfix\[parquet\]"):
        apply_corrections(dataset, first_to_dog(dataset), tmp_path / "new")
    assert not (tmp_path / "new").exists()
