"""A thread that can be told to end, and the manager of such threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import subprocess
import sys
import threading
import time

import pytest

from luminal.errors import (
    NoThreadsFoundError,
    ThreadLimitReachedError,
    ThreadManagerAlreadyRunningError,
    ThreadsAlreadyRunningError,
)
from luminal.supervise import ThreadManager, TracedThread, checkpoint, sleep
from tests.waiting import DEADLINE, wait_until


def halted(target, *args):
    """Start *target*, wait until it has set its event, halt it, join it."""
    begun = threading.Event()
    thread = TracedThread(target=target, args=(begun, *args), daemon=True)
    thread.start()
    assert begun.wait(DEADLINE)
    thread.halt()
    thread.join(DEADLINE)
    return thread


def spin(begun):
    begun.set()
    while True:
        pass


def swallow(begun):
    while True:
        with contextlib.suppress(BaseException):
            while True:
                begun.set()


def recurse(begun):
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    begun.set()
    fib(60)


def drowse(begun):
    begun.set()
    while True:
        time.sleep(0.001)


def await_for_ever(begun):
    async def main():
        begun.set()
        await asyncio.sleep(3600)

    asyncio.run(main())


def wait_for_event(begun):
    begun.set()
    threading.Event().wait()


def wait_for_queue(begun):
    begun.set()
    queue.Queue().get()


def wait_for_queue_timed(begun):
    begun.set()
    queue.Queue().get(timeout=3600)


@pytest.mark.parametrize(
    "target",
    [
        spin,
        swallow,
        recurse,
        drowse,
        await_for_ever,
        wait_for_event,
        wait_for_queue,
        wait_for_queue_timed,
    ],
)
def test_halt_ends_the_thread(target):
    """Whatever Python code it runs or waits in, a halted thread dies."""
    assert not halted(target).is_alive()


def test_finally_and_with_run_to_their_end():
    """A halt is polite: clean-up of many rounds and calls is not cut."""
    done = []

    def step(i):
        done.append(i)

    def target(begun):
        lock = threading.Lock()
        try:
            with lock:
                begun.set()
                while True:
                    pass
        finally:
            for i in range(1000):
                step(i)
            done.append(lock.locked())

    halted(target)
    assert done == [*range(1000), False]


def test_code_shared_with_another_thread_is_left_alone():
    """A halt ends its thread only, not another that runs the same function."""
    go_on = threading.Event()
    rounds = [0]

    def target(begun):
        begun.set()
        while not go_on.is_set():
            rounds[0] += 1

    begun = threading.Event()
    other = TracedThread(target=target, args=(begun,), daemon=True)
    other.start()
    assert begun.wait(DEADLINE)
    assert not halted(target).is_alive()
    before = rounds[0]
    wait_until(lambda: rounds[0] > before + 1000)
    assert other.is_alive()
    go_on.set()
    other.join(DEADLINE)


def test_nothing_is_installed_before_and_after_a_halt():
    """Monitoring, tracing and the switch interval are as they were."""

    def state():
        tools = (
            [sys.monitoring.get_tool(i) for i in range(6)]
            if (sys.version_info >= (3, 12))
            else []
        )
        return tools, sys.gettrace(), threading.gettrace(), sys.getswitchinterval()

    before = state()
    thread = TracedThread(target=lambda: None)
    thread.start()
    thread.join()
    assert state() == before
    halted(spin)
    wait_until(lambda: state() == before)


def test_logging_lock_is_free_after_a_halt(tmp_path):
    """A thread that logs without end leaves no handler's lock held."""
    logger = logging.getLogger("test.supervise.halt")
    logger.propagate = False
    handler = logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)

    def target(begun):
        while True:
            logger.error("line")
            begun.set()

    try:
        for _ in range(10):
            assert not halted(target).is_alive()
            assert handler.lock.acquire(timeout=1)
            handler.lock.release()
    finally:
        logger.removeHandler(handler)
        handler.close()


