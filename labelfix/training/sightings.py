"""What one look at an item tells: pure functions on the logits of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.errors import warn_caller

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sightings", "look", "sum_by_item", "warn_of_probabilities"]


class Sightings(NamedTuple):
    """What a network said of some items, each time that it learned from one.

    Parameters
    ----------
    probs
        Softmax of the logits, shape (m, K).
    given
        Probability of the given label, shape (m,), in [0, 1].
    margin
        Logit of the given label less the largest other one, shape (m,) (Pleiss et al. 2020).
    error
        Length of the difference between `probs` and the one-hot label, shape (m,), in [0, sqrt(2)]
        (EL2N, Paul et al. 2021).
    loss
        Cross entropy in nats, shape (m,).
    """

    probs: NDArray[Any]
    given: NDArray[Any]
    margin: NDArray[Any]
    error: NDArray[Any]
    loss: NDArray[Any]


def look(logits: NDArray[Any], labels: NDArray[np.int64]) -> Sightings:
    """Compare logits with the labels that the network was given.

    Parameters
    ----------
    logits
        Shape (m, K), K at least 2. Half precision is worked on in float32.
    labels
        In 0..K-1, shape (m,).

    Returns
    -------
    Sightings
        NaN where logits are NaN or infinite, but for classes ruled out with minus infinity.

    Examples
    --------
    >>> seen = look(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([1, 0]))
    >>> seen.given.round(2), seen.margin, seen.loss.round(2)
    (array([0.12, 0.5 ]), array([-2.,  0.]), array([2.13, 0.69]))
    """
    rows = np.arange(len(logits))
    shifted = logits.astype(np.result_type(logits.dtype, np.float32))
    with np.errstate(invalid="ignore", over="ignore"):
        shifted -= shifted.max(axis=1, keepdims=True)
        own = shifted[rows, labels]
        probs = np.exp(shifted)
        total = probs.sum(axis=1)
        probs /= total[:, None]
        shifted[rows, labels] = -np.inf
        margin = own - shifted.max(axis=1)
        given = probs[rows, labels]
        squares = np.einsum("mk,mk->m", probs, probs) - given**2
        error = np.sqrt((1 - given) ** 2 + np.maximum(squares, 0))
        return Sightings(probs, given, margin, error, np.log(total) - own)


def sum_by_item(
    item: NDArray[np.int64], values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Add up the rows of `values` that belong to the same item.

    Returns
    -------
    items
        Each item that occurs, ascending, shape (u,).
    sums
        Shape (u, ...).

    Examples
    --------
    >>> sum_by_item(np.array([7, 3, 7]), np.array([1.0, 10.0, 2.0]))
    (array([3, 7]), array([10.,  3.]))
    """
    order = np.argsort(item, kind="stable")
    items, starts = np.unique(item[order], return_index=True)
    return items, np.add.reduceat(values[order], starts, axis=0)


def warn_of_probabilities(outputs: NDArray[Any]) -> None:
    """Warn of rows that sum to one, where logits were promised: softmax makes such."""
    classes = outputs.shape[1] if outputs.ndim == 2 else 0
    if classes > 1 and (outputs >= 0).all() and (abs(outputs.sum(axis=1) - 1) < 1e-3).all():
        warn_caller(
            "the model's outputs look like probabilities and are taken for logits; if it ends in a "
            "softmax, say probabilities=True"
        )
