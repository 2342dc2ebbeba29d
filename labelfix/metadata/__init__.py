"""Facts about items: joined on, asked for, exported, and what goes wrong where."""

from __future__ import annotations

from labelfix.metadata.export import export, gather
from labelfix.metadata.join import facts_from_paths, join_facts, match_keys, read_facts
from labelfix.metadata.where import where

__all__ = [
    "export",
    "facts_from_paths",
    "gather",
    "join_facts",
    "match_keys",
    "read_facts",
    "where",
]
