"""Where an error goes: each row of the table in the docs is provoked and looked for."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from luminal import Loader, hookspec
from luminal.managers.status import report_of
from luminal.model import EventKind, FailureKind
from luminal.web import render_page, snapshot_of
from tests.waiting import DEADLINE, async_wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from luminal.model import Event
    from tests.conftest import Photons

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "errors.md"

HEAD = """
import asyncio, threading
from luminal import hookimpl
from luminal.managers import SuperLoop

class Bad(Exception):
    pass

def fail(*args):
    raise Bad("it went wrong")

async def afail():
    raise Bad("it went wrong")

class Loop(SuperLoop):
    def cycle(self):
        raise Bad("it went wrong")
"""

PROVOKED = {
    FailureKind.HOOK: "@hookimpl\ndef on_message(self):\n    fail()",
    FailureKind.TASK: "async def start(self):\n    self.context.spawn(afail())",
    FailureKind.THREAD: "def start(self):\n    self.context.thread(fail)",
    FailureKind.EVERY: "def start(self):\n    self.context.every(0.01, fail)",
    FailureKind.LOOP: "def start(self):\n    self.context.loop(Loop())",
    FailureKind.FINALIZE: "def finalize(self):\n    fail()",
    FailureKind.ON_CLOSE: "def start(self):\n    self.context.on_close(fail)",
    FailureKind.SUBSCRIBER: (
        "def start(self):\n    self.context.settings['subscribe'](fail)"
    ),
}
ENDS = {FailureKind.FINALIZE, FailureKind.ON_CLOSE}


class Specs:
    """A hook that goes on without a photon that fails."""

    @hookspec(isolate=True)
    def on_message(self) -> None:
        """Say something."""


@pytest.fixture
async def host() -> AsyncIterator[Loader]:
    """A host whose photons may subscribe to its events."""
    settings: dict[str, Any] = {}
    loader = Loader(hookspecs=[Specs], settings={"bad": settings})
    settings["subscribe"] = loader.events.subscribe
    yield loader
    await loader.close()


def raised(loader: Loader) -> list[Event]:
    """Return the events of contained exceptions."""
    return [e for e in loader.events.journal if e.kind is EventKind.RAISED]


def test_every_kind_is_provoked_and_documented() -> None:
    """A kind that is added is added here and in the docs."""
    assert set(PROVOKED) == set(FailureKind)
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == list(FailureKind)


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_contained_exception_is_told_everywhere(
    kind: FailureKind,
    host: Loader,
    photons: Photons,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, emitted, counted, and shown by Handler, page and JSON."""
    path = photons.photon("bad", PROVOKED[kind], HEAD)
    (handler,) = await host.load_photon(path)
    await handler.start()
    if kind is FailureKind.HOOK:
        assert host.hook.on_message() == []
        host.hook.on_message()
    if kind in ENDS:
        await handler.stop()
    await async_wait_until(lambda: raised(host))

    event = raised(host)[0]
    problem = event.problem
    assert (event.photon, event.generation) == ("bad", 1)
    assert problem is not None
    assert problem.code == "LUM124"
    assert problem.why == "Bad: it went wrong"
    assert (problem.phase, problem.file) == (str(kind), str(path))
    assert path.read_text().splitlines()[problem.line - 1].strip().startswith("raise")
    assert problem.frames

    records = [r for r in caplog.records if r.name == "luminal.failures"]
    assert len(records) == 1
    text = logging.Formatter().format(records[0])
    assert "'bad' (generation 1)" in text
    assert "Traceback" in text
    assert "once in 60 seconds" in text

    failure = handler.failures[-1]
    assert (failure.kind, failure.photon, failure.generation) == (kind, "bad", 1)
    assert failure.problem == problem
    assert handler.problem is not None
    count = host.failures_of("bad")[kind]
    assert count == failure.count or kind is FailureKind.EVERY
    if kind is FailureKind.HOOK:
        assert count == 2

    status = json.loads(json.dumps(report_of(host)))
    (row,) = status["photons"]
    assert row["failures"][kind] >= 1
    assert row["problem"]
    snapshot = snapshot_of(host)
    assert problem in [f.problem for f in snapshot.failures]
    assert "it went wrong" in render_page(snapshot)


