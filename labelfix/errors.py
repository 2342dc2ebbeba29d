"""What labelfix raises and warns with.

LabelfixError
├── InputError          (ValueError)   the data or an option is wrong; lists every problem at once
├── RunError            (ValueError)   a run directory is missing, half-made, or not one
└── MissingExtraError   (ImportError)  an optional package is needed; prints the pip command

LabelfixWarning         (UserWarning)  data was repaired or a result is weaker than it looks
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

__all__ = [
    "MOST_LINES",
    "InputError",
    "LabelfixError",
    "LabelfixWarning",
    "MissingExtraError",
    "Problem",
    "RunError",
    "name_rows",
    "require_extra",
    "warn_caller",
]


MOST_LINES = 1000
"""Problems that a message lists; `InputError.problems` holds the others too."""


class LabelfixError(Exception):
    """Root of everything that labelfix raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the input.

    Parameters
    ----------
    where
        The file, item, option or argument.
    found
        What is there.
    expected
        What labelfix can use; empty if `found` says it.
    fix
        What to do about it; empty if obvious.
    line
        Line in the file, from 1, if known.

    Examples
    --------
    >>> print(Problem("a.csv", "label 7", "a label from 0 to 2", "mend the row", line=12))
    a.csv:12: found label 7; expected a label from 0 to 2; mend the row
    """

    where: str
    found: str
    expected: str = ""
    fix: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        parts = [f"found {self.found}"]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.fix:
            parts.append(self.fix)
        return f"{place}: " + "; ".join(parts)


class InputError(LabelfixError, ValueError):
    """The data or an option is wrong. `problems` holds everything found, not the first only.

    Examples
    --------
    >>> error = InputError([Problem("x.png", "a truncated image"), Problem("y.png", "no pixels")])
    >>> print(error)
    2 problems
      x.png: found a truncated image
      y.png: found no pixels
    """

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (
            (problems,) if isinstance(problems, Problem) else tuple(problems)
        )
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{len(self.problems):,} problems"]
        lines += [f"  {problem}" for problem in self.problems[:MOST_LINES]]
        if (left := len(self.problems) - MOST_LINES) > 0:
            lines.append(f"  and {left:,} more")
        return "\n".join(lines)


class RunError(LabelfixError, ValueError):
    """A run directory is missing, half-made, or not one of ours."""


class MissingExtraError(LabelfixError, ImportError):
    """An optional package is needed. The message holds the exact `pip install`."""


class LabelfixWarning(UserWarning):
    """Data was repaired, or a result is weaker than it looks. Kept in run.json."""


def warn_caller(text: str) -> None:
    """Warn with a `LabelfixWarning` that points at whoever called labelfix, however deep this is.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_caller("few items")
    >>> print(caught[0].category.__name__, caught[0].message)
    LabelfixWarning few items
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None and _package(frame) in {"labelfix", "contextlib"}:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, LabelfixWarning, stacklevel=level)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def require_extra(module: str, extra: str, purpose: str) -> Any:  # a module has no narrower type
    """Import `module`, or say which extra brings it.

    Raises
    ------
    MissingExtraError
        If the import fails.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)  # first, since a part of it may be loaded already
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {package}, which could not be imported ({error}); "
            f"install it with: python -m pip install 'labelfix[{extra}]'"
        ) from error


def name_rows(rows: Sequence[int] | Any, most: int = 5) -> str:
    """Say which rows, in a message that stays short.

    Examples
    --------
    >>> name_rows([3])
    'row 3'
    >>> name_rows(range(100, 200))
    'rows 100, 101, 102, 103, 104 and 95 more'
    """
    shown = ", ".join(str(int(row)) for row in itertools.islice(rows, most))
    left = len(rows) - most
    return f"row{'s' if len(rows) > 1 else ''} {shown}" + (f" and {left} more" if left > 0 else "")
