"""Sections of a report on what was found, decided and corrected, with pictures."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.errors import InputError
from labelfix.report.beforeafter import Side, before_and_after, window
from labelfix.report.document import Card, Cards, Image, Points, Section, Table, Text, Undone
from labelfix.schema import BOX
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelfix.decisions import Corrections
    from labelfix.report.beforeafter import Corners
    from labelfix.report.document import Block
    from labelfix.review.pictures import Pictures
    from labelfix.review.queue import Queue
    from labelfix.review.status import Agreement, Status
    from labelfix.run import Run

__all__ = [
    "Shown",
    "corrections_section",
    "differing_section",
    "in_short",
    "numbers",
    "review_section",
]

_ACTIONS = {
    "set_label": "class changed",
    "set_box": "box moved",
    "add_box": "box added",
    "delete": "deleted",
    "ignore": "marked: to be ignored",
    "multi_label": "marked: several classes are right",
    "none_of_the_classes": "marked: none of the classes",
    "group": "marked: one box of several objects",
}

_PAIRS = 15
"""Pairs of classes listed; `labelfix log RUN --format csv` lists every decision."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A run, its review, and how much of it to show; see `labelfix.review.reporting`."""

    run: Run
    queue: Queue
    status: Status
    made: Corrections
    prefer: Sequence[str]
    pictures: Pictures | None
    cards: int
    picture_px: int
    context: float
    least_context_px: int

    @property
    def boxes(self) -> bool:
        """Whether the run is on boxes."""
        return self.run.info.dataset.boxes

    @property
    def changes(self) -> int:
        """How many corrections and marks there are."""
        return self.made.table.height + self.made.marks.height

    @property
    def changed_items(self) -> int:
        """How many items any of them is about."""
        return pl.concat([self.made.table["item_id"], self.made.marks["item_id"]]).n_unique()

    @property
    def contested(self) -> int:
        """How many things reviewers disagree on, and nobody settled."""
        names = self.made.conflicts["reviewers"].to_list()
        return sum(not {*self.prefer} & {*one} for one in names)

    @property
    def seconds(self) -> list[float]:
        """Time of each decision that was timed."""
        return [
            verdict.seconds
            for by_reviewer in self.queue.replay.sessions.values()
            for sessions in by_reviewer.values()
            for verdict in sessions
            if verdict.decided and verdict.seconds is not None
        ]

    def row(self, item: str) -> int | None:
        """Row of an item that has an image."""
        row = self.run.items["item_id"].index_of(item)
        return row if row is not None and self.pictures and self.pictures.has(row) else None

    @property
    def command(self) -> str:
        """The run as the commands name it."""
        return shlex.quote(str(self.run.path))


def numbers(shown: Shown) -> list[tuple[str, str, str]]:
    """Give what is said first: name, value, remark."""
    data, found, told = shown.run.info.dataset, shown.run.info.findings, shown.status
    what = "Boxes" if shown.boxes else "Images" if data.images else "Items"
    seconds = shown.seconds
    listed = [
        (what, f"{data.annotations:,}", count(len(data.class_names), "class", "classes")),
        ("Flagged", f"{found.flagged:,}", f"of {told.issues:,} in the queue"),
        ("Reviewed", f"{told.done:,}", f"by {_people(told.reviewers)}"),
        ("Wrong", f"{told.errors + told.new_boxes:,}", _share(told.errors, told.done)),
    ]
    if seconds:
        each = f"{sum(seconds) / len(seconds):.1f} s a decision"
        listed.append(("Time spent", _duration(sum(seconds)), each))
    return listed


def _people(reviewers: dict[str, int]) -> str:
    names = list(reviewers)
    return " and ".join(names) if 0 < len(names) < 3 else count(len(names), "person", "people")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} of those reviewed" if whole else ""