HOSTILE = """
import asyncio
from luminal import hookimpl

class Ended(BaseException):
    pass

class Loud(Exception):
    def __getattribute__(self, name):
        raise SystemExit(name)
    __eq__ = __hash__ = __bool__ = __str__ = __repr__ = __getattribute__

def fail(*args):
    raise {0}

async def afail(*args):
    fail()
"""
BY_OWN_LOOP = "def start(self):\n    self.kept = self.context.spawn(afail())"
OTHERS = [
    (FailureKind.HOOK, PROVOKED[FailureKind.HOOK], ["Loud()"]),
    (FailureKind.TASK, PROVOKED[FailureKind.TASK], ["Ended()", "Loud()"]),
    (FailureKind.TASK, BY_OWN_LOOP, ["ValueError()", "SystemExit()", "Loud()"]),
    (FailureKind.THREAD, PROVOKED[FailureKind.THREAD], ["Ended()", "Loud()"]),
    (
        FailureKind.EVERY,
        PROVOKED[FailureKind.EVERY],
        ["Ended()", "Loud()", "asyncio.CancelledError()", "KeyboardInterrupt()"],
    ),
    (
        FailureKind.EVERY,
        PROVOKED[FailureKind.EVERY].replace("fail", "afail"),
        ["Ended()", "asyncio.CancelledError()"],
    ),
    (FailureKind.FINALIZE, PROVOKED[FailureKind.FINALIZE], ["Ended()", "Loud()"]),
    (FailureKind.ON_CLOSE, PROVOKED[FailureKind.ON_CLOSE], ["Ended()", "Loud()"]),
    (
        FailureKind.ON_CLOSE,
        PROVOKED[FailureKind.ON_CLOSE].replace("fail", "afail"),
        ["Ended()", "GeneratorExit()", "Loud()"],
    ),
    (FailureKind.SUBSCRIBER, PROVOKED[FailureKind.SUBSCRIBER], ["Ended()", "Loud()"]),
]


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [(kind, body, error) for kind, body, errors in OTHERS for error in errors],
)
async def test_whatever_is_raised_is_told(
    kind: FailureKind,
    body: str,
    error: str,
    host: Loader,
    photons: Photons,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other classes than `Exception`, and one of whose objects nothing may be asked."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # pytest's own asks
    path = photons.photon("bad", body, HOSTILE.format(error))
    (handler,) = await host.load_photon(path)
    await handler.start()
    if kind is FailureKind.HOOK:
        assert host.hook.on_message() == []
    if kind in ENDS:
        await handler.stop()
    event = (await async_wait_until(lambda: raised(host)))[0]
    assert event.photon == "bad"
    assert event.problem is not None
    assert event.problem.phase == str(kind)
    assert error[:-2].rpartition(".")[2] in event.problem.why
    assert handler.failures[-1].kind is kind
    assert handler.problem is not None
    if kind is FailureKind.EVERY:  # the next call comes in time
        await async_wait_until(lambda: host.failures_of("bad")["every"] > 2)
    other = await host.load_photon(photons.photon("other", OTHER))
    await other[0].start()
    photon: Any = other[0].instance
    await async_wait_until(photon.result.done)
    await host.close()


OTHER = """
def start(self):
    self.result = self.context.spawn(self.work())

async def work(self):
    pass
"""


async def test_a_result_that_is_asked_for_is_not_reported(
    host: Loader, photons: Photons
) -> None:
    """Of a coroutine that runs on Luminal's own loop."""
    body = """
def start(self):
    try:
        self.context.spawn(afail()).result()
    except Bad:
        self.kept = self.context.spawn(afail())
"""
    path = photons.photon("bad", body, HEAD)
    (handler,) = await host.load_photon(path)
    await handler.start()
    await async_wait_until(handler.instance.kept.done)
    await handler.stop()  # it has ended, nobody will ask
    assert host.failures_of("bad") == {"task": 1}


ENDING = """
import asyncio, threading
from luminal import hookimpl

ended = []

async def numbers():
    try:
        while True:
            yield 1
            await asyncio.sleep(0.001)
    finally:
        await asyncio.sleep(0.001)
        ended.append("generator")

async def count():
    await asyncio.to_thread(int)
    async for _ in numbers():
        running.set()

async def wait():
    running.set()
    await asyncio.sleep(3600)

def ask(loop):
    asyncio.run_coroutine_threadsafe(wait(), loop).result()

running = threading.Event()
"""
ENDED = [
    "threading.Thread(target=lambda: asyncio.run(count())).start()",
    "threading.Thread(target=ask, args=(asyncio.get_running_loop(),)).start()",
    "self.context.thread(lambda: asyncio.run(count()))",
    "self.context.thread(ask, asyncio.get_running_loop())",
]


@pytest.mark.parametrize("line", ENDED)
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
async def test_what_luminal_cancels_at_the_end_is_no_failure(
    line: str, host: Loader, photons: Photons, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads that wait for it end as well, and a loop of theirs comes to its end."""
    path = photons.photon(
        "bad", f"async def start(self):\n    self.ended = ended\n    {line}", ENDING
    )
    (handler,) = await host.load_photon(path)
    await handler.start()
    photon: Any = handler.instance
    module = sys.modules[type(photon).__module__]
    await asyncio.to_thread(module.running.wait, DEADLINE)
    await handler.stop()
    assert handler.leftovers == ()
    assert not raised(host)
    assert photon.ended == ["generator"] * ("count" in line)
    assert not [r for r in caplog.records if r.name in ("luminal.failures", "asyncio")]


async def test_a_task_that_is_awaited_is_not_reported(
    host: Loader, photons: Photons, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception has gone to whoever awaits it."""
    path = photons.photon(
        "bad",
        "async def start(self):\n"
        "    try:\n        await self.context.spawn(afail())\n"
        "    except Bad:\n        pass\n"
        "    gathered = asyncio.gather(asyncio.create_task(afail()),\n"
        "                              return_exceptions=True)\n"
        "    assert isinstance((await gathered)[0], Bad)\n",
        HEAD,
    )
    (handler,) = await host.load_photon(path)
    await handler.start()
    await asyncio.sleep(0)
    await handler.stop()
    assert handler.failures == ()
    assert not raised(host)
    assert not [r for r in caplog.records if r.name in ("luminal.failures", "asyncio")]


async def test_what_goes_on_failing_is_counted_and_said_once(
    host: Loader, photons: Photons, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand failures in one place are one record; another place is another."""
    body = (
        "@hookimpl\ndef on_message(self):\n"
        "    self.calls = getattr(self, 'calls', 0) + 1\n"
        "    if self.calls == 1000:\n        raise KeyError('other')\n    fail()\n"
    )
    (handler,) = await host.load_photon(photons.photon("bad", body, HEAD))
    await handler.start()
    for _ in range(1000):
        host.hook.on_message()
    assert host.failures_of("bad") == {"hook": 1000}
    assert [f.count for f in handler.failures] == [999, 1]
    assert len(raised(host)) == 2
    assert len([r for r in caplog.records if r.name == "luminal.failures"]) == 2
    assert handler.problem is not None
    assert "other" in handler.problem.why


async def test_a_reload_begins_anew(host: Loader, photons: Photons) -> None:
    """What the old generation has raised is no problem of the new one."""
    body = "@hookimpl\ndef on_message(self):\n    fail()"
    path = photons.photon("bad", body, HEAD)
    (handler,) = await host.load_photon(path)
    await handler.start()
    host.hook.on_message()
    assert handler.problem is not None
    photons.photon("bad", body.replace("fail()", "return 'well'"), HEAD)
    await host.reload_photon(path)
    assert host.hook.on_message() == ["well"]
    assert handler.problem is None
    assert handler.failures == ()
    assert host.failures_of("bad") == {"hook": 1}
    await host.unload_photon(path)
    assert host.failures_of("bad") == {}


@pytest.mark.parametrize(
    "statement",
    ["raise SystemExit(3)", "raise GeneratorExit", "raise KeyboardInterrupt", "exit()"],
)
async def test_subscribers_cannot_end_a_load(
    statement: str, host: Loader, photons: Photons
) -> None:
    """Whatever a subscriber raises, the photon is loaded and the failure counted."""

    def subscriber(_: object) -> None:
        exec(statement)

    host.events.subscribe(subscriber)
    (handler,) = await host.load_photon(photons.photon("good"))
    await handler.start()
    assert str(handler.state) == "running"
    assert host.failures_of("")["subscriber"] >= 2
    assert len(raised(host)) == 1


GONE = """
import asyncio, gc, json, logging, sys
from luminal import Loader, hookimpl
from luminal.hooks import PluginManager

class Failing:
    @hookimpl
    def on_message(self):
        raise ValueError("a plugin of the host's own")

told = []
log = logging.Handler(logging.ERROR)
log.emit = lambda record: told.append(record.getMessage())
logging.getLogger("luminal.failures").addHandler(log)

async def main():
    manager = PluginManager("luminal", isolate=True)
    first, second = Loader(plugins=manager), Loader(plugins=manager)
    (handler,) = await first.load_photon(sys.argv[1])
    await handler.start()
    manager.register(Failing(), "own")
    del first, handler
    gc.collect()
    manager.hook.on_message()
    await manager.unregister(name="bad").context.scope.close()
    gc.collect()
    manager.hook.on_message()
    print(json.dumps([told, second.failures_of("own")["hook"]]))

asyncio.run(main())
"""


def test_hosts_of_one_manager_come_and_go(photons: Photons) -> None:
    """Nothing is lost: what a photon raises, and a plugin that is no host's own."""
    file = photons.photon("bad", PROVOKED[FailureKind.HOOK], HEAD)
    # A process of its own: a photon whose Loader is gone is never unloaded.
    done = subprocess.run(
        [sys.executable, "-c", GONE, str(file)],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    told, count = json.loads(done.stdout)
    assert len([text for text in told if "'bad'" in text]) == 1, told
    assert len([text for text in told if "'own'" in text]) >= 1, told
    assert count >= 1
