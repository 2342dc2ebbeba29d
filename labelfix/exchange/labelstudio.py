"""Label Studio's JSON: a list of tasks, boxes in percent of the image.

Format: https://labelstud.io/guide/task_format. Suggestions go into `predictions`, which a person
submits or changes; only submitted `annotations` come back. Region ids are kept by the tool.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from labelfix.errors import InputError, Problem
from labelfix.exchange.tasks import Answer, Region
from labelfix.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from labelfix.exchange.tasks import Box, Task

__all__ = ["read", "recognises", "write"]

CONTROL, OBJECT = "label", "image"
"""Names that the labelling set-up must give to the labels and to the image."""

FIX = "mend it in Label Studio, or delete it there, and export again"

LOCAL = "/data/local-files/?d="
"""Where Label Studio serves files below its document root, which it does not let be the folder of a
storage itself: so the dataset's folder is named, and the one above it is the root."""

_OTHERS = {"rectangle", "polygon", "ellipse", "keypoint", "brush", "vector", "taxonomy"}
"""Results that say what is where, apart from those whose type ends in "labels"."""

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def recognises(path: Path) -> bool:
    """Whether it is a JSON list."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def write(
    tasks: Sequence[Task],
    class_names: Sequence[str],  # noqa: ARG001 # as the other formats
    root: Path | None,
) -> Iterator[bytes]:
    """Give the file piece by piece.

    Raises
    ------
    InputError
        Naming every image whose size is not known: boxes are percent of it.
    """
    problems = [
        Problem(task.path, "an image of unknown size", "an image, or its size in the dataset")
        for task in tasks
        if not (task.width and task.height) and any(region.box for region in task.regions)
    ]
    if problems:
        raise InputError(problems)
    folder = "" if root is None else f"{root.resolve().name}/"
    yield b"["
    for number, task in enumerate(tasks):
        yield b",\n" if number else b"\n"
        yield json.dumps(_written(task, folder), ensure_ascii=False).encode()
    yield b"\n]\n"


def _written(task: Task, folder: str) -> dict[str, Any]:
    choices = [region.label for region in task.regions if region.box is None]
    result = [_result(task, region) for region in task.regions if region.box is not None]
    if choices:
        result.append(
            {
                "from_name": CONTROL,
                "to_name": OBJECT,
                "type": "choices",
                "value": {"choices": choices},
            }
        )
    data = {"image": LOCAL + quote(folder + task.path), "item_id": task.item_id}
    return {"data": data, "predictions": [{"model_version": "labelfix", "result": result}]}


def _result(task: Task, region: Region) -> dict[str, Any]:
    x1, y1, x2, y2 = region.box or (0.0,) * 4
    width, height = task.width, task.height
    return {
        "id": region.key,
        "from_name": CONTROL,
        "to_name": OBJECT,
        "type": "rectanglelabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
            "rectanglelabels": [region.label],
        },
        **({"meta": {"text": [f"labelfix: {region.note}"]}} if region.note else {}),
    }


def read(path: Path) -> list[Answer]:
    """Read an export: what each person submitted of a task, the last if it was more than once.

    Raises
    ------
    InputError
        Naming every rotated box or image, and region that is no box or choice; if it is no JSON,
        or Label Studio's short JSON, which has no ids.
    """
    submitted: list[tuple[str, str, str, list[dict[str, Any]]]] = []
    problems = []
    for number, task in enumerate(_tasks(path)):
        where = f"{path}, task {task.get('id', number)}"
        try:
            name = _name(task["data"])
            submitted += [(where, name, *one) for one in _submitted(task).items()]
        except (AttributeError, TypeError, ValueError) as error:
            problems.append(Problem(where, f"no task of Label Studio ({error})"))
    is_named = any(one.get("from_name") == CONTROL for *_, results in submitted for one in results)
    answers = []
    for where, name, person, results in submitted:
        meant = [one for one in results if not (is_named and _is_remark(one))]
        regions, wrong = _read_results(meant)
        place = f"{where} ({name})"
        problems += [Problem(place, one, "upright boxes or choices", FIX) for one in wrong]
        answers.append(Answer(name, tuple(regions), _size(meant), person))
    if problems:
        raise InputError(problems)
    return answers


def _tasks(path: Path) -> list[dict[str, Any]]:
    try:
        tasks = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(Problem(str(path), f"broken JSON ({error})")) from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError(Problem(str(path), "no list of tasks", "an export as JSON"))
    if any("data" not in task for task in tasks):
        found = "tasks without data, as in an export as JSON-MIN"
        raise InputError(Problem(str(path), found, "an export as JSON"))
    return tasks


def _submitted(task: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Find the results that each person submitted last."""
    found: dict[str, list[dict[str, Any]]] = {}
    annotations = task.get("annotations") or []  # in any order
    for one in sorted(annotations, key=lambda one: str(one.get("updated_at") or "")):
        if not one.get("was_cancelled"):
            person = one.get("completed_by")
            if isinstance(person, dict):
                person = person.get("email") or person.get("id")
            found[visible(str(person or ""))] = [dict(result) for result in one.get("result") or []]
    return found


