"""The journal of a fleet, on real files: a crash, a full disk, a second process."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.errors import FleetError
from luminal.fleet import Journal, JournalBusyError, read_journal
from luminal.fleet._journal import Entry, _line, committed_before, compacted
from luminal.fleet._protocol import Abort, Begin, Commit, Log, Row

ROWS: list[Row] = [
    Begin(1, "geo", "a" * 128),
    Commit(1),
    Begin(2, "geo", "b" * 128, frozenset({"one", "two"})),
    Abort(2, "two: cannot be imported\nline 2"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "journal"
    journal = Journal(path)
    for row in ROWS:
        journal.append(row, by="a test")
    journal.close()
    return path


def test_rows_are_what_was_appended(path: Path) -> None:
    journal = Journal(path)
    assert journal.rows == ROWS
    assert {entry.about["by"] for entry in journal.entries} == {"a test"}
    journal.close()


@pytest.mark.parametrize("last", [2, 3])
def test_a_line_torn_at_any_byte_counts_as_not_written(path: Path, last: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)[: last + 1]
    before = b"".join(lines[:-1])
    for kept in range(len(lines[-1])):
        path.write_bytes(before + lines[-1][:kept])
        journal = Journal(path)
        assert journal.rows == ROWS[:last]
        journal.append(ROWS[last])
        journal.close()
        assert [entry.row for entry in read_journal(str(path))] == ROWS[: last + 1]


@pytest.mark.parametrize("rubbish", [b"\0" * 50, b"\xff" * 7 + b"\n", b"\n", b"x y"])
def test_rubbish_behind_the_last_line_counts_as_torn(
    path: Path, rubbish: bytes
) -> None:
    """A file system may have made the file longer before it wrote what is in it."""
    with path.open("ab") as file:
        file.write(rubbish)
    journal = Journal(path)
    assert journal.rows == ROWS
    journal.close()
    assert rubbish not in path.read_bytes()[-len(rubbish) - 1 :] or rubbish == b"\n"


def test_a_damaged_line_in_the_middle_is_an_error_with_its_place(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"\n") + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(FleetError) as caught:
        Journal(path)
    assert (caught.value.file, caught.value.line) == (str(path), 2)
    path.unlink()  # the lock was given back
    Journal(path).close()


def test_only_one_process_has_it(path: Path) -> None:
    code = (
        "import sys; from luminal.fleet import Journal; Journal(sys.argv[1]); "
        "print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(JournalBusyError):
            Journal(path)
        assert len(read_journal(str(path))) == len(ROWS)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()
    Journal(path).close()  # the system has freed it


def test_a_file_system_without_locks_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(FleetError, match="flock") as caught:
        Journal(path)
    assert not isinstance(caught.value, JournalBusyError)


def test_a_full_disk_leaves_no_row(path: Path) -> None:
    """A limit on the size of files is met in the middle of a line, as a disk's end."""
    code = f"""
import resource, signal, sys
from luminal.fleet import Journal
from luminal.fleet._protocol import Begin, Commit
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(sys.argv[1])
size = {path.stat().st_size}
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
try:
    journal.append(Begin(3, "geo", "c" * 128))
except OSError as error:
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4000, resource.RLIM_INFINITY))
journal.append(Begin(3, "geo", "d" * 128))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "OSError\n"
    rows = [entry.row for entry in read_journal(str(path))]
    assert rows == [*ROWS, Begin(3, "geo", "d" * 128)]


def test_a_row_of_which_nobody_knows_ends_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where fsync fails, only reading the file anew tells what is there."""
    journal = Journal(path)

    def fsync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(FleetError):
            journal.append(Begin(3, "geo", "c"))
    with pytest.raises(FleetError, match="closed"):
        journal.append(Begin(3, "geo", "c"))
    again = Journal(path)
    Log(again.rows)
    again.close()


def test_rows_that_cannot_follow_one_another_are_an_error() -> None:
    for rows in (
        [Commit(1)],
        [Begin(1, "geo", "a"), Begin(2, "geo", "a")],
        [Begin(1, "geo", "a"), Commit(2)],
        [Begin(1, "geo", "a"), Commit(1), Begin(1, "geo", "a")],
    ):
        with pytest.raises(ValueError, match="row"):
            Log(rows)


# --- Compaction ----------------------------------------------------------------------


