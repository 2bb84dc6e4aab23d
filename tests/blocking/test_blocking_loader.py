"""The same host without an event loop: every order is a plain call."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import textwrap
import threading

import pytest

import luminal
from luminal.errors import LuminalError, PhotonNotFoundError, PhotonStartError
from luminal.supervise import LoopThread
from tests.waiting import DEADLINE

PHOTON = """
import asyncio, threading
from luminal import IPhoton, hookimpl


class Photon(IPhoton):
    photon_name = "clock"
    ticks = 0

    async def start(self):
        self.task = self.context.spawn(self.tick())
        self.thread = threading.current_thread()

    async def tick(self):
        while True:
            await asyncio.sleep(0)
            self.ticks += 1

    @hookimpl
    def version(self):
        return {version}

    @hookimpl
    async def later(self):
        await asyncio.sleep(0)
        return "later"
"""


class Specs:
    @luminal.hookspec
    def version(self):
        """Say which version answers."""

    @luminal.hookspec
    async def later(self):
        """Answer on the loop."""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "photons" / "clock.py"
    path.parent.mkdir()
    path.write_text(PHOTON.format(version=1))
    return path


@pytest.fixture
def loader():
    threads = set(threading.enumerate())
    with luminal.blocking.Loader(cache=False) as loader:
        loader.plugins.add_hookspecs(Specs)
        yield loader
    assert set(threading.enumerate()) <= threads


def test_it_loads_starts_calls_reloads_rolls_back_and_unloads(loader, file):
    """What photons start on the loop goes on between the calls."""
    (handler,) = handlers = loader.load_photons(file.parent)
    assert str(handler.state) == "staged"
    handlers.start()
    assert loader.hook.version() == [1]
    assert loader.call(loader.ahook.later()) == ["later"]
    before = handler.instance.ticks
    while handler.instance.ticks == before:
        loader.call(asyncio.sleep(0))
    file.write_text(PHOTON.format(version=2))
    assert loader.reload_photon(handler) == handler == loader.photons["clock"]
    assert loader.hook.version() == [2]
    file.write_text("a syntax error")
    with pytest.raises(LuminalError):
        loader.reload_photon("clock")
    assert loader.hook.version() == [2]
    assert loader.roll_back(file) == [handler]
    assert loader.hook.version() == [1]
    assert handler.stop() is True
    assert loader.hook.version() == []
    assert loader.unload_photon(handler) is True
    assert not loader.photons
    with pytest.raises(PhotonNotFoundError):
        loader.unload_photons(["clock"])


def test_it_takes_what_discover_found_and_reports(loader, file):
    file.with_name("wrong.py").write_text(
        "import luminal\nclass Wrong(luminal.IPhoton):\n"
        "    def start(self): raise ValueError('no')\n"
    )
    assert len(loader.load(luminal.discover(file.parent, group=None)).loaded) == 2
    report = loader.start()
    assert [o.photon for o in report.failed] == ["Wrong"]
    assert [o.photon for o in loader.report.loaded] == ["clock"]
    with pytest.raises(PhotonStartError):
        loader.photons["Wrong"].start()


def test_it_watches(loader, file):
    swapped = threading.Event()
    loader.events.subscribe(
        lambda event: swapped.set() if event.kind == "swapped" else None
    )
    started = threading.Event()
    loader.events.subscribe(
        lambda event: started.set() if event.kind == "started" else None
    )
    loader.watch_photons(file.parent)
    assert started.wait(DEADLINE)
    file.write_text(PHOTON.format(version=2))
    assert swapped.wait(DEADLINE)
    assert loader.hook.version() == [2]
    loader.stop_watching_photons()
    assert not loader.photons


def test_it_can_be_used_again_after_its_end(file):
    loader = luminal.blocking.Loader(cache=False)
    for _ in range(2):
        loader.load_photon(file).start()
        assert loader.photons["clock"].handler.name == "clock"
        loader.close()
    loader.close()


def test_an_order_from_its_own_loop_is_refused(loader, file):
    """It would wait for itself."""

    async def ask():
        loader.load_photon(file)

    with pytest.raises(RuntimeError, match="its own loop"):
        loader.call(ask())


def test_every_order_of_the_loader_is_there():
    """With the same arguments."""
    for name, method in inspect.getmembers(luminal.Loader, inspect.isfunction):
        if name.startswith("_"):
            continue
        ours = inspect.signature(getattr(luminal.blocking.Loader, name))
        assert list(ours.parameters) == list(inspect.signature(method).parameters)


def test_ctrl_c_ends_an_order_and_the_photons(tmp_path):
    """The load that it interrupts leaves nothing; the program ends by itself."""
    (tmp_path / "slow.py").write_text(
        "import luminal\nclass Slow(luminal.IPhoton):\n"
        "    async def start(self):\n"
        "        import asyncio, signal, threading\n"
        "        self.context.on_close(lambda: print('closed', flush=True))\n"
        "        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)\n"
        "        await asyncio.sleep(60)\n"
        "    def finalize(self): print('finalized', flush=True)\n"
    )
    program = textwrap.dedent(
        f"""
        import luminal.blocking, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with luminal.blocking.Loader(cache=False) as loader:
            handlers = loader.load_photons({str(tmp_path)!r})
            try:
                handlers.start()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        print("left", len(loader.photons))
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
    assert "interrupted" in done.stdout
    assert "closed" in done.stdout
    assert "finalized" not in done.stdout  # its start did not return
    assert done.stdout.endswith("left 0\n")


