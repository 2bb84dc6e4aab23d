"""Which units a change affects, in which order, and which of them belong together.

Pure: in come edges that were seen while staging, out come units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    # Unit → units that it imports from, or that import from it.
    Edges = Callable[[str], AbstractSet[str]]

__all__ = ["affected", "components", "in_order", "upstream"]


def upstream(units: Iterable[str], needs: Edges) -> set[str]:
    """Return *units* and all that they import from, directly or not."""
    return _reach(units, needs)


def affected(changed: Iterable[str], users: Edges) -> set[str]:
    """Return *changed* and all that imports from one of them, directly or not.

    Args:
        changed: Units whose files have changed.
        users: Unit → units that import from it.
    """
    return _reach(changed, users)


def _reach(start: Iterable[str], edges: Edges) -> set[str]:
    found = set(start)
    queue = list(found)
    while queue:
        for other in tuple(edges(queue.pop())):
            if other not in found:
                found.add(other)
                queue.append(other)
    return found


def in_order(units: AbstractSet[str], needs: Edges) -> list[str]:
    """Return *units*, what is imported from before what imports it.

    Units that import each other keep their names' order; staging the first brings in
    the others.
    """
    ordered: dict[str, None] = {}
    for unit in sorted(units):
        path = [(unit, iter(sorted(needs(unit))))]
        seen = {unit}
        while path:
            current, rest = path[-1]
            for other in rest:
                if other in units and other not in seen and other not in ordered:
                    seen.add(other)
                    path.append((other, iter(sorted(needs(other)))))
                    break
            else:
                path.pop()
                ordered.setdefault(current)
    return list(ordered)


def components(units: AbstractSet[str], needs: Edges) -> list[set[str]]:
    """Split *units* into groups of which none imports from another."""
    joined: dict[str, set[str]] = {unit: set() for unit in units}
    for unit in units:
        for other in tuple(needs(unit)):
            if other in units:
                joined[unit].add(other)
                joined[other].add(unit)
    groups: list[set[str]] = []
    left = set(units)
    for unit in sorted(units):
        if unit in left:
            group = _reach([unit], joined.__getitem__)
            groups.append(group)
            left -= group
    return groups
