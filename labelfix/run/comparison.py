"""A comparison of models from files to a folder: read, compare, write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelfix._version import __version__
from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem
from labelfix.evaluate.compare import Drop, compare_models
from labelfix.evaluate.versions import Answers, read_material
from labelfix.formats import read
from labelfix.predict.classify import classifier
from labelfix.report.comparison import comparison_page
from labelfix.report.plots import rank_chart
from labelfix.run.record import versions as package_versions
from labelfix.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelfix.evaluate.compare import Comparison
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["DROP", "compare", "write_comparison"]

DROP: tuple[Drop, ...] = ("mislabeled", "all")
LEVEL = 0.95

RECORD, PAGE, CHART = "comparison.json", "comparison.md", "ranks.svg"


def compare(
    predictions: Sequence[str | Path],
    labels: Mapping[str, str | Path],
    corrections: Mapping[str, str | Path] | None = None,
    *,
    out: str | Path,
    images: str | Path | None = None,
    models: Sequence[str] = (),
    class_names: Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002 # the word that users look for
    drop: Sequence[Drop] = DROP,
    draws: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    any_class_order: bool = False,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Compare stored predictions under several versions of the labels, and write a folder.

    Parameters
    ----------
    predictions, labels, corrections, class_names, id
        As in `labelfix.evaluate.versions.read_material`.
    images
        A dataset of images whose given labels are the first version, for `models` to classify.
    models
        As `labelfix.predict.classify.classifier` takes them.
    out
        Folder for the tables (CSV), comparison.md, ranks.svg and comparison.json, which is written
        last. A folder with other files is refused.
    drop, draws, level, seed, any_class_order, progress
        As in `labelfix.evaluate.compare.compare_models`.
    command
        What was typed, for the record.

    Raises
    ------
    InputError
        As those, and if `out` holds something else; for choices that would do nothing, naming each.
    """
    versions = len(labels) + len(corrections or {}) + (images is not None)
    _refuse_idle(versions, tuple(drop), draws, level)
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / RECORD).exists())):
        raise InputError(Problem(str(out), "other files", "a new folder, or one of a comparison"))
    dataset = None if images is None else read(images, progress=progress)
    material = read_material(
        predictions,
        labels,
        corrections,
        class_names=class_names,
        id=id,
        dataset=dataset,
        more=_classified(dataset, models, progress),
    )
    found = compare_models(
        material.answers,
        material.versions,
        drop=drop,
        draws=draws,
        level=level,
        seed=seed,
        any_class_order=any_class_order,
        progress=progress,
    )
    given = {
        "predictions": [str(one) for one in predictions],
        "images": None if images is None else str(images),
        "models": list(models),
        "labels": {name: str(path) for name, path in labels.items()},
        "corrections": {name: str(path) for name, path in (corrections or {}).items()},
        "drop": list(drop),
    }
    write_comparison(found, out, given=given, command=command)
    return found


def _refuse_idle(versions: int, drop: tuple[Drop, ...], draws: int, level: float) -> None:
    """Refuse what needs two versions, or draws."""
    problems = []
    if versions < 2 and drop != DROP:
        expected = "another version, which says what is mislabeled"
        problems.append(Problem("--drop", "one version of the labels", expected))
    if draws == 0 and level != LEVEL:
        problems.append(Problem("--level", f"{level} beside --draws 0", "draws, or leave it away"))
    if problems:
        raise InputError(problems)


def _classified(
    dataset: Dataset | None,
    models: Sequence[str],
    progress: Progress | None,
) -> list[Answers]:
    """Run the models over the images, once all of them are seen to be there."""
    if not models:
        return []
    if dataset is None:
        raise InputError(Problem("models", "models, and no images", "a dataset of images"))
    problems: list[Problem] = []
    for name in models:
        try:
            classifier(name).check(dataset)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    found = []
    for name in models:
        top, class_names = classifier(name).answers(dataset, progress=progress)
        found.append(Answers(name, top, dataset.items["item_id"], class_names))
    return found


def write_comparison(
    found: Comparison,
    out: Path,
    *,
    given: Mapping[str, object] | None = None,
    command: Sequence[str] = (),
) -> None:
    """Write the tables, the page, the picture, and last the record."""
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "schema_version": SCHEMA_VERSION,
        "labelfix": __version__,
        "command": list(command),
        "options": {
            "draws": found.draws,
            "level": found.level,
            "seed": found.seed,
            **(given or {}),
        },
        "versions": package_versions(),
    }
    files = {f"{name}.csv": table.write_csv().encode() for name, table in found.tables().items()}
    files[PAGE] = f"# Models compared\n\n{comparison_page(found, CHART)}\n".encode()
    files[CHART] = rank_chart(found.accuracy)
    files[RECORD] = msgspec.json.format(msgspec.json.encode(record), indent=2)
    for name, content in files.items():
        with replacing(out / name) as file:
            file.write(content)
