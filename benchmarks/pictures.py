"""The pictures in the docs: drawn scenes with planted errors, as labelfix shows them.

    python benchmarks/pictures.py [--images 400] [--folder docs/pictures]

Draws scenes, plants 2 % of each error in their boxes, finds them by a made-up detector, and
photographs the report and the review app in Chromium. Nobody else's images are in them.

Needs `labelfix[test]` and Chromium.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from playwright.sync_api import Page, sync_playwright
from scenes import (
    CLASSES,
    detect,
    look_alike_confusion,
    make_scenes,
    write,
    write_annotations,
)

from labelfix.inject import BoxNoise, inject_boxes
from labelfix.run import FindOptions, find

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent.parent / "docs/pictures"
SHARE = 0.02
PLANTED = ("missing", "spurious", "wrong_class", "bad_location", "duplicate")
QUALITY = 82
PATIENCE = 30


def make_run(folder: Path, images: int) -> Path:
    """Find the errors planted in drawn scenes."""
    scenes = make_scenes(images)
    noise = BoxNoise(
        drop=SHARE,
        flip=SHARE,
        shift=SHARE,
        spawn=SHARE,
        duplicate=SHARE,
        confusion=look_alike_confusion(),
    )
    noisy, _ = inject_boxes(scenes.annotations, noise, CLASSES, scenes.items)
    numbered = noisy.with_columns(annotation_id=pl.int_range(pl.len()).cast(pl.String))
    write(scenes, folder / "scenes")
    write_annotations(scenes.items, numbered, folder / "scenes/annotations.json")
    detect(scenes).write_parquet(folder / "predictions.parquet")
    given = FindOptions(
        path=str(folder / "scenes/annotations.json"),
        predictions=str(folder / "predictions.parquet"),
        kinds=PLANTED,
    )
    return find(given, folder / "run").path


@contextmanager
def reviewed(run: Path) -> Iterator[str]:
    """Serve the run, and give the address."""
    command = [sys.executable, "-m", "labelfix", "review", str(run), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            found = re.search(r"http\S+", server.stdout.readline() if server.stdout else "")
            assert found is not None, "the command prints an address"
            yield found[0]
        finally:
            server.terminate()


def wait(page: Page) -> None:
    """Wait for the picture. Playwright's own way is refused by the app's policy on scripts."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate("performance.getEntriesByName('labelfix:shown').length"):
        assert time.monotonic() < end, page.inner_text("body")
        time.sleep(0.05)


def photograph(page: Page, path: Path) -> None:
    """Keep what the browser shows."""
    page.screenshot(path=path, quality=QUALITY)
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = make_run(Path(folder), asked.images)
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = chromium.new_page(viewport={"width": 1200, "height": 800})
        page.goto((run / "report.html").as_uri())
        photograph(page, asked.folder / "report-boxes.jpg")
        with reviewed(run) as address:
            page.goto(address, wait_until="commit")
            wait(page)
            photograph(page, asked.folder / "review-boxes.jpg")
        chromium.close()


if __name__ == "__main__":
    main()