def _duration(seconds: float) -> str:
    """Write a time.

    Examples
    --------
    >>> _duration(42.4), _duration(754), _duration(3900)
    ('42 s', '13 min', '1 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def in_short(shown: Shown, gained: Sequence[str]) -> Points:
    """Say all of it in a few sentences."""
    info, told = shown.run.info, shown.status
    judges = ", ".join(model.name for model in info.models)
    noun = ("box", "boxes") if shown.boxes else ("label",)
    lines = [
        f"{judges} judged {count(info.dataset.annotations, *noun)} and flagged "
        f"{info.findings.flagged:,}."
    ]
    if told.done:
        lines += [_decided(shown), _corrected(shown), _left(shown)]
    return Points([*lines, *gained])


def _decided(shown: Shown) -> str:
    told, seconds = shown.status, shown.seconds
    time = f" in {_duration(sum(seconds))}" if seconds else ""
    drawn = f", and {count(told.new_boxes, 'missing box', 'missing boxes')} drawn"
    return (
        f"{_people(told.reviewers)} looked at {told.done:,} of the {told.issues:,} in the queue"
        f"{time}: {told.errors:,} are wrong, {told.done - told.errors:,} right"
        + (f"{drawn}." if told.new_boxes else ".")
    )


def _corrected(shown: Shown) -> str:
    text = f"{count(shown.changes, 'correction follows', 'corrections follow')} from that"
    if shown.contested:
        text += f"; on {shown.contested:,} more the reviewers disagree, and they stay as they are"
    return f"{text}."


def _left(shown: Shown) -> str:
    estimate = shown.status.estimate
    if not shown.status.left:
        return "Everything in the queue is decided."
    if not estimate.audited_beyond:
        return "How many errors are left is not known yet: too little of the audit slice is seen."
    return (
        f"{_range(estimate.left)} errors are still left, by an audit of {estimate.audited:,} "
        f"random ones ({estimate.confidence:.0%} confidence)."
    )


def _range(ends: tuple[int, int]) -> str:
    """Write an interval of counts.

    Examples
    --------
    >>> _range((3, 3)), _range((3, 1200))
    ('3', '3 to 1,200')
    """
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def review_section(shown: Shown) -> Section:
    """Say what was found and reviewed: by kind, by reviewer, how consistently, what is left."""
    title, told = "What was found and reviewed", shown.status
    blocks: list[Block] = [_kinds(shown)]
    if not told.reviewers:
        command = f"labelfix review {shown.command}"
        return Section(title, [*blocks, Undone("Nobody reviewed anything yet:", command)])
    rows = [[name, f"{many:,}"] for name, many in told.reviewers.items()]
    blocks.append(Table(["reviewer", "decided"], rows, (1,), "Who"))
    looks = [*told.between, *told.within]
    if looks:
        head = ["who", "looked at by both, or twice", "agree", "share", "boxes overlap, IoU"]
        known = any(one.iou is not None for one in looks)
        cells = [_agreement(one) for one in looks]
        width = 5 if known else 4
        agreed = Table(head[:width], [row[:width] for row in cells], range(1, width), "Agreement")
        blocks.append(agreed)
    blocks.append(Points(_audit(shown)))
    return Section(title, blocks)


def _kinds(shown: Shown) -> Table:
    told = {one.kind: one for one in shown.status.kinds}
    found = (
        shown.queue.table.group_by("kind")
        .agg(pl.len(), pl.col("flagged").sum())
        .sort(["flagged", "len", "kind"], descending=[True, True, False])
    )
    rows = []
    for kind, listed, flagged in found.iter_rows():
        one = told.get(kind)
        decided = ["0", "0", ""] if one is None else [f"{one.decided:,}", f"{one.errors:,}"]
        if one is not None:
            decided.append("" if one.seconds is None else f"{one.seconds:.1f}")
        rows.append([(kind or "").replace("_", " "), f"{listed:,}", f"{flagged:,}", *decided])
    head = ["likeliest error", "in the queue", "flagged", "reviewed", "wrong", "median seconds"]
    return Table(head, rows, range(1, 6))


def _agreement(one: Agreement) -> list[str]:
    who = " and ".join(one.who) if len(one.who) > 1 else f"{one.who[0]}, shown the same twice"
    overlap = "" if one.iou is None else f"{one.iou:.2f}"
    return [who, f"{one.both:,}", f"{one.same:,}", f"{one.same / one.both:.0%}", overlap]


def _audit(shown: Shown) -> list[str]:
    told, estimate = shown.status, shown.status.estimate
    lines = [
        f"{told.left:,} are not decided ({told.skipped:,} skipped, {told.flagged:,} flagged for "
        f"another look); reviewers disagree on {told.conflicts:,}.",
        f"Audit: of a random slice of {estimate.slice:,}, {estimate.audited:,} were looked at, "
        f"{estimate.wrong:,} wrong. In the whole set that makes {_range(estimate.errors)} errors, "
        f"found or not ({estimate.confidence:.0%} confidence, Clopper and Pearson).",
    ]
    return [*lines, f"Stopping is {'' if told.may_stop else 'not '}justified: {told.why}."]


def corrections_section(shown: Shown) -> Section:
    """Show what was corrected: how many of each kind, which classes, and items before and after."""
    title = "What was corrected"
    if not shown.changes:
        text = "No correction yet. Decisions make them:"
        return Section(title, [Undone(text, f"labelfix review {shown.command}")])
    cards = _box_cards(shown) if shown.boxes else _class_cards(shown)
    blocks: list[Block] = [_actions(shown)]
    if not _changed_labels(shown).is_empty():
        blocks.append(_pairs(shown))
    if cards.cards:
        many = count(shown.changes, "correction")
        blocks += [Text(f"{len(cards.cards):,} of {many}, each kind of change in turn."), cards]
    text = "This writes the corrected dataset into a new folder:"
    prefer = "".join(f" --prefer {shlex.quote(name)}" for name in shown.prefer)
    blocks.append(Undone(text, f"labelfix apply {shown.command} --to FOLDER{prefer}"))
    return Section(title, blocks)


def _actions(shown: Shown) -> Table:
    done = pl.concat([shown.made.table["action"], shown.made.marks["mark"].alias("action")])
    many = dict(done.value_counts().iter_rows())
    rows = [[text, f"{many[name]:,}"] for name, text in _ACTIONS.items() if name in many]
    return Table(["correction", "times"], rows, (1,))


def _changed_labels(shown: Shown) -> pl.DataFrame:
    """Corrections of a class with the given one, in the order of the decisions."""
    given = shown.run.annotations.select("annotation_id", given="label")
    changed = shown.made.table.filter(action="set_label")
    return changed.join(given, on="annotation_id", how="left", maintain_order="left")


def _pairs(shown: Shown) -> Table:
    pairs = (
        _changed_labels(shown)
        .group_by("given", "label")
        .len()
        .sort(["len", "given", "label"], descending=[True, False, False])
    )
    rows = [[given, new, f"{many:,}"] for given, new, many in pairs.head(_PAIRS).iter_rows()]
    left = pairs.height - len(rows)
    title = "Which classes" + (f" ({left:,} rarer pairs left out)" if left else "")
    return Table(["given", "corrected", "times"], rows, (2,), title)


def _class_cards(shown: Shown) -> Cards:
    changes = _class_changes(shown)
    return Cards(
        [
            Card(item, given or "", now, _why(shown, item), _whole(shown, item))
            for item, given, now in _in_turn(changes, ["given", "now"], shown.cards).iter_rows()
        ]
    )


def _class_changes(shown: Shown) -> pl.DataFrame:
    """Say of each item what was given, and what it is now: a class, several, or what became of it.

    Columns item_id, given and now, corrections before marks, each in the order of the decisions.
    """
    became = {"delete": "deleted", "ignore": "to be ignored"}
    changed = shown.made.table.select(
        "item_id",
        "annotation_id",
        now=pl.coalesce("label", pl.col("action").replace_strict(became, default=None)),
    )
    marked = shown.made.marks.select(
        "item_id",
        "annotation_id",
        now=pl.when(pl.col("mark") == "multi_label")
        .then(pl.col("labels").list.join(" + "))
        .otherwise(pl.col("mark").str.replace_all("_", " ")),
    )
    given = shown.run.annotations.select("annotation_id", given="label")
    both = pl.concat([changed, marked])
    return both.join(given, on="annotation_id", how="left", maintain_order="left").select(
        "item_id", "given", "now"
    )


def _in_turn(changes: pl.DataFrame, by: list[str], most: int) -> pl.DataFrame:
    """Take one of each group, the largest first, then a second one of each, and so on."""
    turn = changes.with_columns(turn=pl.int_range(pl.len()).over(by), many=pl.len().over(by))
    ordered = turn.sort(["turn", "many"], descending=[False, True], maintain_order=True)
    return ordered.head(most).drop("turn", "many")


def _why(shown: Shown, item: str) -> list[str]:
    """Say where an item was in the queue, and what spoke against its label."""
    row = shown.queue.table.filter(item_id=item).head(1)
    if row.is_empty():
        return []
    evidence = row["evidence"][0] if "evidence" in row.columns else None
    return [f"Place {row['rank'][0]:,} in the queue" + (f": {evidence}" if evidence else "")]


def _whole(shown: Shown, item: str) -> Image | None:
    """Give the picture of an item; None if there is none, or it broke meanwhile."""
    row = shown.row(item)
    if row is None or shown.pictures is None:
        return None
    try:
        picture = shown.pictures.scaled(row, shown.picture_px)
    except InputError:
        return None
    return Image(picture.content, picture.kind, item)


@dataclass(frozen=True, slots=True)
class _Change:
    """What becomes of one box."""

    item: str
    annotation: str | None
    given: str | None
    label: str | None
    before: Corners | None
    after: Corners | None
    action: str


def _box_cards(shown: Shown) -> Cards:
    changes = _box_changes(shown)
    order = _in_turn(
        pl.DataFrame({"row": range(len(changes)), "action": [one.action for one in changes]}),
        ["action"],
        shown.cards,
    )
    return Cards([_box_card(shown, changes, changes[row]) for row in order["row"]], wide=True)


def _box_changes(shown: Shown) -> list[_Change]:
    """Gather what is said of each box: its class and its place are one change."""
    given = {row["annotation_id"]: row for row in _boxes_of(shown, shown.made.table)}
    found: dict[str, _Change] = {}
    for place, row in enumerate(shown.made.table.iter_rows(named=True)):
        key = row["annotation_id"] or f"new {place}"
        old = given.get(row["annotation_id"], {})
        earlier = found.get(key)
        before = _corners(old) if old else None
        after = _corners(row) or (earlier.after if earlier else before)
        found[key] = _Change(
            item=row["item_id"],
            annotation=row["annotation_id"],
            given=old.get("label"),
            label=row["label"] or (earlier.label if earlier else old.get("label")),
            before=before,
            after=None if row["action"] in ("delete", "ignore") else after,
            action=f"{earlier.action} {row['action']}" if earlier else row["action"],
        )
    return list(found.values())


def _boxes_of(shown: Shown, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Given boxes of the items of some rows."""
    items = rows["item_id"].unique()
    return shown.run.annotations.filter(pl.col("item_id").is_in(items.implode())).to_dicts()


