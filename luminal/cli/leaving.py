"""How the process ends when something does not want to end."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PATIENCE", "leave", "leave_soon", "silence", "write_now"]

PATIENCE = 5.0
"""Seconds that threads have to end after everything was unloaded."""


def leave(code: int, left: Sequence[str] = ()) -> NoReturn:
    """End the process now, and say what is abandoned: *left*, and threads."""
    threads = [
        f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    for each in (*left, *threads):
        write_now(f"luminal: abandoned {each}\n")
    os._exit(code)


def leave_soon(code: int) -> None:
    """See to it that no thread keeps the interpreter from ending.

    Args:
        code: Exit code for when it has to be ended.
    """

    def wait() -> None:
        threading.Event().wait(PATIENCE)
        sys.stdout.flush()
        leave(code)

    threading.Thread(target=wait, name="luminal-leave", daemon=True).start()


def silence() -> None:
    """Let what nobody can hear any more go nowhere.

    Else the interpreter would write it again at its end, and complain.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def write_now(text: str) -> None:
    """Write to standard error past the buffers, which a signal must not touch."""
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        return  # nobody listens any more
