"""Which thread does what in a reload, and who may stand still meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest

import luminal
from luminal.errors import LuminalError, PhotonTimeoutError
from luminal.interfaces import hookimpl
from luminal.model import Deadlines, EventKind
from tests.waiting import DEADLINE, brief

HEAD = "import threading\nfrom luminal import IPhoton, hookimpl\n"
PLAIN = (
    HEAD
    + """
SEEN = [threading.current_thread()]

class Photon(IPhoton):
    photon_name = "one"

    def __init__(self):
        SEEN.append(threading.current_thread())

    {start}def start(self):
        SEEN.append(threading.current_thread())

    def on_reload(self, previous):
        SEEN.append(threading.current_thread())

    @hookimpl
    def who(self):
        return "one", {number}
"""
)


def plain(number: int) -> str:
    return PLAIN.format(start="", number=number)


def with_start(number: int, *lines: str, head: str = "") -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return (
        f"{HEAD}{head}\nclass Photon(IPhoton):\n    photon_name = 'one'\n"
        f"    def start(self):\n{body}"
        f"    @hookimpl\n    def who(self):\n        return 'one', {number}\n"
    )


def seen(handler) -> list[threading.Thread]:
    found: list[threading.Thread] = handler.generation.root.SEEN
    return found


async def test_all_plain_steps_of_a_reload_run_on_one_thread(make_host, tmp_path):
    """On the same one at the next reload, and never on the host's."""
    file = tmp_path / "one.py"
    file.write_text(plain(1))
    async with make_host() as host:
        (handler,) = await host.run(file)
        threads = set()
        for number in (2, 3, 4):
            file.write_text(plain(number))
            await host.reload_photon(handler)
            assert host.answers() == [("one", number)]
            assert len(seen(handler)) == 4  # the module, __init__, on_reload, start
            assert len(set(seen(handler))) == 1
            threads.add(seen(handler)[0])
        assert threading.current_thread() not in threads
        # The first one has a thread of its own: it may be the last.
        assert len(threads) <= 2


async def test_only_the_async_steps_of_a_reload_run_on_the_loop(make_host, tmp_path):
    """The plain ones before them have run on one thread by then."""
    file = tmp_path / "one.py"
    file.write_text(plain(1))
    async with make_host() as host:
        (handler,) = await host.run(file)
        for number in (2, 3):
            file.write_text(PLAIN.format(start="async ", number=number))
            await host.reload_photon(handler)
            module, init, on_reload, start = seen(handler)
            assert module is init is on_reload
            assert start is threading.current_thread() is not module


async def test_the_watch_swaps_while_the_hosts_loop_stands_still(make_host, tmp_path):
    """Nothing of a plain reload waits for it."""
    file = tmp_path / "one.py"
    file.write_text(plain(1))
    async with make_host() as host:
        await host.watch_photons(tmp_path)
        await host.until(lambda: host.happened(EventKind.STARTED, "one"))
        file.write_text(plain(2))
        # Called on the loop itself, which does nothing else meanwhile.
        host.wait_for(lambda: host.happened(EventKind.SWAPPED, "one"))
        assert host.answers() == [("one", 2)]
        host.wait_for(lambda: host.happened(EventKind.DRAINED, "one"))


def test_a_plain_program_reloads_while_its_loop_stands_still(tmp_path):
    """A coroutine of the program's own blocks the Loader's loop."""
    file = tmp_path / "one.py"
    file.write_text(plain(1))
    is_blocked, is_free = threading.Event(), threading.Event()

    async def block() -> bool:
        is_blocked.set()
        return is_free.wait(DEADLINE)

    with luminal.blocking.Loader(cache=False) as loader:
        handlers = loader.load_photon(file)
        handlers.start()
        ends = []
        blocking = threading.Thread(target=lambda: ends.append(loader.call(block())))
        blocking.start()
        assert is_blocked.wait(DEADLINE)
        try:
            file.write_text(plain(2))
            loader.reload_photon(handlers[0])
            assert handlers[0].instance.who() == ("one", 2)
        finally:
            is_free.set()
            blocking.join()
        assert ends == [True]


HANGS = {
    "import": ("hung.wait()", "pass"),
    "start": ("", "hung.wait()"),
}


