"""Halts of threads that swallow, nest, make objects and execute: does Python survive?

    python -m benchmarks.supervise_halts [--seconds 30] [--rounds 1]

Each round is a process of its own, so that a crash is counted and ends nothing else.
"""

# ruff: noqa: SIM105 - bad habits are what is halted here

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time

from benchmarks.measure import banner
from benchmarks.supervise_shapes import SHAPES, event_loop_that_swallows
from luminal.supervise import TracedThread


class Made:
    """An object with a few attributes, made again and again."""

    def __init__(self, value):
        self.value = value
        self.again = [value]


def make_objects():
    while True:
        try:
            for number in range(100):
                Made(number)
        except BaseException:
            pass


def nest():
    def go(depth):
        try:
            return Made(depth) if not depth else go(depth - 1)
        except BaseException:
            return None

    while True:
        go(20)


def execute():
    code = compile("for n in range(50):\n    x = [n]\n", "<executed>", "exec")
    while True:
        try:
            exec(code, {})
        except BaseException:
            pass


# A coroutine that swallows GeneratorExit as well never ends in the thread that collects
# it, which is whatever thread is running: that shape cannot be repeated in one process.
WORK = (
    *(shape for shape in SHAPES if shape is not event_loop_that_swallows),
    make_objects,
    nest,
    execute,
)
_PATIENCE_SECONDS = 5.0


def stress(seconds):
    """Halt threads of each kind for *seconds*; return how many, and how many ended."""
    halts = ended = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        threads = [TracedThread(target=work, daemon=True) for work in WORK]
        for thread in threads:
            thread.start()
        threading.Event().wait(0.01)
        for thread in threads:
            thread.halt()
        limit = time.monotonic() + _PATIENCE_SECONDS
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        halts += len(threads)
        ended += sum(not thread.is_alive() for thread in threads)
    return halts, ended


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--one", action="store_true", help="one round, in this process")
    options = parser.parse_args()
    is_full = options.size == "full"
    seconds = options.seconds or (30.0 if is_full else 3.0)
    if options.one:
        print(*stress(seconds), flush=True)
        # Threads that live on would hold up the end of the interpreter.
        os._exit(0)
    banner("halts, under stress: no crash")
    crashed = halts = ended = 0
    count = options.rounds or (10 if is_full else 1)
    for _ in range(count):
        command = [sys.executable, "-m", __spec__.name, "--one", "--seconds"]
        done = subprocess.run(
            [*command, str(seconds)], check=False, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            crashed += 1
            print(f"a round ended with {done.returncode}")
        else:
            some, dead = map(int, done.stdout.split())
            halts, ended = halts + some, ended + dead
    print(
        f"{count} rounds of {seconds:g} s: {crashed} crashed, {halts} halts, "
        f"{ended} threads ended"
    )
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
