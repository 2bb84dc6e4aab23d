"""What photons and hosts run: halted, owned, supervised and accounted for."""

from __future__ import annotations

from luminal.supervise.leftovers import Leftover
from luminal.supervise.looptest import LoopTask, LoopTrace
from luminal.supervise.reaper import abandoned_threads, halt_thread
from luminal.supervise.thread import (
    TracedThread,
    checkpoint,
    current_owner,
    sleep,
)
from luminal.supervise.thread_manager import ThreadManager

__all__ = [
    "Leftover",
    "LoopTask",
    "LoopTrace",
    "ThreadManager",
    "TracedThread",
    "abandoned_threads",
    "checkpoint",
    "current_owner",
    "halt_thread",
    "sleep",
]
