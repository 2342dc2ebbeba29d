"""Image folders: `class/…` or `split/class/…`, images at any depth below their class.

The class is the first folder below the root, or below the split where every folder at the top that
holds images is called like a split (`SPLITS`, in any case). `item_id` is the image's path from the
root, with slashes and with its suffix. Items and class names come in the order that torchvision's
`ImageFolder` gives them, so that its predictions fit row by row.
"""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.formats.edits import plan_labels
from labelfix.formats.tablefile import is_table
from labelfix.images import has_image_name, probe
from labelfix.schema import Dataset
from labelfix.text import count

if TYPE_CHECKING:
    from labelfix.formats import ReadOptions

__all__ = ["SPLITS", "placed", "read", "recognises"]

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "dev",
    "test": "test",
    "testing": "test",
}
"""Folder names that are taken for splits, in lower case, and what `items.split` says of them."""

_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})  # as file managers leave it

_NOT_IN_NAMES = frozenset('/\\:*?"<>|')
"""Signs that no new folder is named with, as some systems cannot; classes that have them stay."""

_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
"""Names that Windows keeps for devices, whatever follows a dot."""

MOST_BYTES = 255
"""Of a folder's name, on all common file systems."""

_Parts = tuple[str, ...]


def recognises(path: Path) -> bool:
    """Whether `path` is a folder: what is wrong with it, `read` says best."""
    return path.is_dir()


def read(path: Path, options: ReadOptions) -> Dataset:
    """Read a folder of images.

    Raises
    ------
    InputError
        Naming every broken image, empty class, image outside of the classes, unreadable folder and
        link that leaves the root; classes spelled in two ways; one class only.
    """
    tree = _walk(path.resolve(), path)
    depth, fatal = _depth(path, tree)
    images = sorted((i for i in tree.images if len(i) > depth), key=lambda i: _key(i, depth))
    if not images:
        raise InputError([*fatal, *tree.problems, _no_classes(path, tree)])
    bad = tree.problems + [_misplaced(path, i, depth) for i in tree.images if len(i) <= depth]
    sizes, broken = probe(
        [path.joinpath(*i) for i in images],
        max_pixels=options.max_pixels,
        progress=options.progress,
    )
    bad += broken.values()
    good = [row for row in range(len(images)) if row not in broken]
    classes = _classes([images[row] for row in good], depth)
    bad += _empty_classes(path, tree, depth, classes)
    fatal += _spelled_twice(path, classes)
    fatal += _too_few(path, classes)
    if fatal or (bad and not options.skip_bad):
        listed = [] if options.skip_bad else sorted(bad, key=lambda problem: problem.where)
        raise InputError(fatal + listed)
    _warn_of_strays(path, tree, depth)
    items = _items([images[row] for row in good], depth)
    return Dataset(
        items=items.drop("label").with_columns(
            width=pl.Series(sizes[good, 0]), height=pl.Series(sizes[good, 1])
        ),
        annotations=items.select("item_id", "label", annotation_id="item_id").select(
            "annotation_id", "item_id", "label"
        ),
        class_names=tuple(sorted(classes)),
        format="imagefolder",
        root=path.resolve(),
        skipped=tuple(bad),
        source={"depth": depth},
    )


def placed(dataset: Dataset, corrections: pl.DataFrame) -> pl.DataFrame:
    """Say where each image belongs after the corrections: in the folder of its class.

    A label that is no class yet makes a new folder. An image whose name is taken in the other
    folder gets a number, `cat-2.png`; a name is taken if any image has it before the corrections,
    so that they can be carried out, and taken back, in any order. Case and Unicode form do not tell
    names apart, as on many disks they do not.

    Parameters
    ----------
    dataset
        As `read` gave it.
    corrections
        Table with the columns of `labelfix.schema.CORRECTIONS`; `delete` leaves an image out.

    Returns
    -------
    polars.DataFrame
        Columns item_id and path, in item order; path is null for what is left out.

    Raises
    ------
    InputError
        If a correction cannot be carried out, or a label is no legal folder name.

    Examples
    --------
    >>> import tempfile, labelfix
    >>> from PIL import Image
    >>> from labelfix.schema import CORRECTIONS
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
    ...         Path(folder, name).parent.mkdir(exist_ok=True)
    ...         Image.new("L", (8, 8)).save(Path(folder, name))
    ...     dataset = labelfix.read(folder)
    >>> row = {"action": "set_label", "item_id": "cat/a.png", "annotation_id": "cat/a.png"}
    >>> corrections = pl.DataFrame([{**row, "label": "dog"}], schema=CORRECTIONS)
    >>> placed(dataset, corrections)["path"].to_list()
    ['dog/a-2.png', 'cat/b.png', 'dog/a.png']
    """
    depth = dataset.source["depth"]
    plans = plan_labels(dataset, corrections)
    _refuse_folder_names(dataset, plans)
    paths: dict[str, str | None] = dict(zip(*[dataset.items["item_id"]] * 2, strict=True))
    taken = {_alike(path) for path in paths}
    for item, _, label in plans.iter_rows():
        parts = item.split("/")
        paths[item] = label and _free([*parts[: depth - 1], label, *parts[depth:]], taken)
    _refuse_other_layout([path for path in paths.values() if path], depth)
    return pl.DataFrame(
        {"item_id": list(paths), "path": list(paths.values())}, schema_overrides={"path": pl.String}
    )


