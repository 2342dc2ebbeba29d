"""How far a review is: done, found, how fast, how consistently, and what may still be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from labelfix.decisions import agree
from labelfix.decisions.replay import SAME_BOX, overlap
from labelfix.errors import InputError, Problem
from labelfix.review.queue import FLAGGED, KEPT, SKIPPED, UNSEEN, WRONG
from labelfix.score.calibration import recalibrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from labelfix.decisions import Replay, Verdict
    from labelfix.review.queue import Queue

__all__ = [
    "Agreement",
    "Estimate",
    "KindStatus",
    "Status",
    "clean_labels",
    "estimate_errors",
    "expected_errors",
    "status",
]


class KindStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of one kind of issue; `seconds` is the median a decision, if timed."""

    kind: str
    decided: int
    errors: int
    seconds: float | None


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How often two looks at the same thing came to the same.

    Parameters
    ----------
    who
        One reviewer (twice, blindly), or two.
    both
        Looks compared.
    same
        Of which so many agree.
    iou
        Mean overlap where both gave a box; None where none did.
    """

    who: tuple[str, ...]
    both: int
    same: int
    iou: float | None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit slice says of the whole set.

    Parameters
    ----------
    audited, slice
        Issues of the slice that were looked at, without a gap in its random order, out of so many.
    wrong, unsettled
        Of those: errors; skipped or flagged, which count as right for the lower end of an interval
        and as wrong for the upper.
    beyond
        Issues at or after the point that the order reached; `audited_beyond` and `wrong_beyond`
        are of the slice.
    left
        Errors that are still in the set and not found: interval. (0, all undecided) if unknown.
    errors
        Errors in the whole set, found or not: interval.
    confidence
        Of both.
    """

    audited: int
    slice: int
    wrong: int
    unsettled: int
    beyond: int
    audited_beyond: int
    wrong_beyond: int
    left: tuple[int, int]
    errors: tuple[int, int]
    confidence: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a review is. `status` makes it.

    Parameters
    ----------
    issues, done, left
        All, decided, not decided. `skipped` and `flagged` are among those left.
    errors
        Found so far, in decided issues. `new_boxes` were drawn besides.
    contested
        How many of these errors reviewers say different things of; who settled it first counts.
    conflicts
        Issues of which reviewers say different things.
    kinds
        By kind, as found.
    reviewers
        Decisions of each.
    between
        Agreement of each two reviewers.
    within
        Agreement of each reviewer with themselves, from blind repeats.
    estimate
        From the audit slice.
    expected
        Errors in the whole set, found or not, as `expected_errors` has it.
    may_stop, why
        Whether stopping is justified, and why.
    """

    issues: int
    done: int
    left: int
    skipped: int
    flagged: int
    errors: int
    contested: int
    new_boxes: int
    conflicts: int
    kinds: tuple[KindStatus, ...]
    reviewers: dict[str, int]
    between: tuple[Agreement, ...]
    within: tuple[Agreement, ...]
    estimate: Estimate
    expected: float | None
    may_stop: bool
    why: str


def status(queue: Queue, same_box: float = SAME_BOX) -> Status:
    """Sum up a review.

    Parameters
    ----------
    queue
        Of the run, with its log.
    same_box
        Least IoU of two boxes that count as one.

    Examples
    --------
    >>> from labelfix.decisions import Replay
    >>> from labelfix.review.queue import Queue
    >>> issues = pl.DataFrame({"item_id": ["a", "b"], "annotation_id": ["a", "b"],
    ...     "kind": ["mislabeled"] * 2, "quality": [0.1, 0.9], "given_label": ["cat", "dog"],
    ...     "suggested_label": ["dog", "cat"]})
    >>> found = status(Queue(issues, Replay()))
    >>> found.done, found.left, found.may_stop
    (0, 2, False)
    """
    state, replay = queue.state, queue.replay
    done = int(np.count_nonzero(state >= KEPT))
    estimate = estimate_errors(queue)
    may_stop, why = _stopping(queue, estimate)
    conflicts = replay.conflicts(same_box)
    subject = queue.table.select(pl.coalesce("annotation_id", "issue")).to_series()
    contested = subject.is_in([one.subject for one in conflicts]).to_numpy()
    return Status(
        issues=len(queue),
        done=done,
        left=len(queue) - done,
        skipped=int(np.count_nonzero(state == SKIPPED)),
        flagged=int(np.count_nonzero(state == FLAGGED)),
        errors=int(np.count_nonzero(state == WRONG)),
        contested=_count((state == WRONG) & contested),
        new_boxes=_new_boxes(replay),
        conflicts=len(conflicts),
        kinds=tuple(_by_kind(queue)),
        reviewers={
            name: int(np.count_nonzero(one >= KEPT)) for name, one in queue.states().items()
        },
        between=tuple(_between(replay, same_box)),
        within=tuple(_within(replay, same_box)),
        estimate=estimate,
        expected=expected_errors(queue),
        may_stop=may_stop,
        why=why,
    )


def estimate_errors(queue: Queue) -> Estimate:
    """Give intervals for the errors in the whole set and those still left.

    The audit slice is a uniform sample of all issues in random order; as far as it was looked at
    without a gap it is still one. Issues that the order has not reached are the ones that errors
    can be left in, and the slice's issues among them are a uniform sample of these: Clopper and
    Pearson's interval (1934) for their share of errors, times their number, less the errors found
    there, is what is left. The order learns nothing from the slice, so that it cannot sort its own
    test.

    Parameters
    ----------
    queue
        Of the run, with its log.
    """
    state, settings = queue.state, queue.settings
    rows, audited = queue.audit_rows, _audited(queue)
    beyond = _beyond(queue.suspicion, state)
    sample = state[audited[beyond[audited]]]
    wrong, unsettled = _count(sample == WRONG), _count((sample == SKIPPED) | (sample == FLAGGED))
    share = _clopper_pearson(wrong, unsettled, len(sample), settings.confidence)
    found, undecided = _count(state == WRONG), _count(state < KEPT)
    found_beyond, size = _count((state == WRONG) & beyond), _count(beyond)
    open_before = _count((state < KEPT) & ~beyond)
    low = max(0, int(np.ceil(share[0] * size - 1e-9)) - found_beyond)
    high = int(np.floor(share[1] * size + 1e-9)) - found_beyond + open_before
    left = (min(low, undecided), min(max(high, low, 0), undecided))
    return Estimate(
        audited=len(audited),
        slice=len(rows),
        wrong=_count(state[audited] == WRONG),
        unsettled=_count((state[audited] == SKIPPED) | (state[audited] == FLAGGED)),
        beyond=size,
        audited_beyond=len(sample),
        wrong_beyond=wrong,
        left=left,
        errors=(found + left[0], found + left[1]),
        confidence=settings.confidence,
    )


def expected_errors(queue: Queue) -> float | None:
    """Say how many errors to expect in the whole set, found or not.

    Those found, and of what is not decided the sum of the error probabilities, corrected by what
    was decided of the audit slice: see `labelfix.score.calibration.recalibrate`. A better guess
    than the interval's middle while little was audited, if the probabilities can be trusted; the
    interval of `estimate_errors` rests on no model.

    Parameters
    ----------
    queue
        Of the run, with its log.

    Returns
    -------
    float or None
        None where the issues have no `error_probability`: those of boxes.
    """
    if "error_probability" not in queue.table.columns:
        return None
    state, audited = queue.state, _audited(queue)
    settled = audited[state[audited] >= KEPT]
    claimed = queue.table["error_probability"].to_numpy()
    corrected = recalibrate(claimed, settled, state[settled] == WRONG)
    return round(_count(state == WRONG) + float(corrected[state < KEPT].sum()), 1)


def clean_labels(queue: Queue) -> pl.DataFrame:
    """Give the right labels of the audit slice, as far as it was looked at: a random sample.

    For `labelfix.find_issues(…, clean=…)` on the same items with other evidence, before the labels
    are corrected: of corrected ones the sample is right, which the others are not.

    Returns
    -------
    pl.DataFrame
        Columns item_id and label, null where no class fits.

    Raises
    ------
    InputError
        For boxes, and if nothing of the slice was decided.
    """
    if "error_probability" not in queue.table.columns:
        raise InputError(Problem("run", "boxes", "class labels: boxes have no probabilities"))
    audited = _audited(queue)
    settled = audited[queue.state[audited] >= KEPT]
    if not len(settled):
        raise InputError(Problem("audit slice", "nothing decided", "decisions: labelfix review"))
    rows = queue.table[settled].select("item_id", "annotation_id", "given_label")
    labels = [
        given if state == KEPT else _said(queue.replay.verdicts(subject))
        for (_, subject, given), state in zip(rows.iter_rows(), queue.state[settled], strict=True)
    ]
    return rows.select("item_id", label=pl.Series(labels, dtype=pl.String))


def _said(verdicts: Sequence[Verdict]) -> str | None:
    """Take the label of whoever found the given one wrong; None: it has no other."""
    found = (one for one in verdicts if one.decided and one.is_error)
    return next((one.label for one in found if one.mark is None), None)


def _audited(queue: Queue) -> NDArray[np.int64]:
    """Rows of the audit slice that were looked at, as far as its order has no gap."""
    rows = queue.audit_rows
    unseen = np.flatnonzero(queue.state[rows] == UNSEEN)
    return rows[: unseen[0]] if len(unseen) else rows


def _beyond(suspicion: NDArray[np.float64], state: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Rows that the order shows with or after the next unseen one."""
    unseen = state == UNSEEN
    if not unseen.any():
        return np.zeros(len(state), bool)
    return np.asarray(suspicion <= suspicion[unseen].max())


