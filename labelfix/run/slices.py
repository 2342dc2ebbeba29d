"""Slices of a run, or of a dataset and predictions for it: read, gather facts, count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.decisions import read_log
from labelfix.errors import InputError, Problem, warn_caller
from labelfix.evaluate.compare import in_another_order
from labelfix.evaluate.slices import box_facts, slice_map, slice_rates
from labelfix.evaluate.versions import answers_for
from labelfix.formats.detections import read_box_predictions
from labelfix.metadata import gather
from labelfix.run.dataset import read_as
from labelfix.run.directory import RECORD, open_run
from labelfix.run.idle import beside
from labelfix.run.record import Reading
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.run.directory import Run

__all__ = ["slice_errors"]

MOST, DRAWS = 50, 200
"""By default: values of a fact to slice by, and draws of the bootstrap."""


def slice_errors(
    path: str | Path,
    reading: Reading | None = None,
    *,
    predictions: str | Path | None = None,
    class_map: Sequence[str] | None = None,
    reviewed: bool = False,
    template: str | None = None,
    joins: Sequence[tuple[str | Path, str]] = (),
    to: str | None = None,
    image_facts: bool = False,
    condition: str | None = None,
    by: Sequence[str] | None = None,
    bins: int = 4,
    most: int = MOST,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Say for each value of each fact how good predictions are, or how wrong labels.

    Parameters
    ----------
    path
        A run: the share of its labels, or given boxes, that are flagged. A dataset, with
        `predictions`: accuracy, or of boxes average precision.
    reading
        How to read a dataset; its `id` is the predictions' too.
    predictions
        One model's, as `labelfix.evaluate.versions.read_answers` or, of boxes,
        `labelfix.formats.detections.read_box_predictions` reads them.
    class_map
        Of predicted boxes: as in `labelfix.read_box_predictions`.
    reviewed
        Of a run: the share that reviewers found wrong, among what they decided.
    template, joins, to, image_facts, condition
        As in `labelfix.metadata.gather`.
    by, bins, most, level
        As in `labelfix.evaluate.slices.slice_rates`.
    draws, seed
        Of the intervals of average precision.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    InputError
        As those; for a dataset without predictions, a run with them, and a run without decisions;
        for choices that would do nothing, naming each.
    """
    path = Path(path)
    run = open_run(path) if (path / RECORD).exists() else None
    if (run is None) == (predictions is None):
        found = "a run, and predictions" if run else "a dataset, and no predictions"
        expected = "a run, or a dataset with predictions"
        raise InputError(Problem(str(path), found, expected))
    if run is None and reviewed:
        raise InputError(Problem(str(path), "a dataset", "a run, which has decisions"))
    reading = reading or Reading()
    if run:
        dataset = _dataset_of(run)
    else:
        own = {"id": None} if path.is_dir() else {}  # a folder has no columns: it is of predictions
        dataset = read_as(path, reading, progress, **own)
    of_boxes = run is None and dataset.has_boxes
    idle = {
        "--class-map": class_map and not of_boxes,
        "--draws": draws != DRAWS and not of_boxes,
        "--id": reading.id is not None and of_boxes,
        "--most": most != MOST and by,
    }
    _refuse_idle(reading, [name for name, is_idle in idle.items() if is_idle], dataset, run)
    cut: dict[str, Any] = {"by": by, "bins": bins, "most": most, "level": level}
    kept = gather(
        dataset,
        template=template,
        joins=joins,
        to=to,
        image_facts=image_facts,
        condition=condition,
        progress=progress,
    )
    if run is not None:
        facts, wrong = _faults(run, kept, reviewed=reviewed)
        return slice_rates(facts, wrong, **cut)
    if dataset.has_boxes:
        boxes = read_box_predictions(predictions, dataset, class_map=class_map)
        return slice_map(kept, boxes, draws=draws, seed=seed, progress=progress, **cut)
    wrong = _wrong_answers(dataset, kept, str(predictions), reading.id)
    return slice_rates(kept.facts, wrong, measure="accuracy", **cut)


def _refuse_idle(reading: Reading, idle: list[str], dataset: Dataset, run: Run | None) -> None:
    """Refuse choices that would do nothing: those named, and of a run how to read it."""
    what = "a run" if run else "boxes" if dataset.has_boxes else "class labels"
    found = {"--most": "a choice beside --by"}
    expected = {"--class-map": "predicted boxes, with --predictions", "--draws": "predicted boxes"}
    problems = [
        Problem(name, found.get(name, what), expected.get(name, ""), "leave it away")
        for name in idle
    ]
    if run:
        problems += beside(reading, Reading.__struct_fields__, "a run, which is not read anew")
    if problems:
        raise InputError(problems)


def _wrong_answers(
    dataset: Dataset,
    kept: Dataset,
    predictions: str,
    id: str | None,  # noqa: A002 # as in `answers_for`
) -> NDArray[np.bool_]:
    """Say of each item of `kept`, a part of `dataset`, whether it is answered wrongly."""
    answers = answers_for(dataset, predictions, id)[:, 0]
    if told := in_another_order(answers, dataset.labels, len(dataset.class_names)):
        text = f"{predictions}: {told}: its classes may be in another order than the dataset's"
        warn_caller(text)
    wrong = answers != dataset.labels
    rows = dataset.items["item_id"].is_in(kept.items["item_id"].implode())
    found: NDArray[np.bool_] = wrong[rows.to_numpy()]
    return found


def _dataset_of(run: Run) -> Dataset:
    """Give a run's data as it was read."""
    info = run.info.dataset
    root = None if info.root is None else Path(info.root)
    return Dataset(run.items, run.annotations, info.class_names, info.format, root)


def _faults(
    run: Run, dataset: Dataset, *, reviewed: bool
) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    """Facts of each annotation, and whether it is flagged, or found wrong."""
    facts = box_facts(dataset) if dataset.has_boxes else dataset.facts
    ids = dataset.annotations["annotation_id"]
    if not reviewed:
        flagged = run.issues.filter("flagged")["annotation_id"].drop_nulls()
        return facts.drop("annotation_id", strict=False), ids.is_in(flagged.implode()).to_numpy()
    verdicts = _verdicts(run)
    known = ids.is_in(list(verdicts))
    if not known.any():
        raise InputError(Problem(str(run.path), "no decision on these items", "reviewed labels"))
    wrong = ids.filter(known).replace_strict(verdicts, return_dtype=pl.Boolean)
    return facts.filter(known).drop("annotation_id", strict=False), wrong.to_numpy()


def _verdicts(run: Run) -> dict[str, bool]:
    """Say of each decided annotation whether most reviewers found it wrong."""
    replay = read_log(run.path / "decisions.jsonl", run.info.dataset.fingerprint)
    found = {}
    for subject in replay.sessions:
        said = [one.is_error for one in replay.verdicts(subject) if one.decided]
        if said:
            found[subject] = float(np.mean(said)) > 0.5
    return found
