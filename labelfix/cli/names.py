"""Names that help texts list. Literals, since what they name is dear to import; tests hold them."""

from __future__ import annotations

__all__ = ["CLASSIFIERS", "ENGINES", "FEATURES", "FORMATS", "KINDS", "RULES", "SCORES"]

FORMATS = ("table", "imagefolder")
KINDS = ("mislabeled", "multi_label", "none_of_the_classes")
CLASSIFIERS = (
    "logistic",
    "knn",
    "hist-gradient-boosting",
    "random-forest",
    "extra-trees",
    "decision-tree",
    "svm",
    "naive-bayes",
    "lda",
    "mlp",
)
FEATURES = ("columns", "pixels", "efficientnet-lite0", "torchvision:ARCHITECTURE")
ENGINES = ("labelfix", "cleanlab")
RULES = (
    "default",
    "other_likelier",
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
SCORES = (
    "default",
    "head_to_head",
    "self_confidence",
    "normalized_margin",
    "confidence_weighted_entropy",
)
