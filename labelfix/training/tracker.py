"""Watch a training, and know afterwards which labels the network found hard to believe."""

from __future__ import annotations

import hashlib
import json
import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, SupportsIndex

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, name_rows, warn_caller
from labelfix.schema import Dataset, Predictions
from labelfix.training.counts import Counts
from labelfix.training.saved import Saved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Tracker", "threshold_labels"]

_BLOCK = 4_000_000  # values of logits looked at together: bounds what is copied meanwhile

LOW_IS_SUSPICIOUS = {
    "margin": True,
    "confidence": True,
    "correctness": True,
    "variability": False,
    "el2n": False,
    "loss": False,
    "loss_slope": False,
    "forgetting": False,
}
"""What `Tracker.suspects` can rank by: whether low or high values are suspicious."""


class _Batch(NamedTuple):
    """What one `update` brought, still where it was: arrays, or tensors on some device."""

    items: Any
    logits: Any
    labels: Any
    loss: Any
    weights: Any


class Tracker(Saved):
    """What a network says of each item while it learns from it.

    `update` it with each batch of any training loop, and call `end_epoch` after each epoch. Nothing
    is done on its own: what comes out is a table, an issues table like that of
    `labelfix.find_issues`, and weights or rows that you may use or not.

    Tensors are copied where they are, without waiting for their device, and moved together when an
    epoch ends, or when `buffer_bytes` of them wait. Bad values in them come up then.

    Parameters
    ----------
    items
        A dataset with one class label an item; or the item ids; or their number n, items then being
        0..n-1.
    class_names
        Of the logits' columns. None: the dataset's, else "0", "1", …
    keep_probs
        Keep each item's mean probability of every class: 4 bytes an item and class. `issues` needs
        it, the statistics do not.
    keep_losses
        Keep each item's mean loss of every epoch, for `losses`: 4 bytes an item and epoch.
    threshold_class
        The network has one class more than there are, in its last column, for the items that
        `threshold_labels` moved there.
    buffer_bytes
        So much may wait on a device.

    Examples
    --------
    >>> tracker = Tracker(["a.png", "b.png", "c.png"], class_names=["cat", "dog"])
    >>> for _ in range(3):
    ...     tracker.update([0, 1, 2], [[2.0, 0.0], [0.0, 2.0], [0.0, 1.0]], labels=[0, 1, 0])
    ...     tracker.end_epoch()
    >>> tracker.suspects(1)["item_id", "margin", "correctness"].row(0)
    ('c.png', -1.0, 0.0)
    >>> tracker.issues(["cat", "dog", "cat"])["given_label", "suggested_label"].row(0)
    ('cat', 'dog')
    """

    _of = "items"

    def __init__(
        self,
        items: Dataset | SupportsIndex | Sequence[str],
        class_names: Sequence[str] | None = None,
        *,
        keep_probs: bool = True,
        keep_losses: bool = False,
        threshold_class: bool = False,
        buffer_bytes: int = 64 * 2**20,
    ) -> None:
        if isinstance(items, Dataset):
            if items.has_boxes:
                raise InputError(Problem("dataset", "boxes", "class labels", "use BoxTracker"))
            class_names = items.class_names if class_names is None else class_names
            items = items.items["item_id"].to_list()
        self._n, self.item_ids = _counted(items)
        self.class_names = None if class_names is None else tuple(class_names)
        self.keep_probs = keep_probs
        self.keep_losses = keep_losses
        self.threshold_class = threshold_class
        self.buffer_bytes = buffer_bytes
        self._counts = Counts.of(self._n, keep_course=keep_losses)
        self._row_of: dict[str, int] | None = None
        self._width: int | None = None
        self._waiting: list[_Batch] = []
        self._waiting_bytes = 0

    def __len__(self) -> int:
        """Count the items."""
        return self._n

    @property
    def epoch(self) -> int:
        """How many epochs have ended."""
        return len(self._counts.epochs)

    @property
    def fingerprint(self) -> str:
        """Hex digest over the items and class names: which dataset this speaks of."""
        ids = str(self._n) if self.item_ids is None else json.dumps(self.item_ids)
        said = f"{ids}\n{json.dumps(self.class_names)}\n{self.threshold_class}"
        return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()

    def update(
        self,
        items: Any,
        logits: Any,
        labels: Any,
        loss: Any = None,
        weights: Any = None,
    ) -> None:
        """Take in what the network said of a batch.

        Parameters
        ----------
        items
            Row of each item, from 0, or its id, shape (b,). An item may come any number of times.
        logits
            What the loss was made of, before the softmax, shape (b, K); or (b,) or (b, 1): those of
            the second of two classes. Logarithms of probabilities do as well. NumPy arrays or torch
            tensors, in any precision, on any device.
        labels
            What the network was given, as class numbers, shape (b,); of type float will do.
        loss
            Of each item, shape (b,). None: the cross entropy.
        weights
            In [0, 1], shape (b,): how much of what was shown was the item, where images are mixed.
            0 leaves the item out. None: 1.

        Raises
        ------
        InputError
            If shapes or types do not fit, or the width of the logits changes, or, for what is not
            on a device, items or labels are out of range.
        """
        given = {"logits": logits, "labels": labels, "loss": loss, "weights": weights}
        kept = {name: _kept(name, values) for name, values in given.items()}
        batch = _Batch(self._rows(items), **kept)
        if batch.logits is not None and batch.logits.ndim == 1:
            batch = batch._replace(logits=batch.logits[:, None])
        self._check_shapes(batch)
        if not len(batch.items):
            return
        _check_types(batch)
        width = self._width or _width(batch.logits)
        checked = (_on_host(one) for one in (batch.items, batch.labels, batch.weights))
        self._check_values(*checked, width=width)
        self._width = width
        if self._waiting and self._waiting[-1].logits.shape[1] != batch.logits.shape[1]:
            self.flush()  # one column speaks of the same classes as two, but is not joined to them
        self._waiting.append(batch)
        self._waiting_bytes += sum(one.nbytes for one in batch if one is not None)
        if self._waiting_bytes > self.buffer_bytes:
            self.flush()

    def end_epoch(self) -> None:
        """Say that an epoch is over.

        Raises
        ------
        InputError
            As `flush`.
        """
        self.flush()
        self._counts.end_epoch()

    def flush(self) -> None:
        """Count in what waits on a device: for a look in the midst of an epoch.

        Raises
        ------
        InputError
            If items or labels are out of range, or weights are not in [0, 1]. Nothing of what
            waited is counted then.
        """
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        columns = _Batch(*(_joined(parts) for parts in zip(*_completed(waiting), strict=True)))
        self._check_values(columns.items, columns.labels, columns.weights, width=self._width or 0)
        step = max(1, _BLOCK // columns.logits.shape[1])
        for start in range(0, len(columns.items), step):
            rows = slice(start, start + step)
            self._count(_Batch(*(one[rows] for one in columns)))

    def _count(self, batch: _Batch) -> None:
        """Count in a block of sightings."""
        shown = batch.weights > 0
        item, logits, label, loss, weight = (one[shown] for one in batch)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        item, label = item.astype(np.int64), label.astype(np.int64)
        self._counts.add(item, logits, label, loss, weight, keep_probs=self.keep_probs)

    def statistics(self) -> pl.DataFrame:
        """Sum up what was seen of each item.

        Returns
        -------
        pl.DataFrame
            One row an item, in item order; null where an item was never seen:

            - item_id; `label` as last seen, a class number; `seen`, how often;
            - `confidence`, mean probability of the given label, `variability`, its standard
              deviation, `correctness`, share of epochs in which the label was the network's first
              choice (Data Maps, Swayamdipta et al. 2020);
            - `margin`, mean logit of the given label less the largest other one (AUM, Pleiss et al.
              2020);
            - `el2n`, mean length of the error vector, in [0, 1.42] (Paul et al. 2021);
            - `forgetting`, how often the network was right in one epoch and wrong in the next that
              it saw the item in (Toneva et al. 2019), and `learned`, the epoch from 0 since which
              it was always right; null: never, or wrong at the end;
            - `loss`, its mean, and `loss_slope`, its change by an epoch, by least squares;
            - `broken`, how often logits or loss were NaN or infinite, which counts in no mean, and
              `relabelled`, how often the label changed.

        Raises
        ------
        InputError
            If nothing was seen yet.
        """
        self._check_seen()
        counts = self._counts
        mean, history = counts.means(), counts.history()
        table = pl.DataFrame(
            {
                "item_id": self.item_ids or [str(row) for row in range(self._n)],
                "label": counts.label,
                "seen": counts.seen,
                "confidence": mean["given"],
                "variability": np.sqrt(np.maximum(mean["given²"] - mean["given"] ** 2, 0)),
                "correctness": history.correctness,
                "margin": mean["margin"],
                "el2n": mean["error"],
                "forgetting": history.forgetting,
                "learned": history.learned,
                "loss": mean["loss"],
                "loss_slope": counts.loss_slope(),
                "broken": counts.broken,
                "relabelled": counts.relabelled,
            }
        )
        never = pl.col("label") < 0
        return table.with_columns(pl.selectors.float().fill_nan(None)).with_columns(
            pl.when(~never).then("label").alias("label"),
            pl.when(~never).then("forgetting").alias("forgetting"),
            pl.when(pl.col("learned") >= 0).then("learned").alias("learned"),
        )

    def losses(self) -> NDArray[np.float32]:
        """Give the course of each item's loss: its mean in every epoch that ended.

        Returns
        -------
        NDArray
            Shape (epochs, n), float32; NaN where the item was not seen.

        Raises
        ------
        InputError
            If nothing was seen yet, or `keep_losses` is off.

        Examples
        --------
        >>> tracker = Tracker(2, keep_losses=True)
        >>> for loss in ([0.75, 2.0], [0.25, 2.5]):
        ...     tracker.update([0, 1], [[1.0, 0.0], [1.0, 0.0]], [0, 1], loss)
        ...     tracker.end_epoch()
        >>> tracker.losses().tolist()
        [[0.75, 2.0], [0.25, 2.5]]
        """
        self._check_seen()
        if self._counts.course is None:
            raise InputError(Problem("tracker", "keep_losses=False", "keep_losses=True"))
        return np.array(self._counts.course, np.float32).reshape(-1, self._n)

    def suspects(self, k: int = 20, by: str = "margin") -> pl.DataFrame:
        """List the k items that look most like label errors: rows of `statistics`.

        Parameters
        ----------
        k
            So many at most.
        by
            A column of `statistics`: margin, confidence, correctness, variability, el2n, loss,
            loss_slope or forgetting.

        Raises
        ------
        InputError
            If `by` is none of these, k is below 0, or nothing was seen yet.
        """
        if k < 0:
            raise InputError(Problem("k", str(k), "0 or more"))
        if by not in LOW_IS_SUSPICIOUS:
            raise InputError(Problem("by", repr(by), f"one of {', '.join(LOW_IS_SUSPICIOUS)}"))
        low = LOW_IS_SUSPICIOUS[by]
        found = self.statistics().filter(pl.col(by).is_not_null())
        return found.sort(by, descending=not low, maintain_order=True).head(k)

    def kept_rows(self, k: int, by: str = "margin") -> NDArray[np.int64]:
        """Give the rows of all items but the k most suspicious ones, ascending: to go on with."""
        ids = pl.Series(self.item_ids or [str(row) for row in range(self._n)])
        left_out = ids.is_in(self.suspects(k, by)["item_id"].implode())
        return np.flatnonzero(~left_out.to_numpy())

    def weights(self) -> NDArray[np.float32]:
        """Give each item a weight for the loss: 1, or less where the network disbelieves its label.

        min(1, 2 / (1 + exp(-mean margin))): 1 where the given label is on average the first choice,
        else twice its chance against the first choice alone. Items never seen weigh 1.

        Returns
        -------
        NDArray
            Shape (n,), float32, in [0, 1].
        """
        self._check_seen()
        margin = np.nan_to_num(np.minimum(self._counts.means()["margin"], 0), nan=0.0)
        return np.asarray(2 / (1 + np.exp(-margin)), dtype=np.float32)

    def below_threshold(self, percentile: float = 99.0) -> NDArray[np.bool_]:
        """Tell whose margin is below that of items whose label is wrong for sure.

        Those are the items that `threshold_labels` moved to a class of their own: the threshold is
        a percentile of their margins (Pleiss et al. 2020). They are False themselves; a second
        training with another seed tells of them.

        Parameters
        ----------
        percentile
            In [0, 100].

        Returns
        -------
        NDArray
            Shape (n,), bool.

        Raises
        ------
        InputError
            If no item was in the threshold class, or it is no percentile.
        """
        if not 0 <= percentile <= 100:
            raise InputError(Problem("percentile", str(percentile), "a number in [0, 100]"))
        self._check_seen()
        margin = self._counts.means()["margin"]
        moved = (self._counts.label == self._n_classes) & np.isfinite(margin)
        if not self.threshold_class or not moved.any():
            fix = "Tracker(threshold_class=True), with labels from threshold_labels"
            raise InputError(Problem("tracker", "no items in a threshold class", fix=fix))
        threshold = np.percentile(margin[moved], percentile)
        below: NDArray[np.bool_] = (margin <= threshold) & (self._counts.label != self._n_classes)
        return below

    def mean_probs(self) -> NDArray[np.float32]:
        """Give each item's mean class probabilities in training, rows sum to one.

        Returns
        -------
        NDArray
            Shape (n, K), float32; all alike for items never seen. Without the threshold class.

        Raises
        ------
        InputError
            If nothing was seen yet, or `keep_probs` is off.
        """
        total = self._known_probs()
        probs = total[:, : self._n_classes].astype(np.float64)
        sums = probs.sum(axis=1, keepdims=True)
        return np.where(sums > 0, probs / np.where(sums > 0, sums, 1), 1 / probs.shape[1]).astype(
            np.float32
        )

    def noise_matrix(self) -> NDArray[np.float64]:
        """Estimate how labels were mixed up: row = true class, column = given one, rows sum to one.

        Takes the class of the highest mean probability for the true one. For
        `labelfix.training.pytorch.ForwardCorrection`.

        Returns
        -------
        NDArray
            Shape (K, K), float64. A class that is never the highest counts as never mixed up.
        """
        likeliest = self.mean_probs().argmax(axis=1)
        label, k = self._counts.label, self._n_classes
        known = (label >= 0) & (label < k)
        pairs = likeliest[known] * k + label[known]
        counts = np.bincount(pairs, minlength=k * k).reshape(k, k).astype(np.float64)
        empty = counts.sum(axis=1) == 0
        counts[empty, empty] = 1
        rows: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
        return rows

    def predictions(self, data: Any = None, out_of_fold: Any = None) -> Predictions:
        """Give what was seen as predictions for `labelfix.find_issues`.

        Parameters
        ----------
        data
            The dataset to speak of: this one, a part of it, or in another order; found by item id.
            Anything else: the items of the tracker, in their order.
        out_of_fold
            What a model says of items that it did not learn from, `Predictions` or a matrix of
            shape (n, K): is joined by what was seen, as `train_pred_probs`. None: what was seen is
            all there is.

        Returns
        -------
        Predictions
            Items never seen have what `out_of_fold` says of them; alone, of a dataset, the mean of
            the items with the same label, which makes none of them suspicious.

        Raises
        ------
        InputError
            If the dataset has items that the tracker does not know.

        Warns
        -----
        LabelfixWarning
            Of items never seen, of NaN, and of labels that are not those of the training.
        """
        rows = self._rows_of(data)
        names = self._names_for(data)
        probs = self.mean_probs()[rows]
        never = self._known_probs()[rows].sum(axis=1) == 0
        self._warn(data, rows, names)
        if out_of_fold is None:
            if isinstance(data, Dataset):
                _fill_by_label(probs, never, data, names)
            return Predictions(probs, names, model="training")
        given = out_of_fold
        if not isinstance(given, Predictions):
            given = Predictions(np.asarray(given), names)
        if given.class_names:
            _refuse_classes("out_of_fold", given.class_names, names)
        if len(given.pred_probs) != len(rows):
            found = f"{len(given.pred_probs)} rows"
            raise InputError(Problem("out_of_fold", found, f"{len(rows)}, one an item"))
        if given.class_names:
            probs = probs[:, [names.index(name) for name in given.class_names]]
        probs[never] = given.pred_probs[never]
        return replace(given, train_pred_probs=probs)

    def check_dataset(self, dataset: Dataset) -> None:
        """Say at once, before long work, what `predictions` would refuse.

        Raises
        ------
        InputError
            If the dataset has items that the tracker does not know, or other classes, or nothing
            was kept of them.
        """
        self._known_probs()
        self._rows_of(dataset)
        _refuse_classes("dataset", dataset.class_names, self._names_for(dataset))

    def issues(self, data: Any, out_of_fold: Any = None, **choices: Any) -> pl.DataFrame:
        """Rank all labels, most suspicious first.

        Parameters
        ----------
        data, out_of_fold
            As for `predictions`; labels alone will do, in item order.
        choices
            As for `labelfix.find_issues`: score, select, weighing, …

        Returns
        -------
        pl.DataFrame
            The columns of `labelfix.schema.CLASS_ISSUES`, as `find_issues` gives.
        """
        from labelfix.find import find_issues

        return find_issues(data, self.predictions(data, out_of_fold), **choices)

    def merge(self, *others: Tracker) -> Tracker:
        """Put together what several processes saw of one training, epoch by epoch.

        An item that two of them saw in one epoch counts as right in it if both were.

        Returns
        -------
        Tracker
            A new one.

        Raises
        ------
        InputError
            If they are not of the same items and classes.
        """
        self._check_sort(others)
        everyone = [self, *others]
        for one in everyone:
            one.flush()
        width = next((one._width for one in everyone if one._width), None)
        problems = [
            Problem(f"tracker {number}", "other items or classes", "those of the first")
            for number, one in enumerate(everyone, start=1)
            if one.fingerprint != self.fingerprint
            or one._kept_of_each != self._kept_of_each
            or one._width not in {None, width}
        ]
        if problems:
            raise InputError(problems)
        merged = self._empty()
        merged._width = width
        merged._counts = self._counts.merged([one._counts for one in others])
        return merged

    def _about(self) -> dict[str, Any]:
        return {
            "n": self._n,
            "item_ids": self.item_ids,
            "class_names": self.class_names,
            **self._kept_of_each,
            "threshold_class": self.threshold_class,
            "width": self._width,
        }

    def _arrays(self) -> dict[str, NDArray[Any]]:
        self.flush()
        return self._counts.arrays()

    @classmethod
    def _made_of(cls, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        tracker = cls(
            about["n"] if about["item_ids"] is None else about["item_ids"],
            about["class_names"],
            keep_probs=about["keep_probs"],
            keep_losses=about.get("keep_losses", False),
            threshold_class=about["threshold_class"],
        )
        tracker._counts = Counts.from_arrays(arrays, len(tracker), about["width"])
        tracker._width = about["width"]
        return tracker

    def _go_on_from(self, other: Self) -> None:
        if other._kept_of_each != self._kept_of_each:
            found, expected = (
                ", ".join(f"{name}={kept}" for name, kept in one._kept_of_each.items())
                for one in (other, self)
            )
            raise InputError(Problem("state", f"one with {found}", expected))
        self._counts, self._width = other._counts, other._width
        self._waiting, self._waiting_bytes = [], 0

    @property
    def _kept_of_each(self) -> dict[str, bool]:
        """What of each item it was asked to keep."""
        return {"keep_probs": self.keep_probs, "keep_losses": self.keep_losses}

    @property
    def _n_classes(self) -> int:
        """Real ones: without the threshold class."""
        if self.class_names is not None:
            return len(self.class_names)
        return (self._width or 0) - self.threshold_class

    def _empty(self) -> Tracker:
        return Tracker(
            self._n if self.item_ids is None else self.item_ids,
            self.class_names,
            **self._kept_of_each,
            threshold_class=self.threshold_class,
            buffer_bytes=self.buffer_bytes,
        )

    def _rows(self, items: Any) -> Any:
        """Turn item ids into rows; leave rows as they are."""
        given = _kept("items", items)
        if not isinstance(given, np.ndarray) or given.dtype.kind not in "UO":
            return given
        if self.item_ids is None:
            raise InputError(Problem("items", "item ids", "rows", "give the ids to Tracker"))
        if self._row_of is None:
            self._row_of = {name: row for row, name in enumerate(self.item_ids)}
        unknown = [str(name) for name in given if name not in self._row_of]
        if unknown:
            shown = ", ".join(map(repr, unknown[:5]))
            raise InputError(Problem("items", f"unknown ids: {shown}", "those given to Tracker"))
        return np.array([self._row_of[name] for name in given], dtype=np.int64)

    def _known_probs(self) -> NDArray[np.float32]:
        """Give the sums of class probabilities, or say why there are none."""
        self._check_seen()
        if self._counts.probs is None:
            raise InputError(Problem("tracker", "keep_probs=False", "keep_probs=True"))
        return self._counts.probs

    def _rows_of(self, data: Any) -> NDArray[np.int64]:
        """Find the items of a dataset."""
        if not isinstance(data, Dataset):
            return np.arange(self._n)
        if self.item_ids is None:
            if len(data) != self._n:
                found = f"{len(data)} items, where the tracker has {self._n}"
                raise InputError(Problem("dataset", found, fix="give the dataset to Tracker"))
            return np.arange(self._n)
        rows = data.items["item_id"].replace_strict(
            list(self.item_ids), range(self._n), default=None, return_dtype=pl.Int64
        )
        if rows.null_count():
            unknown = data.items["item_id"].filter(rows.is_null())
            found = f"{len(unknown)} items that the tracker does not know, such as {unknown[0]!r}"
            raise InputError(Problem("dataset", found, "the items that were given to Tracker"))
        return rows.to_numpy()

    def _names_for(self, data: Any) -> tuple[str, ...]:
        """Name the classes: the tracker's own names, else the dataset's, else numbers."""
        if self.class_names is not None:
            return self.class_names
        if isinstance(data, Dataset) and len(data.class_names) == self._n_classes:
            return data.class_names
        return tuple(str(k) for k in range(self._n_classes))

    def _warn(self, data: Any, rows: NDArray[np.int64], names: tuple[str, ...]) -> None:
        """Say what makes the evidence weaker than it looks."""
        counts = self._counts
        said = []
        if never := int((counts.seen[rows] == 0).sum()):
            said.append(f"{never} of {len(rows)} items were never seen in training")
        broken = rows[counts.broken[rows] > 0]
        if len(broken):
            said.append(
                f"logits or loss of {len(broken)} items were NaN or infinite "
                f"({self._named(broken)}): look whether they can be read"
            )
        if isinstance(data, Dataset) and data.class_names == names:
            seen = counts.label[rows]
            known = (seen >= 0) & (seen < len(names))
            if others := int((known & (seen != data.labels)).sum()):
                said.append(f"{others} labels of the dataset are not those of the training")
        if changed := int((counts.relabelled[rows] > 0).sum()):
            said.append(f"labels of {changed} items changed during the training")
        for text in said:
            warn_caller(text)

    def _named(self, rows: NDArray[np.int64], most: int = 5) -> str:
        """Say which items, in a message that stays short."""
        if self.item_ids is None:
            return name_rows(rows, most)
        shown = ", ".join(repr(self.item_ids[row]) for row in rows[:most])
        return shown + (f" and {len(rows) - most} more" if len(rows) > most else "")

    def _check_seen(self) -> None:
        self.flush()
        if not self._counts.seen.any():
            fix = "call update() for each batch, and end_epoch()"
            raise InputError(Problem("tracker", "no epoch: nothing was seen yet", fix=fix))

    def _check_shapes(self, batch: _Batch) -> None:
        """Hold a batch to one row an item, and to the width of those before."""
        absent = [name for name, one in zip(_NEEDED, batch, strict=False) if one is None]
        if absent:
            raise InputError([Problem(name, "None", "those of the batch") for name in absent])
        n = (*batch.items.shape, 1)[0]
        problems = [
            Problem(name, f"shape {tuple(one.shape)}", f"({n},): one an item", _FIXES.get(name, ""))
            for name, one in batch._asdict().items()
            if name != "logits" and one is not None and tuple(one.shape) != (n,)
        ]
        shape = tuple(batch.logits.shape)
        width = _width(batch.logits) if len(shape) == 2 else 0
        if not width or shape[0] != n:
            problems.append(Problem("logits", f"shape {shape}", f"({n}, classes)"))
        elif n and self._width is not None and width != self._width:
            before = f"{self._width}, as before"
            problems.append(Problem("logits", f"{width} classes", before))
        elif n and self.class_names is not None:
            known = self._n_classes + self.threshold_class
            if width != known:
                expected = f"{known}, as there are classes"
                problems.append(Problem("logits", f"{width} classes", expected))
        if problems:
            raise InputError(problems)

    def _check_values(
        self,
        items: NDArray[Any] | None,
        labels: NDArray[Any] | None,
        weights: NDArray[Any] | None,
        *,
        width: int,
    ) -> None:
        """Hold what is on the host to its ranges; None is not looked at."""
        problems = []
        for name, values, stop in [("items", items, self._n), ("labels", labels, width)]:
            expected = f"whole numbers from 0 to {stop - 1}"
            if values is not None and len(bad := values[~_whole(values, stop)]):
                found = f"{len(bad)} out of range, such as {bad[0]}"
                problems.append(Problem(name, found, expected))
        if weights is not None and not ((weights >= 0) & (weights <= 1)).all():
            bad = weights[~((weights >= 0) & (weights <= 1))]
            problems.append(Problem("weights", f"{bad[0]}", "numbers in [0, 1]"))
        if problems:
            raise InputError(problems)


_NEEDED = ("items", "logits", "labels")
_FIXES = {"loss": "use reduction='none'"}
_TYPES = {"items": "iu"}
"""Sorts of numbers, as numpy calls them; of the others any real ones will do."""


def threshold_labels(
    labels: ArrayLike, n_classes: int, *, share: float | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Move some items, drawn at random, to a class of their own, so that their label is wrong.

    How well the network learns those says which margin a wrong label has (Pleiss et al. 2020,
    "Identifying Mislabeled Data using the Area Under the Margin Ranking"). Train with these labels
    and one class more, and ask `Tracker.below_threshold`. Then once more with another seed, for the
    items that were moved.

    Parameters
    ----------
    labels
        In 0..n_classes-1, shape (n,).
    n_classes
        K; the class of its own is number K.
    share
        Of the items, in (0, 1). None: 1 / (K + 1), as in the paper.
    seed
        Which ones.

    Raises
    ------
    InputError
        If `share` or a label is out of its range.

    Examples
    --------
    >>> (threshold_labels(np.zeros(100, int), 4) == 4).sum()
    np.int64(20)
    """
    moved = np.array(labels)
    share = 1 / (n_classes + 1) if share is None else share
    problems = []
    if not 0 < share < 1:
        problems.append(Problem("share", str(share), "a number in (0, 1)"))
    if moved.dtype.kind not in "iub" or ((moved < 0) | (moved >= n_classes)).any():
        found = f"others, of type {moved.dtype.name}"
        problems.append(Problem("labels", found, f"whole numbers from 0 to {n_classes - 1}"))
    if problems:
        raise InputError(problems)
    moved = moved.astype(np.int64)
    count = round(len(moved) * share)
    moved[np.random.default_rng(seed).permutation(len(moved))[:count]] = n_classes
    return moved


def _fill_by_label(
    probs: NDArray[np.float32], never: NDArray[np.bool_], dataset: Dataset, names: Sequence[str]
) -> None:
    """Give items never seen the mean of those that are labelled alike, where there are some."""
    place = {name: k for k, name in enumerate(names)}
    labels = np.array([place.get(name, -1) for name in dataset.class_names])[dataset.labels]
    for label in np.unique(labels[never]):
        alike = (labels == label) & ~never
        if alike.any():
            probs[never & (labels == label)] = probs[alike].mean(axis=0)


def _refuse_classes(where: str, given: Sequence[str], names: Sequence[str]) -> None:
    if sorted(given) != sorted(names):
        found = f"classes {', '.join(given)}"
        raise InputError(Problem(where, found, f"the tracker's: {', '.join(names)}"))


def _counted(items: Any) -> tuple[int, tuple[str, ...] | None]:
    """Take a number of items, or their ids."""
    try:
        n, ids = operator.index(items), None
    except TypeError:
        if isinstance(items, str) or not hasattr(items, "__iter__"):
            expected = "a dataset, a number of items, or their ids"
            raise InputError(Problem("items", f"a {type(items).__name__}", expected)) from None
        ids = tuple(items)
        n = len(ids)
    if n < 1:
        raise InputError(Problem("items", str(n), "one item at least"))
    if ids is not None:
        if other := [one for one in ids if not isinstance(one, str)]:
            fix = "give their number, and use rows"
            raise InputError(Problem("items", f"ids such as {other[0]!r}", "text", fix))
        if twice := n - len(set(ids)):
            raise InputError(Problem("items", f"{twice} ids twice", "each once"))
    return n, ids


def _kept(name: str, values: Any) -> Any:
    """Copy, on its own device: loops write into their arrays."""
    if values is None:
        return None
    if hasattr(values, "detach"):
        from labelfix.training.tensors import kept

        return kept(values)
    try:
        return np.array(values)
    except ValueError as error:
        raise InputError(Problem(name, "rows of different lengths", "an array")) from error


def _check_types(batch: _Batch) -> None:
    """Hold what a batch brought to numbers of the right sort, without looking at any."""
    problems = []
    for name, one in batch._asdict().items():
        if one is not None and _type(one)[0] not in _TYPES.get(name, "fiub"):
            expected = "whole numbers" if name in _TYPES else "real numbers"
            problems.append(Problem(name, _type(one)[1], expected))
    if problems:
        raise InputError(problems)


def _whole(values: NDArray[Any], stop: int) -> NDArray[np.bool_]:
    """Tell which are whole numbers from 0 to `stop` - 1."""
    inside: NDArray[np.bool_] = (values >= 0) & (values < stop)
    return inside & (np.trunc(values) == values) if values.dtype.kind == "f" else inside


def _type(values: Any) -> tuple[str, str]:
    """Give the sort and the name of the type of an array, or of a tensor on any device."""
    if isinstance(values, np.ndarray):
        return values.dtype.kind, values.dtype.name
    from labelfix.training.tensors import type_of

    return type_of(values)


def _width(logits: Any) -> int:
    """Count the classes; one column speaks of two."""
    return 2 if logits.shape[1] == 1 else int(logits.shape[1])


def _completed(batches: list[_Batch]) -> list[_Batch]:
    """Fill in what was not given: no loss as minus infinity, no weights as ones."""
    return [
        batch._replace(
            loss=np.full(len(batch.items), -np.inf) if batch.loss is None else batch.loss,
            weights=np.ones(len(batch.items)) if batch.weights is None else batch.weights,
        )
        for batch in batches
    ]


def _joined(parts: Sequence[Any]) -> NDArray[Any]:
    """Put the batches' parts behind each other, in an array."""
    if any(hasattr(part, "detach") for part in parts):
        from labelfix.training.tensors import moved

        return moved(parts)
    return np.concatenate(parts)


def _on_host(values: Any) -> NDArray[Any] | None:
    """Give the values if looking at them waits for no device."""
    if isinstance(values, np.ndarray):
        return values
    if values is not None and values.device.type == "cpu":
        from labelfix.training.tensors import as_array

        return as_array(values)
    return None
