"""What corrections bought: the same recipe trained and tested on original and corrected labels.

Correcting a dataset changes two things at once: what the model learns from and what it is measured
by. Four cells tell them apart: trained on original or corrected labels, each tested on original or
corrected ones, with the same split, recipe and seeds.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, LabelfixWarning, Problem, warn_caller
from labelfix.evaluate.boxpairing import BoxPair, pair_boxes
from labelfix.evaluate.pairing import REMOVED, Pair, flattering, pair_versions
from labelfix.evaluate.parts import Terms, check_classes
from labelfix.evaluate.scoring import METRICS, UNTESTED, ClassScores
from labelfix.evaluate.statistics import mcnemar, redraw
from labelfix.evaluate.tables import (
    AFTER,
    BEFORE,
    Gain,
    Layout,
    gain_tables,
    movement_table,
    time_table,
)
from labelfix.splits import PARTS, TEST, TRAIN, VALIDATION, Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.predict.models import FoldJob, Inputs, Model
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

    Floats = NDArray[np.float64]

__all__ = ["Gain", "measure_gain"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that is decided before anything is trained.

    Parameters
    ----------
    pair
        The labels.
    units
        Items that stay together, shape (n,).
    parts
        Part of each item for each seed, shape (seeds, n).
    model, inputs
        What learns, and from what.
    model_seeds
        Seed of each training.
    details
        The recipe, for the record.
    terms
        On which all this was decided.
    """

    pair: Pair
    units: NDArray[np.int64]
    parts: NDArray[np.int8]
    model: Model
    inputs: Inputs
    model_seeds: Sequence[int]
    details: Mapping[str, Any]
    terms: Terms


def measure_gain(
    original: Dataset,
    corrected: Dataset,
    model: Any = "auto",
    seeds: int = 5,
    split: Split | None = None,
    *,
    resplit: bool = False,
    allow_removed: bool = False,
    suggested_by: Sequence[str] = (),
    draws: int = 1000,
    level: float = 0.95,
    timed: int = 0,
    jobs: int | None = None,
    store: Path | None = None,
    cache: Path | Literal[False] | None = None,
    progress: Progress | None = None,
) -> Gain:
    """Train and test on both versions of the labels, and split the gain.

    Parameters
    ----------
    original, corrected
        The same items, with one class label each, matched by id, moved images by content; or images
        with boxes, matched by id.
    model
        As `labelfix.out_of_fold` takes it. "auto" is chosen once, by its log loss on the original
        labels of the validation part, and is then the same in all cells. With boxes a detector, as
        `labelfix.predict.detect.names.resolve` takes it.
    seeds
        So many models are trained on each version of the labels.
    split
        How; None: `Split()`, 8:1:1. Drawn once and the same for all cells and seeds, unless
        `resplit`.
    resplit
        Draw a split for each seed, the same for all cells, and say how much of the movement it is.
        Takes one more training for each seed.
    allow_removed
        Items that are missing from the corrected version were removed on purpose.
    suggested_by
        Names of the models whose suggestions the reviewer followed, for a warning.
    draws, level
        Of the intervals, see `labelfix.evaluate.statistics.redraw`. What stays together in the
        split is redrawn together.
    timed
        So many test images are also predicted one by one on one thread of the processor after each
        training, to take the time (`Gain.times`), by networks and detectors.
    jobs, store, cache, progress
        As for `labelfix.out_of_fold`. With a store, the same call goes on at the training that it
        reached, and one with more seeds trains only what is new.

    Raises
    ------
    InputError
        If the versions do not describe the same items (all are listed), or a part has one class
        only; see also `Split.draw`.
    MissingExtraError
        If the model needs a package that is not installed.

    Warns
    -----
    LabelfixWarning
        If the labels do not differ where they are tested; if a class is tested that some training
        part lacks; if the model under test suggested the corrections.

    Examples
    --------
    >>> from labelfix.schema import Dataset
    >>> def version(labels):
    ...     names = [f"i{n:03d}" for n in range(len(labels))]
    ...     items = pl.DataFrame({"item_id": names, "x": [n % 2 for n in range(len(names))]})
    ...     rows = pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels})
    ...     return Dataset(items, rows, ("even", "odd"), "memory", feature_columns=("x",))
    >>> truth = ["even", "odd"] * 100
    >>> noisy = ["odd" if n % 5 == 0 else label for n, label in enumerate(truth)]
    >>> gain = measure_gain(version(noisy), version(truth), "knn", seeds=2,
    ...                     split=Split(duplicates=None))
    >>> gain.cells.filter(metric="accuracy")["value"].round(2).to_list()
    [0.9, 1.0, 0.9, 1.0]
    >>> [gain.effect(name)["value"].__round__(2) for name in ("test_labels", "training_labels")]
    [0.1, 0.0]
    """
    terms = Terms(
        seeds=seeds,
        split=split or Split(),
        resplit=resplit,
        suggested_by=suggested_by,
        draws=draws,
        level=level,
        timed=timed,
        jobs=jobs,
        store=store,
        cache=cache,
        progress=progress,
    )
    return gain_of(pair_of(original, corrected, allow_removed=allow_removed), model, terms)


