"""What a photon leaves in the interpreter is seen, named, and put back or refused."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import copyreg
import functools
import logging
import os
import signal
import string
import subprocess
import sys
import threading
import types
import typing
import warnings
import weakref

import pytest

from luminal.supervise import Footprint, find_referrers
from tests.waiting import DEADLINE

SOURCE = """
import threading
class Thing: pass
class Finder:
    def find_spec(self, name, path=None, target=None): return None
def function(*args): return None
async def wait(event): await event.wait()
def block(event): event.wait()
def fail(): raise ValueError("kept")
"""


def photon():
    module = types.ModuleType("retired_photon")
    exec(compile(SOURCE, "retired.py", "exec"), vars(module))
    return module


@functools.singledispatch
def host_function(value):
    """A host's generic function."""


class Host:
    """Something of the host's that a finalizer is hung on."""


def referrers_of(module):
    return {
        (found.kind, found.name) for found in find_referrers([vars(module)], photon="p")
    }


def test_a_photon_that_left_nothing_has_no_referrers():
    assert referrers_of(photon()) == set()


@pytest.mark.fault(26)
async def test_sixteen_habits_that_keep_unloaded_code_alive_are_named(monkeypatch):
    """Each of them is in the report, under its own kind."""
    p = photon()
    event = threading.Event()
    host, local = Host(), threading.local()
    variable = contextvars.ContextVar("host_variable")
    handler = logging.StreamHandler()
    handler.addFilter(p.function)
    before_signal = signal.signal(signal.SIGUSR1, p.function)
    thread = threading.Thread(target=p.block, args=(event,), name="left", daemon=True)
    finder = p.Finder()
    kept = None
    try:
        p.fail()
    except ValueError as error:
        kept = error

    async def main():
        task = asyncio.create_task(p.wait(asyncio.Event()), name="pending")
        await asyncio.sleep(0)
        found = referrers_of(p)
        task.cancel()
        return found

    atexit.register(p.function)
    logging.root.addHandler(handler)
    thread.start()
    host_function.register(p.Thing, p.function)
    sys.meta_path.append(finder)
    monkeypatch.setattr(string, "capwords", p.function)
    monkeypatch.setattr(logging, "photon_was_here", p.Thing(), raising=False)
    monkeypatch.setattr(warnings, "showwarning", p.function)
    monkeypatch.setitem(copyreg.dispatch_table, p.Thing, p.function)
    token = variable.set(p.Thing())
    local.kept = p.Thing()
    finalizer = weakref.finalize(host, p.function)
    alias = typing.List[p.Thing]  # noqa: UP006 - the habit
    try:
        found = await main()
    finally:
        atexit.unregister(p.function)
        logging.root.removeHandler(handler)
        event.set()
        thread.join()
        sys.meta_path.remove(finder)
        signal.signal(signal.SIGUSR1, before_signal)
        variable.reset(token)
        finalizer.detach()
    assert found >= {
        ("atexit", "function"),
        ("logging", "StreamHandler of logger 'root'"),
        ("thread", "left"),
        ("singledispatch", "host_function for Thing"),
        ("signal", "SIGUSR1"),
        ("finder", "Finder in sys.meta_path"),
        ("attribute", "string.capwords"),
        ("attribute", "logging.photon_was_here"),
        ("contextvar", "host_variable"),
        ("threading.local", "local.kept"),
        ("copyreg", "Thing"),
        ("task", "pending"),
        ("hook", "warnings.showwarning"),
        ("weakref.finalize", "function"),
        ("typing", repr(alias)),
    }
    assert [name for kind, name in found if kind == "traceback"]
    assert kept is not None


def restored(before):
    """Put back what has changed since *before*."""
    return [before.restore(change) for change in Footprint.take().since(before)]


@pytest.mark.fault(24)
def test_a_change_is_named_and_restored():
    """The environment, the path and hooks are as before after `restore`."""
    before = Footprint.take()
    os.environ["LUMINAL_TEST_FOOTPRINT"] = "1"
    sys.path.append("/nowhere")
    changes = restored(before)
    assert {c.facet for c in changes} >= {"os.environ", "sys.path"}
    assert all(c.is_restored for c in changes if c.can_restore)
    assert "LUMINAL_TEST_FOOTPRINT" not in os.environ
    assert "/nowhere" not in sys.path
    assert {c.facet for c in Footprint.take().since(before)}.isdisjoint(
        {"os.environ", "sys.path"}
    )


def test_nothing_changes_nothing():
    """Two moments with nothing in between differ in nothing that can be restored."""
    before = Footprint.take()
    changes = Footprint.take().since(before)
    assert [change for change in changes if change.can_restore] == []


