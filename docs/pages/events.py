"""What is told of a photon's journey, and by which room.

Comes in: `luminal.model.EventKind` and the code that says each. Goes out: Markdown with
an anchor for each.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from luminal.model import EventKind

from .words import meanings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["anchor", "events_page"]


def events_page(root: Path) -> str:
    """Return the page of events.

    Args:
        root: Root of the repository, whose code is searched for who tells what.
    """
    told = _tellers(root)
    lines = [
        "# Events",
        "",
        "Generated from `luminal.model.EventKind`. Each is told as a",
        "{py:obj}`luminal.model.Event` to the subscribers of `loader.events`, and",
        "kept in its journal: {doc}`../../how-to/events`. The word is what",
        "`event.kind` is equal to, what `luminal watch` prints, and what the test",
        "kit's `until` waits for.",
        "",
        "| event | what it says of the photon | told by |",
        "|---|---|---|",
    ]
    said = meanings("events", [each.value for each in EventKind])
    for each in EventKind:
        rooms = ", ".join(f"`{room}`" for room in told.get(each.name, []))
        word = f"[`{each.value}`]{{#{anchor(each)}}}"
        lines.append(f"| {word} | {said[each.value]} | {rooms} |")
    return "\n".join([*lines, ""])


def anchor(kind: EventKind) -> str:
    """Return the anchor of *happening* on the page."""
    return "event-" + kind.value.replace(" ", "-")


def _tellers(root: Path) -> dict[str, list[str]]:
    """Return member of `EventKind` → rooms whose code names it, from low to high."""
    found: dict[str, set[str]] = {}
    house = root / "luminal"
    for room in ("discovery", "lifecycle", "reload", "managers"):
        for file in (house / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "EventKind"
                ):
                    found.setdefault(node.attr, set()).add(f"luminal.{room}")
    return {name: sorted(rooms) for name, rooms in found.items()}
