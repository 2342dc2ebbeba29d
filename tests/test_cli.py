"""The command line: exit codes, formats that parse, and text that cannot take over a terminal."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelfix._version import __version__
from labelfix.cli import main, names
from labelfix.cli.base import telling
from labelfix.cli.output import Format
from labelfix.errors import warn_caller
from labelfix.run import open_run
from labelfix.schema import BOX_KINDS, CLASS_ISSUES, ClassKind

if TYPE_CHECKING:
    from collections.abc import Iterator

N = 60
HOSTILE = "cat\x1b[31m\x1b]0;owned\x07\u202egnp"


def labelfix(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "labelfix", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def arrays(tmp_path: Path) -> list[str]:
    """Arguments of `find` for ready-made predictions of three classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, N)
    logits = rng.normal(0, 1, (N, 3)) + 3 * np.eye(3)[np.where(rng.random(N) < 0.2, 0, labels)]
    pred_probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "probs.npy", pred_probs.astype(np.float32))
    files = ("--labels", str(tmp_path / "labels.npy"), "--pred-probs", str(tmp_path / "probs.npy"))
    return ["find", *files, "--out", str(tmp_path / "run")]


@pytest.fixture
def run(arrays: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(arrays) == 0
    capsys.readouterr()
    return tmp_path / "run"


@pytest.fixture
def hostile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run on items and classes whose names are out to take over the terminal."""
    rng = np.random.default_rng(0)
    ids = [f"{HOSTILE}{row}" for row in range(N)]
    classes = np.array([HOSTILE, 'dog, "or"\nnot'])
    labels = rng.integers(0, 2, N)
    right = rng.random(N) < 0.9
    table = pl.DataFrame({"item_id": ids, "label": classes[labels]})
    first = np.where((labels == 0) == right, 0.9, 0.1)
    probs = pl.DataFrame({"item_id": ids, classes[0]: first, classes[1]: 1 - first})
    table.write_parquet(tmp_path / "labels.parquet")
    probs.write_parquet(tmp_path / "probs.parquet")
    out = tmp_path / "run"
    files = ["--labels", f"{tmp_path}/labels.parquet", "--pred-probs", f"{tmp_path}/probs.parquet"]
    assert main(["find", *files, "--out", str(out)]) == 0
    capsys.readouterr()
    return out


def test_done_is_0(arrays: list[str]) -> None:
    assert main(arrays) == 0


def test_findings_are_1_where_asked_for(arrays: list[str], tmp_path: Path) -> None:
    assert main(arrays) == 0
    flagged = open_run(tmp_path / "run").info.findings.flagged
    assert flagged > 1
    assert main([*arrays, "--fail-above", str(flagged)]) == 0
    assert main([*arrays, "--fail-above", str(flagged - 1)]) == 1


def test_columns_of_given_probabilities_can_be_named(arrays: list[str], tmp_path: Path) -> None:
    named = [word for name in ("ant", "bee", "cat") for word in ("--class-names", name)]
    assert main([*arrays, *named]) == 0
    assert open_run(tmp_path / "run").info.dataset.class_names == ("ant", "bee", "cat")


def test_a_clean_label_that_was_cut_off_is_told_and_not_taken_for_none(
    arrays: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clean.csv").write_text("item_id,label\n0,1\n1\n2,0,9\n3,\n")
    assert main([*arrays, "--clean-labels", str(tmp_path / "clean.csv")]) == 2
    told = capsys.readouterr().err
    assert [f"clean.csv:{line}:" in told for line in (2, 3, 4, 5)] == [False, True, True, False]


@pytest.mark.parametrize(
    "args",
    [
        ["find"],
        ["find", "nowhere", "--out", "run"],
        ["find", "nowhere", "--out", "run", "--folds", "1"],
        ["find", "nowhere", "--out", "run", "--folds", "many"],
        ["find", "--out", "run"],
        ["show"],
        ["show", "nowhere"],
        ["show", "."],
        ["nosuch"],
        ["--nosuch"],
    ],
)
def test_bad_input_is_2_and_says_why_without_a_traceback(
    args: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err
    assert "Traceback" not in shown.err
    assert not list(tmp_path.iterdir())


def test_all_problems_are_printed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/good.png", "b/good.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "photos" / name)
    for name in ("a/bad.png", "b/worse.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"not an image")
    assert main(["find", str(tmp_path / "photos"), "--out", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr().err
    assert "bad.png" in shown
    assert "worse.jpg" in shown
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}


def test_a_missing_extra_is_2_and_prints_the_install_command(
    arrays: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    assert main([*arrays, "--engine", "cleanlab"]) == 2
    assert "pip install 'labelfix[cleanlab]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_2_and_not_a_traceback(
    arrays: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labelfix.run.directory._write_table", fail)
    assert main(arrays) == 2
    assert "No space left" in capsys.readouterr().err


SLOW = """
    import time
    from pathlib import Path
    from sklearn.linear_model import LogisticRegression

    class Slow(LogisticRegression):
        def fit(self, X, y):
            log = Path(__file__).with_name("fits.txt")
            done = len(log.read_text().split()) if log.exists() else 0
            log.write_text("x " * (done + 1))
            if done == 2:
                time.sleep(300)  # until it is interrupted
            return super().fit(X, y)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows interrupts otherwise")
def test_an_interrupt_is_130_and_what_is_done_stays(tmp_path: Path) -> None:
    (tmp_path / "slow_model.py").write_text(textwrap.dedent(SLOW))
    rows = "".join(f"{i % 2 + i / 100},{'ab'[i % 2]}\n" for i in range(N))
    (tmp_path / "t.csv").write_text("x,label\n" + rows)
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "labelfix", "find", "t.csv", "--out", "run"]
    process = subprocess.Popen(
        [*command, "--model", "slow_model:Slow"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([paths, str(Path.cwd())])},
        stderr=subprocess.PIPE,
        text=True,
    )
    fits = tmp_path / "fits.txt"
    try:
        until = time.monotonic() + 120
        while not (fits.exists() and len(fits.read_text().split()) == 3):
            assert process.poll() is None, "it ended before it came to the third fold"
            assert time.monotonic() < until, "it never came to the third fold"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=120)
    finally:
        process.kill()  # nothing, if it ended
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in shown
    assert "goes on" in shown
    assert len(list((tmp_path / "run/.partial/folds").iterdir())) == 2


