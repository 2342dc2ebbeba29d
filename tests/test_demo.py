"""The demo finds most of what it planted, says so, and can be run again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest
from PIL import Image

from labelfix.cli import main
from labelfix.decisions import DecisionLog, decide, issue_ids, read_log
from labelfix.demo import BUDGET, RATE, make_digits, run_demo
from labelfix.errors import RunError
from labelfix.run import open_run

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_EXTRAS = """
import socket, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "cleanlab", "pandas", "pyarrow"}:
            raise ModuleNotFoundError(name)

def refuse(*_, **__):
    raise OSError("no network here")

sys.meta_path.insert(0, Missing())
socket.socket.connect = refuse
from labelfix.cli import main
sys.exit(main(["demo", "--out", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo once, in a fresh process, with the base install and no network."""
    folder = tmp_path_factory.mktemp("demo") / "digits demo"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, str(folder)],
        env=os.environ | {"LABELFIX_CACHE": str(folder.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


def test_the_demo_finds_most_of_what_it_planted_and_says_so(demo: tuple[Path, str]) -> None:
    folder, shown = demo
    truth = pl.read_csv(folder / "truth.csv")
    top = open_run(folder / "run").issues.head(truth.height)
    found = top.join(truth, on="item_id", how="semi").height
    assert truth.height == round(RATE * 1797)
    assert found > 0.9 * truth.height
    assert re.search(f"Found {found} of the {truth.height}", shown)
    assert str(folder / "run/report.html") in shown
    assert f"labelfix show '{folder / 'run'}'" in shown


def test_the_demo_is_a_real_image_folder_and_the_truth_is_outside(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    images = sorted(path for path in (folder / "digits").rglob("*") if path.is_file())
    assert len(images) == 1797
    assert {path.parent.name for path in images} == set("0123456789")
    with Image.open(images[0]) as image:
        assert min(image.size) >= 64
    truth = pl.read_csv(folder / "truth.csv", schema_overrides=[pl.String] * 3)
    assert (truth["given_label"] != truth["true_label"]).all()
    assert truth.select(pl.col("item_id").str.head(1) == pl.col("given_label")).to_series().all()
    assert all((folder / "digits" / name).is_file() for name in truth["item_id"])


def test_the_demo_corrects_what_was_reviewed_and_measures_it(demo: tuple[Path, str]) -> None:
    folder, shown = demo
    truth = pl.read_csv(folder / "truth.csv", schema_overrides=[pl.String] * 3)
    decided = read_log(folder / "run/decisions.jsonl").decisions
    assert len(decided) == BUDGET
    now = {path.name: path.parent.name for path in (folder / "corrected").rglob("*.png")}
    assert len(now) == 1797
    changed = [one for one in decided if one.action == "set_label"]
    for one in changed:
        (right,) = truth.filter(item_id=one.item_id)["true_label"]
        assert now[str(one.item_id).partition("/")[2]] == right
    assert len(changed) > 0.9 * truth.height
    assert f"{len(changed)} labels were corrected" in shown
    effects = pl.read_csv(folder / "run/gain/effects.csv").filter(metric="accuracy", step="all")
    gained = dict(effects.select("effect", "value").iter_rows())
    assert 0.04 < gained["test_labels"] < gained["gain"]
    assert f"{gained['gain']:+.1%}"[:-1] in shown
    page = (folder / "run/report/report.html").read_text()
    assert f"{gained['gain']:+.1%}"[:-1] in page


def test_a_person_who_decided_in_the_demo_keeps_it(demo: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "demo"
    shutil.copytree(demo[0], out)
    run = open_run(out / "run")
    fingerprint = run.info.dataset.fingerprint
    log = DecisionLog(out / "run/decisions.jsonl", fingerprint)
    issue = run.issues.with_columns(issue=issue_ids(run.issues)).row(0, named=True)
    log.append(decide(issue, "skip", reviewer="ann", fingerprint=fingerprint))
    before = (out / "run/decisions.jsonl").read_bytes()
    with pytest.raises(RunError, match="decisions of ann"):
        run_demo(out)
    assert (out / "run/decisions.jsonl").read_bytes() == before
    assert (out / "corrected").is_dir()


def test_the_report_of_the_demo_shows_its_images(demo: tuple[Path, str]) -> None:
    page = (demo[0] / "run/report.html").read_text()
    assert page.count("<img ") == 60
    assert len(page) < 2_000_000


def test_the_same_errors_are_planted_every_time(demo: tuple[Path, str], tmp_path: Path) -> None:
    first = {path.name: path.parent.name for path in (demo[0] / "digits").rglob("*.png")}
    make_digits(tmp_path / "again")
    again = {path.name: path.parent.name for path in (tmp_path / "again/digits").rglob("*.png")}
    assert again == first


def test_an_earlier_demo_is_made_anew_and_what_else_is_there_stays(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    truth = make_digits(out)
    moved = out / "digits" / truth["item_id"][0]
    right = out / "digits" / str(truth["true_label"][0]) / moved.name
    moved.rename(right)
    (out / "notes.txt").write_text("mine")
    (out / "digits/3/mine.png").write_bytes(moved.name.encode())
    make_digits(out)
    assert moved.is_file()
    assert not right.exists()
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "digits/3/mine.png").is_file()


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "digits/3").mkdir(parents=True)
    (tmp_path / "digits/3/0001.png").write_text("mine")
    (tmp_path / "truth.csv").write_text("mine")
    with pytest.raises(RunError, match="other files"):
        run_demo(tmp_path)
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"digits", "truth.csv"}
    assert (tmp_path / "digits/3/0001.png").read_text() == "mine"
