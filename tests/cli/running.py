"""A host of the command line that runs, for tests that talk to it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

from tests.cli.terminal import Terminal
from tests.waiting import DEADLINE

GEO = """\
import luminal


class Geo(luminal.IPhoton):
    photon_name = "geo"

    def start(self):
        print("geo says {word}", flush=True)
"""
BROKEN = GEO + "def = 1\n"


class Running:
    """A host that runs, and what it has said, one JSON document a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[Any] = []

    def until(self, **wanted: Any) -> Any:
        """Return the next document that has these values."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(json.loads(line))
            if wanted.items() <= self.seen[-1].items():
                return self.seen[-1]
        raise AssertionError(f"{wanted} never came: {self.seen}")

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=DEADLINE)
        return self.process.returncode


@contextlib.contextmanager
def running(terminal: Terminal, *arguments: str) -> Iterator[Running]:
    with terminal.start(*arguments, "--no-installed", "--json") as process:
        host = Running(process)
        # Whatever a test waits for in vain comes to an end.
        limit = threading.Timer(DEADLINE, process.kill)
        limit.start()
        try:
            host.until(event="ready")
            yield host
        finally:
            limit.cancel()
            process.kill()


def geo(word: str) -> str:
    return GEO.format(word=word)
