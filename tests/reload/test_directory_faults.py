"""What goes wrong around a watched directory, as the host sees it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import attrs
import inotify_simple
import pytest

from luminal.model import Deadlines, EventKind, State
from luminal.reload.watching import Timing, _watcher
from tests.conftest import Photons
from tests.reload.conftest import PATIENT
from tests.waiting import DEADLINE

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own")

PHOTON = """
from luminal import IPhoton, hookimpl
{head}

class Photon(IPhoton):
    photon_name = {name!r}
    {body}

    @hookimpl
    def who(self):
        return ({name!r}, {number})
"""


def text(name, number, head="", body=""):
    return PHOTON.format(name=name, number=number, head=head, body=body)


def answers(host):
    return sorted(host.hook.who())


async def shows(host, *expected):
    """Wait until the hook answers *expected*."""
    try:
        await host.until(lambda: answers(host) == list(expected))
    except AssertionError as error:
        raise AssertionError(f"{answers(host)} is not {expected}") from error


@contextlib.asynccontextmanager
async def watching(host, path, *expected):
    async with host:
        await host.watch_photons(path)
        await shows(host, *expected)
        yield host


@pytest.fixture
def quick(monkeypatch):
    """Looks at files that a test can wait for."""
    monkeypatch.setattr(_watcher, "Timing", lambda: Timing(scan=0.05, poll=0.05))


# Watching that has become worse than it was.


def queued_events():
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@LINUX
@pytest.mark.fault(30)
async def test_an_overflow_of_the_kernels_queue_is_repaired(
    make_host, photons, monkeypatch, caplog
):
    """More events than it holds, while a photon starts: edits serve all the same."""
    gate = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())
    monkeypatch.setitem(sys.modules, "luminal_test_gate", gate)
    queue_size = queued_events()
    slow = "def start(self): gate.begun.set(); assert gate.go_on.wait(60)"
    photons.write("a.py", text("a", 1))
    photons.write("b.py", text("b", 1))
    host = make_host(deadlines=Deadlines())
    async with watching(host, photons.path, ("a", 1), ("b", 1)):
        photons.write("b.py", text("b", 2, "import luminal_test_gate as gate", slow))
        await asyncio.to_thread(gate.begun.wait, DEADLINE)
        # Two files in turn, so that the kernel cannot merge equal neighbours.
        names = [photons.path / name for name in ("one", "two")]
        one, two = (os.open(name, os.O_CREAT | os.O_WRONLY) for name in names)
        for _ in range(queue_size // 2 + 100):
            os.write(one, b"x")
            os.write(two, b"x")
        os.close(one)
        os.close(two)
        photons.write("a.py", text("a", 2))
        photons.write("c.py", text("c", 1))
        gate.go_on.set()
        await shows(host, ("a", 2), ("b", 2), ("c", 1))
        assert "looked at every file" in caplog.text


@LINUX
@pytest.mark.fault(30)
async def test_without_watches_left_edits_serve_and_the_log_says_so_once(
    make_host, photons, quick, monkeypatch, caplog
):
    def refuse(self, path, mask):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", refuse)
    photons.write("a.py", text("a", 1))
    async with watching(make_host(), photons.path, ("a", 1)) as host:
        for number in (2, 3):
            photons.write("a.py", text("a", number))
            await shows(host, ("a", number))
    assert caplog.text.count("limit of watches") == 1


@LINUX
@pytest.mark.fault(30)
async def test_a_file_system_without_events_is_looked_at(
    make_host, photons, quick, monkeypatch, caplog
):
    """Stores through a memory map send none: inotify(7)."""
    monkeypatch.setattr(_watcher, "silent_file_system", lambda directory: "nfs4")
    path = photons.write("a.py", text("a", 1))
    async with watching(make_host(), photons.path, ("a", 1)) as host:
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        at = memory.find(b"1)")
        for number in (2, 3):
            memory[at : at + 1] = str(number).encode()
            memory.flush()
            await shows(host, ("a", number))
        memory.close()
    assert caplog.text.count("nfs4") == 1


# A directory out of reach.


def problem(host, name="a"):
    return host.photons[name].problem


@pytest.mark.fault(31)
@pytest.mark.parametrize("way", ["moved", "removed", "above"])
async def test_a_directory_that_goes_leaves_its_photons_and_their_state_says_so(
    make_host, photons, quick, way
):
    """Until it is back, when its edits count again and nothing is wrong any more."""
    root = photons.path / "deep" / "down"
    root.mkdir(parents=True)
    away = photons.path / "away"
    (root / "a.py").write_text(text("a", 1))

    def leave():
        shutil.copytree(root, away)
        if way == "moved":
            root.rename(photons.path / "elsewhere")
        else:
            shutil.rmtree(root if way == "removed" else root.parent)

    async with watching(make_host(), root, ("a", 1)) as host:
        instance = host.photons["a"].instance
        leave()
        await host.until(lambda: problem(host))
        assert "is gone" in problem(host).why
        (told,) = host.happened(EventKind.ORPHANED)
        assert (told.photon, told.problem.phase) == ("a", "watch")
        assert host.photons["a"].instance is instance
        assert host.photons["a"].state is State.RUNNING
        assert answers(host) == [("a", 1)]
        await asyncio.sleep(0.2)  # deletions count by then; nothing is to come of them
        root.parent.mkdir(exist_ok=True)
        away.rename(root)
        await host.until(lambda: problem(host) is None)
        assert host.photons["a"].instance is instance
        (root / "a.py").write_text(text("a", 2))
        await shows(host, ("a", 2))
        assert not host.happened(EventKind.UNLOADED)
        assert not host.happened(EventKind.REJECTED)


@pytest.mark.fault(31)
async def test_a_directory_that_cannot_be_read_leaves_its_photons(
    make_host, photons, quick, monkeypatch
):
    photons.write("p/__init__.py", text("p", 1))
    photons.write("a.py", text("a", 1))
    package, real, is_broken = str(photons.path / "p"), os.scandir, threading.Event()

    def scandir(path):
        if is_broken.is_set() and str(path) == package:
            raise PermissionError(errno.EACCES, "permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    async with watching(make_host(), photons.path, ("a", 1), ("p", 1)) as host:
        is_broken.set()
        await host.until(lambda: problem(host, "p"))
        assert "cannot be read" in problem(host, "p").why
        assert problem(host) is None
        assert answers(host) == [("a", 1), ("p", 1)]
        is_broken.clear()
        await host.until(lambda: problem(host, "p") is None)
        photons.write("p/__init__.py", text("p", 2))
        await shows(host, ("a", 1), ("p", 2))


CLOSING = """
import asyncio, functools, json, logging, os, pathlib, sys
from luminal import Loader, hookspec
from luminal.model import EventKind
from luminal.reload.watching import Timing, _watcher

