"""One writer a run directory: a lock that goes with the process that holds it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from labelfix.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LOCK", "locked"]

LOCK = ".lock"
FAR = 1 << 30
"""Which byte Windows locks: one that nobody reads."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others from writing to `folder`, which exists, while the block runs.

    The system takes the lock away from a process that dies, so what a crash leaves is no obstacle.

    Raises
    ------
    RunError
        If another process, or another thread of this one, is writing there.
    """
    path = folder / LOCK
    handle = _open(path)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file: an empty lock stays
            path.unlink()
        os.close(handle)


def _open(path: Path) -> int:
    """Open the lock file and lock it, again if whoever had it took it away meanwhile."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(handle)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except (BlockingIOError, PermissionError) as error:
            who = os.read(handle, 20).decode("ascii", "replace")
            os.close(handle)
            raise RunError(
                f"{path.parent}: another labelfix (process {who or 'unknown'}) is writing there; "
                "wait for it, or choose another directory"
            ) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _take(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
