"""Stages of cleaning and played reviewers, from files to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labelfix._version import __version__
from labelfix.atomic import replacing
from labelfix.run.directory import DECISIONS, SCHEMA_VERSION, open_run
from labelfix.run.gain import STORE, GainOptions, check_out, read_versions, split_of
from labelfix.run.record import encode, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labelfix.evaluate.stages import Stages
    from labelfix.progress import Progress
    from labelfix.run.directory import Run
    from labelfix.schema import Dataset

__all__ = ["simulate", "stages"]

STAGES, SIMULATION = "stages", "simulation"


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of stages.json and simulation.json."""

    schema_version: int
    labelfix: str
    command: tuple[str, ...]
    options: GainOptions
    details: dict[str, Any]
    warnings: tuple[str, ...]
    versions: dict[str, str]


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
        What to read, and how to go about it. With a run, labels are cleaned in the order of its
        queue, in the order in which they were really reviewed, and by chance; else by chance.
    at
        Shares that are cleaned, in [0, 1].
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
    original, corrected, _ = read_versions(options, progress)
    found = measure_stages(
        original,
        corrected,
        {} if options.run is None else _orders(open_run(options.run)),
        at,
        options.model,
        options.seeds,
        split_of(options, original),
        resplit=options.resplit,
        allow_removed=options.allow_removed or options.run is not None,
        draws=options.draws,
        level=options.level,
        jobs=options.jobs,
        store=out / STORE,
        progress=progress,
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
    """Play a reviewer in the order of our queue, of cleanlab's and by chance, and write a folder.

    Parameters
    ----------
    options
        `original` has the given labels, `corrected` the truth.
    decisions
        Budgets: labels looked at.
    out
        As for `stages`; the files are called simulation.
    error_rate
        Share of decisions on which the reviewer errs.
    queue_model
        What predicts for the queues; None: the model that is trained. cleanlab's queue is left out
        where cleanlab is not installed.
    command, progress
        As for `labelfix.run.gain.evaluate`.

    Raises
    ------
    InputError, RunError
        As `labelfix.run.gain.evaluate`.
    """
    from labelfix.evaluate.stages import simulate as play

    out = Path(out)
    check_out(out, f"{SIMULATION}.json")
    original, truth, _ = read_versions(options, progress)
    orders, suggested = _queues(original, queue_model or options.model, options, out, progress)
    found = play(
        original,
        truth,
        orders,
        decisions,
        error_rate,
        options.model,
        options.seeds,
        split_of(options, original),
        suggested=suggested,
        allow_removed=options.allow_removed,
        draws=options.draws,
        level=options.level,
        jobs=options.jobs,
        store=out / STORE,
        progress=progress,
    )
    _write(found, out, SIMULATION, options, command)
    return found


def _orders(run: Run) -> dict[str, Iterable[str]]:
    """Give the orders of work of a run: its queue, and what its reviewers really looked at."""
    from labelfix.decisions import read_log

    replay = read_log(run.path / DECISIONS, run.info.dataset.fingerprint)
    reviewed = [one.item_id for one in replay.decisions if one.item_id is not None]
    return {"queue": run.issues["item_id"], "reviewed": reviewed}


def _queues(
    original: Dataset,
    model: str,
    options: GainOptions,
    out: Path,
    progress: Progress | None,
) -> tuple[dict[str, Iterable[str]], dict[str, str]]:
    """Rank the given labels with us and with cleanlab; give both orders, and what we suggest."""
    import importlib.util

    from labelfix.find import find_issues
    from labelfix.predict import out_of_fold

    predictions = out_of_fold(
        original,
        model,
        groups="group" if "group" in original.items.columns else None,
        seed=options.seed,
        duplicates=options.duplicates,
        jobs=options.jobs,
        store=out / STORE,
        progress=progress,
    )
    issues = find_issues(original, predictions)
    orders: dict[str, Iterable[str]] = {"labelfix": issues["item_id"]}
    if importlib.util.find_spec("cleanlab"):
        theirs = find_issues(original, predictions, engine="cleanlab", score="self_confidence")
        orders["cleanlab"] = theirs["item_id"]
    known = issues.drop_nulls("suggested_label").select("item_id", "suggested_label")
    return orders, dict(known.iter_rows())


def _write(
    found: Stages, out: Path, name: str, options: GainOptions, command: tuple[str, ...]
) -> None:
    """Write the tables, the page, the picture, and last the record."""
    from labelfix.report.plots import stage_chart
    from labelfix.report.stages import stages_page

    record = _Record(
        schema_version=SCHEMA_VERSION,
        labelfix=__version__,
        command=command,
        options=options,
        details=dict(found.details),
        warnings=found.warnings,
        versions=versions(),
    )
    files = {f"{table}.csv": rows.write_csv().encode() for table, rows in found.tables().items()}
    files[f"{name}.md"] = stages_page(found, f"{name}.svg").encode()
    files[f"{name}.svg"] = stage_chart(found.curve, found.counts)
    files[f"{name}.json"] = encode(record)
    out.mkdir(parents=True, exist_ok=True)
    for file_name, content in files.items():
        with replacing(out / file_name) as file:
            file.write(content)
