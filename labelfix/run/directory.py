"""The run directory: opening one, and writing one so that it is whole or says that it is not.

RUN/run.json            what was run; written last, so a directory that has it is whole
RUN/items.parquet       the dataset's items and given annotations as they were read, so that a
RUN/annotations.parquet queue of any length opens without reading the dataset again
RUN/folds.parquet       which item was held out in which fold; absent with ready-made predictions
RUN/predictions.npy     pred_probs, rows in item order; a copy, so that a run can be mailed
RUN/predictions.parquet predicted boxes, in place of it
RUN/neighbors.npy       the nearest other items of each item; absent without embeddings
RUN/issues.parquet      the ranked queue
RUN/decisions.jsonl     a reviewer's work, if any: never written, moved or removed here
RUN/report.html         one page, opens offline
RUN/.partial/           only while a run is unfinished: the folds that are done
RUN/.lock               only while somebody writes
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from labelfix.atomic import replacing, sweep
from labelfix.errors import InputError, Problem, RunError
from labelfix.run.lock import LOCK, locked
from labelfix.run.record import RunRecord, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = [
    "Run",
    "check_free",
    "check_same_data",
    "is_unfinished",
    "open_run",
    "unfinished",
    "write_run",
]

Record = TypeVar("Record")

SCHEMA_VERSION = 1
"""Of the files of a run; equal to `labelfix.schema.SCHEMA_VERSION`, which is dear to import."""

RECORD = "run.json"
ITEMS = "items.parquet"
ANNOTATIONS = "annotations.parquet"
FOLDS = "folds.parquet"
PREDICTIONS = "predictions.npy"
BOX_PREDICTIONS = "predictions.parquet"
NEIGHBORS = "neighbors.npy"
ISSUES = "issues.parquet"
DECISIONS = "decisions.jsonl"
REPORT = "report.html"
PARTIAL = ".partial"
STARTED = "started.json"


class _Started(msgspec.Struct, frozen=True):
    """What an unfinished run says of itself."""

    fingerprint: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A finished run on disk. Its tables are read when first asked for.

    Parameters
    ----------
    path
        The directory.
    info
        What run.json holds.
    """

    path: Path
    info: RunRecord

    @cached_property
    def issues(self) -> pl.DataFrame:
        """The ranked queue, columns as in `labelfix.schema.ISSUES`, with boxes `BOX_ISSUES`.

        Raises
        ------
        RunError
            If the file is missing or damaged.
        """
        from labelfix.schema import BOX_ISSUES, check
        from labelfix.schema import ISSUES as CLASS_COLUMNS

        # without the error probability, which runs of earlier versions lack
        columns = BOX_ISSUES if self.info.dataset.boxes else CLASS_COLUMNS
        return check(self._table(ISSUES), columns, str(self.path / ISSUES))

    @cached_property
    def items(self) -> pl.DataFrame:
        """The dataset's items as they were read, columns as in `labelfix.schema.ITEMS`."""
        return self._table(ITEMS)

    @cached_property
    def annotations(self) -> pl.DataFrame:
        """The given labels or boxes as they were read, columns as in `labelfix.schema`."""
        return self._table(ANNOTATIONS)

    @cached_property
    def folds(self) -> pl.DataFrame | None:
        """Which item was held out in which fold; None if the predictions were ready-made."""
        return self._table(FOLDS) if (self.path / FOLDS).exists() else None

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """Predicted boxes, columns as in `labelfix.schema.BOX_PREDICTIONS`."""
        return self._table(BOX_PREDICTIONS)

    @cached_property
    def pred_probs(self) -> NDArray[Any]:
        """Class probabilities, shape (n, K), rows in item order: a read-only memory map."""
        return self._matrix(PREDICTIONS)

    @cached_property
    def neighbors(self) -> NDArray[Any] | None:
        """Rows of the nearest other items, nearest first, shape (n, k); None if nobody looked."""
        return self._matrix(NEIGHBORS) if (self.path / NEIGHBORS).exists() else None

    def queue(
        self,
        *,
        kind: str | None = None,
        given_label: str | None = None,
        flagged: bool = False,
    ) -> pl.DataFrame:
        """Pick rows of `issues`, most suspicious first.

        Parameters
        ----------
        kind
            Only this kind; None for all.
        given_label
            Only labels or boxes of this class, and boxes of it that are missing; None for all.
        flagged
            Only the recommended set.

        Raises
        ------
        InputError
            If the run knows no such kind or class.
        """
        import polars as pl

        from labelfix.schema import BOX_KINDS, CLASS_KINDS

        kinds: tuple[str, ...] = BOX_KINDS if self.info.dataset.boxes else CLASS_KINDS
        problems = []
        if kind is not None and kind not in kinds:
            problems.append(_unknown("kind", kind, kinds))
        if given_label is not None and given_label not in self.info.dataset.class_names:
            problems.append(_unknown("class", given_label, self.info.dataset.class_names))
        if problems:
            raise InputError(problems)
        rows = self.issues
        if kind is not None:
            rows = rows.filter(pl.col("kind") == kind)
        if given_label is not None:
            rows = rows.filter(pl.coalesce("given_label", "suggested_label") == given_label)
        return rows.filter("flagged") if flagged else rows

    def images(self, rows: pl.DataFrame | None = None) -> pl.DataFrame:
        """Images of a run on boxes with the quality of each, most suspicious first.

        Parameters
        ----------
        rows
            Of the queue, as `queue` picks them; None for all.

        Returns
        -------
        pl.DataFrame
            Columns item_id, quality in [0, 1] (see `labelfix.score.boxes.image_quality`), boxes
            and flagged: how many of the image are in the queue, and flagged.

        Raises
        ------
        InputError
            If the run is on class labels.
        """
        import polars as pl

        from labelfix.score.boxes import image_quality

        if not self.info.dataset.boxes:
            raise InputError(Problem(str(self.path), "class labels", "a run on boxes"))
        rows = self.issues if rows is None else rows
        counts = rows.group_by("item_id").agg(
            boxes=pl.len().cast(pl.Int64), flagged=pl.col("flagged").sum().cast(pl.Int64)
        )
        quality = image_quality(rows, counts["item_id"].sort())
        return quality.join(counts, on="item_id", how="left", maintain_order="left")

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return self.path / REPORT

    def _matrix(self, name: str) -> NDArray[Any]:
        import numpy as np

        path = self.path / name
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return] # numpy types load as Any
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error

    def _table(self, name: str) -> pl.DataFrame:
        import polars as pl

        path = self.path / name
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _damaged(path, error) from error


