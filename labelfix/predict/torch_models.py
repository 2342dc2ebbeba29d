"""Networks that are trained in each fold: a small one from scratch, and torchvision's, fine-tuned.

Both also give what they said of each training row while they learned from it: what a network is
slow to learn is suspicious (Swayamdipta et al. 2020, "Dataset Cartography"; Pleiss et al. 2020,
"Identifying Mislabeled Data using the Area Under the Margin Ranking"). It costs nothing: these are
the probabilities that the loss is made of, those of the augmented images. What the small network
says of them in the end counts as much: what it then still does not believe, it never learned.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelfix.errors import InputError, Problem, require_extra
from labelfix.images import load, probe
from labelfix.predict.architectures import build, starting_weights, take_over, usual_input
from labelfix.predict.models import FoldResult, Inputs
from labelfix.predict.timing import seconds_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.nn import functional

    from labelfix.images import Fit
    from labelfix.predict.models import FoldJob
    from labelfix.progress import Progress
    from labelfix.schema import Dataset
else:
    torch = require_extra("torch", "vision", "training a network")
    from torch import nn
    from torch.nn import functional

__all__ = ["Augment", "FineTuned", "SmallConvNet", "Training"]

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Augment:
    """How an image is changed at random each time that a network learns from it.

    Each amount is drawn uniformly from [-a, a] for the `a` given here. What moves in from outside
    repeats the border.

    Parameters
    ----------
    rotate
        Degrees.
    scale
        Logarithm of the factor that the image grows by.
    stretch
        Logarithm of the factor that it grows by in width and shrinks by in height.
    shear
        Part of the height that the image slants by.
    shift
        Part of the side that the image moves by, each way.
    contrast
        Part that the contrast, and the brightness in standard deviations, change by.
    flip
        Mirror left and right every other time. Off, since the mirror image of a letter or of a
        traffic sign is another class; switch it on for photos of things.
    """

    rotate: float = 15.0
    scale: float = 0.15
    stretch: float = 0.0
    shear: float = 0.15
    shift: float = 0.1
    contrast: float = 0.4
    flip: bool = False

    def __call__(
        self, images: Tensor, generator: torch.Generator, *, alike: bool = False
    ) -> Tensor:
        """Change standardised images of shape (b, C, s, s), each in its own way, or all alike."""
        ways = 1 if alike else len(images)

        def draw(most: float) -> Tensor:
            return (2 * torch.rand(ways, generator=generator) - 1) * most

        angle, shear = draw(math.radians(self.rotate)), draw(self.shear)
        size, stretch = torch.exp(draw(self.scale)), torch.exp(draw(self.stretch))
        right, down = draw(2 * self.shift), draw(2 * self.shift)  # the side is 2 long here
        gain, bias = 1 + draw(self.contrast), draw(self.contrast)
        mirror = torch.ones(ways)
        if self.flip:
            mirror -= 2 * torch.randint(2, mirror.shape, generator=generator)
        cos, sin = torch.cos(angle), torch.sin(angle)
        width, height = size * stretch, size / stretch
        first = torch.stack([width * mirror * cos, width * (shear * cos - sin), right], dim=1)
        second = torch.stack([height * mirror * sin, height * (shear * sin + cos), down], dim=1)
        places = torch.stack([first, second], dim=1).to(images.device).expand(len(images), 2, 3)
        grid = functional.affine_grid(places, list(images.shape), align_corners=False)
        moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self.contrast:
            moved = moved * _each(gain, images) + _each(bias, images)
        return moved


@dataclass(frozen=True)
class Training:
    """How a network is trained: AdamW, one cycle of the learning rate, a loss that forgives.

    The loss of an image is (1 - p^q) / q for the probability p of its label: the generalised cross
    entropy (Zhang and Sabuncu 2018), which lets go of labels that the network does not believe.

    Parameters
    ----------
    samples
        Images that a fold learns from in all, repeats counted. With n of them it takes
        samples / n epochs, rounded up, within `epochs`: small datasets are gone through more often.
    epochs
        Fewest and most epochs. Equal numbers fix it.
    batch_size
        Images a step, at least 2. The rest of an epoch is spread over its batches, so none is
        smaller; a fold with fewer images has one batch.
    learning_rate
        At its highest: it rises over the first `warm_up` part of the steps, and falls to 0 along
        half a cosine.
    weight_decay
        Of weights, not of biases and norms.
    forgiveness
        q, in [0, 1]: 0 is cross entropy, 1 the absolute error.
    label_smoothing
        Part of the target that all classes share, in [0, 1).
    settle
        First part of the epochs that the in-sample means leave out, in [0, 1).
    afterwards
        Part of the in-sample probabilities, in [0, 1], that is what the trained network says of the
        images as they are; the rest is the mean over the epochs.
    views
        Held-out images are predicted as they are (0), or as the mean over so many ways to augment
        them, the same ways for all.
    augment
        Random changes to the images learned from.

    Examples
    --------
    >>> training = Training(samples=30_000, epochs=(10, 50))
    >>> [training.n_epochs(n) for n in (100, 1_200, 50_000)]
    [50, 25, 10]
    """

    samples: int = 48_000
    epochs: tuple[int, int] = (10, 100)
    batch_size: int = 64
    learning_rate: float = 6e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.25
    forgiveness: float = 0.3
    label_smoothing: float = 0.0
    settle: float = 0.5
    afterwards: float = 0.5
    views: int = 8
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        fewest, most = self.epochs
        rules = [
            ("samples", self.samples >= 1, ">= 1"),
            ("epochs", 1 <= fewest <= most, "1 <= fewest <= most"),
            ("batch_size", self.batch_size >= 2, ">= 2, for batch norm"),
            ("learning_rate", self.learning_rate > 0, "> 0"),
            ("weight_decay", self.weight_decay >= 0, ">= 0"),
            ("warm_up", 0 <= self.warm_up <= 1, "in [0, 1]"),
            ("forgiveness", 0 <= self.forgiveness <= 1, "in [0, 1]"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("settle", 0 <= self.settle < 1, "in [0, 1)"),
            ("afterwards", 0 <= self.afterwards <= 1, "in [0, 1]"),
            ("views", self.views >= 0, ">= 0"),
        ]
        problems = [
            Problem(f"Training, {name}", repr(getattr(self, name)), expected)
            for name, holds, expected in rules
            if not holds
        ]
        if problems:
            raise InputError(problems)

    def n_epochs(self, n: int) -> int:
        """Count the epochs for n images."""
        fewest, most = self.epochs
        return min(max(math.ceil(self.samples / n), fewest), most)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Give the mean loss of logits of shape (b, K), classes `targets` being right."""
        q, shared = self.forgiveness, self.label_smoothing
        log_p = logits.log_softmax(dim=1)
        losses = -torch.expm1(q * log_p) / q if q else -log_p
        of_target: Tensor = losses.gather(1, targets[:, None]).mean()
        return (1 - shared) * of_target + shared * losses.mean()

    def rate(self, step: int, steps: int) -> float:
        """Say what part of the highest learning rate step `step` of 0..steps-1 takes."""
        top = self.warm_up * steps
        if step < top:
            return (step + 1) / (top + 1)
        return (1 + math.cos(math.pi * (step - top) / (steps - top))) / 2


