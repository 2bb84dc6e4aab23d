"""A scope owns what a photon starts, with its context and without it."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import concurrent.futures.thread  # a module is wrapped once it has been imported
import contextlib
import gc
import logging
import multiprocessing
import multiprocessing.pool
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from luminal.errors import PhotonStateError
from luminal.supervise import Scope, SuperLoop, _patches, unowned
from luminal.supervise._ownership import started_for
from tests.waiting import DEADLINE, brief, wait_until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
POINTS = [
    (threading.Thread, "start"),
    (_thread, "start_new_thread"),
    (asyncio.BaseEventLoop, "create_task"),
    (subprocess.Popen, "__init__"),
    (atexit, "register"),
    (logging.Logger, "addHandler"),
    (signal, "signal"),
]


class Here:
    """The code of a photon: what is in this file."""

    scopes = ()
    borrowed = True

    def holds(self, space):
        return space is globals()

    def uses(self, other):
        return False


HERE = Here()


class Ticking(SuperLoop):
    def cycle(self):
        threading.Event().wait(0.001)


async def for_ever():
    await asyncio.sleep(3600)


def spin():
    while True:
        time.sleep(0.001)


def with_context(scope):
    """Start one of each through the context."""
    scope.spawn(for_ever())
    scope.thread(spin)
    scope.process(SLEEPER)
    scope.loop(Ticking())
    scope.every(3600, print)
    scope.executor().submit(spin)
    scope.enter(contextlib.closing(socketpair_end()))


def socketpair_end():
    import socket

    one, other = socket.socketpair()
    other.close()
    return one


def without_context(kept):
    """Start one of each behind the context's back."""
    threading.Thread(target=spin, daemon=True).start()
    threading.Timer(3600, print).start()
    _thread.start_new_thread(spin, ())
    kept.append(asyncio.create_task(for_ever()))
    asyncio.get_running_loop().call_later(3600, print)
    kept.append(concurrent.futures.ThreadPoolExecutor(1))
    kept[-1].submit(spin)
    kept.append(subprocess.Popen(SLEEPER))
    atexit.register(without_context, kept)
    logging.getLogger("test.scope").addHandler(logging.NullHandler())
    signal.signal(signal.SIGUSR2, lambda *_: None)


@pytest.mark.fault(23)
async def test_what_the_context_starts_ends_with_the_scope():
    """One of each, through the context, is alive before and gone after `close`."""
    scope = Scope("through")
    with_context(scope)
    kinds = sorted({one.kind for one in scope.living()})
    left = await scope.close(brief(5))
    assert kinds == ["executor", "loop", "process", "task", "thread"]
    assert left == ()
    assert scope.living() == []
    assert scope.errors == []
    assert not _patches.is_installed()


@pytest.mark.fault(23)
async def test_what_is_started_without_the_context_is_attributed_and_ended():
    """Threads of all kinds, tasks, timers, children, registrations are found."""
    before_signal = signal.getsignal(signal.SIGUSR2)

    scope = Scope("behind", HERE)
    kept = []
    without_context(kept)
    kinds = sorted(one.kind for one in scope.living())
    left = await scope.close(brief(5))
    assert kinds == sorted(
        ["thread"] * 4  # a thread, a timer, a raw one, the executor's worker
        + ["task", "timer", "executor", "process", "atexit", "logging", "signal"]
    )
    assert left == ()
    assert logging.getLogger("test.scope").handlers == []
    assert signal.getsignal(signal.SIGUSR2) is before_signal


@pytest.mark.slow
async def test_a_multiprocessing_pool_is_ended_as_a_whole():
    """Its workers are not replaced behind our back."""
    scope = Scope("pool", HERE)
    pool = multiprocessing.get_context("spawn").Pool(1)
    workers = list(pool._pool)
    left = await scope.close(brief(5))
    assert left == ()
    assert not any(worker.is_alive() for worker in workers)


def test_a_worker_of_a_pool_of_threads_that_does_not_end_is_named():
    """Threads cannot be killed, and that is no error of anybody's."""
    scope = Scope("pool", HERE)
    pool = multiprocessing.pool.ThreadPool(1)
    lock = threading.Lock()
    lock.acquire()
    pool.apply_async(lock.acquire)
    wait_until(lambda: pool._taskqueue.empty() and pool._inqueue.empty())
    left = scope.close_sync(0.5)
    assert {one.kind for one in left} == {"thread", "pool"}
    assert scope.errors == []
    lock.release()


