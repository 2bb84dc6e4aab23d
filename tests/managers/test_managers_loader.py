"""The Loader: what hosts order, from several loops, with failures in between."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import pytest

from luminal import IPhoton, Loader, discover, hookimpl, hookspec
from luminal.errors import (
    PhotonImportError,
    PhotonNotFoundError,
    PhotonNotInitializedError,
    PhotonStartError,
    PhotonStateError,
    PhotonTimeoutError,
    PhotonValidationError,
)
from luminal.loading._workers import abandoned
from luminal.model import Deadlines, EventKind, State
from tests.waiting import DEADLINE, brief, tasks_left, wait_until

ROOT = Path(__file__).parents[2]

HEAD = "from luminal import IPhoton\n"


class Traces:
    """What a program holds that photons might leave something in."""

    def __init__(self) -> None:
        self.modules = {n for n in sys.modules if n.startswith("photons_")}
        self.finders = list(sys.meta_path)
        self.threads = set(threading.enumerate())

    def check(self) -> None:
        """Nothing has come since."""
        assert {n for n in sys.modules if n.startswith("photons_")} == self.modules
        assert sys.meta_path == self.finders
        # The reaper of halted threads ends a moment after them.
        wait_until(lambda: set(threading.enumerate()) <= self.threads)


@pytest.fixture
def traces():
    """Hold the test to leaving nothing behind."""
    held = Traces()
    yield held
    held.check()


def run_script(text: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run *text* in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(text)],
        capture_output=True, text=True, cwd=ROOT, timeout=timeout, check=False,
    )  # fmt: skip


def ended(threads: set[threading.Thread]) -> None:
    """Wait for the end of *threads*."""
    for thread in threads:
        thread.join(DEADLINE)


async def test_load_start_unload(photons, traces):
    """A file's life through the Loader, and ``await handlers.start()``."""
    path = photons.photon("one", "def start(self): self.on = True\n")

    loader = Loader()
    handlers = await loader.load_photon(path)
    assert loader.photons == {"one": handlers[0]}
    assert handlers[0].instance is None
    await handlers.start()
    await handlers.start()
    assert handlers[0].instance.on
    assert await loader.unload_photon(handlers[0])
    assert loader.photons == {}
    with pytest.raises(PhotonNotFoundError):
        await loader.unload_photon(handlers[0])


async def test_photons_is_a_copy(photons):
    """A host that edits the dict changes nothing."""
    photons.photon("one")

    async with Loader() as loader:
        await loader.load_photons(photons.path)
        loader.photons.clear()
        assert list(loader.photons) == ["one"]
        with pytest.raises(AttributeError):
            loader.photons = {}


@pytest.mark.parametrize("by", ["handler", "path", "str", "relative", "name", "other"])
async def test_unload_takes_the_whole_file(photons, traces, by, monkeypatch):
    """By Handler, by path, by name: all photons of the file go, and no others."""
    path = photons.write(
        "two.py", HEAD + "class A(IPhoton): pass\nclass B(IPhoton): pass\n"
    )
    photons.photon("other")
    monkeypatch.chdir(photons.path)

    async with Loader() as loader:
        await loader.load_photons(photons.path)
        await loader.start()
        what = {
            "handler": loader.photons["A"],
            "path": path,
            "str": str(path),
            "relative": "two.py",
            "name": "A",
            "other": loader.photons["B"],
        }[by]
        assert await loader.unload_photons([what]) == [str(path)]
        assert list(loader.photons) == ["other"]
        assert loader.photons["other"].state is State.RUNNING


async def test_unload_through_a_link(photons, tmp_path):
    """A file is known by the path that it was loaded by, and by its real one."""
    path = photons.photon("one")
    link = tmp_path / "link"
    link.symlink_to(photons.path)

    async with Loader() as loader:
        await loader.load_photon(path)
        assert await loader.unload_photon(link / "one.py")
        await loader.load_photon(link / "one.py")
        assert await loader.unload_photon("one")