# No scan of every file helps: only events, or looks at what cannot be read.
_watcher.Timing = functools.partial(Timing, scan=3600, poll=3600)

class Specs:
    @hookspec
    def who(self): ...

root, text, mode = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
closed = root / "p"

def write(path, name, number):
    text_of = text.replace("NUMBER", str(number)).replace("'a'", repr(name))
    path.write_text(text_of)

async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)

async def main():
    said, kinds = [], []
    log = logging.Handler()
    log.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("luminal.watch").addHandler(log)
    async with Loader() as loader:
        loader.plugins.add_hookspecs(Specs)
        loader.events.subscribe(lambda event: kinds.append(event.kind))
        await loader.watch_photons(root)
        await until(lambda: len(loader.hook.who()) == 2)
        closed.chmod(mode)
        await until(lambda: loader.photons["p"].problem)
        write(root / "b.py", "b", 1)
        await until(lambda: len(loader.hook.who()) == 3)
        (root / "b.py").unlink()
        await until(lambda: len(loader.hook.who()) == 2)
        write(root / "a.py", "a", 2)
        await until(lambda: ["a", 2] in list(map(list, loader.hook.who())))
        during = sorted(loader.hook.who())
        closed.chmod(0o755)
        await until(lambda: loader.photons["p"].problem is None)
        write(closed / "__init__.py", "p", 2)
        await until(lambda: ["p", 2] in list(map(list, loader.hook.who())))
        unloaded = kinds.count(EventKind.UNLOADED)
    told = sum("cannot be read" in line for line in said)
    print(json.dumps([during, unloaded, told]))

# Import what nobody may read.
from luminal.reload import DirectoryWatch, Reloader
_watcher.new_source().close()
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


@pytest.fixture
def open_photons():
    """A directory for photons that other users can reach.

    A test run that begins meanwhile closes the temporary directory of all runs.
    """
    with tempfile.TemporaryDirectory(prefix="photons_") as folder:
        os.chmod(folder, 0o755)
        yield Photons(Path(folder) / "photons")


def run_as_nobody(program, photons, *arguments):
    """Run a program that gives up root's rights; return what it prints as JSON."""
    if os.geteuid() == 0:
        for path in (photons.path, *photons.path.rglob("*")):
            os.chown(path, 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, (photons.path, *arguments))],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs users")
