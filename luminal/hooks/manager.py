"""The plugin manager: where a host registers photons and finds its hooks.

In comes a photon, out come its seats in every hook's order. It never knows what a
handler or a reload is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks.census import awhen_idle, flights, statistics, when_idle
from luminal.hooks.desk import HookDesk
from luminal.hooks.enrolment import Enrolment
from luminal.hooks.explaining import explain
from luminal.hooks.finding import bound, marked
from luminal.hooks.hook import HookCaller
from luminal.hooks.policy import Breaker, Policy
from luminal.hooks.registry import Record, Registry
from luminal.hooks.relay import AsyncHookRelay, HookRelay
from luminal.hooks.subset import SubsetCaller
from luminal.hooks.swapping import swap
from luminal.hooks.typed import TypedHooks
from luminal.hooks.verifying import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from luminal.hooks.census import HookStatistics
    from luminal.hooks.explaining import OrderExplanation
    from luminal.hooks.failure import HookFailure

    T = TypeVar("T")

__all__ = ["PluginManager"]


class PluginManager(pluggy.PluginManager):
    """pluggy's manager: faster, sync and async, with seats that can be swapped.

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
        self._policy.refresh = self._refresh
        self._registry = Registry()
        self._desks: dict[str, HookDesk] = {}
        self.hook: Any = HookRelay()
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
            for impl in desk.get_hookimpls():
                self._verify_hook(desk, impl)
        if not found:
            raise ValueError(
                f"did not find any {self.project_name!r} hooks in {module_or_class!r}"
            )

    def subset_hook_caller(self, name: str, remove_plugins: Iterable[object]) -> Any:
        """Return a caller of hook *name* that leaves *remove_plugins* out."""
        desk = self._desks[name] if name in self._desks else getattr(self.hook, name)
        removed = frozenset(id(plugin) for plugin in remove_plugins)
        present = {id(impl.plugin) for impl in desk.get_hookimpls()}
        if not removed & present:
            return getattr(self.hook, name)
        return SubsetCaller(desk, removed & present)

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
            enrolment = self._enrol(plugin, chosen, generation)
            record = self._registry.add(chosen, plugin, generation)
            self._name2plugin[chosen] = plugin
        enrolment.seat(record)
        return chosen

    def _enrol(self, plugin: object, name: str, generation: int) -> Enrolment:
        """Find and verify the implementations of *plugin*; change nothing."""
        enrolment = Enrolment(self._desk, self._verify_hook)
        for attribute, function, options in self._marked(plugin):
            enrolment.add(plugin, name, generation, attribute, function, options)
        enrolment.check()
        return enrolment

    def _marked(self, plugin: object) -> list[tuple[str, Any, Any]]:
        if type(self).parse_hookimpl_opts is pluggy.PluginManager.parse_hookimpl_opts:
            return marked(plugin, f"{self.project_name}_impl")
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
                assert plugin is not None, "one of name or plugin needs to be specified"
                name = self.get_name(plugin)
                assert name is not None, "plugin is not registered"
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

    def swap(self, old: object, new: object, *, generation: int | None = None) -> str:
        """Put *new* on the seats of *old* and return the name, which stays.

        Args:
            old: A registered plugin, or its name.
            new: The plugin that takes its place in the order of every hook.
            generation: Its generation; by default the old one's and one more.

        Raises:
            ValueError: *old* is not registered, or *new* is.
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
        changes: list[tuple[Record, Record, Enrolment]] = []
        with self._policy.lock:
            for old, new in pairs:
                record = self._registered(old)
                if new is not record.plugin and self.is_registered(new):
                    raise ValueError(f"plugin {new!r} is registered already")
                number = record.generation + 1 if generation is None else generation
                enrolment = self._enrol(new, record.name, number)
                successor = Record(record.name, new, record.rank, number)
                changes.append((record, successor, enrolment))
            swap(self._policy, self._desks.values(), self._desk, changes)
            for record, successor, _ in changes:
                self._registry.replace(record, successor)
                self._name2plugin[record.name] = successor.plugin
                self._forget(record)
        return [record.name for record, _, _ in changes]

    def _registered(self, plugin_or_name: object) -> Record:
        plugin = plugin_or_name
        if isinstance(plugin_or_name, str):
            plugin = self._name2plugin.get(plugin_or_name, plugin_or_name)
        record = self._registry.find(plugin)
        if record is None:
            raise ValueError(f"plugin {plugin_or_name!r} is not registered")
        return record

    def _forget(self, record: Record) -> None:
        """Drop memories of historic hooks that would keep *record*'s plugin alive."""
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

    def hooks(self, specs: type[T]) -> T:
        """Return the hooks of *specs* as an object that type checkers know.

        Args:
            specs: A class of specifications that was given to `add_hookspecs`. Its
                ``def`` are called, its ``async def`` are awaited; all with keywords.
        """
        view: Any = TypedHooks(
            specs, self.hook, self.ahook, f"{self.project_name}_spec"
        )
        found: T = view
        return found

    # What runs, and in which order.

    def in_flight(self, plugin: object) -> int:
        """Return how many calls under way may be in *plugin*, registered or not."""
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
        return when_idle(self._policy, self._all_desks(), plugin, deadline)

    async def wait_idle(self, plugin: object, deadline: float) -> bool:
        """Wait as `wait_until_idle` does, while the loop goes on."""
        return await awhen_idle(self._policy, self._all_desks(), plugin, deadline)

    def statistics(self) -> tuple[HookStatistics, ...]:
        """Return what every photon did in every hook, in the order of calls."""
        return statistics(self._policy, self._all_desks())

    def explain_order(self, hook_name: str) -> OrderExplanation:
        """Return who is called when in hook *hook_name*, and why.

        Raises:
            AttributeError: There is no such hook.
        """
        desk = self._desks.get(hook_name)
        if desk is None:
            raise AttributeError(f"there is no hook {hook_name!r}")
        with self._policy.lock:
            return explain(hook_name, desk.hook.order.occupants())

    def _all_desks(self) -> list[HookDesk]:
        with self._policy.lock:
            return list(self._desks.values())

    # What photons may do.

    def set_breaker(self, failures: int, seconds: float) -> None:
        """Pass a photon over for *seconds* after *failures* in a row of one hook.

        ``failures=0`` switches it off, which is the default.
        """
        self._policy.breaker = Breaker(failures, seconds) if failures else None
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

    def _renew(self, desks: Iterable[HookDesk]) -> None:
        with self._policy.lock:
            for desk in desks:
                desk.hook.renew(desk.hook.view.again(self._policy.epoch))

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
