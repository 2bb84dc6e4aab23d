"""The history of a host: what was counted, in a file that outlives its processes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader, hookimpl, hookspec
from luminal.hooks import PluginManager
from luminal.metrics import (
    History,
    HistoryRecord,
    histories,
    history_file,
    read_history,
)
from luminal.metrics import _history as module
from tests.waiting import DEADLINE


class Specs:
    @hookspec
    def work(self, x: Any) -> Any: ...


class Worker:
    @hookimpl
    def work(self, x: Any) -> Any:
        if x == "bad":
            raise LookupError(x)
        return x


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state" / "history"


def made() -> tuple[Loader, History]:
    """Return a host, and its history, which is written when the test says so."""
    manager = PluginManager("luminal")
    manager.add_hookspecs(Specs)
    manager.register(Worker(), "geo")
    loader = Loader(plugins=manager)
    file = history_file("shop")
    assert file is not None
    return loader, History(loader, file)


def call(loader: Loader, good: int, bad: int = 0) -> None:
    for _ in range(good):
        loader.hook.work(x=1)
    for _ in range(bad):
        with pytest.raises(LookupError):
            loader.hook.work(x="bad")


def calls(record: HistoryRecord) -> tuple[int, int]:
    rows = record.numbers.hooks
    return sum(row.calls for row in rows), sum(row.errors for row in rows)


def test_nothing_is_written_unless_it_is_asked_for(place: Path) -> None:
    loader = Loader()
    assert loader.history == ""
    assert not place.exists()
    with pytest.raises(ValueError, match="no name"):
        Loader(history="../elsewhere")


def test_what_was_counted_is_added_up_over_hosts(place: Path) -> None:
    """Each call once, however often it is written; files are the user's alone."""
    first, history = made()
    call(first, 5, 2)
    history.write()
    history.write()
    call(first, 1)
    history.write()
    second, other = made()
    call(second, 10)
    other.write()
    record = read_history(history.file)
    assert calls(record) == (18, 2)
    assert record.runs == 2
    assert sum(span.calls for span in record.load) == 18
    assert [(e["photon"], e["what"], e["count"]) for e in record.errors] == [
        ("geo", "hook 'work'", 2)
    ]
    [row] = record.numbers.hooks
    assert (row.timed, row.is_exact) == (sum(row.buckets), True)
    assert histories() == {"shop": history.file}
    if os.name == "posix":
        assert Path(history.file).stat().st_mode & 0o777 == 0o600
        assert place.stat().st_mode & 0o777 == 0o700


async def test_a_loader_writes_it_when_it_is_closed() -> None:
    async with Loader(history="shop") as loader:
        loader.plugins.add_hookspecs(Specs)
        loader.plugins.register(Worker(), "geo")
        call(loader, 3)
    assert calls(read_history(loader.history)) == (3, 0)


def test_old_rows_are_merged_and_the_oldest_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sums stay, and what is asked for since some time begins with a whole span."""
    now = time.time()
    clock = [now - 8 * 86400]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    loader, history = made()
    for step in range(8 * 8):
        clock[0] = now - 8 * 86400 + step * 3 * 3600
        call(loader, 2)
        history.write()
        call(loader, 1)
        clock[0] += 600
        history.write()
    clock[0] = now
    history._tidied = 0
    history.write()
    whole = read_history(history.file)
    assert calls(whole)[0] == 3 * 8 * 8
    assert {span.seconds for span in whole.load} >= {86400.0, 3600.0}
    assert len(whole.load) < 8 * 8
    week = read_history(history.file, now - 7 * 86400)
    assert 3 * 8 * 7 <= calls(week)[0] <= 3 * 8 * 8
    assert now - 8 * 86400 <= week.began <= now - 7 * 86400
    clock[0] = now + 200 * 86400
    history._tidied = 0
    call(loader, 1)
    history.write()
    assert calls(read_history(history.file))[0] == 1


def test_the_file_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST", 100_000)
    loader, history = made()
    now = time.time()
    clock = [now]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    history._tidied = now
    for number in range(200):
        loader.plugins.register(Worker(), f"photon{number}")
    for step in range(12):
        clock[0] = now + step * 300
        call(loader, 1)
        history.write()
    assert Path(history.file).stat().st_size < 300_000
    record = read_history(history.file)
    assert 0 < calls(record)[0] < 201 * 12
    assert record.load[-1].calls == 201


def test_a_damaged_file_is_put_aside_and_a_locked_one_waits(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, history = made()
    call(loader, 2)
    history.write()
    Path(history.file).write_bytes(b"no database " * 1000)
    call(loader, 1)
    with caplog.at_level(logging.WARNING, "luminal.store"):
        history.write()
    assert "damaged" in caplog.text
    assert Path(history.file + ".damaged").exists()
    assert calls(read_history(history.file)) == (1, 0)
    monkeypatch.setattr(module, "_BUSY", 0.01)
    database = sqlite3.connect(history.file, isolation_level=None)
    with contextlib.closing(database) as other:
        other.execute("BEGIN EXCLUSIVE")
        call(loader, 1)
        history.write()  # it is kept for the next time
        other.execute("COMMIT")
    history.write()
    assert calls(read_history(history.file)) == (2, 0)
    Path(history.file).write_bytes(b"")
    with pytest.raises(OSError, match="no history"):
        read_history(history.file)
    with pytest.raises(FileNotFoundError):
        read_history(history.file + "x")


def test_it_is_said_each_time_that_writing_begins_to_fail(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader, history = made()
    history.write()
    aside = place.with_name("aside")
    for number in range(2):
        place.rename(aside)
        place.write_text("no directory")
        for _ in range(3):
            history.write()
        said = [r for r in caplog.records if "cannot be written" in r.getMessage()]
        assert len(said) == number + 1
        place.unlink()
        aside.rename(place)
        loader.plugins.hook.work(x=1)
        history.write()
    assert read_history(history.file).numbers.hooks[0].calls == 2


async def test_a_python_without_sqlite_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, written = made()
    written.write()
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    async with Loader(history="shop") as loader:
        assert loader.history == written.file
    assert "without sqlite3" in caplog.text
    with pytest.raises(OSError, match="without sqlite3"):
        read_history(written.file)


def test_a_later_version_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    loader, history = made()
    history.write()
    with contextlib.closing(sqlite3.connect(history.file)) as other:
        other.execute("PRAGMA user_version = 99")
    call(loader, 1)
    history.write()
    history.write()
    assert caplog.text.count("later version") == 1
    assert calls(read_history(history.file)) == (0, 0)


FAILING = """
import threading
from luminal import IPhoton