def test_what_ends_by_itself_is_no_change() -> None:
    """A thread of somebody else that ends meanwhile is nobody's doing."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    before = Footprint.take()
    end.set()
    thread.join()
    assert "threads" not in {change.facet for change in Footprint.take().since(before)}


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads the process table")
def test_a_child_of_any_thread_is_seen() -> None:
    """Linux keeps the list of children by the thread that started them."""
    before = Footprint.take()
    started, end = threading.Event(), threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def work() -> None:
        children.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1))
        started.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(DEADLINE)
        added = {c.facet: c.added for c in Footprint.take().since(before)}
        assert f"'{children[0].pid}'" in added["children"]
    finally:
        end.set()
        thread.join()
        for child in children:
            child.communicate(b"\n")


def test_a_changed_signal_handler_is_named_and_put_back() -> None:
    before = Footprint.take()
    usual = signal.signal(signal.SIGUSR1, lambda *_args: None)
    try:
        after = Footprint.take()
        (change,) = [c for c in after.since(before) if c.facet == "signals"]
        assert "SIGUSR1" in str(change)
        assert before.restore(change).is_restored
        assert signal.getsignal(signal.SIGUSR1) is usual
    finally:
        signal.signal(signal.SIGUSR1, usual)


def undone(before, change_back=()):
    """Take back what has changed since *before*, after the calls *change_back*."""
    after = Footprint.take()
    changes = after.since(before)
    for change in change_back:
        change()
    return [after.undo(change, before) for change in changes]


def test_handlers_that_a_photon_removes_come_back_in_their_order():
    """`force=True` and its like take the host's away; a report does not lie of it."""
    logger = logging.getLogger("test.supervise.footprint.order")
    mine = [logging.NullHandler(), logging.NullHandler()]
    logger.handlers[:] = mine
    before = Footprint.take()
    logger.handlers[:] = [logging.NullHandler(), mine[1]]
    (change,) = (c for c in restored(before) if c.facet == "logging.handlers")
    assert change.is_restored
    assert logger.handlers == mine
    logger.handlers.clear()


def test_what_was_removed_or_moved_comes_back_to_its_place(monkeypatch):
    """The order of a path, of finders and of filters has a meaning."""
    monkeypatch.setattr(sys, "path", ["a", "b", "c"])
    before = Footprint.take()
    sys.path[:] = ["c", "mine"]
    undone(before, [lambda: sys.path.append("host")])
    assert sys.path == ["a", "b", "c", "host"]
    sys.path[:] = ["a", "b", "c"]
    before = Footprint.take()
    sys.path.reverse()
    (change,) = undone(before)
    assert sys.path == ["a", "b", "c"]
    assert change.added
    assert change.is_restored


def test_a_signal_cannot_be_restored_by_another_thread_and_is_not_said_to_be():
    usual = signal.getsignal(signal.SIGUSR2)
    before = Footprint.take()
    signal.signal(signal.SIGUSR2, lambda *_: None)
    answers = []

    def compare():
        found = restored(before)
        answers.extend(c.is_restored for c in found if c.facet == "signals")

    try:
        thread = threading.Thread(target=compare)
        thread.start()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR2, usual)
    assert answers == [False]


def test_a_directory_that_is_gone_and_an_object_that_cannot_be_shown(
    tmp_path, monkeypatch
):
    """Neither keeps a photon from being looked at."""

    class Shy:
        def __repr__(self):
            raise ValueError("not to be shown")

    monkeypatch.setattr(sys, "path_hooks", [*sys.path_hooks])
    lost = tmp_path / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)
    lost.rmdir()
    before = Footprint.take()
    sys.path_hooks.append(Shy())
    assert "Shy" in "".join(map(str, Footprint.take().since(before)))


HOSTILE = """
import threading, logging
sprung = []
def trap(what):
    def spring(*args, **kwargs):
        sprung.append(what)
        raise SystemExit(what)
    return spring

ASKED = {f"__{name}__": trap(name) for name in (
    "getattribute", "getattr", "eq", "hash", "bool", "repr", "str", "len", "iter",
    "contains", "getitem", "instancecheck", "subclasscheck", "call")}
SHOWN = {f"__{name}__": property(trap(name)) for name in (
    "class", "dict", "module", "name", "wrapped", "args", "traceback",
    "code", "func", "self", "origin")}

class Meta(type):
    locals().update({**ASKED, **SHOWN})
    __call__, __hash__ = type.__call__, type.__hash__

class Thing(metaclass=Meta):
    locals().update({**ASKED, **SHOWN})

class Error(BaseException):
    locals().update({**ASKED, **SHOWN})

class Local(threading.local):
    __init__ = trap("init")

class Names(list):
    locals().update(ASKED)

class Name(str):
    locals().update(ASKED)
    __hash__ = str.__hash__

class Thread(threading.Thread):
    locals().update({**ASKED, **SHOWN})
    __hash__ = threading.Thread.__hash__
"""


def search_beside_hostile_code(*, is_own):
    """Return which traps were sprung, and the names of what was found."""
    p = types.ModuleType("retired_hostile")
    exec(compile(HOSTILE, "hostile.py", "exec"), vars(p))
    thing, error = p.Thing(), p.Error()
    local = threading.local.__new__(p.Local)
    old = p if is_own else photon()
    kept = [error, local, p.Names([thing, error]), {p.Name("x"): thing}]
    kept += [] if is_own else [old.Thing()]
    p.sprung.clear()
    found = find_referrers([vars(old)], photon="p", is_thorough=True)
    kept.clear()
    return list(p.sprung), [one.name for one in found]


@pytest.mark.parametrize("is_own", [True, False])
def test_no_code_of_photons_runs_while_referrers_are_searched(is_own):
    """Neither that of the old code itself nor of what else is alive."""
    sprung, names = search_beside_hostile_code(is_own=is_own)
    assert sprung == []
    assert not [name for name in names if "could not be read" in name]
