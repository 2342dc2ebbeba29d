"""The report on a whole loop: what a run found, what people decided, and what it was worth.

FOLDER/report.html   one page, opens offline, with its pictures inside
FOLDER/report.md     the same as Markdown
FOLDER/pictures/     what report.md shows
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelfix.atomic import replacing
from labelfix.decisions import corrections
from labelfix.errors import InputError, Problem, RunError
from labelfix.report.document import Document, Image, Made, Section, Undone, to_html, to_markdown
from labelfix.report.measured import (
    comparison_section,
    gain_in_short,
    gain_section,
    metric_title,
    sizes_section,
    stages_section,
)
from labelfix.review import differing, reviewed
from labelfix.review.pictures import pictures_of
from labelfix.review.queue import open_queue
from labelfix.review.status import status
from labelfix.run import open_run
from labelfix.run.facts import facts_of
from labelfix.run.measured import KINDS, has_measured, read_measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelfix.evaluate.compare import Comparison
    from labelfix.review.pictures import Pictures
    from labelfix.review.reviewed import Shown
    from labelfix.run import Run
    from labelfix.run.measured import Kind, Measured

__all__ = ["FOLDER", "HTML", "MARKDOWN", "ReportOptions", "make_report"]

FOLDER, HTML, MARKDOWN, PICTURES = "report", "report.html", "report.md", "pictures"

_OURS = re.compile(r"\d{3,}\.(svg|png|jpg)")

_CHARTS: Mapping[Kind, str] = {
    "gain": "The four cells with their intervals, and what the gain is made of",
    "sizes": "The metric over the time of an image: hollow trained on original labels, filled on "
    "corrected ones",
    "stages": "The metric and the errors left over the share of labels looked at",
    "comparison": "Accuracy and rank interval of each model under each version of the labels",
}

_MISSING: Mapping[Kind, tuple[str, str, str]] = {
    "gain": (
        "What the corrections bought",
        "Not measured. This trains and tests on original and on corrected labels:",
        "labelfix evaluate {run} --out {run}/gain",
    ),
    "sizes": (
        "Smaller and faster models",
        "Not measured. This trains each model at each size, and takes the time of an image:",
        "labelfix evaluate {run} --models NAME,NAME --sizes 160,320,640 --out {run}/sizes",
    ),
    "stages": (
        "The metric while labels are cleaned",
        "Not measured. This trains while a growing share is cleaned:",
        "labelfix stages {run} --out {run}/stages",
    ),
    "comparison": (
        "Models under each version of the labels",
        "Not compared. This ranks models by their stored predictions:",
        "labelfix compare --predictions FILES --labels original=FILE --labels corrected=FILE "
        "--out {run}/comparison",
    ),
}

_TITLES: Mapping[Kind, str] = {
    "gain": "The gain",
    "sizes": "Models and sizes",
    "stages": "The stages",
    "comparison": "The comparison of models",
}


class ReportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user can choose. The command line has the same names.

    Parameters
    ----------
    gain, sizes, stages, comparison
        Folders that `labelfix evaluate`, `evaluate --sizes`, `stages` and `compare` wrote; None
        takes RUN/gain, RUN/sizes, RUN/stages and RUN/comparison, where they are.
    root
        Where the dataset's images are, if they moved.
    prefer
        Reviewers whose word counts where they disagree, in order.
    cards
        Corrected items that are shown, and items on which the two models differ: so many of each.
    picture_px
        Longest side of a picture.
    context, least_context_px
        Of boxes: how much is shown around them on each side, as a share of their longer side, and
        at least so many pixels.
    """

    gain: Path | None = None
    sizes: Path | None = None
    stages: Path | None = None
    comparison: Path | None = None
    root: Path | None = None
    prefer: tuple[str, ...] = ()
    cards: int = 24
    picture_px: int = 320
    context: float = 0.6
    least_context_px: int = 24