def _alike(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _free(parts: list[str], taken: set[str]) -> str:
    """Find a name that is not taken, and take it."""
    *folders, name = parts
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 # a name, not a path
    names = (name if number == 1 else f"{stem}-{number}{suffix}" for number in itertools.count(1))
    path = next(path for one in names if _alike(path := "/".join([*folders, one])) not in taken)
    taken.add(_alike(path))
    return path


def _refuse_folder_names(dataset: Dataset, plans: pl.DataFrame) -> None:
    known = {_alike(name): name for name in dataset.class_names}
    problems = []
    for label in plans["label"].drop_nulls().unique(maintain_order=True):
        if label in dataset.class_names:
            continue
        where = f"label {label!r}"
        if reason := _why_no_folder(label):
            problems.append(Problem(where, f"no legal folder name: {reason}", "another name"))
        elif _alike(label) in known:
            found = f"a new class that differs from {known[_alike(label)]!r} in case or form only"
            problems.append(Problem(where, found, "one spelling"))
    if problems:
        raise InputError(problems)


def _why_no_folder(label: str) -> str:
    """Say why a label cannot name a folder that is read back as it is; "" if it can.

    Examples
    --------
    >>> _why_no_folder("great white shark"), _why_no_folder("cat/dog"), _why_no_folder(".cat")
    ('', "it has '/' in it", 'it begins with a dot, so it would be hidden')
    """
    if bad := sorted({sign for sign in label if sign in _NOT_IN_NAMES or sign < " "}):
        return f"it has {bad[0]!r} in it"
    if _is_litter(label):
        return (
            "it begins with a dot, so it would be hidden"
            if label[0] == "."
            else "it is passed over"
        )
    if not _is_utf8(label) or len(label.encode()) > MOST_BYTES:
        return f"it is not {MOST_BYTES} bytes of UTF-8 or less"
    if label != label.strip() or label.endswith("."):
        return "it begins or ends with a blank, or ends with a dot"
    if label.partition(".")[0].rstrip().casefold() in _DEVICES:
        return "Windows keeps it for a device"
    return ""


def _refuse_other_layout(paths: list[str], depth: int) -> None:
    """See that the folders would be read as they were: classes at the top, or below splits."""
    tree = _Tree(images=[tuple(path.split("/")) for path in paths])
    if _depth(Path(), tree) != (depth, []):
        raise InputError(
            Problem(
                "the corrected folders",
                "class folders that could be taken for splits, or splits for classes",
                "names that tell them apart",
            )
        )


@dataclass
class _Tree:
    """What lies below the root, each as the parts of its path from there."""

    images: list[_Parts] = field(default_factory=list)
    strays: list[_Parts] = field(default_factory=list)
    folders: list[_Parts] = field(default_factory=list)
    closed: set[_Parts] = field(default_factory=set)
    """Folders that may not be read."""
    problems: list[Problem] = field(default_factory=list)


def _walk(root: Path, shown: Path) -> _Tree:
    """List images, other files and folders. Links to folders are not followed."""
    tree = _Tree()

    def refuse(error: OSError) -> None:
        folder = str(error.filename)
        tree.closed.add(Path(folder).relative_to(root).parts)
        found = "a folder that may not be read"
        tree.problems.append(Problem(folder, found, fix="change its permissions"))

    for folder, folders, files in os.walk(root, onerror=refuse):
        above = Path(folder).relative_to(root).parts
        folders[:] = [name for name in folders if not _is_litter(name)]
        for name in [*folders, *filter(lambda name: not _is_litter(name), files)]:
            full = os.path.join(folder, name)  # noqa: PTH118 # 20 times Path's speed
            if problem := _unusable(full, name, root):
                tree.problems.append(Problem(_shown(shown.joinpath(*above, name)), *problem))
            elif name in folders:
                tree.folders.append((*above, name))
            else:
                (tree.images if has_image_name(name) else tree.strays).append((*above, name))
        folders[:] = [name for name in folders if _is_utf8(name)]
    return tree


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _shown(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unusable(full: str, name: str, root: Path) -> tuple[str, str, str] | None:
    """Say what is wrong with a name or a link, as found, expected, fix."""
    if not _is_utf8(name):
        return "a name that is not UTF-8", "", "rename it"
    if not os.path.islink(full):  # noqa: PTH114 # as above
        return None
    target = Path(full).resolve()
    if not target.is_relative_to(root):
        return f"a link to {_shown(target)}", "a file inside the dataset", "copy it here"
    if target.is_dir():
        return "a link to a folder", "a folder", "copy it here, or remove it"
    return None


def _key(image: _Parts, depth: int) -> tuple[_Parts, str, str]:
    return image[:depth], "/".join(image[:-1]), image[-1]


def _depth(path: Path, tree: _Tree) -> tuple[int, list[Problem]]:
    """Find how many folders say what an image is: 1 with classes at the top, 2 below splits."""
    tops = sorted({image[0] for image in tree.images if len(image) > 1})
    splits = [name for name in tops if name.lower() in SPLITS]
    if tops and len(splits) == len(tops):
        return 2, []
    if len(splits) < 2:  # one class may well be called "train"
        return 1, []
    others = ", ".join(name for name in tops if name not in splits)
    found = f"splits ({', '.join(splits)}) beside other folders ({others})"
    return 1, [Problem(str(path), found, "splits only, or classes only", "move the others")]


def _no_classes(path: Path, tree: _Tree) -> Problem:
    tables = [stray[0] for stray in tree.strays if len(stray) == 1 and is_table(Path(stray[0]))]
    hint = f", or read {path / tables[0]} instead" if tables else ""
    images = count(len(tree.images), "image") + ", but no class folders"
    fix = f"put the images of each class into a folder of its name{hint}"
    found = images if tree.images else "no image"
    return Problem(str(path), found, "class/image or split/class/image", fix)


def _misplaced(path: Path, image: _Parts, depth: int) -> Problem:
    expected = "one in a class folder" if depth == 1 else "one in a class folder of its split"
    return Problem(str(path.joinpath(*image)), "an image of no class", expected, "move it")


def _classes(images: list[_Parts], depth: int) -> dict[str, set[str]]:
    """By class name: the splits that have images of it."""
    found: dict[str, set[str]] = defaultdict(set)
    for image in images:
        found[image[depth - 1]].add(image[0] if depth == 2 else "")
    return found


def _empty_classes(
    path: Path, tree: _Tree, depth: int, classes: dict[str, set[str]]
) -> list[Problem]:
    """Name class folders without a usable image in any split."""
    tops = {image[0] for image in tree.images if len(image) > 1}
    return [
        Problem(
            str(path.joinpath(*folder)),
            "an empty class",
            "at least one image",
            "fill it, or remove the folder",
        )
        for folder in tree.folders
        if len(folder) == depth
        and folder[-1] not in classes
        and folder not in tree.closed
        and (depth == 1 or folder[0] in tops)
    ]


def _spelled_twice(path: Path, classes: dict[str, set[str]]) -> list[Problem]:
    """Name classes that differ in case or Unicode form only; side by side they may be meant."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(classes):
        alike[unicodedata.normalize("NFC", name).casefold()].append(name)
    problems = []
    for names in alike.values():
        found = "classes that differ in case or Unicode form only: " + ", ".join(map(repr, names))
        if len(names) > 1 and not set.intersection(*(classes[name] for name in names)):
            problems.append(Problem(str(path), found, "one spelling", "rename the folders"))
        elif len(names) > 1:
            warn_caller(f"{path}: {found}")
    return problems


def _too_few(path: Path, classes: dict[str, set[str]]) -> list[Problem]:
    if len(classes) > 1:
        return []
    found = f"one class only, {next(iter(classes))!r}" if classes else "no image that can be read"
    fix = "a label can be wrong only where another would be possible" if classes else ""
    return [Problem(str(path), found, "images of two classes or more", fix)]


def _warn_of_strays(path: Path, tree: _Tree, depth: int) -> None:
    """Say which files in class folders were passed over."""
    strays = sorted("/".join(stray) for stray in tree.strays if len(stray) > depth)
    if strays:
        more = f" and {len(strays) - 5:,} more" if len(strays) > 5 else ""
        warn_caller(
            f"{path}: passed over {count(len(strays), 'file')}, no image by name: "
            f"{', '.join(strays[:5])}{more}"
        )


def _items(images: list[_Parts], depth: int) -> pl.DataFrame:
    paths = ["/".join(image) for image in images]
    columns = {"item_id": paths, "path": paths, "label": [image[depth - 1] for image in images]}
    if depth == 2:
        columns["split"] = [SPLITS[image[0].lower()] for image in images]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
