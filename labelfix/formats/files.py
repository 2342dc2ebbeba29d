"""Files of a dataset: seen to be those that were read, rewritten where corrections say so."""

from __future__ import annotations

import hashlib
import os
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["check_unchanged", "digest", "inside", "lowest_common", "patch_files", "read_as_was"]


def digest(data: bytes | memoryview) -> str:
    """Hex digest of a file's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_as_was(root: Path, path: str, was: str | None) -> bytes | None:
    """Read a file that must be as it was when the dataset was read.

    Parameters
    ----------
    root
        Folder that `path` is relative to.
    path
        The file.
    was
        Its digest, or None if there was no such file.

    Returns
    -------
    bytes or None
        None if there is no such file, as before.

    Raises
    ------
    InputError
        If it changed, came or went, or cannot be read.
    """
    try:
        data = (root / path).read_bytes()
    except FileNotFoundError:
        data = None
    except OSError as error:
        raise InputError(Problem(path, f"a file that cannot be read ({error})")) from error
    if (None if data is None else digest(data)) == was:
        return data
    found = "a new file" if was is None else "no such file" if data is None else "a changed file"
    raise InputError(Problem(path, found, "the file as it was read", "read the dataset again"))


def check_unchanged(root: Path, files: Iterable[tuple[str, str | None]]) -> None:
    """Hold files, given as path and digest, to what was read.

    Raises
    ------
    InputError
        Naming every file that changed, came or went.
    """
    problems: list[Problem] = []
    for path, was in files:
        try:
            read_as_was(root, path, was)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)


def patch_files(
    root: Path,
    files: Sequence[tuple[str, str | None]],
    touched: Iterable[str],
    rewrite: Callable[[str, bytes | None], bytes],
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Give every file of a dataset, the touched ones rewritten.

    Everything that can be refused is refused now, before the first file is given: memory holds the
    touched files, the others are read one by one when asked for.

    Parameters
    ----------
    root
        Folder that paths are relative to.
    files
        Path and digest of each; None is a file that was missing.
    touched
        The paths that corrections change.
    rewrite
        From a path and the old content to the new one; raises `InputError` for what cannot be.

    Raises
    ------
    InputError
        If any file is not as it was read, or a correction cannot be carried out.
    """
    check_unchanged(root, files)
    was = dict(files)
    done: dict[str, bytes] = {}
    problems: list[Problem] = []
    for path in touched:
        try:
            done[path] = rewrite(path, read_as_was(root, path, was[path]))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return _give(root, files, done)


def _give(
    root: Path, files: Sequence[tuple[str, str | None]], done: Mapping[str, bytes]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    for path, was in files:
        data = done[path] if path in done else read_as_was(root, path, was)
        if data is not None:
            yield PurePosixPath(path), data


def inside(root: Path, path: Path | str) -> str | None:
    """`path` relative to `root` with forward slashes, or None where it leaves `root`.

    `..` is resolved as text and links are not followed: where a link leads is for whoever made it.

    Examples
    --------
    >>> from pathlib import Path
    >>> inside(Path("/data"), Path("/data/a/../b.jpg")), inside(Path("/data"), Path("/data/../b"))
    ('b.jpg', None)
    """
    whole = PurePath(os.path.normpath(root / path))
    base = os.path.normpath(root)
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else None


def lowest_common(one: Path, other: Path) -> Path:
    """Find the lowest folder that both folders are in, one of them perhaps.

    Examples
    --------
    >>> from pathlib import Path
    >>> lowest_common(Path("/a/b/c"), Path("/a/b/d/e")).as_posix()
    '/a/b'
    """
    return next(above for above in (one, *one.parents) if other == above or above in other.parents)