@dataclass(frozen=True, eq=False)
class _Material:
    """Everything that was read."""

    run: Run
    shown: Shown
    measured: Mapping[Kind, Measured]
    warnings: Sequence[str]


def make_report(
    run: str | Path, out: str | Path | None = None, options: ReportOptions | None = None
) -> Path:
    """Write what was found, reviewed, corrected and gained, as one HTML page and as Markdown.

    Parameters
    ----------
    run
        Directory that `labelfix find` wrote. Nothing else is needed: what was not done is said in
        one line, with the command that does it.
    out
        Folder for both, and for the Markdown's pictures; None: RUN/report. The same material gives
        the same bytes.
    options
        What to read, and how much to show.

    Returns
    -------
    Path
        The HTML page.

    Raises
    ------
    RunError
        If the run is none.
    InputError
        If `out` holds something else, a folder that is named holds no such result, or the log is
        damaged.
    """
    opened = open_run(run)
    folder = opened.path / FOLDER if out is None else Path(out)
    _check_free(folder)
    document = _document(_read(opened, options or ReportOptions()))
    page, pictures = to_markdown(document, PICTURES)
    files = {f"{PICTURES}/{name}": content for name, content in pictures.items()}
    files |= {MARKDOWN: page.encode(), HTML: to_html(document).encode()}
    _write(folder, files)
    return folder / HTML


