"""What long work tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress"]

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`: what is being done, in words, and how far it is."""
