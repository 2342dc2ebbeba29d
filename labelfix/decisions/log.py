"""decisions.jsonl: the one file that a person's work goes into, and how none of it is lost.

One event a line, appended under a lock and flushed to the disk before it is acknowledged. Nothing
in the file is ever changed: undo is an event too. The only bytes ever taken out are those of a
last line that a power cut tore; they go to a file beside it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelfix.atomic import flush_folder
from labelfix.decisions.event import VERSION, Decision, new_decision
from labelfix.decisions.replay import Replay
from labelfix.errors import InputError, Problem, warn_caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DecisionLog", "read_log"]

_DECODER = msgspec.json.Decoder(Decision)
_ENCODER = msgspec.json.Encoder()


def read_log(path: str | Path, fingerprint: str | None = None) -> Replay:
    """Read a log and work out what it amounts to. Writes nothing.

    Parameters
    ----------
    path
        The file; if there is none, nobody decided anything yet.
    fingerprint
        Of the dataset; None takes that of the first event.

    Warns
    -----
    LabelfixWarning
        If the last line is torn. `Replay.torn` has what is left of it; the next `append` sets it
        aside.

    Raises
    ------
    InputError
        Listing every line that is broken, unknown, of a newer labelfix, on other data, or that
        speaks of an event that is not there.

    Examples
    --------
    >>> read_log("no-such-file.jsonl").decisions
    []
    """
    path = Path(path)
    replay = Replay(fingerprint)
    if path.exists():
        with path.open("rb") as file, _locked(file.fileno(), shared=True):
            data = file.read()
        whole, replay.torn = _split(data)
        _take_lines(replay, whole, path, 1)
        if replay.torn:
            warn_caller(_about_torn(path, replay.torn))
    return replay


class DecisionLog:
    """A log to append to, and what it amounts to so far.

    Any number of threads and processes may append to one file. They wait for each other: under the
    lock each first reads what the others wrote. The lock is `flock` (on Windows `msvcrt.locking`)
    on the file itself, so it is gone with the process that held it; network file systems without
    locks are refused by the operating system with an OSError, and nothing is written.

    Parameters
    ----------
    path
        The file; made, with the first decision, if there is none.
    fingerprint
        Of the dataset that the decisions are on.

    Raises
    ------
    InputError
        As `read_log`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = DecisionLog(Path(folder, "decisions.jsonl"), "f")
    ...     event = new_decision("keep", reviewer="ann", fingerprint="f", item_id="a.png",
    ...                          annotation_id="a.png")
    ...     _ = log.append(event)
    ...     _ = log.undo("ann")
    ...     [one.action for one in read_log(log.path).decisions]
    ['keep', 'undo']
    """

    def __init__(self, path: str | Path, fingerprint: str) -> None:
        self.path = Path(path)
        self._fingerprint = fingerprint
        self._mutex = threading.RLock()
        self._replay = Replay(fingerprint)
        self._offset = 0
        self._lines = 0
        self._broken: tuple[InputError, tuple[int, ...]] | None = None
        self.refresh()

    @property
    def replay(self) -> Replay:
        """What the log amounts to, as of the last `refresh`, `append`, `undo` or `redo`."""
        return self._replay

    def refresh(self) -> Replay:
        """Read what others appended.

        Raises
        ------
        InputError
            As `read_log`; or if someone took lines out. This log takes no more until the file is
            mended; then it is read anew.
        """
        with self._mutex:
            if self._offset or self.path.exists():
                with self.path.open("rb") as file, _locked(file.fileno(), shared=True):
                    self._catch_up(file.fileno())
            return self._replay

    def append(self, *decisions: Decision, others: bool = False) -> tuple[Decision, ...]:
        """Write events; they are on the disk when this returns.

        All or none of them are written. An event that is there already, by its id, is
        acknowledged and not written again.

        Parameters
        ----------
        decisions
            In order.
        others
            Allow undo and redo of other reviewers' decisions.

        Returns
        -------
        tuple of Decision
            The events as they are in the log.

        Warns
        -----
        LabelfixWarning
            If a torn last line was set aside.

        Raises
        ------
        InputError
            If the log cannot take an event, listing all such; nothing is written.
        OSError
            If the disk is full or the file cannot be written: nothing is written.
        """
        with self._writing() as handle:
            new = self._new(decisions, others=others)
            self._write(handle, new)
            return tuple(self._replay[one.id] for one in decisions)

    def undo(
        self,
        reviewer: str,
        count: int = 1,
        *,
        of: str | None = None,
        id: str | None = None,  # noqa: A002 # the field's name
    ) -> tuple[Decision, ...]:
        """Undo the latest acts of a reviewer; a batch is one act.

        Parameters
        ----------
        reviewer
            Who undoes.
        count
            So many acts.
        of
            Whose; None for their own.
        id
            Of the event, for a request that may be sent twice; with `count` above 1 it is numbered.

        Returns
        -------
        tuple of Decision
            The undo events. Fewer than `count` if there was less to undo.
        """
        return self._steps("undo", reviewer, count, of, id)

    def redo(
        self,
        reviewer: str,
        count: int = 1,
        *,
        of: str | None = None,
        id: str | None = None,  # noqa: A002 # the field's name
    ) -> tuple[Decision, ...]:
        """Take back the latest undos. Parameters as for `undo`."""
        return self._steps("redo", reviewer, count, of, id)

    def _steps(
        self,
        action: str,
        reviewer: str,
        count: int,
        of: str | None,
        id: str | None,  # noqa: A002 # the field's name
    ) -> tuple[Decision, ...]:
        done: list[Decision] = []
        if not self.path.exists():  # nothing to undo, and no file to make for it
            return ()
        with self._writing() as handle:
            for number in range(count):
                name = id if id is None or number == 0 else f"{id}-{number}"
                if name is not None and name in self._replay:
                    done.append(self._replay[name])
                    continue
                acts = (
                    self._replay.undoable(of or reviewer)
                    if action == "undo"
                    else self._replay.redoable(of or reviewer)
                )
                act = next(acts, None)
                if act is None:
                    break
                step = new_decision(
                    "undo" if action == "undo" else "redo",
                    reviewer=reviewer,
                    fingerprint=self._fingerprint,
                    id=name,
                    target=act[-1].id,
                )
                self._write(handle, [step])
                done.append(step)
        return tuple(done)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[int]:
        """Open the file, alone, with everything read that is in it."""
        with self._mutex:
            is_new = not self.path.exists()
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                with _locked(handle, shared=False):
                    if is_new:
                        flush_folder(self.path.parent)
                    self._catch_up(handle)
                    self._mend(handle)
                    yield handle
            finally:
                os.close(handle)

    def _catch_up(self, handle: int) -> None:
        """Take in what is in the file beyond what was read."""
        if self._broken:
            error, seen = self._broken
            if _stamp(handle) == seen:
                raise error
            self._replay, self._offset, self._lines = Replay(self._fingerprint), 0, 0
            self._broken = None
        try:
            if os.fstat(handle).st_size < self._offset:
                found = "a log that got shorter while it was in use"
                raise InputError(Problem(str(self.path), found, fix="close it, and open it again"))
            whole, torn = _split(_read_from(handle, self._offset))
            _take_lines(self._replay, whole, self.path, self._lines + 1)
        except InputError as error:
            self._broken = error, _stamp(handle)
            raise
        self._replay.torn = torn
        self._lines += whole.count(b"\n")
        self._offset += len(whole)

    def _mend(self, handle: int) -> None:
        """Set a torn last line aside, and end a whole one that lacks only its line end."""
        torn = self._replay.torn
        if torn:
            aside = self.path.with_name(self.path.name + ".torn")
            with aside.open("ab") as file:
                file.write(torn + b"\n")
                file.flush()
                os.fsync(file.fileno())
            flush_folder(self.path.parent)
            os.ftruncate(handle, self._offset)
            self._replay.torn = b""
            text = f"{_about_torn(self.path, torn)}; it is now in {aside.name}"
            warn_caller(text)
        elif self._offset and _read_from(handle, self._offset - 1) != b"\n":
            self._put(handle, b"\n")
            self._lines += 1

    def _new(self, decisions: Sequence[Decision], *, others: bool) -> list[Decision]:
        """Those of the events that are not there yet.

        Raises
        ------
        InputError
            If an event contradicts one with its id, or undoes what is another reviewer's.
        """
        new, problems = [], []
        if len({one.id for one in decisions}) < len(decisions):
            problems.append(Problem("events", "one id twice", "ids of their own"))
        if len(decisions) > 1 and any(one.is_step for one in decisions):
            problems.append(Problem("events", "undo or redo among others", "each by itself"))
        for one in decisions:
            if one.id in self._replay:
                if _apart_from_time(self._replay[one.id]) != _apart_from_time(one):
                    problems.append(Problem(f"event {one.id}", "another event with this id"))
                continue
            new.append(one)
            target = one.target if one.is_step else None
            if target is not None and target in self._replay and not others:
                owner = self._replay[target].reviewer
                if owner != one.reviewer:
                    found = f"{one.action} by {one.reviewer} of what {owner} decided"
                    problems.append(Problem(f"event {one.id}", found, fix="ask for it expressly"))
        if problems:
            raise InputError(problems)
        return new

    def _write(self, handle: int, decisions: Sequence[Decision]) -> None:
        """Append events and flush them to the disk, or leave the file as it was."""
        problems = [
            Problem(f"event {one.id}", fault)
            for one in decisions
            if (fault := self._replay.fault(one))
        ]
        if problems:
            raise InputError(problems)
        if not decisions:
            return
        self._put(handle, b"".join(_ENCODER.encode(one) + b"\n" for one in decisions))
        self._replay.extend(decisions)
        self._lines += len(decisions)

    def _put(self, handle: int, data: bytes) -> None:
        before = self._offset
        try:
            os.lseek(handle, before, os.SEEK_SET)
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except OSError:
            with contextlib.suppress(OSError):  # what is left then is a torn line, set aside later
                os.ftruncate(handle, before)
            raise
        self._offset = before + len(data)


def _apart_from_time(decision: Decision) -> Decision:
    """Keep what must be equal in an event that is sent again."""
    return msgspec.structs.replace(decision, time="", seconds=None)


def _stamp(handle: int) -> tuple[int, ...]:
    """Give what differs once a file was written to, in place or anew."""
    about = os.fstat(handle)
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def _read_from(handle: int, start: int) -> bytes:
    os.lseek(handle, start, os.SEEK_SET)
    parts = []
    while part := os.read(handle, 1 << 22):
        parts.append(part)
    return b"".join(parts)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Whole lines, and what is left of a torn one. A last line that lacks only its end is whole."""
    end = data.rfind(b"\n") + 1
    last = data[end:]
    if not last:
        return data, b""
    try:
        msgspec.json.decode(last)
    except msgspec.DecodeError:
        return data[:end], last
    return data, b""


