"""What a photon lets an event loop call: it ends with the photon, on each loop.

Also on a loop that runs in a greenlet of gevent, beside others.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import textwrap
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import luminal
from tests.waiting import DEADLINE, async_wait_until, brief, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PHOTON = """
import asyncio, contextvars, functools, signal, socket, sys
import callbacks_host as host
import luminal

NUMBER = 1
loop = asyncio.get_running_loop

class Owner(luminal.IPhoton):
    {start}def start(self):
        {begin}

    @luminal.hookimpl
    def begin(self):
{one}

    def again(self, *_):
        host.calls.append(NUMBER)
        self.next()

    def next(self):
        pass

    def pair(self):
        ends = socket.socketpair()
        host.sockets.extend(ends)
        return ends[0]
"""

# Each is called in every turn of the loop, for as long as it is registered.
CALLED = {
    "call_soon": """
        self.next = lambda: loop().call_soon(self.again)
        self.next()
        """,
    "call_soon_threadsafe": """
        self.next = lambda: loop().call_soon_threadsafe(self.again)
        self.next()
        """,
    "call_soon of a kept method": """
        soon = loop().call_soon
        self.next = lambda: host.soon(self.again)
        self.next()
        """,
    "call_later without delay": """
        self.next = lambda: loop().call_later(0, self.again)
        self.next()
        """,
    "call_soon of a partial": """
        self.next = lambda: loop().call_soon(functools.partial(self.again))
        self.next()
        """,
    "call_soon in a context": """
        run = contextvars.copy_context().run
        self.next = lambda: loop().call_soon(run, self.again)
        self.next()
        """,
    "callbacks of futures": """
        def next():
            future = loop().create_future()
            future.add_done_callback(self.again)
            future.set_result(None)
        self.next = next
        self.next()
        """,
    "call_soon of a module beside it": """
        from callbacks_beside import again
        again(host.calls, NUMBER)
        """,
    "add_writer": "loop().add_writer(self.pair(), self.again)",
    "add_writer by the host": "host.add_writer(self.pair(), self.again)",
    "add_writer by number": "loop().add_writer(self.pair().fileno(), self.again)",
    "add_reader": """
        end = self.pair()
        host.sockets[-1].send(b"never read")
        loop().add_reader(end, self.again)
        """,
}
RUNNERS = ["asyncio", "uvloop", "gevent"]


def text(one: str, where: str = "hook") -> str:
    one = textwrap.indent(textwrap.dedent(one).strip(), " " * 8)
    is_step = where == "start"
    return PHOTON.format(
        one=one,
        start="async " if is_step else "",
        begin="self.begin()" if is_step else "pass",
    )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the host."""
    module: Any = types.ModuleType("callbacks_host")
    module.calls, module.sockets = [], []
    monkeypatch.setitem(sys.modules, "callbacks_host", module)
    source = """
import asyncio
def soon(function):
    asyncio.get_running_loop().call_soon(function)
def add_writer(*args):
    asyncio.get_running_loop().add_writer(*args)
"""
    exec(source, vars(module))
    yield module
    for one in module.sockets:
        one.close()


def run_on(kind: str, main: Callable[[], Any]) -> None:
    """Run *main* on a new loop of this kind."""
    factory = None
    if kind == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def run() -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(main(), DEADLINE))

    if kind == "gevent":
        gevent = pytest.importorskip("gevent")
        gevent.spawn(run).get()
    else:
        run()


def new_loader() -> luminal.Loader:
    return luminal.Loader(deadlines=luminal.Deadlines(close=brief(2.0)))


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def called(host: Any) -> set[int]:
    """Return which generations the loop calls."""
    await turns(2)
    host.calls.clear()
    await turns()
    return set(host.calls)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("where", ["hook", "start"])
