"""Loops on threads of their own, groups that restart them, and helpers to test them."""

from __future__ import annotations

from luminal.supervise import (
    AsyncLoop,
    Backoff,
    ChildEnded,
    GreenLight,
    GroupGaveUp,
    Intensity,
    LoopController,
    LoopState,
    LoopTask,
    LoopTrace,
    ProcessLoop,
    Restart,
    Strategy,
    SuperLoop,
    snapshot,
    super_loop_factory,
)

__all__ = [
    "AsyncLoop",
    "Backoff",
    "ChildEnded",
    "GreenLight",
    "GroupGaveUp",
    "Intensity",
    "LoopController",
    "LoopState",
    "LoopTask",
    "LoopTrace",
    "ProcessLoop",
    "Restart",
    "Strategy",
    "SuperLoop",
    "snapshot",
    "super_loop_factory",
]
