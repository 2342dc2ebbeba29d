"""Rules that say which items to look at, one small object each, reached through `SELECTION_RULES`.

All but the two that only rank leave alone what the model does not contradict: an item whose given
class is the likeliest, or within 1e-6 of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.score.blocks import Blocks, working_dtype
from labelfix.score.confident import (
    CONFIDENT,
    ROUNDED_AT_ONCE,
    SUSPECT,
    ConfidentCounts,
    count_confident,
    round_rows,
)
from labelfix.score.ranks import Suspects, mark_largest_margins, mark_smallest
from labelfix.score.registry import make
from labelfix.score.sums import values_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from labelfix.score.ranks import Stream

__all__ = [
    "SELECTION_RULES",
    "Both",
    "ConfidentLearning",
    "LowNormalizedMargin",
    "LowSelfConfidence",
    "PredictedNeqGiven",
    "PruneByClass",
    "PruneByNoiseRate",
    "SelectionRule",
    "select_issues",
]

BY_RATE, BY_CLASS = np.uint8(8), np.uint8(16)
"""Marks of the two pruning rules, beside the flags of `ConfidentCounts`."""


class SelectionRule(Protocol):
    """What every rule is: a name, parameters as fields, and a mask of what it selects."""

    name: ClassVar[str]

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""


def select_issues(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    rule: str | SelectionRule = "prune_by_noise_rate",
    *,
    blocks: Blocks | None = None,
    **parameters: Any,  # whatever the rule takes
) -> NDArray[np.bool_]:
    """Select the items whose labels are likely wrong.

    Parameters
    ----------
    labels, pred_probs
        As for `labelfix.score.check_labels_and_pred_probs`.
    rule
        A name of `SELECTION_RULES`, or a rule.
    blocks
        How to cut up the rows.
    **parameters
        Of the rule that is named.

    Returns
    -------
    NDArray
        Shape (n,), bool. Equal to cleanlab's `find_label_issues` with `filter_by=rule`; where equal
        values compete for the last places, the first items win.

    Raises
    ------
    InputError
        If there is no such rule, it has no such parameter, or the data are bad.

    Examples
    --------
    >>> labels = [0, 0, 0, 1, 1]
    >>> pred_probs = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]
    >>> select_issues(labels, pred_probs)
    array([False, False,  True, False, False])
    """
    chosen = make(SELECTION_RULES, "rule", rule, parameters)
    return chosen.select(count_confident(labels, pred_probs, blocks=blocks))


@dataclass(frozen=True, slots=True)
class PredictedNeqGiven:
    """Items for which another class than the given one is the likeliest."""

    name: ClassVar[str] = "predicted_neq_given"

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""
        return _all_marked(counts.flags, SUSPECT)


@dataclass(frozen=True, slots=True)
class ConfidentLearning:
    """Items that the model is confident belong to another class: the joint's off-diagonal."""

    name: ClassVar[str] = "confident_learning"

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""
        return _all_marked(counts.flags, SUSPECT | CONFIDENT)


