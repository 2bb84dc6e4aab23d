"""How a host begins, pauses and ends a watch, and what it knows when a call returns."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

import luminal
from luminal.errors import (
    DirectoryNotFoundError,
    PhotonStateError,
    ThreadManagerAlreadyRunningError,
)
from luminal.model import EventKind
from luminal.reload.watching import Timing, _watcher
from tests.reload.conftest import PATIENT, Specs, text
from tests.waiting import DEADLINE, async_wait_until, brief, tasks_left, wait_until

SLOW = "async def start(self): await asyncio.sleep(0.05)"


@pytest.fixture
def gate(monkeypatch):
    """What the code of a photon reaches: two events."""
    made = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())
    monkeypatch.setitem(sys.modules, "luminal_test_gate", made)
    return made


HELD = "def start(self): gate.begun.set(); assert gate.go_on.wait(60)"
GATE = "import luminal_test_gate as gate"


def watch_loop(host):
    return host._directory_watch._watcher._loop


async def has_seen_changes(host, *paths):
    """Wait until the watch, which pauses, has noted what was done to files."""
    wanted = set(map(str, paths))
    await async_wait_until(lambda: wanted <= set(watch_loop(host).tracker.settle.paths))


# The call returns when all is done.


async def test_on_return_what_is_there_runs_or_was_rejected(make_host, photons):
    for name in "ab":
        photons.write(f"{name}.py", text(name, 1, body=SLOW))
    photons.write("broken.py", "def")
    photons.write("failing.py", text("failing", 1, body="def start(self): 1 / 0"))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        assert sorted(host.answers()) == [("a", 1), ("b", 1)]
        assert len(host.happened(EventKind.STARTED)) == 2
        assert host.happened(EventKind.REJECTED, "broken")
        assert host.happened(EventKind.FAILED, "failing")


async def test_on_return_what_was_edited_since_it_was_loaded_is_live(
    make_host, photons
):
    async with make_host() as host:
        await host.run(photons.write("a.py", text("a", 1)))
        photons.write("a.py", text("a", 2))
        await host.watch_photons(photons.path)
        assert host.answers() == [("a", 2)]


def test_the_blocking_loader_returns_when_all_runs(photons):
    photons.write("a.py", text("a", 1, body=SLOW))
    with luminal.blocking.Loader(hookspecs=[Specs], deadlines=PATIENT) as loader:
        loader.watch_photons(photons.path)
        assert loader.hook.who() == [("a", 1)]
        loader.pause_watching()
        loader.resume_watching()
        photons.write("a.py", text("a", 2))
        wait_until(lambda: loader.hook.who() == [("a", 2)])


async def test_an_empty_directory(make_host, photons):
    photons.path.mkdir(exist_ok=True)
    async with make_host() as host:
        await host.watch_photons(photons.path)
        photons.write("a.py", text("a", 1))
        await host.until(lambda: host.answers() == [("a", 1)])


@pytest.mark.parametrize("body", ["async def start(self):", "def __init__(self):"])
async def test_a_photon_that_asks_for_a_watch_does_not_wait_for_itself(
    make_host, photons, tmp_path, monkeypatch, body
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.py").write_text(text("b", 1))
    host = make_host()

    async def ask():
        await host.watch_photons(other)

    def ask_from_thread():
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask())
        loop.close()

    made = SimpleNamespace(ask=ask, ask_from_thread=ask_from_thread)
    monkeypatch.setitem(sys.modules, "luminal_test_gate", made)
    is_async = body.startswith("async")
    call = "await gate.ask()" if is_async else "gate.ask_from_thread()"
    path = photons.write("a.py", text("a", 1, GATE, f"{body} {call}"))
    async with host:
        await host.run(path)
        await host.until(lambda: sorted(host.answers()) == [("a", 1), ("b", 1)])


async def test_a_call_that_is_cancelled_leaves_the_watch(make_host, photons, gate):
    photons.write("a.py", text("a", 1, GATE, HELD))
    async with make_host() as host:
        call = asyncio.create_task(host.watch_photons(photons.path))
        await asyncio.to_thread(gate.begun.wait, DEADLINE)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.go_on.set()
        await host.until(lambda: host.answers() == [("a", 1)])
        with pytest.raises(ThreadManagerAlreadyRunningError):
            await host.watch_photons(photons.path)
        await host.stop_watching_photons()
        assert host.photons == {}


# Several directories.


async def test_several_directories_are_one_watch(make_host, photons, tmp_path, caplog):
    """Photons need those of the other one; saves in both are one batch."""
    caplog.set_level(logging.INFO, "luminal.watch")
    other = tmp_path / "other"
    other.mkdir()
    needs = "photon_requires = ['b']"
    photons.write("a.py", text("a", 1, body=needs))
    (other / "b.py").write_text(text("b", 1))
    (other / "deep").mkdir()
    (other / "deep" / "c.py").write_text(text("c", 1))
    async with make_host() as host:
        await host.watch_photons(photons.path, str(other))
        assert sorted(host.answers()) == [("a", 1), ("b", 1)]
        assert not host.happened(EventKind.REJECTED)
        await host.pause_watching()
        a = photons.write("a.py", text("a", 2, body=needs))
        (other / "b.py").write_text(text("b", 2))
        (other / "d.py").write_text(text("d", 1))
        await has_seen_changes(host, a, other / "b.py", other / "d.py")
        await host.resume_watching()
        await host.until(
            lambda: sorted(host.answers()) == [("a", 2), ("b", 2), ("d", 1)]
        )
        (other / "d.py").unlink()
        await host.until(lambda: sorted(host.answers()) == [("a", 2), ("b", 2)])
        named = [record.getMessage() for record in caplog.records]
        assert any(line.startswith("other/d.py: 'd' started") for line in named)
        other.rename(tmp_path / "away")
        await host.until(lambda: host.photons["b"].problem)
        assert host.photons["a"].problem is None
        await host.stop_watching_photons()
        assert host.photons == {}


async def test_below_directories_photons_are_loaded_when_asked_for(make_host, photons):
    photons.write("a.py", text("a", 1))
    photons.write("deep/deeper/b.py", text("b", 1))
    async with make_host() as host:
        await host.watch_photons(photons.path, recursive=True)
        assert sorted(host.answers()) == [("a", 1), ("b", 1)]
        photons.write("deep/deeper/b.py", text("b", 2))
        await host.until(lambda: sorted(host.answers()) == [("a", 1), ("b", 2)])


async def test_one_directory_by_two_paths_is_watched_once(make_host, photons, tmp_path):
    photons.write("a.py", text("a", 1))
    link = tmp_path / "link"
    link.symlink_to(photons.path)
    async with make_host() as host:
        await host.watch_photons(photons.path, link, f"{photons.path}/.")
        assert host.answers() == [("a", 1)]
        assert not host.happened(EventKind.REJECTED)
        photons.write("a.py", text("a", 2))
        await host.until(lambda: host.answers() == [("a", 2)])
        await host.until(lambda: host.happened(EventKind.SWAPPED))
        await host.stop_watching_photons()
        assert len(host.happened(EventKind.SWAPPED)) == 1


@pytest.mark.parametrize("wrong", [(), (3,), (b"photons",), ("photons", None)])
async def test_what_is_no_path_is_a_type_error(make_host, photons, wrong):
    async with make_host() as host:
        with pytest.raises(TypeError):
            await host.watch_photons(*wrong)


async def test_one_directory_of_several_that_is_missing(make_host, photons):
    """Nothing is watched then, and a later call is not in the way of it."""
    photons.write("a.py", text("a", 1))
    async with make_host() as host:
        with pytest.raises(DirectoryNotFoundError, match="missing"):
            await host.watch_photons(photons.path, photons.path / "missing")
        assert host.photons == {}
        await asyncio.sleep(0.01)
        assert not tasks_left()
        await host.watch_photons(photons.path)
        assert host.answers() == [("a", 1)]


# Pause and resume.


async def test_a_pause_collects_changes_for_one_batch(make_host, photons):
    for name in "abg":
        photons.write(f"{name}.py", text(name, 1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.pause_watching()
        await host.pause_watching()  # twice is once
        paths = [photons.path / f"{name}.py" for name in "abgn"]
        for number in (2, 3):
            photons.write("a.py", text("a", number))
        photons.write("b.py", text("b", 2))
        photons.write("n.py", text("n", 1))
        (photons.path / "g.py").unlink()
        await has_seen_changes(host, *paths)
        assert sorted(host.answers()) == [("a", 1), ("b", 1), ("g", 1)]
        assert not host.happened(EventKind.SWAPPED)
        await host.resume_watching()
        await host.until(
            lambda: sorted(host.answers()) == [("a", 3), ("b", 2), ("n", 1)]
        )
        await host.until(lambda: len(host.happened(EventKind.SWAPPED)) == 2)
        photons.write("a.py", text("a", 4))
        await host.until(lambda: ("a", 4) in host.answers())


async def test_a_pause_waits_for_the_change_under_way(make_host, photons, gate):
    photons.write("a.py", text("a", 1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        photons.write("a.py", text("a", 2, GATE, HELD))
        await asyncio.to_thread(gate.begun.wait, DEADLINE)
        pause = asyncio.create_task(host.pause_watching())
        await asyncio.wait({pause}, timeout=0.05)
        assert not pause.done()
        gate.go_on.set()
        await pause
        assert host.answers() == [("a", 2)]


async def test_a_pause_that_is_cancelled_is_none(make_host, photons, gate):
    photons.write("a.py", text("a", 1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        photons.write("a.py", text("a", 2, GATE, HELD))
        await asyncio.to_thread(gate.begun.wait, DEADLINE)
        pause = asyncio.create_task(host.pause_watching())
        await asyncio.sleep(0)
        pause.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pause
        gate.go_on.set()
        photons.write("a.py", text("a", 3))
        await host.until(lambda: host.answers() == [("a", 3)])


async def test_a_photon_cannot_pause_the_change_that_it_is_part_of(
    make_host, photons, monkeypatch
):
    host, raised = make_host(), []

    async def pause():
        try:
            await host.pause_watching()
        except PhotonStateError as error:
            raised.append(error)

    monkeypatch.setitem(sys.modules, "luminal_test_gate", SimpleNamespace(pause=pause))
    body = "async def start(self): await gate.pause()"
    photons.write("a.py", text("a", 1, GATE, body))
    async with host:
        await host.watch_photons(photons.path)
        assert len(raised) == 1
        photons.write("a.py", text("a", 2))
        await host.until(lambda: host.answers() == [("a", 2)])


async def test_a_watch_that_pauses_can_be_ended_and_begun_again(make_host, photons):
    photons.write("a.py", text("a", 1))
    async with make_host() as host:
        await host.pause_watching()  # nothing is watched
        await host.resume_watching()
        await host.watch_photons(photons.path)
        await host.resume_watching()
        await host.pause_watching()
        await host.stop_watching_photons()
        assert host.photons == {}
        await host.watch_photons(photons.path)
        photons.write("a.py", text("a", 2))
        await host.until(lambda: host.answers() == [("a", 2)])


async def test_a_pause_keeps_what_is_deleted_at_once(make_host, photons):
    """A check of files that is due later waits as well."""
    async with make_host() as host:
        photons.path.mkdir(exist_ok=True)
        await host.watch_photons(photons.path)
        path = photons.write("a.py", text("a", 1))
        await host.until(lambda: host.answers() == [("a", 1)])
        await host.pause_watching()
        path.unlink()
        await has_seen_changes(host, path)
        await asyncio.sleep(brief(0.3))  # that check is due after 0.25 s
        assert host.answers() == [("a", 1)]
        await host.resume_watching()
        await host.until(lambda: not host.photons)


# Polling.


@pytest.fixture
def quick(monkeypatch):
    """Looks at files that a test can wait for."""
    monkeypatch.setattr(_watcher, "Timing", lambda: Timing(scan=3600, poll=0.05))


POLLS = "polling was asked for"


@pytest.mark.parametrize(
    ("polling", "variable", "polls"),
    [
        (True, None, True),
        (True, "0", True),
        (None, "1", True),
        (None, "TRUE", True),
        (None, "", False),
        (None, "off", False),
        (None, None, False),
        (False, "1", False),
    ],
)
async def test_polling_is_asked_for(
    make_host, photons, quick, monkeypatch, caplog, polling, variable, polls
):
    monkeypatch.delenv("LUMINAL_POLLING", raising=False)
    if variable is not None:
        monkeypatch.setenv("LUMINAL_POLLING", variable)
    photons.write("a.py", text("a", 1))
    async with make_host() as host:
        await host.watch_photons(photons.path, polling=polling)
        photons.write("a.py", text("a", 2))
        await host.until(lambda: host.answers() == [("a", 2)])
        assert (POLLS in caplog.text) is polls


async def test_a_variable_that_makes_no_sense_is_named(make_host, photons, monkeypatch):
    monkeypatch.setenv("LUMINAL_POLLING", "perhaps")
    photons.path.mkdir(exist_ok=True)
    async with make_host() as host:
        with pytest.raises(ValueError, match=r"LUMINAL_POLLING.*perhaps"):
            await host.watch_photons(photons.path)
        await host.watch_photons(photons.path, polling=False)


# Processes that are forked.

FORK = """
import asyncio, logging, os, sys, time, warnings
import luminal
from tests.reload.conftest import PATIENT, Specs
from tests.reload.test_directory_front import text
from tests.waiting import wait_until

