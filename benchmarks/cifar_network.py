"""A small network for CIFAR-10 that a processor core trains in minutes, watched by a tracker.

Its make-up is that of networks built to learn CIFAR-10 fast (Page, "How to Train Your ResNet",
2019; Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024): fixed first filters that
whiten patches, six convolutions, and a learning rate that rises and falls within a few epochs.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from labelfix.training import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["CLASSES", "Recipe", "read_images", "train_fold"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Recipe:
    """How the network is made and taught. Set before the first training, and never tuned."""

    widths: tuple[int, int, int] = (48, 96, 192)
    epochs: int = 10
    batch: int = 250
    rate: float = 0.3
    momentum: float = 0.9
    decay: float = 5e-4
    shift: int = 2
    """Images are moved by up to so many pixels, and every other one is mirrored."""
    folds: int = 2
    seed: int = 0


def read_images(path: Path) -> Tensor:
    """Decode the images, shape (n, 3, 32, 32), uint8."""
    with np.load(path, allow_pickle=False) as stored:
        blob, ends = stored["blob"], stored["offsets"].tolist()
    files = (blob[start:end].tobytes() for start, end in pairwise(ends))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def train_fold(
    images: Tensor,
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    folder: Path,
    say: Callable[[str], None] = print,
) -> None:
    """Train on some rows, and keep in `folder` what the tracker saw and what the network says.

    tracker.npz is written after each epoch; network.npz at the end: probabilities and features of
    all images, the rows that were learned from, and the seconds of processor time that went into
    the epochs and, of these, into the tracker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    scaled = _scaled(images)
    network = Network(recipe.widths, scaled[torch.from_numpy(train[:5000])])
    given = torch.from_numpy(labels)
    tracker = Tracker(len(labels), CLASSES)
    batches = len(train) // recipe.batch
    taught = [one for one in network.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(
        taught, recipe.rate, recipe.momentum, weight_decay=recipe.decay, nesterov=True
    )
    pace = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.epochs * batches, pct_start=0.25, cycle_momentum=False
    )
    clock = {"epoch": 0.0, "tracker": 0.0}
    for epoch in range(recipe.epochs):
        began = time.process_time()
        network.train()
        for rows in torch.from_numpy(train)[torch.randperm(len(train))].split(recipe.batch):
            if len(rows) < recipe.batch:
                continue
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(_moved(scaled[rows], recipe.shift))
            logits = logits.float()
            before = time.process_time()
            tracker.update(rows, logits, given[rows])
            clock["tracker"] += time.process_time() - before
            loss = functional.cross_entropy(logits, given[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pace.step()
        before = time.process_time()
        tracker.end_epoch()
        now = time.process_time()
        clock["tracker"] += now - before
        clock["epoch"] += now - began
        tracker.save(folder / "tracker.npz")
        say(f"{folder.name}: {epoch + 1} of {recipe.epochs} epochs, {clock['epoch']:.0f} s")
    probs, features = _asked(network, scaled)
    np.savez(
        folder / "network.npz",
        probs=probs,
        features=features,
        train=train,
        seconds=np.array([clock["epoch"], clock["tracker"]]),
    )


class Network(nn.Module):  # type: ignore[misc] # torch is not looked at by mypy
    """Whitened 2 x 2 patches, then three times two convolutions, pooled in between."""

    def __init__(self, widths: tuple[int, int, int], examples: Tensor) -> None:
        super().__init__()
        filters = _whitening(examples)
        self.first = nn.Conv2d(3, len(filters), 2, bias=False)
        self.first.weight.data = filters
        self.first.weight.requires_grad = False
        layers: list[nn.Module] = []
        before = len(filters)
        for width in widths:
            layers += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        self.layers = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.last = nn.Linear(before, len(CLASSES))
        self.to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """Give what the last layer sees, shape (b, widths[-1])."""
        found: Tensor = self.layers(functional.relu(self.first(images)))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, shape (b, 10)."""
        logits: Tensor = self.last(self.features(images))
        return logits


def _whitening(examples: Tensor) -> Tensor:
    """Make filters of the principal components of 2 x 2 patches, scaled to one; each and minus it.

    Both signs, so that nothing is lost behind the first ReLU.
    """
    patches = functional.unfold(examples, 2).transpose(1, 2).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 1e-2).sqrt()).T.reshape(-1, 3, 2, 2)
    return torch.cat([filters, -filters])


def _scaled(images: Tensor) -> Tensor:
    """Centre and scale each channel, laid out as convolutions on a processor like it."""
    channels = images[::10].float()
    mean, spread = channels.mean(dim=(0, 2, 3)), channels.std(dim=(0, 2, 3))
    scaled = (images.float() - mean[:, None, None]) / spread[:, None, None]
    return scaled.contiguous(memory_format=torch.channels_last)


def _moved(images: Tensor, shift: int) -> Tensor:
    """Move each image at random, and mirror every other one."""
    n, _, height, width = images.shape
    padded = functional.pad(images, [shift] * 4, "reflect").permute(0, 2, 3, 1)
    down, right = torch.randint(0, 2 * shift + 1, (2, n, 1))
    columns = torch.arange(width).expand(n, width)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns, width - 1 - columns) + right
    lines = torch.arange(height) + down
    moved = padded[torch.arange(n)[:, None, None], lines[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)  # channels last, as it lies


def _asked(network: Network, images: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ask the network of all images and their mirror images: mean probabilities, mean features."""
    network.eval()
    probs, features = [], []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for part in images.split(500):
            seen = [network.features(one).float() for one in (part, part.flip(3))]
            logits = torch.stack([network.last(one).float() for one in seen])
            probs.append(logits.softmax(dim=2).mean(dim=0))
            features.append(torch.stack(seen).mean(dim=0))
    return torch.cat(probs).numpy(), torch.cat(features).half().numpy()
