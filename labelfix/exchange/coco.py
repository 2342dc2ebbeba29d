"""COCO for other tools: the queue's images, with boxes as suggested. FiftyOne imports it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from labelfix.errors import InputError, Problem
from labelfix.exchange.tasks import Answer, Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from labelfix.exchange.tasks import Task

__all__ = ["read", "recognises", "write"]

ID, NOTE = "labelfix_id", "labelfix"


def recognises(path: Path) -> bool:
    """Whether it is a JSON object."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def write(
    tasks: Sequence[Task],
    class_names: Sequence[str],
    root: Path | None,  # noqa: ARG001 # as the other formats
) -> Iterator[bytes]:
    """Give the file."""
    ids = {name: number for number, name in enumerate(class_names, 1)}
    images = [
        {"id": number, "file_name": task.path, "width": task.width, "height": task.height}
        for number, task in enumerate(tasks, 1)
    ]
    rows = [(n, region) for n, task in enumerate(tasks, 1) for region in task.regions]
    annotations = [
        {"id": number, "image_id": image, **_written(region, ids)}
        for number, (image, region) in enumerate(rows, 1)
    ]
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    yield json.dumps(document, ensure_ascii=False).encode()


def _written(region: Region, ids: dict[str, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = region.box or (0.0,) * 4
    return {
        "category_id": ids[region.label],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
        ID: region.key,
        NOTE: region.note,
    }


def read(path: Path) -> list[Answer]:
    """Read a COCO file.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        document = json.loads(path.read_bytes())
        names = {one["id"]: str(one["name"]) for one in document["categories"]}
        regions: dict[Any, list[Region]] = {one["id"]: [] for one in document["images"]}
        for found, part in ((names, "categories"), (regions, "images")):
            if len(found) < len(document[part]):
                raise ValueError(f"two {part} of one id")
        for one in document["annotations"]:
            x, y, width, height = map(float, one["bbox"])
            box = (x, y, x + width, y + height)
            key = one.get(ID)  # which may have become a number
            region = Region(names[one["category_id"]], box, None if key in (None, "") else str(key))
            regions[one["image_id"]].append(region)
        return [
            Answer(str(one["file_name"]), tuple(regions[one["id"]]), _size(one))
            for one in document["images"]
        ]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        what = f"no COCO document ({type(error).__name__}: {error})"
        raise InputError(Problem(str(path), what, "images, annotations and categories")) from error


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (int(width), int(height)) if width and height else None
