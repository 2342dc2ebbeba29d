"""How fast the review app opens and goes on, in a real browser, with 100,000 issues.

    python benchmarks/review_app.py [--issues 100000] [--decisions 60] [--write]

Makes a run on ready-made predictions, gives its items images (most of 2 megapixels, the first 20 of
50), and reviews it in Chromium at one decision every half second. A time "to the next" is from the
key until the frame with the next picture is drawn. `--write` writes the table into
docs/benchmarks/review-app.md.

Needs `labelfix[test]` and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from labelfix.run import FindOptions, find

PAGE = Path(__file__).parent.parent / "docs/benchmarks/review-app.md"
CLASSES = 100
LARGE = 20
SHOWN = "performance.getEntriesByName('labelfix:shown')"


def paint(path: Path, size: tuple[int, int]) -> None:
    """Write a photograph-like JPEG: smooth colours and some noise."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    smooth = np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.int16)
    noise = rng.integers(-12, 12, (size[1], size[0], 1), np.int16)
    Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8)).save(path, quality=88)


def make_run(folder: Path, issues: int) -> Path:
    """Make a run whose first items are images of 50 megapixels, and all others of 2."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, issues)
    pred_probs = rng.dirichlet(np.full(CLASSES, 0.1), issues).astype(np.float32)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "probs.npy", pred_probs)
    given = FindOptions(labels=str(folder / "labels.npy"), pred_probs=(str(folder / "probs.npy"),))
    run = find(given, folder / "run")
    (folder / "images").mkdir()
    paint(folder / "images/large.jpg", (8160, 6120))
    paint(folder / "images/usual.jpg", (1632, 1224))
    for number in range(LARGE):  # files of their own, so that none is cached for another
        shutil.copy(folder / "images/large.jpg", folder / f"images/large{number}.jpg")
    first = {name: f"large{n}.jpg" for n, name in enumerate(run.issues["item_id"].head(LARGE))}
    path = pl.col("item_id").replace_strict(first, default="usual.jpg").alias("path")
    run.items.with_columns(path).write_parquet(run.path / "items.parquet")
    record = json.loads((run.path / "run.json").read_text())
    record["dataset"] |= {"root": str(folder / "images"), "images": True}
    (run.path / "run.json").write_text(json.dumps(record))
    return run.path


def measure(page: Page, address: str, decisions: int) -> dict[str, float]:
    """Open the app, decide, and read the browser's clock: milliseconds."""
    start = time.perf_counter()
    page.goto(address, wait_until="commit")  # its load event waits for pictures fetched ahead
    while not page.evaluate(f"{SHOWN}.length"):
        assert time.perf_counter() - start < 30, page.inner_text("body")
        time.sleep(0.005)
    opened = 1000 * (time.perf_counter() - start)
    html = page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd")
    time.sleep(3)
    for number in range(decisions):
        page.keyboard.press("Enter" if number % 3 else "k")
        time.sleep(0.5)
    time.sleep(1)
    to_next = sorted(page.evaluate(f"{SHOWN}.map(one => one.duration)")[1:])
    assert len(to_next) == decisions, "every decision shows the next item"
    return {
        "the page, from the address": html,
        "the first picture, from the address": opened,
        "the next item, median": statistics.median(to_next),
        "the next item, 95 of 100": to_next[int(0.95 * len(to_next))],
        "the next item, slowest": to_next[-1],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--issues", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), asked.issues)
        command = [sys.executable, "-m", "labelfix", "review", str(run), "--no-browser"]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            found = re.search(r"http\S+", server.stdout.readline() if server.stdout else "")
            ready = 1000 * (time.perf_counter() - start)
            assert found is not None, "the command prints an address"
            rows = {"the command, to the address": ready}
            try:
                with sync_playwright() as playwright:
                    chromium = shutil.which("chromium")
                    browser = playwright.chromium.launch(
                        executable_path=chromium, args=["--no-sandbox"]
                    )
                    page = browser.new_page(viewport={"width": 1280, "height": 720})
                    rows |= measure(page, found[0], asked.decisions)
                    browser.close()
            finally:
                server.terminate()
    load = f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    lines = [f"| {name} | {ms:,.0f} |" for name, ms in rows.items()]
    table = ["| | ms |", "|---|---|", *lines, f"| load average meanwhile | {load} |"]
    print("\n".join(table))
    if asked.write:
        text = PAGE.read_text(encoding="utf-8")
        before, _, after = text.partition("<!-- table -->\n")
        rest = after.partition("<!-- end -->\n")[2]
        text = "\n".join(table)
        PAGE.write_text(f"{before}<!-- table -->\n{text}\n<!-- end -->\n{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
