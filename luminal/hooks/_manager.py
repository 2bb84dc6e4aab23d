"""The plugin manager: a roster whose photons can be swapped, watched and limited.

In come wishes of the host, out come other occupants on the same seats, and numbers. It
never knows what a handler or a reload is.
"""

from __future__ import annotations

import difflib
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pluggy

from luminal.hooks._caller import AsyncHookRelay, HookCaller, HookDesk, HookRelay
from luminal.hooks._errors import Breaker, Policy
from luminal.hooks._impl import Implementation, bound, marked
from luminal.hooks._order import Order

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeVar

    from luminal.hooks._impl import Past
    from luminal.hooks._swap import Exchange
    from luminal.hooks.records import HookFailure, HookStatistics, OrderExplanation

    T = TypeVar("T")

__all__ = [
    "Registration",
    "PluginManager",
    "RegisteredPlugin",
    "Registry",
    "Roster",
    "caught_up",
    "check_orders",
    "check_specified",
    "near",
    "nearest",
    "unspecified",
    "verify",
]

# === hooks.registry ===
# Who is registered: name → plugin, and each plugin's seats, without scans.
#
# In come registrations, out come records found by name or by identity. Two plugins that
# compare equal are two plugins.


class RegisteredPlugin:
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
        self.seats: list[tuple[HookDesk, int, Implementation]] = []

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
        self._by_id: dict[int, RegisteredPlugin] = {}
        self._rank = 0

    def find(self, plugin: object) -> RegisteredPlugin | None:
        """Return the record of *plugin*, or None."""
        return self._by_id.get(id(plugin))

    def add(self, name: str, plugin: object, generation: int) -> RegisteredPlugin:
        """Make and keep a record."""
        self._rank += 1
        record = RegisteredPlugin(name, plugin, self._rank, generation)
        self._by_id[id(plugin)] = record
        return record

    def remove(self, record: RegisteredPlugin) -> None:
        """Forget *record*."""
        record.is_gone = True
        del self._by_id[id(record.plugin)]

    def replace(self, old: RegisteredPlugin, new: RegisteredPlugin) -> None:
        """Keep *new* instead of *old*, with the old one's rank."""
        old.is_gone = True
        del self._by_id[id(old.plugin)]
        self._by_id[id(new.plugin)] = new


# === hooks.enrolment ===
# A photon's implementations on their way to their seats.
#
# In comes what was found on a photon, out come occupants that are verified. Before
# `seat`, nothing has changed.

_DEFAULTS = {
    "tryfirst": False,
    "trylast": False,
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "specname": None,
}


class Registration:
    """The implementations of one photon, verified but not seated.

    Args:
        known: Finds the desk of a hook.
        verify: Raises where an implementation does not fit its hook.
    """

    def __init__(
        self,
        known: Callable[[str], HookDesk | None],
        verify: Callable[[Any, Any], None],
    ) -> None:
        self._known = known
        self._verify = verify
        self.chosen: list[tuple[str, Implementation, bool]] = []
        # Historic calls that the successor of somebody has been told of.
        self._told: dict[Implementation, set[Past]] = {}

    def add(
        self,
        plugin: object,
        name: str,
        generation: int,
        attribute: str,
        function: Any,
        options: Any,
    ) -> None:
        """Take one implementation.

        Raises:
            pluggy.PluginValidationError: It does not fit its hook.
        """
        for key, value in _DEFAULTS.items():
            options.setdefault(key, value)
        hookimpl = pluggy.HookImpl(plugin, name, function, options)
        hook = options["specname"] or attribute
        desk = self._known(hook)
        if desk is not None and desk.has_spec():
            self._verify(desk, hookimpl)
        verified = desk is not None and desk.has_spec()
        self.chosen.append((hook, Implementation(hookimpl, generation), verified))

    def repeat_history(self, old: RegisteredPlugin) -> None:
        """Repeat historic calls for who will take the seats of *old*.

        Calls that *old*'s photon made itself, or that hold it, are not among them.
        """
        for hook, impl, _ in self.chosen:
            desk = self._known(hook)
            if desk is not None and desk.history:
                told = self._told.setdefault(impl, set())
                desk.repeat(impl, told, leaving=old.plugin)

    def is_behind(self) -> bool:
        """Return whether there were more historic calls since `repeat_history`."""
        return any(
            desk.has_more(self._told.get(impl, set()))
            for hook, impl, _ in self.chosen
            if (desk := self._known(hook)) is not None
        )

    def seat(self, record: RegisteredPlugin, desks: Callable[[str], HookDesk]) -> None:
        """Give every implementation its seat; repeat historic calls for it.

        Args:
            record: Gets the seats.
            desks: Finds or makes the desk of a hook.
        """
        for name, impl, verified in self.chosen:
            desk = desks(name)
            if not verified and desk.has_spec():
                self._verify(desk, impl.hookimpl)
            told: set[Past] = set()
            while not _seat(record, desk, impl, told):
                desk.repeat(impl, told)


