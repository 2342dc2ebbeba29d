"""For the image classifiers of Ultralytics (AGPL-3.0)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics.data.dataset import ClassificationDataset
from ultralytics.models.yolo.classify import ClassificationTrainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from labelfix.training.tracker import Tracker

__all__ = ["tracked"]


def tracked(tracker: Tracker, root: str | Path) -> Callable[..., Any]:
    """Make a trainer that tells the tracker, for `YOLO("yolo11n-cls.yaml").train(trainer=…)`.

    Images are found in the tracker by their path from `root`: make the tracker of
    `labelfix.read(root)` or of a part of it. Images of a batch that it does not know are left out.
    Class numbers are those of Ultralytics: its classes are sorted by name, as labelfix's are. For
    one device: Ultralytics starts other processes for several, and the tracker does not get there.
    """
    return functools.partial(_Trainer, tracker, Path(root).resolve())


class _Images(ClassificationDataset):  # type: ignore[misc] # ultralytics is not looked at by mypy
    """Says of each image which row of the tracker it is."""

    rows: list[int]

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {**super().__getitem__(i), "row": self.rows[i]}


class _Trainer(ClassificationTrainer):  # type: ignore[misc] # as above
    def __init__(self, tracker: Tracker, root: Path, *args: Any, **kwargs: Any) -> None:
        self._tracker, self._root = tracker, root
        self._batch: dict[str, Any] = {}
        super().__init__(*args, **kwargs)
        self.add_callback("on_train_start", self._watch)
        self.add_callback("on_train_epoch_end", lambda _: self._tracker.end_epoch())

    def build_dataset(self, img_path: str, mode: str = "train", batch: Any = None) -> Any:
        """Build Ultralytics' own; the one to learn from with rows."""
        dataset = super().build_dataset(img_path, mode, batch)
        if mode == "train":
            row_of = {name: row for row, name in enumerate(self._tracker.item_ids or ())}
            paths = [Path(sample[0]).resolve() for sample in dataset.samples]
            dataset.__class__ = _Images
            dataset.rows = [row_of.get(self._id(path), -1) for path in paths]
        return dataset

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do as Ultralytics does, and remember the batch."""
        self._batch = super().preprocess_batch(batch)
        return self._batch

    def _id(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else ""

    def _watch(self, _: Any) -> None:
        """Look at what comes out of the last layer."""
        self.model.model[-1].register_forward_hook(self._see)

    def _see(self, module: Any, inputs: Any, outputs: Any) -> None:
        """Take in a batch that the model learns from."""
        if module.training and "row" in self._batch:
            known = self._batch["row"] >= 0
            rows, labels = self._batch["row"].clamp(min=0), self._batch["cls"]
            self._tracker.update(rows, outputs, labels, weights=known.float())
