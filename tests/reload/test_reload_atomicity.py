"""A reload that fails, whatever fails in it and whenever, leaves no trace."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import threading

import pytest

from luminal.errors import LuminalError, PhotonReloadError
from luminal.model import Deadlines, EventKind, State
from tests.waiting import DEADLINE, brief, tasks_left

HELPER = "VALUE = {number}\n"
PHOTON = """
from luminal import IPhoton, hookimpl
from . import {helper}
{head}

class Photon(IPhoton):
    photon_name = {name!r}
    photon_version = "{number}"
    {body}

    @hookimpl
    def who(self):
        return ({name!r}, {number}, {helper}.VALUE)

    @hookimpl
    def visit(self, go):
        return go()

{tail}
"""
GATE = threading.Event()  # lets go of what a test has made hang

AT_IMPORT = {
    "a first line that raises": ("head", "raise ValueError('first')"),
    "a last line that raises": ("tail", "raise ValueError('last')"),
    "SystemExit at import": ("tail", "raise SystemExit(3)"),
    "KeyboardInterrupt at import": ("tail", "raise KeyboardInterrupt"),
    "GeneratorExit at import": ("tail", "raise GeneratorExit"),
    "CancelledError at import": (
        "tail",
        "import asyncio\nraise asyncio.CancelledError",
    ),
    "endless recursion at import": ("tail", "def f(): f()\nf()"),
    "MemoryError at import": ("tail", "raise MemoryError"),
    "a missing module": ("head", "import no_such_module_anywhere"),
    "a missing name": ("head", "from .helper_of_{name} import NOTHING"),
    "a syntax error": ("tail", "def broken(:"),
    "a null byte": ("tail", "x = '\0'"),
    "no photon": ("tail", "del Photon"),
    "an abstract photon": (
        "tail",
        "import abc\nclass Photon(IPhoton,abc.ABC):\n @abc.abstractmethod\n def f(s):0",
    ),
    "an unusable name": ("tail", "Photon.photon_name = ' '"),
    "a name that is taken": ("tail", "Photon.photon_name = 'apart'"),
    "an import that hangs": (
        "tail",
        "import sys\nsys.modules['luminal_test_gate'].wait(60)",
    ),
}
AT_START = {
    "__init__ raises": ("body", "def __init__(self): raise ValueError('init')"),
    "on_reload raises": (
        "body",
        "def on_reload(self, previous): previous.data.clear(); raise ValueError",
    ),
    "on_reload exits": ("body", "def on_reload(self, previous): raise SystemExit"),
    "on_reload mangles its copy": (
        "body",
        "def on_reload(self, previous): previous.data['list'].append(2); 1 / 0",
    ),
    "start raises": ("body", "def start(self): raise ValueError('start')"),
    "async start raises": ("body", "async def start(self): raise ValueError('start')"),
    "start exits": ("body", "def start(self): raise SystemExit(1)"),
    "async start exits": ("body", "async def start(self): raise SystemExit(1)"),
    "start interrupts": ("body", "async def start(self): raise KeyboardInterrupt"),
    "start ends a generator": ("body", "async def start(self): raise GeneratorExit"),
    "start raises CancelledError": (
        "body",
        "async def start(self):\n        import asyncio; raise asyncio.CancelledError",
    ),
    "plain start raises CancelledError": (
        "body",
        "def start(self):\n        import asyncio; raise asyncio.CancelledError",
    ),
    "async start hangs": (
        "body",
        "async def start(self):\n        import asyncio; await asyncio.sleep(99)",
    ),
    "start hangs": (
        "body",
        "def start(self): import sys; sys.modules['luminal_test_gate'].wait(60)",
    ),
    "start raises, finalize too": (
        "body",
        "def start(self): raise ValueError\n    def finalize(self): raise TypeError",
    ),
}
AT_SEAT = {
    "a hook with other arguments": (
        "body",
        "@hookimpl(specname='who')\n    def more(self, nonsense): ...",
    ),
    "a wrapper that is no generator": (
        "body",
        "@hookimpl(wrapper=True, specname='who')\n    def more(self): return 1",
    ),
}


@pytest.fixture(autouse=True)
def gate(monkeypatch):
    GATE.clear()
    monkeypatch.setitem(sys.modules, "luminal_test_gate", GATE)
    yield
    GATE.set()


def text(name, number, helper="shared", **parts):
    for part in ("head", "body", "tail"):
        parts[part] = parts.get(part, "").replace("{name}", name)
    return PHOTON.format(name=name, number=number, helper=helper, **parts)


def write(photons, number, names=("one", "two"), **parts_of):
    photons.write("shared.py", HELPER.format(number=number))
    for name in names:
        photons.write(f"{name}.py", text(name, number, **parts_of.get(name, {})))
    return [photons.path / f"{name}.py" for name in names]


async def running(host, photons):
    """Start two photons with a shared helper, and one that is apart."""
    photons.write("other.py", HELPER.format(number=0))
    apart = photons.write("apart.py", text("apart", 0, "other"))
    handlers = await host.run(*write(photons, 1), apart)
    for handler in handlers:
        handler.context.data["list"] = [1]
    return handlers


def deadlines(fault):
    limit = brief(0.3) if "hangs" in fault else DEADLINE
    return Deadlines(limit, limit, limit, limit, limit)


@pytest.mark.fault(1, 2, 3, 4, 5, 10, 11, 17)
@pytest.mark.parametrize("where", ["one", "two"])
@pytest.mark.parametrize("fault", [*AT_IMPORT, *AT_START, *AT_SEAT])
async def test_nothing_changes(make_host, photons, picture, unchanged, fault, where):
    """Same objects, order, modules, attributes, threads, finders and source lines."""
    part, line = {**AT_IMPORT, **AT_START, **AT_SEAT}[fault]
    async with make_host(deadlines=deadlines(fault)) as host:
        handlers = await running(host, photons)
        before = picture(host)
        write(photons, 2, **{where: {part: line}})
        with pytest.raises(LuminalError) as caught:
            await host.reload_photons(handlers[:2])
        GATE.set()
        await unchanged(host, before)
        assert caught.value.why or caught.value.what
        assert {e.photon for e in host.happened(EventKind.REJECTED)} == {"one", "two"}
        assert [h.state for h in handlers] == [State.RUNNING] * 3
        assert not tasks_left()
        write(photons, 3)
        await host.reload_photons(handlers[:2])
        assert host.answers() == [("one", 3, 3), ("two", 3, 3), ("apart", 0, 0)]


@pytest.mark.fault(17)
async def test_data_that_cannot_be_copied_is_refused(
    make_host, photons, picture, unchanged
):
    """The old photon keeps its data, and the error names the photon."""
    async with make_host() as host:
        one, *_ = await running(host, photons)
        one.context.data["lock"] = threading.Lock()
        before = picture(host)
        write(photons, 2)
        with pytest.raises(PhotonReloadError, match=r"'one'.*cannot be handed over"):
            await host.reload_photon(one)
        await unchanged(host, before)


@pytest.mark.fault(2)
async def test_a_file_that_is_gone_is_refused(make_host, photons, picture, unchanged):
    """Of a deleted file, or of one whose helper is deleted."""
    async with make_host() as host:
        one, *_ = await running(host, photons)
        before = picture(host)
        for name in ("shared.py", "one.py"):
            kept = (photons.path / name).read_bytes()
            (photons.path / name).unlink()
            with pytest.raises(LuminalError):
                await host.reload_photon(one)
            await unchanged(host, before)
            (photons.path / name).write_bytes(kept)


class CancelledAt:
    """Awaits a coroutine, and cancels the task at its nth suspension."""

    def __init__(self, coroutine, nth):
        self.coroutine, self.nth, self.count = coroutine, nth, 0

    def __await__(self):
        steps = self.coroutine.__await__()
        advance, value = steps.send, None
        while True:
            try:
                waited_for = advance(value)
            except StopIteration as end:
                return end.value
            self.count += 1
            if self.count == self.nth:
                asyncio.current_task().cancel()
            try:
                value = yield waited_for
                advance = steps.send
            except BaseException as error:
                advance, value = steps.throw, error


@pytest.mark.fault(14, 48)
@pytest.mark.parametrize(
    "kind", ["async", "plain", pytest.param("exclusive", marks=pytest.mark.slow)]
)
async def test_cancelled_at_every_await(make_host, photons, picture, unchanged, kind):
    """Before the swap it is as if nobody had asked; after it, it is completed."""
    steps = "async def" if kind == "async" else "def"
    body = f"""
    photon_exclusive = {kind == "exclusive"}
    {steps} start(self): self.context.data['starts'] = 1
    {steps} on_reload(self, previous): self.context.data.update(previous.data)
    {steps} finalize(self): return True
    """
    parts = {"body": textwrap.dedent(body).strip().replace("\n", "\n    ")}
    ends = set()
    for nth in range(1, 200):
        async with make_host() as host:
            paths = write(photons, 1, one=parts, two=parts)
            handlers = await host.run(*paths)
            before = picture(host)
            write(photons, 2, one=parts, two=parts)
            stepped = CancelledAt(host.reload_photons(handlers), nth)

            async def reload(stepped=stepped):
                return await stepped

            task = asyncio.create_task(reload())
            await asyncio.wait({task})
            if handlers[0].number == 1:
                assert task.cancelled()
                # An exclusive one was stopped, and has been started again.
                anew = {"photons", "hooks", "registered"}
                apart_from = anew if kind == "exclusive" else set()
                await unchanged(host, before, apart_from)
                assert host.answers() == [("one", 1, 1), ("two", 1, 1)]
                ends.add("before")
            else:
                await host.until(lambda: len(host.happened(EventKind.FINALIZED)) >= 2)
                assert host.answers() == [("one", 2, 2), ("two", 2, 2)]
                ends.add("after" if task.cancelled() else "never")
            assert [h.state for h in handlers] == [State.RUNNING] * 2
        if not task.cancelled():
            break
    # An exclusive one has been finalized before the swap: nothing waits after it.
    after = set() if kind == "exclusive" else {"after"}
    assert ends == {"before", "never"} | after


@pytest.mark.fault(14, 48)
async def test_a_deadline_of_the_caller_leaves_no_task(
    make_host, photons, picture, unchanged
):
    """`asyncio.timeout` round a reload whose start hangs: no orphan, old serves."""
    async with make_host() as host:
        handlers = await running(host, photons)
        before = picture(host)
        write(photons, 2, two={"body": AT_START["async start hangs"][1]})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await host.reload_photons(handlers[:2])
        await unchanged(host, before)
        assert not tasks_left()


@pytest.mark.fault(14, 48)
async def test_a_deadline_of_the_caller_that_passes_during_the_commit(
    make_host, photons
):
    """The swap stands, the old photons are retired, and the caller is told."""
    async with make_host() as host:
        one, two, *_ = await running(host, photons)
        loop, is_over = asyncio.get_running_loop(), threading.Event()

        def pass_deadline(event):
            if event.kind is EventKind.SWAPPED and not is_over.is_set():
                loop.call_soon_threadsafe(deadline.reschedule, loop.time() - 1)
                # What that schedules runs in the next turn of the loop, and cancels.
                loop.call_soon_threadsafe(loop.call_soon, is_over.set)
                is_over.wait(DEADLINE)

        host.events.subscribe(pass_deadline)
        write(photons, 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as deadline:
                await host.reload_photons([one, two])
        await host.until(lambda: len(host.happened(EventKind.FINALIZED)) >= 2)
        assert (one.number, two.number) == (2, 2)
        assert asyncio.current_task().cancelling() == 0
        write(photons, 3)
        await host.reload_photons([one, two])
        assert (one.number, two.number) == (3, 3)


@pytest.mark.fault(48)
async def test_cancelled_before_its_thread_has_begun(
    make_host, photons, picture, unchanged
):
    """Nothing of the new version runs then, and the next reload works."""
    async with make_host() as host:
        one, two, *_ = await running(host, photons)
        await host.reload_photons([one, two])  # from now on a thread is there
        before, is_free = picture(host), threading.Event()
        marks = photons.path.parent / "ran"
        write(photons, 2, two={"head": f"open({str(marks)!r}, 'w').close()"})
        worker = host._world.worker
        is_busy = threading.Event()
        worker.submit(lambda: (is_busy.set(), is_free.wait()), lambda: None)
        await host.until(is_busy.is_set)
        task = asyncio.create_task(host.reload_photons([one, two]))
        await host.until(worker._running.work.qsize)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        is_free.set()
        await unchanged(host, before, {"threads"})
        assert not marks.exists()
        await host.reload_photons([one, two])
        assert marks.exists()
        assert {one.number, two.number} == {3}
