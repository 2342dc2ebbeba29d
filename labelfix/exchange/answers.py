"""What came back from a tool, as decisions: what differs from the dataset, and what was left."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.boxes import iou
from labelfix.decisions import Decision, Mark, State, new_decision
from labelfix.errors import InputError, Problem
from labelfix.exchange.tasks import PROPOSED
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from labelfix.decisions import Action, Replay, Verdict
    from labelfix.exchange.tasks import Answer, Box, Region

__all__ = ["decisions_from"]

PERSON = "person "
"""Before what the tool calls who answered, in the note of a decision."""

SHOWN = 20
"""Classes that a refusal names at most."""


def decisions_from(
    answers: Sequence[Answer],
    *,
    items: pl.DataFrame,
    annotations: pl.DataFrame,
    issues: pl.DataFrame,
    class_names: Sequence[str],
    shown: Collection[str],
    replay: Replay,
    reviewer: str,
    fingerprint: str,
    same_box: float,
    tolerance: float,
) -> list[Decision]:
    """Turn answers into decisions; none that the log holds already, so that twice is once.

    A given box that is gone is deleted, one that moved or has another class is set, a new one is
    added. What was shown for an issue and came back as it was given is kept; so is what an earlier
    answer changed and this one does not. Of class labels, two or more are a `multi_label` mark, and
    none is `none_of_the_classes`.

    Where answers are by several people, in this file or earlier ones, each decides in a name of
    their own: who came alone first as `reviewer`, all others as `reviewer/PERSON`.

    Parameters
    ----------
    answers
        From `read_answers`.
    items, annotations, issues, class_names
        Of the run; issues with their ids in the column `issue`.
    shown
        Ids of the issues that were exported.
    replay
        Of the log so far.
    reviewer
        In whose name.
    fingerprint
        Of the dataset.
    same_box
        IoU from which a box without an id is the given or proposed one that it overlaps most.
    tolerance
        Pixels that an edge may be off and still be where it was.

    Raises
    ------
    InputError
        Naming every image and class that the dataset does not have, and every image that had
        another size there.
    """
    named = _named(answers, items["item_id"].to_list())
    has_boxes = "x1" in annotations.columns
    _refuse_what_does_not_fit(named, set(class_names), has_boxes=has_boxes)
    wanted = pl.col("item_id").is_in(list({item for item, _ in named}))
    if has_boxes:
        _refuse_other_sizes(named, items.filter(wanted))
    given, asked = (_by_item(table.filter(wanted)) for table in (annotations, issues))
    clerks = {
        who: _Clerk(replay, name, fingerprint, f"{PERSON}{who}" if who else "")
        for who, name in _reviewers({answer.by for answer in answers}, reviewer, replay).items()
    }
    for item, answer in named:
        of_item = [one for one in asked.get(item, []) if one["issue"] in shown]
        desk = _Desk(clerks[answer.by], item, of_item, same_box, tolerance)
        if has_boxes:
            shapes = [region for region in answer.regions if region.box is not None]
            desk.boxes(given.get(item, []), shapes)
        else:
            desk.labels(given.get(item, []), answer.regions)
    return [one for clerk in clerks.values() for one in clerk.decisions]


def _named(answers: Sequence[Answer], items: Sequence[str]) -> list[tuple[str, Answer]]:
    """Find the item of each answer: by its id, or by an end that only one has.

    Raises
    ------
    InputError
        Naming every image that is no item, or could be several.
    """
    known = set(items)
    by_name: dict[str, list[str]] = defaultdict(list)
    for item in items:
        by_name[item.rpartition("/")[2]].append(item)
    found: dict[tuple[str, str], Answer] = {}
    problems = []
    for answer in answers:
        name = answer.name.replace("\\", "/")
        alike = (
            [name]
            if name in known
            else [
                item
                for item in by_name[name.rpartition("/")[2]]
                if item.endswith("/" + name) or name.endswith("/" + item)
            ]
        )
        if len(alike) != 1:
            what = f"several items ({', '.join(alike[:3])})" if alike else "no item"
            problems.append(Problem(answer.name, f"an image that is {what}", "one of the dataset"))
        elif (alike[0], answer.by) in found:
            problems.append(Problem(answer.name, "an image that comes twice", "once"))
        else:
            found[alike[0], answer.by] = answer
    if problems:
        raise InputError(problems)
    return [(item, answer) for (item, _), answer in found.items()]


def _refuse_what_does_not_fit(
    named: Sequence[tuple[str, Answer]], known: set[str], *, has_boxes: bool
) -> None:
    """Name boxes where the dataset has none, and classes that it does not have.

    Labels of whole images are passed over where the dataset has boxes.
    """
    names = sorted(known)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    expected = f"a class of the run: {', '.join(names[:SHOWN])}{more}"
    fix = "rename it in the file, or add it to the dataset's own files, find again and export anew"
    problems = []
    for item, answer in named:
        for region in answer.regions:
            if region.box is not None and not has_boxes:
                problems.append(Problem(item, "a box", "class labels, as the dataset has"))
            elif region.label not in known and (region.box is not None) == has_boxes:
                problems.append(Problem(item, f"class {region.label!r}", expected, fix))
    if problems:
        raise InputError(problems)


def _refuse_other_sizes(named: Sequence[tuple[str, Answer]], items: pl.DataFrame) -> None:
    """Name images that had another size in the tool: their boxes would be at other places."""
    if "width" not in items.columns:
        return
    sizes = {item: size for item, *size in items.select("item_id", "width", "height").iter_rows()}
    problems = []
    for item, answer in named:
        width, height = sizes[item]
        if answer.size and width and height and answer.size != (width, height):
            found = f"an image of {answer.size[0]} x {answer.size[1]} pixels"
            fix = "give the tool the images of the dataset as they are"
            problems.append(Problem(item, found, f"{width} x {height}, as in the dataset", fix))
    if problems:
        raise InputError(problems)


def _reviewers(people: Collection[str], reviewer: str, replay: Replay) -> dict[str, str]:
    """Name the reviewer that each person of the tool is: the same in every file.

    Who came alone first is `reviewer`; all others, and who came with others, are `reviewer/PERSON`.
    """
    imported = (one for one in replay.decisions if one.source == "import")
    first = {one.note for one in imported if one.reviewer == reviewer and one.note}
    several = len(people) > 1 or any(one.startswith(f"{reviewer}/") for one in replay.reviewers)
    names = {}
    for who in sorted(people):
        apart = several if not first else f"{PERSON}{who}" not in first
        names[who] = f"{reviewer}/{who}" if who and apart else reviewer
    return names


def _by_item(table: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.iter_rows(named=True):
        found[row["item_id"]].append(row)
    return found


@dataclass
class _Clerk:
    """Makes events, unless the reviewer says the same already."""

    replay: Replay
    reviewer: str
    fingerprint: str
    note: str
    decisions: list[Decision] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    @cached_property
    def events(self) -> Counter[str]:
        """How many events the log has on each subject."""
        return Counter(one.subject for one in self.replay.decisions)

    @cached_property
    def additions(self) -> dict[str | None, list[Verdict]]:
        """By item: the new boxes that this reviewer imported before."""
        found: dict[str | None, list[Verdict]] = defaultdict(list)
        for one in self.replay.decisions:
            is_new = one.action == "add_box" and one.subject == one.id and one.source == "import"
            verdict = self.verdict(one.id) if is_new and one.reviewer == self.reviewer else None
            # a box that was deleted elsewhere stays so; one that the tool left out may come back
            if verdict and (verdict.is_error or verdict.last.source != "import"):
                found[one.item_id].append(verdict)
        return found

    def say(
        self,
        action: Action,
        item: str,
        *,
        key: str | None = None,
        target: str | None = None,
        **fields: Any,
    ) -> None:
        """Make an event on an annotation, a new box, or an issue without one."""
        issue: Mapping[str, Any] = fields.pop("about", None) or {}
        subject = key or target or issue.get("issue")
        after: State | None = fields.get("after")
        verdict = self.verdict(subject)
        if verdict is not None and _says(verdict, action, after, fields.get("mark")):
            return
        # the same can be said again after an undo: what was said of it before is in the name
        before = self.events[subject or ""]
        said = [self.fingerprint, self.reviewer, item, subject, action, before, *_plain(after)]
        name = hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()
        while name in self.replay or name in self.names:
            name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        self.names.add(name)
        self.decisions.append(
            new_decision(
                action,
                reviewer=self.reviewer,
                fingerprint=self.fingerprint,
                id=name,
                item_id=item,
                annotation_id=key,
                target=target,
                kind=issue.get("kind"),
                issue=issue.get("issue"),
                source="import",
                note=self.note,
                **fields,
            )
        )

    def verdict(self, subject: str | None) -> Verdict | None:
        """Find what this reviewer says of a subject so far."""
        found = self.replay.verdicts(subject) if subject else ()
        return next((one for one in found if one.reviewer == self.reviewer), None)

    def has_imported(self, subject: str) -> bool:
        """Whether this reviewer's last word on a subject is an error that was imported."""
        verdict = self.verdict(subject)
        return verdict is not None and verdict.is_error and verdict.last.source == "import"


