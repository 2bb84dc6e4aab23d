"""A photon's life: created, started, finalized, each contained and in time."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from types import SimpleNamespace

import pytest

from luminal import Handler, IPhoton, Loader
from luminal.errors import (
    PhotonNotInitializedError,
    PhotonStartError,
    PhotonStateError,
    PhotonTimeoutError,
)
from luminal.lifecycle import Runtime
from luminal.lifecycle._steps import abandoned_tasks
from luminal.loading._workers import abandoned as abandoned_threads
from luminal.model import Deadlines, State
from tests.waiting import DEADLINE, async_wait_until, brief, tasks_left


def handler_of(cls: type, **deadlines: float) -> Handler:
    """Return a Handler made by hand, as the contract allows."""
    limits = Deadlines(
        **{**dict.fromkeys(["load", "start", "finalize"], DEADLINE), **deadlines}
    )
    return Handler(
        False, cls.__name__, __file__, "00", cls, runtime=Runtime(deadlines=limits)
    )


def given_up() -> int:
    """Number of threads and tasks that were given up and still run."""
    return len(abandoned_threads) + len(abandoned_tasks)


class Plain(IPhoton):
    def __init__(self):
        self.log = ["init", threading.current_thread().name]
        self.name_at_birth = self.context.name

    def start(self):
        self.log.append("start")

    def finalize(self):
        self.log.append("finalize")


class Async(IPhoton):
    async def __init__(self):
        await asyncio.sleep(0)
        self.log = ["init"]
        self.name_at_birth = self.context.name

    async def start(self):
        await asyncio.sleep(0)
        self.log.append("start")

    async def finalize(self):
        await asyncio.sleep(0)
        self.log.append("finalize")


@pytest.mark.parametrize("cls", [Plain, Async])
async def test_a_life(cls):
    """Created and started by start(), finalized by stop(), each once."""
    handler = handler_of(cls)
    assert handler.state is State.STAGED
    assert handler.instance is None
    await handler.start()
    first = handler.instance
    await handler.start()
    assert handler.instance is first
    assert first.log.count("start") == 1
    assert first.name_at_birth == cls.__name__
    assert await handler.stop()
    assert first.log.count("finalize") == 1
    assert handler.state is State.STOPPED
    assert handler.instance is None
    assert await handler.stop()
    assert first.log.count("finalize") == 1
    await handler.start()
    assert handler.instance is not first
    await handler.stop()


async def test_plain_code_runs_off_the_loop():
    """``__new__``, ``__init__`` and plain methods may block without blocking others."""
    seen = []

    class Blocking(IPhoton):
        def __new__(cls):
            seen.append(threading.current_thread())
            return super().__new__(cls)

        def __init__(self):
            seen.append(threading.current_thread())

        def start(self):
            seen.append(threading.current_thread())

        def finalize(self):
            seen.append(threading.current_thread())

    handler = handler_of(Blocking)
    await handler.start()
    await handler.stop()
    assert len(seen) == 4
    assert threading.main_thread() not in seen


async def test_a_handler_is_made_by_hand_around_an_instance():
    """``Handler(logging, name, filepath, checksum, instance)``, by position."""
    photon = Plain.__new__(Plain)
    photon.log = []
    handler = Handler(False, "mine", "/x.py", "abc", photon)
    assert (handler.name, handler.filepath, handler.checksum) == (
        "mine", "/x.py", "abc",
    )  # fmt: skip
    await handler.start()
    assert photon.log == ["start"]
    assert await handler.stop()
    assert photon.log == ["start", "finalize"]
    assert handler.instance is photon


@pytest.mark.parametrize("name", ["name", "filepath", "checksum", "state", "number"])
def test_what_identifies_a_handler_is_read_only(name):
    """A host cannot rename a photon by accident."""
    handler = handler_of(Plain)
    with pytest.raises(AttributeError):
        setattr(handler, name, "other")


async def test_only_a_marker_of_pluggy_makes_a_hook_of_a_step():
    """Whatever else an author's decorator leaves on ``start``, it is started."""

    class Photon(IPhoton):
        is_started = False

        def start(self):
            self.is_started = True

        start.needs_impl = True

    handler = handler_of(Photon)
    await handler.start()
    assert handler.instance.is_started
    await handler.stop()


