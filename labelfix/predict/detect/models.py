"""What a detector is to labelfix, what it learns from and what it answers.

A detector is a small frozen dataclass, as a model is (`labelfix.predict.models`): its fields are
its parameters and go into run.json. `prepare` looks at the dataset once, `fit_predict` does one
fold: it learns from the boxes of some images and says what it sees in others.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec
import numpy as np
import polars as pl

from labelfix.boxes import oddities
from labelfix.errors import InputError, Problem
from labelfix.schema import BOX

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from labelfix.predict.models import Inputs
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["DetectJob", "DetectResult", "Detector", "FoundBoxes", "Scenes", "found", "scenes"]


@dataclass(frozen=True)
class Scenes:
    """Images with the boxes that can be learned from.

    Parameters
    ----------
    paths
        Absolute, one an image.
    stamps
        Size in bytes and time of the last change of each file, shape (n, 2): a stored fold is not
        used for images that have changed.
    sizes
        Width and height of each image in pixels, as it is shown, shape (n, 2).
    item, label, box
        Of each box the row of its image, ascending, its class in 0..K-1 and its corners in pixels,
        shapes (m,), (m,) and (m, 4). Every box is finite, has an area and lies inside its image.
    class_names
        The K classes.
    weights
        Digest of the file that the detector starts from; empty if it starts from nothing.
    """

    paths: tuple[str, ...]
    stamps: NDArray[np.int64]
    sizes: NDArray[np.int64]
    item: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    class_names: tuple[str, ...]
    weights: str = ""


@dataclass(frozen=True)
class DetectJob:
    """One fold: learn from some images, predict the others.

    Parameters
    ----------
    train
        Rows to learn from, ascending, shape (t,). Empty for a detector that is used as it is; its
        predictions are then in its own classes.
    test
        Rows to predict, ascending, shape (m,). Neither they nor their near-duplicates are in
        `train`.
    seed
        Of this fold alone.
    timed
        So many images of `test`, the first ones, are also predicted one by one on one thread of
        the processor, by detectors that can, to take the time.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    seed: int
    timed: int = 0


@dataclass(frozen=True, eq=False)
class DetectResult:
    """What one fold gives.

    Parameters
    ----------
    boxes
        What is seen in the images of `test`, as `found` makes it.
    losses
        Mean training loss of each epoch, shape (epochs,). None where nothing was trained, or not
        by epochs.
    seconds
        Of each image that was timed, as `labelfix.predict.timing.seconds_each` takes them: from
        its pixels to its boxes. None from detectors that do not say.
    """

    boxes: pl.DataFrame
    losses: NDArray[np.float64] | None = None
    seconds: NDArray[np.float64] | None = None


@runtime_checkable
class Detector(Protocol):
    """What `labelfix.predict.detect` asks of a detector. Anything with these names will do.

    It may also have `jobs`, as a `labelfix.predict.models.Model`.
    """

    @property
    def name(self) -> str:
        """Say what it is in a word or two, as `--model` takes it."""
        ...

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Make what the folds learn from: `Inputs.data` is a `Scenes`, as `scenes` makes it."""
        ...

    def fit_predict(
        self, data: Scenes, job: DetectJob, progress: Progress | None
    ) -> pl.DataFrame | DetectResult:
        """Learn from rows `job.train` of `data` and give what is seen in `job.test`, by `found`.

        Where it learns by epochs, it may give its losses as well, in a `DetectResult`.
        Runs in a worker process where there is more than one; `progress` is None there.
        """
        ...


def scenes(dataset: Dataset) -> Scenes:
    """Gather what detectors learn from.

    Boxes without finite numbers or area, and crowd regions, are left out; what lies outside of the
    image is cut off. The dataset itself stays as it is: all its boxes are scored.

    Raises
    ------
    InputError
        If there are no images, or no class names; naming each image that is no file.
    """
    paths = dataset.image_paths
    if paths is None or not dataset.has_boxes:
        raise InputError(Problem("dataset", "no images with boxes", "what a detector learns from"))
    stamps, problems = np.zeros((len(paths), 2), np.int64), []
    for row, path in enumerate(paths):
        try:
            state = path.stat()
        except OSError as error:
            problems.append(Problem(str(path), error.strerror or "no such file", "an image"))
            continue
        stamps[row] = state.st_size, state.st_mtime_ns
    if problems:
        raise InputError(problems)
    sizes = _sizes(dataset, paths)
    rows = pl.DataFrame({"item_id": dataset.items["item_id"], "item": range(len(dataset))})
    given = dataset.annotations.join(rows, on="item_id", how="left", maintain_order="left")
    item, box = given["item"].to_numpy(), given.select(BOX).to_numpy()
    fits = oddities(box, sizes[item])
    box = box.clip(0, np.tile(sizes[item], 2))
    usable = ((fits == 0) | (fits == 4)) & ~given["crowd"].to_numpy()
    usable &= (box[:, 2:] > box[:, :2]).all(axis=1)
    usable = np.flatnonzero(usable)[np.argsort(item[usable], kind="stable")]
    return Scenes(
        tuple(str(path.absolute()) for path in paths),
        stamps,
        sizes,
        item[usable],
        dataset.labels[usable],
        box[usable],
        dataset.class_names,
    )


def _sizes(dataset: Dataset, paths: list[Path]) -> NDArray[np.int64]:
    """Sizes as the dataset has them, else as the files' headers say."""
    items = dataset.items
    if {"width", "height"} <= set(items.columns):
        sizes = items.select("width", "height")
        if not sizes.null_count().sum_horizontal().item():
            return sizes.to_numpy().astype(np.int64)
    from labelfix.images import probe

    found, problems = probe(paths, decode=False)
    if problems:
        raise InputError(problems.values())
    return found.astype(np.int64)


