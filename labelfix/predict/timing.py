"""How long a trained network takes for one image on the processor."""

from __future__ import annotations

import functools
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["WARM_UP", "processor", "seconds_each"]

WARM_UP = 3
"""Images that go first and are not timed: buffers are made then, and kernels chosen."""


@functools.cache
def processor() -> str:
    """Name what times are taken on: the processor's model, where the system says, and the system.

    Examples
    --------
    >>> processor().endswith(platform.system())
    True
    """
    place = Path("/proc/cpuinfo")
    lines = place.read_text("utf-8", "replace").splitlines() if place.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = next(filter(None, [*models, platform.processor(), platform.machine()]))
    return f"{model}, {platform.system()}"


def seconds_each(
    predict: Callable[[Any], object], images: Sequence[Any] | NDArray[Any]
) -> NDArray[np.float64]:
    """Take the time of one image after another.

    CPU time of the calling thread: what else the machine does is not in it, nor are other threads,
    so let the network compute on one.

    Parameters
    ----------
    predict
        Predicts one image.
    images
        What it is called with. The first `WARM_UP`, over and over if there are fewer, go first.

    Returns
    -------
    Seconds of each image, shape (n,).

    Examples
    --------
    >>> seconds_each(lambda n: sum(range(n)), [10, 1_000_000]).argmax()
    np.int64(1)
    """
    for number in range(WARM_UP if len(images) else 0):
        predict(images[number % len(images)])
    taken = np.zeros(len(images))
    for number, image in enumerate(images):
        begin = time.thread_time()
        predict(image)
        taken[number] = time.thread_time() - begin
    return taken