def open_run(path: str | Path) -> Run:
    """Open a finished run.

    Parameters
    ----------
    path
        A directory that `labelfix find` wrote.

    Raises
    ------
    RunError
        If there is none, or it is unfinished, damaged, of another version, or something else; says
        which, and what to do.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path}: no such directory; make one with: labelfix find PATH --out {path}")
    if not (path / RECORD).is_file():
        if is_unfinished(path):
            raise RunError(
                f"{path}: the run is not finished; give the command that began it once more, "
                f"and it goes on at the fold it reached{_command_of(path)}"
            )
        raise RunError(f"{path}: not a run directory of labelfix: there is no {RECORD} in it")
    return Run(path, _read_record(path / RECORD))


def is_unfinished(path: Path) -> bool:
    """Say whether a run was begun there and not finished."""
    return (path / PARTIAL / STARTED).is_file()


def check_free(out: Path) -> None:
    """Say early if a run cannot be written there: something that is no run of ours is in the way.

    Raises
    ------
    RunError
        Nothing is ever written into a folder of other files, not even to overwrite.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise RunError(f"{out}: is a file; give a directory that does not exist yet")
    ours = {LOCK, PARTIAL}  # a crash may leave them alone
    if _fingerprint_in(out) is None and any(path.name not in ours for path in out.iterdir()):
        raise RunError(
            f"{out}: holds other files and no run of labelfix; "
            "give a directory that does not exist yet"
        )


def check_same_data(out: Path, fingerprint: str, *, overwrite: bool) -> None:
    """Refuse to replace a run on other data, unless asked to, and never beside a reviewer's work.

    Raises
    ------
    RunError
        If the run in `out` speaks of another dataset.
    """
    before = _fingerprint_in(out)
    if before is None or before == fingerprint:
        return
    if (out / DECISIONS).exists():
        raise RunError(
            f"{out}: holds a reviewer's decisions on other data; choose another directory"
        )
    if not overwrite:
        raise RunError(
            f"{out}: holds a run on other data; choose another directory, "
            "or replace it with --overwrite"
        )


