"""What a tracker knows, kept with a checkpoint or in a file: one .npz, without pickles."""

from __future__ import annotations

import io
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem, RunError
from labelfix.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Saved"]

_DAMAGE = (
    *(AttributeError, KeyError, TypeError, ValueError, EOFError, OSError, RuntimeError),
    *(zipfile.BadZipFile, pl.exceptions.PolarsError),
)
"""What reading something else, or a part of it, ends in."""


class Saved(ABC):
    """A tracker that can be saved, and gone on with."""

    _of: ClassVar[str]
    """What it watches."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest: which dataset this speaks of."""

    @abstractmethod
    def _about(self) -> dict[str, Any]:
        """Give what JSON can hold."""

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Give the rest, by name."""

    @classmethod
    @abstractmethod
    def _made_of(cls, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it again; one of `_DAMAGE` where something is missing."""

    @abstractmethod
    def _go_on_from(self, other: Self) -> None:
        """Take over what another one of the same dataset has seen."""

    def state_dict(self) -> dict[str, bytes]:
        """Give all that is known, to be kept with a checkpoint, without pickles.

        What waits is counted in first, so it may be called in the midst of an epoch.
        """
        arrays = self._arrays()
        about = json.dumps({"schema_version": SCHEMA_VERSION, **self._about()}).encode()
        content = io.BytesIO()
        np.savez(content, about=np.frombuffer(about, dtype=np.uint8), **arrays)  # type: ignore[arg-type] # numpy types allow_pickle as a keyword
        return {"npz": content.getvalue()}

    def load_state_dict(self, state: Mapping[str, bytes]) -> None:
        """Go on where `state_dict` was taken.

        Raises
        ------
        InputError
            If it is that of another dataset.
        RunError
            If it is none, or a newer version's.
        """
        other = self.restored(state)
        if other.fingerprint != self.fingerprint:
            found = f"that of other {self._of} or classes"
            raise InputError(Problem("state", found, "this tracker's"))
        self._go_on_from(other)

    @classmethod
    def restored(cls, state: Mapping[str, bytes]) -> Self:
        """Make a tracker of what `state_dict` gave.

        Raises
        ------
        RunError
            If it is something else, or a newer version's.
        """
        content = state.get("npz", b"") if isinstance(state, Mapping) else b""
        return cls._read(content, "the state")

    def save(self, path: str | Path) -> None:
        """Write all that is known to one .npz file, without pickles.

        Raises
        ------
        RunError
            If it cannot be written.
        """
        content = self.state_dict()["npz"]
        try:
            with replacing(Path(path)) as file:
                file.write(content)
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        RunError
            If it cannot be read, is something else, or a newer version's.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}") from error
        return cls._read(content, str(path))

    def _check_sort(self, others: Sequence[Any]) -> None:
        """Refuse to be put together with anything else."""
        problems = [
            Problem(f"tracker {number}", f"a {type(one).__name__}", f"a {type(self).__name__}")
            for number, one in enumerate(others, start=2)
            if not isinstance(one, type(self))
        ]
        if problems:
            raise InputError(problems)

    @classmethod
    def _read(cls, content: bytes, where: str) -> Self:
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                version = about["schema_version"]
                if version <= SCHEMA_VERSION:
                    return cls._made_of(about, arrays)
        except _DAMAGE as error:
            what = f"{where} is not what a tracker of {cls._of} wrote"
            raise RunError(f"{what}: {error!r}") from error
        newer = f"{where} was written by a newer labelfix (schema {version})"
        raise RunError(f"{newer}; this one knows schema {SCHEMA_VERSION}")
