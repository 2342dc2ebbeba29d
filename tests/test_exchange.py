"""The queue goes out to other tools and comes back as decisions; what is hostile stays outside."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix import cli
from labelfix.decisions import Decision, DecisionLog, Replay, corrections, issue_ids, new_decision
from labelfix.exchange import Answer, Region, decisions_from, read_answers, tasks_of, write_tasks
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOOLS = {"cvat": "q.xml", "label-studio": "q.json", "coco": "q.json"}
CLASSES = ("cat", "dog", 'a "b" <&> ü')


def boxes(*rows: tuple[str, str, str, tuple[float, ...]]) -> pl.DataFrame:
    """Annotations: id, item, label, corners."""
    return pl.DataFrame(
        [(key, item, label, *map(float, box)) for key, item, label, box in rows],
        schema={
            "annotation_id": pl.String,
            "item_id": pl.String,
            "label": pl.String,
            **dict.fromkeys(BOX, pl.Float64),
        },
        orient="row",
    )


ITEMS = pl.DataFrame(
    {
        "item_id": ["im/a.png", "im/b.png", "im/empty ü.png"],
        "path": ["im/a.png", "im/b.png", "im/empty ü.png"],
        "width": [64, 99, 64],
        "height": [48, 77, 48],
    }
)
GIVEN = boxes(
    ("7", "im/a.png", "cat", (1, 2, 20.125, 30)),
    ("8", "im/a.png", "dog", (30, 2, 50, 30)),
    ("9", "im/b.png", 'a "b" <&> ü', (1 / 3, 2 / 3, 70.5, 60)),
)


def issue(
    kind: str, item: str, key: str | None, label: str | None, box: Any = None
) -> dict[str, Any]:
    corners = box or (None,) * 4
    suggested = {f"suggested_{edge}": one for edge, one in zip(BOX, corners, strict=True)}
    return {
        "item_id": item,
        "annotation_id": key,
        "kind": kind,
        "given_label": None,
        "suggested_label": label,
        **suggested,
    }


SUGGESTED: dict[str, Any] = {f"suggested_{edge}": pl.Float64 for edge in BOX}


def queue(*rows: dict[str, Any]) -> pl.DataFrame:
    table = pl.DataFrame(
        list(rows),
        schema_overrides={**SUGGESTED, "annotation_id": pl.String, "suggested_label": pl.String},
    )
    return table.with_columns(issue_ids(table))


QUEUE = queue(
    issue("wrong_class", "im/a.png", "7", "dog"),
    issue("spurious", "im/a.png", "8", None),
    issue("missing", "im/b.png", None, "cat", (5.0, 6.0, 7.5, 9.25)),
    issue("missing", "im/empty ü.png", None, "dog", (1.0, 1.0, 9.0, 9.0)),
)


def decide(
    answers: Sequence[Answer],
    replay: Replay | None = None,
    annotations: pl.DataFrame = GIVEN,
    issues: pl.DataFrame = QUEUE,
    shown: set[str] | None = None,
) -> list[Decision]:
    return decisions_from(
        answers,
        items=ITEMS,
        annotations=annotations,
        issues=issues,
        class_names=CLASSES,
        shown=set(issues["issue"]) if shown is None else shown,
        replay=replay or Replay(),
        reviewer="ann",
        fingerprint="f",
        same_box=0.5,
        tolerance=0.02,
    )


def said(decisions: Sequence[Decision]) -> list[tuple[str, str | None]]:
    return [(one.action, one.annotation_id) for one in decisions]


def exported(folder: Path, tool: str, **options: Any) -> Path:
    path = folder / TOOLS[tool]
    tasks = tasks_of(ITEMS, options.get("annotations", GIVEN), options.get("issues", QUEUE))
    write_tasks(path, tool, tasks, class_names=CLASSES, issues=QUEUE, root=None)
    if tool == "label-studio":
        submit(path)
    return path


def submit(path: Path, change: Callable[[list[dict[str, Any]]], Any] = lambda _: None) -> None:
    """What Label Studio makes of a task when a person submits the suggestions as they are.

    The members are those of an export of version 1.23.
    """
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks):
        suggested = task["predictions"][0] | {"id": 22, "score": None, "task": number + 1}
        result = [one | {"origin": "prediction"} for one in suggested["result"]]
        task |= {"id": number + 1, "inner_id": number + 1, "drafts": [], "predictions": [22]}
        task |= {"meta": {}, "project": 2, "total_annotations": 1, "comment_authors": []}
        task["annotations"] = [
            {
                "id": 5,
                "completed_by": 1,
                "was_cancelled": False,
                "ground_truth": False,
                "lead_time": 4.2,
                "prediction": suggested,
                "parent_prediction": 22,
                "result_count": len(result),
                "result": result,
            }
        ]
        change(result)
    path.write_text(json.dumps(tasks))


def problems(call: Callable[[], Any]) -> str:
    with pytest.raises(labelfix.InputError) as caught:
        call()
    return str(caught.value)


# ---------------------------------------------------------------- round trips


def test_what_is_not_flagged_goes_out_as_it_was_given(tmp_path: Path) -> None:
    flagged = QUEUE.with_columns(flagged=pl.Series([False, True, False, True]))
    (a, b, empty) = tasks_of(ITEMS, GIVEN, flagged)
    assert [(one.label, one.key, one.note) for one in a.regions] == [
        ("cat", "7", ""),
        ("dog", "8", "spurious"),
    ]
    assert [one.key for one in b.regions] == ["9"]
    assert [one.label for one in empty.regions] == ["dog"]
    path = exported(tmp_path, "cvat", issues=flagged)
    decisions = decide(read_answers(path), issues=flagged)
    assert [(one.action, one.kind) for one in decisions] == [
        ("keep", "wrong_class"),
        ("keep", "spurious"),
        ("accept", "missing"),  # the other one was not there to be judged: it stays undecided
    ]


@pytest.mark.parametrize("tool", TOOLS)
def test_suggestions_that_come_back_untouched_are_accepted(tool: str, tmp_path: Path) -> None:
    decisions = decide(read_answers(exported(tmp_path, tool)))
    assert sorted(said(decisions), key=str) == [
        ("accept", None),
        ("accept", None),
        ("keep", "8"),
        ("set_label", "7"),
    ]
    assert {one.source for one in decisions} == {"import"}
    added = [one.after for one in decisions if one.annotation_id is None]
    assert {one.label for one in added if one} == {"cat", "dog"}


@pytest.mark.parametrize("tool", TOOLS)
def test_importing_twice_adds_nothing(tool: str, tmp_path: Path) -> None:
    answers = read_answers(exported(tmp_path, tool))
    replay = Replay()
    assert not any(replay.extend(decide(answers)))
    assert decide(answers, replay) == []


@pytest.mark.parametrize("tool", TOOLS)
def test_images_without_boxes_are_kept(tool: str, tmp_path: Path) -> None:
    issues = queue(issue("wrong_class", "im/empty ü.png", "5", "dog"))
    given = boxes(("5", "im/empty ü.png", "cat", (1, 1, 9, 9)))
    none = tasks_of(ITEMS, given, issues)
    write_tasks(
        tmp_path / TOOLS[tool],
        tool,
        [type(none[0])("im/empty ü.png", "im/empty ü.png", 64, 48, (), ()), *none][
            : 2 if tool == "coco" else 1
        ],
        class_names=CLASSES,
        issues=issues,
        root=None,
    )
    if tool == "label-studio":
        submit(tmp_path / TOOLS[tool])
    answers = read_answers(tmp_path / TOOLS[tool])[:1]
    assert [(one.name, one.regions) for one in answers] == [("im/empty ü.png", ())]
    assert said(decide(answers, annotations=given, issues=issues)) == [("delete", "5")]


CORNER = st.floats(0, 60).map(lambda x: round(x, 3))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(CLASSES), CORNER, CORNER, st.floats(0.5, 30), st.floats(0.5, 30)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(list(TOOLS)),
)
def test_boxes_and_ids_survive_the_way_there_and_back(rows: list[Any], tool: str) -> None:
    given = boxes(
        *(
            (str(n), "im/a.png", label, (x, y, x + w, y + h))
            for n, (label, x, y, w, h) in enumerate(rows)
        )
    )
    with TemporaryDirectory() as name:
        issues = queue(issue("spurious", "im/a.png", "0", None))
        (answer,) = read_answers(exported(Path(name), tool, annotations=given, issues=issues))
    assert [region.key for region in answer.regions] == given["annotation_id"].to_list()
    for region, row in zip(answer.regions, given.iter_rows(named=True), strict=True):
        assert region.label == row["label"]
        assert region.box == pytest.approx([row[edge] for edge in BOX], abs=1e-9)
    assert said(decide([answer], annotations=given, issues=issues)) == [("keep", "0")]


@pytest.mark.parametrize("tool", ["cvat", "label-studio"])
def test_class_labels_go_and_come(tool: str, tmp_path: Path) -> None:
    given = pl.DataFrame(
        {"annotation_id": ITEMS["item_id"], "item_id": ITEMS["item_id"], "label": ["cat"] * 3}
    )
    issues = queue(
        issue("mislabeled", "im/a.png", "im/a.png", "dog"),
        issue("multi_label", "im/b.png", "im/b.png", "dog"),
        issue("none_of_the_classes", "im/empty ü.png", "im/empty ü.png", None),
    )
    answers = read_answers(exported(tmp_path, tool, annotations=given, issues=issues))
    decisions = decide(answers, annotations=given, issues=issues)
    assert said(decisions) == [
        ("set_label", "im/a.png"),
        ("mark", "im/b.png"),
        ("mark", "im/empty ü.png"),
    ]
    marks = [one.mark for one in decisions if one.mark]
    assert [mark.kind for mark in marks] == ["multi_label", "none_of_the_classes"]
    assert marks[0].labels == ("cat", "dog")
    kept = [Answer("im/a.png", (Region("cat"),))]
    assert said(decide(kept, annotations=given, issues=issues)) == [("keep", "im/a.png")]


def test_decisions_become_corrections() -> None:
    answer = Answer(
        "im/a.png",
        (
            Region("cat", (1, 2, 20.13, 30), "7"),
            Region("cat", (31, 2, 50, 30), "8"),
            Region("dog", (0, 0, 5, 5)),
        ),
    )
    replay = Replay()
    assert not any(replay.extend(decide([answer])))
    table = corrections(replay, GIVEN).table
    assert table.select("action", "annotation_id", "label", "x1").rows() == [
        ("set_label", "8", "cat", None),
        ("set_box", "8", None, 31),
        ("add_box", None, "dog", 0),
    ]


def answered(*regions: Region) -> list[Answer]:
    return [Answer("im/a.png", regions)]


SAME = Region("cat", (1, 2, 20.125, 30), "7"), Region("dog", (30, 2, 50, 30), "8")


def test_new_boxes_that_come_again_are_added_once() -> None:
    replay = Replay()
    new = Region("dog", (0, 0, 5, 5), "of the tool")
    twice = answered(*SAME, new, new)
    assert not any(replay.extend(decide(twice, replay)))
    assert said(replay.decisions).count(("add_box", None)) == 2
    assert decide(twice, replay) == []
    undo = new_decision("undo", reviewer="ann", fingerprint="f", target=replay.decisions[-1].id)
    replay.extend([undo])
    (again,) = decide(twice, replay)
    assert again.action == "add_box"
    assert not any(replay.extend([again]))


def test_a_copy_of_a_proposed_box_is_a_new_box_and_added_once() -> None:
    replay = Replay()
    proposed = Region("cat", (5.0, 6.0, 7.5, 9.25), f"issue-{QUEUE['issue'][2]}")
    copy = replace(proposed, box=(20, 20, 30, 30))  # tools copy attributes too
    given = Region('a "b" <&> ü', (1 / 3, 2 / 3, 70.5, 60), "9")
    answers = [Answer("im/b.png", (given, proposed, copy))]
    replay.extend(decide(answers, replay))
    assert said(replay.decisions) == [("accept", None), ("add_box", None)]
    assert decide(answers, replay) == []


@pytest.mark.parametrize(
    ("box", "action"), [((5, 6, 7.5, 9.25), "accept"), ((5, 6, 8, 9), "add_box")]
)
def test_a_proposed_box_that_lost_its_id_is_no_rejected_one(box: Any, action: str) -> None:
    replay = Replay()
    given = Region('a "b" <&> ü', (1 / 3, 2 / 3, 70.5, 60))
    answers = [Answer("im/b.png", (given, Region("cat", box)))]
    replay.extend(decide(answers, replay))
    assert said(replay.decisions) == [(action, None)]
    assert replay.decisions[0].issue == QUEUE["issue"][2]
    assert decide(answers, replay) == []


def test_who_was_one_of_several_is_the_same_person_alone() -> None:
    replay = Replay()
    mine = replace(answered(*SAME, Region("dog", (0, 0, 5, 5)))[0], by="1")
    replay.extend(decide([mine, Answer("im/b.png", (), by="2")], replay))
    assert set(replay.reviewers) == {"ann/1", "ann/2"}
    assert decide([mine], replay) == []


def test_who_came_alone_first_stays_apart_from_who_comes_later() -> None:
    replay = Replay()
    mine = replace(answered(*SAME, Region("dog", (0, 0, 5, 5)))[0], by="1")
    theirs = replace(answered(*SAME)[0], by="2")
    replay.extend(decide([mine], replay))
    assert set(replay.reviewers) == {"ann"}
    assert decide([mine], replay) == []
    replay.extend(decide([theirs], replay))  # takes nothing of the first one back
    assert set(replay.reviewers) == {"ann", "ann/2"}
    assert decide([mine, theirs], replay) == decide([theirs], replay) == []
    assert [one.action for one in replay.decisions if one.after] == ["add_box"]


def test_a_later_file_says_how_it_is_now() -> None:
    replay = Replay()

    def import_(*regions: Region) -> tuple[list[str], list[tuple[Any, ...]]]:
        decisions = decide(answered(*regions), replay)
        assert not any(replay.extend(decisions))
        assert decide(answered(*regions), replay) == []
        table = corrections(replay, GIVEN).table
        changed = table.select("action", "annotation_id", "label", "x1").rows()
        return [one.action for one in decisions], changed

    new, other = Region("dog", (0, 30, 10, 40)), Region("dog", (52, 0, 60, 9))
    moved = Region("cat", (3, 2, 22, 30), "7")
    assert import_(moved, new, other)[1] == [
        ("set_box", "7", None, 3),
        ("delete", "8", None, None),
        ("add_box", None, "dog", 0),
        ("add_box", None, "dog", 52),
    ]
    shifted = Region("cat", (1, 30, 11, 40))  # the new box, and no other than that
    assert import_(replace(moved, label="dog"), SAME[1], shifted) == (
        ["set_label", "keep", "set_label", "set_box", "delete"],
        [
            ("set_label", "7", "dog", None),
            ("set_box", "7", None, 3),
            ("add_box", None, "cat", 1),
        ],
    )
    assert import_(*SAME) == (["keep", "delete"], [])
    assert import_(*SAME, other)[1] == [("add_box", None, "dog", 52)]


def test_a_later_file_takes_class_labels_back() -> None:
    given = pl.DataFrame({"annotation_id": ["im/a.png"], "item_id": ["im/a.png"], "label": ["cat"]})
    replay = Replay()
    for label, expected in {"dog": ["dog"], "cat": []}.items():
        answers = [Answer("im/a.png", (Region(label),))]
        replay.extend(decide(answers, replay, annotations=given, shown=set()))
        assert corrections(replay, given).table["label"].to_list() == expected


# ---------------------------------------------------------------- what tools make of it


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><id>1</id><size>2</size><mode>annotation</mode></job><dumped>2024-01-01</dumped></meta>
  <image id="0" name="a.png" width="64" height="48">
    <box label="cat" source="manual" occluded="0" xtl="1.00" ytl="2.00" xbr="20.13" ybr="30.00"
      z_order="0">
    </box>
    <box label="dog" source="manual" occluded="0" xtl="33.00" ytl="2.00" xbr="50.00" ybr="30.00"
      z_order="0"/>
  </image>
  <image id="1" name="b.png" width="99" height="77">
  </image>
</annotations>
"""


