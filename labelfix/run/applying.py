"""The decisions of a run, applied to its dataset."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from labelfix.errors import RunError
from labelfix.run.dataset import as_it_was, read_again
from labelfix.run.directory import DECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from labelfix.apply import Applied, Choices
    from labelfix.decisions import Corrections
    from labelfix.run.directory import Run
    from labelfix.schema import Dataset

__all__ = ["apply_run", "corrections_of", "preview_run"]


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
    progress: Callable[[str, int, int], None] | None = None,
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
        As `labelfix.apply.apply_corrections`.
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
    contested = [
        names for names in made.conflicts["reviewers"].to_list() if not {*names} & {*prefer}
    ]
    return dataclasses.replace(done, contested=len(contested))


def preview_run(
    run: Run,
    *,
    root: str | Path | None = None,
    choices: Choices | None = None,
    skip_conflicts: bool = False,
    prefer: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[str]:
    """Yield the lines of a diff of what `apply_run` would change; parameters as there."""
    from labelfix.apply import preview

    made = corrections_of(run, prefer)
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
    """
    from labelfix.decisions import corrections, read_log

    path = run.path / DECISIONS
    if not path.is_file():
        raise RunError(
            f"{run.path}: nothing is decided yet; begin with: labelfix review {run.path}"
        )
    replay = read_log(path, run.info.dataset.fingerprint)
    return corrections(replay, run.annotations, prefer=prefer)
