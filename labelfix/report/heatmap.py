"""The geometry of the picture of a confident joint: which classes, where, how dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Cell", "Heatmap", "heatmap"]

_NUMBERS_UP_TO = 16
"""Classes at most for numbers to be written into the cells: beyond, they do not fit."""

_CHARACTER = 6.6
"""Width of a character of a label, in px, on average."""


@dataclass(frozen=True)
class Cell:
    """One pair of classes. `shade` is in [0, 1]: 1 for the largest count off the diagonal."""

    row: int
    column: int
    count: int
    shade: float
    number: str


@dataclass(frozen=True)
class Heatmap:
    """Everything the template needs to draw it. Lengths in px.

    Parameters
    ----------
    names
        The classes shown, down and across.
    cells
        Pairs of different classes that were counted at least once.
    left_out
        How many classes are not shown.
    side
        Of a cell.
    margin
        Left of the cells and above them, for the names.
    largest
        The largest count off the diagonal.
    legend
        Shades and the counts that they stand for; empty where numbers are written into the cells.
    """

    names: tuple[str, ...]
    cells: tuple[Cell, ...]
    left_out: int
    side: int
    margin: int
    largest: int
    legend: tuple[tuple[float, int], ...]

    @property
    def extent(self) -> int:
        """Width and height of all cells together."""
        return self.side * len(self.names)


def heatmap(joint: NDArray[np.integer[Any]], class_names: Sequence[str], most: int) -> Heatmap:
    """Lay out a confident joint.

    Parameters
    ----------
    joint
        Counts by given class (rows) and likely class (columns), shape (K, K).
    class_names
        Of length K.
    most
        Classes to show: those of the largest counts off the diagonal, in their own order.

    Examples
    --------
    >>> import numpy as np
    >>> picture = heatmap(np.array([[5, 2, 0], [0, 6, 0], [0, 0, 4]]), ["a", "b", "c"], most=2)
    >>> picture.names, picture.left_out, [(c.row, c.column, c.count) for c in picture.cells]
    (('a', 'b'), 1, [(0, 1, 2)])
    """
    mistakes = np.array(joint)
    np.fill_diagonal(mistakes, 0)
    shown = _most_confused(mistakes, most)
    mistakes = mistakes[np.ix_(shown, shown)]
    largest = int(mistakes.max(initial=0))
    rows, columns = np.nonzero(mistakes)
    counts = mistakes[rows, columns]
    shades = np.sqrt(counts / max(largest, 1))
    names = tuple(class_names[at] for at in shown)
    numbered = len(names) <= _NUMBERS_UP_TO
    return Heatmap(
        names=names,
        cells=tuple(
            Cell(row, column, count, round(shade, 3), _short(count) if numbered else "")
            for row, column, count, shade in zip(
                rows.tolist(), columns.tolist(), counts.tolist(), shades.tolist(), strict=True
            )
        ),
        left_out=len(class_names) - len(names),
        side=min(52, max(20, 560 // max(len(names), 1))),
        margin=int(14 + _CHARACTER * min(22, max(map(len, names), default=0))),
        largest=largest,
        legend=() if numbered else _legend(largest),
    )


def _most_confused(mistakes: NDArray[np.integer[Any]], most: int) -> NDArray[np.int64]:
    """Pick classes pair by pair, the largest count first, until there are `most`."""
    if len(mistakes) <= most:
        return np.arange(len(mistakes))
    rows, columns = np.nonzero(mistakes)
    order = np.argsort(-mistakes[rows, columns], kind="stable")
    pairs = np.stack([rows[order], columns[order]], axis=1).ravel()
    first_seen = np.sort(np.unique(pairs, return_index=True)[1])
    return np.sort(pairs[first_seen[:most]])


def _legend(largest: int) -> tuple[tuple[float, int], ...]:
    """Pair a few shades with the counts that have them.

    Examples
    --------
    >>> _legend(100), _legend(1)
    (((0.2, 4), (0.4, 16), (0.6, 36), (0.8, 64), (1.0, 100)), ((1.0, 1),))
    """
    counts = sorted({round(largest * shade**2) for shade in (0.2, 0.4, 0.6, 0.8, 1.0)} - {0})
    return tuple((round((count / largest) ** 0.5, 3), count) for count in counts)


def _short(count: int) -> str:
    """Write a count in at most four characters.

    Examples
    --------
    >>> [_short(count) for count in (7, 999, 1234, 56_789, 2_400_000)]
    ['7', '999', '1.2k', '57k', '2.4M']
    """
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            amount = count / size
            return f"{amount:.1f}{letter}" if amount < 10 else f"{amount:.0f}{letter}"
    return str(count)
