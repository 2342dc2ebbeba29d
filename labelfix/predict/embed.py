"""Frozen networks as features: embed once, then cheap heads.

Embeddings are kept by content: the same image, under whatever name and in whatever dataset, goes
through the same network once.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import hashlib
import io
import pickle
import sys
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem, require_extra
from labelfix.predict.architectures import LITE, LITE_INPUT, lite, lite_weights
from labelfix.predict.models import Inputs
from labelfix.predict.tabular import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["EfficientNetLite", "TorchModule", "Torchvision"]

Triple = tuple[float, float, float]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CHUNK = 1024  # images to a file of the cache: what an interrupted run loses at most


@dataclass(frozen=True)
class _Network:
    """A module with its weights, and how it wants its images: (x / 255 - mean) / std."""

    module: Any
    size: int
    mean: Triple
    std: Triple
    weights: str
    """Tells these weights from all others."""


class _Backbone:
    """What the frozen networks below share: `fetch` and `extract`."""

    batch: int
    device: str | None

    def _open(self) -> _Network:
        raise NotImplementedError

    def fetch(self) -> None:
        """Fetch the weights, before long work begins.

        Raises
        ------
        InputError, MissingExtraError
            As `extract`, but for the items.
        """
        self._open()

    def extract(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Embed each image, or take it from the cache; shape (n, d), float32.

        Raises
        ------
        InputError
            If the items are not images, some cannot be read, or the weights are not to be had.
        MissingExtraError
            If torch is not installed.
        """
        if dataset.image_paths is None:
            raise InputError(Problem("dataset", "no images", "an image for each item"))
        network = self._open()
        device = self.device or _best_device()
        keys, first, row = np.unique(
            _hash_files(dataset.image_paths), return_index=True, return_inverse=True
        )
        paths = [dataset.image_paths[i] for i in first]
        folder = None if cache is None else cache / "embeddings" / _name_folder(network, device)
        found = {} if folder is None else _read_cache(folder, keys)
        for rows in self._missing(keys, found, progress):
            chunk = keys[rows]
            values = self._embed(network, [paths[i] for i in rows], device)
            if folder is not None:
                _write_cache(folder, chunk, values)
            found |= dict(zip(chunk.tolist(), values, strict=True))
        embeddings = np.stack([found[key] for key in keys.tolist()])[row]
        return Inputs(Table(embeddings, embeddings.shape[1]), embeddings)

    def _missing(
        self,
        keys: NDArray[np.bytes_],
        found: dict[bytes, NDArray[np.float32]],
        progress: Progress | None,
    ) -> Iterator[NDArray[np.int64]]:
        """Give the rows that are not in `found`, chunk by chunk, and tell when each is done."""
        missing = np.array([i for i, key in enumerate(keys.tolist()) if key not in found])
        for start in range(0, len(missing), _CHUNK):
            if progress:
                progress("embeddings", len(keys) - len(missing) + start, len(keys))
            yield missing[start : start + _CHUNK]
        if progress:
            progress("embeddings", len(keys), len(keys))

    def _embed(self, network: _Network, paths: list[Path], device: str) -> NDArray[np.float32]:
        import torch

        from labelfix.images import load

        images = load(paths, size=network.size, mode="RGB", fit="stretch")
        scale = [torch.tensor(x, device=device).view(3, 1, 1) for x in (network.mean, network.std)]
        module = network.module.to(device, memory_format=torch.channels_last).eval()
        kind = torch.device(device).type
        vectors = []
        with torch.inference_mode(), torch.autocast(kind, enabled=kind == "cuda"):
            for start in range(0, len(images), self.batch):
                x = torch.from_numpy(images[start : start + self.batch]).to(device)
                x = (x.permute(0, 3, 1, 2) / 255 - scale[0]) / scale[1]
                vectors.append(_as_vectors(module(x)).float().cpu().numpy())
        return np.concatenate(vectors)


