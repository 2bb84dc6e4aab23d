"""Photons that are saved together change together, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import shutil
import threading

import pytest

from luminal.errors import LuminalError
from luminal.model import Deadlines, EventKind, Probation, State
from tests.reload.conftest import text
from tests.waiting import DEADLINE


class Batch:
    """Saves that the watch takes for one: git's lock is there meanwhile."""

    def __init__(self, photons):
        self.photons = photons
        self.lock = photons.path / ".git" / "index.lock"
        self.lock.parent.mkdir(exist_ok=True)
        (self.lock.parent / "HEAD").write_text("ref: refs/heads/main\n")

    def __enter__(self):
        self.lock.touch()
        return self.photons

    def __exit__(self, *raised):
        self.lock.unlink()


class Callers:
    """Threads that call the hook, and note which answers came together."""

    def __init__(self, host, count=2):
        self.host, self.is_over = host, threading.Event()
        self.seen = set()
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self):
        while not self.is_over.is_set():
            self.seen.add(tuple(sorted(self.host.hook.who())))
            self.is_over.wait(0.0001)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *raised):
        self.is_over.set()
        for thread in self.threads:
            thread.join(DEADLINE)


def answers(host):
    return dict(host.hook.who())


async def started(host, photons, names="abcdef"):
    for name in names:
        photons.write(f"{name}.py", text(name, 1))
    batch = Batch(photons)
    await host.watch_photons(photons.path)
    await host.until(lambda: answers(host) == dict.fromkeys(names, 1))
    return batch


async def test_no_call_sees_part_of_a_batch(make_host, photons):
    """Each call gets the answers of all photons before a batch, or of all after it."""
    async with make_host() as host:
        batch = await started(host, photons)
        with Callers(host) as callers:
            for number in range(2, 12):
                with batch:
                    for name in "abcdef":
                        photons.write(f"{name}.py", text(name, number))
                expected = dict.fromkeys("abcdef", number)
                await host.until(lambda expected=expected: answers(host) == expected)
        for seen in callers.seen:
            assert len(seen) == 6
            assert len({number for _, number in seen}) == 1, seen
        assert len(callers.seen) > 2


