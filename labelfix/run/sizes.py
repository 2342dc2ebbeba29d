"""What corrections buy over models and sizes, from files to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelfix.errors import InputError, Problem
from labelfix.run.gain import GainOptions, check_out, measuring, read_versions, write_measured

if TYPE_CHECKING:
    from labelfix.evaluate.sizes import Sizes
    from labelfix.progress import Progress

__all__ = ["SizeOptions", "evaluate_sizes"]

RECORD, PAGE, CHART = "sizes.json", "sizes.md", "sizes.svg"


class SizeOptions(GainOptions, frozen=True, kw_only=True):
    """Everything a user can choose, as sizes.json keeps it. The command line has the same names.

    What to read, the split and the draws are inherited from `GainOptions`.

    Parameters
    ----------
    models
        As in `labelfix.evaluate.sizes.measure_sizes`; none: `model`.
    sizes, timed
        As there.
    """

    models: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    timed: int = 50


def evaluate_sizes(
    options: SizeOptions,
    out: str | Path,
    *,
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Sizes:
    """Measure what corrections buy for each model and size, and write a folder.

    Parameters
    ----------
    options
        What to read, and how to go about it.
    out
        Folder for the tables (CSV), sizes.md, sizes.svg and sizes.json, which is written last, and
        for the finished trainings: the same call goes on where it stopped, and with more models,
        sizes or seeds it trains only what is new.
    command, progress
        As for `labelfix.run.gain.evaluate`.

    Raises
    ------
    InputError, RunError
        As `labelfix.evaluate.sizes.measure_sizes` and `labelfix.run.gain.evaluate`.
    """
    from labelfix.evaluate.sizes import measure_sizes
    from labelfix.report.plots import size_chart
    from labelfix.report.sizes import size_findings, size_page

    if options.models and options.model != "auto":
        expected = "one of the two: --models names them all"
        raise InputError(Problem("--models", f"--model {options.model} beside it", expected))
    out = Path(out)
    check_out(out, RECORD)
    original, corrected, suggested_by = read_versions(options, progress)
    found = measure_sizes(
        original,
        corrected,
        options.models or (options.model,),
        options.sizes,
        timed=options.timed,
        resplit=options.resplit,
        suggested_by=suggested_by,
        **measuring(options, original, out, progress),
    )
    marks = found.marks()
    pages = {
        PAGE: size_page(marks, found.details, found.warnings, CHART).encode(),
        CHART: size_chart(marks),
    }
    findings = tuple(size_findings(marks, found.details))
    write_measured(found, out, RECORD, pages, options, command, findings)
    return found
