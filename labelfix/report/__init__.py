"""The page that shows what was found: tables in, one HTML file out."""

from __future__ import annotations

from labelfix.report.boxes import BoxLayout, render_boxes
from labelfix.report.page import Facts, Layout, render

__all__ = ["BoxLayout", "Facts", "Layout", "render", "render_boxes"]
