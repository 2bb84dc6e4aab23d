"""Threads that can be halted, and a manager that starts and halts many of them."""

from __future__ import annotations

from luminal.supervise import (
    Leftover,
    ThreadManager,
    TracedThread,
    abandoned_threads,
    checkpoint,
    halt_thread,
    sleep,
)

__all__ = [
    "Leftover",
    "ThreadManager",
    "TracedThread",
    "abandoned_threads",
    "checkpoint",
    "halt_thread",
    "sleep",
]
