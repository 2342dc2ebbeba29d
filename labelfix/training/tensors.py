"""Torch tensors on their way into a tracker: kept where they are, and moved together later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["as_array", "kept", "moved", "type_of"]


def kept(tensor: torch.Tensor) -> torch.Tensor:
    """Copy on the tensor's own device, without its history: nothing waits for the device.

    A copy, because loops write into their outputs, and CUDA graphs do so behind their back.
    """
    return tensor.detach().clone()


def moved(parts: Sequence[Any]) -> NDArray[Any]:
    """Join tensors, and arrays among them, into one array: one transfer from each device."""
    runs: list[list[torch.Tensor]] = []
    for part in parts:
        tensor = part if isinstance(part, torch.Tensor) else torch.from_numpy(part)
        if runs and runs[-1][0].device == tensor.device and runs[-1][0].dtype == tensor.dtype:
            runs[-1].append(tensor)
        else:
            runs.append([tensor])
    return np.concatenate([as_array(torch.cat(run)) for run in runs])


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Give the values: those themselves where they are on the host, in a type that numpy has."""
    if tensor.dtype == torch.bfloat16:  # numpy has none
        tensor = tensor.float()
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def type_of(tensor: torch.Tensor) -> tuple[str, str]:
    """Give the sort of its numbers, as numpy calls them (b, i, f, c), and the type's name."""
    real = "f" if tensor.dtype.is_floating_point else "i"
    sort = "b" if tensor.dtype == torch.bool else "c" if tensor.dtype.is_complex else real
    return sort, str(tensor.dtype).removeprefix("torch.")
