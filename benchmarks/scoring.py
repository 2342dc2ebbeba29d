"""Speed and memory of the scoring core beside cleanlab's, and beside one argmax.

    python benchmarks/scoring.py [--small] [--write] [--out FOLDER]

needs `labelfix[cleanlab]` and, for the full sizes, 3 GB of memory and some minutes. Prints a table
for each size, and with `--write` puts them into docs/benchmarks/scoring.md. `--out` is where
the memory-mapped matrix is written (the system's temporary folder if not given).

Every row is timed in this process, ours and theirs in turn, and the best time of each is kept; the
masks of both are compared. Memory is the peak of what NumPy and Python allocate (tracemalloc), the
result not counted. Memory-mapped scoring runs in a child process, which watches its own anonymous
memory (RssAnon of /proc/self/status: Linux only).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix import score
from labelfix.score import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks" / "scoring.md"
SIZES = ((1_000_000, 10), (1_000_000, 100), (50_000, 1000))
SMALL_SIZES = ((100_000, 10), (50_000, 100), (2_000, 1000))
MAPPED = (4_000_000, 100)
SMALL_MAPPED = (400_000, 100)
HEADER = (
    "| what | labelfix, s | on 1 thread, s | cleanlab, s | x faster | x argmax "
    "| memory | cleanlab's memory |\n|---|---:|---:|---:|---:|---:|---:|---:|"
)


def made_up(
    items: int, classes: int, seed: int = 0, rows: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels of which a tenth are wrong, and softmax probabilities of a fair model.

    Logits are normal with deviation 1.5; the true class gets 5 more. That is right for 86 % of the
    labels with 10 classes, 70 % with 100, and 48 % with 1000.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, items)
    pred_probs = np.empty((items, classes), dtype=np.float32) if rows is None else rows
    for start in range(0, items, 50_000):
        given = labels[start : start + 50_000]
        true = np.where(rng.random(len(given)) < 0.9, given, rng.integers(0, classes, len(given)))
        logits = rng.standard_normal((len(given), classes), dtype=np.float32) * 1.5
        logits[np.arange(len(given)), true] += 5
        np.exp(logits, out=logits)
        pred_probs[start : start + 50_000] = logits / logits.sum(axis=1, keepdims=True)
    return labels, pred_probs


@dataclass(frozen=True)
class Contest:
    """One thing to do, our way and cleanlab's."""

    what: str
    ours: Callable[..., Any]
    theirs: Callable[[], Any]


def contests(labels: NDArray[np.int64], pred_probs: NDArray[np.float32]) -> Iterator[Contest]:
    """Everything that both can do."""
    import cleanlab.count
    import cleanlab.filter
    import cleanlab.rank

    data = (labels, pred_probs)
    for rule in score.SELECTION_RULES:
        yield Contest(
            rule,
            partial(score.select_issues, *data, rule),
            partial(cleanlab.filter.find_label_issues, *data, filter_by=rule),
        )
    yield Contest(
        "confident joint",
        partial(score.confident_joint, *data),
        partial(cleanlab.count.compute_confident_joint, *data),
    )
    for method in score.QUALITY_SCORES:
        yield Contest(
            method,
            partial(score.label_quality, *data, method),
            partial(cleanlab.rank.get_label_quality_scores, *data, method=method),
        )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give seconds, and what came out."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def best(work: Callable[[], Any], times: int) -> float:
    """Give the least of some times, in seconds."""
    return min(timed(work)[0] for _ in range(times))


def extra_memory(work: Callable[[], Any]) -> int:
    """Give the most that was allocated at a time, without the result, in bytes."""
    tracemalloc.start()
    try:
        result = work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return int(peak - np.asarray(result).nbytes)