@dataclass(frozen=True)
class SmallConvNet:
    """A small convolutional network from scratch in each fold.

    For drawn, printed, small or otherwise unusual images, of which a network trained on photos
    knows little, and a thousand or more of them. A stage is some 3 by 3 convolutions, each with
    batch norm and ReLU, and from the second on with a shortcut around it; between stages the map is
    halved by its maximum; the mean of the last map goes through a linear layer.

    Parameters
    ----------
    channels
        Of each stage.
    convolutions
        In each stage, at least 1.
    size
        Side of the square that images are scaled to, in pixels. None: the mean of the images'
        median width and median height, rounded to a multiple of 8, within `sizes`.
    sizes
        Smallest and largest side where `size` is None.
    fit
        How an image gets into the square; see `labelfix.images.load`.
    training
        How it is trained.
    device
        As torch names it. None: "cuda" where there is a GPU, else "cpu".
    precision
        What convolutions compute in. None: half precision on a GPU, float32 elsewhere.
    threads
        Of torch on the CPU, for each fold. Folds side by side use cores better than threads do, and
        another number gives other roundings, so it is not chosen by machine.

    Examples
    --------
    >>> from labelfix.predict.models import FoldJob
    >>> images = np.zeros((40, 8, 8, 1), dtype=np.uint8)
    >>> images[::2, :4] = 255
    >>> labels = np.arange(40) % 2
    >>> job = FoldJob(np.arange(30), labels[:30], np.arange(30, 40), 2, seed=0)
    >>> network = SmallConvNet(channels=(4, 8), training=Training(epochs=(30, 30), batch_size=10))
    >>> result = network.fit_predict(images, job, None)
    >>> bool((result.pred_probs.argmax(axis=1) == labels[30:]).all())
    True
    """

    channels: tuple[int, ...] = (16, 32, 64, 128)
    convolutions: int = 2
    size: int | None = None
    sizes: tuple[int, int] = (16, 32)
    fit: Fit = "pad"
    training: Training = field(default_factory=Training)
    device: str | None = None
    precision: Precision | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        problems = []
        if not self.channels or min(self.channels) < 1:
            problems.append(Problem("SmallConvNet, channels", repr(self.channels), "numbers >= 1"))
        if self.convolutions < 1:
            problems.append(Problem("SmallConvNet, convolutions", repr(self.convolutions), ">= 1"))
        if self.size is not None and self.size < 4:
            problems.append(Problem("SmallConvNet, size", repr(self.size), ">= 4"))
        if not 4 <= self.sizes[0] <= self.sizes[1]:
            problems.append(
                Problem("SmallConvNet, sizes", repr(self.sizes), "4 <= smallest <= largest")
            )
        if problems:
            raise InputError(problems)

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        return "small-cnn"

    @property
    def jobs(self) -> int:
        """Folds at once that suit it: one a core, or one on a GPU."""
        return _jobs_on(self.device)

    def prepare(
        self,
        dataset: Dataset,
        *,
        cache: Path | None,  # noqa: ARG002 # part of the protocol; loading is cheap
        progress: Progress | None,
    ) -> Inputs:
        """Load the images, shape (n, s, s, C), uint8: C = 1 if none has a colour, else 3.

        Raises
        ------
        InputError
            If the items are not images, or some cannot be read.
        """
        paths = _image_paths(dataset)
        size = self.size or _usual_size(paths, *self.sizes)
        images = load(paths, size, fit=self.fit, progress=progress)
        grey = all(np.array_equal(images[..., 0], images[..., c]) for c in (1, 2))
        return Inputs(np.ascontiguousarray(images[..., :1]) if grey else images)

    def fit_predict(self, data: Any, job: FoldJob, progress: Progress | None) -> FoldResult:
        """Train on the rows `job.train` of the images, and predict `job.test`.

        The same seed gives the same result on one machine's CPU; a GPU may round otherwise.
        """
        mean, std = _moments(data, job.train)

        def started(n_classes: int) -> nn.Module:
            return _small_network(self.channels, self.convolutions, data.shape[3], n_classes)

        run = _Run(started, mean, std, self.training, self.device, self.precision, self.threads)
        return run.fold(data, job, self.name, progress)


