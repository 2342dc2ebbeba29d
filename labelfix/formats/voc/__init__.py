"""Pascal VOC: an XML file an image, with an `object` for each box.

The files are in a folder called `Annotations`, in any case, or in any other one and the folders
below it; images lie beside them or in `JPEGImages`, `images` and the like next to a folder of them.
A file belongs to the image that is called like it, suffix apart; `filename` decides between
several, and is followed where there is none. `path` is not: it names a place on somebody's machine.

Numbers are pixels from 1, the last ones inside, as VOC has it: x1 = xmin - 1, x2 = xmax. Tools that
write continuous coordinates from 0 under the same names are read with `pixels="continuous"`.

`annotation_id` is the file and the number of the object in it, from 1: `Annotations/a.xml#3`.
Annotations have the columns `difficult`, `truncated` and `occluded`, null where not stated; `crowd`
is `difficult`, which VOC's evaluation neither rewards nor punishes. Class names are sorted.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import polars as pl

from labelfix.boxes import VOC, VOC_CONTINUOUS
from labelfix.errors import Problem, warn_caller
from labelfix.formats.edits import plan
from labelfix.formats.files import digest, inside, lowest_common, patch_files
from labelfix.formats.imagefiles import broken_images, shown_size
from labelfix.formats.numbers import NumberStyle
from labelfix.formats.oddities import keep_or_raise, warn_of_odd_boxes
from labelfix.formats.voc.edit import CORNERS, Manner, rewrite
from labelfix.formats.voc.xml import Element, XmlDocument, XmlError
from labelfix.images import SUFFIXES
from labelfix.schema import BOX, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labelfix.formats import ReadOptions
    from labelfix.formats.edits import Edit, Segmentation
    from labelfix.progress import Progress

__all__ = ["patched", "read", "recognises"]

Pixels = Literal["inclusive", "continuous"]
CONVENTIONS = {"inclusive": VOC, "continuous": VOC_CONTINUOUS}

FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img", "data")
"""Where images are looked for, next to the folder of the annotations."""

FLAGS = ("difficult", "truncated", "occluded")
GLANCE = 200
"""Entries of a folder that `recognises` looks at."""

STYLE_FILES = 200
"""Files looked at to see how a dataset writes its numbers."""


# ---------------------------------------------------------------- recognising


def recognises(path: Path) -> bool:
    """Whether `path` is a folder with VOC files in it, below `Annotations` or one folder down."""
    if not path.is_dir():
        return False
    own = _annotations_folder(path)
    folders = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]
    if own != path:
        folders += [Path(place, name) for place, names, _ in os.walk(own) for name in names]
    return any(_is_voc(file) for folder in folders if (file := _some_xml(folder)))


def _annotations_folder(path: Path) -> Path:
    """Find the folder called `Annotations`, in any case; else give `path` itself."""
    named = sorted(entry for entry in path.iterdir() if entry.name.lower() == "annotations")
    return next((entry for entry in named if entry.is_dir()), path)


def _some_xml(folder: Path) -> Path | None:
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        for _, entry in zip(range(GLANCE), entries, strict=False):
            if _is_xml(entry.name):
                return Path(entry.path)
    return None


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml") and not name.startswith(".")


def _is_voc(file: Path) -> bool:
    with file.open("rb") as text:
        return b"<annotation" in text.read(4096).replace(b"\0", b"")  # UTF-16 has zeros in it


# ---------------------------------------------------------------- one file


class _Object(NamedTuple):
    """One object of a file."""

    number: int
    """From 1, those that cannot be used counted in."""
    line: int
    label: str
    numbers: tuple[str, ...]
    flags: tuple[bool | None, ...]


class _File(NamedTuple):
    """What a file says."""

    path: str
    """From the folder of the annotations."""
    digest: str
    filename: str = ""
    width: int = 0
    height: int = 0
    objects: Sequence[_Object] = ()
    problems: Sequence[Problem] = ()
    is_read: bool = False


def _parse_file(folder: Path, path: str) -> _File:
    data = (folder / path).read_bytes()
    try:
        root = XmlDocument(data).root
        if root.tag != "annotation":
            raise XmlError(f"a document of <{root.tag}>, not <annotation>", root.line)
    except XmlError as error:
        problem = Problem(path, str(error), line=error.line)
        return _File(path, digest(data), problems=[problem])
    size = root.first("size") or Element("", 0, 0)
    width, height = (_whole(size.text_of(name)) for name in ("width", "height"))
    objects, problems = [], []
    for number, element in enumerate(root.all("object"), 1):
        found = _parse_object(number, element)
        if isinstance(found, str):
            problems.append(Problem(f"{path}#{number}", found, line=element.line))
        else:
            objects.append(found)
    name = root.text_of("filename")
    return _File(path, digest(data), name, width, height, objects, problems, is_read=True)


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _parse_object(number: int, element: Element) -> _Object | str:
    """Read an object, or say what is wrong with it."""
    label, boxes = element.text_of("name"), element.all("bndbox")
    if not label:
        return "an object without name"
    if not boxes:
        oriented = "an oriented box (robndbox)" if element.all("robndbox") else "no bndbox"
        return f"an object with {oriented}"
    if len(boxes) > 1:
        return f"an object with {len(boxes)} boxes"
    numbers = tuple(boxes[0].text_of(corner) for corner in CORNERS)
    if bad := [f"{c}: {n!r}" for c, n in zip(CORNERS, numbers, strict=True) if not _is_number(n)]:
        return "a box without numbers (" + ", ".join(bad) + ")"
    flags = tuple(_flag(element.text_of(name)) for name in FLAGS)
    return _Object(number, element.line, label, numbers, flags)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python takes, and nobody else


def _flag(text: str) -> bool | None:
    return text.lower() not in {"0", "false", "no"} if text else None


# ---------------------------------------------------------------- images


class _Images:
    """Finds the image of a file, listing each folder once."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, file: _File) -> Path | str:
        """Give the image's path, or say what is wrong."""
        own = PurePosixPath(file.path)
        name = PurePosixPath(file.filename.replace("\\", "/")).name
        for folder in dict.fromkeys([self.base / own.parent, self.base]):
            alike = self._called(folder, own.stem)
            named = [
                image for image in self._called(folder, PurePosixPath(name).stem) if name == image
            ]
            best = [image for image in alike if image == name] or alike or named
            best = best or self._called(folder, name)  # some write it without suffix
            if len(best) == 1:
                return folder / best[0]
            if best:
                return f"several images ({', '.join(best)}), none of them called {name!r}"
        return f"no image called {own.stem!r}" + (f" or {name!r}" if name else "")

    def _called(self, folder: Path, stem: str) -> list[str]:
        """Images in a folder by their name without suffix."""
        if folder not in self._listed:
            stems: dict[str, list[str]] = {}
            for image in sorted(next(os.walk(folder), ("", [], []))[2]):
                base, suffix = os.path.splitext(image)  # noqa: PTH122 # a Path for each is slow
                if suffix.lower() in SUFFIXES and not image.startswith("."):
                    stems.setdefault(base, []).append(image)
            self._listed[folder] = stems
        return self._listed[folder].get(stem, [])


