"""Scores of given and predicted boxes: pure functions, tables and arrays in and out."""

from __future__ import annotations

from labelfix.score.boxes.calibration import Calibration, Weights
from labelfix.score.boxes.fiftyone import FiftyOne, FiftyOneScores, fiftyone_scores
from labelfix.score.boxes.losses import learnt_share, rank_losses, with_evidence, with_losses
from labelfix.score.boxes.matching import Boxes, Match, Pairs, match_boxes
from labelfix.score.boxes.objectlab import ObjectLab, ObjectLabScores, objectlab_scores
from labelfix.score.boxes.params import BoxParams
from labelfix.score.boxes.peers import rank_peer
from labelfix.score.boxes.ranking import (
    BoxScores,
    find_box_issues,
    image_quality,
    rank_boxes,
    score_boxes,
)

__all__ = [
    "BoxParams",
    "BoxScores",
    "Boxes",
    "Calibration",
    "FiftyOne",
    "FiftyOneScores",
    "Match",
    "ObjectLab",
    "ObjectLabScores",
    "Pairs",
    "Weights",
    "fiftyone_scores",
    "find_box_issues",
    "image_quality",
    "learnt_share",
    "match_boxes",
    "objectlab_scores",
    "rank_boxes",
    "rank_losses",
    "rank_peer",
    "score_boxes",
    "with_evidence",
    "with_losses",
]
