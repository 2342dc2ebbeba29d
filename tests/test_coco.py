"""COCO documents are read whole, and patched without touching another byte."""

from __future__ import annotations

import doctest
import json
import os
import re
import struct
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix.formats import coco
from labelfix.formats.coco import text as coco_text
from labelfix.schema import BOX, CORRECTIONS, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(os.environ.get("LABELFIX_DATA", Path(__file__).parents[2] / "shared" / "data"))
FIXTURE = DATA / "coco-eval-fixture/tests/dataset/cocoapi/instances_val2014_100.json"

NO_PICTURES = "ignore:.*none of its images:labelfix.LabelfixWarning"


def annotation(key: int | str, image: int | str = 1, **members: Any) -> dict[str, Any]:
    return {
        "id": key,
        "image_id": image,
        "category_id": 7,
        "bbox": [10.5, 20.0, 30.25, 40.0],
        "area": 1210.0,
        "iscrowd": 0,
    } | members


def document(*annotations: dict[str, Any], images: int = 2) -> dict[str, Any]:
    """Sparse categories in their own order, unknown members everywhere."""
    return {
        "info": {"year": 2026, "π": 3.140},
        "images": [
            {"id": i + 1, "file_name": f"{i}.png", "width": 640, "height": 480, "gps": None}
            for i in range(images)
        ],
        "annotations": list(annotations),
        "categories": [
            {"id": 90, "name": "toothbrush", "supercategory": "x"},
            {"id": 7, "name": "größe"},
        ],
        "tail": [1e-7, 1.0, 100],
    }


