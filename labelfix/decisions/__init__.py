"""What reviewers decided: an append-only log, its replay, and the corrections it amounts to.

decide ──▶ DecisionLog.append ──▶ decisions.jsonl ──▶ read_log ──▶ Replay ──▶ corrections
"""

from __future__ import annotations

from labelfix.decisions.corrections import Corrections, corrections
from labelfix.decisions.event import (
    ACTIONS,
    MARKS,
    SOURCES,
    VERSION,
    Action,
    Decision,
    Mark,
    MarkKind,
    Source,
    State,
    decide,
    issue_ids,
    new_decision,
)
from labelfix.decisions.history import history
from labelfix.decisions.log import DecisionLog, read_log
from labelfix.decisions.replay import Conflict, Replay, Verdict, agree

__all__ = [
    "ACTIONS",
    "MARKS",
    "SOURCES",
    "VERSION",
    "Action",
    "Conflict",
    "Corrections",
    "Decision",
    "DecisionLog",
    "Mark",
    "MarkKind",
    "Replay",
    "Source",
    "State",
    "Verdict",
    "agree",
    "corrections",
    "decide",
    "history",
    "issue_ids",
    "new_decision",
    "read_log",
]