def pair_of(original: Dataset, corrected: Dataset, *, allow_removed: bool) -> Pair | BoxPair:
    """Match two versions of class labels or of boxes; errors as `measure_gain`."""
    match = pair_boxes if original.has_boxes and corrected.has_boxes else pair_versions
    return match(original, corrected, allow_removed=allow_removed)


def gain_of(pair: Pair | BoxPair, model: Any, terms: Terms) -> Gain:
    """Do what `measure_gain` does, for versions that are matched already."""
    if isinstance(pair, BoxPair):
        from labelfix.evaluate.boxgain import measure_box_gain

        return measure_box_gain(pair, model, terms)
    plan, said = make_plan(pair, model, terms)
    versions = pair.versions()
    trained = train(plan, list(versions.values()))
    answers = [one.answers for one in trained]
    alone = _answers_on_one_split(plan)
    scores = scores_of(plan, dict(zip(versions, answers, strict=True)), versions)
    drawn = scores.as_cells(
        redraw(
            scores.redrawn,
            scores.n_units,
            scores.n_seeds,
            draws=terms.draws,
            seed=terms.split.seed,
            progress=terms.progress,
        )
    )
    differ = any((one != one[0]).any() for one in answers)
    tested = int((plan.parts == TEST).any(axis=0).sum())
    details = {
        **plan.details,
        "tested": tested,
        "seeds_differ": differ,
        "draws": terms.draws,
        "level": terms.level,
    }
    tables = _tables(plan, scores, drawn, alone, details, said)
    seconds = {name: one.seconds for name, one in zip(versions, trained, strict=True)}
    return replace(tables, times=time_table(seconds))


