"""What earlier commands measured, read back from their folders: tables, record and picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "Kind", "Measured", "has_measured", "read_measured"]

Kind = Literal["gain", "sizes", "stages", "comparison"]

_FILES: dict[Kind, tuple[str, str, tuple[str, ...]]] = {
    "gain": ("evaluate", "gain.svg", ("cells", "effects", "per_class", "changes")),
    "sizes": ("evaluate --sizes", "sizes.svg", ("cells", "effects", "times")),
    "stages": ("stages", "stages.svg", ("counts", "curve")),
    "comparison": (
        "compare",
        "ranks.svg",
        ("accuracy", "order", "swaps", "gains", "answers", "kinds"),
    ),
}
KINDS: tuple[Kind, ...] = tuple(_FILES)

_OPTIONAL = {
    "gain": ("answers", "images", "detections", "movement"),
    "sizes": (),
    "stages": ("losses",),
    "comparison": (),
}

_TEXT = {
    *("item_id", "metric", "step", "effect", "label", "part", "order", "model", "variant"),
    *("other", "kind", "source", "what"),
}

_YES_OR_NO = {"beyond_noise", "right"}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the records of all of them have."""

    schema_version: int
    labelfix: str
    command: tuple[str, ...]
    options: dict[str, Any]
    details: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    versions: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Measured:
    """The content of such a folder.

    Parameters
    ----------
    folder
        Which.
    record
        Command, options and versions; findings and warnings in words.
    tables
        By name, as the measure had them.
    chart
        The picture, SVG; None if the folder has none.
    """

    folder: Path
    record: Record
    tables: Mapping[str, pl.DataFrame]
    chart: bytes | None


def has_measured(folder: Path, kind: Kind) -> bool:
    """Say whether a finished result of this kind is in a folder."""
    return (folder / f"{kind}.json").is_file()


def read_measured(folder: str | Path, kind: Kind) -> Measured:
    """Read what `labelfix evaluate`, `stages` or `compare` wrote.

    Parameters
    ----------
    folder
        Their `--out`.
    kind
        Which of them.

    Raises
    ------
    InputError
        If the folder has no such result, or one that is damaged or of another version.
    """
    folder = Path(folder)
    command, chart, names = _FILES[kind]
    expected = f"a folder that `labelfix {command}` wrote"
    if not has_measured(folder, kind):
        raise InputError(Problem(str(folder), f"no {kind}.json", expected))
    try:
        record = msgspec.json.decode((folder / f"{kind}.json").read_bytes(), type=Record)
        there = [*names, *(n for n in _OPTIONAL[kind] if (folder / f"{n}.csv").is_file())]
        tables = {name: _table(folder / f"{name}.csv") for name in there}
        picture = (folder / chart).read_bytes() if (folder / chart).is_file() else None
    except (OSError, msgspec.DecodeError, pl.exceptions.PolarsError) as error:
        fix = f"run labelfix {command} again"
        raise InputError(Problem(str(folder), f"damaged ({error})", expected, fix)) from error
    if record.schema_version != SCHEMA_VERSION:
        found = f"files of version {record.schema_version}, by labelfix {record.labelfix}"
        raise InputError(Problem(str(folder), found, f"version {SCHEMA_VERSION}"))
    return Measured(folder, record, tables, picture)


def _table(path: Path) -> pl.DataFrame:
    """Read a table with the types it was written with; names that look like numbers stay names."""
    columns = pl.read_csv(path, n_rows=0).columns
    types = {name: pl.String for name in columns if _is_text(name)}
    table = pl.read_csv(path, schema_overrides=types, infer_schema_length=None)
    empty = [
        name
        for name, kind in table.schema.items()
        if kind == pl.String and not _is_text(name) and table[name].null_count() == table.height
    ]
    kinds = {name: pl.Boolean if name in _YES_OR_NO else pl.Float64 for name in empty}
    return table.with_columns(pl.lit(None, kind).alias(name) for name, kind in kinds.items())


def _is_text(name: str) -> bool:
    return name in _TEXT or name.startswith(("trained_on", "tested_on")) or name.endswith("_label")
