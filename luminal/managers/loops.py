"""Front desk: loops under test, and supervised loops."""

from __future__ import annotations

from luminal.supervise import (
    GreenLight,
    LoopController,
    LoopTask,
    LoopTrace,
    SuperLoop,
    super_loop_factory,
)

__all__ = [
    "GreenLight",
    "LoopController",
    "LoopTask",
    "LoopTrace",
    "SuperLoop",
    "super_loop_factory",
]
