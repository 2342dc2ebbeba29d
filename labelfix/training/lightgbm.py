"""For LightGBM: what the trees so far say of each row, after each round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from labelfix.training.tracker import Tracker

__all__ = ["TrackerCallback"]


class TrackerCallback:
    """Tells a tracker after each round; a round is an epoch.

    Trees add up, so that each is asked once.

    Parameters
    ----------
    tracker
        To be told.
    X, labels
        What is learned from; shapes (n, d) and (n,).
    every
        Look after so many rounds.
    """

    order = 30  # after LightGBM's own, as its callbacks name it
    before_iteration = False

    def __init__(self, tracker: Tracker, X: Any, labels: ArrayLike, every: int = 1) -> None:
        self.tracker, self.X, self.every = tracker, X, every
        self.labels = np.asarray(labels)
        self._rounds = 0
        self._logits: Any = 0.0

    def __call__(self, env: Any) -> None:
        """Take in a round.

        Raises
        ------
        InputError
            If the trees do not simply add up, or there were some before.
        """
        names = ("boosting", "boosting_type", "boost")
        for name in names:
            if env.params.get(name, "gbdt") not in {"gbdt", "gbrt", "goss"}:
                found = f"{name}={env.params[name]}"
                raise InputError(Problem("LightGBM", found, "gbdt: trees that add up"))
        if env.begin_iteration:
            raise InputError(Problem("LightGBM", "an init_model", "a training from the start"))
        done = env.iteration + 1
        if done % self.every == 0:
            self._logits = self._logits + env.model.predict(
                self.X,
                raw_score=True,
                start_iteration=self._rounds,
                num_iteration=done - self._rounds,
            )
            self._rounds = done
            self.tracker.update(np.arange(len(self.labels)), self._logits, self.labels)
            self.tracker.end_epoch()
