"""Who is registered: name → plugin, and each plugin's seats, without scans.

In come registrations, out come records found by name or by identity. Two plugins that
compare equal are two plugins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.hooks.desk import HookDesk
    from luminal.hooks.occupant import Occupant

__all__ = ["Record", "Registry"]


class Record:
    """One registered plugin.

    Attributes:
        name: Its name.
        plugin: The object.
        rank: Its number in the order of registrations; a swap keeps it.
        generation: Its generation.
        seats: (desk of the hook, seat there, who sits on it).
        is_gone: Whether it has been unregistered.
    """

    __slots__ = ("generation", "is_gone", "name", "plugin", "rank", "seats")

    def __init__(self, name: str, plugin: object, rank: int, generation: int) -> None:
        self.name = name
        self.plugin = plugin
        self.rank = rank
        self.generation = generation
        self.is_gone = False
        self.seats: list[tuple[HookDesk, int, Occupant]] = []

    def next_seat(self) -> int:
        """Return a number for its next seat, which sorts by rank."""
        return (self.rank << 12) + len(self.seats)

    def desks(self) -> list[HookDesk]:
        """Return the desks of the hooks that it implements, each once."""
        return list(dict.fromkeys(desk for desk, _, _ in self.seats))


class Registry:
    """The records of one manager."""

    __slots__ = ("_by_id", "_rank")

    def __init__(self) -> None:
        # The record refers to the plugin, so that its id is not given away.
        self._by_id: dict[int, Record] = {}
        self._rank = 0

    def find(self, plugin: object) -> Record | None:
        """Return the record of *plugin*, or None."""
        return self._by_id.get(id(plugin))

    def add(self, name: str, plugin: object, generation: int) -> Record:
        """Make and keep a record."""
        self._rank += 1
        record = Record(name, plugin, self._rank, generation)
        self._by_id[id(plugin)] = record
        return record

    def remove(self, record: Record) -> None:
        """Forget *record*."""
        record.is_gone = True
        del self._by_id[id(record.plugin)]

    def replace(self, old: Record, new: Record) -> None:
        """Keep *new* instead of *old*, with the old one's rank."""
        old.is_gone = True
        del self._by_id[id(old.plugin)]
        self._by_id[id(new.plugin)] = new
