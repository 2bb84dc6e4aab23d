"""A watched directory and what runs are the same, whatever happens to the files."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
import types

import pytest

from luminal.errors import DirectoryNotFoundError, ThreadManagerAlreadyRunningError
from luminal.model import Deadlines, EventKind, Probation, State
from luminal.reload import DirectoryWatch
from luminal.testing import Save, save
from tests.waiting import DEADLINE, tasks_left


def text(name, number, head=""):
    return (
        "from luminal import IPhoton, hookimpl\n"
        f"{head}\n"
        "class Photon(IPhoton):\n"
        f"    photon_name = {name!r}\n"
        "    @hookimpl\n"
        "    def who(self):\n"
        f"        return ({name!r}, {number})\n"
        "    @hookimpl\n"
        "    def visit(self, go):\n"
        "        return go()\n"
    )


def digest(content):
    return hashlib.sha512(content.encode()).hexdigest()


def saves(how):
    """Return a function that saves as an editor does."""

    def write(file, content):
        save(file, content.encode(), how)

    write.__name__ = how.name
    return write


def two_writes(file, content):
    with file.open("w") as stream:
        stream.write(content[: len(content) // 2])
        stream.flush()
        os.fsync(stream.fileno())
        time.sleep(0.02)
        stream.write(content[len(content) // 2 :])


def hidden_backup(file, content):
    shutil.copy(file, file.with_name("." + file.name + ".bak"))
    file.write_text(content)


def same_second(file, content):
    stat = file.stat()
    file.write_text(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def from_the_past(file, content):
    file.write_text(content)
    os.utime(file, (1_000_000_000, 1_000_000_000))


WAYS = [
    *(saves(how) for how in Save if how is not Save.TWICE),
    two_writes,
    hidden_backup,
    same_second,
    from_the_past,
]


class Watched:
    """A host that watches a directory."""

    def __init__(self, host, root):
        self.host, self.root = host, root

    def answers(self):
        return sorted(self.host.hook.who())

    async def show(self, *expected):
        """Wait until the hook answers *expected*."""
        try:
            await self.host.until(lambda: self.answers() == list(expected))
        except AssertionError as error:
            raise AssertionError(f"{self.answers()} is not {expected}") from error
        async with self.host._lock:  # the events of a swap come after it, in a thread
            pass

    def swaps(self):
        return len(self.host.happened(EventKind.SWAPPED))


async def watching(host, photons, **numbers):
    for name, number in numbers.items():
        photons.write(f"{name}.py", text(name, number))
    await host.watch_photons(photons.path)
    watched = Watched(host, photons.path)
    if numbers:
        await watched.show(*sorted(numbers.items()))
    return watched


@pytest.mark.fault(28)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_each_way_of_saving_is_one_swap(make_host, photons, way):
    """The new bytes serve after exactly one swap, and no other photon is touched."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1, b=1)
        b = host.photons["b"].instance
        for number in (2, 3):
            way(photons.path / "a.py", text("a", number))
            await watched.show(("a", number), ("b", 1))
        photons.write("b.py", text("b", 2))
        await watched.show(("a", 3), ("b", 2))
        assert [e.photon for e in host.happened(EventKind.SWAPPED)] == ["a", "a", "b"]
        assert host.photons["b"].instance is not b
        assert not host.happened(EventKind.REJECTED)


async def test_a_photon_that_came_back_too_early_is_loaded_when_its_helper_is_whole(
    make_host, photons
):
    """A file that was deleted is new when it comes back, also if it cannot load yet."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1, b=1)
        (photons.path / "a.py").unlink()
        await watched.show(("b", 1))
        photons.write("helper.py", "1 / 0\n")
        photons.write("a.py", text("a", 2, "import helper"))
        await host.until(lambda: [e for e in host.heard if e.problem])
        photons.write("helper.py", "NUMBER = 2\n")
        await watched.show(("a", 2), ("b", 1))


async def test_what_does_not_change_the_bytes_changes_nothing(make_host, photons):
    """touch, chmod, and the same text written anew: no swap."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1, b=1)
        file = photons.path / "a.py"
        os.utime(file)
        file.chmod(0o600)
        saves(Save.RENAME)(file, file.read_text())
        photons.write("b.py", text("b", 2))
        await watched.show(("a", 1), ("b", 2))
        assert watched.swaps() == 1


