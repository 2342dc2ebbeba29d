"""Workers end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

fcntl = pytest.importorskip("fcntl")

PROGRAM = """
import fcntl, os, sys, time
import numpy as np
from labelfix.predict.jobs import run_jobs
from labelfix.predict.models import FoldJob, Inputs

class Waits:
    name = "waits"
    def fit_predict(self, data, job, progress):
        with open(f"{data}/{job.seed}", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # held for as long as this process lives
            file.write(str(os.getpid()))
            file.flush()
            time.sleep(200)

if __name__ == "__main__":
    rows = np.arange(2)
    jobs = [FoldJob(rows, rows, rows, 2, seed) for seed in range(2)]
    run_jobs(Waits(), Inputs(sys.argv[1]), jobs, workers=2)
"""


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


def held(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_workers_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    starter = subprocess.Popen([sys.executable, str(program), str(tmp_path)], env=env)
    files = [tmp_path / "0", tmp_path / "1"]
    try:
        until = time.monotonic() + 100
        while not all(map(pid_in, files)) and time.monotonic() < until:
            time.sleep(0.1)
        assert all(map(held, files))
        starter.kill()
        starter.wait(timeout=60)
        until = time.monotonic() + 60
        while any(map(held, files)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(map(held, files))
    finally:
        starter.kill()
        starter.wait(timeout=60)
        for file in files:
            if pid_in(file) and held(file):
                os.kill(pid_in(file), signal.SIGKILL)
