"""A dataset and its predictions become the issues table. Pure: no file is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelfix.errors import InputError, Problem
from labelfix.find.boxes import BoxAssessment, BoxSummary, assess_boxes
from labelfix.find.classes import Assessment, Engine, Summary, Weighing, assess
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import polars as pl

    from labelfix.find.boxes import BoxScore
    from labelfix.progress import Progress
    from labelfix.schema import BoxKind
    from labelfix.score.quality import QualityScore
    from labelfix.score.selection import SelectionRule

__all__ = [
    "Assessment",
    "BoxAssessment",
    "BoxSummary",
    "Engine",
    "Summary",
    "Weighing",
    "assess",
    "assess_boxes",
    "find_issues",
]


def find_issues(
    data: Any,  # a Dataset, or labels in any form
    predictions: Any,  # Predictions, BoxPredictions, a matrix in any form, or several of them
    *,
    score: str | QualityScore | BoxScore = "default",
    select: str | SelectionRule = "default",
    engine: Engine = "labelfix",
    class_names: Sequence[str] | None = None,
    weighing: Weighing | None = None,
    clean: pl.DataFrame | None = None,
    kinds: Collection[BoxKind] | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Rank all labels or boxes, most suspicious first.

    Parameters
    ----------
    data
        A dataset with one label an item or with boxes, or labels alone, shape (n,): integers or
        class names.
    predictions
        Of class labels: `Predictions`, or class probabilities, shape (n, K), rows sum to one, or a
        list of several: one a model. Rows in item order. Of boxes: `BoxPredictions`, or a table
        with the columns of `labelfix.schema.BOX_PREDICTIONS`.
    score
        What `quality` is. Of class labels: "default" ("head_to_head"), "error_probability", a name
        of `labelfix.score.QUALITY_SCORES`, or a score. Of boxes: "default" ("error_probability"),
        "objectlab", "fiftyone", or one of those with parameters: `BoxParams`, `ObjectLab`,
        `FiftyOne` of `labelfix.score.boxes`.
    select
        What is flagged: "default" ("other_likelier"), a name of `labelfix.score.SELECTION_RULES`,
        or a rule. Boxes have no other than the default: `flag_above` of their score decides.
    engine
        "cleanlab" lets cleanlab do the scoring and the selection; it must be installed. "default"
        then means cleanlab's own defaults, "self_confidence" and "prune_by_noise_rate".
    class_names
        Of the columns, where neither the data nor the predictions know them.
    weighing
        How evidence is combined where there is more than one matrix.
    clean
        Right labels of a random sample of the items, if somebody knows them: columns item_id and
        label, null where no class fits. `error_probability` is corrected by them; see
        `labelfix.score.calibration.recalibrate`.
    kinds
        Of boxes: the kinds of error to look for; one alone gives its own ranking. None: all.
    progress
        Called as `progress(what, done, total)`.

    Returns
    -------
    pl.DataFrame
        The columns of `labelfix.schema.CLASS_ISSUES`, one row a label, or `BOX_ISSUES`, one row a
        given box that is no crowd region and one for each box that may be missing; by rising
        `quality` and then in item order. `suggested_label` is for class labels the likeliest other
        class than the given one, on every row: the best alternative, also where the given label
        looks right. `kind` says what kind of error it would be, and `kind_score` how clearly.
        Without ids, `item_id` and `annotation_id` are the row number.

    Raises
    ------
    InputError
        If labels and predictions do not fit, or a name is unknown; all problems at once.
    MissingExtraError
        If cleanlab is asked for and not installed.

    Examples
    --------
    >>> issues = find_issues(["cat", "dog", "dog"], [[0.9, 0.1], [0.2, 0.8], [0.95, 0.05]])
    >>> issues["item_id", "given_label", "suggested_label", "flagged"].row(0)
    ('2', 'dog', 'cat', True)
    >>> issues["evidence"][0]
    "the model gives 'cat' .95 and the given 'dog' .05"
    """
    if isinstance(data, Dataset) and data.has_boxes:
        _only_for_class_labels(select, engine, weighing, clean)
        return assess_boxes(data, predictions, score=score, kinds=kinds, progress=progress).issues  # type: ignore[arg-type] # it refuses a score of class labels
    if kinds is not None:
        raise InputError(Problem("kinds", "class labels", "boxes"))
    return assess(
        data,
        predictions,
        score=score,  # type: ignore[arg-type] # it refuses a score of boxes
        select=select,
        engine=engine,
        class_names=class_names,
        weighing=weighing,
        clean=clean,
        progress=progress,
    ).issues


def _only_for_class_labels(
    select: str | SelectionRule,
    engine: Engine,
    weighing: Weighing | None,
    clean: pl.DataFrame | None,
) -> None:
    """Refuse what boxes have no use for.

    Raises
    ------
    InputError
        Naming each of them.
    """
    problems = [
        Problem(name, "a choice for class labels", f"{default} for boxes")
        for name, chosen, default in [
            ("select", select, "default"),
            ("engine", engine, "labelfix"),
            ("weighing", weighing, None),
            ("clean", None if clean is None else "a table", None),
        ]
        if chosen != default
    ]
    if problems:
        raise InputError(problems)
