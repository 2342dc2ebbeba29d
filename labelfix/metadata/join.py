"""Facts about items, from their paths and from tables beside them, joined on as columns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from labelfix.errors import InputError, Problem, require_extra, warn_caller
from labelfix.formats.tablefile import is_table, open_table

if TYPE_CHECKING:
    from labelfix.schema import Dataset

__all__ = ["facts_from_paths", "join_facts", "match_keys", "read_facts"]

_SEPARATOR = "\x1f"
_EXCEL = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_JSON = (".json", ".jsonl", ".ndjson")
_SHOWN = 3


def read_facts(path: str | Path) -> pl.DataFrame:
    r"""Read a table of facts.

    Parameters
    ----------
    path
        CSV, TSV, Parquet, Arrow, Excel (with the extra `excel`; the first sheet), JSON lines, or
        JSON: a list of objects, or an object of objects, whose keys become the column `key`. Text
        columns of CSV and TSV become numbers where every cell is one and none begins with a 0 that
        would be lost.

    Raises
    ------
    InputError
        If it does not read, with every row of a text file that does not fit its header.
    MissingExtraError
        If it is an Excel file and the extra `excel` is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "facts.csv")
    ...     _ = file.write_text("id,lux,tag\na,7,01\nb,,02\n")
    ...     read_facts(file).rows()
    [('a', 7, '01'), ('b', None, '02')]
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(Problem(str(path), "no such file", "a table of facts"))
    if is_table(path):
        file = open_table(path)
        if file.bad:
            raise InputError(file.bad.values())
        return file.table.with_columns(map(_as_numbers, file.table)) if file.is_text else file.table
    if suffix in _EXCEL:
        return _read_excel(path)
    if suffix in _JSON:
        return _read_json(path)
    known = ".csv, .tsv, .parquet, .arrow, .json, .jsonl, .xlsx"
    raise InputError(Problem(str(path), "no table of facts", f"a file whose name ends in {known}"))


def _as_numbers(column: pl.Series) -> pl.Series:
    """Make numbers of text that stays the same by it."""
    if column.str.contains(r"^[+-]?0\d").any():
        return column
    for kind in (pl.Int64, pl.Float64):
        numbers = column.cast(kind, strict=False)
        if numbers.null_count() == column.null_count() < len(column):
            return numbers
    return column


def _read_excel(path: Path) -> pl.DataFrame:
    require_extra("fastexcel", "excel", f"reading {path.name}")
    try:
        return pl.read_excel(path)
    except Exception as error:  # each engine has errors of its own
        what = str(error).strip().partition("\n")[0]
        found = f"a file that does not read ({what})"
        raise InputError(Problem(str(path), found, "an Excel workbook with a table")) from error


def _read_json(path: Path) -> pl.DataFrame:
    content = path.read_bytes()
    try:
        if path.suffix.lower() == ".json":
            rows = msgspec.json.decode(content)
        else:
            rows = [msgspec.json.decode(line) for line in content.splitlines() if line.strip()]
    except msgspec.DecodeError as error:
        raise InputError(Problem(str(path), f"no JSON ({error})")) from error
    if isinstance(rows, dict):
        rows = [{"key": key, **_as_row(value)} for key, value in rows.items()]
    if not isinstance(rows, list) or not rows or not all(isinstance(one, dict) for one in rows):
        expected = "a list of objects, or an object of objects"
        raise InputError(Problem(str(path), "JSON of another shape", expected))
    return pl.DataFrame(rows, infer_schema_length=None, strict=False)


def _as_row(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"value": value}