@dataclass(frozen=True, slots=True)
class LowSelfConfidence:
    """As many items as `estimated_error_count` says, of the lowest self-confidence."""

    name: ClassVar[str] = "low_self_confidence"

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""

        def stream(start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
            group = np.zeros(stop - start, dtype=np.intp)
            return np.arange(start, stop), group, counts.own(start, stop)

        return _lowest(counts, stream)


@dataclass(frozen=True, slots=True)
class LowNormalizedMargin:
    """As many items as `estimated_error_count` says, of the lowest normalized margin."""

    name: ClassVar[str] = "low_normalized_margin"

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""

        def stream(start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
            # There are at least as many items as wanted with a class likelier than the given one by
            # 1e-6; so the margin need be known only where another class is the likeliest.
            likeliest = counts.likeliest[start:stop]
            here = np.flatnonzero(likeliest != counts.labels[start:stop])
            given, rows = counts.own(start, stop)[here], start + here
            top = values_at(counts.pred_probs, rows, likeliest[here])
            margins = (given - top + top.dtype.type(1)) / top.dtype.type(2)
            return rows, np.zeros(len(rows), dtype=np.intp), margins

        return _lowest(counts, stream)


@dataclass(frozen=True, slots=True)
class _Pruning:
    """Parameters that the three pruning rules share.

    Parameters
    ----------
    frac_noise
        Share of the estimated errors to select, from 0 to 1.
    min_examples_per_class
        Items to leave in each class.
    num_to_remove_per_class
        How many items to select in each class, K numbers; None for as many as are estimated wrong.
    """

    frac_noise: float = 1.0
    min_examples_per_class: int = 1
    num_to_remove_per_class: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.frac_noise <= 1:
            raise InputError(Problem("frac_noise", str(self.frac_noise), "a share from 0 to 1"))
        if self.num_to_remove_per_class is not None:
            numbers = tuple(int(number) for number in self.num_to_remove_per_class)
            object.__setattr__(self, "num_to_remove_per_class", numbers)

    def keep_counts(self, counts: ConfidentCounts) -> NDArray[np.int32]:
        """Items to see as labelled i and truly j, shape (K, K): what is off the diagonal may go."""
        joint = keep_at_least(counts.joint, self.min_examples_per_class, self.frac_noise)
        if self.num_to_remove_per_class is None:
            return joint
        if len(self.num_to_remove_per_class) != len(joint):
            found = f"{len(self.num_to_remove_per_class)} numbers"
            raise InputError(
                Problem("num_to_remove_per_class", found, f"{len(joint)}, one for each class")
            )
        return scale_to(joint, np.array(self.num_to_remove_per_class), counts.label_counts)


@dataclass(frozen=True, slots=True)
class PruneByClass(_Pruning):
    """In each class as many items as are estimated mislabelled, of the lowest self-confidence."""

    name: ClassVar[str] = "prune_by_class"

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""
        return _pruned(self, counts, BY_CLASS)


@dataclass(frozen=True, slots=True)
class PruneByNoiseRate(_Pruning):
    """For each two classes as many items as are estimated to be the second and labelled the first.

    They are those of the first class for which the second is likelier by the largest margin.
    """

    name: ClassVar[str] = "prune_by_noise_rate"

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""
        return _pruned(self, counts, BY_RATE)


@dataclass(frozen=True, slots=True)
class Both(_Pruning):
    """Items that both `PruneByClass` and `PruneByNoiseRate` select."""

    name: ClassVar[str] = "both"

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""
        return _pruned(self, counts, BY_CLASS | BY_RATE)


SELECTION_RULES: Mapping[str, type[SelectionRule]] = {
    rule.name: rule
    for rule in (
        PruneByNoiseRate,
        PruneByClass,
        Both,
        ConfidentLearning,
        PredictedNeqGiven,
        LowNormalizedMargin,
        LowSelfConfidence,
    )
}
"""Every rule by its name, which is cleanlab's."""


def keep_at_least(joint: NDArray[Any], least: int, frac_noise: float) -> NDArray[np.int32]:
    """Lower the off-diagonal of a joint until `least` items of each class are right.

    What the diagonal lacks is taken in equal parts from the row's other counts that are not zero;
    then `frac_noise` of them is kept. All is rounded down.

    Examples
    --------
    >>> keep_at_least(np.array([[0, 2, 2], [0, 5, 0], [1, 0, 4]]), 1, 1.0)
    array([[1, 1, 1],
           [0, 5, 0],
           [1, 0, 4]], dtype=int32)
    """
    result = joint.astype(np.int32)
    changed = np.flatnonzero((joint.diagonal() < least) | (frac_noise != 1))
    for start, stop in Blocks(ROUNDED_AT_ONCE).spans(len(changed), 8 * len(joint)):
        at = changed[start:stop]
        rows, diagonal = joint[at], (np.arange(len(at)), at)
        kept = np.maximum(rows[diagonal], least)
        others = np.maximum(np.count_nonzero(rows, axis=1) - 1, 1)
        lowered = rows - ((kept - rows[diagonal]) / others)[:, None]
        np.maximum(lowered, 0, out=lowered)
        fewer = lowered * frac_noise
        fewer[diagonal] = lowered[diagonal] = kept
        fewer[diagonal] += (lowered - fewer).sum(axis=1)
        result[at] = fewer  # towards zero, as the reference does
    return result


def scale_to(
    joint: NDArray[Any], removed: NDArray[np.int64], label_counts: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Scale a joint's off-diagonal so that `removed` items of each class are off it."""
    true_given = np.ascontiguousarray(joint.T)
    with np.errstate(divide="ignore", invalid="ignore"):  # classes without noise are seen to below
        share = true_given / true_given.sum(axis=1)
        noise = share.sum(axis=1) - share.diagonal()
        scaled = (share.T * removed / noise).T
    np.fill_diagonal(scaled, label_counts - removed)
    noiseless = ~np.isfinite(scaled).all(axis=1)
    scaled[noiseless] = np.rint(np.nan_to_num(scaled[noiseless], posinf=0.0))
    return np.ascontiguousarray(round_rows(scaled).T, dtype=np.int32)


def _pruned(rule: _Pruning, counts: ConfidentCounts, wanted: np.uint8) -> NDArray[np.bool_]:
    """Mask of the suspects that all wanted of the two pruning rules mark."""
    kept = rule.keep_counts(counts)
    small = counts.label_counts <= max(1, rule.min_examples_per_class)
    most = np.where(small, 0, counts.label_counts)
    marks = counts.flags & SUSPECT
    if wanted & BY_CLASS:
        lowest = np.clip(counts.label_counts - kept.diagonal(), 0, most)
        _mark_lowest(counts, lowest, marks)
    if wanted & BY_RATE:
        np.fill_diagonal(kept, 0)
        np.clip(kept, 0, most[:, None].astype(np.int32), out=kept)
        suspects = Suspects(marks, SUSPECT, counts.likeliest)
        mark_largest_margins(
            counts.labels, counts.pred_probs, kept, suspects, BY_RATE, counts.blocks
        )
    return _all_marked(marks, SUSPECT | wanted, out=marks)


def _mark_lowest(
    counts: ConfidentCounts, wanted: NDArray[np.int64], marks: NDArray[np.uint8]
) -> None:
    """Mark the items of each class with the lowest self-confidence."""

    def stream(start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        given = counts.labels[start:stop].astype(np.intp)
        return np.arange(start, stop), given, counts.own(start, stop)

    spans = counts.blocks.spans(len(marks), row_bytes=48, parts=192)
    dtype = working_dtype(counts.pred_probs)
    mark_smallest(stream, spans, wanted, dtype, marks, BY_CLASS, counts.blocks)


def _all_marked(
    marks: NDArray[np.uint8], wanted: np.uint8, out: NDArray[np.uint8] | None = None
) -> NDArray[np.bool_]:
    chosen = np.bitwise_and(marks, wanted, out=out)
    mask: NDArray[np.bool_] = chosen.view(np.bool_)
    np.equal(chosen, wanted, out=mask)  # in the same memory
    return mask


def _lowest(counts: ConfidentCounts, stream: Stream) -> NDArray[np.bool_]:
    marks = np.zeros(len(counts.flags), dtype=np.uint8)
    spans = counts.blocks.spans(len(marks), row_bytes=48, parts=192)
    dtype = working_dtype(counts.pred_probs)
    wanted = np.array([counts.error_count])
    room = counts.pred_probs.nbytes // 40
    mark_smallest(stream, spans, wanted, dtype, marks, np.uint8(1), counts.blocks, room)
    return marks.view(np.bool_)