def test_everything_is_put_back_after_the_last_scope():
    """Each wrapped function is the very object that it was before."""

    def state():
        return [vars(holder)[name] for holder, name in POINTS]

    before = state()
    one, other = Scope("one"), Scope("other")
    assert state() != before
    one.close_sync(1)
    assert state() != before
    other.close_sync(1)
    assert state() == before


def test_the_hosts_own_things_are_nobodys():
    """While a scope lives, what the host starts is neither owned nor stopped."""
    scope = Scope("watched")
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait, args=(DEADLINE,))
    thread.start()
    assert scope.living() == []
    scope.close_sync(1)
    assert thread.is_alive()
    go_on.set()
    thread.join(DEADLINE)


def test_a_pool_of_the_hosts_stays_the_hosts():
    """A photon that submits to it does not become the owner of its workers."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        scope = Scope("user", HERE)
        assert pool.submit(lambda: 1).result(DEADLINE) == 1
        scope.close_sync(1)
        assert pool.submit(lambda: 2).result(DEADLINE) == 2


def test_threads_started_by_threads_are_attributed():
    """The owner follows from a thread to those it starts."""
    scope = Scope("deep", HERE)
    inner = threading.Event()

    def outer():
        threading.Thread(target=lambda: (inner.set(), spin()), daemon=True).start()
        spin()

    threading.Thread(target=outer, daemon=True).start()
    assert inner.wait(DEADLINE)
    assert [one.kind for one in scope.living()] == ["thread", "thread"]
    assert scope.close_sync(3) == ()


def test_closers_run_in_reverse_and_their_errors_are_collected():
    """Each runs, whatever another raises; async ones are awaited."""
    done = []
    scope = Scope("closers")

    async def last():
        await asyncio.sleep(0)
        done.append("async")

    scope.on_close(lambda: done.append("first"))
    scope.on_close(last)
    scope.on_close(lambda: 1 / 0)
    scope.enter(
        contextlib.closing(type("C", (), {"close": lambda s: done.append("c")})())
    )
    assert scope.close_sync(3) == ()
    assert done == ["c", "async", "first"]
    assert [type(error) for error in scope.errors] == [ZeroDivisionError]


def test_a_closer_that_hangs_is_named_and_the_others_run():
    """Its deadline passes, it is halted and reported; the rest is closed."""
    done = []
    scope = Scope("hanging")
    scope.on_close(lambda: done.append(1))
    scope.on_close(spin)
    (left,) = scope.close_sync(0.5)
    assert (left.kind, left.name, left.owner) == ("callback", "spin", "hanging")
    assert done == [1]


def test_what_is_left_is_known_though_the_loop_of_the_end_does_not_end():
    """`asyncio.run` waits for the threads of its executor without end."""
    lock = threading.Lock()
    lock.acquire()
    scope = Scope("stuck")

    async def wait():
        await asyncio.to_thread(lock.acquire)

    scope.on_close(wait)
    (left,) = scope.close_sync(0.3)
    assert left.kind == "callback"
    lock.release()


@pytest.mark.fault(23)
def test_what_cannot_be_stopped_is_named_with_place_and_reason():
    """A thread in a C call that does not return is listed, not waited for."""
    lock = threading.Lock()
    lock.acquire()
    scope = Scope("stuck")
    scope.thread(lock.acquire)
    (left,) = scope.close_sync(0.3)
    assert (left.kind, left.owner) == ("thread", "stuck")
    assert "test_supervise_scope.py" in left.where
    assert left.why
    lock.release()


def test_nothing_is_started_for_a_life_that_has_ended():
    """The context refuses, and says whose life it was."""
    scope = Scope("late")
    scope.close_sync(1)
    with pytest.raises(PhotonStateError, match="late"):
        scope.thread(spin)


def test_spawn_without_a_running_loop_uses_one_of_its_own():
    """The coroutine runs, its value comes back, and the loop ends with the scope."""
    scope = Scope("apart")

    async def work():
        return threading.current_thread().name

    assert scope.spawn(work()).result(DEADLINE) == "luminal-loop"
    waiting = scope.spawn(for_ever())
    assert scope.close_sync(3) == ()
    assert waiting.cancelled() or waiting.done()
    wait_until(lambda: "luminal-loop" not in [t.name for t in threading.enumerate()])


def test_every_calls_again_and_again_and_goes_on_after_an_error():
    """A call that raises is logged; the next one comes."""
    calls = []
    scope = Scope("timed")

    def call():
        calls.append(1)
        raise ValueError("once more")

    scope.every(0.001, call)
    wait_until(lambda: len(calls) > 3)
    assert scope.close_sync(3) == ()


def test_luminals_own_threads_belong_to_nobody():
    """What a photon was the first to need is not ended with that photon."""
    scope = Scope("first", HERE)
    done = threading.Event()
    with unowned():
        thread = threading.Thread(target=done.wait, args=(DEADLINE,))
        thread.start()
    assert scope.living() == []
    scope.close_sync(1)
    assert thread.is_alive()
    done.set()
    thread.join(DEADLINE)


@pytest.mark.slow
@pytest.mark.parametrize("through", [True, False])
async def test_after_ten_generations_exactly_one_of_each_lives(through):
    """Each new life begins before the old one ends; in the end nothing is left."""
    before = signal.getsignal(signal.SIGUSR2)
    counts = []
    old = None
    threads = threading.active_count()
    for _ in range(10):
        scope = Scope("reloaded", Here())
        kept = []
        if through:
            with_context(scope)
        else:
            without_context(kept)
        await asyncio.sleep(0)
        if old is not None:
            assert await old.close(brief(5)) == ()
        old = scope
        counts.append(sorted(one.kind for one in scope.living()))
    assert await old.close(brief(5)) == ()
    wait_until(lambda: threading.active_count() <= threads + 1)
    assert signal.getsignal(signal.SIGUSR2) is before
    assert all(count == counts[0] for count in counts)
    assert logging.getLogger("test.scope").handlers == []


async def test_a_task_has_the_time_to_end_when_it_is_cancelled():
    """What it awaits in its ``finally`` is not cancelled before the last rung."""
    done = []

    async def polite():
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(30):
                await asyncio.sleep(0.01)
            done.append(True)

    scope = Scope("p")
    scope.spawn(polite())
    await asyncio.sleep(0)
    assert await scope.close(deadline=60) == ()
    assert done == [True]


# What is called at the end ---------------------------------------------------------


async def closed(fill, deadline=DEADLINE):
    """Close a scope that *fill* was given; return it, what is left, and a list."""
    scope, said = Scope("geo"), []
    scope.on_close(lambda: said.append("first"))
    fill(scope)
    return scope, await scope.close(deadline), said


async def end_another_task():
    task = asyncio.create_task(for_ever())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def leave():
    raise SystemExit(3)


async def time_out():
    raise TimeoutError("the other end is silent")


@pytest.mark.parametrize(
    ("closer", "kind"),
    [
        (end_another_task, asyncio.CancelledError),
        (leave, SystemExit),
        (time_out, TimeoutError),
        (lambda: time_out(), TimeoutError),  # noqa: PLW0108 - a plain function
    ],
)
async def test_whatever_an_async_closer_raises_the_others_run(closer, kind):
    """It is collected, and no sign that the host was cancelled, exits, or waits."""
    scope, left, said = await closed(lambda scope: scope.on_close(closer))
    assert left == ()
    assert [type(error) for error in scope.errors] == [kind]
    assert said == ["first"]
    assert scope.is_closed


async def test_closers_have_one_deadline_together():
    """One that swallows its cancellation, one that gives itself again and again."""

    async def stay():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    def fill(scope):
        def again():
            scope.on_close(again)

        for _ in range(50):
            scope.on_close(lambda: threading.Event().wait())
        scope.on_close(again)
        scope.on_close(stay)

    _, left, _ = await closed(fill, 0.5)
    whys = [one.why for one in left]
    assert "timed out after" in whys[0]
    assert whys.count("it was not called: the time for closing was over") > 40


async def test_nothing_can_be_given_to_a_scope_that_is_closed(recwarn):
    """It would never be given back; a coroutine is closed unrun."""
    scope, _, _ = await closed(lambda _: None)
    entered = []

    @contextlib.contextmanager
    def held():
        entered.append(True)
        yield

    for refused in (
        lambda: scope.on_close(entered.clear),
        lambda: scope.enter(held()),
        lambda: scope.spawn(for_ever()),
    ):
        with pytest.raises(PhotonStateError, match="life has ended"):
            refused()
    with pytest.raises(PhotonStateError, match="life has ended"):
        await scope.enter(contextlib.aclosing(None))
    assert entered == []
    assert not recwarn.list


async def test_calls_at_an_impossible_distance_are_refused():
    scope, _, _ = await closed(lambda scope: scope.every(0, time.sleep))
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="every so many seconds"):
            scope.every(seconds, time.sleep)


async def test_a_cancelled_close_ends_everything_all_the_same():
    scope, said = Scope("geo"), []

    begun = asyncio.Event()

    async def slow():
        begun.set()
        await asyncio.sleep(3600)

    scope.on_close(lambda: said.append("first"))
    scope.on_close(slow)
    thread = scope.thread(spin)
    task = scope.spawn(for_ever())
    closing = asyncio.ensure_future(scope.close(brief(5)))
    await begun.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not thread.is_alive()
    assert task.cancelled()
    assert said == ["first"]
    assert scope.is_closed


# Handlers of signals -----------------------------------------------------------------


def handling(name):
    scope = Scope(name)

    def handler(*_):
        """Do nothing."""

    with started_for(scope):
        signal.signal(signal.SIGUSR1, handler)
    return scope, handler


def end(scope):
    async def main():
        return await scope.close(brief(5))

    assert asyncio.run(main()) == ()


def test_no_handler_of_a_signal_comes_back_after_its_photon_has_gone():
    """In whatever order photons set theirs and go."""
    usual = signal.getsignal(signal.SIGUSR1)
    one, first = handling("one")
    two, _ = handling("two")
    end(two)
    assert signal.getsignal(signal.SIGUSR1) is first
    three, third = handling("three")
    end(one)
    assert signal.getsignal(signal.SIGUSR1) is third
    end(three)
    assert signal.getsignal(signal.SIGUSR1) is usual


def test_a_handler_of_a_signal_keeps_no_earlier_generation():
    """Each generation sets its own before the one before it ends."""
    usual = signal.getsignal(signal.SIGUSR1)
    scope, handler = handling("geo")
    for _ in range(3):
        kept = weakref.ref(handler)
        before, (scope, handler) = scope, handling("geo")
        end(before)
        del before
        gc.collect()
        assert kept() is None
    end(scope)
    assert signal.getsignal(signal.SIGUSR1) is usual


def test_a_thread_may_start_something_when_it_is_asked_whether_it_lives():
    """Nothing of the scope is locked while a photon's own code answers."""
    stop = threading.Event()

    class Asking(threading.Thread):
        def is_alive(self):
            if sys._getframe(1).f_code.co_filename != threading.__file__:
                socketpair_end().close()
            return super().is_alive()

    scope = Scope("p", HERE)
    first = Asking(target=stop.wait, daemon=True)
    first.start()
    closing = threading.Thread(target=lambda: asyncio.run(scope.close()), daemon=True)
    with unowned():
        closing.start()
    stop.set()
    closing.join(DEADLINE)
    assert not closing.is_alive()


