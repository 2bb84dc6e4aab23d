"""A manager's hooks as the class that specifies them, for type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luminal.hooks.relay import AsyncHookRelay, HookRelay

__all__ = ["TypedHooks"]


class TypedHooks:
    """The hooks of one specification class; at run time just the relays.

    Args:
        specs: The class.
        hook: The relay for specifications made with ``def``.
        ahook: The relay for those made with ``async def``.
        mark: Attribute that marks a specification.
    """

    def __init__(
        self, specs: type, hook: HookRelay, ahook: AsyncHookRelay, mark: str
    ) -> None:
        import inspect

        for name in dir(specs):
            spec = inspect.getattr_static(specs, name)
            spec = getattr(spec, "__func__", spec)
            if getattr(spec, mark, None) is not None:
                relay: Any = ahook if inspect.iscoroutinefunction(spec) else hook
                # Once: a call through this object is an attribute and a call.
                setattr(self, name, getattr(relay, name))
