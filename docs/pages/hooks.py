"""The hooks that Luminal itself specifies, by its own Sphinx extension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rooms import specifications

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["hooks_page"]


def hooks_page(root: Path) -> str:
    """Return the page of hooks: one directive for each public class of specifications.

    Args:
        root: Root of the repository.
    """
    lines = [
        "# Hooks",
        "",
        "The hooks that Luminal itself calls, made by `luminal.sphinx` from their",
        "specifications. A library implements them to observe, guard or replace a step",
        "of every photon's life: {doc}`../../how-to/hooks`. The hooks that photons",
        "answer are the host's own.",
        "",
    ]
    for room, name in specifications(root):
        lines += [f"```{{luminal-hooks}} {room}:{name}", "```", ""]
    return "\n".join(lines)
