"""`labelfix apply`, `labelfix export` and `labelfix import`."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path  # noqa: TC003 # typer reads annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelfix.cli.base import Quiet, telling
from labelfix.cli.output import print_lines
from labelfix.errors import InputError, Problem
from labelfix.text import count, visible

if TYPE_CHECKING:
    from labelfix.apply import Applied, Choices, Undone

__all__ = ["apply", "export", "import_answers"]


class Images(StrEnum):
    """How images come into the new folder."""

    link = "link"
    reference = "reference"
    copy = "copy"


class Segmentation(StrEnum):
    """What becomes of the polygon of a box that is corrected."""

    keep = "keep"
    drop = "drop"


class MarkChoice(StrEnum):
    """Where a mark of an item goes."""

    side_file = "side-file"
    exclude = "exclude"
    column = "column"


class IgnoreChoice(StrEnum):
    """Where a mark to ignore goes."""

    write = "write"
    side_file = "side-file"
    exclude = "exclude"


def apply(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Directory with the decisions.", show_default=False),
    ] = None,
    *,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW_DIR", help="Write the corrected dataset here.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print a unified diff, and write nothing.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Correct the dataset itself, after a backup.")
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --in-place: a new folder for the old files. Default: beside the dataset.",
            show_default=False,
        ),
    ] = None,
    undo: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Take back what was applied: DIR is the new folder, or the dataset corrected in "
            "place.",
            show_default=False,
        ),
    ] = None,
    skip_conflicts: Annotated[
        bool,
        typer.Option("--skip-conflicts", help="Leave out items that changed since the run."),
    ] = False,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REVIEWER",
            help="Whose word counts where reviewers disagree; repeat for more.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where the dataset is now, if it moved.", show_default=False
        ),
    ] = None,
    images: Annotated[
        Images, typer.Option(help="Hard links, symbolic links to the originals, or copies.")
    ] = Images.link,
    multi_label: Annotated[
        MarkChoice, typer.Option(help="Where items marked so go.")
    ] = MarkChoice.side_file,
    none_of_the_classes: Annotated[
        MarkChoice, typer.Option(help="Where items marked so go.")
    ] = MarkChoice.side_file,
    ignore: Annotated[
        IgnoreChoice, typer.Option(help="Boxes to ignore: as the format writes them, or else.")
    ] = IgnoreChoice.write,
    segmentation: Annotated[
        Segmentation, typer.Option(help="Polygons and masks of boxes that are corrected.")
    ] = Segmentation.keep,
    quiet: Quiet = False,
) -> None:
    """Write a corrected dataset in its own format; nothing is lost, and it can be undone."""
    from labelfix.run.idle import refuse_choices

    _refuse_confusion(run, to, dry_run=dry_run, in_place=in_place, undo=undo)
    if backup is not None and not in_place:
        raise InputError(Problem("--backup", "no --in-place", "both together"))
    moved = {"--images": images is not Images.link}
    if in_place:
        refuse_choices(moved, "a choice beside --in-place, which leaves images where they are")
    if undo is not None:
        chosen = {
            "--skip-conflicts": skip_conflicts,
            "--prefer": prefer,
            "--root": root,
            **moved,
            "--multi-label": multi_label is not MarkChoice.side_file,
            "--none-of-the-classes": none_of_the_classes is not MarkChoice.side_file,
            "--ignore": ignore is not IgnoreChoice.write,
            "--segmentation": segmentation is not Segmentation.keep,
        }
        refuse_choices(chosen, "a choice beside --undo, which takes back all that was done")
        from labelfix.apply import undo as take_back

        done = take_back(undo)
        if not quiet:
            print_lines(_about_undone(done))
        return
    from labelfix.apply import Choices
    from labelfix.run import open_run
    from labelfix.run.applying import apply_run, preview_run

    choices = Choices(
        images=images.value,
        segmentation=segmentation.value,
        multi_label=multi_label.value,
        none_of_the_classes=none_of_the_classes.value,
        ignore=ignore.value,
    )
    opened = open_run(run or "")
    if not opened.info.dataset.boxes:
        chosen = {"--segmentation": segmentation is not Segmentation.keep}
        refuse_choices(chosen, "class labels", "boxes")
    common: dict[str, Any] = {  # what the two calls share
        "root": root,
        "choices": choices,
        "skip_conflicts": skip_conflicts,
        "prefer": prefer or (),
    }
    with telling(quiet=quiet) as bars:
        if dry_run:
            for line in preview_run(opened, **common):
                _print_as_it_is(line)
            return
        applied = apply_run(opened, to, in_place=in_place, backup=backup, progress=bars, **common)
    if not quiet:
        print_lines(*(f"Skipped: {problem}" for problem in applied.conflicts), to=sys.stderr)
        print_lines(*_about(applied, choices))


def _print_as_it_is(line: str) -> None:
    """Print a line of a diff: into a pipe as it is, so that other tools can use it."""
    sys.stdout.write((visible(line) if sys.stdout.isatty() else line) + "\n")


def _refuse_confusion(
    run: Path | None, to: Path | None, *, dry_run: bool, in_place: bool, undo: Path | None
) -> None:
    """Exactly one thing is to be done."""
    wanted = {"--to": to, "--in-place": in_place, "--dry-run": dry_run, "--undo": undo}
    named = [name for name, value in wanted.items() if value]
    if dry_run and not undo and not (to and in_place):
        named = ["--dry-run"]  # of either way to write, which are the same
    if len(named) != 1:
        found = " and ".join(named) or "neither"
        expected = "--to NEW_DIR, --in-place, --dry-run or --undo DIR"
        raise InputError(Problem("what to do", found, expected))
    if (run is None) != (undo is not None):
        found = "a run" if run is not None else "no run"
        raise InputError(Problem(f"labelfix apply {named[0]}", found, "RUN, but with --undo none"))


def _about(done: Applied, choices: Choices) -> list[str]:
    """Say what was done, and how to take it back."""
    if done.already:
        return [f"{done.to} holds these corrections already; nothing to do."]
    lines = [
        f"Applied {count(done.corrections, 'correction')} to {count(done.items, 'item')}: {done.to}"
    ]
    if done.backup is not None and done.files:
        lines.append(f"Changed {count(done.files, 'file')}; the old ones are in {done.backup}")
    elif done.images or done.others:
        copied = f", but {done.copied:,} had to be copied" if done.copied else ""
        how = {"link": "linked", "reference": "referenced", "copy": "copied"}[choices.images]
        others = f"; {count(done.others, 'other file')} copied" if done.others else ""
        lines.append(f"{count(done.images, 'image')} {how}{copied}{others}.")
    if done.moved.height:
        lines.append(f"{count(done.moved.height, 'image')} in another class folder now.")
    if done.excluded:
        where = f"; they are in {done.backup}" if done.backup else ""
        lines.append(f"{count(len(done.excluded), 'image')} left out{where}.")
    if done.listed:
        lines.append(f"{count(done.listed, 'mark')} in labelfix-marks.csv.")
    if done.new_classes:
        lines.append(f"New classes: {', '.join(done.new_classes)}")
    if done.contested:
        from labelfix.run.applying import about_contested

        text = about_contested(done.contested)
        lines.append(f"{text[0].upper()}{text[1:]}.")
    if done.conflicts:
        lines.append(f"Skipped {count(len(done.conflicts), 'item')} that changed since the run.")
    return [*lines, f"Take it back: labelfix apply --undo {shlex.quote(str(done.to))}"]


def _about_undone(done: Undone) -> str:
    if done.in_place:
        return f"{done.folder} is as it was: {count(done.files, 'file')} put back."
    return f"Removed {done.folder}: {count(done.files, 'file')}; the originals are untouched."


class Tool(StrEnum):
    """Whose files are written."""

    cvat = "cvat"
    label_studio = "label-studio"
    coco = "coco"
    yolo = "yolo"
    csv = "csv"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory with the queue.")],
    *,
    to: Annotated[Tool, typer.Option(help="For which tool.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="What to write; yolo: a new folder.")
    ],
    top: Annotated[
        int | None,
        typer.Option(
            min=0, help="So many issues, most suspicious first. Default: all.", show_default=False
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only this kind.", show_default=False)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write the queue for another tool, with the suggestions as pre-annotations."""
    from labelfix.run import open_run
    from labelfix.run.exchanging import export_run

    images = export_run(open_run(run), to.value, out, top=top, kind=kind)
    if not quiet:
        print_lines(f"Wrote {count(images, 'item')} for {to.value}: {out}")


def import_answers(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory with the queue.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What a tool exported: CVAT 1.1 (XML or archive), Label Studio JSON, COCO.",
        ),
    ],
    *,
    reviewer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who decided there. Default: you.", show_default=False),
    ] = None,
    same_box: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="IoU from which a box that lost its id is the one it overlaps most."
        ),
    ] = 0.5,
    quiet: Quiet = False,
) -> None:
    """Read what another tool exported, and append it to the decisions."""
    import getpass

    from labelfix.run import open_run
    from labelfix.run.exchanging import import_into

    with telling(quiet=quiet):
        done = import_into(
            open_run(run), file, reviewer=reviewer or getpass.getuser(), same_box=same_box
        )
    if not quiet:
        parts = ", ".join(f"{number:,} {name}" for name, number in done.by_action.items())
        print_lines(
            f"Read {count(done.items, 'item')}; added {count(done.decisions, 'decision')}"
            + (f" ({parts})." if parts else ".")
        )
