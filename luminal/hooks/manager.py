"""The plugin manager: registers photons' hook implementations and swaps them.

In comes a photon, out comes its seats in every hook's order. It never knows what a
handler or a reload is.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["PluginManager"]


class AsyncRelay:
    """``relay.NAME(**kwargs)`` awaits the implementations of hook NAME in order."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, name)

        async def call(**kwargs: object) -> Any:
            return await _run(caller, kwargs)

        return call


async def _settle(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _run(caller: pluggy.HookCaller, kwargs: dict[str, object]) -> Any:
    first = bool(caller.spec and caller.spec.opts.get("firstresult"))
    if caller.spec and caller.spec.kwargdefaults:
        kwargs = {**caller.spec.kwargdefaults, **kwargs}
    results: list[Any] = []
    teardowns: list[Any] = []
    error: BaseException | None = None
    try:
        for impl in reversed(caller.get_hookimpls()):
            args = [kwargs[name] for name in impl.argnames]
            extra = {name: kwargs[name] for name in impl.kwargnames if name in kwargs}
            value: Any = impl.function(*args, **extra)
            if impl.wrapper or impl.hookwrapper:
                if inspect.isasyncgen(value):
                    await anext(value)
                else:
                    next(value)
                teardowns.append((impl, value))
                continue
            value = await _settle(value)
            if value is not None:
                results.append(value)
                if first:
                    break
    except BaseException as raised:  # noqa: BLE001 - handed to the wrappers, then raised
        error = raised
    result: Any = (results[0] if results else None) if first else results
    for _, wrapper in reversed(teardowns):
        try:
            if inspect.isasyncgen(wrapper):
                if error is None:
                    answer = await wrapper.asend(result)
                else:
                    answer = await wrapper.athrow(error)
                result, error = answer, None
                await wrapper.aclose()
            elif error is None:
                wrapper.send(result)
            else:
                wrapper.throw(error)
        except StopIteration as stop:
            result, error = stop.value, None
        except StopAsyncIteration:
            error = None
        except BaseException as raised:  # noqa: BLE001 - for the wrapper outside of it
            error = raised
    if error is not None:
        raise error
    return result


class PluginManager(pluggy.PluginManager):
    """pluggy's manager with an async relay and with swaps that keep the seat."""

    def __init__(self, project_name: str) -> None:
        super().__init__(project_name)
        self.ahook = AsyncRelay(self)
        self._generation: dict[str, int] = {}

    def _verify_hook(
        self, hook: pluggy.HookCaller, hookimpl: pluggy.HookImpl
    ) -> None:
        if inspect.isasyncgenfunction(hookimpl.function):
            return
        super()._verify_hook(hook, hookimpl)

    def register(
        self, plugin: object, name: str | None = None, generation: int = 0
    ) -> str | None:
        """Register *plugin*, see `pluggy.PluginManager.register`."""
        taken = super().register(plugin, name)
        if taken is not None:
            self._generation[taken] = generation
        return taken

    def swap(self, old: object, new: object, generation: int | None = None) -> str:
        """Put *new* on the seats of *old* (a plugin or its name); return the name."""
        return self.swap_many([(old, new)], generation)[0]

    def swap_many(
        self, pairs: Iterable[tuple[object, object]], generation: int | None = None
    ) -> list[str]:
        """Swap several plugins at once; return their names."""
        names = []
        for old, new in pairs:
            name = old if isinstance(old, str) else self.get_name(old)
            if name is None or self.get_plugin(name) is None:
                raise ValueError(f"plugin {old!r} is not registered")
            plugin = self.get_plugin(name)
            seats: dict[str, list[int]] = {}
            for caller in self.get_hookcallers(plugin) or ():
                seats[caller.name] = [
                    at
                    for at, impl in enumerate(caller.get_hookimpls())
                    if impl.plugin is plugin
                ]
            self.unregister(name=name)
            self.register(new, name, self._generation.get(name, 0) + 1)
            for caller in self.get_hookcallers(new) or ():
                impls = caller.get_hookimpls()
                fresh = [impl for impl in impls if impl.plugin is new]
                for at, impl in zip(seats.get(caller.name, ()), fresh, strict=False):
                    impls.remove(impl)
                    impls.insert(at, impl)
                caller._hookimpls[:] = impls  # noqa: SLF001 - replaced by our own callers
            names.append(name)
        return names
