"""YOLO datasets are read whole, and patched without touching another byte."""

from __future__ import annotations

import doctest
import os
import shutil
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix.formats import files, numbers, oddities, yolo
from labelfix.formats.yolo import data as yolo_data
from labelfix.schema import BOX, CORRECTIONS, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(os.environ.get("LABELFIX_DATA", Path(__file__).parents[2] / "shared" / "data"))
NAMES = ["cat", "dog", "a b", "größe"]
YAML = "path: .\ntrain: images\nnames: [cat, dog, a b, größe]\n"
ROW = "0 0.5 0.5 0.25 0.5\n"


def picture(path: Path, size: tuple[int, int] = (64, 48), **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path, **options)


def write(
    root: Path,
    labels: dict[str, str | bytes | None],
    config: str = YAML,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """A dataset with an image for each label file, named by the image."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(config, encoding="utf-8")
    for image, text in labels.items():
        picture(root / image, size)
        if text is not None:
            label = root / yolo_data.label_path(image)
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / "data.yaml"


def corrections(*rows: dict[str, Any]) -> pl.DataFrame:
    empty = dict.fromkeys(CORRECTIONS)
    return pl.DataFrame([{**empty, **row} for row in rows], schema=CORRECTIONS)


def change(dataset: Dataset, row: int, action: str, **values: Any) -> dict[str, Any]:
    given = dataset.annotations.row(row, named=True)
    named = {name: given[name] for name in ("annotation_id", "item_id")}
    return {"action": action, **named, **values}


def box(*edges: float) -> dict[str, float]:
    return dict(zip(BOX, edges, strict=True))


def apply(dataset: Dataset, *rows: dict[str, Any], **options: Any) -> dict[str, bytes]:
    """Write the patched files, and give them."""
    assert dataset.root is not None
    done = {str(path): data for path, data in yolo.patched(dataset, corrections(*rows), **options)}
    for path, data in done.items():
        (dataset.root / path).parent.mkdir(parents=True, exist_ok=True)
        (dataset.root / path).write_bytes(data)
    return done


def problems(path: Path, **options: Any) -> list[labelfix.Problem]:
    with pytest.raises(labelfix.InputError) as caught:
        labelfix.read(path, **options)
    return list(caught.value.problems)


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


# ---------------------------------------------------------------- reading


def test_rows_become_boxes_in_pixels(tmp_path: Path) -> None:
    dataset = labelfix.read(write(tmp_path, {"images/a.png": "1 0.5 0.5 0.25 1\n3 0.25 .5 .5 .5"}))
    assert dataset.format == "yolo"
    assert dataset.class_names == tuple(NAMES)
    assert dataset.annotations.rows() == [
        ("labels/a.txt:1", "images/a.png", "dog", 24, 0, 40, 48, False),
        ("labels/a.txt:2", "images/a.png", "größe", 0, 12, 32, 36, False),
    ]
    assert dataset.items.rows() == [("images/a.png", "images/a.png", "train", 64, 48)]
    assert dataset.image_paths == [tmp_path / "images/a.png"]


def test_awkward_names_stay_apart(tmp_path: Path) -> None:
    images = [
        "images/one/same.png",
        "images/two/same.PNG",
        "images/two/with space.jpg",
        "images/two/ünï·日本.jpeg",
        "images/images/deep.png",
        "images/two.dots.png",
    ]
    labels: dict[str, str | bytes | None] = {
        name: f"0 0.5 0.5 0.{i + 1} 0.5\n" for i, name in enumerate(images)
    }
    dataset = labelfix.read(write(tmp_path, labels))
    assert set(dataset.items["item_id"]) == set(images)
    assert dataset.annotations["annotation_id"].to_list() == [
        yolo_data.label_path(name) + ":1" for name in sorted(images)
    ]
    files = {str(path): data for path, data in yolo.patched(dataset, corrections())}
    for name in images:
        assert files[yolo_data.label_path(name)] == labels[name].encode()  # type: ignore[union-attr] # text, above


def test_the_last_images_folder_is_the_one_that_becomes_labels() -> None:
    assert yolo_data.label_path("images/x/images/a.png") == "images/x/labels/a.txt"


def test_equal_stems_share_a_label_file_and_stay_as_they_are(tmp_path: Path) -> None:
    labels = {"images/a.jpg": ROW, "images/a.png": ROW, "images/b.png": ROW}
    file = write(tmp_path, labels)  # type: ignore[arg-type] # none is missing
    with pytest.warns(labelfix.LabelfixWarning, match=r"images/a\.png and images/a\.jpg"):
        dataset = labelfix.read(file)
    assert dataset.items["item_id"].to_list() == ["images/a.jpg", "images/a.png", "images/b.png"]
    assert dataset.annotations["item_id"].to_list() == dataset.items["item_id"].to_list()
    assert dataset.annotations["annotation_id"].is_unique().all()
    given = [str(path) for path, _ in yolo.patched(dataset, corrections())]
    assert given.count("labels/a.txt") == 1
    done = apply(dataset, change(dataset, 2, "set_label", label="dog"))
    assert done["labels/a.txt"] == ROW.encode()
    assert done["labels/b.txt"] == ROW.replace("0", "1", 1).encode()
    for row, one in enumerate(["images/a.jpg", "images/a.png"]):
        added = {"action": "add_box", "item_id": one, "label": "cat", **box(1, 1, 9, 9)}
        for correction in (change(dataset, row, "delete"), added):
            with pytest.raises(labelfix.InputError, match="another image's label file") as caught:
                yolo.patched(dataset, corrections(correction))
            assert [problem.where for problem in caught.value.problems] == [one]


def test_a_missing_label_file_is_not_an_empty_one(tmp_path: Path) -> None:
    labels = {"images/none.png": None, "images/empty.png": "", "images/one.png": ROW}
    dataset = labelfix.read(write(tmp_path, labels))  # type: ignore[arg-type] # None is missing
    assert len(dataset) == 3
    assert dataset.annotations.height == 1
    files = {str(path): data for path, data in yolo.patched(dataset, corrections())}
    assert files["labels/empty.txt"] == b""
    assert "labels/none.txt" not in files


def test_images_are_as_shown(tmp_path: Path) -> None:
    file = write(tmp_path, {"images/a.jpg": "0 0.5 0.5 1 1"})
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images/a.jpg", (64, 48), exif=exif)
    dataset = labelfix.read(file)
    assert dataset.items.select("width", "height").rows() == [(48, 64)]
    assert dataset.annotations.select(BOX).rows() == [(0, 0, 48, 64)]


def test_blank_lines_and_comments_are_passed_over_and_lines_count_on(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf\r\n# by hand\r\n  0\t0.5 0.5  0.5 0.5 \r\n\r\n1.0 0.5 0.5 0.5 0.5"
    dataset = labelfix.read(write(tmp_path, {"images/a.png": text}))
    assert dataset.annotations.select("annotation_id", "label").rows() == [
        ("labels/a.txt:3", "cat"),
        ("labels/a.txt:5", "dog"),
    ]


def test_repeated_rows_are_kept(tmp_path: Path) -> None:
    assert labelfix.read(write(tmp_path, {"images/a.png": ROW * 3})).annotations.height == 3


def test_polygons_are_read_as_the_boxes_around_them(tmp_path: Path) -> None:
    rows = "0 0.25 0.5 0.75 0.25 0.5 1.0\n1 0.5 0.5 0.5 0.5\n0 0 0 1 0 1 1 0 1\n"
    dataset = labelfix.read(write(tmp_path, {"images/a.png": rows}))
    assert dataset.annotations.select(BOX).rows() == [
        (16, 12, 48, 48),
        (16, 12, 48, 36),
        (0, 0, 64, 48),
    ]


CORNERS = "0 0 0 1 0 1 1 0 1\n"
POINTS = "0 .5 .4 .2 .4  .45 .3  0 0  .6 .6\n"  # the second one unseen
TRIPLES = "0 .5 .4 .2 .4  .45 .3 2  0 0 0  .6 .6 1  .5 .5 2\n"
TRIANGLES = "0 .5 .4 .2 .4 .45 .3 .9 .9 .6 .6\n"


@pytest.mark.filterwarnings("ignore:.*outside the image:labelfix.LabelfixWarning")  # a 2 is
@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CORNERS, "oriented boxes"),
        (5 * POINTS, "3 points inside it"),
        (5 * TRIPLES, "4 points inside it"),
    ],
)
def test_rows_that_are_no_polygons_are_refused_unless_they_are_said_to_be(
    tmp_path: Path, text: str, found: str
) -> None:
    file = write(tmp_path, {"images/a.png": text})
    [problem] = problems(file, skip_bad=True)
    assert found in problem.found
    assert "task: segment" in problem.fix
    file.write_text(YAML + "task: segment\n", encoding="utf-8")
    assert labelfix.read(file).annotations.height == text.count("\n")


@pytest.mark.filterwarnings("ignore:.*outside the image:labelfix.LabelfixWarning")  # a 2 is
@pytest.mark.parametrize(
    "text",
    [
        4 * POINTS,  # too few to be sure
        4 * POINTS + TRIANGLES,
        4 * POINTS + ROW,
        4 * TRIPLES,
        5 * TRIPLES.replace(" 1 ", " .5 "),  # no mark of visibility
        5 * TRIPLES.replace(".45 .3", ".1 .3"),  # outside the box
        4 * TRIPLES + POINTS,
        5 * "0 0 0 1 0 1 1 0 1 0 0\n",
        CORNERS + TRIANGLES,
    ],
)
def test_rows_that_may_be_polygons_are_read(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, {"images/a.png": text})
    assert labelfix.read(file).annotations.height == text.count("\n")


def test_most_rows_of_eight_numbers_are_doubted(tmp_path: Path) -> None:
    file = write(tmp_path, {"images/a.png": 2 * CORNERS + ROW})
    with pytest.warns(labelfix.LabelfixWarning, match="2 of 3 rows .* oriented boxes"):
        labelfix.read(file)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("kpt_shape: [17, 3]", "keypoints"),
        ("task: pose", "keypoints"),
        ("task: obb", "oriented boxes"),
    ],
)
def test_keypoints_and_oriented_boxes_are_refused(tmp_path: Path, lines: str, found: str) -> None:
    [problem] = problems(write(tmp_path, {"images/a.png": ROW}, YAML + lines))
    assert found in problem.found


def test_rows_with_an_even_number_of_numbers_may_be_keypoints(tmp_path: Path) -> None:
    triples = "0 .5 .4 .2 .4  .45 .3 2  0 0 0  .6 .6 1\n"
    [problem] = problems(write(tmp_path, {"images/a.png": triples}))
    assert "14 numbers" in problem.found
    assert "keypoints" in problem.fix


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "0 0.5 0.5 0.5",
            "0 0.5 0.5 0.5 0.5",
            "0 0.5 0.5 0.5 0.5 0.9",
            "0 0.5 x 0.5 0.5",
            "4 0.5 0.5 0.5 0.5",
            "-1 0.5 0.5 0.5 0.5",
            "0.5 0.5 0.5 0.5 0.5",
            "nan 0.5 0.5 0.5 0.5",
            "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4",
            "cat 0.5 0.5 0.5 0.5",
        ]
    )
    file = write(tmp_path, {"images/a.png": text, "images/b.png": b"\xff\xfe0 1 1 1 1"})
    found = problems(file)
    assert [(p.where, p.line) for p in found] == [
        *(("labels/a.txt", line) for line in (1, 3, 4, 5, 6, 7, 8, 9, 10)),
        ("labels/b.txt", 1),
    ]
    assert "x" in found[2].found
    assert "confidence" in found[1].fix
    dataset = labelfix.read(file, skip_bad=True)
    assert dataset.annotations["annotation_id"].to_list() == ["labels/a.txt:2"]
    assert dataset.skipped == tuple(found)
    assert dict(yolo.patched(dataset, corrections()))[Path("labels/a.txt")] == text.encode()  # type: ignore[index] # pure paths equal paths


def test_odd_boxes_are_told_and_kept(tmp_path: Path) -> None:
    rows = "0 nan 0.5 0.5 0.5\n0 0.5 0.5 -0.5 0.5\n0 0.5 0.5 0 0.5\n0 0.9 0.5 0.5 0.5\n" + ROW
    file = write(tmp_path, {"images/a.png": rows})
    with pytest.warns(labelfix.LabelfixWarning) as caught:
        dataset = labelfix.read(file)
    [message] = [str(warning.message) for warning in caught]
    for kind in ("no finite numbers", "inverted", "empty", "outside the image"):
        assert f"1 {kind}" in message
    assert dataset.annotations.height == 5
    assert dataset.annotations["x2"][3] == pytest.approx(0.9 * 64 + 16)


def test_broken_images_are_all_named(tmp_path: Path) -> None:
    file = write(tmp_path, {f"images/{name}.png": ROW for name in "abc"})
    (tmp_path / "images/a.png").write_bytes(b"")
    (tmp_path / "images/b.png").write_bytes(b"no picture")
    assert [problem.where for problem in problems(file)] == ["images/a.png", "images/b.png"]
    dataset = labelfix.read(file, skip_bad=True)
    assert dataset.items["item_id"].to_list() == ["images/c.png"]
    assert dataset.annotations.height == 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif"])
def test_images_that_are_cut_short_are_named_and_can_be_skipped(
    tmp_path: Path, suffix: str
) -> None:
    file = write(tmp_path, {f"images/{name}.{suffix}": ROW for name in "abc"})
    whole = (tmp_path / f"images/a.{suffix}").read_bytes()
    (tmp_path / f"images/a.{suffix}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / f"images/b.{suffix}").write_bytes(whole + b"what some camera adds")
    assert [problem.where for problem in problems(file)] == [f"images/a.{suffix}"]
    dataset = labelfix.read(file, skip_bad=True)
    assert dataset.items["item_id"].to_list() == [f"images/{name}.{suffix}" for name in "bc"]
    assert [problem.where for problem in dataset.skipped] == [f"images/a.{suffix}"]


def test_images_of_more_pixels_than_allowed_are_problems(tmp_path: Path) -> None:
    file = write(tmp_path, {"images/a.png": ROW})
    [problem] = problems(file, max_pixels=64 * 48 - 1)
    assert "64 x 48 pixels" in problem.found
    assert len(labelfix.read(file, max_pixels=64 * 48)) == 1


# ---------------------------------------------------------------- the data file


@pytest.mark.parametrize(
    "config",
    [
        YAML,
        "train: images\nnames: {0: cat, 1: dog, 2: a b, 3: größe}\n",
        "path: /on/another/machine\ntrain: images\nnc: 4\nnames: [cat, dog, a b, größe]",
        "train: ../images\nnames: ['cat', 'dog', 'a b', 'größe']\n",
        "train: [images/one, images/two]\nnames: [cat, dog, a b, größe]\n",
        "path: .\ntrain: list.txt\nnames: [cat, dog, a b, größe]\n",
        "path: .\ntrain: lists/deep.txt\nnames: [cat, dog, a b, größe]\n",
    ],
)
@pytest.mark.filterwarnings("ignore:.*does not lead:labelfix.LabelfixWarning")
def test_data_files_as_people_have_them(tmp_path: Path, config: str) -> None:
    file = write(tmp_path / "set", {"images/one/a.png": ROW, "images/two/b.png": ROW}, config)
    absolute = tmp_path / "set/images/two/b.png"
    (file.parent / "list.txt").write_text(f"./images/one/a.png\n\n{absolute}\n")
    (file.parent / "lists").mkdir()
    (file.parent / "lists/deep.txt").write_text("../images/one/a.png\nimages/two/b.png\n")
    dataset = labelfix.read(file)
    assert dataset.root == tmp_path / "set"
    assert dataset.class_names == tuple(NAMES)
    assert dataset.items["item_id"].to_list() == ["images/one/a.png", "images/two/b.png"]
    assert dataset.annotations.height == 2


def test_a_folder_with_a_data_file_is_enough(tmp_path: Path) -> None:
    write(tmp_path, {"images/a.png": ROW})
    (tmp_path / "other.yaml").write_text("a: 1\n")
    assert labelfix.read(tmp_path).format == "yolo"
    (tmp_path / "data.yaml").rename(tmp_path / "coco128.yaml")
    assert labelfix.read(tmp_path).format == "yolo"


def test_splits_are_read_in_order_and_an_image_once(tmp_path: Path) -> None:
    config = "train: images/t\nval: [images/v, images/t]\ntest:\nnames: [a]\n"
    file = write(tmp_path, {"images/v/a.png": ROW, "images/t/b.png": ROW}, config)
    with pytest.warns(labelfix.LabelfixWarning, match="1 image listed more than once"):
        dataset = labelfix.read(file)
    assert dataset.items.select("item_id", "split").rows() == [
        ("images/t/b.png", "train"),
        ("images/v/a.png", "val"),
    ]


def test_labels_lie_beside_images_without_an_images_folder(tmp_path: Path) -> None:
    config = "train: train\nnames: [a]\n"
    dataset = labelfix.read(write(tmp_path, {"train/a.png": ROW}, config))
    assert dataset.annotations["annotation_id"].to_list() == ["train/a.txt:1"]


def test_a_root_inside_images_is_lifted_to_hold_the_labels(tmp_path: Path) -> None:
    write(tmp_path, {"images/train/a.png": ROW})
    (tmp_path / "data.yaml").write_text("path: images\ntrain: train\nnames: [a]\n")
    dataset = labelfix.read(tmp_path)
    assert dataset.root == tmp_path
    assert dataset.annotations["annotation_id"].to_list() == ["labels/train/a.txt:1"]


def test_the_caller_can_say_where_the_images_are(tmp_path: Path) -> None:
    write(tmp_path / "set", {"images/a.png": ROW})
    moved = tmp_path / "elsewhere.yaml"
    (tmp_path / "set/data.yaml").rename(moved)
    dataset = labelfix.read(moved, images=tmp_path / "set")
    assert dataset.root == tmp_path / "set"
    assert [str(path) for path, _ in yolo.patched(dataset, corrections())] == ["labels/a.txt"]


def test_names_stay_as_written(tmp_path: Path) -> None:
    config = "train: images\nnames: [no, 007, 1e3, ~]\n"
    dataset = labelfix.read(write(tmp_path, {"images/a.png": ROW}, config))
    assert dataset.class_names == ("no", "007", "1e3", "~")


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {"images/a.png": ROW + "2 .5 .5 .5 .5\n"},
        "train: images\nnames: [crane, x, crane]",
    )
    with pytest.warns(labelfix.LabelfixWarning, match="crane"):
        dataset = labelfix.read(file)
    assert dataset.class_names == ("crane [0]", "x", "crane [2]")
    assert dataset.annotations["label"].to_list() == ["crane [0]", "crane [2]"]
    done = apply(dataset, change(dataset, 0, "set_label", label="crane [2]"))
    assert done["labels/a.txt"].startswith(b"2 0.5")


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("train: images\nnames: [a\n", "broken YAML"),
        ("train: images\nnames: " + "[" * 5000, "broken YAML"),
        ("train: images\nnc: 3\nnames: [a, b]\n", "nc: 3 and 2 names"),
        ("train: images\nnc: many\n", "nc: many"),
        ("train: images\nnames: {0: a, 2: b}\n", "gaps"),
        ("train: images\nnames: {a: b}\n", "no class id"),
        ("train: images\nnames: file.txt\n", "names: file.txt"),
        ("train:\nnames: [a]\n", "no images"),
        ("train: pictures\nnames: [a]\n", "train: pictures, which is not in"),
        ("train: ../../etc\nnames: [a]\n", "leaves"),
        ("train: /etc\nnames: [a]\n", "leaves"),
        ("train: empty\nnames: [a]\n", "no images in"),
        ("train: list.txt\nnames: [a]\n", "which leaves the root"),
        ("train: gone.txt\nnames: [a]\n", "which is not there"),
    ],
)
def test_a_data_file_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, config: str, found: str
) -> None:
    file = write(tmp_path / "set", {"images/a.png": ROW}, config)
    (file.parent / "empty").mkdir()
    picture(tmp_path / "outside.png")
    (file.parent / "list.txt").write_text("images/a.png\n../outside.png\n")
    (file.parent / "gone.txt").write_text("images/a.png\nimages/b.png\n")
    [problem] = problems(file, format="yolo")
    assert found in problem.found
    if "list" in config or "gone" in config:
        assert problem.line == 2


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    config = YAML + "x: !!python/object/apply:os.system [exit 1]\n"
    assert len(labelfix.read(write(tmp_path, {"images/a.png": ROW}, config))) == 1


def test_label_files_without_image_are_told_and_given_back(tmp_path: Path) -> None:
    file = write(tmp_path, {"images/a.png": ROW})
    (tmp_path / "labels/b.txt").write_text(ROW)
    (tmp_path / "labels/classes.txt").write_text("cat")
    with pytest.warns(labelfix.LabelfixWarning, match=r"1 label file .* labels/b\.txt$"):
        dataset = labelfix.read(file)
    files = {str(path): data for path, data in yolo.patched(dataset, corrections())}
    assert files["labels/b.txt"] == ROW.encode()
    assert files["labels/classes.txt"] == b"cat"


def test_no_label_file_at_all_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, {"images/a.png": None})
    with pytest.warns(labelfix.LabelfixWarning, match=r"looked for labels/a\.txt"):
        assert labelfix.read(file).annotations.is_empty()


# ---------------------------------------------------------------- writing


def test_a_correction_changes_its_tokens_only(tmp_path: Path) -> None:
    text = b"# x\r\n 0\t0.500000  0.500000 0.250000 0.500000 \r\n\r\n1 0.1 0.1 0.1 0.1"
    dataset = labelfix.read(write(tmp_path, {"images/a.png": text}))
    moved = change(dataset, 0, "set_box", **box(16, 12, 48, 36))
    done = apply(dataset, moved, change(dataset, 1, "set_label", label="a b"))
    assert done["labels/a.txt"] == (
        b"# x\r\n 0\t0.500000  0.500000 0.5 0.500000 \r\n\r\n2 0.1 0.1 0.1 0.1"
    )


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        (b"0 .5 .5 .5 .5\n1 .5 .5 .5 .5\n", 0, b"1 .5 .5 .5 .5\n"),
        (b"0 .5 .5 .5 .5\n1 .5 .5 .5 .5\n", 1, b"0 .5 .5 .5 .5\n"),
        (b"0 .5 .5 .5 .5\r\n1 .5 .5 .5 .5", 1, b"0 .5 .5 .5 .5"),
        (b"0 .5 .5 .5 .5", 0, b""),
        (b"0 .5 .5 .5 .5\n\n1 .5 .5 .5 .5\n\n", 1, b"0 .5 .5 .5 .5\n\n\n"),
    ],
)
def test_a_deleted_row_takes_its_line_along(
    tmp_path: Path, text: bytes, row: int, expected: bytes
) -> None:
    dataset = labelfix.read(write(tmp_path, {"images/a.png": text}))
    assert apply(dataset, change(dataset, row, "delete"))["labels/a.txt"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, b"1 0.500000 0.500000 0.500000 0.500000\n"),
        (b"", b"1 0.500000 0.500000 0.500000 0.500000\n"),
        (b"0 0.5 0.5 0.5 1\n", b"0 0.5 0.5 0.5 1\n1 0.5 0.5 0.5 0.5\n"),
        (b"0 0.50 0.50 0.50 0.50\r\n", b"0 0.50 0.50 0.50 0.50\r\n1 0.50 0.50 0.50 0.50\r\n"),
        (b"0 0.5 0.5 0.5 1", b"0 0.5 0.5 0.5 1\n1 0.5 0.5 0.5 0.5"),
        (b"0 0 0 1 0 1 1\n", b"0 0 0 1 0 1 1\n1 0 0 1 0 1 1 0 1\n"),
    ],
)
@pytest.mark.filterwarnings("ignore:no image has a label file:labelfix.LabelfixWarning")
def test_a_new_row_goes_to_the_end_in_the_files_manner(
    tmp_path: Path, text: bytes | None, expected: bytes
) -> None:
    dataset = labelfix.read(write(tmp_path, {"images/a.png": text}))
    edges = (0, 0, 64, 48) if text and text.startswith(b"0 0 0 1") else (16, 12, 48, 36)
    new = {"action": "add_box", "item_id": "images/a.png", "label": "dog", **box(*edges)}
    assert apply(dataset, new)["labels/a.txt"] == expected


def test_the_box_of_a_polygon_is_changed_only_if_the_polygon_may_go(tmp_path: Path) -> None:
    text = "0 0.1 0.1 0.9 0.1 0.5 0.9  \n0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n"
    dataset = labelfix.read(write(tmp_path, {"images/a.png": text}))
    moved = change(dataset, 0, "set_box", **box(16, 12, 48, 36))
    with pytest.raises(
        labelfix.InputError, match=r"labels/a\.txt:1: found a new box for a polygon"
    ):
        yolo.patched(dataset, corrections(moved))
    done = apply(dataset, moved, segmentation="drop")["labels/a.txt"].splitlines(keepends=True)
    assert done[0] == b"0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75  \n"
    assert b"".join(done[1:]).decode() == text.partition("\n")[2]


def test_the_label_of_a_polygon_is_changed_in_place(tmp_path: Path) -> None:
    text = "0.0 0.1 0.1 0.9 0.1 0.5 0.9\n"
    dataset = labelfix.read(write(tmp_path, {"images/a.png": text}))
    done = apply(dataset, change(dataset, 0, "set_label", label="größe"))
    assert done["labels/a.txt"].decode() == text.replace("0.0", "3.0", 1)


def test_ignore_is_refused_with_what_to_do(tmp_path: Path) -> None:
    dataset = labelfix.read(write(tmp_path, {"images/a.png": ROW}))
    with pytest.raises(labelfix.InputError, match=r"side-file.*exclude"):
        yolo.patched(dataset, corrections(change(dataset, 0, "ignore")))


def test_all_that_is_wrong_with_corrections_is_told_before_anything_is_given(
    tmp_path: Path,
) -> None:
    dataset = labelfix.read(write(tmp_path, {"images/a.png": ROW * 3, "images/b.png": ROW}))
    given = corrections(
        change(dataset, 0, "paint"),
        change(dataset, 0, "set_label", label="fox"),
        change(dataset, 0, "set_label"),
        change(dataset, 0, "set_box", **box(1, 2, float("nan"), 4)),
        change(dataset, 0, "set_label", label="dog", item_id="images/b.png"),
        change(dataset, 1, "set_label", label="dog"),
        change(dataset, 1, "set_label", label="a b"),
        change(dataset, 2, "delete"),
        change(dataset, 2, "set_box", **box(1, 2, 3, 4)),
        {"action": "delete", "item_id": "images/a.png", "annotation_id": "labels/a.txt:9"},
        {"action": "add_box", "item_id": "images/z.png", "label": "dog", **box(1, 2, 3, 4)},
        {"action": "add_box", "item_id": "images/a.png", "label": "dog", **box(3, 2, 1, 4)},
    )
    with pytest.raises(labelfix.InputError) as caught:
        yolo.patched(dataset, given)
    named = {int(problem.where.rpartition(" ")[2]) for problem in caught.value.problems}
    assert named == {0, 1, 2, 3, 4, 5, 7, 9, 10, 11}


def test_a_dataset_that_changed_since_is_refused_with_every_file(tmp_path: Path) -> None:
    labels = {f"images/{name}.png": ROW for name in "abcd"} | {"images/e.png": None}
    dataset = labelfix.read(write(tmp_path, labels))  # type: ignore[arg-type] # None is missing
    (tmp_path / "labels/a.txt").write_text(ROW + ROW)
    (tmp_path / "labels/b.txt").unlink()
    (tmp_path / "labels/e.txt").write_text("")
    (tmp_path / "data.yaml").write_text(YAML + "\n")
    with pytest.raises(labelfix.InputError) as caught:
        yolo.patched(dataset, corrections(change(dataset, 3, "set_label", label="dog")))
    assert {problem.where for problem in caught.value.problems} == {
        "data.yaml",
        "labels/a.txt",
        "labels/b.txt",
        "labels/e.txt",
    }


def test_corrections_without_effect_change_nothing(tmp_path: Path) -> None:
    text = "0 0.123456 0.654321 0.1 0.2\n"
    dataset = labelfix.read(write(tmp_path, {"images/a.png": text}))
    same = {edge: dataset.annotations[edge][0] for edge in BOX}
    done = apply(
        dataset,
        change(dataset, 0, "set_box", **same),
        change(dataset, 0, "set_label", label="cat"),
    )
    assert done["labels/a.txt"].decode() == text


def test_data_file_and_lists_are_given_unchanged(tmp_path: Path) -> None:
    config = "train: train.txt\nnames: [a] # comment\n"
    file = write(tmp_path, {"images/a.png": ROW}, config)
    (tmp_path / "train.txt").write_bytes(b"./images/a.png\r\n")
    files = {str(path): data for path, data in yolo.patched(labelfix.read(file), corrections())}
    assert files == {
        "data.yaml": config.encode(),
        "train.txt": b"./images/a.png\r\n",
        "labels/a.txt": ROW.encode(),
    }


# ---------------------------------------------------------------- properties

MANNERS: dict[str, Callable[[float], str]] = {
    "%.6f": lambda value: f"{value:.6f}",
    "%.4f": lambda value: f"{value:.4f}",
    "%g": lambda value: f"{value:g}",
    "repr": lambda value: repr(round(value, 8)),
}
SPACE = st.sampled_from([" ", "  ", "\t"])


@st.composite
def label_files(draw: st.DrawFn) -> tuple[list[str], tuple[int, int]]:
    """Some files of one dataset, all written in one manner, with rows wide enough to be boxes."""
    manner = MANNERS[draw(st.sampled_from(sorted(MANNERS)))]
    size = (draw(st.integers(20, 2000)), draw(st.integers(20, 2000)))
    number = st.floats(0.01, 0.99).map(manner)
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    # nothing corrects the first one, so that the dataset goes on showing how it writes numbers
    files = [
        line_end.join(f"0 {manner(v)} {manner(v / 3)} {manner(v)} {manner(v)}" for v in (0.5, 0.3))
    ]
    for _ in range(draw(st.integers(1, 3))):
        rows = []
        for _ in range(draw(st.integers(0, 5))):
            tokens = [str(draw(st.integers(0, 3))), *(draw(number) for _ in range(4))]
            gaps = [draw(SPACE) for _ in tokens[1:]]
            row = tokens[0] + "".join(
                gap + token for gap, token in zip(gaps, tokens[1:], strict=True)
            )
            rows.append(draw(st.sampled_from(["", " "])) + row + draw(st.sampled_from(["", " "])))
            rows += [""] * draw(st.integers(0, 1)) + ["# note"] * draw(st.integers(0, 1))
        files.append(line_end.join(rows) + draw(st.sampled_from(["", line_end])))
    return files, size


BOXES = st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(1, 9), st.floats(1, 9))


@given(label_files(), st.data())
@settings(max_examples=40, deadline=None)
def test_corrections_and_their_inverse_give_the_original_bytes(
    case: tuple[list[str], tuple[int, int]], data: st.DataObject
) -> None:
    files, size = case
    with folder() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        file = write(root, {f"images/{i}.png": text for i, text in enumerate(files)}, size=size)
        before = labelfix.read(file)
        rows = range(2, before.annotations.height)
        chosen = sorted(data.draw(st.sets(st.sampled_from(rows)))) if rows else []
        there, back = [], []
        for row in chosen:
            given_row = before.annotations.row(row, named=True)
            x, y, w, h = data.draw(BOXES)
            there.append(change(before, row, "set_box", **box(x, y, x + w, y + h)))
            there.append(change(before, row, "set_label", label=data.draw(st.sampled_from(NAMES))))
            back.append(change(before, row, "set_box", **{e: given_row[e] for e in BOX}))
            back.append(change(before, row, "set_label", label=given_row["label"]))
        apply(before, *there)
        between = labelfix.read(file)
        done = apply(between, *back)
    for i, text in enumerate(files):
        assert done[f"labels/{i}.txt"].decode() == text
    wanted = {(r["annotation_id"], e): r[e] for r in there if r["action"] == "set_box" for e in BOX}
    for new in between.annotations.iter_rows(named=True):
        for edge in BOX:
            if (new["annotation_id"], edge) in wanted:
                assert abs(new[edge] - wanted[new["annotation_id"], edge]) <= 0.5 + 1e-6


@given(label_files(), st.data())
@settings(max_examples=40, deadline=None)
def test_added_and_deleted_again_gives_the_original_bytes(
    case: tuple[list[str], tuple[int, int]], data: st.DataObject
) -> None:
    files, size = case
    with folder() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        file = write(root, {f"images/{i}.png": text for i, text in enumerate(files)}, size=size)
        before = labelfix.read(file)
        new = [
            {"action": "add_box", "item_id": item, "label": "dog", **box(1, 2, 10, 9.5)}
            for item in data.draw(st.lists(st.sampled_from(before.items["item_id"].to_list())))
        ]
        apply(before, *new)
        between = labelfix.read(file)
        known = set(before.annotations["annotation_id"])
        extra = [
            change(between, row, "delete")
            for row, name in enumerate(between.annotations["annotation_id"])
            if name not in known
        ]
        assert len(extra) == len(new)
        done = apply(between, *extra)
    for i, text in enumerate(files):
        assert done[f"labels/{i}.txt"].decode() == text


def test_twice_the_same_corrections_are_once(tmp_path: Path) -> None:
    dataset = labelfix.read(write(tmp_path, {"images/a.png": "0 0.500 0.500 0.250 0.500\n"}))
    moved = change(dataset, 0, "set_box", **box(10.3, 12.7, 48.1, 36.9))
    once = apply(dataset, moved, moved)
    assert apply(labelfix.read(tmp_path), moved) == once


# ---------------------------------------------------------------- real files


@pytest.fixture(scope="module")
def coco128(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images folder is a link in the set, which our copy of it lost."""
    real = DATA / "coco128"
    if not real.is_dir():
        pytest.skip("no coco128 in LABELFIX_DATA")
    root = tmp_path_factory.mktemp("coco128")
    (root / "images").symlink_to(real / "images")
    shutil.copytree(real / "object_detection/labels", root / "labels")
    shutil.copy(real / "object_detection/config.yaml", root)
    for path in (root / "labels").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


def test_coco128_is_read_whole_and_given_back(coco128: Path) -> None:
    with pytest.warns(labelfix.LabelfixWarning, match="2 label files without an image"):
        dataset = labelfix.read(coco128)
    counts = dataset.items["split"].value_counts().sort("split").rows()
    assert counts == [("train", 128), ("val", 128)]
    assert len(dataset.class_names) == 80
    lines = [
        line
        for path in (coco128 / "labels").rglob("*.txt")
        for line in path.read_text().split("\n")
    ]
    orphans = 3 + 9
    assert dataset.annotations.height == sum(bool(line.strip()) for line in lines) - orphans
    files = {coco128 / path: data for path, data in yolo.patched(dataset, corrections())}
    assert set(files) == {coco128 / "config.yaml", *(coco128 / "labels").rglob("*.txt")}
    assert all(path.read_bytes() == data for path, data in files.items())


def test_coco128_corrected_and_back(coco128: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(coco128, root, symlinks=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        dataset = labelfix.read(root)
    rows = range(0, dataset.annotations.height, 7)
    there, back = [], []
    for row in rows:
        old = dataset.annotations.row(row, named=True)
        moved = box(old["x1"] + 0.37, old["y1"] + 0.11, old["x2"] + 3.3, old["y2"] + 2.2)
        there += [
            change(dataset, row, "set_box", **moved),
            change(dataset, row, "set_label", label="traffic light"),
        ]
        back += [
            change(dataset, row, "set_box", **{edge: old[edge] for edge in BOX}),
            change(dataset, row, "set_label", label=old["label"]),
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        apply(dataset, *there)
        done = apply(labelfix.read(root), *back)
    for path, data in done.items():
        assert (coco128 / path).read_bytes() == data


def test_the_examples_run() -> None:
    for module in (files, numbers, oddities, yolo, yolo_data):
        assert doctest.testmod(module).failed == 0
