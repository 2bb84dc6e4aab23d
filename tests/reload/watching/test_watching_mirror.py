"""A mirror that is fed by batches alone ends up equal to the tree."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.reload.watching import Watcher
from tests.waiting import DEADLINE, wait_until

FOLDERS = ["", "d1", "d2", "d1/s"]
FILES = [f"{folder}/{name}".lstrip("/") for folder in FOLDERS for name in ("a", "b")]
LINKS = ["l1", "d1/l2"]


class Mirror:
    """Knows of the tree what the batches lead to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.marks: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.texts = read_tree(root)

    def receive(self, batch) -> None:
        for path in batch.paths:
            try:
                with open(path) as file:
                    self.texts[path] = file.read()
            except OSError:
                self.texts.pop(path, None)
        if str(self.root / "mark") in batch.paths:
            self.marks.put(1)


def read_tree(root: Path) -> dict[str, str]:
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            with contextlib.suppress(OSError):
                path = os.path.join(folder, name)
                with open(path) as file:
                    found[path] = file.read()
    return found


def write(root: Path, file: str, text: str) -> None:
    (root / file).write_text(text)


def replace(root: Path, file: str, text: str) -> None:
    fresh = root / f"{file}.fresh~"
    fresh.write_text(text)
    os.replace(fresh, root / file)


def delete(root: Path, file: str) -> None:
    (root / file).unlink()


def make(root: Path, folder: str) -> None:
    (root / folder).mkdir(parents=True)


def remove(root: Path, folder: str) -> None:
    shutil.rmtree(root / folder)


def move(root: Path, folder: str, to: str) -> None:
    os.rename(root / folder, root / to)


def link(root: Path, name: str, target: str) -> None:
    fresh = root / f"{name}.fresh~"
    fresh.symlink_to(root.parent / target)
    os.replace(fresh, root / name)


def unlink(root: Path, name: str) -> None:
    (root / name).unlink()


def outside(root: Path, target: str, text: str) -> None:
    (root.parent / target).write_text(text)


def swap_out(root: Path, number: str) -> None:
    """Replace a directory that links lead to."""
    os.rename(root.parent / number, root.parent / "aside")
    shutil.copytree(root.parent / "aside", root.parent / number)
    shutil.rmtree(root.parent / "aside")


def pause(root: Path, seconds: float) -> None:
    time.sleep(seconds)


TEXTS = st.text("xyz", min_size=1, max_size=3)
SOME_FOLDERS = st.sampled_from(FOLDERS[1:])
TARGETS = st.sampled_from(["1", "2", "1/deep", "1/c", "nowhere"])
STEPS = st.one_of(
    st.tuples(st.just(write), st.sampled_from(FILES), TEXTS),
    st.tuples(st.just(replace), st.sampled_from(FILES), TEXTS),
    st.tuples(st.just(delete), st.sampled_from(FILES)),
    st.tuples(st.just(make), SOME_FOLDERS),
    st.tuples(st.just(remove), SOME_FOLDERS),
    st.tuples(st.just(move), SOME_FOLDERS, SOME_FOLDERS),
    st.tuples(st.just(link), st.sampled_from(LINKS), TARGETS),
    st.tuples(st.just(unlink), st.sampled_from(LINKS)),
    st.tuples(st.just(outside), st.sampled_from(["1/c", "1/deep/c", "2/c"]), TEXTS),
    st.tuples(st.just(swap_out), st.sampled_from(["1", "2"])),
    st.tuples(st.just(pause), st.sampled_from([0.0, 0.001, 0.005, 0.02])),
)


@pytest.mark.slow
@settings(max_examples=40)
@given(rounds=st.lists(st.lists(STEPS, max_size=12), min_size=1, max_size=3))
def test_the_mirror_equals_the_tree(rounds):
    """Whatever is done, in whatever order and however fast, no sweep helping."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(os.path.realpath(folder)) / "photons"
        for name in ("photons/d1", "1/deep", "2"):
            (root.parent / name).mkdir(parents=True)
        for name in ("photons/a", "photons/d1/a", "1/c", "1/deep/c", "2/c"):
            (root.parent / name).write_text("begin")
        mirror = Mirror(root)
        with Watcher([root], mirror.receive):
            for number, steps in enumerate(rounds):
                for step, *words in steps:
                    with contextlib.suppress(OSError):
                        step(root, *words)
                (root / "mark").write_text(str(number))
                mirror.marks.get(timeout=DEADLINE)
                # A deletion may come in the batch after the mark's.
                wait_until(functools.partial(equal, mirror, root))


def equal(mirror: Mirror, root: Path) -> bool:
    return mirror.texts == read_tree(root)
