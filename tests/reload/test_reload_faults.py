"""Faults of files, of the cache and of photons' habits, met by a host that reloads."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from luminal import hookspec
from luminal.errors import LuminalError, PhotonDependencyError
from luminal.model import EventKind, State
from tests.waiting import DEADLINE

TEXT = """
from luminal import IPhoton, hookimpl
{head}

class Photon(IPhoton):
    photon_name = {name!r}

    @hookimpl
    def who(self):
        return ({name!r}, {number})
"""


def text(name, number, head=""):
    return TEXT.format(name=name, number=number, head=head)


# What stands in the file.


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path.name)


def huge(path):
    with path.open("wb") as file:
        file.truncate(5 * 1024**3)


def directory(path):
    path.mkdir()


@pytest.mark.fault(32)
@pytest.mark.parametrize("make", [fifo, device, loop, huge, directory])
async def test_a_photons_file_becomes_something_else(make_host, photons, make):
    """Refused with the reason, in bounded time; the old one serves, and comes back."""
    async with make_host() as host:
        path = photons.write("a.py", text("a", 1))
        (a,) = await host.run(path)
        path.unlink()
        make(path)
        with pytest.raises(LuminalError) as caught:
            await host.reload_photon(a)
        assert caught.value.photon == "a"
        assert caught.value.why or caught.value.what
        assert host.answers() == [("a", 1)]
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        photons.write("a.py", text("a", 2))
        await host.reload_photon(a)
        assert host.answers() == [("a", 2)]


@pytest.mark.fault(32)
async def test_a_watched_directory_full_of_oddities(make_host, photons):
    """They are passed over or named; what is a photon serves, and its edits do."""
    odd = photons.path
    for name, make in (("f", fifo), ("d", device), ("l", loop), ("h", huge)):
        make(odd / f"{name}.py")
    (odd / "up").symlink_to("..")
    (odd / "sub").mkdir()
    (odd / "sub" / "self").symlink_to(odd)
    (odd / "outside.py").symlink_to("/etc/hostname")
    photons.write("a.py", text("a", 1))
    async with make_host() as host:
        await host.watch_photons(odd)
        await host.until(lambda: host.answers() == [("a", 1)])
        photons.write("a.py", text("a", 2))
        await host.until(lambda: host.answers() == [("a", 2)])
        assert list(host.photons) == ["a"]


GOOD = {
    "a byte order mark": b"\xef\xbb\xbf" + text("a", "'\u00e9'").encode(),
    "a cookie": b"# coding: latin-1\n" + text("a", "'\u00e9'").encode("latin-1"),
    "mixed line ends": text("a", "'\u00e9'").replace("\n", "\r\n", 5).encode(),
}
BAD = {
    "no UTF-8": text("a", "'\u00e9'").encode("latin-1"),
    "a wrong cookie": b"# coding: no-such-thing\n" + text("a", 2).encode(),
    "a null byte": text("a", 2).encode() + b"\0",
}


@pytest.mark.fault(33)
@pytest.mark.parametrize("how", sorted(GOOD | BAD))
async def test_encodings_of_a_new_version(make_host, photons, how):
    """As PEP 263 says, also for what replaces a running photon."""
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text("a", 1)))
        photons.write("a.py", (GOOD | BAD)[how])
        if how in GOOD:
            await host.reload_photon(a)
            assert host.answers() == [("a", "\u00e9")]
        else:
            with pytest.raises(LuminalError) as caught:
                await host.reload_photon(a)
            assert caught.value.file == a.filepath
            assert host.answers() == [("a", 1)]


@pytest.mark.fault(34)
async def test_a_photon_that_takes_anothers_name_in_other_letters(make_host, photons):
    """Names that differ by case are one name, also when a photon is renamed."""
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text("a", 1)))
        await host.run(photons.write("b.py", text("b", 1)))
        photons.write("a.py", text("B", 2))
        with pytest.raises(LuminalError, match="is there already") as caught:
            await host.reload_photon(a)
        assert "b.py" in caught.value.why
        assert "a.py" in caught.value.file
        assert host.answers() == [("a", 1), ("b", 1)]


# What photons do.


class Asked:
    """A hook whose failures are contained, and one that passes them on."""

    @hookspec(isolate=True)
    def contained(self): ...

    @hookspec
    def passed_on(self): ...


HOOKS = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = {name!r}

    @hookimpl
    def contained(self):
        {contained}

    @hookimpl
    def passed_on(self):
        {contained}
"""


