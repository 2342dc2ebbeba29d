"""The state that a log amounts to: who thinks what of which annotation, and what can be undone."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import msgspec

from labelfix.decisions.event import DELETED_ON_ACCEPT, Box, Decision, Mark, State, faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["SAME_BOX", "Conflict", "Outcome", "Replay", "Verdict", "agree", "current", "overlap"]

SAME_BOX = 0.8
"""Two boxes of one object drawn by hand overlap at least so much (IoU), by default."""

Outcome = Literal["kept", "changed", "added", "deleted", "marked", "flagged", "skipped"]

_KEPT = ("kept", "flagged", "skipped")


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What one reviewer says of one subject, after undo and redo.

    Parameters
    ----------
    subject
        Annotation, proposed box or new box: `Decision.subject`.
    outcome
        `flagged` and `skipped` are no verdicts.
    label, box, mark
        What the annotation is to say; None: as given.
    last
        The event that settled it.
    seconds
        Spent on it in all; None if nobody took the time.
    """

    subject: str
    outcome: Outcome
    label: str | None
    box: Box | None
    mark: Mark | None
    last: Decision
    seconds: float | None

    @property
    def decided(self) -> bool:
        """Whether it is a verdict: neither a skip nor a flag alone."""
        return self.outcome not in ("flagged", "skipped")

    @property
    def is_error(self) -> bool:
        """Whether it says that what was given is wrong."""
        return self.outcome not in _KEPT

    @property
    def reviewer(self) -> str:
        """Who says so."""
        return self.last.reviewer

    @property
    def stated(self) -> State:
        """Label and box it stands for, the given ones where it leaves them alone."""
        given = self.last.before or State()
        return State(self.label or given.label, self.box or given.box)


@dataclass(frozen=True, slots=True)
class Conflict:
    """One subject of which reviewers say different things, in the order they said them."""

    subject: str
    verdicts: tuple[Verdict, ...]


def agree(one: Verdict, other: Verdict, same_box: float = SAME_BOX) -> bool:
    """Say whether two verdicts on one subject amount to the same.

    Parameters
    ----------
    one, other
        On the same subject.
    same_box
        Least IoU of two boxes that count as one.
    """
    if "deleted" in (one.outcome, other.outcome):
        return one.outcome == other.outcome
    ours, theirs = one.stated, other.stated
    return (
        _mark_key(one.mark) == _mark_key(other.mark)
        and ours.label == theirs.label
        and _same(ours.box, theirs.box, same_box)
    )


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / (_area(one) + _area(other) - common)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _same(one: Box | None, other: Box | None, same_box: float) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or overlap(one, other) >= same_box


def _mark_key(mark: Mark | None) -> tuple[str, tuple[str, ...]] | None:
    return None if mark is None else (mark.kind, tuple(sorted(mark.labels)))


