"""The roster: hooks and plugins with pluggy's whole interface, found without scans.

In comes a photon, out come its seats in every hook's order. It knows nothing of swaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks.desk import HookDesk
from luminal.hooks.enrolment import Enrolment, check_orders
from luminal.hooks.finding import bound, marked
from luminal.hooks.hook import HookCaller
from luminal.hooks.policy import Policy
from luminal.hooks.registry import Registry
from luminal.hooks.relay import AsyncHookRelay, HookRelay
from luminal.hooks.verifying import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from luminal.hooks.records import HookFailure
    from luminal.hooks.registry import Record

__all__ = ["Roster"]


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
            for impl in desk.get_hookimpls():
                self._verify_hook(desk, impl)
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
            impl.plugin_name
            for impl in desk.get_hookimpls()
            if id(impl.plugin) in unwanted
        )
        if not removed:
            return getattr(self.hook, name)
        from luminal.hooks.subset import SubsetCaller

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
            enrolment = self._enrol(plugin, chosen, generation)
            check_orders(self._desks.get, [(enrolment, None)])
            record = self._registry.add(chosen, plugin, generation)
            self._name2plugin[chosen] = plugin
        enrolment.seat(record, self._desk)
        return chosen

    def _enrol(self, plugin: object, name: str, generation: int) -> Enrolment:
        """Find and verify the implementations of *plugin*; change nothing."""
        enrolment = Enrolment(self._desks.get, self._verify_hook)
        for attribute, function, options in self._marked(plugin):
            enrolment.add(plugin, name, generation, attribute, function, options)
        return enrolment

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

    def _forget(self, record: Record) -> None:
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