@pytest.mark.fault(31)
@pytest.mark.parametrize("mode", [0, 0o444, 0o311])
def test_a_closed_directory_beside_other_changes_unloads_nothing(open_photons, mode):
    """Its photons stay while others come, go and change; it is said once."""
    photons = open_photons
    photons.write("p/__init__.py", text("p", 1))
    photons.write("a.py", text("a", 1))
    during, unloaded, told = run_as_nobody(CLOSING, photons, text("a", "NUMBER"), mode)
    assert during == [["a", 2], ["p", 1]]
    assert (unloaded, told) == (1, 1)  # only b, which was deleted


OPENING = """
import asyncio, functools, json, logging, os, pathlib, sys
from luminal import Loader, hookspec
from luminal.reload.watching import Timing, _watcher

kind, by = sys.argv[3:]
far = {"scan": 3600, "poll": 3600}
_watcher.Timing = functools.partial(
    Timing, **far, **({"unreachable": 3600} if by == "events" else {})
)

class Specs:
    @hookspec
    def who(self): ...

root, text = pathlib.Path(sys.argv[1]), sys.argv[2]
closed = {
    "file": root / "late.py", "folder": root / "p",
    "root": root, "link": root.parent / "target",
}[kind]

async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)

async def main():
    said = []
    log = logging.Handler()
    log.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("luminal.watch").addHandler(log)
    closed.chmod(0)
    async with Loader() as loader:
        loader.plugins.add_hookspecs(Specs)
        await loader.watch_photons(root)
        await until(lambda: said and (kind == "root" or loader.photons))
        before = list(loader.photons)
        closed.chmod(0o755)
        await until(lambda: loader.photons.keys() >= set(text.split()))
        await until(lambda: len(loader.hook.who()) == len(text.split()))
    print(json.dumps(before))

# Import what nobody may read.
from luminal.reload import DirectoryWatch, Reloader
_watcher.new_source().close()
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs users")
@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("folder", "looks"),
        pytest.param("folder", "events", marks=LINUX),
        ("root", "looks"),
        ("link", "looks"),
        pytest.param("file", "events", marks=LINUX),
    ],
)
def test_what_was_closed_from_the_beginning_is_loaded_when_it_is_open(
    open_photons, kind, by
):
    photons = open_photons
    photons.write("a.py", text("a", 1))
    names = ["a"]
    if kind == "folder":
        photons.write("p/__init__.py", text("p", 1))
        names.append("p")
    elif kind == "file":
        photons.write("late.py", text("late", 1))
        names.append("late")
    elif kind == "link":
        target = photons.path.parent / "target"
        target.mkdir()
        (target / "q").mkdir()
        (target / "q" / "__init__.py").write_text(text("q", 1))
        if os.geteuid() == 0:
            for path in (target, *target.rglob("*")):
                os.chown(path, 65534, 65534)
        (photons.path / "q").symlink_to(target / "q")
        names.append("q")
    before = run_as_nobody(OPENING, photons, " ".join(names), kind, by)
    assert before == ([] if kind == "root" else ["a"])


UNMOUNTING = """
import asyncio, json, pathlib, subprocess, sys
from luminal import Loader, hookspec

class Specs:
    @hookspec
    def who(self): ...

root, text = pathlib.Path(sys.argv[1]), sys.argv[2]
mount = ["mount", "-t", "tmpfs", "photons", str(root)]
seen = []

async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)

async def main():
    subprocess.run(mount, check=True)
    (root / "a.py").write_text(text.replace("NUMBER", "1"))
    async with Loader() as loader:
        loader.plugins.add_hookspecs(Specs)
        await loader.watch_photons(root)
        await until(loader.hook.who)
        instance = loader.photons["a"].instance
        subprocess.run(["umount", "-l", str(root)], check=True)
        await until(lambda: loader.photons["a"].problem)
        seen.append([loader.hook.who(), loader.photons["a"].problem.what])
        subprocess.run(mount, check=True)
        (root / "a.py").write_text(text.replace("NUMBER", "1"))
        (root / "b.py").write_text(text.replace("NUMBER", "1").replace("'a'", "'b'"))
        await until(lambda: loader.photons["a"].problem is None)
        await until(lambda: len(loader.hook.who()) == 2)
        seen.append(loader.photons["a"].instance is instance)
        (root / "a.py").write_text(text.replace("NUMBER", "2"))
        await until(lambda: ["a", 2] in list(map(list, loader.hook.who())))
        (root / "a.py").unlink()
        await until(lambda: len(loader.hook.who()) == 1)
    print(json.dumps(seen))

