"""Options that would do nothing, refused before any work: all of them at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelfix.errors import InputError, Problem
from labelfix.formats.tablefile import is_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from labelfix.run.record import FindOptions, Reading

__all__ = ["beside", "refuse_choices", "refuse_idle"]

TRAINING = ("folds", "duplicates")
"""Options of how models are trained; a seed or a number of cores does no harm."""

OF_FILES = ("dataset_format", "image", "images", "voc_pixels", "skip_bad")
"""Options of how a dataset is read that say nothing of arrays and tables of labels."""

TYPED = {"train": "--no-train", "given": "--split"}
"""What options are called on the command line, where that is not their name with dashes."""


def beside(options: Reading, names: Iterable[str], why: str) -> Iterator[Problem]:
    """Name the choices that differ from the default, though they would do nothing.

    Parameters
    ----------
    options
        What was chosen.
    names
        Of the options that are idle.
    why
        What they are beside.

    Examples
    --------
    >>> from labelfix.run import FindOptions
    >>> print(*beside(FindOptions(folds=3), ["folds", "model"], "ready-made probabilities"))
    --folds: found 3 beside ready-made probabilities; leave it away
    """
    usual = type(options)()
    for name in names:
        if (chosen := getattr(options, name)) != getattr(usual, name):
            typed = TYPED.get(name, f"--{name.replace('_', '-')}")
            shown = ", ".join(map(str, chosen)) if isinstance(chosen, tuple) else str(chosen)
            found = "a choice" if isinstance(chosen, bool) else shown
            yield Problem(typed, f"{found} beside {why}", fix="leave it away")


def refuse_choices(chosen: Mapping[str, object], found: str, expected: str = "") -> None:
    """Refuse what was chosen, though it would do nothing.

    Parameters
    ----------
    chosen
        Each option as it is typed, and whether it was chosen.
    found
        What makes them idle.
    expected
        What they are for.

    Raises
    ------
    InputError
        Naming each that was chosen.

    Examples
    --------
    >>> refuse_choices({"--kinds": (), "--class-map": "a=b"}, "class labels", "boxes")
    Traceback (most recent call last):
    labelfix.errors.InputError: --class-map: found class labels; expected boxes; leave it away
    """
    idle = [name for name, is_chosen in chosen.items() if is_chosen]
    if idle:
        raise InputError([Problem(name, found, expected, "leave it away") for name in idle])


def refuse_idle(options: FindOptions) -> None:
    """Refuse choices that would do nothing beside other ones, whatever the dataset is.

    Raises
    ------
    InputError
        Naming each, and what makes it idle.
    """
    if problems := list(_idle(options)):
        raise InputError(problems)


def _idle(options: FindOptions) -> Iterator[Problem]:
    """Look at what stands in place of a model, and at what only a model or boxes could use."""
    if options.pred_probs:
        arrays = OF_FILES if options.labels is not None else ()
        names = (*arrays, "groups", "features", "model", *TRAINING, "train", "class_map", "kinds")
        yield from beside(options, names, "ready-made probabilities")
        yield from beside(options, ["predictions"], "--pred-probs, which is not of boxes")
        if options.labels is not None and not is_table(Path(options.labels)):
            yield from beside(options, ["label"], "labels in an array, which has no columns")
    elif options.predictions is not None:
        yield from beside(
            options, ("model", *TRAINING, "train"), "ready-made boxes (--predictions)"
        )
    elif options.dynamics is not None and options.model == "auto":
        names = ("features", *TRAINING, "train", "class_map")
        yield from beside(options, names, "--dynamics without a --model")
    elif not options.train:
        yield from beside(options, TRAINING, "--no-train: no detector of boxes is trained")
    elif options.class_map:
        found = "a map of classes beside neither --predictions nor --no-train"
        yield Problem("--class-map", found, "one of them: it is for boxes of other class names")
