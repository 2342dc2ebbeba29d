"""The state that a log amounts to: who thinks what of which annotation, and what can be undone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from labelfix.decisions.event import DELETED_ON_ACCEPT, State, faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from labelfix.decisions.event import Box, Decision, Mark

__all__ = ["SAME_BOX", "Conflict", "Outcome", "Replay", "Verdict", "agree"]

SAME_BOX = 0.8
"""Two boxes of one object drawn by hand overlap at least so much (IoU), by default."""

Outcome = Literal["kept", "changed", "added", "deleted", "marked", "flagged", "skipped"]

_KEPT = ("kept", "flagged", "skipped")


@dataclass(frozen=True, slots=True)
class Verdict:
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


@dataclass(slots=True, eq=False)
class _Act:
    """What is undone as one: an event, or a batch of them."""

    reviewer: str
    events: list[Decision]
    live: bool = True


@dataclass
class Replay:
    """Events in the order of the log, and what they amount to. `extend` adds to it.

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
    _acts: dict[str, _Act] = field(default_factory=dict)
    _batches: dict[tuple[str, str], _Act] = field(default_factory=dict)
    _done: dict[str, dict[_Act, None]] = field(default_factory=dict)
    _undone: dict[str, dict[_Act, None]] = field(default_factory=dict)
    _events: dict[str, dict[str, list[Decision]]] = field(default_factory=dict)
    _items: dict[str, list[Decision]] = field(default_factory=dict)
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
        return [self._take(one) for one in decisions]

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
        act = self._batches.get((decision.reviewer, decision.batch or ""))
        if act is not None and not act.live:
            return f"an event of batch {decision.batch}, which was undone"
        return ""

    def _step_fault(self, decision: Decision) -> str:
        act = self._acts.get(decision.target or "")
        if act is None:
            return f"{decision.action} of {decision.target}, which is no decision before it"
        if decision.action == "undo" and not act.live:
            return f"undo of {decision.target}, which is undone already"
        if decision.action == "redo" and act not in self._undone.get(act.reviewer, {}):
            return f"redo of {decision.target}, which is not the undone one"
        return ""

    def _take(self, decision: Decision) -> str:
        fault = self.fault(decision)
        if fault:
            return fault
        self.fingerprint = decision.fingerprint
        self.decisions.append(decision)
        self._by_id[decision.id] = decision
        if decision.is_step:
            self._step(self._acts[decision.target or ""], undo=decision.action == "undo")
            return ""
        self._add(decision)
        return ""

    def _add(self, decision: Decision) -> None:
        reviewer, key = decision.reviewer, (decision.reviewer, decision.batch or "")
        act = self._batches.get(key)
        if act is None:
            act = _Act(reviewer, [])
            self._done.setdefault(reviewer, {})[act] = None
            if decision.batch is not None:
                self._batches[key] = act
        act.events.append(decision)
        self._acts[decision.id] = act
        self._undone.pop(reviewer, None)
        subject = decision.subject
        self._events.setdefault(subject, {}).setdefault(reviewer, []).append(decision)
        self._items.setdefault(decision.item_id or "", []).append(decision)
        self._stale[subject] = None

    def _step(self, act: _Act, *, undo: bool) -> None:
        before, after = (self._done, self._undone) if undo else (self._undone, self._done)
        del before[act.reviewer][act]
        after.setdefault(act.reviewer, {})[act] = None
        act.live = not undo
        self._stale.update((one.subject, None) for one in act.events)

    def is_live(self, decision: Decision) -> bool:
        """Whether an event counts: neither undone nor itself an undo or redo."""
        act = self._acts.get(decision.id)
        return act is not None and act.live

    def undoable(self, reviewer: str) -> Iterator[tuple[Decision, ...]]:
        """Yield what a reviewer can undo, the latest act first."""
        return (tuple(act.events) for act in reversed(self._done.get(reviewer, {})))

    def redoable(self, reviewer: str) -> Iterator[tuple[Decision, ...]]:
        """Yield what a reviewer can redo, the latest undone first. A new decision empties it."""
        return (tuple(act.events) for act in reversed(self._undone.get(reviewer, {})))

    def history(self, item_id: str) -> list[Decision]:
        """Every event that speaks of an item, in order, with the undoing of them."""
        of_item = self._items.get(item_id, [])
        wanted = {one.id for one in of_item}
        wanted |= {one.id for act in {self._acts[i] for i in wanted} for one in act.events}
        ids = {one.id for one in of_item}
        return [
            one for one in self.decisions if one.id in ids or (one.is_step and one.target in wanted)
        ]

    @property
    def reviewers(self) -> tuple[str, ...]:
        """Who decided anything, in the order of their first decision."""
        return tuple(self._done)

    @property
    def sessions(self) -> dict[str, dict[str, list[Verdict]]]:
        """By subject and reviewer: the verdict, and a second one if it was shown again blindly."""
        for subject in self._stale:
            folded = {
                reviewer: verdicts
                for reviewer, events in self._events[subject].items()
                if (verdicts := self._fold(subject, events))
            }
            if folded:
                self._verdicts[subject] = folded
            else:
                self._verdicts.pop(subject, None)
        self._stale.clear()
        return self._verdicts

    def verdicts(self, subject: str) -> tuple[Verdict, ...]:
        """List what each reviewer says of a subject now, first come first."""
        found = [_current(sessions) for sessions in self.sessions.get(subject, {}).values()]
        return tuple(found)

    def conflicts(self, same_box: float = SAME_BOX) -> list[Conflict]:
        """Subjects of which reviewers say different things."""
        found = []
        for subject, by_reviewer in self.sessions.items():
            if len(by_reviewer) > 1:
                verdicts = tuple(v for v in self.verdicts(subject) if v.decided)
                if any(not agree(verdicts[0], other, same_box) for other in verdicts[1:]):
                    found.append(Conflict(subject, verdicts))
        return found

    def _fold(self, subject: str, events: Sequence[Decision]) -> list[Verdict]:
        """Verdicts of one reviewer on one subject: a blind repeat begins a new one."""
        parts: list[list[Decision]] = []
        repeats = False
        for one in events:
            if self._acts[one.id].live:
                if not parts or (one.source == "repeat" and not repeats):
                    parts.append([])
                repeats = one.source == "repeat"
                parts[-1].append(one)
        return [_fold(subject, part) for part in parts]


def _current(sessions: Sequence[Verdict]) -> Verdict:
    """Take the latest that is a verdict, or else the latest."""
    return next((one for one in reversed(sessions) if one.decided), sessions[-1])


def _fold(subject: str, events: Sequence[Decision]) -> Verdict:
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
        if one.after is not None:
            label, box = one.after.label or label, one.after.box or box
        mark = one.mark or (mark if action != "accept" else None)
        if mark is not None:
            outcome = "marked"
        else:
            outcome = "added" if one.annotation_id is None else "changed"
    seconds = [one.seconds for one in events if one.seconds is not None]
    return Verdict(subject, outcome, label, box, mark, last, sum(seconds) if seconds else None)


def _is_deletion(decision: Decision) -> bool:
    return (
        decision.action == "accept"
        and decision.after is None
        and decision.mark is None
        and decision.kind in DELETED_ON_ACCEPT
    )
