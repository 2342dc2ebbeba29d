"""From a name and parameters, as a user gives them, to the small object that they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["make"]

Made = TypeVar("Made")


def make(
    registry: Mapping[str, type[Made]],
    option: str,
    choice: str | Made,
    parameters: Mapping[str, Any],
) -> Made:
    """Make the object that `registry` has under a name, or take the one that is given.

    Parameters
    ----------
    registry
        Dataclasses by name.
    option
        What the user calls the choice, for messages.
    choice
        A name, or an object that is ready.
    parameters
        Of the object to make; none for one that is ready.

    Raises
    ------
    InputError
        If there is no such name, or it takes no such parameter.
    """
    if isinstance(choice, str) and choice not in registry:
        raise InputError(Problem(option, repr(choice), f"one of {', '.join(registry)}"))
    kind = registry[choice] if isinstance(choice, str) else None
    known = getattr(kind, "__dataclass_fields__", {}).keys()
    if strange := sorted(parameters.keys() - known):
        expected = f"{', '.join(known)}" if known else f"none, which is what {choice!r} takes"
        raise InputError([Problem(option, f"parameter {what!r}", expected) for what in strange])
    return choice if kind is None else kind(**parameters)  # type: ignore[return-value] # no name then
