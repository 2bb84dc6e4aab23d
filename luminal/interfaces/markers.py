"""The two decorators that mark hooks: `hookspec` and `hookimpl`.

What they write on a function are the option dictionaries that pluggy reads, with
Luminal's own options beside them, so that pluggy's markers of the project name
``luminal`` and these can be mixed. To a type checker a marked specification is a
`ManyHook` or a `FirstHook`: see ``PluginManager.hooks``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Concatenate, Literal, ParamSpec, Protocol, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")
    R_co = TypeVar("R_co", covariant=True)
    F = TypeVar("F", bound=Callable[..., object])

    class ManyHook(Protocol[P, R]):
        """A specification whose hook answers with the list of all results."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...

    class FirstHook(Protocol[P, R_co]):
        """A specification whose hook answers with the first result, or None."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None: ...

    class AsyncManyHook(Protocol[P, R]):
        """The same as `ManyHook`, of a specification made with ``async def``."""

        async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...

    class AsyncFirstHook(Protocol[P, R_co]):
        """The same as `FirstHook`, of a specification made with ``async def``."""

        async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None: ...

    class ImplMarker(Protocol[P, R]):
        """``@hookimpl(spec=...)``: takes what the specification takes."""

        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R | None]]
        ) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R | None]]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, P], R | None]
        ) -> Callable[Concatenate[Any, P], R | None]: ...

    class ManyMarker(Protocol):
        """``@hookspec(...)`` without ``firstresult``."""

        @overload
        def __call__(  # type: ignore[overload-overlap] # the first that fits is meant
            self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]
        ) -> AsyncManyHook[P, R]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, P], R]
        ) -> ManyHook[P, R]: ...

    class FirstMarker(Protocol):
        """``@hookspec(firstresult=True)``."""

        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]
        ) -> AsyncFirstHook[P, R]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, P], R]
        ) -> FirstHook[P, R]: ...


__all__ = ["HookimplMarker", "HookspecMarker", "hookimpl", "hookspec"]


class HookspecMarker:
    """Makes the decorator that marks a project's hook specifications.

    Args:
        project_name: Name of the project; the manager must have the same.
    """

    __slots__ = ("project_name",)

    def __init__(self, project_name: str) -> None:
        self.project_name: str = project_name

    @overload
    def __call__(  # type: ignore[overload-overlap] # the first that fits is meant
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncManyHook[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], R], /
    ) -> ManyHook[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        firstresult: Literal[True],
        warn_on_impl: Warning | None = ...,
        warn_on_impl_args: Mapping[str, Warning] | None = ...,
        isolate: bool | None = ...,
        sync_only: bool = ...,
    ) -> FirstMarker: ...
    @overload
    def __call__(
        self,
        *,
        firstresult: Literal[False] = ...,
        historic: bool = ...,
        warn_on_impl: Warning | None = ...,
        warn_on_impl_args: Mapping[str, Warning] | None = ...,
        isolate: bool | None = ...,
        concurrent: bool = ...,
        sync_only: bool = ...,
    ) -> ManyMarker: ...
    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        firstresult: bool = False,
        historic: bool = False,
        warn_on_impl: Warning | None = None,
        warn_on_impl_args: Mapping[str, Warning] | None = None,
        isolate: bool | None = None,
        concurrent: bool = False,
        sync_only: bool = False,
    ) -> Any:
        """Mark *function* as a hook's specification.

        Args:
            function: The specification; None makes a decorator with the options.
            firstresult: Stop at the first result that is not None.
            historic: Repeat earlier calls for photons that are registered later.
            warn_on_impl: Warning for everyone who implements the hook.
            warn_on_impl_args: Argument name → warning for who asks for it.
            isolate: Report a photon's failure while the others answer; None asks
                the manager.
            concurrent: Await the implementations side by side.
            sync_only: Refuse ``async`` implementations at registration.

        Returns:
            *function*, marked, or a decorator.

        Raises:
            ValueError: The options exclude each other.
        """
        if firstresult and (historic or concurrent):
            other = "historic" if historic else "concurrent"
            raise ValueError(f"cannot have a {other} firstresult hook")

        def mark(spec: F) -> F:
            options = {
                "firstresult": firstresult,
                "historic": historic,
                "warn_on_impl": warn_on_impl,
                "warn_on_impl_args": warn_on_impl_args,
                "isolate": isolate,
                "concurrent": concurrent,
                "sync_only": sync_only,
            }
            setattr(spec, f"{self.project_name}_spec", options)
            return spec

        return mark if function is None else mark(function)


class HookimplMarker:
    """Makes the decorator that marks a project's hook implementations.

    Args:
        project_name: Name of the project; the manager must have the same.
    """

    __slots__ = ("project_name",)

    def __init__(self, project_name: str) -> None:
        self.project_name: str = project_name

    @overload
    def __call__(self, function: F, /) -> F: ...
    @overload
    def __call__(
        self,
        *,
        hookwrapper: bool = ...,
        optionalhook: bool = ...,
        tryfirst: bool = ...,
        trylast: bool = ...,
        specname: str | None = ...,
        wrapper: bool = ...,
        before: str | Sequence[str] = ...,
        after: str | Sequence[str] = ...,
        deadline: float | None = ...,
    ) -> Callable[[F], F]: ...
    @overload
    def __call__(
        self,
        *,
        spec: AsyncManyHook[P, R],
        tryfirst: bool = ...,
        trylast: bool = ...,
        before: str | Sequence[str] = ...,
        after: str | Sequence[str] = ...,
        deadline: float | None = ...,
    ) -> ImplMarker[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        spec: AsyncFirstHook[P, R],
        tryfirst: bool = ...,
        trylast: bool = ...,
        before: str | Sequence[str] = ...,
        after: str | Sequence[str] = ...,
        deadline: float | None = ...,
    ) -> ImplMarker[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        spec: ManyHook[P, R],
        tryfirst: bool = ...,
        trylast: bool = ...,
        before: str | Sequence[str] = ...,
        after: str | Sequence[str] = ...,
        deadline: float | None = ...,
    ) -> ImplMarker[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        spec: FirstHook[P, R],
        tryfirst: bool = ...,
        trylast: bool = ...,
        before: str | Sequence[str] = ...,
        after: str | Sequence[str] = ...,
        deadline: float | None = ...,
    ) -> ImplMarker[P, R]: ...
    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        hookwrapper: bool = False,
        optionalhook: bool = False,
        tryfirst: bool = False,
        trylast: bool = False,
        specname: str | None = None,
        wrapper: bool = False,
        before: str | Sequence[str] = (),
        after: str | Sequence[str] = (),
        deadline: float | None = None,
        spec: Any = None,
    ) -> Any:
        """Mark *function* as a hook's implementation.

        Args:
            function: The implementation; None makes a decorator with the options.
            hookwrapper: It is an old-style wrapper, which receives a `Result`.
            optionalhook: A hook without a specification is no error.
            tryfirst: Call it before those that do not ask for it.
            trylast: Call it after those that do not ask for it.
            specname: Name of the hook where it is not the function's.
            wrapper: It is a wrapper: a generator that yields once.
            before: Names of photons that it must be called before.
            after: Names of photons that it must be called after.
            deadline: Seconds that an ``async`` implementation may take.
            spec: The specification that it implements; gives ``specname``.

        Returns:
            *function*, marked, or a decorator.
        """

        def mark(implementation: F) -> F:
            options = {
                "wrapper": wrapper,
                "hookwrapper": hookwrapper,
                "optionalhook": optionalhook,
                "tryfirst": tryfirst,
                "trylast": trylast,
                "specname": specname or getattr(spec, "__name__", None),
                "before": (before,) if isinstance(before, str) else tuple(before),
                "after": (after,) if isinstance(after, str) else tuple(after),
                "deadline": deadline,
            }
            setattr(implementation, f"{self.project_name}_impl", options)
            return implementation

        return mark if function is None else mark(function)


hookspec: HookspecMarker = HookspecMarker("luminal")
hookimpl: HookimplMarker = HookimplMarker("luminal")
