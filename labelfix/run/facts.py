"""What the page says of a run, taken from its record."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from labelfix.text import count

if TYPE_CHECKING:
    from labelfix.report import Facts
    from labelfix.run.record import RunRecord

__all__ = ["facts_of"]


def facts_of(record: RunRecord, model_note: str) -> Facts:
    """Gather them."""
    from labelfix.report import Facts

    return Facts(
        title=Path(record.options.path or record.options.labels or "").resolve().name,
        model=", ".join(model.name for model in record.models),
        model_note=model_note,
        errors_at_least=record.findings.errors_at_least,
        made_with=_made_with(record),
        warnings=record.warnings,
        skipped=[str(problem) for problem in record.dataset.skipped],
    )


_ROLES = {"score": "Label quality", "select": "Flagged by"}


def _made_with(record: RunRecord) -> dict[str, str]:
    """Say in words what run.json holds."""
    options, data = record.options, record.dataset
    seconds = ", ".join(f"{name} {spent:.1f} s" for name, spent in record.seconds.items())
    return {
        **({"Command": shlex.join(record.command)} if record.command else {}),
        "Data": f"{data.format}, {count(data.items, 'item')}, fingerprint {data.fingerprint}",
        "Judged by": "; ".join(model.why or model.name for model in record.models),
        "Folds": f"{options.folds}, seed {options.seed}" if _trained(record) else "unknown",
        **{
            _ROLES[role]: record.strategies[role].name
            for role in _ROLES
            if role in record.strategies
        },
        "Made": f"{record.created}; {seconds}",
        "With": ", ".join(
            f"{name} {version}"
            for name, version in {"labelfix": record.labelfix, **record.versions}.items()
        ),
    }


def _trained(record: RunRecord) -> bool:
    """Whether labelfix trained the model."""
    options = record.options
    ready = options.pred_probs or options.predictions
    return bool(options.path) and not ready and options.train
