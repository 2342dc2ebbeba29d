"""34 models on ImageNet's validation images, under six versions of the labels.

    LABELFIX_DATA=../shared/data python benchmarks/imagenet.py --write

reads the stored top-1 answers of 34 networks, the reassessed labels ("ReaL"), and the crowd's
verdicts. Prints the page, and with `--write` puts it and its picture into docs/benchmarks. Every
number on the page is written from here.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.evaluate.compare import LabelSets, compare_models
from labelfix.report.comparison import comparison_page
from labelfix.report.plots import rank_chart

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.evaluate.compare import Comparison

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data"))
PAGE = ROOT / "docs" / "benchmarks" / "imagenet-models.md"
CHART = PAGE.with_suffix(".svg")
GOLDEN = {
    "original": "original",
    "minus_mislabeled": "without mislabeled",
    "minus_all_errors": "without errors",
    "real": "real",
    "mturk_cleaned_corrected3": "crowd",
}
"""Columns of the table that was made without labelfix, and what they are called here."""


def main() -> None:
    """Print, or write, the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    options = parser.parse_args()
    answers, versions = read()
    seconds = []
    for draws in (0, options.draws):
        start = time.process_time()
        found = compare_models(answers, versions, draws=draws)
        seconds.append(time.process_time() - start)
    check(found)
    text = page(found, seconds)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
        CHART.write_bytes(rank_chart(found.accuracy))
    else:
        print(text)


def read() -> tuple[dict[str, NDArray[np.int16]], dict[str, LabelSets]]:
    """Read answers by model, and versions of the labels, all in the order of the class folders."""
    stored = np.load(DATA / "benchmarking-keras-pytorch/compact/imagenet_val_top1.npz")
    with np.load(DATA / "imagenet-real/imagenet_val_labels.npz") as arrays:
        labels = arrays["label_folder_order"].astype(int)
        numbers = arrays["val_number_folder_order"]
    real = json.loads((DATA / "imagenet-real/real.json").read_text())
    versions = {
        "original": LabelSets.of(labels),
        "real": LabelSets.of([real[number - 1] for number in numbers]),
        "crowd": LabelSets.of(crowd_labels(labels, numbers)),
    }
    return dict(zip(stored["models"].tolist(), stored["top1"], strict=True)), versions


def crowd_labels(labels: NDArray[np.int64], numbers: NDArray[np.int32]) -> NDArray[np.int64]:
    """Apply the crowd's verdicts: three of five for the other label, or the given one, or out."""
    place = {int(number): row for row, number in enumerate(numbers)}
    crowd = labels.copy()
    for one in json.loads((DATA / "label-errors/mturk/imagenet_mturk.json").read_text()):
        votes, row = one["mturk"], place[one["id"]]
        if votes["guessed"] >= 3:
            crowd[row] = one["our_guessed_label"]
        elif votes["given"] < 3:
            crowd[row] = -1
    return crowd


def check(found: Comparison) -> None:
    """Hold every accuracy and rank to the stored table."""
    golden = pl.read_csv(DATA / "golden/imagenet_34_models_rank_table.csv")
    for column, variant in GOLDEN.items():
        mine = found.accuracy.filter(variant=variant)
        both = golden.select("model", column, f"rank_{column}").join(mine, on="model")
        assert both.height == 34
        assert (both["accuracy"].round(5) == both[column]).all()
        assert (both["rank"] == both[f"rank_{column}"]).all()


def page(found: Comparison, seconds: list[float]) -> str:
    """Wrap the tables in words."""
    return f"""# 34 models on ImageNet, under six versions of its labels

<!-- written by benchmarks/imagenet.py: run it again rather than edit this -->

The 50,000 validation images as 34 networks of Keras and torchvision answer them (top-1 answers from
github.com/cgnorthcutt/benchmarking-keras-pytorch). `real` are the reassessed labels of Beyer et al.
2020, "Are we done with ImageNet?" (github.com/google-research/reassessed-imagenet): any of an
image's labels counts, images without one are left out. By them {errors(found):,} of the given
labels are errors, and `without mislabeled`, `without errors` and `relabelled` go by them too.
`crowd` are the verdicts of five people on each of 5,440 suspected images (Northcutt et al. 2021,
github.com/cleanlab/label-errors): corrected where three agree on the other label, left out where
neither that nor the given one has three votes. An article that removed 14,264 such errors from ten
models' test set saw their ranks change; whether that is more than noise is asked here.

{comparison_page(found, CHART.name)}

All accuracies and ranks but those of `relabelled` equal, to five digits, a table that was computed
without labelfix. CPU time on one core: {seconds[0]:.1f} s without intervals, {seconds[1]:.0f} s
with {found.draws:,} draws.

To repeat: `python benchmarks/imagenet.py --write`
"""


def errors(found: Comparison) -> int:
    """Count the items that are not right."""
    return int(found.kinds.filter(pl.col("kind") != "right")["items"].sum())


if __name__ == "__main__":
    main()
