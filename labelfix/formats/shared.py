"""What the box formats share: paths and sizes, corrections in order, numbers that look alike.

A correction changes what it names and nothing else. `plan` turns a table of corrections into what
is to become of each annotation, or lists every correction that cannot be carried out. `digest` and
`check_unchanged` see that a file is still the one that was read. `NumberStyle` writes new numbers
the way a file writes its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from PIL import Image

from labelfix.boxes import ODDITIES, oddities
from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.images import FORMATS, MAX_PIXELS
from labelfix.schema import BOX, CORRECTIONS, check
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from labelfix.boxes import Convention
    from labelfix.schema import Dataset

__all__ = [
    "Box",
    "Edit",
    "NumberStyle",
    "Plan",
    "Segmentation",
    "broken_images",
    "check_unchanged",
    "digest",
    "inside",
    "keep_or_raise",
    "lowest_common",
    "name_classes",
    "odd_boxes",
    "patch_files",
    "plan",
    "plan_labels",
    "read_as_was",
    "shown_size",
    "warn_of_odd_boxes",
]

Box = tuple[float, float, float, float]
Segmentation = Literal["keep", "drop"]
"""What happens to the polygon or mask of an annotation whose box is corrected."""

ACTIONS = ("set_label", "set_box", "add_box", "delete", "ignore")


@dataclass(slots=True)
class Edit:
    """What is to become of one annotation; None and False leave that part alone."""

    label: str | None = None
    box: Box | None = None
    ignore: bool = False
    delete: bool = False


@dataclass(frozen=True)
class Plan:
    """Corrections by what they change.

    Parameters
    ----------
    edits
        By annotation_id. What a correction would leave as it is, is not among them.
    added
        New boxes with their labels by item_id, in the order of the corrections.
    """

    edits: dict[str, Edit] = field(default_factory=dict)
    added: dict[str, list[tuple[str, Box]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.edits or self.added)


def plan(dataset: Dataset, corrections: pl.DataFrame) -> Plan:
    """Sort corrections by annotation, after holding each of them to the dataset.

    Raises
    ------
    InputError
        Naming every correction of an unknown action, item, annotation or class, with a box that is
        none, or in contradiction to another one.
    """
    check(corrections, CORRECTIONS, "corrections")
    rows = _with_current(dataset, corrections)
    problems = [*_misfits(dataset, rows), *_contradictions(rows)]
    if problems:
        raise InputError(problems)
    made = Plan()
    for row in _effective(rows).iter_rows(named=True):
        _put(made, row)
    return made


def _put(made: Plan, row: dict[str, object]) -> None:
    box = tuple(row[edge] for edge in BOX)
    if row["action"] == "add_box":
        made.added.setdefault(str(row["item_id"]), []).append((str(row["label"]), box))  # type: ignore[arg-type] # floats, as `check` saw
        return
    edit = made.edits.setdefault(str(row["annotation_id"]), Edit())
    match row["action"]:
        case "set_label":
            edit.label = str(row["label"])
        case "set_box":
            edit.box = box  # type: ignore[assignment] # floats, as `check` saw
        case "ignore":
            edit.ignore = True
        case _:
            edit.delete = True


def _with_current(dataset: Dataset, corrections: pl.DataFrame) -> pl.DataFrame:
    """Corrections with what they would change beside them, in `now_…` columns."""
    now = dataset.annotations.select(
        "annotation_id",
        pl.col("item_id", "label", *BOX).name.prefix("now_"),
    )
    items = dataset.items.select("item_id", is_item=pl.lit(value=True))
    return (
        corrections.select(CORRECTIONS.keys())
        .with_row_index("row")
        .join(now, on="annotation_id", how="left", maintain_order="left")
        .join(items, on="item_id", how="left", maintain_order="left")
    )


def _misfits(dataset: Dataset, rows: pl.DataFrame) -> Iterator[Problem]:
    action, box = pl.col("action"), [pl.col(edge) for edge in BOX]
    names_annotation = action.is_in(["set_label", "set_box", "delete", "ignore"])
    is_finite = pl.all_horizontal(*(edge.is_finite().fill_null(value=False) for edge in box))
    is_box = is_finite & (box[2] > box[0]) & (box[3] > box[1])
    known = pl.col("label").is_in(list(dataset.class_names)).fill_null(value=False)
    tests = [
        (
            action.is_in(ACTIONS).fill_null(value=False).not_(),
            "action {action!r}",
            "one of " + ", ".join(ACTIONS),
        ),
        (
            names_annotation & pl.col("now_item_id").is_null(),
            "annotation {annotation_id!r}",
            "an annotation of the dataset",
        ),
        (
            names_annotation & (pl.col("now_item_id") != pl.col("item_id")),
            "annotation {annotation_id!r} with item {item_id!r}",
            "its own item",
        ),
        (
            (action == "add_box") & pl.col("is_item").is_null(),
            "a box for item {item_id!r}",
            "an item of the dataset",
        ),
        (
            (action == "add_box") & pl.col("annotation_id").is_not_null(),
            "a new box called {annotation_id!r}",
            "none: the format names new boxes",
        ),
        (
            action.is_in(["set_label", "add_box"]) & ~known,
            "label {label!r}",
            f"one of the {count(len(dataset.class_names), 'class', 'classes')} of the dataset",
        ),
        (
            (action == "add_box") & ~is_box,
            "box ({x1}, {y1}, {x2}, {y2})",
            "finite corners with x1 < x2 and y1 < y2",
        ),
        (  # an inverted box may be what an undone correction brings back
            (action == "set_box") & ~is_finite,
            "box ({x1}, {y1}, {x2}, {y2})",
            "finite corners",
        ),
    ]
    yield from _failing(rows, tests)


def _failing(rows: pl.DataFrame, tests: list[tuple[pl.Expr, str, str]]) -> Iterator[Problem]:
    """Name the corrections that fail a test."""
    for test, found, expected in tests:
        for row in rows.filter(test).iter_rows(named=True):
            yield Problem(f"corrections, row {row['row']}", found.format(**row), expected)


def plan_labels(dataset: Dataset, corrections: pl.DataFrame) -> pl.DataFrame:
    """Sort out corrections of class labels, after holding each of them to the dataset.

    A label that is no class yet makes a new one.

    Returns
    -------
    polars.DataFrame
        Columns item_id, given_label and label: the new one, null where the item is to be left out.
        What a correction would leave as it is, is not in it.

    Raises
    ------
    InputError
        Naming every correction of an unknown action or item, without a label, or in contradiction
        to another one.
    """
    check(corrections, CORRECTIONS, "corrections")
    given = dataset.annotations.select("annotation_id", now_item_id="item_id", given_label="label")
    rows = (
        corrections.select(CORRECTIONS.keys())
        .with_row_index("row")
        .join(given, on="annotation_id", how="left", maintain_order="left")
    )
    action = pl.col("action")
    known = action.is_in(["set_label", "delete"]).fill_null(value=False)
    lost = pl.col("now_item_id").is_null() | (pl.col("now_item_id") != pl.col("item_id"))
    no_label = pl.col("label").is_null() | (pl.col("label") == "")
    problems = [
        *_failing(
            rows,
            [
                (~known, "action {action!r} of a class label", "set_label or delete"),
                (known & lost.fill_null(value=True), "item {item_id!r}", "one of the dataset"),
                ((action == "set_label") & no_label, "no label", "one"),
            ],
        ),
        *_contradictions(rows),
    ]
    if problems:
        raise InputError(problems)
    label = pl.when(action == "set_label").then("label")
    return (
        rows.select("item_id", "given_label", label=label)
        .filter(~pl.col("label").eq(pl.col("given_label")).fill_null(value=False))
        .unique("item_id", keep="first", maintain_order=True)
    )


def _contradictions(rows: pl.DataFrame) -> Iterator[Problem]:
    """Two different values for one annotation, or a deletion beside another change."""
    named = rows.filter(pl.col("annotation_id").is_not_null(), pl.col("action") != "add_box")
    values = pl.struct("label", *BOX)
    for key, found in [
        (["annotation_id", "action"], values.n_unique() > 1),
        (
            ["annotation_id"],
            (pl.col("action") == "delete").any() & (pl.col("action").n_unique() > 1),
        ),
    ]:
        actions = pl.col("action").unique(maintain_order=True).str.join(" and ").alias("actions")
        clashes = named.group_by(key, maintain_order=True).agg(
            pl.col("row").first(), actions, found.alias("clash")
        )
        for row in clashes.filter("clash").iter_rows(named=True):
            yield Problem(
                f"corrections, row {row['row']}",
                f"several corrections ({row['actions']}) of annotation {row['annotation_id']!r}",
                "one that can be carried out",
            )


def _effective(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out what would change nothing."""
    idle_label = (pl.col("action") == "set_label") & (pl.col("label") == pl.col("now_label"))
    idle_box = (pl.col("action") == "set_box") & pl.all_horizontal(
        *(pl.col(edge) == pl.col(f"now_{edge}") for edge in BOX)
    )
    return rows.filter(~idle_label.fill_null(value=False), ~idle_box.fill_null(value=False))