def _seat(record: RegisteredPlugin, desk: HookDesk, impl: Implementation, told: set[Past]) -> bool:
    """Give *occupant* a seat; False: there are historic calls it must hear of first."""
    hook = desk.hook
    with hook.lock:
        if record.is_gone:  # unregistered by what it was told of
            return True
        if desk.has_more(told):
            return False
        seat = record.next_seat()
        impl.tally.born = hook.calls
        hook.order.seat(seat, impl)
        record.seats.append((desk, seat, impl))
        hook.changed(grown=True)
        return True


@contextmanager
def caught_up(
    lock: threading.RLock, changes: Sequence[tuple[RegisteredPlugin, RegisteredPlugin, Registration]]
) -> Iterator[None]:
    """Hold *lock* once all successors have heard of all historic calls.

    Args:
        lock: The manager's.
        changes: (old record, new record, verified implementations), one a photon.
    """
    while True:
        # Code of photons: without the lock, and before anything is changed.
        for record, _, registration in changes:
            registration.repeat_history(record)
        with lock:
            if not any(registration.is_behind() for _, _, registration in changes):
                yield
                return


def check_orders(
    known: Callable[[str], HookDesk | None],
    changes: Iterable[tuple[Registration, RegisteredPlugin | None]],
) -> None:
    """Raise where *changes* together would make an order impossible.

    Args:
        known: Finds the desk of a hook.
        changes: Who comes, and whose seats they take.

    Raises:
        PhotonConflictError: ``before`` and ``after`` would go round in a circle.
    """
    coming: dict[str, list[Implementation]] = {}
    leaving: set[tuple[str, int]] = set()
    for registration, old in changes:
        for hook, impl, _ in registration.chosen:
            coming.setdefault(hook, []).append(impl)
        for desk, seat, _ in old.seats if old is not None else ():
            leaving.add((desk.name, seat))
    for hook, implementations in coming.items():
        found = known(hook)
        order = Order() if found is None else found.hook.order
        order.check(implementations, {seat for name, seat in leaving if name == hook})


# === hooks.verifying ===
# Whether an implementation fits its hook: pluggy's rules, and those of async.

_ASYNC_GENERATOR: Final = 0x200
_ASYNC: Final = 0x80 | _ASYNC_GENERATOR


def verify(hook: Any, hookimpl: Any, by_pluggy: Callable[[Any, Any], None]) -> None:
    """Verify *impl* against the specification of *hook*.

    Raises:
        pluggy.PluginValidationError: It does not fit.
    """
    code: Any = getattr(hookimpl.function, "__code__", None)
    flags: int = code.co_flags if code is not None else 0
    if flags & _ASYNC and hook.spec.opts.get("sync_only"):
        raise pluggy.PluginValidationError(
            hookimpl.plugin,
            f"Plugin {hookimpl.plugin_name!r} for hook {hook.name!r}\n"
            f"hookimpl at {code.co_filename}:{code.co_firstlineno} is async, but the "
            "hook is called without await\n"
            "  try: make it a plain function, or take 'sync_only' off the hookspec",
        )
    if hookimpl.wrapper and not hookimpl.hookwrapper and flags & _ASYNC_GENERATOR:
        # pluggy knows generators only; everything else of its rules applies.
        names = ("plugin", "plugin_name", "function", "argnames", "kwargnames")
        stand_in = SimpleNamespace(
            wrapper=False, hookwrapper=False, **{n: getattr(hookimpl, n) for n in names}
        )
        if hook.is_historic():
            stand_in.wrapper = True
        by_pluggy(hook, stand_in)
        return
    by_pluggy(hook, hookimpl)


# === hooks.roster ===
# The roster: hooks and plugins with pluggy's whole interface, found without scans.
#
# In comes a photon, out come its seats in every hook's order. It knows nothing of swaps.