@pytest.mark.fault(22)
async def test_a_hook_that_raises_after_a_swap(make_host, photons):
    """Contained or passed on, as asked, with the photon and its generation; counted."""
    async with make_host() as host:
        host.plugins.add_hookspecs(Asked)

        def write(name, body):
            return photons.write(f"{name}.py", HOOKS.format(name=name, contained=body))

        await host.run(write("good", "return 'good'"))
        (bad,) = await host.run(write("bad", "return 'bad'"))
        write("bad", "raise LookupError('lost')")
        await host.reload_photon(bad)
        assert host.hook.contained() == ["good"]
        with pytest.raises(LookupError, match="lost") as caught:
            host.hook.passed_on()
        (note,) = caught.value.__notes__
        assert "photon 'bad' (generation 2) in hook 'passed_on'" in note
        assert "bad.py:" in note
        rows = {(r.photon, r.hook): r for r in host.plugins.statistics()}
        assert rows["bad", "contained"].errors == rows["bad", "passed_on"].errors == 1
        assert rows["good", "contained"].errors == 0


HABITS = """
import os, sys, signal, logging, warnings, builtins
sys.path.append("/nowhere/at/all")
os.environ["LUMINAL_TEST_FACET"] = "1"
sys.excepthook = lambda *_: None
builtins.luminal_test_name = 1
"""


@pytest.mark.fault(24)
@pytest.mark.parametrize("policy", ["restore", "refuse"])
async def test_habits_of_a_new_version(make_host, photons, policy):
    """Named; refused, or put back when the photon is unloaded, as the host asked."""
    path, hook = list(sys.path), sys.excepthook
    async with make_host(footprint=policy) as host:
        (a,) = await host.run(photons.write("a.py", text("a", 1)))
        photons.write("a.py", text("a", 2, HABITS))
        if policy == "refuse":
            with pytest.raises(LuminalError) as caught:
                await host.reload_photon(a)
            for facet in ("sys.path", "os.environ", "sys.excepthook", "builtins"):
                assert facet in caught.value.why
            assert host.answers() == [("a", 1)]
        else:
            await host.reload_photon(a)
            assert "/nowhere/at/all" in sys.path
            changed = {change.facet for change in a.interpreter_changes}
            assert {"sys.path", "os.environ", "sys.excepthook"} <= changed
            await host.unload_photon(a)
        assert (sys.path, sys.excepthook) == (path, hook)
        assert "LUMINAL_TEST_FACET" not in os.environ
        assert not hasattr(__builtins__, "luminal_test_name")


@pytest.mark.fault(23)
async def test_what_an_old_generation_has_left_is_ended(make_host, photons, tmp_path):
    """A thread, a child, a temporary file: each of the old one, none of the new."""
    body = """
        import subprocess, tempfile, threading, time
        from luminal import IPhoton

        class Photon(IPhoton):
            photon_name = "a"

            def start(self):
                self.thread = threading.Thread(target=self.work, name="worker {0}")
                self.thread.start()
                self.child = subprocess.Popen(["sleep", "1000"])

            def work(self):
                while True:
                    time.sleep(0.01)
        """
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", body.format(1)))
        old = a.instance
        photons.write("a.py", body.format(2))
        await host.reload_photon(a)
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        assert old.child.poll() is not None
        assert not old.thread.is_alive()
        assert a.instance.thread.is_alive()
        assert a.instance.child.poll() is None
        child = a.instance.child
    assert child.poll() is not None
    assert not [t for t in threading.enumerate() if t.name.startswith("worker")]


# The cache, and hosts that share it.

HOST = """
import asyncio, json, pathlib, sys
from luminal import Loader, discover, hookspec

class Specs:
    @hookspec
    def who(self): ...

root, mode = pathlib.Path(sys.argv[1]), sys.argv[2]

async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)

async def main():
    async with Loader() as loader:
        loader.plugins.add_hookspecs(Specs)
        await loader.load(discover(root, group=None))
        await loader.start()
        number = 1
        while mode == "endless":
            number += 1
            for file in root.glob("p*.py"):
                file.write_text(file.read_text() + f"# {number}\\n")
            await loader.reload_photons(list(loader.photons))
            discover(root, group=None, block=[str(number)])
            print(number, flush=True)
        if mode == "watching":
            await loader.watch_photons(root)
            print("ready", flush=True)
            await until(lambda: {n for _, n in loader.hook.who()} == {2})
        if mode == "once":
            await loader.reload_photons(list(loader.photons))
    print(json.dumps(len(discover(root, group=None).problems)))

asyncio.run(main())
"""


def begin(photons, cache, mode, *before):
    return subprocess.Popen(
        [*before, sys.executable, "-W", "error", "-c", HOST, str(photons.path), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "LUMINAL_CACHE_DIR": str(cache),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )


def end(process):
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, "Traceback" in err) == (0, False), err
    return out.split()[-1], err


def fill(photons, number=1, count=20):
    for at in range(count):
        photons.write(f"p{at}.py", text(f"p{at}", number))


@pytest.mark.slow
@pytest.mark.fault(35)
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces")
def test_a_disk_that_is_full_costs_a_warning(photons, tmp_path):
    """Loads and reloads go on without what cannot be kept."""
    place = tmp_path / "tiny"
    place.mkdir()
    fill(photons)
    mount = f'mount -t tmpfs -o size=8k tiny {place} && exec "$@"'
    process = begin(photons, place, "once", "unshare", "-Urm", "sh", "-c", mount, "sh")
    out, err = process.communicate(timeout=DEADLINE)
    if not out and "Traceback" not in err:
        pytest.skip(f"no namespaces here: {err}")
    assert (process.returncode, out.strip()) == (0, "0"), err


