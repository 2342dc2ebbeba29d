"""Label quality: how well each given label agrees with what a model says of its item.

Every score is in [0, 1], low = suspicious, one small object each, reached through `QUALITY_SCORES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from labelfix.score.blocks import Blocks, read_rows, working_dtype
from labelfix.score.confident import confident_thresholds
from labelfix.score.inputs import as_arrays, refuse_bad_values
from labelfix.score.registry import make
from labelfix.score.sums import given_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    BlockScore = Callable[[NDArray[Any], NDArray[np.intp]], NDArray[Any]]

__all__ = [
    "QUALITY_SCORES",
    "ConfidenceWeightedEntropy",
    "NormalizedMargin",
    "QualityScore",
    "SelfConfidence",
    "confidence_weighted_entropy",
    "label_quality",
    "normalized_margin",
    "self_confidence",
]


class QualityScore(Protocol):
    """What every score is: a name, parameters as fields, and a quality for each item."""

    name: ClassVar[str]

    def score(
        self, labels: ArrayLike, pred_probs: ArrayLike, blocks: Blocks | None = None
    ) -> NDArray[Any]:
        """Quality of each label, shape (n,), in [0, 1], low = suspicious."""


def label_quality(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    method: str | QualityScore = "self_confidence",
    *,
    blocks: Blocks | None = None,
    **parameters: Any,  # whatever the score takes
) -> NDArray[Any]:
    """Score how well each label agrees with the probabilities.

    Parameters
    ----------
    labels, pred_probs
        As for `labelfix.score.check_labels_and_pred_probs`.
    method
        A name of `QUALITY_SCORES`, or a score.
    blocks
        How to cut up the rows.
    **parameters
        Of the score that is named.

    Returns
    -------
    NDArray
        Shape (n,), in [0, 1], low = suspicious; of the precision of `pred_probs`, float32 for
        float16.

    Raises
    ------
    InputError
        If there is no such score, it has no such parameter, or the data are bad.

    Examples
    --------
    >>> label_quality([0, 1], [[0.75, 0.25], [0.75, 0.25]], "normalized_margin")
    array([0.75, 0.25])
    """
    scorer = make(QUALITY_SCORES, "method", method, parameters)
    return scorer.score(labels, pred_probs, blocks)


def self_confidence(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    adjust: bool = False,
    blocks: Blocks | None = None,
) -> NDArray[Any]:
    """Probability of the given class: see `SelfConfidence`.

    Examples
    --------
    >>> self_confidence([0, 1], [[0.75, 0.25], [0.75, 0.25]])
    array([0.75, 0.25])
    """
    return SelfConfidence(adjust).score(labels, pred_probs, blocks)


def normalized_margin(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    adjust: bool = False,
    blocks: Blocks | None = None,
) -> NDArray[Any]:
    """Lead of the given class over the likeliest other: see `NormalizedMargin`.

    Examples
    --------
    >>> normalized_margin([0, 1], [[0.5, 0.25, 0.25], [0.75, 0.25, 0]])
    array([0.625, 0.25 ])
    """
    return NormalizedMargin(adjust).score(labels, pred_probs, blocks)


def confidence_weighted_entropy(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> NDArray[Any]:
    """Entropy against self-confidence: see `ConfidenceWeightedEntropy`.

    Examples
    --------
    >>> confidence_weighted_entropy([0, 0, 0], [[1, 0], [0.5, 0.5], [0, 1]]).round(3)
    array([1.   , 0.549, 0.   ])
    """
    return ConfidenceWeightedEntropy().score(labels, pred_probs, blocks)


@dataclass(frozen=True, slots=True)
class SelfConfidence:
    """Probability of the given class: p[y].

    From 0, if the model rules the label out, to 1, if it is certain of it. Equal to cleanlab's.

    Parameters
    ----------
    adjust
        First subtract the confident threshold of each class from its column, shift all by the
        largest threshold, and divide rows by their sums, so that an item is not suspicious only for
        belonging to a class on which the model is timid.
    """

    adjust: bool = False
    name: ClassVar[str] = "self_confidence"

    def score(
        self, labels: ArrayLike, pred_probs: ArrayLike, blocks: Blocks | None = None
    ) -> NDArray[Any]:
        """Quality of each label, shape (n,), in [0, 1], low = suspicious."""
        given, matrix, _ = as_arrays(labels, pred_probs)
        blocks = blocks or Blocks.over(matrix)
        if self.adjust:
            return _by_blocks(_of_given, given, matrix, blocks, _adjustment(given, matrix, blocks))
        scores = np.empty(len(matrix), dtype=working_dtype(matrix))

        def task(start: int, stop: int) -> None:
            values = given_values(given, matrix, start, stop)
            refuse_bad_values(values, matrix)
            np.clip(values, 0, 1, out=scores[start:stop])

        blocks.run(task, blocks.spans(len(matrix), row_bytes=24))
        return scores


@dataclass(frozen=True, slots=True)
class NormalizedMargin:
    """Lead of the given class over the likeliest other, as a share: (p[y] - max p[j ≠ y] + 1) / 2.

    From 0, if the model is certain of another class, over 0.5, if it wavers between the two, to 1,
    if it is certain of the given one. Equal to cleanlab's.

    Parameters
    ----------
    adjust
        As for `SelfConfidence`.
    """

    adjust: bool = False
    name: ClassVar[str] = "normalized_margin"

    def score(
        self, labels: ArrayLike, pred_probs: ArrayLike, blocks: Blocks | None = None
    ) -> NDArray[Any]:
        """Quality of each label, shape (n,), in [0, 1], low = suspicious."""
        given, matrix, _ = as_arrays(labels, pred_probs)
        blocks = blocks or Blocks.over(matrix)
        thresholds = _adjustment(given, matrix, blocks) if self.adjust else None
        return _by_blocks(_margin, given, matrix, blocks, thresholds)


@dataclass(frozen=True, slots=True)
class ConfidenceWeightedEntropy:
    """Entropy against self-confidence: ln(1 + x) / x, where x = H(p) / (p[y] ln K).

    From 0, if the model rules the label out (p[y] = 0), to 1, if it is certain of it (p[y] = 1).
    The more evenly the model spreads its belief, and the less the given class gets, the lower.

    Kuan & Mueller, "Model-agnostic label quality scoring to detect real-world label errors" (2022),
    as cleanlab has it, but without its two floors of 1e-6, under p[y] and under x: the second takes
    the score to 0, not 1, as the model gets certain of the given class.
    """

    name: ClassVar[str] = "confidence_weighted_entropy"

    def score(
        self, labels: ArrayLike, pred_probs: ArrayLike, blocks: Blocks | None = None
    ) -> NDArray[Any]:
        """Quality of each label, shape (n,), in [0, 1], low = suspicious."""
        given, matrix, _ = as_arrays(labels, pred_probs)
        return _by_blocks(_weighted_entropy, given, matrix, blocks or Blocks.over(matrix), None)


QUALITY_SCORES: Mapping[str, type[QualityScore]] = {
    score.name: score for score in (SelfConfidence, NormalizedMargin, ConfidenceWeightedEntropy)
}
"""Every score by its name, which is cleanlab's."""


