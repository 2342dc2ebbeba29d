"""Watch a detector learn, and know afterwards which given boxes it found hard to believe."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.schema import BOX, BOX_PREDICTIONS, BoxPredictions
from labelfix.training.saved import Saved
from labelfix.training.sightings import sum_by_item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = ["BoxTracker"]

PARTS = ("class_loss", "location_loss")
SUMS = ("weight", "loss", "epoch", "epoch²", "epoch x loss")
GIVEN = ("annotation_id", "item_id", "label", *BOX)
"""What a tracker knows of each box: its annotations, without what formats add."""


class BoxTracker(Saved):
    """The loss of each given box, epoch by epoch, in two parts: of its class and of its place.

    A look at the images after each epoch fills it: `labelfix.training.torchvision.look` and
    `labelfix.training.ultralytics.box_losses` do so, and `update` takes the losses of any detector.

    Parameters
    ----------
    dataset
        With boxes. Those of its images that the detector learns from are to be looked at.

    Examples
    --------
    >>> from labelfix.schema import Dataset
    >>> given = pl.DataFrame({"annotation_id": ["0", "1"], "item_id": ["a", "a"],
    ...                       "label": ["cat", "dog"], "x1": [0.0, 50.0], "y1": [0.0, 50.0],
    ...                       "x2": [9.0, 80.0], "y2": [9.0, 70.0], "crowd": [False, False]})
    >>> dataset = Dataset(pl.DataFrame({"item_id": ["a"]}), given, ("cat", "dog"), "memory")
    >>> tracker = BoxTracker(dataset)
    >>> for epoch in range(3):
    ...     tracker.update(["0", "1"], class_loss=[0.1, 2.0 - epoch / 2], location_loss=[0.2, 0.25])
    ...     tracker.end_epoch()
    >>> tracker.suspects(1)["annotation_id", "class_loss", "location_loss"].row(0)
    ('1', 1.5, 0.25)
    """

    _of = "boxes"

    def __init__(self, dataset: Dataset) -> None:
        if not dataset.has_boxes:
            raise InputError(Problem("dataset", "class labels", "boxes", "use Tracker"))
        self._begin(dataset.annotations.select(GIVEN), dataset.class_names)

    def _begin(self, boxes: pl.DataFrame, class_names: tuple[str, ...]) -> None:
        if boxes["annotation_id"].n_unique() < boxes.height:
            raise InputError(Problem("dataset", "boxes with one id", "an id for each"))
        self.boxes, self.class_names, self.epoch = boxes, class_names, 0
        self._seen, self._broken = np.zeros((2, len(self)), dtype=np.int32)
        self._sums = np.zeros((len(PARTS), len(self), len(SUMS)))

    def __len__(self) -> int:
        """Count the given boxes."""
        return self.boxes.height

    @property
    def fingerprint(self) -> str:
        """Hex digest over the boxes and class names: which dataset this speaks of."""
        digest = hashlib.blake2b(json.dumps(self.class_names).encode(), digest_size=16)
        for column in self.boxes:
            numbers = column.dtype.is_numeric()
            said = column.to_numpy().tobytes() if numbers else "\x1f".join(column).encode()
            digest.update(said + b"\x1e")
        return digest.hexdigest()

    def update(self, boxes: Any, class_loss: Any, location_loss: Any) -> None:
        """Take in the losses of some boxes.

        Parameters
        ----------
        boxes
            Their annotation ids, or their rows in the dataset's annotations, from 0, shape (m,).
        class_loss
            Minus the logarithm of the probability that the detector gives the box's class at its
            place, in nats, >= 0, shape (m,). NumPy arrays or torch tensors, as the next one.
        location_loss
            One minus the overlap (IoU) of what the detector predicts there with the box, in [0, 1],
            shape (m,).

        NaN and infinite losses count in no mean, and are reported: often a broken image.

        Raises
        ------
        InputError
            If shapes do not fit, or a box is not among the dataset's.
        """
        given = [_array(one) for one in (class_loss, location_loss)]
        rows = self._rows(boxes)
        problems = [] if rows.ndim == 1 else [Problem("boxes", f"shape {rows.shape}", "(m,)")]
        for name, loss in zip(PARTS, given, strict=True):
            if loss.shape != rows.shape:
                problems.append(Problem(name, f"shape {loss.shape}", f"{rows.shape}: one a box"))
            elif loss.dtype.kind not in "fiu":
                problems.append(Problem(name, loss.dtype.name, "real numbers"))
        if problems:
            raise InputError(problems)
        losses = [loss.astype(np.float64) for loss in given]
        np.add.at(self._seen, rows, 1)
        np.add.at(self._broken, rows[~np.isfinite(losses).all(axis=0)], 1)
        epoch = np.full(len(rows), float(self.epoch))
        for sums, loss in zip(self._sums, losses, strict=True):
            columns = np.stack([np.ones(len(rows)), loss, epoch, epoch**2, epoch * loss], axis=1)
            fine = np.isfinite(loss)
            if fine.any():
                own, totals = sum_by_item(rows[fine], columns[fine])
                sums[own] += totals

    def end_epoch(self) -> None:
        """Say that an epoch is over. Losses that come next are of the next one."""
        self.epoch += 1

    def statistics(self) -> pl.DataFrame:
        """Sum up what was seen of each box.

        Returns
        -------
        pl.DataFrame
            One row a given box, in the order of the annotations: annotation_id, item_id, label;
            `class_loss` and `location_loss`, means over the looks, and `class_loss_slope` and
            `location_loss_slope`, their changes by an epoch, by least squares; `seen`, how often it
            was looked at, and `broken`, how often a loss was NaN or infinite. Null where there is
            none.

        Raises
        ------
        InputError
            If nothing was seen yet.
        """
        self._check_seen()
        columns: dict[str, Any] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            for name, sums in zip(PARTS, self._sums, strict=True):
                loss, epoch, square, product = (sums[:, k] / sums[:, 0] for k in range(1, 5))
                spread = square - epoch**2
                columns[name] = loss
                columns[f"{name}_slope"] = np.where(
                    spread > 1e-9, (product - epoch * loss) / spread, np.nan
                )
        return self.boxes.select("annotation_id", "item_id", "label").with_columns(
            **{name: pl.Series(values).fill_nan(None) for name, values in columns.items()},
            seen=self._seen,
            broken=self._broken,
        )

    def images(self) -> pl.DataFrame:
        """Sum up each image: item_id, boxes (looked at), and means of the losses over its boxes.

        The highest class loss comes first.
        """
        seen = self.statistics().filter(pl.col("seen") > 0)
        means = seen.group_by("item_id", maintain_order=True).agg(
            boxes=pl.len(), **{name: pl.col(name).mean() for name in PARTS}
        )
        return means.sort(PARTS[0], descending=True, nulls_last=True, maintain_order=True)

    def suspects(self, k: int = 20, by: str = "class_loss") -> pl.DataFrame:
        """List the k boxes with the highest losses: rows of `statistics`.

        Parameters
        ----------
        k
            So many at most.
        by
            class_loss, location_loss, or the slope of one: class_loss_slope, location_loss_slope.

        Raises
        ------
        InputError
            If `by` is none of these, k is below 0, or nothing was seen yet.
        """
        if k < 0:
            raise InputError(Problem("k", str(k), "0 or more"))
        known = [*PARTS, *(f"{name}_slope" for name in PARTS)]
        if by not in known:
            raise InputError(Problem("by", repr(by), f"one of {', '.join(known)}"))
        found = self.statistics().filter(pl.col(by).is_not_null())
        return found.sort(by, descending=True, maintain_order=True).head(k)

    def predictions(self, dataset: Dataset, out_of_fold: Any = None) -> BoxPredictions:
        """Give what was seen as predictions for `labelfix.find_issues`.

        Parameters
        ----------
        dataset
            Which one to speak of: this one, a part of it, or in another order; boxes are found by
            annotation id.
        out_of_fold
            What a detector says of images that it did not learn from, `BoxPredictions` or a table
            with the columns of `labelfix.schema.BOX_PREDICTIONS`. None: the losses are all there
            is.

        Raises
        ------
        InputError
            If the dataset has boxes that the tracker does not know.

        Warns
        -----
        LabelfixWarning
            Of boxes never seen, of NaN, and of boxes that are not those of the training.
        """
        self._check_seen()
        rows = self._rows_of(dataset)
        self._warn(dataset.annotations.select(GIVEN), rows)
        losses = self.statistics()[rows].select("annotation_id", *PARTS)
        if out_of_fold is None:
            nothing = pl.DataFrame(schema=BOX_PREDICTIONS)
            return BoxPredictions(nothing, dataset.class_names, model="training", losses=losses)
        if isinstance(out_of_fold, BoxPredictions):
            return replace(out_of_fold, losses=losses)
        return BoxPredictions(out_of_fold, dataset.class_names, losses=losses)

    def check_dataset(self, dataset: Dataset) -> None:
        """Say at once, before long work, what `predictions` would refuse.

        Raises
        ------
        InputError
            If the dataset has boxes that the tracker does not know, or nothing was seen yet.
        """
        self._check_seen()
        self._rows_of(dataset)

    def issues(self, dataset: Dataset, out_of_fold: Any = None, **choices: Any) -> pl.DataFrame:
        """Rank all boxes, most suspicious first.

        Parameters
        ----------
        dataset, out_of_fold
            As for `predictions`.
        choices
            As for `labelfix.find_issues`: score, kinds, …

        Returns
        -------
        pl.DataFrame
            The columns of `labelfix.schema.BOX_ISSUES`, as `find_issues` gives.
        """
        from labelfix.find import find_issues

        return find_issues(dataset, self.predictions(dataset, out_of_fold), **choices)

    def merge(self, *others: BoxTracker) -> BoxTracker:
        """Put together what several saw of one dataset: processes, folds, or trainings.

        Raises
        ------
        InputError
            If they are not of the same boxes and classes.
        """
        self._check_sort(others)
        problems = [
            Problem(f"tracker {number}", "other boxes or classes", "those of the first")
            for number, one in enumerate(others, start=2)
            if one.fingerprint != self.fingerprint
        ]
        if problems:
            raise InputError(problems)
        merged = BoxTracker.__new__(BoxTracker)
        merged._begin(self.boxes, self.class_names)
        for one in (self, *others):
            for name, values in one._sums_by_name().items():
                getattr(merged, name)[:] += values
            merged.epoch = max(merged.epoch, one.epoch)
        return merged

    def _about(self) -> dict[str, Any]:
        return {"class_names": self.class_names, "epoch": self.epoch}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        table = io.BytesIO()
        self.boxes.write_ipc(table, compression="zstd")
        return {"boxes": np.frombuffer(table.getvalue(), dtype=np.uint8), **self._sums_by_name()}

    @classmethod
    def _made_of(cls, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        tracker = cls.__new__(cls)
        boxes = pl.read_ipc(io.BytesIO(arrays["boxes"].tobytes()))
        tracker._begin(boxes, tuple(about["class_names"]))
        tracker.epoch = about["epoch"]
        for name, own in tracker._sums_by_name().items():
            own[:] = arrays[name]
        return tracker

    def _go_on_from(self, other: Self) -> None:
        vars(self).update(vars(other))

    def _sums_by_name(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ("_seen", "_broken", "_sums")}

    def _check_seen(self) -> None:
        if not self._seen.any():
            fix = "look at the images after each epoch"
            raise InputError(Problem("tracker", "no epoch: nothing was seen yet", fix=fix))

    def _rows(self, boxes: Any) -> NDArray[np.int64]:
        """Turn annotation ids into rows, and hold rows to their range."""
        given = _array(boxes)
        if given.dtype.kind in "UO":
            asked = pl.DataFrame({"annotation_id": pl.Series(given.tolist(), dtype=pl.String)})
            own = self.boxes.select("annotation_id").with_row_index("row")
            rows = asked.join(own, on="annotation_id", how="left", maintain_order="left")["row"]
            bad = asked["annotation_id"].filter(rows.is_null()).to_list()
            given = rows.fill_null(0).to_numpy()
        else:
            whole = given.dtype.kind in "iu"
            fine = (given >= 0) & (given < len(self)) & whole
            bad = given[~fine].tolist()
        if bad:
            found = f"{len(bad)} that are none of the dataset's, such as {bad[0]!r}"
            raise InputError(Problem("boxes", found, f"annotation ids, or 0 to {len(self) - 1}"))
        return given.astype(np.int64)

    def _rows_of(self, dataset: Dataset) -> NDArray[np.int64]:
        """Find the boxes of a dataset."""
        given = dataset.annotations.select("annotation_id")
        own = self.boxes.with_row_index("row")
        rows = given.join(own, on="annotation_id", how="left", maintain_order="left")["row"]
        if rows.null_count():
            unknown = given["annotation_id"].filter(rows.is_null())
            found = f"{len(unknown)} boxes that the tracker does not know, such as {unknown[0]!r}"
            raise InputError(Problem("dataset", found, "the boxes that were given to BoxTracker"))
        return rows.to_numpy()

    def _warn(self, given: pl.DataFrame, rows: NDArray[np.int64]) -> None:
        """Say what makes the evidence weaker than it looks."""
        said = []
        if never := int((self._seen[rows] == 0).sum()):
            said.append(f"{never} of {len(rows)} boxes were never seen in training")
        if broken := pl.Series(self._broken[rows] > 0).arg_true().to_list():
            names = ", ".join(map(repr, given["item_id"].gather(broken).unique().sort()[:5]))
            said.append(
                f"losses of {len(broken)} boxes were NaN or infinite, in {names}: "
                "look whether these images can be read"
            )
        own = self.boxes[rows]
        others = pl.select(pl.any_horizontal(own[one] != given[one] for one in GIVEN)).to_series()
        if others.any():
            said.append(f"{others.sum()} boxes of the dataset are not those of the training")
        for text in said:
            warn_caller(text)


def _array(values: Any) -> NDArray[Any]:
    """Give an array of what may be a tensor on some device."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    from labelfix.training.tensors import as_array

    return as_array(values.detach())
