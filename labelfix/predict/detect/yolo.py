"""Ultralytics' detectors, each fold in a process of its own.

Ultralytics is AGPL-3.0 and changes the process that imports it: environment variables, thread
counts, loggers, a settings file, integrations that report to servers. So it is never imported here.
A child process does one fold with settings of its own in a temporary folder, offline, and leaves
nothing behind. It reads the images where they are and writes nothing beside them: labels go to it
as a table.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, LabelfixError, MissingExtraError, Problem
from labelfix.predict.detect.models import DetectResult, found, scenes
from labelfix.predict.models import Inputs
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from labelfix.predict.detect.models import DetectJob, Scenes
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["Ultralytics", "UltralyticsTraining"]

CHILD = "labelfix.predict.detect.ultralytics"

OURS = frozenset(
    "model data task mode project name exist_ok save_dir resume plots val split fraction epochs "  # noqa: SIM905 # one name a line would take a screen
    "imgsz batch optimizer lr0 seed device workers cache pretrained single_cls classes amp rect "
    "patience time".split()
)
"""Arguments of Ultralytics that cannot be given in `options`."""


@dataclass(frozen=True)
class UltralyticsTraining:
    """How a detector is trained; the defaults are Ultralytics', but for the number of epochs.

    There is no early stopping and no choice of the best epoch: both would look at held-out images.
    The weights are the running mean over the steps that Ultralytics keeps (EMA), after the last
    epoch. Training is in float32.

    Parameters
    ----------
    epochs
        Times that each image is learned from.
    image_size
        Longest side of the images in pixels, for learning and predicting; a multiple of 32.
    batch_size
        Images a step.
    optimizer
        As Ultralytics calls it. "auto" chooses one and its learning rate.
    learning_rate
        At the start; "auto" does not look at it.
    options
        Any other training arguments of Ultralytics by name, such as `mosaic` or `fliplr`.
    """

    epochs: int = 50
    image_size: int = 640
    batch_size: int = 16
    optimizer: str = "auto"
    learning_rate: float = 0.01
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = [
            ("epochs", self.epochs >= 1, ">= 1"),
            ("image_size", self.image_size >= 32 and self.image_size % 32 == 0, "32, 64, 96, ..."),
            ("batch_size", self.batch_size >= 1, ">= 1"),
            ("learning_rate", self.learning_rate > 0, "> 0"),
            ("options", not OURS & set(self.options), f"none of {', '.join(sorted(OURS))}"),
        ]
        problems = [
            Problem(f"UltralyticsTraining, {name}", repr(getattr(self, name)), expected)
            for name, holds, expected in rules
            if not holds
        ]
        if problems:
            raise InputError(problems)


@dataclass(frozen=True)
class Ultralytics:
    """A detection model of Ultralytics: YOLO 3 to 26.

    Each box comes with the model's confidence in every class, from before the suppression of
    overlapping boxes; that suppression has no time limit.

    Parameters
    ----------
    weights
        A model without weights, such as `yolo11n.yaml`; a file of weights; or a name of Ultralytics
        such as `yolo11n.pt`. Only such a name, where there is no such file, needs a network, once:
        the weights are kept in the cache.
    training
        How it is trained in each fold.
    confidence
        Less sure boxes are not given, in [0, 1).
    most_iou
        Of two boxes of a class that overlap more, the less sure one is not given.
    most_boxes
        The surest so many of each image are given.
    device
        As PyTorch calls it; None: the first GPU, else the CPU.
    workers
        Processes that load images on a GPU; on the CPU there are none.

    Notes
    -----
    Ultralytics is under the AGPL-3.0 licence; installing it is your choice:
    `pip install 'labelfix[ultralytics]'`.
    """

    weights: str
    training: UltralyticsTraining = field(default_factory=UltralyticsTraining)
    confidence: float = 0.01
    most_iou: float = 0.7
    most_boxes: int = 300
    device: str | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        rules = [
            (
                "weights",
                self.weights.endswith((".pt", ".yaml")),
                "a name that ends in .pt or .yaml",
            ),
            ("confidence", 0 <= self.confidence < 1, "in [0, 1)"),
            ("most_iou", 0 <= self.most_iou <= 1, "in [0, 1]"),
            ("most_boxes", self.most_boxes >= 1, ">= 1"),
            ("workers", self.workers >= 0, ">= 0"),
        ]
        problems = [
            Problem(f"Ultralytics, {name}", repr(getattr(self, name)), expected)
            for name, holds, expected in rules
            if not holds
        ]
        if problems:
            raise InputError(problems)

    @property
    def name(self) -> str:
        """Name of the weights."""
        return Path(self.weights).name

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Gather the boxes, and the weights if Ultralytics has to fetch them."""
        del progress  # nothing here takes long
        if importlib.util.find_spec("ultralytics") is None:
            raise MissingExtraError(
                f"the detector {self.name} needs ultralytics; install it with: "
                "python -m pip install 'labelfix[ultralytics]'"
            )
        data = scenes(dataset)
        if self.weights.endswith(".yaml"):
            own = Path(self.weights)
            return Inputs(replace(data, weights=_digest(own)) if own.exists() else data)
        file = self._file(cache)
        return Inputs(replace(data, weights=f"{_digest(file)} {file}"))

    def _file(self, cache: Path | None) -> Path:
        """Find the weights: here, in the cache, or at Ultralytics'."""
        here = Path(self.weights)
        if here.exists():
            return here.absolute()
        if here.name != self.weights:
            raise InputError(Problem("model", f"no file {self.weights}", "a file of weights"))
        if cache is None:
            fix = "allow a cache, or name a file of weights"
            raise InputError(Problem("cache", "none", f"a folder for {self.weights}", fix))
        file = cache.absolute() / "ultralytics" / self.weights
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="labelfix-") as work:
                _run(Path(work), {"fetch": str(file)}, None, offline=False)
        return file

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> DetectResult:
        """Train and predict in a child process."""
        if not len(job.train) and self.weights.endswith(".yaml"):
            found_it = f"{self.weights}, a model that has learned nothing"
            raise InputError(Problem("model", found_it, "weights, a .pt file"))
        with tempfile.TemporaryDirectory(prefix="labelfix-") as work:
            folder = Path(work)
            order = _order(data, job.test)
            self._write_tables(folder, data, job, order)
            _, _, file = data.weights.partition(" ")
            task = asdict(self) | {
                "weights": file or self._yaml(),
                "seed": job.seed % 2**31,
                "timed": np.flatnonzero(np.isin(order, job.test[: job.timed])).tolist(),
                "names": list(data.class_names) if len(job.train) else None,
            }
            _run(folder, task, progress, offline=True)
            names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
            table = pl.read_parquet(folder / "found.parquet")
            losses = None
            if len(job.train):
                losses = pl.read_parquet(folder / "losses.parquet")["loss"].to_numpy()
            seconds = np.load(folder / "seconds.npy") if job.timed else None
        probs = np.asarray(table["pred_probs"].to_numpy(), np.float32).reshape(-1, len(names))
        boxes = found(
            order[table["image"].to_numpy()],
            table["label"].to_numpy(),
            table["score"].to_numpy(),
            table.select(BOX).to_numpy(),
            tuple(names),
            probs,
        )
        return DetectResult(boxes, losses, seconds)

    def _yaml(self) -> str:
        own = Path(self.weights)
        return str(own.absolute()) if own.exists() else self.weights

    @staticmethod
    def _write_tables(folder: Path, data: Scenes, job: DetectJob, order: NDArray[np.int64]) -> None:
        """Write what the child learns from and what it predicts: nothing else is told to it."""
        for name, rows in (("train", job.train), ("test", order)):
            pl.DataFrame(
                {
                    "path": [data.paths[row] for row in rows],
                    "width": data.sizes[rows, 0],
                    "height": data.sizes[rows, 1],
                }
            ).write_parquet(folder / f"{name}.parquet")
        place = np.full(len(data.paths), -1)
        place[job.train] = np.arange(len(job.train))
        taught = place[data.item] >= 0
        corners = data.box[taught]
        pl.DataFrame(
            {
                "image": place[data.item[taught]],
                "label": data.label[taught],
                **{edge: corners[:, i] for i, edge in enumerate(BOX)},
            }
        ).write_parquet(folder / "boxes.parquet")