class Roster(pluggy.PluginManager):
    """pluggy's manager: faster, and with a relay of async calls.

    Args:
        project_name: Name of the project, as in its markers.
        isolate: Whether one photon's failure leaves the others to answer, in hooks
            whose specification does not say.
        report: Is told every failure that was isolated.

    Attributes:
        hook: ``manager.hook.NAME(**kwargs)`` calls hook NAME.
        ahook: ``await manager.ahook.NAME(**kwargs)`` awaits it.
    """

    def __init__(
        self,
        project_name: str,
        *,
        isolate: bool = False,
        report: Callable[[HookFailure], object] | None = None,
    ) -> None:
        super().__init__(project_name)
        self._policy = Policy(isolate=isolate, report=report)
        self._registry = Registry()
        self._policy.is_registered = self.is_registered
        self._desks: dict[str, HookDesk] = {}
        self.hook: Any = HookRelay()  # type: ignore[misc] # pluggy calls it final
        self.ahook: Any = AsyncHookRelay()

    # Hooks.

    def _desk(self, name: str) -> HookDesk:
        """Return the desk of hook *name*, made at need."""
        desk = self._desks.get(name)
        if desk is None:
            with self._policy.lock:
                desk = self._desks.get(name)
                if desk is None:
                    desk = HookDesk(HookCaller(name, self._policy))
                    self._desks[name] = desk
                    setattr(self.ahook, name, desk.hook.awaited)
                    setattr(self.hook, name, desk.hook.sync)
        return desk

    def add_hookspecs(self, module_or_class: Any) -> None:
        """Take hook specifications from *module_or_class*.

        Raises:
            ValueError: There is none, or a hook has one already.
        """
        found = False
        for name in dir(module_or_class):
            options = self.parse_hookspec_opts(module_or_class, name)
            if options is None:
                continue
            found = True
            desk = self._desk(name)
            desk.set_specification(module_or_class, options)
            for hookimpl in desk.get_hookimpls():
                self._verify_hook(desk, hookimpl)
        if not found:
            raise ValueError(
                f"did not find any {self.project_name!r} hooks in {module_or_class!r}"
            )

    def subset_hook_caller(self, name: str, remove_plugins: Iterable[object]) -> Any:
        """Return a caller of hook *name* that leaves *remove_plugins* out.

        Also their next generations: a photon is known by its name.
        """
        desk = self._desks[name] if name in self._desks else getattr(self.hook, name)
        unwanted = {id(plugin) for plugin in remove_plugins}
        removed = frozenset(
            hookimpl.plugin_name
            for hookimpl in desk.get_hookimpls()
            if id(hookimpl.plugin) in unwanted
        )
        if not removed:
            return getattr(self.hook, name)
        from luminal.hooks._caller import SubsetCaller

        return SubsetCaller(desk, removed)

    # Plugins.

    def register(
        self, plugin: object, name: str | None = None, generation: int = 0
    ) -> str | None:
        """Register *plugin* and return its name; None where the name is blocked.

        Args:
            plugin: The photon: a module, class or instance.
            name: Its name; by default its ``__name__`` or id.
            generation: Number that attributions show.

        Raises:
            ValueError: The plugin or the name is registered.
            pluggy.PluginValidationError: An implementation does not fit its hook;
                nothing is changed.
        """
        if plugin is None:
            return None
        chosen = name or self.get_canonical_name(plugin)
        with self._policy.lock:
            if chosen in self._name2plugin:
                if self._name2plugin[chosen] is None:
                    return None
                raise ValueError(f"Plugin name already registered: {chosen}={plugin}")
            taken = self._registry.find(plugin)
            if taken is not None:
                raise ValueError(
                    f"Plugin already registered under a different name: "
                    f"{chosen}={plugin} is {taken.name}"
                )
            registration = self._enrol(plugin, chosen, generation)
            check_orders(self._desks.get, [(registration, None)])
            record = self._registry.add(chosen, plugin, generation)
            self._name2plugin[chosen] = plugin
        registration.seat(record, self._desk)
        return chosen

    def _enrol(self, plugin: object, name: str, generation: int) -> Registration:
        """Find and verify the implementations of *plugin*; change nothing."""
        registration = Registration(self._desks.get, self._verify_hook)
        for attribute, function, options in self._marked(plugin):
            registration.add(plugin, name, generation, attribute, function, options)
        return registration

    def _marked(self, plugin: object) -> list[tuple[str, Any, Any]]:
        found: list[tuple[str, Any, Any]]
        if type(self).parse_hookimpl_opts is pluggy.PluginManager.parse_hookimpl_opts:
            found = marked(plugin, f"{self.project_name}_impl")
            if self.project_name != "luminal":  # our own marker serves everywhere
                taken = {attribute for attribute, _, _ in found}
                ours = marked(plugin, "luminal_impl")
                found += [one for one in ours if one[0] not in taken]
            return found
        found = []
        for attribute in dir(plugin):
            options = self.parse_hookimpl_opts(plugin, attribute)
            if options is not None:
                function = bound(plugin, attribute) or getattr(plugin, attribute)
                found.append((attribute, function, options))
        return found

    def unregister(
        self, plugin: object | None = None, name: str | None = None
    ) -> Any | None:
        """Unregister a plugin, given by itself or by name, and return it.

        Raises:
            AssertionError: Neither is given, or the plugin is not registered.
            ValueError: Both are given and do not agree.
        """
        with self._policy.lock:
            if name is None:
                if plugin is None:
                    raise AssertionError("one of name or plugin needs to be specified")
                name = self.get_name(plugin)
                if name is None:
                    raise AssertionError("plugin is not registered")
            if plugin is None:
                plugin = self.get_plugin(name)
                if plugin is None:
                    return None
            else:
                self._agree(plugin, name)
            record = self._registry.find(plugin)
            if record is not None:
                for desk, seat, _ in record.seats:
                    desk.hook.order.unseat(seat)
                    desk.hook.changed()
                self._registry.remove(record)
                self._forget(record)
            if self._name2plugin.get(name) is not None:
                del self._name2plugin[name]
        return plugin

    def _forget(self, record: RegisteredPlugin) -> None:
        """Drop what was for *record*'s plugin alone, or would keep it alive."""
        if self._policy.breaker is not None:
            self._policy.breaker.forget(record.name)
        for desk in self._desks.values():
            if desk.history:
                desk.forget(record.plugin, record.name)

    def _agree(self, plugin: object, name: str) -> None:
        by_name, by_plugin = self._name2plugin.get(name), self.get_name(plugin)
        if (by_name is not None and by_name is not plugin) or (
            by_plugin is not None and by_plugin != name
        ):
            raise ValueError(
                f"Plugin name {name!r} and plugin {plugin!r} do not agree "
                f"(the name is {by_name!r}, the plugin is named {by_plugin!r})"
            )

    def get_name(self, plugin: object) -> str | None:
        """Return the name that *plugin* is registered under, or None."""
        record = self._registry.find(plugin)
        return None if record is None else record.name

    def is_registered(self, plugin: object) -> bool:
        """Return whether *plugin* itself is registered."""
        return self._registry.find(plugin) is not None

    def get_hookcallers(self, plugin: object) -> list[Any] | None:
        """Return the hooks that *plugin* implements; None if it is not registered."""
        record = self._registry.find(plugin)
        if record is None:
            return None
        return [desk.hook.sync for desk in record.desks()]

    def _verify_hook(self, hook: Any, hookimpl: Any) -> None:
        verify(hook, hookimpl, super()._verify_hook)

    def _all_desks(self) -> list[HookDesk]:
        with self._policy.lock:
            return list(self._desks.values())

    def _renew(self, desks: Iterable[HookDesk]) -> None:
        with self._policy.lock:
            for desk in desks:
                desk.hook.renew(desk.hook.snapshot.again(self._policy.epoch))

    # Monitoring.

    def add_hookcall_monitoring(
        self, before: Callable[..., Any], after: Callable[..., Any]
    ) -> Callable[[], None]:
        """Run *before* and *after* around every call; return what undoes it."""
        pair = (before, after)
        self._monitor((*self._policy.monitors, pair))

        def undo() -> None:
            self._monitor(tuple(p for p in self._policy.monitors if p is not pair))

        return undo

    def _monitor(self, monitors: tuple[Any, ...]) -> None:
        self._policy.monitors = monitors
        self._renew(self._all_desks())


