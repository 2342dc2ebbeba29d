from __future__ import annotations

import csv
import os
import pickle
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix import InputError, LabelfixWarning
from labelfix.formats import FORMATS
from labelfix.formats.arrays import (
    arrays_dataset,
    read_arrays,
    read_labels,
    read_pred_probs,
    read_predictions,
)
from labelfix.formats.tablefile import open_table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from conftest import Paint

    from labelfix.schema import Dataset


def paint_all(root: Path, paint: Paint, names: Iterable[str]) -> Path:
    for seed, name in enumerate(names):
        paint(root / name, seed)
    return root


def problems_of(path: Path, **options: Any) -> list[str]:
    """Give what `read` complains of, with paths from the root."""
    with pytest.raises(InputError) as caught:
        labelfix.read(path, **options)
    return [str(problem).replace(f"{path}{os.sep}", "") for problem in caught.value.problems]


# --- image folders ---------------------------------------------------------------------------


def test_a_folder_of_classes_is_recognised(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["cat/b.png", "cat/a.jpg", "dog/a.jpg"])
    dataset = labelfix.read(tmp_path)
    assert dataset.format == "imagefolder"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.items["item_id"].to_list() == ["cat/a.jpg", "cat/b.png", "dog/a.jpg"]
    assert dataset.annotations["annotation_id"].equals(dataset.items["item_id"])
    assert dataset.labels.tolist() == [0, 0, 1]
    assert dataset.items.select("width", "height").rows() == [(12, 8)] * 3
    assert "split" not in dataset.items.columns
    assert dataset.image_paths is not None
    assert all(path.is_absolute() and path.is_file() for path in dataset.image_paths)


def test_awkward_names_are_kept_as_they_are(tmp_path: Path, paint: Paint) -> None:
    composed = unicodedata.normalize("NFC", "é")
    decomposed = unicodedata.normalize("NFD", "é")
    names = [
        "black cat/A B.JPG",
        "black cat/2021/deep/A B.JPG",
        f"{composed}/x.png",
        f"{decomposed}t{composed}/x.PnG",
        "日本/画像.jpeg",
        "100%/#1 'quoted' \"twice\".png",
        "new\nline/tab\t.png",
        "-rf/a.b.c.png",
        " lead/ .png",
    ]
    paint_all(tmp_path, paint, names)
    dataset = labelfix.read(tmp_path)
    assert set(dataset.items["item_id"]) == set(names)
    assert set(dataset.class_names) == {name.split("/")[0] for name in names}
    assert dataset.image_paths is not None
    assert all(path.is_file() for path in dataset.image_paths)


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["train", "val", "test"], {"train", "val", "test"}),
        (["Train", "VALID"], {"train", "val"}),
        (["training", "validation"], {"train", "val"}),
        (["train"], {"train"}),
    ],
)
def test_splits_are_recognised_in_any_case(
    tmp_path: Path, paint: Paint, folders: list[str], splits: set[str]
) -> None:
    paint_all(tmp_path, paint, [f"{f}/{c}/x.png" for f in folders for c in ("cat", "dog")])
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "notes.txt").touch()
    dataset = labelfix.read(tmp_path)
    assert set(dataset.items["split"]) == splits
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset) == 2 * len(folders)


def test_equal_basenames_are_different_items(tmp_path: Path, paint: Paint) -> None:
    names = ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/a/x/1.png"]
    dataset = labelfix.read(paint_all(tmp_path, paint, names))
    assert sorted(dataset.items["item_id"]) == sorted(names)


def test_a_class_may_be_called_like_a_split(tmp_path: Path, paint: Paint) -> None:
    dataset = labelfix.read(paint_all(tmp_path, paint, ["train/1.png", "car/1.png", "car/x/2.png"]))
    assert dataset.class_names == ("car", "train")


def test_splits_beside_other_folders_are_refused(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["train/cat/1.png", "val/cat/1.png", "extra/1.png"])
    (message,) = problems_of(tmp_path)
    assert "splits (train, val) beside other folders (extra)" in message


def test_order_is_that_of_torchvision(tmp_path: Path, paint: Paint) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    names = ["a b/1.png", "a/10.png", "a/9.png", "a/x y/1.png", "a/x/2.png", "B/Z.png", "B/a.png"]
    paint_all(tmp_path, paint, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)
        dataset = labelfix.read(tmp_path)
    peer = datasets.ImageFolder(tmp_path)
    ours = [str(path) for path in dataset.image_paths or ()]
    assert ours == [path for path, _ in peer.samples]
    assert dataset.labels.tolist() == peer.targets
    assert list(dataset.class_names) == peer.classes


def test_litter_is_passed_over_and_strays_are_told_of(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["a/1.png", "b/1.png", "a/.hidden.png", ".git/x.png", "a/._1.png"])
    for litter in (".DS_Store", "a/Thumbs.db", "b/desktop.ini", "README.md"):
        (tmp_path / litter).touch()
    (tmp_path / "__MACOSX").mkdir()
    assert len(labelfix.read(tmp_path)) == 2
    (tmp_path / "a" / "notes.txt").touch()
    with pytest.warns(LabelfixWarning, match=r"1 file, no image by name: a/notes\.txt"):
        assert len(labelfix.read(tmp_path)) == 2


def awkward_folder(root: Path, paint: Paint) -> Path:
    """Write a folder with one of every thing that can be wrong with an item."""
    outside = paint(root.parent / "outside" / "x.png")
    paint_all(root, paint, ["a/1.png", "a/2.png", "b/1.png", "top.png"])
    (root / "a" / "cut.jpg").write_bytes(paint(root / "a" / "3.jpg").read_bytes()[:100])
    (root / "b" / "empty.png").touch()
    (root / "b" / "text.png").write_text("no image")
    (root / "none").mkdir()
    (root / "only broken").mkdir()
    (root / "only broken" / "x.png").write_text("no image")
    (root / "a" / "out.png").symlink_to(outside)
    (root / "a" / "in.png").symlink_to(root / "a" / "1.png")
    (root / "a" / "gone.png").symlink_to(root / "a" / "nothing.png")
    (root / "b" / "more").symlink_to(root / "a", target_is_directory=True)
    (root / "away").symlink_to(outside.parent, target_is_directory=True)
    return root


