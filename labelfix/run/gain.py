"""What corrections bought, from files to a folder: read both versions, train, test, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labelfix._version import __version__
from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem, RunError
from labelfix.run.dataset import as_it_was, read_again, read_as
from labelfix.run.directory import SCHEMA_VERSION, open_run
from labelfix.run.idle import beside
from labelfix.run.record import Reading, encode, versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from labelfix.decisions import Corrections
    from labelfix.evaluate.curves import Stages
    from labelfix.evaluate.sizes import Sizes
    from labelfix.evaluate.tables import Gain
    from labelfix.progress import Progress
    from labelfix.run.directory import Run
    from labelfix.schema import Dataset
    from labelfix.splits import Split

__all__ = [
    "STORE",
    "GainOptions",
    "check_out",
    "evaluate",
    "measuring",
    "read_versions",
    "split_of",
    "versions_of_run",
    "write_measured",
]

RECORD, PAGE, CHART, STORE = "gain.json", "gain.md", "gain.svg", "trainings"


class GainOptions(Reading, frozen=True, kw_only=True):
    """Everything a user can choose, as gain.json keeps it. The command line has the same names.

    How to read both versions is inherited from `Reading`; with `run` it is that of the run.

    Parameters
    ----------
    run
        A run whose decisions make the corrected version; else `original` and `corrected`.
    original, corrected
        Two versions of one dataset.
    prefer
        Reviewers whose word counts where they disagree, with `run`.
    model, seeds, resplit, allow_removed, draws, level, jobs
        As in `labelfix.measure_gain`.
    parts, sources, given, duplicates, force, seed
        As in `labelfix.Split`.
    """

    run: str | None = None
    original: str | None = None
    corrected: str | None = None
    prefer: tuple[str, ...] = ()
    model: str = "auto"
    seeds: int = 5
    resplit: bool = False
    allow_removed: bool = False
    draws: int = 1000
    level: float = 0.95
    jobs: int | None = None
    parts: tuple[int, int, int] = (8, 1, 1)
    sources: str | None = None
    given: str | None = None
    duplicates: int | None = 10
    force: bool = False
    seed: int = 0


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of gain.json, sizes.json, stages.json and simulation.json."""

    schema_version: int
    labelfix: str
    command: tuple[str, ...]
    options: GainOptions
    details: dict[str, Any]
    warnings: tuple[str, ...]
    findings: tuple[str, ...]
    versions: dict[str, str]