warnings.filterwarnings("ignore", "This process", DeprecationWarning)
logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.WARNING)
file = ROOT + "/a.py"

def write(number):
    with open(file, "w") as stream:
        stream.write(text("a", number))

def end(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""

FORKED_BLOCKING = """
loader = luminal.blocking.Loader(hookspecs=[Specs], deadlines=PATIENT)
write(1)
loader.watch_photons(ROOT)
write(2)
wait_until(lambda: loader.hook.who() == [("a", 2)])
loader.pause_watching()
child = os.fork()
if not child:
    write(3)
    loader.resume_watching()
    assert loader.hook.who() == [("a", 3)]
    write(4)
    wait_until(lambda: loader.hook.who() == [("a", 4)])
    loader.close()
    assert not loader.photons
    sys.stdout.flush()
    os._exit(7)
end(child)
loader.resume_watching()
wait_until(lambda: loader.hook.who() == [("a", 4)])
write(5)
wait_until(lambda: loader.hook.who() == [("a", 5)])
loader.close()
"""

FORKED_ASYNCIO = """
loader = luminal.Loader(hookspecs=[Specs], deadlines=PATIENT)

async def parent():
    write(1)
    await loader.watch_photons(ROOT)

async def child():
    write(3)
    await loader.resume_watching()
    assert loader.hook.who() == [("a", 3)]
    write(4)
    await asyncio.to_thread(wait_until, lambda: loader.hook.who() == [("a", 4)])
    await loader.close()

asyncio.run(parent())
write(2)
wait_until(lambda: loader.hook.who() == [("a", 2)])
asyncio.run(loader.pause_watching())
pid = os.fork()
if not pid:
    asyncio.run(child())
    sys.stdout.flush()
    os._exit(7)
end(pid)
asyncio.run(loader.resume_watching())
wait_until(lambda: loader.hook.who() == [("a", 4)])
asyncio.run(loader.close())
"""

FORKED_AND_LEFT = """
loader = luminal.blocking.Loader(hookspecs=[Specs], deadlines=PATIENT)
write(1)
loader.watch_photons(ROOT)
loader.pause_watching()
loader.resume_watching()
child = os.fork()
if not child:
    write(2)
    loader.pause_watching()
    try:
        loader.watch_photons(ROOT)
    except luminal.errors.ThreadManagerAlreadyRunningError as error:
        assert "resume_watching" in error.hint
    loader.stop_watching_photons()
    assert not loader.photons
    loader.watch_photons(ROOT)
    assert loader.hook.who() == [("a", 2)]
    loader.close()
    sys.stdout.flush()
    os._exit(7)
end(child)
wait_until(lambda: loader.hook.who() == [("a", 2)])
loader.close()
"""

FORKED_WHILE_BUSY = """
import threading
loader = luminal.blocking.Loader(hookspecs=[Specs], deadlines=PATIENT)
write(1)
loader.watch_photons(ROOT)
begun, go_on = threading.Event(), threading.Event()
luminal.begun, luminal.go_on = begun, go_on
with open(file, "w") as stream:
    body = "def start(self): luminal.begun.set(); luminal.go_on.wait(60)"
    stream.write(text("a", 2, "import luminal", body))
begun.wait(60)
child = os.fork()
if not child:
    try:
        loader.resume_watching()
    except luminal.errors.PhotonStateError as error:
        assert "forked" in error.why
        assert loader.hook.who() == [("a", 1)]
        sys.stdout.flush()
        os._exit(7)
    os._exit(8)
end(child)
go_on.set()
wait_until(lambda: loader.hook.who() == [("a", 2)])
loader.close()
"""


@pytest.mark.fault(45)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize(
    "program",
    [FORKED_BLOCKING, FORKED_ASYNCIO, FORKED_AND_LEFT, FORKED_WHILE_BUSY],
    ids=["blocking", "asyncio", "left", "busy"],
)
def test_a_forked_process_says_that_it_does_not_watch(photons, program):
    """It does when it resumes the watch; that of the parent goes on."""
    photons.path.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", f"ROOT = {str(photons.path)!r}\n{FORK}{program}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert (done.stderr, done.returncode) == ("", 0)
    (said,) = done.stdout.splitlines()
    assert "was forked" in said
    assert repr(str(photons.path)) in said
    assert "resume_watching()" in said
