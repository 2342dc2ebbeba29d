"""Class labels and their predictions become the issues table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.find.clean import check_clean, corrected_by
from labelfix.schema import CLASS_ISSUES, CLASS_KINDS, Dataset, Predictions, check
from labelfix.score.calibration import ErrorProbability
from labelfix.score.combine import (
    Combined,
    Evidence,
    HeadToHead,
    LogPool,
    OtherLikelier,
    Rivals,
    combine,
    rivals_by_confusions,
)
from labelfix.score.confident import ConfidentCounts, count_confident
from labelfix.score.evidence import evidence_sentences
from labelfix.score.inputs import check_labels_and_pred_probs
from labelfix.score.kinds import kind_scores, likeliest_kind
from labelfix.score.neighbors import (
    Neighbors,
    isolation,
    nearest_neighbors,
    neighbor_pred_probs,
)
from labelfix.score.quality import QUALITY_SCORES
from labelfix.score.registry import make
from labelfix.score.selection import SELECTION_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.score.quality import QualityScore
    from labelfix.score.selection import SelectionRule

__all__ = ["Assessment", "Engine", "Summary", "Weighing", "assess"]

Engine = Literal["labelfix", "cleanlab"]


class _Defaults(NamedTuple):
    score: str
    select: str


DEFAULTS: Mapping[str, _Defaults] = {
    "labelfix": _Defaults(HeadToHead.name, OtherLikelier.name),
    "cleanlab": _Defaults("self_confidence", "prune_by_noise_rate"),
}
"""What "default" means, by engine."""

SCORES: Mapping[str, type[QualityScore]] = {
    HeadToHead.name: HeadToHead,
    ErrorProbability.name: ErrorProbability,
    **QUALITY_SCORES,
}
RULES: Mapping[str, type[SelectionRule]] = {OtherLikelier.name: OtherLikelier, **SELECTION_RULES}


@dataclass(frozen=True, slots=True)
class Weighing:
    """How the evidence is combined; see docs/choosing-a-score.md.

    Parameters
    ----------
    pool
        How several sources become one.
    neighbors
        How many neighbours are asked, on each model's embeddings; 0: none.
    sharpness
        How much more the nearest of them count: see `neighbor_pred_probs`.
    duplicates
        Let contradicting labels of duplicates speak.
    """

    pool: LogPool = field(default_factory=LogPool)
    neighbors: int = 10
    sharpness: float = 8.0
    duplicates: bool = True


@dataclass(frozen=True, eq=False)
class Summary:
    """What was found, in numbers.

    Parameters
    ----------
    errors_at_least
        Flagged labels that the model is confident are wrong, as confident learning defines it: a
        low bound on the number of errors, if the model can be trusted where it is sure. One that
        is surer than it should be exceeds it.
    classes
        One row a class: class_name, given, flagged, suggested (how often it is suggested for what
        is flagged).
    confident_joint
        Items given class i that the evidence confidently puts in class j, calibrated, shape (K, K).
    weights
        How much each source of evidence counted: the exponent of its probabilities.
    duplicates_agree
        How far the labels of duplicates were trusted; None if none contradict each other.
    """

    errors_at_least: int
    classes: pl.DataFrame
    confident_joint: NDArray[np.integer[Any]]
    weights: dict[str, float]
    duplicates_agree: float | None


@dataclass(frozen=True, eq=False)
class Assessment:
    """All that is concluded from a dataset and its predictions.

    Parameters
    ----------
    issues, summary
        The queue, and what it comes to.
    strategies
        What decided it, with all parameters: `score`, `select`, `weighing` and
        `error_probability`.
    neighbors
        The nearest other items of each item, nearest first, shape (n, k); None without embeddings.
    """

    issues: pl.DataFrame
    summary: Summary
    strategies: Mapping[str, Any]
    neighbors: NDArray[np.int64] | None = None


def assess(
    data: Any,  # as for find_issues
    predictions: Any,  # as above
    *,
    score: str | QualityScore = "default",
    select: str | SelectionRule = "default",
    engine: Engine = "labelfix",
    class_names: Sequence[str] | None = None,
    weighing: Weighing | None = None,
    clean: pl.DataFrame | None = None,
    progress: Progress | None = None,
) -> Assessment:
    """Find suspicious class labels, and sum them up.

    Parameters and errors are those of `labelfix.find_issues`; boxes are for `assess_boxes`.

    Examples
    --------
    >>> assess([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.95, 0.05]]).summary.classes.rows()
    [('0', 1, 0, 1), ('1', 2, 1, 0)]
    """
    _check_names(engine, score, select)
    weighing = weighing or Weighing()
    default = DEFAULTS[engine]
    scorer = make(SCORES, "score", default.score if score == "default" else score, {})
    rule = make(RULES, "select", default.select if select == "default" else select, {})
    case = _Case.of(data, predictions, class_names)
    if clean is not None:
        check_clean(clean, case.item_id, case.class_names)
    neighbors = _all_neighbors(case.models, weighing, progress)
    combined = _combine(case, neighbors, weighing)
    by_confusions = cache(partial(rivals_by_confusions, case.labels, combined.pred_probs))
    found = by_confusions(getattr(scorer, "confusions", 0.0))
    counts = count_confident(case.labels, combined.pred_probs)
    probability = scorer if isinstance(scorer, ErrorProbability) else ErrorProbability()
    chance = probability.of(by_confusions(probability.confusions), by_confusions(0.0))
    if clean is not None:
        given = pl.Series(case.class_names).gather(case.labels)
        chance = corrected_by(clean, chance, case.item_id, given)
    if scorer is probability:
        quality = 1 - chance
    else:
        quality = _quality(case.labels, combined.pred_probs, scorer, engine, found)
    flagged = _flagged(counts, rule, engine)
    near = neighbors[0] if neighbors else None
    far = None if near is None else isolation(near)
    kinds = kind_scores(case.labels, combined.pred_probs, far)
    trained = [one.train_pred_probs for one in case.models if one.train_pred_probs is not None]
    evidence = evidence_sentences(
        case.labels,
        found.rival,
        case.class_names,
        [model.pred_probs for model in case.models],
        train_pred_probs=trained,
        neighbors=near,
        duplicate_group=case.duplicate_group,
    )
    issues = _table(case, found, quality, chance, flagged, kinds, evidence)
    summary = Summary(
        errors_at_least=int(np.count_nonzero(flagged & counts.confident_errors)),
        classes=_by_class(issues, case.class_names),
        confident_joint=counts.joint,
        weights=combined.weights,
        duplicates_agree=combined.duplicates_agree,
    )
    strategies = {
        "score": scorer,
        "select": rule,
        "weighing": weighing,
        "error_probability": probability,
    }
    return Assessment(issues, summary, strategies, None if near is None else near.rows)


@dataclass(frozen=True, eq=False)
class _Case:
    """The input, checked: labels as class numbers, and models that all speak of the same items."""

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    models: list[Predictions]
    item_id: pl.Series
    annotation_id: pl.Series

    @property
    def duplicate_group(self) -> NDArray[np.int64] | None:
        """Of the first model that knows."""
        groups = (model.duplicate_group for model in self.models)
        return next((one for one in groups if one is not None), None)

    @classmethod
    def of(cls, data: Any, predictions: Any, class_names: Sequence[str] | None) -> _Case:
        labels: Any = data
        if isinstance(data, Dataset):
            labels, class_names = _labels_of(data), data.class_names
        given = _each_model(predictions)
        if class_names is None:
            class_names = next((m.class_names for m in given if isinstance(m, Predictions)), None)
        models = [_as_predictions(one, class_names) for one in given]
        codes, models = _checked(labels, models, class_names)
        if isinstance(data, Dataset):
            ids = data.annotations
            item_id, annotation_id = ids["item_id"], ids["annotation_id"]
        else:
            item_id = annotation_id = pl.int_range(len(codes), eager=True).cast(pl.String)
        return cls(codes, models[0].class_names, models, item_id, annotation_id)


def _labels_of(dataset: Dataset) -> NDArray[np.int64]:
    if not dataset.annotations["item_id"].equals(dataset.items["item_id"]):
        found = f"{dataset.annotations.height} annotations for {len(dataset)} items"
        raise InputError(Problem("dataset", found, "one class label for each item, in item order"))
    return dataset.labels


def _each_model(predictions: Any) -> list[Any]:
    """One model, or several: a list of matrices is told from a matrix in a list by its depth."""
    if not isinstance(predictions, list | tuple):
        return [predictions]
    if not predictions:
        raise InputError(Problem("predictions", "no models", "one or more"))
    if isinstance(predictions[0], Predictions) or _depth(predictions[0]) > 1:
        return list(predictions)
    return [predictions]


def _depth(values: Any) -> int:
    return int(getattr(values, "ndim", None) or np.ndim(values[0]) + 1)


def _as_predictions(one: Any, class_names: Sequence[str] | None) -> Predictions:
    """Wrap a matrix; put the columns of predictions in the order of the class names."""
    if not isinstance(one, Predictions):
        return Predictions(one, ())
    if class_names is None or one.class_names == tuple(class_names):
        return one
    if sorted(one.class_names) != sorted(class_names):
        found = f"classes {', '.join(one.class_names)}"
        expected = f"those of the dataset: {', '.join(class_names)}"
        raise InputError(Problem(f"predictions of {one.model}", found, expected))
    order = [one.class_names.index(name) for name in class_names]
    train = one.train_pred_probs
    return replace(
        one,
        pred_probs=one.pred_probs[:, order],
        train_pred_probs=None if train is None else train[:, order],
        class_names=tuple(class_names),
    )


def _checked(
    labels: Any, models: list[Predictions], class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64], list[Predictions]]:
    """Check each model's matrices against the labels; list the problems of all of them."""
    problems: list[Problem] = []
    checked: list[Predictions] = []
    codes = np.empty(0, dtype=np.int64)
    for number, model in enumerate(models, start=1):
        where = "" if len(models) == 1 else f"model {number}, "
        try:
            codes, one = _check_one(labels, model, class_names)
            checked.append(one)
        except InputError as error:
            problems += [replace(found, where=where + found.where) for found in error.problems]
    if problems:
        raise InputError(problems)
    return codes, checked


