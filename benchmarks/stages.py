"""The metric while labels are cleaned stage by stage, with labelfix's commands as one types them.

    LABELFIX_DATA=../shared/data python benchmarks/stages.py [digits] [numerals] [cells] [--write]

`digits` plants errors in scikit-learn's digits (20 % of the labels) and runs `labelfix stages` and
`labelfix simulate`; `numerals` takes an expert's corrections of 1,466 hand-drawn Roman numerals
(`roman-numeral/dev/review.csv`) as the decisions on a run of `labelfix find`, and runs
`labelfix stages`; `cells` plays a reviewer of red blood cells as first labelled (`bccd`), whose
truth are the boxes as revised, on the predictions that benchmarks/bccd.py keeps. With `--write` the
tables and plots go into docs/benchmarks/stages.md, each into its place; a part that was not asked
for stays as it is. Nothing in labelfix was chosen on the numerals or the cells.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from gain import digits

import labelfix
from labelfix.decisions import DecisionLog, State, new_decision
from labelfix.evaluate.boxreview import play_boxes
from labelfix.run import open_run

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "stages.md"
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data")).resolve()

HEAD = """\
# The metric while labels are cleaned

<!-- written by benchmarks/stages.py: run it again rather than edit this -->

Half of the items train and the other half test, so that intervals are narrow. In the tables: the
accuracy by the corrected labels (what cleaning does for the model) and, in brackets, by the labels
of the stage itself (what one would have seen on the way), then the errors that are left. The
fluctuation of the training loss is its standard deviation around its own smooth course, over the
second half of the epochs, in thousandths of the first epoch's loss: the mean over the seeds. How to
measure it was settled on the digits.
"""

DIGITS = """\
## Digits, 20 % of the labels replaced

1,797 handwritten digits; planted errors are easier to find than people's."""

NUMERALS = """\
## Roman numerals, an expert's corrections

1,466 real images. An expert found 179 of the labels wrong: 53 got another one, 126 images went.
The expert's verdicts are the decisions on a run, made folder by folder (the order `reviewed`); the
queue is that of a model other than the one that is tested."""

CELLS = """\
## Red blood cells, a revision by another team: errors found

{images} images; the revision moved, removed or added {errors:,} boxes, where {boxes:,} were given.
A reviewer who decides on rows of the queue, in the order of labelfix, of ObjectLab and of FiftyOne
on the same out-of-fold predictions (`labelfix.evaluate.boxreview.play_boxes`). Many boxes that are
said to be missing are missing in the revision too (see [bccd](bccd.md)) and count as no error here,
so the figures are low for all. FiftyOne's queue has every prediction in it, and finds most after
800 rows; `random` is one draw of the rows of labelfix's queue, which is hardly ahead of it then."""

STAGES = "0,25,50,65,75,85,90,100"


