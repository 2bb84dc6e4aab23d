"""The same host without an event loop: every order is a plain call."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import textwrap
import threading

import pytest

import luminal
from luminal.errors import LuminalError, PhotonNotFoundError, PhotonStartError

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
        lambda event: swapped.set() if event.happening == "swapped" else None
    )
    started = threading.Event()
    loader.events.subscribe(
        lambda event: started.set() if event.happening == "started" else None
    )
    loader.watch_photons(file.parent)
    assert started.wait(20)
    file.write_text(PHOTON.format(version=2))
    assert swapped.wait(20)
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
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "interrupted" in done.stdout
    assert "finalized" in done.stdout
    assert done.stdout.endswith("left 0\n")


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
