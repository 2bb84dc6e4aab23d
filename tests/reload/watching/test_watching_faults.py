"""What goes wrong around a watcher, and that it goes on."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import sys
import threading
import time

import inotify_simple
import pytest

from luminal.errors import DirectoryNotFoundError, ThreadManagerAlreadyRunningError
from luminal.reload.watching import Cause, NoteCode, Timing, Watcher, _watcher
from tests.waiting import DEADLINE

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's queue")


@LINUX
@pytest.mark.fault(30)
def test_an_overflow_is_repaired_by_one_rescan(inbox, root):
    """More events than the kernel's queue holds, while the receiver is busy."""
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        queue_size = int(file.read())
    names = [root / f"m{number}.py" for number in range(200)]
    for name in names:
        name.write_text("old = 0\n")
    busy, go_on = threading.Event(), threading.Event()

    def receive(batch):
        inbox.batches.put(batch)
        busy.set()
        assert go_on.wait(DEADLINE)

    inbox.watch(on_batch=receive)
    (root / "first.py").write_text("x")
    assert busy.wait(DEADLINE)
    # Two files in turn, so that the kernel cannot merge equal neighbours.
    one, two = (os.open(root / n, os.O_CREAT | os.O_WRONLY) for n in ("s1", "s2"))
    for _ in range(queue_size // 2 + 100):
        os.write(one, b"x")
        os.write(two, b"x")
    os.close(one)
    os.close(two)
    for name in names[:50]:
        name.write_text("newer = 1\n")
    names[60].unlink()
    (root / "package").mkdir()
    (root / "package" / "new.py").write_text("x")
    go_on.set()
    assert inbox.next().paths == {str(root / "first.py")}
    assert inbox.note(NoteCode.OVERFLOW)
    batch = inbox.next()
    assert batch.cause is Cause.OVERFLOW
    assert batch.changed == {str(name) for name in names[:50]}
    assert batch.deleted == {str(names[60])}
    assert batch.created == {
        str(root / name) for name in ("s1", "s2", "package/new.py")
    }
    (root / "package" / "new.py").write_text("y")
    assert inbox.next_names() == {"package/new.py"}


@LINUX
@pytest.mark.fault(30)
def test_the_limit_of_watches_leads_to_polling_said_once(
    inbox, root, quick, monkeypatch
):
    real = inotify_simple.INotify.add_watch
    count = 0

    def limited(self, path, mask):
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(self, path, mask)

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", limited)
    for number in range(10):
        (root / f"p{number}").mkdir()
    inbox.watch(timing=quick)
    note = inbox.note(NoteCode.WATCH_LIMIT)
    assert "limit of watches" in note.text
    for number in range(10):
        (root / f"p{number}" / "a.py").write_text("x")
        assert inbox.next_names() == {f"p{number}/a.py"}
    assert inbox.notes.empty()


@LINUX
@pytest.mark.fault(30)
def test_no_descriptor_left_for_the_kernels_events(inbox, root, quick, monkeypatch):
    def refuse(self, **settings):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(inotify_simple.INotify, "__init__", refuse)
    monkeypatch.setattr(inotify_simple.INotify, "__del__", lambda self: None, False)
    inbox.watch(timing=quick)
    assert "too many open files" in inbox.note(NoteCode.WATCH_LIMIT).text
    (root / "a.py").write_text("x")
    assert inbox.next().cause is Cause.SCAN


@pytest.mark.fault(30)
def test_a_file_system_without_events_is_swept_and_that_is_said_once(
    inbox, root, quick, monkeypatch
):
    monkeypatch.setattr(_watcher, "silent_file_system", lambda directory: "nfs4")
    inbox.watch(timing=quick)
    note = inbox.note(NoteCode.NO_EVENTS)
    assert note.directory == str(root)
    assert "nfs4" in note.text
    for text in ("x", "y"):
        (root / "a.py").write_text(text)
        assert inbox.next_names() == {"a.py"}
    assert inbox.notes.empty()


@LINUX
def test_a_write_without_an_event_is_found_by_the_slow_sweep(inbox, root, quick):
    """Stores through a memory map send no event: inotify(7)."""
    import mmap

    (root / "a.py").write_bytes(b"old = 0\n")
    file = os.open(root / "a.py", os.O_RDWR)
    memory = mmap.mmap(file, 0)
    os.close(file)
    inbox.watch(timing=quick)
    memory[0:3] = b"new"
    memory.flush()
    batch = inbox.next()
    assert batch.cause is Cause.SCAN
    assert batch.changed == {str(root / "a.py")}
    memory.close()


def test_a_sweep_within_its_budget_gets_round(inbox, root):
    """One folder a look: after enough looks every folder has had its turn."""
    import mmap

    maps = []
    for number in range(5):
        folder = root / f"p{number}"
        folder.mkdir()
        (folder / "a.py").write_bytes(b"old = 0\n")
        with open(folder / "a.py", "r+b") as file:
            maps.append(mmap.mmap(file.fileno(), 0))
    inbox.watch(timing=Timing(scan=0.02, scan_budget=0.0))
    for memory in maps:
        memory[0:3] = b"new"
        memory.flush()
        memory.close()
    found = set()
    while len(found) < 5:
        found |= inbox.next_names()
    assert found == {f"p{number}/a.py" for number in range(5)}


@pytest.mark.fault(31)
def test_a_directory_that_goes_and_comes_back(inbox, root, tmp_path, quick):
    (root / "a.py").write_text("x")
    inbox.watch(timing=quick)
    shutil.rmtree(root)
    assert inbox.note(NoteCode.GONE).directory == str(root)
    assert inbox.next().deleted == {str(root / "a.py")}
    root.mkdir()
    (root / "a.py").write_text("back")
    assert inbox.note(NoteCode.RETURNED).directory == str(root)
    assert inbox.until(root / "a.py")[-1].created == {str(root / "a.py")}

    away = tmp_path / "away"
    root.rename(away)
    assert inbox.note(NoteCode.GONE)
    assert inbox.until(root / "a.py")[-1].deleted == {str(root / "a.py")}
    (away / "a.py").write_text("not ours any more")
    away.rename(root)
    assert inbox.note(NoteCode.RETURNED)
    inbox.until(root / "a.py")
    (root / "a.py").write_text("ours again")
    assert inbox.until(root / "a.py")


@pytest.mark.fault(31)
def test_the_directory_above_goes_and_comes_back(inbox, tmp_path, quick):
    above = tmp_path / "above"
    root = above / "photons"
    root.mkdir(parents=True)
    (root / "a.py").write_text("x")
    inbox.watch(root, timing=quick)
    shutil.rmtree(above)
    assert inbox.note(NoteCode.GONE)
    root.mkdir(parents=True)
    assert inbox.note(NoteCode.RETURNED)
    inbox.root = root
    (root / "b.py").write_text("x")
    assert inbox.until(root / "b.py")


@pytest.mark.fault(31)
def test_a_directory_replaced_in_one_step(inbox, root, tmp_path):
    (root / "a.py").write_text("old")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "a.py").write_text("new")
    inbox.watch()
    root.rename(tmp_path / "old")
    fresh.rename(root)
    batch = inbox.until(root / "a.py")[-1]
    assert str(root / "a.py") in batch.changed | batch.created
    inbox.rest()
    (root / "a.py").write_text("newer")
    assert inbox.next_names() == {"a.py"}