async def test_unload_of_a_photon_that_was_never_started(photons, traces):
    """Leaving does not ask for a start first; a stop does."""
    photons.photon("one", "def finalize(self): raise AssertionError\n")

    loader = Loader()
    (handler,) = await loader.load_photons(photons.path)
    with pytest.raises(PhotonNotInitializedError):
        await handler.stop()
    assert await loader.unload_photon(handler)


@pytest.mark.parametrize("force", [False, True])
async def test_force_stop_skips_finalize(photons, force):
    """``force_stop=True`` ends at once."""
    path = photons.photon(
        "one", "def finalize(self): print('finalized', flush=True); LOG.append(1)\n",
        "LOG = []\n",
    )  # fmt: skip

    loader = Loader()
    (handler,) = await loader.load_photon(path)
    await handler.start()
    log = sys.modules[handler.factory.__module__].LOG
    await loader.unload_photon(path, force_stop=force)
    assert log == ([] if force else [1])


async def test_other_classes_are_wrapped_too(photons):
    """Classes that derive from nothing of ours, by name; a wrong name is said."""
    path = photons.write(
        "mixed.py",
        HEAD + "class Photon(IPhoton): pass\nclass Extra:\n"
        "    def start(self): self.on = 1\n"
        "class Third: pass\n",
    )

    async with Loader() as loader:
        handlers = await loader.load_photon(path, other_classes=["Extra"])
        await handlers.start()
        assert set(loader.photons) == {"mixed", "Extra"}
        assert loader.photons["Extra"].instance.on == 1
    async with Loader() as loader:
        with pytest.raises(PhotonValidationError, match="'Nope'") as caught:
            await loader.load_photon(path, other_classes=["Nope"])
        assert caught.value.file == str(path)
        assert not loader.photons


async def test_photon_base(photons):
    """A host's own base decides which classes are photons."""
    package = photons.write("hostlib_x.py", HEAD + "class HostBase(IPhoton): pass\n")
    path = photons.write(
        "user.py",
        HEAD + "from hostlib_x import HostBase\n"
        "class Mine(HostBase): pass\nclass Other(IPhoton): pass\n",
    )

    async with Loader() as loader:
        sys.path.insert(0, str(package.parent))
        try:
            from importlib import import_module

            base = import_module("hostlib_x").HostBase
        finally:
            sys.path.remove(str(package.parent))
            sys.modules.pop("hostlib_x", None)
        with pytest.raises(PhotonValidationError, match="HostBase"):
            # The photon's neighbour is a module of its own, so another class.
            await loader.load_photon(path, photon_base=base)