# === hooks.manager ===
# The plugin manager: a roster whose photons can be swapped, watched and limited.
#
# In come wishes of the host, out come other occupants on the same seats, and numbers. It
# never knows what a handler or a reload is.


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
        from luminal.hooks._swap import Exchange

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
    ) -> list[tuple[RegisteredPlugin, RegisteredPlugin, Registration]]:
        """Return (old record, new record, verified implementations) of *pairs*."""
        changes: list[tuple[RegisteredPlugin, RegisteredPlugin, Registration]] = []
        with self._policy.lock:
            for old, new in pairs:
                record = self._registered(old)
                if any(r is record or s.plugin is new for r, s, _ in changes):
                    raise ValueError(f"{old!r} or {new!r} is in two pairs of one swap")
                if new is not record.plugin and self.is_registered(new):
                    raise ValueError(f"plugin {new!r} is registered already")
                number = record.generation + 1 if generation is None else generation
                registration = self._enrol(new, record.name, number)
                successor = RegisteredPlugin(record.name, new, record.rank, number)
                changes.append((record, successor, registration))
            check_orders(self._desks.get, [(e, r) for r, _, e in changes])
        return changes

    def _registered(self, plugin_or_name: object) -> RegisteredPlugin:
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
        from luminal.hooks._caller import TypedHooks

        snapshot: Any = TypedHooks(
            specs, self.hook, self.ahook, f"{self.project_name}_spec"
        )
        found: T = snapshot
        return found

    # What runs, and in which order.

    def in_flight(self, plugin: object) -> int:
        """Return how many calls under way may be in *plugin*, registered or not."""
        from luminal.hooks._swap import flights

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
        from luminal.hooks._swap import when_idle

        return when_idle(self._policy, self._all_desks(), plugin, deadline)

    async def wait_idle(self, plugin: object, deadline: float) -> bool:
        """Wait as `wait_until_idle` does, while the loop goes on."""
        from luminal.hooks._swap import awhen_idle

        return await awhen_idle(self._policy, self._all_desks(), plugin, deadline)

    def statistics(self) -> tuple[HookStatistics, ...]:
        """Return what every photon did in every hook, in the order of calls."""
        from luminal.hooks._swap import statistics

        return statistics(self._policy, self._all_desks())

    def explain_order(self, hook_name: str) -> OrderExplanation:
        """Return who is called when in hook *hook_name*, and why.

        Raises:
            AttributeError: There is no such hook.
        """
        from luminal.hooks._order import explain

        desk = self._desks.get(hook_name)
        if desk is None:
            meant = near(hook_name, list(self._desks))
            raise AttributeError(f"there is no hook {hook_name!r}{meant}")
        with self._policy.lock:
            return explain(hook_name, desk.hook.order.implementations())

    def unspecified(self, plugin: object) -> list[tuple[str, Any, str]]:
        """Return what *plugin* implements that has no specification, and must have one.

        Args:
            plugin: A plugin, registered or not.

        Returns:
            (name of the hook, function, name of the nearest hook or ``""``) of each.
        """
        return unspecified(self._marked(plugin), self._desks)

    def check_pending(self) -> None:
        """Refuse implementations of hooks that nobody has specified.

        Raises:
            pluggy.PluginValidationError: There is one: where, and which hook is near.
        """
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


