"""What the page is told of an issue: labels, boxes, evidence, what looks alike, what was decided.

Classes go by their number, so that no name has to survive the way there and back, and all text is
made visible first. Nothing tells an audit item or a blind repeat from another: neither rank nor
quality is sent, nor, with a repeat, what was said the first time.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.decisions import decide
from labelfix.errors import InputError
from labelfix.schema import BOX
from labelfix.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import polars as pl
    from numpy.typing import NDArray

    from labelfix.decisions import Decision, Replay, Verdict
    from labelfix.review.pictures import Pictures
    from labelfix.review.queue import Shown
    from labelfix.run import Run

__all__ = ["AGAIN", "Entries", "key_of"]

AGAIN = "-again"
"""Ends the key of an issue that is shown a second time."""

CANDIDATES = 10
ALIKE = 8
MOST_CELLS = 60
MOST_PREDICTIONS = 100
THUMBNAIL = 224

Json = dict[str, Any]


def key_of(shown: Shown) -> str:
    """Name what is shown: an issue, the first or the second time."""
    return f"{shown.issue['issue']}{AGAIN if shown.source == 'repeat' else ''}"


class Entries:
    """Turns issues into what the page needs to show them.

    Parameters
    ----------
    run
        Whose issues they are.
    reviewer
        Whose decisions are shown: those of others are not, so that they do not sway.
    pictures
        Of the items; None where they are no images.
    """

    def __init__(self, run: Run, reviewer: str, pictures: Pictures | None) -> None:
        self._run = run
        self._reviewer = reviewer
        self._pictures = pictures
        self.class_names = run.info.dataset.class_names
        self._code = {name: code for code, name in enumerate(self.class_names)}
        self._examples: dict[str, list[int]] = {}
        self._added: dict[str, dict[str, None]] = defaultdict(dict)

    @property
    def has_boxes(self) -> bool:
        """Whether annotations are boxes."""
        return "x1" in self._run.annotations.columns

    @cached_property
    def common(self) -> list[int]:
        """Numbers of the most frequent classes, the most frequent first."""
        counts = self._run.annotations["label"].value_counts()
        names = counts.sort(["count", "label"], descending=[True, False])["label"]
        known = [self._code[name] for name in names.head(CANDIDATES) if name in self._code]
        rest = [code for code in range(len(self.class_names)) if code not in known]
        return (known + rest)[:CANDIDATES]

    def follow(self, decisions: Iterable[Decision]) -> None:
        """Note which items got new boxes."""
        for one in decisions:
            if one.annotation_id is None and one.item_id is not None and one.after is not None:
                self._added[one.item_id][one.subject] = None

    def entry(self, shown: Shown, replay: Replay) -> Json:
        """Tell everything of an issue.

        Parameters
        ----------
        shown
            From the queue.
        replay
            The decisions so far.
        """
        issue = shown.issue
        row = self._row_of[issue["item_id"]]
        subject = issue["annotation_id"] or issue["issue"]
        again = shown.source == "repeat"
        verdict = self._verdict(subject, replay, again=again)
        told: Json = {
            "key": key_of(shown),
            "of": "boxes" if self.has_boxes else "classes",
            "subject": subject,
            "name": visible(issue["item_id"]),
            "kind": issue["kind"],
            "given": self._code.get(issue["given_label"]),
            "suggested": self._code.get(issue["suggested_label"]),
            "evidence": visible(issue["evidence"]),
            "acceptable": _is_acceptable(issue),
            "picture": self._picture(row),
            "state": None if verdict is None else self._state(verdict),
            **self._thumbnail(row, issue),
        }
        if self.has_boxes:
            return told | {
                "given_box": _corners(issue, "given_"),
                "suggested_box": _corners(issue, "suggested_"),
                "boxes": self._boxes(issue["item_id"], subject, replay, again=again),
                "predictions": self._predictions(issue["item_id"]),
                "candidates": [],
            }
        return told | {
            "cells": self._cells(row) if told["picture"] is None else [],
            "candidates": self._candidates(row),
            "alike": self._alike(row, issue),
        }

    # Decisions

    def _verdict(self, subject: str, replay: Replay, *, again: bool) -> Verdict | None:
        """Find what the reviewer said, the first or the second time that it was shown."""
        sessions = replay.sessions.get(subject, {}).get(self._reviewer, [])
        fitting = [one for one in sessions if (one.last.source == "repeat") == again]
        return fitting[-1] if fitting else None

    def _state(self, verdict: Verdict) -> Json:
        labels = () if verdict.mark is None else verdict.mark.labels
        return {
            "outcome": verdict.outcome,
            "action": verdict.last.action,
            "label": self._code.get(verdict.label or ""),
            "mark": None if verdict.mark is None else verdict.mark.kind,
            "labels": [self._code.get(label) for label in labels],
        }

    # Items

    @cached_property
    def _row_of(self) -> dict[str, int]:
        ids = self._run.items["item_id"]
        return dict(zip(ids, range(len(ids)), strict=True))

    def _picture(self, row: int) -> Json | None:
        if self._pictures is None or not self._pictures.has(row):
            return None
        size: tuple[int | None, int | None] = (None, None)
        if self.has_boxes:
            size = self._size(row)
        return {"row": row, "width": size[0], "height": size[1]}

    def _size(self, row: int) -> tuple[int | None, int | None]:
        """Width and height that boxes refer to."""
        items = self._run.items
        if {"width", "height"} <= set(items.columns):
            width, height = items["width"][row], items["height"][row]
            if width and height:
                return int(width), int(height)
        try:
            return (None, None) if self._pictures is None else self._pictures.size(row)
        except InputError:
            return None, None

    def _thumbnail(self, row: int, issue: Mapping[str, Any]) -> Json:
        """Say where a small picture is: of the image, or of a region of it around the box."""
        if self._pictures is None or not self._pictures.has(row):
            return {"thumbnail": None, "region": None}
        boxes = [box for which in ("given_", "suggested_") if (box := _corners(issue, which))]
        width, height = self._size(row) if boxes else (None, None)
        if not width or not height:
            return {"thumbnail": f"picture/{row}?size={THUMBNAIL}", "region": None}
        low, high = np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]
        room = 0.35 * float((high - low).max()) + 4
        first = np.clip(low - room, 0, [width - 1, height - 1])
        last = np.clip(high + room, first + 1, [width, height])
        region = [int(edge) for edge in np.rint([*first, *last])]
        address = f"crop/{row}?box={','.join(map(str, region))}&size={THUMBNAIL}"
        return {"thumbnail": address, "region": region}

    def _cells(self, row: int) -> list[tuple[str, str]]:
        """Give the cells of an item that is no image, by the names of their columns."""
        names = [name for name in self._run.items.columns if name != "path"][:MOST_CELLS]
        values = self._run.items.select(names).row(row)
        return [
            (visible(name), "" if value is None else visible(str(value))[:200])
            for name, value in zip(names, values, strict=True)
        ]

    # Class labels

    def _candidates(self, row: int) -> list[tuple[int, float]]:
        """Give the likeliest classes, the likeliest first, with their probabilities."""
        shares = np.asarray(self._run.pred_probs[row], np.float64)
        best = np.argsort(-shares, kind="stable")[:CANDIDATES]
        return [(int(code), round(float(shares[code]), 4)) for code in best]

    @cached_property
    def _given(self) -> NDArray[np.int64]:
        """Given class of each item, for class labels."""
        labels = self._run.annotations["label"]
        codes = labels.replace_strict(self._code, default=-1)
        return np.asarray(codes.to_numpy(), np.int64)

    def _alike(self, row: int, issue: Mapping[str, Any]) -> list[Json]:
        """Give the nearest items, or where nobody looked, sure examples of both classes."""
        near = self._run.neighbors
        if near is not None:
            rows = [int(one) for one in near[row][:ALIKE]]
            return [{"title": "Nearest in the dataset", "items": [*map(self._item, rows)]}]
        names = dict.fromkeys([issue["given_label"], issue["suggested_label"]])
        return [
            {
                "title": f"Surely {visible(name)}",
                "items": [self._item(one) for one in self._sure(name) if one != row][: ALIKE // 2],
            }
            for name in names
            if name is not None
        ]

    def _sure(self, name: str) -> list[int]:
        """Rows of the items of a class whose labels look best."""
        if name not in self._examples:
            issues = self._run.issues
            ids = issues.filter(issues["given_label"] == name).tail(ALIKE // 2 + 1)["item_id"]
            self._examples[name] = [self._row_of[one] for one in reversed(ids.to_list())]
        return self._examples[name]

    def _item(self, row: int) -> Json:
        shown = self._pictures is not None and self._pictures.has(row)
        return {
            "row": row if shown else None,
            "label": int(self._given[row]),
            "name": visible(self._run.items["item_id"][row]),
            "cells": [] if shown else self._cells(row),
        }

    # Boxes

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """Where the annotations of each item begin, and how many they are."""
        return _spans(self._run.annotations["item_id"])

    @cached_property
    def _predicted_spans(self) -> dict[str, tuple[int, int]]:
        return _spans(self._run.predictions["item_id"])

    def _boxes(self, item_id: str, subject: str, replay: Replay, *, again: bool) -> list[Json]:
        """All boxes of an image: as they were given, and what they are now."""
        start, length = self._spans.get(item_id, (0, 0))
        boxes = []
        for one in self._run.annotations.slice(start, length).iter_rows(named=True):
            name = one["annotation_id"]
            verdict = self._verdict(name, replay, again=again and name == subject)
            box = [one[edge] for edge in BOX]
            boxes.append(self._box(name, one["label"], box, verdict, crowd=bool(one["crowd"])))
        for name in self._added.get(item_id, {}):
            verdict = self._verdict(name, replay, again=again and name == subject)
            if verdict is not None and verdict.outcome == "added" and verdict.box is not None:
                boxes.append(self._box(name, verdict.label, list(verdict.box), None, added=True))
        return boxes

    def _box(
        self,
        subject: str,
        label: str | None,
        box: list[float],
        verdict: Verdict | None,
        *,
        crowd: bool = False,
        added: bool = False,
    ) -> Json:
        told: Json = {
            "subject": subject,
            "label": self._code.get(label or ""),
            "box": box,
            "crowd": crowd,
            "added": added,
            "now": None,
        }
        if verdict is not None and verdict.is_error:
            told["now"] = {
                "label": self._code.get(verdict.label or ""),
                "box": verdict.box,
                "gone": verdict.outcome == "deleted",
                "mark": None if verdict.mark is None else verdict.mark.kind,
            }
        return told

    def _predictions(self, item_id: str) -> list[Json]:
        """Give what the detector sees, the surest first."""
        start, length = self._predicted_spans.get(item_id, (0, 0))
        rows = self._run.predictions.slice(start, min(length, MOST_PREDICTIONS))
        return [
            {
                "label": self._code.get(one["label"]),
                "score": round(one["score"], 3),
                "box": [one[edge] for edge in BOX],
            }
            for one in rows.iter_rows(named=True)
        ]


def _spans(item_ids: pl.Series) -> dict[str, tuple[int, int]]:
    """Where each item's rows begin, and how many they are, in a table in item order."""
    runs = item_ids.rle().struct.unnest()
    starts = runs["len"].cum_sum() - runs["len"]
    return {
        name: (start, length)
        for name, start, length in zip(runs["value"], starts, runs["len"], strict=True)
    }


def _corners(issue: Mapping[str, Any], which: str) -> list[float] | None:
    corners = [issue.get(f"{which}{edge}") for edge in BOX]
    return None if None in corners else [float(edge) for edge in corners if edge is not None]


def _is_acceptable(issue: Mapping[str, Any]) -> bool:
    """Whether an issue suggests anything."""
    try:
        decide(issue, "accept", reviewer="-", fingerprint="-")
    except InputError:
        return False
    return True