async def test_a_save_that_changes_no_code_changes_only_the_text(make_host, photons):
    """A comment at the end of a line: no start, no finalize, and the text is shown."""
    helper = photons.write("helper.py", "NUMBER = 1\n")
    async with make_host() as host:
        await watching(host, photons, b=1)
        photons.write("a.py", text("a", 1, "import helper"))
        await host.until(lambda: host.happened(EventKind.STARTED, "a"))
        handler, instance = host.photons["a"], host.photons["a"].instance
        new = text("a", 1, "import helper").replace("return go()", "return go()  # now")
        (photons.path / "a.py").write_text(new + "\n\n# the end\n")
        (event,) = await host.until(lambda: host.happened(EventKind.UNCHANGED))
        assert (event.photon, event.generation) == ("a", 1)
        assert handler.checksum == digest(new + "\n\n# the end\n")
        assert handler.instance is instance
        assert inspect.getsource(type(instance).visit).endswith("go()  # now\n")
        with pytest.raises(ZeroDivisionError) as caught:
            host.hook.visit(go=lambda: 1 / 0)
        lines = [f.line for f in traceback.extract_tb(caught.value.__traceback__)]
        assert "return go()  # now" in lines
        # Nor does one in a helper.
        helper.write_text("NUMBER = 1  # one\n")
        await host.until(lambda: len(host.happened(EventKind.UNCHANGED, "a")) == 2)
        # A line above moves those that tracebacks name: that is a swap.
        (photons.path / "a.py").write_text("# first\n" + new)
        await host.until(lambda: host.happened(EventKind.SWAPPED, "a"))
        assert type(handler.instance).visit.__code__.co_firstlineno == 9
        # A rejected save is undone by one that has another comment.
        (photons.path / "b.py").write_text("1 / 0\n")
        await host.until(lambda: host.happened(EventKind.REJECTED, "b"))
        (photons.path / "b.py").write_text(text("b", 1) + "# end\n")
        await host.until(lambda: host.happened(EventKind.RECOVERED, "b"))
        assert host.photons["b"].problem is None
        # Data and code of the other photon: the text of this one goes along.
        helper.write_text("NUMBER = 2\n")
        (photons.path / "a.py").write_text("# first\n" + new + "# last\n")
        await host.until(lambda: len(host.happened(EventKind.SWAPPED, "a")) == 2)
        await host.until(lambda: handler.checksum == digest(f"# first\n{new}# last\n"))
        # Asked for by name, it is reloaded.
        await host.reload_photon("a")
        assert handler.number == 4
        assert host.photons["b"].number == 1


COUNTER = """
from luminal import IPhoton, hookimpl
class Counter(IPhoton):
    photon_name = "counter"
    def start(self):
        self.context.data.setdefault("count", 0)
    @hookimpl
    def who(self):
        self.context.data["count"] += 1
        return ({0}, self.context.data["count"])
"""


@pytest.mark.parametrize("is_found", [False, True], ids=["nowhere", "found"])
@pytest.mark.parametrize("last", ["counter.py", "third.py"])
async def test_a_photon_that_moves_again_while_it_is_looked_for_keeps_its_state(
    make_host, photons, monkeypatch, last, is_found
):
    """It is in none of the places that a look has seen, and it has not gone."""
    first, second = photons.path / "counter.py", photons.path / "second.py"
    discover, looks = DirectoryWatch._discover, []

    def look(watch):
        if not second.exists() or looks:
            return discover(watch)
        looks.append(second)
        if is_found:  # and it has moved on when it is to be loaded
            found = discover(watch)
            second.rename(photons.path / last)
            return found
        away = second.rename(photons.path.parent / "away.py")
        found = discover(watch)
        away.rename(photons.path / last)
        return found

    async with make_host() as host:
        first.write_text(COUNTER.format(1))
        await host.watch_photons(photons.path)
        handler = host.photons["counter"]
        await host.until(lambda: handler.state is State.RUNNING)
        assert host.hook.who() == [(1, 1)]
        monkeypatch.setattr(DirectoryWatch, "_discover", look)
        first.rename(second)
        await host.until(lambda: looks and (photons.path / last).exists())
        (photons.path / last).write_text(COUNTER.format(2))
        await host.until(lambda: host.hook.who()[0][0] == 2)
        assert host.hook.who()[0][1] > 2
        assert host.photons["counter"] is handler
        assert handler.filepath == str(photons.path / last)
        assert not host.happened(EventKind.UNLOADED, "counter")


