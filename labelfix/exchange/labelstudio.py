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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from labelfix.exchange.tasks import Box, Task

__all__ = ["read", "recognises", "write"]

CONTROL, OBJECT = "label", "image"
"""Names that the labelling set-up must give to the labels and to the image."""

LOCAL = "/data/local-files/?d="
"""Where Label Studio serves files below its document root; here the dataset's root."""

_SHAPES = {"rectangle", "polygon", "ellipse", "keypoint", "brush", "vector"}

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def recognises(path: Path) -> bool:
    """Whether it is a JSON list."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def write(path: Path, tasks: Sequence[Task], class_names: Sequence[str]) -> Iterator[bytes]:  # noqa: ARG001 # as the other formats
    """Give the file piece by piece."""
    yield b"["
    for number, task in enumerate(tasks):
        yield b",\n" if number else b"\n"
        yield json.dumps(_written(task), ensure_ascii=False).encode()
    yield b"\n]\n"


def _written(task: Task) -> dict[str, Any]:
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
    data = {"image": LOCAL + quote(task.path), "item_id": task.item_id}
    return {"data": data, "predictions": [{"model_version": "labelfix", "result": result}]}


def _result(task: Task, region: Region) -> dict[str, Any]:
    x1, y1, x2, y2 = region.box or (0.0,) * 4
    width, height = task.width or 1, task.height or 1
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
    """Read an export: tasks with an annotation that was submitted, the last one of each.

    Raises
    ------
    InputError
        Naming every rotated box or image, and region that is no box or choice; if it is no JSON.
    """
    try:
        tasks = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(Problem(str(path), f"broken JSON ({error})")) from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError(Problem(str(path), "no list of tasks", "an export as JSON"))
    answers, problems = [], []
    for number, task in enumerate(tasks):
        where = f"{path}, task {task.get('id', number)}"
        try:
            name, results = _submitted(task)
            found = [_regions(result) for result in results or []]
        except (AttributeError, TypeError, IndexError) as error:
            problems.append(Problem(where, f"no task of Label Studio ({error})"))
            continue
        wrong = [one for one in found if isinstance(one, str)]
        problems += [Problem(f"{where} ({name})", one, "upright boxes or choices") for one in wrong]
        if results is not None:
            regions = [region for one in found if isinstance(one, list) for region in one]
            answers.append(Answer(name, tuple(regions)))
    if problems:
        raise InputError(problems)
    return answers


def _submitted(task: dict[str, Any]) -> tuple[str, list[dict[str, Any]] | None]:
    """Name of the image, and what was submitted last; None if nothing was."""
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    return _name(task.get("data") or {}), done[-1].get("result") or [] if done else None


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


def _regions(result: dict[str, Any]) -> list[Region] | str:
    """Read one result, or say what is wrong with it."""
    value, kind = result.get("value") or {}, str(result.get("type"))
    if kind == "choices" and "x" not in value:  # with x it says something of a region
        return [Region(str(choice)) for choice in value.get("choices") or []]
    if kind not in _SHAPES and not kind.endswith("labels"):
        return []  # a comment, a rating and the like
    if kind != "rectanglelabels":
        return f"a result of type {kind}"
    labels = value.get("rectanglelabels") or []
    if len(labels) != 1:
        return f"a box with {len(labels)} labels"
    if (value.get("rotation") or 0) % 360 or (result.get("image_rotation") or 0) % 360:
        return f"a box rotated by {value.get('rotation') or result.get('image_rotation'):g} degrees"
    try:
        box = _box(result, value)
    except (KeyError, TypeError, ValueError) as error:
        return f"a box without numbers ({error})"
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
