"""The relays: where a host finds the functions that call hooks, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Protocol

    import pluggy

    from luminal.hooks.records import Answer

    class HookFunction(Protocol):
        """The function behind ``manager.hook.NAME``."""

        name: str
        spec: Any

        def __call__(self, **kwargs: Any) -> Any: ...
        def has_spec(self) -> bool: ...
        def is_historic(self) -> bool: ...
        def get_hookimpls(self) -> list[pluggy.HookImpl]: ...
        def call_extra(self, methods: Any, kwargs: Mapping[str, Any]) -> Any: ...
        def call_historic(
            self,
            result_callback: Callable[[Any], object] | None = None,
            kwargs: Mapping[str, Any] | None = None,
            *,
            owner: str | None = None,
        ) -> None: ...
        def forget(self, plugin: object = None, photon: str | None = None) -> int: ...
        def detailed(self, **kwargs: Any) -> list[Answer]: ...

    class AsyncHookFunction(Protocol):
        """The function behind ``manager.ahook.NAME``."""

        name: str
        spec: Any

        def __call__(self, **kwargs: Any) -> Awaitable[Any]: ...
        def detailed(self, **kwargs: Any) -> Awaitable[list[Answer]]: ...


__all__ = ["AsyncHookRelay", "HookRelay"]


class HookRelay:
    """``relay.NAME(**kwargs)`` calls hook NAME."""

    __slots__ = ("__dict__",)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> HookFunction: ...


class AsyncHookRelay:
    """``await relay.NAME(**kwargs)`` awaits hook NAME."""

    __slots__ = ("__dict__",)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> AsyncHookFunction: ...
