"""The demo: a real image folder with errors planted in it, and how many of them are found.

    DIR/README.txt          says what the rest is, and that a demo made it
    DIR/digits/3/0042.png   scikit-learn's 1,797 handwritten digits (Alpaydin and Kaynak 1998); each
                            lies in a folder called like its label, 8 % in a wrong one
    DIR/truth.csv           which; beside the dataset, so that nothing that learns can see it
    DIR/run/                what `labelfix find` says of it

The base install and no network will do, and the same comes out everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from labelfix.atomic import replacing
from labelfix.errors import RunError
from labelfix.run import FindOptions, Run, find

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelfix.run import Progress

__all__ = ["MODEL", "RATE", "Demo", "make_digits", "run_demo"]

RATE = 0.08
"""Share of the labels that are replaced, each by any of the nine others alike."""

MODEL = "pixels+logistic"
"""Needs nothing but the base install, so that the demo says the same with and without torch."""

SIDE = 80
"""Pixels that an image is wide and high: the originals' 8 are hard to see."""

README, IMAGES, TRUTH, RUN = "README.txt", "digits", "truth.csv", "run"

ABOUT = f"""\
The demo of labelfix

digits/     scikit-learn's handwritten digits as an image folder: the folder of an image is its
            label. {RATE:.0%} of the labels were replaced, each by any other alike.
truth.csv   which labels were replaced, and what they were before.
run/        what labelfix found in digits/; open run/report.html.

`labelfix demo` makes all of it anew.
"""
_FIRST_LINE = ABOUT.partition("\n")[0]


@dataclass(frozen=True)
class Demo:
    """What came out.

    Parameters
    ----------
    run
        As from `labelfix find`.
    images, truth_file
        The image folder, and where the truth about it is kept.
    truth
        One row a planted error: item_id, given_label, true_label.
    """

    run: Run
    images: Path
    truth_file: Path
    truth: pl.DataFrame

    @property
    def planted(self) -> int:
        """How many labels were replaced."""
        return self.truth.height

    @property
    def found(self) -> int:
        """How many of them are among the first `planted` of the queue."""
        return self._planted_among(self.run.issues.head(self.planted))

    @property
    def by_chance(self) -> float:
        """How many would be there in a random order, on average."""
        return self.planted**2 / self.run.issues.height

    @property
    def found_flagged(self) -> int:
        """How many of them are flagged."""
        return self._planted_among(self.run.issues.filter("flagged"))

    def _planted_among(self, issues: pl.DataFrame) -> int:
        return issues.join(self.truth, on="item_id", how="semi").height


def run_demo(
    out: str | Path,
    *,
    seed: int = 0,
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Demo:
    """Write the digits with errors planted in them, and look for them.

    Parameters
    ----------
    out
        Directory for all of it. One that an earlier demo made is made anew; its decisions stay.
    seed
        Decides which labels are replaced, by which, and the folds.
    command
        What the user typed, for run.json.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    RunError
        If `out` holds other files.
    """
    out = Path(out)
    truth = make_digits(out, seed, progress=progress)
    options = FindOptions(path=str(out / IMAGES), model=MODEL, seed=seed)
    run = find(options, out / RUN, overwrite=True, command=command, progress=progress)
    return Demo(run, out / IMAGES, out / TRUTH, truth)


def make_digits(out: Path, seed: int = 0, *, progress: Progress | None = None) -> pl.DataFrame:
    """Write the image folder `out/digits` and the truth about it, `out/truth.csv`.

    Returns
    -------
    polars.DataFrame
        One row a planted error: item_id, given_label, true_label.

    Raises
    ------
    RunError
        If `out` holds other files.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    given = _misread(digits.target, seed)
    paths = [f"{label}/{row:04d}.png" for row, label in enumerate(given)]
    labels = {"given_label": given, "true_label": digits.target}
    truth = (
        pl.DataFrame({"item_id": paths, **labels})
        .filter(pl.col("given_label") != pl.col("true_label"))
        .sort("item_id")
    )
    _claim(out)
    with replacing(out / TRUTH) as file:
        truth.write_csv(file)
    _write_images(out / IMAGES, paths, digits.images, progress)
    return truth


def _misread(digits: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Replace 8 % of the labels by any of the nine others."""
    import numpy as np

    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(digits), round(RATE * len(digits)), replace=False)
    given = digits.copy()
    given[wrong] = (digits[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return given


def _claim(out: Path) -> None:
    """Make the directory, or take over an earlier demo's: only images that it wrote are removed.

    Raises
    ------
    RunError
        If there are other files in it.
    """
    if out.exists():
        is_demo = (out / README).is_file() and _first_line(out / README) == _FIRST_LINE
        if not out.is_dir() or (any(out.iterdir()) and not is_demo):
            raise RunError(
                f"{out}: holds other files and no demo; give a directory that does not exist yet"
            )
    for image in (out / IMAGES).glob("[0-9]/[0-9][0-9][0-9][0-9].png"):
        image.unlink()
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / README) as file:
        file.write(ABOUT.encode())


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip()


def _write_images(
    folder: Path, paths: list[str], images: NDArray[np.float64], progress: Progress | None
) -> None:
    """Write dark ink on white paper."""
    import numpy as np
    from PIL import Image

    for label in sorted({path.partition("/")[0] for path in paths}):
        (folder / label).mkdir(parents=True, exist_ok=True)
    for done, (path, image) in enumerate(zip(paths, images, strict=True), start=1):
        with_margin = np.pad(image, 1)
        ink = Image.fromarray((255 - with_margin * (255 / 16)).astype("uint8"))
        ink.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / path, compress_level=1)
        if progress is not None and done % 100 == 0:
            progress("Writing images", done, len(paths))