def test_a_closed_pipe_is_no_crash(run: Path) -> None:
    command = f"{sys.executable} -m labelfix show {run} --format csv | true"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("which", ["run", "hostile"])
def test_formats_parse_and_hold_the_whole_queue(
    which: str,
    form: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = request.getfixturevalue(which)
    assert main(["show", str(run), "--format", form]) == 0
    out = capsys.readouterr().out
    issues = open_run(run).issues
    rows = parsed(out, form)
    assert [row["item_id"] for row in rows] == issues["item_id"].to_list()
    assert [row["given_label"] for row in rows] == issues["given_label"].to_list()
    assert all(set(row) == set(CLASS_ISSUES) for row in rows)
    assert np.allclose([float(str(row["quality"])) for row in rows], issues["quality"])


def parsed(text: str, form: str) -> list[dict[str, object]]:
    if form == "json":
        return list(json.loads(text))
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]


def test_find_lists_the_same_as_show(
    arrays: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arrays, "--format", "jsonl", "--top", "7"]) == 0
    found = capsys.readouterr().out
    assert main(["show", str(run), "--format", "jsonl", "--top", "7"]) == 0
    assert capsys.readouterr().out == found
    assert len(found.splitlines()) == 7


def test_an_empty_list_parses_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, rows in (("json", "[]"), ("jsonl", ""), ("csv", ",".join(CLASS_ISSUES))):
        assert main(["show", str(run), "--top", "0", "--format", form]) == 0
        assert capsys.readouterr().out.strip() == rows
    assert main(["show", str(run), "--top", "0"]) == 0


