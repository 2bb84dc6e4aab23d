"""`Registration`: what a plugin manager knows of one plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luminal.hooks._caller import Caller
    from luminal.hooks._impl import Implementation

__all__ = ["Marked", "Registration"]

Marked = tuple[str, Any, Any]
"""(attribute, function, options) of an implementation that was found on a plugin."""


class Registration:
    """One plugin's registration, first prepared, then in force.

    Attributes:
        name: The plugin's name.
        plugin: The plugin.
        generation: Its generation.
        rank: Its number in the order of registrations; a swap keeps it.
        implementations: (hook, implementation, whether it was verified).
        positions: (caller of the hook, position in its order).
        delegated: Implementations of hooks that another manager has: (attribute,
            function, options).
        is_gone: Whether the plugin was unregistered or swapped out.
    """

    __slots__ = (
        "delegated",
        "generation",
        "implementations",
        "is_gone",
        "name",
        "plugin",
        "positions",
        "rank",
    )

    def __init__(self, name: str, plugin: object, generation: int, rank: int) -> None:
        self.name = name
        self.plugin = plugin
        self.generation = generation
        self.rank = rank
        self.implementations: list[tuple[str, Implementation, bool]] = []
        self.positions: list[tuple[Caller, int]] = []
        self.delegated: list[Marked] = []
        self.is_gone = False

    def position(self, number: int) -> int:
        """Return the position of the *number*-th implementation; it sorts by rank."""
        return (self.rank << 12) + number

    def callers(self) -> list[Caller]:
        """Return the callers of the hooks that the plugin implements, each once."""
        if not self.positions:
            return []
        return list(dict.fromkeys(caller for caller, _ in self.positions))