def write(folder: Path, content: dict[str, Any] | str | bytes, **layout: Any) -> Path:
    path = folder / "set.json"
    if isinstance(content, dict):
        content = json.dumps(content, **layout)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **options: Any) -> Dataset:
    """Without a word on missing pictures."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*none of its images", labelfix.LabelfixWarning)
        return labelfix.read(path, **options)


def corrections(*rows: dict[str, Any]) -> pl.DataFrame:
    empty = dict.fromkeys(CORRECTIONS)
    return pl.DataFrame([{**empty, **row} for row in rows], schema=CORRECTIONS)


def change(dataset: Dataset, row: int, action: str, **values: Any) -> dict[str, Any]:
    given_row = dataset.annotations.row(row, named=True)
    named = {name: given_row[name] for name in ("annotation_id", "item_id")}
    return {"action": action, **named, **values}


def box(*edges: float) -> dict[str, float]:
    return dict(zip(BOX, edges, strict=True))


def patch(dataset: Dataset, *rows: dict[str, Any], **options: Any) -> bytes:
    [(path, data)] = coco.patched(dataset, corrections(*rows), **options)
    assert dataset.root is not None
    assert (dataset.root / path).is_file()
    return data


def apply(dataset: Dataset, *rows: dict[str, Any], **options: Any) -> bytes:
    """Write the patched file, and give it."""
    data = patch(dataset, *rows, **options)
    assert dataset.root is not None
    (dataset.root / dataset.source["path"]).write_bytes(data)
    return data


def problems(path: Path, **options: Any) -> list[labelfix.Problem]:
    with pytest.raises(labelfix.InputError) as caught:
        read(path, **options)
    return list(caught.value.problems)


# ---------------------------------------------------------------- reading


def test_tables_hold_what_the_document_says(tmp_path: Path) -> None:
    second = annotation(3, image=1, category_id=90, bbox=[0, 0, 640, 480], iscrowd=1, area=5)
    path = write(tmp_path, document(annotation(12, image=2, ignore=1), second))
    dataset = read(path)
    assert dataset.format == "coco"
    assert dataset.class_names == ("toothbrush", "größe")
    assert dataset.items.rows() == [("0.png", 640, 480, 1), ("1.png", 640, 480, 2)]
    assert dataset.annotations.rows() == [
        ("3", "0.png", "toothbrush", 0, 0, 640, 480, True, False, 5),
        ("12", "1.png", "größe", 10.5, 20, 40.75, 60, False, True, 1210),
    ]


def test_annotations_are_in_item_order_and_then_in_the_documents(tmp_path: Path) -> None:
    rows = [annotation(1000 - i, image=2 - i % 2) for i in range(500)]
    dataset = read(write(tmp_path, document(*rows)))
    found = [int(key) for key in dataset.annotations["annotation_id"]]
    assert found == [1000 - i for i in (*range(1, 500, 2), *range(0, 500, 2))]


def test_without_any_picture_the_dataset_has_none_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, document(annotation(1)))
    with pytest.warns(labelfix.LabelfixWarning, match="without pictures"):
        dataset = labelfix.read(path)
    assert dataset.image_paths is None


@pytest.mark.parametrize(
    ("document_at", "images_at"),
    [
        ("instances_val2017.json", ""),
        ("instances_val2017.json", "images"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("train/_annotations.coco.json", "train"),
        ("labels.json", "data"),
    ],
)
def test_images_are_found_where_people_have_them(
    tmp_path: Path, document_at: str, images_at: str
) -> None:
    path = tmp_path / document_at
    (tmp_path / images_at / "sub folder").mkdir(parents=True)
    path.parent.mkdir(exist_ok=True)
    content = document(annotation(1), images=3)
    for image, name in zip(
        content["images"], ("a.PNG", "sub folder/ünï.jpg", "a.png"), strict=True
    ):
        image["file_name"] = name
        Image.new("L", (4, 4)).save(tmp_path / images_at / name)
    path.write_text(json.dumps(content))
    dataset = labelfix.read(path)
    paths = dataset.image_paths
    assert paths is not None
    assert all(found.is_file() for found in paths)
    assert [found.name for found in paths] == ["a.PNG", "ünï.jpg", "a.png"]
    [(where, data)] = coco.patched(dataset, corrections())
    assert dataset.root is not None
    assert dataset.root / where == path
    assert data == path.read_bytes()


def test_the_caller_can_say_where_the_images_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = write(tmp_path / "a", document(annotation(1), images=1))
    (tmp_path / "b/c").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "b/c/0.png")
    dataset = labelfix.read(path, images=tmp_path / "b/c")
    assert dataset.root == tmp_path
    assert dataset.items["item_id"].to_list() == ["b/c/0.png"]


def test_missing_images_are_all_named(tmp_path: Path) -> None:
    path = write(tmp_path, document(annotation(5, 3), annotation(6, 1), images=4), indent=1)
    for name in ("0.png", "3.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    found = problems(path)
    assert ["'1.png'" in found[0].found, "'2.png'" in found[1].found] == [True, True]
    lines = path.read_text().splitlines()
    assert [lines[(p.line or 0) + 1].strip() for p in found] == [
        '"file_name": "1.png",',
        '"file_name": "2.png",',
    ]
    dataset = labelfix.read(path, skip_bad=True)
    assert dataset.items["item_id"].to_list() == ["0.png", "3.png"]
    assert dataset.annotations["annotation_id"].to_list() == ["6"]
    assert dataset.skipped == tuple(found)
    assert patch(dataset) == path.read_bytes()


def test_broken_images_are_all_named_and_can_be_skipped(tmp_path: Path) -> None:
    path = write(tmp_path, document(annotation(5, 1), annotation(6, 3), images=4))
    for name in ("0.png", "1.png", "2.png", "3.png"):
        Image.new("L", (64, 64)).save(tmp_path / name)
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(whole[: len(whole) // 2])
    huge = struct.pack(">II", 60_000, 60_000)
    (tmp_path / "1.png").write_bytes(whole[:16] + huge + whole[24:])
    found = problems(path)
    assert [problem.where for problem in found] == ["0.png", "1.png"]
    dataset = labelfix.read(path, skip_bad=True)
    assert dataset.items["item_id"].to_list() == ["2.png", "3.png"]
    assert dataset.annotations.select("annotation_id", "item_id").rows() == [("6", "2.png")]
    assert dataset.skipped == tuple(found)
    assert patch(dataset) == path.read_bytes()


def test_all_bad_entries_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    content = document(
        annotation(1),
        annotation(1),
        annotation(2, image=99),
        annotation(3, category_id=8),
        annotation(4, bbox=[1, 2, 3]),
        annotation(5, bbox="1 2 3 4"),
        {"id": 6},
        "text",  # type: ignore[arg-type] # on purpose
        annotation(7),
    )
    content["images"] += [
        {"id": 1, "file_name": "x.png"},
        {"id": 50, "file_name": "../../x.png"},
        {"id": 51, "file_name": "/etc/x.png"},
        {"id": 52, "file_name": "0.png"},
        {"id": 53},
    ]
    content["categories"] += [{"id": 7, "name": "again"}, {"id": 8}]
    path = write(tmp_path, content, indent=2)
    found = problems(path)
    places = [problem.found.split("]")[0] + "]" for problem in found]
    assert sorted(places) == sorted(
        [f"annotations[{i}]" for i in (1, 2, 3, 4, 5, 6, 7)]
        + [f"images[{i}]" for i in (2, 3, 4, 5, 6)]
        + [f"categories[{i}]" for i in (2, 3)]
    )
    lines = path.read_text().splitlines()
    for problem in found:
        assert lines[(problem.line or 0) - 1].strip() in {"{", '"text",'}
    dataset = read(path, skip_bad=True)
    assert dataset.annotations["annotation_id"].to_list() == ["1", "7"]
    assert len(dataset) == 2
    done = json.loads(patch(dataset, change(dataset, 1, "set_label", label="toothbrush")))
    content["annotations"][8]["category_id"] = 90
    assert done == content


@pytest.mark.parametrize(
    ("content", "found", "line"),
    [
        ('{"images": [],\n "annotations": [\n{"id": 1', "truncated JSON", 3),
        ('{"images": [], "annotations": {}}', "no list 'annotations'", None),
        ('["images", "annotations"]', "a list", None),
        (b'{"images": [], "annotations": [], "x": "\xff"}', "no JSON", None),
        ('{"images": [], "annotations": [], "categories": []}', "no images", None),
        ('{"images": [], "annotations": ' + "[" * 100_000, "no JSON", None),
        ('{"images": [], "annotations": []}'.encode("utf-16"), "no JSON", None),
    ],
)
def test_documents_that_are_none_are_refused(
    tmp_path: Path, content: str | bytes, found: str, line: int | None
) -> None:
    first = problems(write(tmp_path, content), format="coco")[0]
    assert found in first.found
    assert first.line == line


def test_odd_boxes_are_told_and_kept(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [[nan, 0, 1, 1], [9, 9, -1, 1], [9, 9, 0, 1], [600, 0, 50, 1], [600, 0, 40.2, 1]]
    path = write(tmp_path, document(*(annotation(i, bbox=row) for i, row in enumerate(rows))))
    with pytest.warns(labelfix.LabelfixWarning) as caught:
        dataset = labelfix.read(path)
    [message] = [str(w.message) for w in caught if "odd boxes" in str(w.message)]
    kinds = ("no finite numbers", "inverted", "empty", "outside the image")
    for key, kind in enumerate(kinds):
        assert f"1 {kind} ({key} in {dataset.items['item_id'][0]})" in message
    assert dataset.annotations["x2"].to_list()[1:] == [8, 9, 650, 640.2]
    assert patch(dataset) == path.read_bytes()


def test_pythons_nan_and_byte_order_marks_are_read_and_kept(tmp_path: Path) -> None:
    content = document(annotation(1, score=float("nan"), note='NaN \\" Infinity'), annotation(2))
    content["annotations"][1]["big"] = [float("inf"), -float("inf")]
    data = b"\xef\xbb\xbf" + json.dumps(content, indent=1).encode()
    dataset = read(write(tmp_path, data))
    done = patch(dataset, change(dataset, 1, "set_label", label="toothbrush"))
    place = data.rindex(b'"category_id": 7')
    assert done == data[:place] + b'"category_id": 90' + data[place + 16 :]


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    content = document(annotation(1), annotation(2, category_id=91))
    content["categories"].append({"id": 91, "name": "größe"})
    path = write(tmp_path, content)
    with pytest.warns(labelfix.LabelfixWarning, match="told apart"):
        dataset = read(path)
    assert dataset.class_names == ("toothbrush", "größe [7]", "größe [91]")
    done = json.loads(patch(dataset, change(dataset, 0, "set_label", label="größe [91]")))
    assert [one["category_id"] for one in done["annotations"]] == [91, 91]


def test_ids_may_be_text(tmp_path: Path) -> None:
    content = document(annotation("a", "ü1"), annotation("new-1", "ü1"), images=1)
    content["images"][0]["id"] = "ü1"
    dataset = read(write(tmp_path, content))
    assert dataset.items["image_id"].to_list() == ["ü1"]
    new = {"action": "add_box", "item_id": "0.png", "label": "größe", **box(1, 2, 3, 4)}
    added = json.loads(patch(dataset, new))["annotations"][2]
    assert (added["id"], added["image_id"]) == ("new-2", "ü1")


def test_results_and_other_json_are_not_taken_for_datasets(tmp_path: Path) -> None:
    for content in ('[{"image_id": 1, "bbox": [1,2,3,4]}]', '{"images": []}', "", "3"):
        assert not coco.recognises(write(tmp_path, content))
    assert coco.recognises(write(tmp_path, " " + json.dumps(document())))


def test_a_document_cut_short_among_its_images_is_named_as_such_with_the_line(
    tmp_path: Path,
) -> None:
    text = json.dumps(document(), indent=1)
    (problem,) = problems(write(tmp_path, text[: text.index("1.png")]))
    assert "truncated JSON" in problem.found
    assert problem.line == text[: text.index("1.png")].count("\n") + 1


# ---------------------------------------------------------------- writing


def test_a_correction_changes_its_members_only(tmp_path: Path) -> None:
    text = """{"annotations":[
      {"id": 5,"extra":[1.50,2e3],   "bbox" : [ 1.0,2.5 , 10,10 ],"image_id":1, "category_id":7},
      {"bbox":[1,2,3,4],"id":6,"image_id":1,"category_id":7, "area": 12}],
      "images":[{"id":1,"file_name":"a.png","width":6.4e2,"height":480}],
      "categories":[{"id":7,"name":"cat"},{"id":3,"name":"dog"}]}\n\n"""
    dataset = read(write(tmp_path, text))
    done = patch(
        dataset,
        change(dataset, 0, "set_box", **box(1.0, 3.5, 11, 12.5)),
        change(dataset, 0, "set_label", label="dog"),
        change(dataset, 1, "ignore"),
    ).decode()
    expected = text.replace("2.5 , 10,10 ]", "3.5 , 10,9 ]")
    expected = expected.replace('"category_id":7}', '"category_id":3}', 1)
    expected = expected.replace('"area": 12}', '"area": 12,"iscrowd":1}')
    assert done == expected


@pytest.mark.parametrize(
    ("members", "mark"),
    [
        ({}, {"iscrowd": 1}),
        ({"iscrowd": False}, {"iscrowd": True}),
        ({"ignore": 0}, {"iscrowd": 1, "ignore": 1}),
    ],
)
def test_ignored_boxes_are_marked_as_crowds(
    tmp_path: Path, members: dict[str, Any], mark: dict[str, Any]
) -> None:
    content = document(annotation(1, **members))
    dataset = read(write(tmp_path, content))
    done = json.loads(apply(dataset, change(dataset, 0, "ignore")))
    content["annotations"][0] |= mark
    assert done == content
    assert read(tmp_path / "set.json").annotations["crowd"].to_list() == [True]


def test_the_area_follows_the_box_only_where_it_was_the_boxs(tmp_path: Path) -> None:
    content = document(annotation(1), annotation(2, area=700.5), annotation(3))
    del content["annotations"][2]["area"]
    dataset = read(write(tmp_path, content))
    moved = [change(dataset, row, "set_box", **box(0, 0, 10, 20.5)) for row in range(3)]
    done = json.loads(patch(dataset, *moved))["annotations"]
    assert [one.get("area") for one in done] == [205.0, 700.5, None]


@pytest.mark.parametrize("segmentation", [[[1.0, 2, 3, 4, 5, 6]], {"counts": "x", "size": [1, 2]}])
def test_a_segmentation_is_kept_with_a_warning_or_dropped(
    tmp_path: Path, segmentation: object
) -> None:
    content = document(annotation(1, segmentation=segmentation), annotation(2, segmentation=[]))
    dataset = read(write(tmp_path, content))
    moved = [change(dataset, row, "set_box", **box(0, 0, 10, 20)) for row in range(2)]
    with pytest.warns(labelfix.LabelfixWarning, match=r"1 annotation .* old one: 1$"):
        kept = json.loads(patch(dataset, *moved))["annotations"]
    assert [one["segmentation"] for one in kept] == [segmentation, []]
    dropped = json.loads(patch(dataset, *moved, segmentation="drop"))["annotations"]
    assert [one["segmentation"] for one in dropped] == [[], []]


def test_new_annotations_get_fresh_ids_and_no_made_up_segmentation(tmp_path: Path) -> None:
    content = document(annotation(40, segmentation=[[1.0, 2, 3, 4, 5, 6]], score=0.5))
    dataset = read(write(tmp_path, content))
    new = {"action": "add_box", "item_id": "1.png", "label": "toothbrush", **box(1, 2, 4, 6.5)}
    done = json.loads(patch(dataset, new, change(dataset, 0, "delete"), new))["annotations"]
    expected = {
        "id": 41,
        "image_id": 2,
        "category_id": 90,
        "bbox": [1, 2, 3, 4.5],
        "area": 13.5,
        "iscrowd": 0,
        "segmentation": [],
    }
    assert done == [expected, expected | {"id": 42}]


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"indent": None, "separators": (",", ":")},
    {"indent": 2},
    {"indent": "\t", "ensure_ascii": False},
    {"indent": 4, "separators": (", ", ": ")},
    {"indent": 0},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("others", [0, 1, 2])
@pytest.mark.parametrize("segmented", [True, False])
def test_new_annotations_are_laid_out_as_python_would(
    tmp_path: Path, layout: dict[str, Any], others: int, segmented: bool
) -> None:
    extra: dict[str, Any] = {"segmentation": []} if segmented and others else {}
    content = document(*(annotation(i + 1, **extra) for i in range(others)))
    dataset = read(write(tmp_path, content, **layout))
    new = {"action": "add_box", "item_id": "1.png", "label": "größe", **box(1, 2, 4.5, 6)}
    content["annotations"] += [
        annotation(others + i, image=2, bbox=[1.0, 2.0, 3.5, 4.0], area=14.0, **extra)
        for i in (1, 2)
    ]
    assert patch(dataset, new, new).decode() == json.dumps(content, **layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("gone", [[0], [1], [3], [0, 1], [2, 3], [1, 2], [0, 3], [0, 1, 2, 3]])
def test_deleted_annotations_leave_no_trace(
    tmp_path: Path, layout: dict[str, Any], gone: list[int]
) -> None:
    content = document(*(annotation(i) for i in range(4)))
    dataset = read(write(tmp_path, content, **layout))
    done = patch(dataset, *(change(dataset, row, "delete") for row in gone))
    content["annotations"] = [a for i, a in enumerate(content["annotations"]) if i not in gone]
    assert done.decode() == json.dumps(content, **layout)


def test_what_was_left_out_keeps_its_place_when_its_namesake_is_corrected(tmp_path: Path) -> None:
    broken = annotation(5, bbox="none")
    content = document(broken, annotation(5), annotation(5, 2), annotation(6))
    dataset = read(write(tmp_path, content), skip_bad=True)
    assert dataset.annotations["annotation_id"].to_list() == ["5", "6"]
    deleted = json.loads(patch(dataset, change(dataset, 0, "delete")))
    assert deleted["annotations"] == [broken, annotation(5, 2), annotation(6)]
    relabelled = json.loads(patch(dataset, change(dataset, 0, "set_label", label="toothbrush")))
    content["annotations"][1]["category_id"] = 90
    assert relabelled == content


def test_a_file_that_changed_since_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, document(annotation(1)))
    dataset = read(path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(labelfix.InputError, match="a changed file"):
        coco.patched(dataset, corrections())


# ---------------------------------------------------------------- properties

TEXT = st.text(max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NUMBERS: dict[str, Callable[[float], float]] = {
    "cents": lambda value: round(value, 2),
    "pixels": int,
    "tenths": lambda value: round(value, 1),
}


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A document as Python writes it, with unknown members anywhere and keys in any order."""
    number = NUMBERS[draw(st.sampled_from(sorted(NUMBERS)))]
    edge = st.floats(1, 400).map(number)

    def shuffled(known: dict[str, Any]) -> dict[str, Any]:
        unknown = draw(st.dictionaries(TEXT.map("_".__add__), ANYTHING, max_size=2))
        return dict(draw(st.permutations(list((known | unknown).items()))))

    images = draw(st.integers(1, 3))
    # the first one stays as it is, so that the document goes on showing how it writes 8
    annotations = [annotation(-1, 0, category_id=3, bbox=[number(8.0), number(9.0)] * 2)]
    del annotations[0]["area"]
    for key in draw(st.lists(st.integers(0, 10**9), max_size=6, unique=True)):
        known = {
            "id": key,
            "image_id": draw(st.integers(0, images - 1)),
            "category_id": draw(st.sampled_from([3, 1, 90])),
            "bbox": [draw(edge) for _ in range(4)],
            "segmentation": draw(st.sampled_from([[], [[1.5, 2, 3, 4, 5, 6]]])),
        }
        if draw(st.booleans()):
            known["area"] = number(99_000 + draw(edge))  # no box below has that one by chance
        annotations.append(shuffled(known))
    content = shuffled(
        {
            "images": [
                shuffled({"id": i, "file_name": f"ü {i}.png", "width": 9000, "height": 9000})
                for i in range(images)
            ],
            "annotations": annotations,
            "categories": [shuffled({"id": i, "name": f"ß{i}"}) for i in (3, 1, 90)],
        }
    )
    return json.dumps(content, **draw(st.sampled_from(LAYOUTS)))


