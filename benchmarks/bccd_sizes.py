"""Do revised boxes let a detector on smaller images do the job? Red blood cells, a nano detector.

    python benchmarks/bccd_sizes.py --out FOLDER [--sizes 128,192,256] [--seeds 1] [--write]

Trains the same detector at several sizes of the images on both versions of the boxes, tests each on
both, and takes the time of an image (`labelfix evaluate --models --sizes`). Finished trainings stay
in FOLDER. What is needed is told by benchmarks/bccd_gain.py. With fewer than 25 epochs the detector
finds too little to compare anything.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bccd_gain import ROOT, versions

from labelfix import Split
from labelfix.evaluate.sizes import measure_sizes
from labelfix.report.plots import size_chart
from labelfix.report.sizes import size_page

PAGE = ROOT / "docs" / "benchmarks" / "bccd-sizes.md"
HEAD = """# Red blood cells: smaller images, original and revised boxes

<!-- written by benchmarks/bccd_sizes.py: run it again rather than edit this -->

The same detector, from no weights, at several sizes of the images, trained on the boxes as first
drawn and as revised (the sets and the split are those of [the gain](bccd-gain.md)). To repeat:
`python benchmarks/bccd_sizes.py --out FOLDER --write`; about half an hour on two idle cores.
"""


def main() -> None:
    """Measure, print, and write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--model", default="yolo11n,epochs=25")
    parser.add_argument("--sizes", default="128,192,256")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} in docs")
    options = parser.parse_args()
    original, corrected = versions(None)
    found = measure_sizes(
        original,
        corrected,
        [options.model],
        [int(size) for size in options.sizes.split(",")],
        options.seeds,
        split=Split(parts=(1, 0, 1)),
        store=options.out / "trainings",
        progress=lambda what, done, total: print(f"{what}: {done} of {total}"),
    )
    marks = found.marks()
    chart = PAGE.with_suffix(".svg")
    page = size_page(marks, found.details, found.warnings, chart.name)
    print(page)
    if options.write:
        PAGE.write_text(f"{HEAD}\n{page}\n", encoding="utf-8")
        chart.write_bytes(size_chart(marks))


if __name__ == "__main__":
    main()