@dataclass(frozen=True)
class FineTuned:
    """A pretrained classifier, all of its layers trained further in each fold.

    Parameters
    ----------
    architecture
        As `torchvision.models.list_models(torchvision.models)` names it, such as "resnet18"; or
        "efficientnet-lite0", whose weights are installed with the extra `vision`.
    weights
        What training starts from: the name of torchvision's weights for the architecture, which are
        downloaded once ("DEFAULT": the best, or those that are installed); the path of a
        checkpoint, read as plain tensors and never unpickled; or None, to start from scratch.
        Output layers whose shape depends on the number of classes start from scratch anyway.
    size
        Side of the square that images are scaled to, in pixels. None: what the architecture's
        default weights expect; 128 for "efficientnet-lite0".
    mean, std
        Of red, green and blue in [0, 1], to standardise images with. None: as for the default
        weights.
    fit
        How an image gets into the square; see `labelfix.images.load`.
    training
        How it is trained.
    device, precision, threads
        As for `SmallConvNet`.
    """

    architecture: str
    weights: str | Path | None = "DEFAULT"
    size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    fit: Fit = "stretch"
    training: Training = field(
        default_factory=lambda: Training(
            samples=20_000,
            epochs=(5, 20),
            batch_size=32,
            learning_rate=5e-4,
            weight_decay=0.05,
            forgiveness=0.0,
            label_smoothing=0.1,
            afterwards=0.0,
        )
    )
    device: str | None = None
    precision: Precision | None = None
    threads: int = 1

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        return f"finetune:{self.architecture}"

    @property
    def jobs(self) -> int:
        """Folds at once that suit it: one a core, or one on a GPU."""
        return _jobs_on(self.device)

    def prepare(
        self,
        dataset: Dataset,
        *,
        cache: Path | None,  # noqa: ARG002 # part of the protocol; torchvision keeps its downloads
        progress: Progress | None,
    ) -> Inputs:
        """Load the images, shape (n, s, s, 3), uint8, and the weights.

        Raises
        ------
        InputError
            If the items are not images or some cannot be read, there is no such architecture, or
            the weights cannot be had or do not fit it.
        MissingExtraError
            If torchvision is not installed.
        """
        paths = _image_paths(dataset)
        usual = usual_input(self.architecture)
        weights = starting_weights(self.architecture, self.weights)
        if weights is not None:  # tell before the images are loaded
            take_over(self.architecture, weights, len(dataset.class_names), f"{self.weights}")
        images = load(paths, self.size or usual.size, fit=self.fit, progress=progress)
        mean, std = self.mean or usual.mean, self.std or usual.std
        return Inputs(_Material(images, weights, mean, std))

    def fetch(self) -> None:
        """Fetch the weights, before long work begins.

        Raises
        ------
        InputError, MissingExtraError
            As `prepare`, but for the items.
        """
        usual_input(self.architecture)
        starting_weights(self.architecture, self.weights)

    def fit_predict(self, data: Any, job: FoldJob, progress: Progress | None) -> FoldResult:
        """Train on the rows `job.train` of the images, and predict `job.test`.

        The same seed gives the same result on one machine's CPU; a GPU may round otherwise.
        """
        mean, std = (255 * np.asarray(v, dtype=np.float32) for v in (data.mean, data.std))

        def started(n_classes: int) -> nn.Module:
            network = build(self.architecture, n_classes)
            if data.weights is not None:
                start = take_over(self.architecture, data.weights, n_classes, f"{self.weights}")
                network.load_state_dict(start, strict=False)
            return network

        run = _Run(started, mean, std, self.training, self.device, self.precision, self.threads)
        return run.fold(data.images, job, self.name, progress)


