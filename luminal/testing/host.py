"""Hosts for tests: isolated, in a directory of their own, with every event kept.

`AsyncHost` is for tests that are coroutines, `Host` for tests that are plain functions.
Both wait for events, never for a fixed time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from luminal.blocking import blocking_method
from luminal.discovery import discover
from luminal.errors import (
    LuminalError,
    PhotonBatchError,
    PhotonNotFoundError,
    PhotonTimeoutError,
    did_you_mean,
)
from luminal.managers.loader import Loader
from luminal.model import EventKind
from luminal.supervise import LoopThread
from luminal.testing.files import Folder
from luminal.testing.leaks import THREAD_NAME, Leak, LeakCheck

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Iterator,
        Sequence,
    )
    from contextlib import AbstractContextManager

    from luminal.lifecycle import Handler
    from luminal.model import Candidate, Event
    from luminal.testing.clock import FakeClock

__all__ = ["DEADLINE", "AsyncHost", "Host"]

DEADLINE = 10.0
"""Seconds that a host waits for an event by default."""

_CACHE_VARIABLE = "LUMINAL_CACHE_DIR"
_FAILURES = frozenset({EventKind.REJECTED, EventKind.FAILED, EventKind.ROLLED_BACK})
_SETTLED = frozenset({EventKind.STARTED, EventKind.SKIPPED, *_FAILURES})

T = TypeVar("T")


class AsyncHost(Folder):
    """A host in a directory of its own, for tests that are coroutines.

    Its cache is in that directory too. It ignores installed photons, unless *group*
    names them. Call `close` at the end, or use ``async with``.

    Args:
        directory: The host's directory; photons are in ``photons`` below it. By default
            a temporary directory, which `close` deletes.
        hookspecs: Classes or modules of hook specifications to add.
        group: Entry-point group of installed photons that `run` finds too, such as
            ``"luminal.photons"``; None for none.
        owns_loop: Whether `assert_no_leaks` counts every task on the running loop; else
            only tasks that run a file of the directory.
        options: Further arguments of `luminal.Loader`: ``settings``, ``deadlines`` …

    Attributes:
        loader: The host's Loader.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        hookspecs: Iterable[Any] = (),
        group: str | None = None,
        owns_loop: bool = False,
        **options: Any,
    ) -> None:
        self._directories = _Directories(directory)
        super().__init__(self._directories.photons)
        self._group = group
        self._log = _EventLog()
        self._is_closed = False
        try:
            self.loader: Loader = Loader(**options)
            for specs in hookspecs:
                self.loader.plugins.add_hookspecs(specs)
        except BaseException:
            self._directories.close()
            raise
        self.loader.events.subscribe(self._log.append)
        self._leak_check = LeakCheck(
            self.loader, str(self.path), self._log.files, owns_loop=owns_loop
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} photons={len(self.loader.photons)}>"

    @property
    def hook(self) -> Any:
        """Calls hooks: ``host.hook.name(argument=value)``."""
        return self.loader.hook

    def hooks(self, specs: type[T]) -> T:
        """Return the hooks of *specs* as an object that type checkers know.

        Args:
            specs: A class of ``hookspecs``. Its ``def`` are called, its ``async def``
                are awaited; all with keywords.
        """
        return self.loader.hooks(specs)

    @property
    def events(self) -> Sequence[Event]:
        """All events so far, oldest first."""
        return tuple(self._log.events)

    def __getitem__(self, name: str) -> Any:
        """Return the running photon called *name*."""
        return self._handler(name).instance

    async def run(self, *names: str) -> list[Handler]:
        """Load and start photons.

        Args:
            names: Files below the directory, or names of photons. By default all
                photons that are not loaded yet.

        Returns:
            Their Handlers, in load order, without those that ran already.

        Raises:
            PhotonNotFoundError: There is no photon of one of these names.
            LuminalError: One could not be loaded or started; the others run.
            PhotonBatchError: Several could not be loaded or started.
        """
        self._leak_check.begin()
        report = await self.loader.load(self._select(names))
        errors = [
            each.problem.error(each.photon) for each in report.failed if each.problem
        ]
        started = []
        for outcome in report.loaded:
            handler = self._handler(outcome.photon)
            try:
                await handler.start()
            except LuminalError as error:
                errors.append(error)
            started.append(handler)
        if len(errors) > 1:
            raise PhotonBatchError("several photons do not run", errors)
        if errors:
            raise errors[0]
        return started

    async def reload(self, *photons: str) -> list[Handler]:
        """Reload photons, as a host does that does not watch.

        Args:
            photons: Their names.

        Returns:
            Their Handlers.

        Raises:
            LuminalError: The new generation was rejected.
        """
        return await self.loader.reload_photons(photons)

    async def unload(self, *photons: str) -> None:
        """Stop and unload photons.

        Args:
            photons: Their names.
        """
        await self.loader.unload_photons(photons)

    async def watch(self, deadline: float = DEADLINE) -> None:
        """Watch the directory from now on. Returns when all photons in it run.

        A photon that cannot be loaded raises nothing here; see `events`.

        Args:
            deadline: Seconds to wait for the photons in the directory.

        Raises:
            PhotonTimeoutError: Not all of them were started or rejected in time.
        """
        self._leak_check.begin()
        self._about_to_change()
        names = {candidate.name for candidate in self._select(())}
        await self.loader.watch_photons(self.path)
        await self._log.wait_until_settled(names, deadline)

    async def reloaded(self, photon: str, deadline: float = DEADLINE) -> Handler:
        """Wait until the watch has swapped in the latest edit.

        Args:
            photon: Name of the photon.
            deadline: Seconds to wait.

        Returns:
            Its Handler.

        Raises:
            LuminalError: The edit was rejected; the old generation still runs.
            PhotonTimeoutError: It was neither swapped in nor rejected in time.
        """
        await self._log.wait_for(
            EventKind.SWAPPED, photon, deadline, lambda: self._is_as_on_disk(photon)
        )
        return self._handler(photon)

    async def until(
        self, kind: EventKind | str, photon: str = "", deadline: float = DEADLINE
    ) -> Event:
        """Wait for the next event of a kind. Events since the latest edit count.

        Args:
            kind: A `luminal.model.EventKind`, or its value.
            photon: Name of the photon; empty for any photon.
            deadline: Seconds to wait.

        Returns:
            The event.

        Raises:
            LuminalError: The photon failed instead.
            PhotonTimeoutError: There was no such event in time.
        """
        return await self._log.wait_for(EventKind(kind), photon, deadline)

    async def assert_no_leaks(self, deadline: float = 5.0) -> None:
        """Unload all photons, and fail if something of them still exists.

        Checks threads, tasks, hooks, modules, child processes, open files and sockets,
        and interpreter state such as ``sys.meta_path``.

        Args:
            deadline: Seconds that things have to end.

        Raises:
            AssertionError: Something still exists; the text says what and where.
        """
        self._leak_check.begin()
        await self.loader.close()
        leaks: list[Leak] = []

        def is_clean() -> bool | None:
            leaks[:] = self._leak_check.leaks()
            return None if leaks else True

        if await _wait_until(is_clean, deadline, every=0.01) is None:
            lines = "\n".join(f"  {leak}" for leak in leaks)
            raise AssertionError(f"leaked after {deadline:g} seconds:\n{lines}")

    async def close(self) -> None:
        """Unload all photons and delete a temporary directory. May be called twice."""
        try:
            await self.loader.close()
        finally:
            self._is_closed = True
            self._directories.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _about_to_change(self) -> None:
        if self._is_closed:
            raise RuntimeError("the host is closed; make another one")
        self._log.forget()

    def _select(self, names: Sequence[str]) -> list[Candidate]:
        """Return the candidates called *names*, or all new ones, in load order."""
        directory = str(self.path)
        loaded = {handler.filepath for handler in self.loader.photons.values()}
        selected = []
        known: set[str] = set()
        for candidate in discover(
            directory, group=self._group, roots=self.loader.roots
        ):
            own = {candidate.name, os.path.relpath(candidate.location, directory)}
            known |= own
            if own & set(names) or (not names and candidate.location not in loaded):
                selected.append(candidate)
        for name in sorted(set(names) - known):
            raise PhotonNotFoundError(
                "does not exist",
                photon=name,
                file=directory,
                hint="name a file of the directory, or a photon"
                + did_you_mean(name, known, "; "),
            )
        return selected

    def _handler(self, photon: str) -> Handler:
        photons = self.loader.photons
        try:
            return photons[photon]
        except KeyError:
            raise PhotonNotFoundError(
                "is not loaded",
                photon=photon,
                why=f"loaded are: {', '.join(photons) or 'none'}",
                hint=did_you_mean(photon, photons) or "call 'run' or 'watch' first",
            ) from None

    def _is_as_on_disk(self, photon: str) -> bool:
        """Whether the running generation was made from the bytes of the file now."""
        handler = self.loader.photons.get(photon)
        if handler is None:
            return False
        try:
            with open(handler.filepath, "rb") as file:
                return handler.checksum == hashlib.sha512(file.read()).hexdigest()
        except OSError:
            return False


