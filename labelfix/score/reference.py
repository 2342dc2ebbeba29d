"""The same functions answered by cleanlab: the reference that `--engine cleanlab` asks.

Names and parameters are those of `labelfix.score`, and so are the answers, but for three things:
where equal values compete for the last places, cleanlab's sort decides; its
`confidence_weighted_entropy` falls to 0 as a model gets certain of the given class; and float16 is
worked on as it is. `blocks` is taken, and ignored.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import require_extra
from labelfix.score.confident import NoiseEstimate
from labelfix.score.inputs import as_arrays
from labelfix.score.quality import QUALITY_SCORES
from labelfix.score.registry import make
from labelfix.score.selection import SELECTION_RULES

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from labelfix.score.blocks import Blocks
    from labelfix.score.quality import QualityScore
    from labelfix.score.selection import SelectionRule

__all__ = [
    "ReferenceCounts",
    "confident_joint",
    "confident_thresholds",
    "count_confident",
    "estimate_joint",
    "estimated_error_count",
    "label_quality",
    "noise_matrices",
    "select_issues",
]


def confident_thresholds(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> NDArray[Any]:
    """As `labelfix.score.confident_thresholds`."""
    return count_confident(labels, pred_probs, blocks=blocks).thresholds


def confident_joint(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    calibrated: bool = True,
    blocks: Blocks | None = None,
) -> NDArray[np.int64]:
    """As `labelfix.score.confident_joint`."""
    counts = count_confident(labels, pred_probs, blocks=blocks)
    return counts.joint if calibrated else counts.raw_joint


def estimate_joint(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> NDArray[np.float64]:
    """As `labelfix.score.estimate_joint`."""
    counts = count_confident(labels, pred_probs, blocks=blocks)
    return _cleanlab("count").estimate_joint(counts.labels, counts.pred_probs)  # type: ignore[no-any-return] # cleanlab has no types


def noise_matrices(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> NoiseEstimate:
    """As `labelfix.score.noise_matrices`."""
    counts = count_confident(labels, pred_probs, blocks=blocks)
    return NoiseEstimate(*_cleanlab("count").estimate_latent(counts.joint, counts.labels))


def estimated_error_count(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> int:
    """As `labelfix.score.estimated_error_count`."""
    return count_confident(labels, pred_probs, blocks=blocks).error_count


def select_issues(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    rule: str | SelectionRule = "prune_by_noise_rate",
    *,
    blocks: Blocks | None = None,  # noqa: ARG001 # the signature of labelfix.score
    **parameters: Any,  # whatever the rule takes
) -> NDArray[np.bool_]:
    """As `labelfix.score.select_issues`."""
    chosen = make(SELECTION_RULES, "rule", rule, parameters)
    given, matrix, _ = as_arrays(labels, pred_probs)
    mask: NDArray[np.bool_] = _quietly(
        _cleanlab("filter").find_label_issues,
        given,
        matrix,
        filter_by=chosen.name,
        n_jobs=1,
        **{field.name: getattr(chosen, field.name) for field in fields(chosen)},  # type: ignore[arg-type] # every rule is a dataclass
    )
    return mask


def label_quality(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    method: str | QualityScore = "self_confidence",
    *,
    blocks: Blocks | None = None,  # noqa: ARG001 # the signature of labelfix.score
    **parameters: Any,  # whatever the score takes
) -> NDArray[Any]:
    """As `labelfix.score.label_quality`."""
    scorer = make(QUALITY_SCORES, "method", method, parameters)
    given, matrix, _ = as_arrays(labels, pred_probs)
    scores: NDArray[Any] = _quietly(
        _cleanlab("rank").get_label_quality_scores,
        given,
        matrix,
        method=scorer.name,
        adjust_pred_probs=getattr(scorer, "adjust", False),
    )
    return scores


def count_confident(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    blocks: Blocks | None = None,  # noqa: ARG001 # the signature of labelfix.score
) -> ReferenceCounts:
    """As `labelfix.score.count_confident`; nothing is counted before it is asked for."""
    given, matrix, _ = as_arrays(labels, pred_probs)
    levels = None if thresholds is None else np.asarray(thresholds)
    return ReferenceCounts(given, matrix, levels)


@dataclass(frozen=True, eq=False)
class ReferenceCounts:
    """What `labelfix.score.ConfidentCounts` says of a matrix, asked of cleanlab."""

    labels: NDArray[Any]
    pred_probs: NDArray[Any]
    given_thresholds: NDArray[Any] | None = None

    @cached_property
    def thresholds(self) -> NDArray[Any]:
        """Shape (K,)."""
        if self.given_thresholds is not None:
            return self.given_thresholds
        return _cleanlab("count").get_confident_thresholds(self.labels, self.pred_probs)  # type: ignore[no-any-return] # cleanlab has no types

    @cached_property
    def joint(self) -> NDArray[np.int64]:
        """The calibrated confident joint, shape (K, K)."""
        return self._joint(calibrate=True)

    @cached_property
    def raw_joint(self) -> NDArray[np.int64]:
        """The confident joint as counted, shape (K, K)."""
        return self._joint(calibrate=False)

    @cached_property
    def error_count(self) -> int:
        """A low bound on the errors."""
        return int(_cleanlab("count").num_label_issues(self.labels, self.pred_probs))

    def _joint(self, *, calibrate: bool) -> NDArray[np.int64]:
        joint: NDArray[np.int64] = _cleanlab("count").compute_confident_joint(
            self.labels, self.pred_probs, thresholds=self.given_thresholds, calibrate=calibrate
        )
        return joint


def _cleanlab(module: str) -> Any:  # a module has no narrower type
    return require_extra(f"cleanlab.{module}", "cleanlab", "the reference engine")


def _quietly(function: Any, *args: Any, **options: Any) -> Any:  # cleanlab has no types
    """Call without its remarks on small classes, and on options that a rule does not have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="May not flag all label issues")
        return function(*args, **options)