def test_cvat_that_lost_the_ids_is_matched_by_overlap(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(CVAT)
    decisions = decide(read_answers(tmp_path / "a.xml"))
    assert sorted(said(decisions), key=str) == [
        ("delete", "9"),
        ("keep", "7"),
        ("keep", None),
        ("set_box", "8"),
    ]


def test_cvat_exports_of_a_whole_project_are_read(tmp_path: Path) -> None:
    """As CVAT 2 writes them: with subsets, and labels that say which shape they are."""
    label = "<label><name>cat</name><color>#fa32b7</color><type>rectangle</type></label>"
    meta = f"<project><id>1</id><subsets>Test\nTrain</subsets><labels>{label}</labels></project>"
    text = re.sub("<job>.*</job>", meta, CVAT)
    text = re.sub('(name="[ab].png")', r'\1 subset="Train" task_id="593280"', text)
    (tmp_path / "a.xml").write_text(text)
    (tmp_path / "b.xml").write_text(CVAT)
    assert read_answers(tmp_path / "a.xml") == read_answers(tmp_path / "b.xml")


def test_cvat_archives_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", CVAT)
    assert len(read_answers(tmp_path / "task.zip")) == 2
    (tmp_path / "bad.zip").write_bytes(b"PK")
    assert "annotations.xml" in problems(lambda: read_answers(tmp_path / "bad.zip"))


@pytest.mark.parametrize("packed", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_broken_and_locked_archives_are_refused(packed: int, tmp_path: Path) -> None:
    path = tmp_path / "task.zip"
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr("annotations.xml", CVAT)
    assert len(read_answers(path)) == 2
    whole = path.read_bytes()
    entry = whole.index(b"PK\x01\x02")
    places = {60: 0x41, entry + 8: 1, entry + 10: 0x41}  # content, lock, way of packing
    for place, bits in places.items():
        broken = bytearray(whole)
        broken[place] ^= bits
        path.write_bytes(broken)
        assert "can be read" in problems(lambda: read_answers(path))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('z_order="0"/>', 'z_order="0" rotation="12.5"/>', "rotated by 12.5"),
        ('xtl="33.00"', 'xtl="NaN"', "finite"),
        ('xtl="33.00"', "", "without numbers"),
        (
            "</image>\n</ann",
            '<polygon label="cat" points="1,2;3,4;5,6"/></image>\n</ann',
            "polygon",
        ),
        ("<meta>", '<track id="0" label="cat"/><meta>', "track"),
        ("<annotations>", '<!DOCTYPE x [<!ENTITY a "b">]><annotations>', "document type"),
        ("</annotations>", "", "broken XML"),
        ("annotations>", "data>", "not <annotations>"),
    ],
)
def test_cvat_that_cannot_be_used_is_refused(
    old: str, new: str, found: str, tmp_path: Path
) -> None:
    (tmp_path / "a.xml").write_text(CVAT.replace(old, new))
    assert found in problems(lambda: read_answers(tmp_path / "a.xml"))