def digest(data: bytes | memoryview) -> str:
    """Hex digest of a file's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_as_was(root: Path, path: str, was: str | None) -> bytes | None:
    """Read a file that must be as it was when the dataset was read.

    Parameters
    ----------
    root
        Folder that `path` is relative to.
    path
        The file.
    was
        Its digest, or None if there was no such file.

    Returns
    -------
    bytes or None
        None if there is no such file, as before.

    Raises
    ------
    InputError
        If it changed, came or went, or cannot be read.
    """
    try:
        data = (root / path).read_bytes()
    except FileNotFoundError:
        data = None
    except OSError as error:
        raise InputError(Problem(path, f"a file that cannot be read ({error})")) from error
    if (None if data is None else digest(data)) == was:
        return data
    found = "a new file" if was is None else "no such file" if data is None else "a changed file"
    raise InputError(Problem(path, found, "the file as it was read", "read the dataset again"))


def check_unchanged(root: Path, files: Iterable[tuple[str, str | None]]) -> None:
    """Hold files, given as path and digest, to what was read.

    Raises
    ------
    InputError
        Naming every file that changed, came or went.
    """
    problems: list[Problem] = []
    for path, was in files:
        try:
            read_as_was(root, path, was)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)


def patch_files(
    root: Path,
    files: Sequence[tuple[str, str | None]],
    touched: Iterable[str],
    rewrite: Callable[[str, bytes | None], bytes],
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Give every file of a dataset, the touched ones rewritten.

    Everything that can be refused is refused now, before the first file is given: memory holds the
    touched files, the others are read one by one when asked for.

    Parameters
    ----------
    root
        Folder that paths are relative to.
    files
        Path and digest of each; None is a file that was missing.
    touched
        The paths that corrections change.
    rewrite
        From a path and the old content to the new one; raises `InputError` for what cannot be.

    Raises
    ------
    InputError
        If any file is not as it was read, or a correction cannot be carried out.
    """
    check_unchanged(root, files)
    was = dict(files)
    done: dict[str, bytes] = {}
    problems: list[Problem] = []
    for path in touched:
        try:
            done[path] = rewrite(path, read_as_was(root, path, was[path]))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return _give(root, files, done)