def main() -> None:
    """Run the parts, print them, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder for what the commands write")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.keep or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for name in options.parts or PARTS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", labelfix.LabelfixWarning)  # of odd boxes
                text = PARTS[name](work, options.seeds)
            print(text, flush=True)
            if options.write:
                put(name, text)


def put(name: str, text: str) -> None:
    """Put a part into its place in the page."""
    places = "\n".join(f"<!-- {one} -->\n<!-- end of {one} -->\n" for one in PARTS)
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else f"{HEAD}\n{places}"
    page = HEAD + page[page.index("\n<!-- digits -->") :]
    pattern = re.compile(rf"(<!-- {name} -->\n).*(<!-- end of {name} -->)", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", page), encoding="utf-8")


def command(work: Path, call: str, place: Path | None = None) -> str:
    """Run a command in a folder; show it, and keep its plot."""
    words = [sys.executable, "-m", "labelfix", *shlex.split(call), "--quiet"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(words, cwd=work, check=True, env={**os.environ, "PYTHONPATH": path})
    if place is not None:
        out = work / call.rpartition(" ")[2]
        (plot,) = out.glob("*.svg")
        shutil.copy(plot, place)
    return f"    labelfix {call}"


def on_digits(work: Path, seeds: int) -> str:
    """Clean digits by chance, and play a reviewer of them."""
    for name, dataset in zip(("noisy", "clean"), digits(), strict=True):
        table = dataset.items.with_columns(label=dataset.annotations["label"])
        table.write_csv(work / f"{name}.csv")
    shared = "--original noisy.csv --corrected clean.csv --id item_id --parts 5:0:5"
    plots = [PAGE.parent / f"stages-digits-{name}.svg" for name in ("curve", "review")]
    calls = [
        f"stages {shared} --model mlp --seeds {seeds} --at {STAGES} --out digits-stages",
        f"simulate {shared} --model extra-trees --seeds {seeds} --queue-model logistic "
        "--decisions 100,200,300,400,600 --error-rate 0.05 --out digits-review",
    ]
    shown = [command(work, call, plot) for call, plot in zip(calls, plots, strict=True)]
    return "\n\n".join(
        [
            DIGITS,
            "### A neural network, cleaned by chance",
            shown[0],
            by_share(work / "digits-stages"),
            f"![Stages of the digits]({plots[0].name})",
            "### A reviewer who errs on 5 % of the labels",
            shown[1],
            by_share(work / "digits-review"),
            f"![A played review of the digits]({plots[1].name})",
        ]
    )


def on_numerals(work: Path, seeds: int) -> str:
    """Clean the numerals as an expert did, with two heads on a frozen network."""
    images = work / "images"
    if not images.exists():
        images.symlink_to(DATA / "roman-numeral/dev/images", target_is_directory=True)
    found = command(work, "find images --model efficientnet-lite0+logistic --out numerals")
    decide(work / "numerals")
    parts = [NUMERALS, found]
    for head, resplit in (("ridge", " --resplit"), ("mlp", "")):
        plot = PAGE.parent / f"stages-numerals-{head}.svg"
        call = f"stages numerals --model efficientnet-lite0+{head} --seeds {seeds}{resplit}"
        shown = command(work, f"{call} --parts 5:0:5 --at {STAGES} --out numerals-{head}", plot)
        split = "another split for each seed" if resplit else "one split, other starts"
        parts += [
            f"### {head}, {seeds} seeds: {split}",
            shown,
            by_share(work / f"numerals-{head}"),
            f"![Stages of the numerals with {head}]({plot.name})",
        ]
    return "\n\n".join(parts)


def decide(run: Path) -> None:
    """Write the expert's verdicts into the log of a run, in the order of the files' names."""
    if (run / "decisions.jsonl").exists():
        return
    fingerprint = open_run(run).info.dataset.fingerprint
    verdicts = pl.read_csv(DATA / "roman-numeral/dev/review.csv").sort("file")
    given = open_run(run).annotations.select("item_id", "annotation_id")
    rows = verdicts.join(given, left_on="file", right_on="item_id", maintain_order="left")
    actions = {"Keep Data": "keep", "Fix Data Label": "set_label", "Remove Bad Data": "delete"}
    decisions = [
        new_decision(
            actions[row["action"]],  # type: ignore[arg-type] # names of actions
            reviewer="expert",
            fingerprint=fingerprint,
            item_id=row["file"],
            annotation_id=row["annotation_id"],
            after=State(row["corrected_label"]) if row["corrected_label"] else None,
        )
        for row in rows.iter_rows(named=True)
    ]
    DecisionLog(run / "decisions.jsonl", fingerprint).append(*decisions)


def by_share(out: Path) -> str:
    """Show stages: a row a stage, and for each order the accuracies, errors and fluctuation."""
    counts = pl.read_csv(out / "counts.csv")
    curve = pl.read_csv(out / "curve.csv").filter(metric="accuracy")
    losses = pl.read_csv(out / "losses.csv")
    orders = counts["order"].unique(maintain_order=True).to_list()
    head = ["looked at"]
    for order in orders:
        head += [order, "left"] + ["loss fluctuates"] * bool(losses.height)
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for decisions in counts["decisions"].unique().sort():
        cells = []
        for order in orders:
            here = {"order": order, "decisions": decisions}
            count = counts.filter(**here).row(0, named=True)
            by = {row["tested_on"]: row for row in curve.filter(**here).iter_rows(named=True)}
            best, own = by["corrected"], by["stage"]["value"]
            ends = f"{best['low']:.1%} to {best['high']:.1%}"
            cells += [f"{best['value']:.1%} ({ends}) [{own:.1%}]", f"{count['left']}"]
            if losses.height:
                unsteady = losses.filter(**here)["fluctuation"].to_numpy()
                cells.append(f"{1000 * unsteady.mean():.2g}")
        lines.append(f"| {decisions:,} ({count['share']:.0%}) | {' | '.join(cells)} |")
    return "\n".join([*summed_up(curve), "", *lines])


def summed_up(curve: pl.DataFrame) -> list[str]:
    """Say what the last stage is above the first one, for each order that ends elsewhere."""
    last = curve.filter(pl.col("decisions") == pl.col("decisions").max())
    lines = []
    for (order,), rows in last.group_by("order", maintain_order=True):
        by = {row["tested_on"]: row for row in rows.iter_rows(named=True)}
        points = [
            f"{100 * one['gain']:+.1f} points ({100 * one['gain_low']:+.1f} to "
            f"{100 * one['gain_high']:+.1f})"
            for one in (by["corrected"], by["stage"])
        ]
        lines.append(
            f"- {order}, last stage above the first: {points[0]} by the corrected labels, "
            f"{points[1]} by the labels of the stage."
        )
    same = len({line.partition(",")[2] for line in lines}) == 1
    return [f"- All orders{lines[0][lines[0].index(',') :]}"] if same else lines


def on_cells(work: Path, seeds: int) -> str:
    """Count what a played reviewer of boxes finds; nothing is trained."""
    del work, seeds
    import bccd

    first, revised = bccd.read("cosmicad"), bccd.read("shenggan")
    kept = pl.col("item_id").is_in(first.items["item_id"].implode())
    cells = revised.annotations.filter(pl.col("label").is_in(first.class_names))
    truth = replace(revised, annotations=cells).filter(kept)
    found = bccd.predictions(first)
    queues = {
        name: labelfix.find_issues(first, found, score=score)
        for name, score in (
            ("labelfix", "error_probability"),
            ("ObjectLab", "objectlab"),
            ("FiftyOne", "fiftyone"),
        )
    }
    counts = play_boxes(first, truth, queues, (100, 200, 400, 800, 1600))
    head = CELLS.format(images=len(first), errors=counts["left"][0], boxes=first.annotations.height)
    orders = counts["order"].unique(maintain_order=True).to_list()
    lines = [f"| looked at | {' | '.join(orders)} |", "|---" * (len(orders) + 1) + "|"]
    for (decisions,), rows in counts.group_by("decisions", maintain_order=True):
        cells_of = [f"{mended:,}" for mended in rows["mended"]]
        lines.append(f"| {decisions:,} | {' | '.join(cells_of)} |")
    return f"{head}\n\n" + "\n".join(lines)


PARTS: dict[str, Callable[[Path, int], str]] = {
    "digits": on_digits,
    "numerals": on_numerals,
    "cells": on_cells,
}


if __name__ == "__main__":
    main()