def make_plan(pair: Pair, model: Any, terms: Terms) -> tuple[Plan, tuple[str, ...]]:
    """Split, choose the model, and make its inputs; warn, and give the warnings for the record.

    Raises
    ------
    InputError
        As `measure_gain`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LabelfixWarning)
        plan = _plan(pair, model, terms)
        _warn(plan)
    ours = [str(one.message) for one in caught if issubclass(one.category, LabelfixWarning)]
    for one in caught:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return plan, tuple(dict.fromkeys(ours))


def _plan(pair: Pair, model: Any, terms: Terms) -> Plan:
    from labelfix.predict.models import describe

    split = terms.split
    aside = {split.groups, split.sources, split.given}
    learned = tuple(name for name in pair.dataset.feature_columns if name not in aside)
    dataset = replace(pair.dataset, feature_columns=learned)
    units, parts = terms.parts(dataset)
    check_classes(pair.versions(), np.unique(parts, axis=0))
    model_seeds = terms.model_seeds
    chosen, inputs, why = _choose(model, pair, dataset, parts[0], model_seeds[0], terms)
    details = {
        "model": chosen.name,
        "parameters": describe(chosen),
        "auto": why,
        "seeds": terms.seeds,
        "split": describe(split),
        "resplit": terms.resplit,
        "items": len(dataset),
        "units": int(units.max()) + 1,
        "class_names": list(pair.class_names),
        "fingerprint": pair.dataset.fingerprint,
    }
    return Plan(pair, units, parts, chosen, inputs, model_seeds, details, terms)


@dataclass(frozen=True, eq=False)
class Trained:
    """The models of all seeds, trained on one version of the labels.

    Parameters
    ----------
    answers
        Class numbers, shape (seeds, n); `UNTESTED` outside the test part.
    losses
        Mean training loss of each epoch for each seed; None if the model does not say.
    seconds
        Of each item that was timed, for each seed; None if the model does not say.
    """

    answers: NDArray[np.int32]
    losses: list[Floats | None]
    seconds: list[Floats | None]


def train(plan: Plan, labels: Sequence[NDArray[np.int64]]) -> list[Trained]:
    """Train on each version of the labels with each seed, and predict its test part.

    Equal jobs are done once: a version that does not differ where it trains gives equal answers.
    """
    wanted = [
        _job(plan, one, seed, plan.parts[seed])
        for one in labels
        for seed in range(len(plan.model_seeds))
    ]
    found = _train(plan, wanted)
    seeds = len(plan.model_seeds)
    each = [slice(start, start + seeds) for start in range(0, len(wanted), seeds)]
    return [Trained(found.answers[o], found.losses[o], found.seconds[o]) for o in each]


def scores_of(
    plan: Plan,
    answers: Mapping[str, NDArray[np.integer]],
    versions: Mapping[str, NDArray[np.int64]],
) -> ClassScores:
    """Hold answers against versions of the labels, on the items that are ever tested."""
    tested = np.flatnonzero((plan.parts == TEST).any(axis=0))
    _, units = np.unique(plan.units[tested], return_inverse=True)
    return ClassScores(
        {name: one[:, tested] for name, one in answers.items()},
        {name: one[tested] for name, one in versions.items()},
        units,
        len(plan.pair.class_names),
    )


def _job(plan: Plan, labels: NDArray[np.int64], seed: int, part: NDArray[np.int8]) -> FoldJob:
    from labelfix.predict.models import FoldJob

    rows = np.flatnonzero((part == TRAIN) & (labels != REMOVED))
    return FoldJob(
        rows,
        labels[rows],
        np.flatnonzero(part == TEST),
        len(plan.pair.class_names),
        plan.model_seeds[seed],
        plan.terms.timed,
    )


def _train(plan: Plan, wanted: Sequence[FoldJob]) -> Trained:
    """Do each job; in place of seeds the result has jobs."""
    from labelfix.predict.jobs import run_jobs

    terms = plan.terms
    keys = [
        (one.train.tobytes(), one.labels.tobytes(), one.test.tobytes(), one.seed) for one in wanted
    ]
    unique = dict(zip(keys, wanted, strict=True))
    results = run_jobs(
        plan.model,
        plan.inputs,
        list(unique.values()),
        workers=terms.jobs,
        store=terms.store,
        progress=terms.progress,
    )
    of_key = dict(zip(unique, results, strict=True))
    answers = np.full((len(wanted), len(plan.units)), UNTESTED, dtype=np.int32)
    for row, (key, job) in enumerate(zip(keys, wanted, strict=True)):
        answers[row, job.test] = of_key[key].pred_probs.argmax(axis=1)
    each = [of_key[key] for key in keys]
    return Trained(answers, [one.losses for one in each], [one.seconds for one in each])


def _answers_on_one_split(plan: Plan) -> NDArray[np.int32] | None:
    """Where each seed has a split of its own: train all of them on the first one as well."""
    if not plan.terms.resplit:
        return None
    seeds = range(len(plan.model_seeds))
    wanted = [_job(plan, plan.pair.original, seed, plan.parts[0]) for seed in seeds]
    return _train(plan, wanted).answers


def _choose(
    model: Any,
    pair: Pair,
    dataset: Dataset,
    part: NDArray[np.int8],
    seed: int,
    terms: Terms,
) -> tuple[Model, Inputs, Mapping[str, Any] | None]:
    """Resolve the model, or let `auto` choose on the validation part."""
    from labelfix.predict.auto import as_auto, choose
    from labelfix.predict.models import FoldJob
    from labelfix.predict.names import resolve

    auto, cache, progress = as_auto(model), terms.cache_folder, terms.progress
    if auto is None:
        chosen = resolve(model, dataset)
        return chosen, chosen.prepare(dataset, cache=cache, progress=progress), None
    rows, held_out = np.flatnonzero(part == TRAIN), np.flatnonzero(part == VALIDATION)
    if not len(held_out):
        expected = "some items to choose on, or a model by name"
        raise InputError(Problem("model auto", "a split without validation", expected))
    job = FoldJob(rows, pair.original[rows], held_out, len(pair.class_names), seed)
    choice = choose(auto, dataset, job, cache=cache, store=terms.store, progress=progress)
    return choice.model, choice.inputs, choice.details


def _warn(plan: Plan) -> None:
    pair, names = plan.pair, plan.pair.class_names
    if not (pair.relabelled | pair.removed)[(plan.parts == TEST).any(axis=0)].any():
        where = "no test item" if (pair.relabelled | pair.removed).any() else "nothing"
        warn_caller(f"{where} was corrected: nothing can be said of the test labels")
    unseen = sorted(
        {
            k
            for labels in pair.versions().values()
            for part in np.unique(plan.parts, axis=0)
            for k in np.setdiff1d(labels[part == TEST], labels[part == TRAIN])
            if k != REMOVED
        }
    )
    if unseen:
        shown = ", ".join(repr(names[k]) for k in unseen[:5])
        more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
        text = f"no training item for {shown}{more}, which are tested: they can only be missed"
        warn_caller(text)
    if plan.model.name in plan.terms.suggested_by:
        warn_caller(flattering(plan.model.name, "labels"))


def _tables(
    plan: Plan,
    scores: ClassScores,
    drawn: Floats,
    alone: NDArray[np.int32] | None,
    details: Mapping[str, Any],
    said: tuple[str, ...],
) -> Gain:
    by_seed, level = scores.now(), plan.terms.level
    once = np.ones((1, scores.n_units)), np.ones((1, scores.n_seeds))
    point = scores.as_cells(scores.redrawn(*once))[0]
    layout = Layout(
        METRICS,
        tuple(scores.labels),
        {test: int(scores.counted(test).any(axis=0).sum()) for test in scores.labels},
        plan.pair.class_names,
        {name: _class_items(scores, name) for name in (BEFORE, AFTER)},
    )
    return Gain(
        **gain_tables(layout, point, drawn, by_seed, level),
        mcnemar=_mcnemar_table(scores),
        changes=_change_table(plan),
        movement=None if alone is None else _movement(plan, alone, by_seed, level),
        answers=_answer_table(plan, scores),
        drawn=drawn[..., 0],
        details=details,
        warnings=said,
    )


def _class_items(scores: ClassScores, version: str) -> NDArray[np.int64]:
    labels = scores.labels[version][scores.counted(version).any(axis=0)]
    return np.bincount(labels, minlength=scores.n_classes)


def _mcnemar_table(scores: ClassScores) -> pl.DataFrame:
    tables = []
    for test in scores.labels:
        first, second = scores.right(BEFORE, test), scores.right(AFTER, test)
        only_first = (first & ~second).sum(axis=1)
        only_second = (second & ~first).sum(axis=1)
        exact, mid = mcnemar(only_first, only_second)
        columns = {
            "seed": range(scores.n_seeds),
            "tested_on": test,
            "only_original": only_first,
            "only_corrected": only_second,
            "p_exact": exact,
            "p_mid": mid,
        }
        tables.append(pl.DataFrame(columns))
    return pl.concat(tables).sort("seed", maintain_order=True)


def _change_table(plan: Plan) -> pl.DataFrame:
    what = np.select([plan.pair.removed, plan.pair.relabelled], [2, 1], 0)
    counts = [np.bincount(what[plan.parts[0] == part], minlength=3) for part in range(3)]
    unchanged, relabelled, removed = np.stack(counts, axis=1)
    return pl.DataFrame(
        {"part": PARTS, "unchanged": unchanged, "relabelled": relabelled, "removed": removed}
    )


def _movement(plan: Plan, alone: NDArray[np.int32], by_seed: Floats, level: float) -> pl.DataFrame:
    on_one = scores_of(_on_first_split(plan), {BEFORE: alone}, {BEFORE: plan.pair.original}).now()
    return movement_table(on_one[0, 0, :, 0], by_seed[0, 0, :, 0], by_seed[-1, -1, :, 0], level)


def _on_first_split(plan: Plan) -> Plan:
    """Give the plan in which all seeds have the first one's split."""
    return replace(plan, parts=np.repeat(plan.parts[:1], len(plan.parts), axis=0))