def _take_lines(replay: Replay, data: bytes, path: Path, first: int) -> None:
    """Take whole lines into a replay.

    Raises
    ------
    InputError
        Listing every line that it cannot take.
    """
    try:
        decisions = _DECODER.decode_lines(data)
        lines: Sequence[int] = range(first, first + len(decisions))
        problems: list[Problem] = []
    except msgspec.DecodeError:
        decisions, lines, problems = _one_by_one(data, path, first)
    if not problems and len(decisions) != data.count(b"\n") + (data[-1:] not in (b"", b"\n")):
        decisions, lines, problems = _one_by_one(data, path, first)
    alike: dict[str, list[int]] = {}
    for line, fault in zip(lines, replay.extend(decisions), strict=True):
        if fault:
            alike.setdefault(fault, []).append(line)
    for fault, at in alike.items():
        more = f", and {len(at) - 1:,} more like it" if len(at) > 1 else ""
        problems.append(Problem(str(path), fault + more, line=at[0]))
    if problems:
        raise InputError(sorted(problems, key=lambda one: one.line or 0))


class _Versioned(msgspec.Struct):
    schema_version: int


def _one_by_one(
    data: bytes, path: Path, first: int
) -> tuple[list[Decision], list[int], list[Problem]]:
    decisions: list[Decision] = []
    lines: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(data.split(b"\n"), start=first):
        if not line.strip():
            continue
        try:
            decisions.append(_DECODER.decode(line))
            lines.append(number)
        except msgspec.DecodeError as error:
            problems.append(_about_line(line, error, path, number))
    return decisions, lines, problems


