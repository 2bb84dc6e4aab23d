"""A host with hooks, and a picture of all that a failed reload must not touch."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader, hookspec
from luminal.model import Deadlines, Event, EventKind
from tests.waiting import DEADLINE, async_wait_until

PATIENT = Deadlines(DEADLINE, DEADLINE, DEADLINE, DEADLINE, DEADLINE)
"""Only a hang lasts as long; tests of hangs set shorter ones."""


def text(name: str, number: int, head: str = "", body: str = "pass") -> str:
    """Return a file with one photon that answers with its name and a number.

    Args:
        name: Its name.
        number: The number.
        head: Lines of the module.
        body: A line of the class.
    """
    return (
        "import asyncio\n"
        "from luminal import IPhoton, hookimpl\n"
        f"{head}\n"
        "class Photon(IPhoton):\n"
        f"    photon_name = {name!r}\n"
        f"    {body}\n"
        "    @hookimpl\n"
        "    def who(self):\n"
        f"        return ({name!r}, {number})\n"
    )


class Specs:
    """The hooks of the test host."""

    @hookspec
    def who(self) -> Any: ...

    @hookspec
    def visit(self, go: Any) -> Any: ...


class Host(Loader):
    """A Loader with the hooks above, and a memory of its events."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("deadlines", PATIENT)
        super().__init__(**options)
        self.plugins.add_hookspecs(Specs)
        self.heard: list[Event] = []
        self._news = threading.Condition()
        self.events.subscribe(self._hear_event)

    def _hear_event(self, event: Event) -> None:
        with self._news:
            self.heard.append(event)
            self._news.notify_all()

    def happened(self, kind: EventKind, photon: str | None = None) -> list[Event]:
        """Return the events of one kind so far."""
        return [
            event
            for event in list(self.heard)
            if event.kind is kind and photon in (None, event.photon)
        ]

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait in a thread until news make *condition* true; return what it is."""
        end = time.monotonic() + DEADLINE
        with self._news:
            while not (found := condition()):
                left = end - time.monotonic()
                assert left > 0, f"it did not happen; {self.heard[-20:]}"
                # Not everything is an event: look again now and then.
                self._news.wait(min(left, 0.02))
        return found

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait as `wait_for` does, while the loop goes on."""
        return await asyncio.to_thread(self.wait_for, condition)

    async def run(self, *paths: Path) -> list[Any]:
        """Load and start photons; return their Handlers."""
        handlers = []
        for path in paths:
            loaded = await self.load_photon(path)
            await loaded.start()
            handlers += loaded
        return handlers

    def answers(self) -> list[Any]:
        """Call the hook, and return the answers in the order of loading."""
        return list(reversed(self.hook.who()))


async def unchanged(
    host: Host, before: Picture, apart_from: Collection[str] = ()
) -> None:
    """Wait until threads that were given up have ended; nothing may differ then."""

    def changed() -> dict[str, Any]:
        found = before.differences(Picture(host, before.root))
        return {key: found[key] for key in found.keys() - set(apart_from)}

    with contextlib.suppress(AssertionError):
        await async_wait_until(lambda: not changed())
    assert changed() == {}


class _Shown(tuple[str, ...]):
    """Lines that are shown of a file: the same ones, or fewer.

    Fewer, as long as a test holds the error of a rejected text of the same file.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, _Shown)
        return all(map(str.__eq__, self, other))


class Picture:
    """What a failed operation leaves as it was."""

    def __init__(self, host: Host, root: Path) -> None:
        self.root = root
        self.photons = {
            name: (
                id(h),
                id(h.instance),
                id(h.factory),
                id(h.context),
                h.state,
                h.number,
                h.checksum,
                str(h.context.data),
            )
            for name, h in host.photons.items()
        }
        self.order = list(host.photons)
        self.hooks = {
            name: [id(impl.plugin) for impl in getattr(host.hook, name).get_hookimpls()]
            for name in ("who", "visit")
        }
        self.registered = {id(plugin) for plugin in host.plugins.get_plugins()}
        self.modules = {
            name: id(module)
            for name, module in list(sys.modules.items())
            if _is_ours(module, root)
        }
        self.members = {
            (name, member): id(value)
            for name, module in list(sys.modules.items())
            if _is_ours(module, root)
            for member, value in vars(module).items()
        }
        self.names = {n for n in sys.modules if n.partition(".")[0] not in _BY_THE_WAY}
        self.finders = list(map(id, sys.meta_path))
        self.threads = {t for t in threading.enumerate() if not _is_kept(t)}
        self.lines = {
            name: _Shown(linecache.getlines(name))
            for name in list(linecache.cache)
            if name.startswith(str(root))
        }
        self.answers = host.answers()

    def differences(self, other: Picture) -> dict[str, Any]:
        """Return what differs, for a test's message."""
        return {
            key: (mine, vars(other)[key])
            for key, mine in vars(self).items()
            if mine != vars(other)[key]
        }


# What the first use of something else may import.
_BY_THE_WAY = sys.stdlib_module_names | {"luminal", "_pytest", "pygments"}


def _is_kept(thread: threading.Thread) -> bool:
    """Whether it serves more than one host, or hosts of earlier tests, or all swaps.

    The first swap has a worker of its own, which is about to end when it is over.
    """
    names = ("asyncio_", "ThreadPool", "luminal-leaks", "luminal-worker")
    return thread.name.startswith(names)


def _is_ours(module: Any, root: Path) -> bool:
    kind = type(module).__name__
    if kind == "ModuleProxy":
        return True
    names = getattr(module, "__dict__", None) or {}
    places = [names.get("__file__"), *list(names.get("__path__", ()))]
    return any(str(place).startswith(str(root)) for place in places if place)


@pytest.fixture
def picture(photons: Any) -> Callable[[Host], Picture]:
    """Takes a picture of a host."""
    return lambda host: Picture(host, photons.path)


@pytest.fixture(name="unchanged")
def unchanged_fixture() -> Any:
    """Compares a host with a picture of it."""
    return unchanged


@pytest.fixture
def make_host() -> Callable[..., Host]:
    """Makes hosts."""
    return Host


async def call_across(host, change, given=None):
    """Return what a call returns, or raises, during which *change* is awaited.

    The call gets *given* from the function that waits for the change.
    """
    inside, leave = threading.Event(), threading.Event()
    found = []

    def go(_photon):
        inside.set()
        assert leave.wait(DEADLINE)
        return given

    def call():
        try:
            found.extend(host.hook.visit(go=go))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    await asyncio.to_thread(inside.wait, DEADLINE)
    try:
        await change()
    finally:
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
    (result,) = found
    return result


def grow_old():
    """Wait until files that have just been written are older than what is loaded."""
    time.sleep(0.03)