def in_a_folder(text: str, work: Callable[[Path], None]) -> None:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        work(write(Path(folder), text.encode("utf-8", "surrogatepass")))


@given(documents(), st.data())
@settings(max_examples=30, deadline=None)
def test_corrections_and_their_inverse_give_the_original_bytes(
    text: str, data: st.DataObject
) -> None:
    def work(path: Path) -> None:
        before = labelfix.read(path)
        ids = before.annotations["annotation_id"].to_list()
        rows = [row for row, name in enumerate(ids) if name != "-1"]
        chosen = sorted(data.draw(st.sets(st.sampled_from(rows)))) if rows else []
        there, back = [], []
        for row in chosen:
            old = before.annotations.row(row, named=True)
            x, y, w, h = (data.draw(st.floats(1, 100)) for _ in range(4))
            label = data.draw(st.sampled_from(before.class_names))
            there.append(change(before, row, "set_label", label=label))
            there.append(change(before, row, "set_box", **box(x, y, x + w, y + h)))
            back.append(change(before, row, "set_label", label=old["label"]))
            back.append(change(before, row, "set_box", **{edge: old[edge] for edge in BOX}))
        original = path.read_bytes()
        apply(before, *there)
        between = labelfix.read(path)
        for wanted in there[1::2]:
            new = between.annotations.filter(annotation_id=wanted["annotation_id"])
            assert all(abs(new[edge][0] - wanted[edge]) <= 0.5 + 1e-6 for edge in BOX)
        assert patch(between, *back) == original

    in_a_folder(text, work)


