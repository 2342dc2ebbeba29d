"""A corrected dataset in a new folder, built beside it and renamed: whole, or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix._version import __version__
from labelfix.apply.record import (
    APPLIED,
    Choices,
    Record,
    Source,
    contents,
    key,
    read_record,
    write_record,
)
from labelfix.apply.work import plan_work
from labelfix.errors import InputError, Problem, warn_caller
from labelfix.schema import SCHEMA_VERSION
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelfix.apply.work import Work
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["Applied", "apply_corrections", "record_of", "warn_of_empty_classes"]

EVERY = 500
"""Files between two calls of `progress`."""


@dataclass(frozen=True, eq=False)
class Applied:
    """What was done.

    Parameters
    ----------
    to
        The corrected dataset.
    corrections, items
        How many were carried out, and on how many items.
    files
        How many files were written; in place: changed.
    images
        How many images were linked, referenced or copied.
    others
        How many other files were copied: lists, licences.
    copied
        How many of them were copied because the disk has no hard links.
    moved
        Columns source and target: images that are in another folder now.
    excluded
        Images that were left out.
    listed
        How many marks are in the side file.
    conflicts
        What was left out because the dataset changed.
    new_classes
        Labels that no item had before.
    contested
        Annotations that were left as they are because reviewers disagree; new boxes by their item.
    already
        Whether all this had been done before, and nothing was.
    backup
        Of an application in place: where the old files are.
    """

    to: Path
    corrections: int = 0
    items: int = 0
    files: int = 0
    images: int = 0
    others: int = 0
    copied: int = 0
    moved: pl.DataFrame = field(default_factory=pl.DataFrame)
    excluded: tuple[str, ...] = ()
    listed: int = 0
    conflicts: tuple[Problem, ...] = ()
    new_classes: tuple[str, ...] = ()
    contested: tuple[str, ...] = ()
    already: bool = False
    backup: Path | None = None

    @classmethod
    def of(cls, work: Work, to: Path, **figures: Any) -> Applied:  # the figures' own types
        """Describe work that is done."""
        return cls(
            to,
            corrections=work.corrections.height,
            items=work.corrections["item_id"].n_unique(),
            moved=work.moved,
            excluded=tuple(work.excluded),
            listed=work.listed.height,
            conflicts=work.conflicts,
            new_classes=work.new_classes,
            **figures,
        )


def apply_corrections(
    dataset: Dataset,
    corrections: pl.DataFrame,
    to: str | Path,
    *,
    marks: pl.DataFrame | None = None,
    before: Dataset | None = None,
    choices: Choices | None = None,
    skip_conflicts: bool = False,
    run: str | None = None,
    progress: Progress | None = None,
) -> Applied:
    r"""Write a corrected dataset into a new folder, in its own format.

    What no correction names is written as it was read, byte for byte; images are linked. The folder
    is built under another name and renamed at the end. It holds `labelfix-applied.json`, which says
    what was applied from where. The same call again finds it done; another one on the same folder
    is refused.

    Parameters
    ----------
    dataset
        As `labelfix.read` gives it.
    corrections
        Columns as in `labelfix.schema.CORRECTIONS`. With class labels `delete` leaves an item out.
    to
        A folder that does not exist yet, or is empty. Not the dataset's own, nor inside it, unless
        the dataset is a file that names its images (a table, COCO).
    marks
        Columns item_id, annotation_id, mark and more; see `Choices` for what becomes of them.
    before
        The dataset as it was when the corrections were made: those that no longer fit are
        conflicts. None: it has not changed.
    choices
        How to go about it.
    skip_conflicts
        Leave out the items that have a conflict, instead of refusing.
    run
        The run that the corrections come from, for the record.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    InputError
        If there are conflicts, if a correction or choice cannot be carried out, or if the target
        cannot be. Nothing is written then.
    OSError
        If the disk is full or may not be written. Nothing is left behind.

    Examples
    --------
    >>> import tempfile, labelfix
    >>> from labelfix.schema import CORRECTIONS
    >>> row = {"action": "set_label", "item_id": "0", "annotation_id": "0", "label": "b"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "old", "t.csv")
    ...     file.parent.mkdir()
    ...     _ = file.write_text('x,label\n1,"a"\n2,b\n')
    ...     table = pl.DataFrame([row], schema=CORRECTIONS)
    ...     done = apply_corrections(labelfix.read(file), table, Path(folder, "new"))
    ...     Path(done.to, "t.csv").read_text()
    'x,label\n1,"b"\n2,b\n'
    """
    to, choices = Path(to), choices or Choices()
    _refuse_target(to, dataset)
    work = plan_work(dataset, corrections, marks, before, choices, skip_conflicts=skip_conflicts)
    prints = [dataset.fingerprint, (before or dataset).fingerprint]
    record = record_of(work, key(prints, corrections, work.marks, choices), run)
    if _is_done(to, record):
        return Applied.of(work, to, already=True)
    with _built_beside(to) as folder:
        files = _write(folder, work, to)
        copied = _carry(folder, work, progress)
        write_record(folder, _with_contents(record, folder))
    _warn(work, to, copied)
    images = int(_target(work)["image"].sum())
    others = _target(work).height - images
    return Applied.of(work, to, files=files, images=images, others=others, copied=copied)


def record_of(work: Work, digest: str, run: str | None, **more: Any) -> Record:  # fields of Record
    """Make the record of some work."""
    moved = work.moved
    return Record(
        schema_version=SCHEMA_VERSION,
        labelfix=__version__,
        applied=datetime.now(UTC).isoformat(timespec="seconds"),
        run=run,
        dataset=Source(
            format=work.dataset.format,
            root=str(work.root.resolve()),
            fingerprint=work.dataset.fingerprint,
        ),
        choices=work.choices,
        key=digest,
        corrections=_rows(work.corrections),
        marks=_rows(work.marks),
        conflicts=[str(problem) for problem in work.conflicts],
        moved=dict(zip(moved["target"], moved["source"], strict=True)),
        **more,
    )


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in table.iter_rows(named=True)
    ]


def _with_contents(record: Record, folder: Path) -> Record:
    import msgspec

    return msgspec.structs.replace(record, contents=contents(folder))


# ---------------------------------------------------------------- the target


def _refuse_target(to: Path, dataset: Dataset) -> None:
    root = (dataset.root or Path()).resolve()
    real = to.resolve()
    found, fix = "", "give a folder that does not exist yet"
    if real == root:
        found, fix = "the dataset itself", "give another folder, or apply in place"
    elif real.is_relative_to(root) and dataset.format not in {"table", "coco"}:
        found = f"a folder inside the dataset ({root}), which would be read with it"
    elif to.is_symlink():
        found = "a link"
    elif to.exists() and not to.is_dir():
        found = "a file"
    elif to.is_dir() and any(to.iterdir()) and not (to / APPLIED).is_file():
        found = "a folder with other files in it"
    if found:
        raise InputError(Problem(str(to), found, "a new folder", fix))


def _is_done(to: Path, record: Record) -> bool:
    """Whether the folder holds just this.

    Raises
    ------
    InputError
        If it holds something else that was applied, or was changed since.
    """
    if not (to / APPLIED).is_file():
        return False
    there = read_record(to)
    if there.backup is not None:
        found = "a dataset that was corrected in place"
    elif there.key != record.key:
        found = "other corrections, or other choices"
    elif there.contents != contents(to):
        found = "the same corrections, but it was changed since"
    else:
        return True
    fix = f"give another folder, or take it back first: labelfix apply --undo {to}"
    raise InputError(Problem(str(to), found, "a new folder", fix))


@contextlib.contextmanager
def _built_beside(to: Path) -> Iterator[Path]:
    """Lend a folder that takes the place of `to` when the block ends well, and goes otherwise."""
    made = [folder for folder in to.absolute().parents if not folder.exists()]
    folder = to.parent / f".{to.name}.{secrets.token_hex(6)}.labelfix-tmp"
    try:
        folder.mkdir(parents=True)
        yield folder
        if to.exists():
            to.rmdir()
        folder.rename(to)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # ends at the first folder that others use
            for above in made:
                above.rmdir()
        if isinstance(error, OSError):
            what = f"{error.strerror or error}; nothing was written"
            raise OSError(error.errno, what, str(to)) from error
        raise


# ---------------------------------------------------------------- files


def _write(folder: Path, work: Work, to: Path) -> int:
    files = work.files()
    if work.dataset.format == "yolo":
        from labelfix.formats.yolo.relocate import relocated

        files = relocated(work.dataset, files, to.absolute())
    number = 0
    for path, data in files:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            file.write(data)
        number += 1
    return number


def _target(work: Work) -> pl.DataFrame:
    return work.carried.drop_nulls("target")


def _carry(folder: Path, work: Work, progress: Progress | None) -> int:
    """Link or copy what stays as it is; give how many had to be copied."""
    rows = _target(work)
    made: set[str] = set()
    copied = 0
    for done, (source, target, is_image) in enumerate(rows.iter_rows(), 1):
        place = os.path.join(folder, target)  # noqa: PTH118 # 20 times Path's speed
        above = os.path.dirname(place)  # noqa: PTH120 # as above
        if above not in made:
            Path(above).mkdir(parents=True, exist_ok=True)
            made.add(above)
        how = work.choices.images if is_image else "copy"  # who edits a list edits that one alone
        copied += _put(os.path.realpath(work.root / source), place, how)
        if progress and (done % EVERY == 0 or done == rows.height):
            progress("linking images", done, rows.height)
    return copied


def _put(source: str, place: str, how: str) -> bool:
    """Link or copy one file; say whether it was copied though a link was wanted."""
    if how == "reference":
        Path(place).symlink_to(source)
        return False
    if how == "link":
        try:
            Path(place).hardlink_to(source)
        except FileExistsError:
            raise
        except OSError:  # another disk, no hard links, or too many
            pass
        else:
            return False
    shutil.copy2(source, place)
    return how == "link"


def _warn(work: Work, to: Path, copied: int) -> None:
    warn_of_empty_classes(work)
    texts = []
    if copied:
        texts.append(
            f"{count(copied, 'image')} copied, since {to} cannot have hard links to {work.root}"
        )
    if work.choices.images == "reference" and work.dataset.format in {"imagefolder", "table"}:
        texts.append(
            f"{to}: its images are links that leave it, which labelfix does not follow in image "
            "folders and tables; apply with link or copy to run find there"
        )
    for text in texts:
        warn_caller(text)


def warn_of_empty_classes(work: Work) -> None:
    """Say which classes of an image folder have no image any more."""
    if work.dataset.format != "imagefolder":
        return
    depth = work.dataset.source["depth"]
    left = {
        path.split("/")[depth - 1] for path in _target(work)["target"] if path.count("/") >= depth
    }
    empty = [name for name in work.dataset.class_names if name not in left]
    if empty:
        warn_caller(
            f"no image is left of {count(len(empty), 'class', 'classes')}: {', '.join(empty[:5])}"
        )
