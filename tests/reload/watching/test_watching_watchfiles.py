"""The back end of macOS, Windows and the BSDs, with a fake of the native library.

The library's events are hints. The fake sends what the systems are known to send:
events that are merged, repeated and reordered, of files that are gone, and of the
watched directory itself.
"""

from __future__ import annotations

import os
import queue
import sys
from types import ModuleType

import pytest

from luminal.reload.watching import Cause, NoteCode, Timing, _watcher
from luminal.reload.watching._source import FileEvent
from luminal.reload.watching._watchfiles import WatchfilesSource
from tests.waiting import wait_until

ADDED, MODIFIED, DELETED = 1, 2, 3
SLOW = Timing(scan=3600, poll=3600)


class Native:
    """The class `RustNotify` of the library."""

    made: list[Native]
    fails = False

    def __init__(self, paths, debug, force_polling, delay, recursive, ignore):
        assert (debug, force_polling, recursive, ignore) == (False, False, True, True)
        if Native.fails:
            raise OSError("no more watches")
        (self.path,) = paths
        self.is_closed = False
        self._news = queue.SimpleQueue()
        Native.made.append(self)

    def send(self, *changes):
        self._news.put({(kind, str(path)) for kind, path in changes})

    def fail(self):
        self._news.put(RuntimeError("the volume is gone"))

    def watch(self, debounce, step, timeout, stop):
        while not stop.is_set():
            try:
                news = self._news.get(timeout=0.005)
            except queue.Empty:
                continue
            if isinstance(news, Exception):
                raise news
            return news
        return "stop"

    def close(self):
        self.is_closed = True


@pytest.fixture(autouse=True)
def native(monkeypatch):
    Native.made, Native.fails = [], False
    low = ModuleType("watchfiles._rust_notify")
    low.RustNotify = Native
    library = ModuleType("watchfiles")
    library._rust_notify = low
    monkeypatch.setitem(sys.modules, "watchfiles", library)
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", low)
    monkeypatch.setattr(_watcher, "new_source", lambda force: WatchfilesSource())
    return Native


@pytest.fixture
def started(inbox, root, native):
    """A watcher of a directory with one file, and the native watch of it."""
    (root / "a.py").write_text("old")
    inbox.watch(timing=SLOW)
    (made,) = native.made
    assert made.path == os.path.realpath(root)
    return made


def test_one_native_watch_covers_a_tree(inbox, root, started, native):
    (root / "package" / "sub").mkdir(parents=True)
    (root / "package" / "sub" / "b.py").write_text("x")
    started.send((ADDED, root / "package"))
    assert inbox.next_names() == {"package/sub/b.py"}
    assert len(native.made) == 1


def test_repeated_and_reordered_events_are_one_change(inbox, root, started):
    (root / "a.py").write_text("newer")
    started.send(
        (DELETED, root / "a.py"), (ADDED, root / "a.py"), (MODIFIED, root / "a.py")
    )
    batch = inbox.next()
    assert batch.changed == {str(root / "a.py")}
    assert batch.cause is Cause.EVENTS
    assert not batch.deleted


def test_an_event_of_a_file_that_is_gone(inbox, root, started):
    (root / "a.py").unlink()
    started.send((ADDED, root / "a.py"), (DELETED, root / "a.py"))
    assert inbox.next().deleted == {str(root / "a.py")}


def test_an_event_of_a_directory_means_that_it_is_listed(inbox, root, started):
    """FSEvents merges many events into one of their directory."""
    for name in ("b.py", "c.py"):
        (root / name).write_text("x")
    started.send((MODIFIED, root))
    assert inbox.next_names() == {"b.py", "c.py"}


def test_events_of_other_directories_are_left_out(inbox, root, tmp_path, started):
    started.send((MODIFIED, tmp_path / "elsewhere.py"))
    (root / "a.py").write_text("newer")
    started.send((MODIFIED, root / "a.py"))
    assert inbox.next_names() == {"a.py"}