def test_show_narrows_by_kind_class_and_flag(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--kind", "mislabeled", "--class", "1", "--flagged", "--format", "json"]
    assert main(["show", str(run), *args]) == 0
    rows = json.loads(capsys.readouterr().out)
    wanted = open_run(run).issues.filter(
        (pl.col("kind") == "mislabeled") & (pl.col("given_label") == "1") & pl.col("flagged")
    )
    assert [row["rank"] for row in rows] == wanted["rank"].to_list()


def test_show_refuses_unknown_kinds_and_classes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(run), "--kind", "mislabelled", "--class", "9"]) == 2
    shown = capsys.readouterr().err
    assert "mislabeled" in shown
    assert "'9'" in shown


def test_the_summary_says_what_matters(
    arrays: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arrays) == 0
    text = capsys.readouterr().out
    info = open_run(run).info
    assert "60 items of 3 classes" in text
    assert f"Flagged {info.findings.flagged} of 60 labels" in text
    assert f"at least {info.findings.errors_at_least} " in text
    assert f"labelfix show {run}" in text
    assert str(run / "report.html") in text
    ranks = [line.split()[0] for line in text.splitlines() if line.split()]
    assert [rank for rank in ranks if rank.isdigit()] == [str(rank) for rank in range(1, 11)]