def test_ctrl_c_just_after_an_order_was_given_cancels_it(loader, monkeypatch):
    """It may have begun already when the signal comes."""
    hand_over = asyncio.run_coroutine_threadsafe
    begun, ended = threading.Event(), threading.Event()

    async def order():
        begun.set()
        try:
            await asyncio.sleep(DEADLINE)
        finally:
            ended.set()

    def interrupted(*arguments):
        hand_over(*arguments)
        assert begun.wait(DEADLINE)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loader.call(order())
    assert ended.wait(DEADLINE)


def test_reading_begins_no_thread(tmp_path):
    """Neither before the first order nor after the last."""
    (tmp_path / "clock.py").write_text(PHOTON.format(version=1))
    before = threading.active_count()
    loader = luminal.blocking.Loader(cache=False)
    assert loader.photons == {}
    assert threading.active_count() == before
    loader.load_photons(tmp_path)
    loader.close()
    assert loader.photons == {}
    assert len(loader.report)
    assert threading.active_count() == before


def test_an_order_that_meets_the_end_of_the_loop_is_refused():
    """It would never be carried out: whoever waits for it would wait for ever."""
    loop = LoopThread("test-end")
    ends, go_on = threading.Event(), threading.Event()

    async def linger():
        try:
            await asyncio.sleep(60)
        finally:
            ends.set()
            go_on.wait(DEADLINE)

    async def begin():
        task = asyncio.create_task(linger())
        await asyncio.sleep(0)
        return task

    def order():
        with pytest.raises(RuntimeError, match="closed") as caught:
            loop.run(asyncio.sleep(60))
        refused.append(caught.value)

    refused = []
    waits = threading.Thread(target=order)  # for what the end will cancel
    waits.start()
    task = loop.run(begin())
    ending = threading.Thread(target=loop.close)
    ending.start()
    assert ends.wait(DEADLINE)
    late = threading.Thread(target=order, daemon=True)
    late.start()
    late.join(0.2)  # time enough to hand its order over
    go_on.set()
    for thread in (waits, late, ending):
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert task.cancelled()
    assert len(refused) == 2


def test_a_second_close_starts_no_thread(loader, file, monkeypatch):
    """At the end of an interpreter no thread can be started."""
    loader.load_photon(file).start()
    loader.close()
    monkeypatch.delattr(threading.Thread, "start")
    loader.close()
    assert loader.photons == {}


def test_a_close_from_its_own_loop_is_refused_and_ends_nothing(loader, file):
    """What photons have started there goes on."""
    loader.load_photons(file.parent).start()

    async def close():
        loader.close()

    with pytest.raises(RuntimeError, match="its own loop"):
        loader.call(close())
    assert not loader.photons["clock"].instance.task.done()
    assert loader.photons["clock"].instance.thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_gives_orders_on_a_loop_of_its_own(tmp_path, file):
    """A host that loads and then forks, as servers do, has a Loader in each child."""
    program = tmp_path / "host.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import os, pathlib, sys, warnings
            import luminal
            from tests.blocking.test_blocking_loader import PHOTON, Specs

            warnings.filterwarnings("ignore", "This process", DeprecationWarning)
            file = pathlib.Path({str(file)!r})
            loader = luminal.blocking.Loader(hookspecs=[Specs], cache=False)
            loader.load_photons(file.parent).start()
            child = os.fork()
            if not child:
                file.write_text(PHOTON.format(version=2))
                loader.reload_photon("clock")
                print("child", loader.hook.version(), flush=True)
                print("child", loader.call(loader.ahook.later()), flush=True)
                loader.close()
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print("parent", loader.hook.version(), loader.call(loader.ahook.later()))
            loader.close()
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines() == [
        "child [2]",
        "child ['later']",
        "parent [1] ['later']",
    ]
