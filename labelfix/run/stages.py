"""Stages of cleaning and played reviewers, from files to a folder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfix.errors import InputError, Problem
from labelfix.run.directory import DECISIONS, open_run
from labelfix.run.gain import (
    STORE,
    check_out,
    measuring,
    read_versions,
    split_of,
    write_measured,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from labelfix.evaluate.curves import Stages
    from labelfix.progress import Progress
    from labelfix.run.directory import Run
    from labelfix.run.gain import GainOptions
    from labelfix.schema import Dataset

__all__ = ["simulate", "stages"]

STAGES, SIMULATION = "stages", "simulation"


def stages(
    options: GainOptions,
    at: Sequence[float],
    out: str | Path,
    *,
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Stages:
    """Measure the metric over the share of a dataset that is cleaned, and write a folder.

    Parameters
    ----------
    options
        What to read, and how to go about it. With a run, items are cleaned in the order of its
        queue, in the order in which they were really reviewed, and by chance; else by chance.
    at
        Shares of the items that are cleaned, in [0, 1].
    out
        Folder for the tables (CSV), stages.md, stages.svg and stages.json, which is written last,
        and for the finished trainings: the same call goes on where it stopped.
    command, progress
        As for `labelfix.run.gain.evaluate`.

    Raises
    ------
    InputError, RunError
        As `labelfix.run.gain.evaluate`.
    """
    from labelfix.evaluate.stages import measure_stages

    out = Path(out)
    check_out(out, f"{STAGES}.json")
    original, corrected, suggested_by = read_versions(options, progress)
    found = measure_stages(
        original,
        corrected,
        {} if options.run is None else _orders(open_run(options.run)),
        at,
        options.model,
        resplit=options.resplit,
        suggested_by=suggested_by,
        **measuring(options, original, out, progress),
    )
    _write(found, out, STAGES, options, command)
    return found


def simulate(
    options: GainOptions,
    decisions: Sequence[int],
    out: str | Path,
    *,
    error_rate: float = 0.0,
    queue_model: str | None = None,
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Stages:
    """Play a reviewer in the order of our queue, of a peer's and by chance, and write a folder.

    The peer is cleanlab, where it is installed; of boxes it is ObjectLab.

    Parameters
    ----------
    options
        `original` has the given labels or boxes, `corrected` the truth.
    decisions
        Budgets: labels looked at; of boxes, rows of the queue.
    out
        As for `stages`; the files are called simulation.
    error_rate
        Share of decisions on which the reviewer errs.
    queue_model
        What predicts for the queues; None: the model that is trained.
    command, progress
        As for `labelfix.run.gain.evaluate`.

    Raises
    ------
    InputError, RunError
        As `labelfix.run.gain.evaluate`.
    """
    out = Path(out)
    check_out(out, f"{SIMULATION}.json")
    if options.run is not None or options.original is None or options.corrected is None:
        given = "not both versions" if options.run is None else "a run"
        expected = "--original, with the given labels, and --corrected, with the truth"
        raise InputError(Problem("what to play on", given, expected))
    original, truth, _ = read_versions(options, progress)
    _refuse_early(original, truth, decisions, error_rate, options, progress)
    play = _play_boxes if original.has_boxes and truth.has_boxes else _play_labels
    predicts = queue_model or options.model
    found = play(original, truth, predicts, options, out, progress)(
        decisions, error_rate, options.model, **measuring(options, original, out, progress)
    )
    found = replace(found, details={**found.details, "queue_model": predicts})
    _write(found, out, SIMULATION, options, command)
    return found


def _refuse_early(
    original: Dataset,
    truth: Dataset,
    decisions: Sequence[int],
    error_rate: float,
    options: GainOptions,
    progress: Progress | None,
) -> None:
    """Refuse what the measure would refuse, before the queues take their trainings.

    Raises
    ------
    InputError
        If the versions do not describe the same items, a given split leaks, or nobody can make such
        decisions. How long a queue of boxes is, is not known yet.
    """
    from labelfix.evaluate.boxpairing import pair_boxes
    from labelfix.evaluate.curves import check_review
    from labelfix.evaluate.pairing import pair_versions

    boxes = original.has_boxes and truth.has_boxes
    pair = pair_boxes if boxes else pair_versions
    pair(original, truth, allow_removed=options.allow_removed)
    most = None if boxes else len(original)
    problems = check_review(decisions, error_rate, most, "the number of items")
    if problems:
        raise InputError(problems)
    if options.given is not None:
        split = split_of(options, original)
        split.draw(original, split.units(original, progress), options.seed)


def _orders(run: Run) -> dict[str, Iterable[str]]:
    """Give the orders of work of a run: its queue, and what its reviewers really looked at."""
    from labelfix.decisions import read_log

    replay = read_log(run.path / DECISIONS, run.info.dataset.fingerprint)
    reviewed = [one.item_id for one in replay.decisions if one.item_id is not None]
    return {"queue": run.issues["item_id"], "reviewed": reviewed}


def _play_labels(
    original: Dataset,
    truth: Dataset,
    model: str,
    options: GainOptions,
    out: Path,
    progress: Progress | None,
) -> Callable[..., Stages]:
    """Rank the given labels with us and with cleanlab; give what plays a reviewer of them."""
    import importlib.util

    from labelfix.evaluate.stages import simulate as play
    from labelfix.find import find_issues
    from labelfix.predict import out_of_fold

    predictions = out_of_fold(original, model, **_held_out(original, options, out, progress))
    issues = find_issues(original, predictions)
    orders = {"labelfix": issues["item_id"]}
    if importlib.util.find_spec("cleanlab"):
        theirs = find_issues(original, predictions, engine="cleanlab", score="self_confidence")
        orders["cleanlab"] = theirs["item_id"]
    known = issues.drop_nulls("suggested_label").select("item_id", "suggested_label")
    return partial(play, original, truth, orders, suggested=dict(known.iter_rows()))


def _play_boxes(
    original: Dataset,
    truth: Dataset,
    model: str,
    options: GainOptions,
    out: Path,
    progress: Progress | None,
) -> Callable[..., Stages]:
    """Rank the given boxes with us and with ObjectLab; give what plays a reviewer of them."""
    from labelfix.evaluate.boxreview import simulate_boxes
    from labelfix.find import find_issues
    from labelfix.predict import out_of_fold_boxes

    predictions = out_of_fold_boxes(original, model, **_held_out(original, options, out, progress))
    queues = {
        "labelfix": find_issues(original, predictions),
        "objectlab": find_issues(original, predictions, score="objectlab"),
    }
    return partial(simulate_boxes, original, truth, queues)


def _held_out(
    original: Dataset, options: GainOptions, out: Path, progress: Progress | None
) -> dict[str, Any]:
    """How the queues' predictions are made."""
    return {
        "groups": "group" if "group" in original.items.columns else None,
        "seed": options.seed,
        "duplicates": options.duplicates,
        "jobs": options.jobs,
        "store": out / STORE,
        "progress": progress,
    }


def _write(
    found: Stages, out: Path, name: str, options: GainOptions, command: tuple[str, ...]
) -> None:
    """Write the tables, the page, the picture, and last the record."""
    from labelfix.report.plots import stage_chart
    from labelfix.report.stages import stages_page

    pages = {
        f"{name}.md": stages_page(found, f"{name}.svg").encode(),
        f"{name}.svg": stage_chart(found.curve, found.counts, found.fluctuations),
    }
    write_measured(found, out, f"{name}.json", pages, options, command)
