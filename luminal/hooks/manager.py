"""The plugin manager: a roster whose photons can be swapped, watched and limited.

In come wishes of the host, out come other occupants on the same seats, and numbers. It
never knows what a handler or a reload is.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from luminal.hooks.enrolment import caught_up, check_orders
from luminal.hooks.policy import Breaker
from luminal.hooks.registry import Record
from luminal.hooks.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from luminal.hooks.enrolment import Enrolment
    from luminal.hooks.records import HookFailure, HookStatistics, OrderExplanation
    from luminal.hooks.swapping import Exchange

    T = TypeVar("T")

__all__ = ["PluginManager"]


class PluginManager(Roster):
    """pluggy's manager: faster, sync and async, with seats that can be swapped.

    Args:
        project_name: Name of the project, as in its markers.
        isolate: Whether one photon's failure leaves the others to answer, in hooks
            whose specification does not say.
        report: Is told every failure that was isolated.

    Attributes:
        hook: ``manager.hook.NAME(**kwargs)`` calls hook NAME.
        ahook: ``await manager.ahook.NAME(**kwargs)`` awaits it.

    Example:
        >>> from luminal import hookimpl, hookspec
        >>> class Specs:
        ...     @hookspec(firstresult=True)
        ...     def price(self, item): ...
        >>> class Cheap:
        ...     @hookimpl
        ...     def price(self, item):
        ...         return 1
        >>> manager = PluginManager("luminal")
        >>> manager.add_hookspecs(Specs)
        >>> manager.register(Cheap(), "cheap")
        'cheap'
        >>> manager.hook.price(item="tea")
        1
    """

    def __init__(
        self,
        project_name: str,
        *,
        isolate: bool = False,
        report: Callable[[HookFailure], object] | None = None,
    ) -> None:
        super().__init__(project_name, isolate=isolate, report=report)
        self._policy.refresh = self._refresh

    # Swaps.

    def swap(self, old: object, new: object, *, generation: int | None = None) -> str:
        """Put *new* on the seats of *old* and return the name, which stays.

        Args:
            old: A registered plugin, or its name.
            new: The plugin that takes its place in the order of every hook.
            generation: Its generation; by default the old one's and one more.

        Raises:
            ValueError: *old* is not registered, or *new* is; or one is in two pairs.
            pluggy.PluginValidationError: An implementation of *new* does not fit;
                nothing is changed.
        """
        return self.swap_many([(old, new)], generation=generation)[0]

    def swap_many(
        self,
        pairs: Iterable[tuple[object, object]],
        *,
        generation: int | None = None,
    ) -> list[str]:
        """Swap all *pairs* at once, or none; see `swap`.

        Calls that are under way end on what they began with.
        """
        with self.swapping(pairs, generation=generation) as exchange:
            exchange.turn()
        return [record.name for record, _, _ in exchange.changes]

    @contextmanager
    def swapping(
        self,
        pairs: Iterable[tuple[object, object]],
        *,
        generation: int | None = None,
    ) -> Iterator[Exchange]:
        """Prepare what `swap_many` does, for a block that says when.

        Args:
            pairs: As for `swap_many`.
            generation: Likewise.

        Yields:
            The exchange; its ``turn()`` takes some microseconds. A block that ends
            without having called it leaves everything as it was.

        Raises:
            ValueError: As for `swap`.
            pluggy.PluginValidationError: Likewise.
        """
        from luminal.hooks.swapping import Exchange

        changes = self._changes(pairs, generation)
        with caught_up(self._policy.lock, changes):
            for record, _, _ in changes:
                if record.is_gone:
                    raise ValueError(f"plugin {record.name!r} is not registered")
            check_orders(self._desks.get, [(e, r) for r, _, e in changes])
            desks = self._desks.values()
            exchange = Exchange(self._policy, desks, self._desk, changes)
            try:
                yield exchange
            finally:
                if exchange.is_done:
                    self._seal(exchange)
                else:
                    exchange.undo()

    def _seal(self, exchange: Exchange) -> None:
        """Note who sits where after *exchange* has turned."""
        exchange.settle()
        for record, successor, _ in exchange.changes:
            self._registry.replace(record, successor)
            self._name2plugin[record.name] = successor.plugin
            self._forget(record)

    def _changes(
        self, pairs: Iterable[tuple[object, object]], generation: int | None
    ) -> list[tuple[Record, Record, Enrolment]]:
        """Return (old record, new record, verified implementations) of *pairs*."""
        changes: list[tuple[Record, Record, Enrolment]] = []
        with self._policy.lock:
            for old, new in pairs:
                record = self._registered(old)
                if any(r is record or s.plugin is new for r, s, _ in changes):
                    raise ValueError(f"{old!r} or {new!r} is in two pairs of one swap")
                if new is not record.plugin and self.is_registered(new):
                    raise ValueError(f"plugin {new!r} is registered already")
                number = record.generation + 1 if generation is None else generation
                enrolment = self._enrol(new, record.name, number)
                successor = Record(record.name, new, record.rank, number)
                changes.append((record, successor, enrolment))
            check_orders(self._desks.get, [(e, r) for r, _, e in changes])
        return changes

    def _registered(self, plugin_or_name: object) -> Record:
        plugin = plugin_or_name
        if isinstance(plugin_or_name, str):
            plugin = self._name2plugin.get(plugin_or_name, plugin_or_name)
        record = self._registry.find(plugin)
        if record is None:
            raise ValueError(f"plugin {plugin_or_name!r} is not registered")
        return record

    def hooks(self, specs: type[T]) -> T:
        """Return the hooks of *specs* as an object that type checkers know.

        Args:
            specs: A class of specifications that was given to `add_hookspecs`. Its
                ``def`` are called, its ``async def`` are awaited; all with keywords.
        """
        from luminal.hooks.typed import TypedHooks

        view: Any = TypedHooks(
            specs, self.hook, self.ahook, f"{self.project_name}_spec"
        )
        found: T = view
        return found

    # What runs, and in which order.

    def in_flight(self, plugin: object) -> int:
        """Return how many calls under way may be in *plugin*, registered or not."""
        from luminal.hooks.census import flights

        return flights(self._policy, self._all_desks(), plugin)[0]

    def wait_until_idle(self, plugin: object, deadline: float) -> bool:
        """Wait until no call may be in *plugin*.

        Args:
            plugin: A plugin, mostly one that was swapped out.
            deadline: Seconds to wait at most.

        Returns:
            Whether it is idle. False at once where only calls on this thread's own
            stack are left, which cannot end while it waits.
        """
        from luminal.hooks.census import when_idle

        return when_idle(self._policy, self._all_desks(), plugin, deadline)

    async def wait_idle(self, plugin: object, deadline: float) -> bool:
        """Wait as `wait_until_idle` does, while the loop goes on."""
        from luminal.hooks.census import awhen_idle

        return await awhen_idle(self._policy, self._all_desks(), plugin, deadline)

    def statistics(self) -> tuple[HookStatistics, ...]:
        """Return what every photon did in every hook, in the order of calls."""
        from luminal.hooks.census import statistics

        return statistics(self._policy, self._all_desks())

    def explain_order(self, hook_name: str) -> OrderExplanation:
        """Return who is called when in hook *hook_name*, and why.

        Raises:
            AttributeError: There is no such hook.
        """
        from luminal.hooks.explaining import explain

        desk = self._desks.get(hook_name)
        if desk is None:
            from luminal.hooks.misspelt import near

            meant = near(hook_name, list(self._desks))
            raise AttributeError(f"there is no hook {hook_name!r}{meant}")
        with self._policy.lock:
            return explain(hook_name, desk.hook.order.occupants())

    def unspecified(self, plugin: object) -> list[tuple[str, Any, str]]:
        """Return what *plugin* implements that has no specification, and must have one.

        Args:
            plugin: A plugin, registered or not.

        Returns:
            (name of the hook, function, name of the nearest hook or ``""``) of each.
        """
        from luminal.hooks.misspelt import unspecified

        return unspecified(self._marked(plugin), self._desks)

    def check_pending(self) -> None:
        """Refuse implementations of hooks that nobody has specified.

        Raises:
            pluggy.PluginValidationError: There is one: where, and which hook is near.
        """
        from luminal.hooks.misspelt import check_specified

        check_specified(self._all_desks())

    # What photons may do.

    def set_breaker(
        self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Pass a photon over for a while after failures in a row of one hook.

        Args:
            failures: So many in a row; 0, the default, switches it off.
            seconds: For so long.
            clock: What tells the seconds; for tests, `luminal.testing.FakeClock`.
        """
        breaker = Breaker(failures, seconds, clock) if failures else None
        self._policy.breaker = breaker
        self._renew(self._all_desks())

    def set_deadline(self, name: str, seconds: float | None) -> None:
        """Cancel ``async`` implementations of photon *name* after *seconds*.

        None takes the limit away. A deadline of the implementation itself wins.
        """
        if seconds is None:
            self._policy.deadlines.pop(name, None)
        else:
            self._policy.deadlines[name] = seconds
        self._refresh(name)

    def _refresh(self, name: str) -> None:
        record = self._registry.find(self._name2plugin.get(name))
        if record is not None:
            self._renew(record.desks())
