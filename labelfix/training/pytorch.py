"""For PyTorch: items that say which they are, a sampler, a loss, several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from labelfix.errors import InputError, Problem
from labelfix.training.tracker import LOW_IS_SUSPICIOUS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from labelfix.training.tracker import Tracker

__all__ = [
    "ForwardCorrection",
    "Indexed",
    "WithoutSuspects",
    "go_on_over_processes",
    "merged_over_processes",
    "states_over_processes",
]


class Indexed(Dataset[Any]):  # type: ignore[misc] # torch is not looked at by mypy
    """A dataset whose items say which row they are.

    Parameters
    ----------
    dataset
        Gives tuples, which get the row as one part more at their end, or dicts.
    key
        The name of the row in dicts.

    Examples
    --------
    >>> Indexed([("image", 3), ("another", 1)])[1]
    ('another', 1, 1)
    >>> Indexed([{"label": 3}])[0]
    {'label': 3, 'item_index': 0}
    """

    def __init__(self, dataset: Any, key: str = "item_index") -> None:
        self.dataset, self.key = dataset, key

    def __len__(self) -> int:
        """Count the items."""
        return len(self.dataset)

    def __getitem__(self, row: int) -> Any:
        """Give the item, and its row."""
        item = self.dataset[row]
        return {**item, self.key: row} if isinstance(item, dict) else (*item, row)


class WithoutSuspects(Sampler[int]):  # type: ignore[misc] # as above
    """Shuffle all items but the most suspicious ones, as the tracker ranks them by then.

    What is left out is seen no more, so that its statistics stay as they are.

    Parameters
    ----------
    tracker
        Of the dataset that is sampled.
    k
        So many are left out.
    by
        As for `Tracker.suspects`.
    after
        Epochs to go through with all items first; at least 1.
    seed
        Of the order; each epoch has another.

    Examples
    --------
    >>> from labelfix.training import Tracker
    >>> tracker = Tracker(3)
    >>> sampler = WithoutSuspects(tracker, 1)
    >>> sorted(sampler)
    [0, 1, 2]
    >>> tracker.update([0, 1, 2], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 0, 0])
    >>> tracker.end_epoch()
    >>> sorted(sampler)
    [0, 2]
    """

    def __init__(
        self, tracker: Tracker, k: int, by: str = "margin", *, after: int = 1, seed: int = 0
    ) -> None:
        if after < 1:
            raise InputError(Problem("after", str(after), "1 epoch or more"))
        if k < 0:
            raise InputError(Problem("k", str(k), "0 or more"))
        if by not in LOW_IS_SUSPICIOUS:
            raise InputError(Problem("by", repr(by), f"one of {', '.join(LOW_IS_SUSPICIOUS)}"))
        self.tracker, self.k, self.by, self.after, self.seed = tracker, k, by, after, seed

    def __len__(self) -> int:
        """Count the items of the epoch to come."""
        return len(self._rows())

    def __iter__(self) -> Iterator[int]:
        """Draw the order of the epoch to come."""
        rows = self._rows()
        order = torch.Generator().manual_seed(self.seed + self.tracker.epoch)
        for place in torch.randperm(len(rows), generator=order).tolist():
            yield int(rows[place])

    def _rows(self) -> Any:
        if self.tracker.epoch < self.after:
            return range(len(self.tracker))
        return self.tracker.kept_rows(self.k, self.by)


class ForwardCorrection(nn.Module):  # type: ignore[misc] # as above
    """Cross entropy of what the labels would be after the noise.

    -log sum over true classes j of p[j] * noise[j, given] (Patrini et al. 2017, "Making Deep Neural
    Networks Robust to Label Noise: a Loss Correction Approach", the forward procedure).

    Parameters
    ----------
    noise
        Probability of each given class (column) for each true one (row), shape (K, K), rows sum to
        one: such as `Tracker.noise_matrix()` of an earlier training.
    reduction
        "mean", "sum" or "none", as torch's.

    Examples
    --------
    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
    >>> ForwardCorrection([[1.0, 0.0], [0.0, 1.0]])(logits, labels).item() == (
    ...     functional.cross_entropy(logits, labels).item()
    ... )
    True
    >>> round(ForwardCorrection([[0.5, 0.5], [0.0, 1.0]])(logits, labels).item(), 2)
    0.58
    """

    noise: Tensor

    def __init__(self, noise: Any, reduction: str = "mean") -> None:
        super().__init__()
        matrix = torch.as_tensor(noise, dtype=torch.float32)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        if not square or not (matrix >= 0).all() or ((matrix.sum(dim=1) - 1).abs() > 1e-3).any():
            found = f"a matrix of shape {tuple(matrix.shape)}"
            raise InputError(Problem("noise", found, "(K, K), >= 0, rows that sum to one"))
        self.register_buffer("noise", matrix)
        self.reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of logits of shape (b, K) and labels of shape (b,)."""
        towards = self.noise.log()[:, labels].T  # (b, K): how each true class gives the label
        loss = -torch.logsumexp(functional.log_softmax(logits, dim=1) + towards, dim=1)
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.mean()


def merged_over_processes(tracker: Tracker) -> Tracker:
    """Put together what the processes saw: to be called in all of them, at the end.

    Those of the default group of `torch.distributed`.

    Parameters
    ----------
    tracker
        This process's own, of the same items and classes as the others'.

    Returns
    -------
    Tracker
        A new one in each process; `tracker` itself goes on as it is.

    Raises
    ------
    InputError
        If they are not of the same items and classes.
    """
    first, *others = (tracker.restored(state) for state in states_over_processes(tracker))
    return first.merge(*others)


def states_over_processes(tracker: Tracker) -> list[dict[str, bytes]]:
    """Gather the state of each process's tracker, for one checkpoint: to be called in all of them.

    Those of the default group of `torch.distributed`; without one, that of this tracker alone.
    """
    state = tracker.state_dict()
    if not _several():
        return [state]
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states


def go_on_over_processes(tracker: Tracker, states: Sequence[Mapping[str, bytes]]) -> None:
    """Go on where `states_over_processes` was called: each process with its own share.

    If there were more processes, this one takes over several shares; if there were fewer, and none
    is left for it, it goes on in the same epoch, with nothing seen.

    Parameters
    ----------
    tracker
        This process's own, with nothing seen.
    states
        Of all processes.

    Raises
    ------
    InputError
        If they are not of the same items and classes.
    RunError
        If they are something else, or a newer version's.

    Examples
    --------
    >>> from labelfix.training import Tracker
    >>> trackers = [Tracker(2), Tracker(2)]  # of two processes, each of which saw one item
    >>> for row, tracker in enumerate(trackers):
    ...     tracker.update([row], [[1.0, 0.0]], [0])
    >>> alone = Tracker(2)
    >>> go_on_over_processes(alone, [tracker.state_dict() for tracker in trackers])
    >>> alone.statistics()["seen"].to_list()
    [1, 1]
    """
    rank, size = (distributed.get_rank(), distributed.get_world_size()) if _several() else (0, 1)
    own = [tracker.restored(state) for state in states[rank::size]]
    if own:
        tracker.load_state_dict(own[0].merge(*own[1:]).state_dict())
        return
    for _ in range(tracker.merge(tracker.restored(states[0])).epoch):  # refuses other items
        tracker.end_epoch()


def _several() -> bool:
    """Whether this is one of the processes of a group."""
    return bool(distributed.is_available() and distributed.is_initialized())