def _check_one(
    labels: Any, model: Predictions, class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64], Predictions]:
    codes, pred_probs, names = check_labels_and_pred_probs(labels, model.pred_probs, class_names)
    problems: list[Problem] = []
    train = model.train_pred_probs
    if train is not None:
        try:
            _, train, _ = check_labels_and_pred_probs(codes, train, names)
        except InputError as error:
            problems += [replace(found, where="train_pred_probs") for found in error.problems]
    rows = {"embeddings": model.embeddings, "duplicate_group": model.duplicate_group}
    problems += [
        Problem(name, f"{len(values)} rows", f"{len(codes)}, one an item")
        for name, values in rows.items()
        if values is not None and len(values) != len(codes)
    ]
    if problems:
        raise InputError(problems)
    return codes, replace(model, pred_probs=pred_probs, train_pred_probs=train, class_names=names)


def _all_neighbors(
    models: list[Predictions],
    weighing: Weighing,
    progress: Progress | None,
) -> list[Neighbors]:
    """Neighbours by each embedding there is; models that share one have it asked once."""
    embeddings = {
        id(model.embeddings): model.embeddings
        for model in models
        if model.embeddings is not None and len(model.embeddings) > 1
    }
    if weighing.neighbors == 0:
        return []
    return [
        nearest_neighbors(one, weighing.neighbors, progress=progress) for one in embeddings.values()
    ]


