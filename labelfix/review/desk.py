"""The reviewer's desk: what comes next, and what becomes of a decision. Knows nothing of HTTP.

Every call holds one lock, so that threads see the log, the queue and the page's entries in step.
A call that writes returns once the log has it on the disk.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
import polars as pl

from labelfix.decisions import (
    DecisionLog,
    Mark,
    MarkKind,
    State,
    decide,
    new_decision,
)
from labelfix.errors import InputError, Problem, RunError
from labelfix.review.entries import AGAIN, Entries
from labelfix.review.queue import KEPT, SKIPPED, WRONG, Queue, Settings, Shown
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from labelfix.decisions import Decision
    from labelfix.review.pictures import Pictures
    from labelfix.run import Run

__all__ = ["Desk", "Wish"]

Json = dict[str, Any]

AHEAD = 10
"""Entries that the page opens with."""
BEHIND = 20
"""Decided entries before them, to go back to."""
MOST_GROUPS = 200
MOST_ENTRIES = 100


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page asks to have written.

    Parameters
    ----------
    id
        Of the event; made by the page, so that what is sent twice is written once.
    key
        Of the entry on the screen.
    action
        As in the log.
    subject
        Which box; None for what the entry is about.
    label, labels
        Numbers of classes.
    box
        Corners in pixels.
    mark, batch, seconds
        As in the log.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    key: str
    action: Literal[
        "accept", "keep", "set_label", "set_box", "add_box", "delete", "mark", "skip", "flag"
    ]
    subject: str | None = None
    label: int | None = None
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mark: MarkKind | None = None
    batch: str | None = None
    seconds: float | None = None


class Desk:
    """One reviewer at work on a run.

    Parameters
    ----------
    run
        Finished, with its issues.
    reviewer
        Whose decisions they are.
    pictures
        Of the items; None where they are no images.
    settings
        Of the queue.
    """

    def __init__(
        self,
        run: Run,
        reviewer: str,
        pictures: Pictures | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.run = run
        self.reviewer = reviewer
        self.pictures = pictures
        self.entries = Entries(run, reviewer, pictures)
        self._settings = settings
        self._lock = threading.Lock()
        self._log = DecisionLog(run.path / "decisions.jsonl", run.info.dataset.fingerprint)
        self._queue = Queue(run.issues, self._log.replay, settings)
        self._seen = 0
        self._follow()

    @property
    def fingerprint(self) -> str:
        """Of the dataset."""
        return self.run.info.dataset.fingerprint

    # What is shown

    def start(self) -> Json:
        """Give what the page opens with: what was decided last, and what comes next."""
        with self._lock:
            self._refresh()
            behind = [self._entry(key) for key in reversed([*self._last_keys(BEHIND)])]
            return self._page(behind, self._queue.next(self.reviewer, AHEAD))

    def more(self, have: Sequence[str], count: int) -> Json:
        """Give what comes next, apart from what the page has."""
        with self._lock:
            self._refresh()
            without = [key.removesuffix(AGAIN) for key in have]
            return self._page([], self._queue.next(self.reviewer, count, without))

    def some(self, keys: Sequence[str]) -> Json:
        """Give entries by their keys; those that there are not are left out."""
        with self._lock:
            self._refresh()
            known = [key for key in keys[:MOST_ENTRIES] if self._is_key(key)]
            return self._told(known)

    def changes(self, since: int) -> Json:
        """Name what changed since the log had so many events."""
        with self._lock:
            self._refresh()
            replay = self._log.replay
            subjects = replay.touched(min(since, len(replay.decisions)))
            return {
                "version": len(replay.decisions),
                "keys": [*self._keys_about(subjects)],
                "progress": self._progress(),
            }

    def groups(self) -> Json:
        """List the pairs of kind and classes that have open issues, the largest first.

        Only flagged issues count, as long as there are any.
        """
        with self._lock:
            self._refresh()
            table = self._queue.table.filter(self._open())
            table = table.filter("flagged") if table["flagged"].any() else table
            names = ["kind", "given_label", "suggested_label"]
            found = table.group_by(names).agg(pl.len().alias("count"), pl.first("issue"))
            found = found.sort(["count", *names], descending=[True, False, False, False])
            return {"groups": [self._group(one) for one in found.head(MOST_GROUPS).to_dicts()]}

    def group(self, like: str, count: int, without: Collection[str]) -> Json:
        """Give open entries of the same kind and classes as an issue, for a grid."""
        with self._lock:
            self._refresh()
            row = self._queue.row_of.get(like)
            if row is None:
                raise InputError(Problem("group", repr(like), "an issue of this run"))
            found = self._queue.similar(self.reviewer, row, count + len(without))
            flagged = [one for one in found if one.issue["flagged"]]
            left = [one for one in flagged or found if one.issue["issue"] not in without]
            return {"entries": [self._tell(one) for one in left[:count]]}

    # What is decided

    def decide(self, wishes: Sequence[Wish]) -> Json:
        """Write decisions, all or none. They are on the disk when this returns.

        Raises
        ------
        InputError
            If a wish speaks of what there is not, or asks for what cannot be.
        OSError
            If the disk is full or the log cannot be written.
        """
        with self._lock:
            self._refresh()
            new = [wish for wish in wishes if wish.id not in self._log.replay]
            decisions = [*map(self._decision, new)]
            try:
                self._log.append(*decisions)
            except InputError:
                self._refresh()  # if the log broke this moment, it is not the decision's fault
                raise
            self._follow()
            return self._told(list(dict.fromkeys(wish.key for wish in wishes)))

    def step(self, which: Literal["undo", "redo"], event: str) -> Json:
        """Undo or redo the last act, under the id of the event to write.

        Raises
        ------
        OSError
            As `decide`.
        """
        with self._lock:
            self._refresh()
            replay = self._log.replay
            before = len(replay.decisions)
            move = self._log.undo if which == "undo" else self._log.redo
            done = move(self.reviewer, id=event)
            self._follow()
            subjects = [*replay.touched(before)]
            if done and not subjects:  # sent again
                subjects = [replay[one.target].subject for one in done if one.target is not None]
            again = any(replay[one.target or ""].source == "repeat" for one in done)
            keys = [key for key in self._keys_about(subjects) if key.endswith(AGAIN) == again]
            acts = [self._act(one.target) for one in done if one.target is not None]
            told = self._told(keys[:MOST_ENTRIES])
            return told | {"touched": keys, "act": acts[0] if acts else None}

    # Inside

    def _refresh(self) -> None:
        """Take in what others wrote.

        Raises
        ------
        RunError
            If the log was broken meanwhile: no reason to give up what is to be written.
        """
        try:
            replay = self._log.refresh()
        except InputError as error:
            raise RunError(str(error)) from error
        if replay is not self._queue.replay:
            self._queue = Queue(self.run.issues, self._log.replay, self._settings)
            self._seen = 0
        self._follow()

    def _follow(self) -> None:
        decisions = self._log.replay.decisions
        self.entries.follow(decisions[self._seen :])
        self._seen = len(decisions)

    def _page(self, behind: list[Json], ahead: Sequence[Shown]) -> Json:
        return {
            "entries": [*behind, *(self._tell(one) for one in ahead)],
            "progress": self._progress(),
            "version": len(self._log.replay.decisions),
        }

    def _told(self, keys: Sequence[str]) -> Json:
        return {
            "entries": [self._entry(key) for key in keys],
            "progress": self._progress(),
            "version": len(self._log.replay.decisions),
        }

    def _tell(self, shown: Shown) -> Json:
        return self.entries.entry(shown, self._log.replay)

    def _entry(self, key: str) -> Json:
        return self._tell(self._shown(key))

    def _act(self, target: str) -> Json:
        """Tell what an undo or a redo is about: its last event, and how many it has."""
        act = self._log.replay.act(self._log.replay[target])
        code = {name: number for number, name in enumerate(self.entries.class_names)}
        one = act[-1]
        return {
            "action": one.action,
            "label": None if one.after is None else code.get(one.after.label or ""),
            "mark": None if one.mark is None else one.mark.kind,
            "labels": [] if one.mark is None else [code.get(label) for label in one.mark.labels],
            "events": len(act),
        }

    def _is_key(self, key: str) -> bool:
        return key.removesuffix(AGAIN) in self._queue.row_of

    def _shown(self, key: str) -> Shown:
        row = self._queue.row_of.get(key.removesuffix(AGAIN))
        if row is None:
            raise InputError(Problem("entry", repr(key), "an issue of this run"))
        issue = self._queue.table.row(row, named=True)
        return Shown(row, issue, "repeat" if key.endswith(AGAIN) else "review")

    def _last_keys(self, count: int) -> Iterator[str]:
        """Give the keys of what the reviewer decided last, the latest first."""
        found: dict[str, None] = {}
        replay = self._log.replay
        for one in reversed(replay.decisions[-50 * count :]):
            if one.reviewer != self.reviewer or one.issue not in self._queue.row_of:
                continue
            key = one.issue + (AGAIN if one.source == "repeat" else "")
            if replay.is_live(one) and key not in found:
                found[key] = None
                yield key
            if len(found) == count:
                return

    def _keys_about(self, subjects: Collection[str]) -> Iterator[str]:
        """Give the keys of all entries that are about one of the subjects, or about its item."""
        table, replay = self._queue.table, self._log.replay
        items = {replay[one].item_id for one in subjects if one in replay}
        named = pl.col("annotation_id").is_in(list(subjects)) | pl.col("issue").is_in(
            list(subjects)
        )
        about = table.filter(named | pl.col("item_id").is_in(list(items - {None})))
        for issue in about["issue"]:
            yield from (issue, issue + AGAIN)

    def _open(self) -> pl.Series:
        """Mark the issues that this reviewer may still decide."""
        overall = self._queue.state
        mine = self._queue.states().get(self.reviewer, np.zeros_like(overall))
        independent = self._queue.settings.independent
        return pl.Series((mine <= SKIPPED) & (independent | (overall < KEPT)))

    def _progress(self) -> Json:
        overall = self._queue.state
        flagged = self._queue.table["flagged"].to_numpy()
        mine = self._queue.states().get(self.reviewer, np.zeros_like(overall))
        return {
            "decided": int((mine >= KEPT).sum()),
            "skipped": int((mine == SKIPPED).sum()),
            "errors": int((overall == WRONG).sum()),
            "flagged": int(flagged.sum()),
            "flagged_left": int((flagged & (overall < KEPT)).sum()),
            "total": len(self._queue),
        }

    def _group(self, one: Json) -> Json:
        code = {name: number for number, name in enumerate(self.entries.class_names)}
        return {
            "kind": one["kind"],
            "given": code.get(one["given_label"]),
            "suggested": code.get(one["suggested_label"]),
            "count": one["count"],
            "like": one["issue"],
        }

    def _decision(self, wish: Wish) -> Decision:
        """Make the event that a wish asks for."""
        shown = self._shown(wish.key)
        issue = shown.issue
        own = issue["annotation_id"] or issue["issue"]
        about = wish.subject or own
        common: Json = {
            "reviewer": self.reviewer,
            "fingerprint": self.fingerprint,
            "id": wish.id,
            "seconds": None if wish.seconds is None else round(wish.seconds, 2),
            "batch": wish.batch,
            "source": shown.source,
            "mark": None if wish.mark is None else Mark(wish.mark, self._names(wish.labels)),
        }
        after = self._after(wish)
        if about == own:
            return self._on_issue(issue, wish, after, common)
        common |= {"item_id": issue["item_id"], "after": after, "source": "review"}
        if wish.action == "add_box":
            return new_decision("add_box", **common)
        given = self._annotation(issue["item_id"], about)
        if given is not None:
            return new_decision(wish.action, annotation_id=about, before=given, **common)
        replay = self._log.replay
        if about not in replay or replay[about].item_id != issue["item_id"]:
            raise InputError(Problem("box", repr(about), "a box of this image"))
        return new_decision(wish.action, target=about, **common)

    def _on_issue(self, issue: Json, wish: Wish, after: State | None, common: Json) -> Decision:
        """Make the event of a decision on what the entry itself is about."""
        action = wish.action
        if issue["annotation_id"] is None and action in ("set_label", "set_box"):
            now = self._proposal(issue)
            after = State(
                after.label if after and after.label else now.label,
                after.box if after and after.box else now.box,
            )
            action = "add_box"
        elif issue["annotation_id"] is None and action == "delete":
            action = "keep"  # there is nothing: the proposal is turned down
        if not self.entries.has_boxes and action in ("set_box", "add_box", "delete"):
            raise InputError(Problem("action", action, "one for class labels"))
        return decide(issue, action, after=after, **common)

    def _proposal(self, issue: Json) -> State:
        """Say what a proposed box is now: as suggested, or as the reviewer last made it."""
        corners = tuple(issue[f"suggested_{edge}"] for edge in BOX)
        found = self._log.replay.verdicts(issue["issue"])
        mine = next((one for one in found if one.reviewer == self.reviewer), None)
        return State(
            (mine and mine.label) or issue["suggested_label"],
            (mine and mine.box) or corners,
        )

    def _annotation(self, item_id: str, annotation_id: str) -> State | None:
        rows = self.run.annotations.filter(
            (pl.col("annotation_id") == annotation_id) & (pl.col("item_id") == item_id)
        )
        if rows.is_empty():
            return None
        one = rows.row(0, named=True)
        corners = tuple(one[edge] for edge in BOX) if self.entries.has_boxes else None
        return State(one["label"], corners)

    def _after(self, wish: Wish) -> State | None:
        label = None if wish.label is None else self._names((wish.label,))[0]
        return None if label is None and wish.box is None else State(label, wish.box)

    def _names(self, labels: Sequence[int]) -> tuple[str, ...]:
        names = self.entries.class_names
        if any(not 0 <= label < len(names) for label in labels):
            raise InputError(Problem("class", str(labels), f"numbers from 0 to {len(names) - 1}"))
        return tuple(names[label] for label in labels)
