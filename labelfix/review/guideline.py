"""The project's guideline, from Markdown to markup that cannot do anything.

Headings, paragraphs, lists, tables, emphasis and code are drawn. Markup in the file is shown as
text; links and pictures are too, so that the page loads nothing and leads nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_guideline"]

NAME = "guideline.md"
"""Of the file that is taken if none is named: in the run, or beside the dataset."""

_OFF = ["link", "image", "autolink", "html_inline", "html_block", "reference", "entity"]


def read_guideline(path: Path) -> Markup:
    r"""Read a Markdown file as markup that is safe to show.

    Raises
    ------
    InputError
        If there is no such file, or it is not UTF-8.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "rules.md")
    ...     _ = path.write_text("# Rules\n<script>alert(1)</script>")
    ...     print(read_guideline(path))
    <h1>Rules</h1>
    <p>&lt;script&gt;alert(1)&lt;/script&gt;</p>
    <BLANKLINE>
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(Problem(str(path), "no such file", "a Markdown file")) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(str(path), f"no text ({error})", "a Markdown file")) from error
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable(_OFF)
    return Markup(markdown.render(text))  # noqa: S704 # markup of its own making, all else escaped
