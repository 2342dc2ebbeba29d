"""Files that are either whole or not there.

Each is written under a temporary name in its own folder, flushed to the disk, and renamed. A crash
leaves what was there before, and at worst a temporary file, which the next write sweeps away.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = ["flush_folder", "is_temporary", "replacing", "sweep"]

_SUFFIX = ".labelfix-tmp"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends well, and never otherwise.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.txt")
    ...     with replacing(path) as file:
    ...         _ = file.write(b"whole")
    ...     path.read_text()
    'whole'
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def sweep(folder: Path, of: Collection[str] | None = None) -> None:
    """Remove the temporary files that a crash left in `folder`: all, or those of some files."""
    for left in folder.glob(f".*{_SUFFIX}"):
        if (of is None or is_temporary(left.name, of)) and not left.is_dir():
            left.unlink(missing_ok=True)


def is_temporary(name: str, of: Collection[str]) -> bool:
    """Whether a file is what a crash left of one of some files in its folder.

    Examples
    --------
    >>> is_temporary(".a.txt.0123456789ab.labelfix-tmp", {"a.txt"}), is_temporary("b", {"b"})
    (True, False)
    """
    whole, dot, _ = name.removesuffix(_SUFFIX).rpartition(".")
    return name.endswith(_SUFFIX) and bool(dot) and whole[:1] == "." and whole[1:] in of


def flush_folder(folder: Path) -> None:
    """Make a rename outlive a power cut. Windows cannot open folders, and does not need to."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
