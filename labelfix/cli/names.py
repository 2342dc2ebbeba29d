"""Names that help texts list. Literals, since what they name is dear to import; tests hold them."""

from __future__ import annotations

__all__ = [
    "BOX_KINDS",
    "BOX_SCORES",
    "CLASSIFIERS",
    "ENGINES",
    "FEATURES",
    "FORMATS",
    "KINDS",
    "RULES",
    "SCORES",
]

FORMATS = ("table", "coco", "yolo", "voc", "imagefolder")
KINDS = ("mislabeled", "multi_label", "none_of_the_classes")
BOX_KINDS = ("missing", "spurious", "wrong_class", "bad_location", "duplicate", "group")
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
    "ridge",
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
    "error_probability",
    "self_confidence",
    "normalized_margin",
    "confidence_weighted_entropy",
)
BOX_SCORES = ("error_probability", "objectlab", "fiftyone")
