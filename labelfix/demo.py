"""The demo: the whole loop on a real image folder with errors planted in it.

    DIR/README.txt          says what the rest is, and that a demo made it
    DIR/digits/3/0042.png   scikit-learn's 1,797 handwritten digits (Alpaydin and Kaynak 1998); each
                            lies in a folder called like its label, 8 % in a wrong one
    DIR/truth.csv           which; beside the dataset, so that nothing that learns can see it
    DIR/run/                what `labelfix find` says of it, and what a simulated reviewer, who
                            knows the truth, decided on the first of the queue
    DIR/corrected/          the image folder with these decisions applied
    DIR/run/gain/           what the corrections were worth: `labelfix evaluate`
    DIR/run/report/         all of it on a page: `labelfix report`

The base install and no network will do, and the same comes out everywhere.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from labelfix.atomic import replacing
from labelfix.decisions import DecisionLog, State, decide, read_log
from labelfix.errors import RunError
from labelfix.review.queue import open_queue
from labelfix.review.reporting import make_report
from labelfix.run import FindOptions, Run, find
from labelfix.run.applying import apply_run
from labelfix.run.gain import GainOptions, evaluate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelfix.evaluate.tables import Gain
    from labelfix.progress import Progress

__all__ = ["BUDGET", "MODEL", "RATE", "Demo", "make_digits", "run_demo"]

RATE = 0.08
"""Share of the labels that are replaced, each by any of the nine others alike."""

MODEL = "pixels+logistic"
"""Needs nothing but the base install, so that the demo says the same with and without torch."""

BUDGET = 200
"""Decisions of the simulated reviewer."""

PARTS = (6, 1, 3)
"""Of the images, for training, validation and test: enough of the last to see something."""

REVIEWER = "simulated"

SIDE = 80
"""Pixels that an image is wide and high: the originals' 8 are hard to see."""

README, IMAGES, TRUTH, RUN = "README.txt", "digits", "truth.csv", "run"
CORRECTED = "corrected"

ABOUT = f"""\
The demo of labelfix

digits/     scikit-learn's handwritten digits as an image folder: the folder of an image is its
            label. {RATE:.0%} of the labels were replaced, each by any other alike.
truth.csv   which labels were replaced, and what they were before.
run/        what labelfix found in digits/; open run/report.html. run/decisions.jsonl is what a
            simulated reviewer, who knows the truth, decided on the first {BUDGET} of the queue.
corrected/  digits/ with these decisions applied.
run/gain    what they were worth: models trained and tested on digits/ and on corrected/.
run/report  all of it on a page.

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
    corrected
        The image folder with the reviewer's decisions applied.
    corrections
        How many labels these changed.
    gain
        What they were worth.
    page
        All of it on a page.
    """

    run: Run
    images: Path
    truth_file: Path
    truth: pl.DataFrame
    corrected: Path
    corrections: int
    gain: Gain
    page: Path

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
    """Plant errors in the digits, find, review and correct them, and measure what that was worth.

    Parameters
    ----------
    out
        Directory for all of it. One that an earlier demo made is made anew.
    seed
        Decides which labels are replaced, by which, and the folds.
    command
        What the user typed, for run.json.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    RunError
        If `out` holds other files, or the decisions of a person.
    """
    out = Path(out)
    _forget(out)
    truth = make_digits(out, seed, progress=progress)
    options = FindOptions(path=str(out / IMAGES), model=MODEL, seed=seed)
    run = find(options, out / RUN, overwrite=True, command=command, progress=progress)
    _review(run, truth)
    applied = apply_run(run, out / CORRECTED, progress=progress)
    measured = GainOptions(run=str(out / RUN), model=MODEL, parts=PARTS, seed=seed)
    gain = evaluate(measured, run.path / "gain", command=command, progress=progress)
    page = make_report(run.path)
    return Demo(
        run, out / IMAGES, out / TRUTH, truth, out / CORRECTED, applied.corrections, gain, page
    )


def _review(run: Run, truth: pl.DataFrame) -> None:
    """Decide on the first of the queue as someone who knows the truth would."""
    right = dict(truth.select("item_id", pl.col("true_label").cast(pl.String)).iter_rows())
    fingerprint = run.info.dataset.fingerprint
    log = DecisionLog(run.path / "decisions.jsonl", fingerprint)
    decisions = []
    for shown in open_queue(run).next(REVIEWER, BUDGET):
        issue = shown.issue
        label = right.get(issue["item_id"])
        decisions.append(
            decide(
                issue,
                "keep" if label is None else "set_label",
                reviewer=REVIEWER,
                fingerprint=fingerprint,
                after=None if label is None else State(label=label),
                source=shown.source,
                note="a program that knows the truth",
            )
        )
    log.append(*decisions)


def _forget(out: Path) -> None:
    """Remove what an earlier demo decided, applied and measured, and nothing of a person's.

    Raises
    ------
    RunError
        If somebody else than the simulated reviewer decided something.
    """
    log = out / RUN / "decisions.jsonl"
    if not log.is_file():
        return
    people = {one.reviewer for one in read_log(log).decisions} - {REVIEWER}
    if people:
        raise RunError(
            f"{log}: holds decisions of {', '.join(sorted(people))}; keep them, and give the demo "
            "another directory"
        )
    log.unlink()
    for folder in (out / CORRECTED, out / RUN / "gain", out / RUN / "report"):
        shutil.rmtree(folder, ignore_errors=True)


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
