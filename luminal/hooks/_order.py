"""The order of one hook's seats, kept so that taking and leaving one is cheap.

In come occupants, out comes the tuple of them in the order of their calls. The
rules are pluggy's: wrappers first, then ``tryfirst``, then the rest with the latest
first, then ``trylast``; ``before`` and ``after`` bend that order. It never calls
anything and knows no lock: its owner holds one.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from luminal.errors import PhotonConflictError
from luminal.hooks.records import OrderExplanation, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from luminal.hooks._impl import Implementation

__all__ = ["Order", "bend", "explain"]

# === hooks.precedence ===
# ``before`` and ``after``: bends an order as little as it must.
#
# In comes the order that pluggy's rules give, out comes one that also obeys what
# photons ask for by name. It never guesses: a circle is an error that names it.


def bend(items: Sequence[tuple[int, Implementation]]) -> list[tuple[int, Implementation]]:
    """Return *items* in an order that obeys every ``before`` and ``after``.

    Of those that may come next, the one that pluggy's rules put first comes first.
    Names of photons that do not implement the hook ask for nothing.

    Raises:
        PhotonConflictError: They go round in a circle, which is named.
    """
    places: dict[str, list[int]] = {}
    for place, (_, impl) in enumerate(items):
        places.setdefault(impl.photon, []).append(place)
    follows: list[set[int]] = [set() for _ in items]
    for place, (_, impl) in enumerate(items):
        for name in impl.before:
            follows[place].update(places.get(name, ()))
        for name in impl.after:
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
    items: Sequence[tuple[int, Implementation]], follows: Mapping[int, set[int]]
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


# === hooks.order ===
# The order of one hook's seats, kept so that taking and leaving one is cheap.
#
# In come occupants, out comes the tuple of them in the order of their calls. The
# rules are pluggy's: wrappers first, then ``tryfirst``, then the rest with the latest
# first, then ``trylast``; ``before`` and ``after`` bend that order. It never calls
# anything and knows no lock: its owner holds one.


class _Group:
    """Wrappers, or the others: three bands, each a dict of seat → occupant."""

    # A dict keeps the order of insertion and gives up a key without a scan. Each
    # band lists its seats in the order in which they were taken.
    __slots__ = ("early", "late", "plain")

    def __init__(self) -> None:
        self.late: dict[int, Implementation] = {}
        self.plain: dict[int, Implementation] = {}
        self.early: dict[int, Implementation] = {}

    def copy(self) -> _Group:
        other = _Group()
        other.late, other.plain = self.late.copy(), self.plain.copy()
        other.early = self.early.copy()
        return other

    def bands(self) -> tuple[dict[int, Implementation], ...]:
        return (self.early, self.plain, self.late)

    def band_of(self, impl: Implementation) -> dict[int, Implementation]:
        if impl.trylast:
            return self.late
        return self.early if impl.tryfirst else self.plain

    def seat(self, seat: int, impl: Implementation) -> None:
        band = self.band_of(impl)
        if band is self.plain and not band:
            self._lift_undecided()
        band[seat] = impl

    def _lift_undecided(self) -> None:
        # pluggy looks for the last place that is not ``tryfirst``. Who asks for
        # both sits at the end until a plain one comes while nobody else is there;
        # from then on it counts as early.
        lifted = {}
        for seat, impl in self.late.items():
            if not impl.tryfirst:
                break
            lifted[seat] = impl
        if lifted:
            for seat in lifted:
                del self.late[seat]
            reversed_lifted = dict(reversed(lifted.items()))
            self.early = {**reversed_lifted, **self.early}

    def __iter__(self) -> Iterator[tuple[int, Implementation]]:
        """Yield seats in the order of calls."""
        yield from reversed(self.early.items())
        yield from reversed(self.plain.items())
        yield from self.late.items()


class Order:
    """The seats of one hook.

    A seat is a number that stays with its photon through every swap.
    """

    __slots__ = ("_bent", "_others", "_wrappers")

    def __init__(self) -> None:
        self._wrappers = _Group()
        self._others = _Group()
        # How many occupants ask for ``before`` or ``after``: mostly none, and then
        # nothing is sorted.
        self._bent = 0

    def copy(self) -> Order:
        """Return another order with the same occupants on the same seats."""
        other = Order()
        other._wrappers = self._wrappers.copy()
        other._others = self._others.copy()
        other._bent = self._bent
        return other

    def _group(self, impl: Implementation) -> _Group:
        return self._wrappers if impl.is_wrapper else self._others

    def seat(self, seat: int, impl: Implementation) -> None:
        """Give *seat*, which is free, to *occupant*."""
        self._bent += bool(impl.before or impl.after)
        self._group(impl).seat(seat, impl)

    def unseat(self, seat: int) -> None:
        """Free *seat*.

        Raises:
            KeyError: Nobody sits there.
        """
        for group in (self._others, self._wrappers):
            for band in group.bands():
                if seat in band:
                    gone = band.pop(seat)
                    self._bent -= bool(gone.before or gone.after)
                    return
        raise KeyError(seat)

    def reseat(self, seat: int, impl: Implementation) -> None:
        """Put *occupant* on *seat* instead of who sits there.

        It keeps the place where it belongs to the same band; where its options
        changed, it goes where a new one with these options would have gone when the
        seat was taken.
        """
        group = self._group(impl)
        for other in (self._others, self._wrappers):
            for band in other.bands():
                if seat in band:
                    old = band[seat]
                    same = other is group and (old.tryfirst, old.trylast) == (
                        impl.tryfirst,
                        impl.trylast,
                    )
                    if same:
                        self._bent += bool(impl.before or impl.after)
                        self._bent -= bool(old.before or old.after)
                        band[seat] = impl
                        return
                    self.unseat(seat)
                    self.insert(seat, impl)
                    return
        raise KeyError(seat)

    def insert(self, seat: int, impl: Implementation) -> None:
        """Give *seat* to *occupant* in the place that its number says."""
        group = self._group(impl)
        self.seat(seat, impl)
        band = next(b for b in group.bands() if seat in b)
        if len(band) > 1 and seat < max(band):
            ordered = sorted(band.items())
            band.clear()
            band.update(ordered)

    def check(self, coming: Iterable[Implementation], leaving: Collection[int] = ()) -> None:
        """Raise if the order could not be had with others in it.

        Args:
            coming: Occupants who would come.
            leaving: Seats that would be free.

        Raises:
            PhotonConflictError: ``before`` and ``after`` would go round in a circle.
        """
        coming = list(coming)
        if not self._bent and not any(o.before or o.after for o in coming):
            return
        stay = [o for seat, o in self._unbent() if seat not in leaving]
        for is_wrapper in (True, False):
            group = [o for o in (*stay, *coming) if o.is_wrapper is is_wrapper]
            bend(list(enumerate(group)))

    def _unbent(self) -> list[tuple[int, Implementation]]:
        return [*self._wrappers, *self._others]

    def items(self) -> list[tuple[int, Implementation]]:
        """Return (seat, occupant) in the order of calls, wrappers first.

        Raises:
            PhotonConflictError: ``before`` and ``after`` go round in a circle.
        """
        wrappers, others = list(self._wrappers), list(self._others)
        if self._bent:
            wrappers, others = bend(wrappers), bend(others)
        return [*wrappers, *others]

    def implementations(self) -> tuple[Implementation, ...]:
        """Return the occupants in the order of calls, wrappers first.

        Raises:
            PhotonConflictError: ``before`` and ``after`` go round in a circle.
        """
        return tuple([impl for _, impl in self.items()])


# === hooks.explaining ===
# Says why a hook calls its photons in the order in which it does.


def _reason(impl: Implementation) -> str:
    reasons = []
    if impl.tryfirst:
        reasons.append("asks to be first")
    if impl.trylast:
        reasons.append("asks to be last")
    reasons.extend(f"before {name!r}" for name in impl.before)
    reasons.extend(f"after {name!r}" for name in impl.after)
    return ", ".join(reasons) or "the later registered, the earlier called"


def explain(hook: str, implementations: Iterable[Implementation]) -> OrderExplanation:
    """Explain the order of *occupants*, who are in the order of calls."""
    return OrderExplanation(
        hook,
        tuple(
            Place(
                position=number,
                photon=impl.photon,
                generation=impl.generation,
                kind="wrapper" if impl.is_wrapper else "implementation",
                why=_reason(impl),
                where=impl.where,
            )
            for number, impl in enumerate(implementations, 1)
        ),
    )
