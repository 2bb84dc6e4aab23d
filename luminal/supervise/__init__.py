"""Threads that can be halted, what a photon owns, supervised loops, leak reports.

Other packages import from here. Each name is loaded when it is first used: a host
that only loads photons does not pay for loops and their controllers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.supervise._controller import GreenLight as GreenLight
    from luminal.supervise._controller import GroupGaveUp as GroupGaveUp
    from luminal.supervise._controller import Intensity as Intensity
    from luminal.supervise._controller import LoopController as LoopController
    from luminal.supervise._controller import LoopState as LoopState
    from luminal.supervise._controller import Strategy as Strategy
    from luminal.supervise._controller import snapshot as snapshot
    from luminal.supervise._controller import super_loop_factory as super_loop_factory
    from luminal.supervise._halting import Leftover as Leftover
    from luminal.supervise._halting import abandoned_threads as abandoned_threads
    from luminal.supervise._halting import halt_thread as halt_thread
    from luminal.supervise._interpreter_state import FACETS as FACETS
    from luminal.supervise._interpreter_state import Change as Change
    from luminal.supervise._interpreter_state import Footprint as Footprint
    from luminal.supervise._interpreter_state import Policy as Policy
    from luminal.supervise._loop_testing import LoopTask as LoopTask
    from luminal.supervise._loop_testing import LoopTrace as LoopTrace
    from luminal.supervise._loop_thread import LoopThread as LoopThread
    from luminal.supervise._loops import AsyncLoop as AsyncLoop
    from luminal.supervise._loops import Backoff as Backoff
    from luminal.supervise._loops import ChildEnded as ChildEnded
    from luminal.supervise._loops import ProcessLoop as ProcessLoop
    from luminal.supervise._loops import Restart as Restart
    from luminal.supervise._loops import SuperLoop as SuperLoop
    from luminal.supervise._ownership import awaited_imports as awaited_imports
    from luminal.supervise._ownership import code_of_thread as code_of_thread
    from luminal.supervise._ownership import mark_loaders as mark_loaders
    from luminal.supervise._ownership import unowned as unowned
    from luminal.supervise._patches import refresh as refresh
    from luminal.supervise._patches import unwrapped as unwrapped
    from luminal.supervise._referrers import find_referrers as find_referrers
    from luminal.supervise._registries import find_permanent as find_permanent
    from luminal.supervise._registries import may_register as may_register
    from luminal.supervise._registries import record as record
    from luminal.supervise._registries import remember as remember
    from luminal.supervise._registries import stop_recording as stop_recording
    from luminal.supervise._registries import take_back as take_back
    from luminal.supervise._scope import Scope as Scope
    from luminal.supervise._scope import own_task_of_step as own_task_of_step
    from luminal.supervise._scope import own_thread_of_step as own_thread_of_step
    from luminal.supervise._scope import started_for_step as started_for_step
    from luminal.supervise._threads import ThreadManager as ThreadManager
    from luminal.supervise._threads import TracedThread as TracedThread
    from luminal.supervise._threads import checkpoint as checkpoint
    from luminal.supervise._threads import sleep as sleep
    from luminal.supervise._waits import begin_noting as begin_noting
    from luminal.supervise._waits import end_noting as end_noting

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_controller": (
            "GreenLight",
            "GroupGaveUp",
            "Intensity",
            "LoopController",
            "LoopState",
            "Strategy",
            "snapshot",
            "super_loop_factory",
        ),
        "_halting": (
            "Leftover",
            "abandoned_threads",
            "halt_thread",
        ),
        "_interpreter_state": (
            "FACETS",
            "Change",
            "Footprint",
            "Policy",
        ),
        "_loop_testing": (
            "LoopTask",
            "LoopTrace",
        ),
        "_loop_thread": ("LoopThread",),
        "_loops": (
            "AsyncLoop",
            "Backoff",
            "ChildEnded",
            "ProcessLoop",
            "Restart",
            "SuperLoop",
        ),
        "_ownership": ("awaited_imports", "code_of_thread", "mark_loaders", "unowned"),
        "_patches": ("refresh", "unwrapped"),
        "_referrers": ("find_referrers",),
        "_registries": (
            "find_permanent",
            "may_register",
            "record",
            "remember",
            "stop_recording",
            "take_back",
        ),
        "_scope": (
            "Scope",
            "own_task_of_step",
            "own_thread_of_step",
            "started_for_step",
        ),
        "_threads": (
            "ThreadManager",
            "TracedThread",
            "checkpoint",
            "sleep",
        ),
        "_waits": ("begin_noting", "end_noting"),
    },
)
