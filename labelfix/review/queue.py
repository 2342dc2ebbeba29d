"""What to show next: the ranking, a blind audit slice, and blind repeats, by the log alone.

The queue keeps no state of its own: what it shows follows from the issues, the log and the
settings, so that a server can be stopped at any time and goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import polars as pl

from labelfix.atomic import replacing
from labelfix.decisions import issue_ids, read_log
from labelfix.decisions.replay import current
from labelfix.errors import InputError, Problem
from labelfix.review.order import Adaptive

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.decisions import Decision, Replay, Verdict
    from labelfix.run import Run

__all__ = [
    "Queue",
    "Settings",
    "Shown",
    "change_settings",
    "open_queue",
    "read_settings",
    "write_settings",
]

SETTINGS = "review.json"

UNSEEN, SKIPPED, FLAGGED, KEPT, WRONG = range(5)
"""What a reviewer said of an issue."""

_STATE = {"skipped": SKIPPED, "flagged": FLAGGED, "kept": KEPT}

_AUDIT, _SLOT, _REPEAT = range(3)
"""Streams of random numbers."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a queue is made up; kept in RUN/review.json.

    Parameters
    ----------
    seed
        Of the audit slice and the repeats.
    audit, audit_least
        The audit slice is this share of all issues, and at least so many.
    audit_rate
        Share of what is shown that comes from the audit slice, until all of it was.
    repeats
        Share of decided issues that are shown to their reviewer once more.
    repeat_after
        Not before so many decisions, and within twice as many.
    adaptive
        Let decisions so far change the order of what is left.
    order
        How.
    independent
        Show every reviewer everything, also what another one decided.
    confidence, tolerance
        Stopping is justified where, with this confidence, at most this share of the labels is
        wrong and not found.
    """

    seed: int = 0
    audit: float = 0.05
    audit_least: int = 50
    audit_rate: float = 0.1
    repeats: float = 0.02
    repeat_after: int = 50
    adaptive: bool = True
    order: Adaptive = Adaptive()
    independent: bool = False
    confidence: float = 0.95
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        shares = ("audit", "audit_rate", "repeats", "confidence", "tolerance")
        problems = [
            Problem(name, str(getattr(self, name)), "a share from 0 to 1")
            for name in shares
            if not 0 <= getattr(self, name) <= 1
        ]
        if not self.order.shrinkage > 0 or not self.order.steadiness > 0:
            problems.append(Problem("order", str(self.order), "numbers above 0"))
        if self.audit_least < 0 or self.repeat_after < 1:
            found = f"{self.audit_least}, {self.repeat_after}"
            problems.append(Problem("audit_least, repeat_after", found, "from 0, and from 1"))
        if problems:
            raise InputError(problems)


def read_settings(run: Path) -> Settings:
    """Read the settings of a run's queue; the defaults if there are none.

    Raises
    ------
    InputError
        If the file is not one of ours.
    """
    path = run / SETTINGS
    if not path.exists():
        return Settings()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settings)
    except (msgspec.DecodeError, InputError) as error:
        fix = "mend it, or remove it for the defaults"
        raise InputError(Problem(str(path), str(error), "settings of a queue", fix)) from error


def write_settings(run: Path, settings: Settings) -> None:
    """Keep the settings of a run's queue."""
    with replacing(run / SETTINGS) as file:
        file.write(msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n")


def change_settings(
    run: Path,
    *,
    audit: float | None = None,
    repeats: float | None = None,
    adaptive: bool | None = None,
) -> Settings:
    """Change some settings of a run's queue, and keep them; None leaves one as it is.

    Raises
    ------
    InputError
        If a share is none, or if another audit slice is asked for after the first decision: what
        was looked at already would no longer be a random sample.
    """
    settings = read_settings(run)
    asked = {"audit": audit, "repeats": repeats, "adaptive": adaptive}
    new = {name: value for name, value in asked.items() if value is not None}
    changed = msgspec.structs.replace(settings, **new)
    if changed == settings:
        return settings
    log = run / "decisions.jsonl"
    if changed.audit != settings.audit and log.exists() and log.stat().st_size:
        found = f"{changed.audit:g} after the first decision"
        fix = "leave it out, or start with a new run"
        raise InputError(Problem("audit", found, f"{settings.audit:g}, as it was begun", fix))
    write_settings(run, changed)
    return changed


def open_queue(run: Run) -> Queue:
    """Open the queue of a run as it stands, to look at.

    Raises
    ------
    InputError
        As `labelfix.decisions.read_log` and `read_settings`.
    RunError
        If the run's issues are damaged.
    """
    replay = read_log(run.path / "decisions.jsonl", run.info.dataset.fingerprint)
    return Queue(run.issues, replay, read_settings(run.path))


@dataclass(frozen=True, slots=True)
class Shown:
    """One issue to show.

    Parameters
    ----------
    row
        Its row in `Queue.table`.
    issue
        That row by column name, with its id in `issue`.
    source
        What the decision's `source` is to be: `review`, or `repeat` if it is shown again. Not to
        be told to the reviewer.
    """

    row: int
    issue: dict[str, Any]
    source: Literal["review", "repeat"]


class _Reviewer:
    """What one reviewer did so far, by row."""

    def __init__(self, rows: int) -> None:
        self.state = np.zeros(rows, np.int8)
        self.repeated = np.zeros(rows, bool)
        self.when = np.zeros(rows, np.int64)
        self.count = 0

    @property
    def shown(self) -> int:
        """How many issues they dealt with, repeats included."""
        return int(np.count_nonzero(self.state) + np.count_nonzero(self.repeated))


class Queue:
    """What to show next, to whom.

    Parameters
    ----------
    issues
        A run's issues, most suspicious first.
    replay
        Its decisions. The queue follows it: what is added to it counts at the next call.
    settings
        See `Settings`.

    Examples
    --------
    >>> from labelfix.decisions import Replay, decide
    >>> issues = pl.DataFrame({"item_id": ["a", "b"], "annotation_id": ["a", "b"],
    ...     "kind": ["mislabeled"] * 2, "quality": [0.1, 0.9], "given_label": ["cat", "dog"],
    ...     "suggested_label": ["dog", "cat"]})
    >>> replay = Replay()
    >>> queue = Queue(issues, replay, Settings(audit=0, audit_least=0))
    >>> first = queue.next("ann")[0].issue
    >>> first["item_id"]
    'a'
    >>> _ = replay.extend([decide(first, "accept", reviewer="ann", fingerprint="f")])
    >>> queue.next("ann")[0].issue["item_id"]
    'b'
    """

    def __init__(
        self, issues: pl.DataFrame, replay: Replay, settings: Settings | None = None
    ) -> None:
        self.table = issues.with_columns(issue_ids(issues))
        self.replay = replay
        self.settings = settings or Settings()
        self._seen = 0
        self._reviewers: dict[str, _Reviewer] = {}
        self._overall = np.zeros(issues.height, np.int8)
        self._suspicion: NDArray[np.float64] | None = None

    def next(self, reviewer: str, count: int = 1, exclude: Collection[str] = ()) -> list[Shown]:
        """Choose what a reviewer sees next.

        Parameters
        ----------
        reviewer
            Who.
        count
            So many, in order, as if nothing were learned between them: to prefetch.
        exclude
            Ids of issues not to show now: those on another reviewer's screen.

        Returns
        -------
        list of Shown
            Fewer than `count` when little is left, empty when everything is done.
        """
        self._follow()
        mine = self._reviewer(reviewer)
        taken = np.zeros(len(self), bool)
        taken[[self.row_of[issue] for issue in exclude if issue in self.row_of]] = True
        repeats = list(self._due_repeats(mine, taken, count))
        open_ = self._open(mine) & ~taken
        ranked = self._ranked(open_, mine, count)
        sliced = self.audit_rows
        audit = sliced[open_[sliced] & (mine.state[sliced] == UNSEEN)][:count].tolist()
        rows: list[tuple[int, Literal["review", "repeat"]]] = []
        for slot in range(mine.shown, mine.shown + count):
            if repeats:
                rows.append((repeats.pop(0), "repeat"))
                continue
            source = audit if audit and self._is_audit_slot(slot) else ranked
            if not source:
                break
            row = source[0]
            audit = [one for one in audit if one != row]
            ranked = [one for one in ranked if one != row]
            rows.append((row, "review"))
        if len(rows) < count:
            told = {row for row, _ in rows}
            late = self._late_repeats(mine, taken)
            rows += [(row, "repeat") for row in late if row not in told][: count - len(rows)]
        return [Shown(row, self.table.row(row, named=True), source) for row, source in rows]

    def similar(self, reviewer: str, row: int, count: int = 50) -> list[Shown]:
        """List open issues of the same kind, given and suggested class, for a grid.

        Parameters
        ----------
        reviewer
            Who.
        row
            Row of the issue they are like; it comes first if it is open.
        count
            At most so many.
        """
        self._follow()
        mine = self._reviewer(reviewer)
        alike = self._open(mine) & (self._pairs == self._pairs[row])
        rows = self._ranked(alike, mine, count)
        if alike[row]:
            rows = [row, *(one for one in rows if one != row)][:count]
        return [Shown(one, self.table.row(one, named=True), "review") for one in rows]

    def __len__(self) -> int:
        """Count the issues, decided or not."""
        return self.table.height

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each issue, by its id."""
        return dict(zip(self.table["issue"], range(self.table.height), strict=True))

    @cached_property
    def _row_of_subject(self) -> dict[str, int]:
        subject = self.table.select(pl.coalesce("annotation_id", "issue")).to_series()
        return dict(zip(subject, range(self.table.height), strict=True))

    @cached_property
    def audit_rows(self) -> NDArray[np.int64]:
        """Rows of the audit slice, in the order in which they are shown."""
        size = max(self.settings.audit_least, round(self.settings.audit * len(self)))
        order = np.argsort(self._random(self._keys, _AUDIT), kind="stable")
        return order[: min(size, len(self))]

    @property
    def state(self) -> NDArray[np.int8]:
        """What was said of each row by whoever settled it first: UNSEEN, SKIPPED, …, shape (n,)."""
        self._follow()
        return self._overall

    def states(self) -> dict[str, NDArray[np.int8]]:
        """As `state`, by reviewer."""
        self._follow()
        return {name: one.state for name, one in self._reviewers.items()}

    @property
    def suspicion(self) -> NDArray[np.float64]:
        """What the order of what is left goes by: the higher, the sooner, shape (n,)."""
        self._follow()
        if self._suspicion is None:
            self._suspicion = self._learned() if self.settings.adaptive else self._fixed
        return self._suspicion

    # The order

    @cached_property
    def _fixed(self) -> NDArray[np.float64]:
        return -np.arange(len(self), dtype=np.float64)

    def _learned(self) -> NDArray[np.float64]:
        """Learn from all decisions but those on the audit slice, which is to judge the order."""
        learnt_from = self._overall >= KEPT
        learnt_from[self.audit_rows] = False
        rows = np.flatnonzero(learnt_from)
        if not len(rows):
            return self._fixed
        quality = self.table["quality"].to_numpy()
        wrong = self._overall[rows] == WRONG
        return self.settings.order.learn(quality, self.groups, rows, wrong).log_odds

    def _ranked(self, mask: NDArray[np.bool_], mine: _Reviewer, count: int) -> list[int]:
        """Choose the most suspicious rows of a mask; what was skipped comes last."""
        rows = np.flatnonzero(mask)
        skipped = mine.state[rows] == SKIPPED
        suspicion = self.suspicion[rows]
        if len(rows) > 4 * count and not skipped.all():
            least = np.partition(np.where(skipped, -np.inf, suspicion), -count)[-count]
            some = np.where(skipped, -np.inf, suspicion) >= least
            rows, skipped, suspicion = rows[some], skipped[some], suspicion[some]
        order = np.lexsort((rows, -suspicion, skipped))
        return [int(row) for row in rows[order[:count]]]

    @cached_property
    def groups(self) -> list[NDArray[np.int64]]:
        """Numbers of the groups that issues belong to, coarse ones first."""
        names = ["kind", "given_label", "suggested_label"]
        return [self._numbers([name]) for name in names] + [self._pairs]

    @cached_property
    def _pairs(self) -> NDArray[np.int64]:
        return self._numbers(["kind", "given_label", "suggested_label"])

    def _numbers(self, columns: list[str]) -> NDArray[np.int64]:
        """Give each distinct value of columns a number."""
        ranks = pl.struct(columns).rank("dense") - 1
        return self.table.select(ranks.cast(pl.Int64)).to_series().to_numpy()

    # What was done

    def _follow(self) -> None:
        """Take in what was added to the replay."""
        decisions, sessions = self.replay.decisions, self.replay.sessions
        if self._seen == len(decisions):
            return
        self._count(decisions[self._seen :])
        touched = self.replay.touched(self._seen)
        row_of = self._row_of_subject
        self._note({row_of[one]: sessions[one] for one in touched if one in row_of})
        self._seen = len(decisions)
        self._suspicion = None

    def _count(self, decisions: Sequence[Decision]) -> None:
        """Note in which order each reviewer decided rows."""
        row_of = self._row_of_subject
        for one in decisions:
            row = row_of.get(one.subject)
            if row is not None and not one.is_step:
                mine = self._reviewer(one.reviewer)
                mine.count += 1
                if one.source != "repeat":
                    mine.when[row] = mine.count

    def _note(self, found: dict[int, dict[str, list[Verdict]]]) -> None:
        """Keep what is said of rows now: all of it at once, since writing one by one is slow."""
        rows = list(found)
        for mine in self._reviewers.values():
            mine.state[rows], mine.repeated[rows] = UNSEEN, False
        by_reviewer: dict[str, list[tuple[int, int, bool]]] = {}
        overall = []
        for row, sessions in found.items():
            states = []
            for name, verdicts in sessions.items():
                state = _STATE.get(current(verdicts).outcome, WRONG)
                states.append(state)
                by_reviewer.setdefault(name, []).append((row, state, len(verdicts) > 1))
            overall.append(
                next((one for one in states if one >= KEPT), max(states, default=UNSEEN))
            )
        self._overall[rows] = overall
        for name, noted in by_reviewer.items():
            mine = self._reviewer(name)
            at, state_of, repeated = zip(*noted, strict=True)
            mine.state[list(at)], mine.repeated[list(at)] = state_of, repeated

    def _reviewer(self, name: str) -> _Reviewer:
        if name not in self._reviewers:
            self._reviewers[name] = _Reviewer(len(self))
        return self._reviewers[name]

    def _open(self, mine: _Reviewer) -> NDArray[np.bool_]:
        """Rows that a reviewer may still be shown."""
        mask: NDArray[np.bool_] = mine.state <= SKIPPED
        return mask if self.settings.independent else mask & (self._overall < KEPT)

    # Chance

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        return np.frombuffer(bytes.fromhex("".join(self.table["issue"])), ">u8").astype(np.uint64)

    def _random(self, keys: NDArray[np.uint64], stream: int) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1) that follow from the seed and each key alone."""
        start = _mix(np.array([self.settings.seed], np.int64).astype(np.uint64)) + np.uint64(stream)
        mixed = _mix(keys ^ _mix(start))
        return (mixed >> np.uint64(11)).astype(np.float64) / 2**53

    def _is_audit_slot(self, slot: int) -> bool:
        draw = self._random(np.array([slot], np.uint64), _SLOT)[0]
        return bool(draw < self.settings.audit_rate)

    @cached_property
    def _repeat_draw(self) -> NDArray[np.float64]:
        return self._random(self._keys, _REPEAT)

    def _late_repeats(self, mine: _Reviewer, taken: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows that are to be repeated, due or not, in the order in which they were decided."""
        mask = (mine.state >= KEPT) & ~mine.repeated & ~taken
        rows = np.flatnonzero(mask & (self._repeat_draw < self.settings.repeats))
        return rows[np.argsort(mine.when[rows], kind="stable")]

    def _due_repeats(
        self, mine: _Reviewer, taken: NDArray[np.bool_], count: int
    ) -> NDArray[np.int64]:
        rows = self._late_repeats(mine, taken)
        if not len(rows):
            return rows
        times = np.sort(mine.when[mine.state > UNSEEN])
        since = len(times) - np.searchsorted(times, mine.when[rows], side="right")
        wait = 1 + self._repeat_draw[rows] / self.settings.repeats
        return rows[since >= self.settings.repeat_after * wait][:count]


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers one to one (SplitMix64's finalizer, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        keys = keys + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return keys ^ (keys >> np.uint64(31))
