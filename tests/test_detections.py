"""Predictions are read as people have them, or refused with everything that is wrong and where."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.formats import read
from labelfix.formats.detections import read_box_predictions, read_class_map
from labelfix.schema import BOX, BOX_PREDICTIONS, Dataset

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Paint

ITEMS = ("images/train/a.jpg", "images/train/b c.jpg", "images/val/a.jpg", "images/val/ü.png")
CLASSES = ("cat", "dog", "owl")
WANTED = pl.DataFrame(
    {
        "item_id": [ITEMS[0], ITEMS[0], ITEMS[1], ITEMS[3]],
        "label": ["dog", "cat", "owl", "cat"],
        "score": [0.75, 0.5, 0.125, 1.0],
        "x1": [0.0, 10.0, 20.0, 50.0],
        "y1": [0.0, 10.0, 5.0, 25.0],
        "x2": [40.0, 60.0, 30.0, 100.0],
        "y2": [20.0, 30.0, 45.0, 50.0],
    }
)


def dataset(**changes: Any) -> Dataset:
    """Four images of 100 x 50 pixels, each with one box."""
    items = pl.DataFrame({"item_id": ITEMS, "width": [100] * 4, "height": [50] * 4})
    given = pl.DataFrame(
        {
            "annotation_id": ["0", "1", "2", "3"],
            "item_id": ITEMS,
            "label": ["cat", "dog", "owl", "cat"],
            "x1": [1.0] * 4,
            "y1": [1.0] * 4,
            "x2": [9.0] * 4,
            "y2": [9.0] * 4,
            "crowd": [False] * 4,
        }
    )
    items = items.with_columns(**changes.pop("items", {}))
    return Dataset(items, given, CLASSES, "memory", **changes)


def coco_dataset() -> Dataset:
    return dataset(
        items={"image_id": pl.Series([42, 7, 8, 900])}, source={"category_ids": (18, 3, 90)}
    )


def results(images: dict[str, Any], classes: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": images[row["item_id"]],
            "category_id": classes[row["label"]],
            "bbox": [row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]],
            "score": row["score"],
        }
        for row in WANTED.reverse().iter_rows(named=True)
    ]


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=1))
    return path


def write_yolo(folder: Path, names: dict[str, str]) -> Path:
    """Write the wanted rows in the order of classes, as the fractions that YOLO has."""
    for (item,), rows in WANTED.group_by("item_id"):
        lines = []
        for row in rows.sort("label").iter_rows(named=True):
            centre = (row["x1"] + row["x2"]) / 200, (row["y1"] + row["y2"]) / 100
            size = (row["x2"] - row["x1"]) / 100, (row["y2"] - row["y1"]) / 50
            numbers = [CLASSES.index(row["label"]), *centre, *size, row["score"]]
            lines.append(" ".join(f"{number:g}" for number in numbers))
        file = folder / names[str(item)]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
    return folder


def same(found: pl.DataFrame, wanted: pl.DataFrame = WANTED) -> bool:
    """Whether the tables agree, boxes to a rounding error."""
    texts = ["item_id", "label", "score"]
    return found.select(texts).equals(wanted.select(texts)) and np.allclose(
        found.select(BOX).to_numpy(), wanted.select(BOX).to_numpy(), atol=1e-4
    )


def problems_of(source: Any, data: Dataset | None = None, **options: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_box_predictions(source, data or dataset(), **options)
    return [str(problem) for problem in caught.value.problems]


# ---------------------------------------------------------------- COCO results


def test_coco_results_are_joined_by_the_ids_of_the_dataset(tmp_path: Path) -> None:
    images = dict(zip(ITEMS, (42, 7, 8, 900), strict=True))
    made = results(images, {"cat": 18, "dog": 3, "owl": 90})
    path = write_json(tmp_path / "results.json", made)
    found = read_box_predictions(path, coco_dataset())
    assert same(found)
    assert dict(found.schema) == {name: kind() for name, kind in BOX_PREDICTIONS.items()}


def test_coco_results_find_images_of_other_datasets_by_name(tmp_path: Path) -> None:
    map_ = {1: "cat", 2: "dog", 3: "owl"}
    made = results(dict(zip(ITEMS, ITEMS, strict=True)), {"cat": 1, "dog": 2, "owl": 3})
    for result in made:
        result["file_name"] = str(result["image_id"]).removeprefix("images/")
        result["image_id"] = 5  # the name counts
    path = write_json(tmp_path / "results.json", made)
    assert same(read_box_predictions(path, dataset(), class_map=map_))


def test_coco_results_find_numbered_files_with_and_without_zeros(tmp_path: Path) -> None:
    data = dataset()
    names = pl.Series(["images/000042.jpg", "7.jpg", "x/000.jpg", "d.jpg"])
    data = Dataset(
        data.items.with_columns(item_id=names),
        data.annotations.with_columns(item_id=names),
        CLASSES,
        "memory",
    )
    made = [
        {"image_id": image, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}
        for image in (42, "000042", 7, 0)
    ]
    path = write_json(tmp_path / "results.json", made)
    found = read_box_predictions(path, data, class_map={"1": "cat"})
    assert found["item_id"].to_list() == ["images/000042.jpg"] * 2 + ["7.jpg", "x/000.jpg"]


def test_category_ids_mean_nothing_to_a_dataset_without_them(tmp_path: Path) -> None:
    made = results(dict(zip(ITEMS, ITEMS, strict=True)), {"cat": 0, "dog": 1, "owl": 2})
    told = problems_of(write_json(tmp_path / "results.json", made))
    assert len(told) == 3
    assert "class '0' of 2 boxes" in "".join(told)
    assert "'0=NAME'" in "".join(told)


def test_everything_wrong_in_results_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    good = {"image_id": 42, "category_id": 18, "bbox": [0, 0, 5, 5], "score": 0.5}
    lines = [
        good,
        good | {"image_id": 43},
        good | {"category_id": 19},
        good | {"score": 1.5},
        good | {"score": float("nan")},
        good | {"bbox": [0, 0, -5, 5]},
        good | {"bbox": [0, 0, float("inf"), 5]},
        good | {"bbox": [0, 0, 5]},
        {"image_id": 42},
    ]
    path = tmp_path / "results.json"
    path.write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]")
    told = problems_of(path, coco_dataset())
    assert len(told) == len(lines) - 1
    for line, text in {
        3: "image '43'",
        4: "class '19'",
        5: "score 1.5",
        6: "score nan",
        7: "inverted",
        8: "inf",
        9: "bbox",
        10: "missing required",
    }.items():
        assert any(one.startswith(f"{path}:{line}: ") and text in one for one in told), line


@pytest.mark.parametrize(
    ("text", "says"),
    [("[{", "broken or truncated"), ('{"images": []}', "list"), ("", "broken"), ("[" * 9999, "")],
)
def test_what_is_no_list_of_results_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    assert says in problems_of(path)[0]


def test_the_fixture_reads_as_it_is(data_dir: Path) -> None:
    folder = data_dir / "coco-eval-fixture"
    file = folder / "results/instances_val2014_fakebbox100_results.json"
    with pytest.warns(LabelfixWarning, match="none of its images"):
        data = read(folder / "tests/dataset/cocoapi/instances_val2014_100.json")
    found = read_box_predictions(file, data)
    given = json.loads(file.read_text())
    names = dict(zip(data.source["category_ids"], data.class_names, strict=True))
    assert found.height == len(given) == 734
    assert sorted(found["score"]) == sorted(one["score"] for one in given)
    assert sorted(found["label"]) == sorted(names[one["category_id"]] for one in given)


# ---------------------------------------------------------------- YOLO


@pytest.mark.parametrize(
    "names",
    [
        {item: item.rpartition(".")[0] + ".txt" for item in ITEMS},
        {item: item.rpartition(".")[0].removeprefix("images/") + ".txt" for item in ITEMS},
        {item: item.replace("images", "labels").rpartition(".")[0] + ".txt" for item in ITEMS},
    ],
    ids=["like the images", "below", "like the labels"],
)
def test_yolo_files_are_found_in_folders_like_the_images(
    tmp_path: Path, names: dict[str, str]
) -> None:
    assert same(read_box_predictions(write_yolo(tmp_path, names), dataset()))


def test_a_flat_folder_will_not_do_for_two_images_of_one_name(tmp_path: Path) -> None:
    flat = {item: item.rpartition("/")[2].rpartition(".")[0] + ".txt" for item in ITEMS}
    told = problems_of(write_yolo(tmp_path, flat))
    assert len(told) == 1
    assert "several images" in told[0]
    for path in tmp_path.glob("a.txt"):
        path.unlink()
    rest = WANTED.filter(pl.col("item_id") != ITEMS[0])
    assert same(read_box_predictions(tmp_path, dataset()), rest)


def test_yolo_rows_that_are_none_are_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "ü.txt").write_text(
        "0 .5 .5 .1 .1 .5\n"
        "1 .5 .5 .1 .1\n"
        "\n"
        "2 .5 .5 .1\n"
        "7 .5 .5 .1 .1 .5\n"
        "0 .5 x .1 .1 .5\n"
        "0 .5 .5 .1 .1 1.5\n"
        "0 .5 .5 -.1 .1 .5\n"
    )
    (tmp_path / "other.txt").write_text("0 .5 .5 .1 .1 .5\n")
    told = problems_of(tmp_path)
    file = tmp_path / "ü.txt"
    for line, text in {
        2: "save_conf",
        4: "4 numbers",
        5: "class '7'",
        6: "finite",
        7: "score 1.5",
        8: "inverted",
    }.items():
        assert any(one.startswith(f"{file}:{line}: ") and text in one for one in told), line
    assert any("image 'other'" in one for one in told)
    assert len(told) == 7


def test_yolo_polygons_with_confidence_are_the_boxes_around_them(tmp_path: Path) -> None:
    (tmp_path / "ü.txt").write_text("0 .5 .5 1 .6 .7 1 .25\n0 0 0 .1 .1 .9\n")
    with_area = read_box_predictions(tmp_path, dataset()).row(1)
    assert with_area == (ITEMS[3], "cat", 0.25, 50.0, 25.0, 100.0, 50.0)


def test_a_folder_without_text_files_is_no_prediction(tmp_path: Path) -> None:
    assert "no .txt files" in problems_of(tmp_path)[0]
    assert "no such file" in problems_of(tmp_path / "gone")[0]


def test_yolo_takes_sizes_from_the_images_where_the_dataset_has_none(
    tmp_path: Path, paint: Paint
) -> None:
    for item in ITEMS:
        paint(tmp_path / "data" / item, size=(100, 50))
    data = dataset(
        items={
            "path": pl.Series(ITEMS),
            "width": pl.lit(None, pl.Int64),
            "height": pl.lit(None, pl.Int64),
        },
        root=tmp_path / "data",
    )
    names = {item: item.rpartition(".")[0] + ".txt" for item in ITEMS}
    assert same(read_box_predictions(write_yolo(tmp_path / "predicted", names), data))
    (tmp_path / "data" / ITEMS[3]).unlink()
    assert "no width and height" in problems_of(tmp_path / "predicted", data)[0]


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_tables_are_read_whatever_their_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"predictions.{suffix}"
    write = {"parquet": "write_parquet", "csv": "write_csv", "arrow": "write_ipc"}[suffix]
    getattr(WANTED.reverse(), write)(path)
    assert same(read_box_predictions(path, dataset()))


def test_a_table_in_memory_keeps_folds_and_class_vectors() -> None:
    vectors = [[0.1, 0.75, 0.0], [0.5, 0.1, 0.1], [0.0, 0.0, 0.125], [1.0, 0.0, 0.0]]
    table = WANTED.with_columns(pred_probs=pl.Series(vectors), fold=pl.Series([0, 0, 1, 2]))
    found = read_box_predictions(table.reverse(), dataset())
    assert found.schema["pred_probs"] == pl.Array(pl.Float32, 3)
    assert found.schema["fold"] == pl.Int32
    assert np.allclose(found["pred_probs"].to_numpy(), vectors)
    assert found["fold"].to_list() == [0, 0, 1, 2]


@pytest.mark.parametrize("vector", [[0.1, 0.2], [0.1, 0.2, float("nan")], [0.1, 0.2, 7.0]])
def test_class_vectors_that_do_not_fit_are_refused(vector: list[float]) -> None:
    table = WANTED.with_columns(pred_probs=pl.Series([vector] * 4))
    assert "pred_probs" in problems_of(table)[0]


def test_columns_of_usual_names_are_known_and_missing_ones_named(tmp_path: Path) -> None:
    renamed = WANTED.rename({"item_id": "file_name", "score": "confidence", "x1": "xmin"})
    assert same(read_box_predictions(renamed, dataset()))
    told = problems_of(WANTED.drop("score", "y2"))
    assert len(told) == 2
    assert "score or confidence" in told[0]


def test_text_among_numbers_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    WANTED.write_csv(path)
    path.write_text(path.read_text().replace("0.125", "much"))
    told = problems_of(path)
    assert any(one.startswith(f"{path}:4: ") and "'much'" in one for one in told)


def test_many_faults_of_one_sort_are_counted() -> None:
    many = pl.concat([WANTED.with_columns(score=pl.lit(2.0))] * 100)
    told = problems_of(many)
    assert len(told) == 101
    assert "300 more" in told[-1]


def test_boxes_without_area_are_left_out_with_a_warning() -> None:
    flat = WANTED.with_columns(x2=pl.when(pl.col("score") > 0.9).then("x1").otherwise("x2"))
    with pytest.warns(LabelfixWarning, match="1 predicted box without area"):
        assert same(read_box_predictions(flat, dataset()), WANTED.head(3))


def test_no_predictions_at_all_are_an_empty_table() -> None:
    empty = read_box_predictions(WANTED.head(0), dataset())
    assert empty.is_empty()
    assert dict(empty.schema) == {name: kind() for name, kind in BOX_PREDICTIONS.items()}


# ---------------------------------------------------------------- objects


def outputs(first: int, array: Any = np.array) -> list[dict[str, Any]]:
    """One dict an item as torchvision gives them, classes numbered from `first`."""
    made = []
    for item in ITEMS:
        rows = WANTED.filter(pl.col("item_id") == item)
        made.append(
            {
                "boxes": array(rows.select(BOX).to_numpy()),
                "labels": array([CLASSES.index(label) + first for label in rows["label"]]),
                "scores": array(rows["score"].to_numpy()),
            }
        )
    return made


def test_torchvision_outputs_in_item_order_and_by_name() -> None:
    assert same(read_box_predictions(outputs(1), dataset()))
    named = dict(zip(reversed(ITEMS), reversed(outputs(1)), strict=True))
    assert same(read_box_predictions(named, dataset()))


def test_torchvision_tensors() -> None:
    torch = pytest.importorskip("torch")

    def tensor(values: Any) -> Any:
        return torch.as_tensor(np.array(values)).requires_grad_(
            np.asarray(values).dtype.kind == "f"
        )

    assert same(read_box_predictions(outputs(1, tensor), dataset()))


def test_torchvision_class_vectors_are_kept() -> None:
    made = outputs(1)
    for one in made:
        one["pred_probs"] = np.full((len(one["labels"]), 3), 0.25)
    found = read_box_predictions(made, dataset())
    assert found["pred_probs"].to_numpy().tolist() == [[0.25] * 3] * 4
    made[0]["pred_probs"] = np.full((2, 2), 0.25)
    assert "predictions[0], pred_probs" in problems_of(made)[0]


def test_objects_that_do_not_fit_are_named() -> None:
    assert "3 objects" in problems_of(outputs(1)[:3])[0]
    assert "0 objects" in problems_of([])[0]
    wrong = [*outputs(1)[:3], {"boxes": [[1, 2, 3]], "labels": [1], "scores": [1.0]}]
    assert "predictions[3]" in problems_of(wrong)[0]
    wrong[3] = {"boxes": [[1, 2, 3, 4]], "labels": [1], "scores": []}
    assert "0 scores" in problems_of(wrong)[0]
    assert "predictions[0]" in problems_of([7, 8, 9, 10])[0]
    assert "found NoneType" in problems_of(None)[0]
    wrong[3] = {"boxes": [[1, 2, 3, 4]], "labels": [0], "scores": [0.5]}  # the background
    assert f"predictions[3] ({ITEMS[3]}), box 0: found class '0'" in problems_of(wrong)[0]


def ultralytics_like(item: str, array: Any = np.array) -> SimpleNamespace:
    one = outputs(0, array)[ITEMS.index(item)]
    boxes = SimpleNamespace(xyxy=one["boxes"], conf=one["scores"], cls=one["labels"])
    return SimpleNamespace(path=f"/data/{item}", names=dict(enumerate(CLASSES)), boxes=boxes)


def test_ultralytics_results_know_their_image_and_names() -> None:
    made = [ultralytics_like(item) for item in reversed(ITEMS)]
    assert same(read_box_predictions(made, dataset()))
    made[0].names = {0: "lynx", 1: "dog", 2: "owl"}
    assert "class 'lynx'" in problems_of(made)[0]
    with_map = read_box_predictions(made, dataset(), class_map={"lynx": "cat"})
    assert same(with_map)


def test_real_ultralytics_results() -> None:
    results_ = pytest.importorskip("ultralytics.engine.results")
    torch = pytest.importorskip("torch")
    made = []
    for item, one in zip(ITEMS, outputs(0), strict=True):
        data = np.column_stack([one["boxes"], one["scores"], one["labels"]]).reshape(-1, 6)
        made.append(
            results_.Results(
                np.zeros((50, 100, 3), np.uint8),
                path=f"/data/{item}",
                names=dict(enumerate(CLASSES)),
                boxes=torch.as_tensor(data),
            )
        )
    assert same(read_box_predictions(made, dataset()))


def test_what_ultralytics_writes_as_text_is_read(tmp_path: Path) -> None:
    results_ = pytest.importorskip("ultralytics.engine.results")
    torch = pytest.importorskip("torch")
    for item, one in zip(ITEMS, outputs(0), strict=True):
        data = np.column_stack([one["boxes"], one["scores"], one["labels"]]).reshape(-1, 6)
        result = results_.Results(
            np.zeros((50, 100, 3), np.uint8),
            path=f"/data/{item}",
            names=dict(enumerate(CLASSES)),
            boxes=torch.as_tensor(data),
        )
        result.save_txt(
            tmp_path / item.replace(".jpg", ".txt").replace(".png", ".txt"), save_conf=True
        )
    assert same(read_box_predictions(tmp_path, dataset()))


@pytest.mark.parametrize("named", [True, False])
def test_supervision_detections(named: bool) -> None:
    supervision = pytest.importorskip("supervision")
    made = [
        supervision.Detections(
            xyxy=one["boxes"].reshape(-1, 4),
            confidence=one["scores"],
            class_id=one["labels"] + 5 * named,
            data={"class_name": np.array(CLASSES)[one["labels"]]} if named else {},
        )
        if len(one["labels"])
        else supervision.Detections.empty()
        for one in outputs(0)
    ]
    if named:
        made = [one for one in made if len(one)]
        items = [item for item in ITEMS if item != ITEMS[2]]
        assert same(read_box_predictions(dict(zip(items, made, strict=True)), dataset()))
    else:
        assert same(read_box_predictions(made, dataset()))


def test_supervision_without_confidence_is_refused() -> None:
    supervision = pytest.importorskip("supervision")
    made = supervision.Detections(xyxy=np.array([[1, 2, 3, 4]]), class_id=np.array([0]))
    assert "no confidence" in problems_of({ITEMS[0]: made})[0]


# ---------------------------------------------------------------- class maps


def test_unmapped_classes_are_refused_and_those_mapped_to_nothing_left_out() -> None:
    table = WANTED.with_columns(pl.col("label").replace({"cat": "felis", "owl": "car"}))
    told = problems_of(table, class_map={"felis": "cat"})
    assert len(told) == 1
    assert "class 'car' of 1 box" in told[0]
    found = read_box_predictions(table, dataset(), class_map={"felis": "cat", "car": None})
    assert same(found, WANTED.filter(pl.col("label") != "owl"))


@pytest.mark.parametrize(
    ("predicted", "told"),
    [("Cat", "'Cat=cat'"), ("cow", "'cow=NAME' with"), ("cart", "'cart=NAME' with")],
)
def test_a_pair_of_names_is_suggested_where_it_is_certain_only(predicted: str, told: str) -> None:
    (problem,) = problems_of(WANTED.with_columns(pl.col("label").replace({"cat": predicted})))
    assert f"give a class map, {told}" in problem


def test_a_map_to_no_class_of_the_dataset_is_refused() -> None:
    assert "felis=tiger" in problems_of(WANTED, class_map={"felis": "tiger"})[0]


def test_a_map_of_numbers_speaks_for_all_numbers(tmp_path: Path) -> None:
    """A detector's class 1 is not the dataset's, once the map says that its 0 is not."""
    names = {item: item.rpartition(".")[0] + ".txt" for item in ITEMS}
    write_yolo(tmp_path, names)
    told = problems_of(tmp_path, class_map={"0": "dog"})
    assert sorted(one.partition("class ")[2][:3] for one in told) == ["'1'", "'2'"]
    swapped = read_box_predictions(tmp_path, dataset(), class_map={0: "dog", 1: "cat", 2: None})
    turned = WANTED.filter(pl.col("label") != "owl").with_columns(
        pl.col("label").replace({"cat": "dog", "dog": "cat"})
    )
    assert same(swapped, turned)


def test_class_maps_are_read_from_files_and_pairs(tmp_path: Path) -> None:
    wanted = {"0": "cat", "felis": "cat", "car": None}
    (tmp_path / "a.json").write_text(json.dumps(wanted))
    (tmp_path / "a.yaml").write_text("0: cat\nfelis: cat\ncar:\n")
    (tmp_path / "a.csv").write_text("predicted,given\n0,cat\nfelis,cat\ncar,\n")
    for suffix in ("json", "yaml", "csv"):
        assert read_class_map(tmp_path / f"a.{suffix}") == wanted
    assert read_class_map(["0=cat", "felis=cat", "car="]) == wanted
    assert read_class_map([str(tmp_path / "a.json"), "dog=dog"]) == wanted | {"dog": "dog"}


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": 1}', '{"a": ["b"]}', "{", "null"])
def test_what_is_no_class_map_is_refused(tmp_path: Path, text: str) -> None:
    for suffix in ("json", "yaml"):
        (tmp_path / f"a.{suffix}").write_text(text)
        with pytest.raises(InputError, match=rf"a\.{suffix}"):
            read_class_map(tmp_path / f"a.{suffix}")


def test_class_maps_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        read_class_map(["a=b", "a=c"])
    for wrong in ("a", "gone.json"):
        with pytest.raises(InputError, match="class map"):
            read_class_map(wrong)


def test_class_labels_take_no_boxes() -> None:
    items = pl.DataFrame({"item_id": ["a"]})
    labels = pl.DataFrame({"annotation_id": ["a"], "item_id": ["a"], "label": ["cat"]})
    with pytest.raises(InputError, match="class labels"):
        read_box_predictions(WANTED, Dataset(items, labels, CLASSES, "memory"))
    assert "format" in problems_of("x", format="voc")[0]


@pytest.mark.parametrize("kind", ["table", "coco", "yolo"])
def test_predictions_for_images_that_were_skipped_are_left_out(tmp_path: Path, kind: str) -> None:
    whole = coco_dataset() if kind == "coco" else dataset()
    bad = Problem(ITEMS[0], "an image that cannot be read")
    left = replace(whole.filter(pl.col("item_id") != ITEMS[0]), skipped=(bad,))
    match kind:
        case "table":
            source: Any = WANTED
        case "coco":
            images = dict(whole.items.select("item_id", "image_id").iter_rows())
            content = results(images, {"cat": 18, "dog": 3, "owl": 90})
            source = write_json(tmp_path / "results.json", content)
        case _:
            source = write_yolo(tmp_path, {item: f"{item}.txt" for item in ITEMS})
    with pytest.warns(LabelfixWarning, match="predictions for 1 image that the dataset does not"):
        found = read_box_predictions(source, left)
    assert found["item_id"].to_list() == [ITEMS[1], ITEMS[3]]
    with pytest.raises(InputError):
        read_box_predictions(source, replace(left, skipped=()))
