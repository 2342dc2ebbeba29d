"""Names that help texts list. Literals, since what they name is dear to import; tests hold them."""

from __future__ import annotations

__all__ = ["FORMATS", "KINDS", "MODELS", "RULES", "SCORES"]

FORMATS: tuple[str, ...] = ()
KINDS: tuple[str, ...] = ("mislabeled", "multi_label", "none_of_the_classes")
MODELS: tuple[str, ...] = ()
RULES: tuple[str, ...] = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
SCORES: tuple[str, ...] = ()