AWKWARD = {
    "a/cut.jpg": "a broken image",
    "a/gone.png": "no such file",
    "a/out.png": "a link to",
    "away": "a link to",
    "b/empty.png": "an empty file",
    "b/more": "a link to a folder",
    "b/text.png": "no image",
    "none": "an empty class",
    "only broken": "an empty class",
    "only broken/x.png": "no image",
    "top.png": "an image of no class",
}


def test_all_that_is_wrong_is_listed_at_once(tmp_path: Path, paint: Paint) -> None:
    messages = problems_of(awkward_folder(tmp_path / "set", paint))
    assert [message.partition(": found ")[0] for message in messages] == list(AWKWARD)
    for message, said in zip(messages, AWKWARD.values(), strict=True):
        assert said in message


def test_skip_bad_goes_on_without_and_keeps_the_reasons(tmp_path: Path, paint: Paint) -> None:
    dataset = labelfix.read(awkward_folder(tmp_path / "set", paint), skip_bad=True)
    good = ["a/1.png", "a/2.png", "a/3.jpg", "a/in.png", "b/1.png"]
    assert dataset.items["item_id"].to_list() == good
    assert dataset.class_names == ("a", "b")
    assert len(dataset.skipped) == len(AWKWARD)
    assert len(dataset.labels) == 5


def test_skipping_may_leave_one_class_which_is_refused(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["a/1.png", "b/1.png"])
    (tmp_path / "b" / "1.png").write_text("no image")
    assert len(problems_of(tmp_path)) == 3  # the image, its class, and that one class is left
    (message,) = problems_of(tmp_path, skip_bad=True)
    assert "one class only, 'a'" in message


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/1.png", "a/2.png"], "one class only, 'a'"),
        (["1.png", "2.png"], "2 images, but no class folders"),
        (["train/1.png", "val/2.png"], "2 images, but no class folders"),
        ([], "no image"),
    ],
)
def test_a_folder_without_classes_is_refused(
    tmp_path: Path, paint: Paint, names: list[str], said: str
) -> None:
    for skip_bad in (False, True):
        (message,) = problems_of(paint_all(tmp_path, paint, names), skip_bad=skip_bad)
        assert said in message


def test_a_table_beside_the_images_is_pointed_to(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["1.png"])
    (tmp_path / "labels.csv").touch()
    assert "or read labels.csv instead" in problems_of(tmp_path)[0]


@pytest.mark.parametrize("names", [("Cat", "cat"), ("\u00e9", "e\u0301")])
def test_one_class_spelled_in_two_ways_is_refused_across_splits(
    tmp_path: Path, paint: Paint, names: tuple[str, str]
) -> None:
    train, val = names
    paint_all(tmp_path, paint, [f"train/{train}/1.png", f"val/{val}/1.png", "train/dog/1.png"])
    (message,) = problems_of(tmp_path, skip_bad=True)
    assert "case or Unicode form only" in message
    paint(tmp_path / "train" / val / "2.png")  # side by side they may be meant, as letters are
    with pytest.warns(LabelfixWarning, match="case or Unicode form only"):
        assert len(labelfix.read(tmp_path).class_names) == 3


def test_a_class_may_be_missing_from_a_split(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["train/a/1.png", "train/b/1.png", "val/a/1.png"])
    (tmp_path / "val" / "b").mkdir()
    assert len(labelfix.read(tmp_path)) == 3


def test_a_name_that_is_not_utf8_is_listed(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["a/1.png", "b/1.png"])
    try:
        os.symlink(b"1.png", os.fsencode(tmp_path / "a") + b"/\xff.png")  # noqa: PTH211 # bytes
        os.mkdir(os.fsencode(tmp_path) + b"/\xfe")  # noqa: PTH102 # a path of bytes
    except OSError:
        pytest.skip("file names are text here")
    messages = problems_of(tmp_path)
    assert [message.partition(":")[0] for message in messages] == ["\\xfe", "a/\\xff.png"]
    assert len(labelfix.read(tmp_path, skip_bad=True)) == 2


@pytest.mark.parametrize("name", ["table", "coco", "yolo", "voc"])
def test_a_folder_of_images_that_is_not_there_is_one_problem(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}")
    path = tmp_path if name == "voc" else file
    with pytest.raises(InputError, match="nowhere: found no such folder") as caught:
        labelfix.read(path, format=name, images=tmp_path / "nowhere")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", ["coco", "voc", "imagefolder"])
def test_a_format_that_cannot_be_a_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x,label\n1,a\n2,b\n")
    wrong = tmp_path if name == "coco" else file
    with pytest.raises(InputError, match=rf"expected a (file|folder), for the format {name}"):
        labelfix.read(wrong, format=name)


def test_options_for_tables_are_refused(tmp_path: Path, paint: Paint) -> None:
    paint_all(tmp_path, paint, ["a/1.png", "b/1.png"])
    messages = problems_of(tmp_path, label="y", features=["x"])
    assert [message.partition(":")[0] for message in messages] == [
        "option label (--label)",
        "option features (--features)",
    ]