async def test_a_host_base_from_the_hosts_own_module(photons, tmp_path, monkeypatch):
    """Photons import the base from where the host has it, and are found by it."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "hostlib_y.py").write_text(
        HEAD + "class HostBase(IPhoton): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "lib")
    path = photons.write(
        "user.py",
        HEAD + "from hostlib_y import HostBase\n"
        "class Mine(HostBase): pass\nclass Other(IPhoton): pass\n",
    )

    try:
        from importlib import import_module

        base = import_module("hostlib_y").HostBase
        async with Loader() as loader:
            await loader.load_photon(path, photon_base=base)
            assert list(loader.photons) == ["Mine"]
    finally:
        sys.modules.pop("hostlib_y", None)


def test_recursive_and_one_level(photons, traces):
    """Top only, one level where there are only packages, or everything below."""
    photons.write("a/__init__.py", HEAD + "class A(IPhoton): pass\n")
    photons.write("b/deep.py", HEAD + "class Deep(IPhoton): pass\n")
    photons.write("b/c/deeper.py", HEAD + "class Deeper(IPhoton): pass\n")

    async def names(**how):
        async with Loader() as loader:
            await loader.load_photons(photons.path, **how)
            return set(loader.photons)

    assert asyncio.run(names()) == {"A", "Deep"}
    assert asyncio.run(names(recursive=True)) == {"A", "Deep", "Deeper"}
    photons.write("top.py", HEAD + "class Top(IPhoton): pass\n")
    assert asyncio.run(names()) == {"A", "Top"}


async def test_dependencies_start_first_and_stop_last(photons):
    """In load order up, in reverse down."""
    log = []
    sys.luminal_log = log
    body = """
    photon_requires = {requires!r}
    def start(self): sys.luminal_log.append("+" + {name!r})
    def finalize(self): sys.luminal_log.append("-" + {name!r})
    """
    for name, requires in (("a", ("b",)), ("b", ("c>=1",)), ("c", ())):
        photons.photon(name, body.format(name=name, requires=requires), "import sys\n")

    try:
        async with Loader() as loader:
            await loader.load(discover(photons.path, group=None))
            await loader.start()
    finally:
        del sys.luminal_log
    assert log == ["+c", "+b", "+a", "-a", "-b", "-c"]


@pytest.mark.fault(47)
def test_one_loader_across_several_loops(photons, traces):
    """Loaded, started, called and unloaded in a loop each, async starts included."""
    path = photons.photon("one", "async def start(self): self.on = True\n")
    loader = Loader()
    handlers = asyncio.run(loader.load_photon(path))
    asyncio.run(handlers.start())
    assert loader.photons["one"].instance.on
    asyncio.run(loader.start())
    assert asyncio.run(loader.unload_photon(path))
    asyncio.run(loader.load_photon(path))
    asyncio.run(loader.close())
    asyncio.run(loader.close())


@pytest.mark.fault(47)
def test_one_loader_from_two_loops_at_once(photons, traces):
    """Two threads with a loop each load and unload; each operation is whole."""
    for number in range(20):
        photons.photon(f"p{number}")
    loader = Loader()
    errors = []

    async def work(own):
        for _ in range(3):
            for number in own:
                path = photons.path / f"p{number}.py"
                handlers = await loader.load_photon(path)
                await handlers.start()
                assert handlers[0].state is State.RUNNING
            for number in own:
                await loader.unload_photon(photons.path / f"p{number}.py")

    def thread(own):
        try:
            asyncio.run(work(own))
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=thread, args=(range(start, 20, 2),)) for start in (0, 1)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(DEADLINE)
    assert not errors
    assert loader.photons == {}


@pytest.fixture
def often_switching():
    """Let threads interrupt one another as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_two_loaders_on_one_directory_at_once(photons, traces, often_switching):
    """In two threads at the same time; neither sees the other."""
    photons.write("shared.py", "import time\nITEMS = []\n")
    for name in "abcdef":
        photons.photon(name, "items = ITEMS\n", "from shared import ITEMS\n")
    barrier = threading.Barrier(2)
    found, errors = [], []

    def thread():
        async def go():
            barrier.wait(DEADLINE)
            for _ in range(5):
                async with Loader() as loader:
                    await loader.load_photons(photons.path)
                    report = await loader.start()
                    assert len(report.loaded) == 6
                    items = {id(h.instance.items) for h in loader.photons.values()}
                    assert len(items) == 1
                    found.append(items.pop())

        try:
            asyncio.run(go())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(DEADLINE)
    assert not errors
    assert len(found) == 10