def test_shapes_that_are_no_boxes_are_all_named_with_what_to_do(tmp_path: Path) -> None:
    """As servers write jobs of several kinds of shapes, on Windows too."""
    shape = '<points label="cat" source="manual" occluded="0" points="9.05,8.70" z_order="0">'
    text = CVAT.replace("</image>", f"  {shape}\n    </points>\n  </image>")
    (tmp_path / "a.xml").write_bytes(text.replace("\n", "\r\n").encode())
    lines = problems(lambda: read_answers(tmp_path / "a.xml")).splitlines()
    assert [re.findall(r"[ab]\.png:\d+", line) for line in lines[1:]] == [
        [f"{name}:{line}"]
        for line, name in zip(
            [n for n, one in enumerate(text.splitlines(), 1) if "<points" in one],
            ["a.png", "b.png"],
            strict=True,
        )
    ]
    assert all("mend it in CVAT, or delete it there" in line for line in lines[1:])


def test_label_studio_boxes_are_percent_of_the_image(tmp_path: Path) -> None:
    path = exported(tmp_path, "label-studio")
    value = json.loads(path.read_text())[1]["annotations"][0]["result"][0]["value"]
    assert value["x"] == pytest.approx(100 / 3 / 99)
    assert value["height"] == pytest.approx(100 * (60 - 2 / 3) / 77)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda result: result[0]["value"].update(rotation=30), "rotated by 30"),
        (lambda result: result[0].update(image_rotation=90), "rotated by 90"),
        (lambda result: result[0].update(type="polygonlabels"), "polygonlabels"),
        (lambda result: result[0]["value"].pop("x"), "without numbers"),
        (lambda result: result[0]["value"].update(rectanglelabels=["a", "b"]), "2 labels"),
    ],
)
def test_label_studio_that_cannot_be_used_is_refused(
    change: Any, found: str, tmp_path: Path
) -> None:
    path = exported(tmp_path, "cvat").with_suffix(".json")
    tasks = tasks_of(ITEMS, GIVEN, QUEUE)
    write_tasks(path, "label-studio", tasks, class_names=CLASSES, issues=QUEUE, root=None)
    submit(path, change)
    assert found in problems(lambda: read_answers(path))


