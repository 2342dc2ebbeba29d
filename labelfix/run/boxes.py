"""A run on boxes: how they are predicted and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labelfix.errors import InputError, Problem
from labelfix.run.outcome import Outcome, describe, model_record
from labelfix.run.record import Findings

if TYPE_CHECKING:
    import polars as pl

    from labelfix.find import BoxAssessment
    from labelfix.progress import Progress
    from labelfix.run.record import FindOptions, RunRecord
    from labelfix.schema import BoxPredictions, Dataset

__all__ = ["check_choices", "decodable", "judge", "predict", "read_predictions"]


def check_choices(dataset: Dataset, options: FindOptions) -> None:
    """Refuse unknown names and other boxes' losses, not after hours of training.

    Raises
    ------
    InputError
        Naming each wrong choice.
    """
    from labelfix.find.boxes import SCORES
    from labelfix.schema import BOX_KINDS

    known = {
        "--score": ([options.score], ("default", *SCORES)),
        "--select": ([options.select], ("default",)),
        "--engine": ([options.engine], ("labelfix",)),
        "--kinds": (options.kinds, BOX_KINDS),
    }
    problems = [
        Problem(option, repr(name), f"for boxes: {', '.join(names)}")
        for option, (chosen, names) in known.items()
        for name in chosen
        if name not in names
    ]
    if options.clean_labels is not None:
        problems.append(Problem("--clean-labels", "an option for class labels", "none for boxes"))
    if options.dynamics is not None:
        from labelfix.training.boxes import BoxTracker

        BoxTracker.load(options.dynamics).check_dataset(dataset)
        if options.score not in {"default", "error_probability"}:
            found, fix = f"{options.score} beside --dynamics", "leave one of them away"
            problems.append(Problem("--score", found, "error_probability", fix))
    elif options.predictions is None and options.model == "auto":
        found = "neither predictions nor a detector"
        fix = "give --predictions FILE, or --model yolo11n.yaml and the like"
        problems.append(Problem("--model", found, "one of them for boxes", fix))
    if problems:
        raise InputError(problems)


def decodable(dataset: Dataset, options: FindOptions, progress: Progress | None) -> Dataset:
    """Decode every image once, as a detector is going to: hours later would be too late.

    Raises
    ------
    InputError
        Naming every image that cannot be decoded, unless they are to be left out.
    """
    import polars as pl

    from labelfix.images import probe

    _, broken = probe(dataset.image_paths or [], progress=progress)
    ids = dataset.items["item_id"]
    problems = [replace(problem, where=ids[row]) for row, problem in broken.items()]
    if not problems:
        return dataset
    if not options.skip_bad or len(problems) == len(dataset):
        raise InputError(problems)
    kept = dataset.filter(~pl.col("item_id").is_in([problem.where for problem in problems]))
    return replace(kept, skipped=(*dataset.skipped, *problems))


def read_predictions(dataset: Dataset, path: str, options: FindOptions) -> BoxPredictions:
    """Read ready-made predictions."""
    from labelfix.formats.detections import read_box_predictions
    from labelfix.schema import BoxPredictions

    boxes = read_box_predictions(path, dataset, class_map=options.class_map or None)
    details = {"file": path, "boxes": boxes.height}
    return BoxPredictions(boxes, dataset.class_names, model=Path(path).name, details=details)


def predict(
    dataset: Dataset, options: FindOptions, store: Path, progress: Progress | None
) -> BoxPredictions:
    """Train the detector by cross-validation, or let one that never saw the images predict them.

    With --dynamics and no detector, what was seen in a training takes their place.
    """
    import polars as pl

    from labelfix.formats.detections import read_class_map
    from labelfix.predict import out_of_fold_boxes
    from labelfix.schema import BOX_PREDICTIONS, BoxPredictions

    if options.dynamics is not None and options.model == "auto":
        nothing = pl.DataFrame(schema=BOX_PREDICTIONS)
        return BoxPredictions(nothing, dataset.class_names, model="training")
    return out_of_fold_boxes(
        dataset,
        options.model,
        options.folds,
        "group" if "group" in dataset.items.columns else None,
        options.seed,
        duplicates=options.duplicates,
        jobs=options.jobs,
        store=store,
        progress=progress,
        no_train=not options.train,
        class_map=read_class_map(options.class_map) or None,
    )


def judge(
    dataset: Dataset,
    predictions: BoxPredictions,
    options: FindOptions,
    progress: Progress | None,
) -> Outcome:
    """Score, select and sum up."""
    from labelfix.find import assess_boxes

    predictions = _with_dynamics(dataset, predictions, options)
    found = assess_boxes(
        dataset,
        predictions,
        score=options.score,
        kinds=options.kinds or None,  # type: ignore[arg-type] # checked by name
        progress=progress,
    )
    return Outcome(
        issues=found.issues,
        folds=predictions.fold,
        predictions=predictions.boxes,
        models=(model_record(predictions.model, predictions.details),),
        strategies=describe(found.strategies),
        findings=_findings(found),
        draw=lambda record: _page(dataset, found, predictions.boxes, record),
    )


def _with_dynamics(
    dataset: Dataset, predictions: BoxPredictions, options: FindOptions
) -> BoxPredictions:
    """Join what was seen in a training with what a detector says, or let it stand alone."""
    if options.dynamics is None:
        return predictions
    from labelfix.training.boxes import BoxTracker

    tracker = BoxTracker.load(options.dynamics)
    details = {**predictions.details, "dynamics": options.dynamics, "epochs": tracker.epoch}
    return replace(tracker.predictions(dataset, predictions), details=details)


def _findings(found: BoxAssessment) -> Findings:
    kinds = found.summary.kinds
    by_kind = kinds.sort("flagged", descending=True, maintain_order=True)
    return Findings(
        flagged=int(kinds["flagged"].sum()),
        flagged_by_kind={
            kind: flagged
            for kind, flagged in by_kind.select("kind", "flagged").iter_rows()
            if flagged
        },
        agreement=round(found.summary.found, 4),
    )


def _page(
    dataset: Dataset, found: BoxAssessment, predicted: pl.DataFrame, record: RunRecord
) -> str:
    from labelfix.report import render_boxes
    from labelfix.run.facts import facts_of

    note = f"finds {record.findings.agreement:.0%} of the given boxes"
    return render_boxes(
        dataset,
        found.issues,
        found.summary.kinds,
        found.summary.classes,
        facts_of(record, note),
        predictions=predicted,
    )