@pytest.mark.parametrize("place", HANGS)
def test_a_plain_program_gives_up_what_hangs(tmp_path, place):
    """It names the photon and the line; the old one runs, and the next reload works."""
    head, step = HANGS[place]
    head = f"hung = threading.Event()\n{head}"
    file = tmp_path / "one.py"
    file.write_text(with_start(1, "pass"))
    limit = brief(0.2)
    deadlines = Deadlines(load=limit, start=limit)
    with luminal.blocking.Loader(cache=False, deadlines=deadlines) as loader:
        handlers = loader.load_photon(file)
        handlers.start()
        for number in (2, 3):
            file.write_text(with_start(number, step, head=head))
            with pytest.raises(LuminalError) as raised:
                loader.reload_photon(handlers[0])
            assert isinstance(raised.value, PhotonTimeoutError)
            assert raised.value.photon == "one"
            assert f"at {file}:" in str(raised.value)
            assert handlers[0].instance.who() == ("one", 1)
        file.write_text(with_start(4, "pass"))
        loader.reload_photon(handlers[0])
        assert handlers[0].instance.who() == ("one", 4)


async def test_the_watch_gives_up_what_hangs(make_host, tmp_path):
    """And applies the next save."""
    file = tmp_path / "one.py"
    file.write_text(with_start(1, "pass"))
    limit = brief(0.2)
    async with make_host(deadlines=Deadlines(load=limit, start=limit)) as host:
        await host.watch_photons(tmp_path)
        await host.until(lambda: host.happened(EventKind.STARTED, "one"))
        for number, (head, step) in enumerate(HANGS.values(), 2):
            late = f"hung = threading.Event()\n{head}"
            file.write_text(with_start(number, step, head=late))
            await host.until(lambda: host.happened(EventKind.REJECTED))
            host.heard.clear()
            assert host.answers() == [("one", 1)]
        file.write_text(with_start(4, "pass"))
        await host.until(lambda: host.answers() == [("one", 4)])


def test_ctrl_c_takes_a_reload_back(tmp_path):
    """What hangs is interrupted, the old generation runs on, the program as well."""
    file = tmp_path / "one.py"
    file.write_text(with_start(1, "pass"))
    hangs = with_start(
        2,
        "import signal, time",
        "self.context.on_close(lambda: print('closed', flush=True))",
        "signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)",
        "while True: time.sleep(0.01)",
    )
    program = textwrap.dedent(
        f"""
        import luminal.blocking, pathlib, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = pathlib.Path({str(file)!r})
        with luminal.blocking.Loader(cache=False) as loader:
            (handler,) = handlers = loader.load_photon(file)
            handlers.start()
            file.write_text({hangs!r})
            try:
                loader.reload_photon(handler)
            except KeyboardInterrupt:
                print("interrupted", handler.instance.who(), flush=True)
            file.write_text({with_start(3, "pass")!r})
            loader.reload_photon(handler)
            print("then", handler.instance.who(), flush=True)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [
        "closed",
        "interrupted ('one', 1)",
        "then ('one', 3)",
        "",
    ]


async def test_a_step_leaves_nothing_to_the_next_photon_on_its_thread(
    make_host, tmp_path
):
    """An event loop that it has set for its thread, or a context variable."""
    file = tmp_path / "one.py"
    lines = (
        "assert variable.get() == 0, variable.get()",
        "variable.set(1)",
        "try: loop = asyncio.get_event_loop()",
        "except RuntimeError: loop = asyncio.new_event_loop()",
        "asyncio.set_event_loop(loop)",
        "loop.run_until_complete(asyncio.sleep(0))",
        "loop.close()",
    )
    head = "import asyncio\nfrom one_library import variable"
    (tmp_path / "one_library.py").write_text(
        "from contextvars import ContextVar\nvariable = ContextVar('v', default=0)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import one_library  # type: ignore[import-not-found]

        photons = tmp_path / "photons"
        photons.mkdir()
        file = photons / "one.py"
        file.write_text(with_start(1, *lines, head=head))
        async with make_host() as host:
            (handler,) = await host.run(file)
            for number in (2, 3, 4):
                file.write_text(with_start(number, *lines, head=head))
                await host.reload_photon(handler)
                assert host.answers() == [("one", number)]
            assert one_library.variable.get() == 0
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("one_library", None)


class Guard:
    """A library that implements the lifecycle's hooks, and needs an event loop."""

    def __init__(self) -> None:
        self.starts = 0

    @hookimpl
    async def photon_start(self, handler: object) -> None:
        await asyncio.sleep(0)
        self.starts += 1


def test_lifecycle_hooks_of_others_run_on_a_loop(tmp_path):
    """Also where the reload itself needs none."""
    file = tmp_path / "one.py"
    file.write_text(plain(1))
    guard = Guard()
    with luminal.blocking.Loader(cache=False) as loader:
        loader.plugins.register(guard)
        handlers = loader.load_photon(file)
        handlers.start()
        for number in (2, 3):
            file.write_text(plain(number))
            loader.reload_photon(handlers[0])
            assert handlers[0].instance.who() == ("one", number)
        assert guard.starts == 3
