"""Lines come whole and once: from a file, and from one that grows or is replaced."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from plugins_example.pipeline import source
from plugins_example.pipeline.source import follow_lines, read_lines


def script(*steps: Callable[[], object]) -> Callable[[], bool]:
    """Return an ``is_over`` that does one step at each rest and then says True."""
    waiting: Iterator[Callable[[], object]] = iter(steps)

    def is_over() -> bool:
        step = next(waiting, None)
        if step is None:
            return True
        step()
        return False

    return is_over


def append(path: Path, data: bytes) -> Callable[[], object]:
    def step() -> None:
        with path.open("ab") as file:
            file.write(data)

    return step


def follow(path: Path, *steps: Callable[[], object]) -> list[str]:
    lines = follow_lines(str(path), poll_seconds=0, is_over=script(*steps))
    return [line for line, _ in lines]


def test_reading_gives_lines_without_ends_and_their_sizes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\r\ntwo \xff\nthree")
    assert list(read_lines(str(path))) == [("one", 5), ("two \\xff", 6), ("three", 5)]


def test_following_goes_on_where_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    assert follow(path, append(path, b"two\nthree\n")) == ["one", "two", "three"]


def test_following_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"on")
    assert follow(path, append(path, b"e"), append(path, b"\ntw")) == ["one"]


def test_following_reads_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")

    def move_away() -> None:
        path.rename(tmp_path / "log.1")

    def write_new() -> None:
        path.write_bytes(b"new\n")

    assert follow(path, move_away, write_new, append(path, b"more\n")) == [
        "old",
        "new",
        "more",
    ]


def test_following_reads_the_last_lines_of_a_file_that_is_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are written when its end was met already."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    real = source.was_replaced
    rotations = iter([1])

    def rotated(file: BinaryIO, name: str) -> bool:
        for _ in rotations:
            append(path, b"two\n")()
            path.rename(tmp_path / "log.1")
            path.write_bytes(b"three\n")
        return real(file, name)

    monkeypatch.setattr(source, "was_replaced", rotated)
    assert follow(path) == ["one", "two", "three"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_following_a_fifo_reads_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    writer = threading.Thread(target=append(path, b"one\n"))
    writer.start()
    assert follow(path) == ["one"]
    writer.join()


def test_following_reads_a_file_that_was_cut_short_from_its_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a long first line\n")

    def cut() -> None:
        path.write_bytes(b"short\n")

    assert follow(path, cut) == ["a long first line", "short"]


def test_following_sees_what_another_thread_writes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    over = threading.Event()
    lines = follow_lines(str(path), poll_seconds=0.01, is_over=over.is_set)
    writer = threading.Thread(target=append(path, b"from afar\n"))
    writer.start()
    assert next(lines)[0] == "from afar"
    writer.join()
    over.set()
    assert list(lines) == []


def test_following_a_missing_file_says_so() -> None:
    with pytest.raises(FileNotFoundError):
        next(follow_lines(os.path.join("no", "such", "log")))
