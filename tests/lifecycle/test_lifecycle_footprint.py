"""What a photon changes of shared state is named, put back, or refused."""

from __future__ import annotations

import atexit
import copyreg
import functools
import logging
import os
import signal
import string
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import pytest

import luminal
from luminal.model import EventKind
from luminal.testing import Host

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "LUMINAL_TEST_TRAIL"

AT_LOAD = f"""
import os, sys
import luminal

os.environ[{VARIABLE!r}] = "1"

class Meddler(luminal.IPhoton):
    photon_name = "meddler"
"""

AT_START = f"""
import os, sys
import luminal

class Meddler(luminal.IPhoton):
    photon_name = "meddler"

    def start(self):
        os.environ[{VARIABLE!r}] = "1"
"""

QUIET = """
import luminal

class Quiet(luminal.IPhoton):
    photon_name = "quiet"

    def start(self):
        self.data = dict(a=1)
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])


def write(directory: Path, text: str, name: str = "meddler") -> Path:
    file = directory / f"{name}.py"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", [AT_LOAD, AT_START])
def test_restore_puts_back_at_the_unload(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a reload it stays, since the next generation relies on it."""
    with Host(footprint={"os.environ": "restore"}) as host:
        host.write("meddler.py", text)
        (handler,) = host.run()
        changes = handler.interpreter_changes
        assert [c.facet for c in changes if c.facet == "os.environ"]
        host.edit("meddler.py", text + "\n# next\n")
        host.reload("meddler")
        assert os.environ.get(VARIABLE) == "1"
        monkeypatch.setenv("LUMINAL_TEST_HOST", "kept")
        host.unload("meddler")
        assert VARIABLE not in os.environ
        assert os.environ["LUMINAL_TEST_HOST"] == "kept"


@pytest.mark.parametrize("fails", ["raise ValueError", "while True: pass"])
def test_restore_puts_back_at_a_failed_start(fails: str) -> None:
    deadlines = luminal.Deadlines(start=0.3)
    with Host(footprint="restore", deadlines=deadlines) as host:
        host.write("meddler.py", f"{AT_START}        {fails}\n")
        with pytest.raises(luminal.LuminalError):
            host.run()
        assert VARIABLE not in os.environ


@pytest.mark.parametrize("text", [AT_LOAD, AT_START])
def test_refuse_makes_the_photon_fail_and_no_other(text: str) -> None:
    with Host(footprint={"*": "allow", "os.environ": "refuse"}) as host:
        host.write("meddler.py", text)
        host.write("quiet.py", QUIET)
        with pytest.raises(luminal.LuminalError, match=VARIABLE) as caught:
            host.run()
        assert caught.value.photon == "meddler"
        assert str(host.loader.photons["quiet"].state) == "running"
        assert VARIABLE not in os.environ


def test_a_refused_reload_changes_nothing() -> None:
    with Host(footprint={"os.environ": "refuse"}) as host:
        host.write("meddler.py", QUIET.replace("quiet", "meddler"))
        host.run()
        for text in (AT_LOAD, AT_START):
            host.edit("meddler.py", text)
            with pytest.raises(luminal.LuminalError, match=r"os\.environ"):
                host.reload("meddler")
            assert VARIABLE not in os.environ
            assert host["meddler"].data == {"a": 1}


