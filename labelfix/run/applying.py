"""The decisions of a run, applied to its dataset."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, Problem, RunError, warn_caller
from labelfix.run.dataset import as_it_was, read_again
from labelfix.run.directory import DECISIONS
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from labelfix.apply import Applied, Choices
    from labelfix.decisions import Corrections
    from labelfix.progress import Progress
    from labelfix.run.directory import Run
    from labelfix.schema import Dataset

__all__ = ["about_contested", "apply_run", "corrections_of", "preview_run"]

SHOWN = 20
"""Contested annotations that are named at most."""


def apply_run(
    run: Run,
    to: str | Path | None,
    *,
    in_place: bool = False,
    backup: str | Path | None = None,
    root: str | Path | None = None,
    choices: Choices | None = None,
    skip_conflicts: bool = False,
    prefer: Sequence[str] = (),
    progress: Progress | None = None,
) -> Applied:
    """Apply the decisions of a run.

    Parameters
    ----------
    run
        From `open_run`.
    to
        A new folder; None with `in_place`.
    in_place
        Correct the dataset where it is; see `labelfix.apply.apply_in_place`.
    backup
        Folder for the old files, with `in_place`.
    root
        Where the dataset is now, if it moved.
    choices, skip_conflicts, progress
        As in `labelfix.apply.apply_corrections`.
    prefer
        Reviewers whose word counts where reviewers disagree, in order; without, what they disagree
        on is left as it is.

    Raises
    ------
    RunError
        If nobody decided anything yet.
    InputError
        As `labelfix.apply.apply_corrections`; if `prefer` names who decided nothing.
    """
    from labelfix.apply import apply_corrections, apply_in_place

    made = corrections_of(run, prefer)
    dataset = read_again(run, root, progress=progress)
    before, name = as_it_was(run, dataset), str(run.path.resolve())
    if in_place:
        done = apply_in_place(
            dataset,
            made.table,
            backup=backup,
            marks=made.marks,
            before=before,
            choices=choices,
            skip_conflicts=skip_conflicts,
            run=name,
            progress=progress,
        )
    else:
        done = apply_corrections(
            dataset,
            made.table,
            to or "",
            marks=made.marks,
            before=before,
            choices=choices,
            skip_conflicts=skip_conflicts,
            run=name,
            progress=progress,
        )
    return dataclasses.replace(done, contested=_contested(made, prefer))


def preview_run(
    run: Run,
    *,
    root: str | Path | None = None,
    choices: Choices | None = None,
    skip_conflicts: bool = False,
    prefer: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[str]:
    """Yield the lines of a diff of what `apply_run` would change; parameters as there.

    Warns
    -----
    LabelfixWarning
        Naming what is left as it is because reviewers disagree.
    """
    from labelfix.apply import preview

    made = corrections_of(run, prefer)
    if left := _contested(made, prefer):
        warn_caller(about_contested(left))
    dataset: Dataset = read_again(run, root, progress=progress)
    return preview(
        dataset,
        made.table,
        marks=made.marks,
        before=as_it_was(run, dataset),
        choices=choices,
        skip_conflicts=skip_conflicts,
    )


def corrections_of(run: Run, prefer: Sequence[str] = ()) -> Corrections:
    """Give what the decisions of a run amount to.

    Raises
    ------
    RunError
        If nobody decided anything yet.
    InputError
        If `prefer` names who decided nothing.
    """
    from labelfix.decisions import corrections, read_log

    replay = read_log(run.path / DECISIONS, run.info.dataset.fingerprint)
    if not replay.decisions:
        begin = f"labelfix review {shlex.quote(str(run.path))}"
        raise RunError(f"{run.path}: nothing is decided yet; begin with: {begin}")
    problems = [
        Problem(f"prefer {name!r}", "nobody of that name", f"one of {', '.join(replay.reviewers)}")
        for name in prefer
        if name not in replay.reviewers
    ]
    if problems:
        raise InputError(problems)
    return corrections(replay, run.annotations, prefer=prefer)


def about_contested(names: Sequence[str]) -> str:
    """Say what is left as it is because reviewers disagree.

    Examples
    --------
    >>> about_contested(["a.png"])
    'left as they are, since reviewers disagree: 1 annotation (a.png); --prefer REVIEWER settles it'
    """
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return (
        f"left as they are, since reviewers disagree: {count(len(names), 'annotation')} "
        f"({', '.join(names[:SHOWN])}{more}); --prefer REVIEWER settles it"
    )


def _contested(made: Corrections, prefer: Sequence[str]) -> tuple[str, ...]:
    """Name what reviewers disagree on and nobody preferred has a word on."""
    settled = pl.col("reviewers").list.eval(pl.element().is_in(list(prefer))).list.any()
    left = made.conflicts.filter(~settled)
    return tuple(left.select(pl.coalesce("annotation_id", "item_id")).to_series())
