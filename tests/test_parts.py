"""Parts of box datasets in their own format: what is kept stands there as it was read."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix.cli import main
from labelfix.errors import InputError, LabelfixWarning
from labelfix.metadata import export

if TYPE_CHECKING:
    from collections.abc import Callable

    from labelfix.schema import Dataset

NAMES = ["a.png", "b c.png", "ü.png", "sub/d.png", "e.jpg", "f.png"]
N_BOXES = [2, 0, 1, 3, 1, 1]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (200, 100, 50)).save(path)


def write_coco(root: Path) -> Path:
    """A document with unknown members, ids with gaps, its own layout, an image without boxes."""
    for name in NAMES:
        picture(root / "images" / name)
    images = [
        {"file_name": name, "id": 10 * n + 3, "height": 30, "width": 40, "flickr": {"a": [n, None]}}
        for n, name in enumerate(NAMES)
    ]
    boxes = [
        {"id": 100 * n + k, "image_id": 10 * n + 3, "category_id": 7 - 4 * (k % 2), "note": "é,[{"}
        | {"bbox": [1.50, 2, 10 + k, 5.0], "area": 50, "iscrowd": k % 2, "segmentation": [[1, 2]]}
        for n, many in enumerate(N_BOXES)
        for k in range(many)
    ]
    boxes = boxes[::2] + boxes[1::2]  # not in the order of the images
    classes = [{"id": 7, "name": "cup", "supercategory": "x"}, {"id": 3, "name": "dish"}]
    content = {"info": {"year": 2020}, "annotations": boxes, "images": images}
    content |= {"categories": classes, "licenses": []}
    (root / "labels").mkdir(parents=True)
    path = root / "labels" / "instances_all.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_yolo(root: Path) -> Path:
    """Folders and a list, comments, odd numbers, a missing label file and an empty one."""
    for n, name in enumerate(NAMES):
        split = "train" if n < 4 else "val"
        picture(root / "images" / split / name)
        label = root / "labels" / split / Path(name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        rows = ["1 0.5 .5 0.250 0.10\r\n", "# no row\n", "0 0.5 0.5 0.1 0.1"][: N_BOXES[n] + 1]
        if n != 1:
            label.write_text("".join(rows) if n != 5 else "", encoding="utf-8", newline="")
    (root / "val.txt").write_text("./images/val/e.jpg\n\nimages/val/f.png\n", encoding="utf-8")
    path = root / "data.yaml"
    path.write_text("# mine\ntrain: images/train\nval: val.txt\nnames: [cup, dish]\n")
    return path


def write_voc(root: Path) -> Path:
    """Files with elements that nobody knows, and a list of a split."""
    for n, name in enumerate(NAMES):
        picture(root / "JPEGImages" / name)
        boxes = "".join(
            f"<object><name>{('cup', 'dish')[k % 2]}</name><odd x='1'/><bndbox><xmin>1</xmin>"
            f"<ymin>2</ymin><xmax>{10 + k}</xmax><ymax>9</ymax></bndbox></object>\n"
            for k in range(N_BOXES[n])
        )
        file = root / "Annotations" / Path(name).with_suffix(".xml")
        file.parent.mkdir(parents=True, exist_ok=True)
        size = "<size><width>40</width><height>30</height></size>"
        file.write_text(f"<annotation><!-- x -->{size}{boxes}</annotation>", encoding="utf-8")
    lists = root / "ImageSets" / "Main" / "all.txt"
    lists.parent.mkdir(parents=True)
    lists.write_text("".join(f"{Path(name).stem}\n" for name in NAMES), encoding="utf-8")
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
}
FORMATS = pytest.mark.parametrize("form", WRITERS)


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("originals")
    return {form: write(home / form) for form, write in WRITERS.items()}


def read(path: Path, **options: Any) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)
        return labelfix.read(path, **options)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def originals_in(out: Path, path: Path, root: Path) -> Path:
    """Where in a part the file is that the whole was read from."""
    return out / path.relative_to(root)


def written(dataset: Dataset) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return contents(export(dataset, "folder", Path(folder, "out")))


@FORMATS
def test_everything_kept_gives_the_same_bytes(
    originals: dict[str, Path], form: str, tmp_path: Path
) -> None:
    dataset = read(originals[form])
    assert dataset.root is not None
    assert contents(export(dataset, "folder", tmp_path / "out")) == contents(dataset.root)


@FORMATS
@settings(max_examples=15)
@given(keep=st.lists(st.booleans(), min_size=6, max_size=6).filter(any))
def test_a_part_reads_back_as_the_filtered_dataset(
    originals: dict[str, Path], form: str, keep: list[bool]
) -> None:
    whole = read(originals[form])
    part = whole.filter(pl.lit(pl.Series(keep)))
    with tempfile.TemporaryDirectory() as folder:
        out = export(part, "folder", Path(folder, "out"))
        assert whole.root is not None
        names = whole.class_names if form == "voc" else None  # else they are those of its boxes
        again = read(originals_in(out, originals[form], whole.root), class_names=names)
    assert again.items.equals(part.items)
    assert again.annotations.equals(part.annotations)
    assert again.class_names == whole.class_names


@FORMATS
@settings(max_examples=15)
@given(one=st.lists(st.booleans(), min_size=6, max_size=6), data=st.data())
def test_parts_put_together_are_the_whole(
    originals: dict[str, Path], form: str, one: list[bool], data: st.DataObject
) -> None:
    rows = pl.lit(pl.Series(one))
    whole, again = read(originals[form]), read(originals[form])
    both = whole.filter(rows) + again.filter(~rows)
    more = pl.lit(pl.Series(data.draw(st.lists(st.booleans(), min_size=6, max_size=6))))
    either = again.filter(~rows | more) | whole.filter(rows | more)
    expected = written(whole)
    assert written(both) == expected
    assert written(either) == expected


def test_what_is_kept_of_a_document_keeps_its_text(originals: dict[str, Path]) -> None:
    part = read(originals["coco"]).filter(pl.col("image_id").is_in([3, 33]))
    text = written(part)["labels/instances_all.json"].decode()
    old = json.loads(originals["coco"].read_text(encoding="utf-8"))
    expected: dict[str, Any] = old | {
        "images": [one for one in old["images"] if one["id"] in {3, 33}],
        "annotations": [one for one in old["annotations"] if one["image_id"] in {3, 33}],
    }
    assert text == json.dumps(expected, indent=1, ensure_ascii=False) + "\n"


def test_a_document_without_pictures_has_parts_too(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "in")
    for image in (tmp_path / "in").rglob("*.[pj][np]g"):
        image.unlink()
    part = read(path).filter(pl.col("image_id") == 3)
    out = export(part, "folder", tmp_path / "out")
    assert list(contents(out)) == ["instances_all.json"]
    assert len(read(out / "instances_all.json")) == 1


def test_a_yolo_part_does_not_lead_back_to_the_whole(tmp_path: Path) -> None:
    path = write_yolo(tmp_path / "in")
    path.write_text(f"path: {tmp_path / 'in'}\n" + path.read_text())
    out = export(read(path).filter(pl.col("split") == "train"), "folder", tmp_path / "out")
    again = labelfix.read(out)
    assert again.root == out
    assert again.items["split"].unique().to_list() == ["train"]
    assert (out / "val.txt").read_text() == "\n"


def test_lists_of_splits_lose_what_is_not_kept(originals: dict[str, Path]) -> None:
    part = read(originals["voc"]).filter(pl.col("item_id").str.ends_with("d.png"))
    assert written(part)["ImageSets/Main/all.txt"] == b"d\n"


def test_lists_with_flags_lose_lines_and_links_lead_nowhere(tmp_path: Path) -> None:
    path = write_voc(tmp_path / "in")
    lists = path / "ImageSets" / "Main"
    (lists / "cup_train.txt").write_bytes(b"a  1\r\nb c -1\r\nnobody 1\r\n\r\n")
    (lists / "folder.txt").mkdir()
    (tmp_path / "secret.txt").write_text("not of the dataset\n")
    (lists / "link.txt").symlink_to(tmp_path / "secret.txt")
    files = written(read(path).filter(pl.col("item_id").str.ends_with("a.png")))
    assert files["ImageSets/Main/cup_train.txt"] == b"a  1\r\nnobody 1\r\n\r\n"
    assert not {"ImageSets/Main/folder.txt", "ImageSets/Main/link.txt"} & set(files)


def test_an_annotation_file_that_changed_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "in")
    dataset = read(path)
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(InputError, match="a changed file"):
        export(dataset, "folder", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_nothing_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    nothing = read(originals["voc"]).filter(pl.lit(value=False))
    with pytest.raises(InputError, match="no item that fits"):
        export(nothing, "folder", tmp_path / "out")


def test_images_are_links_unless_copied(originals: dict[str, Path], tmp_path: Path) -> None:
    dataset = read(originals["coco"])
    assert dataset.root is not None
    before = (dataset.root / "images" / "a.png").stat()
    export(dataset, "folder", tmp_path / "linked")
    export(dataset, "folder", tmp_path / "copied", copy=True)
    assert (tmp_path / "linked/images/a.png").stat().st_ino == before.st_ino
    assert (tmp_path / "copied/images/a.png").stat().st_ino != before.st_ino


@FORMATS
@pytest.mark.parametrize(("to", "name"), [("folder", "out"), ("list", "o.txt"), ("table", "o.csv")])
def test_the_command_writes_parts_of_boxes(
    originals: dict[str, Path], tmp_path: Path, form: str, to: str, name: str
) -> None:
    out = tmp_path / name
    condition = "'a.png' in item_id or 'd.png' in item_id"
    call = ["filter", str(originals[form]), "--where", condition, "--to", to, "--out", str(out)]
    assert main([*call, "--quiet"]) == 0
    if to == "folder":
        assert len([one for one in contents(out) if one.endswith(".png")]) == 2
    elif to == "list":
        assert [Path(line).name for line in out.read_text().splitlines()] == ["a.png", "d.png"]
    else:
        assert pl.read_csv(out).height == (5 if form != "yolo" else 4)
