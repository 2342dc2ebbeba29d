"""The report on a whole loop: what it says is so, in HTML as in Markdown, whatever the names."""

from __future__ import annotations

import re
import shlex
import shutil
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from labelfix.cli import main
from labelfix.decisions import DecisionLog, Mark, State, decide, new_decision
from labelfix.errors import InputError, LabelfixWarning
from labelfix.evaluate.boximages import image_tables
from labelfix.evaluate.compare import LabelSets, compare_models
from labelfix.evaluate.sizes import Sizes
from labelfix.evaluate.tables import movement_table
from labelfix.report.document import plain
from labelfix.report.plots import size_chart
from labelfix.report.sizes import size_findings
from labelfix.review.queue import open_queue
from labelfix.review.reporting import ReportOptions, make_report
from labelfix.run import FindOptions, find, open_run
from labelfix.run.comparison import write_comparison
from labelfix.run.gain import GainOptions, evaluate, versions_of_run, write_measured
from labelfix.run.measured import read_measured
from labelfix.run.stages import stages
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conftest import Paint

    from labelfix.decisions import Action

NASTY = "<script>alert(1)<|script>`x`|*y*"
"""A class, as a folder can be called."""
OTHER = "[a](javascript:b)\n# c"
FILE = "<img src=x onerror=alert(1)>|`{}`.png"
REVIEWER = "<b>ann</b>|`z`"


def decide_all(path: Path, say: Mapping[str, Action], reviewer: str = "ann") -> None:
    """Decide every issue: as `say` does by kind, `keep` where it does not."""
    run = open_run(path)
    log = DecisionLog(path / "decisions.jsonl", run.info.dataset.fingerprint)
    common: dict[str, Any] = {
        "reviewer": reviewer,
        "fingerprint": run.info.dataset.fingerprint,
        "seconds": 2.5,
    }
    for issue in open_queue(run).table.iter_rows(named=True):
        action: Action = say.get(issue["kind"], "keep") if issue["flagged"] else "keep"
        log.append(decide(issue, action, **common))


class Page(HTMLParser):
    """What a browser makes of a page: its tags, attributes and cells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag in ("td", "th", "h1", "h2", "li"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open &= tag not in ("td", "th", "h1", "h2", "li")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


def rows(markdown: str) -> list[list[str]]:
    """Cells of all tables, as Markdown tells them apart."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="session")
def looped(tmp_path_factory: pytest.TempPathFactory, paint: Paint) -> Path:
    """A whole small loop on nastily named classes, files and people; the run is `run` in it."""
    folder = tmp_path_factory.mktemp("looped")
    for number, name in enumerate((NASTY, OTHER)):
        for one in range(20):
            true = 1 - number if one == 0 else number
            paint(folder / "images" / name / FILE.format(one), seed=100 * true + one % 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)
        options = FindOptions(
            path=str(folder / "images"), model="pixels+logistic", folds=2, duplicates=None
        )
        run = find(options, folder / "run", command=("labelfix", "find", FILE))
        decide_all(run.path, {"mislabeled": "accept"}, REVIEWER)
        measured = GainOptions(
            run=str(run.path),
            model="pixels+logistic",
            seeds=1,
            draws=20,
            parts=(1, 0, 1),
            duplicates=None,
        )
        evaluate(measured, run.path / "gain", command=("labelfix", "evaluate", "RUN"))
        stages(measured, (0.0, 0.5, 1.0), run.path / "stages")
    compare_some(run.path / "comparison", draws=20)
    return folder


def compare_some(out: Path, draws: int) -> Any:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    given = np.where(rng.random(90) < 0.2, (truth + 1) % 3, truth)
    answers = {
        f"<i>|{name}": np.where(rng.random(90) < share, truth, rng.integers(0, 3, 90))
        for name, share in (("1", 0.9), ("2", 0.7))
    }
    versions = {"original": LabelSets.of(given), "mine|<u>": LabelSets.of(truth)}
    found = compare_models(answers, versions, draws=draws)
    write_comparison(found, out, command=("labelfix", "compare"))
    return found