def _combine(case: _Case, neighbors: list[Neighbors], weighing: Weighing) -> Combined:
    sources = [
        Evidence(f"{number}: {model.model}", model.pred_probs, model.train_pred_probs)
        for number, model in enumerate(case.models, start=1)
    ]
    for number, near in enumerate(neighbors, start=1):
        shares = neighbor_pred_probs(
            case.labels, near, len(case.class_names), sharpness=weighing.sharpness
        )
        sources.append(Evidence(f"neighbours {number}", shares))
    group = case.duplicate_group if weighing.duplicates else None
    return combine(case.labels, sources, duplicate_group=group, pool=weighing.pool)


def _check_names(engine: Engine, score: str | QualityScore, select: str | SelectionRule) -> None:
    """Refuse unknown names, all at once."""
    known: Mapping[str, tuple[object, Iterable[str]]] = {
        "engine": (engine, DEFAULTS),
        "score": (score, ("default", *SCORES)),
        "select": (select, ("default", *RULES)),
    }
    problems = [
        Problem(option, repr(name), f"one of {', '.join(names)}")
        for option, (name, names) in known.items()
        if isinstance(name, str) and name not in names
    ]
    if problems:
        raise InputError(problems)


def _scorers(engine: Engine) -> Any:  # a module has no narrower type
    """Choose who scores and selects: two modules with the same functions."""
    if engine == "cleanlab":
        from labelfix.score import reference

        return reference
    from labelfix import score

    return score


