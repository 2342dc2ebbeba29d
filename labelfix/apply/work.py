"""What applying comes to: the files to write, the files to carry over, and where they go."""

from __future__ import annotations

import importlib
import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.apply.conflicts import done_already, find_conflicts
from labelfix.apply.record import APPLIED, MARKS, Choices, files_below
from labelfix.errors import InputError, Problem, warn_caller
from labelfix.images import has_image_name
from labelfix.schema import CORRECTIONS, check
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelfix.schema import Dataset

__all__ = ["MARK_COLUMN", "Work", "plan_work"]

MARK_COLUMN = "labelfix_mark"

_MARKS = {"item_id": pl.String(), "annotation_id": pl.String(), "mark": pl.String()}


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Parameters
    ----------
    dataset
        As it is now.
    corrections, marks
        Those that are carried out.
    conflicts
        Those that are not, if that was allowed.
    choices
        The user's.
    carried
        Columns source and target, paths from the root, and image: files that stay as they are.
        `target` is null for what is left out.
    listed
        Marks for the side file.
    column
        A column to add to a table.
    """

    dataset: Dataset
    corrections: pl.DataFrame
    marks: pl.DataFrame
    conflicts: tuple[Problem, ...]
    choices: Choices
    carried: pl.DataFrame
    listed: pl.DataFrame
    column: tuple[str, dict[str, str]] | None = None
    _effective: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Corrections with the exclusions that marks amount to."""

    @property
    def root(self) -> Path:
        """Folder of the dataset."""
        return self.dataset.root or Path()  # a dataset that was read has a root

    @property
    def moved(self) -> pl.DataFrame:
        """What of `carried` is not where it was."""
        return self.carried.filter(pl.col("target") != pl.col("source")).drop("image")

    @property
    def excluded(self) -> list[str]:
        """What of `carried` is left out."""
        return self.carried.filter(pl.col("target").is_null())["source"].to_list()

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Labels that no item had, in the order of their first use."""
        labels = self.corrections["label"].drop_nulls().unique(maintain_order=True)
        return tuple(name for name in labels if name not in self.dataset.class_names)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Give every file that is written: annotations, and the side file of marks."""
        dataset = self.dataset
        if dataset.format != "imagefolder":
            more: dict[str, Any] = {"column": self.column} if self.column else {}
            module = importlib.import_module(f"labelfix.formats.{dataset.format}")
            if dataset.format == "voc":  # which names its classes in the objects alone
                names = (*dataset.class_names, *self.new_classes)
                dataset = replace(dataset, class_names=names)
            for path, data in module.patched(
                dataset, self._effective, segmentation=self.choices.segmentation, **more
            ):
                yield _safe(path), data
        if not self.listed.is_empty():
            yield MARKS, _as_csv(self.listed)

    def changed(self) -> dict[str, tuple[bytes | None, bytes]]:
        """Old and new content of the files that are not as they were."""
        found: dict[str, tuple[bytes | None, bytes]] = {}
        for path, data in self.files():
            place = self.root / path
            old = place.read_bytes() if place.is_file() else None
            if old != data:
                found[path] = (old, data)
        return found


def plan_work(
    dataset: Dataset,
    corrections: pl.DataFrame,
    marks: pl.DataFrame | None,
    before: Dataset | None,
    choices: Choices,
    *,
    skip_conflicts: bool,
) -> Work:
    """Say what is to be done, or list everything that stands against it.

    Raises
    ------
    InputError
        Naming every conflict, unless they are to be skipped; corrections and choices that the
        format cannot carry out.
    """
    check(corrections, CORRECTIONS, "corrections")
    _refuse_what_was_no_file(dataset)
    marks = pl.DataFrame(schema=_MARKS) if marks is None else marks
    conflicts: dict[str, Problem] = {}
    if before and before.fingerprint != dataset.fingerprint:
        done = done_already(dataset, before).fill_null(value=False)
        corrections = corrections.filter(~done)
        conflicts = find_conflicts(dataset, corrections, before)
    gone = ~marks["item_id"].is_in(dataset.items["item_id"].implode())
    for item in marks["item_id"].filter(gone):
        conflicts.setdefault(item, Problem(item, "an item that is no longer there"))
    if conflicts and not skip_conflicts:
        raise InputError(conflicts.values())
    fits = ~pl.col("item_id").is_in(list(conflicts))
    known = [*CORRECTIONS, *(["reviewer"] if "reviewer" in corrections.columns else [])]
    corrections, marks = corrections.select(known).filter(fits), marks.filter(fits)
    _refuse_new_classes(dataset, corrections)
    effective, listed, column = _carry_out_marks(dataset, corrections, marks, choices)
    return Work(
        dataset,
        corrections,
        marks,
        tuple(conflicts.values()),
        choices,
        _carried(dataset, effective),
        listed,
        column,
        effective,
    )


