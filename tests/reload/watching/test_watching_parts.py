"""The small parts: names, mounts; and the sources for other systems."""

from __future__ import annotations

import os
import threading

import attrs
import pytest

from luminal.reload.watching import Batch, Cause, NoteCode, _watcher
from luminal.reload.watching._ignore import (
    is_ignored_file,
    is_ignored_folder,
    silent_file_system,
)
from luminal.reload.watching._watchfiles import WatchfilesSource


@pytest.mark.parametrize(
    "name",
    [
        *("a.py~", ".a.py.swp", "4913", ".#a.py", "#a.py#", "a.pyc", ".git"),
        *("a.py___jb_tmp___", ".goutputstream-X1", "flycheck_a.py", "a_flymake.py"),
    ],
)
def test_files_of_editors_are_noise(name):
    assert is_ignored_file(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.py",
        "__init__.py",
        "data.json",
        ".env",
        "a.so",
        "a.pyi",
        "py.typed",
        "flymake.py",
    ],
)
def test_what_a_photon_may_use_is_not_noise(name):
    assert not is_ignored_file(name)


@pytest.mark.parametrize("name", ["__pycache__", ".git", ".venv", "~umpy", "..data"])
def test_folders_that_nothing_is_imported_from_are_noise(name):
    assert is_ignored_folder(name)
    assert not is_ignored_folder("package")


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export /mnt/net nfs4 rw 0 0
tmpfs /mnt/net/local tmpfs rw 0 0
host /srv/my\\040files fuse.sshfs rw 0 0
/dev/sdb1 /mnt/stick fuseblk rw 0 0
share /over 9p rw 0 0
/dev/vdb /over ext4 rw 0 0
overlay /container overlay rw 0 0
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/home/me", None),
        ("/mnt/net/photons", "nfs4"),
        ("/mnt/net", "nfs4"),
        ("/mnt/network", None),
        ("/mnt/net/local/photons", None),
        ("/mnt", "nfs4"),
        ("/srv/my files/photons", "fuse.sshfs"),
        ("/mnt/stick", None),
        ("/over/it", None),
        ("/container/app", None),
    ],
)
def test_file_systems_without_events_are_known(tmp_path, directory, kind):
    """By the mount that holds the directory, or one below it; the latest counts."""
    table = tmp_path / "mounts"
    table.write_text(MOUNTS)
    assert silent_file_system(directory, str(table)) == kind


def test_without_a_table_of_mounts_nothing_is_known(tmp_path):
    assert silent_file_system("/", str(tmp_path / "missing")) is None


def test_a_batch_reads_short():
    batch = Batch(created=frozenset("ab"), changed=frozenset("c"), settled=0.004)
    assert repr(batch) == ("<Batch 2 created, 1 changed, 0 deleted, by events, 4.0 ms>")
    assert batch.paths == {"a", "b", "c"}


@pytest.fixture(params=["polling", "watchfiles"])
def other_system(request, monkeypatch):
    """The sources that Linux does not need, on Linux."""
    if request.param == "polling":
        return {"force_polling": True}
    pytest.importorskip("watchfiles")
    monkeypatch.setattr(
        _watcher, "new_source", lambda force_polling: WatchfilesSource()
    )
    return {}


def test_other_sources_find_the_same(inbox, root, quick, other_system, tmp_path):
    (root / "a.py").write_text("old")
    inbox.watch(timing=quick, **other_system)
    (root / "a.py").write_text("newer")
    assert inbox.next().changed == {str(root / "a.py")}
    fresh = tmp_path / "fresh"
    fresh.write_text("renamed")
    os.replace(fresh, root / "a.py")
    assert inbox.next().changed == {str(root / "a.py")}
    (root / "package" / "sub").mkdir(parents=True)
    (root / "package" / "sub" / "b.py").write_text("x")
    assert inbox.next_names() == {"package/sub/b.py"}
    (root / "package").rename(root / "other")
    batch = inbox.until(root / "other" / "sub" / "b.py")[-1]
    (root / "other" / "sub" / "b.py").unlink()
    inbox.until(root / "other" / "sub" / "b.py")
    assert inbox.rest() == []
    assert batch.cause in (Cause.SCAN, Cause.EVENTS)


def test_other_sources_follow_a_link_that_is_swapped(
    inbox, quick, other_system, tmp_path
):
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "a.py").write_text(number)
    current = tmp_path / "current"
    current.symlink_to("1")
    inbox.watch(current, timing=quick, **other_system)
    fresh = tmp_path / "fresh"
    fresh.symlink_to("2")
    os.replace(fresh, current)
    assert inbox.until(current / "a.py")[-1].changed == {str(current / "a.py")}


def test_other_sources_wait_for_locks_and_lost_directories(
    inbox, root, quick, other_system
):
    (root / ".git").mkdir()
    lock = root / ".git" / "index.lock"
    lock.touch()
    inbox.watch(timing=attrs.evolve(quick, cap=60.0), **other_system)
    (root / "a.py").write_text("x")
    threading.Timer(0.5, lock.unlink).start()
    batch = inbox.next()
    assert not lock.exists()
    assert batch.created == {str(root / "a.py")}
    (root / "a.py").unlink()
    inbox.until(root / "a.py")
    lock.parent.rmdir()
    root.rmdir()
    assert inbox.note(NoteCode.GONE)
    root.mkdir()
    assert inbox.note(NoteCode.RETURNED)
    (root / "b.py").write_text("x")
    assert inbox.until(root / "b.py")[-1].created == {str(root / "b.py")}
