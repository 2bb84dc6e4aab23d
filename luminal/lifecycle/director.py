"""Luminal's own implementation of the lifecycle hooks: call the photon's methods."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from luminal.interfaces import IPhoton, hookimpl
from luminal.lifecycle.step import run_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.interfaces import Subject

__all__ = ["Director"]


class Director:
    """Comes last, after whoever guards or replaces a step."""

    @hookimpl(trylast=True)
    async def photon_create(self, handler: Subject) -> object:
        """Create the photon, its context in place before ``__init__`` runs."""
        if handler.factory is None:
            return handler.instance
        factory = handler.factory
        if type(factory).__call__ is not type.__call__:  # a metaclass creates it
            created = await self._run(handler, lambda: factory())  # noqa: PLW0108
            _hand_over(created, handler)
            return created
        is_plain = factory.__init__ is object.__init__
        is_async = not is_plain and iscoroutinefunction(factory.__init__)

        def create() -> object:
            instance = factory.__new__(factory)
            if isinstance(instance, factory):
                _hand_over(instance, handler)
                if not is_async:
                    instance.__init__()
            return instance

        if is_plain and factory.__new__ is object.__new__:
            return create()  # nothing of the author's runs
        created = await self._run(handler, create)
        if is_async and isinstance(created, factory):
            await self._run(handler, created.__init__)
        return created

    @hookimpl(trylast=True)
    async def photon_start(self, handler: Subject) -> object:
        """Call ``start``, if the photon has one."""
        start = method_of(handler, "start")
        if start is not None:
            await self._run(handler, start)
        return True

    @hookimpl(trylast=True)
    async def photon_reload(self, handler: Subject, previous: object) -> object:
        """Call ``on_reload`` with what came before, if the photon has one."""
        on_reload = method_of(handler, "on_reload")
        if on_reload is not None:
            await self._run(handler, on_reload, previous)
        return True

    @hookimpl(trylast=True)
    async def photon_finalize(self, handler: Subject) -> object:
        """Call ``finalize``; None and true values say that it went well."""
        finalize = method_of(handler, "finalize")
        if finalize is None:
            return True
        deadline = handler.deadlines.finalize
        name = f"finalize {handler.name}"
        answer = await run_step(finalize, deadline=deadline, name=name)
        return answer is None or bool(answer)

    @staticmethod
    async def _run(
        handler: Subject, function: Callable[..., Any], *args: object
    ) -> Any:
        deadline = handler.deadlines.start
        name = f"start {handler.name}"
        return await run_step(function, *args, deadline=deadline, name=name)


def method_of(handler: Subject, name: str) -> Callable[..., Any] | None:
    """Return the lifecycle method *name* of a photon, or None.

    An object that an entry point names and that is no class of ours (a module, say)
    has no lifecycle, and a method that implements a hook of that name is a hook.
    """
    instance = handler.instance
    if handler.factory is None and not isinstance(instance, IPhoton):
        return None
    method = getattr(instance, name, None)
    # Whatever the project: the marker of project NAME sets ``NAME_impl`` to a dict.
    marks = getattr(method, "__dict__", {}).items()
    is_hook = any(m.endswith("_impl") and isinstance(opts, dict) for m, opts in marks)
    return method if callable(method) and not is_hook else None


def _hand_over(instance: object, handler: Subject) -> None:
    """Set ``context``, unless the photon's class has an idea of its own about it."""
    # Past the photon's metaclass, which may do anything.
    for cls in type.__getattribute__(type(instance), "__mro__"):
        if "context" in type.__getattribute__(cls, "__dict__"):
            return
    try:
        # Past an author's own __setattr__, which may expect a finished instance.
        object.__setattr__(instance, "context", handler.context)
    except (AttributeError, TypeError):
        return  # no room for attributes: such a photon does without