@dataclass
class Replay:
    """Events in the order of the log, and what they amount to. `extend` adds to it.

    What is undone as one is an act: an event, or a batch of them. It goes by the id of its event,
    or of its first one.

    Parameters
    ----------
    fingerprint
        Of the dataset; events on another are refused. None takes that of the first event.
    """

    fingerprint: str | None = None
    decisions: list[Decision] = field(default_factory=list)
    torn: bytes = b""
    """What a power cut left of a last line, if any."""
    _by_id: dict[str, Decision] = field(default_factory=dict)
    _batches: dict[tuple[str, str], list[Decision]] = field(default_factory=dict)
    _done: dict[str, dict[str, None]] = field(default_factory=dict)
    _undone: dict[str, dict[str, None]] = field(default_factory=dict)
    _dead: set[str] = field(default_factory=set)
    _events: dict[str, list[Decision]] = field(default_factory=dict)
    _verdicts: dict[str, dict[str, list[Verdict]]] = field(default_factory=dict)
    _stale: dict[str, None] = field(default_factory=dict)

    def __contains__(self, id: str) -> bool:  # noqa: A002 # the field's name
        """Whether there is an event with this id."""
        return id in self._by_id

    def __getitem__(self, id: str) -> Decision:  # noqa: A002 # the field's name
        """Get the event with this id."""
        return self._by_id[id]

    def extend(self, decisions: Iterable[Decision]) -> list[str]:
        """Take events in, in order, and say what is wrong with those that were not taken.

        Returns
        -------
        list of str
            One for each event, empty where it was taken.
        """
        return [self.fault(one) or self._take(one) for one in decisions]

    def fault(self, decision: Decision) -> str:
        """Say why the log as it stands cannot take an event; empty if it can."""
        for found, expected in faults(decision):
            return f"{found}; expected {expected}"
        if self.fingerprint not in (None, decision.fingerprint):
            return f"an event on other data ({decision.fingerprint}; here {self.fingerprint})"
        if decision.id in self._by_id:
            return f"a second event {decision.id}"
        if decision.is_step:
            return self._step_fault(decision)
        if decision.target is not None and decision.target not in self._by_id:
            return f"a change to the new box {decision.target}, which is not there"
        if decision.batch is not None and self.act(decision)[0].id in self._dead:
            return f"an event of batch {decision.batch}, which was undone"
        return ""

    def _step_fault(self, decision: Decision) -> str:
        target = self._by_id.get(decision.target or "")
        if target is None or target.is_step:
            return f"{decision.action} of {decision.target}, which is no decision before it"
        if decision.action == "undo" and target.id in self._dead:
            return f"undo of {decision.target}, which is undone already"
        if decision.action == "redo" and self.act(target)[0].id not in self._undone.get(
            target.reviewer, {}
        ):
            return f"redo of {decision.target}, which cannot be redone"
        return ""

    def act(self, decision: Decision) -> Sequence[Decision]:
        """List the events that are undone with a decision: its batch, or itself."""
        if decision.batch is None:
            return (decision,)
        return self._batches.get((decision.reviewer, decision.batch), (decision,))

    def _take(self, decision: Decision) -> str:
        self.fingerprint = decision.fingerprint
        self.decisions.append(decision)
        self._by_id[decision.id] = decision
        if decision.is_step:
            act = self.act(self._by_id[decision.target or ""])
            self._step(act, undo=decision.action == "undo")
        else:
            self._add(decision)
        return ""

    def _add(self, decision: Decision) -> None:
        reviewer, subject = decision.reviewer, decision.subject
        act = decision.id
        if decision.batch is not None:
            batch = self._batches.setdefault((reviewer, decision.batch), [])
            batch.append(decision)
            act = batch[0].id
        self._done.setdefault(reviewer, {})[act] = None
        self._undone.pop(reviewer, None)
        self._events.setdefault(subject, []).append(decision)
        self._stale[subject] = None

    def _step(self, act: Sequence[Decision], *, undo: bool) -> None:
        before, after = (self._done, self._undone) if undo else (self._undone, self._done)
        reviewer, name = act[0].reviewer, act[0].id
        del before[reviewer][name]
        after.setdefault(reviewer, {})[name] = None
        change = self._dead.update if undo else self._dead.difference_update
        change(one.id for one in act)
        self._stale.update((one.subject, None) for one in act)

    def is_live(self, decision: Decision) -> bool:
        """Whether an event counts: neither undone nor itself an undo or redo."""
        return not decision.is_step and decision.id not in self._dead

    def undoable(self, reviewer: str) -> Iterator[tuple[Decision, ...]]:
        """Yield what a reviewer can undo, the latest act first."""
        return self._acts(self._done.get(reviewer, {}))

    def redoable(self, reviewer: str) -> Iterator[tuple[Decision, ...]]:
        """Yield what a reviewer can redo, the latest undone first. A new decision empties it."""
        return self._acts(self._undone.get(reviewer, {}))

    def _acts(self, names: dict[str, None]) -> Iterator[tuple[Decision, ...]]:
        return (tuple(self.act(self._by_id[name])) for name in reversed(names))

    def history(self, item_id: str) -> list[Decision]:
        """List every event that speaks of an item, in order, and every undo and redo of those."""
        found: list[Decision] = []
        acts: set[str] = set()
        for one in self.decisions:
            if one.item_id == item_id:
                acts.add(self.act(one)[0].id)
                found.append(one)
            elif one.is_step and self.act(self._by_id[one.target or ""])[0].id in acts:
                found.append(one)
        return found

    def touched(self, since: int) -> dict[str, None]:
        """Name the subjects that events from number `since` on speak of, undo and redo included."""
        found: dict[str, None] = {}
        for one in self.decisions[since:]:
            act = self.act(self._by_id[one.target or ""]) if one.is_step else (one,)
            found.update((event.subject, None) for event in act)
        return found

    @property
    def reviewers(self) -> tuple[str, ...]:
        """Who decided anything, in the order of their first decision."""
        return tuple(self._done)

    @property
    def sessions(self) -> dict[str, dict[str, list[Verdict]]]:
        """By subject and reviewer: the verdict, and a second one if it was shown again blindly.

        Subjects are in the order in which they first came up; one of which all was undone has none.
        """
        for subject in self._stale:
            self._verdicts[subject] = self._fold(self._events[subject])
        self._stale.clear()
        return self._verdicts

    def verdicts(self, subject: str) -> tuple[Verdict, ...]:
        """List what each reviewer says of a subject now, first come first."""
        found = [current(sessions) for sessions in self.sessions.get(subject, {}).values()]
        return tuple(found)

    def conflicts(self, same_box: float = SAME_BOX) -> list[Conflict]:
        """List subjects, and new boxes at one place, of which reviewers say different things."""
        found = []
        for subject, by_reviewer in self.sessions.items():
            if len(by_reviewer) > 1:
                verdicts = tuple(v for v in self.verdicts(subject) if v.decided)
                if any(not agree(verdicts[0], other, same_box) for other in verdicts[1:]):
                    found.append(Conflict(subject, verdicts))
        for one, other in self.twins(same_box):
            if not agree(one, other, same_box):
                found.append(Conflict(one.subject, (one, other)))
        return found

    def twins(self, same_box: float = SAME_BOX) -> Iterator[tuple[Verdict, Verdict]]:
        """Yield new boxes that two reviewers put at one place, each for itself."""
        added: dict[str | None, list[Verdict]] = {}
        for subject in self.sessions:
            for one in self.verdicts(subject):
                if one.outcome == "added" and one.box is not None:
                    added.setdefault(one.last.item_id, []).append(one)
        for of_item in added.values():
            for one, other in combinations(of_item, 2):
                elsewhere = one.subject == other.subject or one.reviewer == other.reviewer
                if not elsewhere and _same(one.box, other.box, same_box):
                    yield one, other

    def _fold(self, events: Sequence[Decision]) -> dict[str, list[Verdict]]:
        """Fold what was said of one subject, by reviewer; a blind repeat begins a new verdict."""
        if len(events) == 1 and self.is_live(events[0]):  # most often so, and quicker
            return {events[0].reviewer: [_fold(events)]}
        parts: dict[str, list[list[Decision]]] = {}
        for one in events:
            if one.id not in self._dead and one.target not in self._dead:
                mine = parts.setdefault(one.reviewer, [])
                if not mine or (one.source == "repeat" and mine[-1][-1].source != "repeat"):
                    mine.append([])
                mine[-1].append(one)
        return {name: [_fold(part) for part in mine] for name, mine in parts.items()}


