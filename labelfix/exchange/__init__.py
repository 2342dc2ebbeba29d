"""The queue, written for other tools with its suggestions, and what people made of it there.

    issues ──▶ tasks ──▶ CVAT, Label Studio, COCO, YOLO ──▶ answers ──▶ decisions

A task is an image with its boxes or labels as the suggestions would have them; what a suggestion
would delete stays, for a person to delete. An answer is what came back.
"""

from __future__ import annotations

from labelfix.exchange.answers import decisions_from
from labelfix.exchange.files import FORMATS, read_answers, write_tasks
from labelfix.exchange.tasks import Answer, Region, Task, tasks_of

__all__ = [
    "FORMATS",
    "Answer",
    "Region",
    "Task",
    "decisions_from",
    "read_answers",
    "tasks_of",
    "write_tasks",
]
