"""What revised boxes bought: red blood cells, first version against another team's revision.

    python benchmarks/bccd_gain.py --out FOLDER [--seeds 1] [--model yolo11n.yaml,epochs=25,...]

Trains the same detector on both versions of the images that both teams labelled, and tests it on
both (`labelfix.measure_gain`). Finished trainings stay in FOLDER: the same call goes on, and one
with more seeds trains only those. A training of 170 images takes about seven minutes on two idle
cores; with one seed the intervals are over images alone, and the page says so.

Needs `labelfix[ultralytics]` and, under `$LABELFIX_DATA/bccd`, the folders `images`,
`annotations_cosmicad` (github.com/cosmicad/dataset) and `annotations_shenggan`
(github.com/Shenggan/BCCD_Dataset).
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import polars as pl

import labelfix
from labelfix import Dataset
from labelfix.report.gain import gain_page
from labelfix.report.plots import gain_chart

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "bccd-gain.md"
CLASS = "RBC"
HEAD = """# Red blood cells: what revised boxes bought

<!-- written by benchmarks/bccd_gain.py: run it again rather than edit this -->

Boxes as first drawn (github.com/cosmicad/dataset) and as another team revised them
(github.com/Shenggan/BCCD_Dataset), red cells only, in the images that both have: the same detector
is trained on both, from no weights, and tested on both, half of the images for training and half
for test. To repeat: `python benchmarks/bccd_gain.py --out FOLDER --write`; about 15 minutes on two
idle cores.
"""


def main() -> None:
    """Measure, print, and write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for trainings and page")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--model", default="yolo11n.yaml,epochs=25,image_size=256")
    parser.add_argument("--most", type=int, help="so many images at most, to try it out")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} in docs")
    options = parser.parse_args()
    original, corrected = versions(options.most)
    start = time.perf_counter()
    gain = labelfix.measure_gain(
        original,
        corrected,
        options.model,
        options.seeds,
        labelfix.Split(parts=(1, 0, 1)),
        store=options.out / "trainings",
        progress=lambda what, done, total: print(f"{what}: {done} of {total}"),
    )
    page = gain_page(gain, "gain.svg")
    text = f"# Red cells, first version against revised\n\n{page}\n"
    (options.out / "gain.md").write_text(text, encoding="utf-8")
    (options.out / "gain.svg").write_bytes(gain_chart(gain.cells, gain.effects))
    if options.write:
        PAGE.write_text(f"{HEAD}\n{gain_page(gain)}\n", encoding="utf-8")
    print(f"{page}\n\n{time.perf_counter() - start:.0f} s")


def versions(most: int | None) -> tuple[Dataset, Dataset]:
    """Read the red cells of the images that both versions have."""
    folder = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data")) / "bccd"
    read = [
        labelfix.read(folder / name, images=folder / "images", skip_bad=True)
        for name in ("annotations_cosmicad", "annotations_shenggan")
    ]
    both = pl.Series(sorted(set.intersection(*(set(one.items["item_id"]) for one in read))))
    kept = both.head(most) if most else both
    first, second = (of_class(one, kept) for one in read)
    return first, second


def of_class(dataset: Dataset, ids: pl.Series) -> Dataset:
    """Keep some images, and of their boxes those of the one class."""
    here = pl.col("item_id").is_in(ids.implode())
    return replace(
        dataset,
        items=dataset.items.filter(here),
        annotations=dataset.annotations.filter(here, pl.col("label") == CLASS),
        class_names=(CLASS,),
    )


if __name__ == "__main__":
    main()
