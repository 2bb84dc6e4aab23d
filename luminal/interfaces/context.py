"""`PhotonContext`: how a photon reaches its settings, and starts what ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import attrs

from luminal.errors import PhotonNotInitializedError

if TYPE_CHECKING:
    import asyncio
    import logging
    import subprocess
    from collections.abc import (
        Awaitable,
        Callable,
        Coroutine,
        MutableMapping,
        Sequence,
    )
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import ParamSpec

    from typing_extensions import TypeVar as TypeVarWithDefault

    from luminal.supervise import SuperLoop, TracedThread

    P = ParamSpec("P")
    L = TypeVar("L", bound=SuperLoop)
    S = TypeVarWithDefault("S", default=Any)
else:
    S = TypeVar("S")

__all__ = ["PhotonContext"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


@attrs.define(eq=False, repr=False)
class PhotonContext(Generic[S]):
    """The context of a photon, reached as ``self.context``.

    What a photon starts through it belongs to the photon, and ends with it.

    Attributes:
        name: Name of the photon.
        settings: What the host has set for this photon: an instance of the attrs class
            ``photon_settings`` of the photon, or without one a read-only mapping.
        data: State that is kept over reloads: the next generation gets a copy of it.
        shared: State that all generations of the photon share: the same dictionary,
            never copied. A rejected reload and a roll-back undo nothing in it, and it
            is gone when the photon is unloaded. What calls of the old generation still
            write while the new one starts is in it; keep no instances of the photon's
            own classes there, as they stay instances of the old class.
        requires: Names of the photons in ``photon_requires``.
    """

    name: str
    settings: S
    # A `luminal.supervise.Scope`, set by the Handler as long as the photon lives.
    scope: Any = None
    data: dict[str, Any] = attrs.Factory(dict)
    shared: dict[str, Any] = attrs.Factory(dict)
    requires: tuple[str, ...] = ()
    # A `luminal.lifecycle.Runtime`.
    _runtime: Any = None

    @property
    def logger(self) -> logging.Logger:
        """A standard logger of its own, ``luminal.photon.<name>``."""
        import logging

        return logging.getLogger(f"luminal.photon.{self.name}")

    def __repr__(self) -> str:
        return f"<PhotonContext {self.name!r}>"

    @property
    def host(self) -> Any:
        """What the host has passed to ``Loader(host=…)``; None where it did not."""
        return self._host.host

    @property
    def hook(self) -> Any:
        """Calls hooks of the host: ``self.context.hook.name(argument=value)``."""
        return self._host.plugins.hook

    @property
    def ahook(self) -> Any:
        """Awaits hooks of the host, as `hook` calls them."""
        return self._host.plugins.ahook

    @overload
    def require(self, name: str) -> Any: ...
    @overload
    def require(self, name: str, kind: type[T]) -> T: ...
    def require(self, name: str, kind: Any = None) -> Any:
        """Return the photon *name*, which this one requires.

        Each attribute is looked up when it is asked for, on the instance that runs
        then. So the other photon can be reloaded while this one keeps what it got. A
        call that began before such a reload goes on with the instance of then, as it
        does with hooks.

        Args:
            name: Name of a photon in this one's ``photon_requires``.
            kind: The class or `typing.Protocol` that the photon is of, for type
                checkers. It is not looked at.

        Returns:
            An object with the photon's attributes. To ask for one of them raises
            `PhotonNotFoundError` while the photon does not run.

        Raises:
            PhotonDependencyError: *name* is not in this photon's ``photon_requires``.
            PhotonNotInitializedError: The context belongs to no host.
        """
        del kind
        find = self._host.finder_of(name, self.name, self.requires)
        return RequiredPhoton(name, find)

    @property
    def _host(self) -> Any:
        if self._runtime is None:
            raise PhotonNotInitializedError(
                "belongs to no host",
                photon=self.name,
                hint="load it with a Loader, or a luminal.testing.Host",
            )
        return self._runtime

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call *function* at the photon's end, the last one given first.

        That is after ``finalize``, or after a start that failed.

        Args:
            function: Takes no argument; may be ``async``. What it raises is reported
                and keeps no other from being called.
        """
        self._owner.on_close(function)

    def put(self, mapping: MutableMapping[K, V], key: K, value: V) -> None:
        """Put *value* under *key* into a mapping of the host's, until the end.

        During a reload the new photon puts its entries while those of the old one are
        there. So at the photon's end, after ``finalize``, only an entry that is still
        its own is taken back, and what it replaced is there again: the host's own
        value, or after a start that failed that of the old photon, which runs on. The
        entry of a photon that has ended does not come back.

        Args:
            mapping: Any mutable mapping, such as a dictionary of commands. One that
                refuses a key which it has already raises here; a photon that needs such
                a key is ``photon_exclusive``.
            key: The key.
            value: What to put there.

        Raises:
            PhotonNotInitializedError: The photon does not live.
            PhotonStateError: Its life has ended.
            BaseException: Whatever the mapping raises; it is left as it is then.
        """
        self._owner.put(mapping, key, value)

    def spawn(
        self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> asyncio.Task[T] | Future[T]:
        """Run *coroutine* on the running loop, or where none runs on Luminal's own.

        Args:
            coroutine: What to run.
            name: Name of the task.

        Returns:
            The task; without a running loop, a `concurrent.futures.Future`.
        """
        started: asyncio.Task[T] | Future[T]
        started = self._owner.spawn(coroutine, name=name)
        return started

    def thread(
        self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> TracedThread:
        """Run *function* on a thread that can be halted.

        Returns:
            The thread, a `luminal.managers.TracedThread`, started.
        """
        thread: TracedThread = self._owner.thread(function, *args, **kwargs)
        return thread

    def process(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a child process, terminated and then killed with the photon.

        Args:
            command: Program and arguments.
            **options: As for `subprocess.Popen`.

        Returns:
            The `subprocess.Popen`.
        """
        child: subprocess.Popen[Any] = self._owner.process(command, **options)
        return child

    def loop(self, loop: L) -> L:
        """Start a `luminal.managers.SuperLoop`, stopped with the photon; return it."""
        self._owner.loop(loop)
        return loop

    def every(self, seconds: float, function: Callable[[], object]) -> TracedThread:
        """Call *function* every *seconds*, on one thread; what it raises is logged.

        Returns:
            The thread; halting it ends the calls.
        """
        thread: TracedThread = self._owner.every(seconds, function)
        return thread

    def executor(self, max_workers: int | None = None) -> ThreadPoolExecutor:
        """Return a `concurrent.futures.ThreadPoolExecutor`, shut down with the photon.

        Args:
            max_workers: Most threads; by default as many as the class decides.
        """
        pool: ThreadPoolExecutor = self._owner.executor(max_workers)
        return pool

    @overload
    def enter(self, manager: AbstractContextManager[T]) -> T: ...
    @overload
    def enter(self, manager: AbstractAsyncContextManager[T]) -> Awaitable[T]: ...
    def enter(self, manager: Any) -> Any:
        """Enter a context manager now, and leave it when the photon's life ends.

        Returns:
            What its ``__enter__`` returned; for an ``async`` one, an awaitable.
        """
        return self._owner.enter(manager)

    @property
    def _owner(self) -> Any:
        if self.scope is None:
            raise PhotonNotInitializedError(
                "owns nothing while it does not live",
                photon=self.name,
                hint="use the context from __init__, start, or later",
            )
        return self.scope


class RequiredPhoton:
    """Another photon, as `PhotonContext.require` returns it.

    Args:
        name: Its name.
        find: Returns the instance that the running call sees.
    """

    __slots__ = ("__find", "__name")

    def __init__(self, name: str, find: Callable[[], Any]) -> None:
        self.__name = name
        self.__find = find

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `copy` and `pickle` ask for these
            raise AttributeError(name)
        return getattr(self.__find(), name)

    def __repr__(self) -> str:
        return f"<required photon {self.__name!r}>"
