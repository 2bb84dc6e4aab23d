"""Who uses what: edges between units and files, looked up without a scan.

In come edges as they are seen, out come candidates. An edge that is gone may still be
named here: whoever asks checks it with the generation that serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from luminal.loading.generation import Generation

__all__ = ["Edges"]


@attrs.define(eq=False)
class Edges:
    """The edges of one world, backwards.

    Attributes:
        users: Unit → units that import from it, or did.
        readers: Path → units with a module that was read from it, or had one.
    """

    users: dict[str, set[str]] = attrs.Factory(dict)
    readers: dict[str, set[str]] = attrs.Factory(dict)

    def add(self, generation: Generation) -> None:
        """Add all edges of *generation*."""
        unit = generation.unit
        # Copies: a late import in another thread may add to them.
        for needed in tuple(generation.needs):
            self.users.setdefault(needed, set()).add(unit)
        for path in tuple(generation.sources):
            self.readers.setdefault(path, set()).add(unit)

    def drop(self, generation: Generation) -> None:
        """Forget the edges of *generation*, which serves no more."""
        edges = ((generation.needs, self.users), (generation.sources, self.readers))
        for names, backwards in edges:
            for name in tuple(names):
                units = backwards.get(name, set())
                units.discard(generation.unit)
                if not units:
                    backwards.pop(name, None)