def _corners(row: dict[str, Any]) -> Corners | None:
    x1, y1, x2, y2 = (row[edge] for edge in BOX)
    if x1 is None or not (x1 <= x2 and y1 <= y2 and abs(x1 + y1 + x2 + y2) < float("inf")):
        return None
    return (x1, y1, x2, y2)


def _box_card(shown: Shown, changes: list[_Change], one: _Change) -> Card:
    given = one.given or "nothing"
    after = {"delete": "deleted", "ignore": "to be ignored"}.get(one.action, one.label or "")
    words = ", ".join(_ACTIONS[name] for name in one.action.split())
    return Card(one.item, given, after, [words], _sides(shown, changes, one))


def _sides(shown: Shown, changes: list[_Change], one: _Change) -> Image | None:
    """Draw a box and its neighbours before and after; None if there is no image to draw on."""
    row = shown.row(one.item)
    boxes = [box for box in (one.before, one.after) if box is not None]
    if row is None or shown.pictures is None or not boxes:
        return None
    try:
        size = shown.pictures.size(row)
        part = window(boxes, size, shown.context, shown.least_context_px)
        crop = shown.pictures.crop(row, part, shown.picture_px)
    except InputError:
        return None
    here = {change.annotation: change for change in changes if change.item == one.item}
    given = shown.run.annotations.filter(
        pl.col("item_id") == one.item, pl.col("annotation_id") != (one.annotation or "")
    ).to_dicts()
    before = [box for other in given if (box := _corners(other))]
    kept = [other for other in given if other["annotation_id"] not in here]
    after = [box for other in kept if (box := _corners(other))]
    after += [
        change.after
        for change in changes
        if change.item == one.item and change is not one and change.after is not None
    ]
    return before_and_after(
        Image(crop.content, crop.kind, one.item),
        part,
        Side(one.before, before),
        Side(one.after, after),
    )


