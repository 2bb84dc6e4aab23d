"""A halt of a blocked thread reaches it when the call returns, and harms no other."""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from luminal.supervise import TracedThread
from tests.waiting import DEADLINE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def blocked() -> Iterator[tuple[TracedThread, Callable[[], int]]]:
    """A thread that was told to halt and stands in a read of a pipe, again and again.

    With it comes what lets the read return.
    """
    source, sink = os.pipe()

    def read() -> None:
        while True:
            os.read(source, 1)

    thread = TracedThread(target=read, daemon=True)
    thread.start()
    wait_until(lambda: sys._current_frames()[thread.ident or 0].f_code is read.__code__)
    assert thread.halt_and_join(0.1) is not None
    yield thread, functools.partial(os.write, sink, b"x")
    while thread.is_alive():
        os.write(sink, b"x")
        thread.join(0.01)
    os.close(source)
    os.close(sink)


def test_it_ends_when_the_call_returns(
    blocked: tuple[TracedThread, Callable[[], int]],
) -> None:
    thread, release = blocked
    release()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_a_traced_thread_goes_on_meanwhile(
    blocked: tuple[TracedThread, Callable[[], int]],
) -> None:
    """Debuggers and coverage trace; CPython 3.11 hangs them while a notice is up."""
    thread, _ = blocked
    seen: list[str] = []

    def work() -> None:
        def called() -> None:
            """Have an entry that is traced."""

        sys.settrace(lambda _frame, event, _arg: seen.append(event))
        try:
            for _ in range(100):
                called()
        finally:
            sys.settrace(None)

    tracing = threading.Thread(target=work, daemon=True)
    tracing.start()
    tracing.join(DEADLINE)
    assert not tracing.is_alive()
    assert seen.count("call") >= 100
    assert thread.is_alive()
