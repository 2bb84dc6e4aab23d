"""The same host for tests that are plain functions.

In come plain calls, out come answers; the host's coroutines run on a loop on a thread
of its own, which goes on between the calls, so what photons start there lives.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self, TypeVar

from luminal.supervise.loop_thread import LoopThread
from luminal.testing.host import PATIENCE, AsyncHost
from luminal.testing.patience import THREAD_NAME
from luminal.testing.saving import Save

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from luminal.lifecycle import Handler
    from luminal.managers import Loader
    from luminal.model import Event, EventKind
    from luminal.testing.clock import FakeClock

__all__ = ["Host"]

T = TypeVar("T")


class Host:
    """A host in a directory of its own, for tests that are plain functions.

    Close it, or use ``with``.

    Args:
        directory: As for `AsyncHost`.
        clock: What its event loop goes by; by default real time.
        options: Further arguments of `AsyncHost`.

    Attributes:
        clock: The same.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        clock: FakeClock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock
        self._host = AsyncHost(directory, owns_loop=True, **options)
        self._loop = LoopThread(THREAD_NAME, clock.new_event_loop if clock else None)

    def __repr__(self) -> str:
        return f"<Host photons={len(self.loader.photons)}>"

    def __getitem__(self, name: str) -> Any:
        """Return the running photon called *name*."""
        return self._host[name]

    @property
    def loader(self) -> Loader:
        """The host's Loader; its coroutines go through `call`."""
        return self._host.loader

    @property
    def hook(self) -> Any:
        """Calls hooks: ``host.hook.name(argument=value)``."""
        return self._host.hook

    @property
    def events(self) -> Sequence[Event]:
        """All that has happened so far, oldest first."""
        return self._host.events

    @property
    def path(self) -> Path:
        """The directory of photons."""
        return self._host.path

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run any coroutine on the host's loop, and return what it returns."""
        with self.clock.flowing() if self.clock else contextlib.nullcontext():
            return self._loop.run(coroutine)

    # Files.

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file; see `Folder.write`."""
        return self._host.write(name, text)

    def edit(
        self,
        name: str,
        text: str | bytes | Callable[[str], str],
        how: Save = Save.IN_PLACE,
    ) -> Path:
        """Change a file as a person would; see `Folder.edit`."""
        return self._host.edit(name, text, how)

    def copy(self, source: str | os.PathLike[str]) -> Path:
        """Copy a photon of your own here; see `Folder.copy`."""
        return self._host.copy(source)

    def delete(self, name: str) -> None:
        """Delete a file or directory; see `Folder.delete`."""
        self._host.delete(name)

    # Orders, and what comes of them.

    def run(self, *names: str) -> list[Handler]:
        """Load and start photons; see `AsyncHost.run`."""
        return self.call(self._host.run(*names))

    def reload(self, *photons: str) -> list[Handler]:
        """Reload photons by name; see `AsyncHost.reload`."""
        return self.call(self._host.reload(*photons))

    def unload(self, *photons: str) -> None:
        """Stop and forget photons by name; see `AsyncHost.unload`."""
        self.call(self._host.unload(*photons))

    def watch(self, deadline: float = PATIENCE) -> None:
        """Watch the directory from now on; see `AsyncHost.watch`."""
        self.call(self._host.watch(deadline))

    def reloaded(self, photon: str, deadline: float = PATIENCE) -> Handler:
        """Wait until an edit has been swapped in; see `AsyncHost.reloaded`."""
        return self.call(self._host.reloaded(photon, deadline))

    def until(
        self, kind: EventKind | str, photon: str = "", deadline: float = PATIENCE
    ) -> Event:
        """Wait for an event; see `AsyncHost.until`."""
        return self.call(self._host.until(kind, photon, deadline))

    def assert_no_leaks(self, deadline: float = 5.0) -> None:
        """Unload everything, and fail where something is left behind.

        See `AsyncHost.assert_no_leaks`. Every task on the host's loop counts.
        """
        self.call(self._host.assert_no_leaks(deadline))

    def close(self) -> None:
        """Unload everything and end the loop. Twice does no harm."""
        if self._loop.is_running:
            try:
                self.call(self._host.close())
            finally:
                self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