def test_handlers_are_equal_only_to_themselves():
    """Also two of one photon; they can be keys."""
    a, b = handler_of(Plain), handler_of(Plain)
    assert a == a
    assert a != b
    assert len({a, b}) == 2
    assert "Plain" in str(a)
    assert "staged" in str(a)
    assert "staged" in repr(a)


async def test_stop_before_start_is_refused():
    """A photon that was never started cannot be stopped."""
    handler = handler_of(Plain)
    with pytest.raises(PhotonNotInitializedError, match="never started"):
        await handler.stop()
    with pytest.raises(PhotonNotInitializedError):
        await handler.stop(force_stop=True)
    assert handler.state is State.STAGED


RAISED = [
    ValueError("no"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopIteration("x"),
    StopAsyncIteration(),
    RecursionError("deep"),
    MemoryError("gone"),
    BaseExceptionGroup("several", [KeyboardInterrupt()]),
    TimeoutError("own"),
]


@pytest.mark.fault(3, 10)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("phase", ["__init__", "start"])
@pytest.mark.parametrize("error", RAISED, ids=lambda e: type(e).__name__)
async def test_start_that_raises_is_a_failure_like_any_other(error, phase, is_async):
    """Contained, named with its line, never finalized; can start again."""
    finalized = []

    def fail(self):
        if broken:
            raise error.with_traceback(None)  # the same object in each case

    async def fail_later(self):
        await asyncio.sleep(0)
        if broken:
            raise error.with_traceback(None)  # the same object in each case

    def finalize(self):
        finalized.append(self)

    body = {phase: fail_later if is_async else fail, "finalize": finalize}
    cls = type("Broken", (IPhoton,), body)
    broken = True

    handler = handler_of(cls)
    with pytest.raises(PhotonStartError) as caught:
        await handler.start()
    assert handler.state is State.FAILED
    assert handler.instance is None
    assert not tasks_left()
    assert not finalized
    assert caught.value.photon == "Broken"
    assert caught.value.file == __file__
    assert caught.value.line in {
        f.__code__.co_firstlineno + n for f in (fail, fail_later) for n in (2, 3)
    }
    assert type(error).__name__ in caught.value.why
    assert "director" not in "".join(getattr(error, "__notes__", ()))
    assert handler.problem is not None
    broken = False
    await handler.start()
    assert handler.state is State.RUNNING
    assert handler.problem is None
    await handler.stop()


@pytest.mark.fault(12)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("error", RAISED, ids=lambda e: type(e).__name__)
async def test_finalize_that_raises_is_reported(error, is_async):
    """stop() returns False, the photon is at rest, and says why."""

    def fail(self):
        raise error

    async def fail_later(self):
        await asyncio.sleep(0)
        raise error

    cls = type("Broken", (IPhoton,), {"finalize": fail_later if is_async else fail})

    handler = handler_of(cls)
    await handler.start()
    assert await handler.stop() is False
    assert handler.state is State.FAILED
    assert type(error).__name__ in handler.problem.why
    assert handler.instance is None


@pytest.mark.parametrize(
    ("value", "went_well"),
    [(None, True), (True, True), (1, True), (False, False), (0, False), ("", False)],
)
async def test_truth_of_finalize_says_whether_it_went_well(value, went_well):
    """None counts as well."""
    cls = type("Says", (IPhoton,), {"finalize": lambda self: value})

    handler = handler_of(cls)
    await handler.start()
    assert await handler.stop() is went_well
    assert handler.state is (State.STOPPED if went_well else State.FAILED)


def _hang(release: threading.Event):
    def plain(self):
        release.wait(DEADLINE)

    async def later(self):
        await asyncio.Event().wait()

    async def swallow(self):
        while not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    return {"plain": plain, "async": later, "cancel-swallowing": swallow}


@pytest.mark.fault(11, 13)
@pytest.mark.parametrize("step", ["__init__", "__new__", "start", "finalize"])
@pytest.mark.parametrize("kind", ["plain", "async", "cancel-swallowing"])
async def test_step_that_hangs_ends_at_its_deadline(kind, step, monkeypatch):
    """The caller goes on; what hangs is named by file and line."""
    release = threading.Event()
    hang = _hang(release)[kind]
    monkeypatch.setattr("luminal.lifecycle._steps.GRACE", brief(0.1))
    if step == "__new__":
        if kind != "plain":
            pytest.skip("__new__ is plain")

        class Slow(IPhoton):
            def __new__(cls):
                return hang(cls)

        cls = Slow
    else:
        cls = type("Slow", (IPhoton,), {step: hang})

    limited = "finalize" if step == "finalize" else "start"
    handler = handler_of(cls, **{limited: 0.2, "close": brief(0.5)})
    before = given_up()
    if step == "finalize":
        await handler.start()
        assert await asyncio.wait_for(handler.stop(), DEADLINE) is False
        text = str(handler.problem.error("Slow"))
    else:
        with pytest.raises(PhotonTimeoutError) as caught:
            await asyncio.wait_for(handler.start(), DEADLINE)
        text = str(caught.value)
    assert "0.2 seconds" in text
    assert __file__ in text
    assert handler.state is State.FAILED
    assert handler.instance is None
    # A blocked thread is woken and halted; a task that swallows is given up.
    assert given_up() == before + (kind == "cancel-swallowing")
    assert len(handler.leftovers) == (kind == "cancel-swallowing")
    # Nothing that was given up keeps the loop of the host from ending.
    assert not tasks_left()
    release.set()
    await async_wait_until(lambda: given_up() == before)


@pytest.mark.fault(14)
@pytest.mark.parametrize("step", ["__init__", "start", "finalize"])
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_cancelled_step_comes_to_rest(kind, step):
    """Cancelled midway: no state between two, no task left, can be started again."""
    release = threading.Event()
    entered = threading.Event()
    closed = []
    hang = _hang(release)[kind]

    def begin(self):
        entered.set()
        self.context.on_close(lambda: closed.append(1))
        if not release.is_set():
            hang(self)

    async def begin_later(self):
        entered.set()
        self.context.on_close(lambda: closed.append(1))
        if not release.is_set():
            await hang(self)

    cls = type("Slow", (IPhoton,), {step: begin if kind == "plain" else begin_later})

    handler = handler_of(cls)
    if step == "finalize":
        await handler.start()
    work = handler.stop() if step == "finalize" else handler.start()
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(entered.wait, DEADLINE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handler.state is State.FAILED
    assert handler.instance is None
    assert not tasks_left()
    assert closed == [1]
    release.set()
    await handler.start()
    assert handler.state is State.RUNNING
    assert await handler.stop()


async def test_on_close_runs_after_finalize_last_first():
    """Whatever one of them does, the others are called."""
    log = []

    class Careful(IPhoton):
        def start(self):
            self.context.on_close(lambda: log.append("first"))
            self.context.on_close(self.broken)
            self.context.on_close(self.later)

        def broken(self):
            log.append("broken")
            raise SystemExit(1)

        async def later(self):
            await asyncio.sleep(0)
            log.append("later")

        def finalize(self):
            log.append("finalize")

    handler = handler_of(Careful)
    await handler.start()
    assert await handler.stop() is False
    assert "SystemExit" in handler.problem.why
    assert log == ["finalize", "later", "broken", "first"]


async def test_on_close_runs_when_start_fails():
    """What a failed start has taken is released."""
    log = []

    class Half(IPhoton):
        def __init__(self):
            self.context.on_close(lambda: log.append("init"))

        def start(self):
            self.context.on_close(lambda: log.append("start"))
            raise ValueError

    with pytest.raises(PhotonStartError):
        await handler_of(Half).start()
    assert log == ["start", "init"]


async def test_force_stop_skips_finalize():
    """What the photon owns is ended all the same."""
    log = []

    class Forced(IPhoton):
        def start(self):
            self.context.on_close(lambda: log.append("close"))

        def finalize(self):
            log.append("finalize")

    handler = handler_of(Forced)
    await handler.start()
    assert await handler.stop(force_stop=True)
    assert log == ["close"]


@pytest.mark.fault(7)
async def test_a_step_that_waits_for_itself_is_refused():
    """``start`` that awaits its own handler's stop: an error, no deadlock."""
    seen = []

    class Selfish(IPhoton):
        async def start(self):
            try:
                await box.handler.stop()
            except PhotonStateError as error:
                seen.append(error)

    box = SimpleNamespace()

    box.handler = handler_of(Selfish)
    await asyncio.wait_for(box.handler.start(), DEADLINE)
    assert box.handler.state is State.RUNNING
    await box.handler.stop()
    assert len(seen) == 1


def test_concurrent_starts_and_stops_are_one_after_the_other():
    """Ten tasks on two loops in two threads: one start, one stop at a time."""
    log = []

    class Busy(IPhoton):
        async def start(self):
            log.append("+")
            await asyncio.sleep(0.001)

        async def finalize(self):
            log.append("-")
            await asyncio.sleep(0.001)

    handler = handler_of(Busy)
    asyncio.run(handler.start())

    async def many():
        for _ in range(5):
            await asyncio.gather(*(handler.start() for _ in range(5)))
            await asyncio.gather(*(handler.stop() for _ in range(5)))

    errors = []

    def other():
        try:
            asyncio.run(many())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=other) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert not errors
    assert log[::2] == ["+"] * len(log[::2])
    assert log[1::2] == ["-"] * len(log[1::2])


@pytest.mark.fault(25)
async def test_hostile_classes_do_not_break_the_host():
    """Raising metaclasses, ``__getattr__``, descriptors, ``__eq__``, ``__del__``."""

    class Meta(type):
        def __call__(cls):
            return type.__call__(cls)

        def __getattr__(cls, name):
            if name.startswith("__"):
                raise AttributeError(name)
            raise OSError(name)

    class Trap:
        def __get__(self, instance, owner):
            if instance is None:
                raise OSError("class")
            raise OSError("instance")

    class Hostile(IPhoton, metaclass=Meta):
        trap = Trap()

        def __eq__(self, other):
            raise OSError("eq")

        def __hash__(self):
            raise OSError("hash")

        def __bool__(self):
            raise OSError("bool")

        def __len__(self):
            raise OSError("len")

        def __repr__(self):
            raise OSError("repr")

        def __getattr__(self, name):
            raise AttributeError(name)

    for _ in range(2):
        handler = handler_of(Hostile)
        await handler.start()
        assert handler.state is State.RUNNING
        assert "Hostile" in repr(handler)
        await handler.stop()


async def test_equal_photons_are_told_apart():
    """Instances that compare equal are seated and unseated one by one."""

    class Same(IPhoton):
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    ports = Runtime()
    a, b = (Handler(False, n, __file__, "", Same, runtime=ports) for n in "ab")
    await a.start()
    await b.start()
    assert ports.plugins.get_plugin("a") is a.instance
    assert ports.plugins.get_plugin("b") is b.instance
    await a.stop()
    assert ports.plugins.get_plugin("a") is None
    assert ports.plugins.get_plugin("b") is b.instance
    await b.stop()


async def test_slots_and_frozen_photons_do_without_context():
    """A class without room for attributes is a photon all the same."""

    class Slim:
        __slots__ = ("on",)

        def start(self):
            self.on = True

    handler = handler_of(Slim)
    await handler.start()
    assert handler.instance.on
    await handler.stop()


async def test_class_that_makes_something_else():
    """``__new__`` may return another object; then ``__init__`` is not called."""

    class Other:
        def start(self):
            self.on = True

    class Factory(IPhoton):
        def __new__(cls):
            return Other()

        def __init__(self):
            raise AssertionError("never")

    handler = handler_of(Factory)
    await handler.start()
    assert handler.instance.on
    await handler.stop()


@pytest.mark.fault(25)
async def test_a_del_that_raises_is_contained(photons):
    """A destructor's error is the interpreter's to report, and nobody's failure."""
    hooked = []
    old = sys.unraisablehook
    # To keep the exception would keep the photon.
    sys.unraisablehook = lambda args: hooked.append(args.exc_type)
    try:

        class Dying(IPhoton):
            def __del__(self):
                raise SystemExit(1)

        async def go():
            handler = handler_of(Dying)
            await handler.start()
            reference = weakref.ref(handler.instance)
            await handler.stop()
            handler._release()
            gc.collect()
            return reference

        assert (await go())() is None
        assert hooked == [SystemExit]
    finally:
        sys.unraisablehook = old


async def test_settings_reach_the_photon_read_only(photons):
    """``context.settings`` is what the host set for that photon."""
    path = photons.photon(
        "user", "def start(self): self.seen = self.context.settings\n"
    )

    async with Loader(settings={"user": {"depth": 3}}) as loader:
        await (await loader.load_photon(path)).start()
        seen = loader.photons["user"].instance.seen
        assert dict(seen) == {"depth": 3}
        with pytest.raises(TypeError):
            seen["depth"] = 4
        logger = loader.photons["user"].instance.context.logger
        assert logger.name == "luminal.photon.user"


# Unloading ---------------------------------------------------------------------------

LINGERING = """
import asyncio
import luminal

class Lingering(luminal.IPhoton):
    photon_name = "lingering"

    async def finalize(self):
        await asyncio.sleep(0.05)
"""


@pytest.mark.parametrize("is_meanwhile", [True, False])
async def test_what_is_unloaded_cannot_be_started(tmp_path, is_meanwhile):
    """Not while it ends, nor later: nobody would know of it, and it has no code."""
    (tmp_path / "lingering.py").write_text(LINGERING)

    async with Loader() as loader:
        (handler,) = await loader.load_photon(tmp_path / "lingering.py")
        await handler.start()
        unloading = asyncio.create_task(loader.unload_photon(handler))
        while handler.state is not State.STOPPING:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
        if not is_meanwhile:
            await unloading
        with pytest.raises(PhotonStateError, match="has been unloaded"):
            await handler.start()
        assert await unloading is True
        assert handler.state is State.STOPPED


async def test_a_cancelled_unload_leaves_nothing_behind(tmp_path):
    """Also where it is cancelled while what the photon owns is being ended."""
    (tmp_path / "owner.py").write_text(
        "import asyncio, threading, time\n"
        "import luminal\n\n"
        "class Owner(luminal.IPhoton):\n"
        "    async def start(self):\n"
        "        self.context.on_close(self.linger)\n"
        "        self.context.thread(self.work)\n"
        "        self.context.spawn(asyncio.sleep(3600))\n\n"
        "    async def linger(self):\n"
        "        self.lingers = True\n"
        "        await asyncio.sleep(3600)\n\n"
        "    def work(self):\n"
        "        while True:\n"
        "            time.sleep(0.001)\n"
    )
    before = set(threading.enumerate())

    async with Loader() as loader:
        (handler,) = await loader.load_photon(tmp_path / "owner.py")
        await handler.start()
        photon = handler.instance
        unloading = asyncio.create_task(loader.unload_photon(handler))
        while not hasattr(photon, "lingers"):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
        unloading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unloading
        assert not tasks_left()
        assert loader.photons == {}
        left = set(threading.enumerate()) - before
        assert not [t.name for t in left if "work" in t.name]
