"""Whatever outlives a host is named; whatever does not is not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luminal import hookimpl
from luminal.errors import LuminalWarning
from luminal.testing import Host

Leaving = Callable[[Host], "contextmanager[None]"]


@contextmanager
def a_thread(host: Host) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="stray")
    thread.start()
    yield
    over.set()
    thread.join()


@contextmanager
def a_raw_thread(host: Host) -> Iterator[None]:
    import _thread

    over, begun, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        over.wait()
        ended.set()

    _thread.start_new_thread(work, ())
    begun.wait()
    yield
    over.set()
    ended.wait()


@contextmanager
def a_task(host: Host) -> Iterator[None]:
    async def begin() -> asyncio.Task[bool]:
        return asyncio.create_task(asyncio.Event().wait(), name="stray")

    task = host.call(begin())
    yield
    host.loader  # noqa: B018 - the host is still there
    task.get_loop().call_soon_threadsafe(task.cancel)


@contextmanager
def a_hook(host: Host) -> Iterator[None]:
    class Stray:
        @hookimpl
        def greet(self, name: str) -> str:
            return ""

    host.loader.plugins.register(Stray(), "stray")
    yield
    host.loader.plugins.unregister(name="stray")


@contextmanager
def a_module(host: Host) -> Iterator[None]:
    module = types.ModuleType("stray_module")
    module.__file__ = str(host.path / "stray.py")
    sys.modules["stray_module"] = module
    yield
    del sys.modules["stray_module"]


@contextmanager
def a_finder(host: Host) -> Iterator[None]:
    class StrayFinder:
        def find_spec(self, *_: object) -> None: ...

    finder = StrayFinder()
    sys.meta_path.append(finder)
    yield
    sys.meta_path.remove(finder)


@contextmanager
def a_child(host: Host) -> Iterator[None]:
    child = subprocess.Popen(["sleep", "60"])
    yield
    child.kill()
    child.wait()


@contextmanager
def a_descriptor(host: Host) -> Iterator[None]:
    number = os.open(os.devnull, os.O_RDONLY)
    yield
    os.close(number)


@contextmanager
def a_signal(host: Host) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(
    ("leaving", "words"),
    [
        (a_thread, "thread 'stray' at "),
        (a_raw_thread, "thread 'number "),
        (a_task, "task 'stray'"),
        (a_hook, "hook implementations of 'stray'"),
        (a_module, "module 'stray_module'"),
        (a_finder, "sys.meta_path +"),
        (a_child, "child process "),
        (a_descriptor, "/dev/null"),
        (a_signal, "signals +"),
    ],
)
def test_what_is_left_is_named_and_once_it_is_gone_all_is_well(
    tmp_path: Path, hello: str, specs: type, leaving: Leaving, words: str
) -> None:
    with Host(tmp_path / "host", hookspecs=[specs]) as host:
        host.write("hello.py", hello)
        host.run()
        with leaving(host):
            with pytest.raises(AssertionError) as caught:
                host.assert_no_leaks(deadline=0.05)
            assert words in str(caught.value)
            assert str(caught.value).count("\n") == 1, "nothing else"
        host.assert_no_leaks()


def test_what_was_there_before_is_no_leak(tmp_path: Path, hello: str) -> None:
    """The moment to compare with is the one before the first photon."""
    with (
        Host(tmp_path / "host") as host,
        a_thread(host),
        a_child(host),
        a_descriptor(host),
    ):
        host.write("hello.py", hello)
        host.run()
        host.assert_no_leaks(deadline=0.05)


def test_what_is_on_its_way_out_is_waited_for(tmp_path: Path, hello: str) -> None:
    with Host(tmp_path / "host") as host:
        host.write("hello.py", hello)
        host.run()
        over = threading.Event()
        threading.Thread(target=over.wait, name="slow").start()
        threading.Timer(0.1, over.set).start()
        host.assert_no_leaks()
        assert over.is_set()


def test_photon_that_starts_much_leaves_nothing(tmp_path: Path) -> None:
    """Threads, tasks, children and hooks of a photon end with it; so do its modules."""
    with Host(tmp_path / "host") as host:
        host.write("pack/__init__.py", "from .work import Busy\n")
        host.write(
            "pack/work.py",
            """
            import asyncio
            import subprocess
            import threading

            from luminal import IPhoton, hookimpl


            class Busy(IPhoton):
                async def start(self):
                    self.over = threading.Event()
                    self.thread = threading.Thread(target=self.over.wait)
                    self.thread.start()
                    self.task = asyncio.create_task(asyncio.sleep(3600))
                    self.child = subprocess.Popen(["sleep", "3600"])

                async def finalize(self):
                    self.over.set()
                    self.thread.join()
                    self.task.cancel()
                    self.child.kill()
                    self.child.wait()
            """,
        )
        host.watch()
        host.edit("pack/work.py", lambda text: text + "CHANGED = True\n")
        host.reloaded("Busy")
        host.assert_no_leaks()


def test_without_proc_psutil_finds_children_files_and_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows."""
    pytest.importorskip("psutil")
    monkeypatch.setattr("luminal.testing.leaks._PROC", str(tmp_path / "no proc"))
    file = tmp_path / "opened"
    with Host(tmp_path / "host") as host:
        host.run()
        with (
            a_child(host),
            file.open("w"),
            socket.create_server(("127.0.0.1", 0)) as server,
        ):
            with pytest.raises(AssertionError) as caught:
                host.assert_no_leaks(deadline=0.05)
            assert "sleep 60" in str(caught.value)
            assert str(file) in str(caught.value)
            assert str(server.getsockname()[1]) in str(caught.value)
        host.assert_no_leaks()


def test_without_proc_and_psutil_a_warning_says_what_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luminal.testing.leaks._PROC", str(tmp_path / "no proc"))
    monkeypatch.setitem(sys.modules, "psutil", None)
    with Host(tmp_path / "host") as host:
        with pytest.warns(LuminalWarning, match="pip install psutil"):
            host.run()
        with pytest.warns(LuminalWarning):
            host.assert_no_leaks()