@pytest.mark.parametrize(
    "fault",
    [
        {"head": "1 / 0"},
        {"head": "def broken(:"},
        {"body": "def start(self): 1 / 0"},
        {"body": "async def start(self): 1 / 0"},
        {"body": "@hookimpl(specname='who')\n    def more(self, nonsense): ..."},
        {"body": "photon_requires = ['nobody']"},
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["a", "c", "f"])
async def test_a_rejected_photon_keeps_its_generation(make_host, photons, fault, where):
    """It is named; the others change together, and are started once."""
    async with make_host() as host:
        batch = await started(host, photons)
        host.heard.clear()
        with Callers(host) as callers:
            with batch:
                for name in "abcdef":
                    broken = fault if name == where else {}
                    photons.write(f"{name}.py", text(name, 2, **broken))
            expected = dict.fromkeys("abcdef", 2) | {where: 1}
            await host.until(lambda: answers(host) == expected)
        for seen in callers.seen:
            assert len({number for name, number in seen if name != where}) == 1
        assert host.photons[where].number == 1
        assert host.photons[where].state is State.RUNNING
        await host.until(lambda: host.happened(EventKind.REJECTED))
        assert {e.photon for e in host.happened(EventKind.REJECTED)} == {where}
        others = [n for n in "abcdef" if n != where]
        begun = [e.photon for e in host.happened(EventKind.STARTED)]
        assert sorted(n for n in begun if n != where) == others
        # It is tried again with the next save.
        photons.write(f"{where}.py", text(where, 3))
        await host.until(lambda: answers(host)[where] == 3)
        assert answers(host) == expected | {where: 3}


async def test_what_depends_on_a_rejected_photon_is_rejected_with_it(
    make_host, photons
):
    """By an import that is new in the batch, in either order of names."""
    async with make_host() as host:
        batch = await started(host, photons, "abcz")
        with batch:
            photons.write("b.py", text("b", 2, body="def start(self): 1 / 0"))
            for user in "az":
                photons.write(f"{user}.py", text(user, 2, "from . import b"))
            photons.write("c.py", text("c", 2))
        expected = {"a": 1, "b": 1, "c": 2, "z": 1}
        await host.until(lambda: answers(host) == expected)
        await host.until(lambda: len(host.happened(EventKind.REJECTED)) >= 3)
        rejected = {e.photon for e in host.happened(EventKind.REJECTED)}
        assert rejected == {"a", "b", "z"}
        photons.write("b.py", text("b", 3))
        await host.until(lambda: answers(host) == {"a": 2, "b": 3, "c": 2, "z": 2})


async def test_new_imports_within_a_batch_see_new_code(make_host, photons):
    """Code that begins to import from another file of the batch gets its new text."""
    async with make_host() as host:
        batch = await started(host, photons, "abz")
        with Callers(host) as callers, batch:
            photons.write("b.py", text("b", 2, "VALUE = 2"))
            for user in "az":
                photons.write(f"{user}.py", text(user, "b.VALUE", "from . import b"))
        await host.until(lambda: answers(host) == {"a": 2, "b": 2, "z": 2})
        assert not host.happened(EventKind.REJECTED)
        assert {len({n for _, n in seen}) for seen in callers.seen} == {1}


async def test_photons_that_came_together_go_back_apart(make_host, photons):
    """Probation returns only the photon that failed, and what imports from it."""
    settings = Probation(seconds=DEADLINE, interval=0.02)
    async with make_host(probation=settings) as host:
        batch = await started(host, photons, "abc")
        with batch:
            photons.write("a.py", text("a", 2, body="def is_healthy(self): return 0"))
            photons.write("b.py", text("b", 2))
            photons.write("c.py", text("c", 2, "from . import a"))
        await host.until(lambda: len(host.happened(EventKind.ROLLED_BACK)) >= 2)
        await host.until(lambda: answers(host) == {"a": 1, "b": 2, "c": 1})
        back = {e.photon for e in host.happened(EventKind.ROLLED_BACK)}
        assert back == {"a", "c"}


async def test_one_of_a_batch_is_rolled_back_alone(make_host, photons):
    """On request; the others of its batch stay, and keep their own history."""
    async with make_host() as host:
        batch = await started(host, photons, "abc")
        with batch:
            for name in "abc":
                photons.write(f"{name}.py", text(name, 2))
        await host.until(lambda: answers(host) == dict.fromkeys("abc", 2))
        await host.roll_back(host.photons["a"])
        assert answers(host) == {"a": 1, "b": 2, "c": 2}
        await host.roll_back(host.photons["b"])
        assert answers(host) == {"a": 1, "b": 1, "c": 2}


@pytest.mark.parametrize("policy", ["all", "component"])
async def test_a_cancelled_batch_changes_nothing(make_host, photons, policy):
    """Those that were prepared are finalized, and all old ones run."""
    paths = [photons.write(f"{n}.py", text(n, 1)) for n in "abc"]
    async with make_host() as host:
        handlers = await host.run(*paths)
        for name in "ab":
            photons.write(f"{name}.py", text(name, 2))
        hangs = (
            "async def start(self):\n        import asyncio; await asyncio.sleep(99)"
        )
        photons.write("c.py", text("c", 2, body=hangs))
        reload = asyncio.create_task(host.reload_photons(handlers, policy=policy))
        await host.until(lambda: len(host.happened(EventKind.STAGED)) == 3)
        reload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reload
        assert answers(host) == dict.fromkeys("abc", 1)
        assert [h.number for h in handlers] == [1, 1, 1]


@pytest.mark.parametrize(
    "names", ["bac", "cab", "bca", "acb"], ids=lambda names: f"abc to {names}"
)
async def test_names_move_within_a_batch(make_host, photons, names):
    """Files that exchange their photons, in a circle too, are no conflict."""
    async with make_host() as host:
        batch = await started(host, photons, "abcd")
        with Callers(host) as callers:
            with batch:
                for file, name in zip("abc", names, strict=True):
                    photons.write(f"{file}.py", text(name, 2))
                photons.write("d.py", text("d", 2))
            await host.until(lambda: answers(host) == dict.fromkeys("abcd", 2))
        assert not host.happened(EventKind.REJECTED)
        assert {len({n for _, n in seen}) for seen in callers.seen} == {1}
        assert {len(seen) for seen in callers.seen} == {4}


@pytest.mark.parametrize("file", "abc")
async def test_a_name_that_stays_taken_is_refused(make_host, photons, file):
    """The file that had it is reloaded, whichever of the two is looked at first."""
    async with make_host() as host:
        batch = await started(host, photons, "abc")
        owner = "b" if file != "b" else "a"
        with batch:
            for name in "abc":
                photons.write(f"{name}.py", text(owner if name == file else name, 2))
        expected = dict.fromkeys("abc", 2) | {file: 1}
        await host.until(lambda: answers(host) == expected)
        await host.until(lambda: host.happened(EventKind.REJECTED))
        assert {e.photon for e in host.happened(EventKind.REJECTED)} == {file}


COUNTER = """
class {cls}(IPhoton):
    photon_name = {name!r}

    def start(self):
        self.context.data.setdefault("begun", []).append({number})

    @hookimpl
    def who(self):
        return {name!r}, {number}
"""
HEAD = "from luminal import IPhoton, hookimpl\n"


def counters(number, *names):
    """Return a file with photons that keep what they have begun as."""
    return HEAD + "".join(
        COUNTER.format(cls=f"P{name}", name=name, number=number) for name in names
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"m": "xy"}, {"m": "x", "n": "y"}),
        ({"m": "xy"}, {"m": "y", "n": "x"}),
        ({"m": "xyz"}, {"m": "x", "n": "y", "o": "z"}),
        ({"m": "xy"}, {"n": "x", "o": "y"}),
        ({"m": "xy"}, {"n": "xy"}),
        ({"m": "x", "n": "y"}, {"n": "yx"}),
        ({"m": "x", "n": "y"}, {"o": "xy"}),
        ({"m": "x", "n": "y"}, {"m": "y", "n": "x"}),
        ({"m": "x", "n": "y"}, {"n": "x", "o": "y"}),
        ({"m": "xy", "n": "z"}, {"m": "x", "n": "zy"}),
        ({"m": "x"}, {"m/__init__": "x"}),
        ({"m/__init__": "x"}, {"m": "x"}),
        ({"m": "x"}, {"n/__init__": "x"}),
        ({"m": "x"}, {"n": "xv"}),
    ],
    ids=str,
)
async def test_photons_that_move_keep_their_state(make_host, photons, before, after):
    """Whatever becomes of their files; the rest of the batch changes with them."""
    for file, names in before.items():
        photons.write(f"{file}.py", counters(1, *names))
    photons.write("a.py", text("a", 1))
    old = {"a", *"".join(before.values())}
    batch = Batch(photons)
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: answers(host) == dict.fromkeys(old, 1))
        handlers = {name: host.photons[name] for name in old}
        with Callers(host) as callers:
            with batch:
                for file in before.keys() - after.keys():
                    (photons.path / f"{file}.py").unlink()
                    if "/" in file:
                        shutil.rmtree((photons.path / file).parent)
                for file, names in after.items():
                    photons.write(f"{file}.py", counters(2, *names))
                photons.write("a.py", text("a", 2))
            new = {"a", *"".join(after.values())}
            await host.until(lambda: answers(host) == dict.fromkeys(new, 2))
        assert {len({n for _, n in seen}) for seen in callers.seen} == {1}
        assert all(old <= {name for name, _ in seen} for seen in callers.seen)
        for file, names in after.items():
            for name in names:
                handler = host.photons[name]
                assert handler.filepath == str(photons.path / f"{file}.py")
                if name in old:
                    assert handler is handlers[name]
                    assert handler.context.data["begun"] == [1, 2]
                    assert handler.number > 1
        assert not host.happened(EventKind.REJECTED)
        # They are watched in their new places.
        for file, names in after.items():
            photons.write(f"{file}.py", counters(3, *names))
        await host.until(lambda: answers(host) == dict.fromkeys(new, 3) | {"a": 2})
        for file in after:
            (photons.path / f"{file}.py").unlink()
        await host.until(lambda: answers(host) == {"a": 2})


