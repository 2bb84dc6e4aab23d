"""A slow subscriber with a queue holds up nothing, and what it misses is counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from luminal.metrics import snapshot, to_text
from luminal.testing import Host
from tests.waiting import DEADLINE, wait_until

if TYPE_CHECKING:
    from luminal.model import Event

QUIET = "from luminal import IPhoton\n\nclass Photon(IPhoton):\n    pass\n"


def queues() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "luminal-events"]


def test_a_reload_does_not_wait_for_a_slow_subscriber() -> None:
    go_on = threading.Event()
    threads: set[threading.Thread] = set()
    slow: list[Event] = []
    exact: list[Event] = []

    def wait(event: Event) -> None:
        assert go_on.wait(DEADLINE)
        threads.add(threading.current_thread())
        slow.append(event)

    def fails(event: Event) -> None:
        raise LookupError

    with Host() as host:
        host.write("quiet.py", QUIET)
        host.run()
        events = host.loader.events
        unsubscribe = events.subscribe(wait, queue=3)
        events.subscribe(exact.append)
        for number in range(3):
            host.write("quiet.py", f"{QUIET}# {number}\n")
            host.reload("quiet")
        assert not slow
        assert events.dropped >= len(exact) - 4 > 0
        assert "luminal_events_dropped_total" in to_text(snapshot(host.loader))
        go_on.set()
        wait_until(lambda: len(slow) >= 3)
        assert slow == exact[: len(slow)]
        assert threading.current_thread() not in threads
        unsubscribe()
        wait_until(lambda: not queues())
        failed = events.failures
        end = events.subscribe(fails, queue=100)
        host.write("quiet.py", QUIET)
        host.reload("quiet")
        wait_until(lambda: events.failures > failed)
        end()
    wait_until(lambda: not queues())
