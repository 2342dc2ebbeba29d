"""For skorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from skorch.callbacks import Callback

from labelfix.training.sightings import warn_of_probabilities

if TYPE_CHECKING:
    from labelfix.training.tracker import Tracker

__all__ = ["TrackerCallback"]


class TrackerCallback(Callback):  # type: ignore[misc] # skorch is not looked at by mypy
    """Tells a tracker of each batch and epoch.

    The inputs are a dict whose entry `items` holds the row of each: it is taken out of what the
    module is called with.

    Parameters
    ----------
    tracker
        To be told.
    items
        Name of the rows among the inputs.
    probabilities
        The module ends in a softmax, as for skorch's default criterion, or in one sigmoid. False:
        it gives logits.
    """

    def __init__(
        self, tracker: Tracker, items: str = "item_index", *, probabilities: bool = False
    ) -> None:
        self.tracker, self.items, self.probabilities = tracker, items, probabilities

    def initialize(self) -> Self:
        """Start with a new module."""
        self.hook_: Any = None
        self.looked_ = False
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Keep the rows from the module, which does not know them."""
        if self.hook_ is not None:
            self.hook_.remove()
        self.hook_ = net.module_.register_forward_pre_hook(self._without_rows, with_kwargs=True)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Take in a batch that the module learns from."""
        if training:
            inputs, labels = batch
            outputs = kwargs["y_pred"]
            if not (self.probabilities or self.looked_):
                self.looked_ = True
                warn_of_probabilities(outputs.detach().float().cpu().numpy())
            outputs = _logits(outputs) if self.probabilities else outputs
            self.tracker.update(inputs[self.items], outputs, labels)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End the epoch."""
        self.tracker.end_epoch()

    def _without_rows(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return args, {name: value for name, value in kwargs.items() if name != self.items}


def _logits(probs: Any) -> Any:
    """Give what probabilities were made of: logarithms; of one column the log odds."""
    if probs.ndim == 1 or probs.shape[1] == 1:
        return probs.float().logit(eps=1e-6)
    return probs.log()