async def test_a_move_to_a_broken_file_is_a_deletion(make_host, photons):
    """What the file that has gone held is unloaded, and the error is told."""
    photons.write("m.py", counters(1, "x"))
    photons.write("a.py", text("a", 1))
    batch = Batch(photons)
    async with make_host() as host:
        await host.watch_photons(photons.path)
        await host.until(lambda: answers(host) == {"x": 1, "a": 1})
        with batch:
            (photons.path / "m.py").unlink()
            photons.write("n.py", counters(2, "x") + "1 / 0\n")
            photons.write("a.py", text("a", 2))
        await host.until(lambda: answers(host) == {"a": 2})
        await host.until(lambda: host.happened(EventKind.REJECTED, "x"))
        photons.write("n.py", counters(3, "x"))
        await host.until(lambda: answers(host) == {"a": 2, "x": 3})


@pytest.mark.parametrize("policy", ["all", "component"])
@pytest.mark.parametrize(
    "fault",
    [
        {"head": "import time\nwhile True: time.sleep(0.01)"},
        {
            "head": "import time",
            "body": "def start(self):\n        while True: time.sleep(0.01)",
        },
        {"body": "async def start(self): import asyncio; await asyncio.sleep(99)"},
    ],
    ids=["import", "start", "coroutine"],
)
@pytest.mark.parametrize("where", ["a", "c"])
async def test_who_exceeds_its_deadline_is_named(
    make_host, photons, policy, fault, where
):
    """Not the photon that happens to be the first of those staged together."""
    paths = {n: photons.write(f"{n}.py", text(n, 1)) for n in "abc"}
    limits = Deadlines(0.5, 0.5, DEADLINE, DEADLINE, DEADLINE)
    async with make_host(deadlines=limits) as host:
        handlers = await host.run(*paths.values())
        for name in "abc":
            broken = fault if name == where else {}
            photons.write(f"{name}.py", text(name, 2, **broken))
        with pytest.raises(LuminalError) as caught:
            await host.reload_photons(handlers, policy=policy)
        assert caught.value.photon == where
        assert str(paths[where]) in str(caught.value)
        kept = 2 if policy == "component" else 1
        assert answers(host) == dict.fromkeys("abc", kept) | {where: 1}