@dataclass(frozen=True)
class _Run:
    """One fold's training: what is the same for both models."""

    started: Callable[[int], nn.Module]
    """Gives the network that training starts from, for so many classes."""
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    training: Training
    device: str | None
    precision: Precision | None
    threads: int

    def fold(
        self, images: NDArray[np.uint8], job: FoldJob, name: str, progress: Progress | None
    ) -> FoldResult:
        """Train and predict with the classes that are there; the others get 0."""
        present, codes = np.unique(job.labels, return_inverse=True)
        if len(present) == 1:
            sure = (np.ones((len(rows), 1), dtype=np.float32) for rows in (job.test, job.train))
            held_out, seen = (_spread(ones, present, job.n_classes) for ones in sure)
            return FoldResult(held_out, seen)
        with _apart(self.threads, job.seed):
            network = self.started(len(present)).to(self._device)
            network.to(memory_format=torch.channels_last)
            seen, losses = self._train(network, images, codes, job, name, progress)
            held_out = self._predict(network, images, job.test, job.seed, self.training.views)
            if share := self.training.afterwards:
                after = self._predict(network, images, job.train, job.seed, 0)
                seen = (1 - share) * seen + share * after
        held_out, seen = (_spread(p, present, job.n_classes) for p in (held_out, seen))
        seconds = self._seconds(network, images, job) if job.timed else None
        return FoldResult(held_out, seen, losses, seconds)

    def _seconds(
        self, network: nn.Module, images: NDArray[np.uint8], job: FoldJob
    ) -> NDArray[np.float64]:
        """Take the time of single images, in float32 on one thread of the processor."""
        run, network = replace(self, device="cpu", precision="float32"), network.to("cpu")
        with _apart(1, job.seed):
            return seconds_each(
                lambda row: run._predict(
                    network, images, np.array([row]), job.seed, self.training.views
                ),
                job.test[: job.timed],
            )

    def _train(
        self,
        network: nn.Module,
        images: NDArray[np.uint8],
        codes: NDArray[np.int64],
        job: FoldJob,
        name: str,
        progress: Progress | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Train on the rows `job.train`.

        Gives the mean of what it said of each meanwhile, and the mean loss of each epoch.
        """
        training, n = self.training, len(job.train)
        epochs, batches = training.n_epochs(n), max(1, n // training.batch_size)
        first = min(math.floor(training.settle * epochs), epochs - 1)
        draw = torch.Generator().manual_seed(job.seed)
        targets = torch.from_numpy(codes).to(self._device)
        seen = torch.zeros(n, int(codes.max()) + 1, device=self._device)
        optimizer = torch.optim.AdamW(_parameter_groups(network, training.weight_decay))
        scaler = torch.amp.GradScaler(self._device, enabled=self._dtype is torch.float16)
        losses = torch.zeros(epochs, device=self._device)
        network.train()
        for epoch in range(epochs):
            order = torch.randperm(n, generator=draw)
            for batch, rows in enumerate(order.tensor_split(batches)):
                rate = training.rate(epoch * batches + batch, epochs * batches)
                for group in optimizer.param_groups:
                    group["lr"] = training.learning_rate * rate
                logits = self._logits(network, images[job.train[rows.numpy()]], draw)
                loss = training.loss(logits, targets[rows])
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                losses[epoch] += loss.detach() * len(rows) / n
                if epoch >= first:
                    seen[rows] += logits.detach().softmax(dim=1)
            if progress:
                progress(f"epochs of {name}", epoch + 1, epochs)
        mean: NDArray[np.float32] = (seen / (epochs - first)).cpu().numpy()
        return mean, losses.cpu().numpy().astype(np.float64)

    def _predict(
        self,
        network: nn.Module,
        images: NDArray[np.uint8],
        which: NDArray[np.int64],
        seed: int,
        views: int,
    ) -> NDArray[np.float32]:
        """Look at each image as it is, or in several ways that are the same for all images."""
        network.eval()
        means = []
        with torch.inference_mode():
            for rows in np.array_split(which, math.ceil(len(which) / 256)):
                draw = torch.Generator().manual_seed(seed)
                looks = [
                    self._logits(network, images[rows], draw if views else None, alike=True)
                    for _ in range(max(views, 1))
                ]
                means.append(torch.stack(looks).softmax(dim=2).mean(dim=0).cpu().numpy())
        return np.concatenate(means)

    def _logits(
        self,
        network: nn.Module,
        images: NDArray[np.uint8],
        draw: torch.Generator | None,
        *,
        alike: bool = False,
    ) -> Tensor:
        """Standardise, augment where there is something to draw from, and look."""
        pixels = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2).float()
        mean, std = (torch.from_numpy(v).to(self._device) for v in (self.mean, self.std))
        pixels = (pixels - mean[:, None, None]) / std[:, None, None]
        if draw is not None:
            pixels = self.training.augment(pixels, draw, alike=alike)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        half = self._dtype is not torch.float32
        with torch.autocast(self._kind, dtype=self._dtype, enabled=half):
            output = network(pixels)
        logits: Tensor = getattr(output, "logits", output)  # Inception gives more than that
        return logits.float()

    @property
    def _device(self) -> str:
        return _device_for(self.device)

    @property
    def _kind(self) -> str:
        return self._device.partition(":")[0]

    @property
    def _dtype(self) -> torch.dtype:
        if self.precision is not None:
            found: torch.dtype = getattr(torch, self.precision)
            return found
        if self._kind != "cuda":
            return torch.float32
        newer = torch.cuda.get_device_capability(self._device) >= (8, 0)
        return torch.bfloat16 if newer else torch.float16


@dataclass(frozen=True)
class _Material:
    """What the folds of a fine-tuned network need."""

    images: NDArray[np.uint8]
    weights: Mapping[str, NDArray[Any]] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _Shortcut(nn.Module):  # type: ignore[misc] # torch is not followed, so nn.Module is Any
    """x + f(x), then ReLU (He et al. 2016)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(images + self.layers(images))


def _small_network(
    channels: tuple[int, ...], convolutions: int, colours: int, n_classes: int
) -> nn.Module:
    def convolve(before: int, width: int) -> tuple[nn.Module, nn.Module]:
        return nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    layers: list[nn.Module] = []
    for before, width in zip((colours, *channels), channels, strict=False):
        if layers:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        layers += [*convolve(before, width), nn.ReLU(inplace=True)]
        layers += [_Shortcut(*convolve(width, width)) for _ in range(convolutions - 1)]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], n_classes)]
    return nn.Sequential(*layers, *pooled)


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _device_for(device: str | None) -> str:
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _jobs_on(device: str | None) -> int:
    return -1 if _device_for(device) == "cpu" else 1


