"""Hooks for training loops: watch the training, and find label errors without cross-validation."""

from __future__ import annotations

from labelfix.training.tracker import Tracker, threshold_labels

__all__ = ["Tracker", "threshold_labels"]
