"""Which units a change affects, in which order, and which of them belong together.

Pure: in come edges that were seen while staging, out come units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["affected", "components", "in_order", "upstream"]


def upstream(units: Iterable[str], needs: Mapping[str, AbstractSet[str]]) -> set[str]:
    """Return *units* and all that they import from, directly or not."""
    return _reach(units, needs)


def affected(changed: Iterable[str], needs: Mapping[str, AbstractSet[str]]) -> set[str]:
    """Return *changed* and all that imports from one of them, directly or not.

    Args:
        changed: Units whose files have changed.
        needs: Unit → units that it imports from.
    """
    users: dict[str, set[str]] = {}
    for unit, needed in needs.items():
        for other in needed:
            users.setdefault(other, set()).add(unit)
    return _reach(changed, users)


def _reach(start: Iterable[str], edges: Mapping[str, AbstractSet[str]]) -> set[str]:
    found = set(start)
    queue = list(found)
    while queue:
        for other in edges.get(queue.pop(), ()):
            if other not in found:
                found.add(other)
                queue.append(other)
    return found


def in_order(
    units: AbstractSet[str], needs: Mapping[str, AbstractSet[str]]
) -> list[str]:
    """Return *units*, what is imported from before what imports it.

    Units that import each other keep their names' order; staging the first brings in
    the others.
    """
    ordered: dict[str, None] = {}
    for unit in sorted(units):
        path = [(unit, iter(sorted(needs.get(unit, ()))))]
        seen = {unit}
        while path:
            current, rest = path[-1]
            for other in rest:
                if other in units and other not in seen and other not in ordered:
                    seen.add(other)
                    path.append((other, iter(sorted(needs.get(other, ())))))
                    break
            else:
                path.pop()
                ordered.setdefault(current)
    return list(ordered)


def components(
    units: AbstractSet[str], needs: Mapping[str, AbstractSet[str]]
) -> list[set[str]]:
    """Split *units* into groups of which none imports from another."""
    joined: dict[str, set[str]] = {unit: set() for unit in units}
    for unit in units:
        for other in needs.get(unit, ()):
            if other in units:
                joined[unit].add(other)
                joined[other].add(unit)
    groups: list[set[str]] = []
    left = set(units)
    for unit in sorted(units):
        if unit in left:
            group = _reach([unit], joined)
            groups.append(group)
            left -= group
    return groups