@contextlib.contextmanager
def unfinished(out: Path, fingerprint: str, command: tuple[str, ...]) -> Iterator[Path]:
    """Mark `out` as unfinished while the block runs, and lend it a folder for what is done so far.

    If the block fails before anything is done, no trace is left; afterwards, what is done stays,
    for the next try.

    Raises
    ------
    RunError
        If another process is at work there.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out):
            yield from _marked(out, fingerprint, command)
    except BaseException:
        with contextlib.suppress(OSError):  # ends at the first folder that others use
            for folder in made:
                folder.rmdir()
        raise


def _marked(out: Path, fingerprint: str, command: tuple[str, ...]) -> Iterator[Path]:
    partial = out / PARTIAL
    store = partial / "folds"
    if is_unfinished(out) and _fingerprint_in(out) != fingerprint:
        shutil.rmtree(partial)
    store.mkdir(parents=True, exist_ok=True)
    with replacing(partial / STARTED) as file:
        file.write(encode(_Started(fingerprint, command)))
    try:
        yield store
    except BaseException:
        if not any(store.iterdir()):
            shutil.rmtree(partial)
        raise
    shutil.rmtree(partial)


def write_run(
    out: Path,
    record: RunRecord,
    dataset: Dataset,
    issues: pl.DataFrame,
    folds: pl.DataFrame | None,
    predictions: NDArray[Any] | pl.DataFrame,
    neighbors: NDArray[np.int64] | None,
    report: str,
) -> Run:
    """Write every file of a run, each whole or not at all, run.json last."""
    import numpy as np

    sweep(out)
    for name in (RECORD, FOLDS, PREDICTIONS, BOX_PREDICTIONS, NEIGHBORS):
        (out / name).unlink(missing_ok=True)
    if isinstance(predictions, np.ndarray):
        _write_array(out / PREDICTIONS, predictions)
    else:
        _write_table(out / BOX_PREDICTIONS, predictions)
    if neighbors is not None:
        _write_array(out / NEIGHBORS, neighbors.astype(np.int32))
    if folds is not None:
        _write_table(out / FOLDS, folds)
    _write_table(out / ITEMS, dataset.items)
    _write_table(out / ANNOTATIONS, dataset.annotations)
    _write_table(out / ISSUES, issues)
    with replacing(out / REPORT) as file:
        file.write(report.encode())
    with replacing(out / RECORD) as file:
        file.write(encode(record))
    return Run(out, record)


def _write_array(path: Path, array: NDArray[Any]) -> None:
    import numpy as np

    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)


def _write_table(path: Path, table: pl.DataFrame) -> None:
    with replacing(path) as file:
        table.write_parquet(file, metadata={"labelfix_schema_version": str(SCHEMA_VERSION)})


class _Versioned(msgspec.Struct):
    schema_version: int


class _Fingerprinted(msgspec.Struct):
    fingerprint: str


class _Identity(_Versioned):
    """As much of run.json as tells a run of whatever version from other files."""

    dataset: _Fingerprinted


def _read_record(path: Path) -> RunRecord:
    version = _decoded(path, _Versioned, "not a record of labelfix").schema_version
    if version != SCHEMA_VERSION:
        age = "a newer" if version > SCHEMA_VERSION else "an older"
        what = "upgrade labelfix" if version > SCHEMA_VERSION else "make the run again"
        raise RunError(
            f"{path}: written by {age} labelfix (files of version {version}; "
            f"this one reads {SCHEMA_VERSION}); {what}"
        )
    return _decoded(path, RunRecord, "damaged; make the run again")


def _decoded(path: Path, kind: type[Record], otherwise: str) -> Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{path}: {otherwise} ({error})") from error


def _fingerprint_in(out: Path) -> str | None:
    """Which data the run in `out` speaks of, finished or not; None if there is no run."""
    if is_unfinished(out):
        return _started(out).fingerprint
    if (out / RECORD).is_file():
        return _decoded(out / RECORD, _Identity, "not a record of labelfix").dataset.fingerprint
    return None


def _started(out: Path) -> _Started:
    return _decoded(out / PARTIAL / STARTED, _Started, "damaged; remove the directory")


def _command_of(out: Path) -> str:
    import shlex

    command = _started(out).command
    return f":\n  {shlex.join(command)}" if command else ""


def _unknown(what: str, name: str, known: tuple[str, ...]) -> Problem:
    import difflib

    near = difflib.get_close_matches(name, known, n=3)
    some = near or [*known[:10], *(["…"] if len(known) > 10 else [])]
    return Problem(what, repr(name), f"one of {len(known)}: {', '.join(some)}")


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: damaged ({error}); make the run again")
