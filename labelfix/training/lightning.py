"""For Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from labelfix.errors import InputError, Problem
from labelfix.training.pytorch import go_on_over_processes, states_over_processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from labelfix.training.tracker import Tracker

__all__ = ["TrackerCallback"]


def _read(outputs: Any, batch: Any) -> tuple[Any, Any, Any]:
    problems = []
    if not isinstance(batch, list | tuple) or len(batch) != 3:
        expected = "(inputs, labels, items)"
        problems.append(Problem("batch", type(batch).__name__, expected, "Indexed, or read="))
    if not isinstance(outputs, Mapping) or "logits" not in outputs:
        expected = "a dict with loss and logits"
        problems.append(Problem("training_step", "no logits in what it gave", expected, "or read="))
    if problems:
        raise InputError(problems)
    _, labels, items = batch
    return items, outputs["logits"], labels


class TrackerCallback(Callback):  # type: ignore[misc] # lightning is not looked at by mypy
    """Tells a tracker of each batch and epoch, and keeps it in checkpoints.

    With several processes each has its own: put them together at the end, with
    `labelfix.training.pytorch.merged_over_processes`. Checkpoints hold those of all.

    Parameters
    ----------
    tracker
        To be told.
    read
        From what `training_step` returned, and the batch: items, logits and labels. None: the step
        returns a dict with "loss" and "logits"; the batch is (inputs, labels, items), as a dataset
        in `labelfix.training.pytorch.Indexed` gives it.
    """

    def __init__(
        self, tracker: Tracker, read: Callable[[Any, Any], tuple[Any, Any, Any]] | None = None
    ) -> None:
        self.tracker, self._read = tracker, read or _read

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in a batch."""
        self.tracker.update(*self._read(outputs, batch))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End the epoch."""
        self.tracker.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Keep the trackers of all processes with a checkpoint."""
        return {"processes": states_over_processes(self.tracker)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint was."""
        go_on_over_processes(self.tracker, state_dict["processes"])