@pytest.mark.fault(31)
def test_a_directory_that_cannot_be_read_loses_nothing(inbox, root, quick, monkeypatch):
    """An error that is not 'not found' says nothing about the files."""
    package = root / "package"
    package.mkdir()
    (package / "a.py").write_text("x")
    inbox.watch(timing=quick)
    real = os.scandir
    broken = threading.Event()
    broken.set()

    def scandir(path):
        if broken.is_set() and str(path) == str(package):
            raise PermissionError(errno.EACCES, "permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert inbox.note(NoteCode.UNREADABLE).directory == str(package)
    assert inbox.batches.empty()
    broken.clear()
    (package / "a.py").write_text("y")
    assert inbox.next_names() == {"package/a.py"}


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_receiver_that_fails_does_not_end_the_watch(inbox, root, error, caplog):
    def receive(batch):
        inbox.batches.put(batch)
        raise error("from the receiver")

    inbox.watch(on_batch=receive)
    for text in ("x", "y"):
        (root / "a.py").write_text(text)
        assert inbox.next_names() == {"a.py"}
    inbox.close()
    assert "from the receiver" in caplog.text


def test_a_watcher_that_fails_begins_anew(inbox, root, tmp_path, monkeypatch):
    """Whatever the source raises; what changed meanwhile is delivered."""
    outside = tmp_path / "outside.py"
    outside.write_text("x")
    (root / "link.py").symlink_to(outside)
    watcher = inbox.watch()
    source = watcher._loop.tracker.snapshot.source

    def fail(timeout):
        (root / "meanwhile.py").write_text("x")
        raise OSError(errno.EBADF, "bad file descriptor")

    monkeypatch.setattr(source, "wait", fail)
    source.wake()
    assert "bad file descriptor" in inbox.note(NoteCode.TROUBLE).text
    batch = inbox.next()
    assert batch.cause is Cause.RESCAN
    assert batch.created == {str(root / "meanwhile.py")}
    (root / "a.py").write_text("x")
    assert inbox.next_names() == {"a.py"}
    outside.write_text("y")
    assert inbox.next_names() == {"link.py"}


@pytest.mark.fault(38)
@pytest.mark.parametrize("jump", [86_400, -86_400])
def test_the_wall_clock_plays_no_part(inbox, root, clock, monkeypatch, jump):
    """A jump of a day, forwards or backwards, neither hurries nor delays."""
    watcher = inbox.watch(clock=clock)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    (root / "a.py").write_text("x")
    os.utime(root / "a.py", (real() + jump, real() + jump))
    clock.pass_by(0.0, watcher)
    assert inbox.batches.empty()
    clock.pass_by(Timing().quiet_limit, watcher)
    assert inbox.next_names() == {"a.py"}


def test_notes_without_a_receiver_are_logged(inbox, root, quick, caplog):
    with caplog.at_level(logging.WARNING):
        inbox.watch(on_note=None, timing=quick, force_polling=True)
    assert "polling was asked for" in caplog.text


def test_a_note_receiver_that_fails_is_logged(inbox, root, quick, caplog):
    def fail(note):
        raise RuntimeError("from the note's receiver")

    inbox.watch(on_note=fail, timing=quick, force_polling=True)
    (root / "a.py").write_text("x")
    inbox.next()
    assert "from the note's receiver" in caplog.text


def test_a_missing_directory_is_refused_at_the_start(inbox, root):
    with pytest.raises(DirectoryNotFoundError):
        Watcher([root / "nowhere"], print).start()
    watcher = inbox.watch()
    with pytest.raises(DirectoryNotFoundError):
        watcher.add(root / "nowhere")
    (root / "a.py").write_text("x")
    with pytest.raises(DirectoryNotFoundError):
        watcher.add(root / "a.py")


def test_it_runs_once_and_again(inbox, root):
    watcher = inbox.watch()
    with pytest.raises(ThreadManagerAlreadyRunningError):
        watcher.start()
    assert watcher.stop()
    assert watcher.stop(), "stopping twice changes nothing"
    (root / "unseen.py").write_text("x")
    watcher.start()
    (root / "a.py").write_text("x")
    assert inbox.next_names() == {"a.py"}


def test_directories_come_and_go_while_it_runs(inbox, root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    watcher = inbox.watch()
    watcher.add(other)
    watcher.add(str(other))
    assert watcher.directories == (str(root), str(other))
    (other / "a.py").write_text("x")
    assert inbox.next().paths == {str(other / "a.py")}
    watcher.remove(other)
    watcher.remove(other)
    (other / "a.py").write_text("y")
    assert inbox.rest() == []


def test_a_directory_that_is_gone_can_be_given_up(inbox, root, tmp_path, quick):
    other = tmp_path / "other"
    other.mkdir()
    watcher = inbox.watch(root, other, timing=quick)
    other.rmdir()
    assert inbox.note(NoteCode.GONE).directory == str(other)
    watcher.remove(other)
    other.mkdir()
    (other / "a.py").write_text("nobody's")
    assert inbox.rest() == []
    assert inbox.notes.empty()


def test_overlapping_directories_are_one_change(inbox, root):
    inner = root / "package"
    inner.mkdir()
    watcher = inbox.watch(root, inner)
    (inner / "a.py").write_text("x")
    assert inbox.next_names() == {"package/a.py"}
    watcher.remove(inner)
    (inner / "a.py").write_text("y")
    assert inbox.next_names() == {"package/a.py"}
    assert inbox.rest() == []


def test_the_receiver_may_change_and_stop_the_watch(inbox, root, tmp_path):
    """From inside of a delivery nothing may deadlock."""
    other = tmp_path / "other"
    other.mkdir()

    def receive(batch):
        inbox.watchers[0].add(other)
        inbox.batches.put(batch)
        if str(other / "b.py") in batch.paths:
            assert inbox.watchers[0].stop() is False

    watcher = inbox.watch(on_batch=receive)
    (root / "a.py").write_text("x")
    inbox.next()
    (other / "b.py").write_text("x")
    inbox.next()
    watcher._thread.join(DEADLINE)
    assert not watcher.is_running


def test_it_belongs_to_no_event_loop(inbox, root):
    async def begin():
        inbox.watch()

    asyncio.run(begin())
    (root / "a.py").write_text("x")
    assert inbox.next_names() == {"a.py"}

    async def end():
        assert inbox.watchers[0].stop()

    asyncio.run(end())


def test_nothing_is_left_behind(root):
    """Threads and descriptors return to the base line."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    with Watcher([root], print):
        pass
    threads, descriptors = threading.active_count(), len(os.listdir(folder))
    for _ in range(20):
        with Watcher([root], print):
            (root / "a.py").write_text("x")
    assert threading.active_count() == threads
    assert len(os.listdir(folder)) == descriptors


@LINUX
def test_a_host_with_more_open_files_than_select_can_name(inbox, root):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = 1200
    if hard != resource.RLIM_INFINITY and hard < 2 * many:
        pytest.skip("the system allows few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * many), hard))
    opened = []
    try:
        opened += [os.dup(1) for _ in range(many)]
        inbox.watch()
        (root / "a.py").write_text("x")
        assert inbox.next_names() == {"a.py"}
    finally:
        inbox.close()
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
