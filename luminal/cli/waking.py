"""Signals that wake an event loop, whatever it is about to do.

A signal that comes between the interpreter's last look and the loop's wait, or that the
system hands to another thread, is noticed with the loop's next event only.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

__all__ = ["woken_by_signals"]


@contextlib.contextmanager
def woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let each signal end the wait of *loop* within a ``with`` block.

    For the main thread. What is done about the signal is up to its handler.
    """
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        loop.add_reader(near, near.recv, 4096)
        before = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(near)