def _refuse_what_was_no_file(dataset: Dataset) -> None:
    if dataset.format not in {"table", "coco", "yolo", "voc", "imagefolder"}:
        raise InputError(
            Problem(
                f"a dataset of format {dataset.format}",
                "no files to correct",
                "an image folder, a table, COCO, YOLO or VOC",
            )
        )


_NEW_CLASS = {
    "coco": "add it to the categories of the JSON file, and apply again",
    "yolo": "add it at the end of the names in the data file, and apply again",
    "voc": "take a name without blanks at its ends or signs that cannot be shown",
}


def _refuse_new_classes(dataset: Dataset, corrections: pl.DataFrame) -> None:
    """Name the corrections to a class that the files of the dataset have no place for."""
    if dataset.format not in _NEW_CLASS:
        return
    new = corrections.filter(
        pl.col("action").is_in(["set_label", "add_box"]),
        pl.col("label").is_not_null(),
        ~pl.col("label").is_in(list(dataset.class_names)),
    )
    problems = [
        Problem(
            row["item_id"] or "a correction without an item",
            f"label {row['label']!r} for "
            + ("a new box" if (name := row["annotation_id"]) is None else f"annotation {name!r}"),
            f"one of the {count(len(dataset.class_names), 'class', 'classes')} of the dataset",
            _NEW_CLASS[dataset.format],
        )
        for row in new.iter_rows(named=True)
        if dataset.format != "voc" or not _is_plain(row["label"])
    ]
    if problems:
        raise InputError(problems)


def _is_plain(label: str) -> bool:
    """Whether an XML element gives a label back as it is."""
    return label == label.strip() != "" and label.isprintable()


def _carry_out_marks(
    dataset: Dataset, corrections: pl.DataFrame, marks: pl.DataFrame, choices: Choices
) -> tuple[pl.DataFrame, pl.DataFrame, tuple[str, dict[str, str]] | None]:
    """Turn marks into exclusions, rows of the side file and a column, as was chosen."""
    marks = pl.concat([marks, _ignored(dataset, corrections, choices)], how="diagonal_relaxed")
    kept = (
        corrections.join(
            marks.filter(pl.col("mark") == "ignore"), on=["item_id", "annotation_id"], how="anti"
        )
        if not dataset.has_boxes or choices.ignore != "write"
        else corrections
    )
    choice = pl.col("mark").replace_strict(
        {
            "multi_label": choices.multi_label,
            "none_of_the_classes": choices.none_of_the_classes,
            "ignore": "side-file" if choices.ignore == "write" else choices.ignore,
        },
        default="side-file",
        return_dtype=pl.String,
    )
    chosen = marks.with_columns(choice=choice)
    out = chosen.filter(pl.col("choice") == "exclude")
    in_column = chosen.filter(pl.col("choice") == "column")
    if not in_column.is_empty() and dataset.format != "table":
        fix = "choose side-file or exclude"
        raise InputError(Problem("marks in a column", dataset.format, "a table", fix))
    listed = chosen.filter(pl.col("choice") == "side-file").drop("choice")
    words = {row["item_id"]: _in_words(row) for row in in_column.iter_rows(named=True)}
    return (
        _without(kept.select(CORRECTIONS.keys()), out),
        listed,
        (MARK_COLUMN, words) if words else None,
    )


def _ignored(dataset: Dataset, corrections: pl.DataFrame, choices: Choices) -> pl.DataFrame:
    """Corrections that say to ignore, as marks, where the format is not to write them."""
    if dataset.has_boxes and choices.ignore == "write":
        return pl.DataFrame(schema=_MARKS)
    rows = corrections.filter(pl.col("action") == "ignore")
    who = [name for name in ("reviewer",) if name in rows.columns]
    return rows.select("item_id", "annotation_id", *who, mark=pl.lit("ignore"))


def _without(corrections: pl.DataFrame, out: pl.DataFrame) -> pl.DataFrame:
    """Put deletions for all else that is said of what is to be left out."""
    if out.is_empty():
        return corrections
    gone = out.select("item_id", "annotation_id").unique(maintain_order=True)
    deletions = gone.select(
        pl.lit("delete").alias("action"),
        *(
            pl.col(name) if name in gone.columns else pl.lit(None, kind()).alias(name)
            for name, kind in CORRECTIONS.items()
            if name != "action"
        ),
    )
    return pl.concat(
        [corrections.join(gone, on=["item_id", "annotation_id"], how="anti"), deletions]
    )


