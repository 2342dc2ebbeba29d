"""How good predictions are, and what corrected labels were worth."""

from __future__ import annotations
