"""`labelfix log`, `undo`, `redo`, `blame` and `status`: what reviewers did with a run."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelfix.atomic import replacing
from labelfix.cli.base import FormatOption, Quiet, telling
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.errors import InputError, Problem
from labelfix.text import count

if TYPE_CHECKING:
    from labelfix.decisions import Decision, DecisionLog, Replay
    from labelfix.review.status import Agreement, Status

__all__ = ["RunArgument", "blame", "log", "redo", "status", "undo"]

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Directory that `labelfix find` wrote.")
]
Acts = Annotated[int, typer.Argument(metavar="N", min=1, help="So many acts.")]
ReviewerOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who you are. Default: your user name.", show_default=False),
]
OfOption = Annotated[
    str | None,
    typer.Option(
        "--of", metavar="NAME", help="Whose decisions, if not your own.", show_default=False
    ),
]

COLUMNS = {
    "time": "time",
    "reviewer": "reviewer",
    "action": "action",
    "item_id": "item",
    "change": "change",
    "undone": "undone",
    "note": "note",
}


def log(
    run: RunArgument,
    *,
    reviewer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only what this one did.", show_default=False),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=0, help="The latest so many. Default: 20 as a table, else all.", show_default=False
        ),
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """List the decisions on a run, the latest last."""
    from labelfix.decisions import history

    replay = _read(run)
    if reviewer is not None and reviewer not in replay.reviewers:
        expected = f"one of {', '.join(replay.reviewers)}" if replay.reviewers else "a decision"
        raise InputError(Problem("--reviewer", f"nothing of {reviewer!r}", expected))
    rows = history(replay, reviewer=reviewer)
    most = 20 if top is None and form is Format.table else top
    shown = rows if most is None else rows.tail(most)
    print_rows(shown, form, COLUMNS)
    if form is Format.table and rows.height > shown.height:
        print_lines(f"And {rows.height - shown.height:,} before: --top N shows the latest N")


def blame(
    run: RunArgument,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="Id of the item.")],
    *,
    form: FormatOption = Format.table,
) -> None:
    """List who said what of one item, and when."""
    from labelfix.decisions import history
    from labelfix.run import open_run

    rows = history(_read(run), item_id=item)
    if rows.is_empty() and item not in open_run(run).issues["item_id"]:
        raise InputError(
            Problem("ITEM", repr(item), "an item of the run, as `labelfix show` names it")
        )
    print_rows(rows, form, COLUMNS)


def undo(
    run: RunArgument,
    number: Acts = 1,
    *,
    reviewer: ReviewerOption = None,
    of: OfOption = None,
    quiet: Quiet = False,
) -> None:
    """Undo your latest decisions. What was decided in one go is undone in one go."""
    opened, who = _open(run), reviewer or getpass.getuser()
    with telling(quiet=quiet):
        steps = opened.undo(who, number, of=of)
    _say(opened, steps, "undo", of or who, quiet=quiet)


def redo(
    run: RunArgument,
    number: Acts = 1,
    *,
    reviewer: ReviewerOption = None,
    of: OfOption = None,
    quiet: Quiet = False,
) -> None:
    """Take back your latest undos, until you decide something new."""
    opened, who = _open(run), reviewer or getpass.getuser()
    with telling(quiet=quiet):
        steps = opened.redo(who, number, of=of)
    _say(opened, steps, "redo", of or who, quiet=quiet)


def status(
    run: RunArgument,
    *,
    clean_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the right labels of the audited random slice to a new .csv, for find.",
            show_default=False,
        ),
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Say how far a review is, how consistent, and how many errors may be left."""
    import msgspec

    from labelfix.review.queue import open_queue
    from labelfix.review.status import clean_labels as audited
    from labelfix.review.status import status as sum_up
    from labelfix.run import open_run

    if form is Format.csv:
        raise InputError(Problem("--format", "csv", "table, json or jsonl", "status is no list"))
    with telling():
        queue = open_queue(open_run(run))
    found = sum_up(queue)
    if clean_labels is not None:
        if clean_labels.exists() or not clean_labels.parent.is_dir():
            expected = "a file that is not there yet, in a folder that is"
            raise InputError(Problem("--clean-labels", str(clean_labels), expected))
        with replacing(clean_labels) as file:
            audited(queue).write_csv(file)
    if form is Format.table:
        print_lines(*_lines(found))
        return
    text = msgspec.json.encode(found)
    text = msgspec.json.format(text, indent=2) if form is Format.json else text
    sys.stdout.write(text.decode() + "\n")