def _is_remark(result: dict[str, Any]) -> bool:
    """Whether it was chosen in another control than that of the classes."""
    return result.get("type") == "choices" and result.get("from_name") != CONTROL


def _size(results: Sequence[dict[str, Any]]) -> tuple[int, int] | None:
    """Find the size of the image that boxes are percent of."""
    for one in results:
        size = one.get("original_width"), one.get("original_height")
        try:
            return round(float(size[0])), round(float(size[1]))  # type: ignore[arg-type] # or not
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _name(data: dict[str, Any]) -> str:
    """Find the image: its item_id, or what its address ends in."""
    if data.get("item_id"):
        return str(data["item_id"])
    address = str(data.get("image") or next(iter(data.values()), ""))
    parts = urlsplit(address)
    inner = parse_qs(parts.query).get("d")
    if inner:
        return inner[0]
    folder, _, name = unquote(parts.path).rpartition("/")
    return _UPLOADED.sub("", name) if "/upload/" in folder + "/" else f"{folder}/{name}".lstrip("/")


def _read_results(results: Sequence[dict[str, Any]]) -> tuple[list[Region], list[str]]:
    """Give the regions, and what is wrong with those that are none."""
    regions: list[Region] = []
    wrong = []
    for result in results:
        try:
            regions += _regions(result)
        except (AttributeError, KeyError, TypeError) as error:
            wrong.append(f"a result that is none ({error})")
        except ValueError as error:
            wrong.append(str(error))
    return regions, wrong


def _regions(result: dict[str, Any]) -> list[Region]:
    """Read one result.

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    value, kind = result.get("value") or {}, str(result.get("type"))
    if kind == "choices" and "x" not in value:  # with x it says something of a region
        return [Region(str(choice)) for choice in value.get("choices") or []]
    if kind not in _OTHERS and not kind.endswith("labels"):
        return []  # a comment, a rating and the like
    if kind != "rectanglelabels":
        raise ValueError(f"a result of type {kind}")
    labels = value.get("rectanglelabels") or []
    if len(labels) != 1:
        raise ValueError(f"a box with {len(labels)} labels")
    rotation = value.get("rotation") or 0, result.get("image_rotation") or 0
    if any(angle % 360 for angle in rotation):
        raise ValueError(f"a box rotated by {rotation[0] or rotation[1]:g} degrees")
    try:
        box = _box(result, value)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a box without numbers ({error})") from error
    return [Region(str(labels[0]), box, str(result["id"]) if result.get("id") else None)]


def _box(result: dict[str, Any], value: dict[str, Any]) -> Box:
    width, height = float(result["original_width"]), float(result["original_height"])
    x, y = float(value["x"]), float(value["y"])
    box = (
        x * width / 100,
        y * height / 100,
        (x + float(value["width"])) * width / 100,
        (y + float(value["height"])) * height / 100,
    )
    if not all(map(math.isfinite, box)):
        raise ValueError("not finite")
    return box