def evaluate(
    options: GainOptions,
    out: str | Path,
    *,
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Gain:
    r"""Measure what corrections bought, and write a folder.

    Parameters
    ----------
    options
        What to read, and how to go about it.
    out
        Folder for the tables (CSV), gain.md, gain.svg and gain.json, which is written last, and for
        the finished trainings: the same call goes on where it stopped, and with more seeds it
        trains only what is new.
    command
        What was typed, for the record.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    InputError
        As `labelfix.measure_gain`, and if `out` holds something else.
    RunError
        If the run is none, or nobody decided anything yet.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, every in (("before", 5), ("after", 1000)):
    ...         rows = (f"i{n:03d},{n % 10},{'ab'[n % 2 if n % every else 0]}" for n in range(200))
    ...         text = "\n".join(["id,x,label", *rows])
    ...         _ = Path(folder, f"{name}.csv").write_text(text)
    ...     options = GainOptions(original=f"{folder}/before.csv", corrected=f"{folder}/after.csv",
    ...                           model="knn", seeds=1, duplicates=None)
    ...     gain = evaluate(options, Path(folder, "out"))
    ...     Path(folder, "out/gain.json").is_file(), gain.metrics
    (True, ('accuracy', 'balanced_accuracy'))
    """
    from labelfix.evaluate.gain import measure_gain

    out = Path(out)
    check_out(out, RECORD)
    original, corrected, suggested_by = read_versions(options, progress)
    gain = measure_gain(
        original,
        corrected,
        options.model,
        resplit=options.resplit,
        suggested_by=suggested_by,
        **measuring(options, original, out, progress),
    )
    _write(gain, out, options, command)
    return gain


def versions_of_run(run: Run, prefer: Sequence[str] = ()) -> tuple[Dataset, Dataset]:
    """Give the dataset of a run as it was, and with the run's decisions applied.

    Items that are marked as showing several classes or none, deleted or ignored are left out of the
    corrected version. Boxes that are ignored, or marked as a group, become crowd regions, which
    count neither way.

    Raises
    ------
    RunError
        If nobody decided anything yet.
    InputError
        If the dataset is not where it was.
    """
    from labelfix.run.applying import corrections_of

    made = corrections_of(run, prefer)
    original = as_it_was(run, read_again(run))
    correct = _corrected_boxes if original.has_boxes else _corrected
    return original, correct(original, made)


def _corrected(original: Dataset, made: Corrections) -> Dataset:
    """Apply corrections of class labels to the tables."""
    import polars as pl

    labels = made.table.filter(action="set_label").select("item_id", new="label")
    gone = pl.concat(
        [
            made.table.filter(pl.col("action").is_in(["delete", "ignore"]))["item_id"],
            made.marks["item_id"],
        ]
    )
    kept = ~original.items["item_id"].is_in(gone.implode())
    annotations = (
        original.annotations.filter(kept)
        .join(labels, on="item_id", how="left", maintain_order="left")
        .with_columns(label=pl.coalesce("new", "label"))
        .drop("new")
    )
    names = tuple(dict.fromkeys([*original.class_names, *labels["new"]]))
    return replace(
        original, items=original.items.filter(kept), annotations=annotations, class_names=names
    )


def _corrected_boxes(original: Dataset, made: Corrections) -> Dataset:
    """Apply corrections of boxes to the tables."""
    import polars as pl

    from labelfix.schema import BOX

    actions = {name: made.table.filter(action=name) for name in made.table["action"].unique()}
    nothing = made.table.clear()
    gone = actions.get("delete", nothing)["annotation_id"]
    ignored = pl.concat(
        [
            actions.get("ignore", nothing)["annotation_id"],
            made.marks.filter(mark="group")["annotation_id"],
        ]
    )
    rows = original.annotations.filter(~pl.col("annotation_id").is_in(gone.implode()))
    for action, columns in (("set_label", ("label",)), ("set_box", BOX)):
        new = actions.get(action, nothing).select("annotation_id", *columns)
        rows = rows.update(new, on="annotation_id", how="left")
    rows = rows.with_columns(
        crowd=pl.col("crowd") | pl.col("annotation_id").is_in(ignored.drop_nulls().implode())
    )
    added = actions.get("add_box", nothing).select(
        pl.format("added {}", pl.int_range(pl.len())).alias("annotation_id"),
        "item_id",
        "label",
        *BOX,
        crowd=pl.lit(value=False),
    )
    names = [*original.class_names, *made.table["label"].drop_nulls()]
    return replace(
        original,
        annotations=pl.concat([rows, added], how="diagonal"),
        class_names=tuple(dict.fromkeys(names)),
    )


def read_versions(
    options: GainOptions, progress: Progress | None
) -> tuple[Dataset, Dataset, tuple[str, ...]]:
    """Read both versions, and say which models suggested the corrections.

    Raises
    ------
    InputError, RunError
        As `evaluate`.
    """
    if problems := list(_idle(options)):
        raise InputError(problems)
    if options.run is not None and options.original is None and options.corrected is None:
        run = open_run(options.run)
        return *versions_of_run(run, options.prefer), tuple(one.name for one in run.info.models)
    if options.run is None and options.original is not None and options.corrected is not None:
        original, corrected = _read_both(options.original, options.corrected, options, progress)
        return original, corrected, _who_suggested(Path(options.corrected))
    raise InputError(
        Problem("what to evaluate", "neither or both", "RUN, or --original and --corrected")
    )


def _read_both(
    original: str, corrected: str, options: GainOptions, progress: Progress | None
) -> Iterator[Dataset]:
    """Read two versions, which may be of two formats: each takes the options that it has a use for.

    One that neither has a use for is refused.
    """
    from labelfix.formats import format_of, unused

    paths = original, corrected
    formats = [format_of(path, options.dataset_format) for path in paths]
    for path, name, other in zip(paths, formats, reversed(formats), strict=True):
        idle, both = unused(name), unused(other)
        changed = {option: idle[option] for option in idle.keys() - both}
        yield read_as(path, options, progress, format=name, **changed)


def _idle(options: GainOptions) -> Iterator[Problem]:
    """Name the choices that would do nothing beside others."""
    if options.run is not None:
        names = (*Reading.__struct_fields__, "allow_removed")
        yield from beside(options, names, "RUN, which has its own")
    else:
        yield from beside(options, ["prefer"], "two versions, which nobody disagrees on")
    if options.given is None:
        yield from beside(options, ["force"], "a split that is drawn, which never leaks")
    else:
        yield from beside(options, ["parts"], "--split, which says it already")


def _who_suggested(corrected: Path) -> tuple[str, ...]:
    """Name the models of the run whose decisions made a folder, or the file's folder, if known."""
    from labelfix.apply.record import APPLIED, read_record

    folders = [corrected, *corrected.absolute().parents]  # a file lies in the folder, or below
    folder = next((one for one in folders if (one / APPLIED).is_file()), None)
    if folder is None:
        return ()
    made_by = read_record(folder).run
    try:
        return () if made_by is None else tuple(one.name for one in open_run(made_by).info.models)
    except RunError:  # the run went away since
        return ()


def measuring(
    options: GainOptions, original: Dataset, out: Path, progress: Progress | None
) -> dict[str, Any]:
    """Give the arguments that all measures of `labelfix.evaluate` have."""
    return {
        "seeds": options.seeds,
        "split": split_of(options, original),
        "allow_removed": options.allow_removed or options.run is not None,
        "draws": options.draws,
        "level": options.level,
        "jobs": options.jobs,
        "store": out / STORE,
        "progress": progress,
    }


def split_of(options: GainOptions, dataset: Dataset) -> Split:
    """Give the split that is meant; groups were read as the column `group`."""
    from labelfix.splits import Split

    return Split(
        parts=options.parts,
        groups="group" if "group" in dataset.items.columns else None,
        sources=options.sources,
        duplicates=options.duplicates,
        given=options.given,
        force=options.force,
        seed=options.seed,
    )


def check_out(out: Path, record: str) -> None:
    """Refuse a folder of other files: neither the record of such a result nor trainings alone.

    Raises
    ------
    InputError
        If there are other files.
    """
    if not out.exists() or (out / record).is_file():
        return
    if not out.is_dir() or any(one.name != STORE for one in out.iterdir()):
        raise InputError(Problem(str(out), "other files", "a new folder, or one of such a result"))


def _write(gain: Gain, out: Path, options: GainOptions, command: tuple[str, ...]) -> None:
    """Write the tables, the page, the picture, and last the record."""
    from labelfix.report.gain import gain_findings, gain_page
    from labelfix.report.plots import gain_chart

    pages = {
        PAGE: f"# What the corrections bought\n\n{gain_page(gain, CHART)}\n".encode(),
        CHART: gain_chart(gain.cells, gain.effects),
    }
    write_measured(gain, out, RECORD, pages, options, command, tuple(gain_findings(gain)))


def write_measured(
    found: Gain | Stages | Sizes,
    out: Path,
    record: str,
    pages: Mapping[str, bytes],
    options: GainOptions,
    command: tuple[str, ...],
    findings: tuple[str, ...] = (),
) -> None:
    """Write a folder: the tables as CSV, pages by name, and last the record, called `record`."""
    content = _Record(
        schema_version=SCHEMA_VERSION,
        labelfix=__version__,
        command=command,
        options=options,
        details=dict(found.details),
        warnings=found.warnings,
        findings=findings,
        versions=versions(),
    )
    tables = {f"{name}.csv": table.write_csv().encode() for name, table in found.tables().items()}
    out.mkdir(parents=True, exist_ok=True)
    for name, file_content in {**tables, **pages, record: encode(content)}.items():
        with replacing(out / name) as file:
            file.write(file_content)