def found(
    item: NDArray[np.int64],
    label: NDArray[np.int64],
    score: NDArray[np.floating[Any]],
    box: NDArray[np.floating[Any]],
    class_names: tuple[str, ...],
    pred_probs: NDArray[np.floating[Any]] | None = None,
) -> pl.DataFrame:
    """Make a detector's answer.

    Parameters
    ----------
    item
        Row of each box's image in `Scenes`, shape (n,).
    label, score, box
        Class, confidence in [0, 1] and corners in pixels, shapes (n,), (n,) and (n, 4).
    class_names
        What `label` counts in, kept as the categories of the column `label`.
    pred_probs
        Confidence in every class, shape (n, K).
    """
    names = pl.Series(class_names, dtype=pl.Enum(class_names))
    columns: dict[str, Any] = {
        "item": pl.Series(item, dtype=pl.Int64),
        "label": names.gather(pl.Series(label, dtype=pl.UInt32)),
        "score": pl.Series(score, dtype=pl.Float64),
        **{edge: pl.Series(box[:, i], dtype=pl.Float64) for i, edge in enumerate(BOX)},
    }
    if pred_probs is not None:
        kind = pl.Array(pl.Float32, len(class_names))
        columns["pred_probs"] = pl.Series(pred_probs.astype(np.float32), dtype=kind)
    return pl.DataFrame(columns)


class FoundBoxes:
    """How `labelfix.predict.jobs` holds and keeps a detector's answers."""

    suffix = ".boxes"

    def check(self, result: pl.DataFrame | DetectResult, job: DetectJob, name: str) -> DetectResult:
        """Hold a detector to its promise."""
        given = result if isinstance(result, DetectResult) else DetectResult(result)
        numbers = given.boxes.select("score", *BOX).to_numpy()
        problems = [
            Problem(f"detector {name}", what, expected)
            for what, expected, wrong in (
                (
                    "boxes in images it was not asked about",
                    "boxes in those of `job.test`",
                    not np.isin(given.boxes["item"].to_numpy(), job.test).all(),
                ),
                ("boxes that are no finite numbers", "pixels", not np.isfinite(numbers).all()),
                (
                    "confidences outside [0, 1]",
                    "probabilities",
                    ((numbers[:, 0] < 0) | (numbers[:, 0] > 1)).any(),
                ),
            )
            if wrong
        ]
        if problems:
            raise InputError(problems)
        return given

    def write(self, result: DetectResult, file: BinaryIO) -> None:
        """Write a result."""
        table = io.BytesIO()
        result.boxes.write_parquet(table)
        more = (one if one is None else one.tolist() for one in (result.losses, result.seconds))
        file.write(msgspec.msgpack.encode(_Stored(table.getvalue(), *more)))

    def read(self, file: BinaryIO, job: DetectJob) -> DetectResult | None:
        """Read a result; None if it cannot be read."""
        del job  # the table says which images it speaks of
        try:
            stored = msgspec.msgpack.decode(file.read(), type=_Stored)
            boxes = pl.read_parquet(io.BytesIO(stored.boxes))
        except (pl.exceptions.PolarsError, msgspec.DecodeError, OSError):
            return None
        more = (one if one is None else np.array(one) for one in (stored.losses, stored.seconds))
        return DetectResult(boxes, *more)


class _Stored(msgspec.Struct, frozen=True):
    """A result as a file: the boxes as Parquet, the losses, and the times."""

    boxes: bytes
    losses: list[float] | None
    seconds: list[float] | None = None
