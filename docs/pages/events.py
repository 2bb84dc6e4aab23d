"""The page of events: each kind, what it means, and which packages emit it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from luminal.model import EventKind

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["anchor", "events_page"]

PACKAGES = ("discovery", "lifecycle", "reload", "managers")
"""Packages that may emit events."""


def events_page(root: Path) -> str:
    """Return the page of events.

    Args:
        root: Root of the repository, whose code is searched for who emits what.
    """
    emitters = _emitters(root)
    lines = [
        "# Events",
        "",
        "Generated from `luminal.model.EventKind`. The loader passes each",
        "{py:obj}`luminal.model.Event` to the subscribers of `loader.events`, and",
        "keeps it in its journal: {doc}`../../how-to/events`. `event.kind` is equal to",
        "the word in the first column. `luminal watch` prints the same word, and",
        "`until` of the test kit waits for it.",
        "",
        "| kind | meaning | emitted by |",
        "|---|---|---|",
    ]
    silent = [each.value for each in EventKind if not getattr(each, "meaning", "")]
    if silent:
        raise LookupError(f"EventKind says nothing about {silent}")
    for each in EventKind:
        packages = ", ".join(f"`{package}`" for package in emitters.get(each.name, []))
        word = f"[`{each.value}`]{{#{anchor(each)}}}"
        lines.append(f"| {word} | {each.meaning} | {packages} |")
    return "\n".join([*lines, ""])


def anchor(kind: EventKind) -> str:
    """Return the anchor of *kind* on the page, as docutils spells it."""
    return f"event-{kind.value.replace('_', '-')}"


def _emitters(root: Path) -> dict[str, list[str]]:
    """Return member of `EventKind` → packages whose code names it."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for file in (root / "luminal" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "EventKind"
                ):
                    found.setdefault(node.attr, set()).add(f"luminal.{package}")
    return {name: sorted(packages) for name, packages in found.items()}
