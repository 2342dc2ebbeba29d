"""What the two kinds of labels have in common once they are judged."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from labelfix.run.record import ModelRecord, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl
    from numpy.typing import NDArray

    from labelfix.run.record import Findings, RunRecord

__all__ = ["Outcome", "describe", "model_record"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run is to hold, but for its record.

    Parameters
    ----------
    issues, folds, predictions
        The tables, and the matrix of class probabilities, to be written.
    models, strategies, findings
        What the record says of them.
    draw
        Makes the page, given the record.
    neighbors
        The nearest other items of each item, if they are known.
    """

    issues: pl.DataFrame
    folds: pl.DataFrame | None
    predictions: NDArray[Any] | pl.DataFrame
    models: tuple[ModelRecord, ...]
    strategies: dict[str, Strategy]
    findings: Findings
    draw: Callable[[RunRecord], str]
    neighbors: NDArray[Any] | None = None


def describe(strategies: Mapping[str, Any]) -> dict[str, Strategy]:
    """Name each strategy with its parameters.

    Examples
    --------
    >>> from labelfix.score.combine import HeadToHead
    >>> score = describe({"score": HeadToHead(slack=0.5)})["score"]
    >>> score.name, score.parameters
    ('head_to_head', {'slack': 0.5, 'confusions': 0.25, 'all_others': 0.25})
    """
    return {
        role: Strategy(
            name=getattr(strategy, "name", type(strategy).__name__),
            parameters=_parameters(strategy),
        )
        for role, strategy in strategies.items()
    }


def _parameters(strategy: Any) -> dict[str, Any]:  # anything may be a strategy
    """Give the parameters of a strategy as JSON has them."""
    plain = strategy if is_dataclass(strategy) else vars(strategy)
    return msgspec.json.decode(msgspec.json.encode(plain, enc_hook=str), type=dict[str, Any])


def model_record(name: str, details: Mapping[str, Any]) -> ModelRecord:
    """Say where predictions come from."""
    choice = details.get("auto")
    why = None if choice is None else choice["why"]
    return ModelRecord(name=name, why=why, details=dict(details))