def test_a_blocking_c_call_is_reported_and_not_waited_for():
    """A held raw lock cannot be broken: name, place and stack are in the report."""
    lock = threading.Lock()
    lock.acquire()
    begun = threading.Event()

    def stuck():
        begun.set()
        lock.acquire()

    thread = TracedThread(target=stuck, name="stuck one", daemon=True)
    thread.start()
    assert begun.wait(DEADLINE)
    wait_until(lambda: sys._current_frames()[thread.ident].f_code is stuck.__code__)
    leftover = thread.halt_and_join(0.1)
    assert leftover is not None
    assert leftover.name == "stuck one"
    assert "test_supervise_threads.py" in leftover.where
    assert any("stuck" in line for line in leftover.stack)
    lock.release()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_cooperative_code_sees_the_halt():
    """`sleep` returns by raising and `checkpoint` raises."""

    def target(begun):
        begun.set()
        sleep(3600)

    assert not halted(target).is_alive()
    checkpoint()  # the main thread was not halted


def test_overridden_trace_functions_trace_from_the_start():
    """A subclass with its own `localtrace` sees every line, as before."""
    lines = []

    class Listening(TracedThread):
        def localtrace(self, frame, event, arg):
            if event == "line":
                lines.append(frame.f_lineno)
            return self.localtrace

    def target():
        lines.append(0)

    thread = Listening(target=target)
    thread.start()
    thread.join(DEADLINE)
    assert target.__code__.co_firstlineno + 1 in lines


def test_halt_of_an_ended_or_unstarted_thread_does_nothing():
    thread = TracedThread(target=lambda: None)
    thread.halt()
    thread.start()
    thread.join(DEADLINE)
    thread.halt()
    assert not thread.is_alive()


# The manager ---------------------------------------------------------------------


def test_manager_runs_within_its_limit_and_forgets():
    """`run` starts what is queued up to the limit; ended threads are forgotten."""
    manager = ThreadManager()
    manager.thread_limit = 2
    go_on = threading.Event()
    for _ in range(3):
        assert manager.append_thread(go_on.wait, (DEADLINE,))
    manager.run()
    assert len(manager.threads) == 2
    with pytest.raises(ThreadLimitReachedError):
        manager.run()
    go_on.set()
    wait_until(lambda: not manager.threads)
    manager.run()
    wait_until(lambda: not manager.threads)
    with pytest.raises(NoThreadsFoundError):
        manager.run()


def test_manager_refuses_to_run_twice():
    manager = ThreadManager()
    manager.append_thread(threading.Event().wait)
    manager.run()
    with pytest.raises(ThreadsAlreadyRunningError):
        manager.run()
    assert manager.halt() == ()
    assert manager.threads == ()


def test_manager_watches_and_halts():
    """A watching manager starts what is appended later; `halt` ends everything."""
    manager = ThreadManager()
    manager.watch()
    with pytest.raises(ThreadManagerAlreadyRunningError):
        manager.watch()
    seen = threading.Event()

    def work(word, *, end):
        if word + end == "ab":
            seen.set()
        while True:
            time.sleep(0.001)

    manager.append_thread(work, ("a",), {"end": "b"})
    assert seen.wait(DEADLINE)
    assert manager.halt() == ()
    assert manager.threads == ()
    manager.watch()
    manager.stop()


def test_managers_have_ids_of_their_own():
    assert ThreadManager().id != ThreadManager().id


def test_a_manager_keeps_what_could_not_be_started(monkeypatch):
    """A system without a thread to give now loses none, and takes no place."""
    manager, ran = ThreadManager(1), threading.Event()

    def start(_):
        raise RuntimeError("can't start new thread")

    manager.append_thread(ran.set)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            manager.run()
    assert manager.threads == ()
    manager.run()
    assert ran.wait(DEADLINE)


def test_a_thread_that_halts_and_joins_itself_ends():
    raised = []

    def target():
        try:
            threading.current_thread().halt_and_join()
        except BaseException as error:
            raised.append(type(error))
            raise

    thread = TracedThread(target=target, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert raised == [SystemExit]


FORKED = """
import os, sys, threading, time
from luminal.supervise import Scope, TracedThread

def spin():
    while True:
        pass

async def answer():
    return 5

lock = threading.Lock()
lock.acquire()
stuck = TracedThread(target=lock.acquire, daemon=True)
stuck.start()
stuck.halt()
scope = Scope("parent")
assert scope.spawn(answer()).result(60) == 5
child = os.fork()
if child == 0:
    thread = TracedThread(target=spin, daemon=True)
    thread.start()
    thread.halt()
    thread.join(60)
    is_well = not thread.is_alive()
    is_well = is_well and Scope("child").spawn(answer()).result(60) == 5
    os._exit(0 if is_well else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_after_a_fork_halts_and_spawns_for_itself():
    """It has neither the reaper of its parent nor the thread of its event loop."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        check=False, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