@st.composite
def journals(draw: Any) -> list[Entry]:
    """Return entries of a journal: swaps of two units, for all or for some members."""
    entries: list[Entry] = []
    number = 0
    for _ in range(draw(st.integers(1, 30))):
        number += draw(st.integers(1, 3))
        unit = draw(st.sampled_from(["geo", "rain"]))
        members = draw(st.sampled_from([None, frozenset({"a"}), frozenset({"b"})]))
        begin = Begin(number, unit, draw(st.sampled_from("xyz")), members)
        end = draw(st.sampled_from([Commit(number), Abort(number, "no")]))
        entries += [Entry(begin, 1.0, {"by": "me"}), Entry(end, 2.0, {})]
        if draw(st.booleans()):
            entries.append(Entry(None, 3.0, {"number": number, "seconds": 0.1}))
    if draw(st.booleans()):
        entries.append(Entry(Begin(number + 1, "geo", "open"), 4.0, {}))
    return entries


def rows_of(entries: list[Entry]) -> list[Row]:
    return [entry.row for entry in entries if entry.row is not None]


@given(entries=journals(), kept=st.integers(0, 5))
@settings(deadline=None, database=None, max_examples=50)
def test_what_is_compacted_leads_to_the_same(entries: list[Entry], kept: int) -> None:
    left = compacted(entries, kept)
    assert left == [entry for entry in entries if entry in left]
    before, after = Log(rows_of(entries)), Log(rows_of(left))
    assert vars(after) == vars(before)
    for unit, decisions in before.table.items():
        ask = (unit, decisions[-1].digest)
        found = committed_before(rows_of(entries), *ask)
        assert committed_before(rows_of(left), *ask) == found
    begun = [row for row in rows_of(entries) if type(row) is Begin]
    assert {*begun[len(begun) - kept :]} <= {*rows_of(left)}
    assert compacted(left, kept) == left


def fill(path: Path, count: int) -> Journal:
    journal = Journal(path)
    for number in range(1, count + 1):
        journal._entries += [
            Entry(Begin(number, "geo", f"{number:0128}"), 1.0, {}),
            Entry(Commit(number), 1.0, {}),
        ]
    path.write_bytes(b"".join(map(_line, journal.entries)))
    journal.close()
    return journal


def test_a_long_journal_is_compacted_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = fill(tmp_path / "target", 1000)
    path.symlink_to(tmp_path / "target")
    journal = Journal(path, most_bytes=1000)
    assert path.is_symlink()
    assert len(journal.entries) == 400
    assert journal.rows == whole.rows[-400:]
    assert [e.row for e in read_journal(str(path))] == journal.rows
    with pytest.raises(JournalBusyError):
        Journal(path)
    journal.append(Begin(1001, "geo", "x"))
    journal.close()
    again = Journal(path)
    assert again.rows == [*whole.rows[-400:], Begin(1001, "geo", "x")]
    again.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["journal", "target"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_a_crash_while_it_is_compacted_leaves_the_one_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    path = tmp_path / "journal"
    whole = fill(path, 300).rows
    data = path.read_bytes()
    seen = []
    steps = ("open", "pwrite", "fsync", "replace", "close", "unlink")
    for at in range(30):
        path.write_bytes(data)
        count, opened = 0, []

        def counted(
            step: str, of: Any, at: int = at, opened: list[int] = opened
        ) -> Any:
            def call(*args: Any) -> Any:
                nonlocal count
                count += 1
                if count == at + 1:
                    seen.append(step)
                    raise kind(errno.EIO, "crash")
                result = of(*args)
                if step == "open":
                    opened.append(result)
                return result

            return call

        with monkeypatch.context() as patch:
            for step in steps:
                patch.setattr(os, step, counted(step, getattr(os, step)))
            with contextlib.suppress(FleetError, OSError, KeyboardInterrupt):
                Journal(path, most_bytes=1000).close()
            is_over = count <= at
        for descriptor in opened:  # a process that has ended holds none
            with contextlib.suppress(OSError):
                os.close(descriptor)
        journal = Journal(path)
        assert journal.rows in (whole, whole[-400:])
        journal.append(Begin(301, "geo", "x"))
        journal.close()
        if is_over:
            break
    assert {"open", "pwrite", "fsync", "replace"} <= {*seen}


def test_a_journal_that_was_compacted_while_it_was_opened_is_opened_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a file that has no name any more keeps nobody out."""
    lock, new = Journal._lock, path.with_name("other")
    new.write_bytes(path.read_bytes())

    def late(self: Journal, descriptor: int) -> None:
        if new.exists():
            new.replace(path)
        lock(self, descriptor)

    monkeypatch.setattr(Journal, "_lock", late)
    journal = Journal(path)
    with pytest.raises(JournalBusyError):
        Journal(path)
    journal.close()