def _clopper_pearson(
    wrong: int, unsettled: int, looked: int, confidence: float
) -> tuple[float, float]:
    if looked == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    low = binomtest(wrong, looked).proportion_ci(confidence, "exact").low
    high = binomtest(wrong + unsettled, looked).proportion_ci(confidence, "exact").high
    return float(low), float(high)


def _stopping(queue: Queue, estimate: Estimate) -> tuple[bool, str]:
    settings, high = queue.settings, estimate.left[1]
    allowed = settings.tolerance * len(queue)
    if not (queue.state < KEPT).any():
        return True, "everything is decided"
    bound = f"at most {high:,} errors are left ({estimate.confidence:.0%} confidence)"
    if estimate.audited < min(settings.audit_least, len(queue)):
        needed = f"{estimate.audited} of the first {settings.audit_least} of the audit slice"
        return False, f"too few are audited to say: {needed}"
    if high <= allowed:
        return True, f"{bound}, no more than the {allowed:,.0f} that are tolerated"
    why = f"{bound}, more than the {allowed:,.0f} that are tolerated"
    if estimate.audited == estimate.slice:
        why += "; the audit slice is used up: go on, or enlarge it"
    return False, why


def _by_kind(queue: Queue) -> Iterator[KindStatus]:
    decided = queue.state >= KEPT
    timed: dict[str, list[float]] = {}
    for _, verdict in _decided(queue.replay):
        if verdict.seconds is not None and verdict.last.kind is not None:
            timed.setdefault(verdict.last.kind, []).append(verdict.seconds)
    table = queue.table.select("kind", decided=decided, wrong=queue.state == WRONG)
    found = table.group_by("kind", maintain_order=True).agg(pl.col("decided", "wrong").sum())
    for kind, many, wrong in found.filter(pl.col("decided") > 0).iter_rows():
        seconds = float(np.median(timed[kind])) if kind in timed else None
        yield KindStatus(kind=kind, decided=many, errors=wrong, seconds=seconds)