def _check_free(folder: Path) -> None:
    """Refuse a folder of other files.

    Raises
    ------
    InputError
        If there are any.
    """
    ours = {HTML, MARKDOWN, PICTURES}
    if folder.exists() and not (folder.is_dir() and {one.name for one in folder.iterdir()} <= ours):
        raise InputError(Problem(str(folder), "other files", "a new folder, or one of a report"))


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, the page last, and remove pictures of an earlier report."""
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(folder / name) as file:
            file.write(content)
    for old in (folder / PICTURES).iterdir():
        if _OURS.fullmatch(old.name) and f"{PICTURES}/{old.name}" not in files:
            old.unlink()


def _read(run: Run, options: ReportOptions) -> _Material:
    queue = open_queue(run)
    given = {kind: getattr(options, kind) for kind in KINDS}
    measured = {}
    for kind in KINDS:
        folder = given[kind] or run.path / kind
        if given[kind] is not None or has_measured(folder, kind):
            measured[kind] = read_measured(folder, kind)
    pictures, said = _pictures(run, options.root)
    shown = reviewed.Shown(
        run=run,
        queue=queue,
        status=status(queue),
        made=corrections(queue.replay, run.annotations, prefer=options.prefer),
        prefer=options.prefer,
        pictures=pictures,
        cards=options.cards,
        picture_px=options.picture_px,
        context=options.context,
        least_context_px=options.least_context_px,
    )
    said += [text for kind in measured for text in _warnings(shown, kind, measured[kind])]
    return _Material(run, shown, measured, [*run.info.warnings, *said])


def _pictures(run: Run, root: Path | None) -> tuple[Pictures | None, list[str]]:
    """Find the images; where they moved and nobody says where to, go on without."""
    try:
        return pictures_of(run, root), []
    except InputError as error:
        if root is not None:
            raise
        return None, [f"No picture is shown: {error}"]


def _warnings(shown: Shown, kind: Kind, found: Measured) -> list[str]:
    """Repeat what was said of a measure, and say if it is not of this run as it stands."""
    said = [*found.record.warnings]
    other = found.record.options.get("run")
    if other is not None and _is_of_other_data(Path(other), shown.run):
        said.append(f"measured on a run on other data, {other}")
    elif other is not None and kind == "gain" and not shown.boxes:
        then = found.tables["changes"].select("relabelled", "removed").sum().sum_horizontal()[0]
        if then != shown.changed_items:
            now = f"now {shown.changed_items:,} are"
            said.append(
                f"when it was measured, {then:,} items were corrected, {now}; evaluate again"
            )
    return [f"{_TITLES[kind]}: {text}" for text in said]


def _is_of_other_data(path: Path, run: Run) -> bool:
    """Say whether a run is there that is on other data; one that is gone may be any."""
    try:
        return open_run(path).info.dataset.fingerprint != run.info.dataset.fingerprint
    except RunError:
        return False


def _document(material: _Material) -> Document:
    facts = facts_of(material.run.info, "")
    sections = [
        Section("In short", [reviewed.in_short(material.shown, _gained(material))]),
        reviewed.review_section(material.shown),
        reviewed.corrections_section(material.shown),
        *_measured_sections(material),
        _made(material),
    ]
    return Document(facts.title, _numbers(material), sections, material.warnings)


def _gained(material: _Material) -> Sequence[str]:
    """Say what was gained, if it was measured."""
    gain = material.measured.get("gain")
    return () if gain is None else (gain_in_short(gain.tables),)


def _numbers(material: _Material) -> list[tuple[str, str, str]]:
    numbers = reviewed.numbers(material.shown)
    gain = material.measured.get("gain")
    if gain is not None:
        cells = gain.tables["cells"]
        metric = cells["metric"][0]
        first, last = (
            100 * cells.filter(metric=metric, trained_on=one, tested_on=one)["value"][0]
            for one in ("original", "corrected")
        )
        numbers.append(
            (metric_title(metric), f"{first:.1f} → {last:.1f}", "original → corrected labels, in %")
        )
    return numbers


def _measured_sections(material: _Material) -> list[Section]:
    """Give a section for each measure, or say how to make it."""
    sections = []
    for kind in KINDS:
        found = material.measured.get(kind)
        if found is None:
            title, text, command = _MISSING[kind]
            run = shlex.quote(str(material.run.path))
            sections.append(Section(title, [Undone(text, command.format(run=run))]))
            continue
        sections.append(_section(kind, found))
        if kind == "gain":
            sections += reviewed.differing_section(material.shown, found.tables.get("answers"))
            sections += differing.images_section(material.shown, found.tables)
    return sections


def _section(kind: Kind, found: Measured) -> Section:
    tables, record = found.tables, found.record
    picture = found.chart
    chart = None if picture is None else Image(picture, "image/svg+xml", _CHARTS[kind])
    level = record.options.get("level", 0.95)
    if kind == "gain":
        return gain_section(tables, record.findings, chart, level)
    if kind == "sizes":
        return sizes_section(tables, record.details, record.findings, chart)
    if kind == "stages":
        shown = (tables["counts"], tables["curve"], tables.get("losses"))
        return stages_section(*shown, chart, level)
    return comparison_section(_comparison(found), chart)


def _comparison(found: Measured) -> Comparison:
    from labelfix.evaluate.compare import Comparison

    tables, options = found.tables, found.record.options
    return Comparison(
        accuracy=tables["accuracy"],
        order=tables["order"],
        swaps=tables["swaps"],
        gains=tables["gains"],
        answers=tables["answers"],
        kinds=tables["kinds"],
        draws=options["draws"],
        level=options["level"],
        seed=options["seed"],
    )


def _made(material: _Material) -> Section:
    """Commands, seeds and versions of all that is shown."""
    info = material.run.info
    blocks = [Made("Finding", facts_of(info, "").made_with)]
    blocks += [
        Made(_TITLES[kind], _made_with(measured)) for kind, measured in material.measured.items()
    ]
    return Section("How this was made", blocks)


def _made_with(found: Measured) -> dict[str, str]:
    record = found.record
    options = {
        name: value
        for name, value in record.options.items()
        if value is not None and value is not False and value not in ([], {})
    }
    return {
        **({"Command": shlex.join(record.command)} if record.command else {}),
        "With": ", ".join(
            f"{name} {version}"
            for name, version in {"labelfix": record.labelfix, **record.versions}.items()
        ),
        "Options": ", ".join(f"{name} {_short(value)}" for name, value in options.items()),
        "Folder": str(found.folder),
    }


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items())
    if isinstance(value, list):
        return ":".join(map(str, value))
    return str(value)