class Host(Folder):
    """A host in a directory of its own, for tests that are plain functions.

    Its coroutines run on an event loop on a thread of its own. What photons start on
    that loop keeps running between the calls. Call `close` at the end, or use ``with``.

    Args:
        directory: As for `AsyncHost`.
        clock: The clock of the event loop; by default real time.
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
        self._awaited = AsyncHost(directory, owns_loop=True, **options)
        super().__init__(self._awaited.path)
        self._loop = LoopThread(THREAD_NAME, clock.new_event_loop if clock else None)

    def __repr__(self) -> str:
        return f"<Host photons={len(self.loader.photons)}>"

    def __getitem__(self, name: str) -> Any:
        """Return the running photon called *name*."""
        return self._awaited[name]

    @property
    def loader(self) -> Loader:
        """The host's Loader. Its coroutines run through `call`."""
        return self._awaited.loader

    @property
    def hook(self) -> Any:
        """Calls hooks: ``host.hook.name(argument=value)``."""
        return self._awaited.hook

    def hooks(self, specs: type[T]) -> T:
        """Return the hooks of *specs* as an object that type checkers know.

        Args:
            specs: A class of ``hookspecs``; its ``async def`` are for `call`.
        """
        return self.loader.hooks(specs)

    @property
    def events(self) -> Sequence[Event]:
        """All events so far, oldest first."""
        return self._awaited.events

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* on the host's loop, and return its result."""
        with self.clock.flowing() if self.clock else contextlib.nullcontext():
            return self._loop.run(coroutine)

    run = blocking_method(AsyncHost.run)
    reload = blocking_method(AsyncHost.reload)
    unload = blocking_method(AsyncHost.unload)
    watch = blocking_method(AsyncHost.watch)
    reloaded = blocking_method(AsyncHost.reloaded)
    until = blocking_method(AsyncHost.until)
    assert_no_leaks = blocking_method(AsyncHost.assert_no_leaks)

    def close(self) -> None:
        """Unload all photons and end the loop. May be called twice."""
        if self._loop.is_running:
            try:
                self.call(self._awaited.close())
            finally:
                self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _about_to_change(self) -> None:
        self._awaited._about_to_change()  # noqa: SLF001 - the same class of ours