FORKS = """
import os, signal, threading
from luminal.supervise import Scope

def churn():
    while True:
        Scope("parent").close_empty()

for _ in range(2):
    threading.Thread(target=churn, daemon=True).start()
for _ in range(5):
    child = os.fork()
    if not child:
        signal.alarm(20)
        Scope("child").close_empty()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_was_forked_amid_a_reload_has_scopes_of_its_own():
    """Whatever another thread was holding at that moment."""
    command = [sys.executable, "-W", "ignore", "-c", FORKS]
    subprocess.run(command, check=True, timeout=DEADLINE)


LOOP_FORKS = """
import asyncio, os, signal
from luminal.supervise import LoopThread

loop = LoopThread("loop")
loop._lock.acquire()  # as another thread may have it, which is not in the child
child = os.fork()
if not child:
    signal.alarm(20)
    try:
        loop.run(asyncio.sleep(0))
    except RuntimeError:
        loop.close()
        os._exit(0)
    os._exit(1)
loop._lock.release()
assert os.waitpid(child, 0)[1] == 0
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_was_forked_has_no_loop_of_its_parent():
    """It is told so, and does not wait for who has gone."""
    command = [sys.executable, "-W", "ignore", "-c", LOOP_FORKS]
    subprocess.run(command, check=True, timeout=DEADLINE)
