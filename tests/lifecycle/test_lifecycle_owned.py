"""What a photon owns ends with it; what is the host's or a library's lives on."""

from __future__ import annotations

import gc
import sys
import textwrap
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import luminal
from tests.waiting import DEADLINE, async_wait_until, brief, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def photon(tmp_path: Path) -> Any:
    """Write a photon's file, with what every one of them needs."""

    def write(text: str, name: str = "owner") -> str:
        head = "import contextlib, socket, subprocess, sys, threading\nimport luminal\n"
        body = textwrap.dedent(text)
        path = tmp_path / "photons" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(head + body)
        return str(path)

    return write


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Write and import a module of the host's, named ``owners_host``."""

    def write(text: str) -> Any:
        (tmp_path / "owners_host.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(tmp_path))
        __import__("owners_host")
        return sys.modules["owners_host"]

    yield write
    sys.modules.pop("owners_host", None)


def deadlines() -> Any:
    return luminal.Deadlines(close=brief(1.0))


@pytest.mark.parametrize("call", ["child.wait()", "receive()"])
async def test_what_the_host_owns_is_left_alone_and_the_thread_is_named(
    photon, program, call
):
    """A thread of the photon waits for the host's child, or in the host's client."""
    host = program("""
        import socket, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        one, other = socket.socketpair()

        class Client:
            def __init__(self):
                self.sock = one

            def receive(self):
                return self.sock.recv(1)

        client = Client()
        receive = client.receive
        begun = __import__("threading").Event()
    """)
    path = photon(f"""
        import owners_host

        class Owner(luminal.IPhoton):
            async def start(self):
                self.context.thread(self.work)

            def work(self):
                owners_host.begun.set()
                owners_host.{call}
    """)
    loader = luminal.Loader(deadlines=deadlines())
    try:
        (handler,) = await loader.load_photon(path)
        await handler.start()
        assert host.begun.wait(DEADLINE)
        await loader.close()
        (left,) = handler.leftovers
        assert left.kind == "thread"
        assert "owner.py" in left.where
        assert host.child.poll() is None
        host.one.send(b"x")
        assert host.other.recv(1) == b"x"
    finally:
        host.other.send(b"x")
        host.child.kill()
        host.child.wait()
        host.one.close()
        host.other.close()
    wait_until(lambda: "Owner-work" not in [t.name for t in threading.enumerate()])


@pytest.mark.parametrize(
    "wait",
    [
        "a.recv(1)",
        "a.makefile('rb').read(1)",
        "a.recv_into(bytearray(1))",
        "server.accept()",
        "child.wait()",
        "child.communicate()",
    ],
)
async def test_a_thread_is_woken_by_what_its_photon_owns(photon, wait):
    """Its sockets are shut down, its children ended, so its waits return."""
    path = photon(f"""
        class Owner(luminal.IPhoton):
            async def start(self):
                self.begun = threading.Event()
                threading.Thread(target=self.work, name="owner-work").start()
                self.begun.wait()

            def work(self):
                a, b = socket.socketpair()
                server = socket.create_server(("127.0.0.1", 0))
                child = subprocess.Popen({SLEEPER!r})
                self.begun.set()
                # A socket that is shut down raises.
                with contextlib.suppress(OSError), a, b, server, child:
                    {wait}
                    while True:
                        pass
    """)
    loader = luminal.Loader()
    (handler,) = await loader.load_photon(path)
    await handler.start()
    await loader.close()
    assert handler.leftovers == ()
    wait_until(lambda: "owner-work" not in [t.name for t in threading.enumerate()])


@pytest.mark.parametrize(
    "start",
    [
        "threading.Thread(target=owners_host.lock.acquire).start()",
        "self.context.thread(owners_host.lock.acquire)",
        "owners_host.pool.submit(owners_host.lock.acquire)",
        "self.context.executor(1).submit(owners_host.lock.acquire)",
    ],
)
async def test_a_thread_that_does_not_end_keeps_no_code_that_it_does_not_run(
    photon, program, start
):
    """Luminal itself must not keep it either, for what the thread may start."""
    host = program("""
        import threading
        from concurrent.futures import ThreadPoolExecutor
        lock = threading.Lock()
        lock.acquire()
        pool = ThreadPoolExecutor(1)
    """)
    path = photon(f"""
        import owners_host

        class Owner(luminal.IPhoton):
            async def start(self):
                {start}
    """)
    loader = luminal.Loader(deadlines=luminal.Deadlines(close=0.3))
    try:
        (handler,) = await loader.load_photon(path)
        await handler.start()
        kept = weakref.ref(type(handler.instance))
        await loader.unload_photon(handler)
        assert handler.leftovers
        del handler
        await async_wait_until(lambda: gc.collect() is not None and kept() is None)
        assert "leaked" not in [e.kind for e in loader.events.journal]
    finally:
        await loader.close()
        host.lock.release()
        host.pool.shutdown()