def test_only_submitted_label_studio_tasks_count(tmp_path: Path) -> None:
    path = exported(tmp_path, "label-studio")
    tasks = json.loads(path.read_text())
    tasks[0]["annotations"][0]["was_cancelled"] = True
    tasks[1]["annotations"] = []
    path.write_text(json.dumps(tasks))
    assert [answer.name for answer in read_answers(path)] == ["im/empty ü.png"]


def test_each_person_in_a_label_studio_file_decides_in_their_own_name(tmp_path: Path) -> None:
    path = exported(tmp_path, "label-studio")
    tasks = json.loads(path.read_text())
    first = tasks[0]["annotations"][0]
    corrected = first | {"result": first["result"][1:]}
    someone = {"id": 2, "email": "bob@example.org"}
    tasks[0]["annotations"] += [first | {"completed_by": someone, "result": []}]
    tasks[0]["annotations"] += [corrected | {"completed_by": someone}]  # the last one counts
    path.write_text(json.dumps(tasks))
    answers = read_answers(path)
    decisions = decide(answers)
    of_bob = [one for one in decisions if one.reviewer == "ann/bob@example.org"]
    assert said(of_bob) == [("delete", "7"), ("keep", "8")]
    assert {one.reviewer for one in decisions} == {"ann/1", "ann/bob@example.org"}
    replay = Replay()
    assert not any(replay.extend(decisions))
    assert [conflict.subject for conflict in replay.conflicts()] == ["7"]
    assert decide(answers, replay) == []