@given(documents(), st.data())
@settings(max_examples=30, deadline=None)
def test_added_and_deleted_again_gives_the_original_bytes(text: str, data: st.DataObject) -> None:
    def work(path: Path) -> None:
        before = labelfix.read(path)
        original = path.read_bytes()
        new = [
            {"action": "add_box", "item_id": item, "label": "ß90", **box(1, 2, 33.25, 4.5)}
            for item in data.draw(st.lists(st.sampled_from(before.items["item_id"].to_list())))
        ]
        apply(before, *new)
        between = labelfix.read(path)
        known = set(before.annotations["annotation_id"])
        extra = [
            change(between, row, "delete")
            for row, name in enumerate(between.annotations["annotation_id"])
            if name not in known
        ]
        assert len(extra) == len(new)
        assert patch(between, *extra) == original

    in_a_folder(text, work)


@given(documents(), st.data())
@settings(max_examples=30, deadline=None)
def test_all_that_is_not_named_stays(text: str, data: st.DataObject) -> None:
    def work(path: Path) -> None:
        dataset = labelfix.read(path)
        if dataset.annotations.is_empty():
            return
        row = data.draw(st.integers(0, dataset.annotations.height - 1))
        label = data.draw(st.sampled_from(dataset.class_names))
        done = json.loads(patch(dataset, change(dataset, row, "set_label", label=label)))
        expected = json.loads(text)
        key = dataset.annotations["annotation_id"][row]
        for one in expected["annotations"]:
            if str(one["id"]) == key:
                one["category_id"] = int(label[1:])
        assert json.dumps(done) == json.dumps(expected)  # NaN equals itself here

    in_a_folder(text, work)


