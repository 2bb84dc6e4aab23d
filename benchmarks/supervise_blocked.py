"""Blocked threads: which of them a halt ends, and how it reports the others."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
import time

from benchmarks.measure import banner
from luminal.supervise import TracedThread

__all__ = ["blocked"]


def blocked():
    banner("blocked threads: end within 50 ms, or are reported")
    raw = threading.Lock()
    raw.acquire()
    one, other = socket.socketpair()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    kinds = {
        "Event.wait": threading.Event().wait,
        "Queue.get": queue.Queue().get,
        "Queue.get(timeout)": lambda: queue.Queue().get(timeout=60),
        "Condition.wait": _in_condition,
        "Semaphore.acquire": threading.Semaphore(0).acquire,
        "Barrier.wait": threading.Barrier(2).wait,
        "socket.recv": lambda: _receive(one),
        "Popen.wait": child.wait,
        "time.sleep": lambda: time.sleep(30),
        "raw lock": raw.acquire,
        "SimpleQueue.get": queue.SimpleQueue().get,
    }
    for name, call in kinds.items():
        thread = TracedThread(target=call, name=name, daemon=True)
        thread.start()
        time.sleep(0.05)
        begun = time.perf_counter()
        left = thread.halt_and_join(0.5)
        took = (time.perf_counter() - begun) * 1e3
        print(f"{name:<20} {f'{took:.1f} ms' if left is None else f'reported: {left}'}")
    one.close()
    other.close()
    child.wait()


def _receive(one):
    return one.recv(1)


def _in_condition():
    condition = threading.Condition()
    with condition:
        condition.wait()
