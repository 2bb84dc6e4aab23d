"""The workers of one server: real processes, over the socket and the journal."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import luminal
import luminal.blocking
from luminal.errors import FleetError, HostNotRunningError
from luminal.fleet import Journal, JournalBusyError, SwapReport, read_journal
from luminal.fleet.local import (
    LocalClient,
    LocalFleet,
    fleet_directory,
    local_fleets,
)
from tests.waiting import DEADLINE, async_wait_until, wait_until

TEXT = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "geo"
    photon_version = "1.0"

    def start(self):
        {start}

    @hookimpl
    def who(self):
        return {answer!r}
"""


class Spec:
    @luminal.hookspec(firstresult=True)
    def who(self) -> Any: ...


class Worker:
    """A process of `tests.fleet.local_worker`."""

    def __init__(self, place: Place, name: str, **options: Any) -> None:
        self.name = name
        with (place.directory / f"{name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.fleet.local_worker",
                    name,
                    str(place.source),
                    json.dumps({"watch": False, **options}),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put('{"error": "has ended"}')

    def heard(self) -> Any:
        """Return what it says next: an answer, or an error of `join`."""
        values = json.loads(self.lines.get(timeout=DEADLINE))
        return values.get("answer", values.get("error"))

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.heard()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.reader.join(DEADLINE)
            assert self.process.stdout is not None
            self.process.stdout.close()


@attrs.define(eq=False)
class Place:
    """The directories of one fleet, and its workers."""

    directory: Path
    workers: list[Worker] = attrs.Factory(list)

    @property
    def source(self) -> Path:
        return self.directory / "photons" / "geo.py"

    @property
    def client(self) -> LocalClient:
        return LocalClient("shop", DEADLINE)

    @property
    def journal(self) -> str:
        return os.path.join(fleet_directory("shop"), "journal")

    def save(self, answer: Any, start: str = "pass", where: str = "photons") -> Path:
        path = self.directory / where / "geo.py"
        path.parent.mkdir(exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(TEXT.format(answer=answer, start=start))
        return new.rename(path)

    def start(self, *names: str, **options: Any) -> list[Worker]:
        """Start workers at once; return when they take work."""
        started = [Worker(self, name, **options) for name in names]
        self.workers += started
        return started

    def answers(self) -> list[Any]:
        return [worker.ask("answer") for worker in self.workers]

    def coordinator(self) -> Worker:
        def find() -> Worker | None:
            deciding = [w for w in self.workers if w.ask("decides")]
            assert len(deciding) < 2
            return deciding[0] if deciding else None

        return wait_until(find)

    def kill(self, worker: Worker) -> None:
        worker.kill()
        self.workers.remove(worker)

    async def saved(self, number: int) -> SwapReport:
        """Wait until that decision was made, and all do it."""

        async def find() -> SwapReport | None:
            found = [r for r in await self.client.history() if r.number == number]
            return found[0] if found and found[0].why != "not decided yet" else None

        end = time.monotonic() + DEADLINE
        while (report := await find()) is None:
            assert time.monotonic() < end
        return report


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="lf-") as directory:
        for kind in ("STATE", "RUNTIME", "CACHE"):
            path = os.path.join(directory, kind.lower())
            os.mkdir(path, 0o700)
            monkeypatch.setenv(f"LUMINAL_{kind}_DIR", path)
        place = Place(Path(directory))
        place.save("one")
        try:
            yield place
        finally:
            for worker in place.workers:
                worker.close()


async def test_a_life_of_a_fleet(place: Place) -> None:
    """One fleet for all that goes well: to start it costs most."""
    workers = place.start("a", "b", "c")
    assert [worker.heard() for worker in workers] == [["one"]] * 3
    place.coordinator()
    assert local_fleets() == ["shop"]
    with pytest.raises(JournalBusyError):
        Journal(place.journal)
    status = await place.client.status()
    assert [m.info.name for m in status.members] == ["a", "b", "c"]
    assert status.number == 1
    # A swap by anybody.
    source = place.save("two", where="other")
    for mode in ("immediate", "barrier"):
        report = await place.client.swap(source, mode=mode, by="a test")
        assert report.is_committed
        assert report.votes == {"a": "", "b": "", "c": ""}
        assert place.answers() == [["two"]] * 3
        await place.client.swap(place.save("three", where="other"))
        assert place.answers() == [["three"]] * 3
        place.save("two", where="other")
    # One cannot.
    bad = place.save("bad", "raise RuntimeError('not here')", where="other")
    report = await place.client.swap(bad)
    assert not report.is_committed
    assert "not here" in report.why
    assert place.answers() == [["three"]] * 3
    # Back, all of them.
    assert (await place.client.roll_back("geo")).is_committed
    assert place.answers() == [["two"]] * 3
    # A worker that is started again runs that, not the disk's.
    place.kill(workers[2])
    (again,) = place.start("c")
    assert again.heard() == ["two"]
    history = await place.client.history()
    assert [r.number for r in history if r.is_committed] == [1, 2, 3, 4, 5, 7]
    with pytest.raises(FleetError, match="nothing is decided of 'gee'"):
        await place.client.roll_back("gee")
    with pytest.raises(FleetError, match="none of immediate"):
        await place.client.swap(source, mode="sideways")


async def test_another_worker_takes_over_with_the_journal(place: Place) -> None:
    """It does not propose the disk again, where all were returned to another text."""
    for worker in place.start("a", "b", "c", watch=True):
        assert worker.heard() == ["one"]
    place.save("two")
    assert (await place.saved(2)).is_committed
    await place.client.roll_back("geo")
    assert place.answers() == [["one"]] * 3
    for _ in range(2):
        first = place.coordinator()
        place.kill(first)
        second = place.coordinator()
        assert second is not first
        assert (await place.client.status()).number == 3
    assert place.answers() == [["one"]]
    place.save("four")
    assert (await place.saved(4)).is_committed
    await async_wait_until(lambda: place.answers() == [["four"]])


async def test_a_save_is_one_decision_for_all(place: Place) -> None:
    for worker in place.start("a", "b", watch=True):
        assert worker.heard() == ["one"]
    place.save("two", "raise RuntimeError('not here')")
    report = await place.saved(2)
    assert not report.is_committed
    assert "not here" in report.why
    assert place.answers() == [["one"]] * 2
    place.save("three")
    report = await place.saved(3)
    assert report.is_committed
    assert "saved" in report.by
    await async_wait_until(lambda: place.answers() == [["three"]] * 2)


def test_a_disk_that_cannot_run_is_never_decided(place: Place) -> None:
    """Each is told why, and all start once it is mended."""
    place.save("bad", "raise RuntimeError('not here')")
    workers = place.start("a", "b")
    for worker in workers:
        assert "not here" in worker.heard()
    place.save("good")
    for worker in workers:
        while (heard := worker.heard()) != ["good"]:
            assert "not here" in heard
    rows = [e.row for e in read_journal(place.journal) if e.row is not None]
    assert len(rows) == 4  # it is not tried again before it has changed


@pytest.mark.slow
def test_a_damaged_journal_is_told_and_tried_again(place: Place) -> None:
    path = Path(place.journal)
    path.parent.mkdir(parents=True)
    path.write_text("rubbish\nrubbish\n")
    (worker,) = place.start("a")
    assert "damaged" in worker.heard()
    path.unlink()
    while (heard := worker.heard()) != ["one"]:
        assert "damaged" in heard


@pytest.mark.slow
def test_a_second_worker_of_one_name_is_refused(place: Place) -> None:
    first, second = place.start("a", "a")
    heard = {first: first.heard(), second: second.heard()}
    refused = first if heard[second] == ["one"] else second
    assert "already" in heard[refused]
    other = second if refused is first else first
    place.kill(other)
    while (answer := refused.heard()) != ["one"]:
        assert "already" in answer


@pytest.mark.slow
async def test_a_coordinator_that_is_stopped_does_not_keep_who_asks(
    place: Place,
) -> None:
    for worker in place.start("a", "b"):
        assert worker.heard() == ["one"]
    first = place.coordinator()
    first.process.send_signal(signal.SIGSTOP)
    with pytest.raises(HostNotRunningError, match="does not answer"):
        await LocalClient("shop", 0.2).status()
    place.kill(first)
    assert place.coordinator() is not first
    assert (await place.client.status()).number == 1


def test_a_child_does_not_keep_the_journal_locked(place: Place) -> None:
    for worker in place.start("a", "b"):
        assert worker.heard() == ["one"]
    first = place.coordinator()
    child = first.ask("fork")
    try:
        place.kill(first)
        assert place.coordinator() is not first
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_host_that_ends_without_leaving_lets_others_decide(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its process may live on, as that of a test or of a server that starts anew."""
    for answer in ("one", "two"):
        place.save(answer)
        with luminal.blocking.Loader(hookspecs=[Spec]) as loader:
            fleet = LocalFleet(loader.loader, "shop", place.source)
            loader.call(fleet.join(DEADLINE / 2))
            assert fleet.is_coordinator
            assert fleet.hook.who() == "one"  # that was decided
    assert capfd.readouterr().err == ""


async def test_a_directory_too_long_for_sockets_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMINAL_RUNTIME_DIR", str(place.directory / ("r" * 100)))
    with pytest.raises(FleetError, match="LUMINAL_RUNTIME_DIR"):
        await LocalClient("shop").status()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0b", 5, None])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(FleetError, match="no name"):
        fleet_directory(name)


async def test_who_asks_for_no_name_is_refused() -> None:
    with pytest.raises(FleetError, match="no name"):
        await LocalClient("a/b").status()


async def test_a_directory_that_is_open_to_others_is_refused(place: Place) -> None:
    os.chmod(os.environ["LUMINAL_RUNTIME_DIR"], 0o777)
    (worker,) = place.start("a")
    assert "open to other users" in worker.heard()
    place.kill(worker)  # it goes on to try