@pytest.mark.parametrize(
    "where", ["other.py", "other/__init__.py", "../second/counter.py", "../second/o.py"]
)
async def test_a_photon_that_moves_to_another_file_keeps_its_state(
    make_host, photons, where
):
    """In one batch: nobody asks in vain meanwhile, and the Handler stays."""
    second = photons.path.parent / "second"
    second.mkdir()
    async with make_host() as host:
        photons.write("a.py", text("a", 1))
        await host.watch_photons(photons.path, second)
        (photons.path / "counter.py").write_text(COUNTER.format(1))
        await host.until(lambda: "counter" in host.photons)
        handler = host.photons["counter"]
        await host.until(lambda: handler.state is State.RUNNING)
        seen, is_over = [], threading.Event()

        def ask():
            while not is_over.is_set():
                seen.append([a for a in host.hook.who() if isinstance(a[0], int)])

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            target = (photons.path / where).resolve()
            if target.parent.name == "other":
                new = photons.path.parent / "new"
                new.mkdir()
                (new / "__init__.py").write_text(COUNTER.format(2))
                (photons.path / "counter.py").unlink()
                new.rename(target.parent)
            else:
                os.rename(photons.path / "counter.py", target)
                target.write_text(COUNTER.format(2))
            await host.until(lambda: seen and seen[-1] and seen[-1][0][0] == 2)
        finally:
            is_over.set()
            thread.join()
        assert all(len(answers) == 1 for answers in seen)
        assert next(count for ((number, count),) in seen if number == 2) > 1
        assert host.photons["counter"] is handler
        assert handler.filepath == str(target)
        assert not host.happened(EventKind.UNLOADED, "counter")
        # It goes on to be watched there.
        target.write_text(COUNTER.format(3))
        await host.until(lambda: host.hook.who()[0][0] == 3)


@pytest.mark.fault(1, 2, 27)
@pytest.mark.parametrize(
    "broken", ["def (", "1 / 0\n", "raise SystemExit\n", "import nowhere_at_all\n", ""]
)
async def test_broken_then_mended(make_host, photons, broken, caplog):
    """The old one goes on, the log says why in one line, and the mended one serves."""
    caplog.set_level(logging.INFO, "luminal.watch")
    async with make_host() as host:
        watched = await watching(host, photons, a=1)
        photons.write("a.py", broken)
        await host.until(lambda: host.happened(EventKind.REJECTED))
        assert watched.answers() == [("a", 1)]
        photons.write("a.py", text("a", 2))
        await watched.show(("a", 2))
        await host.until(lambda: "generation 1 -> 2" in caplog.text)
        (refused,) = [m for m in caplog.messages if "still running generation 1" in m]
        assert refused.startswith("a.py")
        assert "\n" not in refused


async def test_a_new_file_that_is_broken_then_mended(make_host, photons):
    """A file that cannot be loaded is tried again when it changes."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1)
        photons.write("new.py", "def (")
        await host.until(lambda: host.happened(EventKind.REJECTED))
        photons.write("new.py", text("new", 1))
        await watched.show(("a", 1), ("new", 1))


async def test_what_appears_is_loaded_and_started(make_host, photons):
    """Files and packages, moved in or written; what is deleted or moved is unloaded."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1)
        photons.write("b.py", text("b", 1))
        await watched.show(("a", 1), ("b", 1))
        outside = photons.path.parent / "outside"
        (outside / "deep").mkdir(parents=True)
        (outside / "__init__.py").write_text(text("p", 1, "from .deep import leaf"))
        (outside / "deep/__init__.py").write_text("")
        (outside / "deep/leaf.py").write_text("VALUE = 1\n")
        outside.rename(photons.path / "p")
        await watched.show(("a", 1), ("b", 1), ("p", 1))
        (photons.path / "p/deep/leaf.py").write_text("VALUE = 2\n")
        await host.until(lambda: host.photons["p"].number == 2)
        (photons.path / "b.py").rename(photons.path / "c.py")
        await host.until(lambda: host.photons.get("b") and _file(host, "b") == "c.py")
        await watched.show(("a", 1), ("b", 1), ("p", 1))
        (photons.path / "a.py").unlink()
        await watched.show(("b", 1), ("p", 1))
        shutil.rmtree(photons.path / "p")
        await watched.show(("b", 1))
        assert list(host.photons) == ["b"]
        assert host.photons["b"].state is State.RUNNING


