"""For the `Trainer` of Hugging Face transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback as _Callback

from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem
from labelfix.training.pytorch import go_on_over_processes, states_over_processes

if TYPE_CHECKING:
    from labelfix.training.tracker import Tracker

__all__ = ["TrackerCallback"]

_FILES = "labelfix-tracker-{}.npz"  # one for each process


class TrackerCallback(_Callback):  # type: ignore[misc] # transformers is not looked at by mypy
    """Tells a tracker of each batch and epoch, and keeps it beside each checkpoint.

    With several processes each has its own: put them together at the end, with
    `labelfix.training.pytorch.merged_over_processes`.

    `Trainer` shows its callbacks neither batches nor logits, so they are read as they go through
    the model: the row of each item is taken out of what the model is called with. That needs
    `TrainingArguments(remove_unused_columns=False)`, and items with their row, as a dataset in
    `labelfix.training.pytorch.Indexed` gives them.

    Parameters
    ----------
    tracker
        To be told.
    items, labels
        Names of the rows and of the labels in a batch.
    """

    def __init__(self, tracker: Tracker, items: str = "item_index", labels: str = "labels") -> None:
        self.tracker, self.items, self.labels = tracker, items, labels
        self._rows: Any = None
        self._hooks: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Watch the model; go on with the tracker of the checkpoint that training goes on from."""
        model = kwargs["model"]
        self._hooks = [
            model.register_forward_pre_hook(self._take_rows, with_kwargs=True),
            model.register_forward_hook(self._see, with_kwargs=True),
        ]
        folder = self._folder(args, state)
        files = [
            folder / _FILES.format(n) for n in range(len(list(folder.glob(_FILES.format("*")))))
        ]
        if state.global_step and files:
            go_on_over_processes(self.tracker, [{"npz": file.read_bytes()} for file in files])

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the epoch."""
        self.tracker.end_epoch()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the trackers of all processes beside the checkpoint."""
        states = states_over_processes(self.tracker)
        if state.is_world_process_zero:
            folder = self._folder(args, state)
            paths = [folder / _FILES.format(number) for number in range(len(states))]
            for path, one in zip(paths, states, strict=True):
                with replacing(path) as file:
                    file.write(one["npz"])
            for other in set(folder.glob(_FILES.format("*"))) - set(paths):
                other.unlink()  # of an earlier training with more processes

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _folder(self, args: Any, state: Any) -> Path:
        return Path(args.output_dir, f"checkpoint-{state.global_step}")

    def _take_rows(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Take the rows out of a call: the model does not know them."""
        self._rows = kwargs.get(self.items)
        return args, {name: value for name, value in kwargs.items() if name != self.items}

    def _see(self, module: Any, args: Any, kwargs: dict[str, Any], outputs: Any) -> None:
        """Take in a batch that the model learns from."""
        if module.training:
            self._check(kwargs)
            self.tracker.update(self._rows, outputs["logits"], kwargs[self.labels])

    def _check(self, kwargs: dict[str, Any]) -> None:
        """Hold a call of the model to what is needed of it."""
        problems = []
        if self._rows is None:
            found = f"no {self.items!r} in what the model is called with"
            fix = "a dataset in Indexed, and remove_unused_columns=False"
            problems.append(Problem("batch", found, "the rows of the items", fix))
        if kwargs.get(self.labels) is None:
            found = f"no {self.labels!r} in what the model is called with"
            fix = "no label_smoothing_factor or compute_loss_func, which take them out"
            problems.append(Problem("batch", found, "labels", fix))
        if problems:
            raise InputError(problems)