def test_a_name_with_half_a_character_can_be_written_to_the_log(tmp_path: Path) -> None:
    path = exported(tmp_path, "label-studio")
    path.write_text(path.read_text().replace('"completed_by": 1', '"completed_by": "\\ud800@a"'))
    decisions = decide(read_answers(path))
    assert {one.note for one in decisions} == {"person \\ud800@a"}
    log = DecisionLog(tmp_path / "decisions.jsonl", "f")
    log.append(*decisions)
    assert decide(read_answers(path), log.replay) == []


def test_what_a_person_submitted_last_counts_wherever_it_stands(tmp_path: Path) -> None:
    path = exported(tmp_path, "label-studio")
    tasks = json.loads(path.read_text())
    (last,) = tasks[0]["annotations"]
    last["updated_at"] = "2025-03-02T10:00:00.000000Z"
    first = last | {"updated_at": "2025-03-01T10:00:00.000000Z", "result": []}
    found = []
    for order in ([first, last], [last, first]):
        tasks[0]["annotations"] = order
        path.write_text(json.dumps(tasks))
        found.append(read_answers(path))
    assert found[0] == found[1]
    assert len(found[0][0].regions) == 2


def test_choices_beside_the_classes_are_passed_over(tmp_path: Path) -> None:
    given = pl.DataFrame({"annotation_id": ["im/a.png"], "item_id": ["im/a.png"], "label": ["cat"]})
    issues = queue(issue("mislabeled", "im/a.png", "im/a.png", "dog"))
    path = exported(tmp_path, "label-studio", annotations=given, issues=issues)
    tasks = json.loads(path.read_text())
    (label,) = tasks[0]["annotations"][0]["result"]
    quality = label | {"from_name": "quality", "value": {"choices": ["blurred"]}}
    regions = {}
    for results in ([label, quality], [quality]):
        tasks[0]["annotations"][0]["result"] = results
        path.write_text(json.dumps(tasks))
        regions[len(results)] = read_answers(path)[0].regions
    assert regions[2] == (Region("dog"),)
    assert regions[1] == (Region("blurred"),)  # a set-up that calls its control otherwise


