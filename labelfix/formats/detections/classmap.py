"""Class maps: which class of the dataset each class of a detector is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_class_map"]

EXPECTED = "an object of names or numbers of classes, each with a class of the dataset or null"


def read_class_map(
    source: Mapping[Any, str | None] | str | Path | Iterable[str] | None,
) -> dict[str, str | None]:
    """Read which class of the dataset each class of a detector is.

    Parameters
    ----------
    source
        A mapping; a file: JSON or YAML with one, or CSV, TSV or Parquet with the columns
        `predicted` and `given`; pairs of text, `car=vehicle`; several of the last two. None (in
        CSV an empty cell, in a pair nothing) leaves the boxes of a class out.

    Returns
    -------
    dict
        From the detector's class, by name or by number as text, to the dataset's.

    Raises
    ------
    InputError
        Naming what is no class map, and classes that are mapped twice.

    Examples
    --------
    >>> read_class_map(["car=vehicle", "truck=vehicle", "bird="])
    {'car': 'vehicle', 'truck': 'vehicle', 'bird': None}
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return _checked(source, "class map")
    parts = [source] if isinstance(source, str | Path) else list(source)
    merged: dict[str, str | None] = {}
    for part in parts:
        for key, label in _part(part).items():
            if merged.setdefault(key, label) != label:
                raise InputError(Problem("class map", f"class {key!r} twice", "one class for each"))
    return merged


def _part(part: str | Path) -> dict[str, str | None]:
    path = Path(part)
    if path.is_file():
        return _file(path)
    key, sign, label = str(part).partition("=")
    if not sign:
        found = "no such file" if path.suffix else "neither a file nor a pair"
        raise InputError(Problem(f"class map {part}", found, "a file, or NAME=NAME"))
    return {key: label or None}


def _file(path: Path) -> dict[str, str | None]:
    suffix = path.suffix.lower()
    if suffix not in {".json", ".yaml", ".yml"}:
        return _table(path)
    try:
        content = json.loads(path.read_bytes()) if suffix == ".json" else _yaml(path)
    except (ValueError, RecursionError) as error:
        raise InputError(Problem(str(path), f"a file that does not read ({error})")) from error
    return _checked(content, str(path))


def _yaml(path: Path) -> Any:  # YAML can hold anything
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _table(path: Path) -> dict[str, str | None]:
    from labelfix.formats.tablefile import open_table

    file = open_table(path)
    missing = {"predicted", "given"} - set(file.table.columns)
    if missing or file.bad:
        listed = [Problem(str(path), f"no column {name!r}", "one") for name in sorted(missing)]
        raise InputError([*listed, *file.bad.values()])
    pairs = file.table.select("predicted", "given").rows()
    return _checked(dict(pairs), str(path))


def _checked(content: Any, where: str) -> dict[str, str | None]:
    if not isinstance(content, Mapping):
        raise InputError(Problem(where, type(content).__name__, EXPECTED))
    problems = [
        Problem(where, f"{key!r}: {label!r}", EXPECTED)
        for key, label in content.items()
        if not isinstance(key, str | int) or not isinstance(label, str | None)
    ]
    if problems:
        raise InputError(problems)
    return {str(key): label for key, label in content.items()}