async def test_unloaded_generations_can_be_collected(photons, traces):
    """Class, module and instance of an unloaded photon are garbage."""
    photons.write("pack/__init__.py", "from .body import Photon\n")
    photons.write(
        "pack/body.py",
        """
        from __future__ import annotations
        import dataclasses, enum, functools, logging, threading
        from luminal import IPhoton, hookimpl
        class Kind(enum.Enum):
            A = 1
        @dataclasses.dataclass
        class Row:
            kind: Kind = Kind.A
        @functools.lru_cache
        def cached(x): return x
        class Photon(IPhoton):
            photon_name = "pack"
            async def start(self):
                self.rows = [Row()]
                self.context.logger.info("started")
                self.context.on_close(self.closed)
            def closed(self): pass
            @hookimpl
            def ping(self, value): return cached(value)
        """,
    )

    class Specs:
        @hookspec
        def ping(self, value): ...

    loader = Loader()
    loader.plugins.add_hookspecs(Specs)
    (handler,) = await loader.load_photons(photons.path)
    await handler.start()
    assert loader.hook.ping(value=3) == [3]
    assert await loader.ahook.ping(value=3) == [3]
    references = [
        weakref.ref(handler.instance),
        weakref.ref(handler.factory),
        weakref.ref(handler.generation),
        *(weakref.ref(m) for m in handler.generation.modules.values()),
    ]
    await loader.unload_photon(handler)
    assert loader.hook.ping(value=3) == []
    assert not loader.plugins.has_plugin("pack")
    gc.collect()
    assert [r() for r in references] == [None] * len(references)
    assert "pack" in str(handler)
    assert repr(loader)


@pytest.mark.slow
async def test_one_broken_of_a_thousand(photons, traces):
    """999 run."""
    for number in range(1000):
        head = "1 / 0\n" if number == 500 else ""
        photons.photon(f"p{number}", "def start(self): self.on = True\n", head)

    async with Loader() as loader:
        report = await loader.load(discover(photons.path, group=None))
        assert len(report.loaded) == 999
        assert [o.photon for o in report.failed] == ["p500"]
        started = await loader.start()
        assert len(started.loaded) == 999
        assert all(h.instance.on for h in loader.photons.values())


@pytest.mark.fault(10)
async def test_failed_start_of_one_keeps_no_other_from_it(photons):
    """In ``handlers.start()`` and in ``loader.start()``."""
    photons.photon("a")
    photons.photon("b", "def start(self): raise SystemExit(1)\n")
    photons.photon("c")

    async with Loader() as loader:
        handlers = await loader.load_photons(photons.path)
        with pytest.raises(PhotonStartError, match="'b'"):
            await handlers.start()
        states = {n: h.state.value for n, h in loader.photons.items()}
        assert states == {"a": "running", "b": "failed", "c": "running"}
        report = await loader.start()
        assert [o.photon for o in report.failed] == ["b"]
        assert report.failed[0].problem.line == 6
        assert '"result": "failed"' in report.to_json()


@pytest.mark.fault(5)
async def test_import_that_never_returns(photons):
    """Refused at its deadline and counted; the others load meanwhile."""
    gate = threading.Event()
    sys.luminal_gate = gate
    photons.photon("a")
    photons.photon("b", head="import sys\nsys.luminal_gate.wait()\nimport near\n")
    photons.write("near.py", "")
    photons.photon("c")
    before = set(abandoned)  # of other tests

    try:
        async with Loader(deadlines=Deadlines(load=brief(0.3))) as loader:
            report = await loader.load(discover(photons.path, group=None))
            assert list(loader.photons) == ["a", "c"]
            (failed,) = report.failed
            assert failed.photon == "b"
            error = failed.problem.error("b")
            assert isinstance(error, PhotonTimeoutError)
            assert "b.py:3" in str(error)
            late = abandoned - before
            assert len(late) == 1
            assert not [n for n in sys.modules if n.endswith(".b")]
            gate.set()
            await asyncio.to_thread(ended, late)
            assert not late & abandoned
            # What came too late is not let in.
            assert not [n for n in sys.modules if n.endswith((".b", ".near"))]
            assert list(loader.photons) == ["a", "c"]
            await loader.load_photon(photons.path / "b.py")
            assert "b" in loader.photons
    finally:
        gate.set()
        del sys.luminal_gate


