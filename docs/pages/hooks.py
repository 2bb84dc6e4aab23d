"""The page of the hooks that Luminal itself specifies, by its own Sphinx extension."""

from __future__ import annotations

from .api import specifications

__all__ = ["hooks_page"]


def hooks_page() -> str:
    """Return the page of hooks: a directive for each public class of specifications."""
    lines = [
        "# Hooks",
        "",
        "Luminal calls these hooks itself. A library implements them to observe,",
        "guard or replace a step of every photon's life: {doc}`../../how-to/hooks`.",
        "`luminal.sphinx` generates this page from the specifications. The host",
        "specifies the other hooks, those that photons implement.",
        "",
    ]
    for module, name in specifications():
        lines += [f"```{{luminal-hooks}} {module}:{name}", "```", ""]
    return "\n".join(lines)