@pytest.mark.parametrize("text", [AT_LOAD, AT_START])
def test_warn_is_an_event_and_a_line_of_the_log(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each names the photon, the facet, and what was changed."""
    with Host(footprint={"os.environ": "warn"}) as host:
        host.write("meddler.py", text)
        host.run()
    (event,) = (e for e in host.events if e.kind is EventKind.SIDE_EFFECT)
    assert event.photon == "meddler"
    for said in (str(event), caplog.text):
        assert "meddler" in said
        assert "os.environ" in said
        assert VARIABLE in said
    assert os.environ.pop(VARIABLE) == "1"


def test_a_quiet_photon_changes_nothing_that_can_be_put_back() -> None:
    """Not even the first one of a host, with all refused."""
    with Host(footprint="refuse") as host:
        host.write("quiet.py", QUIET)
        host.run()
        host.reload("quiet")


@pytest.mark.parametrize("wrong", ["never", {"os.nothing": "warn"}])
def test_an_unknown_policy_or_facet_is_refused(wrong: str | dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"never|os\.nothing"):
        luminal.Loader(footprint=wrong)


# Habit → what the report calls it, and the statement.
HABITS = {
    "atexit": "atexit.register(function)",
    "logging": "handler.addFilter(function); logging.root.addHandler(handler)",
    "thread": "threading.Thread(target=block, args=(host['event'],)).start()",
    "singledispatch": "host['generic'].register(Thing, function)",
    "signal": "signal.signal(signal.SIGUSR1, function)",
    "finder": "sys.meta_path.append(Thing())",
    "attribute": "string.capwords = function",
    "traceback": "host['kept'] = fail()",
    "contextvar": "host['variable'].set(Thing())",
    "threading.local": "host['local'].kept = Thing()",
    "copyreg": "copyreg.dispatch_table[Thing] = function",
    "task": "asyncio.create_task(wait(), name='pending')",
    "hook": "warnings.showwarning = function",
    "weakref.finalize": "host['final'] = weakref.finalize(host['thing'], function)",
    "attribute ": "logging.luminal_test_mark = Thing()",
    "typing": "host['kind'] = typing.List[Thing]",
}

HABIT = """
import asyncio, atexit, copyreg, logging, signal, string, sys, threading, typing
import warnings, weakref
import luminal

class Thing:
    def find_spec(self, name, path=None, target=None): return None

handler = logging.StreamHandler()
def function(*args, **kwargs): return True
def block(event): event.wait()
async def wait(): await asyncio.Event().wait()
def fail():
    try:
        raise ValueError("kept")
    except ValueError as error:
        return error

class Habitual(luminal.IPhoton):
    photon_name = "habitual"

    def indulge(self, host):
        {0}
"""


class Thing:
    """Something of the host's."""


TAKEN_BACK = {"atexit", "logging", "signal", "finder", "copyreg", "hook"}
TAKEN_BACK |= {"thread", "task"}  # they are ended


@pytest.mark.fault(26)
@pytest.mark.parametrize("habit", HABITS)
async def test_a_habit_that_keeps_unloaded_code_alive_is_named(
    habit: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the journal, in the log, and on the Handler. Some are taken back."""
    import contextvars

    monkeypatch.setattr(string, "capwords", string.capwords)
    monkeypatch.setattr(logging, "luminal_test_mark", None, raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(copyreg, "dispatch_table", dict(copyreg.dispatch_table))
    before = signal.getsignal(signal.SIGUSR1)
    handlers = list(logging.root.handlers)
    host = {
        "event": threading.Event(),
        "generic": functools.singledispatch(lambda value: value),
        "variable": contextvars.ContextVar("host_variable"),
        "local": threading.local(),
        "thing": Thing(),
    }

    try:
        loader = luminal.Loader(footprint={})
        file = write(tmp_path, HABIT.format(HABITS[habit]), "habitual")
        await (await loader.load_photon(file)).start()
        handler = loader.photons["habitual"]
        undo = vars(sys.modules[type(handler.instance).__module__])["function"]
        try:
            handler.instance.indulge(host)  # as a host calls a hook
            await loader.unload_photon("habitual")
        finally:
            atexit.unregister(undo)
            if "task" in host:
                host["task"].cancel()
            if "final" in host:
                host["final"].detach()
        if habit in TAKEN_BACK:
            assert handler.referrers == ()
            return
        assert habit.strip() in {pin.kind for pin in handler.referrers}
        pinned = [e for e in loader.events.journal if e.kind == "leaked"]
        assert [e.photon for e in pinned] == ["habitual"]
        assert habit.strip() in str(pinned[0])
        assert "'habitual' is gone" in caplog.text
    finally:
        host["event"].set()
        signal.signal(signal.SIGUSR1, before)
        logging.root.handlers[:] = handlers


@pytest.mark.parametrize("last", ["one", "two"])
def test_two_photons_that_change_the_same_leave_nothing_of_either(last: str) -> None:
    """In whatever order they go: what the second found was the first one's."""
    usual = warnings.showwarning
    with Host(footprint="restore") as host:
        for name in ("one", "two"):
            text = AT_START.replace("meddler", name).replace('"1"', repr(name))
            hook = "        import warnings; warnings.showwarning = lambda *_: None\n"
            host.write(f"{name}.py", text + hook)
        host.run()
        first = "one" if last == "two" else "two"
        host.unload(first)
        assert os.environ[VARIABLE] == last
        assert warnings.showwarning is not usual
        host.unload(last)
        assert VARIABLE not in os.environ
        assert warnings.showwarning is usual