def _file(host, name):
    return os.path.basename(host.photons[name].filepath)


async def test_a_name_that_becomes_free_goes_to_the_file_that_waits_for_it(
    make_host, photons
):
    """Of two photons of one name the first serves; the other when that is deleted."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1)
        photons.write("copy.py", text("a", 2))
        await host.until(lambda: host.happened(EventKind.REJECTED))
        await watched.show(("a", 1))
        (photons.path / "a.py").unlink()
        await watched.show(("a", 2))


async def test_two_files_exchange_their_photons(make_host, photons):
    """By three renames, and back: each time one swap, and each has its file again."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1, b=2, c=3)
        first, second = photons.path / "a.py", photons.path / "b.py"
        for a_is_in in ("b.py", "a.py"):
            number, swaps = host.photons["a"].number, watched.swaps()
            spare = photons.path / "spare"
            first.rename(spare)
            second.rename(first)
            spare.rename(second)
            await host.until(
                lambda a_is_in=a_is_in: (
                    _file(host, "a") == a_is_in and _file(host, "b") != a_is_in
                )
            )
            await watched.show(("a", 1), ("b", 2), ("c", 3))
            assert watched.swaps() == swaps + 2
            assert host.photons["a"].number == number + 1
        assert not host.happened(EventKind.REJECTED)
        first.write_text(text("a", 5))
        await watched.show(("a", 5), ("b", 2), ("c", 3))
        second.unlink()
        await watched.show(("a", 5), ("c", 3))


async def test_a_package_replaced_as_a_whole(make_host, photons):
    """A directory that is moved away and another one put in its place: one swap."""
    async with make_host() as host:
        watched = await watching(host, photons)
        photons.write("p/__init__.py", text("p", 1, "from . import sub"))
        photons.write("p/sub.py", "VALUE = 1\n")
        await watched.show(("p", 1))
        fresh = photons.path.parent / "fresh"
        fresh.mkdir()
        (fresh / "__init__.py").write_text(text("p", 2, "from . import other"))
        (fresh / "other.py").write_text("VALUE = 1\n")
        (photons.path / "p").rename(photons.path.parent / "stale")
        fresh.rename(photons.path / "p")
        await watched.show(("p", 2))
        assert host.photons["p"].state is State.RUNNING