def test_a_relative_root_survives_a_change_of_folder(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint_all(tmp_path / "set", paint, ["a/1.png", "b/1.png"])
    monkeypatch.chdir(tmp_path)
    dataset = labelfix.read("set")
    monkeypatch.chdir("/")
    assert dataset.image_paths is not None
    assert all(path.is_file() for path in dataset.image_paths)


def test_real_drawings_are_read(data_dir: Path) -> None:
    root = data_dir / "roman-numeral" / "dev" / "images"
    if not root.is_dir():
        pytest.skip("no roman numerals here")
    dataset = labelfix.read(root)
    assert len(dataset) == 1466
    assert dataset.class_names == ("i", "ii", "iii", "iv", "ix", "v", "vi", "vii", "viii", "x")
    assert set(dataset.items["split"]) == {"train", "val"}


# --- recognising -----------------------------------------------------------------------------


def test_what_is_not_a_dataset_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in problems_of(tmp_path / "nothing")[0]
    (tmp_path / "y.npy").touch()
    assert "--labels, --pred-probs" in problems_of(tmp_path / "y.npy")[0]
    (tmp_path / "notes.txt").touch()
    assert "nothing that labelfix recognises" in problems_of(tmp_path / "notes.txt")[0]
    for name in FORMATS:
        problems_of(tmp_path / "notes.txt", format=name)
    assert ", ".join(FORMATS) in problems_of(tmp_path, format="zip")[0]
    assert "no table" in problems_of(tmp_path, format="table")[0]


# --- tables ----------------------------------------------------------------------------------


def table(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


FLOWERS = "petal,sepal,colour,label\n1.4,3,red,a\n4.7,2,blue,b\n1.3,3,red,a\n"


def test_columns_of_features_are_recognised(tmp_path: Path) -> None:
    dataset = labelfix.read(table(tmp_path / "x.csv", FLOWERS))
    assert dataset.format == "table"
    assert dataset.class_names == ("a", "b")
    assert dataset.feature_columns == ("petal", "sepal", "colour")
    assert dataset.items.schema == {
        "item_id": pl.String,
        "petal": pl.Float64,
        "sepal": pl.Int64,
        "colour": pl.String,
    }
    assert dataset.items["item_id"].to_list() == ["0", "1", "2"]
    assert dataset.image_paths is None


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".tsv", ".parquet", ".arrow", ".feather"])
def test_every_kind_of_file_gives_the_same_dataset(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"flowers{suffix}"
    frame = pl.read_csv(FLOWERS.encode())
    match suffix.lower():
        case ".csv":
            frame.write_csv(path)
        case ".tsv":
            frame.write_csv(path, separator="\t")
        case ".parquet":
            frame.write_parquet(path)
        case _:
            frame.write_ipc(path)
    first, second = labelfix.read(table(tmp_path / "x.csv", FLOWERS)), labelfix.read(path)
    assert second.items.equals(first.items)
    assert second.annotations.equals(first.annotations)
    assert second.fingerprint == first.fingerprint


def test_an_arrow_stream_is_read_like_a_file(tmp_path: Path) -> None:
    pl.read_csv(FLOWERS.encode()).write_ipc_stream(tmp_path / "x.arrow")
    assert len(labelfix.read(tmp_path / "x.arrow")) == 3


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["10", "9", "10", "9"], ("9", "10")),
        (["01", "1", "01", "1"], ("01", "1")),
        (["NA", "None", "null", "nan"], ("NA", "None", "nan", "null")),
        (["True", "False", "True", "False"], ("False", "True")),
        (["v1", "2", "v1", "2"], ("2", "v1")),
        (["a b", "a,b", 'a"b', "a\nb"], ("a\nb", "a b", 'a"b', "a,b")),
        (["1.0", "2.0", "1.0", "2.0"], ("1.0", "2.0")),
    ],
)
def test_class_names_are_the_text_of_the_labels(
    tmp_path: Path, cells: list[str], names: tuple[str, ...]
) -> None:
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["x", "label"], *([row, c] for row, c in enumerate(cells))])
    dataset = labelfix.read(tmp_path / "x.csv")
    assert dataset.class_names == names
    assert dataset.annotations["label"].to_list() == cells


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (pl.Series([10, -1, 9], dtype=pl.Int8), ("-1", "9", "10")),
        (pl.Series([True, False, True]), ("false", "true")),
        (pl.Series(["b", "a", "b"], dtype=pl.Categorical), ("a", "b")),
        (pl.Series(["b", "a", "b"], dtype=pl.Enum(["b", "c", "a"])), ("a", "b")),
    ],
)
def test_typed_labels_become_names(
    tmp_path: Path, labels: pl.Series, names: tuple[str, ...]
) -> None:
    pl.DataFrame({"x": [1, 1, 2], "label": labels}).write_parquet(tmp_path / "x.parquet")
    assert labelfix.read(tmp_path / "x.parquet").class_names == names


@pytest.mark.parametrize("values", [[0.5, 1.5, 2.0], [0.0, 1.0, None]])
def test_floating_point_labels_are_refused(tmp_path: Path, values: list[float | None]) -> None:
    frame = pl.DataFrame({"x": [1, 1, 2], "label": values})
    frame.write_parquet(tmp_path / "x.parquet")
    assert "floating-point" in problems_of(tmp_path / "x.parquet")[0]
    if None not in values:
        frame.write_csv(tmp_path / "x.csv")
        found = "x.csv:2: found '0.5' in column 'label', one of 2 with a fraction"
        assert found in problems_of(tmp_path / "x.csv")[0]


def test_labels_that_are_lists_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"label": [["a"], ["b"]]}).write_parquet(tmp_path / "x.parquet")
    assert "List(String)" in problems_of(tmp_path / "x.parquet")[0]


TEXTS = {
    "plain": b"x,label\n1,a\n2,b\n",
    "byte order mark": b"\xef\xbb\xbfx,label\n1,a\n2,b\n",
    "windows": b"x,label\r\n1,a\r\n2,b\r\n",
    "no end of line": b"x,label\n1,a\n2,b",
    "empty lines at the end": b"x,label\n1,a\n2,b\n\n\n",
    "quoted": b'"x","label"\n"1","a"\n"2","b"\n',
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_way_to_write_a_text_file_reads_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.csv").write_bytes(TEXTS[name])
    dataset = labelfix.read(tmp_path / "x.csv")
    assert dataset.items.rows() == [("0", 1), ("1", 2)]
    assert dataset.annotations["label"].to_list() == ["a", "b"]


BROKEN_TEXTS = {
    "empty": (b"", ["no header"]),
    "blank": (b"\n\n", ["no header"]),
    "header only": (b"x,label\n", ["no rows"]),
    "twice": (b"x,x,label\n1,2,a\n", [":1: found columns of the same name: 'x'"]),
    "semicolons": (b"x;label\n1;a\n2;b\n", [":1: found fields separated by ;"]),
    "latin-1": ("x,label\n1,é\n2,b\n3,ü\n".encode("latin-1"), [":2: found bytes", ":4: found"]),
    "utf-16": ("x,label\n1,a\n".encode("utf-16"), ["UTF-16"]),
    "open quote": (b'x,label\n1,a\n2,"b\n3,a\n', [":3: found a row that does not read"]),
    "after quote": (b'x,label\n1,a\n2,"b"c\n3,a\n', [":3: found a row that does not read"]),
    "no label": (b"x,colour\n1,red\n", ["'x', 'colour'; expected one column called label"]),
    "two labels": (b"x,label,target\n1,a,b\n", ["may all be labels: 'label', 'target'"]),
}


@pytest.mark.parametrize("name", BROKEN_TEXTS)
def test_a_text_file_that_does_not_read_is_refused(tmp_path: Path, name: str) -> None:
    content, said = BROKEN_TEXTS[name]
    (tmp_path / "x.csv").write_bytes(content)
    messages = problems_of(tmp_path / "x.csv")
    assert len(messages) == len(said)
    for message, words in zip(messages, said, strict=True):
        assert words in message


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_damaged_table_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"PAR1 and nothing else")
    assert "does not read" in problems_of(tmp_path / f"x{suffix}")[0]


