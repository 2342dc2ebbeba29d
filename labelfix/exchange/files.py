"""Which module reads and writes which tool's files."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfix.atomic import replacing
from labelfix.boxes import YOLO
from labelfix.errors import InputError, Problem
from labelfix.formats.files import inside
from labelfix.formats.yolo.data import label_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from labelfix.exchange.tasks import Answer, Task

__all__ = ["FORMATS", "read_answers", "write_tasks"]

FORMATS = ("cvat", "label-studio", "coco", "yolo", "csv")

_MODULES = {"cvat": "cvat", "label-studio": "labelstudio", "coco": "coco"}
_BOXES_ONLY = ("coco", "yolo")


def write_tasks(
    out: str | Path,
    tool: str,
    tasks: Sequence[Task],
    *,
    class_names: Sequence[str],
    issues: pl.DataFrame,
    root: Path | None,
) -> None:
    """Write tasks for a tool.

    Parameters
    ----------
    out
        A new file; with `yolo` a new folder.
    tool
        One of `FORMATS`.
    tasks
        From `tasks_of`.
    class_names
        Of the dataset.
    issues
        What `csv` writes: the rows of the queue as they are.
    root
        The dataset's folder, where `yolo` finds the images; `label-studio` names it.

    Raises
    ------
    InputError
        If there is no such format, it has no class labels, or something is in the way.
    """
    out = Path(out)
    has_boxes = any(region.box is not None for task in tasks for region in task.regions)
    problems = []
    if tool not in FORMATS:
        problems.append(Problem("--to", repr(tool), "one of " + ", ".join(FORMATS)))
    elif tool in _BOXES_ONLY and not has_boxes and tasks:
        problems.append(
            Problem(f"--to {tool}", "class labels", "boxes, or csv, cvat, label-studio")
        )
    wanted = "a new folder" if tool == "yolo" else "a new file"
    if out.is_dir() and (tool != "yolo" or any(out.iterdir())):
        problems.append(Problem(str(out), "a folder", wanted))
    elif out.exists() and not out.is_dir():
        fix = "remove it, or give another name"
        problems.append(Problem(str(out), "a file that is there already", wanted, fix))
    if problems:
        raise InputError(problems)
    if tool == "yolo":
        _write_yolo(out, tasks, class_names, root or Path())
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        if tool == "csv":
            issues.write_csv(file)
            return
        module = importlib.import_module(f"labelfix.exchange.{_MODULES[tool]}")
        for piece in module.write(tasks, class_names, root):
            file.write(piece)


def _write_yolo(out: Path, tasks: Sequence[Task], class_names: Sequence[str], root: Path) -> None:
    """Write a folder as YOLO trainers and tools read it, with links to the images."""
    import yaml

    codes = {name: code for code, name in enumerate(class_names)}
    problems = [
        Problem(task.path, "no image there, or no size", "an image inside the dataset")
        for task in tasks
        if inside(root, task.path) != task.path  # it names the files that are written
        or not ((root / task.path).is_file() and task.width and task.height)
    ]
    if problems:
        raise InputError(problems)
    try:
        for task in tasks:
            image = out / "images" / task.path
            label = out / label_path(f"images/{task.path}")
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            _link(root / task.path, image)
            with label.open("x", encoding="utf-8") as file:  # of one image, as YOLO names them
                file.writelines(_rows(task, codes))
        config: dict[str, Any] = {"train": "images", "val": "images", "names": list(class_names)}
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        (out / "data.yaml").write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _rows(task: Task, codes: dict[str, int]) -> list[str]:
    boxes = [region for region in task.regions if region.box is not None]
    if not boxes:
        return []
    size = [[task.width, task.height]] * len(boxes)
    corners = [list(region.box or ()) for region in boxes]
    return [
        f"{codes[region.label]} " + " ".join(f"{value:.6f}" for value in values) + "\n"
        for region, values in zip(boxes, YOLO.from_pixels(corners, size), strict=True)
    ]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or one without hard links
        shutil.copy2(source, target)


def read_answers(path: str | Path) -> list[Answer]:
    """Read what a tool exported: CVAT XML or its archive, Label Studio JSON, or COCO.

    Raises
    ------
    InputError
        If it is none of these, or something in it cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(Problem(str(path), "no such file", "what a tool exported"))
    for name in _MODULES.values():
        module = importlib.import_module(f"labelfix.exchange.{name}")
        if module.recognises(path):
            answers: list[Answer] = module.read(path)
            return answers
    expected = "CVAT for images 1.1 (.xml, .zip), Label Studio or COCO (.json)"
    raise InputError(Problem(str(path), f"a file of type {path.suffix or 'unknown'}", expected))