def _decided(replay: Replay) -> Iterator[tuple[str, Verdict]]:
    """Every verdict, those of blind repeats included."""
    for subject, by_reviewer in replay.sessions.items():
        for sessions in by_reviewer.values():
            for verdict in sessions:
                if verdict.decided:
                    yield subject, verdict


def _new_boxes(replay: Replay) -> int:
    return sum(v.outcome == "added" and v.last.issue is None for _, v in _decided(replay))


@dataclass
class _Tally:
    both: int = 0
    same: int = 0
    ious: tuple[float, ...] = ()

    def add(self, one: Verdict, other: Verdict, same_box: float) -> None:
        self.both += 1
        self.same += agree(one, other, same_box)
        if one.box is not None and other.box is not None:
            self.ious += (overlap(one.box, other.box),)

    def told(self, *who: str) -> Agreement:
        iou = float(np.mean(self.ious)) if self.ious else None
        return Agreement(who=who, both=self.both, same=self.same, iou=iou)


def _between(replay: Replay, same_box: float) -> Iterator[Agreement]:
    tallies: dict[tuple[str, str], _Tally] = {}
    for subject, by_reviewer in replay.sessions.items():
        if len(by_reviewer) > 1:
            verdicts = [one for one in replay.verdicts(subject) if one.decided]
            for one, other in combinations(sorted(verdicts, key=lambda v: v.reviewer), 2):
                tally = tallies.setdefault((one.reviewer, other.reviewer), _Tally())
                tally.add(one, other, same_box)
    return (tally.told(*who) for who, tally in sorted(tallies.items()))


def _within(replay: Replay, same_box: float) -> Iterator[Agreement]:
    tallies: dict[str, _Tally] = {}
    for by_reviewer in replay.sessions.values():
        for reviewer, sessions in by_reviewer.items():
            decided = [one for one in sessions if one.decided]
            if len(decided) > 1:
                tallies.setdefault(reviewer, _Tally()).add(decided[0], decided[1], same_box)
    return (tally.told(who) for who, tally in sorted(tallies.items()))


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))
