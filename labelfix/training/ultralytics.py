"""For the image classifiers and the detectors of Ultralytics (AGPL-3.0)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.nn.modules import OBB, Detect
from ultralytics.utils.ops import xywh2xyxy
from ultralytics.utils.patches import imread

from labelfix.errors import InputError, Problem
from labelfix.training.alignment import Alignment
from labelfix.training.looking import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from labelfix.schema import Dataset
    from labelfix.training.boxes import BoxTracker
    from labelfix.training.looking import Shown
    from labelfix.training.tracker import Tracker

__all__ = ["box_losses", "tracked"]


def tracked(tracker: Tracker, root: str | Path) -> Callable[..., Any]:
    """Make a trainer that tells the tracker, for `YOLO("yolo11n-cls.yaml").train(trainer=…)`.

    Class numbers are those of Ultralytics: its classes are sorted by name, as labelfix's are. For
    one device: Ultralytics starts other processes for several, and the tracker does not get there.

    Parameters
    ----------
    tracker
        Of `labelfix.read(root)`, or of a part of it. Images of a batch that it does not know are
        left out.
    root
        Images are found in the tracker by their path from here.

    Raises
    ------
    InputError
        When the training begins, if the tracker knows none of its images, or other classes.
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
            self._check(dataset.rows)
        return dataset

    def _check(self, rows: list[int]) -> None:
        """Hold the training to the tracker's items and classes."""
        problems, known = [], self._tracker.class_names
        names = tuple(self.data["names"][k] for k in range(len(self.data["names"])))
        if max(rows, default=-1) < 0:
            fix = "Tracker(labelfix.read(root)), with the same root"
            problems.append(Problem("tracker", "no image of the training", "its items", fix))
        if known is not None and names != known:
            found = f"classes {', '.join(known[:5])} …"
            expected = f"those of the training: {', '.join(names[:5])} …"
            problems.append(Problem("tracker", found, expected))
        if problems:
            raise InputError(problems)

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


def box_losses(
    tracker: BoxTracker,
    dataset: Dataset,
    every: int = 1,
    alignment: Alignment = Alignment(),  # noqa: B008 # frozen
) -> Callable[[Any], None]:
    """Make a callback that tells the tracker the loss of each given box.

    `model.add_callback("on_train_epoch_end", box_losses(tracker, dataset))`. After an epoch it
    looks at the images that are learned from, as they are: in training, mosaics and mixes make of
    four images one, in which boxes are cut and scaled, and a loss there says little of the box that
    was given. The look is one more forward pass over the images, by the running mean of the weights
    that Ultralytics validates and keeps; the training itself goes on as it would without.

    Parameters
    ----------
    tracker
        To be told, made of `dataset` or of one that it is a part of.
    dataset
        As `labelfix.read` gives it for the same data file. Images are found by their path; those
        that are not learned from, such as the validation split, are left out.
    every
        Look after every so many epochs, and after the last.
    alignment
        Which predictions answer for a box.

    Notes
    -----
    For one device: Ultralytics starts other processes for several, and the tracker does not get
    there.

    Raises
    ------
    InputError
        If `every` is below 1; when the training begins to be looked at, if it is of no detector of
        upright boxes, or of other images or classes than the dataset's.
    """
    if every < 1:
        raise InputError(Problem("every", str(every), "1 or more"))
    images = {one.path.resolve(): one for one in shown(dataset)}

    def look(trainer: Any) -> None:
        if (trainer.epoch + 1) % every == 0 or trainer.epoch + 1 >= trainer.epochs:
            files = trainer.train_loader.dataset.im_files
            learned = [images[path] for path in map(_resolved, files) if path in images]
            _check(trainer, dataset, learned)
            step = max(1, int(trainer.batch_size))
            for start in range(0, len(learned), step):
                _look(tracker, trainer, learned[start : start + step], alignment)
        tracker.end_epoch()

    return look


def _resolved(file: str) -> Path:
    return Path(file).resolve()


def _check(trainer: Any, dataset: Dataset, learned: list[Shown]) -> None:
    """Hold the training to a detector, and to the dataset's images and classes."""
    head = trainer.ema.ema.model[-1]
    names = tuple(trainer.data["names"][k] for k in range(len(trainer.data["names"])))
    problems = []
    if not isinstance(head, Detect) or isinstance(head, OBB):
        found = f"one that ends in {type(head).__name__}"
        problems.append(Problem("model", found, "a YOLO detector with upright boxes"))
    if not learned:
        problems.append(Problem("dataset", "no image of the training", "the same data file"))
    if names != dataset.class_names:
        found = f"classes {', '.join(dataset.class_names[:5])} …"
        problems.append(
            Problem("dataset", found, f"those of the training: {', '.join(names[:5])} …")
        )
    if problems:
        raise InputError(problems)


def _look(tracker: BoxTracker, trainer: Any, images: list[Shown], alignment: Alignment) -> None:
    """Tell the losses of the boxes of a batch of images."""
    model = trainer.ema.ema
    pixels, scales, shifts = zip(
        *(_letterbox(one, trainer.args.imgsz) for one in images), strict=True
    )
    batch = torch.from_numpy(np.stack(pixels)).to(trainer.device).float() / 255
    head = model.model[-1]
    before, head.end2end = getattr(head, "end2end", False), False  # all predictions, not the best
    was_training = model.training
    model.eval()
    with torch.no_grad():
        predicted, _ = model(batch.to(next(model.parameters()).dtype))
    model.train(was_training)
    head.end2end = before
    for one, scale, shift, out in zip(images, scales, shifts, predicted, strict=True):
        box = torch.from_numpy(one.box * scale + shift).to(out.device)
        label = torch.from_numpy(one.label).to(out.device)
        losses = alignment.losses(xywh2xyxy(out[:4].T), out[4:].T, box, label)
        tracker.update(one.ids, *losses)


def _letterbox(one: Shown, side: int) -> tuple[NDArray[np.uint8], float, NDArray[np.float64]]:
    """Read an image as Ultralytics validates it; and how boxes get there: times scale, plus shift.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    image = imread(str(one.path))
    if image is None:
        raise InputError(Problem(str(one.path), "an image that OpenCV cannot decode"))
    box = LetterBox(side)
    how = box.get_params({"img": image})
    pixels = np.ascontiguousarray(box(image=image)[..., ::-1].transpose(2, 0, 1))
    return pixels, how["ratio"][0], np.array([how["left"], how["top"]] * 2, dtype=np.float64)