# === hooks.misspelt ===
# Implementations of hooks that nobody has specified, and what their author meant.


def check_specified(desks: Sequence[HookDesk]) -> None:
    """Refuse an implementation of a hook without a specification.

    Args:
        desks: Those of all hooks.

    Raises:
        pluggy.PluginValidationError: There is one that is not marked ``optionalhook``.
    """
    known = [desk.name for desk in desks if desk.has_spec()]
    for desk in desks:
        if desk.has_spec() or desk.name.startswith("_"):
            continue
        for hookimpl in desk.get_hookimpls():
            if hookimpl.optionalhook:
                continue
            code = getattr(hookimpl.function, "__code__", None)
            place = f"{code.co_filename}:{code.co_firstlineno}" if code else ""
            text = f"unknown hook {desk.name!r} in plugin {hookimpl.plugin!r}"
            text += f"\n  at: {place}" if place else ""
            text += "\n  try: specify it, or mark it 'optionalhook'"
            text += near(desk.name, known)
            raise pluggy.PluginValidationError(hookimpl.plugin, text)


def unspecified(
    marked: Iterable[tuple[str, Any, Any]], desks: Mapping[str, HookDesk]
) -> list[tuple[str, Any, str]]:
    """Return (hook, function, nearest hook) of what has no specification.

    Args:
        marked: (name, function, options) of a plugin's implementations.
        desks: Hook → its desk.
    """
    found = []
    for attribute, function, options in marked:
        name = options.get("specname") or attribute
        desk = desks.get(name)
        if options.get("optionalhook") or (desk is not None and desk.has_spec()):
            continue
        known = [name for name, desk in desks.items() if desk.has_spec()]
        found.append((name, function, nearest(name, known)))
    return found


def near(name: str, known: Iterable[str]) -> str:
    """Return a question for the nearest of *known*, or an empty string.

    Args:
        name: What was written.
        known: What there is.
    """
    found = nearest(name, known)
    return f"; did you mean {found!r}?" if found else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the nearest of *known* to *name*, or an empty string."""
    return next(iter(difflib.get_close_matches(name, list(known), 1)), "")
