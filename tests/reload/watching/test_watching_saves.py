"""Each way of saving a file is one batch, with a real watcher and real files."""

from __future__ import annotations

import os
import py_compile
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from luminal.reload.watching import Cause
from luminal.testing import Save, save
from tests.waiting import DEADLINE


def saves(how: Save) -> Callable[[Path], None]:
    """Return a function that saves as an editor does."""

    def write(file: Path) -> None:
        save(file, b"new = 1\n", how)

    write.__name__ = how.name
    return write


def truncate_then_write(file: Path) -> None:
    with file.open("w"):
        pass
    file.write_text("new = 1\n")


def two_writes(file: Path) -> None:
    with file.open("w") as open_file:
        open_file.write("new = 1\n")
        open_file.flush()
        os.fsync(open_file.fileno())
        open_file.write("more = 2\n")


def jetbrains(file: Path) -> None:
    fresh = file.with_name(file.name + "___jb_tmp___")
    fresh.write_text("new = 1\n")
    old = file.with_name(file.name + "___jb_old___")
    file.rename(old)
    fresh.rename(file)
    old.unlink()


def hard_link_over(file: Path) -> None:
    fresh = file.with_name("fresh.tmp")
    fresh.write_text("new = 1\n")
    file.unlink()
    os.link(fresh, file)
    fresh.unlink()


def same_size_and_mtime(file: Path) -> None:
    status = file.stat()
    file.write_text(file.read_text()[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def mtime_backwards(file: Path) -> None:
    file.write_text("new = 1\n")
    os.utime(file, (1.0, 1.0))


WAYS = [
    *(saves(how) for how in Save if how is not Save.TWICE),
    truncate_then_write,
    two_writes,
    jetbrains,
    hard_link_over,
    same_size_and_mtime,
    mtime_backwards,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.fault(28)
def test_a_save_is_one_batch_that_says_changed(inbox, root, way):
    file = root / "photon.py"
    file.write_text("old = 0\n")
    inbox.watch()
    for _ in range(3):
        way(file)
        *others, batch = inbox.until(file)
        assert not any(map(sources, others))
        assert sources(batch) == {str(file)}
        assert str(file) in batch.changed
        assert batch.cause is Cause.EVENTS
        assert batch.settled >= batch.began
    assert not any(map(sources, inbox.rest()))


def sources(batch):
    """Sources in it. A slow machine shows files that were beside them for a moment."""
    return {path for path in batch.paths if path.endswith(".py")}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.fault(27)
def test_what_a_batch_leads_to_is_the_whole_text(inbox, root, way):
    """Whoever reads when the batch arrives finds the last text, never a half one."""
    file = root / "photon.py"
    file.write_text("old = 0\n")
    texts = []
    done = threading.Event()

    def read(batch):
        texts.append(file.read_text())
        done.set()

    inbox.watch(on_batch=read)
    way(file)
    wanted = file.read_text()
    assert done.wait(DEADLINE)
    assert texts == [wanted]


@pytest.mark.fault(27)
def test_a_text_in_two_openings_with_an_empty_moment_is_never_seen_empty(inbox, root):
    """The empty file is held until its text comes, even if the writer is slow."""
    file = root / "photon.py"
    file.write_text("old = 0\n")
    sizes = []
    inbox.watch(on_batch=lambda batch: sizes.append(file.stat().st_size))
    seen = inbox.watchers[0]._loop.tracker.settle
    for _ in range(10):
        count = len(sizes)
        file.write_text("")
        while not seen.is_pending and len(sizes) == count:
            pass
        file.write_text("new = 1\n")
        while len(sizes) == count:  # or the next one empties it under its look
            pass
    assert 0 not in sizes


def compiled(file: Path) -> None:
    py_compile.compile(str(file), doraise=True)


@pytest.mark.parametrize(
    "look_alike",
    [
        os.utime,
        lambda file: file.chmod(0o600),
        lambda file: file.read_text(),
        lambda file: file.with_name("x.py.swp").write_text("x"),
        lambda file: file.with_name("x.py~").write_text("x"),
        lambda file: file.with_name(".#x.py").symlink_to("me@here.1"),
        lambda file: file.with_name("4913").write_text("x"),
        lambda file: os.mkfifo(file.with_name("pipe.py")),
        compiled,
    ],
    ids=["touch", "chmod", "read", "swap", "backup", "lock", "probe", "fifo", "pyc"],
)
@pytest.mark.fault(32)
def test_what_cannot_matter_is_not_delivered(inbox, root, look_alike):
    file = root / "photon.py"
    file.write_text("old = 0\n")
    inbox.watch()
    look_alike(file)
    assert inbox.rest() == []


def test_new_files_and_packages_are_found_to_the_bottom(inbox, root, tmp_path):
    inbox.watch()
    deep = root / "package" / "sub" / "deeper"
    deep.mkdir(parents=True)
    (deep / "a.py").write_text("x")
    (deep.parent / "b.py").write_text("x")
    found = set()
    while len(found) < 2:
        batch = inbox.next()
        found |= batch.created
        assert batch.paths == batch.created
    (deep / "a.py").write_text("y")
    assert inbox.next().changed == {str(deep / "a.py")}

    made = tmp_path / "made"
    shutil.copytree(root / "package", made)
    made.rename(root / "moved_in")
    names = inbox.next_names()
    assert names == {"moved_in/sub/deeper/a.py", "moved_in/sub/b.py"}


def test_deletes_and_moves_name_every_file(inbox, root, tmp_path):
    package = root / "package"
    (package / "sub").mkdir(parents=True)
    for name in ("__init__.py", "sub/a.py", "sub/b.py"):
        (package / name).write_text("x")
    inbox.watch()
    package.rename(root / "renamed")
    batch = inbox.next()
    assert len(batch.created) == len(batch.deleted) == 3
    (root / "renamed" / "sub" / "a.py").write_text("after the move")
    assert inbox.next_names() == {"renamed/sub/a.py"}
    shutil.rmtree(root / "renamed")
    assert len(inbox.next().deleted) == 3
    assert inbox.rest() == []


def test_a_name_that_is_not_utf8_is_a_name_like_any_other(inbox, root):
    inbox.watch()
    name = os.fsencode(root) + b"/caf\xe9.py"
    with open(name, "w") as file:
        file.write("x = 1\n")
    assert inbox.next().created == {os.fsdecode(name)}
    os.unlink(name)
    assert inbox.next().deleted == {os.fsdecode(name)}
    (root / "after.py").write_text("x")
    assert inbox.next_names() == {"after.py"}


@pytest.mark.fault(29)
def test_a_storm_is_few_batches_and_the_last_text_is_in_them(inbox, root):
    file = root / "photon.py"
    texts = []
    inbox.watch(
        on_batch=lambda batch: (
            texts.append(file.read_text()),
            inbox.batches.put(batch),
        )
    )
    for number in range(1000):
        file.write_text(f"number = {number}\n")
    inbox.rest()
    assert texts[-1] == "number = 999\n"
    assert len(texts) < 200


def test_only_the_top_is_watched_without_recursion(inbox, root):
    (root / "package").mkdir()
    inbox.watch(recursive=False)
    (root / "package" / "a.py").write_text("x")
    (root / "other").mkdir()
    (root / "other" / "b.py").write_text("x")
    (root / "top.py").write_text("x")
    assert inbox.until(root / "top.py")[-1].paths == {str(root / "top.py")}
    assert inbox.rest() == []
