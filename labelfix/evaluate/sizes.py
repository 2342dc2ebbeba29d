"""What corrections buy over models and image sizes: the metric beside the time an image takes.

Clean labels can let a smaller, faster model do the job. For each model and size the four cells of
`labelfix.measure_gain`, on the same split and seeds, and the time that the trained network takes
for one image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.evaluate.gain import gain_of, pair_of
from labelfix.evaluate.parts import Terms
from labelfix.evaluate.statistics import interval
from labelfix.predict.timing import processor
from labelfix.splits import Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelfix.evaluate.tables import Gain
    from labelfix.schema import Dataset

__all__ = ["Sizes", "measure_sizes", "model_at", "models_named"]

LEAD = "lead"
"""An effect: trained on corrected labels, above the best model trained on original ones."""

EXPECTED = "small-cnn or finetune:ARCHITECTURE; with boxes a detector"


@dataclass(frozen=True, eq=False)
class Sizes:
    """What `measure_sizes` finds: tables of `labelfix.Gain` with the columns model and size first.

    Parameters
    ----------
    cells, effects
        As those of `Gain`. One effect more is `lead`: the main metric trained on corrected labels,
        above the best of all models and sizes trained on original labels, both tested on corrected
        ones, with a paired interval.
    times
        A row a model, size and version trained on: median and quartiles of the milliseconds of
        processor time that an image takes, the median over the seeds, and how many images were
        timed for each.
    details, warnings
        The recipe and what makes the result weaker than it looks, for the record.
    """

    cells: pl.DataFrame
    effects: pl.DataFrame
    times: pl.DataFrame
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def tables(self) -> dict[str, pl.DataFrame]:
        """Give all tables by name."""
        return {"cells": self.cells, "effects": self.effects, "times": self.times}

    def marks(self) -> pl.DataFrame:
        """Give the main metric on corrected labels beside the time: a row a model and size.

        Columns model, size, metric; for each version trained on VERSION, VERSION_low and
        VERSION_high; change, change_low and change_high: what training on corrected labels brings,
        measured by them; lead, lead_low and lead_high, null in folders of earlier versions; and ms,
        the median over both versions, whose labels do not change what a network computes. The
        fastest first.
        """
        key = ["model", "size"]
        metric = self.cells["metric"][0]
        cells = self.cells.filter(metric=metric, tested_on="corrected")
        marks = cells.select(*key, "metric").unique(maintain_order=True)
        for name, effect in (("change", "training_labels_corrected"), ("lead", LEAD)):
            one = self.effects.filter(metric=metric, step="all", effect=effect).select(
                *key, pl.col("value").alias(name), pl.col("low", "high").name.prefix(f"{name}_")
            )
            marks = marks.join(one, on=key, how="left", nulls_equal=True)
        for name in ("original", "corrected"):
            one = cells.filter(trained_on=name).select(
                *key, pl.col("value").alias(name), pl.col("low", "high").name.prefix(f"{name}_")
            )
            marks = marks.join(one, on=key, how="left", nulls_equal=True)
        times = self.times.group_by(key).agg(pl.col("ms").median())
        marks = marks.join(times, on=key, how="left", nulls_equal=True)
        return marks.sort("ms", *key, maintain_order=True)


def measure_sizes(
    original: Dataset,
    corrected: Dataset,
    models: Sequence[Any],
    sizes: Sequence[int] = (),
    seeds: int = 5,
    *,
    timed: int = 50,
    **options: Any,
) -> Sizes:
    """Train and test each model at each size on both versions, and take the time of an image.

    Parameters
    ----------
    original, corrected, seeds
        As for `labelfix.measure_gain`.
    models
        Names, or objects, as `model_at` takes them.
    sizes
        Sides of the images in pixels; none: each model's own.
    timed
        Test images that are timed after each training, at least 1: one by one, CPU time of the one
        thread that the network computes on, after some to warm up. Of a detector from the pixels to
        the boxes; of a classifier from the image at its size to the answer.
    options
        Further ones of `labelfix.measure_gain`. With a store the same call goes on at the training
        that it reached, and one with more models, sizes or seeds trains only what is new.

    Raises
    ------
    InputError
        Naming every model and size that do not go together, before anything is trained; as
        `measure_gain`.
    """
    if not models or timed < 1:
        found = "no models" if not models else f"timed {timed}"
        raise InputError(Problem("sizes", found, "one or more"))
    chosen: list[tuple[str, int | None, Any]] = []
    problems: list[Problem] = []
    for model in models:
        for size in sizes or (None,):
            if any((_name(model), size) == (name, at) for name, at, _ in chosen):
                where = f"model {_name(model)}" + (f" at {size} px" if size else "")
                problems.append(Problem(where, "this model and size again", "each once"))
                continue
            try:
                chosen.append((_name(model), size, _ready(model, size, original)))
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(problems)
    allow_removed = options.pop("allow_removed", False)
    options["split"] = options.get("split") or Split()
    terms = Terms(seeds=seeds, timed=timed, **options)
    pair = pair_of(original, corrected, allow_removed=allow_removed)
    gains = [gain_of(pair, model, terms) for _, _, model in chosen]
    keys = [(name, size) for name, size, _ in chosen]
    times = [_times(name, one) for (name, _), one in zip(keys, gains, strict=True)]
    details = {
        **gains[0].details,
        "models": [{"name": name, "size": size} for name, size in keys],
        "parameters": [one.details["parameters"] for one in gains],
        "timed": timed,
        "processor": processor(),
    }
    del details["model"]
    said = dict.fromkeys(text for one in gains for text in one.warnings)
    return Sizes(
        _joined(keys, [one.cells for one in gains]),
        _joined(keys, _with_leads(gains, times, terms.level)),
        _joined(keys, times),
        details,
        tuple(said),
    )


def models_named(text: str) -> list[str]:
    """Read models with commas between; a part like `epochs=25` belongs to the model before it.

    Examples
    --------
    >>> models_named("yolo11n,epochs=25,yolo11s.yaml")
    ['yolo11n,epochs=25', 'yolo11s.yaml']
    >>> models_named("yolo11n,torchvision:fcos_resnet50_fpn=mine.pth,epochs=2")
    ['yolo11n', 'torchvision:fcos_resnet50_fpn=mine.pth,epochs=2']
    """
    found: list[str] = []
    for part in map(str.strip, text.split(",")):
        if re.match(r"\w+=", part) and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def model_at(model: Any, size: int | None, dataset: Dataset) -> Any:
    """Make a model that sees images at a size.

    Parameters
    ----------
    model
        With boxes, as `labelfix.predict.detect.names.resolve` takes it; a bare name such as
        `yolo11n` is the model without weights, `yolo11n.yaml`. Else `small-cnn`,
        `finetune:ARCHITECTURE`, or an object with a field `size`.
    size
        Side in pixels; None: the model's own.
    dataset
        What it is to learn from.

    Raises
    ------
    InputError
        If there is no such model, or it has no size, or not this one.
    """
    if dataset.has_boxes:
        return _detector_at(model, size)
    from labelfix.predict.names import resolve

    if isinstance(model, str) and "," in model:
        fix = "in Python, give the model itself, with its parameters"
        raise InputError(Problem(f"model {model}", "parameters of a classifier", EXPECTED, fix))
    if model == "auto":
        raise InputError(
            Problem("model auto", "no model of a size", EXPECTED, "name some: --models")
        )
    chosen: Any = resolve(model, dataset)
    if not is_dataclass(chosen) or "size" not in {one.name for one in fields(chosen)}:
        found = "a model that looks at no images of a size, or does not say how long it takes"
        raise InputError(Problem(f"model {chosen.name}", found, EXPECTED))
    return chosen if size is None else replace(chosen, size=size)  # type: ignore[type-var] # no class


def _detector_at(model: Any, size: int | None) -> Any:
    from labelfix.predict.detect.names import resolve

    if isinstance(model, str):
        name, comma, settings = model.partition(",")
        bare = not name.endswith((".yaml", ".pt")) and ":" not in name
        model = f"{name}.yaml{comma}{settings}" if bare else model
    chosen: Any = resolve(model)
    if size is None:
        return chosen
    if "ssd" in getattr(chosen, "constructor", ""):
        expected = "no --sizes, or another detector"
        raise InputError(Problem(f"model {chosen.name}", "a size of its own", expected))
    training: Any = getattr(chosen, "training", None)
    if not hasattr(training, "image_size"):
        found = "a detector without training.image_size"
        raise InputError(Problem(f"model {chosen.name}", found, "one that has it"))
    return replace(chosen, training=replace(training, image_size=size))


def _ready(model: Any, size: int | None, dataset: Dataset) -> Any:
    """Make the model, and let it fetch what it needs before long work begins."""
    made = model_at(model, size, dataset)
    fetch = getattr(made, "fetch", None)
    if fetch is not None:
        fetch()
    return made


def _name(model: Any) -> str:
    return model if isinstance(model, str) else str(model.name)


def _times(name: str, gain: Gain) -> pl.DataFrame:
    """Give the times of one model: the median over the seeds."""
    if gain.times is None:
        expected = "one that gives `seconds` where `job.timed` asks for them"
        raise InputError(Problem(f"model {name}", "a model that takes no time", expected))
    return gain.times.group_by("trained_on", maintain_order=True).agg(
        pl.col("ms", "ms_low", "ms_high").median(), pl.col("images").max()
    )


def _with_leads(
    gains: Sequence[Gain], times: Sequence[pl.DataFrame], level: float
) -> list[pl.DataFrame]:
    """Give the effects of each, and its lead over the best trained on original labels."""
    metric = gains[0].metrics[0]
    value = {
        name: [
            one.cells.filter(metric=metric, trained_on=name, tested_on="corrected")["value"][0]
            for one in gains
        ]
        for name in ("original", "corrected")
    }
    ms = [float(one["ms"].median()) for one in times]  # type: ignore[arg-type] # a float
    best = max(range(len(gains)), key=lambda k: (value["original"][k], -ms[k]))
    found = []
    for one, own in zip(gains, value["corrected"], strict=True):
        apart = one.drawn[:, -1, -1] - gains[best].drawn[:, 0, -1]  # type: ignore[index] # measured here
        (low,), (high,) = interval(apart[:, None], level)
        row = {"step": "all", "metric": metric, "effect": LEAD}
        row |= {"value": own - value["original"][best], "low": low, "high": high}
        found.append(pl.concat([one.effects, pl.DataFrame([row]).select(one.effects.columns)]))
    return found


def _joined(keys: Sequence[tuple[str, int | None]], tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put tables below each other, with the model and size of each in front."""
    parts = [
        table.select(pl.lit(name).alias("model"), pl.lit(size, pl.Int64).alias("size"), pl.all())
        for (name, size), table in zip(keys, tables, strict=True)
    ]
    return pl.concat(parts, how="vertical_relaxed")
