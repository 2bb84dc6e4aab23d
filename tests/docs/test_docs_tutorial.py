"""The tutorial, followed as a reader does: a program that runs, an editor beside it.

What is in the lessons' own blocks is typed and saved, and what they promise to appear
is waited for.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial"

pytestmark = pytest.mark.slow


def blocks(lesson: str, kind: str) -> list[str]:
    """Return the blocks of a *kind* in a lesson, as they stand there."""
    text = (TUTORIAL / lesson).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Terminal:
    """What a program that runs has printed, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.seen: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def until(self, pattern: str) -> str:
        """Return the next line in which *pattern* is found."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{pattern!r} never came: {self.seen}") from None
            self.seen.append(line)
            if re.search(pattern, line):
                return line


@contextmanager
def running(place: Path, *command: str) -> Iterator[Terminal]:
    """Run a Python program in *place*, and end it by Ctrl-C."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(place / ".cache"),
        "LUMINAL_RUNTIME_DIR": str(place / ".run"),
        "NO_COLOR": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=place,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        terminal = Terminal(process)
        try:
            yield terminal
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) in (0, 130), terminal.seen
        finally:
            process.kill()
            terminal.reader.join(DEADLINE)


def shown(line: str) -> str:
    """Return a pattern of *line*: any number for a number, anything for ``...``."""
    pattern = re.escape(line).replace(r"\.\.\.", ".*")
    return re.sub(r"\d+", r"\\d+", pattern)


def test_lesson_on_reloading_happens_as_it_is_told(tmp_path: Path) -> None:
    """Change, break, mend and delete the photon while ``live.py`` runs."""
    for block in blocks("3-reload.md", "python"):
        name, _, text = block.removeprefix("# ").partition("\n")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    photon = tmp_path / "photons" / "counting.py"
    last = photon.read_text().splitlines()[-1]
    told = blocks("3-reload.md", "text")
    assert [block.startswith("        return") for block in told] == [True, False] * 3

    with running(tmp_path, "live.py") as terminal:
        for line in blocks("3-reload.md", "console")[0].splitlines()[1:]:
            terminal.until(f"^{shown(line)}$")
        for new, promised in zip(told[::2], told[1::2], strict=True):
            photon.write_text(photon.read_text().replace(last, new.rstrip("\n")))
            last = new.rstrip("\n")
            for line in promised.splitlines():
                terminal.until(f"^{shown(line)}$")
        photon.unlink()
        terminal.until("^$")


@pytest.mark.skipif(importlib.util.find_spec("click") is None, reason="needs click")
def test_first_lesson_happens_as_it_is_told(tmp_path: Path) -> None:
    """A photon that ``luminal new`` has written, changed and broken under the watch."""
    subprocess.run(
        [sys.executable, "-m", "luminal", "new", "geo", "--in", "photons"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=DEADLINE,
    )
    photon = tmp_path / "photons" / "geo.py"
    changed, refused = blocks("1-see-it.md", "text")
    begins = blocks("1-see-it.md", "console")[-1].splitlines()[1:]

    with running(
        tmp_path, "-m", "luminal", "watch", "photons", "--no-installed"
    ) as terminal:
        for line in begins:
            terminal.until(shown(line))
        photon.write_text(photon.read_text().replace("hello from", "good day from"))
        for line in changed.splitlines():
            terminal.until(shown(line))
        photon.write_text(photon.read_text() + "print(\n")
        terminal.until(shown(refused.rstrip("\n")))