BAD_ROWS = """\
id,x,text,label
1,1,"two
lines",a
2,1,none,
3,1,few
4,1,more,a,extra
1,1,again,b
,1,nameless,b

8,1,fine,b
9,1,fine,a
"""


def test_every_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    messages = problems_of(table(tmp_path / "x.csv", BAD_ROWS))
    found = [message.split(": found ")[0].rpartition(":")[2] for message in messages]
    said = [message.split(": found ")[1] for message in messages]
    assert found == ["2", "4", "5", "6", "7", "8", "9", "9"]
    assert [s.split(";")[0] for s in said] == [
        "id '1' more than once",
        "no label in column 'label'",
        "3 fields",
        "5 fields",
        "id '1' more than once",
        "no id in column 'id'",
        "no label in column 'label'",
        "no id in column 'id'",
    ]


def test_a_short_row_is_not_filled_in_silence(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "label,x,y\na,1\nb,2,3\n")
    (message,) = problems_of(path, skip_bad=True)  # one class is left
    assert "one class only" in message
    assert "x.csv:2: found 2 fields; expected 3" in problems_of(path)[1]


def test_bad_rows_can_be_left_out(tmp_path: Path) -> None:
    dataset = labelfix.read(table(tmp_path / "x.csv", BAD_ROWS), skip_bad=True)
    assert dataset.items["item_id"].to_list() == ["8", "9"]
    assert dataset.annotations["label"].to_list() == ["b", "a"]
    assert len(dataset.skipped) == 8


def test_rows_of_a_binary_table_are_named_by_number(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2, 3], "label": ["a", None, ""]})
    frame.write_parquet(tmp_path / "x.parquet")
    messages = problems_of(tmp_path / "x.parquet")
    assert "row 1: found no label" in messages[-2]
    assert "row 2: found no label" in messages[-1]


def test_row_numbers_stay_those_of_the_file(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "x,label\n1,\n2,a\n3,b\n")
    assert labelfix.read(path, skip_bad=True).items["item_id"].to_list() == ["1", "2"]


@pytest.mark.parametrize("text", ["x,label\n1,a\n2,a\n", "label\na\n"])
def test_a_table_of_one_class_is_refused(tmp_path: Path, text: str) -> None:
    assert "one class only, 'a'" in problems_of(table(tmp_path / "x.csv", text))[0]


def test_columns_can_be_named(tmp_path: Path) -> None:
    text = "label,truth,key,patient,x\na,1,k,p,5\nb,2,l,p,6\na,1,m,q,7\n"
    path = table(tmp_path / "x.csv", text)
    dataset = labelfix.read(path, label="truth", id="key", group="patient", features=["x"])
    assert dataset.class_names == ("1", "2")
    assert dataset.items["item_id"].to_list() == ["k", "l", "m"]
    assert dataset.items["group"].to_list() == ["p", "p", "q"]
    assert dataset.feature_columns == ("x",)
    assert "label" in dataset.items.columns  # metadata now
    messages = problems_of(path, label="no", id="neither")
    assert ["no column 'no'" in messages[0], "no column 'neither'" in messages[1]] == [True, True]


def test_usual_columns_are_recognised_in_any_case(tmp_path: Path) -> None:
    text = "ID,Group,SPLIT,x, Label \n7,g,train,1,a\n8,h,val,2,b\n"
    dataset = labelfix.read(table(tmp_path / "x.csv", text))
    expected = [("7", "g", "train", 1), ("8", "h", "val", 2)]
    assert dataset.items.select("item_id", "group", "split", "x").rows() == expected
    assert dataset.feature_columns == ("x",)


def test_a_missing_group_is_a_problem(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "group,label\ng,a\n,b\nh,b\n")
    (message,) = problems_of(path)
    assert "x.csv:3: found no group" in message


def test_a_column_that_would_stand_for_two_things_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "key,item_id,label\n1,2,a\n3,4,b\n")
    assert "a name that labelfix uses itself" in problems_of(path, id="key")[0]


def test_columns_that_give_the_answer_away_are_no_features(tmp_path: Path) -> None:
    rows = [f"{i},{i % 7},{i % 3 < 1},name {i},class {i % 2},{i % 2},{i % 2}" for i in range(20)]
    path = table(tmp_path / "x.csv", "\n".join([",x,b,text,name,code,label", *rows]))
    with pytest.warns(LabelfixWarning) as caught:
        dataset = labelfix.read(path)
    assert dataset.feature_columns == ("x", "b")
    message = str(caught[0].message)
    assert "'' has no name" in message
    assert "'text' is another text in every row" in message
    assert "'name' says the same as the label, 'code' says" in message
    assert {"text", "name", "code"} < set(dataset.items.columns)
    assert labelfix.read(path, features=["name"]).feature_columns == ("name",)


def test_a_column_is_one_thing_and_named_once(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "x,label\n1,a\n2,b\n")
    with pytest.raises(InputError) as caught:
        labelfix.read(path, id="label", group="label", features=["x", "x"])
    assert [(p.where.rpartition(" ")[2], p.found) for p in caught.value.problems] == [
        ("'label'", "both label and id"),
        ("'label'", "both label and group"),
        ("'x'", "a feature twice"),
    ]


