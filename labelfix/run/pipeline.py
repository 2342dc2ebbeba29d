"""What `labelfix find` does: read, predict, score, and write it all down."""

from __future__ import annotations

import contextlib
import shlex
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labelfix._version import __version__
from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.run.directory import (
    SCHEMA_VERSION,
    Run,
    check_free,
    check_same_data,
    unfinished,
    write_run,
)
from labelfix.run.record import (
    DatasetRecord,
    Findings,
    FindOptions,
    ModelRecord,
    RunRecord,
    versions,
)
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl
    from numpy.typing import NDArray

    from labelfix.find import Assessment
    from labelfix.schema import Dataset, Predictions

__all__ = ["Progress", "find"]

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`."""


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
        If something else is in the way at `out`.
    MissingExtraError
        If the model or the engine is not installed.
    """
    out = Path(out)
    check_free(out)
    stages = _Stages()
    with stages("read"):
        _check_choices(options)
        dataset, predictions = _read(options, progress)
    check_same_data(out, dataset.fingerprint, overwrite=overwrite)
    with unfinished(out, dataset.fingerprint, command) as store:
        if predictions is None:
            with stages("predict"):
                predictions = [_predict(dataset, options, store, progress)]
        with stages("score"):
            found = _assess(dataset, predictions, options, progress)
            pred_probs = _mean(predictions)
            findings = _findings(found, agreement=_agreement(dataset, pred_probs))
        record = _record(options, command, dataset, predictions, findings, stages)
        with stages("report"):
            page = _page(dataset, found, record)
        record = msgspec.structs.replace(
            record, seconds=stages.seconds, warnings=tuple(stages.warnings)
        )
        folds = _folds(dataset, predictions)
        return write_run(
            out, record, dataset, found.issues, folds, pred_probs, found.neighbors, page
        )


@dataclass
class _Stages:
    """Times each part of the work, and keeps the warnings of labelfix that come up in it."""

    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Take the time of the block, and warn of what came up once it is over."""
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", LabelfixWarning)
            yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        for one in caught:
            if issubclass(one.category, LabelfixWarning) and str(one.message) not in self.warnings:
                self.warnings.append(str(one.message))
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _read(
    options: FindOptions, progress: Progress | None
) -> tuple[Dataset, list[Predictions] | None]:
    """Read the dataset, and the predictions if they are ready-made.

    Raises
    ------
    InputError
        If the options name neither a path nor labels and probabilities, or both.
    """
    path, labels, pred_probs = options.path, options.labels, options.pred_probs
    if path is not None and labels is None and not pred_probs:
        return _read_dataset(path, options, progress), None
    if path is None and labels is not None and pred_probs:
        from labelfix.formats.arrays import read_arrays

        return read_arrays(labels, pred_probs, ids=options.id, label=options.label)
    named = {"PATH": path, "--labels": labels, "--pred-probs": pred_probs}
    found = " and ".join(name for name, value in named.items() if value) or "nothing"
    raise InputError(
        Problem("what to read", found, "PATH alone, or --labels and --pred-probs together")
    )


def _read_dataset(path: str, options: FindOptions, progress: Progress | None) -> Dataset:
    from labelfix.formats import read

    dataset = read(
        path,
        format=options.dataset_format,
        label=options.label,
        image=options.image,
        id=options.id,
        group=options.groups,
        features=options.features,
        skip_bad=options.skip_bad,
        progress=progress,
    )
    if dataset.has_boxes:
        raise InputError(Problem(path, "boxes", "class labels, one an item"))
    return dataset


def _predict(
    dataset: Dataset, options: FindOptions, store: Path, progress: Progress | None
) -> Predictions:
    from labelfix.predict import out_of_fold

    return out_of_fold(
        dataset,
        options.model,
        options.folds,
        "group" if "group" in dataset.items.columns else None,
        options.seed,
        duplicates=options.duplicates,
        jobs=options.jobs,
        store=store,
        progress=progress,
    )


def _check_choices(options: FindOptions) -> None:
    """Try how to score on three labels: a wrong name should not come up after hours of training."""
    _assess([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.95, 0.05]], options, None)


def _assess(
    data: Any,  # as labelfix.find.assess takes it
    predictions: Any,  # as above
    options: FindOptions,
    progress: Progress | None,
) -> Assessment:
    from labelfix.find import assess

    return assess(
        data,
        predictions,
        score=options.score,
        select=options.select,
        engine=options.engine,  # type: ignore[arg-type] # assess refuses what it does not know
        progress=progress,
    )


def _mean(predictions: list[Predictions]) -> NDArray[Any]:
    if len(predictions) == 1:
        return predictions[0].pred_probs
    total = predictions[0].pred_probs.astype("float32")
    for one in predictions[1:]:
        total += one.pred_probs
    return total / len(predictions)


def _agreement(dataset: Dataset, pred_probs: NDArray[Any]) -> float:
    return float((pred_probs.argmax(axis=1) == dataset.labels).mean())


def _folds(dataset: Dataset, predictions: list[Predictions]) -> pl.DataFrame | None:
    """Tell in which fold each item was held out; None if nobody knows."""
    import polars as pl

    fold = predictions[0].fold
    if fold is None:
        return None
    return dataset.items.select("item_id", fold=pl.Series(fold, dtype=pl.Int32))


def _record(
    options: FindOptions,
    command: tuple[str, ...],
    dataset: Dataset,
    predictions: list[Predictions],
    findings: Findings,
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
            path=None if read is None else str(Path(read).absolute()),
            fingerprint=dataset.fingerprint,
            items=len(dataset),
            annotations=dataset.annotations.height,
            images=dataset.image_paths is not None,
            class_names=dataset.class_names,
            splits=splits,
            skipped=dataset.skipped,
        ),
        models=tuple(_model(one) for one in predictions),
        findings=findings,
        warnings=tuple(stages.warnings),
        seconds=stages.seconds,
        versions=versions(),
    )


def _model(predictions: Predictions) -> ModelRecord:
    details = dict(predictions.details)
    choice = details.get("auto")
    return ModelRecord(
        name=predictions.model, why=None if choice is None else choice["why"], details=details
    )


def _findings(found: Assessment, agreement: float) -> Findings:
    flagged = found.issues.filter("flagged")
    kinds = flagged["kind"].value_counts(sort=True)
    return Findings(
        flagged=flagged.height,
        flagged_by_kind=dict(kinds.iter_rows()),
        agreement=round(agreement, 4),
        errors_at_least=found.summary.errors_at_least,
        weights=found.summary.weights,
        duplicates_agree=found.summary.duplicates_agree,
    )


def _page(dataset: Dataset, found: Assessment, record: RunRecord) -> str:
    from labelfix.report import Facts, render

    facts = Facts(
        title=Path(record.options.path or record.options.labels or "").resolve().name,
        model=", ".join(model.name for model in record.models),
        model_note=f"agrees with {record.findings.agreement:.0%} of the labels",
        errors_at_least=record.findings.errors_at_least,
        made_with=_made_with(record),
        warnings=record.warnings,
        skipped=[str(problem) for problem in record.dataset.skipped],
    )
    return render(dataset, found.issues, found.summary.confident_joint, facts)


def _made_with(record: RunRecord) -> dict[str, str]:
    """Say in words what run.json holds."""
    options, data = record.options, record.dataset
    seconds = ", ".join(f"{name} {spent:.1f} s" for name, spent in record.seconds.items())
    return {
        **({"Command": shlex.join(record.command)} if record.command else {}),
        "Data": f"{data.format}, {count(data.items, 'item')}, fingerprint {data.fingerprint}",
        "Judged by": "; ".join(model.why or model.name for model in record.models),
        "Folds": f"{options.folds}, seed {options.seed}" if options.path else "unknown",
        "Label quality": options.score,
        "Flagged by": options.select,
        "Made": f"{record.created}; {seconds}",
        "With": ", ".join(
            f"{name} {version}"
            for name, version in {"labelfix": record.labelfix, **record.versions}.items()
        ),
    }