async def test_a_missing_helper_appears(make_host, photons):
    """A photon that was refused for it, new or edited, serves without another save."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1)
        photons.write("a.py", text("a", 2, "from . import helper_a"))
        await host.until(lambda: host.happened(EventKind.REJECTED, "a"))
        photons.write("b.py", text("b", 1, "from . import helper_b"))
        await host.until(lambda: host.happened(EventKind.REJECTED, "b"))
        assert watched.answers() == [("a", 1)]
        photons.write("helper_a.py", "")
        await watched.show(("a", 2))
        photons.write("helper_b.py", "")
        await watched.show(("a", 2), ("b", 1))


async def test_a_helper_that_breaks_and_is_mended(make_host, photons):
    """A broken helper refuses its users, who come when it is mended."""
    photons.write("shared.py", "VALUE = 1\n")
    async with make_host() as host:
        head = "from .shared import VALUE"
        for name in "ab":
            photons.write(f"{name}.py", text(name, "VALUE", head))
        watched = await watching(host, photons)
        await watched.show(("a", 1), ("b", 1))
        photons.write("shared.py", "VALUE = ")
        await host.until(lambda: len(host.happened(EventKind.REJECTED)) == 2)
        photons.write("shared.py", "VALUE = 2\n")
        await watched.show(("a", 2), ("b", 2))
        (photons.path / "shared.py").unlink()
        await host.until(lambda: len(host.happened(EventKind.REJECTED)) == 4)
        assert watched.answers() == [("a", 2), ("b", 2)]
        photons.write("shared.py", "VALUE = 3\n")
        await watched.show(("a", 3), ("b", 3))


@pytest.mark.parametrize("what", ["photon", "helper"])
async def test_nothing_stays_of_a_file_that_has_another_name_now(
    make_host, photons, what
):
    """Not as an attribute of its package either: it would be found there."""
    head = "from . import old" if what == "helper" else ""
    photons.write("old.py", "" if what == "helper" else text("a", 1))
    if what == "helper":
        photons.write("a.py", text("a", 1, head=head))
    async with make_host() as host:
        await host.watch_photons(photons.path)
        watched = Watched(host, photons.path)
        await watched.show(("a", 1))
        package = sys.modules[host.photons["a"].generation.unit.rpartition(".")[0]]
        assert hasattr(package, "old")
        (photons.path / "old.py").rename(photons.path / "new.py")
        if what == "helper":
            photons.write("a.py", text("a", 2, head="from . import new"))
        await host.until(lambda: host.happened(EventKind.SWAPPED, "a"))
        assert not hasattr(package, "old")

        def is_over():
            gc.collect()
            return host.happened(EventKind.RETIRED) or host.happened(EventKind.LEAKED)

        await host.until(is_over)
        assert not host.happened(EventKind.LEAKED)


@pytest.mark.fault(31)
async def test_the_directory_vanishes_and_returns(make_host, photons):
    """Its photons stay, and edits count again when it is back."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1)
        away = photons.path.with_name("away")
        photons.path.rename(away)
        (away / "a.py").write_text(text("a", 2))
        await host.until(lambda: host.photons["a"].problem)
        assert watched.answers() == [("a", 1)]
        away.rename(photons.path)
        await watched.show(("a", 2))
        photons.write("a.py", text("a", 3))
        await watched.show(("a", 3))


@pytest.mark.slow
@pytest.mark.fault(29)
async def test_a_branch_switch_is_one_transaction(make_host, photons):
    """git replaces a helper and its hundred users: they swap together, once."""

    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@y", *words],
            cwd=photons.path,
            check=True,
            capture_output=True,
        )

    def write(number):
        photons.write("shared.py", f"VALUE = {number}\n")
        for at in range(100):
            photons.write(
                f"p{at}.py",
                text(f"p{at:02}", "VALUE", f"from .shared import VALUE\n#{number}"),
            )

    git("init", "-q", "-b", "one")
    write(1)
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "two")
    write(2)
    git("commit", "-qam", "two")
    git("checkout", "-q", "one")
    names = [f"p{at:02}" for at in range(100)]
    torn = []
    async with make_host() as host:
        watched = await watching(host, photons)
        await watched.show(*[(name, 1) for name in names])
        done = threading.Event()

        def look():
            while not done.is_set():
                seen = {number for _, number in host.hook.who()}
                if len(seen) != 1:
                    torn.append(seen)
                time.sleep(0.001)

        thread = threading.Thread(target=look)
        thread.start()
        for branch, number in (("two", 2), ("one", 1), ("two", 2)):
            git("checkout", "-q", branch)
            await watched.show(*[(name, number) for name in names])
        done.set()
        await asyncio.to_thread(thread.join)
        assert not torn
        assert watched.swaps() == 300
        assert not host.happened(EventKind.REJECTED)


@pytest.mark.fault(29)
async def test_the_last_of_a_storm_wins(make_host, photons):
    """Hundreds of saves: a few swaps, the last text serves."""
    async with make_host() as host:
        watched = await watching(host, photons, a=0)
        for number in range(1, 300):
            saves(Save.RENAME)(photons.path / "a.py", text("a", number))
        await watched.show(("a", 299))
        assert watched.swaps() < 150


@pytest.mark.fault(27, 29)
async def test_a_truncated_moment_is_never_live(make_host, photons):
    """Saves in place so fast that one begins while the last one is read."""
    async with make_host() as host:
        watched = await watching(host, photons, a=0)
        for number in range(1, 100):
            (photons.path / "a.py").write_text(text("a", number))
            await asyncio.sleep(0.003)
        await watched.show(("a", 99))
        assert not host.happened(EventKind.REJECTED)


