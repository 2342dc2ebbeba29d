"""Corrections carried out in the dataset itself: backup first, then file by file, each whole."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelfix.apply.build import Applied, record_of, warn_of_empty_classes
from labelfix.apply.record import (
    APPLIED,
    Choices,
    Record,
    files_below,
    key,
    read_record,
    write_record,
)
from labelfix.apply.work import plan_work
from labelfix.atomic import is_temporary, replacing
from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import polars as pl

    from labelfix.apply.work import Work
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["apply_in_place", "digest_of", "prune", "replace_file"]


def apply_in_place(
    dataset: Dataset,
    corrections: pl.DataFrame,
    *,
    backup: str | Path | None = None,
    marks: pl.DataFrame | None = None,
    before: Dataset | None = None,
    choices: Choices | None = None,
    skip_conflicts: bool = False,
    run: str | None = None,
    progress: Progress | None = None,
) -> Applied:
    """Correct a dataset where it is, after copying every file that changes.

    Each annotation file is replaced by its new version in one step; images of other classes are
    renamed. `labelfix-applied.json` in the dataset says what is under way before it begins, so that
    `undo` can take it back even after a crash in the middle.

    Parameters
    ----------
    dataset, corrections, marks, before, skip_conflicts, run, progress
        As in `apply_corrections`.
    backup
        A new folder for the old files, outside the dataset. None: beside the dataset, under its
        name and `.labelfix-backup`.
    choices
        As in `apply_corrections`; images stay where they are, but for those that change class, and
        those that are left out of an image folder, which go to the backup.

    Raises
    ------
    InputError
        As `apply_corrections` does; if a file to be changed is a link; if the backup cannot be.
    OSError
        If the backup cannot be written; nothing is changed then. If the disk is full later, it is
        an InputError that says how to take back what was done.
    """
    choices = choices or Choices()
    root = dataset.root or Path()
    if before is not None and (done := _is_done(root, key_of(before, corrections, marks, choices))):
        return done
    work = plan_work(dataset, corrections, marks, before, choices, skip_conflicts=skip_conflicts)
    changed = work.changed()
    _refuse_links(root, changed)
    if not changed and work.moved.is_empty() and not _excluded(work):
        return Applied.of(work, root)
    folder = _backup_folder(root, backup)
    record = record_of(
        work,
        key_of(before or dataset, corrections, marks, choices),
        run,
        state="applying",
        backup=str(folder.resolve()),
        changed={path: (_digest(old), _digest(new)) for path, (old, new) in changed.items()},
        excluded=_excluded(work),
    )
    _back_up(folder, {path: old for path, (old, _) in changed.items()}, root, record)
    try:
        _carry_out(root, folder, record, {p: new for p, (_, new) in changed.items()}, progress)
    except OSError as error:
        fix = f"take back what was done: labelfix apply --undo {root}"
        raise InputError(Problem(str(root), f"a write that failed ({error})", fix=fix)) from error
    write_record(root, msgspec.structs.replace(record, state="done"))
    warn_of_empty_classes(work)
    return Applied.of(work, root, files=len(changed), backup=folder)


def key_of(
    before: Dataset, corrections: pl.DataFrame, marks: pl.DataFrame | None, choices: Choices
) -> str:
    """Digest of what is wanted; the dataset as it is now is no part of it, since it changes."""
    import polars as pl

    table = pl.DataFrame() if marks is None or marks.is_empty() else marks
    return key(["in place", before.fingerprint], corrections, table, choices)


def _is_done(root: Path, wanted: str) -> Applied | None:
    """Find the same corrections carried out before, with nothing changed since.

    Raises
    ------
    InputError
        If something was changed since, or it was cut short.
    """
    if not (root / APPLIED).is_file():
        return None
    there = read_record(root)
    if there.key != wanted:
        return None
    same = all(digest_of(root / path) == after for path, (_, after) in there.changed.items())
    same = same and all((root / path).exists() for path in there.moved)
    if same and there.state == "done":
        return Applied(root, already=True, backup=Path(there.backup or ""))
    found = "changed since" if there.state == "done" else "cut short"
    fix = f"take them back first: labelfix apply --undo {root}"
    raise InputError(Problem(str(root), f"these corrections, applied, but {found}", fix=fix))


def _excluded(work: Work) -> list[str]:
    return work.excluded if work.dataset.format == "imagefolder" else []


def _refuse_links(root: Path, paths: Iterable[str]) -> None:
    problems = [
        Problem(path, "a link, which would be replaced", "a file", "apply to a new folder")
        for path in paths
        if (root / path).is_symlink()
    ]
    if problems:
        raise InputError(problems)


def _backup_folder(root: Path, given: str | Path | None) -> Path:
    """Find a free name for the backup.

    Raises
    ------
    InputError
        If the folder given is there already, or inside the dataset.
    """
    if given is None:
        base = root.resolve()
        names = (
            f"{base.name}.labelfix-backup{n}" for n in ("", *(f"-{i}" for i in range(2, 1000)))
        )
        told = _backups(root)
        free = next(
            path
            for name in names
            if (path := base.with_name(name)) not in told and _is_free(path, root)
        )
        shutil.rmtree(free, ignore_errors=True)
        return free
    folder = Path(given)
    found = ""
    if folder.exists():
        found = "something there already"
    elif folder.resolve().is_relative_to(root.resolve()):
        found = "a folder inside the dataset"
    if found:
        raise InputError(Problem(str(folder), found, "a new folder outside of the dataset"))
    return folder


def _backups(root: Path) -> set[Path]:
    """Find the backups that the record of a dataset tells of, and those in them."""
    found: set[Path] = set()
    place = root
    while (place / APPLIED).is_file() and (backup := read_record(place).backup) is not None:
        place = Path(backup)
        if place in found:
            break
        found.add(place)
    return found


def _is_free(folder: Path, root: Path) -> bool:
    """Whether nothing is there, or no more than a crash leaves before the record tells of it.

    That is no file of the dataset; at most the record, as the dataset has it.
    """
    if not folder.exists():
        return not folder.is_symlink()
    if folder.is_symlink() or not folder.is_dir():
        return False
    for path in files_below(folder):
        is_record = path == APPLIED and digest_of(folder / path) == digest_of(root / path)
        if not is_record and not is_temporary(path, {APPLIED}):
            return False
    return True


def _back_up(folder: Path, old: Mapping[str, bytes | None], root: Path, record: Record) -> None:
    """Write the record and the old files; leave nothing behind if that fails.

    The record comes first, so that there is no backup of which it does not tell.
    """
    made = [above for above in (folder, *folder.absolute().parents) if not above.exists()]
    earlier = (root / APPLIED).read_bytes() if (root / APPLIED).is_file() else None
    try:
        folder.mkdir(parents=True)
        if earlier is not None:
            replace_file(folder / APPLIED, earlier)
        write_record(root, record)
        for path, data in old.items():
            if data is not None:
                replace_file(folder / path, data, like=root / path)
    except BaseException as error:
        for path in old:  # first, to make room on a full disk
            (folder / path).unlink(missing_ok=True)
        if earlier is None:
            (root / APPLIED).unlink(missing_ok=True)
        elif (root / APPLIED).read_bytes() != earlier:
            replace_file(root / APPLIED, earlier)
        shutil.rmtree(folder, ignore_errors=True)
        prune(folder.parent, made)
        if isinstance(error, OSError):
            what = f"{error.strerror or error}; nothing was changed"
            raise OSError(error.errno, what, str(folder)) from error
        raise


def _carry_out(
    root: Path,
    folder: Path,
    record: Record,
    new: Mapping[str, bytes],
    progress: Progress | None,
) -> None:
    total = len(new) + len(record.moved) + len(record.excluded)
    steps = itertools.count(1)

    def step() -> None:
        if progress:
            progress("writing corrections", next(steps), total)

    for path, data in new.items():
        replace_file(root / path, data)
        step()
    for target, source in record.moved.items():
        move(root / source, root / target)
        step()
    for path in record.excluded:
        move(root / path, folder / path)
        step()
    for path in [*record.moved.values(), *record.excluded]:
        prune((root / path).parent, [root / above for above in Path(path).parents[:-1]])


def move(source: Path, target: Path) -> None:
    """Move a file to a name that nothing has.

    Raises
    ------
    FileExistsError
        If something has it.
    """
    if target.exists():
        raise FileExistsError(f"{target}: a file that was not there when the dataset was read")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def replace_file(path: Path, data: bytes, like: Path | None = None) -> None:
    """Write a file, whole or not at all, with the permissions of the one that it replaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = like or path
    mode = model.stat().st_mode & 0o7777 if model.exists() else None
    with replacing(path) as file:
        file.write(data)
    if mode is not None:
        path.chmod(mode)


def prune(folder: Path, among: Iterable[Path]) -> None:
    """Remove a folder and those above it, as far as they are `among` some and empty."""
    allowed = {path.absolute() for path in among}
    for above in (folder.absolute(), *folder.absolute().parents):
        if above not in allowed or not above.is_dir() or any(above.iterdir()):
            return
        above.rmdir()


def digest_of(path: Path) -> str | None:
    """Hex digest of a file; None if there is none."""
    return _digest(path.read_bytes()) if path.is_file() else None


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()
