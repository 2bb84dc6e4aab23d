"""``LUMINAL_TRACE=hooks``: a line on standard error for each call of a hook.

It is for finding out who answers what. While it is on, every call takes the slow way
through the monitors of the hook engine.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from luminal._plain import error_text, plain, repr_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luminal.hooks import PluginManager

__all__ = ["trace_hooks"]

_LONGEST = 60
"""Characters of an argument that are shown."""


def trace_hooks(plugins: PluginManager) -> None:
    """Print each call of a hook of *plugins* where ``$LUMINAL_TRACE`` has ``hooks``.

    A line has the thread, the hook with its arguments, the photons that implement it in
    the order of the calls, the result or what was raised, and the duration. It comes at
    the end of the call.
    """
    if "hooks" not in os.environ.get("LUMINAL_TRACE", "").replace(",", " ").split():
        return
    # When the calls under way began, the innermost first; a task has its own.
    began: ContextVar[tuple[float, ...]] = ContextVar("luminal_trace", default=())

    def before(name: str, methods: Any, arguments: Mapping[str, Any]) -> None:
        del name, methods, arguments
        began.set((time.perf_counter(), *began.get()))

    def after(
        outcome: Any, name: str, methods: Any, arguments: Mapping[str, Any]
    ) -> None:
        now = time.perf_counter()
        first, *around = began.get() or (now,)
        began.set(tuple(around))
        given = ", ".join(
            f"{key}={repr_of(value, _LONGEST)}"
            for key, value in arguments.items()
            if key != "__multicall__"
        )
        names = ", ".join(plain(each.plugin_name) for each in reversed(methods))
        error = outcome.exception
        result = (
            f"raised {error_text(error)}"
            if error is not None
            else f"-> {repr_of(outcome.get_result())}"
        )
        depth = "  " * len(around)
        thread = threading.current_thread().name
        line = f"hook  {thread}  {depth}{name}({given})  [{names}]  {result}"
        sys.stderr.write(f"{line}  {(now - first) * 1000:.1f} ms\n")

    plugins.add_hookcall_monitoring(before, after)
