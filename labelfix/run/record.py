"""What run.json holds: everything one needs to say what was run, on what, and with what.

Frozen structs, light to import: neither numpy nor polars.
"""

from __future__ import annotations

import platform
import sys
from typing import Any, Literal

import msgspec

from labelfix.errors import Problem  # noqa: TC001 # msgspec reads it at run time

__all__ = [
    "DatasetRecord",
    "FindOptions",
    "Findings",
    "ModelRecord",
    "Reading",
    "RunRecord",
    "Strategy",
    "encode",
    "versions",
]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How a dataset is read: options of all commands that read one, under the same names.

    Parameters
    ----------
    dataset_format
        Its format; None to recognise it.
    label, image, id
        Columns of a table; None to recognise them.
    groups
        Column of items that are held out together.
    features
        Columns a model may learn from; None for all that are left.
    images, voc_pixels
        Of boxes, as in `labelfix.read`.
    class_names
        Of boxes in VOC files, as in `labelfix.read`; of the columns of ready-made probabilities.
    skip_bad
        Go on without what cannot be read.
    """

    dataset_format: str | None = None
    label: str | None = None
    image: str | None = None
    id: str | None = None
    groups: str | None = None
    features: tuple[str, ...] | None = None
    images: str | None = None
    class_names: tuple[str, ...] | None = None
    voc_pixels: Literal["inclusive", "continuous"] = "inclusive"
    skip_bad: bool = False


class FindOptions(Reading, frozen=True, kw_only=True):
    """Everything a user can choose, as run.json keeps it. The command line has the same names.

    How to read is inherited from `Reading`.

    Parameters
    ----------
    path
        Folder, table or file of boxes to read; None if `labels` and `pred_probs` are given instead.
    labels, pred_probs
        Files of ready-made predictions; several `pred_probs` are an ensemble. They go with
        `labels`, or with the items of `path`.
    dynamics
        File of `labelfix.training.Tracker.save`: what was seen in a training. In place of a model
        if that is "auto" and there are no `pred_probs`; else joined with what the first one says.
    predictions, class_map
        Ready-made predictions of boxes, and what their classes are called in the dataset, as in
        `labelfix.formats.detections.read_box_predictions`.
    model, folds, duplicates, seed, jobs
        As in `labelfix.out_of_fold`.
    train
        Train `model` by cross-validation; else it is a detector that never saw the images.
    score, select, engine, kinds
        As in `labelfix.find_issues`; no kinds are all.
    clean_labels
        Table of right labels, `clean` there.
    """

    path: str | None = None
    labels: str | None = None
    pred_probs: tuple[str, ...] = ()
    dynamics: str | None = None
    predictions: str | None = None
    class_map: tuple[str, ...] = ()
    model: str = "auto"
    train: bool = True
    folds: int = 5
    duplicates: int | None = 10
    seed: int = 0
    jobs: int | None = None
    score: str = "default"
    select: str = "default"
    engine: str = "labelfix"
    kinds: tuple[str, ...] = ()
    clean_labels: str | None = None


class DatasetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was read."""

    format: str
    root: str | None
    path: str | None = None
    """What was read, absolute; None for runs on arrays, and those of before this was kept."""
    fingerprint: str
    items: int
    annotations: int
    images: bool
    class_names: tuple[str, ...]
    splits: dict[str, int]
    skipped: tuple[Problem, ...] = ()
    boxes: bool = False
    odd_boxes: dict[str, dict[str, str]] = {}
    """Given boxes that are none, by what is odd: annotation_id and item_id of each."""


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where predictions come from: a model, its parameters, and why it was chosen if it was."""

    name: str
    why: str | None
    details: dict[str, Any]


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """Something that decided the result, with all its parameters."""

    name: str
    parameters: dict[str, Any]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, in numbers.

    Parameters
    ----------
    flagged, flagged_by_kind
        Labels or boxes in the recommended set.
    agreement
        Share of labels that are the class which the models' mean holds likeliest, in [0, 1]; of
        boxes, of those that a prediction of their class overlaps by half or more. Where it is low,
        the labels are bad or the model is, and the queue is worth less.
    errors_at_least
        Flagged labels that the model is confident are wrong: a low bound on the errors, if it can
        be trusted where it is sure. None for boxes.
    weights
        How much each source of evidence counted.
    duplicates_agree
        How far the labels of duplicates were trusted; None if none contradict each other.
    """

    flagged: int
    flagged_by_kind: dict[str, int]
    agreement: float
    errors_at_least: int | None = None
    weights: dict[str, float] = {}
    duplicates_agree: float | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of run.json."""

    schema_version: int
    labelfix: str
    created: str
    command: tuple[str, ...]
    options: FindOptions
    dataset: DatasetRecord
    models: tuple[ModelRecord, ...]
    strategies: dict[str, Strategy]
    findings: Findings
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    versions: dict[str, str]


def encode(record: msgspec.Struct) -> bytes:
    """Write a record as JSON for people and `diff`: indented, one value a line.

    Examples
    --------
    >>> print(encode(ModelRecord(name="knn", why=None, details={})).decode(), end="")
    {
      "name": "knn",
      "why": null,
      "details": {}
    }
    """
    return msgspec.json.format(msgspec.json.encode(record, enc_hook=_plain), indent=2) + b"\n"


def versions() -> dict[str, str]:
    """Name the libraries that this process has loaded and whose version can change a result."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "polars", "sklearn", "scipy", "PIL", "torch", "torchvision", "cleanlab"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found


def _plain(value: Any) -> Any:  # whatever a model put among its details
    """Turn what JSON has no word for into what it has: numpy values into numbers and lists."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
