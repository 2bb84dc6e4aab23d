"""A branch switch is one batch, and none in the middle of it: with real git."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from luminal.reload.watching import Cause, NoteCode, Timing
from luminal.reload.watching._ignore import (
    git_directory,
    git_directory_above,
    is_unfinished_distribution,
)
from tests.waiting import DEADLINE

LONG = 1.0  # seconds; more than any quiet time, less than the life of a lock

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(where: Path, *words: str) -> str:
    outcome = subprocess.run(
        ["git", *words],
        cwd=where,
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        },
    )
    return outcome.stdout


def fill(root: Path, text: str, count: int) -> None:
    for number in range(count):
        folder = root / f"package_{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"m{number}.py").write_text(f"{text} = {number}\n")


@pytest.fixture
def repository(root: Path) -> Path:
    git(root, "init", "-q", "-b", "main")
    fill(root, "one", 200)
    (root / "package_0" / "only_main.py").write_text("x")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    git(root, "checkout", "-qb", "other")
    fill(root, "two", 100)
    (root / "package_0" / "only_main.py").unlink()
    (root / "package_new").mkdir()
    (root / "package_new" / "only_other.py").write_text("x")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "two")
    git(root, "checkout", "-q", "main")
    return root


def test_a_branch_switch_is_one_batch(inbox, repository):
    inbox.watch()
    for branch, created in [("other", 1), ("main", 1)] * 3:
        git(repository, "checkout", "-q", branch)
        batch = inbox.next()
        assert len(batch.changed) == 100
        assert len(batch.created) == len(batch.deleted) == created
        assert batch.cause is Cause.EVENTS
        assert inbox.rest() == []
        for mark in repository.glob("mark_*.txt"):
            mark.unlink()
        inbox.next()


def test_a_watched_directory_inside_of_a_tree_knows_its_lock(inbox, repository):
    """The git directory lies above what is watched."""
    package = repository / "package_1"
    inbox.watch(package)
    git(repository, "checkout", "-q", "other")
    assert len(inbox.next().changed) == len([n for n in range(100) if n % 7 == 1])


def test_a_worktree_has_its_lock_elsewhere(inbox, repository, tmp_path):
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "--detach", str(tree), "main")
    assert (tree / ".git").is_file()
    assert Path(git_directory(str(tree))).parent.name == "worktrees"
    inbox.watch(tree)
    git(tree, "checkout", "-q", "--detach", "other")
    assert len(inbox.next().changed) == 100
    assert inbox.rest(tree) == []


def test_nothing_is_delivered_while_the_lock_exists(inbox, repository, clock):
    """However slow git is, up to the cap."""
    lock = repository / ".git" / "index.lock"
    watcher = inbox.watch(clock=clock)
    lock.touch()
    for number in range(4):
        (repository / "package_0" / f"slow_{number}.py").write_text("x")
        clock.pass_by(LONG, watcher)
    assert inbox.batches.empty()
    lock.unlink()
    clock.pass_by(LONG, watcher)
    assert len(inbox.next().created) == 4


def test_a_lock_that_was_there_before_the_watch_counts(inbox, repository, clock):
    lock = repository / ".git" / "index.lock"
    lock.touch()
    watcher = inbox.watch(clock=clock)
    (repository / "package_0" / "m0.py").write_text("x")
    clock.pass_by(LONG, watcher)
    assert inbox.batches.empty()
    lock.unlink()
    clock.pass_by(LONG, watcher)
    assert inbox.next_names() == {"package_0/m0.py"}


def test_a_tree_that_becomes_gits_while_it_is_watched(inbox, root, clock):
    watcher = inbox.watch(clock=clock)
    git(root, "init", "-q")
    clock.pass_by(LONG, watcher)
    lock = root / ".git" / "index.lock"
    lock.touch()
    (root / "a.py").write_text("x")
    clock.pass_by(LONG, watcher)
    assert inbox.batches.empty()
    lock.unlink()
    clock.pass_by(LONG, watcher)
    assert inbox.next_names() == {"a.py"}


def test_a_stale_lock_is_waited_for_and_said_once(inbox, repository, clock):
    timing = Timing()
    watcher = inbox.watch(clock=clock)
    lock = repository / ".git" / "index.lock"
    lock.touch()
    file = repository / "package_0" / "m0.py"
    file.write_text("x")
    clock.pass_by(timing.lock_cap - 0.1, watcher)
    assert inbox.batches.empty()
    assert inbox.notes.empty()
    clock.pass_by(0.1, watcher)
    assert inbox.next_names() == {"package_0/m0.py"}
    text = str(inbox.note(NoteCode.STALE_LOCK))
    assert str(lock) in text
    assert "delete it" in text
    for content in "yz":
        file.write_text(content)
        clock.pass_by(timing.quiet_limit, watcher)
        assert inbox.next_names() == {"package_0/m0.py"}
        clock.pass_by(timing.lock_cap, watcher)
    assert inbox.notes.empty()
    lock.unlink()
    lock.touch()
    file.write_text("again")
    clock.pass_by(timing.lock_cap, watcher)
    assert inbox.next_names() == {"package_0/m0.py"}
    assert inbox.note(NoteCode.STALE_LOCK)


def test_a_rebase_is_one_batch(inbox, repository):
    """A rebase takes and leaves the index lock for each commit."""
    git(repository, "checkout", "-q", "other")
    for number in range(5):
        (repository / "package_0" / "m0.py").write_text(f"step = {number}\n")
        git(repository, "commit", "-qam", f"step {number}")
    git(repository, "checkout", "-q", "main")
    (repository / "package_6" / "m195.py").write_text("main moved\n")
    git(repository, "commit", "-qam", "main moved")
    git(repository, "checkout", "-q", "other")
    inbox.watch()
    git(repository, "rebase", "-q", "main")
    batches = [inbox.next(), *inbox.rest()]
    assert len(batches) == 1
    assert str(repository / "package_6" / "m195.py") in batches[0].paths


def test_a_distribution_without_its_record_is_waited_for(inbox, root, clock):
    watcher = inbox.watch(clock=clock)
    info = root / "photon-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: photon")
    (root / "photon.py").write_text("x")
    assert is_unfinished_distribution(str(info))
    clock.pass_by(LONG, watcher)
    assert inbox.batches.empty()
    (info / "RECORD.tmp").write_text("photon.py,,")
    (info / "RECORD.tmp").rename(info / "RECORD")
    clock.pass_by(LONG, watcher)
    assert {str(info / "METADATA"), str(root / "photon.py")} < inbox.next().created
    (root / "photon.py").write_text("y")
    clock.pass_by(LONG, watcher)
    assert inbox.next_names() == {"photon.py"}


def test_a_distribution_that_goes_is_no_longer_waited_for(inbox, root, clock):
    info = root / "photon-1.0.dist-info"
    info.mkdir()
    for name in ("METADATA", "RECORD"):
        (info / name).write_text("x")
    watcher = inbox.watch(clock=clock)
    (info / "RECORD").unlink()
    (info / "METADATA").unlink()
    info.rmdir()
    clock.pass_by(LONG, watcher)
    assert len(inbox.next().deleted) == 2


def test_where_no_git_is_there_is_no_lock(tmp_path):
    assert git_directory(str(tmp_path)) is None
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert git_directory(str(tmp_path)) is None
    (tmp_path / ".git").write_text("something else\n")
    assert git_directory_above(str(tmp_path)) is None


def test_the_delivery_begins_after_the_lock_has_gone(inbox, repository):
    """Whoever gets the batch finds no lock of git."""
    locks = []
    done = threading.Event()

    def look(batch):
        names = {path.name for path in (repository / ".git").iterdir()}
        locks.append(names & {"index.lock", "HEAD.lock"})
        done.set()

    inbox.watch(on_batch=look)
    git(repository, "checkout", "-q", "other")
    assert done.wait(DEADLINE)
    assert locks == [set()]
