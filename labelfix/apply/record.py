"""`labelfix-applied.json`: what was applied, from where, and how; what `undo` needs to know."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from labelfix._version import __version__
from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem
from labelfix.images import has_image_name
from labelfix.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "APPLIED",
    "MARKS",
    "Choices",
    "Record",
    "Source",
    "contents",
    "files_below",
    "key",
    "read_record",
    "write_record",
]

APPLIED = "labelfix-applied.json"
MARKS = "labelfix-marks.csv"
"""The side file of marks."""

MarkChoice = Literal["side-file", "exclude", "column"]


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What a user can choose; kept in `labelfix-applied.json`.

    Parameters
    ----------
    images
        `link`: hard links, which take no space, copies where the disk has none. `reference`:
        symbolic links to the originals. `copy`.
    segmentation
        Of boxes that are corrected: `keep` or `drop` the polygon or mask, as in the formats.
    multi_label, none_of_the_classes
        Items with such a mark: `side-file` lists them in `labelfix-marks.csv`; `exclude` leaves
        them out; `column` says it in a new column `labelfix_mark` of a table.
    ignore
        Annotations that should count neither way: `write` as the format writes it, or `side-file`,
        or `exclude`. A class label has no such mark in any format and goes to the side file.
    """

    images: Literal["link", "reference", "copy"] = "link"
    segmentation: Literal["keep", "drop"] = "keep"
    multi_label: MarkChoice = "side-file"
    none_of_the_classes: MarkChoice = "side-file"
    ignore: Literal["write", "side-file", "exclude"] = "write"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The dataset that was corrected."""

    format: str
    root: str
    fingerprint: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `labelfix-applied.json`.

    Parameters
    ----------
    state
        `applying` while an application in place is under way, `done` after it.
    key
        Digest of dataset, corrections, marks and choices: the same for the same work.
    corrections, marks
        Row by row, without what is null.
    conflicts
        What `skip_conflicts` left out, in words.
    moved
        New path of each image that is not where it was, and its old one.
    contents
        Digest of what the new folder holds, as `contents` counts it.
    backup
        Of an application in place: the folder of the old files.
    changed
        Of an application in place: path, and digests before and after; null: no such file.
    excluded
        Of an application in place: images that went to the backup.
    """

    schema_version: int
    labelfix: str
    applied: str
    run: str | None
    dataset: Source
    choices: Choices
    key: str
    corrections: list[dict[str, Any]]
    marks: list[dict[str, Any]]
    conflicts: list[str]
    moved: dict[str, str]
    state: Literal["applying", "done"] = "done"
    contents: str | None = None
    backup: str | None = None
    changed: dict[str, tuple[str | None, str | None]] = {}
    excluded: list[str] = []


def write_record(folder: Path, record: Record) -> None:
    """Write it, whole or not at all."""
    with replacing(folder / APPLIED) as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def read_record(folder: Path) -> Record:
    """Read it.

    Raises
    ------
    InputError
        If there is none, or it is damaged or of a later version.
    """
    path = folder / APPLIED
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            Problem(str(folder), f"no {APPLIED}", "a folder that labelfix apply wrote")
        ) from error
    try:
        record = msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError as error:
        raise InputError(Problem(str(path), f"a damaged record ({error})")) from error
    if record.schema_version != SCHEMA_VERSION:
        found = f"schema version {record.schema_version}, by labelfix {record.labelfix}"
        expected = f"{SCHEMA_VERSION}; this is labelfix {__version__}"
        raise InputError(Problem(str(path), found, expected))
    return record


def key(fingerprints: Sequence[str], corrections: Any, marks: Any, choices: Choices) -> str:
    """Digest of all that decides what is written; `corrections` and `marks` are tables."""
    parts = [*(one.encode() for one in fingerprints), msgspec.json.encode(choices)]
    parts += [table.write_json().encode() for table in (corrections, marks)]
    return hashlib.blake2b(b"\x1e".join(parts), digest_size=16).hexdigest()


def contents(folder: Path) -> str:
    """Digest of what a folder holds: each path, and the content of what is no image.

    Images are not read: they are told from the originals by being the same file.
    """
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(files_below(folder)):
        if path != APPLIED:
            data = b"" if has_image_name(path) else _digest(folder / path)
            whole.update(path.encode("utf-8", "surrogateescape") + b"\x1f" + data + b"\x1e")
    return whole.hexdigest()


def files_below(folder: Path) -> Iterator[str]:
    """Paths of all files from a folder, with slashes. Links to folders are listed, not followed."""
    for place, folders, names in os.walk(folder):
        above = Path(place).relative_to(folder).as_posix()
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (name if above == "." else f"{above}/{name}" for name in [*names, *links])


def _digest(path: Path) -> bytes:
    if not path.is_file():
        return b"gone"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