def _quality(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    scorer: QualityScore,
    engine: Engine,
    found: Rivals,
) -> NDArray[np.float64]:
    if isinstance(scorer, HeadToHead):
        return scorer.of(found)
    quality: NDArray[Any] = _scorers(engine).label_quality(labels, pred_probs, scorer)
    return quality.astype(np.float64)


def _flagged(counts: ConfidentCounts, rule: SelectionRule, engine: Engine) -> NDArray[np.bool_]:
    if isinstance(rule, OtherLikelier):
        return rule.select(counts)
    flagged: NDArray[np.bool_] = _scorers(engine).select_issues(
        counts.labels, counts.pred_probs, rule
    )
    return flagged


def _table(
    case: _Case,
    found: Rivals,
    quality: NDArray[np.float64],
    probability: NDArray[np.float64],
    flagged: NDArray[np.bool_],
    kinds: NDArray[np.float64],
    evidence: pl.Series,
) -> pl.DataFrame:
    """Put the columns together, and rank them."""
    kind, kind_score = likeliest_kind(kinds)
    names = pl.Series(case.class_names, dtype=pl.String)
    table = pl.DataFrame(
        {
            "item_id": case.item_id,
            "annotation_id": case.annotation_id,
            "kind": pl.Series(CLASS_KINDS).gather(kind),
            "quality": quality,
            "flagged": flagged,
            "given_label": names.gather(case.labels),
            "suggested_label": names.gather(found.rival),
            "kind_score": kind_score,
            "evidence": evidence,
            "error_probability": probability,
        }
    )
    order = np.argsort(quality, kind="stable")
    ranked = table[order].with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    return check(ranked.select(list(CLASS_ISSUES)), CLASS_ISSUES, "issues")


def _by_class(issues: pl.DataFrame, class_names: tuple[str, ...]) -> pl.DataFrame:
    given = issues.group_by(class_name="given_label").agg(
        given=pl.len(), flagged=pl.col("flagged").sum()
    )
    suggested = issues.filter("flagged").group_by(class_name="suggested_label").len("suggested")
    return (
        pl.DataFrame({"class_name": class_names}, schema={"class_name": pl.String})
        .join(given, on="class_name", how="left", maintain_order="left")
        .join(suggested, on="class_name", how="left", maintain_order="left")
        .with_columns(pl.col("given", "flagged", "suggested").fill_null(0).cast(pl.Int64))
    )
