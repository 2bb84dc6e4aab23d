"""A watched directory, an inbox for what is delivered, and the watcher's time."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

import pytest

from luminal.reload.watching import Batch, Note, NoteCode, Timing, Watcher
from tests.waiting import DEADLINE


class Clock:
    """The watcher's time: it stands still until a test puts it forward."""

    def __init__(self) -> None:
        self._now = 1000.0

    def __call__(self) -> float:
        return self._now

    def pass_by(self, seconds: float, watcher: Watcher) -> None:
        """Let *seconds* pass, after what has happened and before what follows.

        On return, the watcher has looked at its clock: what was due is delivered.
        """
        self._look(watcher)
        self._now += seconds
        self._look(watcher)

    def _look(self, watcher: Watcher) -> None:
        # Twice: the first call may be served at the end of a turn that is under way.
        for _ in range(2):
            looked = threading.Event()
            watcher.call(looked.set)
            assert looked.wait(DEADLINE)


class Inbox:
    """Runs watchers, and takes in what they deliver."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.batches: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self.notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self.watchers: list[Watcher] = []
        self._marks = 0

    def watch(self, *directories: Path, on_batch=None, **settings) -> Watcher:
        settings.setdefault("on_note", self.notes.put)
        watcher = Watcher(
            directories or (self.root,), on_batch or self.batches.put, **settings
        )
        self.watchers.append(watcher)
        return watcher.start()

    def next(self) -> Batch:
        return self.batches.get(timeout=DEADLINE)

    def next_names(self) -> set[str]:
        return self.names(self.next())

    def names(self, batch: Batch) -> set[str]:
        return {str(Path(path).relative_to(self.root)) for path in batch.paths}

    def until(self, path: Path | str) -> list[Batch]:
        """Take batches until one has *path*, which is the last of the list."""
        found = [self.next()]
        while str(path) not in found[-1].paths:
            found.append(self.next())
        return found

    def rest(self, root: Path | None = None) -> list[Batch]:
        """Return what came before a mark that is written now."""
        self._marks += 1
        mark = (root or self.root) / f"mark_{self._marks}.txt"
        mark.write_text("x")
        *before, last = self.until(mark)
        if last.paths != {str(mark)}:
            before.append(last)
        return before

    def note(self, code: NoteCode) -> Note:
        """Return the next note of *code*; others are passed over."""
        end = time.monotonic() + DEADLINE
        while True:
            note = self.notes.get(timeout=max(0.0, end - time.monotonic()))
            if note.code is code:
                return note

    def close(self) -> None:
        ended = [watcher.stop(DEADLINE) for watcher in self.watchers]
        assert all(ended)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photons"
    folder.mkdir()
    return folder


@pytest.fixture
def inbox(root: Path):
    box = Inbox(root)
    yield box
    box.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quick() -> Timing:
    """Sweeps that a test can wait for."""
    return Timing(scan=0.05, poll=0.05)
