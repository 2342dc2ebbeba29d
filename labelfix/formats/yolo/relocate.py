"""A YOLO dataset in another folder: paths that would lead back to the old one are mended."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.formats.files import inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labelfix.schema import Dataset

__all__ = ["relocated"]

SPLITS = ("train", "val", "validation", "test")


def relocated(
    dataset: Dataset, files: Iterable[tuple[str, bytes]], to: Path
) -> Iterator[tuple[str, bytes]]:
    """Give the files of a YOLO dataset as they must be in the folder `to`.

    Training would read the old labels through `path:` in the data file, or through absolute paths
    in it and in lists of images. Those that lead into the old folder are made to lead into the new
    one; no other byte changes. A data file that is not in the dataset's folder is put there.

    Parameters
    ----------
    dataset
        As `labelfix.formats.yolo.read` gave it.
    files
        Paths from its root, and contents.
    to
        Where the dataset is to be.
    """
    root, file = dataset.root or Path(), dataset.source["file"]
    texts = {path for path, _ in dataset.source["others"]}
    data_file = inside(root, file)
    for path, data in files:
        if path in texts:
            data = _with_prefix(data, root, to)  # noqa: PLW2901,RUF100 # the same file, mended
        if path == data_file:
            data = _mended(dataset, data, to, to / path)  # noqa: PLW2901,RUF100 # as above
        yield path, data
    if data_file is None:
        data = _with_prefix(file.read_bytes(), root, to)
        yield file.name, _mended(dataset, data, to, to / file.name)


def _with_prefix(data: bytes, old: Path, new: Path) -> bytes:
    """Put one folder for another wherever it begins an absolute path."""
    pattern = rb"(^|[\s\"'\[,])" + re.escape(os.fsencode(old)) + rb"(?=[/\s\"'\],]|$)"
    return re.sub(pattern, lambda m: m[1] + os.fsencode(new), data, flags=re.MULTILINE)


def _mended(dataset: Dataset, data: bytes, to: Path, file: Path) -> bytes:
    """Make `path:` lead to the new folder, if it led to the old one."""
    old = dataset.source["file"]
    base = dataset.source["base"]
    wanted = Path(os.path.normpath(to / (inside(dataset.root or Path(), base) or ".")))
    config = _parsed(data, old)
    given = config.get("path")
    led_there = Path(os.path.normpath(old.parent / str(given or "."))) == base
    leads_there = Path(os.path.normpath(file.parent / str(given or "."))) == wanted
    if led_there and not leads_there:
        data = _with_path(data, wanted, old)
    _warn_of_ways_out(config, wanted, to, old)
    return data


def _with_path(data: bytes, wanted: Path, old: Path) -> bytes:
    text = str(wanted)
    plain = re.fullmatch(r"[\w./+@-][\w./+@ -]*", text) and text == text.strip()
    line = b"path: " + (text if plain else json.dumps(text, ensure_ascii=False)).encode()
    mended, found = re.subn(
        rb"^path[ \t]*:[^\r\n]*", lambda _: line, data, count=1, flags=re.MULTILINE
    )
    if not found:
        ending = b"\r\n" if b"\r\n" in data else b"\n"
        bom = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
        mended = bom + line + ending + data.removeprefix(bom)
    if _parsed(mended, old).get("path") != text:
        fix = "let it stand on a line of its own"
        raise InputError(Problem(old.name, "a path that could not be changed", fix=fix))
    return mended


def _parsed(data: bytes, file: Path) -> dict[str, object]:
    import yaml  # only here, as where it is read

    try:
        config = yaml.load(data, Loader=yaml.BaseLoader)  # noqa: S506 # makes text, lists, dicts
    except yaml.YAMLError as error:
        raise InputError(Problem(file.name, f"broken YAML ({error})")) from error
    return config if isinstance(config, dict) else {}


def _warn_of_ways_out(config: dict[str, object], base: Path, to: Path, file: Path) -> None:
    """Say which splits still lead out of the new folder."""
    values = [(split, config.get(split) or []) for split in SPLITS]
    entries = [
        (split, str(entry))
        for split, value in values
        for entry in (value if isinstance(value, list) else [value])
    ]
    out = [
        f"{split}: {entry}"
        for split, entry in entries
        if not any(inside(to, base / text) for text in (entry, entry.removeprefix("../")))
        and not Path(entry).is_absolute()
    ]
    if out:
        warn_caller(
            f"{file.name}: {', '.join(out)} still leads out of {to}; training there would read "
            "the labels as they were"
        )
