"""What run.json holds: everything one needs to say what was run, on what, and with what.

Frozen structs, light to import: neither numpy nor polars.
"""

from __future__ import annotations

import platform
import sys
from typing import Any

import msgspec

from labelfix.errors import Problem  # noqa: TC001 # msgspec reads it at run time

__all__ = [
    "DatasetRecord",
    "FindOptions",
    "Findings",
    "ModelRecord",
    "RunRecord",
    "encode",
    "versions",
]


class FindOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Everything a user can choose, as run.json keeps it. The command line has the same names.

    Parameters
    ----------
    path
        Folder or table to read; None if `labels` and `pred_probs` are given instead.
    labels, pred_probs
        Files of ready-made predictions; several `pred_probs` are an ensemble.
    dataset_format
        Format of `path`; None to recognise it.
    label, image, id
        Columns of a table; None to recognise them.
    groups
        Column of items that are held out together.
    features
        Columns a model may learn from; None for all that are left.
    skip_bad
        Go on without what cannot be read.
    model, folds, duplicates, seed, jobs
        As in `labelfix.out_of_fold`.
    score, select, engine
        As in `labelfix.find_issues`.
    """

    path: str | None = None
    labels: str | None = None
    pred_probs: tuple[str, ...] = ()
    dataset_format: str | None = None
    label: str | None = None
    image: str | None = None
    id: str | None = None
    groups: str | None = None
    features: tuple[str, ...] | None = None
    skip_bad: bool = False
    model: str = "auto"
    folds: int = 5
    duplicates: int | None = 10
    seed: int = 0
    jobs: int | None = None
    score: str = "default"
    select: str = "default"
    engine: str = "labelfix"


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


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where predictions come from: a model, its parameters, and why it was chosen if it was."""

    name: str
    why: str | None
    details: dict[str, Any]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, in numbers.

    Parameters
    ----------
    flagged, flagged_by_kind
        Labels in the recommended set.
    agreement
        Share of labels that are the class which the models' mean holds likeliest, in [0, 1]. Where
        it is low, the labels are bad or the model is, and the queue is worth less.
    errors_at_least
        Estimated errors: a low bound, never the truth.
    weights
        How much each source of evidence counted.
    duplicates_agree
        How far the labels of duplicates were trusted; None if none contradict each other.
    """

    flagged: int
    flagged_by_kind: dict[str, int]
    agreement: float
    errors_at_least: int
    weights: dict[str, float]
    duplicates_agree: float | None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of run.json."""

    schema_version: int
    labelfix: str
    created: str
    command: tuple[str, ...]
    options: FindOptions
    dataset: DatasetRecord
    models: tuple[ModelRecord, ...]
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
