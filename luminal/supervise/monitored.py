"""Halting on CPython 3.12 and later: raise at a round's end or a function's entry.

What comes in is the halt of one thread, what goes out is `SystemExit` raised in that
thread by a `sys.monitoring` callback. The events are set only on the code objects of
that thread's own work, and only while a halt is under way: nothing is installed
before the first halt and nothing is left after the last. Other threads that run the
same code pass through the callback unharmed.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from luminal.supervise.points import (
    is_clear,
    is_own,
    jump_offsets,
    own_codes,
    round_offsets,
    stack_of,
)

if TYPE_CHECKING:
    from types import CodeType

    from luminal.supervise.halt_state import HaltState

__all__ = ["arm", "begin_anew", "disarm", "is_available"]

# Guards the two tables and the tool's registration; never held while raising.
_lock = threading.Lock()
# Identifier of the thread → its halt. Read by the callbacks without the lock: one
# dictionary look-up is atomic.
_armed: dict[int, HaltState] = {}
# Code object → identifiers of the threads that it is instrumented for.
_instrumented: dict[CodeType, set[int]] = {}
_tool = -1


def is_available() -> bool:
    """Tell whether a tool number is ours, or free to be taken."""
    return _tool >= 0 or _free_tool() >= 0


if sys.version_info >= (3, 12):
    _monitoring = sys.monitoring
    _EVENTS = _monitoring.events

    def _free_tool() -> int:
        for number in (4, 3, 5):
            if _monitoring.get_tool(number) is None:
                return number
        return -1

    def _on_entry(code: CodeType, _offset: int) -> None:
        _raise_in(code)

    def _on_instruction(code: CodeType, offset: int) -> None:
        halt = _armed.get(threading.get_ident())
        if halt is None:
            return
        # Swallowed twice: the round may begin inside the very ``try`` that swallows.
        # The jump before it may be outside; it may also be outside of a ``with``
        # around the loop, which is why it is not the first choice.
        if offset in round_offsets(code) or (
            halt.raises > 1 and (halt.is_desperate or offset in jump_offsets(code))
        ):
            _raise_in(code)

    def _raise_in(code: CodeType) -> None:
        halt = _armed.get(threading.get_ident())
        # 0 is this function, 1 the callback, 2 the code that it was called for.
        if (
            halt is not None
            and is_own(code, is_pressing=halt.is_pressing)
            and is_clear(sys._getframe(2))  # noqa: SLF001 - the documented way
            and halt.may_raise()
        ):
            raise SystemExit

    def _claim() -> None:
        global _tool
        if _tool < 0:
            _tool = _free_tool()
            _monitoring.use_tool_id(_tool, "luminal halt")
            _monitoring.register_callback(_tool, _EVENTS.PY_START, _on_entry)
            _monitoring.register_callback(_tool, _EVENTS.INSTRUCTION, _on_instruction)

    def _yield_tool() -> None:
        global _tool
        for event in (_EVENTS.PY_START, _EVENTS.INSTRUCTION):
            _monitoring.register_callback(_tool, event, None)
        _monitoring.free_tool_id(_tool)
        _tool = -1

    def arm(halt: HaltState) -> None:
        """Instrument what *halt*'s thread runs now; call again for what it runs later.

        The event JUMP would be the obvious one, but what its callback raises passes
        every handler of the function by: CPython 3.12.1 and 3.13.0 look the handler
        up at an address that they have just overwritten. So a round's end is seen as
        the first instruction of the next round.
        """
        with _lock:
            if not is_available():
                return
            codes = own_codes(stack_of(halt.ident), is_pressing=halt.is_pressing)
            _claim()
            _armed[halt.ident] = halt
            for code in codes:
                holders = _instrumented.setdefault(code, set())
                if not holders:
                    events = _EVENTS.INSTRUCTION | _EVENTS.PY_START
                    _monitoring.set_local_events(_tool, code, events)
                holders.add(halt.ident)

    def disarm(halt: HaltState) -> None:
        """Take *halt*'s instruments away; after the last, give the tool number back."""
        with _lock:
            if _armed.get(halt.ident) is not halt:
                return
            del _armed[halt.ident]
            for code, holders in list(_instrumented.items()):
                holders.discard(halt.ident)
                if not holders:
                    del _instrumented[code]
                    _monitoring.set_local_events(_tool, code, 0)
            if not _armed:
                _yield_tool()

    def begin_anew() -> None:
        """Take every instrument away; in the child after a fork."""
        global _lock
        _lock = threading.Lock()
        _armed.clear()
        for code in _instrumented:
            _monitoring.set_local_events(_tool, code, 0)
        _instrumented.clear()
        if _tool >= 0:
            _yield_tool()

else:

    def _free_tool() -> int:
        return -1

    def arm(halt: HaltState) -> None:
        """Do nothing: this interpreter cannot monitor."""

    def disarm(halt: HaltState) -> None:
        """Do nothing: this interpreter cannot monitor."""

    def begin_anew() -> None:
        """Do nothing: this interpreter cannot monitor."""
