"""A terminal that a program runs in: what it shows, and keys for it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path

import attrs

from tests.waiting import DEADLINE


@attrs.define(eq=False)
class Screen:
    """The other end of a pseudo-terminal."""

    fd: int
    pid: int
    text: str = ""
    code: int | None = None

    def until(self, wanted: str, seconds: float = DEADLINE) -> str:
        """Read until *wanted* has come; return all that has been read since the last.

        Raises:
            AssertionError: It has not come, and nothing more does.
        """
        seen = ""
        deadline = time.monotonic() + seconds
        while wanted not in seen:
            more = self._read(deadline)
            assert more, f"{wanted!r} never came: {seen!r}"
            seen += more
        return seen

    def rest(self) -> str:
        """Read until the program has ended; note its exit code."""
        seen = ""
        deadline = time.monotonic() + DEADLINE
        while more := self._read(deadline):
            seen += more
        self.end()
        return seen

    def end(self) -> None:
        """Note the exit code; whoever has not ended by now is killed."""
        if self.code is not None:
            return
        deadline = time.monotonic() + DEADLINE
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.01)
        self.code = os.waitstatus_to_exitcode(ended[1])

    def type(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self.fd, keys.encode())

    def _read(self, deadline: float) -> str:
        left = max(deadline - time.monotonic(), 0)
        if not select.select([self.fd], [], [], left)[0]:
            return ""
        try:
            more = os.read(self.fd, 65536).decode(errors="replace")
        except OSError:  # the other end has been closed
            return ""
        self.text += more
        return more


@contextlib.contextmanager
def on_screen(
    words: Sequence[str],
    place: Path,
    env: Mapping[str, str],
    columns: int = 80,
    lines: int = 24,
) -> Iterator[Screen]:
    """Run *words* in a terminal of so many *columns* and *lines*."""
    child, fd = pty.fork()
    if child == 0:
        os.chdir(place)
        ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.execvpe(words[0], [*words], {"TERM": "xterm-256color", **env})
    screen = Screen(fd, child)
    try:
        yield screen
    finally:
        os.close(fd)  # a hang-up
        screen.end()