def test_features_that_no_model_can_use_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [[1], [2]], "id": ["a", "b"], "label": ["a", "b"]})
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.warns(LabelfixWarning, match="'x' holds List"):
        assert not labelfix.read(tmp_path / "x.parquet").feature_columns
    messages = problems_of(tmp_path / "x.parquet", features=["x", "id"])
    assert "List" in messages[0]
    assert "already label, id" in messages[1]


def test_text_becomes_numbers_only_where_every_cell_is_one(tmp_path: Path) -> None:
    text = "i,f,zip,b,na,mix,label\n1,1.5,01234,true,3,1,a\n-2,1e3,94103,FALSE,NA,x,b\n,,,,,,a\n"
    items = labelfix.read(table(tmp_path / "x.csv", text)).items
    assert items["i"].to_list() == [1, -2, None]
    assert items["f"].to_list() == [1.5, 1000.0, None]
    assert items["zip"].to_list() == ["01234", "94103", None]
    assert items["b"].to_list() == [True, False, None]
    assert items["na"].to_list() == [3, None, None]
    assert items["mix"].to_list() == ["1", "x", None]


def test_classes_that_differ_in_case_or_space_only_are_told_of(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "x,label\n1,cat\n2,Cat \n3,dog\n")
    with pytest.warns(LabelfixWarning, match="'Cat ', 'cat'"):
        assert len(labelfix.read(path).class_names) == 3


# --- tables of images ------------------------------------------------------------------------


def image_table(root: Path, paint: Paint, paths: list[str], column: str = "image") -> Path:
    for seed, name in enumerate(("img/a.png", "img/b c.JPG", "c.png")):
        paint(root / name, seed)
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[path, "xy"[row % 2], "width of its own"] for row, path in enumerate(paths)]
        csv.writer(file).writerows([[column, "label", "width"], *rows])
    return root / "labels.csv"


@pytest.mark.parametrize("column", ["image", "path", "File", "filename", "image_path", "file_name"])
def test_a_column_of_image_paths_is_recognised(tmp_path: Path, paint: Paint, column: str) -> None:
    path = image_table(tmp_path, paint, ["img/a.png", "./img/b c.JPG", "img/../c.png"], column)
    dataset = labelfix.read(path)
    names = ["img/a.png", "img/b c.JPG", "c.png"]
    assert dataset.items["item_id"].to_list() == names
    assert dataset.items["path"].to_list() == names
    assert dataset.items["width"].to_list() == [12, 12, 12]
    assert dataset.image_paths == [tmp_path / name for name in names]
    assert not dataset.feature_columns


def test_absolute_paths_inside_are_kept_from_the_root(tmp_path: Path, paint: Paint) -> None:
    path = image_table(tmp_path, paint, [str(tmp_path / "c.png"), "img/a.png"])
    assert labelfix.read(path).items["item_id"].to_list() == ["c.png", "img/a.png"]


def test_one_image_in_two_rows_is_named_by_row(tmp_path: Path, paint: Paint) -> None:
    path = image_table(tmp_path, paint, ["c.png", "./c.png"])
    assert labelfix.read(path).items["item_id"].to_list() == ["0", "1"]


def test_images_never_come_from_outside_of_the_folder(tmp_path: Path, paint: Paint) -> None:
    root = tmp_path / "root"
    outside = paint(tmp_path / "secret" / "x.png")
    path = image_table(root, paint, [])
    (root / "link.png").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent, target_is_directory=True)
    attempts = [
        "../secret/x.png",
        str(outside),
        "link.png",
        "folder/x.png",
        "img/../../secret/x.png",
        "/etc/passwd",
    ]
    image_table(root, paint, [*attempts, "c.png", "img/a.png"])
    messages = problems_of(path)
    assert len(messages) == len(attempts)
    for line, (message, attempt) in enumerate(zip(messages, attempts, strict=True), 2):
        assert message.startswith(f"{path}:{line}: found an image outside of")
        assert attempt in message
    dataset = labelfix.read(path, skip_bad=True)
    assert dataset.items["path"].to_list() == ["c.png", "img/a.png"]


def test_a_table_may_lie_beside_its_folder_of_images(tmp_path: Path, paint: Paint) -> None:
    path = image_table(tmp_path / "labels", paint, ["a.png", "deep/b.png", "../labels/c.png"])
    for name in ("a.png", "deep/b.png"):
        paint(tmp_path / "images" / name)
    with pytest.raises(InputError, match=r"labels/c\.png") as caught:
        labelfix.read(path, images=tmp_path / "images")
    assert len(caught.value.problems) == 1, "the folder of images alone is open"
    dataset = labelfix.read(path, images=tmp_path / "images", skip_bad=True)
    assert dataset.items["path"].to_list() == ["images/a.png", "images/deep/b.png"]
    assert [p.is_file() for p in dataset.image_paths or []] == [True, True]
    with pytest.raises(InputError, match="no such folder"):
        labelfix.read(path, images=tmp_path / "nowhere")


def test_every_broken_image_of_a_table_is_named_with_its_line(tmp_path: Path, paint: Paint) -> None:
    rows = ["c.png", "no.png", "", "img", "text.png", "img/a.png", "https://x.org/a.png"]
    path = image_table(tmp_path, paint, rows)
    (tmp_path / "text.png").write_text("no image")
    messages = problems_of(path)
    assert [message.split(": found ")[1].split(";")[0] for message in messages] == [
        "no such file: no.png",
        "no image path in column 'image'",
        "something that is no file: img",
        "no image: text.png",
        "no such file: https:/x.org/a.png",
    ]
    assert [message.partition(".csv:")[2][0] for message in messages] == ["3", "4", "5", "6", "8"]


def test_paths_that_all_start_elsewhere_are_one_problem(tmp_path: Path, paint: Paint) -> None:
    path = image_table(tmp_path, paint, ["from/here/a.png", "from/here/b.png"])
    (message,) = problems_of(path)
    assert "2 paths where no file is, such as" in message
    assert "images=, --images" in message
    path = image_table(tmp_path, paint, ["from/here/a.png", "", "from/here/b.png"])
    first, second = problems_of(path)
    assert "2 paths where no file is, such as" in first
    assert "no image path" in second
    (message,) = problems_of(path, skip_bad=True)
    assert "2 paths where no file is, such as" in message


