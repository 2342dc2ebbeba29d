"""Pure scorers, arrays in and arrays out: what predictions say of labels.

Everything is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelfix.score import reference
    from labelfix.score.blocks import Blocks
    from labelfix.score.combine import (
        Evidence,
        HeadToHead,
        LogPool,
        OtherLikelier,
        head_to_head,
        weigh_duplicates,
    )
    from labelfix.score.confident import (
        ConfidentCounts,
        NoiseEstimate,
        confident_joint,
        confident_thresholds,
        count_confident,
        estimate_joint,
        estimated_error_count,
        noise_matrices,
    )
    from labelfix.score.inputs import check_labels_and_pred_probs
    from labelfix.score.kinds import kind_scores, likeliest_kind
    from labelfix.score.neighbors import (
        Neighbors,
        isolation,
        nearest_neighbors,
        neighbor_pred_probs,
        neighbor_quality,
    )
    from labelfix.score.quality import (
        QUALITY_SCORES,
        ConfidenceWeightedEntropy,
        NormalizedMargin,
        QualityScore,
        SelfConfidence,
        confidence_weighted_entropy,
        label_quality,
        normalized_margin,
        self_confidence,
    )
    from labelfix.score.selection import (
        SELECTION_RULES,
        Both,
        ConfidentLearning,
        LowNormalizedMargin,
        LowSelfConfidence,
        PredictedNeqGiven,
        PruneByClass,
        PruneByNoiseRate,
        SelectionRule,
        select_issues,
    )

_HOME = {
    "Blocks": "blocks",
    "Both": "selection",
    "ConfidenceWeightedEntropy": "quality",
    "ConfidentCounts": "confident",
    "ConfidentLearning": "selection",
    "Evidence": "combine",
    "HeadToHead": "combine",
    "LogPool": "combine",
    "LowNormalizedMargin": "selection",
    "LowSelfConfidence": "selection",
    "Neighbors": "neighbors",
    "NoiseEstimate": "confident",
    "NormalizedMargin": "quality",
    "OtherLikelier": "combine",
    "PredictedNeqGiven": "selection",
    "PruneByClass": "selection",
    "PruneByNoiseRate": "selection",
    "QUALITY_SCORES": "quality",
    "QualityScore": "quality",
    "SELECTION_RULES": "selection",
    "SelectionRule": "selection",
    "SelfConfidence": "quality",
    "check_labels_and_pred_probs": "inputs",
    "confidence_weighted_entropy": "quality",
    "confident_joint": "confident",
    "confident_thresholds": "confident",
    "count_confident": "confident",
    "estimate_joint": "confident",
    "estimated_error_count": "confident",
    "head_to_head": "combine",
    "isolation": "neighbors",
    "kind_scores": "kinds",
    "label_quality": "quality",
    "likeliest_kind": "kinds",
    "nearest_neighbors": "neighbors",
    "neighbor_pred_probs": "neighbors",
    "neighbor_quality": "neighbors",
    "noise_matrices": "confident",
    "normalized_margin": "quality",
    "select_issues": "selection",
    "self_confidence": "quality",
    "weigh_duplicates": "combine",
}

__all__ = [
    "QUALITY_SCORES",
    "SELECTION_RULES",
    "Blocks",
    "Both",
    "ConfidenceWeightedEntropy",
    "ConfidentCounts",
    "ConfidentLearning",
    "Evidence",
    "HeadToHead",
    "LogPool",
    "LowNormalizedMargin",
    "LowSelfConfidence",
    "Neighbors",
    "NoiseEstimate",
    "NormalizedMargin",
    "OtherLikelier",
    "PredictedNeqGiven",
    "PruneByClass",
    "PruneByNoiseRate",
    "QualityScore",
    "SelectionRule",
    "SelfConfidence",
    "check_labels_and_pred_probs",
    "confidence_weighted_entropy",
    "confident_joint",
    "confident_thresholds",
    "count_confident",
    "estimate_joint",
    "estimated_error_count",
    "head_to_head",
    "isolation",
    "kind_scores",
    "label_quality",
    "likeliest_kind",
    "nearest_neighbors",
    "neighbor_pred_probs",
    "neighbor_quality",
    "noise_matrices",
    "normalized_margin",
    "reference",
    "select_issues",
    "self_confidence",
    "weigh_duplicates",
]


def __getattr__(name: str) -> Any:  # a module attribute can be anything
    if name == "reference":
        return importlib.import_module("labelfix.score.reference")
    if name in _HOME:
        return getattr(importlib.import_module(f"labelfix.score.{_HOME[name]}"), name)
    raise AttributeError(f"module 'labelfix.score' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
