"""The docs name every command and option there is, and none that there is not."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from labelfix.cli import app as cli

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined] # a group has commands


def options_of(command: str) -> set[str]:
    return {
        name
        for option in COMMANDS[command].params
        for name in [*option.opts, *option.secondary_opts]
        if name.startswith("-")
    } | {"--help", "-h"}


def examples() -> list[tuple[str, list[str]]]:
    """Every call of labelfix in a code block of the docs."""
    found = []
    for page in PAGES:
        fenced = False
        for line in page.read_text(encoding="utf-8").splitlines():
            fenced ^= line.startswith("```")
            call = re.match(r"\s*(?:\$ )?(?:.*&& )?labelfix (.*)", line)
            if call and (fenced or line.startswith("    ")):
                found.append((page.name, shlex.split(call[1], comments=True)))
    return found


def test_every_command_is_in_the_docs() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in COMMANDS if f"labelfix {name}" not in text] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_reference(command: str) -> None:
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    long = {name for name in options_of(command) if name.startswith("--")}
    assert sorted(name for name in long if not re.search(rf"`{name}\b", text)) == ["--help"]


def test_every_option_in_the_reference_exists() -> None:
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    known = set().union(*map(options_of, COMMANDS)) | {"--version"}
    assert sorted(set(re.findall(r"`(--[a-z-]+)", text)) - known) == []


@pytest.mark.parametrize(("page", "words"), examples())
def test_every_example_uses_what_there_is(page: str, words: list[str]) -> None:
    assert words, page
    if words[0].startswith("-"):
        return
    assert words[0] in COMMANDS, page
    used = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert sorted(used - options_of(words[0])) == [], page


def test_the_docs_have_examples() -> None:
    assert len(examples()) > 5
