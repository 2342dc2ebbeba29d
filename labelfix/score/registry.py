"""From a name and parameters, as a user gives them, to the small object that they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["make"]

Made = TypeVar("Made")


def make(
    registry: Mapping[str, type[Made]], option: str, name: str, parameters: Mapping[str, Any]
) -> Made:
    """Make the object that `registry` has under `name`, a dataclass, with these parameters.

    Parameters
    ----------
    registry
        Classes by name.
    option
        What the user calls the choice, for messages.
    name, parameters
        What the user asked for.

    Raises
    ------
    InputError
        If there is no such name, or it takes no such parameter.
    """
    if name not in registry:
        raise InputError(Problem(option, repr(name), f"one of {', '.join(registry)}"))
    known = getattr(registry[name], "__dataclass_fields__", {}).keys()
    if strange := sorted(parameters.keys() - known):
        expected = f"{', '.join(known)}, which is what {name} takes" if known else "none"
        raise InputError([Problem(option, f"parameter {what!r}", expected) for what in strange])
    return registry[name](**parameters)