def _read(run: Path) -> Replay:
    from labelfix.decisions import read_log
    from labelfix.run import open_run

    opened = open_run(run)
    with telling():
        return read_log(opened.path / "decisions.jsonl", opened.info.dataset.fingerprint)


def _open(run: Path) -> DecisionLog:
    from labelfix.decisions import DecisionLog
    from labelfix.run import open_run

    opened = open_run(run)
    return DecisionLog(opened.path / "decisions.jsonl", opened.info.dataset.fingerprint)


def _say(
    opened: DecisionLog, steps: tuple[Decision, ...], action: str, owner: str, *, quiet: bool
) -> None:
    """List what was undone or redone.

    Raises
    ------
    InputError
        If there was nothing to: says who has something.
    """
    import polars as pl

    from labelfix.decisions import history

    if not steps:
        others = ", ".join(name for name in opened.replay.reviewers if name != owner)
        fix = f"others are {others}: see --of" if others else ""
        raise InputError(Problem(action, f"nothing of {owner} to {action}", fix=fix))
    if not quiet:
        replay = opened.replay
        acts = [replay.act(replay[one.target]) for one in steps if one.target is not None]
        rows = history(replay).filter(pl.col("id").is_in([one.id for act in acts for one in act]))
        print_lines(f"{action.capitalize()} of {count(len(acts), 'act')} of {owner}:")
        print_rows(rows, Format.table, COLUMNS)


def _lines(found: Status) -> list[str]:
    estimate = found.estimate
    errors, left = (f"{low:,} to {high:,}" for low, high in (estimate.errors, estimate.left))
    reviewers = ", ".join(f"{name} {many:,}" for name, many in found.reviewers.items())
    return [
        f"Decided {found.done:,} of {count(found.issues, 'issue')}, {found.left:,} left "
        f"({found.skipped:,} skipped, {found.flagged:,} flagged)"
        + (f"; by reviewer: {reviewers}." if reviewers else "."),
        f"Errors found: {found.errors:,}"
        + (f" ({found.contested:,} of them contested)" if found.contested else "")
        + (f", and {count(found.new_boxes, 'new box', 'new boxes')}." if found.new_boxes else "."),
        *(
            f"  {one.kind}: {one.errors:,} of {one.decided:,} decided"
            + ("" if one.seconds is None else f", {one.seconds:.1f} s a decision (median)")
            for one in found.kinds
        ),
        f"Conflicts between reviewers: {found.conflicts:,}.",
        *(_agreement(one) for one in (*found.between, *found.within)),
        f"Audit: {estimate.audited:,} of the {estimate.slice:,} in the random slice were looked "
        f"at, {estimate.wrong:,} wrong.",
        f"Errors in the whole set: {errors}; still left: {left} "
        f"({estimate.confidence:.0%} confidence).",
        *_expected(found),
        f"Stopping is {'' if found.may_stop else 'not '}justified: {found.why}.",
    ]


def _expected(found: Status) -> list[str]:
    if found.expected is None:
        return []
    return [
        f"By the error probabilities, corrected by the audit: about {found.expected:,.0f} errors "
        "in the whole set."
    ]


def _agreement(one: Agreement) -> str:
    who = " and ".join(one.who) if len(one.who) > 1 else f"{one.who[0]}, shown the same twice,"
    boxes = "" if one.iou is None else f"; boxes overlap by IoU {one.iou:.2f}"
    return f"  {who} agree{'s' * (len(one.who) == 1)} in {one.same:,} of {one.both:,}{boxes}"
