"""What it costs a thread, and the other threads, that it can be halted."""

from __future__ import annotations

import gc
import statistics
import sys
import threading
import time

from benchmarks.measure import banner, timed
from luminal.supervise import TracedThread

__all__ = ["WORK", "cost_of_a_thread", "cost_to_others", "tight"]


def tight(n):
    x = 0
    for i in range(n):
        x += i
    return x


def calls(n):
    def add(a, b):
        return a + b

    x = 0
    for i in range(n):
        x = add(x, i)
    return x


def ordinary(n):
    words = {}
    for i in range(n):
        key = f"{i % 97}"
        words.setdefault(key, []).append(i)
        if len(words[key]) > 50:
            words[key].sort(reverse=True)
            del words[key][10:]
    return words


WORK = {"tight loop": tight, "call-heavy": calls, "ordinary": ordinary}
# Some milliseconds each; the start of a thread is measured separately.
ROUNDS = {"tight loop": 150_000, "call-heavy": 80_000, "ordinary": 25_000}


class Settraced(threading.Thread):
    """The older design: a trace function sees every line from the start."""

    def run(self):
        def trace(frame, event, arg):
            return trace

        sys.settrace(trace)
        try:
            super().run()
        finally:
            sys.settrace(None)


def duel(ours, plain, count):
    """Return the median of *count* ratios of *ours* to *plain*, which return seconds.

    The two of a pair run in direct succession, in alternating order, so that a drift of
    the machine's speed affects both alike.
    """
    ours(), plain()  # warm-up, not counted
    ratios = []
    for i in range(count):
        gc.collect(0)
        gc.disable()
        if i % 2:
            base, mine = plain(), ours()
        else:
            mine, base = ours(), plain()
        gc.enable()
        ratios.append(mine / base)
    return statistics.median(ratios)


def on(kind, function, n):
    """Return a function that times *function* on a thread, from start to end."""

    def run():
        thread = kind(target=function, args=(n,))
        thread.start()
        thread.join()

    return lambda: timed(run)


def beside(kind, function, n):
    """Return a function that times *function* beside a waiting thread."""

    def run():
        event = threading.Event()
        thread = kind(target=event.wait, daemon=True)
        thread.start()
        seconds = timed(lambda: function(n))
        event.set()
        thread.join()
        return seconds

    return run


def cost_of_a_thread(count):
    banner("a thread that is not halted, ratio to a plain one (at most 1.05)")
    for name, work in WORK.items():
        n = ROUNDS[name]
        ours = duel(on(TracedThread, work, n), on(threading.Thread, work, n), count)
        few = n // 10
        old = duel(on(Settraced, work, few), on(threading.Thread, work, few), 5)
        print(f"{name:<12} TracedThread {ours:.3f} times, settrace {old:.1f} times")
    empty = duel(on(TracedThread, tight, 0), on(threading.Thread, tight, 0), 500)
    print(f"{'start, end':<12} TracedThread {empty:.3f} times, with nothing between")


def after(kind, function, n):
    """Return a function that times *function* after a busy thread has ended."""

    def run():
        begun, end = threading.Event(), threading.Event()

        def spin():
            begun.set()
            while not end.is_set():
                pass

        thread = kind(target=spin, daemon=True)
        thread.start()
        begun.wait()
        if kind is TracedThread:
            thread.halt_and_join()
        end.set()
        thread.join()
        while threading.active_count() > 1:
            time.sleep(0.002)  # until the reaper has ended as well
        return timed(lambda: function(n))

    return run


def cost_to_others(count):
    banner("work beside a waiting thread, and after a halt, ratio (at most 1.02)")
    n = ROUNDS["call-heavy"]
    for name, moment in {"beside it": beside, "after a halt": after}.items():
        ours = moment(TracedThread, calls, n)
        plain = moment(threading.Thread, calls, n)
        print(f"{name:<12} {duel(ours, plain, count):.3f} times")