def _by_blocks(
    block_score: BlockScore,
    labels: NDArray[Any],
    pred_probs: NDArray[Any],
    blocks: Blocks,
    thresholds: NDArray[Any] | None,
) -> NDArray[Any]:
    scores = np.empty(len(pred_probs), dtype=working_dtype(pred_probs))

    def task(start: int, stop: int) -> None:
        block = read_rows(pred_probs, start, stop)
        refuse_bad_values(block, pred_probs)
        if thresholds is not None:
            block = block - thresholds
            block += thresholds.max()
            block /= block.sum(axis=1, keepdims=True)
        np.clip(
            block_score(block, labels[start:stop].astype(np.intp)), 0, 1, out=scores[start:stop]
        )

    row_bytes = scores.itemsize * pred_probs.shape[1]
    blocks.run(task, blocks.spans(len(pred_probs), row_bytes, parts=96))
    return scores


def _adjustment(labels: NDArray[Any], pred_probs: NDArray[Any], blocks: Blocks) -> NDArray[Any]:
    return confident_thresholds(labels, pred_probs, blocks=blocks)


def _of_given(block: NDArray[Any], given: NDArray[np.intp]) -> NDArray[Any]:
    return block.take(np.arange(0, block.size, block.shape[1]) + given)


def _margin(block: NDArray[Any], given: NDArray[np.intp]) -> NDArray[Any]:
    others = block.copy()
    others.reshape(-1)[np.arange(0, block.size, block.shape[1]) + given] = -1
    best = _of_given(others, others.argmax(axis=1))  # faster than max along rows
    margins: NDArray[Any] = _of_given(block, given) - best + block.dtype.type(1)
    margins /= block.dtype.type(2)
    return margins


def _weighted_entropy(block: NDArray[Any], given: NDArray[np.intp]) -> NDArray[Any]:
    tiny = np.finfo(block.dtype).tiny  # what is zero adds nothing to the entropy
    entropy = -(block * np.log(np.maximum(block, tiny))).sum(axis=1)
    believed = _of_given(block, given) * block.dtype.type(np.log(block.shape[1]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # limits are put in below
        ratio = np.maximum(entropy, 0) / believed
        scores: NDArray[Any] = np.log1p(ratio) / ratio
    scores[ratio == 0] = 1
    scores[(believed <= 0) | np.isinf(ratio)] = 0
    return scores
