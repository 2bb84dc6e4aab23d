"""The rooms and the floors, as a drawing.

Comes in: the contract in ``setup.cfg``, and what ``ARCHITECTURE.md`` says of each room.
Goes out: SVG, the highest floor at the top.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .drawing import arrow, box, figure, label
from .rooms import floors

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["duties", "house_drawing"]

NAME = "house"
STEP = 40.0
LEFT = 34.0
WIDTH = 780.0


def house_drawing(root: Path) -> str:
    """Return the picture of the house.

    Args:
        root: Root of the repository.

    Raises:
        LookupError: ``ARCHITECTURE.md`` does not say what a room does.
    """
    said = duties(root)
    parts = []
    top = 8.0
    for floor in floors(root):
        if missing := [room for room in floor if room not in said]:
            raise LookupError(f"ARCHITECTURE.md does not say what {missing} does")
        x = LEFT
        for room in floor:
            width = 22 + 8.2 * len(room)
            parts.append(box((x, top), (width, 30), room, f"room-{room}"))
            x += width + 6
        parts.append(label((max(x + 6, 268), top + 19.5), said[floor[0]], "start"))
        top += STEP
    parts.append(arrow(f"M16 10V{top - 14:g}", NAME))
    parts.append(
        label((LEFT, top + 8), "each room imports only from floors below", "start")
    )
    title = "The rooms of Luminal, floor by floor; each imports only from floors below"
    return figure(NAME, title, (WIDTH, top + 20), parts)


def duties(root: Path) -> dict[str, str]:
    """Return room → what it does, from the table in ``ARCHITECTURE.md``."""
    text = (root / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    for names, duty in rows:
        # What comes after a semicolon is more than a line of the picture holds.
        short = duty.replace("`", "").partition(";")[0]
        for room in re.findall(r"`(\w+)`", names):
            found.setdefault(room, short)
    return found
