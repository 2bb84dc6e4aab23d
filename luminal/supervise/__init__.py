"""What photons and hosts run: halted, owned, supervised and accounted for."""

from __future__ import annotations

from luminal.supervise.async_loop import AsyncLoop
from luminal.supervise.controller import GroupGaveUp, LoopController
from luminal.supervise.footprint import (
    Change,
    Footprint,
    FootprintWarning,
    Policy,
    hold_to,
)
from luminal.supervise.greenlight import GreenLight
from luminal.supervise.leftovers import Leftover
from luminal.supervise.loop_factory import super_loop_factory
from luminal.supervise.looptest import LoopTask, LoopTrace
from luminal.supervise.owners import current_owner, unowned
from luminal.supervise.pins import find_pins
from luminal.supervise.process_loop import ChildEnded, ProcessLoop
from luminal.supervise.reaper import abandoned_threads, halt_thread
from luminal.supervise.restarts import Backoff, Intensity, Restart, Strategy
from luminal.supervise.scope import Scope
from luminal.supervise.snapshot import LoopState, snapshot
from luminal.supervise.superloop import SuperLoop
from luminal.supervise.thread import (
    TracedThread,
    checkpoint,
    sleep,
)
from luminal.supervise.thread_manager import ThreadManager

__all__ = [
    "AsyncLoop",
    "Backoff",
    "Change",
    "ChildEnded",
    "Footprint",
    "FootprintWarning",
    "GreenLight",
    "GroupGaveUp",
    "Intensity",
    "Leftover",
    "LoopController",
    "LoopState",
    "LoopTask",
    "LoopTrace",
    "Policy",
    "ProcessLoop",
    "Restart",
    "Scope",
    "Strategy",
    "SuperLoop",
    "ThreadManager",
    "TracedThread",
    "abandoned_threads",
    "checkpoint",
    "current_owner",
    "find_pins",
    "halt_thread",
    "hold_to",
    "sleep",
    "snapshot",
    "super_loop_factory",
    "unowned",
]
