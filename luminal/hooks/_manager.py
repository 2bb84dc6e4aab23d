"""The plugin manager: pluggy's interface, async calls, swaps, statistics, limits.

It keeps the registrations, and a `Caller` for each hook. Finding a plugin, registering
and unregistering take the same time however many plugins there are. It knows neither
handlers nor reloads.
"""

# ruff: noqa: SLF001 - a manager hands registrations to another manager
from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import pluggy

from luminal._forks import begin_anew_in_forks
from luminal._weak import members_of
from luminal.errors import did_you_mean, nearest
from luminal.hooks import _delegation, _presence
from luminal.hooks._caller import Caller, SubsetCaller
from luminal.hooks._errors import Policy, Quarantines
from luminal.hooks._impl import (
    Implementation,
    complete_options,
    find_function,
    find_marked,
    source_of,
)
from luminal.hooks._order import Order, explain
from luminal.hooks._registration import Marked, Registration

if TYPE_CHECKING:
    from collections.abc import (
        Container,
        Iterator,
        Mapping,
        Sequence,
    )
    from typing import TypeVar

    from luminal.hooks._impl import HistoricCall
    from luminal.hooks._swap import PreparedSwap
    from luminal.hooks.records import (
        ErrorPlace,
        HookComparison,
        HookFailure,
        HookStatistics,
        HookTotal,
        OrderExplanation,
    )
    from luminal.model import Quarantine

    T = TypeVar("T")

__all__ = ["PluginManager", "Registration"]

_ASYNC_GENERATOR: Final = 0x200  # inspect.CO_ASYNC_GENERATOR
_ASYNC: Final = 0x80 | _ASYNC_GENERATOR


_Installed = Callable[[], Iterable[tuple[Any, Any]]]
"""Returns (plugin, distribution) of those that a host has loaded."""


class _Specified:
    """A hook with a specification that is not in force yet, for pluggy's checks."""

    def __init__(self, name: str, spec: Any) -> None:
        self.name = name
        self.spec = spec

    def is_historic(self) -> bool:
        return bool(self.spec.opts.get("historic"))


class _WeakMethod:
    """Calls a method as long as something else refers to its object.

    Args:
        method: A bound method.
    """

    def __init__(self, method: Callable[..., object]) -> None:
        self._method = weakref.WeakMethod(method)

    @property
    def is_alive(self) -> bool:
        """Whether its object exists."""
        return self._method() is not None

    def __call__(self, *args: Any) -> None:
        """Call it."""
        method = self._method()
        if method is not None:
            method(*args)


class _IdentitySet(AbstractSet[Any]):
    """A set of any objects, told apart by identity.

    Args:
        values: What it contains.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._values = {id(value): value for value in values}

    def __contains__(self, value: object) -> bool:
        return id(value) in self._values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr([*self])


def _nobody(_: Any) -> None:
    """Return None: no function is of a photon's generation."""


class _Hooks(SimpleNamespace):
    """The hooks of a class of specifications, ``specs_``."""

    __slots__ = ("specs_",)

    def __getattr__(self, name: str) -> NoReturn:
        if name == "specs_":  # of an object that is being copied
            raise AttributeError(name)
        text = f"{self.specs_.__qualname__} specifies no hook {name!r}"
        raise AttributeError(text + did_you_mean(name, vars(self), "; "))