def compare(items: int, classes: int, times: int) -> str:
    """Print and give one table."""
    labels, pred_probs = made_up(items, classes)
    megabytes = pred_probs.nbytes / 1e6
    floor = best(partial(pred_probs.argmax, axis=1), 7)
    lines = [f"## {items:,} x {classes}, float32, {megabytes:.0f} MB", ""]
    lines += [f"One `pred_probs.argmax(axis=1)` takes {floor:.3f} s.", "", HEADER]
    print("\n".join(lines), flush=True)
    for contest in contests(labels, pred_probs):
        ours, one, theirs = [], [], []
        for turn in range(times):
            seconds, result = timed(contest.ours)
            ours.append(seconds)
            one.append(timed(partial(contest.ours, blocks=Blocks(threads=1)))[0])
            if turn < max(1, times // 3):
                seconds, expected = timed(contest.theirs)
                theirs.append(seconds)
        see_equal(contest.what, result, expected)
        shares = [extra_memory(work) / pred_probs.nbytes for work in (contest.ours, contest.theirs)]
        line = (
            f"| {contest.what} | {min(ours):.3f} | {min(one):.3f} | {min(theirs):.2f} "
            f"| {min(theirs) / min(ours):.0f} | {min(ours) / floor:.1f} "
            f"| {shares[0]:.1%} | {shares[1]:.0%} |"
        )
        print(line, flush=True)
        lines.append(line)
    print()
    return "\n".join(lines)


def see_equal(what: str, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Stop if the answers differ: a fast wrong answer is worth nothing.

    Equal values that compete for the last places may fall differently, so masks need only be of
    equal size; and cleanlab's weighted entropy is another score where a model is certain.
    """
    if ours.dtype == bool:
        assert ours.sum() == theirs.sum(), f"{what}: {ours.sum()} against {theirs.sum()}"
        assert (ours != theirs).mean() < 1e-4, f"{what}: {(ours != theirs).sum()} items differ"
    elif what != "confidence_weighted_entropy":
        assert np.allclose(ours, theirs, rtol=0, atol=1e-6), what


def mapped(items: int, classes: int, folder: Path) -> str:
    """Score a file that is far larger than a block, in a child process; print and give a table."""
    path = folder / "pred_probs.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (items, classes))
    labels, _ = made_up(items, classes, rows=rows)
    rows.flush()
    np.save(folder / "labels.npy", labels)
    gigabytes = rows.nbytes / 1e9
    lines = [f"## Memory-mapped: {items:,} x {classes}, float32, a file of {gigabytes:.1f} GB", ""]
    lines += ["| rule | s | anonymous memory | same mask as in memory |", "|---|---:|---:|---|"]
    print("\n".join(lines), flush=True)
    for rule in score.SELECTION_RULES:
        found = json.loads(
            subprocess.run(
                [sys.executable, __file__, "--child", str(folder), rule],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        mask = score.select_issues(labels, np.array(rows), rule)
        same = "yes" if found["digest"] == digest(mask) else "NO"
        line = f"| {rule} | {found['seconds']:.2f} | {found['bytes'] / 1e6:.0f} MB | {same} |"
        print(line, flush=True)
        lines.append(line)
    print()
    return "\n".join(lines)


def digest(mask: NDArray[np.bool_]) -> str:
    """Short name of a mask."""
    return hashlib.blake2b(mask.tobytes(), digest_size=8).hexdigest()


def child(folder: Path, rule: str) -> None:
    """Score a memory-mapped file, and say how much anonymous memory that took."""
    labels = np.load(folder / "labels.npy")
    pred_probs = np.load(folder / "pred_probs.npy", mmap_mode="r")
    score.select_issues(labels[:1000], pred_probs[:1000], rule)  # imports are not counted
    before = anonymous()
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds, mask = timed(partial(score.select_issues, labels, pred_probs, rule))
    done.set()
    watcher.join()
    print(json.dumps({"seconds": seconds, "bytes": peak[0] - before, "digest": digest(mask)}))


def anonymous() -> int:
    """Bytes of memory that belong to no file."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def whole_pass(sizes: Sequence[tuple[int, int]], times: int) -> str:
    """Time everything that confident learning says, from one pass over the matrix."""
    lines = ["## The whole pass", ""]
    lines += ["| size | thresholds, joint, error count | x argmax | with calibration | x argmax |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for items, classes in sizes:
        data = made_up(items, classes)
        floor = best(partial(data[1].argmax, axis=1), 7)
        counted = best(partial(score.count_confident, *data), times)
        joint = best(partial(score.confident_joint, *data), times)
        lines.append(
            f"| {items:,} x {classes} | {counted:.3f} s | {counted / floor:.1f} "
            f"| {joint:.3f} s | {joint / floor:.1f} |"
        )
    print("\n".join(lines), flush=True)
    return "\n".join(lines)


def preamble(command: str) -> str:
    """Say what was measured, on what."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return f"""# Speed and memory of the scoring core

    {command}

Ours and cleanlab's do the same work on the same matrix in the same process, in turn; the best time
of each is kept, and their answers are compared. *x argmax* is our time over that of one
`pred_probs.argmax(axis=1)`. *memory* is the peak of what is allocated meanwhile, the result not
counted, as a share of the matrix (cleanlab's worker processes are not seen). Labels are made up: a
tenth is wrong, and the probabilities are the softmax of normal logits (deviation 1.5) with 5 more
for the true class.

{versions}, Python {platform.python_version()}, {cores} cores, load {load:.1f} at the start. A load
above the number of cores means that others were at work: times are then too long.
"""


PACKAGES = ("numpy", "cleanlab")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a minute's worth")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--out", type=Path, help="where to put the memory-mapped matrix")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(Path(args.child[0]), args.child[1])
    warnings.simplefilter("ignore")  # cleanlab's remarks on small classes
    sizes, times = (SMALL_SIZES, 3) if args.small else (SIZES, 6)
    page = [preamble("python benchmarks/scoring.py --write" + " --small" * args.small)]
    page += [compare(items, classes, times) for items, classes in sizes]
    page.append(whole_pass(sizes, times))
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        page.append(mapped(*(SMALL_MAPPED if args.small else MAPPED), Path(folder)))
    if args.write:
        PAGE.write_text("\n\n".join(page) + "\n")
    return None


if __name__ == "__main__":
    main()