@pytest.fixture
def loop(looped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(looped / "run", tmp_path / "run")


def test_the_same_material_gives_the_same_bytes(loop: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_report(loop, tmp_path / name)
    again = contents(tmp_path / "a")
    assert again == contents(tmp_path / "b")
    make_report(loop, tmp_path / "a")
    assert contents(tmp_path / "a") == again


def test_the_page_needs_no_other_file_and_runs_nothing(loop: Path) -> None:
    page = Page(make_report(loop))
    assert not page.tags & {"script", "i", "b", "u", "iframe", "link", "a"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    addresses = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert addresses
    assert all(one.startswith("data:image/") for one in addresses)


def test_names_do_not_break_the_markdown(loop: Path) -> None:
    text = make_report(loop).with_name("report.md").read_text(encoding="utf-8")
    prose = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "<" not in prose
    assert not re.search(r"(?<!\\)`", prose)
    assert not re.search(r"(?<!\\)\]\(javascript", prose)
    assert "# c" not in text.splitlines()
    width = 0
    for line in text.splitlines():
        cells = len(re.split(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (width and cells) or cells == width, line
        width = cells
    assert plain(NASTY) in text
    assert plain(REVIEWER) in text


def test_both_pages_say_the_same(loop: Path) -> None:
    page = make_report(loop)
    text = page.with_name("report.md").read_text(encoding="utf-8")
    said = {cell for row in rows(text) for cell in row}
    said |= {line[2:] for line in text.splitlines() if line.startswith("- ")}
    said |= {line.lstrip("# ") for line in text.splitlines() if line.startswith("#")}
    cells = [" ".join(cell.split()) for cell in Page(page).cells]
    short = [cell for cell in cells if cell and "Place " not in cell and "Trained on" not in cell]
    assert len(short) > 50
    assert [cell for cell in short if plain(cell) not in said] == []


def test_every_picture_of_the_markdown_is_there_and_no_other(loop: Path) -> None:
    folder = make_report(loop).parent
    for cards in (24, 1):
        make_report(loop, options=ReportOptions(cards=cards))
        text = (folder / "report.md").read_text(encoding="utf-8")
        named = re.findall(r"\]\((pictures/[^)]+)\)", text)
        there = [one.relative_to(folder).as_posix() for one in (folder / "pictures").iterdir()]
        assert sorted(named) == sorted(there)
    assert len(named) <= 3 + 2  # the charts, and a card of either sort


def test_totals_are_those_of_the_log(loop: Path) -> None:
    run = open_run(loop)
    changed = int((run.issues["flagged"] & (run.issues["kind"] == "mislabeled")).sum())
    assert changed > 0
    found = rows(make_report(loop).with_name("report.md").read_text(encoding="utf-8"))
    assert ["class changed", str(changed)] in found
    assert [plain(REVIEWER), "40"] in found
    (line,) = [row for row in found if row[0] == "mislabeled" and len(row) == 6]
    assert line[3:] == [line[1], str(changed), "2.5"]
    pairs = [int(row[2]) for row in found if row[0] in (plain(NASTY), plain(OTHER)) and row[2:]]
    assert changed in (sum(pairs), sum(pairs[:2]))


def test_the_cells_of_the_gain_are_those_that_were_measured(loop: Path) -> None:
    cells = pl.read_csv(loop / "gain" / "cells.csv").filter(metric="accuracy")
    found = rows(make_report(loop).with_name("report.md").read_text(encoding="utf-8"))
    for train in ("original", "corrected"):
        (line,) = [row for row in found if row[0] == f"trained on {train} labels"]
        values = cells.filter(trained_on=train)["value"]
        assert [float(cell.split()[0]) for cell in line[1:]] == pytest.approx(
            [100 * value for value in values], abs=0.051
        )


def test_models_and_sizes_are_shown_beside_their_times(loop: Path) -> None:
    measured = read_measured(loop / "gain", "gain")
    key = [pl.lit("tiny|net").alias("model"), pl.lit(96).cast(pl.Int64).alias("size")]
    cells, effects = (measured.tables[name].select(*key, pl.all()) for name in ("cells", "effects"))
    time = {
        "trained_on": ["original", "corrected"],
        "ms": [8.0, 4.0],
        "ms_low": 3.0,
        "ms_high": 9.0,
    }
    times = pl.DataFrame(time).with_columns(images=5).select(*key, pl.all())
    details = {"seeds": 1, "level": 0.95, "tested": 9, "timed": 5, "processor": "x86"}
    sizes = Sizes(cells, effects, times, details)
    marks = sizes.marks()
    findings = tuple(size_findings(marks, details))
    pages = {"sizes.svg": size_chart(marks)}
    write_measured(sizes, loop / "sizes", "sizes.json", pages, GainOptions(), (), findings)
    page = make_report(loop)
    text = page.with_name("report.md").read_text(encoding="utf-8")
    section = text.partition("## Smaller and faster models")[2].partition("\n## ")[0]
    row = rows(section)[-1]
    assert row[:3] == ["tiny\\|net", "96", "6.0"]
    assert "tiny\\|net at 96 px is best" in section
    assert "pictures/" in section
    assert "Smaller and faster models" in page.read_text(encoding="utf-8")


def test_what_the_split_makes_of_the_movement_is_shown(loop: Path) -> None:
    one, own, last = np.array([[0.80, 0.81, 0.82], [0.80, 0.90, 0.70], [0.9, 0.95, 0.85]])
    movement_table(one, own, last, 0.95).write_csv(loop / "gain" / "movement.csv")
    page = make_report(loop)
    found = rows(page.with_name("report.md").read_text(encoding="utf-8"))
    row = next(row for row in found if row[0] == "original labels, other splits and seeds")
    assert row[1].startswith("10.0 (5.2 to ")
    assert row[2].startswith("99 (")
    assert "How much of the movement is the split" in page.read_text(encoding="utf-8")


def test_a_movement_of_an_earlier_version_is_shown_without_intervals(loop: Path) -> None:
    text = 'what,sd,split_share\n"other seeds",0.01,\n"other splits",0.1,0.99\n'
    (loop / "gain" / "movement.csv").write_text(text)
    found = rows(make_report(loop).with_name("report.md").read_text(encoding="utf-8"))
    assert ["other seeds", "1.0", ""] in found
    assert ["other splits", "10.0", "99"] in found


def test_a_gain_in_map_is_shown_as_far_as_it_goes(loop: Path) -> None:
    (loop / "gain" / "answers.csv").unlink()
    for name in ("cells", "effects"):
        path = loop / "gain" / f"{name}.csv"
        table = pl.read_csv(path)
        known = pl.col("metric") == "accuracy"  # no box of that size: no number
        values = [pl.when(known).then(pl.col(one)).alias(one) for one in ("value", "low", "high")]
        names = pl.col("metric").replace({"accuracy": "mAP", "balanced_accuracy": "AP75"})
        table.with_columns(*values, names).write_csv(path)
    text = make_report(loop).with_name("report.md").read_text(encoding="utf-8")
    assert "Where the two models differ" not in text
    assert re.search(r"- mAP: [\d.]+ → [\d.]+ ", text)
    assert ["AP75", "", "", "", "", ""] in rows(text)


def test_items_on_which_the_models_differ_are_shown_surest_first(loop: Path) -> None:
    answers = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "original_label": ["007", "1", "1"],
            "corrected_label": ["1", None, "1"],
            "trained_on_original": ["007", "1", "1"],
            "share_original": [0.6, 1.0, 1.0],
            "trained_on_corrected": ["1", "007", "1"],
            "share_corrected": [0.8, 1.0, 1.0],
        }
    )
    answers.write_csv(loop / "gain" / "answers.csv")
    text = make_report(loop).with_name("report.md").read_text(encoding="utf-8")
    section = text.partition("## Where the two models differ")[2].partition("\n## ")[0]
    assert "answer 2 of 3 test items differently" in section
    assert "the second is right in 1 of these, the first in 0" in section
    listed = rows(section)[2:]
    assert [row[-1] for row in listed] == ["b", "a"]
    assert listed[0][0] == "1 → **removed**"
    assert listed[1][0] == "007 → **1**"
    assert "Trained on original labels: 007 (60% of seeds)" in listed[1][1]


def test_what_was_not_done_is_said_with_the_command_that_does_it(class_run: Path) -> None:
    text = make_report(class_run).with_name("report.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("labelfix ")]
    assert [words[1] for words in commands] == [
        "review",
        "review",
        "evaluate",
        "evaluate",
        "stages",
        "compare",
    ]
    assert all(str(class_run) in " ".join(words) for words in commands)


def test_without_images_there_is_a_report_without_pictures(class_run: Path) -> None:
    decide_all(class_run, {"mislabeled": "accept"})
    images = open_run(class_run).info.dataset.root
    assert images is not None
    info = (class_run / "run.json").read_text()
    (class_run / "run.json").write_text(info.replace(images, images + "-gone"))
    page = make_report(class_run)
    assert "No picture is shown" in page.read_text(encoding="utf-8")
    assert not list((page.parent / "pictures").iterdir())
    make_report(class_run, options=ReportOptions(root=Path(images)))
    assert "No picture is shown" not in page.read_text(encoding="utf-8")
    assert list((page.parent / "pictures").iterdir())
    with pytest.raises(InputError, match="no such folder"):
        make_report(class_run, options=ReportOptions(root=Path(images + "-gone")))


def test_boxes_are_shown_before_and_after(box_run: Path) -> None:
    decide_all(box_run, {"wrong_class": "accept", "spurious": "accept", "missing": "accept"})
    folder = make_report(box_run).parent
    found = rows((folder / "report.md").read_text(encoding="utf-8"))
    for action in ("class changed", "box added", "deleted"):
        assert [action, "1"] in found
    pictures = {row[2]: row[0] for row in found if len(row) == 4 and row[0].startswith("![")}
    assert set(pictures) == {"class changed", "box added", "deleted"}
    expected = {
        "class changed": (True, True),
        "box added": (False, True),
        "deleted": (True, False),
    }
    for action, picture in pictures.items():
        path = folder / picture.partition("](")[2].rstrip(")")
        before, after = list(ET.fromstring(path.read_bytes()))[1:]
        assert (_is_drawn(before), _is_drawn(after)) == expected[action]


def _is_drawn(panel: ET.Element) -> bool:
    """Whether a panel shows the box that it is about, and not only others."""
    lines = [one for one in panel.iter("{http://www.w3.org/2000/svg}rect") if one.get("stroke")]
    return any(one.get("stroke-width") == "3.5" and one.get("stroke") != "#fff" for one in lines)


SVG = "{http://www.w3.org/2000/svg}"


def gain_of_boxes(run: Path) -> None:
    """Write what two detectors see: the first calls a cup something else, the second is right."""
    original, corrected = versions_of_run(open_run(run))
    item = original.items["item_id"][1]
    there = corrected.annotations.filter(item_id=item).head(1)
    seen = there.select("item_id", *BOX).with_columns(score=pl.lit(0.9))
    found = {
        "original": [
            seen.with_columns(label=pl.lit("dish" if there["label"][0] == "cup" else "cup"))
        ],
        "corrected": [seen.with_columns(label=pl.lit(there["label"][0]))],
    }
    tested = pl.Series(original.items["item_id"] == item).to_numpy()[None]
    images, detections = image_tables(corrected, found, tested)
    folder = run / "gain"
    for name, table in {"images": images, "detections": detections}.items():
        table.write_csv(folder / f"{name}.csv")


def test_images_that_two_detectors_read_differently_are_shown_side_by_side(
    box_run: Path, loop: Path
) -> None:
    decide_all(box_run, {"wrong_class": "accept"})
    shutil.copytree(loop / "gain", box_run / "gain")
    (box_run / "gain" / "answers.csv").unlink()
    gain_of_boxes(box_run)
    page = make_report(box_run)
    text = page.with_name("report.md").read_text(encoding="utf-8")
    section = text.partition("## Where the two detectors differ")[2].partition("\n## ")[0]
    assert "reads 1 of 1 test image better" in section
    row = rows(section)[-1]
    assert row[1].startswith("F1 0.00 → **F1 ")
    assert (
        "Trained on original boxes: 0 right, 1 wrong; Trained on corrected boxes: 1 right" in row[2]
    )
    path = page.parent / row[0].partition("](")[2].rstrip(")")
    before, after = list(ET.fromstring(path.read_bytes()))[1:]
    dashed = [
        [one.get("stroke-dasharray") for one in side.iter(f"{SVG}rect")] for side in (before, after)
    ]
    assert [any(side) for side in dashed] == [True, False]
    words = [[one.text for one in side.iter(f"{SVG}text")] for side in (before, after)]
    assert words[1] == ["trained on corrected"]
    assert words[0][-1] == "trained on original"
    assert len(words[0]) == 2
    assert "Where the two detectors differ" in page.read_text(encoding="utf-8")


def test_detectors_that_see_nothing_at_first_are_shown_too(box_run: Path, loop: Path) -> None:
    """The boxes are those of the first seed, the F1 that of all."""
    decide_all(box_run, {"wrong_class": "accept"})
    shutil.copytree(loop / "gain", box_run / "gain")
    gain_of_boxes(box_run)
    path = box_run / "gain" / "detections.csv"
    pl.read_csv(path).filter(source="corrected_labels").write_csv(path)
    text = make_report(box_run).with_name("report.md").read_text(encoding="utf-8")
    assert "Trained on original boxes: 0 right, 0 wrong" in text


def test_a_box_that_is_moved_and_renamed_is_one_card(box_run: Path) -> None:
    run = open_run(box_run)
    log = DecisionLog(box_run / "decisions.jsonl", run.info.dataset.fingerprint)
    first = run.annotations.row(0, named=True)
    names = {"item_id": first["item_id"], "annotation_id": first["annotation_id"]}
    common: dict[str, Any] = {
        "reviewer": "ann",
        "fingerprint": run.info.dataset.fingerprint,
        "before": State(first["label"], (60, 80, 210, 200)),
    }
    log.append(new_decision("set_label", after=State("dish"), **names, **common))
    log.append(new_decision("set_box", after=State(box=(10, 20, 300, 200)), **names, **common))
    found = rows(make_report(box_run).with_name("report.md").read_text(encoding="utf-8"))
    cards = [row for row in found if row[0].startswith("![")]
    assert [row[1:3] for row in cards] == [["cup → **dish**", "class changed, box moved"]]


def test_what_reviewers_disagree_on_waits_for_a_word(class_run: Path) -> None:
    run = open_run(class_run)
    log = DecisionLog(class_run / "decisions.jsonl", run.info.dataset.fingerprint)
    issue = open_queue(run).table.row(0, named=True)
    data = run.info.dataset.fingerprint
    log.append(decide(issue, "accept", reviewer="ann", fingerprint=data))
    log.append(decide(issue, "keep", reviewer="bob", fingerprint=data))
    page = make_report(class_run).with_name("report.md")
    assert "on 1 more the reviewers disagree" in page.read_text(encoding="utf-8")
    assert ["class changed", "1"] not in rows(page.read_text(encoding="utf-8"))
    make_report(class_run, options=ReportOptions(prefer=("ann",)))
    assert "disagree, and" not in page.read_text(encoding="utf-8")
    assert ["class changed", "1"] in rows(page.read_text(encoding="utf-8"))


def test_marks_are_corrections_too(class_run: Path) -> None:
    run = open_run(class_run)
    log = DecisionLog(class_run / "decisions.jsonl", run.info.dataset.fingerprint)
    table = open_queue(run).table
    said = (Mark("none_of_the_classes"), Mark("multi_label", ("red", "blue")))
    for row, mark in enumerate(said):
        issue, data = table.row(row, named=True), run.info.dataset.fingerprint
        log.append(decide(issue, "mark", mark=mark, reviewer="ann", fingerprint=data))
    text = make_report(class_run).with_name("report.md").read_text(encoding="utf-8")
    assert ["marked: none of the classes", "1"] in rows(text)
    assert "→ **none of the classes**" in text
    assert "→ **red + blue**" in text


def test_what_is_to_go_is_shown_as_well(class_run: Path) -> None:
    run = open_run(class_run)
    log = DecisionLog(class_run / "decisions.jsonl", run.info.dataset.fingerprint)
    issue, data = open_queue(run).table.row(0, named=True), run.info.dataset.fingerprint
    log.append(decide(issue, "delete", reviewer="ann", fingerprint=data))
    text = make_report(class_run).with_name("report.md").read_text(encoding="utf-8")
    assert ["deleted", "1"] in rows(text)
    assert f"{issue['given_label']} → **deleted**" in text


def test_a_table_has_a_report_as_well(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(0, 2, 40)
    wrong = np.where(np.arange(40) < 2, 1 - code, code)
    table = pl.DataFrame({"id": range(40), "x": code + rng.normal(0, 0.1, 40), "label": wrong})
    table.write_csv(tmp_path / "t.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)
        find(FindOptions(path=str(tmp_path / "t.csv"), model="knn", folds=2), tmp_path / "run")
    decide_all(tmp_path / "run", {"mislabeled": "accept"})
    page = make_report(tmp_path / "run")
    assert "Items" in page.read_text(encoding="utf-8")
    assert ["class changed", "2"] in rows(page.with_name("report.md").read_text(encoding="utf-8"))


def test_a_gain_that_decisions_overtook_is_called_old(loop: Path) -> None:
    assert "evaluate again" not in make_report(loop).read_text(encoding="utf-8")
    run = open_run(loop)
    log = DecisionLog(loop / "decisions.jsonl", run.info.dataset.fingerprint)
    issue, data = open_queue(run).table.row(-1, named=True), run.info.dataset.fingerprint
    mark = Mark("none_of_the_classes")
    log.append(decide(issue, "mark", mark=mark, reviewer=REVIEWER, fingerprint=data))
    assert "evaluate again" in make_report(loop).read_text(encoding="utf-8")


@pytest.mark.parametrize("draws", [0, 20])
def test_tables_come_back_as_they_were_written(tmp_path: Path, draws: int) -> None:
    found = compare_some(tmp_path / "out", draws)
    again = read_measured(tmp_path / "out", "comparison")
    for name, table in found.tables().items():
        assert_frame_equal(again.tables[name], table, check_dtypes=False)


def test_a_comparison_without_intervals_is_shown_without(loop: Path, tmp_path: Path) -> None:
    compare_some(tmp_path / "out", 0)
    options = ReportOptions(comparison=tmp_path / "out")
    text = make_report(loop, options=options).with_name("report.md").read_text(encoding="utf-8")
    section = text.partition("## Models under")[2].partition("\n## ")[0]
    (line, *_) = [row for row in rows(section) if row[0] == plain("<i>|1")]
    assert all(re.fullmatch(r"\d+\.\d\d", cell) for cell in line[1:])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda gain: (gain / "gain.json").unlink(), "no gain.json"),
        (lambda gain: (gain / "gain.json").write_text("{"), "damaged"),
        (lambda gain: (gain / "cells.csv").unlink(), "damaged"),
        (
            lambda gain: (gain / "gain.json").write_text(
                (gain / "gain.json")
                .read_text()
                .replace('"schema_version": 1', '"schema_version": 9')
            ),
            "files of version 9",
        ),
    ],
)
def test_a_folder_that_holds_no_result_is_refused(
    loop: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(loop / "gain")
    with pytest.raises(InputError, match=said):
        make_report(loop, options=ReportOptions(gain=loop / "gain"))


def test_a_folder_of_other_files_is_left_alone(class_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other files"):
        make_report(class_run, tmp_path / "mine")
    assert [one.name for one in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_the_command_writes_both(
    class_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["report", str(class_run), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert str(out / "report.html") in said
    assert str(out / "report.md") in said
    assert main(["report", str(class_run), "--gain", str(tmp_path / "none")]) == 2