def current(sessions: Sequence[Verdict]) -> Verdict:
    """Take the latest that is a verdict, or else the latest."""
    if len(sessions) == 1:
        return sessions[0]
    return next((one for one in reversed(sessions) if one.decided), sessions[-1])


def _fold(events: Sequence[Decision]) -> Verdict:
    """Lay events over each other: later labels, boxes and marks take the place of earlier ones."""
    label: str | None = None
    box: Box | None = None
    mark: Mark | None = None
    outcome: Outcome = "skipped"
    last = events[-1]
    for one in events:
        action = one.action
        if action in ("skip", "flag"):
            if outcome in ("skipped", "flagged"):
                outcome = "flagged" if action == "flag" else "skipped"
            continue
        last = one
        if action in ("keep", "delete") or _is_deletion(one):
            label = box = mark = None
            is_there = one.annotation_id is not None
            outcome = "deleted" if action != "keep" and is_there else "kept"
            continue
        if action == "accept":
            mark = None
        if one.after is not None:
            label, box = one.after.label or label, one.after.box or box
            if one.after.label is not None and _is_of_class(mark):
                mark = None
        if one.mark is not None:
            mark = one.mark
            label = None if _is_of_class(mark) else label
        if mark is not None:
            outcome = "marked"
        else:
            outcome = "added" if one.annotation_id is None else "changed"
    seconds = [one.seconds for one in events if one.seconds is not None]
    return Verdict(last.subject, outcome, label, box, mark, last, sum(seconds) if seconds else None)


def _is_of_class(mark: Mark | None) -> bool:
    """Whether a mark says what no single class can, and so takes the place of one."""
    return mark is not None and mark.kind in ("multi_label", "none_of_the_classes")


def _is_deletion(decision: Decision) -> bool:
    return (
        decision.action == "accept"
        and decision.after is None
        and decision.mark is None
        and decision.kind in DELETED_ON_ACCEPT
    )
