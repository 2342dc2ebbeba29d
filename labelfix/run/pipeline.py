"""What `labelfix find` does: read, predict, score, and write it all down."""

from __future__ import annotations

import contextlib
import time
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labelfix._version import __version__
from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.run.dataset import read_as
from labelfix.run.directory import (
    SCHEMA_VERSION,
    Run,
    check_free,
    check_same_data,
    unfinished,
    write_run,
)
from labelfix.run.idle import refuse_idle
from labelfix.run.record import DatasetRecord, FindOptions, RunRecord, versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from warnings import WarningMessage

    from labelfix.progress import Progress
    from labelfix.run.outcome import Outcome
    from labelfix.schema import BoxPredictions, Dataset, Predictions

__all__ = ["find"]


def find(
    options: FindOptions,
    out: str | Path,
    *,
    overwrite: bool = False,
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Run:
    """Find label errors, and write a run directory.

    The directory is made once the input is known to be good. If the work is cut short, the folds
    that are done stay in it, and the same call goes on from there.

    Parameters
    ----------
    options
        What to read, and how to go about it.
    out
        The run directory. One that exists is replaced if it is a run on the same data;
        `decisions.jsonl` in it is never touched.
    overwrite
        Replace a run on other data too.
    command
        What the user typed, for run.json.
    progress
        Called as `progress(what, done, total)`.

    Returns
    -------
    Run
        As `open_run(out)` gives.

    Raises
    ------
    InputError
        If the data or an option is wrong: every problem at once, and nothing written.
    RunError
        If something else is in the way at `out`, or another `find` is writing there.
    MissingExtraError
        If the model or the engine is not installed.
    """
    out = Path(out)
    check_free(out)
    stages = _Stages()
    with stages("read"):
        dataset, predictions = _read(options, progress)
        kind = _kind(dataset)
        kind.check_choices(dataset, options)
    check_same_data(out, dataset.fingerprint, overwrite=overwrite)
    with unfinished(out, dataset.fingerprint, command) as store:
        if predictions is None:
            with stages("predict"):
                predictions = kind.predict(dataset, options, store, progress)
        with stages("score"):
            outcome = kind.judge(dataset, predictions, options, progress)
        record = _record(options, command, dataset, outcome, stages)
        with stages("report"):
            page = outcome.draw(record)
        record = msgspec.structs.replace(
            record, seconds=stages.seconds, warnings=tuple(stages.warnings)
        )
        return write_run(
            out,
            record,
            dataset,
            outcome.issues,
            outcome.folds,
            outcome.predictions,
            outcome.neighbors,
            page,
        )


def _kind(dataset: Dataset) -> Any:  # a module has no narrower type
    """Choose who predicts and judges: two modules with the same functions."""
    if dataset.has_boxes:
        from labelfix.run import boxes

        return boxes
    from labelfix.run import classes

    return classes


@dataclass
class _Stages:
    """Times each part of the work, and keeps the warnings of labelfix that come up in it."""

    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Take the time of the block, and warn of what came up once it is over."""
        start = time.perf_counter()
        caught: list[WarningMessage] = []
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", LabelfixWarning)
                yield
        except BaseException:  # which may be what was warned of
            with contextlib.suppress(Warning):  # where warnings are errors, this one matters more
                self._keep(caught)
            raise
        self.seconds[name] = round(time.perf_counter() - start, 3)
        self._keep(caught)

    def _keep(self, caught: list[WarningMessage]) -> None:
        for one in caught:
            if issubclass(one.category, LabelfixWarning) and str(one.message) not in self.warnings:
                self.warnings.append(str(one.message))
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _read(
    options: FindOptions, progress: Progress | None
) -> tuple[Dataset, list[Predictions] | BoxPredictions | None]:
    """Read the dataset, and the predictions if they are ready-made.

    Raises
    ------
    InputError
        If the options name neither a path nor labels and probabilities, or both, or what would do
        nothing beside the others.
    """
    path, labels, pred_probs = options.path, options.labels, options.pred_probs
    refuse_idle(options)
    if path is not None and labels is None:
        dataset = read_as(path, options, progress)
        if not dataset.has_boxes:
            return dataset, _of_items(dataset, options) if pred_probs else None
        if pred_probs:
            expected = "--predictions, or class labels"
            raise InputError(Problem("--pred-probs", "a dataset of boxes", expected))
        from labelfix.run.boxes import decodable, read_predictions

        if options.predictions is None:
            return decodable(dataset, options, progress), None

        return dataset, read_predictions(dataset, options.predictions, options)
    if path is None and labels is not None and pred_probs:
        from labelfix.formats.arrays import read_arrays

        return read_arrays(
            labels,
            pred_probs,
            ids=options.id,
            label=options.label,
            class_names=options.class_names,
        )
    named = {"PATH": path, "--labels": labels, "--pred-probs": pred_probs}
    found = " and ".join(name for name, value in named.items() if value) or "nothing"
    raise InputError(
        Problem("what to read", found, "PATH, or --labels with --pred-probs in its place")
    )


def _of_items(dataset: Dataset, options: FindOptions) -> list[Predictions]:
    """Read what models say of a dataset's items."""
    from labelfix.formats.arrays import read_predictions

    return read_predictions(
        dataset, options.pred_probs, ids=options.id, class_names=options.class_names
    )


def _record(
    options: FindOptions,
    command: tuple[str, ...],
    dataset: Dataset,
    outcome: Outcome,
    stages: _Stages,
) -> RunRecord:
    items = dataset.items
    read = options.path or options.labels
    splits = (
        dict(items["split"].drop_nulls().value_counts().sort("split").iter_rows())
        if "split" in items.columns
        else {}
    )
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        labelfix=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        options=options,
        dataset=DatasetRecord(
            format=dataset.format,
            root=None if dataset.root is None else str(dataset.root.resolve()),
            fingerprint=dataset.fingerprint,
            items=len(dataset),
            annotations=dataset.annotations.height,
            images=dataset.image_paths is not None,
            class_names=dataset.class_names,
            splits=splits,
            skipped=dataset.skipped,
            boxes=dataset.has_boxes,
            odd_boxes=_odd_boxes(dataset),
            path=None if read is None else str(Path(read).absolute()),
        ),
        models=outcome.models,
        strategies=outcome.strategies,
        findings=outcome.findings,
        warnings=tuple(stages.warnings),
        seconds=stages.seconds,
        versions=versions(),
    )


def _odd_boxes(dataset: Dataset) -> dict[str, dict[str, str]]:
    """List what the warning of odd boxes names but a few of."""
    if not dataset.has_boxes:
        return {}
    from labelfix.formats.oddities import odd_boxes

    listed: dict[str, dict[str, str]] = {}
    for name, item, oddity in odd_boxes(dataset.items, dataset.annotations).iter_rows():
        listed.setdefault(oddity, {})[name] = item
    return listed