def test_a_column_of_names_that_are_no_images_is_a_feature(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "file,label\na,x\nb,y\na,x\n")
    dataset = labelfix.read(path)
    assert dataset.feature_columns == ("file",)
    assert dataset.image_paths is None


def test_a_column_called_path_makes_no_images(tmp_path: Path) -> None:
    rows = "".join(f"../{i}.wav,{i},{'ab'[i % 2]}\n" for i in range(9))
    path = table(tmp_path / "x.csv", "path,x,label\n" + rows)
    with pytest.warns(LabelfixWarning, match="'path' is left out"):
        dataset = labelfix.read(path)
    assert dataset.image_paths is None
    assert dataset.feature_columns == ("x",)
    named = labelfix.read(path, id="path")
    assert named.items["item_id"][0] == "../0.wav"
    assert named.image_paths is None


# --- round trips -----------------------------------------------------------------------------

CELLS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=8
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12),
    suffix=st.sampled_from([".csv", ".tsv"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_every_cell_of_a_text_file_comes_back(
    tmp_path: Path, rows: list[tuple[str, str, str]], suffix: str, line_end: str, mark: bool
) -> None:
    path = tmp_path / f"x{suffix}"
    encoding = "utf-8-sig" if mark else "utf-8"
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(
            file,
            delimiter="\t" if suffix == ".tsv" else ",",
            lineterminator=line_end,
            quoting=csv.QUOTE_ALL
            if any("\r" in cell for row in rows for cell in row)
            else csv.QUOTE_MINIMAL,  # a bare one is odd
        )
        writer.writerows([["a", "b", "c"], *rows])
    read = open_table(path)
    assert read.table.rows() == [tuple(cell or None for cell in row) for row in rows]
    assert not read.bad
    assert len(read.lines) == len(rows)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(CELLS.filter(bool), min_size=2, max_size=12).filter(
        lambda labels: len(set(labels)) > 1
    )
)
def test_labels_are_never_changed(tmp_path: Path, labels: list[str]) -> None:
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["x", "label"], *([1, label] for label in labels)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)
        try:
            dataset = labelfix.read(tmp_path / "x.csv")
        except InputError as error:
            assert "with a fraction" in str(error)  # noqa: PT017 # the only reason to refuse
            return
    assert dataset.annotations["label"].to_list() == labels
    assert [dataset.class_names[k] for k in dataset.labels] == labels


# --- arrays ----------------------------------------------------------------------------------

PROBS = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


def is_mapped(array: Any) -> bool:
    return isinstance(array, np.memmap) or (array.base is not None and is_mapped(array.base))


def save(path: Path, values: Any) -> Path:
    np.save(path, values)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_stay_mapped_and_keep_their_type(tmp_path: Path, dtype: type) -> None:
    probs = save(tmp_path / "p.npy", np.array([[0.5, 0.5], [0.25, 0.75], [1, 0]], dtype))
    labels = save(tmp_path / "y.npy", np.array([0, 1, 0], np.uint8))
    dataset, (predictions,) = read_arrays(labels, [probs])
    assert is_mapped(predictions.pred_probs)
    assert predictions.pred_probs.dtype == dtype
    assert dataset.items["item_id"].to_list() == ["0", "1", "2"]
    assert dataset.class_names == predictions.class_names == ("0", "1")
    assert dataset.labels.tolist() == [0, 1, 0]
    assert not isinstance(read_pred_probs(probs, mmap=False).values, np.memmap)


def test_archives_hold_one_array_or_name_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", anything=PROBS)
    np.savez_compressed(tmp_path / "named.npz", pred_probs=PROBS, labels=np.array([0, 1, 0]))
    np.savez(tmp_path / "two.npz", a=PROBS, b=PROBS)
    for name in ("one.npz", "named.npz"):
        assert np.array_equal(read_pred_probs(tmp_path / name).values, PROBS)
    assert np.array_equal(read_labels(tmp_path / "named.npz").values, [0, 1, 0])
    with pytest.raises(InputError, match="arrays a, b; expected one array"):
        read_pred_probs(tmp_path / "two.npz")


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize("name", ["object.npy", "pickle.npy", "object.npz", "pickle.npz"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    trap = np.array([Trap()], dtype=object)
    if name == "object.npy":
        np.save(path, trap, allow_pickle=True)
    elif name == "object.npz":
        np.savez(path, pred_probs=trap)
    else:
        path.write_bytes(pickle.dumps(Trap()))
    for read in (read_labels, read_pred_probs):
        with pytest.raises(InputError, match="pickled objects, which are never loaded"):
            read(path)


def test_text_is_not_taken_for_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "y.npy").write_text("cat\ndog\n")
    with pytest.raises(InputError, match="found neither; expected an array"):
        read_labels(tmp_path / "y.npy")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04rest"])
def test_damaged_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    for suffix in (".npy", ".npz"):
        (tmp_path / f"x{suffix}").write_bytes(content)
        with pytest.raises(InputError):
            read_pred_probs(tmp_path / f"x{suffix}")
    whole = save(tmp_path / "y.npy", PROBS).read_bytes()
    (tmp_path / "y.npy").write_bytes(whole[:-8])
    with pytest.raises(InputError, match="does not read"):
        read_pred_probs(tmp_path / "y.npy")


def test_rows_are_joined_on_ids(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "id,label\nb,dog\na,cat\nc,cat\n")
    probs = table(tmp_path / "p.csv", "id,cat,dog\na,0.9,0.1\nb,0.2,0.8\nc,0.6,0.4\n")
    dataset, (predictions,) = read_arrays(labels, [probs])
    assert dataset.items["item_id"].to_list() == ["b", "a", "c"]
    assert dataset.class_names == ("cat", "dog")
    assert predictions.pred_probs.tolist() == [[0.2, 0.8], [0.9, 0.1], [0.6, 0.4]]
    assert dataset.labels.tolist() == [1, 0, 0]


def test_ids_of_labels_name_the_rows_of_an_array(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "id,label\nb,0\na,1\nc,0\n")
    dataset, (predictions,) = read_arrays(labels, [save(tmp_path / "p.npy", PROBS)])
    assert dataset.items["item_id"].to_list() == ["b", "a", "c"]
    assert is_mapped(predictions.pred_probs)


def test_ids_that_do_not_join_are_all_listed(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "id,label\na,0\nb,1\nc,0\nd,1\n")
    probs = table(tmp_path / "p.csv", "id,x,y\na,1,0\ne,1,0\nf,1,0\n")
    with pytest.raises(InputError) as caught:
        read_arrays(labels, [probs])
    assert [p.found for p in caught.value.problems] == [
        "no row with id 'b'",
        "no row with id 'c'",
        "no row with id 'd'",
        "id 'e'",
        "id 'f'",
    ]


def test_ids_given_twice_or_not_at_all_are_named_by_line(tmp_path: Path) -> None:
    path = table(tmp_path / "y.csv", "id,label\na,0\nb,1\na,0\n,1\n")
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert sorted(p.line or 0 for p in caught.value.problems) == [2, 4, 5]


def test_missing_labels_and_words_for_numbers_are_named_by_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"y\.csv:3: found no label"):
        read_labels(table(tmp_path / "y.csv", "id,label\na,0\nb,\n"))
    with pytest.raises(InputError, match=r"p\.csv:3: found 'much' in column 'y'"):
        read_pred_probs(table(tmp_path / "p.csv", "x,y\n0,1\n0.2,much\n"))


