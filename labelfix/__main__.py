"""`python -m labelfix` is the `labelfix` command."""

from __future__ import annotations

import sys

from labelfix.cli import main

sys.exit(main())