class _Directories:
    """A host's directory of photons, and Luminal's cache beside it.

    Args:
        directory: The host's directory; None for a temporary one.
    """

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="luminal-")
            directory = self._temporary.name
        root = os.path.realpath(directory)
        self.photons = os.path.join(root, "photons")
        # A variable of the process, since the threads of the watch read it too.
        self._cache = os.path.join(root, "cache")
        self._cache_before = os.environ.get(_CACHE_VARIABLE)
        os.environ[_CACHE_VARIABLE] = self._cache

    def close(self) -> None:
        """Restore the variable and delete a temporary directory."""
        # A host that was made later has set the variable for itself.
        if os.environ.get(_CACHE_VARIABLE) == self._cache:
            if self._cache_before is None:
                del os.environ[_CACHE_VARIABLE]
            else:
                os.environ[_CACHE_VARIABLE] = self._cache_before
        if self._temporary is not None:
            self._temporary.cleanup()


class _EventLog:
    """Every event of a host, and the wait for the next one.

    Attributes:
        events: All events, oldest first.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        # Events before this position were waited for, or precede the latest edit.
        self._mark = 0
        # Replaced as a whole, since events come from several threads.
        self._listeners: tuple[Callable[[], object], ...] = ()

    def append(self, event: Event) -> None:
        """Keep *event*, and wake those who wait. May be called from any thread."""
        self.events.append(event)
        for wake in self._listeners:
            wake()

    def files(self) -> set[str]:
        """Return the paths of all photons' files."""
        return {event.file for event in self.events if event.file}

    def forget(self) -> None:
        """Let no event up to now count in the next wait."""
        self._mark = len(self.events)

    async def wait_for(
        self,
        kind: EventKind,
        photon: str,
        deadline: float,
        is_enough: Callable[[], bool] = lambda: True,
    ) -> Event:
        """Wait for an event that was not waited for yet.

        Args:
            kind: Its kind.
            photon: Name of the photon; empty for any photon.
            deadline: Seconds to wait.
            is_enough: Called at each event that fits; False lets the wait go on.

        Raises:
            LuminalError: The photon failed instead.
            PhotonTimeoutError: There was no such event in time.
        """

        def find() -> tuple[int, Event] | None:
            for position, event in self._new():
                if photon not in ("", event.photon):
                    continue
                if event.kind is kind and is_enough():
                    return position, event
                if event.kind in _FAILURES and event.problem is not None:
                    return position, event
            return None

        found = await _wait_until(find, deadline, waking=self._waking)
        if found is None:
            subject = f"photon {photon!r}" if photon else "a photon"
            raise self._timeout(f"{subject} was not {kind}", deadline)
        position, event = found
        self._mark = position + 1
        if event.kind is not kind and event.problem is not None:
            raise event.problem.error(event.photon)
        return event

    async def wait_until_settled(
        self, photons: Collection[str], deadline: float
    ) -> None:
        """Wait until each of *photons* was started, skipped or rejected.

        Raises:
            PhotonTimeoutError: Not all of them were in time.
        """
        missing = set(photons)

        def is_settled() -> bool | None:
            missing.difference_update(
                event.photon for _, event in self._new() if event.kind in _SETTLED
            )
            return None if missing else True

        if not await _wait_until(is_settled, deadline, waking=self._waking):
            raise self._timeout(f"not all were started: {sorted(missing)}", deadline)

    def _new(self) -> list[tuple[int, Event]]:
        """Return the events that count, each with its position."""
        return list(enumerate(self.events))[self._mark :]

    @contextlib.contextmanager
    def _waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call *wake* at each event, in the event's thread."""
        self._listeners = (*self._listeners, wake)
        try:
            yield
        finally:
            self._listeners = tuple(
                each for each in self._listeners if each is not wake
            )

    def _timeout(self, what: str, deadline: float) -> PhotonTimeoutError:
        events = "; ".join(str(event).splitlines()[0] for _, event in self._new())
        return PhotonTimeoutError(
            f"{what} within {deadline:g} seconds",
            why=f"events since the latest edit: {events or 'none'}",
            hint="check that the new text has other code than the old one, "
            "and that the host watches",
        )


async def _wait_until(
    find: Callable[[], T | None],
    deadline: float,
    *,
    waking: Callable[[Callable[[], object]], AbstractContextManager[None]]
    | None = None,
    every: float | None = None,
) -> T | None:
    """Call *find* until it returns something, and return that.

    The deadline is real time. The loop's own clock may stand still, see `FakeClock`.

    Args:
        find: Returns None as long as there is nothing.
        deadline: Seconds; after them *find* is called once more.
        waking: Is given a function, and calls it whenever *find* should be called.
        every: Seconds between calls of *find* for things that send no event.

    Returns:
        What *find* returned last.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(changed.set)

    end = time.monotonic() + deadline
    with contextlib.ExitStack() as stack:
        if waking is not None:
            stack.enter_context(waking(wake))
        stack.enter_context(_ticking(every or deadline, wake))
        while True:
            changed.clear()  # before the call, or a change after it may be missed
            found = find()
            if found is not None or time.monotonic() >= end:
                return found
            await changed.wait()


@contextlib.contextmanager
def _ticking(seconds: float, tick: Callable[[], object]) -> Iterator[None]:
    """Call *tick* every so many seconds, on a thread."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(seconds):
            tick()

    thread = threading.Thread(target=run, name=THREAD_NAME, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
