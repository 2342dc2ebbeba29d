"""What a whole classification network of torchvision answers for a dataset's images."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import InputError, Problem, require_extra
from labelfix.images import decode
from labelfix.predict.embed import Torchvision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["TorchvisionClassifier", "classifier"]


def classifier(name: str) -> TorchvisionClassifier:
    """Make a classifier of its name.

    Parameters
    ----------
    name
        `torchvision:ARCHITECTURE`, with the weights that torchvision downloads, or
        `torchvision:ARCHITECTURE=FILE`, with a state dict of one's own.

    Raises
    ------
    InputError
        If it is no such name.

    Examples
    --------
    >>> classifier("torchvision:resnet18=mine.pth").checkpoint
    PosixPath('mine.pth')
    """
    library, _, rest = name.partition(":")
    architecture, _, checkpoint = rest.partition("=")
    if library != "torchvision" or not architecture:
        expected = "torchvision:ARCHITECTURE, or torchvision:ARCHITECTURE=FILE"
        raise InputError(Problem(f"model {name}", "a name that says nothing", expected))
    return TorchvisionClassifier(architecture, checkpoint=Path(checkpoint) if checkpoint else None)


@dataclass(frozen=True)
class TorchvisionClassifier(Torchvision):
    """A network of torchvision with its last layer, its images prepared as its weights want them.

    Parameters
    ----------
    checkpoint
        A state dict that `torch.save` wrote; None for the weights that torchvision downloads. The
        classes of its last layer are those of the dataset, in their order.
    """

    checkpoint: Path | None = None

    def answers(
        self,
        dataset: Dataset,
        *,
        top: int = 5,
        progress: Progress | None = None,
    ) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Classify the images.

        Returns
        -------
        answers
            Class numbers, best first, shape (n, top), or fewer where there are fewer classes.
        class_names
            Of the numbers: torchvision's where the dataset's are among them, else the dataset's,
            if they are as many; ImageNet's folders, sorted, are in the order of its classes.

        Raises
        ------
        InputError
            If the items are not images, some cannot be read, the weights are not to be had or do
            not fit, or the network has another number of classes.
        MissingExtraError
            If torchvision is not installed.
        """
        module, weights, names = self._ready(dataset)
        import torch

        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        module = module.to(device).eval()
        prepare = weights.transforms()
        paths = dataset.image_paths or []
        found: list[NDArray[np.int64]] = []
        for start in range(0, len(paths), self.batch):
            images = _decoded(paths[start : start + self.batch])
            with torch.inference_mode():
                scores = module(torch.stack([prepare(one) for one in images]).to(device))
            best = scores.float().topk(min(top, scores.shape[1]), dim=1).indices
            found.append(best.cpu().numpy())
            if progress is not None:
                progress(f"classifying with {self.architecture}", start + len(images), len(paths))
        none = np.empty((0, min(top, len(names))), np.int64)
        return np.concatenate(found) if found else none, names

    def check(self, dataset: Dataset) -> None:
        """See that the model can classify the images, before a long work begins.

        Raises
        ------
        InputError, MissingExtraError
            As `answers`, but for images that cannot be read.
        """
        self._ready(dataset)

    def _ready(self, dataset: Dataset) -> tuple[Any, Any, tuple[str, ...]]:
        """Give the network, the weights that say how images are prepared, and names of classes."""
        if dataset.image_paths is None:
            raise InputError(Problem("dataset", "no images", "an image for each item"))
        models = require_extra("torchvision", "vision", f"the model {self.name}").models
        weights = self._find_weights(models)
        categories = _distinct(weights.meta["categories"])
        if self.checkpoint is None:
            module = self._download(models, weights)
            if set(dataset.class_names) <= set(categories):
                return module, weights, categories
            classes = len(categories)
        else:
            module, classes = self._load(models, self.checkpoint)
        if classes == len(dataset.class_names):
            return module, weights, dataset.class_names
        found = f"{classes:,} classes"
        expected = f"the {len(dataset.class_names):,} classes of the dataset"
        fix = "name the folders as the network's classes are called, or use a network of your own"
        raise InputError(Problem(f"model {self.name}", found, expected, fix))

    def _load(self, models: Any, checkpoint: Path) -> tuple[Any, int]:
        """Load a state dict, and count the classes of its last layer."""
        import torch

        where = f"model {self.name}, {checkpoint}"
        try:
            state = torch.load(checkpoint, weights_only=True, map_location="cpu")
            state = state.get("state_dict", state.get("model", state))
            last: Any = next(reversed(state.values()), None)
            classes = last.shape[0]
            module = models.get_model(self.architecture, weights=None, num_classes=classes)
            module.load_state_dict(state)
        except (OSError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
            what = str(error).strip().partition("\n")[0]
            found = f"a file that does not load ({what})"
            expected = f"a state dict of {self.architecture}, as torch.save writes it"
            raise InputError(Problem(where, found, expected)) from error
        return module, classes

    @property
    def _instead(self) -> str:
        return f"give a state dict of your own: {self.name}=FILE"


def _decoded(paths: Sequence[Path]) -> list[Any]:
    """Decode images as RGB; all that cannot be are told at once."""
    images: list[Any] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            images.append(decode(path).convert("RGB"))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    return images


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Put a number to names that come twice, as ImageNet's crane does.

    Examples
    --------
    >>> _distinct(["crane", "bear", "crane"])
    ('crane', 'bear', 'crane 2')
    """
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return tuple(found)