@pytest.mark.slow
@pytest.mark.fault(36)
def test_a_host_that_is_killed_leaves_what_the_next_one_reads(photons, tmp_path):
    """kill -9 while it loads, reloads and writes; whatever stood half is replaced."""
    fill(photons)
    for turns in (1, 2, 3):
        process = begin(photons, tmp_path / "cache", "endless")
        for _ in range(turns):
            assert process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE)
        fill(photons, turns + 1)
        problems, err = end(begin(photons, tmp_path / "cache", "once"))
        assert (problems, err) == ("0", "")


@pytest.mark.slow
@pytest.mark.fault(37)
def test_hosts_that_share_a_directory_and_a_cache(photons, tmp_path):
    """Three watch it; each swaps to what is saved, and none says anything."""
    fill(photons)
    processes = [begin(photons, tmp_path / "cache", "watching") for _ in range(3)]
    for process in processes:
        assert process.stdout.readline().strip() == "ready"
    fill(photons, 2)
    assert [end(process) for process in processes] == [("0", "")] * 3


@pytest.mark.fault(35)
async def test_without_a_place_for_the_cache_reloads_work(
    make_host, photons, monkeypatch, tmp_path
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUMINAL_CACHE_DIR", str(tmp_path / "file" / "cache"))
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text("a", 1)))
        photons.write("a.py", text("a", 2))
        await host.reload_photon(a)
        assert host.answers() == [("a", 2)]


REQUIRING = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = {name!r}
    photon_version = "1.5"
    photon_requires = {requires!r}

    def start(self):
        self.started = True

    @hookimpl
    def who(self):
        return ({name!r}, {number})
"""


async def test_a_reload_during_a_slow_start_waits_for_it(make_host, photons):
    """Then the new code serves; what was saved meanwhile is not lost."""
    slow = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "a"

    async def start(self):
        await self.context.settings["gate"].wait()

    @hookimpl
    def who(self):
        return "slow"
"""
    gate = asyncio.Event()
    async with make_host(settings={"a": {"gate": gate}}) as host:
        (a,) = await host.load_photon(photons.write("a.py", slow))
        starting = asyncio.create_task(a.start())
        await host.until(lambda: a.state is State.STARTING)
        photons.write("a.py", text("a", 2))
        staged = len(host.happened(EventKind.STAGED))
        reloading = asyncio.create_task(host.reload_photon(a))
        await host.until(lambda: len(host.happened(EventKind.STAGED)) > staged)
        gate.set()
        await starting
        await reloading
        assert host.answers() == [("a", 2)]


async def test_a_version_that_another_photon_cannot_do_with(make_host, photons):
    """Refused while that one runs as it is; both in one batch may change."""

    def write(name, version, requires=()):
        content = REQUIRING.format(name=name, number=1, requires=list(requires))
        return photons.write(f"{name}.py", content.replace("1.5", version))

    async with make_host() as host:
        (a,) = await host.run(write("a", "1.5"))
        (b,) = await host.run(write("b", "1.0", ["a<2"]))
        write("a", "1.9")
        await host.reload_photon(a)
        write("a", "2.0")
        with pytest.raises(PhotonDependencyError, match="'b' requires 'a<2'"):
            await host.reload_photon(a)
        assert (a.number, b.number) == (2, 1)
        write("b", "1.1", ["a>=2"])
        await host.reload_photons([a, b])
        assert (a.number, b.number) == (3, 2)


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("requires", "why"),
    [
        (["nowhere"], "photon 'nowhere' is not loaded"),
        (["a>=2"], "photon 'a' has version 1.5"),
        (["a>=1", "C"], None),
        (["c", "d"], "'b' requires 'd' requires 'b'"),
    ],
)
async def test_what_a_new_version_requires(make_host, photons, requires, why):
    """Refused before it starts, with the chain; what is met is no hindrance."""

    def write(name, number, requires=()):
        text = REQUIRING.format(name=name, number=number, requires=list(requires))
        return photons.write(f"{name}.py", text)

    async with make_host() as host:
        paths = [write("a", 1), write("b", 1), write("c", 1), write("d", 1, ["b"])]
        await host.run(*paths)
        write("b", 2, requires)
        if why is None:
            await host.reload_photon("b")
            assert host.photons["b"].candidate.requirements == tuple(requires)
        else:
            with pytest.raises(LuminalError) as caught:
                await host.reload_photon("b")
            assert (caught.value.photon, caught.value.why) == ("b", why)
        assert ("b", 1 if why else 2) in host.answers()
        await host.unload_photon("a")
        write("b", 3, requires if why is None else ())
        await host.reload_photon("b")
        assert ("b", 3) in host.answers()