def test_the_short_json_of_label_studio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"image": "a.png", "id": 1, "label": [], "annotator": 1}]')
    assert "expected an export as JSON" in problems(lambda: read_answers(tmp_path / "a.json"))


@pytest.mark.parametrize("tool", TOOLS)
def test_images_of_another_size_are_refused(tool: str, tmp_path: Path) -> None:
    path = exported(tmp_path, tool)
    text = path.read_text()
    for old, new in (('width="64"', 'width="32"'), ('width": 64', 'width": 32')):
        text = text.replace(old, new)
    path.write_text(text)
    found = problems(lambda: decide(read_answers(path)))
    assert "im/a.png: found an image of 32 x 48 pixels; expected 64 x 48" in found
    assert "im/b.png" not in found


@pytest.mark.parametrize("width", [32.0, "32"])
def test_label_studio_sizes_count_however_they_are_written(width: Any, tmp_path: Path) -> None:
    path = exported(tmp_path, "label-studio")
    tasks = json.loads(path.read_text())
    for result in tasks[0]["annotations"][0]["result"]:
        result["original_width"] = width
    path.write_text(json.dumps(tasks))
    assert "32 x 48 pixels" in problems(lambda: decide(read_answers(path)))


def test_sizes_that_are_no_numbers_of_pixels(tmp_path: Path) -> None:
    path = exported(tmp_path, "coco")
    path.write_text(path.read_text().replace('width": 64', 'width": 1e999'))
    assert "no COCO document" in problems(lambda: read_answers(path))
    (tmp_path / "a.xml").write_text(
        f'<annotations><image width="{"9" * 5000}" height="1"/></annotations>'
    )
    assert read_answers(tmp_path / "a.xml")[0].size is None


def test_coco_ids_may_have_become_numbers(tmp_path: Path) -> None:
    given = GIVEN.with_columns(pl.col("annotation_id").replace("8", "0"))
    path = exported(tmp_path, "coco", annotations=given, issues=queue(QUEUE.row(0, named=True)))
    before = read_answers(path)
    assert [one.key for one in before[0].regions] == ["7", "0"]
    text = path.read_text()
    path.write_text(re.sub(r'"labelfix_id": "(\d+)"', r'"labelfix_id": \1', text))
    assert path.read_text() != text
    assert read_answers(path) == before


@pytest.mark.parametrize("part", ["images", "categories"])
def test_coco_with_one_id_for_two_is_refused(part: str, tmp_path: Path) -> None:
    path = exported(tmp_path, "coco")
    document = json.loads(path.read_text())
    document[part][1]["id"] = document[part][0]["id"]
    path.write_text(json.dumps(document))
    assert f"two {part} of one id" in problems(lambda: read_answers(path))


def test_boxes_cannot_be_percent_of_an_unknown_size(tmp_path: Path) -> None:
    tasks = tasks_of(ITEMS.with_columns(width=0), GIVEN, QUEUE)
    write = partial(write_tasks, class_names=CLASSES, issues=QUEUE, root=None)
    assert "unknown size" in problems(lambda: write(tmp_path / "q.json", "label-studio", tasks))
    assert not list(tmp_path.iterdir())