def _in_words(row: dict[str, Any]) -> str:
    """Write a mark into a cell."""
    labels = row.get("labels")
    return f"{row['mark']}: {json.dumps(labels, ensure_ascii=False)}" if labels else row["mark"]


def _as_csv(marks: pl.DataFrame) -> bytes:
    if "labels" in marks.columns:
        texts = [
            json.dumps(list(one or ()), ensure_ascii=False) for one in marks["labels"].to_list()
        ]
        marks = marks.with_columns(labels=pl.Series(texts, dtype=pl.String))
    sink = io.BytesIO()
    marks.write_csv(sink)
    return sink.getvalue()


def _safe(path: PurePosixPath) -> str:
    if path.is_absolute() or ".." in path.parts:
        raise InputError(Problem(str(path), "a path that leaves the dataset"))
    return str(path)


# ---------------------------------------------------------------- files that are carried over


def _carried(dataset: Dataset, corrections: pl.DataFrame) -> pl.DataFrame:
    if dataset.format == "imagefolder":
        return _all_files(dataset, corrections)
    root = dataset.root or Path()
    images = [path for path in _images(dataset) if (root / path).is_file()]
    gone = pl.col("source").is_in(_left_out(dataset, corrections).implode())
    places = pl.DataFrame({"source": images}, schema={"source": pl.String}).with_columns(
        target=pl.when(~gone).then("source"), image=pl.lit(value=True)
    )
    return pl.concat([places, _as_they_are(_companions(dataset))])


def _as_they_are(paths: list[str]) -> pl.DataFrame:
    """Files that are carried to where they were."""
    image = pl.Series("image", [has_image_name(path) for path in paths], dtype=pl.Boolean)
    source = pl.Series("source", paths, dtype=pl.String)
    return pl.DataFrame([source, source.alias("target"), image])


def _images(dataset: Dataset) -> list[str]:
    """Paths of the images that a dataset's files name, those of broken items too."""
    if dataset.format == "table":
        return list(dataset.source["images"])
    if dataset.format == "coco":
        return dataset.items["path"].to_list() if "path" in dataset.items.columns else []
    return dataset.source["files"]["item_id"].drop_nulls().to_list()  # type: ignore[no-any-return] # a column of text


def _companions(dataset: Dataset) -> list[str]:
    """Other files in the folder of a dataset that has one to itself: lists, licences, masks."""
    root = dataset.root or Path()
    source = dataset.source
    own = dataset.format == "voc" or (dataset.format == "yolo" and source["file"].parent == root)
    if not own:
        return []
    written = {*source["files"]["path"], *(path for path, _ in source.get("others", ()))}
    found = _others(root, written.union(_images(dataset)))
    return [path for path in found if not path.endswith(".cache")]  # of the old folder's labels


def _others(root: Path, known: set[str]) -> list[str]:
    """Files below a folder that are not known, nor hidden, nor of labelfix."""
    found = sorted(set(files_below(root)) - known - {APPLIED, MARKS})
    if odd := [path for path in found if _is_no_text(path)]:
        warn_caller(f"{root}: {count(len(odd), 'file')} with names that are not UTF-8 stay behind")
    runs = tuple(f"{path.removesuffix('run.json')}" for path in found if path.endswith("/run.json"))
    return [
        path
        for path in found
        if not any(part.startswith(".") for part in path.split("/"))
        and not _is_no_text(path)
        and not path.startswith(runs)
        and (root / path).is_file()
    ]


def _is_no_text(path: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in path)


def _left_out(dataset: Dataset, corrections: pl.DataFrame) -> pl.Series:
    """Images of rows that are left out, and of no others."""
    if dataset.format != "table" or "path" not in dataset.items.columns:
        return pl.Series([], dtype=pl.String)
    items = corrections.filter(pl.col("action") == "delete")["item_id"]
    gone = pl.col("item_id").is_in(items.implode())
    stays = dataset.items.filter(~gone)["path"]
    return dataset.items.filter(gone, ~pl.col("path").is_in(stays.implode()))["path"]


def _all_files(dataset: Dataset, corrections: pl.DataFrame) -> pl.DataFrame:
    """Everything below an image folder, the images of items where they belong now."""
    from labelfix.formats.imagefolder import placed

    places = placed(dataset, corrections).select(
        source="item_id", target="path", image=pl.lit(value=True)
    )
    others = _others(dataset.root or Path(), set(places["source"]))
    return pl.concat([places, _as_they_are(others)])
