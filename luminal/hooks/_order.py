"""The call order of one hook's implementations.

The rules are pluggy's: wrappers come first. Then come implementations with
``tryfirst``, then the rest, then those with ``trylast``; among equals the latest
registered comes first. ``before`` and ``after`` change that order as little as they
must. Adding and removing an implementation takes the same time however many there are.

Nothing here takes a lock; the owner of an `Order` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.errors import PhotonConflictError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from luminal.hooks._impl import Implementation
    from luminal.hooks.records import OrderExplanation

__all__ = ["Order", "apply_before_after", "explain"]


def apply_before_after(
    items: Sequence[tuple[int, Implementation]],
) -> list[tuple[int, Implementation]]:
    """Return *items* in an order that obeys every ``before`` and ``after``.

    Where several may come next, the one that comes first in *items* comes first.
    A ``before`` or ``after`` that names a photon without this hook has no effect.

    Raises:
        PhotonConflictError: They form a cycle; its photons are named.
    """
    import heapq  # here, as most hosts use neither ``before`` nor ``after``
    from graphlib import CycleError, TopologicalSorter

    indexes: dict[str, list[int]] = {}
    for index, (_, impl) in enumerate(items):
        indexes.setdefault(impl.photon, []).append(index)
    sorter = TopologicalSorter(dict.fromkeys(range(len(items)), ()))
    for index, (_, impl) in enumerate(items):
        for name in impl.before:
            for later in indexes.get(name, ()):
                sorter.add(later, index)
        for name in impl.after:
            sorter.add(index, *indexes.get(name, ()))
    try:
        sorter.prepare()
    except CycleError as error:
        # In a check, new implementations are last: the message begins with one.
        cycle = error.args[1][1:]
        start = cycle.index(max(cycle))
        cycle = [*cycle[start:], *cycle[:start], cycle[start]]
        photons = [items[index][1].photon for index in cycle]
        raise PhotonConflictError(
            "the 'before' and 'after' of hook implementations form a cycle",
            photon=photons[0],
            why=" before ".join(repr(photon) for photon in photons),
            hint="remove one 'before' or 'after' of the cycle",
        ) from None
    ready: list[int] = []
    ordered: list[tuple[int, Implementation]] = []
    while sorter.is_active():
        for index in sorter.get_ready():
            heapq.heappush(ready, index)
        index = heapq.heappop(ready)
        ordered.append(items[index])
        sorter.done(index)
    return ordered


class _Group:
    """The wrappers of a hook, or its other implementations, in three bands.

    A band is a dict of position → implementation, in the order of registration: a dict
    keeps the order of insertion and removes a key without a scan.
    """

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

    def add(self, position: int, impl: Implementation) -> None:
        band = self.band_of(impl)
        if band is self.plain and not band:
            self._move_tryfirst_and_trylast()
        band[position] = impl

    def _move_tryfirst_and_trylast(self) -> None:
        # pluggy looks for the last implementation that is not ``tryfirst``. One with
        # both options is called last until the first plain one is registered; from
        # then on it counts as ``tryfirst``.
        moved = {}
        for position, impl in self.late.items():
            if not impl.tryfirst:
                break
            moved[position] = impl
        if moved:
            for position in moved:
                del self.late[position]
            self.early = {**dict(reversed(moved.items())), **self.early}

    def __iter__(self) -> Iterator[tuple[int, Implementation]]:
        """Yield (position, implementation) in the order of calls."""
        yield from reversed(self.early.items())
        yield from reversed(self.plain.items())
        yield from self.late.items()


class Order:
    """The implementations of one hook, by position.

    A position is a number that a photon keeps through every swap. It is no index: the
    order of calls also depends on the options of the implementations.
    """

    __slots__ = ("_constrained", "_others", "_wrappers")

    def __init__(self) -> None:
        self._wrappers = _Group()
        self._others = _Group()
        # How many implementations have ``before`` or ``after``. Mostly none has; then
        # nothing is sorted.
        self._constrained = 0

    def copy(self) -> Order:
        """Return another order of the same implementations."""
        other = Order()
        other._wrappers = self._wrappers.copy()
        other._others = self._others.copy()
        other._constrained = self._constrained
        return other

    def _group(self, impl: Implementation) -> _Group:
        return self._wrappers if impl.is_wrapper else self._others

    def _band(self, position: int) -> dict[int, Implementation]:
        for group in (self._others, self._wrappers):
            for band in group.bands():
                if position in band:
                    return band
        raise KeyError(position)

    def add(self, position: int, impl: Implementation) -> None:
        """Add *impl* at *position*, which is free, as the latest registered."""
        self._constrained += impl.is_constrained
        self._group(impl).add(position, impl)

    def remove(self, position: int) -> None:
        """Remove the implementation at *position*.

        Raises:
            KeyError: There is none.
        """
        gone = self._band(position).pop(position)
        self._constrained -= gone.is_constrained

    def replace(self, position: int, impl: Implementation) -> None:
        """Put *impl* in the place of the implementation at *position*.

        It is called at the same point of the order. If its options differ, it is
        called where they would have put it at the time of the first registration.

        Raises:
            KeyError: There is no implementation at *position*.
        """
        old = self._band(position)[position]
        if old.order_options == impl.order_options:
            self._constrained += impl.is_constrained - old.is_constrained
            self._band(position)[position] = impl
        else:
            self.remove(position)
            self.insert(position, impl)

    def insert(self, position: int, impl: Implementation) -> None:
        """Add *impl* as if it had been registered when *position* was given away."""
        self.add(position, impl)
        band = self._band(position)
        if position < max(band):
            ordered = sorted(band.items())
            band.clear()
            band.update(ordered)

    def check(
        self, added: Collection[Implementation], removed: Collection[int] = ()
    ) -> None:
        """Raise if a change would make the order impossible.

        Args:
            added: Implementations that would be added.
            removed: Positions that would be free.

        Raises:
            PhotonConflictError: ``before`` and ``after`` would form a cycle.
        """
        if not self._constrained and not any(impl.is_constrained for impl in added):
            return
        kept = [
            impl
            for position, impl in (*self._wrappers, *self._others)
            if position not in removed
        ]
        for is_wrapper in (True, False):
            group = [i for i in (*kept, *added) if i.is_wrapper is is_wrapper]
            apply_before_after(list(enumerate(group)))

    def items(self) -> list[tuple[int, Implementation]]:
        """Return (position, implementation) in the order of calls, wrappers first.

        Raises:
            PhotonConflictError: ``before`` and ``after`` form a cycle.
        """
        wrappers, others = list(self._wrappers), list(self._others)
        if self._constrained:
            wrappers, others = apply_before_after(wrappers), apply_before_after(others)
        return [*wrappers, *others]

    def implementations(self) -> tuple[Implementation, ...]:
        """Return the implementations in the order of calls, wrappers first.

        Raises:
            PhotonConflictError: ``before`` and ``after`` form a cycle.
        """
        return tuple([impl for _, impl in self.items()])


def explain(hook: str, implementations: Iterable[Implementation]) -> OrderExplanation:
    """Explain the order of *implementations*, which are in the order of calls."""
    from luminal.hooks.records import OrderExplanation, Place

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


def _reason(impl: Implementation) -> str:
    reasons = []
    if impl.tryfirst:
        reasons.append("tryfirst")
    if impl.trylast:
        reasons.append("trylast")
    reasons.extend(f"before {name!r}" for name in impl.before)
    reasons.extend(f"after {name!r}" for name in impl.after)
    return ", ".join(reasons) or "the later registered, the earlier called"
