"""Datasets as commands read them, and that of a run read again from where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfix.errors import InputError, Problem
from labelfix.run.record import FindOptions

if TYPE_CHECKING:
    from labelfix.progress import Progress
    from labelfix.run.directory import Run
    from labelfix.run.record import Reading, RunRecord
    from labelfix.schema import Dataset

__all__ = ["as_it_was", "read_again", "read_as", "where"]


def read_as(
    path: str | Path,
    options: Reading,
    progress: Progress | None = None,
    **changed: Any,
) -> Dataset:
    """Read a dataset with the options of a command.

    Parameters
    ----------
    path
        What to read.
    options
        How to read it.
    progress
        Called as `progress(what, done, total)`.
    changed
        Arguments of `labelfix.read` that are not as in `options`.

    Raises
    ------
    InputError
        As `labelfix.read`.
    """
    from labelfix.formats import read

    arguments: dict[str, Any] = {
        "format": options.dataset_format,
        "label": options.label,
        "image": options.image,
        "id": options.id,
        "group": options.groups,
        "features": options.features,
        "images": options.images,
        "class_names": options.class_names,
        "voc_pixels": options.voc_pixels,
        "skip_bad": options.skip_bad,
    }
    if isinstance(options, FindOptions) and options.pred_probs:
        arguments |= _not_of_probabilities(path, options)
    return read(path, **arguments | changed, progress=progress)


def _not_of_probabilities(path: str | Path, options: FindOptions) -> dict[str, Any]:
    """Give what is left for the dataset of the options that speak of ready-made probabilities.

    Class names are those of their columns, and where the dataset has no columns, ids are theirs.
    """
    return {"class_names": None, "id": None if Path(path).is_dir() else options.id}


def read_again(
    run: Run,
    root: str | Path | None = None,
    *,
    progress: Progress | None = None,
) -> Dataset:
    """Read the dataset of a run with the options that the run read it with.

    Choices that did nothing, which runs of before they were refused may hold, do nothing again.

    Parameters
    ----------
    run
        From `open_run`.
    root
        Where the dataset is now, if it moved: its folder, or the file that was given to `find`.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    InputError
        If it is not there, saying where it was looked for; if the run was on arrays; as `read`.
    """
    from labelfix.formats import unused

    info = run.info
    name = "table" if info.options.path is None else info.dataset.format
    changed = {"format": name, "images": _images(info, root), **unused(name)}
    return read_as(where(info, root), info.options, progress, **changed)


def as_it_was(run: Run, dataset: Dataset) -> Dataset:
    """Give the dataset as the run saw it: its tables, without what is needed to write files."""
    return replace(
        dataset,
        items=run.items,
        annotations=run.annotations,
        class_names=run.info.dataset.class_names,
        source={},
    )


def where(info: RunRecord, root: str | Path | None = None) -> Path:
    """Find what a run read: where it was, or below another root.

    Raises
    ------
    InputError
        If it is not there, or was an array, which no format can correct.
    """
    from labelfix.formats.tablefile import is_table

    typed = info.options.path or info.options.labels or ""
    if info.options.path is None and not is_table(Path(typed)):
        fix = "put the labels into a table, and find in that"
        raise InputError(Problem(typed, "labels in an array", "a dataset or a table", fix))
    places = list(_places(info, Path(info.dataset.path or typed), root))
    found = next((place for place in places if place.exists()), None)
    if found is None:
        looked = ", ".join(dict.fromkeys(map(str, places)))
        fix = "say where it is now: --root FOLDER"
        raise InputError(Problem(looked, "no such file or folder", "the run's dataset", fix))
    return found


def _images(info: RunRecord, root: str | Path | None) -> Path | None:
    """Find the folder of images that the run was given: as typed, or below the dataset's root."""
    if info.options.images is None or not info.dataset.images:
        return None
    typed = Path(info.options.images)
    if root is None and typed.is_dir():
        return typed
    base = Path(root or info.dataset.root or "")
    ends = [base.joinpath(*typed.parts[start:]) for start in range(len(typed.parts) + 1)]
    return next((folder for folder in ends if folder.is_dir()), typed)


def _places(info: RunRecord, path: Path, root: str | Path | None) -> list[Path]:
    """Where to look, in order."""
    if root is None:
        return [path]
    root = Path(root)
    old = Path(info.dataset.root or path)
    resolved = path.resolve()
    inside = [root / resolved.relative_to(old)] if resolved.is_relative_to(old) else []
    return [*inside, root / path.name, root] if path.suffix else [*inside, root]
