"""A hook without some of its plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luminal.hooks.desk import HookDesk

__all__ = ["SubsetCaller"]


class SubsetCaller:
    """Calls a hook's implementations except those of some plugins.

    Args:
        desk: The desk of the hook.
        removed: Names of the plugins that are left out.
    """

    __slots__ = ("_desk", "_removed")

    def __init__(self, desk: HookDesk, removed: frozenset[str]) -> None:
        self._desk = desk
        self._removed = removed

    def __call__(self, **kwargs: Any) -> Any:
        """Call the hook with *kwargs*."""
        return self._desk.call_subset(self._removed, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    def get_hookimpls(self) -> list[Any]:
        """Return pluggy's records of the implementations that take part."""
        return [
            impl
            for impl in self._desk.get_hookimpls()
            if impl.plugin_name not in self._removed
        ]

    def call_historic(self, result_callback: Any = None, kwargs: Any = None) -> None:
        """Call now without the plugins left out, later for everyone who comes."""
        self._desk.call_historic(result_callback, kwargs, removed=self._removed)

    def call_extra(self, methods: Any, kwargs: Any) -> Any:
        """Call with *methods* taking part, without the plugins left out."""
        return self._desk.call_extra(methods, kwargs, removed=self._removed)

    def __repr__(self) -> str:
        return f"<_SubsetHookCaller {self._desk.name!r}>"
