"""One pass of the loop on disk: `find` makes a run directory, `open_run` reads one."""

from __future__ import annotations

from labelfix.run.directory import Run, is_unfinished, open_run
from labelfix.run.pipeline import find
from labelfix.run.record import FindOptions, RunRecord

__all__ = ["FindOptions", "Run", "RunRecord", "find", "is_unfinished", "open_run"]
