"""Faults of a coordinator's process, asked for by files: see `conformance.Flags`."""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import Any

from tests.fleet.conformance import Flags
from tests.waiting import DEADLINE


def _die_or_fail(flags: Flags, step: str) -> None:
    what = flags.get("coordinator", step)
    if not what:
        return
    flags.set("coordinator", f"{step}.reached", "yes")
    if what == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    flags.clear("coordinator", step)
    os.kill(os.getpid(), signal.SIGKILL)


def install(flags: Flags) -> None:
    """Let this process' coordinator obey *flags*."""
    from luminal.fleet._coordinator import CoordinatorDriver
    from luminal.fleet._journal import Journal
    from luminal.fleet._protocol import Decided

    clock = time.time
    time.time = lambda: clock() + (1e7 if flags.get("coordinator", "clock") else 0)
    append, init = Journal.append, CoordinatorDriver.__init__

    def obedient_append(self: Any, row: Any, **about: Any) -> None:
        kind = type(row).__name__.lower()
        _die_or_fail(flags, kind)
        _die_or_fail(flags, f"before-{kind}")
        append(self, row, **about)
        _die_or_fail(flags, f"after-{kind}")

    def obedient_init(
        self: Any, journal: Any, contents: Any, send: Any, **options: Any
    ) -> None:
        def obedient_send(member: str, message: Any) -> None:
            send(member, message)
            if isinstance(message, Decided):
                _die_or_fail(flags, "after-telling-one")

        # On a busy machine a process may start for longer than votes are waited for.
        patient = {"vote_seconds": 3 * DEADLINE, **options}
        init(self, journal, contents, obedient_send, **patient)

    Journal.append = obedient_append  # type: ignore[method-assign]
    CoordinatorDriver.__init__ = obedient_init  # type: ignore[method-assign]
