"""New numbers written the way a file writes its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from labelfix.boxes import Convention
    from labelfix.formats.edits import Box

__all__ = ["NumberStyle"]


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a file writes numbers, so that new ones look alike.

    Parameters
    ----------
    decimals
        How many at most.
    fixed
        Every number has that many.
    point
        Whole numbers end in `.0`. Only if not `fixed`.

    Examples
    --------
    >>> NumberStyle.of(["0.500000", "0.250000"]).write([0.5, 0.12345678])
    ['0.500000', '0.12345678']
    >>> NumberStyle.of(["0.5", "1.0"]).write([3.0]), NumberStyle.of(["0.5", "1"]).write([3.0])
    (['3.0'], ['3'])
    """

    decimals: int = 6
    fixed: bool = True
    point: bool = False

    @classmethod
    def of(cls, tokens: Iterable[str], otherwise: NumberStyle | None = None) -> NumberStyle:
        """Tell the style of a file from its numbers, or take the other one where they do not tell.

        They do not where there are none, or where all have as many decimals and none ends in 0:
        whether a zero would be written cannot be seen. Without another style, four decimals and
        more are taken for a fixed number of them.
        """
        decimals = sorted(
            (token.partition(".")[2] for token in tokens if _PLAIN.fullmatch(token)), key=len
        )
        if not decimals:
            return otherwise or cls()
        most = len(decimals[len(decimals) * 9 // 10])  # small numbers have some more in %g
        fixed = len(decimals[0]) == len(decimals[-1]) and {*decimals} != {"0"}
        if fixed and most and not any(text.endswith("0") for text in decimals):
            return replace(otherwise or cls(fixed=most >= FEW), decimals=most)
        whole = sum(not text for text in decimals)
        pointed = sum(bool(text) and not text.strip("0") for text in decimals)
        point = pointed >= whole if whole or pointed else bool(otherwise and otherwise.point)
        return cls(most, fixed=fixed, point=point)

    def of_file(self, tokens: Iterable[str]) -> NumberStyle:
        """Tell the style of one file of a dataset that is written in this one.

        Whole numbers in one file are no reason to round where the dataset has fractions.
        """
        style = NumberStyle.of(tokens, self)
        return style if style.decimals else self

    def fit(self, convention: Convention, box: Box, size: object = None) -> NDArray[np.float64]:
        """Numbers for a box in pixels: exact if that takes no more decimals than the file uses.

        Where it would, they are rounded to the file's decimals, or as many more as keep every edge
        within half a pixel. Files that do not round (ten decimals and more) get exact numbers.
        """
        sizes = None if size is None else [size]
        exact = convention.from_pixels([list(box)], sizes)[0]
        longest = max(len(_positional(value, 0).partition(".")[2]) for value in exact)
        if self.decimals > 9 or longest <= (self.decimals if self.fixed else 9):
            return np.asarray(exact)
        return np.asarray(convention.from_pixels([list(box)], sizes, self.decimals)[0])

    def write(self, values: Iterable[float]) -> list[str]:
        """Write numbers that `fit` chose, never in scientific notation."""
        if self.fixed:
            return [_positional(value, self.decimals) for value in values]
        return [_positional(value, int(self.point)) for value in values]


FEW = 4
"""Decimals from which numbers of one length are taken to be padded; decides looks, not values."""

_PLAIN = re.compile(r"[+-]?\d*\.?\d*")


def _positional(value: float, least: int) -> str:
    text: str = np.format_float_positional(value + 0.0, unique=True, min_digits=least, trim="k")
    return text.rstrip(".")
