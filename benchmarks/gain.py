"""What corrections buy, and how much of it is the yardstick: two datasets whose truth is known.

    LABELFIX_DATA=../shared/data python benchmarks/gain.py --write

plants errors in scikit-learn's digits (20 % of the labels, each replaced by any other alike), and
takes an expert's corrections of 1,466 hand-drawn Roman numerals (`roman-numeral/dev/review.csv`).
Both are trained and tested on original and corrected labels, with `labelfix.measure_gain`.
Nothing in labelfix was chosen on either.
"""

from __future__ import annotations

import argparse
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

import labelfix
from labelfix.inject import inject_labels, symmetric_noise
from labelfix.report.gain import gain_findings, gain_page

if TYPE_CHECKING:
    from labelfix import Dataset, Gain

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "gain.md"
RATE = 0.2


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="of the digits")
    parser.add_argument("--seeds-numerals", type=int, default=5, help="of the numerals")
    parser.add_argument("--digits-model", default="extra-trees")
    parser.add_argument("--numerals-model", default="efficientnet-lite0+logistic")
    parser.add_argument("--parts", default="5:0:5", help="training, validation, test")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    train, validation, test = (int(one) for one in options.parts.split(":"))
    parts = (train, validation, test)
    shown = [DIGITS]
    for resplit in (False, True):
        gain = measured(*digits(), options.digits_model, options.seeds, parts, resplit=resplit)
        shown.append(section(gain, "each seed" if resplit else "all seeds"))
    shown.append(NUMERALS)
    for resplit in (False, True):
        gain = measured(
            *numerals(), options.numerals_model, options.seeds_numerals, parts, resplit=resplit
        )
        shown.append(section(gain, "each seed" if resplit else "all seeds"))
    text = "\n\n".join(shown)
    print(text)
    if options.write:
        PAGE.write_text(f"{HEAD}\n\n{text}\n\n{FOOT}\n", encoding="utf-8")


HEAD = """\
# What corrections buy

<!-- written by benchmarks/gain.py: run it again rather than edit this -->

Both sets were trained and tested on original and on corrected labels: same recipe, seeds and split.
Half of the items train, the other half test, so that intervals are narrow; there is nothing to
tune, so nothing is held back for it."""

DIGITS = f"""\
## Digits with planted errors

1,797 handwritten digits, {RATE:.0%} of the labels replaced by any other alike, and the truth as the
corrected version. Planted errors are easier on models than people's."""

NUMERALS = """\
## Roman numerals, an expert's corrections

1,466 real images; the expert relabelled some and removed others, which show no numeral."""

FOOT = """\
To repeat: `python benchmarks/gain.py --write`"""


def measured(
    original: Dataset,
    corrected: Dataset,
    model: str,
    seeds: int,
    parts: tuple[int, int, int],
    *,
    resplit: bool,
) -> Gain:
    """Measure the gain of all that was corrected, removed items too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", labelfix.LabelfixWarning)
        return labelfix.measure_gain(
            original,
            corrected,
            model,
            seeds,
            labelfix.Split(parts=parts),
            resplit=resplit,
            allow_removed=True,
        )


def section(gain: Gain, splits: str) -> str:
    """Show the findings, the cells and what the gain is made of."""
    page = gain_page(gain)
    wanted = [
        part
        for part in page.split("\n\n## ")
        if part.startswith(("The cells", "What the gain", "How much the split"))
    ]
    findings = "\n".join(f"- {line}" for line in gain_findings(gain))
    title = f"### One split for {splits}, {gain.details['seeds']} seeds"
    return "\n\n".join([title, findings, *(f"#### {part}" for part in wanted)])


def digits() -> tuple[Dataset, Dataset]:
    """Give scikit-learn's digits with errors, and without."""
    from sklearn.datasets import load_digits

    found = load_digits()
    names = [f"{row:04d}" for row in range(len(found.target))]
    items = pl.DataFrame(found.data, schema=[f"p{k}" for k in range(64)])
    items.insert_column(0, pl.Series("item_id", names))
    labels = pl.Series("label", found.target).cast(pl.String)
    table = pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels})
    classes = tuple(str(k) for k in range(10))
    clean = labelfix.Dataset(
        items, table, classes, "memory", feature_columns=tuple(items.columns[1:])
    )
    planted = inject_labels(table, symmetric_noise(10, RATE), classes)
    return replace(clean, annotations=planted.annotations), clean


def numerals() -> tuple[Dataset, Dataset]:
    """Give the numerals as they came, and as the expert left them."""
    folder = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data")) / "roman-numeral/dev"
    original = labelfix.read(folder / "images")
    review = pl.read_csv(folder / "review.csv").select(
        item_id="file", error="label_error", new="corrected_label"
    )
    table = original.annotations.join(review, on="item_id", how="left", maintain_order="left")
    removed = table["error"] & table["new"].is_null()
    label = pl.when("error").then("new").otherwise("label")
    rows = np.flatnonzero(~removed.to_numpy())
    corrected = table.with_columns(label=label).select("annotation_id", "item_id", "label")
    kept = replace(original, items=original.items[rows], annotations=corrected[rows])
    return original, kept


if __name__ == "__main__":
    main()