def test_a_file_behind_a_link_has_the_name_by_which_it_is_watched(
    inbox, root, tmp_path, native
):
    """FSEvents reports real paths, such as /private/var for /var."""
    (root / "a.py").write_text("old")
    link = tmp_path / "link"
    link.symlink_to(root)
    inbox.watch(link, timing=SLOW)
    (root / "a.py").write_text("newer")
    native.made[0].send((MODIFIED, os.path.realpath(root / "a.py")))
    assert inbox.next().changed == {str(link / "a.py")}


def test_a_link_makes_the_watcher_poll_and_say_so(inbox, root, tmp_path, native):
    (tmp_path / "a.py").write_text("old")
    (root / "a.py").symlink_to(tmp_path / "a.py")
    inbox.watch(timing=Timing(scan=3600, poll=0.05))
    assert "links" in inbox.note(NoteCode.WATCH_LIMIT).text
    (tmp_path / "a.py").write_text("newer")
    batch = inbox.next()
    assert (batch.changed, batch.cause) == ({str(root / "a.py")}, Cause.SCAN)


def test_a_native_watch_that_fails_is_made_again(inbox, root, started, native):
    """As of a volume that is unmounted: the tree is listed, and watched anew."""
    (root / "a.py").write_text("meanwhile")
    started.fail()
    assert inbox.next_names() == {"a.py"}
    wait_until(lambda: len(native.made) == 2)
    assert started.is_closed
    (root / "a.py").write_text("newer still")
    native.made[1].send((MODIFIED, root / "a.py"))
    assert inbox.next_names() == {"a.py"}


def test_git_is_waited_for_though_no_event_tells_of_its_lock(inbox, root, native):
    (root / ".git").mkdir()
    (root / ".git" / "index.lock").touch()
    inbox.watch(timing=Timing(scan=3600, poll=3600, cap=60.0, lock_cap=60.0))
    (root / "a.py").write_text("x")
    native.made[0].send((ADDED, root / "a.py"))
    watcher = inbox.watchers[0]
    wait_until(lambda: watcher._loop.tracker.settle.is_pending)
    assert inbox.batches.empty()
    (root / ".git" / "index.lock").unlink()
    assert inbox.next_names() == {"a.py"}


def test_a_directory_that_is_missing_is_looked_for_alone(inbox, root, started):
    """No event tells that it is back, and no scan of every file is made."""
    away = root.with_name("away")
    root.rename(away)
    started.send((DELETED, root))
    assert inbox.note(NoteCode.GONE).directory == str(root)
    (away / "a.py").write_text("newer")
    away.rename(root)
    assert inbox.note(NoteCode.RETURNED).directory == str(root)
    assert str(root / "a.py") in inbox.next().paths


def test_the_threads_end_with_the_watch(inbox, root, started):
    inbox.close()
    wait_until(lambda: started.is_closed)


def test_without_the_library_every_file_is_polled(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    source = _watcher.new_source()
    assert "events are unavailable" in source.polling_reason
    assert not source.reports_locks


def test_an_event_of_a_folder_asks_for_a_listing(root, native):
    source = WatchfilesSource()
    source.add_folder(str(root))
    (root / "package").mkdir()
    native.made[0].send((ADDED, root / "package"), (ADDED, root / "a.py"))
    assert source.wait(60)
    (root / "a.py").write_text("x")
    assert source.read() == {
        str(root / "package"): FileEvent.RELIST,
        str(root / "a.py"): FileEvent.WRITTEN,
    }
    source.close()


def test_a_tree_that_cannot_be_watched_is_polled(inbox, root, native):
    native.fails = True
    inbox.watch(timing=Timing(scan=3600, poll=0.05))
    assert "no more watches" in inbox.note(NoteCode.WATCH_LIMIT).text
    (root / "a.py").write_text("x")
    assert inbox.next_names() == {"a.py"}