class Photon(IPhoton):
    photon_name = "failing"

    def start(self, number=0):
        thread = threading.Thread(target=self.fail, args=(number,))
        thread.start()
        thread.join()

    def fail(self, number):
        raise LookupError(number)
"""

PROGRAM = textwrap.dedent(
    """
    import asyncio, os, sys
    from luminal import Loader, hookimpl, hookspec
    from luminal.metrics import History, history_file

    class Specs:
        @hookspec
        def work(self, x): ...

    class Worker:
        @hookimpl
        def work(self, x):
            return x

    loader = Loader(history="shop")
    loader.plugins.add_hookspecs(Specs)
    loader.plugins.register(Worker(), "geo")
    if sys.argv[1] == "kill":
        # As fast as it can, until it is killed in the middle.
        history = History(loader, history_file("shop"), 0.0)
        for _ in range(100):
            loader.hook.work(x=1)
        history.write()
        print("written", flush=True)
        while True:
            loader.hook.work(x=1)
            history.write()
    for _ in range(10):
        loader.hook.work(x=1)
    if sys.argv[1] == "fork":
        asyncio.run(loader.load_photon(sys.argv[2]))
        asyncio.run(loader.start())
        pid = os.fork()
        for _ in range(5):
            loader.hook.work(x=1)
        if pid:
            os.waitpid(pid, 0)
    """
)


def program(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *words],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_error_is_counted_once_though_its_text_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time, and so does the name of the thread."""
    monkeypatch.setattr("luminal.lifecycle._contained.INTERVAL", 0.0)
    (tmp_path / "failing.py").write_text(FAILING)
    loader, history = made()
    await loader.load_photon(tmp_path / "failing.py")
    await loader.start()
    instance: Any = loader.photons["failing"].instance
    for number in (1, 2):
        history.write()
        instance.start(number)
    history.write()
    (row,) = read_history(history.file).errors
    assert (row["what"], row["error"], row["count"]) == ("thread", "LookupError", 3)
    await loader.close()


@pytest.mark.skipif(os.name != "posix", reason="needs fork and kill")
def test_it_survives_kills_and_counts_forks_once(tmp_path: Path) -> None:
    """At the end of a process the rest is written, by each of two that were forked."""
    (tmp_path / "failing.py").write_text(FAILING)
    file = str(history_file("shop"))
    for _ in range(3):
        with program("kill") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            process.send_signal(signal.SIGKILL)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    before = read_history(file)
    assert calls(before)[0] > 200
    assert before.runs == 3
    for word, added in (("end", 10), ("fork", 20)):
        with program(word, str(tmp_path / "failing.py")) as process:
            assert process.wait(DEADLINE) == 0
        after = read_history(file)
        assert calls(after)[0] - calls(before)[0] == added
        before = after
    assert before.runs == 6
    (failure,) = [each for each in before.errors if each["photon"] == "failing"]
    assert failure["count"] == 1


@pytest.mark.skipif(os.name != "posix", reason="needs fork and kill")
def test_what_a_killed_writer_has_left_is_undone_to_read() -> None:
    """Its journal is played back, which needs to write."""
    loader, history = made()
    call(loader, 3)
    history.write()
    writer = textwrap.dedent(
        """
        import os, signal, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")  # it writes before the end
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE x (y)")
        rows = [("x" * 1000,)] * 1000
        connection.executemany("INSERT INTO x VALUES (?)", rows)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    subprocess.run([sys.executable, "-c", writer, history.file], check=False)
    assert os.path.exists(history.file + "-journal")
    assert calls(read_history(history.file)) == (3, 0)
