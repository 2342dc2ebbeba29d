"""The small network of labelfix as it is, with a tracker that looks on: for AUM on numerals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.predict.torch_models import SmallConvNet, Training

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from labelfix.predict.models import FoldJob, FoldResult, Inputs
    from labelfix.progress import Progress
    from labelfix.schema import Dataset
    from labelfix.training import Tracker

__all__ = ["Watched"]


@dataclass(frozen=True, eq=False)
class Watched:
    """`SmallConvNet`, whose logits the tracker gets in each step. What it learns is the same.

    Every class has to be among the labels of each fold.
    """

    tracker: Tracker
    name: str = "small-cnn"

    def prepare(self, dataset: Dataset, *, cache: Any, progress: Progress | None) -> Inputs:
        """Load the images."""
        return SmallConvNet().prepare(dataset, cache=cache, progress=progress)

    def fit_predict(self, data: Any, job: FoldJob, progress: Progress | None) -> FoldResult:  # noqa: ARG002 # part of the protocol
        """Train on one fold, and predict."""
        images = _Asked(data)

        def watch(logits: Tensor, targets: Tensor) -> None:
            self.tracker.update(images.rows, logits.detach(), targets)

        def end_epoch(what: str, done: int, total: int) -> None:  # noqa: ARG001 # as progress is told
            self.tracker.end_epoch()

        return SmallConvNet(training=_Watching(watch=watch)).fit_predict(images, job, end_epoch)


class _Asked:
    """Images, and the rows that were asked for last."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images
        self.shape = images.shape
        self.rows = np.empty(0, dtype=np.int64)

    def __getitem__(self, which: Any) -> NDArray[np.uint8]:
        self.rows = which
        found: NDArray[np.uint8] = self.images[which]
        return found


@dataclass(frozen=True)
class _Watching(Training):
    """The usual training, which tells what the loss is taken of."""

    watch: Callable[[Tensor, Tensor], None] = lambda logits, targets: None  # noqa: ARG005 # none

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Give the usual loss."""
        self.watch(logits, targets)
        return super().loss(logits, targets)
