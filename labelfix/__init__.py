"""Find label errors in image datasets, fix them, and measure what the fixes were worth.

The public names, loaded when first used: `import labelfix` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from labelfix._version import __version__

if TYPE_CHECKING:
    from labelfix import score, training
    from labelfix.errors import (
        InputError,
        LabelfixError,
        LabelfixWarning,
        MissingExtraError,
        Problem,
        RunError,
    )
    from labelfix.evaluate.gain import measure_gain
    from labelfix.evaluate.tables import Gain
    from labelfix.find import find_issues
    from labelfix.formats import read
    from labelfix.formats.detections import read_box_predictions
    from labelfix.predict import out_of_fold, out_of_fold_boxes
    from labelfix.schema import BoxPredictions, Dataset, Predictions
    from labelfix.splits import Split

_HOME = {
    "BoxPredictions": "labelfix.schema",
    "Dataset": "labelfix.schema",
    "Gain": "labelfix.evaluate.tables",
    "InputError": "labelfix.errors",
    "LabelfixError": "labelfix.errors",
    "LabelfixWarning": "labelfix.errors",
    "MissingExtraError": "labelfix.errors",
    "Predictions": "labelfix.schema",
    "Problem": "labelfix.errors",
    "RunError": "labelfix.errors",
    "Split": "labelfix.splits",
    "find_issues": "labelfix.find",
    "measure_gain": "labelfix.evaluate.gain",
    "out_of_fold": "labelfix.predict",
    "out_of_fold_boxes": "labelfix.predict",
    "read": "labelfix.formats",
    "read_box_predictions": "labelfix.formats.detections",
}

__all__ = [
    "BoxPredictions",
    "Dataset",
    "Gain",
    "InputError",
    "LabelfixError",
    "LabelfixWarning",
    "MissingExtraError",
    "Predictions",
    "Problem",
    "RunError",
    "Split",
    "__version__",
    "find_issues",
    "measure_gain",
    "out_of_fold",
    "out_of_fold_boxes",
    "read",
    "read_box_predictions",
    "score",
    "training",
]


def __getattr__(name: str) -> Any:  # a module attribute can be anything
    if name in {"score", "training"}:
        return importlib.import_module(f"labelfix.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'labelfix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
