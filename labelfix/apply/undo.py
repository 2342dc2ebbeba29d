"""Taking back what `apply` did: all of it, or nothing if anything was changed since."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from labelfix.apply.inplace import digest_of, move, prune, replace_file
from labelfix.apply.record import APPLIED, contents, files_below, read_record, write_record
from labelfix.atomic import is_temporary, sweep
from labelfix.errors import InputError, Problem
from labelfix.images import has_image_name
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labelfix.apply.record import Record

__all__ = ["Undone", "undo"]

SHOWN = 20
"""Files that a refusal names at most."""


@dataclass(frozen=True)
class Undone:
    """What was taken back.

    Parameters
    ----------
    folder
        The one that was undone.
    files
        How many files were removed, or put back as they were.
    in_place
        Whether a dataset was put back as it was, or a new folder removed.
    """

    folder: Path
    files: int
    in_place: bool


def undo(folder: str | Path) -> Undone:
    """Take back what `apply_corrections` or `apply_in_place` did.

    A new folder is removed if it holds exactly what was put there and every image in it is still in
    the dataset that it came from. A dataset that was corrected in place gets its old files back if
    none of the changed ones was changed again.

    Parameters
    ----------
    folder
        The folder that was written, or the dataset that was corrected in place.

    Raises
    ------
    InputError
        Naming what stands against it; nothing is touched then.
    """
    folder = Path(folder)
    record = read_record(folder)
    if record.backup is not None:
        return _restore(folder, record, Path(record.backup))
    problems = list(_changes(folder, record))
    if problems:
        raise InputError(problems)
    number = sum(1 for _ in files_below(folder))
    shutil.rmtree(folder)
    return Undone(folder, number, in_place=False)


# ---------------------------------------------------------------- a new folder


def _changes(folder: Path, record: Record) -> Iterator[Problem]:
    """Name what is not as it was put there, and images that are nowhere else."""
    root = Path(record.dataset.root)
    if not root.is_dir():
        fix = "remove it yourself if you are sure"
        yield Problem(str(root), "no such folder", "the dataset that was corrected", fix)
        return
    lost = [
        path
        for path in files_below(folder)
        if has_image_name(path) and not _same(folder / path, root / record.moved.get(path, path))
    ]
    for path in lost[:SHOWN]:
        yield Problem(path, "an image that is not the same in the dataset it came from")
    if len(lost) > SHOWN:
        yield Problem(str(folder), f"{count(len(lost) - SHOWN, 'more image')} like these")
    if not lost and record.contents != contents(folder):
        yield Problem(
            str(folder),
            "files that were changed, added or removed since" + _newer(folder),
            "just what was put there",
            "remove it yourself if you are sure",
        )


def _newer(folder: Path) -> str:
    """Name files that are newer than the record, which was written last."""
    time = (folder / APPLIED).stat().st_mtime_ns
    newer = [
        path
        for path in files_below(folder)
        if not has_image_name(path) and (folder / path).lstat().st_mtime_ns > time
    ]
    return f": {', '.join(sorted(newer)[:5])}" if newer else ""


def _same(path: Path, source: Path) -> bool:
    """Whether removing `path` loses nothing: it is `source`, a link to it, or an equal copy."""
    try:
        one, other = path.stat(), source.stat()
    except OSError:
        return False
    alike = one.st_size == other.st_size and one.st_mtime_ns == other.st_mtime_ns
    return alike or os.path.samestat(one, other)


# ---------------------------------------------------------------- in place


def _restore(root: Path, record: Record, backup: Path) -> Undone:
    problems = list(_obstacles(root, record, backup))
    if problems:
        raise InputError(problems)
    write_record(root, msgspec.structs.replace(record, state="applying"))  # till all is put back
    for path, (before, _) in record.changed.items():
        if digest_of(root / path) == before:
            continue
        if before is None:
            (root / path).unlink(missing_ok=True)
        else:
            replace_file(root / path, (backup / path).read_bytes(), like=backup / path)
    moves = [(root / new, root / old) for new, old in record.moved.items()]
    moves += [(backup / path, root / path) for path in record.excluded]
    for now, then in moves:
        if now.exists():
            move(now, then)
    _sweep(root, [*record.changed, APPLIED])
    for path in [*record.moved, *record.changed]:
        prune((root / path).parent, [root / above for above in Path(path).parents[:-1]])
    for path in files_below(backup) if backup.is_dir() else ():
        if path != APPLIED:  # the earlier record, which is wanted till it is back
            (backup / path).unlink()
    if (backup / APPLIED).is_file():
        replace_file(root / APPLIED, (backup / APPLIED).read_bytes())
    else:
        (root / APPLIED).unlink()
    if backup.is_dir():
        shutil.rmtree(backup)
    return Undone(root, len(record.changed) + len(moves), in_place=True)


def _sweep(root: Path, paths: Iterable[str]) -> None:
    """Remove the temporary files that a crash left beside some files."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault((root / path).parent, set()).add((root / path).name)
    for folder, of in names.items():
        sweep(folder, of)


def _obstacles(root: Path, record: Record, backup: Path) -> Iterator[Problem]:
    """Name what is neither as it was before nor as the application left it."""
    half_way = record.state == "applying"
    for path, (before, after) in record.changed.items():
        now = digest_of(root / path)
        if now != after and not (half_way and now == before):
            yield Problem(path, "a file that was changed since", "the file as it was written")
        saved = before is None or (half_way and now == before)
        if not saved and digest_of(backup / path) != before:
            yield Problem(str(backup / path), "no old version of the file", "its backup")
    for new, old in record.moved.items():
        yield from _is_at(root / new, root / old, half_way=half_way)
    for path in record.excluded:
        yield from _is_at(backup / path, root / path, half_way=half_way)
    known = {*record.changed, *record.excluded, APPLIED}
    names = {PurePosixPath(path).name for path in known}
    strange = [
        path
        for path in sorted(set(files_below(backup)) - known if backup.is_dir() else ())
        if not is_temporary(PurePosixPath(path).name, names)
    ]
    for path in strange[:SHOWN]:
        yield Problem(str(backup / path), "a file that no backup put there", fix="take it away")


def _is_at(now: Path, then: Path, *, half_way: bool) -> Iterator[Problem]:
    """See that a moved file is where it went, and its old place free; half way, either of both."""
    if now.exists() == then.exists():
        found = "a file in its old place as well" if now.exists() else "no such file"
        yield Problem(str(now), found, f"the file that was {then}")
    elif then.exists() and not half_way:
        yield Problem(str(now), "no such file", f"the file that was {then}")
