"""The log as a table for people: who changed what, when and why, and what was undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labelfix.decisions.event import Decision, State
    from labelfix.decisions.replay import Replay

__all__ = ["history"]

COLUMNS = {
    "time": pl.String(),
    "reviewer": pl.String(),
    "action": pl.String(),
    "item_id": pl.String(),
    "annotation_id": pl.String(),
    "kind": pl.String(),
    "change": pl.String(),
    "undone": pl.Boolean(),
    "seconds": pl.Float64(),
    "source": pl.String(),
    "batch": pl.String(),
    "target": pl.String(),
    "note": pl.String(),
    "id": pl.String(),
}


def history(
    replay: Replay, item_id: str | None = None, reviewer: str | None = None
) -> pl.DataFrame:
    """List events, in the order of the log.

    Parameters
    ----------
    replay
        From `read_log`.
    item_id
        Only what speaks of this item, undo and redo included.
    reviewer
        Only what this reviewer did.

    Returns
    -------
    pl.DataFrame
        time, reviewer, action, item_id, annotation_id, kind, change (in words), undone, seconds,
        source, batch, target, note, id. Undo and redo carry the item that they speak of.

    Examples
    --------
    >>> from labelfix.decisions import Replay, State, new_decision
    >>> replay = Replay()
    >>> event = new_decision("set_label", reviewer="ann", fingerprint="f", item_id="a",
    ...                      annotation_id="a", before=State("cat"), after=State("dog"))
    >>> _ = replay.extend([event])
    >>> history(replay).select("reviewer", "action", "item_id", "change", "undone").rows()
    [('ann', 'set_label', 'a', 'cat to dog', False)]
    """
    found: Iterable[Decision] = replay.decisions if item_id is None else replay.history(item_id)
    rows = [_row(replay, one) for one in found if reviewer in (None, one.reviewer)]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _row(replay: Replay, one: Decision) -> tuple[Any, ...]:
    about = replay[one.target] if one.is_step and one.target is not None else one
    return (
        one.time,
        one.reviewer,
        one.action,
        about.item_id,
        about.annotation_id,
        about.kind,
        _change(about),
        not one.is_step and not replay.is_live(one),
        one.seconds,
        one.source,
        one.batch,
        one.target,
        one.note,
        one.id,
    )


def _change(one: Decision) -> str:
    """Say what an event changes, in words."""
    before = _in_words(one.before)
    if one.action in ("keep", "skip", "flag"):
        return before
    if one.mark is not None:
        return f"{before}: {' '.join([one.mark.kind, *one.mark.labels])}".removeprefix(": ")
    after = _in_words(one.after) or "nothing"
    return f"{before} to {after}" if before else after


def _in_words(state: State | None) -> str:
    if state is None:
        return ""
    box = "" if state.box is None else f"({', '.join(f'{edge:.0f}' for edge in state.box)})"
    return f"{state.label or ''} {box}".strip()