def test_label_studio_finds_images_below_the_folder_above_the_dataset(tmp_path: Path) -> None:
    tasks = tasks_of(ITEMS, GIVEN, QUEUE)
    write_tasks(
        tmp_path / "q.json",
        "label-studio",
        tasks,
        class_names=CLASSES,
        issues=QUEUE,
        root=tmp_path / "my photos",
    )
    (first, *_) = json.loads((tmp_path / "q.json").read_text())
    assert first["data"]["image"] == "/data/local-files/?d=my%20photos/im/a.png"
    del first["data"]["item_id"]
    first["annotations"] = [{"result": []}]
    (tmp_path / "q.json").write_text(json.dumps([first]))
    assert {one.item_id for one in decide(read_answers(tmp_path / "q.json"))} == {"im/a.png"}


@pytest.mark.parametrize(
    "image",
    [
        "/data/local-files/?d=im/empty%20%C3%BC.png",
        "http://host:8080/data/upload/3/1a2b3c4d-empty%20%C3%BC.png",
        "https://bucket/deep/im/empty%20%C3%BC.png",
        "s3://bucket/im/empty ü.png",
    ],
)
def test_label_studio_images_are_found_by_their_address(image: str, tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(json.dumps([{"data": {"image": image}, "annotations": [{"result": []}]}]))
    (one,) = decide(read_answers(path))
    assert one.item_id == "im/empty ü.png"


def test_images_and_classes_that_are_not_there_are_refused_together() -> None:
    answers = [Answer("c.png", ()), Answer("deep/c.png", ())]
    assert problems(lambda: decide(answers)).count("no item") == 2
    unknown = [Answer("a.png", (Region("cow", (1, 1, 2, 2)), Region("pig", (1, 1, 2, 2))))]
    assert "'cow'" in (text := problems(lambda: decide(unknown)))
    assert "'pig'" in text
    assert 'expected a class of the run: a "b" <&> ü, cat, dog; rename it' in text


@pytest.mark.parametrize("name", ["a.txt", "b.json", "c.json", "d.json", "e.json", "f.json"])
def test_files_of_no_tool_are_refused(name: str, tmp_path: Path) -> None:
    content = {"a.txt": "x", "b.json": "{}", "c.json": "[1]", "d.json": "[" * 100_000}
    content |= {
        "e.json": '[{"annotations": [1]}]',
        "f.json": '[{"annotations": [{"result": [1]}]}]',
    }
    (tmp_path / name).write_text(content[name])
    problems(lambda: read_answers(tmp_path / name))


# ---------------------------------------------------------------- files


def test_yolo_is_written_as_a_folder_that_reads(tmp_path: Path) -> None:
    for item, width, height in ITEMS.select("path", "width", "height").iter_rows():
        (tmp_path / "old" / item).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (width, height)).save(tmp_path / "old" / item)
    tasks = tasks_of(ITEMS, GIVEN, QUEUE)
    out = tmp_path / "out"
    write_tasks(out, "yolo", tasks, class_names=CLASSES, issues=QUEUE, root=tmp_path / "old")
    with pytest.warns(labelfix.LabelfixWarning, match="listed more than once"):  # train and val
        dataset = labelfix.read(out)
    assert len(dataset) == 3
    assert dataset.annotations["label"].to_list() == ["dog", "dog", CLASSES[2], "cat", "dog"]
    with pytest.raises(labelfix.InputError):
        write_tasks(out, "yolo", tasks, class_names=CLASSES, issues=QUEUE, root=tmp_path / "old")