@contextlib.contextmanager
def _apart(threads: int, seed: int) -> Iterator[None]:
    """Draw from `seed` on so many threads, and leave the caller's torch as it was."""
    before = torch.get_num_threads()
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _spread(
    probabilities: NDArray[Any], present: NDArray[np.int64], n_classes: int
) -> NDArray[np.float32]:
    """Put the columns of the classes that training saw where they belong."""
    spread = np.zeros((len(probabilities), n_classes), dtype=np.float32)
    spread[:, present] = probabilities
    return spread


def _each(values: Tensor, images: Tensor) -> Tensor:
    return values[:, None, None, None].to(images.device)


def _moments(
    images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each colour over these images."""
    levels = np.arange(256)
    counts = np.zeros((images.shape[3], 256), dtype=np.int64)
    for block in np.array_split(rows, math.ceil(len(rows) / 1024)):
        for colour, count in enumerate(counts):
            count += np.bincount(images[block, ..., colour].ravel(), minlength=256)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    variance = counts @ levels**2 / total - mean**2
    std = np.sqrt(np.maximum(variance, 1.0))  # images of one colour have none
    return mean.astype(np.float32), std.astype(np.float32)


def _image_paths(dataset: Dataset) -> list[Path]:
    if dataset.image_paths is None:
        raise InputError(Problem("dataset", "no images", "an image for each item"))
    return dataset.image_paths


def _usual_size(paths: list[Path], smallest: int, largest: int) -> int:
    sizes, _ = probe(paths, decode=False)
    usual = float(np.median(sizes, axis=0).mean())
    return min(max(8 * round(usual / 8), smallest), largest)
