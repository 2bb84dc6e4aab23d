"""`Loader`: the orders that a host gives, as plain calls."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from luminal.blocking.handler import PlainHandler, PlainHandlers
from luminal.interfaces import IPhoton
from luminal.managers.loader import Loader as AsyncLoader
from luminal.supervise.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from luminal.hooks import PluginManager
    from luminal.lifecycle import Events, Handler
    from luminal.model import Candidate, Report
    from luminal.reload import Policy

__all__ = ["Loader"]

T = TypeVar("T")
_Path = str | os.PathLike[str]


class Loader:
    """Loads, starts, calls, reloads and unloads the photons of one host.

    Each method is the one of `luminal.Loader` of that name, which tells its arguments
    and errors, and returns when that is done. Orders may come from any thread but the
    Loader's own; use it with ``with``, or `close` it.

    Args:
        *args: As for `luminal.Loader`.
        **kwargs: Likewise.

    Attributes:
        loader: That `luminal.Loader`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.loader = AsyncLoader(*args, **kwargs)
        # Begun with the first order, and again with one after a `close` or a fork.
        self._thread: LoopThread | None = None
        # Kept, not closed: what its loop waits for is the parent's as well.
        self._thread_of_parent: LoopThread | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<blocking {self.loader!r}>"

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run any coroutine on the Loader's loop, and return what it returns.

        For hooks that are awaited: ``loader.call(loader.ahook.name(argument=value))``.

        Raises:
            RuntimeError: It was asked for on that very loop, which would wait for
                itself.
        """
        return self._own_thread().run(coroutine)

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
        """What became of each photon so far, the latest at the end."""
        return self.loader.report

    @property
    def plugins(self) -> PluginManager:
        """Where the host adds its hook specifications."""
        return self.loader.plugins

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
        """Who hears what happens; holds the journal."""
        return self.loader.events

    # Orders.

    def load(
        self,
        candidates: Iterable[Candidate] | None = None,
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
    ) -> Report:
        """Load what `luminal.discover` found."""
        return self.call(self.loader.load(candidates, photon_base, other_classes))

    def start(self) -> Report:
        """Start all photons that are loaded, in load order."""
        return self.call(self.loader.start())

    def load_photon(
        self,
        photon_path: _Path,
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
        recursive: bool = False,
    ) -> PlainHandlers:
        """Load the photons of a file; they are not started yet."""
        order = self.loader.load_photon(
            photon_path, photon_base, other_classes, recursive
        )
        return PlainHandlers(self.call(order), self.call)

    def load_photons(
        self,
        photons_directory: _Path,
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
        recursive: bool = False,
    ) -> PlainHandlers:
        """Load the photons of a directory; they are not started yet."""
        order = self.loader.load_photons(
            photons_directory, photon_base, other_classes, recursive
        )
        return PlainHandlers(self.call(order), self.call)

    def unload_photon(
        self, photon: PlainHandler | Handler | _Path, force_stop: bool = False
    ) -> bool:
        """Stop and forget all photons of the file that *photon* came from."""
        return self.call(self.loader.unload_photon(_plain(photon), force_stop))

    def unload_photons(
        self,
        photons: Iterable[PlainHandler | Handler | _Path],
        force_stop: bool = False,
    ) -> list[str]:
        """Stop and forget the photons of several files, the last loaded first."""
        names = [_plain(photon) for photon in photons]
        return self.call(self.loader.unload_photons(names, force_stop))

    def reload_photon(
        self, photon: PlainHandler | Handler | _Path
    ) -> PlainHandler | PlainHandlers:
        """Replace all photons of the file that *photon* came from, in one swap."""
        handlers = self.reload_photons([photon])
        return handlers[0] if len(handlers) == 1 else handlers

    def reload_photons(
        self,
        photons: Iterable[PlainHandler | Handler | _Path],
        policy: Policy = "all",
    ) -> PlainHandlers:
        """Replace the photons of several files in one transaction."""
        names = [_plain(photon) for photon in photons]
        order = self.loader.reload_photons(names, policy)
        return PlainHandlers(self.call(order), self.call)

    def roll_back(self, photon: PlainHandler | Handler | _Path) -> PlainHandlers:
        """Return to the generation before, as it was read then, by another swap."""
        order = self.loader.roll_back(_plain(photon))
        return PlainHandlers(self.call(order), self.call)

    def watch_photons(self, photons_directory: _Path) -> None:
        """Keep what runs as the directory is, from a background thread."""
        self.call(self.loader.watch_photons(photons_directory))

    def stop_watching_photons(self, halt_threads: bool = False) -> None:
        """End the watch, and unload what it has loaded."""
        self.call(self.loader.stop_watching_photons(halt_threads))

    def watch_distributions(self) -> None:
        """Swap in what pip installs for the photons that are loaded."""
        self.call(self.loader.watch_distributions())

    def stop_watching_distributions(self) -> None:
        """End that watch; the photons go on."""
        self.call(self.loader.stop_watching_distributions())

    def close(self, force_stop: bool = False) -> None:
        """Unload everything, the last loaded first, and end the loop.

        Args:
            force_stop: Skip ``finalize`` and end what photons own at once.
        """
        thread = self._own_thread()
        try:
            thread.run(self.loader.close(force_stop))
        finally:
            if not thread.is_here:  # else it was refused
                with self._lock:
                    if self._thread is thread:
                        self._thread = None
                thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _plain(photon: PlainHandler | Handler | _Path) -> Handler | _Path:
    """Return *photon* as `luminal.Loader` knows it."""
    return photon.handler if isinstance(photon, PlainHandler) else photon
