"""For XGBoost: what the trees so far say of each row, after each round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from xgboost.callback import TrainingCallback

if TYPE_CHECKING:
    from labelfix.training.tracker import Tracker

__all__ = ["TrackerCallback"]


class TrackerCallback(TrainingCallback):  # type: ignore[misc] # xgboost is not looked at by mypy
    """Tells a tracker after each round; a round is an epoch.

    Parameters
    ----------
    tracker
        To be told.
    train
        The `DMatrix` that is learned from, with its labels: XGBoost keeps what the trees say of it,
        so that asking costs little.
    every
        Look after so many rounds.
    """

    def __init__(self, tracker: Tracker, train: Any, every: int = 1) -> None:
        self.tracker, self.train, self.every = tracker, train, every

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Take in a round."""
        if (epoch + 1) % self.every == 0:
            labels = self.train.get_label().astype(np.int64)
            logits = model.predict(self.train, output_margin=True)
            self.tracker.update(np.arange(len(labels)), logits, labels)
            self.tracker.end_epoch()
        return False