def test_columns_of_a_table_name_the_classes(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "label\n7\n3\n7\n")
    pl.DataFrame({"3": [0.1, 0.9, 0.2], "7": [0.9, 0.1, 0.8]}).write_parquet(tmp_path / "p.parquet")
    dataset, (predictions,) = read_arrays(labels, [tmp_path / "p.parquet"])
    assert dataset.class_names == ("3", "7")
    assert dataset.labels.tolist() == [1, 0, 1]
    assert predictions.pred_probs.shape == (3, 2)


def test_columns_without_names_stand_for_what_they_are_said_to(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "label\nb\na\nb\n")
    probs = save(tmp_path / "p.npy", PROBS)
    for names, codes in ((None, [1, 0, 1]), (("b", "a"), [0, 1, 0])):
        dataset, (predictions,) = read_arrays(labels, [probs], class_names=names)
        assert dataset.class_names == predictions.class_names == (names or ("a", "b"))
        assert dataset.labels.tolist() == codes
        assert predictions.pred_probs.tolist() == PROBS.tolist()


def pets(tmp_path: Path) -> labelfix.Dataset:
    for name in ("cat/1.png", "dog/1.png", "dog/2.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / "pets" / name)
    return labelfix.read(tmp_path / "pets")


def test_predictions_follow_the_items_of_a_folder_or_are_joined_on_their_paths(
    tmp_path: Path,
) -> None:
    dataset = pets(tmp_path)
    rows = "dog/2.png,0.4,0.6\ncat/1.png,0.1,0.9\ndog/1.png,0.8,0.2\n"
    joined = table(tmp_path / "p.csv", "picture,dog,cat\n" + rows)
    array = save(tmp_path / "p.npy", np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    turned = save(tmp_path / "t.npy", np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]]))
    for one in (
        *read_predictions(dataset, [joined, array]),
        *read_predictions(dataset, [turned], class_names=["dog", "cat"]),
    ):
        assert one.class_names == ("cat", "dog")
        assert one.pred_probs.tolist() == [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]


@pytest.mark.parametrize(
    ("header", "first", "told"),
    [
        ("picture,dog,cow", "dog/2.png", "columns called dog, cow; expected the classes of"),
        ("picture,dog,cat", "pets/dog/2.png", "id 'pets/dog/2.png'; expected an id that"),
        ("id,dog,cow", "dog/2.png", "columns called dog, cow; expected the classes of"),
        ("dog,cat", None, "3 labels; expected 2, the rows"),
    ],
)
def test_predictions_that_do_not_fit_a_folder_are_refused(
    tmp_path: Path, header: str, first: str | None, told: str
) -> None:
    rows = ["0.4,0.6", "0.1,0.9", "0.8,0.2"]
    names = [first, "cat/1.png", "dog/1.png"]
    named = [f"{name},{row}" for name, row in zip(names, rows, strict=True)]
    path = table(tmp_path / "p.csv", "\n".join([header, *(named if first else rows[:2])]) + "\n")
    with pytest.raises(InputError, match=told):
        read_predictions(pets(tmp_path), [path])


BESIDE = "id,path,source,dog,cat\n7,{0},x,0.4,0.6\n3,{1},x,0.1,0.9\n5,{2},y,0.8,0.2\n"