class PluginManager(pluggy.PluginManager):
    """pluggy's manager: faster, sync and async, with plugins that can be swapped.

    Plugins are told apart by identity: two that compare equal are two plugins.

    Args:
        project_name: Name of the project, as in its markers.
        isolate: Whether a call goes on after a photon has failed, in hooks whose
            specification does not say.
        report: Called with every failure that was isolated. What it raises is ignored.

    Attributes:
        hook: ``manager.hook.NAME(**kwargs)`` calls hook NAME.
        ahook: ``await manager.ahook.NAME(**kwargs)`` awaits it.
        owner_of: Returns the generation of a photon that has defined a function, or
            None. The specifications of a photon follow its generations: a generation
            is any object with the name of its photon's code as ``unit``.

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

    if TYPE_CHECKING:  # pluggy's relay has the type of its own callers
        hook: Any  # type: ignore[misc]

    def __init__(
        self,
        project_name: str,
        *,
        isolate: bool = False,
        report: Callable[[HookFailure], object] | None = None,
    ) -> None:
        super().__init__(project_name)
        self.ahook: Any = pluggy.HookRelay()
        self._policy = Policy(
            isolate=isolate,
            report=report,
            is_registered=self.is_registered,
            refresh=self._refresh,
        )
        self._callers: dict[str, Caller] = {}
        # The registration refers to the plugin, so no other object gets its id.
        self._by_id: dict[int, Registration] = {}
        self.owner_of: Callable[[Any], Any] = _nobody
        # Generation → the specifications that it has brought, in force or not.
        self._specs: dict[Any, dict[Caller, Any]] = {}
        self._ranks = itertools.count(1)
        # Managers that have hooks of their own on plugins of this one, and the hooks.
        self._delegates: weakref.WeakSet[PluginManager] = weakref.WeakSet()
        self._delegated: frozenset[str] = frozenset()
        # Id of a photon that is being registered → its generation.
        self._announced: dict[int, int] = {}
        # Of each host that loads plugins from distributions itself.
        self._installed: list[weakref.WeakMethod[_Installed]] = []
        # Plugins that implement one hook more, so that `seen` is exact.
        self._followed: set[str] = set()
        begin_anew_in_forks(self)

    # Hooks.

    def _caller(self, name: str) -> Caller:
        """Return the caller of hook *name*; make it if there is none."""
        caller = self._callers.get(name)
        if caller is None:
            with self._policy.lock:
                caller = self._callers.get(name)
                if caller is None:
                    caller = self._callers[name] = Caller(name, self._policy)
                    caller.sync._hookexec = self._hookexec
                    setattr(self.ahook, name, caller.awaited)
                    setattr(self.hook, name, caller.sync)
        return caller

    def _all_callers(self) -> list[Caller]:
        with self._policy.lock:
            return list(self._callers.values())

    def _listed(self) -> list[Caller]:
        """Return the callers of all hooks but those of `follow`."""
        return [c for c in self._all_callers() if not _presence.is_presence(c.name)]

    def _renew(self, callers: Iterable[Caller]) -> None:
        with self._policy.lock:
            for caller in callers:
                caller.renew()

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
            caller = self._caller(name)
            owner = self.owner_of(getattr(module_or_class, name))
            if owner is not None:
                self._specify(caller, caller.parse(module_or_class, options), owner)
                continue
            if caller.is_orphaned:
                caller.take_specification(None)
            caller.set_specification(module_or_class, options)
            for hookimpl in caller.get_hookimpls():
                self._verify_hook(caller, hookimpl)
        if not found:
            raise ValueError(
                f"did not find any {self.project_name!r} hooks in {module_or_class!r}"
            )

    def _specify(self, caller: Caller, spec: Any, owner: Any) -> None:
        """Take a specification that a photon brings.

        That of its next generation comes into force with the swap.

        Args:
            caller: Of the hook.
            spec: The specification.
            owner: The generation that brings it.

        Raises:
            ValueError: Somebody else has specified the hook.
            pluggy.PluginValidationError: An implementation does not fit.
        """
        with self._policy.lock:
            present = None
            if caller.spec is not None and not caller.is_orphaned:
                present = self.owner_of(caller.spec.function)
                if present is None or present.unit != owner.unit:
                    raise ValueError(
                        f"Hook {caller.name!r} is already registered "
                        f"within namespace {caller.spec.namespace}"
                    )
            if present is None or present is owner:
                for hookimpl in caller.get_hookimpls():
                    self._verify_hook(_Specified(caller.name, spec), hookimpl)
                caller.take_specification(spec)
                caller.renew()
            self._specs.setdefault(owner, {})[caller] = spec

    def forget_specs(self, owners: Iterable[Any], *, has_served: bool = True) -> None:
        """Drop the specifications of generations that have ended, or never served.

        A hook that is implemented by others keeps its options, until it is not, or
        until it is specified again.

        Args:
            owners: The generations.
            has_served: Whether they have served; else nobody can rely on them.
        """
        with self._policy.lock:
            for owner in owners:
                for caller, spec in self._specs.pop(owner, {}).items():
                    if caller.spec is not spec:
                        continue
                    caller.orphan(is_kept=has_served)
                    for other, specs in self._specs.items():
                        # Brought by the next generation after its swap.
                        if other.unit == owner.unit and caller in specs:
                            caller.take_specification(specs[caller])
                            caller.renew()

    def _verify_hook(self, hook: Any, hookimpl: Any) -> None:
        """Verify *hookimpl* by pluggy's rules, and those of async ones."""
        code: Any = getattr(hookimpl.function, "__code__", None)
        flags: int = code.co_flags if code is not None else 0
        if flags & _ASYNC and hook.spec.opts.get("sync_only"):
            raise pluggy.PluginValidationError(
                hookimpl.plugin,
                f"Plugin {hookimpl.plugin_name!r} for hook {hook.name!r}\n"
                f"hookimpl at {source_of(hookimpl.function)} is async, but the "
                "hook is called without await\n"
                "  try: make it a plain function, or remove 'sync_only' from the "
                "hookspec",
            )
        is_async_wrapper = flags & _ASYNC_GENERATOR and hookimpl.wrapper
        if is_async_wrapper and not hookimpl.hookwrapper:
            # pluggy knows no async generators; everything else of its rules applies.
            names = ("plugin", "plugin_name", "function", "argnames", "kwargnames")
            hookimpl = SimpleNamespace(
                wrapper=hook.is_historic(),
                hookwrapper=False,
                **{name: getattr(hookimpl, name) for name in names},
            )
        try:
            super()._verify_hook(hook, hookimpl)
        except pluggy.PluginValidationError as error:
            error.__dict__["luminal_misfit"] = hook, hookimpl
            raise

    def hooks(self, specs: type[T]) -> T:
        """Return the hooks of *specs* as an object that type checkers know.

        Args:
            specs: A class of specifications that was given to `add_hookspecs`. Its
                ``def`` are called, its ``async def`` are awaited; all with keywords.
        """
        import inspect

        found: Any = _Hooks()
        found.specs_ = specs
        for name in dir(specs):
            spec = inspect.getattr_static(specs, name)
            spec = getattr(spec, "__func__", spec)
            if getattr(spec, f"{self.project_name}_spec", None) is not None:
                is_async = inspect.iscoroutinefunction(spec)
                relay = self.ahook if is_async else self.hook
                setattr(found, name, getattr(relay, name))
        typed: T = found
        return typed

    def subset_hook_caller(self, name: str, remove_plugins: Iterable[object]) -> Any:
        """Return a caller of hook *name* that leaves *remove_plugins* out.

        Their next generations are left out as well: a photon is known by its name.
        """
        function = getattr(self.hook, name)
        unwanted = {id(plugin) for plugin in remove_plugins}
        removed = frozenset(
            hookimpl.plugin_name
            for hookimpl in function.get_hookimpls()
            if id(hookimpl.plugin) in unwanted
        )
        return SubsetCaller(self._callers[name], removed) if removed else function

    def unspecified(self, plugin: object) -> list[tuple[str, Any, str]]:
        """Return the implementations of *plugin* that lack a specification.

        Those that are marked ``optionalhook`` need none.

        Args:
            plugin: A plugin, registered or not.

        Returns:
            (name of the hook, function, name of the nearest hook or ``""``) of each.
        """
        found = []
        for attribute, function, options in self._marked(plugin):
            name = options.get("specname") or attribute
            caller = self._callers.get(name)
            is_known = caller is not None and caller.has_spec()
            is_known = is_known or name in self._delegated
            if not (is_known or options.get("optionalhook")):
                found.append((name, function, nearest(name, self._suggested(name))))
        return found

    def has_others(self, hook: str, plugin: type) -> bool:
        """Whether *hook* has implementations of more than one *plugin*'s class."""
        caller = self._callers.get(hook)
        implementations = caller.snapshot.implementations if caller is not None else ()
        for impl in implementations:  # noqa: SIM110 - asked in each reload
            if type(impl.plugin) is not plugin:
                return True
        return False

    def check_pending(self) -> None:
        """Raise for an implementation of a hook without a specification.

        Raises:
            pluggy.PluginValidationError: There is one: where, and which hook is near.
        """
        for caller in self._all_callers():
            if caller.has_spec() or caller.name.startswith("_"):
                continue
            for hookimpl in caller.get_hookimpls():
                if hookimpl.optionalhook:
                    continue
                where = source_of(hookimpl.function)
                text = f"unknown hook {caller.name!r} in plugin {hookimpl.plugin!r}"
                text += f"\n  at: {where}" if where else ""
                text += "\n  try: specify it, or mark it 'optionalhook'"
                text += did_you_mean(caller.name, self._suggested(caller.name), "; ")
                raise pluggy.PluginValidationError(hookimpl.plugin, text)

    def _specified(self) -> list[str]:
        known = [caller.name for caller in self._all_callers() if caller.has_spec()]
        return [*known, *sorted(self._delegated)]

    def _suggested(self, name: str) -> list[str]:
        """Return the hooks that *name* may be meant for.

        A host's hook ``on_start`` is no misspelt ``photon_start``.
        """
        is_of_life = name.startswith("photon_")
        return [
            known
            for known in self._specified()
            if is_of_life or not known.startswith("photon_")
        ]

    # Plugins.

    def register(
        self, plugin: object, name: str | None = None, generation: int = 0
    ) -> str | None:
        """Register *plugin* and return its name; None if the name is blocked.

        Args:
            plugin: The photon: a module, class or instance.
            name: Its name; by default its ``__name__`` or id.
            generation: Number that attributions show.

        Raises:
            ValueError: The plugin or the name is registered.
            pluggy.PluginValidationError: An implementation does not fit its hook;
                nothing is changed.
        """
        generation = self._announced.get(id(plugin), generation)
        return self._register(plugin, name, generation)

    def register_generation(
        self, plugin: object, name: str, generation: int
    ) -> str | None:
        """Register a photon, with ``register(plugin, name)`` of the host's own class.

        Args:
            plugin: The photon.
            name: Its name.
            generation: Its generation.
        """
        self._announced[id(plugin)] = generation
        try:
            return self.register(plugin, name)
        finally:
            del self._announced[id(plugin)]

    def _register(
        self,
        plugin: object,
        name: str | None,
        generation: int,
        marked: Iterable[Marked] | None = None,
    ) -> str | None:
        """Register *plugin*; see `register`.

        Args:
            plugin: The plugin.
            name: Its name, or None.
            generation: Its generation.
            marked: Its implementations; by default they are looked for.
        """
        if plugin is None:
            return None
        chosen = name or self.get_canonical_name(plugin)
        with self._policy.lock:
            if chosen in self._name2plugin:
                if self._name2plugin[chosen] is None:
                    return None
                raise ValueError(f"Plugin name already registered: {chosen}={plugin}")
            taken = self._by_id.get(id(plugin))
            if taken is not None:
                raise ValueError(
                    f"Plugin already registered under a different name: "
                    f"{chosen}={plugin} is {taken.name}"
                )
            rank = next(self._ranks)
            registration = self._prepare(
                plugin, chosen, generation, rank, marked=marked
            )
            self._check_orders([(None, registration)])
            _delegation.check(self, registration)
            self._by_id[id(plugin)] = registration
            self._name2plugin[chosen] = plugin
        for hook, impl, was_verified in registration.implementations:
            self._add(registration, hook, impl, was_verified=was_verified)
        _delegation.register(self, registration)
        return chosen

    def implements_any(self, plugin: object) -> bool:
        """Return whether *plugin* has hook implementations, for known hooks or not.

        Args:
            plugin: A module, a class or an instance.
        """
        return bool(self._marked(plugin))

    def _marked(self, plugin: object) -> list[tuple[str, Any, Any]]:
        """Return (name, function, options) of the implementations of *plugin*."""
        found: list[tuple[str, Any, Any]]
        if type(self).parse_hookimpl_opts is pluggy.PluginManager.parse_hookimpl_opts:
            found = find_marked(plugin, f"{self.project_name}_impl")
            if self.project_name != "luminal":  # our own marker works everywhere
                taken = {attribute for attribute, _, _ in found}
                ours = find_marked(plugin, "luminal_impl")
                found += [one for one in ours if one[0] not in taken]
            return found
        found = []
        for attribute in dir(plugin):
            options = self.parse_hookimpl_opts(plugin, attribute)
            if options is not None:
                function = find_function(plugin, attribute)
                function = function or getattr(plugin, attribute)
                found.append((attribute, function, options))
        return found

    def _prepare(
        self,
        plugin: object,
        name: str,
        generation: int,
        rank: int,
        unverified: Container[Caller] = (),
        marked: Iterable[Marked] | None = None,
    ) -> Registration:
        """Find and verify the implementations of *plugin*; change nothing.

        Args:
            plugin: The plugin.
            name: Its name.
            generation: Its generation.
            rank: Its number in the order of registrations.
            unverified: Hooks whose specification changes; they are left out.
            marked: Its implementations; by default they are looked for.
        """
        registration = Registration(name, plugin, generation, rank)
        for found in self._marked(plugin) if marked is None else marked:
            attribute, function, options = found
            complete_options(options)
            hook = options["specname"] or attribute
            if hook in self._delegated:
                registration.delegated.append(found)
                continue
            hookimpl = pluggy.HookImpl(plugin, name, function, options)
            caller = self._callers.get(hook)
            has_spec = caller is not None and caller.has_spec()
            if has_spec and caller not in unverified:
                self._verify_hook(caller, hookimpl)
            impl = Implementation(hookimpl, generation)
            registration.implementations.append((hook, impl, has_spec))
        if name in self._followed:
            _presence.implement(registration)
        return registration

    def _check_orders(
        self, changes: Sequence[tuple[Registration | None, Registration]]
    ) -> None:
        """Raise if *changes* together would make an order impossible.

        Args:
            changes: (registration that ends, registration that begins).

        Raises:
            PhotonConflictError: ``before`` and ``after`` would form a cycle.
            ValueError: A plugin of which one ends was unregistered.
        """
        added: dict[str, list[Implementation]] = {}
        removed: dict[str, set[int]] = {}
        for old, new in changes:
            if old is not None and old.is_gone:
                raise ValueError(f"plugin {old.name!r} is not registered")
            for hook, impl, _ in new.implementations:
                added.setdefault(hook, []).append(impl)
            for caller, position in old.positions if old is not None else ():
                removed.setdefault(caller.name, set()).add(position)
        for hook, implementations in added.items():
            known = self._callers.get(hook)
            order = Order() if known is None else known.order
            order.check(implementations, removed.get(hook, ()))

    def _add(
        self,
        registration: Registration,
        hook: str,
        impl: Implementation,
        *,
        was_verified: bool,
    ) -> None:
        """Add *impl* to the order of *hook*, after repeating historic calls for it."""
        caller = self._caller(hook)
        if caller.has_spec() and not was_verified:
            self._verify_hook(caller, impl.hookimpl)
        repeated: set[HistoricCall] = set()
        while True:
            with self._policy.lock:
                if registration.is_gone:  # a repeated call unregistered the plugin
                    return
                if not caller.has_more(repeated):
                    position = registration.position(len(registration.positions))
                    impl.tally.begin(self._policy.totals.of(registration.name, hook))
                    caller.order.add(position, impl)
                    registration.positions.append((caller, position))
                    caller.changed(grown=True)
                    return
            caller.repeat(impl, repeated)

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
                self._check_agreement(plugin, name)
            registration = self._by_id.get(id(plugin))
            if registration is not None:
                for caller, position in registration.positions:
                    caller.order.remove(position)
                    caller.changed()
                    if caller.is_orphaned:
                        caller.orphan()
                registration.is_gone = True
                del self._by_id[id(plugin)]
                self._policy.totals.end(registration.name)
                self._forget(registration)
                for other in _delegation.having(self, registration):
                    other.unregister(registration.plugin)
            if self._name2plugin.get(name) is not None:
                del self._name2plugin[name]
        return plugin

    def _forget(self, registration: Registration) -> None:
        """Forget what is of *registration*'s plugin alone, or would keep it alive."""
        for caller in self._callers.values():
            if caller.history:
                caller.forget(registration.plugin, registration.name)

    def _check_agreement(self, plugin: object, name: str) -> None:
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
        registration = self._by_id.get(id(plugin))
        return None if registration is None else registration.name

    def get_plugins(self) -> Any:
        """Return a set of all registered plugins.

        It tells plugins apart by identity where they have no hash, or are equal.
        """
        plugins = [p for p in self._name2plugin.values() if p is not None]
        try:
            found = set(plugins)
        except TypeError:  # `attrs.define` makes classes without a hash
            return _IdentitySet(plugins)
        return found if len(found) == len(plugins) else _IdentitySet(plugins)

    def list_installed(self, find: _Installed) -> None:
        """Let *find* say which further plugins come from which distributions.

        Args:
            find: A method that returns pairs of a plugin and its distribution. It is
                referred to weakly.
        """
        self._installed = [ref for ref in self._installed if ref() is not None]
        self._installed.append(weakref.WeakMethod(find))

    def list_plugin_distributions(self) -> list[tuple[Any, Any]]:
        """Return (plugin, distribution) of all plugins that are installed."""
        found = list(self._plugin_distinfo)
        for ref in self._installed:
            find = ref()
            found += find() if find is not None else ()
        return found

    def list_plugin_distinfo(self) -> list[tuple[Any, Any]]:
        """Return the same with the objects that pluggy has for distributions."""
        from pluggy._manager import DistFacade  # type: ignore[attr-defined]

        return [(p, DistFacade(dist)) for p, dist in self.list_plugin_distributions()]

    def is_registered(self, plugin: object) -> bool:
        """Return whether *plugin* itself is registered."""
        return id(plugin) in self._by_id

    def get_hookcallers(self, plugin: object) -> list[Any] | None:
        """Return the hooks that *plugin* implements; None if it is not registered."""
        registration = self._by_id.get(id(plugin))
        if registration is None:
            return None
        own = set(registration.callers())
        return [caller.sync for caller in self._listed() if caller in own]

    # Hooks that another manager has, see `luminal.hooks._delegation`.

    def delegate(self, other: PluginManager) -> None:
        """Let *other* have the hooks that it specifies, on the plugins of this manager.

        Implementations of these hooks are registered with *other*, swapped and
        unregistered with their plugins. They are no hooks of this manager, unless it
        specifies them itself.

        Args:
            other: It is referred to weakly.
        """
        _delegation.delegate(self, other)

    def hook_names(self, plugin: object) -> tuple[str, ...]:
        """Return the names of the hooks that *plugin* implements, sorted.

        Empty where it is not registered.
        """
        registration = self._by_id.get(id(plugin))
        if registration is None or not registration.positions:
            return ()
        callers = registration.callers()
        return tuple(
            sorted(c.name for c in callers if not _presence.is_presence(c.name))
        )

    # Swaps.

    def swap(self, old: object, new: object, *, generation: int | None = None) -> str:
        """Put *new* in the place of *old* and return the name, which stays.

        Args:
            old: A registered plugin, or its name.
            new: The plugin that takes its positions in the order of every hook.
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
        owners: Iterable[Any] = (),
    ) -> list[str]:
        """Swap all *pairs* at once, or none; see `swap` and `swapping`.

        Calls that are under way end with the implementations that they began with.
        """
        with self.swapping(pairs, generation=generation, owners=owners) as prepared:
            prepared.commit()
        return [old.name for old, _ in prepared.changes]

    def swapping(
        self,
        pairs: Iterable[tuple[object, object]],
        *,
        generation: int | None = None,
        owners: Iterable[Any] = (),
    ) -> PreparedSwap:
        """Prepare what `swap_many` does, for a block that commits it.

        Args:
            pairs: As for `swap_many`.
            generation: Likewise.
            owners: Generations of photons' code that come with it, see `owner_of`. The
                specifications that they have brought come into force.

        Returns:
            Gives the prepared swap to the block; its ``commit()`` takes some
            microseconds. A block that ends without having called it leaves everything
            as it was.

        Raises:
            ValueError: As for `swap`.
            pluggy.PluginValidationError: Likewise.
            PhotonReloadError: Python runs without the GIL.
        """
        from luminal.hooks._swap import PreparedSwap

        return PreparedSwap(self, pairs, generation, tuple(owners), {})

    def _specified_by(self, owners: Iterable[Any]) -> set[Caller]:
        """Return the hooks that earlier generations of *owners* have specified."""
        units = {owner.unit for owner in owners}
        with self._policy.lock:
            return {
                caller
                for owner, specs in self._specs.items()
                if owner.unit in units
                for caller in specs
            }

    def _verify_swapped(
        self,
        caller: Caller,
        spec: Any,
        changes: Sequence[tuple[Registration, Registration]],
    ) -> None:
        """Verify all that implements a hook after a swap against its *spec*."""
        if spec is None:
            return
        leaving = {id(old.plugin) for old, _ in changes}
        found = [h for h in caller.get_hookimpls() if id(h.plugin) not in leaving]
        for _, new in changes:
            found += [i.hookimpl for n, i, _ in new.implementations if n == caller.name]
        for hookimpl in found:
            self._verify_hook(_Specified(caller.name, spec), hookimpl)

    def _prepare_changes(
        self,
        pairs: Iterable[tuple[object, object]],
        generation: int | None,
        unverified: Container[Caller],
        marked: Mapping[int, Iterable[Marked]],
    ) -> list[tuple[Registration, Registration]]:
        """Return (present registration, next one) of *pairs*; see `_prepare`."""
        changes: list[tuple[Registration, Registration]] = []
        with self._policy.lock:
            seen: set[int] = set()
            for old, plugin in pairs:
                present = self._registered(old)
                ids = {id(present.plugin), id(plugin)}
                if not seen.isdisjoint(ids):
                    raise ValueError(
                        f"{old!r} or {plugin!r} is in two pairs of one swap"
                    )
                seen |= ids
                if plugin is not present.plugin and id(plugin) in self._by_id:
                    raise ValueError(f"plugin {plugin!r} is registered already")
                number = present.generation + 1 if generation is None else generation
                name, rank = present.name, present.rank
                found = marked.get(id(plugin))
                new = self._prepare(plugin, name, number, rank, unverified, found)
                changes.append((present, new))
            self._check_orders(changes)
        return changes

    def _repeat_history(
        self, changes: Sequence[tuple[Registration, Registration]]
    ) -> None:
        """Repeat all historic calls for the new plugins, then take the lock.

        Calls that an old plugin made itself, or that hold it, are not repeated.
        """
        repeated: dict[Implementation, set[HistoricCall]] = {}
        while True:
            with self._policy.lock:
                # Looked up each time: another hook may have become historic.
                missing = [
                    (caller, impl, old.plugin)
                    for old, new in changes
                    for hook, impl, _ in new.implementations
                    if (caller := self._callers.get(hook)) is not None
                    and caller.history
                    and caller.has_more(repeated.get(impl, set()))
                ]
                if not missing:
                    self._policy.lock.acquire()  # once more
                    return
            # This runs photons' code: without the lock, before anything is changed.
            for caller, impl, leaving in missing:
                caller.repeat(impl, repeated.setdefault(impl, set()), leaving)

    def _registered(self, plugin_or_name: object) -> Registration:
        plugin = plugin_or_name
        if issubclass(type(plugin_or_name), str):
            plugin = self._name2plugin.get(cast("str", plugin), plugin)
        registration = self._by_id.get(id(plugin))
        if registration is None:
            raise ValueError(f"plugin {plugin_or_name!r} is not registered")
        return registration

    # Calls under way, statistics, order.

    def in_flight(self, plugin: object) -> int:
        """Return how many calls under way may be in *plugin*, registered or not."""
        from luminal.hooks._swap import calls_in

        count = calls_in(self._policy, self._all_callers(), plugin)[0]
        if self._delegates:
            for other in members_of(self._delegates):
                count += other.in_flight(plugin)
        return count

    def wait_until_idle(self, plugin: object, deadline: float) -> bool:
        """Wait until no call may be in *plugin*.

        Args:
            plugin: A plugin, mostly one that was swapped out.
            deadline: Seconds to wait at most.

        Returns:
            Whether it is idle. False at once if only calls on this thread's own stack
            are left, which cannot end while it waits.
        """
        from luminal.hooks._swap import wait_until_idle

        until = time.monotonic() + deadline
        is_idle = wait_until_idle(self._policy, self._all_callers(), plugin, deadline)
        for other in members_of(self._delegates):
            left = max(until - time.monotonic(), 0)
            is_idle = other.wait_until_idle(plugin, left) and is_idle
        return is_idle

    async def wait_idle(
        self, plugin: object, deadline: float, *, with_loop: bool = False
    ) -> bool:
        """Wait as `wait_until_idle` does, and let the event loop run.

        Args:
            plugin: As for `wait_until_idle`.
            deadline: Likewise, in seconds.
            with_loop: Whether calls that run this very loop are not waited for either.
        """
        from luminal.hooks._swap import await_idle

        until = time.monotonic() + deadline
        is_idle = await await_idle(
            self._policy, self._all_callers(), plugin, deadline, with_loop=with_loop
        )
        for other in members_of(self._delegates):
            left = max(until - time.monotonic(), 0)
            rest = other.wait_idle(plugin, left, with_loop=with_loop)
            is_idle = await rest and is_idle
        return is_idle

    def abandon(self, plugin: object) -> None:
        """Let no call see *plugin* any more, which was swapped out.

        Calls under way from before the swap are led to the new generation from now on.
        What they have begun in *plugin* goes on.
        """
        from luminal.hooks._swap import abandon

        abandon(self._all_callers(), plugin)
        for other in members_of(self._delegates):
            other.abandon(plugin)

    # Which generation a call sees, see `luminal.hooks._presence`.

    def follow(self, name: str) -> None:
        """Let `seen` tell which generation of plugin *name* the running call sees.

        From now on the plugin implements one hook more, which nobody calls. So a swap
        of it is one for calls under way whatever other hooks it implements, and they
        are waited for.

        Args:
            name: Name of the plugin, registered or not.
        """
        _presence.follow(self, name)

    def seen(self, name: str) -> object | None:
        """Return the plugin *name* that the running call sees; None: there is none.

        In a call from before a swap that is the old generation, see `follow`.
        """
        return _presence.seen(self, name)

    def statistics(self) -> tuple[HookStatistics, ...]:
        """Return what every photon did in every hook, in the order of calls."""
        from luminal.hooks._swap import statistics

        return statistics(self._policy, self._listed())

    def totals(self) -> tuple[HookTotal, ...]:
        """Return what all generations of every photon did in every hook."""
        from luminal.hooks._swap import totals

        return totals(self._policy, self._listed())

    def error_places(self) -> tuple[ErrorPlace, ...]:
        """Return where photons raised in hooks, the place of the latest error last.

        At most 500 places are known; of more, those with the oldest errors are
        forgotten.
        """
        from luminal.hooks.records import ErrorPlace

        while True:
            try:
                found = tuple(self._policy.totals.places.items())
            except RuntimeError:  # one was added meanwhile
                continue
            return tuple([ErrorPlace(*key, *value) for key, value in found])

    def compare(self, plugin: object) -> tuple[HookComparison, ...]:
        """Return what *plugin* did in its hooks, beside the generation before it."""
        from luminal.hooks._swap import compare

        registration = self._by_id.get(id(plugin))
        callers = registration.callers() if registration is not None else ()
        listed = [c for c in callers if not _presence.is_presence(c.name)]
        return compare(self._policy, listed, plugin)

    def begin_anew(self) -> None:
        """Let the totals begin at zero, in a process that was just forked."""
        from luminal.hooks._swap import begin_anew

        begin_anew(self._policy, self._callers.values())

    def explain_order(self, hook_name: str) -> OrderExplanation:
        """Return the order of calls of hook *hook_name*, and its reasons.

        Raises:
            AttributeError: There is no such hook.
        """
        caller = self._callers.get(hook_name)
        if caller is None:
            meant = did_you_mean(hook_name, list(self._callers), "; ")
            raise AttributeError(f"there is no hook {hook_name!r}{meant}")
        with self._policy.lock:
            return explain(hook_name, caller.order.implementations())

    def add_failure_report(
        self,
        report: Callable[[HookFailure], object],
        release: Callable[[str, str, int], object],
    ) -> Callable[[], bool]:
        """Call *report* with failures, and *release* at the end of quarantines.

        Args:
            report: Called with every failure that was isolated, or that began a
                quarantine. What it raises is ignored.
            release: Called with photon, hook and generation when an implementation has
                succeeded after its quarantine; likewise.

        Both are methods of one object, which is referred to weakly: hosts come and go,
        and a manager outlives them. A photon refers to its host, so what a photon
        raises is told for as long as it is registered.

        Returns:
            A function that tells whether no host that still exists has asked earlier.
            One of several tells what the plugins have raised that are no host's own.
        """
        policy = self._policy
        own = _WeakMethod(release)
        with policy.lock:
            others = [r for r in policy.releases if getattr(r, "is_alive", True)]
            policy.releases = (*others, own)
            known = [r for r in policy.reports if getattr(r, "is_alive", True)]
            policy.reports = (*known, _WeakMethod(report))

        def is_first() -> bool:
            alive = (r for r in policy.releases if getattr(r, "is_alive", True))
            return next(alive, own) is own

        return is_first

    def add_hookcall_monitoring(
        self, before: Callable[..., Any], after: Callable[..., Any]
    ) -> Callable[[], None]:
        """Run *before* and *after* around every call; return what undoes it."""
        pair = (before, after)

        def set_monitors(monitors: tuple[Any, ...]) -> None:
            self._policy.monitors = monitors
            self._renew(self._all_callers())

        def undo() -> None:
            set_monitors(tuple(p for p in self._policy.monitors if p is not pair))

        set_monitors((*self._policy.monitors, pair))
        return undo

    # Limits.

    def set_quarantine(
        self,
        quarantine: Quarantine | int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Skip a photon's implementation of a hook that fails again and again.

        Args:
            quarantine: After how many failures in a row, and for how long; a number of
                failures alone; None, the default, or 0 switches it off.
            clock: Returns the time in seconds; for tests, `luminal.testing.FakeClock`.
        """
        from luminal.model import as_quarantine

        settings = as_quarantine(quarantine)
        quarantines = None
        if settings is not None:
            quarantines = Quarantines(settings.failures, settings.seconds, clock)
        self._policy.quarantines = quarantines
        self._renew(self._all_callers())

    def quarantined(self, name: str) -> tuple[str, ...]:
        """Return the hooks whose implementations of plugin *name* are in quarantine."""
        registration = self._by_id.get(id(self._name2plugin.get(name)))
        if registration is None:
            return ()
        plugin = registration.plugin
        with self._policy.lock:
            return tuple(
                caller.name
                for caller in registration.callers()
                if any(
                    impl.plugin is plugin and impl.tally.quarantined_until is not None
                    for impl in caller.order.implementations()
                )
            )

    def set_deadline(self, name: str, seconds: float | None) -> None:
        """Cancel ``async`` implementations of photon *name* after *seconds*.

        None removes the limit. A deadline of the implementation itself wins.
        """
        if seconds is None:
            self._policy.deadlines.pop(name, None)
        else:
            self._policy.deadlines[name] = seconds
        self._refresh(name)

    def _refresh(self, name: str) -> None:
        registration = self._by_id.get(id(self._name2plugin.get(name)))
        if registration is not None:
            self._renew(registration.callers())