def _as_vectors(output: Any) -> Any:
    """Average feature maps over their places."""
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    if output.ndim == 2:
        return output
    shape = tuple(output.shape)
    raise InputError(
        Problem("backbone", f"output of shape {shape}", "(batch, d) or (batch, d, height, width)")
    )


@dataclass(frozen=True)
class EfficientNetLite(_Backbone):
    """EfficientNet-Lite0, pretrained on ImageNet, from the package index: nothing to download.

    4.7 million parameters, 1,280 numbers an image, Apache-2.0 (Tan and Le 2019; the Lite variants
    are Google's).

    Parameters
    ----------
    size
        Images become `size` by `size` pixels. The network learned at 224.
    batch
        Images at once.
    device
        As torch names it; None: "cuda" if there is one, else "cpu".
    """

    size: int = LITE_INPUT.size
    batch: int = 64
    device: str | None = None

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        return LITE

    def _open(self) -> _Network:
        module = lite()
        module.load_state_dict(lite_weights())
        module.forward = module.extract_features
        usual = LITE_INPUT
        return _Network(module, self.size, usual.mean, usual.std, f"{LITE}-57934424")


@dataclass(frozen=True)
class Torchvision(_Backbone):
    """A classification network of torchvision with its pretrained weights, which it downloads once.

    Parameters
    ----------
    architecture
        As `torchvision.models.get_model` takes it: "resnet18", "convnext_tiny", "vit_b_16", ...
    weights
        As `torchvision.models.get_model_weights` lists them, or "DEFAULT": the best.
    size
        Images become `size` by `size` pixels; None: as the weights were evaluated.
    batch
        Images at once.
    device
        As torch names it; None: "cuda" if there is one, else "cpu".
    """

    architecture: str
    weights: str = "DEFAULT"
    size: int | None = None
    batch: int = 64
    device: str | None = None

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        return f"torchvision:{self.architecture}"

    def _open(self) -> _Network:
        models = require_extra("torchvision", "vision", f"the model {self.name}").models
        weights = self._find_weights(models)
        module = self._download(models, weights)
        _behead(module, self.name)
        preprocess = weights.transforms()
        size = self.size or preprocess.crop_size[0]
        mean, std = tuple(preprocess.mean), tuple(preprocess.std)
        return _Network(module, size, mean, std, f"{self.architecture}-{weights.name}")

    def _find_weights(self, models: Any) -> Any:
        """Look the architecture and its weights up, without a download."""
        known = models.list_models(module=models)
        if self.architecture not in known:
            near = difflib.get_close_matches(self.architecture, known, 3, 0.4) or known[:3]
            raise InputError(
                Problem("model", repr(self.name), f"one of torchvision's, like {', '.join(near)}")
            )
        choices = models.get_model_weights(self.architecture)
        if self.weights not in choices.__members__:
            raise InputError(
                Problem(
                    f"model {self.name}",
                    f"weights {self.weights!r}",
                    f"one of {', '.join(choices.__members__)}",
                )
            )
        return choices[self.weights]

    def _download(self, models: Any, weights: Any) -> Any:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
                return models.get_model(self.architecture, weights=weights, progress=False)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            import torch

            place = f"{torch.hub.get_dir()}/checkpoints/{weights.url.rpartition('/')[2]}"
            what = str(error).strip().partition("\n")[0]
            raise InputError(
                Problem(
                    f"model {self.name}",
                    f"weights that could not be downloaded, or do not load ({what})",
                    "a connection, or the file at hand",
                    f"put {weights.url} at {place}, or {self._instead}",
                )
            ) from error

    @property
    def _instead(self) -> str:
        """What works without a download."""
        return "use efficientnet-lite0, which is installed with the extra vision"