async def test_photons_of_the_host_are_reloaded_but_stay(make_host, photons):
    """What the host has loaded is kept up to date, and kept when the watch ends."""
    async with make_host() as host:
        (mine,) = await host.run(photons.write("mine.py", text("mine", 1)))
        await host.watch_photons(photons.path)
        watched = Watched(host, photons.path)
        photons.write("a.py", text("a", 1))
        await watched.show(("a", 1), ("mine", 1))
        photons.write("mine.py", text("mine", 2))
        await watched.show(("a", 1), ("mine", 2))
        await host.stop_watching_photons()
        assert watched.answers() == [("mine", 2)]
        assert list(host.photons) == ["mine"]
        photons.write("mine.py", text("mine", 3))
        await host.reload_photon(mine)
        assert watched.answers() == [("mine", 3)]


def test_the_watch_outlives_the_loop(make_host, photons):
    """Reloads, loads and unloads go on after `asyncio.run` has ended."""
    host = make_host()
    before = set(threading.enumerate())

    async def begin():
        photons.write("a.py", text("a", 1))
        await host.watch_photons(photons.path)

    asyncio.run(begin())
    watched = Watched(host, photons.path)
    for number in (2, 3):
        photons.write("a.py", text("a", number))
        host.wait_for(lambda number=number: watched.answers() == [("a", number)])
    photons.write("b.py", text("b", 1))
    host.wait_for(lambda: watched.answers() == [("a", 3), ("b", 1)])
    (photons.path / "a.py").unlink()
    host.wait_for(lambda: watched.answers() == [("b", 1)])
    asyncio.run(host.stop_watching_photons())
    assert host.photons == {}
    host.wait_for(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize("halt", [False, True])
async def test_stopping_leaves_nothing(make_host, photons, halt):
    """No photon, module, hook or thread of the watch is left; it can begin again."""
    before, names = set(threading.enumerate()), set(sys.modules)
    host = make_host()
    for _ in range(2):
        watched = await watching(host, photons, a=1, b=2)
        await host.stop_watching_photons(halt_threads=halt)
        assert host.photons == {}
        assert watched.answers() == []
    await host.stop_watching_photons()
    await host.close()
    left = {n for n in set(sys.modules) - names if "photons" in n.partition(".")[0]}
    assert not left
    alive = {t for t in threading.enumerate() if not t.name.startswith("asyncio")}
    assert alive <= before


@pytest.mark.parametrize("what", ["start of a new one", "start", "import", "await"])
async def test_a_forced_stop_does_not_wait_for_what_hangs(
    make_host, photons, monkeypatch, what
):
    """Nothing of it runs afterwards, and what ran before is unloaded."""
    events = types.ModuleType("host_events")
    events.begun, events.over = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "host_events", events)
    hang = "import host_events; host_events.begun.set(); host_events.over.wait()"
    new = {
        "import": text("a", 2, hang),
        "await": text("a", 2, "import asyncio, host_events")
        + "    async def start(self):\n        host_events.begun.set()\n"
        "        await asyncio.Event().wait()\n",
    }
    end = f"    def start(self):\n        {hang}\n"
    host = make_host(deadlines=Deadlines(load=3600, start=3600))
    try:
        await watching(host, photons, a=1)
        name = "b" if "new" in what else "a"
        photons.write(f"{name}.py", new.get(what, text(name, 2) + end))
        assert await asyncio.to_thread(events.begun.wait, DEADLINE)
        async with asyncio.timeout(DEADLINE):
            await host.stop_watching_photons(halt_threads=True)
        assert host.photons == {}
        assert not [t for t in threading.enumerate() if "watcher" in t.name]
    finally:
        events.over.set()
    await host.close()


async def test_watches_that_are_refused(make_host, photons):
    """A second one, one of no directory, and one of no path."""
    async with make_host() as host:
        with pytest.raises(TypeError):
            await host.watch_photons(3)
        with pytest.raises(DirectoryNotFoundError):
            await host.watch_photons(photons.path / "missing")
        await asyncio.sleep(0.01)
        assert not tasks_left()
        await watching(host, photons, a=1)
        with pytest.raises(ThreadManagerAlreadyRunningError, match="watched already"):
            await host.watch_photons(photons.path)


