"""What a replay changes in a dataset: a table of corrections, marks, and what is contested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.decisions.replay import SAME_BOX, Verdict
from labelfix.schema import BOX, CORRECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labelfix.decisions.replay import Conflict, Replay

__all__ = ["CONFLICT_COLUMNS", "MARK_COLUMNS", "Corrections", "corrections"]

MARK_COLUMNS = {
    "item_id": pl.String(),
    "annotation_id": pl.String(),
    "mark": pl.String(),
    "labels": pl.List(pl.String()),
    "reviewer": pl.String(),
}

CONFLICT_COLUMNS = {
    "item_id": pl.String(),
    "annotation_id": pl.String(),
    "issue": pl.String(),
    "reviewers": pl.List(pl.String()),
    "verdicts": pl.List(pl.String()),
}


@dataclass(frozen=True, eq=False)
class Corrections:
    """What to change, what to mark, and what reviewers do not agree on.

    Parameters
    ----------
    table
        Columns of `labelfix.schema.CORRECTIONS` and reviewer, in the order of the decisions;
        nothing that leaves an annotation as it is.
    marks
        item_id, annotation_id (null for a new box), mark (`multi_label`, `none_of_the_classes`,
        `group`), labels (of multi_label), reviewer. `ignore` is a correction.
    conflicts
        item_id, annotation_id, issue, reviewers, and in words what each says. None of these is in
        `table` or `marks`, unless `prefer` settled it; listed they are either way.
    """

    table: pl.DataFrame
    marks: pl.DataFrame
    conflicts: pl.DataFrame


def corrections(
    replay: Replay,
    annotations: pl.DataFrame,
    *,
    prefer: Sequence[str] = (),
    same_box: float = SAME_BOX,
) -> Corrections:
    """Turn decisions into corrections.

    Accepting means: `mislabeled`, `wrong_class`: another label; `missing`: a new box; `spurious`,
    `duplicate`: the box goes; `bad_location`, `group`: another box; `multi_label`,
    `none_of_the_classes`: a mark.

    Parameters
    ----------
    replay
        From `read_log`.
    annotations
        Of the dataset: what says already what a correction would say is left out.
    prefer
        Reviewers whose word counts where reviewers disagree, in order. Without, neither counts.
    same_box
        Least IoU of two boxes of different reviewers that count as one.

    Examples
    --------
    >>> from labelfix.decisions import Replay, State, new_decision
    >>> replay = Replay()
    >>> event = new_decision("set_label", reviewer="ann", fingerprint="f", item_id="a",
    ...                      annotation_id="a", after=State("dog"))
    >>> _ = replay.extend([event])
    >>> given = pl.DataFrame({"annotation_id": ["a"], "item_id": ["a"], "label": ["cat"]})
    >>> corrections(replay, given).table.select("action", "item_id", "label").rows()
    [('set_label', 'a', 'dog')]
    """
    conflicts = replay.conflicts(same_box)
    contested = {verdict.subject for one in conflicts for verdict in one.verdicts}
    twins = {two.subject for one, two in replay.twins(same_box) if one.subject not in contested}
    settled = [
        one for one in _settled(replay, contested, prefer) if one.subject not in twins - contested
    ]
    rows = [(*row, verdict.reviewer) for verdict in settled for row in _rows(verdict)]
    marks = [
        (last.item_id, last.annotation_id, one.mark.kind, list(one.mark.labels), last.reviewer)
        for one in settled
        if (last := one.last) and one.mark is not None and one.mark.kind != "ignore"
    ]
    table = pl.DataFrame(rows, schema={**CORRECTIONS, "reviewer": pl.String}, orient="row")
    return Corrections(
        table=_effective(table, annotations),
        marks=pl.DataFrame(marks, schema=MARK_COLUMNS, orient="row"),
        conflicts=pl.DataFrame(
            [_conflict_row(one) for one in conflicts], schema=CONFLICT_COLUMNS, orient="row"
        ),
    )


def _settled(replay: Replay, contested: set[str], prefer: Sequence[str]) -> Iterator[Verdict]:
    """One verdict a subject: the first of those that agree, or the preferred one."""
    for subject in replay.sessions:
        decided = [one for one in replay.verdicts(subject) if one.decided]
        if subject in contested:
            by_reviewer = {one.reviewer: one for one in decided}
            decided = [by_reviewer[name] for name in prefer if name in by_reviewer]
        if decided:
            yield decided[0]


def _rows(verdict: Verdict) -> Iterator[tuple[Any, ...]]:
    """Rows of `CORRECTIONS` that carry a verdict out."""
    last, nothing = verdict.last, (None,) * 4
    where = (last.item_id, last.annotation_id)
    if not verdict.is_error:
        return
    if verdict.outcome == "deleted":
        yield ("delete", *where, None, *nothing)
        return
    if last.annotation_id is None:
        if verdict.label is not None and verdict.box is not None:
            yield ("add_box", *where, verdict.label, *verdict.box)
        return
    if verdict.label is not None:
        yield ("set_label", *where, verdict.label, *nothing)
    if verdict.box is not None:
        yield ("set_box", *where, None, *verdict.box)
    if verdict.mark is not None and verdict.mark.kind == "ignore":
        yield ("ignore", *where, None, *nothing)


def _effective(table: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """Leave out labels and boxes that are as given."""
    edges = [edge for edge in BOX if edge in annotations.columns]
    now = annotations.select("annotation_id", pl.col("label", *edges).name.prefix("now_"))
    rows = table.join(now, on="annotation_id", how="left", maintain_order="left")
    idle = (pl.col("action") == "set_label") & (pl.col("label") == pl.col("now_label"))
    if edges:
        same = pl.all_horizontal(*(pl.col(edge) == pl.col(f"now_{edge}") for edge in edges))
        idle = idle | ((pl.col("action") == "set_box") & same.fill_null(value=False))
    return rows.filter(~idle.fill_null(value=False)).select(table.columns)


def _conflict_row(conflict: Conflict) -> tuple[Any, ...]:
    last = conflict.verdicts[0].last
    return (
        last.item_id,
        last.annotation_id,
        last.issue,
        [one.reviewer for one in conflict.verdicts],
        [in_words(one) for one in conflict.verdicts],
    )


def in_words(verdict: Verdict) -> str:
    """Say a verdict in a few words.

    Examples
    --------
    >>> from labelfix.decisions import Replay, State, new_decision
    >>> replay = Replay()
    >>> event = new_decision("set_label", reviewer="ann", fingerprint="f", item_id="a",
    ...                      annotation_id="a", before=State("cat"), after=State("dog"))
    >>> _ = replay.extend([event])
    >>> in_words(replay.verdicts("a")[0])
    'changed to dog'
    """
    parts = []
    if verdict.label is not None:
        parts.append(verdict.label)
    if verdict.box is not None:
        parts.append("({})".format(", ".join(f"{edge:g}" for edge in verdict.box)))
    if verdict.mark is not None:
        labels = f" {' + '.join(verdict.mark.labels)}" if verdict.mark.labels else ""
        parts.append(f"{verdict.mark.kind}{labels}")
    return f"{verdict.outcome} to {' '.join(parts)}" if parts else verdict.outcome