def _order(data: Scenes, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows by the size of the image: Ultralytics pads images of a batch that differ in size."""
    width, height = data.sizes[rows].T
    return rows[np.lexsort((rows, width, height))]


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _run(folder: Path, task: dict[str, Any], progress: Progress | None, *, offline: bool) -> None:
    """Let a child process do a task in a folder; it tells its progress line by line."""
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    call = [sys.executable, "-m", CHILD, str(folder)]
    log = folder / "log.txt"
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603 # our own module, in our own interpreter
            call,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(folder, offline=offline),
            cwd=folder,
            text=True,
            encoding="utf-8",
        ) as child,
    ):
        try:
            for line in child.stdout or ():
                what, done, total = json.loads(line)
                if progress:
                    progress(what, done, total)
        except BaseException:
            child.kill()
            raise
    refusal = folder / "refusal.txt"
    if refusal.exists():
        fix = "" if offline else "name a file of weights, or a .yaml to start from nothing"
        raise InputError(Problem("model", refusal.read_text(encoding="utf-8"), "", fix))
    if child.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise LabelfixError("Ultralytics failed:\n" + "\n".join(said[-20:]))


def _environment(folder: Path, *, offline: bool) -> dict[str, str]:
    """Give the user's environment, with a home of its own for Ultralytics."""
    own = str(Path(__file__).parents[3])
    paths = [own, *filter(None, [os.environ.get("PYTHONPATH")])]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    settings = folder / "config"
    settings.mkdir()
    return {
        "OMP_NUM_THREADS": str(cores or 1),  # Ultralytics would make it one where it is not set
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "YOLO_CONFIG_DIR": str(settings),
        "YOLO_OFFLINE": str(offline),
        "YOLO_AUTOINSTALL": "False",
        "YOLO_VERBOSE": "False",
    }
