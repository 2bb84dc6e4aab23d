"""``before`` and ``after``: bends an order as little as it must.

In comes the order that pluggy's rules give, out comes one that also obeys what
photons ask for by name. It never guesses: a circle is an error that names it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from luminal.errors import PhotonConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.hooks.occupant import Occupant

__all__ = ["bend"]


def bend(items: Sequence[tuple[int, Occupant]]) -> list[tuple[int, Occupant]]:
    """Return *items* in an order that obeys every ``before`` and ``after``.

    Of those that may come next, the one that pluggy's rules put first comes first.
    Names of photons that do not implement the hook ask for nothing.

    Raises:
        PhotonConflictError: They go round in a circle, which is named.
    """
    places: dict[str, list[int]] = {}
    for place, (_, occupant) in enumerate(items):
        places.setdefault(occupant.photon, []).append(place)
    follows: list[set[int]] = [set() for _ in items]
    for place, (_, occupant) in enumerate(items):
        for name in occupant.before:
            follows[place].update(places.get(name, ()))
        for name in occupant.after:
            for earlier in places.get(name, ()):
                follows[earlier].add(place)
    waits = [0] * len(items)
    for later in follows:
        for place in later:
            waits[place] += 1
    ready = [place for place, count in enumerate(waits) if not count]
    chosen: list[int] = []
    while ready:
        place = heapq.heappop(ready)
        chosen.append(place)
        for later_place in follows[place]:
            waits[later_place] -= 1
            if not waits[later_place]:
                heapq.heappush(ready, later_place)
    if len(chosen) < len(items):
        left = {p: follows[p] for p in range(len(items)) if p not in set(chosen)}
        raise _circle(items, left)
    return [items[place] for place in chosen]


def _circle(
    items: Sequence[tuple[int, Occupant]], follows: Mapping[int, set[int]]
) -> PhotonConflictError:
    """Describe one circle among *follows*, where everyone waits for somebody."""
    waited_by = {later: place for place, all_ in follows.items() for later in all_}
    place = next(iter(waited_by))
    path: list[int] = []
    while place not in path:
        path.append(place)
        place = waited_by[place]
    ring = [*path[path.index(place) :], place][::-1]
    names = " before ".join(repr(items[p][1].photon) for p in ring)
    return PhotonConflictError(
        "the order that photons ask for goes round in a circle",
        photon=items[place][1].photon,
        why=names,
        hint="take one 'before' or 'after' of the circle out",
    )
