"""What watching a training costs: time beside the bare loop, and memory.

    python benchmarks/tracker.py --write

ResNet-18 (torchvision's) on 32 pixel images, batches of 128, on two threads: small images, so that
a step is short and the tracker's share of it is large. Steps with and without the tracker take
turns in one process. The cost of ending an epoch is that of 50,000 items, spread over its 391
steps. `--write` puts the tables into docs/benchmarks/tracker.md.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.models import resnet18

from labelfix.training import Tracker

ITEMS, CLASSES, BATCH, THREADS = 50_000, 10, 128, 2
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks" / "tracker.md"


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30, help="of each sort")
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    page = f"{introduction()}\n{time_table(options.steps)}\n{memory_table()}"
    print(page)
    if options.write:
        PAGE.write_text(page, encoding="utf-8")


def introduction() -> str:
    """Say what is measured, and where."""
    return f"""# What watching a training costs

    python benchmarks/tracker.py --write

Time: ResNet-18 on images of 32 pixels, batches of {BATCH}, on {THREADS} threads of a CPU. Steps
with and without `Tracker.update` take turns in one process. The share of ending an epoch is that of
{ITEMS:,} items and {CLASSES} classes, spread over its {-(-ITEMS // BATCH)} steps.

torch {torch.__version__}, Python {platform.python_version()}.
"""


def time_table(steps: int) -> str:
    """Time steps of both sorts in turn, the updates in them, and the end of an epoch."""
    torch.manual_seed(0)
    model = resnet18(num_classes=CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(0, CLASSES, (BATCH,))
    rows = torch.arange(BATCH)
    tracker = Tracker(ITEMS)
    bare: list[float] = []
    watched: list[float] = []
    updates: list[float] = []

    def step(seen: Tracker | None) -> float:
        start = time.perf_counter()
        logits = model(images)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        if seen is not None:
            before = time.perf_counter()
            seen.update(rows, logits, labels)
            updates.append(time.perf_counter() - before)
        return time.perf_counter() - start

    for _ in range(3):
        step(None)
    for pair in range(steps):
        order = [None, tracker] if pair % 2 else [tracker, None]
        for seen in order:
            (bare if seen is None else watched).append(step(seen))
    ratios = [b / a for a, b in zip(bare, watched, strict=True)]
    low, high = np.quantile(ratios, [0.25, 0.75])
    quiet = np.quantile(watched, 0.25) / np.quantile(bare, 0.25)
    end = statistics.median(end_of_epoch() for _ in range(5))
    one = statistics.median(bare)
    update, share = statistics.median(updates), end / -(-ITEMS // BATCH)
    return f"""## Time

| what | a step, ms | of a step |
|---|---:|---:|
| bare step, median of {steps} | {1000 * one:.1f} | |
| `update` in it | {1000 * update:.3f} | {update / one:.2%} |
| its share of `end_epoch` ({1000 * end:.0f} ms) | {1000 * share:.3f} | {share / one:.2%} |
| **tracker in all** | **{1000 * (update + share):.3f}** | **{(update + share) / one:.2%}** |

The whole step with the tracker takes {statistics.median(ratios):.3f} times the bare one beside it,
median of {steps} pairs. Half of them lie between {low:.3f} and {high:.3f}: that is the noise of a
machine on which others were at work. The lower quartile of the steps with it is {quiet:.3f} times
that of the bare ones.
"""


def end_of_epoch() -> float:
    """Time the end of an epoch that saw all items."""
    tracker = Tracker(ITEMS)
    rng = np.random.default_rng(0)
    for rows in np.array_split(rng.permutation(ITEMS), -(-ITEMS // BATCH)):
        logits = torch.from_numpy(rng.normal(size=(len(rows), CLASSES)).astype(np.float32))
        tracker.update(torch.from_numpy(rows), logits, torch.zeros(len(rows), dtype=torch.int64))
    start = time.perf_counter()
    tracker.end_epoch()
    return time.perf_counter() - start


def memory_table() -> str:
    """Count the bytes that are kept of an item, after some epochs."""
    lines = []
    for epochs in (10, 100, 300):
        for classes in (10, 1000):
            held = kept_bytes(epochs, classes)
            statistics_kept = len(_statistics()) + classes
            lines.append(
                f"| {epochs} | {classes} | {held:.0f} | {statistics_kept} | "
                f"{held / statistics_kept:.1f} | {held - 4 * classes:.0f} |"
            )
    return f"""
## Memory

Bytes kept of an item, whatever the number of sightings. The statistics are the columns of
`statistics()` and the mean probability of each class; with `keep_probs=False` the latter, 4 bytes a
class, are not kept. History of when the label was learned takes a quarter of a byte an epoch.

| epochs | classes | bytes an item | statistics | **bytes an item and statistic** | without probs |
|---:|---:|---:|---:|---:|---:|
{chr(10).join(lines)}

While an epoch lasts, what waits for its end takes up to `buffer_bytes` (64 MiB) where the logits
are.
"""


def kept_bytes(epochs: int, classes: int, n: int = 800) -> float:
    """Count what a tracker keeps of an item."""
    tracker = Tracker(n)
    logits: Any = np.zeros((n, classes), dtype=np.float32)
    for _ in range(epochs):
        tracker.update(np.arange(n), logits, np.zeros(n, dtype=np.int64))
        tracker.end_epoch()
    return sum(array.nbytes for array in tracker._counts.arrays().values()) / n


def _statistics() -> list[str]:
    tracker = Tracker(1)
    tracker.update([0], [[0.0, 1.0]], [0])
    return tracker.statistics().columns[1:]


if __name__ == "__main__":
    main()