def differing_section(shown: Shown, answers: pl.DataFrame | None) -> list[Section]:
    """Show the items that the models trained on either version answer most differently.

    Parameters
    ----------
    shown
        The run.
    answers
        Of `labelfix.evaluate.gain.Gain`; None leaves the section out.
    """
    if answers is None:
        return []
    title = "Where the two models differ"
    differ = (
        answers.filter(pl.col("trained_on_original") != pl.col("trained_on_corrected"))
        .with_columns(sure=pl.min_horizontal("share_original", "share_corrected"))
        .sort(["sure", "item_id"], descending=[True, False])
    )
    if differ.is_empty():
        return [Section(title, [Text("They answer every test item alike.")])]
    right = differ.filter(pl.col("trained_on_corrected") == pl.col("corrected_label")).height
    worse = differ.filter(pl.col("trained_on_original") == pl.col("corrected_label")).height
    text = (
        f"The model trained on original labels and the one trained on corrected labels answer "
        f"{differ.height:,} of {answers.height:,} test items differently. By the corrected labels "
        f"the second is right in {right:,} of these, the first in {worse:,}. Those first on which "
        "the seeds are surest:"
    )
    cards = [_answer_card(shown, row) for row in differ.head(shown.cards).iter_rows(named=True)]
    return [Section(title, [Text(text), Cards(cards)])]


def _answer_card(shown: Shown, row: dict[str, Any]) -> Card:
    given, now = row["original_label"], row["corrected_label"]
    lines = [
        f"Trained on {name} labels: {row[f'trained_on_{name}']}"
        f" ({row[f'share_{name}']:.0%} of seeds)"
        for name in ("original", "corrected")
    ]
    changed = "" if now == given else now or "removed"
    return Card(row["item_id"], given, changed, lines, _whole(shown, row["item_id"]))