asyncio.run(main())
"""


@LINUX
@pytest.mark.slow
@pytest.mark.fault(31)
def test_a_directory_that_is_unmounted_leaves_its_photons(photons):
    """What it was mounted on is an empty directory, which deletes nothing."""
    program = [sys.executable, "-c", UNMOUNTING, photons.path, text("a", "NUMBER")]
    done = subprocess.run(
        ["unshare", "-Urm", *map(str, program)],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if not done.stdout and "Traceback" not in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    orphaned, is_same = json.loads(done.stdout)
    assert orphaned == [[["a", 1]], "keeps running without its files"]
    assert is_same


@pytest.mark.fault(31)
async def test_a_deletion_waits_for_calls_under_way(make_host, photons):
    """The photon of a deleted file is finalized when its last call has returned."""
    body = """
    is_open = True

    async def finalize(self):
        self.is_open = False

    @hookimpl
    def visit(self, go):
        go()
        return self.is_open
"""
    photons.write("a.py", text("a", 1, body=body))
    begun, go_on = threading.Event(), threading.Event()

    def go():
        begun.set()
        assert go_on.wait(DEADLINE)

    async with watching(make_host(), photons.path, ("a", 1)) as host:
        call = asyncio.create_task(asyncio.to_thread(host.hook.visit, go=go))
        assert await asyncio.to_thread(begun.wait, DEADLINE)
        (photons.path / "a.py").unlink()
        await shows(host)  # it gets no further calls
        assert not host.happened(EventKind.UNLOADED)
        go_on.set()
        assert await call == [True]
        await host.until(lambda: host.happened(EventKind.UNLOADED, "a"))


# Links.


def lead(link, target):
    """Let *link* lead to *target*, in one step, as deployment tools do."""
    fresh = link.with_name(link.name + ".new")
    fresh.symlink_to(target)
    os.replace(fresh, link)


@pytest.mark.fault(28)
async def test_a_deployment_is_one_swap(make_host, photons):
    """``current`` leads to the next release: all of it, together, and back."""
    for number in (1, 2):
        release = f"releases/{number}/photons"
        photons.write(f"{release}/shared.py", f"VALUE = {number}\n")
        for name in "ab":
            head = "from .shared import VALUE"
            photons.write(f"{release}/{name}.py", text(name, "VALUE", head))
    photons.write("releases/2/photons/c.py", text("c", 2))
    current = photons.path / "current"
    current.symlink_to("releases/1")
    root = current / "photons"
    async with watching(make_host(), root, ("a", 1), ("b", 1)) as host:
        torn, is_over = [], threading.Event()

        def look():
            while not is_over.is_set():
                numbers = {number for name, number in host.hook.who() if name != "c"}
                if len(numbers) != 1:
                    torn.append(numbers)
                time.sleep(0.001)

        looking = threading.Thread(target=look)
        looking.start()
        lead(current, "releases/2")
        await shows(host, ("a", 2), ("b", 2), ("c", 2))
        lead(current, "releases/1")
        await shows(host, ("a", 1), ("b", 1))
        is_over.set()
        await asyncio.to_thread(looking.join)
        assert not torn
        assert len(host.happened(EventKind.SWAPPED)) == 4
        assert not host.happened(EventKind.REJECTED)
        (root / "a.py").write_text(text("a", 3))
        await shows(host, ("a", 3), ("b", 1))


@pytest.mark.fault(28)
async def test_a_config_map_is_one_swap(make_host, photons):
    """Kubernetes: files are links through ``..data``, which is replaced."""

    def write(number):
        photons.write(f"..{number}/shared.py", f"VALUE = {number}\n")
        for name in "ab":
            head = "from .shared import VALUE"
            photons.write(f"..{number}/{name}.py", text(name, "VALUE", head))

    write(1)
    (photons.path / "..data").symlink_to("..1")
    for name in ("a.py", "b.py", "shared.py"):
        (photons.path / name).symlink_to(f"..data/{name}")
    async with watching(make_host(), photons.path, ("a", 1), ("b", 1)) as host:
        for number in (2, 3):
            write(number)
            lead(photons.path / "..data", f"..{number}")
            shutil.rmtree(photons.path / f"..{number - 1}")
            await shows(host, ("a", number), ("b", number))
        assert len(host.happened(EventKind.SWAPPED)) == 4
        assert not host.happened(EventKind.REJECTED)


# Time and bytes.


@pytest.mark.fault(38)
async def test_a_clock_that_jumps_a_day_hurries_and_misses_nothing(
    make_host, photons, monkeypatch
):
    """Edits and their times, a slow start, and one that hangs, each with its limit."""
    real = time.time
    clock = SimpleNamespace(ahead=0)
    monkeypatch.setattr(time, "time", lambda: real() + clock.ahead)
    monkeypatch.setitem(sys.modules, "luminal_test_clock", clock)
    head = "import luminal_test_clock as clock, threading"
    slow = "def start(self): clock.ahead += {}; threading.Event().wait({})"
    file = photons.write("a.py", text("a", 0))
    limits = attrs.evolve(PATIENT, start=2)
    host = make_host(deadlines=limits)
    async with watching(host, photons.path, ("a", 0)):
        for number, jump in enumerate((86_400, -2 * 86_400, 86_400), start=1):
            body = slow.format(jump, 0.05)
            photons.write("a.py", text("a", number, head, body))
            os.utime(file, (real() + clock.ahead, real() + clock.ahead))
            await shows(host, ("a", number))
        assert not host.happened(EventKind.REJECTED)
        photons.write("a.py", text("a", 4, head, slow.format(86_400, 600)))
        await host.until(lambda: host.happened(EventKind.REJECTED))
        (refused,) = host.happened(EventKind.REJECTED)
        assert "timed out after 2 seconds" in str(refused)
        assert answers(host) == [("a", 3)]


@pytest.mark.fault(43)
async def test_a_file_that_changes_while_it_runs_is_what_was_hashed(
    make_host, photons, monkeypatch
):
    """A photon's import rewrites its own file: first the one serves, then the other."""
    import hashlib

    written = SimpleNamespace(path=photons.path / "a.py", text=text("a", 3))
    monkeypatch.setitem(sys.modules, "luminal_test_written", written)
    photons.write("a.py", text("a", 1))
    host = make_host()
    checksums = []

    def hear(event):
        if event.kind is EventKind.SWAPPED:
            checksums.append((event.generation, host.photons["a"].checksum))

    async with watching(host, photons.path, ("a", 1)):
        host.events.subscribe(hear)
        second = text(
            "a", 2, "import luminal_test_written as w; w.path.write_text(w.text)"
        )
        written.path.write_text(second)
        await shows(host, ("a", 3))
        digests = [
            hashlib.sha512(t.encode()).hexdigest() for t in (second, written.text)
        ]
        assert checksums == list(zip((2, 3), digests, strict=True))