def _plain(state: State | None) -> list[Any]:
    return [] if state is None else [state.label, state.box]


def _says(verdict: Verdict, action: Action, after: State | None, mark: Mark | None) -> bool:
    """Whether a verdict is what an event would make it."""
    if action in ("keep", "delete"):
        return verdict.outcome == {"keep": "kept", "delete": "deleted"}[action]
    if action == "mark":
        return verdict.mark == mark
    if after is None or verdict.outcome not in ("changed", "added"):
        return False
    same_label = after.label is None or verdict.label == after.label
    return same_label and (after.box is None or verdict.box == after.box)


@dataclass(frozen=True)
class _Desk:
    """Looks through one image."""

    clerk: _Clerk
    item: str
    issues: Sequence[Mapping[str, Any]]
    same_box: float
    tolerance: float

    def labels(self, given: Sequence[Mapping[str, Any]], regions: Sequence[Region]) -> None:
        """Compare class labels."""
        for row in given:
            key, labels = row["annotation_id"], list(dict.fromkeys(one.label for one in regions))
            known = {"key": key, "about": self._about(key), "before": State(row["label"])}
            if len(labels) > 1:
                mark = Mark("multi_label", tuple(labels))
                self.clerk.say("mark", self.item, mark=mark, **known)
            elif not labels:
                self.clerk.say("mark", self.item, mark=Mark("none_of_the_classes"), **known)
            elif labels[0] != row["label"]:
                self.clerk.say("set_label", self.item, after=State(labels[0]), **known)
            elif known["about"] or self.clerk.has_imported(key):
                self.clerk.say("keep", self.item, **known)

    def boxes(self, given: Sequence[Mapping[str, Any]], regions: Sequence[Region]) -> None:
        """Compare boxes."""
        matched, rest = self._match(given, regions)
        for row in given:
            self._given(row, matched.get(row["annotation_id"]))
        proposed = {
            PROPOSED + one["issue"]: one for one in self.issues if one["annotation_id"] is None
        }
        matched, new = self._match([_row(*one) for one in proposed.items()], rest)
        for key, issue in proposed.items():
            region = matched.get(key)
            if region is None:
                # one that is not flagged was not drawn, so that nobody could leave it out
                if issue.get("flagged", True) or self.clerk.has_imported(issue["issue"]):
                    self.clerk.say("keep", self.item, about=issue)
                continue
            action: Action = "accept" if self._as_suggested(issue, region) else "add_box"
            state = State(region.label, region.box)
            self.clerk.say(action, self.item, after=state, about=issue)
        self._new([replace(region, key=None) for region in new])  # a copy of a proposal is none

    def _new(self, regions: Sequence[Region]) -> None:
        """Compare new boxes with those that were imported before."""
        before = {one.subject: one for one in self.clerk.additions[self.item]}
        rows = []
        for name, verdict in before.items():
            first = self.clerk.replay[name].after or State()
            corners = dict(zip(BOX, verdict.box or first.box or (0.0,) * 4, strict=True))
            rows.append({"annotation_id": name, "label": verdict.label or first.label, **corners})
        matched, rest = self._match(rows, regions)
        for name, verdict in before.items():
            region = matched.get(name)
            if not verdict.is_error:
                continue
            if region is None:
                self.clerk.say("delete", self.item, target=name, before=verdict.stated)
                continue
            self._change(region, verdict.stated, target=name)
        for region in rest:
            self.clerk.say("add_box", self.item, after=State(region.label, region.box))

    def _given(self, row: Mapping[str, Any], region: Region | None) -> None:
        """Say what became of a given box."""
        key = row["annotation_id"]
        given = State(row["label"], tuple(row[edge] for edge in BOX))
        known = {"key": key, "about": self._about(key), "before": given}
        verdict = self.clerk.verdict(key)
        if region is None or region.box is None:
            self.clerk.say("delete", self.item, **known)
        elif self._is(region, given):
            if known["about"] or self.clerk.has_imported(key):
                self.clerk.say("keep", self.item, **known)
        else:
            changed = verdict is not None and verdict.outcome in ("changed", "marked")
            self._change(region, verdict.stated if verdict and changed else given, **known)

    def _change(self, region: Region, now: State, **known: Any) -> None:
        """Say what differs from what a box is now."""
        if region.label != now.label:
            self.clerk.say("set_label", self.item, after=State(region.label), **known)
        if region.box and now.box and not self._same(region.box, now.box):
            self.clerk.say("set_box", self.item, after=State(box=region.box), **known)

    def _is(self, region: Region, state: State) -> bool:
        if region.box is None or state.box is None:
            return False
        return region.label == state.label and self._same(region.box, state.box)

    def _about(self, key: str) -> Mapping[str, Any] | None:
        return next((one for one in self.issues if one["annotation_id"] == key), None)

    def _as_suggested(self, issue: Mapping[str, Any], region: Region) -> bool:
        box: Box = tuple(issue[f"suggested_{edge}"] for edge in BOX)
        return self._is(region, State(issue["suggested_label"], box))

    def _same(self, one: Box, other: Box) -> bool:
        return all(abs(a - b) <= self.tolerance for a, b in zip(one, other, strict=True))

    def _match(
        self, given: Sequence[Mapping[str, Any]], regions: Sequence[Region]
    ) -> tuple[dict[str, Region], list[Region]]:
        """Regions by the given or proposed box that they are; those that are none of them."""
        left = {row["annotation_id"]: row for row in given}
        matched: dict[str, Region] = {}
        rest = []
        for region in regions:
            if region.key in left:
                matched[str(region.key)] = region
                del left[str(region.key)]
            else:
                rest.append(region)
        free = [region for region in rest if not (region.key or "").startswith(PROPOSED)]
        for row, region in _best_pairs(list(left.values()), free, self.same_box):
            matched[row["annotation_id"]] = region
            rest.remove(region)
        return matched, rest


def _row(key: str, issue: Mapping[str, Any]) -> dict[str, Any]:
    """Write a proposed box as given ones are."""
    corners = {edge: issue[f"suggested_{edge}"] for edge in BOX}
    return {"annotation_id": key, "label": issue["suggested_label"], **corners}


def _best_pairs(
    rows: Sequence[Mapping[str, Any]], regions: Sequence[Region], same_box: float
) -> Iterator[tuple[Mapping[str, Any], Region]]:
    """Pair boxes, those that overlap most first; of equals those of one class."""
    if not rows or not regions:
        return
    ours = np.array([[row[edge] for edge in BOX] for row in rows])
    theirs = np.array([region.box for region in regions], dtype=float)
    overlap = iou(ours[:, None], theirs)
    alike = np.array([[row["label"] == region.label for region in regions] for row in rows])
    order = np.lexsort((~alike.ravel(), -overlap.ravel()))
    taken: tuple[set[int], set[int]] = (set(), set())
    for place in order:
        i, j = divmod(int(place), len(regions))
        if overlap[i, j] < same_box:
            return
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            yield rows[i], regions[j]
