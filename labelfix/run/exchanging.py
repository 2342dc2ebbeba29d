"""The queue of a run for other tools, and their answers as its decisions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelfix.run.directory import DECISIONS
from labelfix.run.idle import refuse_choices

if TYPE_CHECKING:
    import polars as pl

    from labelfix.run.directory import Run

__all__ = ["Imported", "export_run", "import_into"]

SAME_BOX = 0.5
"""IoU from which a box that lost its id is a given one, by default."""

EXPORTED = "exported.txt"
"""In the run: ids of the issues that were exported, one a line."""


@dataclass(frozen=True)
class Imported:
    """What came back.

    Parameters
    ----------
    items
        How many images were in the file.
    decisions
        How many events were added to the log.
    by_action
        How many of each action.
    """

    items: int
    decisions: int
    by_action: dict[str, int]


def export_run(
    run: Run,
    tool: str,
    out: str | Path,
    *,
    top: int | None = None,
    kind: str | None = None,
) -> int:
    """Write the queue of a run for another tool, with suggestions as pre-annotations.

    Parameters
    ----------
    run
        From `open_run`.
    tool
        One of `labelfix.exchange.FORMATS`.
    out
        The file; with `yolo` a new folder.
    top
        So many issues, the most suspicious; None for all.
    kind
        Only this kind.

    Returns
    -------
    int
        How many images were written.

    Raises
    ------
    InputError
        If there is no such tool or kind, or something is in the way.
    """
    from labelfix.exchange import tasks_of, write_tasks

    issues = _named(run.queue(kind=kind))
    issues = issues if top is None else issues.head(top)
    tasks = tasks_of(run.items, run.annotations, issues) if tool != "csv" else []
    root = run.info.dataset.root
    write_tasks(
        out,
        tool,
        tasks,
        class_names=run.info.dataset.class_names,
        issues=issues,
        root=None if root is None else Path(root),
    )
    with (run.path / EXPORTED).open("a", encoding="utf-8") as file:
        file.writelines(f"{one}\n" for one in issues["issue"])
    return issues["item_id"].n_unique() if tool == "csv" else len(tasks)


def import_into(
    run: Run,
    path: str | Path,
    *,
    reviewer: str,
    same_box: float = SAME_BOX,
    tolerance: float = 0.02,
) -> Imported:
    """Read what another tool exported, and append it to the decisions of a run.

    Every image in the file counts as looked at: export finished work only. The same answers twice
    add nothing.

    Parameters
    ----------
    run
        From `open_run`.
    path
        CVAT for images 1.1 (XML or archive), Label Studio JSON, or COCO.
    reviewer
        In whose name. If the file has answers of several people, each has `reviewer/PERSON`.
    same_box
        IoU from which a box that lost its id is taken for the given one that it overlaps most.
    tolerance
        Pixels that an edge may be off and still be where it was: tools round.

    Raises
    ------
    InputError
        Naming everything in the file that cannot be used, and `same_box` for a run on class labels;
        nothing is appended then.
    """
    if not run.info.dataset.boxes:
        refuse_choices({"--same-box": same_box != SAME_BOX}, "class labels", "a run on boxes")
    from labelfix.decisions import DecisionLog
    from labelfix.exchange import decisions_from, read_answers

    answers = read_answers(path)
    fingerprint = run.info.dataset.fingerprint
    log = DecisionLog(run.path / DECISIONS, fingerprint)
    shown = run.path / EXPORTED
    decisions = decisions_from(
        answers,
        items=run.items,
        annotations=run.annotations,
        issues=_named(run.issues),
        class_names=run.info.dataset.class_names,
        shown=set(shown.read_text(encoding="utf-8").split()) if shown.exists() else set(),
        replay=log.replay,
        reviewer=reviewer,
        fingerprint=fingerprint,
        same_box=same_box,
        tolerance=tolerance,
    )
    if decisions:
        log.append(*decisions)
    actions: list[str] = [one.action for one in decisions]
    by_action = {name: actions.count(name) for name in dict.fromkeys(actions)}
    return Imported(len({one.name for one in answers}), len(decisions), by_action)


def _named(issues: pl.DataFrame) -> pl.DataFrame:
    from labelfix.decisions import issue_ids

    return issues if "issue" in issues.columns else issues.with_columns(issue_ids(issues))