def test_quiet_prints_nothing(arrays: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arrays, "--quiet"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_quiet_prints_what_a_format_asks_for(
    arrays: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arrays, "--quiet", "--format", "jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == N


def test_warnings_are_shown_once_and_kept(
    arrays: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "probs.npy"
    np.save(path, np.load(path) * np.float32(1.0005))
    assert main(arrays) == 0
    shown = capsys.readouterr().err
    assert shown.count("Warning: ") == 1
    assert open_run(tmp_path / "run").info.warnings[0] in shown


def test_nothing_but_the_list_goes_to_a_pipe(arrays: list[str]) -> None:
    done = labelfix(*arrays, "--format", "csv")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert len(parsed(done.stdout, "csv")) == N


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_names_cannot_take_over_a_terminal(hostile: Path, form: str) -> None:
    shown = in_a_terminal("show", str(hostile), "--format", form, "--class", HOSTILE)
    assert "cat" in shown
    assert "\x1b[31m" not in shown
    assert "\x1b]0;" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown


def test_a_narrow_terminal_still_shows_which_items(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # how rich is told that it draws on a terminal
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["show", str(run), "--top", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for item in open_run(run).issues["item_id"].head(5):
        assert any(f" {item} " in line for line in lines)


def test_messages_cannot_take_over_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(tmp_path / HOSTILE)]) == 2
    assert "\x1b" not in capsys.readouterr().err


def in_a_terminal(*args: str) -> str:
    """Run the command with a terminal for its output."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "labelfix", *args]
    with subprocess.Popen(command, stdout=follower, stderr=follower) as process:
        watch = threading.Timer(120, process.kill)
        watch.start()
        os.close(follower)
        shown = b"".join(_chunks(leader))
        watch.cancel()
    assert process.returncode == 0, shown
    return shown.decode()


def _chunks(leader: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(leader, 65536):
            yield chunk
    except OSError:  # how Linux says that the other end is closed
        return
    finally:
        os.close(leader)


def test_bars_are_drawn_for_people_and_only_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from labelfix.cli import progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = [0.0]
    monkeypatch.setattr("labelfix.cli.progress.time.monotonic", lambda: now[0])
    for stream, quiet, later, drawn in (
        (Terminal(), False, 3.0, True),
        (Terminal(), False, 0.1, False),
        (Terminal(), True, 3.0, False),
        (io.StringIO(), False, 3.0, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        now[0] = 0.0
        with progress.Bars(quiet=quiet) as bars:
            now[0] = later
            bars("reading \x1b[31m[bold]", 1, 2)
            bars("reading \x1b[31m[bold]", 2, 2)
        assert ("reading" in stream.getvalue()) is drawn
        assert "\x1b[31m[bold]" not in stream.getvalue()


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"labelfix {__version__}\n"


def test_the_module_is_the_command() -> None:
    assert labelfix("--version").stdout == f"labelfix {__version__}\n"


def test_help_lists_every_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["find", "--help"]) == 0
    text = capsys.readouterr().out
    listed = (
        names.CLASSIFIERS,
        names.ENGINES,
        names.FEATURES,
        names.FORMATS,
        names.RULES,
        names.SCORES,
        names.BOX_KINDS,
        names.BOX_SCORES,
        tuple(Format),
    )
    assert [name for group in listed for name in group if name not in text] == []
    assert main(["show", "--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in (*names.KINDS, *names.BOX_KINDS) if name not in text] == []


def test_names_in_help_are_the_names_there_are() -> None:
    from labelfix.find import Engine
    from labelfix.find.boxes import SCORES as BOX_SCORES
    from labelfix.find.classes import SCORES
    from labelfix.formats import FORMATS
    from labelfix.predict.tabular import CLASSIFIERS
    from labelfix.score.combine import OtherLikelier
    from labelfix.score.selection import SELECTION_RULES

    assert names.FORMATS == FORMATS
    assert tuple(BOX_SCORES) == names.BOX_SCORES
    assert names.BOX_KINDS == BOX_KINDS
    assert set(names.CLASSIFIERS) == set(CLASSIFIERS)
    assert set(names.RULES) == {"default", OtherLikelier.name, *SELECTION_RULES}
    assert set(names.SCORES) == {"default", *SCORES}
    assert get_args(Engine) == names.ENGINES
    assert set(names.KINDS) == set(get_args(ClassKind))


def test_a_run_that_fails_says_what_was_warned_of_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{'ab'[n % 2]},{'xy'[n % 2]}\n" for n in range(20))
    (tmp_path / "t.csv").write_text("told,label\n" + rows)
    call = ["find", str(tmp_path / "t.csv"), "--out", str(tmp_path / "run")]
    assert main(call) == 2
    warned, _, error = capsys.readouterr().err.partition("Error: ")
    assert "Warning: " in warned
    assert "'told' says the same as the label" in warned
    assert "neither images nor feature columns" in error
    assert main([*call, "--quiet"]) == 2
    assert "Warning" not in capsys.readouterr().err


def test_an_id_taken_for_the_label_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{n % 7},key{n}\n" for n in range(30))
    (tmp_path / "t.csv").write_text("x,key\n" + rows)
    call = ["find", str(tmp_path / "t.csv"), "--label", "key", "--model", "knn"]
    assert main([*call, "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "found a label of its own for each item" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("end", [None, OSError, KeyboardInterrupt, ValueError])
def test_warnings_are_said_once_however_it_ends(
    end: type[BaseException] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(OSError, KeyboardInterrupt, ValueError), telling():
        warn_caller("few items")
        warn_caller("few items")
        if end is not None:
            raise end
    assert capsys.readouterr().err == "Warning: few items\n"


def test_warnings_of_others_come_out_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("theirs", RuntimeWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as told, telling():
        warn()
        warn()
    assert [str(one.message) for one in told] == ["theirs"]
    assert capsys.readouterr().err == ""


def test_nothing_but_errors_is_said_if_quiet_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings(record=True) as told, telling(quiet=True):
        warnings.simplefilter("always")
        warnings.warn("theirs", RuntimeWarning, stacklevel=1)
        warn_caller("few items")
    assert told == []
    assert capsys.readouterr().err == ""
