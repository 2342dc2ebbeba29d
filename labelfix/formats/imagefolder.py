"""Image folders: `class/…` or `split/class/…`, images at any depth below their class.

The class is the first folder below the root, or below the split where every folder at the top is
called like a split (train, val, valid, validation, test, dev, eval, in any case). `item_id` is the
image's path from the root, with slashes.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.images import has_image_name, probe
from labelfix.schema import Dataset
from labelfix.text import count

if TYPE_CHECKING:
    from labelfix.formats import ReadOptions

__all__ = ["read", "recognises"]

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev"})
LITTER = frozenset({"thumbs.db", "desktop.ini"})
"""What file managers leave behind. Files and folders whose name starts with a dot go with it."""


def recognises(path: Path) -> bool:
    """Whether `path` is a folder with an image somewhere below a folder in it."""
    return path.is_dir() and any(
        has_image_name(name)
        for folder in _folders(path)
        for _, _, names in os.walk(folder)
        for name in names
    )


def read(path: Path, options: ReadOptions) -> Dataset:
    """Read a folder of images.

    Raises
    ------
    InputError
        Naming every broken image, empty class, image outside of the classes, and link that leaves
        the folder.
    """
    tops = _folders(path)
    split = bool(tops) and all(folder.name.lower() in SPLITS for folder in tops)
    found, problems = _collect(path, depth=2 if split else 1)
    ids = [file.relative_to(path).as_posix() for file in found]
    sizes, broken = probe(found, progress=options.progress)
    problems += broken.values()
    items = _items(ids, split=split).with_columns(
        width=pl.Series(sizes[:, 0]), height=pl.Series(sizes[:, 1])
    )
    good = items.filter(~pl.int_range(pl.len()).is_in(list(broken)))
    problems += _empty_classes(path, good, split=split)
    if problems and not options.skip_bad:
        raise InputError(problems)
    _refuse_unusable(path, good)
    class_names = tuple(good["label"].unique().sort())
    _warn_of_like_names(path, class_names)
    return Dataset(
        items=good.drop("label"),
        annotations=good.select("item_id", annotation_id="item_id", label="label").select(
            "annotation_id", "item_id", "label"
        ),
        class_names=class_names,
        format="imagefolder",
        root=path,
        skipped=tuple(problems),
    )


def _folders(path: Path) -> list[Path]:
    return sorted(
        entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _collect(root: Path, depth: int) -> tuple[list[Path], list[Problem]]:
    """List the images, sorted by path, and what lies among them that cannot be one."""
    real = root.resolve()
    images: list[Path] = []
    others: list[Path] = []
    problems: list[Problem] = []
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*names, *links):
            file = Path(folder, name)
            if name.startswith(".") or name.lower() in LITTER:
                continue
            if problem := _misplaced(file, root, real, depth):
                problems.append(problem)
            elif has_image_name(file.name):
                images.append(file)
            elif len(file.relative_to(root).parts) > depth:
                others.append(file)
    _warn_of_others(root, sorted(others))
    return sorted(images), sorted(problems, key=lambda problem: problem.where)


def _misplaced(file: Path, root: Path, real: Path, depth: int) -> Problem | None:
    if file.is_symlink() and not file.resolve().is_relative_to(real):
        return Problem(str(file), f"a link to {file.resolve()}", "a file inside the dataset")
    if file.is_symlink() and file.is_dir():
        return Problem(str(file), "a link to a folder", "a folder", "copy it here, or remove it")
    if has_image_name(file.name) and len(file.relative_to(root).parts) <= depth:
        return Problem(str(file), "an image outside of the class folders", "one in a class folder")
    return None


def _warn_of_others(root: Path, others: list[Path]) -> None:
    """Say which files in the class folders are passed over because they are no images."""
    if others:
        names = ", ".join(other.relative_to(root).as_posix() for other in others[:5])
        more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
        warnings.warn(
            f"{root}: passed over {count(len(others), 'file')} without an image's suffix: "
            f"{names}{more}",
            LabelfixWarning,
            stacklevel=4,
        )


def _items(ids: list[str], *, split: bool) -> pl.DataFrame:
    parts = [PurePosixPath(item).parts for item in ids]
    columns = {
        "item_id": pl.Series(ids, dtype=pl.String),
        "path": pl.Series(ids, dtype=pl.String),
        "label": pl.Series([part[1 if split else 0] for part in parts], dtype=pl.String),
    }
    if split:
        columns["split"] = pl.Series([part[0] for part in parts], dtype=pl.String)
    return pl.DataFrame(columns)


def _empty_classes(root: Path, good: pl.DataFrame, *, split: bool) -> list[Problem]:
    above = _folders(root) if split else [root]
    folders = [folder for parent in above for folder in _folders(parent)]
    with_images = set(good["label"])
    return [
        Problem(str(folder), "no image", "at least one", "fill the class, or remove its folder")
        for folder in folders
        if folder.name not in with_images
    ]


def _warn_of_like_names(root: Path, class_names: tuple[str, ...]) -> None:
    """Say which classes differ by upper case alone: two spellings of one, or a and A."""
    alike = Counter(name.casefold() for name in class_names)
    same = [name for name in class_names if alike[name.casefold()] > 1]
    if same:
        warnings.warn(
            f"{root}: classes that differ by upper case alone: {', '.join(same)}",
            LabelfixWarning,
            stacklevel=4,
        )


def _refuse_unusable(root: Path, good: pl.DataFrame) -> None:
    if good.is_empty():
        raise InputError(Problem(str(root), "no image that can be read", "images"))
    if good["label"].n_unique() < 2:
        raise InputError(
            Problem(
                str(root),
                f"one class only, {good['label'][0]!r}",
                "at least two",
                "a label can be wrong only where another would be possible",
            )
        )
