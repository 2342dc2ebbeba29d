"""One event of the log: what a reviewer did to one issue, or to an earlier event."""

from __future__ import annotations

import hashlib
import math
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl

__all__ = [
    "ACTIONS",
    "MARKS",
    "SOURCES",
    "VERSION",
    "Action",
    "Decision",
    "Mark",
    "MarkKind",
    "Source",
    "State",
    "decide",
    "faults",
    "issue_ids",
    "new_decision",
]

VERSION = 1
"""Of an event, written into each; a reader refuses what is newer than it knows."""

Action = Literal[
    "accept",
    "keep",
    "set_label",
    "set_box",
    "add_box",
    "delete",
    "mark",
    "skip",
    "flag",
    "undo",
    "redo",
]
ACTIONS: tuple[Action, ...] = get_args(Action)

MarkKind = Literal["multi_label", "none_of_the_classes", "group", "ignore"]
MARKS: tuple[MarkKind, ...] = get_args(MarkKind)

Source = Literal["review", "repeat", "import"]
SOURCES: tuple[Source, ...] = get_args(Source)

DELETED_ON_ACCEPT = frozenset({"spurious", "duplicate"})
"""Kinds of issues whose suggestion is that the box goes."""

Box = tuple[float, float, float, float]


class State(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """What an annotation says: its class, and its corners in pixels (xyxy) if it is a box.

    In `Decision.after`, None leaves that part alone.
    """

    label: str | None = None
    box: Box | None = None


class Mark(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """What no class and no box can say.

    Parameters
    ----------
    kind
        `multi_label`: all of `labels` are right. `none_of_the_classes`: no class is. `group`: the
        box is of several objects. `ignore`: should count neither for nor against a model.
    labels
        With `multi_label`, two or more classes.
    """

    kind: MarkKind
    labels: tuple[str, ...] = ()


class Decision(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """One event. `decide` and `new_decision` make them.

    Parameters
    ----------
    schema_version
        `VERSION`.
    id
        Unique. Whoever makes the event makes it, so that a request that is sent twice counts once.
    time
        When, UTC, ISO 8601.
    reviewer
        Who.
    action
        One of `ACTIONS`. `accept` takes the suggestion, which `after` or `mark` holds (neither for
        kinds whose suggestion is to delete); `keep` says that the annotation is right; `skip` puts
        off; `flag` asks for another look and is no verdict.
    fingerprint
        Of the dataset.
    item_id
        Null for undo and redo only.
    annotation_id
        Null where a box is proposed or new.
    kind
        Of the issue.
    issue
        Its stable id, see `issue_ids`; null for what is no issue, like a new box.
    before, after
        What the annotation said, and what it is to say.
    mark
        With the action `mark`, or where accepting a suggestion is a mark.
    target
        Event that undo and redo speak of. With other actions: the `add_box` event whose new box is
        changed further.
    batch
        Events with the same batch and reviewer are one act, undone as one.
    seconds
        Spent on it.
    source
        `review`; `repeat`: an item shown a second time, blindly; `import`: from another tool.
    note
        Words of the reviewer; of an import, which person of the tool it was, if the tool says.
    """

    schema_version: int
    id: str
    time: str
    reviewer: str
    action: Action
    fingerprint: str
    item_id: str | None = None
    annotation_id: str | None = None
    kind: str | None = None
    issue: str | None = None
    before: State | None = None
    after: State | None = None
    mark: Mark | None = None
    target: str | None = None
    batch: str | None = None
    seconds: float | None = None
    source: Source = "review"
    note: str = ""

    @property
    def subject(self) -> str:
        """What it speaks of: an annotation, a proposed box, or a new one."""
        return self.annotation_id or self.issue or self.target or self.id

    @property
    def is_step(self) -> bool:
        """Whether it is undo or redo, and so speaks of another event."""
        return self.action in ("undo", "redo")


def new_decision(
    action: Action,
    *,
    reviewer: str,
    fingerprint: str,
    id: str | None = None,  # noqa: A002 # the field's name
    time: str | None = None,
    **fields: Any,  # the other fields of Decision, by name
) -> Decision:
    """Make an event that happens now, with an id of its own unless given.

    Examples
    --------
    >>> event = new_decision("keep", reviewer="ann", fingerprint="f", item_id="a.png")
    >>> event.schema_version, event.action, len(event.id)
    (1, 'keep', 32)
    """
    return Decision(
        schema_version=VERSION,
        id=id or uuid.uuid4().hex,
        time=time or datetime.now(UTC).isoformat(timespec="milliseconds"),
        reviewer=reviewer,
        action=action,
        fingerprint=fingerprint,
        **fields,
    )


def decide(
    issue: Mapping[str, Any],
    action: Action,
    *,
    reviewer: str,
    fingerprint: str,
    after: State | None = None,
    mark: Mark | None = None,
    **fields: Any,  # the other fields of Decision, by name
) -> Decision:
    """Make the event of a decision on one issue.

    Parameters
    ----------
    issue
        A row of an issues table with its id in the column `issue`.
    action
        With `accept`, the issue's suggestion is filled in.
    after, mark
        For `set_label`, `set_box`, `add_box` and `mark`; `accept` fills them in.
    fields
        Other fields of `Decision`: id, time, batch, seconds, source, note.

    Raises
    ------
    InputError
        If `accept` is said of an issue that suggests nothing.

    Examples
    --------
    >>> row = {"issue": "5e", "item_id": "a.png", "annotation_id": "a.png", "kind": "mislabeled",
    ...        "given_label": "cat", "suggested_label": "dog"}
    >>> decide(row, "accept", reviewer="ann", fingerprint="f").after
    State(label='dog', box=None)
    """
    if action == "accept":
        after, mark = suggestion(issue)
    return new_decision(
        action,
        reviewer=reviewer,
        fingerprint=fingerprint,
        item_id=issue["item_id"],
        annotation_id=issue["annotation_id"],
        kind=issue["kind"],
        issue=issue["issue"],
        before=_state(issue, "given"),
        after=after,
        mark=mark,
        **fields,
    )


def suggestion(issue: Mapping[str, Any]) -> tuple[State | None, Mark | None]:
    """Say what accepting an issue means: nothing where the suggestion is that the box goes.

    Raises
    ------
    InputError
        If there is no suggestion to accept.
    """
    kind, given, suggested = issue["kind"], issue["given_label"], issue["suggested_label"]
    if kind in DELETED_ON_ACCEPT:
        return None, None
    if kind == "none_of_the_classes":
        return None, Mark("none_of_the_classes")
    after = _state(issue, "suggested")
    needs_box = kind in ("missing", "bad_location", "group")
    if after is None or (needs_box and after.box is None) or (not needs_box and not suggested):
        raise InputError(
            Problem(
                f"issue {issue['issue']} ({kind}) of {issue['item_id']}",
                "no suggestion to accept",
                "another decision",
                "keep it, or set what is right",
            )
        )
    if kind == "multi_label":
        return None, Mark("multi_label", (given, suggested))
    return after, None


def _state(issue: Mapping[str, Any], which: str) -> State | None:
    """Take the given or suggested label and box of an issue; None where there is neither."""
    corners = [issue.get(f"{which}_{edge}") for edge in ("x1", "y1", "x2", "y2")]
    box = None if any(corner is None for corner in corners) else tuple(corners)
    label = issue[f"{which}_label"]
    return None if label is None and box is None else State(label, box)  # type: ignore[arg-type] # four corners


def issue_ids(issues: pl.DataFrame) -> pl.Series:
    """Name each issue: the same when `find` is repeated, whatever its rank then.

    Parameters
    ----------
    issues
        Columns as in `labelfix.schema.ISSUES` or `BOX_ISSUES`.

    Returns
    -------
    pl.Series
        Sixteen hex digits a row, named "issue": a hash of item, annotation and kind, and where a
        box is proposed, of its class and its corners in whole pixels. Should two be equal in all
        that, the later rows carry their number.

    Examples
    --------
    >>> import polars as pl
    >>> issues = pl.DataFrame({"item_id": ["a", "b"], "annotation_id": ["a", "b"],
    ...                        "kind": ["mislabeled", "mislabeled"]})
    >>> issue_ids(issues).to_list()
    ['d0e5bd9c7fd96de0', '27b21a40f08d3776']
    """
    import polars as pl

    parts = [pl.col("item_id"), pl.col("annotation_id"), pl.col("kind")]
    if "suggested_x1" in issues.columns:
        proposed = pl.col("annotation_id").is_null()
        corners = [pl.col(f"suggested_{edge}").round() for edge in ("x1", "y1", "x2", "y2")]
        parts += [
            pl.when(proposed).then(part.cast(pl.String))
            for part in (pl.col("suggested_label"), *(edge.cast(pl.Int64) for edge in corners))
        ]
    text = pl.concat_str([part.fill_null("") for part in parts], separator="\x1f")
    again = pl.int_range(pl.len()).over("text")
    named = issues.select(text=text).with_columns(again=again)
    texts = named.select(
        pl.when(pl.col("again") > 0)
        .then(pl.format("{}\x1e{}", "text", "again"))
        .otherwise(pl.col("text"))
    ).to_series()
    blake2b = hashlib.blake2b
    return pl.Series(
        "issue",
        [blake2b(one.encode(), digest_size=8).hexdigest() for one in texts],
        dtype=pl.String,
    )


def faults(decision: Decision) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with one event by itself, as (found, expected)."""
    action, after, mark = decision.action, decision.after, decision.mark
    if decision.schema_version != VERSION:
        upgrade = "; upgrade labelfix" if decision.schema_version > VERSION else ""
        yield f"version {decision.schema_version}", f"version {VERSION}{upgrade}"
    if not decision.id or not decision.reviewer:
        yield "an event without id or reviewer", "both"
    if decision.is_step:
        if decision.target is None:
            yield f"{action} of nothing", "the event it speaks of as target"
        return
    if decision.item_id is None:
        yield f"{action} without an item", "an item_id"
    if action == "add_box" and decision.annotation_id is not None:
        yield f"add_box of {decision.annotation_id}, which is there", "set_box, or no annotation_id"
    is_proposed = decision.annotation_id is None and decision.target is None
    if action in ("set_label", "set_box") and is_proposed and decision.issue is None:
        yield f"{action} of nothing", "an annotation, an issue, or a new box as target"
    whole = action == "add_box" or (is_proposed and action in ("set_label", "set_box"))
    if (action == "set_label" or whole) and (after is None or after.label is None):
        yield f"{action} without a label", "the label in after"
    if after is not None and after.label == "":
        yield f"{action} with an empty label", "the name of a class"
    if (action == "set_box" or whole) and (after is None or after.box is None):
        yield f"{action} without a box", "the box in after"
    if action == "mark" and mark is None:
        yield "mark without a mark", f"one of {', '.join(MARKS)}"
    says_what = after is not None or mark is not None or decision.kind in DELETED_ON_ACCEPT
    if action == "accept" and not says_what:
        yield f"accept of a {decision.kind} issue that says not what", "after, or a mark"
    if after is not None and after.box is not None and not _is_box(after.box):
        yield f"box {after.box}", "finite corners with x1 < x2 and y1 < y2"
    if mark is not None and mark.kind == "multi_label" and len(set(mark.labels)) < 2:
        yield f"multi_label with {len(set(mark.labels))} labels", "two or more"
    if decision.seconds is not None and not 0 <= decision.seconds < math.inf:
        yield f"{decision.seconds} seconds", "a finite number from 0"


def _is_box(box: Box) -> bool:
    x1, y1, x2, y2 = box
    return all(map(math.isfinite, box)) and x1 < x2 and y1 < y2
