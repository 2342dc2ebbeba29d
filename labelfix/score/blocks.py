"""Rows in blocks over a few threads: flat memory, and the same answer however they are cut."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Blocks", "read_rows", "working_dtype"]

Result = TypeVar("Result")
Span = tuple[int, int]


WORTH_SHARING = 1 << 26
"""Bytes of a matrix below which threads wait for each other longer than they work: 64 MiB."""


def available_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Blocks:
    """How rows are cut up and shared out. It decides speed and memory, never the answer.

    Parameters
    ----------
    size
        Bytes that one thread works on at a time; None for a share of all, from 256 KiB to 4 MiB:
        little enough for cache and memory, and enough to be worth handing to a thread.
    threads
        How many blocks are worked on at once; None for one a core.

    Examples
    --------
    >>> blocks = Blocks(size=16, threads=2)
    >>> blocks.spans(rows=5, row_bytes=8)
    [(0, 2), (2, 4), (4, 5)]
    >>> list(blocks.each(lambda start, stop: stop - start, [(0, 2), (2, 4), (4, 5)]))
    [2, 2, 1]
    """

    size: int | None = None
    threads: int | None = None

    @classmethod
    def over(cls, matrix: NDArray[Any]) -> Blocks:
        """How a matrix is cut up if nobody says: on one thread up to `WORTH_SHARING` bytes.

        Examples
        --------
        >>> Blocks.over(np.zeros((10, 2)))
        Blocks(size=None, threads=1)
        """
        return cls(threads=1 if matrix.nbytes < WORTH_SHARING else None)

    def alone(self) -> Blocks:
        """One thread, unless more were asked for: for work in many short steps."""
        return replace(self, threads=self.threads or 1)

    def spans(self, rows: int, row_bytes: int, parts: int = 64) -> list[Span]:
        """Cut `rows` into (start, stop) pairs of about `size` bytes, or about `parts` pairs."""
        size = self.size or min(max(rows * row_bytes // parts, 1 << 18), 1 << 22)
        step = max(1, size // max(1, row_bytes))
        return [(start, min(rows, start + step)) for start in range(0, rows, step)]

    def each(self, task: Callable[[int, int], Result], spans: Sequence[Span]) -> Iterator[Result]:
        """Yield `task(start, stop)` of each span, in order, never far ahead of who takes them."""
        threads = min(self.threads or available_cores(), len(spans))
        if threads <= 1:
            yield from (task(start, stop) for start, stop in spans)
            return
        with ThreadPoolExecutor(threads) as pool:
            ahead = deque(pool.submit(task, *span) for span in spans[: 2 * threads])
            try:
                for span in spans[2 * threads :]:
                    yield ahead.popleft().result()
                    ahead.append(pool.submit(task, *span))
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def run(self, task: Callable[[int, int], None], spans: Sequence[Span]) -> None:
        """Do `task(start, stop)` for each span, for what it writes."""
        deque(self.each(task, spans), maxlen=0)


def working_dtype(pred_probs: NDArray[Any]) -> np.dtype[Any]:
    """Say in which precision a matrix is worked on: float16 as float32, the others as they are."""
    return np.dtype(np.float64 if pred_probs.dtype.itemsize == 8 else np.float32)


def read_rows(pred_probs: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    """Rows `start` to `stop`, contiguous and in the working precision; a view where that can be."""
    return np.ascontiguousarray(pred_probs[start:stop], dtype=working_dtype(pred_probs))