@pytest.mark.parametrize("path", ["../a.png", "{}/a.png", "../../{.name}/data/im.png"])
def test_yolo_writes_nothing_outside_its_folder(path: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for place in (tmp_path / "a.png", root / "im.png"):
        Image.new("L", (64, 48)).save(place)
    items = ITEMS.head(1).with_columns(path=pl.lit(path.format(tmp_path)))
    tasks = tasks_of(items, GIVEN.head(2), QUEUE.head(2))
    write = partial(write_tasks, class_names=CLASSES, issues=QUEUE, root=root)
    assert "inside the dataset" in problems(lambda: write(tmp_path / "out", "yolo", tasks))
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["a.png", "data", "im.png"]


def test_coco_is_what_labelfix_reads_too(tmp_path: Path) -> None:
    path = exported(tmp_path, "coco")
    with pytest.warns(labelfix.LabelfixWarning, match="none of its images"):
        assert labelfix.read(path).annotations.height == 5


@pytest.mark.parametrize("tool", ["cvat", "label-studio", "coco", "csv", "yolo"])
def test_no_file_is_overwritten(tool: str, tmp_path: Path) -> None:
    """The dataset's own, or the run's log of decisions, is one letter away."""
    path = tmp_path / "instances.json"
    path.write_text("{}")
    tasks = tasks_of(ITEMS, GIVEN, QUEUE)
    write = partial(write_tasks, class_names=CLASSES, issues=QUEUE, root=tmp_path)
    found = problems(lambda: write(path, tool, tasks))
    assert "there already" in found
    assert path.read_text() == "{}"


def test_csv_is_the_queue(tmp_path: Path) -> None:
    write_tasks(tmp_path / "q.csv", "csv", [], class_names=CLASSES, issues=QUEUE, root=None)
    assert pl.read_csv(tmp_path / "q.csv").height == QUEUE.height


def test_the_example_of_label_studio_in_the_docs_names_what_is_written(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs/exchange.md").read_text(encoding="utf-8")
    result = json.loads(exported(tmp_path, "label-studio").read_text())[0]["annotations"][0][
        "result"
    ][0]
    assert re.search(
        f'<RectangleLabels name="{result["from_name"]}" toName="{result["to_name"]}"', text
    )


def test_the_command_takes_a_run_out_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "old"
    for item, width, height in ITEMS.select("path", "width", "height").iter_rows():
        (root / item).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (width, height)).save(root / item)
    document = {
        "images": [
            {"id": n, "file_name": item, "width": w, "height": h}
            for n, (item, w, h) in enumerate(ITEMS.select("path", "width", "height").iter_rows())
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 7, "image_id": 0, "category_id": 1, "bbox": [1, 2, 20, 20]},
            {"id": 9, "image_id": 1, "category_id": 2, "bbox": [30, 2, 20, 20]},
        ],
    }
    (root / "x.json").write_text(json.dumps(document))
    seen = boxes(("", "im/a.png", "dog", (1, 2, 21, 22)), ("", "im/b.png", "cat", (1, 40, 30, 70)))
    seen.drop("annotation_id").with_columns(score=pl.lit(0.9)).write_parquet(tmp_path / "p.parquet")
    run, file = str(tmp_path / "run"), str(tmp_path / "q.xml")
    found = ["find", str(root / "x.json"), "--predictions", str(tmp_path / "p.parquet")]
    assert cli.main([*found, "--out", run, "--quiet"]) == 0
    assert cli.main(["export", run, "--to", "cvat", "--out", file]) == 0
    assert cli.main(["import", run, file, "--reviewer", "ann"]) == 0
    assert "added 0" not in capsys.readouterr().out
    assert cli.main(["import", run, file, "--reviewer", "ann"]) == 0
    assert "added 0 decisions" in capsys.readouterr().out
    with (tmp_path / "run" / "decisions.jsonl").open("ab") as log:
        log.write(b'{"torn')
    assert cli.main(["import", run, file, "--reviewer", "bob"]) == 0
    assert re.match(r"Warning: .* torn", capsys.readouterr().err)
    assert cli.main(["apply", run, "--to", str(tmp_path / "new"), "--quiet"]) == 0
    new = labelfix.read(tmp_path / "new" / "x.json").annotations
    assert new.filter(annotation_id="7")["label"].item() == "dog"
    assert cli.main(["import", run, str(tmp_path / "p.parquet")]) == 2
    assert cli.main(["export", run, "--to", "cvat", "--out", str(tmp_path)]) == 2


def test_what_was_undone_can_be_imported_again(tmp_path: Path) -> None:
    answers = read_answers(exported(tmp_path, "cvat"))
    replay = Replay()
    first = decide(answers, replay)
    replay.extend(first)
    undone = next(one for one in first if one.action == "set_label")
    step = new_decision("undo", reviewer="ann", fingerprint="f", target=undone.id)
    assert replay.extend([step]) == [""]
    again = decide(answers, replay)
    assert said(again) == [("set_label", "7")]
    assert replay.extend(again) == [""]


def test_remarks_on_regions_and_images_are_no_annotations(tmp_path: Path) -> None:
    path = exported(tmp_path, "label-studio")
    tasks = json.loads(path.read_text())
    result = tasks[0]["annotations"][0]["result"]
    box = result[0]["value"]
    before = read_answers(path)
    place = {name: box[name] for name in ("x", "y", "width", "height", "rotation")}
    common = {"id": result[0]["id"], "from_name": "more", "to_name": "image"}
    result += [
        {**common, "type": "choices", "value": {**place, "choices": ["uncertain"]}},
        {**common, "type": "textarea", "value": {**place, "text": ["hm"]}},
        {**common, "type": "rating", "value": {"rating": 3}},
    ]
    path.write_text(json.dumps(tasks))
    assert read_answers(path) == before
    tagged = Answer("im/empty ü.png", (Region("blurred"),))
    assert said(decide([tagged])) == [("keep", None)]


def test_boxes_are_no_answer_where_the_dataset_has_class_labels() -> None:
    given = pl.DataFrame({"annotation_id": ["im/a.png"], "item_id": ["im/a.png"], "label": ["cat"]})
    issues = queue(issue("mislabeled", "im/a.png", "im/a.png", "dog"))
    answers = [Answer("im/a.png", (Region("dog", (1, 1, 2, 2)),))]
    assert "class labels" in problems(lambda: decide(answers, annotations=given, issues=issues))
