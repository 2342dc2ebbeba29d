"""Facts joined to items, conditions on them, parts of datasets, and what is written out."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

import labelfix
from labelfix.cli import main
from labelfix.errors import InputError, LabelfixWarning, MissingExtraError
from labelfix.formats.arrays import arrays_dataset
from labelfix.images import measure
from labelfix.metadata import (
    export,
    facts_from_paths,
    gather,
    join_facts,
    match_keys,
    read_facts,
    where,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Paint

TABLE = pl.DataFrame(
    {
        "width": [100, 400, 300, None],
        "light": [0.5, 0.1, None, 0.9],
        "condition": ["blur", "dark", None, "blur, dark"],
        "sure": [True, False, None, True],
        "my column": [1, 2, 3, 4],
    }
)


def kept(condition: str) -> list[int]:
    return TABLE.with_row_index().filter(where(condition, TABLE.schema))["index"].to_list()


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("condition == 'blur' and width < 300", [0]),
        ("condition != 'blur'", [1, 3]),
        ("width > 100 or light > 0.8", [1, 2, 3]),
        ("not sure", [1]),
        ("sure and light >= 0.5", [0, 3]),
        ("condition in ['blur', 'dark']", [0, 1]),
        ("condition not in ('blur',)", [1, 3]),
        ("'dark' in condition", [1, 3]),
        ("',' not in condition", [0, 1]),
        ("width is None", [3]),
        ("light is not None and width is not None", [0, 1]),
        ("100 < width <= 400", [1, 2]),
        ("width / 100 + 1 == 5", [1]),
        ("-width < -300", [1]),
        ("col('my column') * 2 > 5", [2, 3]),
        ("sure == True", [0, 3]),
        ("(width\n > 300)", [1]),
    ],
)
def test_conditions_keep_what_they_say(condition: str, rows: list[int]) -> None:
    assert kept(condition) == rows


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("widht > 300", "position 1: found no column 'widht'; expected 'width'"),
        ("condition == 'é' and wdth > 2", "position 22: found no column 'wdth'"),
        ("width > '300'", "numbers compared with text"),
        ("width", "numbers, which are no condition"),
        ("condition and sure", "position 1: found text; expected a condition"),
        ("width +", "does not read"),
        ("", "does not read"),
        ("width in width", "position 10: found numbers; expected a list"),
        ("width in ['a']", "text in a list for numbers"),
        ("width is 3", "'is' without None"),
        ("width.real > 1", "'width.real'"),
        ("__import__('os').system('true')", "found"),
        ("(lambda: 1)() == 1", "found"),
        ("[x for x in width] == 1", "found"),
        ("width > 10**400", "found '10**400'"),
        ("width > 99999999999999999999", "found '99999999999999999999'"),
        ("sure if sure else sure", "found"),
        ("(" * 5000 + "width" + ")" * 5000 + " > 1", "does not read"),
    ],
)
def test_other_conditions_are_refused_with_their_place(condition: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        where(condition, TABLE.schema)
    assert message in str(caught.value)


def test_every_unknown_column_is_told() -> None:
    with pytest.raises(InputError) as caught:
        where("a > 1 and b == 'x' or c", TABLE.schema)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["where, position 1", "where, position 11", "where, position 23"]


NUMBERS = st.sampled_from(["a", "b", "1", "2", "0", "-3"])
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda x: f"({x[0]} {x[1]} {x[2]})"
    ),
    max_leaves=3,
)
COMPARISONS = st.one_of(
    st.tuples(SUMS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), SUMS).map(" ".join),
    st.tuples(SUMS, st.sampled_from(["<", "=="]), SUMS, st.just("<="), SUMS).map(" ".join),
    st.tuples(SUMS, st.sampled_from(["in", "not in"]), st.just("[a, 1, b]")).map(" ".join),
    st.sampled_from(["s == 'x'", "'x' in s", "s in t", "t", "s not in ['x', 'xy']"]),
).filter(lambda text: text != "s in t")
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda x: f"({x[0]}) {x[1]} ({x[2]})"
        ),
        inner.map(lambda x: f"not ({x})"),
    ),
    max_leaves=4,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.integers(-4, 4),
            "b": st.integers(-4, 4),
            "s": st.sampled_from(["", "x", "xy", "y"]),
            "t": st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(condition=CONDITIONS, rows=ROWS)
def test_conditions_mean_what_python_means(condition: str, rows: list[dict[str, Any]]) -> None:
    table = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.Int64, "s": str, "t": bool})
    found = table.select(where(condition, table.schema)).to_series()
    code = compile(ast.parse(condition, mode="eval"), "<test>", "eval")
    expected = [bool(eval(code, {"__builtins__": {}}, row)) for row in rows]
    values = [found[0]] * len(rows) if len(found) == 1 else found.to_list()
    assert values == expected


def test_templates_take_facts_out_of_paths() -> None:
    paths = pl.Series(["a/b/train/cat/x_1.png", "val/dog/y.z_22.png"])
    found = facts_from_paths(paths, "{split}/{label}/{name}_{number}.png")
    expected = [("train", "cat", "x", "1"), ("val", "dog", "y.z", "22")]
    assert found.rows() == expected


def test_a_dot_in_a_template_is_a_dot() -> None:
    with pytest.raises(InputError, match=r"'a/1xpng'"):
        facts_from_paths(pl.Series(["a/1.png", "a/1xpng"]), "{label}/{id}.png")


@pytest.mark.parametrize("template", ["no names", "{a}/{a}.png", "{a", "a}/{b}", "{}"])
def test_templates_that_are_none_are_refused(template: str) -> None:
    with pytest.raises(InputError, match="template"):
        facts_from_paths(pl.Series(["a/b.png"]), template)


@pytest.mark.parametrize(
    ("ids", "keys"),
    [
        (["x/a.png", "y/b.png"], ["y/b.png", "x/a.png"]),
        (["x/a.png", "y/b.png"], ["b.png", "a.png"]),
        (["x/a.png", "y/b.tar.gz"], ["b.tar", "a"]),
        (["x/p7_left.png", "y/p77_left.png"], ["p77", "p7"]),
        (["p7/1.png", "p77/1.png"], ["p77", "p7"]),
        (["x/img 7-a.png", "x/img 7-b.png"], ["7_b", "7_a"]),
    ],
)
def test_keys_are_found_in_ids(ids: list[str], keys: list[str]) -> None:
    assert match_keys(pl.Series(ids), pl.Series(keys)).to_list() == [1, 0]


def test_the_longest_key_wins_and_two_of_a_length_are_refused() -> None:
    ids = pl.Series(["x/p7_left_2.png"])
    assert match_keys(ids, pl.Series(["p7", "p7_left"])).to_list() == [1]
    with pytest.raises(InputError, match="two keys"):
        match_keys(ids, pl.Series(["p7", "t2", "2", "x"])[2:])


def test_a_key_may_name_many_items() -> None:
    ids = pl.Series(["p1_a.png", "p2_a.png", "p1_b.png", "q.png"])
    assert match_keys(ids, pl.Series(["p1", "p2"])).to_list() == [0, 1, 0, None]


@given(order=st.permutations(range(6)))
def test_the_order_of_keys_does_not_matter(order: list[int]) -> None:
    ids = pl.Series([f"dir/item-{i}_x.png" for i in range(6)])
    keys = pl.Series([f"item-{i}" for i in order])
    assert [order[row] for row in match_keys(ids, keys)] == list(range(6))


FACTS = pl.DataFrame({"key": ["a", "b"], "lux": [1, 2], "tag": ["01", "02"]})


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "json", "jsonl", "arrow"])
def test_facts_read_alike_from_all_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"facts.{suffix}"
    match suffix:
        case "csv":
            FACTS.write_csv(path)
        case "tsv":
            FACTS.write_csv(path, separator="\t")
        case "parquet":
            FACTS.write_parquet(path)
        case "json":
            rows = {row["key"]: {"lux": row["lux"], "tag": row["tag"]} for row in FACTS.to_dicts()}
            path.write_text(json.dumps(rows))
        case "jsonl":
            FACTS.write_ndjson(path)
        case "arrow":
            FACTS.write_ipc(path)
    assert read_facts(path).equals(FACTS)


def test_facts_read_from_excel(tmp_path: Path) -> None:
    pytest.importorskip("fastexcel")
    writer = pytest.importorskip("openpyxl")
    book = writer.Workbook()
    for row in [FACTS.columns, *FACTS.rows()]:
        book.active.append(row)
    book.save(tmp_path / "facts.xlsx")
    assert read_facts(tmp_path / "facts.xlsx").equals(FACTS)
    (tmp_path / "broken.xlsx").write_text("no workbook")
    with pytest.raises(InputError, match=r"broken\.xlsx: found a file that does not read"):
        read_facts(tmp_path / "broken.xlsx")


def test_excel_without_its_extra_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fastexcel", None)
    (tmp_path / "facts.xlsx").touch()
    with pytest.raises(MissingExtraError, match=r"labelfix\[excel\]"):
        read_facts(tmp_path / "facts.xlsx")


@pytest.mark.parametrize("content", ["[1, 2]", "{", "[]", '"text"'])
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(content)
    with pytest.raises(InputError, match="JSON"):
        read_facts(path)


def small() -> labelfix.Dataset:
    return arrays_dataset(["cat", "dog", "cat"], ids=["x/a.png", "x/b.png", "y/c.png"])


def test_joined_facts_leave_items_and_annotations_as_they_are() -> None:
    dataset = small()
    joined = join_facts(dataset, FACTS, on="key")
    assert joined.items["lux"].to_list() == [1, 2, None]
    assert joined.items.drop("lux", "tag").equals(dataset.items)
    assert joined.annotations.equals(dataset.annotations)


def test_facts_join_on_any_column_of_the_items() -> None:
    dataset = join_facts(small(), FACTS, on="key")
    more = pl.DataFrame({"light": [2, 1], "word": ["bright", "dim"]})
    joined = join_facts(dataset, more, on="light", to="lux")
    assert joined.items["word"].to_list() == ["dim", "bright", None]


def test_every_problem_of_a_join_is_told() -> None:
    facts = pl.DataFrame({"key": ["a", "a", None], "item_id": [1, 2, 3]})
    with pytest.raises(InputError) as caught:
        join_facts(small(), facts, on="key", to="nothing")
    text = str(caught.value)
    for part in ("'a' missing or given twice", "row 2", "no column 'nothing'", "'item_id'"):
        assert part in text
    with pytest.raises(InputError, match="no column 'k'; expected one of 'key'"):
        join_facts(small(), FACTS, on="k")
    with pytest.raises(InputError, match="keys like 'z'"):
        join_facts(small(), pl.DataFrame({"key": ["z"], "v": [1]}), on="key")


def test_keys_of_no_item_are_a_warning() -> None:
    facts = pl.DataFrame({"key": ["a", "zz"], "v": [1, 2]})
    with pytest.warns(LabelfixWarning, match="1 of 2 keys"):
        join_facts(small(), facts, on="key")


def test_filter_keeps_items_with_their_annotations() -> None:
    dataset = small().filter(pl.col("label") == "cat")
    assert dataset.items["item_id"].to_list() == ["x/a.png", "y/c.png"]
    assert dataset.annotations["item_id"].to_list() == ["x/a.png", "y/c.png"]
    assert dataset.class_names == ("cat", "dog")


@given(first=st.sets(st.integers(0, 7)), second=st.sets(st.integers(0, 7)))
def test_plus_and_or_are_those_of_sets(first: set[int], second: set[int]) -> None:
    whole = arrays_dataset(["cat", "dog"] * 4, ids=[f"i{k}" for k in range(8)])

    def part(rows: set[int]) -> labelfix.Dataset:
        return whole.filter(pl.col("item_id").is_in([f"i{k}" for k in rows]))

    either = part(first) | part(second)
    assert set(either.items["item_id"]) == {f"i{k}" for k in first | second}
    assert either.annotations["item_id"].to_list() == either.items["item_id"].to_list()
    if first & second:
        with pytest.raises(InputError, match="items of both"):
            part(first) + part(second)
    else:
        assert (part(first) + part(second)).items.equals(either.items)


def test_or_refuses_items_that_are_labelled_otherwise() -> None:
    with pytest.raises(InputError, match="annotations differ"):
        arrays_dataset(["cat", "dog"]) | arrays_dataset(["dog", "dog"])


def folder(root: Path, paint: Paint, names: list[str]) -> labelfix.Dataset:
    for seed, name in enumerate(names):
        paint(root / name, seed)
    return labelfix.read(root)


def test_datasets_of_two_folders_find_their_images(tmp_path: Path, paint: Paint) -> None:
    one = folder(tmp_path / "one", paint, ["cat/1.png", "dog/2.png"])
    other = folder(tmp_path / "other/deep", paint, ["cat/3.png", "emu/4.png"])
    both = one + other
    assert both.class_names == ("cat", "dog", "emu")
    assert both.image_paths is not None
    assert all(path.is_file() for path in both.image_paths)
    assert both.labels.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("copy", [False, True])
def test_a_folder_has_the_images_where_they_were(tmp_path: Path, paint: Paint, copy: bool) -> None:
    dataset = folder(tmp_path / "in", paint, ["cat/1.png", "dog/2.png", "dog/3 ü.png"])
    part = dataset.filter(pl.col("item_id") != "dog/2.png")
    export(part, "folder", tmp_path / "out", copy=copy)
    again = labelfix.read(tmp_path / "out")
    assert again.items.equals(part.items)
    assert again.annotations.equals(part.annotations)
    same = (tmp_path / "in/cat/1.png").samefile(tmp_path / "out/cat/1.png")
    assert same is not copy
    with pytest.raises(InputError, match="new or an empty folder"):
        export(part, "folder", tmp_path / "out")


def test_lists_and_tables_hold_what_was_kept(tmp_path: Path, paint: Paint) -> None:
    dataset = folder(tmp_path / "in", paint, ["cat/1.png", "dog/2.png"])
    export(dataset, "list", tmp_path / "list.txt")
    lines = (tmp_path / "list.txt").read_text().splitlines()
    assert lines == [str(path) for path in dataset.image_paths or ()]
    for suffix in ("csv", "parquet", "json", "jsonl"):
        file = export(dataset, "table", tmp_path / f"table.{suffix}")
        columns = ["item_id", "label", "path"]
        assert read_facts(file).select(columns).equals(dataset.facts.select(columns))
    with pytest.raises(InputError, match=r"ends in \.csv"):
        export(dataset, "table", tmp_path / "table.xyz")
    with pytest.raises(InputError, match="no images"):
        export(small(), "folder", tmp_path / "none")


def test_image_facts_see_light_and_focus(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    sharp = Image.fromarray(noise)
    sharp.save(tmp_path / "sharp.png")
    sharp.filter(ImageFilter.GaussianBlur(3)).save(tmp_path / "blurred.png")
    Image.new("L", (30, 30), 51).save(tmp_path / "plain.png")
    Image.new("RGB", (2, 2), "white").save(tmp_path / "tiny.png")
    names = ("sharp", "blurred", "plain", "tiny")
    facts = measure([tmp_path / f"{name}.png" for name in names])
    assert facts["width"].tolist() == [60, 30 * 2, 30, 2]
    assert facts["aspect"].tolist() == [1.5, 1.5, 1, 1]
    assert facts["sharpness"][0] > 50 * facts["sharpness"][1]
    assert facts["brightness"][2:].tolist() == pytest.approx([0.2, 1.0])
    assert facts["contrast"][2] == pytest.approx(0, abs=1e-9)
    assert np.isnan(facts["sharpness"][3])


def test_gather_joins_measures_and_filters(tmp_path: Path, paint: Paint) -> None:
    names = ["train/cat/c1_1.png", "train/dog/c2_2.png", "val/cat/c1_3.png", "val/dog/c2_4.png"]
    dataset = folder(tmp_path / "in", paint, names)
    (tmp_path / "facts.csv").write_text("id,lux\n1,5\n2,6\n3,7\n4,8\n")
    found = gather(
        dataset,
        template="{split}/{label}/{camera}_{number}.png",
        joins=[(tmp_path / "facts.csv", "id")],
        to="number",
        image_facts=True,
        condition="camera == 'c1' and lux > 5 and width == 12 and label == 'cat'",
    )
    assert found.items["item_id"].to_list() == ["val/cat/c1_3.png"]
    assert found.items.schema["width"] == pl.Int32


def test_the_command_filters_and_writes(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "in", paint, ["cat/1.png", "dog/2.png", "dog/3.png"])
    (tmp_path / "facts.csv").write_text("id,lux\n1,5\n2,6\n3,7\n")
    call = ["filter", str(tmp_path / "in"), "--join", str(tmp_path / "facts.csv"), "--on", "id"]
    call += ["--where", "lux > 5 and label == 'dog'"]
    assert main([*call, "--to", "list", "--out", str(tmp_path / "list.txt")]) == 0
    assert "2 items, written to" in capsys.readouterr().out
    assert len((tmp_path / "list.txt").read_text().splitlines()) == 2
    assert main([*call, "--format", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["lux"] for line in lines] == [6, 7]
    assert main([*call, "--to", "list"]) == 2
    assert main([*call[:4], "--where", "lux > 5"]) == 2
    assert "key columns" in capsys.readouterr().err


KINDS = {
    "correction != '-1' and ',' not in correction": 3_678,
    "',' in correction": 7_443,
    "correction == '-1'": 3_163,
}


def test_the_articles_error_list_joins_to_imagenet(data_dir: Path) -> None:
    with np.load(data_dir / "imagenet-real/imagenet_val_labels.npz") as arrays:
        wnids = arrays["wnids"][arrays["label_folder_order"]]
        numbers = arrays["val_number_folder_order"]
    ids = [f"{w}/ILSVRC2012_val_{n:08d}.JPEG" for w, n in zip(wnids, numbers, strict=True)]
    dataset = arrays_dataset(wnids.tolist(), ids=ids)
    errors = read_facts(data_dir / "adansons-base/example/error_data.csv")
    joined = join_facts(dataset, errors, on="id")
    counts = {
        condition: len(joined.filter(where(condition, joined.facts.schema))) for condition in KINDS
    }
    assert counts == KINDS


def test_no_fact_makes_images_and_none_from_outside_are_written(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    dataset = replace(arrays_dataset(["a", "b"], ids=["x", "y"]), root=root)
    facts = pl.DataFrame({"id": ["x", "y"], "path": ["../secret.png"] * 2})
    with pytest.raises(InputError, match="'path': found a name that images alone have"):
        join_facts(dataset, facts, on="id")
    with pytest.raises(InputError, match="images alone have"):
        gather(dataset, template="{path}")
    with pytest.raises(InputError, match="outside of the dataset"):
        export(dataset.with_facts(facts.select("path")), "folder", root / "out")
    assert [one.name for one in root.iterdir()] == []