def facts_from_paths(paths: pl.Series, template: str) -> pl.DataFrame:
    """Take facts out of paths.

    Parameters
    ----------
    paths
        Paths with slashes.
    template
        Such as `{split}/{label}/{camera}_{number}.png`. A name in braces stands for one or more
        characters other than a slash, as few as fit; `{}` for such that are no fact. The template
        describes the end of the path: what comes before its first slash is free.

    Returns
    -------
    DataFrame
        A text column a name, rows as in `paths`.

    Raises
    ------
    InputError
        Naming the paths that do not fit, or names that are used twice or are none.

    Examples
    --------
    >>> paths = pl.Series(["data/train/cat/cam1_7.png", "data/test/dog/cam2_8.png"])
    >>> facts_from_paths(paths, "{split}/{label}/{camera}_{}.png").rows()
    [('train', 'cat', 'cam1'), ('test', 'dog', 'cam2')]
    """
    parts = re.split(r"\{([^{}]*)\}", template)
    names = [name for name in parts[1::2] if name]
    problems = [
        Problem("template", f"{{{name}}} twice", "each name once")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if not names or "{" in "".join(parts[::2]) or "}" in "".join(parts[::2]):
        expected = "names in braces, such as {split}/{label}/{id}.png"
        problems.append(Problem("template", repr(template), expected))
    if problems:
        raise InputError(problems)
    pattern = "(?:^|/)" + "".join(
        _group(part) if i % 2 else re.escape(part) for i, part in enumerate(parts)
    )
    found = paths.str.extract_groups(pattern + "$").struct.unnest()
    found.columns = names
    odd = found[names[0]].is_null().arg_true()
    if len(odd):
        shown = ", ".join(repr(paths[row]) for row in odd[:_SHOWN])
        more = f" and {len(odd) - _SHOWN:,} more" if len(odd) > _SHOWN else ""
        expected = "paths that all end as the template says"
        raise InputError(Problem(f"template {template!r}", f"{shown}{more}", expected))
    return found


def _group(name: str) -> str:
    return "([^/]+?)" if name else "[^/]+?"


def match_keys(ids: pl.Series, keys: pl.Series) -> pl.Series:
    """Find the key of each item.

    Tried in this order, for all items alike, until one finds any: the whole id; its file name; its
    file name without the ending; and keys inside the id, between characters that are no letters or
    digits, the longest where several fit.

    Parameters
    ----------
    ids
        Names of items, shape (n,): paths with slashes, or anything else.
    keys
        Distinct texts.

    Returns
    -------
    Series
        Row in `keys` for each item, null where there is none.

    Raises
    ------
    InputError
        Naming the items in which two keys of the same length are found.

    Examples
    --------
    >>> ids = pl.Series(["cat/img-7_left.png", "dog/img-8_right.png"])
    >>> match_keys(ids, pl.Series(["img-8", "img-7"])).to_list()
    [1, 0]
    """
    name = ids.str.split("/").list.last()
    stem = name.str.replace(r"(.)\.[^.]*$", "$1")
    rows = pl.Series("row", range(len(keys)), pl.Int64)
    for form in (ids, name, stem):
        found = form.replace_strict(keys, rows, default=None, return_dtype=pl.Int64)
        if found.null_count() < len(found):
            return found
    return _keys_inside(ids, keys)


def _keys_inside(ids: pl.Series, keys: pl.Series) -> pl.Series:
    """Find keys as whole words: with every run of other characters as one separator."""

    def plain(texts: pl.Series) -> pl.Series:
        return _SEPARATOR + texts.str.replace_all(r"[^\pL\pN]+", _SEPARATOR) + _SEPARATOR

    words = plain(keys).str.replace_all(f"{_SEPARATOR}+", _SEPARATOR)
    table = pl.DataFrame({"item": range(len(ids)), "found": plain(ids)}).with_columns(
        pl.col("found").str.extract_many(words.unique().to_list(), overlapping=True)
    )
    longest = (
        table.explode("found")
        .drop_nulls()
        .unique()
        .filter(
            pl.col("found").str.len_chars() == pl.col("found").str.len_chars().max().over("item")
        )
    )
    joined = longest.join(pl.DataFrame({"found": words}).with_row_index("row"), on="found")
    several = joined.filter(pl.len().over("item") > 1)["item"].unique().sort()
    if len(several):
        raise InputError(
            Problem(f"item {ids[row]}", "two keys in its name", "one", "join on a longer key")
            for row in several
        )
    places = joined["item"].to_list()
    return pl.Series(range(len(ids))).replace_strict(
        places, joined["row"].cast(pl.Int64), default=None, return_dtype=pl.Int64
    )


def join_facts(
    dataset: Dataset, facts: pl.DataFrame, *, on: str, to: str | None = None, name: str = "facts"
) -> Dataset:
    """Join a table's columns to the items of a dataset.

    Parameters
    ----------
    dataset
        What to add to; its items stay as many and in the same order.
    facts
        A row for each value of `on`, at most.
    on
        Column of `facts` with the keys.
    to
        Column of the items that holds them; None for item ids, in which keys are also found as a
        file name, without its ending, or as a part of it: see `match_keys`.
    name
        What messages call the table.

    Raises
    ------
    InputError
        All at once: no such column, keys missing or given twice, columns that the items have
        already, or not one key that fits. A warning tells of keys that no item has.

    Examples
    --------
    >>> from labelfix.formats.arrays import arrays_dataset
    >>> dataset = arrays_dataset(["cat", "dog"], ids=["x/a.png", "x/b.png"])
    >>> joined = join_facts(dataset, pl.DataFrame({"id": ["b"], "lux": [7]}), on="id")
    >>> joined.items.rows()
    [('x/a.png', None), ('x/b.png', 7)]
    """
    _refuse_clashes(dataset, facts, on, to, name)
    keys = facts[on].cast(pl.String)
    mine = dataset.items[to or "item_id"].cast(pl.String)
    if to is None:
        rows = match_keys(mine, keys)
    else:
        row = pl.Series(range(len(keys)))
        rows = mine.replace_strict(keys, row, default=None, return_dtype=pl.Int64)
    used = rows.n_unique() - (rows.null_count() > 0)
    if not used:
        found = f"keys like {', '.join(map(repr, keys[:_SHOWN]))}"
        expected = f"keys of items like {', '.join(map(repr, mine[:_SHOWN]))}"
        raise InputError(Problem(f"{name}, column {on!r}", found, expected))
    if used < len(keys):
        text = f"{name}: {len(keys) - used:,} of {len(keys):,} keys are those of no item"
        warn_caller(text)
    return dataset.with_facts(facts.drop(on)[rows])


def _refuse_clashes(
    dataset: Dataset, facts: pl.DataFrame, on: str, to: str | None, name: str
) -> None:
    problems = []
    if on not in facts.columns:
        expected = "one of " + ", ".join(map(repr, facts.columns))
        problems.append(Problem(name, f"no column {on!r}", expected))
    else:
        keys = facts[on].cast(pl.String)
        odd = keys.is_null() | (keys == "") | keys.is_duplicated()
        problems += [
            Problem(f"{name}, row {row}", f"key {keys[row]!r} missing or given twice", "each once")
            for row in odd.arg_true()
        ]
    if to is not None and to not in dataset.items.columns:
        expected = "one of " + ", ".join(map(repr, dataset.items.columns))
        problems.append(Problem("items", f"no column {to!r}", expected))
    taken = dict.fromkeys(dataset.items.columns, "a name that the items have already")
    problems += [
        Problem(f"{name}, column {column!r}", found, "", "rename it")
        for column, found in ({"path": "a name that images alone have"} | taken).items()
        if column != on and column in facts.columns
    ]
    if problems:
        raise InputError(problems)
