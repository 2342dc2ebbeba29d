"""torchvision's detection models, trained in each fold by a plain loop.

AdamW with a learning rate that rises and then falls along half a cosine, images mirrored at random,
the losses as torchvision's models compute them.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import InputError, Problem, require_extra
from labelfix.images import decode
from labelfix.predict.detect.models import DetectResult, found, scenes
from labelfix.predict.models import Inputs
from labelfix.predict.timing import seconds_each

if TYPE_CHECKING:
    import polars as pl
    import torch
    import torchvision
    from numpy.typing import NDArray
    from torch import Tensor

    from labelfix.predict.detect.models import DetectJob, Scenes
    from labelfix.progress import Progress
    from labelfix.schema import Dataset
else:
    torch = require_extra("torch", "vision", "training a detector")
    torchvision = require_extra("torchvision", "vision", "training a detector")

__all__ = ["Torchvision", "TorchvisionTraining"]

NO_CLASS = frozenset({"__background__", "N/A"})
"""Places in torchvision's list of COCO's classes that no class has."""


@dataclass(frozen=True)
class TorchvisionTraining:
    """How a detector is trained.

    Parameters
    ----------
    epochs
        Times that each image is learned from.
    image_size
        Longest side of the images in pixels, for learning and predicting. SSD models have a size of
        their own.
    batch_size
        Images a step.
    learning_rate
        At its highest: it rises over the first `warm_up` part of the steps, and falls to 0 along
        half a cosine.
    weight_decay
        Of AdamW.
    most_gradient
        Longer gradients are cut to this length.
    flip
        Mirror left and right every other time.
    """

    epochs: int = 20
    image_size: int = 640
    batch_size: int = 4
    learning_rate: float = 2e-4
    weight_decay: float = 1e-2
    warm_up: float = 0.1
    most_gradient: float = 10.0
    flip: bool = True

    def __post_init__(self) -> None:
        rules = [
            ("epochs", self.epochs >= 1, ">= 1"),
            ("image_size", self.image_size >= 32, ">= 32"),
            ("batch_size", self.batch_size >= 1, ">= 1"),
            ("learning_rate", self.learning_rate > 0, "> 0"),
            ("weight_decay", self.weight_decay >= 0, ">= 0"),
            ("warm_up", 0 <= self.warm_up <= 1, "in [0, 1]"),
            ("most_gradient", self.most_gradient > 0, "> 0"),
        ]
        problems = [
            Problem(f"TorchvisionTraining, {name}", repr(getattr(self, name)), expected)
            for name, holds, expected in rules
            if not holds
        ]
        if problems:
            raise InputError(problems)

    def rate(self, step: int, steps: int) -> float:
        """Say what part of the highest learning rate step `step` of 0..steps-1 takes."""
        top = self.warm_up * steps
        if step < top:
            return (step + 1) / (top + 1)
        return (1 + math.cos(math.pi * (step - top) / max(steps - top, 1))) / 2


@dataclass(frozen=True)
class Torchvision:
    """A detection model of torchvision: Faster R-CNN, FCOS, RetinaNet or SSD.

    Boxes come with one class and its confidence; these models give no class vector.

    Parameters
    ----------
    constructor
        As `torchvision.models.list_models(torchvision.models.detection)` names it. Those that need
        masks or keypoints are refused.
    weights
        "DEFAULT": those that torchvision has, trained on COCO, fetched once; the file of a state
        dict, as `torch.save(model.state_dict())` writes it; None: start from nothing, which needs
        many images and epochs. What does not fit the dataset's number of classes starts anew.
    training
        How it is trained in each fold.
    confidence
        Less sure boxes are not given, in [0, 1).
    most_boxes
        The surest so many of each image are given.
    device
        As PyTorch calls it; None: the GPU if there is one, else the CPU.
    """

    constructor: str
    weights: str | None = "DEFAULT"
    training: TorchvisionTraining = field(default_factory=TorchvisionTraining)
    confidence: float = 0.01
    most_boxes: int = 300
    device: str | None = None

    def __post_init__(self) -> None:
        known = [
            name
            for name in torchvision.models.list_models(torchvision.models.detection)
            if not name.startswith(("mask", "keypoint"))
        ]
        rules = [
            ("constructor", self.constructor in known, f"one of {', '.join(known)}"),
            ("confidence", 0 <= self.confidence < 1, "in [0, 1)"),
            ("most_boxes", self.most_boxes >= 1, ">= 1"),
            (
                "weights",
                self.weights in {None, "DEFAULT"} or Path(str(self.weights)).is_file(),
                "None, 'DEFAULT' or a file",
            ),
        ]
        problems = [
            Problem(f"Torchvision, {name}", repr(getattr(self, name)), expected)
            for name, holds, expected in rules
            if not holds
        ]
        if problems:
            raise InputError(problems)

    @property
    def name(self) -> str:
        """`torchvision:` and the constructor."""
        return f"torchvision:{self.constructor}"

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Gather the boxes."""
        del cache, progress  # torch keeps what it fetches; nothing here takes long
        data = scenes(dataset)
        if self.weights in {None, "DEFAULT"}:
            return Inputs(data)
        content = Path(str(self.weights)).read_bytes()
        return Inputs(replace(data, weights=hashlib.sha256(content).hexdigest()))

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> DetectResult:
        """Train and predict."""
        losses = None
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(job.seed)
            if len(job.train):
                model = self._build(len(data.class_names) + 1)
                losses = self._train(model, data, job, progress)
                names = ("", *data.class_names)
            else:
                model, names = self._ready()
            boxes = self._predict(model, names, data, job.test, progress)
        seconds = self._seconds(model, data, job) if job.timed else None
        return DetectResult(boxes, losses, seconds)

    @property
    def _device(self) -> str:
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def _build(self, outputs: int) -> Any:
        """Make a model of so many outputs; the first one stands for the background."""
        model = torchvision.models.get_model(
            self.constructor, weights=None, weights_backbone=None, num_classes=outputs
        )
        state = self._state()
        own = model.state_dict()
        fitting = {
            name: value
            for name, value in state.items()
            if name in own and own[name].shape == value.shape
        }
        if state and not fitting:
            found = f"weights of another model in {self.weights}"
            raise InputError(Problem("model", found, f"those of {self.constructor}"))
        model.load_state_dict(fitting, strict=False)
        return self._tuned(model)

    def _state(self) -> dict[str, Tensor]:
        if self.weights is None:
            return {}
        if self.weights == "DEFAULT":
            known = torchvision.models.get_model_weights(self.constructor).DEFAULT
            try:
                with contextlib.redirect_stdout(sys.stderr):  # torch says what it downloads
                    return dict(known.get_state_dict(progress=False, check_hash=True))
            except OSError as error:  # what urllib raises without a network is one
                found = f"weights of {self.constructor} that could not be fetched ({error})"
                fix = f"put {known.url} into {torch.hub.get_dir()}/checkpoints, or name a file of "
                fix += f"weights (torchvision:{self.constructor}=FILE), or none (…=none)"
                raise InputError(Problem("model", found, "", fix)) from error
        return dict(torch.load(self.weights, map_location="cpu", weights_only=True))

    def _ready(self) -> tuple[Any, tuple[str, ...]]:
        """Make the model as it was trained on COCO, and name its outputs."""
        if self.weights != "DEFAULT":
            found = f"weights {self.weights!r}, which name no classes"
            fix = "train it, or predict with it yourself and bring the predictions"
            raise InputError(Problem("model", found, "weights 'DEFAULT'", fix))
        categories = torchvision.models.get_model_weights(self.constructor).DEFAULT.meta[
            "categories"
        ]
        return self._build(len(categories)), tuple(categories)

    def _tuned(self, model: Any) -> Any:
        """Set what decides which boxes are given, and the size of the images."""
        transform = model.transform
        if transform.fixed_size is None:
            transform.min_size = (self.training.image_size,)
            transform.max_size = self.training.image_size
        head = getattr(model, "roi_heads", model)
        head.score_thresh, head.detections_per_img = self.confidence, self.most_boxes
        if hasattr(model, "rpn"):
            model.rpn.score_thresh = 0.0
        return model.to(self._device)

    def _train(
        self, model: Any, data: Scenes, job: DetectJob, progress: Progress | None
    ) -> NDArray[np.float64]:
        """Train, and give the mean loss of each epoch."""
        training = self.training
        losses = np.zeros(training.epochs)
        draw = torch.Generator().manual_seed(job.seed)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=0.0, weight_decay=training.weight_decay)
        batches = math.ceil(len(job.train) / training.batch_size)
        model.train()
        for epoch in range(training.epochs):
            order = job.train[torch.randperm(len(job.train), generator=draw).numpy()]
            for number, rows in enumerate(np.array_split(order, batches)):
                step = training.rate(epoch * batches + number, training.epochs * batches)
                for group in optimiser.param_groups:
                    group["lr"] = training.learning_rate * step
                images, targets = zip(
                    *(self._example(data, row, draw) for row in rows), strict=True
                )
                loss = sum(model(list(images), list(targets)).values())
                if not torch.isfinite(loss):
                    fix = "lower the learning rate"
                    raise InputError(Problem("model", "a loss that grew without end", "", fix))
                losses[epoch] += loss.item() * len(rows) / len(order)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, training.most_gradient)
                optimiser.step()
            if progress:
                progress(f"epochs of {self.name}", epoch + 1, training.epochs)
        return losses

    def _seconds(self, model: Any, data: Scenes, job: DetectJob) -> NDArray[np.float64]:
        """Take the time of single images on one thread of the processor."""
        here, model = replace(self, device="cpu"), model.to("cpu").eval()
        pixels = [here._pixels(data, row) for row in job.test[: job.timed]]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                return seconds_each(lambda image: model([image]), pixels)
        finally:
            torch.set_num_threads(threads)

    def _example(
        self, data: Scenes, row: int, draw: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One image and its boxes, mirrored or not."""
        image, own = self._pixels(data, row), slice(*np.searchsorted(data.item, [row, row + 1]))
        box, label = data.box[own].astype(np.float32), data.label[own] + 1
        if self.training.flip and torch.randint(2, (1,), generator=draw):
            image = image.flip(2)
            box = box[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + np.array([1, 0, 1, 0]) * image.shape[2]
        target = {
            "boxes": torch.from_numpy(box.astype(np.float32)).to(self._device),
            "labels": torch.from_numpy(label).to(self._device),
        }
        return image, target

    def _pixels(self, data: Scenes, row: int) -> Tensor:
        """One image, channels first, from 0 to 1."""
        pixels = torch.from_numpy(np.array(decode(Path(data.paths[row])).convert("RGB")))
        return pixels.to(self._device).permute(2, 0, 1).float() / 255

    def _predict(
        self,
        model: Any,
        names: tuple[str, ...],
        data: Scenes,
        rows: NDArray[np.int64],
        progress: Progress | None,
    ) -> pl.DataFrame:
        """Predict images one by one: what is padded to another's size would depend on it."""
        model.eval()
        parts: dict[str, list[NDArray[Any]]] = {"boxes": [], "scores": [], "labels": []}
        for count, row in enumerate(rows, start=1):
            with torch.inference_mode():
                (seen,) = model([self._pixels(data, row)])
            for name, part in parts.items():
                part.append(seen[name].cpu().numpy())
            if progress:
                progress("images predicted", count, len(rows))
        item = np.repeat(rows, [len(label) for label in parts["labels"]])
        label, box, score = (np.concatenate(parts[name]) for name in ("labels", "boxes", "scores"))
        real = [k for k, name in enumerate(names) if k and name not in NO_CLASS]
        place = np.full(len(names), -1)
        place[real] = np.arange(len(real))
        kept = place[label] >= 0
        return found(
            item[kept],
            place[label[kept]],
            score[kept],
            box[kept].astype(np.float64),
            tuple(names[k] for k in real),
        )
