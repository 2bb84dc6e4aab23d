"""What the compiler process runs: it answers requests until its input ends.

A request names a function and its arguments. The answer is what the function returns.
Both are marshalled, and preceded by their length.
"""

from __future__ import annotations

import gc
import marshal
import os
import signal
import sys
from importlib import import_module
from typing import Any

__all__ = ["PROBE", "probe", "receive", "send", "serve"]

PROBE = b"""
def probe(item: int = 10**3, *rest):
    "A docstring."
    assert item, "an assertion"
    return [each for each in rest if each is not None] or __debug__
"""
"""A text whose code shows all settings of an interpreter that change code."""


def probe() -> tuple[str, bytes]:
    """Return which interpreter this is, and its code of `PROBE`."""
    code = compile(PROBE, "<probe>", "exec", dont_inherit=True)
    return sys.version, marshal.dumps(code)


def send(descriptor: int, value: object) -> None:
    """Write *value*.

    Raises:
        OSError: The other process has ended.
    """
    data = marshal.dumps(value)  # type: ignore[arg-type]
    rest = memoryview(len(data).to_bytes(8, "little") + data)
    while rest:
        rest = rest[os.write(descriptor, rest[: 1 << 20]) :]


def receive(descriptor: int) -> object:
    """Read a value.

    Raises:
        EOFError: The other process has ended.
    """
    size = int.from_bytes(_read(descriptor, 8), "little")
    # From a process that this one has started, or that has started this one.
    return marshal.loads(_read(descriptor, size))  # noqa: S302


def _read(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(descriptor, min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the other process has ended")
        data += part
    return bytes(data)


def serve() -> None:
    """Answer requests; return when the host has closed the pipe, or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # a syntax tree has no cycles, and collecting would look at all of it
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    while True:
        try:
            request: Any = receive(requests)
        except EOFError:
            return
        function, arguments, recursion, digits = request
        sys.setrecursionlimit(recursion)
        sys.set_int_max_str_digits(digits)
        module, _, name = function.partition(":")
        try:
            answer = True, getattr(import_module(module), name)(*arguments)
        except Exception as error:  # noqa: BLE001 - it is told to whoever has asked
            answer = False, f"{type(error).__name__}: {error}"
        try:
            send(answers, answer)
        except OSError:
            return
