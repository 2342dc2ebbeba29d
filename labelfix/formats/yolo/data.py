"""The YAML of a YOLO dataset, and the images that it leads to."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.formats.files import digest, inside
from labelfix.formats.oddities import name_classes
from labelfix.images import SUFFIXES
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Data",
    "Listed",
    "Listing",
    "data_file",
    "label_path",
    "list_images",
    "load_data",
    "named_items",
    "other_files",
]

SPLITS = ("train", "val", "test")
BOM = b"\xef\xbb\xbf"

_LOOKS = [re.compile(rf"^(?:{keys})\s*:", re.MULTILINE) for keys in ("train|val", "names|nc")]


def data_file(path: Path) -> Path | None:
    """Find the YOLO data file that `path` is, or the one in the folder that it is."""
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in {".yaml", ".yml"})
        found = [file for file in files if _looks_like_data(file)]
        named = [file for file in found if file.stem == "data"]
        return (named or found)[0] if len(found) == 1 or len(named) == 1 else None
    is_yaml = path.suffix.lower() in {".yaml", ".yml"} and path.is_file()
    return path if is_yaml and _looks_like_data(path) else None


def _looks_like_data(file: Path) -> bool:
    with file.open("rb") as handle:
        head = handle.read(1 << 20).decode("utf-8", "replace")
    return all(pattern.search(head) for pattern in _LOOKS)


@dataclass(frozen=True)
class Data:
    """What a data file says."""

    file: Path
    root: Path
    base: Path
    """What its paths are relative to: the root or a folder in it."""
    class_names: tuple[str, ...]
    entries: tuple[tuple[str, str], ...]
    """Split and path, as written."""
    says_polygons: bool = False


def load_data(file: Path, root: Path | None) -> Data:
    """Read a data file; `root` is used instead of the folder that it names.

    Raises
    ------
    InputError
        Naming all that cannot be used: keypoints, oriented boxes, class names that do not fit.
    """
    config = _parse_yaml(file)
    problems: list[Problem] = []
    if "kpt_shape" in config or config.get("task") == "pose":
        problems.append(Problem(file.name, "keypoints", "boxes or polygons"))
    if config.get("task") == "obb":
        problems.append(Problem(file.name, "oriented boxes (task: obb)", "boxes or polygons"))
    names, found = _class_names(config, file.name)
    entries = [
        (split, entry)
        for split in SPLITS
        for entry in _as_list(config.get(split) or (split == "val" and config.get("validation")))
    ]
    if not entries:
        problems.append(Problem(file.name, "no images", "train or val: a folder or a list"))
    if problems + found:
        raise InputError(problems + found)
    class_names = name_classes(names, range(len(names)), file.name)
    home = file.parent.absolute()
    says_polygons = config.get("task") == "segment"
    data = Data(file, home, home, class_names, tuple(entries), says_polygons)
    return _find_root(data, config.get("path"), root)


def _parse_yaml(file: Path) -> dict[str, Any]:
    import yaml  # only here: reading other formats should not pay for it

    try:
        # BaseLoader makes strings, lists and dicts only: safe, and a class named `no` stays `no`
        config = yaml.load(file.read_bytes(), Loader=yaml.BaseLoader)  # noqa: S506 # see above
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        found = f"broken YAML ({getattr(error, 'problem', None) or error})"
        raise InputError(Problem(file.name, found, line=line)) from error
    if not isinstance(config, dict):
        raise InputError(Problem(file.name, "no keys", "train, val and names"))
    return config


def _as_list(value: object) -> list[str]:
    return (
        [str(v) for v in value if v] if isinstance(value, list) else [str(value)] if value else []
    )


def _class_names(config: Mapping[str, Any], where: str) -> tuple[list[str], list[Problem]]:
    names, number = config.get("names"), str(config.get("nc", ""))
    if number and not number.isdecimal():
        return [], [Problem(where, f"nc: {number}", "a number of classes")]
    if names is None:
        return [f"class_{i}" for i in range(int(number or 0))], []
    if isinstance(names, dict):
        try:
            by_id = {int(key): str(name) for key, name in names.items()}
        except ValueError as error:
            return [], [Problem(where, f"names with a key that is no class id ({error})")]
        if sorted(by_id) != list(range(len(by_id))):
            return [], [Problem(where, "names with gaps in the class ids", "0, 1, 2, …")]
        names = [by_id[i] for i in range(len(by_id))]
    if not isinstance(names, list):
        return [], [Problem(where, f"names: {names}", "a list, or a mapping from class ids")]
    if number and int(number) != len(names):
        return [], [Problem(where, f"nc: {number} and {len(names)} names", "as many names as nc")]
    return [str(name) for name in names], []


def _find_root(data: Data, path: str | None, given: Path | None) -> Data:
    """Take the first of the folders that could be meant in which any of the images are."""
    home = data.file.parent.absolute()
    folders = [given.absolute()] if given else [home / path, home] if path else [home]
    folders = [Path(os.path.normpath(folder)) for folder in folders]
    for folder in folders:
        there = replace(data, root=folder, base=folder)
        places = [place for _, entry in data.entries if (place := _resolve(there, entry))]
        if places:
            if folder != folders[0]:
                warn_caller(
                    f"{data.file.name}: path {path!r} does not lead to the images; "
                    f"they were found beside the file"
                )
            return replace(there, root=_lift(folder, places))
    return replace(data, root=folders[0], base=folders[0])


def _lift(root: Path, places: Sequence[str]) -> Path:
    """Go up to the folder that holds `images` and `labels` where `root` is inside `images`."""
    if "images" not in root.parts or any("images" in PurePosixPath(p).parts for p in places):
        return root
    last = len(root.parts) - 1 - root.parts[::-1].index("images")
    above = Path(*root.parts[:last])
    return above if (above / "labels").is_dir() else root


def _resolve(data: Data, entry: str) -> str | None:
    """Path of a split relative to the root, if it is there.

    Some exporters write `../train/images` into a file that lies beside `train`; like Ultralytics,
    such a path is also tried without its first `..`.
    """
    for text in (entry, entry.removeprefix("../")):
        place = inside(data.root, data.base / text)
        if place is not None and (data.root / place).exists():
            return place
    return None


class Listed(NamedTuple):
    """One image, and where it was found."""

    item_id: str
    split: str
    where: str
    line: int | None


class Listing(NamedTuple):
    """The images of a dataset, and where they were listed."""

    images: list[Listed]
    lists: list[str]
    """Text files that name images."""
    folders: list[str]
    """Folders that all images were taken from."""
    problems: list[Problem]


def list_images(data: Data) -> Listing:
    """List all images in the order of the splits, each once."""
    images: dict[str, Listed] = {}
    found = Listing([], [], [], [])
    again = 0
    for split, entry in data.entries:
        place = _resolve(data, entry)
        if place is None:
            found.problems.append(_unresolved(data, split, entry))
            continue
        if (data.root / place).is_dir():
            found.folders.append(place)
            named = _in_folder(data.root, place, split)
        else:
            found.lists.append(place)
            named, bad = _in_list(data, place, split)
            found.problems.extend(bad)
        again += sum(images.setdefault(image.item_id, image) is not image for image in named)
    if again:
        warn_caller(
            f"{count(again, 'image')} listed more than once; each is taken in its first split only"
        )
    listed = list(images.values())
    _warn_of_shared_files(listed)
    return found._replace(images=listed)


def _unresolved(data: Data, split: str, entry: str) -> Problem:
    found = f"{split}: {entry}, which "
    if inside(data.root, data.base / entry) is None:
        found += f"leaves the dataset's root {data.root}"
    else:
        found += f"is not in {data.base}"
    fix = "let `path:` name the folder that everything is in, or give `images`"
    return Problem(data.file.name, found, "a folder or a list of images", fix)


def _in_folder(root: Path, place: str, split: str) -> list[Listed]:
    """Images in a folder and its subfolders, by path."""
    found = []
    for folder, _, files in os.walk(root / place):
        relative = inside(root, folder)
        prefix = "" if relative == "." else f"{relative}/"
        found += [
            prefix + name
            for name in files
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")  # noqa: PTH122 # a Path for each of a million names is slow
        ]
    return [Listed(item, split, place, None) for item in sorted(found)]


def _in_list(data: Data, place: str, split: str) -> tuple[list[Listed], list[Problem]]:
    """Images that a text file names, from its own folder or from what the data file names."""
    root = data.root
    try:
        lines = (root / place).read_bytes().removeprefix(BOM).decode().splitlines()
    except UnicodeDecodeError as error:
        return [], [Problem(place, f"text that is not UTF-8 ({error})")]
    found, problems = [], []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        items = named_items(root, data.base, place, text)
        here = next((item for item in items if (root / item).is_file()), None)
        if here:
            found.append(Listed(here, split, place, number))
        elif items:
            problems.append(Problem(place, f"{text}, which is not there", "an image", line=number))
        else:
            expected = f"a path inside {root}"
            problems.append(Problem(place, f"{text}, which leaves the root", expected, line=number))
    return found, problems


def named_items(root: Path, base: Path, place: str, text: str) -> list[str]:
    """Give the items that a line of the list at `place` can mean, the likelier one first."""
    beside = (root / place).parent
    return [item for folder in (beside, base) if (item := inside(root, folder / text))]


def label_path(item_id: str) -> str:
    """Where the label file of an image is.

    Examples
    --------
    >>> label_path("images/train/images/a.b.JPG")
    'images/train/labels/a.b.txt'
    >>> label_path("train/a.jpg")
    'train/a.txt'
    """
    folder, _, name = item_id.rpartition("/")
    parts = folder.split("/")
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return "/".join([*parts, name.rpartition(".")[0] + ".txt"]).lstrip("/")


def _warn_of_shared_files(listed: list[Listed]) -> None:
    """Say which images differ in their suffix only, so that they have one label file."""
    owners: dict[str, str] = {}
    pairs = []
    for image in listed:
        owner = owners.setdefault(label_path(image.item_id), image.item_id)
        if owner != image.item_id:
            pairs.append(f"{image.item_id} and {owner}")
    if pairs:
        more = f" and {len(pairs) - 5:,} more" if len(pairs) > 5 else ""
        warn_caller(
            f"images that share a label file: {', '.join(pairs[:5])}{more}; its boxes are taken "
            "for both, and cannot be corrected until one of the images is renamed"
        )


def other_files(data: Data, listing: Listing) -> list[tuple[str, str]]:
    """Name what belongs to the dataset besides its labels, inside the root, with digests.

    That is the data file, the lists, and label files that belong to no image, with a warning.
    """
    orphans = _orphans(data.root, listing)
    named = [path for path in orphans if not path.endswith("/classes.txt")]  # some tools' own list
    if named:
        more = f" and {len(named) - 5:,} more" if len(named) > 5 else ""
        warn_caller(
            f"{count(len(named), 'label file')} without an image, left alone: "
            f"{', '.join(named[:5])}{more}"
        )
    paths = [inside(data.root, data.file.absolute()), *dict.fromkeys(listing.lists), *orphans]
    return [(path, digest((data.root / path).read_bytes())) for path in paths if path]


def _orphans(root: Path, listing: Listing) -> list[str]:
    """Text files in the folders of the labels that are no listed image's."""
    folders = {label_path(f"{folder}/.").removesuffix("/.txt") for folder in listing.folders}
    known = {label_path(image.item_id) for image in listing.images}
    found = [
        path
        for folder in folders.difference(listing.folders)
        for place, _, names in os.walk(root / folder)
        for name in names
        if name.endswith(".txt") and (path := inside(root, Path(place, name)))
    ]
    return sorted(set(found) - known)
