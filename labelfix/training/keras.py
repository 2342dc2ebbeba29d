"""For Keras 3, on any of its backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from keras.callbacks import Callback

from labelfix.training.sightings import warn_of_probabilities

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from labelfix.training.tracker import Tracker

__all__ = ["TrackerCallback"]


class TrackerCallback(Callback):  # type: ignore[misc] # keras is not looked at by mypy
    """Tells a tracker after each epoch.

    Keras shows its callbacks neither batches nor outputs. So the model is asked anew after each
    epoch, without augmentation: that costs one more forward pass over the items, about a third of
    the epoch.

    Parameters
    ----------
    tracker
        To be told.
    x, labels
        What is learned from, as `model.predict` takes it, and class numbers, shape (n,).
    probabilities
        The model ends in a softmax, or in one sigmoid. False: it gives logits.
    batch_size
        Of the asking.
    """

    def __init__(
        self,
        tracker: Tracker,
        x: Any,
        labels: ArrayLike,
        *,
        probabilities: bool = False,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.tracker, self.x, self.labels = tracker, x, np.asarray(labels)
        self.probabilities, self.batch_size = probabilities, batch_size

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ask the model, and end the epoch."""
        outputs = self.model.predict(self.x, batch_size=self.batch_size, verbose=0)
        if not self.probabilities and self.tracker.epoch == 0:
            warn_of_probabilities(np.asarray(outputs))
        logits = _logits(np.asarray(outputs)) if self.probabilities else outputs
        self.tracker.update(np.arange(len(self.labels)), logits, self.labels)
        self.tracker.end_epoch()


def _logits(probs: NDArray[Any]) -> NDArray[Any]:
    """Give what probabilities were made of: logarithms; of one column the log odds."""
    if probs.shape[-1] == 1:
        from scipy.special import logit

        least = np.finfo(probs.dtype).eps
        return np.asarray(logit(np.clip(probs, least, 1 - least)))
    with np.errstate(divide="ignore"):  # log 0 is minus infinity: a class ruled out
        return np.asarray(np.log(probs))
