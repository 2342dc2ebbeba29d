"""The keys of the review app, and the file that changes them.

A file of keys is TOML. It names the actions to change; all others keep their keys:

    [keys]
    accept = ["Enter", "y"]
    skip = "Space"

A key is a character or a name such as `Enter` or `ArrowLeft`, after any of `Ctrl+`, `Alt+` and
`Shift+`. `Ctrl` means Command too on a Mac. An empty list takes an action's keys away.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ACTIONS", "NAMED_KEYS", "Action", "Keys", "Place", "load_keys", "normal"]

Place = Literal["item", "box", "grid"]
"""Where a key works: looking at one item, editing one of its boxes, looking at the grid."""

Keys = dict[str, tuple[str, ...]]
"""The keys of each action, by its name."""

_ITEM: tuple[Place, ...] = ("item",)
_BOX: tuple[Place, ...] = ("box",)
_GRID: tuple[Place, ...] = ("grid",)
_SINGLE: tuple[Place, ...] = ("item", "box")
_ALL: tuple[Place, ...] = ("item", "box", "grid")

NAMED_KEYS = frozenset(
    [
        *("Enter", "Escape", "Tab", "Space", "Backspace", "Delete", "Insert"),
        *("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"),
        *(f"F{number}" for number in range(1, 13)),
    ]
)
"""Keys that have a name instead of a character, as browsers call them."""

_MODIFIERS = ("Ctrl", "Alt", "Shift")
_ALIASES = {"control": "Ctrl", "cmd": "Ctrl", "command": "Ctrl", "meta": "Ctrl"}


@dataclass(frozen=True, slots=True)
class Action:
    """Something a key does.

    Parameters
    ----------
    name
        As in the file of keys.
    keys
        Unless the file says otherwise.
    places
        Where it works. One key may do different things in different places.
    says
        What it does, for the help page.
    of
        With which datasets it is of use: those of class labels, of boxes, or both.
    """

    name: str
    keys: tuple[str, ...]
    places: tuple[Place, ...]
    says: str
    of: Literal["both", "classes", "boxes"] = "both"


def _arrows(name: str, prefix: str, says: str, places: tuple[Place, ...]) -> list[Action]:
    of: Literal["both", "boxes"] = "boxes" if places == _BOX else "both"
    return [
        Action(f"{name}_{way}", (f"{prefix}Arrow{way.title()}",), places, f"{says} {way}", of)
        for way in ("left", "right", "up", "down")
    ]


ACTIONS: tuple[Action, ...] = (
    Action(
        "accept", ("Enter", "a"), _ALL, "accept the suggestion, or go on if something was changed"
    ),
    Action("keep", ("k",), _ALL, "keep what is given"),
    *(
        Action(f"class_{n}", (str(n % 10),), _SINGLE, f"choose the class numbered {n % 10}")
        for n in range(1, 11)
    ),
    Action("search", ("/",), _SINGLE, "choose any class by typing a part of its name"),
    Action("several", ("m",), _ITEM, "mark: several of the classes are right", "classes"),
    Action("none", ("o",), _ITEM, "mark: none of the classes is right", "classes"),
    Action("group", ("c",), _SINGLE, "mark: the box holds a group of objects", "boxes"),
    Action("ignore", ("i",), _SINGLE, "mark as ignored: to count neither way", "boxes"),
    Action("skip", ("s",), _SINGLE, "skip: leave it undecided"),
    Action("flag", ("f",), _SINGLE, "flag it, for another look"),
    Action("undo", ("u", "Ctrl+z"), _ALL, "undo"),
    Action("redo", ("Ctrl+Shift+z", "Ctrl+y"), _ALL, "redo"),
    Action("next", ("ArrowRight", "ArrowDown"), _ITEM, "next, without deciding anything"),
    Action("previous", ("ArrowLeft", "ArrowUp"), _ITEM, "previous, without deciding anything"),
    Action("first_open", ("End",), _ITEM, "go to the first that is undecided"),
    Action("grid", ("t",), _ALL, "open or leave the grid of thumbnails"),
    Action("guideline", ("g",), _ALL, "show or hide the guideline"),
    Action("help", ("?",), _ALL, "show or hide this help"),
    Action("buttons", ("F6",), _ITEM, "go to the buttons, or back to the picture"),
    Action("edit", ("e",), _SINGLE, "edit the chosen box, or stop editing", "boxes"),
    Action("new", ("n",), _SINGLE, "draw a new box", "boxes"),
    Action("delete", ("x", "Delete"), _SINGLE, "delete the chosen box", "boxes"),
    Action("cycle", ("Tab",), _SINGLE, "choose the next box", "boxes"),
    Action("cycle_back", ("Shift+Tab",), _SINGLE, "choose the box before", "boxes"),
    Action("overlays", ("h",), _SINGLE, "hide or show all boxes", "boxes"),
    Action("predictions", ("p",), _SINGLE, "hide or show what the detector sees", "boxes"),
    Action(
        "before", ("b",), _SINGLE, "show the boxes as they were given, or as they are now", "boxes"
    ),
    Action("zoom_in", ("+", "="), _SINGLE, "zoom in"),
    Action("zoom_out", ("-",), _SINGLE, "zoom out"),
    Action("zoom_fit", ("z",), _SINGLE, "zoom to the chosen box, or to the whole image"),
    Action(
        "corner", ("r",), _BOX, "let arrows move the box, its first or its last corner", "boxes"
    ),
    Action("leave", ("Escape",), _BOX, "stop editing", "boxes"),
    *_arrows("nudge", "", "move by a pixel", _BOX),
    *_arrows("shift", "Shift+", "move by ten pixels", _BOX),
    *_arrows("cell", "", "go", _GRID),
    Action("mark", ("Space", "x"), _GRID, "mark or unmark as an exception"),
    Action("next_group", ("PageDown", "n"), _GRID, "next group"),
    Action("previous_group", ("PageUp",), _GRID, "group before"),
)
"""Everything that a key does, in the order of the help page."""


def normal(key: str) -> str:
    """Write a key in the one way in which keys are compared.

    Raises
    ------
    ValueError
        If there is no such key; says what is wrong with it.

    Examples
    --------
    >>> normal("shift+CTRL+Z"), normal("K"), normal(" "), normal("Ctrl++")
    ('Ctrl+Shift+z', 'k', 'Space', 'Ctrl++')
    """
    *before, last = [*key[:-1].split("+"), key[-1:]] if key.endswith("+") else key.split("+")
    held = {_ALIASES.get(part.strip().lower(), part.strip().title()) for part in before} - {""}
    if unknown := sorted(held.difference(_MODIFIERS)):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(_MODIFIERS)}")
    names = {name.lower(): name for name in NAMED_KEYS} | {" ": "Space"}
    name = names.get(last if last == " " else last.strip().lower(), last.strip())
    if len(name) == 1 and name.isprintable():
        name = name.lower()
        if "Shift" in held and not name.isalpha():
            raise ValueError("what Shift makes of such a key differs; name the character itself")
    elif name not in NAMED_KEYS:
        near = difflib.get_close_matches(name, NAMED_KEYS, n=2, cutoff=0.4)
        raise ValueError(f"{last!r} is no key" + (f"; is it {' or '.join(near)}?" if near else ""))
    return "+".join([*(part for part in _MODIFIERS if part in held), name])


def load_keys(path: Path | None = None) -> Keys:
    """Give the keys of every action, changed as a file says.

    Parameters
    ----------
    path
        A TOML file; None for the keys that come with labelfix.

    Raises
    ------
    InputError
        Naming every action and key that there is not, and every key with two meanings in one place.

    Examples
    --------
    >>> load_keys()["accept"]
    ('Enter', 'a')
    """
    keys: Keys = {action.name: action.keys for action in ACTIONS}
    where = "keys" if path is None else str(path)
    problems: list[Problem] = []
    if path is not None:
        changed, problems = _read(path)
        keys |= changed
    problems += [*_collisions(where, keys)]
    if problems:
        raise InputError(problems)
    return keys


def _read(path: Path) -> tuple[Keys, list[Problem]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(Problem(str(path), "no such file", "a TOML file of keys")) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(Problem(str(path), f"no TOML ({error})", "a TOML file of keys")) from error
    table = document.get("keys")
    if not isinstance(table, dict) or len(document) > 1:
        found = "tables " + ", ".join(map(repr, document)) if document else "nothing"
        raise InputError(Problem(str(path), found, "one table, [keys]"))
    keys: Keys = {}
    problems: list[Problem] = []
    for name, value in table.items():
        try:
            keys[name] = _keys_of(name, value)
        except ValueError as error:
            problems.append(Problem(f"{path}, {name}", str(error)))
    return keys, problems


def _keys_of(name: str, value: Any) -> tuple[str, ...]:  # TOML can hold anything
    known = [action.name for action in ACTIONS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known
        raise ValueError(f"no such action; there are {', '.join(near)}")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
        raise ValueError(f"{value!r} is neither a key nor a list of keys")
    return tuple(dict.fromkeys(map(normal, values)))


def _collisions(where: str, keys: Mapping[str, tuple[str, ...]]) -> list[Problem]:
    """Name every key that means two things in one place."""
    meanings: dict[tuple[str, str], list[str]] = defaultdict(list)
    for action in ACTIONS:
        for place in action.places:
            for key in keys[action.name]:
                meanings[place, key].append(action.name)
    clashes = {(key, *names): place for (place, key), names in meanings.items() if len(names) > 1}
    return [
        Problem(where, f"{key} for {' and for '.join(names)}", "one meaning a key")
        for key, *names in clashes
    ]
