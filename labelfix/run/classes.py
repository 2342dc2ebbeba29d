"""A run on class labels: how they are predicted and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.run.idle import beside
from labelfix.run.outcome import Outcome, describe, model_record
from labelfix.run.record import Findings

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from labelfix.find import Assessment
    from labelfix.progress import Progress
    from labelfix.run.record import FindOptions, RunRecord
    from labelfix.schema import Dataset, Predictions

__all__ = ["check_choices", "judge", "predict"]

OF_BOXES = ("predictions", "class_map", "kinds", "train")

OF_IMAGES = ("finetune", "torchvision")
"""What stands before a colon in the names of models that look at images alone."""


def check_choices(dataset: Dataset, options: FindOptions) -> None:
    """Try how to score on three labels: a wrong name should not come up after hours of training.

    Nor should a file that is not there, or not what it is taken for.
    """
    problems = list(beside(options, OF_BOXES, "class labels, and it is for boxes"))
    if dataset.image_paths is None and not options.pred_probs and options.duplicates is not None:
        problems += beside(options, ["duplicates"], "items without images, and it compares images")
    if problems:
        raise InputError(problems)
    _refuse_features(dataset, options)
    _assess([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.95, 0.05]], options, None)
    if options.dynamics is not None:
        from labelfix.training import Tracker

        Tracker.load(options.dynamics).check_dataset(dataset)
    clean = _clean(options)
    if clean is not None:
        from labelfix.find.clean import check_clean

        check_clean(clean, dataset.items["item_id"], dataset.class_names)


def predict(
    dataset: Dataset, options: FindOptions, store: Path, progress: Progress | None
) -> list[Predictions]:
    """Train the model by cross-validation, or let what was seen in a training take its place."""
    from labelfix.predict import out_of_fold

    if options.dynamics is not None and options.model == "auto":
        return []
    return [
        out_of_fold(
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
    ]


def judge(
    dataset: Dataset,
    predictions: list[Predictions],
    options: FindOptions,
    progress: Progress | None,
) -> Outcome:
    """Score, select and sum up."""
    predictions = _with_dynamics(dataset, predictions, options)
    found = _assess(dataset, predictions, options, _clean(options), progress)
    pred_probs = _mean(predictions)
    said = pred_probs.argmax(axis=1)
    agreement = float((said == dataset.labels).mean())
    _doubt(dataset, predictions, options)
    return Outcome(
        issues=found.issues,
        folds=_folds(dataset, predictions),
        predictions=pred_probs,
        models=tuple(model_record(one.model, one.details) for one in predictions),
        strategies=describe(found.strategies),
        findings=_findings(found, agreement),
        draw=lambda record: _page(dataset, found, record),
        neighbors=found.neighbors,
    )


def _doubt(dataset: Dataset, predictions: list[Predictions], options: FindOptions) -> None:
    """Warn of predictions that may be those of other rows or columns, or of a model of no use."""
    for one in predictions:
        if options.pred_probs:
            where, fix = one.details.get("file", one.model), "and in the same order"
            said = _in_another_order(dataset, one) or _by_chance(dataset, one, fix)
        elif one.details.get("auto", {}).get("learned", True):
            where, fix = one.model, "or try another --model"
            said = _by_chance(dataset, one, fix)
        else:
            return  # it said so when it chose the model
        if said:
            warn_caller(f"{where}: {said}")


def _in_another_order(dataset: Dataset, predictions: Predictions) -> str | None:
    """Say so where columns seem to stand for other classes than they are taken for."""
    from labelfix.evaluate.compare import in_another_order

    names = dataset.class_names
    answers = predictions.pred_probs.argmax(axis=1)
    told = in_another_order(answers, dataset.labels, len(names))
    if told is None:
        return None
    odd = [row for row, label in enumerate(told.label) if row != label][:3]
    seen = ", ".join(
        f"{names[row]!r} is for the most part labelled {names[told.label[row]]!r}" for row in odd
    )
    return (
        f"the probabilities agree with {told.as_is:.0%} of the labels, and would with "
        f"{told.renamed:.0%} if their columns stood for other classes: what they call {seen}; say "
        "what the columns stand for with --class-names, or name them in a table"
    )


def _by_chance(dataset: Dataset, predictions: Predictions, fix: str) -> str | None:
    """Say so where predictions know of the labels no more than how frequent classes are."""
    from labelfix.score.chance import knowledge_of

    if len(dataset) < 10 * len(dataset.class_names):
        return None
    known = knowledge_of(dataset.labels, predictions.pred_probs)
    if known.is_more:
        return None
    return (
        f"given labels get a probability of {known.given:.3g} in the mean, and by chance it would "
        f"be {known.chance:.3g}, so the ranking says little: look whether predictions and labels "
        f"are of the same items, {fix}"
    )


def _with_dynamics(
    dataset: Dataset, predictions: list[Predictions], options: FindOptions
) -> list[Predictions]:
    """Join what was seen in a training with what the first model says, or let it stand alone."""
    if options.dynamics is None:
        return predictions
    from labelfix.training import Tracker

    tracker = Tracker.load(options.dynamics)
    first = predictions[0] if predictions else None
    return [tracker.predictions(dataset, first), *predictions[1:]]


def _refuse_features(dataset: Dataset, options: FindOptions) -> None:
    """Refuse columns to learn from beside a model that looks at the images alone."""
    features, plus, _ = options.model.rpartition("+")
    own = not plus and ":" in options.model and options.model.partition(":")[0] not in OF_IMAGES
    by_columns = (features or options.model) == "columns"
    if options.features and dataset.image_paths is not None and not (own or by_columns):
        found, fix = f"columns beside images, which {options.model} looks at", "leave it away"
        raise InputError(Problem("--features", found, "--model columns+logistic and the like", fix))


def _assess(
    data: Any,  # as labelfix.find.assess takes it
    predictions: Any,  # as above
    options: FindOptions,
    clean: pl.DataFrame | None,
    progress: Progress | None = None,
) -> Assessment:
    from labelfix.find import assess

    return assess(
        data,
        predictions,
        score=options.score,
        select=options.select,
        engine=options.engine,  # type: ignore[arg-type] # assess refuses what it does not know
        clean=clean,
        progress=progress,
    )


def _clean(options: FindOptions) -> pl.DataFrame | None:
    """Read the right labels that are known.

    Raises
    ------
    InputError
        If it is no table, or naming the rows that do not fit its header.
    """
    if options.clean_labels is None:
        return None
    from pathlib import Path

    from labelfix.formats.tablefile import open_table

    file = open_table(Path(options.clean_labels))
    if file.bad:  # a label that is not there would say that no class fits
        raise InputError(file.bad.values())
    return file.table


def _mean(predictions: list[Predictions]) -> NDArray[Any]:
    if len(predictions) == 1:
        return predictions[0].pred_probs
    total = predictions[0].pred_probs.astype("float32")
    for one in predictions[1:]:
        total += one.pred_probs
    return total / len(predictions)


def _folds(dataset: Dataset, predictions: list[Predictions]) -> pl.DataFrame | None:
    """Tell in which fold each item was held out; None if nobody knows."""
    import polars as pl

    fold = predictions[0].fold
    if fold is None:
        return None
    return dataset.items.select("item_id", fold=pl.Series(fold, dtype=pl.Int32))


def _findings(found: Assessment, agreement: float) -> Findings:
    flagged = found.issues.filter("flagged")
    return Findings(
        flagged=flagged.height,
        flagged_by_kind=dict(flagged["kind"].value_counts(sort=True).iter_rows()),
        agreement=round(agreement, 4),
        errors_at_least=found.summary.errors_at_least,
        weights=found.summary.weights,
        duplicates_agree=found.summary.duplicates_agree,
    )


def _page(dataset: Dataset, found: Assessment, record: RunRecord) -> str:
    from labelfix.report import render
    from labelfix.run.facts import facts_of

    note = f"agrees with {record.findings.agreement:.0%} of the labels"
    return render(dataset, found.issues, found.summary.confident_joint, facts_of(record, note))