@pytest.mark.fault(14)
@pytest.mark.parametrize("moment", ["import", "start"])
async def test_cancelled_midway(photons, traces, moment):
    """Nothing of a cancelled load stays; a cancelled start comes to rest."""
    gate, entered = threading.Event(), threading.Event()
    sys.luminal_gates = gate, entered
    photons.photon("a", "def start(self): pass\n")
    wait = "import sys\nsys.luminal_gates[1].set()\nsys.luminal_gates[0].wait()\n"
    if moment == "import":
        photons.photon("b", head=wait)
    else:
        photons.photon("b", "def start(self):\n" + textwrap.indent(wait, "    "))

    try:
        loader = Loader()

        async def work():
            await loader.load(discover(photons.path, group=None))
            await loader.start()

        task = asyncio.create_task(work())
        await asyncio.to_thread(entered.wait, DEADLINE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        late = {thread for thread in abandoned if thread.is_alive()}
        # A thread that belongs to a photon is woken and halted with it.
        assert bool(late) is (moment == "import")
        if moment == "import":
            assert loader.photons == {}
            assert not [n for n in sys.modules if n.startswith("photons_")]
        else:
            states = {n: h.state.value for n, h in loader.photons.items()}
            assert states == {"a": "running", "b": "failed"}
        gate.set()
        # The same order once more goes through.
        await work() if moment == "import" else await loader.start()
        assert {h.state for h in loader.photons.values()} == {State.RUNNING}
        await loader.close()
        await asyncio.to_thread(ended, late)
    finally:
        gate.set()
        del sys.luminal_gates


@pytest.mark.fault(14)
async def test_cancelled_unload_leaves_whole_photons(photons, traces):
    """The one whose end was cut short is gone, those not reached yet still run."""
    entered = threading.Event()
    sys.luminal_entered = entered
    photons.photon("a")
    photons.photon(
        "b", "async def finalize(self):\n    sys.luminal_entered.set()\n"
        "    await asyncio.Event().wait()\n", "import asyncio, sys\n",
    )  # fmt: skip

    try:
        loader = Loader()
        await loader.load_photons(photons.path)
        await loader.start()
        task = asyncio.create_task(loader.close())
        await asyncio.to_thread(entered.wait, DEADLINE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(loader.photons) == ["a"]
        assert loader.photons["a"].state is State.RUNNING
        assert not [n for n in sys.modules if n.endswith(".b")]
        await loader.close()
        assert loader.photons == {}
    finally:
        del sys.luminal_entered


@pytest.mark.fault(7)
async def test_photons_that_order_their_own_loader(photons, traces):
    """From an import or a finalize: refused at once, never a deadlock."""
    sys.luminal_box = box = {}
    photons.photon(
        "greedy",
        """
        async def finalize(self):
            try:
                await sys.luminal_box["loader"].unload_photon("greedy")
            except LuminalError as error:
                sys.luminal_box["late"] = error
        """,
        """
        import asyncio, sys
        from luminal import LuminalError
        try:
            asyncio.run(sys.luminal_box["loader"].close())
        except LuminalError as error:
            sys.luminal_box["early"] = error
        """,
    )

    try:
        box["loader"] = loader = Loader()
        await asyncio.wait_for(loader.load_photons(photons.path), DEADLINE)
        await loader.start()
        await asyncio.wait_for(loader.close(), DEADLINE)
    finally:
        del sys.luminal_box
    assert box["early"].hint
    assert isinstance(box["late"], PhotonStateError)


async def test_a_photon_may_load_another_one_when_it_starts(photons, traces):
    """Starting is not part of the loader's turn."""
    sys.luminal_box = box = {}
    photons.write("more/extra.py", HEAD + "class Extra(IPhoton): pass\n")
    photons.photon(
        "first",
        """
        async def start(self):
            box = sys.luminal_box
            await (await box["loader"].load_photons(box["more"])).start()
        """,
        "import sys\n",
    )

    try:
        async with Loader() as loader:
            box.update(loader=loader, more=photons.path / "more")
            handlers = await loader.load_photon(photons.path / "first.py")
            await asyncio.wait_for(handlers.start(), DEADLINE)
            assert {h.state for h in loader.photons.values()} == {State.RUNNING}
            assert set(loader.photons) == {"first", "Extra"}
    finally:
        del sys.luminal_box


class Library:
    """A third party that watches, guards and wraps every photon's life."""

    def __init__(self):
        self.seen = []

    @hookimpl
    def photon_create(self, handler):
        self.seen.append(("create", handler.name))

    @hookimpl
    async def photon_start(self, handler):
        await asyncio.sleep(0)
        if handler.name == "refused":
            raise PermissionError("not on this host")
        self.seen.append(("start", handler.name, handler.number))

    @hookimpl(wrapper=True)
    def photon_finalize(self, handler):
        self.seen.append(("before", handler.name))
        try:
            return (yield)
        finally:
            self.seen.append(("after", handler.name))


class AsyncWrapper:
    def __init__(self):
        self.seen = []

    @hookimpl(wrapper=True)
    async def photon_start(self, handler):
        self.seen.append("before")
        result = yield
        self.seen.append(("after", result, handler.instance.on))
        yield result


async def test_third_parties_observe_guard_and_wrap(photons, traces):
    """The lifecycle is hookspecs: sync and async implementations and wrappers."""
    photons.photon("fine", "on = False\ndef start(self): self.on = True\n")
    photons.photon("refused", "def start(self): raise AssertionError('never')\n")
    library, wrapper = Library(), AsyncWrapper()

    async with Loader() as loader:
        loader.plugins.register(library, "library")
        loader.plugins.register(wrapper, "wrapper")
        handlers = await loader.load_photons(photons.path)
        with pytest.raises(PhotonStartError, match="not on this host"):
            await handlers.start()
        assert loader.photons["refused"].state is State.FAILED
        assert loader.photons["fine"].state is State.RUNNING
    assert ("create", "fine") in library.seen
    assert ("start", "fine", 1) in library.seen
    assert library.seen[-2:] == [("before", "fine"), ("after", "fine")]
    assert wrapper.seen[:2] == ["before", ("after", True, True)]


@pytest.mark.fault(44)
async def test_subscriber_that_raises_is_counted(photons, caplog):
    """Photons notice nothing."""
    photons.photon("one")
    heard = []

    async with Loader() as loader:
        loader.events.subscribe(lambda event: 1 / 0)
        stop = loader.events.subscribe(lambda event: heard.append(event.kind))
        await loader.load_photons(photons.path)
        await loader.start()
        stop()
        assert loader.events.failures == len(heard)
    assert heard[-2:] == [EventKind.LOADED, EventKind.STARTED]


async def test_logging(photons, caplog):
    """``logging=True`` gives a record an operation."""
    caplog.set_level("INFO")
    photons.photon("one")

    async with Loader(logging=True) as loader:
        await loader.load_photons(photons.path)
        await loader.start()
    for word in ("loaded", "started", "finalized", "unloaded"):
        assert f"photon 'one' {word}" in caplog.text


async def test_no_threads_stay_after_an_unload(photons, traces):
    """Threads that ran a photon's steps have ended when the order returns."""
    photons.photon("one", "def start(self): pass\ndef finalize(self): pass\n")

    async with Loader() as loader:
        await loader.load_photons(photons.path)
        await loader.start()
    assert not tasks_left()


@pytest.mark.fault(3)
@pytest.mark.parametrize("moment", ["import", "start", "async_start", "finalize"])
def test_a_real_ctrl_c_ends_the_program(photons, moment):
    """SIGINT while a photon is at work interrupts the host as it always does.

    It is sent once the loop waits: one that comes in the very moment before, asyncio
    notices with the next event only. So it has to be seen there in many looks in a row,
    between which it gets every chance to go on.
    """
    wait = (
        "import sys, threading, time\n"
        "def tell(main=threading.main_thread().ident, looks=0):\n"
        "    while looks < 20:\n"
        "        time.sleep(0.005)\n"
        "        name = sys._current_frames()[main].f_code.co_name\n"
        "        looks = looks + 1 if name == 'select' else 0\n"
        "    print('ready', flush=True)\n"
        "threading.Thread(target=tell, daemon=True).start()\n"
    )
    block = wait + "import time; time.sleep(60)\n"
    if moment == "import":
        photons.photon("slow", head=block)
    elif moment == "async_start":
        photons.photon(
            "slow",
            "async def start(self):\n"
            + textwrap.indent(
                wait + "import asyncio; await asyncio.sleep(60)\n", "    "
            ),
        )
    else:
        photons.photon(
            "slow", f"def {moment}(self):\n" + textwrap.indent(block, "    ")
        )
    script = f"""
        import asyncio
        from luminal import Loader
        async def go():
            async with Loader() as loader:
                await loader.load_photons({str(photons.path)!r})
                await loader.start()
        try:
            asyncio.run(go())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert out == "interrupted\n"
    assert process.returncode == -signal.SIGINT, err


@pytest.mark.fault(46)
@pytest.mark.parametrize("moment", ["import", "start", "swallow"])
def test_interpreter_ends_while_a_photon_hangs(photons, moment):
    """What was given up keeps neither asyncio.run nor the interpreter from ending."""
    hang = "import threading; threading.Event().wait()\n"
    if moment == "import":
        photons.photon("slow", head=hang)
    elif moment == "start":
        photons.photon("slow", "def start(self):\n    " + hang)
    else:
        photons.photon(
            "slow",
            """
            async def start(self):
                import asyncio
                while True:
                    try:
                        await asyncio.sleep(60)
                    except asyncio.CancelledError:
                        pass
            """,
        )
    done = run_script(
        f"""
        import asyncio, luminal
        from luminal.model import Deadlines
        async def go():
            limits = Deadlines(load=0.2, start=0.2, close=0.2, finalize=0.2)
            async with luminal.Loader(deadlines=limits) as loader:
                await loader.load(luminal.discover({str(photons.path)!r}, group=None))
                report = await loader.start()
            print("over", len(report.loaded))
        asyncio.run(go())
        """,
        timeout=DEADLINE,
    )
    assert done.stdout == "over 0\n"
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.fault(45)
def test_fork_after_loading(photons):
    """The child calls, loads and unloads; nothing deadlocks."""
    photons.photon("one", "def start(self): self.on = True\n")
    photons.photon("two", "def start(self): self.on = True\n", "import near\n")
    photons.write("near.py", "")
    done = run_script(
        f"""
        import asyncio, os, warnings
        from luminal import Loader
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads
        loader = Loader()
        async def load(name):
            await (await loader.load_photon({str(photons.path)!r} + "/" + name)).start()
        asyncio.run(load("one.py"))
        child = os.fork()
        if child == 0:
            assert loader.photons["one"].instance.on
            asyncio.run(load("two.py"))
            assert loader.photons["two"].instance.on
            asyncio.run(loader.close())
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        asyncio.run(load("two.py"))
        asyncio.run(loader.close())
        print("fine")
        """,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


@pytest.mark.fault(47)
def test_uvloop(photons, traces):
    """Another event loop, the same behaviour."""
    uvloop = pytest.importorskip("uvloop")
    photons.photon("one", "async def start(self): self.on = True\n")
    photons.photon("two", "def start(self): raise SystemExit\n")

    async def go():
        async with Loader(deadlines=Deadlines(start=5)) as loader:
            handlers = await loader.load_photons(photons.path)
            with pytest.raises(PhotonStartError):
                await handlers.start()
            assert loader.photons["one"].instance.on

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(go())


@pytest.mark.fault(31)
async def test_directory_that_goes_away(photons, tmp_path, traces):
    """What is loaded stays in memory; what was not read fails clearly."""
    photons.photon(
        "one",
        """
        def late(self):
            from . import near
            return near
        def computed(self):
            return __import__("fa" + "r", globals())
        """,
    )
    photons.write("near.py", "")
    photons.write("far.py", "")

    async with Loader() as loader:
        (handler,) = await loader.load_photon(photons.path / "one.py")
        await handler.start()
        photons.path.rename(tmp_path / "elsewhere")
        with pytest.raises(ImportError, match="far"):
            handler.instance.computed()
        assert handler.instance.late().__name__.endswith(".near")
        with pytest.raises(PhotonNotFoundError):
            await loader.load_photon(photons.path / "one.py")
        (tmp_path / "elsewhere").rename(photons.path)
        assert handler.instance.late().__name__.endswith(".near")


async def test_memory_of_many_loads_is_flat(photons):
    """A hundred loads and unloads leave no generation behind."""
    path = photons.photon("one", "def start(self): pass\n")

    loader = Loader()
    for _ in range(50):
        await (await loader.load_photon(path)).start()
        await loader.unload_photon(path)
    gc.collect()
    kept = [o for o in gc.get_objects() if type(o).__name__ == "Generation"]
    assert not [g for g in kept if g.unit.endswith(".one")]


async def test_import_error_leaves_an_earlier_photon_alone(photons, traces):
    """A helper that two photons share survives the failure of one of them."""
    photons.write("near.py", "ITEMS = []\n")
    photons.photon("good", "items = ITEMS\n", "from near import ITEMS\n")
    photons.photon("bad", head="from near import ITEMS\n1 / 0\n")

    async with Loader() as loader:
        await (await loader.load_photon(photons.path / "good.py")).start()
        items = loader.photons["good"].instance.items
        with pytest.raises(PhotonImportError):
            await loader.load_photon(photons.path / "bad.py")
        name = loader.photons["good"].factory.__module__
        near = name.removesuffix("good") + "near"
        assert sys.modules[near].ITEMS is items


async def test_environment_is_read_once_per_loader(photons, tmp_path, monkeypatch):
    """Without a cache nothing is written."""
    photons.photon("one")
    monkeypatch.setenv("LUMINAL_CACHE_DIR", str(tmp_path / "none"))

    async with Loader(cache=False) as loader:
        await loader.load(discover(photons.path, group=None, index=False))
    assert not (tmp_path / "none").exists()
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "none").rmdir()


class Marked(IPhoton):
    """A photon of the host's own module."""


async def test_photon_classes_of_the_host_are_not_taken(photons):
    """What a file imports belongs to the module that defines it."""
    path = photons.write(
        "user.py",
        HEAD + "from luminal.interfaces import IPhoton as Again\n"
        "from near import Base\nclass Mine(Base): pass\n",
    )
    photons.write("near.py", HEAD + "class Base(IPhoton): pass\n")

    async with Loader() as loader:
        await loader.load_photon(path)
        assert list(loader.photons) == ["Mine"]


async def test_calls_of_hooks_are_traced_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain and awaited ones, those that raise, and those inside of others."""
    (tmp_path / "geo.py").write_text(
        "import luminal\n\n\nclass Geo(luminal.IPhoton):\n"
        "    photon_name = 'geo'\n\n"
        "    @luminal.hookimpl\n    def locate(self, place): return 1 / place\n\n"
        "    @luminal.hookimpl\n    def outer(self):\n"
        "        return self.context.hook.locate(place=2)\n"
    )
    monkeypatch.setenv("LUMINAL_TRACE", "hooks")
    async with Loader() as loader:
        await (await loader.load_photons(tmp_path)).start()
        loader.hook.outer()
        await loader.ahook.locate(place=1)
        with pytest.raises(ZeroDivisionError):
            loader.hook.locate(place=0)
    lines = capsys.readouterr().err.splitlines()
    told = [line.partition("  ")[2].rpartition("  ")[0] for line in lines]
    assert told == [
        "MainThread    locate(place=2)  [geo]  -> [0.5]",
        "MainThread  outer()  [geo]  -> [[0.5]]",
        "MainThread  locate(place=1)  [geo]  -> [1.0]",
        f"MainThread  locate(place=0)  [geo]  raised {DIVIDED}",
    ]


DIVIDED = "ZeroDivisionError: division by zero"