async def test_a_file_that_does_not_return_with_its_directory_is_deleted(
    make_host, photons, quick
):
    """What is not back after a while was deleted; what is back stays."""
    root, away = photons.path / "photons", photons.path / "away"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.py").write_text(text(name, 1))
    async with watching(make_host(), root, ("a", 1), ("b", 1), ("c", 1)) as host:
        instance = host.photons["b"].instance
        root.rename(away)
        await host.until(lambda: problem(host, "c"))
        (away / "c.py").unlink()
        away.rename(root)
        await host.until(lambda: host.happened(EventKind.UNLOADED))
        await shows(host, ("a", 1), ("b", 1))
        assert host.photons["b"].instance is instance
        (told,) = host.happened(EventKind.UNLOADED)
        assert told.photon == "c"
        assert problem(host, "a") is problem(host, "b") is None


async def test_a_directory_without_photons_goes_and_only_the_log_says_so(
    make_host, photons, quick, caplog
):
    """Photons of other directories are not concerned."""
    caplog.set_level(logging.WARNING, "luminal.watch")
    root = photons.path / "empty"
    root.mkdir()
    mine = photons.write("mine.py", text("mine", 1))
    async with make_host() as host:
        await host.run(mine)
        await host.watch_photons(root)
        root.rmdir()
        await host.until(lambda: "is gone" in caplog.text)
        root.mkdir()
        await host.until(lambda: "is back" in caplog.text)
        assert problem(host, "mine") is None
        assert not host.happened(EventKind.ORPHANED)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs")
@pytest.mark.parametrize("what", ["a FIFO", "a character device"])
async def test_what_is_no_file_in_place_of_a_photons_file(make_host, photons, what):
    """It is not opened: the photon runs on, and is told of; a file mends it."""
    file = photons.path / "p.py"
    file.write_text(text("p", 1))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await shows(host, ("p", 1))
        spare = photons.path / "spare"
        if what == "a FIFO":
            os.mkfifo(spare)
        else:
            spare.symlink_to("/dev/zero")
        os.replace(spare, file)
        (event,) = await host.until(lambda: host.happened(EventKind.REJECTED))
        assert what in event.problem.why
        assert answers(host) == [("p", 1)]
        file.unlink()
        file.write_text(text("p", 2))
        await shows(host, ("p", 2))