def _find_images(folder: Path, files: Sequence[_File], given: Path | None) -> _Images | None:
    """Take the folder in which most of a sample of the images are; None if there is none."""
    sample = files[:: max(1, len(files) // 20)]
    # the files may all be in one folder further down: `dataset/annotations` of `dataset`
    homes = [folder / place for place in dict.fromkeys(str(Path(f.path).parent) for f in sample)]
    beside = [home.parent / sub for home in dict.fromkeys([folder, *homes]) for sub in FOLDERS]
    places = [given.absolute()] if given else [folder, *beside]
    images = [_Images(place) for place in places]
    found = [sum(isinstance(one.find(file), Path) for file in sample) for one in images]
    return images[found.index(max(found))] if given or any(found) else None


# ---------------------------------------------------------------- reading


def read(path: Path, options: ReadOptions) -> Dataset:
    """Read a folder of VOC files.

    Parameters
    ----------
    path
        The folder: of the annotations, or the one that holds `Annotations`.
    options
        `images` is the folder of the images, looked for if None; `class_names` the classes in
        their order, else those found, sorted; `voc_pixels` the convention of the numbers.

    Raises
    ------
    InputError
        Naming every file, object and image that cannot be used, with its line.
    """
    folder = _annotations_folder(path).absolute()
    files = _parse_files(folder, options.progress)
    images = _find_images(folder, files, options.images)
    if images is None and files:
        warn_caller(
            f"{path}: no image was found for its files; going on without pictures (give the folder "
            "of the images to have them)"
        )
    root = lowest_common(path.absolute(), images.base) if images else path.absolute()
    shots, problems = _shots(root, folder, files, images)
    shots, broken = _without_broken(root, shots, options)
    problems += broken
    class_names = options.class_names or tuple(sorted({o.label for f in files for o in f.objects}))
    problems += _unknown_labels(shots, set(class_names))
    if not class_names and not problems:
        problems.append(Problem(str(path), "no objects in any file", "some, or class names"))
    items, annotations = _items(shots), _annotations(shots, class_names, options.voc_pixels)
    keep_or_raise(problems, skip_bad=options.skip_bad and not items.is_empty())
    warn_of_odd_boxes(items, annotations)
    tokens = (n for file in files[:STYLE_FILES] for o in file.objects for n in o.numbers)
    return Dataset(
        items=items,
        annotations=annotations,
        class_names=class_names,
        format="voc",
        root=root,
        skipped=tuple(problems),
        source={
            "files": _sources(root, folder, files, shots),
            "pixels": options.voc_pixels,
            "style": NumberStyle.of(tokens, NumberStyle(decimals=0, point=True)),
        },
    )


def _parse_files(folder: Path, progress: Progress | None) -> list[_File]:
    paths = sorted(
        found
        for place, _, names in os.walk(folder)
        for name in names
        if _is_xml(name) and (found := inside(folder, Path(place, name)))
    )
    files = []
    for path in paths:
        files.append(_parse_file(folder, path))
        if progress and (len(files) % 256 == 0 or len(files) == len(paths)):
            progress("reading annotations", len(files), len(paths))
    return files


class _Shot(NamedTuple):
    """A file with its image."""

    item_id: str
    path: str
    """Of the file, from the root."""
    width: int | None
    height: int | None
    has_image: bool
    file: _File


def _shots(
    root: Path, folder: Path, files: Sequence[_File], images: _Images | None
) -> tuple[list[_Shot], list[Problem]]:
    """Files with their images, and all that is wrong with either."""
    shots: dict[str, _Shot] = {}
    problems: list[Problem] = []
    for file in files:
        path = inside(root, folder / file.path) or file.path
        prefix = path.removesuffix(file.path)
        problems += [replace(problem, where=prefix + problem.where) for problem in file.problems]
        if not file.is_read:
            continue
        try:
            shot = _shot(root, folder, file, images)
        except ValueError as error:
            problems.append(Problem(path, str(error), "an image that can be read"))
            continue
        if shot.item_id in shots:
            found = f"the image of {shots[shot.item_id].path}, {shot.item_id}, again"
            problems.append(Problem(path, found, "its own image"))
        else:
            shots[shot.item_id] = shot
    return list(shots.values()), problems


def _without_broken(
    root: Path, shots: list[_Shot], options: ReadOptions
) -> tuple[list[_Shot], list[Problem]]:
    """Leave out images that cannot be read, and say why."""
    seen = [shot.item_id for shot in shots if shot.has_image]  # all or none
    broken = broken_images(root, seen, options.max_pixels, options.progress)
    left = [shot for row, shot in enumerate(shots) if row not in broken]
    return left, list(broken.values())


def _shot(root: Path, folder: Path, file: _File, images: _Images | None) -> _Shot:
    """Find the image of a file, and its size.

    Raises
    ------
    ValueError
        If there is no image, or it cannot be read where the file does not state its size.
    """
    path = inside(root, folder / file.path) or file.path
    width, height = (file.width or None, file.height or None)
    if images is None:
        name = PurePosixPath(file.filename.replace("\\", "/")).name or PurePosixPath(file.path).stem
        item_id = PurePosixPath(path).with_name(name).as_posix()
        return _Shot(item_id, path, width, height, False, file)
    found = images.find(file)
    if isinstance(found, str):
        raise ValueError(found)
    if width is None or height is None:
        width, height = shown_size(found)
    return _Shot(inside(root, found) or "", path, width, height, True, file)


def _unknown_labels(shots: Sequence[_Shot], class_names: set[str]) -> list[Problem]:
    return [
        Problem(shot.path, f"label {one.label!r}", "one of the class names given", line=one.line)
        for shot in shots
        for one in shot.file.objects
        if one.label not in class_names
    ]


def _items(shots: Sequence[_Shot]) -> pl.DataFrame:
    ids = pl.Series("item_id", [shot.item_id for shot in shots], dtype=pl.String)
    sizes = {
        "width": pl.Series([shot.width for shot in shots], dtype=pl.Int64),
        "height": pl.Series([shot.height for shot in shots], dtype=pl.Int64),
    }
    path = {"path": ids} if all(shot.has_image for shot in shots) else {}
    return pl.DataFrame({"item_id": ids, **path, **sizes})


def _annotations(
    shots: Sequence[_Shot], class_names: Sequence[str], pixels: Pixels
) -> pl.DataFrame:
    known = set(class_names)
    rows = [(shot, one) for shot in shots for one in shot.file.objects if one.label in known]
    numbers = np.array([one.numbers for _, one in rows], dtype=np.float64).reshape(-1, 4)
    corners = CONVENTIONS[pixels].to_pixels(numbers)
    flags = {
        name: pl.Series([one.flags[i] for _, one in rows], dtype=pl.Boolean)
        for i, name in enumerate(FLAGS)
    }
    ids = [f"{shot.path}#{one.number}" for shot, one in rows]
    return pl.DataFrame(
        {
            "annotation_id": pl.Series(ids, dtype=pl.String),
            "item_id": pl.Series([shot.item_id for shot, _ in rows], dtype=pl.String),
            "label": pl.Series([one.label for _, one in rows], dtype=pl.String),
            **{edge: corners[:, i] for i, edge in enumerate(BOX)},
            "crowd": flags["difficult"].fill_null(value=False),
            **flags,
        }
    )


def _sources(
    root: Path, folder: Path, files: Sequence[_File], shots: Sequence[_Shot]
) -> pl.DataFrame:
    """Every file, those that cannot be used too: path, digest, and the item it speaks of."""
    items = {shot.path: shot.item_id for shot in shots}
    paths = [inside(root, folder / file.path) or file.path for file in files]
    return pl.DataFrame(
        {
            "path": paths,
            "digest": [file.digest for file in files],
            "item_id": [items.get(path) for path in paths],
        },
        schema={"path": pl.String, "digest": pl.String, "item_id": pl.String},
    )


# ---------------------------------------------------------------- writing


def patched(
    dataset: Dataset,
    corrections: pl.DataFrame,
    *,
    segmentation: Segmentation = "keep",  # noqa: ARG001 # the other formats have some
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Give every file as it must be after the corrections: the same text but for what they name.

    A new object goes behind the last one, with the elements that it has of name, pose, truncated,
    difficult, occluded and bndbox, and in its layout. A box to ignore becomes `difficult`. Numbers
    are written as the file writes its own: where those are whole, new ones are rounded to pixels.

    Parameters
    ----------
    dataset
        As `read` gave it.
    corrections
        Table with the columns of `labelfix.schema.CORRECTIONS`.
    segmentation
        Without meaning here: VOC files have boxes only.

    Returns
    -------
    iterator of tuple
        Path relative to the dataset's root, and content.

    Raises
    ------
    InputError
        If a correction cannot be carried out or a file changed since it was read, before anything
        is given.
    """
    made = plan(dataset, corrections)
    files: pl.DataFrame = dataset.source["files"]
    edits: dict[str, dict[int, Edit]] = {}
    for annotation_id, edit in made.edits.items():
        path, _, number = annotation_id.rpartition("#")
        edits.setdefault(path, {})[int(number)] = edit
    owners = files.filter(pl.col("item_id").is_in(list(made.added)))
    added = {path: made.added[item] for item, path in owners.select("item_id", "path").iter_rows()}
    manner = Manner(CONVENTIONS[dataset.source["pixels"]], dataset.source["style"])
    return patch_files(
        dataset.root or Path(),  # a dataset that was read has a root
        files.select("path", "digest").rows(),
        {**edits, **added},
        lambda path, data: rewrite(data or b"", edits.get(path, {}), added.get(path, []), manner),
    )