@pytest.mark.parametrize("ids", [None, "path"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_of_several_columns_of_ids_the_one_that_the_items_have_counts(
    suffix: str, ids: str | None, tmp_path: Path
) -> None:
    text = BESIDE.format("dog/2.png", "cat/1.png", "dog/1.png")
    path = table(tmp_path / "p.csv", text)
    if suffix == "parquet":
        pl.read_csv(path).write_parquet(path := tmp_path / "p.parquet")
    (one,) = read_predictions(pets(tmp_path), [path], ids=ids)
    assert one.pred_probs.tolist() == [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    labels = table(tmp_path / "y.csv", "path,id,label\ncat/1.png,3,dog\ndog/2.png,7,cat\n")
    table(tmp_path / "p2.csv", "\n".join(text.splitlines()[:3]) + "\n")
    _, (two,) = read_arrays(labels, [tmp_path / "p2.csv"], ids=ids)
    assert two.pred_probs.tolist() == [[0.1, 0.9], [0.4, 0.6]]  # dog, cat, as the file has them


def test_text_beside_probabilities_names_the_rows_of_an_array_of_labels(tmp_path: Path) -> None:
    labels = save(tmp_path / "y.npy", np.array(["cat", "dog"]))
    path = table(tmp_path / "p.csv", "split,picture,cat,dog\nx,b.png,0.9,0.1\nx,a.png,0,1\n")
    dataset, (one,) = read_arrays(labels, [path])
    assert dataset.items["item_id"].to_list() == ["b.png", "a.png"]
    assert one.pred_probs.tolist() == [[0.9, 0.1], [0, 1]]
    path = table(tmp_path / "p.csv", "split,cat,dog\nx,0.9,0.1\nx,0,1\n")
    with pytest.raises(InputError, match=r"'split': found text in every row.*--id"):
        read_arrays(labels, [path])


def test_a_column_of_bytes_is_told_as_that(tmp_path: Path) -> None:
    labels = save(tmp_path / "y.npy", np.array(["cat", "dog"]))
    table = pl.DataFrame({"image": [b"\xff", b"\xfe"], "cat": [1.0, 0.0], "dog": [0.0, 1.0]})
    table.write_parquet(tmp_path / "p.parquet")
    with pytest.raises(InputError, match="'image': found cells of type Binary"):
        read_arrays(labels, [tmp_path / "p.parquet"])


def test_a_class_may_be_called_id(tmp_path: Path) -> None:
    labels = table(tmp_path / "t.csv", "key,x,label\na,1,id\nb,2,en\nc,3,id\n")
    path = table(tmp_path / "p.csv", "key,en,id\nc,0,1\na,0.1,0.9\nb,1,0\n")
    for ids in ("key", None):
        dataset = labelfix.read(labels, id="key", features=["x"])
        (one,) = read_predictions(dataset, [path], ids=ids)
        assert one.pred_probs.tolist() == [[0.1, 0.9], [1, 0], [0, 1]]


def test_ids_of_a_dataset_need_no_column_elsewhere(tmp_path: Path) -> None:
    labels = table(tmp_path / "t.csv", "key,x,label\n10,1,b\n20,2,a\n30,3,b\n")
    dataset = labelfix.read(labels, id="key", features=["x"])
    array = save(tmp_path / "p.npy", np.array([[0, 1], [1, 0], [0.4, 0.6]]))
    path = table(tmp_path / "p.csv", "number,a,b\n20,1,0\n30,0.4,0.6\n10,0,1\n")
    for one in read_predictions(dataset, [array, path], ids="key"):
        assert one.pred_probs.tolist() == [[0, 1], [1, 0], [0.4, 0.6]]


def test_ids_that_no_item_has_are_one_problem_that_says_what_to_do(tmp_path: Path) -> None:
    path = table(tmp_path / "p.csv", "id,dog,cat\n7,0.4,0.6\n3,0.1,0.9\n5,0.8,0.2\n")
    with pytest.raises(InputError, match=r"column 'id': found ids such as '7'.*--id") as caught:
        read_predictions(pets(tmp_path), [path])
    assert len(caught.value.problems) == 1
    with pytest.raises(InputError, match="no column 'path'"):
        read_predictions(pets(tmp_path), [path], ids="path")


def test_names_of_columns_must_be_the_classes_of_a_folder(tmp_path: Path) -> None:
    array = save(tmp_path / "p.npy", PROBS)
    with pytest.raises(InputError, match="columns called cat, cow; expected the classes"):
        read_predictions(pets(tmp_path), [array], class_names=["cat", "cow"])


def test_numbers_in_a_text_file_are_class_numbers(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "label\n1\n0\n1\n")
    dataset, _ = read_arrays(labels, [save(tmp_path / "p.npy", np.c_[PROBS / 2, PROBS / 2])])
    assert dataset.class_names == ("0", "1", "2", "3")
    assert dataset.labels.tolist() == [1, 0, 1]


def test_several_models_are_put_in_one_order(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "label\ncat\ndog\ncat\n")
    first = table(tmp_path / "p.csv", "cat,dog\n0.9,0.1\n0.2,0.8\n0.6,0.4\n")
    second = table(tmp_path / "q.csv", "dog,cat\n0.1,0.9\n0.8,0.2\n0.4,0.6\n")
    _, (one, two) = read_arrays(labels, [first, second])
    assert one.class_names == two.class_names
    assert np.array_equal(one.pred_probs, two.pred_probs)


def test_a_key_that_a_file_lacks_is_refused(tmp_path: Path) -> None:
    labels = table(tmp_path / "y.csv", "key,label\na,0\nb,1\n")
    with pytest.raises(InputError, match=r"p\.npy: found an array; expected a table with a column"):
        read_arrays(labels, [save(tmp_path / "p.npy", PROBS)], ids="key")
    with pytest.raises(InputError, match="no column 'name'"):
        read_labels(labels, id="name")
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "z.npy")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1, 0, 1], ("0", "1")),
        (["b", "a", "b"], ("a", "b")),
        (np.array([10, 9, 10], np.int8), ("9", "10")),
        (np.array([True, False, True]), ("false", "true")),
        (pl.Series(["x", "y", "x"]), ("x", "y")),
    ],
)
def test_labels_of_any_kind_make_a_dataset(labels: Any, names: tuple[str, ...]) -> None:
    dataset = arrays_dataset(labels)
    assert dataset.class_names == names
    assert dataset.format == "arrays"
    assert dataset.root is None
    assert dataset.items["item_id"].to_list() == ["0", "1", "2"]
    assert_codes(dataset)


def assert_codes(dataset: Dataset) -> None:
    names = [dataset.class_names[k] for k in dataset.labels]
    assert names == dataset.annotations["label"].to_list()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0.5, 1.0],), "labels of type Float64"),
        (([0, None],), "no label in row 1"),
        (([0, 2], ["a", "b"]), "out of range in row 1"),
        (([-1, 0], ["a", "b"]), "out of range in row 0"),
        ((["a", "c"], ["a", "b"]), "out of range in row 1"),
        (([0, 1], ["a", "b"], ["x"]), "1 ids; expected 2"),
        (([0, 1], ["a", "b"], ["x", "x"]), "repeated ids in rows 0, 1"),
        (([0, 1], ["a", "b"], ["x", None]), "missing or repeated ids in row 1"),
    ],
)
def test_labels_and_ids_that_cannot_be_are_refused(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        arrays_dataset(*arguments)


def test_a_folder_that_may_not_be_read_is_named_once(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat/1.png", "dog/1.png", "shut/1.png"):
        paint(tmp_path / name)
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if os.fspath(path) == os.fspath(tmp_path / "shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # permissions do not bind root
    assert problems_of(tmp_path) == [
        "shut: found a folder that may not be read; change its permissions"
    ]
    assert labelfix.read(tmp_path, skip_bad=True).class_names == ("cat", "dog")
