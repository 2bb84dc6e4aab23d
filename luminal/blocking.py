"""`Loader` for programs without an event loop: every method is a plain call.

The methods run on an event loop on a thread. The loop keeps running between the calls,
and with it what photons start there.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import attrs

from luminal.discovery import several
from luminal.managers.loader import Handlers as AsyncHandlers
from luminal.managers.loader import Loader as AsyncLoader
from luminal.supervise import LoopThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from luminal.hooks import PluginManager
    from luminal.lifecycle import Events, Handler
    from luminal.model import Report, SwapChanges
    from luminal.reload import Policy
    from luminal.trust import TrustSettings

    Call = Callable[[Coroutine[Any, Any, Any]], Any]

__all__ = ["Loader", "PlainHandler", "PlainHandlers"]

P = ParamSpec("P")
T = TypeVar("T")
_Path = str | os.PathLike[str]


def blocking_method(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]:
    """Return a plain method for a coroutine method of another class.

    The class that gets it has that object as ``_awaited``, and runs coroutines with
    ``call``. Name, arguments and docstring are those of *method*.

    Args:
        method: A function of the other class, defined with ``async def``.
    """

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self.call(method(self._awaited, *args, **kwargs))
        return result

    return _described_as(method, call, inspect.signature(method))


def _described_as(
    method: Callable[..., Any], call: Callable[P, T], signature: inspect.Signature
) -> Callable[P, T]:
    """Give *call* the name and the docstring of *method*, and a signature."""
    functools.update_wrapper(call, method)
    # With `__wrapped__`, tools would take this for a coroutine function too.
    del call.__dict__["__wrapped__"]
    call.__dict__["__signature__"] = signature
    return call


@attrs.frozen(repr=False)
class PlainHandler:
    """The host's handle on one photon: a `luminal.Handler` with plain methods.

    Attributes:
        handler: That Handler. Two of these are equal if it is the same.
    """

    handler: Handler
    _call: Call = attrs.field(eq=False)

    def start(self) -> None:
        """Start the photon; see `luminal.Handler`."""
        self._call(self.handler.start())

    def stop(self, force_stop: bool = False) -> bool:
        """Stop the photon; see `luminal.Handler`.

        Args:
            force_stop: Skip ``finalize``, and halt the photon's threads and tasks.

        Returns:
            Whether ``finalize`` went well.
        """
        is_stopped: bool = self._call(self.handler.stop(force_stop))
        return is_stopped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handler, name)

    def __repr__(self) -> str:
        return repr(self.handler)

    def __str__(self) -> str:
        return str(self.handler)


class PlainHandlers(list[PlainHandler]):
    """Handlers of photons that were loaded together.

    Args:
        handlers: The Handlers that `luminal.Loader` returned.
        call: Runs a coroutine on the Loader's loop, and returns its result.
    """

    def __init__(self, handlers: Iterable[Handler], call: Call) -> None:
        super().__init__(PlainHandler(handler, call) for handler in handlers)
        self._handlers = handlers
        self._call = call

    def start(self) -> None:
        """Start all of them in order. A failure does not keep others from starting.

        Raises:
            PhotonStartError: One could not be started.
            PhotonTimeoutError: One did not start within its deadline.
            PhotonBatchError: Several could not be started.
        """
        handlers = self._handlers
        if not isinstance(handlers, AsyncHandlers):
            handlers = AsyncHandlers(handlers)
        self._call(handlers.start())


def _loading_method(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, Iterable[Handler]]],
) -> Callable[Concatenate[Any, P], PlainHandlers]:
    """Return `blocking_method` of *method*, with plain Handlers as its result."""
    run = blocking_method(method)

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> PlainHandlers:
        return PlainHandlers(run(self, *args, **kwargs), self.call)

    signature = inspect.signature(method)
    plain = signature.replace(return_annotation=PlainHandlers.__name__)
    return _described_as(method, call, plain)


class Loader:
    """Loads, starts, calls, reloads and unloads the photons of one host.

    Each method does what the method of `luminal.Loader` of the same name does, and
    returns when that is done. Any thread may call it, except the Loader's own. Call
    `close` at the end, or use ``with``.

    Args:
        *args: As for `luminal.Loader`.
        **kwargs: Likewise.

    Attributes:
        loader: That `luminal.Loader`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.loader: AsyncLoader = AsyncLoader(*args, **kwargs)
        self._awaited = self.loader
        # Started by the first call, and anew by one after a `close` or a fork.
        self._thread: LoopThread | None = None
        # Kept, not closed: the loop's descriptors are the parent's too.
        self._thread_of_parent: LoopThread | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<blocking {self.loader!r}>"

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* on the Loader's loop, and return its result.

        For hooks that are awaited: ``loader.call(loader.ahook.name(argument=value))``.

        Raises:
            RuntimeError: It was called on that loop, which would wait for itself.
        """
        return self._own_thread().run(coroutine)

    def _call_on_worker(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do what `call` does; the loop runs only what needs a loop."""
        thread = self._thread
        if thread is not None and thread.is_here:
            return thread.run(coroutine)  # raises
        return self.loader._run_from_thread(coroutine, self.call)  # noqa: SLF001

    def _own_thread(self) -> LoopThread:
        with self._lock:
            if self._thread is not None and not self._thread.is_running:
                self._thread, self._thread_of_parent = None, self._thread
            if self._thread is None:
                self._thread = LoopThread("luminal-blocking")
            return self._thread

    @property
    def photons(self) -> dict[str, PlainHandler]:
        """The loaded photons by name, in the order of loading; a copy."""
        return {n: PlainHandler(h, self.call) for n, h in self.loader.photons.items()}

    @property
    def report(self) -> Report:
        """The outcome of each photon so far, the latest at the end."""
        return self.loader.report

    def failures_of(self, photon: str) -> dict[str, int]:
        """Return how many exceptions of a photon were contained; see `luminal.Loader`.

        Args:
            photon: Its name.
        """
        return self.loader.failures_of(photon)

    def photons_using(self, path: _Path) -> list[str]:
        """Return the names of the photons that run code or use data of a file.

        Args:
            path: Of a module, also of a helper, or of a data file.
        """
        return self.loader.photons_using(path)

    @property
    def changes(self) -> tuple[SwapChanges, ...]:
        """Which files the latest 20 swaps have changed, oldest first."""
        return self.loader.changes

    @property
    def trust(self) -> TrustSettings | None:
        """What the host looks at, asks about and refuses; None where nothing is set."""
        return self.loader.trust

    @property
    def disabled_files(self) -> dict[str, str]:
        """Name of each photon that `disable_photons` has unloaded → its file."""
        return self.loader.disabled_files

    @property
    def disabled(self) -> tuple[str, ...]:
        """Names of the photons that `disable_photons` has unloaded."""
        return self.loader.disabled

    @property
    def plugins(self) -> PluginManager:
        """The plugin manager that has the host's hook specifications."""
        return self.loader.plugins

    @property
    def lifecycle(self) -> PluginManager:
        """The plugin manager of the hooks of photons' lives."""
        return self.loader.lifecycle

    @property
    def hook(self) -> Any:
        """Calls hooks: ``loader.hook.name(argument=value)``."""
        return self.loader.hook

    @property
    def ahook(self) -> Any:
        """Hooks to be awaited, see `call`."""
        return self.loader.ahook

    @property
    def events(self) -> Events:
        """The host's events: to subscribe to, and a journal of the latest."""
        return self.loader.events

    def hooks(self, specs: type[T]) -> T:
        """Return the hooks of *specs* as an object that type checkers know.

        Args:
            specs: A class of ``hookspecs``; its ``async def`` are for `call`.
        """
        return self.loader.hooks(specs)

    def on_hooks_changed(
        self, callback: Callable[[frozenset[str]], object]
    ) -> Callable[[], None]:
        """Call *callback* when implementations of hooks have changed.

        Args:
            callback: As for `luminal.Loader`.

        Returns:
            A function without arguments that ends this.
        """
        return self.loader.on_hooks_changed(callback)

    load = blocking_method(AsyncLoader.load)
    check_settings = blocking_method(AsyncLoader.check_settings)
    load_photon = _loading_method(AsyncLoader.load_photon)
    load_photons = _loading_method(AsyncLoader.load_photons)
    start = blocking_method(AsyncLoader.start)
    enable_photons = _loading_method(AsyncLoader.enable_photons)
    watch_photons = blocking_method(AsyncLoader.watch_photons)
    stop_watching_photons = blocking_method(AsyncLoader.stop_watching_photons)
    pause_watching = blocking_method(AsyncLoader.pause_watching)
    resume_watching = blocking_method(AsyncLoader.resume_watching)
    watch_distributions = blocking_method(AsyncLoader.watch_distributions)
    stop_watching_distributions = blocking_method(
        AsyncLoader.stop_watching_distributions
    )

    # The methods below take plain Handlers too, so they are written out.

    def unload_photon(
        self, photon: PlainHandler | Handler | _Path, force_stop: bool = False
    ) -> bool:
        """Stop and unload all photons of the file that *photon* came from.

        Args:
            photon: A Handler, the name of a photon, or a file.
            force_stop: Skip ``finalize``, and halt the photon's threads and tasks.

        Returns:
            Whether anything was unloaded.
        """
        return self.call(self.loader.unload_photon(_unwrapped(photon), force_stop))

    def unload_photons(
        self,
        photons: Iterable[PlainHandler | Handler | _Path],
        force_stop: bool = False,
    ) -> list[str]:
        """Stop and unload the photons of several files, the last loaded first.

        Args:
            photons: Handlers, names of photons, or files.
            force_stop: Skip ``finalize``, and halt the photons' threads and tasks.

        Returns:
            The paths of the files.
        """
        wanted = [_unwrapped(each) for each in several("photons", photons)]
        return self.call(self.loader.unload_photons(wanted, force_stop))

    def disable_photons(
        self, photons: Iterable[PlainHandler | Handler | _Path]
    ) -> list[str]:
        """Unload all photons of some files, and keep them unloaded.

        Args:
            photons: Handlers, names of photons, or files.

        Returns:
            The names of the photons that were unloaded.
        """
        wanted = [_unwrapped(each) for each in several("photons", photons)]
        return self.call(self.loader.disable_photons(wanted))

    def reload_photon(
        self, photon: PlainHandler | Handler | _Path
    ) -> PlainHandler | PlainHandlers:
        """Replace all photons of the file that *photon* came from, in one swap.

        Args:
            photon: A Handler, the name of a photon, or a file.

        Returns:
            The Handler, or all of them if the file has several photons.
        """
        handlers = self.reload_photons([photon])
        return handlers[0] if len(handlers) == 1 else handlers

    def reload_photons(
        self,
        photons: Iterable[PlainHandler | Handler | _Path],
        policy: Policy = "all",
    ) -> PlainHandlers:
        """Replace the photons of several files, by default in one transaction.

        Args:
            photons: Handlers, names of photons, or files.
            policy: As for `luminal.Loader`.
        """
        wanted = [_unwrapped(each) for each in several("photons", photons)]
        handlers = self.loader.reload_photons(wanted, policy)
        return PlainHandlers(self._call_on_worker(handlers), self.call)

    def roll_back(self, photon: PlainHandler | Handler | _Path) -> PlainHandlers:
        """Return to the generation before, as its files were then, by another swap.

        Args:
            photon: A Handler, the name of a photon, or a file.
        """
        handlers = self.loader.roll_back(_unwrapped(photon))
        return PlainHandlers(self._call_on_worker(handlers), self.call)

    def close(self, force_stop: bool = False) -> None:
        """Unload everything, the last loaded first, and end the loop.

        Does nothing where it is closed already, or was never used.

        Args:
            force_stop: Skip ``finalize``, and halt the photons' threads and tasks.
        """
        if self._thread is None:
            return
        thread = self._own_thread()
        try:
            thread.run(self.loader.close(force_stop))
        finally:
            if not thread.is_here:  # a call on the loop itself was rejected
                with self._lock:
                    if self._thread is thread:
                        self._thread = None
                thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unwrapped(photon: PlainHandler | Handler | _Path) -> Handler | _Path:
    """Return *photon* as `luminal.Loader` takes it."""
    return photon.handler if isinstance(photon, PlainHandler) else photon