@dataclass(frozen=True)
class TorchModule(_Backbone):
    """A network of the caller's, from timm or elsewhere, kept frozen.

    Parameters
    ----------
    module
        Takes (batch, 3, size, size) and gives (batch, d) or (batch, d, height, width). Modules with
        timm's `forward_features` and `forward_head` give what comes before the last layer.
    size
        Images become `size` by `size` pixels.
    mean, std
        Of red, green and blue, which are from 0 to 1: what the network sees is (x - mean) / std.
        The default is ImageNet's.
    name
        For run.json and the reports.
    batch
        Images at once.
    device
        As torch names it; None: "cuda" if there is one, else "cpu".
    """

    module: Any = field(repr=False)
    size: int = 224
    mean: Triple = _IMAGENET[0]
    std: Triple = _IMAGENET[1]
    name: str = "torch-module"
    batch: int = 64
    device: str | None = None

    def _open(self) -> _Network:
        require_extra("torch", "vision", f"the model {self.name}")
        module = _before_the_head(copy.deepcopy(self.module))  # the caller's stays where it is
        return _Network(module, self.size, self.mean, self.std, _digest(self.module))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to workers, and into hashes, as a digest: the embeddings are made by then."""
        rest = (self.size, self.mean, self.std, self.name, self.batch, self.device)
        return TorchModule, (_digest(self.module), *rest)


def _before_the_head(module: Any) -> Any:
    """Make a timm model give its features, any other what it gives."""
    if not hasattr(module, "forward_features") or not hasattr(module, "forward_head"):
        return module
    import torch

    class Headless(torch.nn.Module):  # type: ignore[misc] # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.whole = module

        def forward(self, x: Any) -> Any:
            return self.whole.forward_head(self.whole.forward_features(x), pre_logits=True)

    return Headless()


def _behead(module: Any, name: str) -> None:
    """Take the last linear layer off."""
    import torch

    linear = [path for path, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
    if not linear:
        found = "a network without a linear layer to take off"
        raise InputError(Problem(f"model {name}", found, "one with features", "use TorchModule"))
    parent, _, last = linear[-1].rpartition(".")
    setattr(module.get_submodule(parent), last, torch.nn.Identity())


def _digest(module: Any) -> str:
    """Hash a module's structure and weights; what is a digest already stays."""
    if isinstance(module, str):
        return module
    import torch

    digest = hashlib.blake2b(repr(module).encode(), digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        content = tensor.detach().cpu().reshape(-1).view(torch.uint8)  # NumPy knows no bfloat16
        digest.update(content.numpy().tobytes())
    return digest.hexdigest()


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _hash_files(paths: list[Path]) -> NDArray[np.bytes_]:
    """Hash the files' bytes; all that cannot be read are told at once."""
    digests, problems = [], []
    for path in paths:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            digests.append(digest.hexdigest())
        except OSError as error:
            problems.append(Problem(str(path), f"a file that cannot be read ({error.strerror})"))
    if problems:
        raise InputError(problems)
    return np.array(digests, dtype="S32")


def _name_folder(network: _Network, device: str) -> str:
    """Name the cache's folder by all but the image that an embedding depends on."""
    precision = "half" if device.startswith("cuda") else "single"
    parts = (network.weights, network.size, network.mean, network.std, precision)
    short = hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
    return f"{network.weights[:40]}-{network.size}-{short}"


def _read_cache(folder: Path, wanted: NDArray[np.bytes_]) -> dict[bytes, NDArray[np.float32]]:
    """Collect what the folder's files hold of the wanted keys; damaged files count as missing."""
    found: dict[bytes, NDArray[np.float32]] = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                keys = arrays["keys"]
                rows = np.flatnonzero(np.isin(keys, wanted))
                if len(rows):
                    found |= dict(zip(keys[rows].tolist(), arrays["values"][rows], strict=True))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            continue
    return found


def _write_cache(folder: Path, keys: NDArray[np.bytes_], values: NDArray[np.float32]) -> None:
    """Add a file to the folder, whole or not at all."""
    content = io.BytesIO()
    np.savez(content, keys=keys, values=values)
    name = hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{name}.npz") as file:
        file.write(content.getbuffer())