@pytest.mark.fault(44)
async def test_a_subscriber_that_fails_changes_nothing(make_host, photons):
    """It is counted; the swap goes on."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1)
        logging.getLogger("luminal.events").disabled = True
        try:
            unsubscribe = host.events.subscribe(lambda event: 1 / 0)
            photons.write("a.py", text("a", 2))
            await watched.show(("a", 2))
            unsubscribe()
        finally:
            logging.getLogger("luminal.events").disabled = False
        assert host.events.failures


SHUTDOWN = """
import asyncio, pathlib, sys, threading, time
from luminal import Loader, hookspec

class Specs:
    @hookspec
    def who(self): ...
    @hookspec
    def visit(self, go): ...

root = pathlib.Path(sys.argv[1])
loader = Loader()
loader.plugins.add_hookspecs(Specs)

async def main():
    await loader.watch_photons(root)
    while not loader.hook.who():
        await asyncio.sleep(0.005)
    text = (root / "a.py").read_text()
    if sys.argv[2] == "calling":
        threading.Thread(
            target=lambda: loader.hook.visit(go=lambda: time.sleep(0.2)), daemon=True
        ).start()
    for number in range(20):
        (root / "a.py").write_text(text + f"NUMBER = {number}\\n")
        await asyncio.sleep(0.003)

asyncio.run(main())
(root / "a.py").write_text("def broken(")
print("end")
"""


@pytest.mark.fault(46)
@pytest.mark.parametrize("way", ["idle", "calling"])
def test_the_interpreter_ends_while_it_watches(photons, way):
    """Without a stop, with saves and a call under way: quietly, and at once."""
    photons.write("a.py", text("a", 1))
    ended = subprocess.run(
        [sys.executable, "-c", SHUTDOWN, str(photons.path), way],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert (ended.returncode, ended.stdout) == (0, "end\n")
    assert "Traceback" not in ended.stderr
    assert "Fatal" not in ended.stderr


async def test_a_file_that_comes_and_goes_at_once_does_not_stay(make_host, photons):
    """Its creation and its deletion may cancel out before anybody hears of them."""
    async with make_host() as host:
        await watching(host, photons, a=1)
        for number in range(5):
            photons.write("fleeting.py", text("fleeting", number))
            await host.until(lambda: "fleeting" in host.photons)
            (photons.path / "fleeting.py").unlink()
            await host.until(lambda: "fleeting" not in host.photons)


async def test_what_was_edited_before_the_watch_begins_is_not_missed(
    make_host, photons
):
    """A host that loads, and then watches: an edit in between is an edit."""
    async with make_host() as host:
        photons.write("shared.py", "VALUE = 1\n")
        head = "from .shared import VALUE"
        paths = [photons.write(f"{n}.py", text(n, "VALUE", head)) for n in "ab"]
        await host.run(*paths, photons.write("c.py", text("c", 1)))
        photons.write("shared.py", "VALUE = 2\n")
        await host.watch_photons(photons.path)
        await Watched(host, photons.path).show(("a", 2), ("b", 2), ("c", 1))
        assert len(host.happened(EventKind.SWAPPED)) == 2


async def test_a_photon_on_probation_that_is_deleted(make_host, photons):
    """Nobody comes back for it: the one before leaves with it."""
    async with make_host(probation=Probation(60.0, interval=0.01)) as host:
        watched = await watching(host, photons, a=1, b=1)
        photons.write("a.py", text("a", 2))
        await watched.show(("a", 2), ("b", 1))
        (photons.path / "a.py").unlink()
        await watched.show(("b", 1))
        await host.until(lambda: len(host.happened(EventKind.FINALIZED, "a")) == 2)
        assert not host.happened(EventKind.ROLLED_BACK)
        await host.until(lambda: not _threads("luminal-probation"))


def _threads(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


async def test_what_the_host_unloads_stays_away_until_it_is_saved(make_host, photons):
    """Another file that appears is no reason to load it again."""
    async with make_host() as host:
        watched = await watching(host, photons, a=1, b=1)
        photons.write("p/__init__.py", text("p", 1))
        await watched.show(("a", 1), ("b", 1), ("p", 1))
        await host.unload_photons(["b", "p"])
        photons.write("c.py", text("c", 1))
        await watched.show(("a", 1), ("c", 1))
        photons.write("b.py", text("b", 2))
        await watched.show(("a", 1), ("b", 2), ("c", 1))
        photons.write("p/other.py", "")
        await watched.show(("a", 1), ("b", 2), ("c", 1), ("p", 1))
