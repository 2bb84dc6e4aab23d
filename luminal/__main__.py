"""``python -m luminal``: the command line."""

from __future__ import annotations

import sys

from luminal.cli import main

sys.exit(main())
