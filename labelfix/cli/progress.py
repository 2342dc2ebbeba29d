"""Progress bars on standard error: only for people, and only for what takes a while."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from labelfix.text import visible

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

__all__ = ["Bars"]

_PATIENCE = 1.0
"""Seconds that nobody needs a bar for."""


class Bars:
    """Draws what a `progress` callback is told: one bar for each thing that is done.

    Silent when asked to be, when standard error is no terminal, and for the first second.

    Examples
    --------
    >>> with Bars(quiet=True) as bars:
    ...     bars("reading", 1, 2)
    """

    def __init__(self, *, quiet: bool) -> None:
        self._silent = quiet or not sys.stderr.isatty()
        self._began = time.monotonic()
        self._drawn: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note that `done` of `total` are done."""
        if self._silent or time.monotonic() - self._began < _PATIENCE:
            return
        drawn = self._drawn or self._start()
        if what not in self._tasks:
            self._tasks[what] = drawn.add_task(visible(what), total=total)
        drawn.update(self._tasks[what], completed=done, total=total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._drawn is not None:
            self._drawn.stop()

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._drawn = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._drawn.start()
        return self._drawn
