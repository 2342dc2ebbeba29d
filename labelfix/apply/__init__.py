"""A dataset and its corrections become a corrected dataset, in the dataset's own format.

    corrections ──▶ work: what to write, what to carry over ──▶ a new folder, or in place ──▶ undo

`apply_corrections` builds a folder beside and renames it, `apply_in_place` keeps a backup,
`preview` shows what would change, `undo` takes back what either did.
"""

from __future__ import annotations

from labelfix.apply.build import Applied, apply_corrections
from labelfix.apply.inplace import apply_in_place
from labelfix.apply.preview import preview
from labelfix.apply.record import APPLIED, Choices
from labelfix.apply.undo import Undone, undo

__all__ = [
    "APPLIED",
    "Applied",
    "Choices",
    "Undone",
    "apply_corrections",
    "apply_in_place",
    "preview",
    "undo",
]