def _give(
    root: Path, files: Sequence[tuple[str, str | None]], done: Mapping[str, bytes]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    for path, was in files:
        data = done[path] if path in done else read_as_was(root, path, was)
        if data is not None:
            yield PurePosixPath(path), data


def inside(root: Path, path: Path | str) -> str | None:
    """`path` relative to `root` with forward slashes, or None where it leaves `root`.

    `..` is resolved as text and links are not followed: where a link leads is for whoever made it.

    Examples
    --------
    >>> from pathlib import Path
    >>> inside(Path("/data"), Path("/data/a/../b.jpg")), inside(Path("/data"), Path("/data/../b"))
    ('b.jpg', None)
    """
    whole = PurePath(os.path.normpath(root / path))
    base = os.path.normpath(root)
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else None


def lowest_common(one: Path, other: Path) -> Path:
    """Find the lowest folder that both folders are in, one of them perhaps.

    Examples
    --------
    >>> from pathlib import Path
    >>> lowest_common(Path("/a/b/c"), Path("/a/b/d/e")).as_posix()
    '/a/b'
    """
    return next(above for above in (one, *one.parents) if other == above or above in other.parents)


def shown_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read width and height of an image as shown, turned by its EXIF data.

    Raises
    ------
    ValueError
        If it is no image, too large, or cut short.
    """
    with _whole(path, max_pixels) as image:
        width, height = image.size
        sideways = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    return (height, width) if sideways else (width, height)


def broken_images(
    root: Path,
    paths: Sequence[str],
    max_pixels: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[int, Problem]:
    """Find images that are none, too large, or cut short: by row, what is wrong."""
    found: dict[int, Problem] = {}
    folder = os.fspath(root)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of sizes and metadata: looked at here
        for row, path in enumerate(paths):  # threads would wait for each other at every file
            try:
                if not _is_plain_jpeg(f"{folder}/{path}", max_pixels):
                    with _whole(root / path, max_pixels):
                        pass
            except ValueError as error:
                found[row] = Problem(path, f"an image that cannot be read ({error})")
            if progress and (row + 1 == len(paths) or row % 4096 == 4095):
                progress("reading images", row + 1, len(paths))
    return found


def _is_plain_jpeg(path: str, max_pixels: int) -> bool:
    """Whether a file begins and ends as a JPEG image, and is too small for too many pixels.

    That costs a hundredth of a millisecond, and tells nearly all sound photographs. A block of 64
    pixels takes two bits or more, unless it is coded progressively.
    """
    try:
        about = os.stat(path)  # noqa: PTH116 # as open below: half of Path's time
        if not stat.S_ISREG(about.st_mode) or not 4 <= about.st_size <= max_pixels // 256:
            return False  # opening a pipe would wait for ever
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 # as above
            begins = file.read(3) == b"\xff\xd8\xff"
            file.seek(-2, os.SEEK_END)
            return begins and file.read(2) == b"\xff\xd9"
    except OSError:
        return False  # which is said by who opens it next


@contextlib.contextmanager
def _whole(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image that is there to its end.

    Only the header and the end of the file are read, which costs a tenth of a millisecond. Where
    the end is not what a JPEG, PNG or WebP file must end in, the image is decoded to be sure.

    Raises
    ------
    ValueError
        If it is no image, too large, or cut short.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise ValueError("no file")
        with path.open("rb") as file:
            ended = _ended(file)
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ValueError(f"{width} x {height} pixels, more than {max_pixels:,} in all")
                if not ended:
                    image.load()
                yield image
    except Exception as error:  # Pillow raises all kinds on broken files
        raise ValueError(str(error) or type(error).__name__) from error


def _ended(file: BinaryIO) -> bool:
    """Whether a JPEG, PNG or WebP file ends as it must; False for others. Back to its start."""
    head = file.read(12)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    file.seek(0)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return size >= 8 + int.from_bytes(head[4:8], "little")
    is_png = head.startswith(b"\x89PNG") and end == b"IEND\xaeB`\x82"
    return is_png or (head.startswith(b"\xff\xd8") and end.endswith(b"\xff\xd9"))


def keep_or_raise(problems: Sequence[Problem], *, skip_bad: bool) -> None:
    """Raise with all problems, unless the caller asked to go on without what is bad.

    Raises
    ------
    InputError
        If there are any and `skip_bad` is not set.
    """
    if problems and not skip_bad:
        raise InputError(problems)


def name_classes(names: Sequence[str], ids: Sequence[object], where: str) -> tuple[str, ...]:
    """Give classes that share a name one of their own each, with a warning; files keep theirs.

    Examples
    --------
    >>> name_classes(["cat", "dog"], [0, 1], "data.yaml")
    ('cat', 'dog')
    """
    repeated = {name for name, times in Counter(names).items() if times > 1}
    if not repeated:
        return tuple(names)
    warnings.warn(
        f"{where}: {count(len(repeated), 'class name')} used more than once "
        f"({', '.join(sorted(repeated)[:5])}); told apart by their ids in brackets",
        LabelfixWarning,
        stacklevel=2,
    )
    return tuple(
        f"{name} [{key}]" if name in repeated else name
        for name, key in zip(names, ids, strict=True)
    )


def odd_boxes(items: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """Find given boxes that are none: annotation_id, item_id and `oddity`, in words."""
    sizes = annotations.join(
        items.select("item_id", "width", "height"), on="item_id", how="left", maintain_order="left"
    ).select(pl.col("width", "height").cast(pl.Float64).fill_null(float("nan")))
    codes = oddities(annotations.select(BOX).to_numpy(), sizes.to_numpy())
    odd = np.flatnonzero(codes)
    words = pl.Series("oddity", [ODDITIES[code] for code in codes[odd]], dtype=pl.String)
    return annotations.select("annotation_id", "item_id")[odd].with_columns(words)


def warn_of_odd_boxes(
    items: pl.DataFrame, annotations: pl.DataFrame, name: pl.Expr | None = None
) -> None:
    """Say how many given boxes are none, by kind, and name some. They are kept as given.

    `name` is what to call a box, of annotation_id and item_id; None for its annotation_id.
    """
    odd = odd_boxes(items, annotations)
    if odd.is_empty():
        return
    called = pl.col("annotation_id") if name is None else name
    kinds = odd.group_by("oddity").agg(pl.len(), called.head(5))
    kinds = kinds.sort(pl.col("oddity").cast(pl.Enum(ODDITIES)))
    parts = []
    for kind, number, names in kinds.iter_rows():
        more = f" and {number - 5:,} more" if number > 5 else ""
        parts.append(f"{number:,} {kind} ({', '.join(names)}{more})")
    warnings.warn(
        f"{count(odd.height, 'odd box', 'odd boxes')}, kept as given: " + "; ".join(parts),
        LabelfixWarning,
        stacklevel=3,
    )


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a file writes numbers, so that new ones look alike.

    Parameters
    ----------
    decimals
        How many at most.
    fixed
        Every number has that many.
    point
        Whole numbers end in `.0`. Only if not `fixed`.

    Examples
    --------
    >>> NumberStyle.of(["0.500000", "0.250000"]).write([0.5, 0.12345678])
    ['0.500000', '0.12345678']
    >>> NumberStyle.of(["0.5", "1.0"]).write([3.0]), NumberStyle.of(["0.5", "1"]).write([3.0])
    (['3.0'], ['3'])
    """

    decimals: int = 6
    fixed: bool = True
    point: bool = False

    @classmethod
    def of(cls, tokens: Iterable[str], otherwise: NumberStyle | None = None) -> NumberStyle:
        """Tell the style of a file from its numbers, or take the other one where they do not tell.

        They do not where there are none, or where all have as many decimals and none ends in 0:
        whether a zero would be written cannot be seen. Without another style, four decimals and
        more are taken for a fixed number of them.
        """
        decimals = sorted(
            (token.partition(".")[2] for token in tokens if _PLAIN.fullmatch(token)), key=len
        )
        if not decimals:
            return otherwise or cls()
        most = len(decimals[len(decimals) * 9 // 10])  # small numbers have some more in %g
        fixed = len(decimals[0]) == len(decimals[-1]) and {*decimals} != {"0"}
        if fixed and most and not any(text.endswith("0") for text in decimals):
            return replace(otherwise or cls(fixed=most >= FEW), decimals=most)
        whole = sum(not text for text in decimals)
        pointed = sum(bool(text) and not text.strip("0") for text in decimals)
        point = pointed >= whole if whole or pointed else bool(otherwise and otherwise.point)
        return cls(most, fixed=fixed, point=point)

    def of_file(self, tokens: Iterable[str]) -> NumberStyle:
        """Tell the style of one file of a dataset that is written in this one.

        Whole numbers in one file are no reason to round where the dataset has fractions.
        """
        style = NumberStyle.of(tokens, self)
        return style if style.decimals else self

    def fit(self, convention: Convention, box: Box, size: object = None) -> NDArray[np.float64]:
        """Numbers for a box in pixels: exact if that takes no more decimals than the file uses.

        Where it would, they are rounded to the file's decimals, or as many more as keep every edge
        within half a pixel. Files that do not round (ten decimals and more) get exact numbers.
        """
        sizes = None if size is None else [size]
        exact = convention.from_pixels([list(box)], sizes)[0]
        longest = max(len(_positional(value, 0).partition(".")[2]) for value in exact)
        if self.decimals > 9 or longest <= (self.decimals if self.fixed else 9):
            return np.asarray(exact)
        return np.asarray(convention.from_pixels([list(box)], sizes, self.decimals)[0])

    def write(self, values: Iterable[float]) -> list[str]:
        """Write numbers that `fit` chose, never in scientific notation."""
        if self.fixed:
            return [_positional(value, self.decimals) for value in values]
        return [_positional(value, int(self.point)) for value in values]


FEW = 4
"""Decimals from which numbers of one length are taken to be padded; decides looks, not values."""

_PLAIN = re.compile(r"[+-]?\d*\.?\d*")


def _positional(value: float, least: int) -> str:
    text: str = np.format_float_positional(value + 0.0, unique=True, min_digits=least, trim="k")
    return text.rstrip(".")
