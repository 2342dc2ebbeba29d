"""What many tests need: the real data sets where they are to be had, and images to write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

ROOT = Path(__file__).parent.parent

# A change is judged on the same examples each time; elsewhere every run looks at new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("new examples", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "new examples")


class Paint(Protocol):
    """Writes an image."""

    def __call__(
        self, path: Path, seed: int = 0, size: tuple[int, int] = (12, 8), mode: str = "RGB"
    ) -> Path: ...


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data with known errors (`LABELFIX_DATA`); a test that asks for it skips without it."""
    folder = ROOT / os.environ.get("LABELFIX_DATA", "../shared/data")
    if not folder.is_dir():
        pytest.skip("no real data here; LABELFIX_DATA names the folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def paint() -> Paint:
    """Write an image of smooth noise that no other seed gives, and the folders above it."""

    def write(
        path: Path, seed: int = 0, size: tuple[int, int] = (12, 8), mode: str = "RGB"
    ) -> Path:
        noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
        return path

    return write