def _about_line(line: bytes, error: msgspec.DecodeError, path: Path, number: int) -> Problem:
    try:
        version = msgspec.json.decode(line, type=_Versioned).schema_version
    except msgspec.ValidationError:
        fix = "take the line out, or give the log of this run"
        return Problem(str(path), f"no event of labelfix ({error})", "an event", fix, line=number)
    except msgspec.DecodeError:
        return Problem(
            str(path), f"broken JSON ({error})", "an event", "mend the line", line=number
        )
    if version > VERSION:
        found, expected = f"an event of version {version}", f"version {VERSION}"
        return Problem(str(path), found, expected, "upgrade labelfix", line=number)
    return Problem(str(path), f"a bad event ({error})", "an event", "mend the line", line=number)


def _about_torn(path: Path, torn: bytes) -> str:
    return (
        f"{path}: the last line is torn: {len(torn)} bytes of an event that was never "
        "acknowledged, as a power cut leaves them; every event before it is whole"
    )


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 40
    """Windows locks bytes: one beyond any log, so that reading is not in the way."""

    @contextlib.contextmanager
    def _locked(handle: int, *, shared: bool) -> Iterator[None]:
        del shared  # there are none
        os.lseek(handle, _FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            yield
        finally:
            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    @contextlib.contextmanager
    def _locked(handle: int, *, shared: bool) -> Iterator[None]:
        """Hold the file's lock while the block runs."""
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)
