"""A loop for the tests of loops, and how they wait for what it does."""

from __future__ import annotations

import threading

from luminal.supervise import Backoff, Intensity, SuperLoop

AT_ONCE = Backoff(initial=0.001, cap=0.01)
OFTEN = Intensity(restarts=10_000, period=60)


class Turning(SuperLoop):
    """Counts its turns and fails when it is told to."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"backoff": AT_ONCE, **kwargs})
        self.turns = 0
        self.starts = 0
        self.fail = threading.Event()

    def on_thread_start(self):
        self.starts += 1

    def cycle(self):
        self.turns += 1
        if self.fail.is_set():
            self.fail.clear()
            raise ValueError("told to")
        threading.Event().wait(0.001)