def _answer_table(plan: Plan, scores: ClassScores) -> pl.DataFrame:
    tested = np.flatnonzero((plan.parts == TEST).any(axis=0))
    names = pl.Series([*plan.pair.class_names, None], dtype=pl.String)
    columns: dict[str, Any] = {"item_id": plan.pair.dataset.items["item_id"].gather(tested)}
    for name in (BEFORE, AFTER):
        columns[f"{name}_label"] = names.gather(scores.labels[name] % len(names))
    for name in (BEFORE, AFTER):
        answer, share = _most_frequent(scores.answers[name], scores.n_classes)
        columns |= {f"trained_on_{name}": names.gather(answer), f"share_{name}": share}
    return pl.DataFrame(columns)


def _most_frequent(
    answers: NDArray[np.integer], n_classes: int
) -> tuple[NDArray[np.int64], Floats]:
    """Answer of each item that most seeds give, and their share of those that tested it."""
    seed, item = np.nonzero(answers != UNTESTED)
    pairs, many = np.unique(item * n_classes + answers[seed, item], return_counts=True)
    order = np.lexsort((pairs, -many, pairs // n_classes))
    _, first = np.unique(pairs[order] // n_classes, return_index=True)
    best = order[first]
    return pairs[best] % n_classes, many[best] / (answers != UNTESTED).sum(axis=0)