@pytest.mark.parametrize("kind", CALLED)
def test_what_a_loop_calls_again_and_again_ends_with_the_generation(
    host: Any, tmp_path: Path, kind: str, where: str, runner: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(text(CALLED[kind], where))
    beside = """
import asyncio
def again(calls, number):
    calls.append(number)
    asyncio.get_running_loop().call_soon(again, calls, number)
"""
    (tmp_path / "callbacks_beside.py").write_text(beside)

    async def main() -> None:
        loader = new_loader()
        (handler,) = await loader.load_photon(path)
        await handler.start()
        for number in (1, 2):
            if number == 2:
                path.write_text(path.read_text().replace("NUMBER = 1", "NUMBER = 2"))
                await loader.reload_photon(handler)
            if where == "hook":
                loader.hook.begin()
            await async_wait_until(lambda n=number: n in host.calls)
        # What photons share is the next generation's as well.
        assert await called(host) - ({1} if "beside" in kind else set()) == {2}
        await loader.close()
        assert handler.leftovers == ()
        assert await called(host) == set()

    run_on(runner, main)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("is_hosts", [False, True])
def test_signal_handlers_of_a_loop_end_with_the_generation(
    host: Any, tmp_path: Path, runner: str, is_hosts: bool
) -> None:
    """The one that it has replaced comes back, where the loop tells which it is."""
    path = tmp_path / "owner.py"
    one = "loop().add_signal_handler(signal.SIGUSR1, self.again)"
    path.write_text(text(one))
    before = signal.getsignal(signal.SIGUSR1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if is_hosts:
            loop.add_signal_handler(signal.SIGUSR1, host.calls.append, 0)
        loader = new_loader()
        (handler,) = await loader.load_photon(path)
        await handler.start()
        loader.hook.begin()
        os.kill(os.getpid(), signal.SIGUSR1)
        await async_wait_until(lambda: host.calls == [1])
        path.write_text(path.read_text().replace("NUMBER = 1", "NUMBER = 2"))
        await loader.reload_photon(handler)
        loader.hook.begin()
        os.kill(os.getpid(), signal.SIGUSR1)
        await async_wait_until(lambda: host.calls == [1, 2])
        await loader.close()
        assert handler.leftovers == ()
        if is_hosts and runner != "uvloop":
            os.kill(os.getpid(), signal.SIGUSR1)
            await async_wait_until(lambda: host.calls == [1, 2, 0])
        assert loop.remove_signal_handler(signal.SIGUSR1) is (
            is_hosts and runner != "uvloop"
        )

    try:
        run_on(runner, main)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("runner", RUNNERS)
def test_what_a_host_has_registered_in_the_meantime_stays(
    host: Any, tmp_path: Path, runner: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(text("loop().add_writer(self.pair(), self.again)"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loader = new_loader()
        (handler,) = await loader.load_photon(path)
        await handler.start()
        loader.hook.begin()
        assert await called(host) == {1}
        end = host.sockets[0]
        loop.add_writer(end, host.calls.append, 0)
        assert await called(host) == {0}
        loader.hook.begin()
        assert await called(host) == {0, 1}
        loop.remove_writer(host.sockets[2])
        await loader.close()
        assert await called(host) == {0}
        loop.remove_writer(end)

    run_on(runner, main)


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_failed_start_leaves_the_reader_of_the_one_that_runs(
    host: Any, tmp_path: Path, runner: str
) -> None:
    """Both have registered the same socket."""
    path = tmp_path / "owner.py"
    one = """
        end = host.sockets[0] if host.sockets else self.pair()
        loop().add_writer(end, self.again)
        """
    path.write_text(text(one, "start"))

    async def main() -> None:
        loader = new_loader()
        (handler,) = await loader.load_photon(path)
        await handler.start()
        assert await called(host) == {1}
        new = path.read_text().replace("NUMBER = 1", "NUMBER = 2")
        path.write_text(new.replace("self.begin()", "self.begin(); 1 / 0"))
        with pytest.raises(luminal.LuminalError):
            await loader.reload_photon(handler)
        assert await called(host) == {1}
        await loader.close()
        assert await called(host) == set()

    run_on(runner, main)


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_loop_that_was_closed_first_is_not_kept(
    kind: str, host: Any, tmp_path: Path
) -> None:
    """Nor is what a photon let it call."""
    (tmp_path / "owner.py").write_text(text(CALLED["add_writer"], "start"))
    loader, loops = new_loader(), []

    async def load() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        (handler,) = await loader.load_photons(tmp_path)
        await handler.start()

    run_on(kind, load)
    run_on(kind, loader.close)

    def is_freed() -> bool:
        gc.collect()
        return loops[0]() is None

    wait_until(is_freed)