# ---------------------------------------------------------------- real files


@pytest.mark.skipif(not FIXTURE.is_file(), reason="no COCO fixture in LABELFIX_DATA")
@pytest.mark.filterwarnings(NO_PICTURES)
def test_the_fixture_is_read_whole_and_given_back() -> None:
    dataset = labelfix.read(FIXTURE)
    content = json.loads(FIXTURE.read_bytes())
    assert len(dataset) == 100
    assert dataset.annotations.height == len(content["annotations"]) == 839
    assert dataset.class_names == tuple(one["name"] for one in content["categories"])
    by_id = {str(one["id"]): one for one in content["annotations"]}
    names = {one["id"]: one["name"] for one in content["categories"]}
    for row in dataset.annotations.iter_rows(named=True):
        one = by_id[row["annotation_id"]]
        x, y, w, h = one["bbox"]
        assert [row[edge] for edge in BOX] == [x, y, x + w, y + h]
        assert row["label"] == names[one["category_id"]]
        assert row["area"] == one["area"]
        assert row["crowd"] == bool(one["iscrowd"])
    assert patch(dataset) == FIXTURE.read_bytes()


@pytest.mark.skipif(not FIXTURE.is_file(), reason="no COCO fixture in LABELFIX_DATA")
@pytest.mark.filterwarnings("ignore::labelfix.LabelfixWarning")
def test_the_fixture_corrected_and_back(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(FIXTURE.read_bytes())
    before = labelfix.read(path)
    there, back = [], []
    for row in range(0, 839, 5):
        old = before.annotations.row(row, named=True)
        moved = box(old["x1"] + 0.377, old["y1"], old["x2"] + 3.3, old["y2"] + 2.2)
        there.append(change(before, row, "set_box", **moved))
        there.append(change(before, row, "set_label", label="dog"))
        back.append(change(before, row, "set_box", **{edge: old[edge] for edge in BOX}))
        back.append(change(before, row, "set_label", label=old["label"]))
    assert apply(before, *there) != FIXTURE.read_bytes()
    done = patch(labelfix.read(path), *back)
    # the file has both 1 and 1.0, so that which of them a number was is lost with it
    given_bytes = FIXTURE.read_bytes()
    assert re.sub(rb"\.0(?=[],])", b"", done) == re.sub(rb"\.0(?=[],])", b"", given_bytes)


def test_the_examples_run() -> None:
    assert doctest.testmod(coco_text).failed == 0
