"""Servers with several workers under load, made of the files that the docs show.

Each answer is compared with the journal: it was decided before the answer ended, and
not replaced everywhere before the request began.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from luminal.errors import LuminalError
from luminal.fleet._contents import digest_of
from luminal.fleet._journal import read_journal
from luminal.fleet._protocol import Begin, Commit
from luminal.fleet._sources import bytes_of
from luminal.fleet.local import LocalClient
from tests.waiting import DEADLINE, wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "fleet-local.md"
PAUSE = 0.005
"""Seconds between two requests of a thread: workers have other things to do too."""

PHOTON = """import luminal
{head}

class Hello(luminal.IPhoton):
    photon_name = "hello"

    @luminal.hookimpl
    def respond(self, path):
        return {word!r}
"""


@attrs.define(eq=False)
class Server:
    """A server and what was asked of it."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]
    client: LocalClient
    # (began, ended, answer) of each request; of time.time.
    answers: list[tuple[float, float, str]] = attrs.Factory(list)
    failed: list[str] = attrs.Factory(list)
    digests: dict[str, str] = attrs.Factory(dict)
    # Word → when all workers have run something else.
    over: dict[str, float] = attrs.Factory(dict)
    is_over: threading.Event = attrs.Factory(threading.Event)

    @property
    def journal(self) -> Path:
        return self.directory / "state" / "fleet" / "shop" / "journal"

    def get(self) -> str:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=DEADLINE
        )
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            text = response.read().decode()
            return text if response.status == 200 else f"status {response.status}"
        finally:
            connection.close()

    def listens(self) -> bool:
        try:
            return self.get() == "first"
        except OSError:
            return False

    def load(self) -> None:
        while not self.is_over.wait(PAUSE):
            began = time.time()
            try:
                answer = self.get()
                self.answers.append((began, time.time(), answer))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))

    def save(self, word: str, head: str = "") -> None:
        """Save a photon that answers *word*, as an editor does."""
        new = self.directory / "new.py"
        new.write_text(PHOTON.format(word=word, head=head))
        new.rename(self.directory / "photons" / "hello.py")
        self.digests[word] = digest_of(bytes_of(self.directory / "photons"))

    def decided(self, word: str) -> Any:
        """Wait until *word* is decided, for or against; return the report."""

        def found() -> Any:
            reports = [r for r in self.history() if r.digest == self.digests[word]]
            return reports and reports[-1].votes and reports[-1]

        return wait_until(found)

    def history(self) -> Any:
        try:
            return asyncio.run(self.client.history())
        except LuminalError:
            return ()  # the next worker takes over

    def members(self) -> dict[int, Any]:
        """Return pid → what is known of a worker; empty while none decides."""
        try:
            status = asyncio.run(self.client.status())
        except LuminalError:
            return {}
        return {m.info.pid: m for m in status.members}

    def all_are_current(self, count: int) -> bool:
        members = self.members()
        return len(members) == count and not any(m.is_behind for m in members.values())

    def kill(self, count: int, *, decides: bool) -> None:
        """Kill a worker; wait until the server has another in its place."""
        status = asyncio.run(self.client.status())
        pids = [m.info.pid for m in status.members]
        (leader,) = [
            m.info.pid for m in status.members if m.info.name == status.coordinator
        ]
        pid = leader if decides else next(p for p in pids if p != leader)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.members() and self.all_are_current(count))

    def check(self) -> None:
        """Compare all answers with the journal."""
        rows = read_journal(str(self.journal))
        digests = {e.row.number: e.row.digest for e in rows if type(e.row) is Begin}
        at: dict[str, float] = {}
        for entry in rows:
            if type(entry.row) is Commit:
                at.setdefault(digests[entry.row.number], entry.at)
        for began, ended, word in self.answers:
            assert word in self.digests, word
            assert at[self.digests[word]] <= ended, f"{word} was not decided"
            assert began <= self.over.get(word, began), f"{word} was replaced"


@contextmanager
def served(directory: Path, kind: str, workers: int) -> Iterator[Server]:
    """Run the server of the page, and load it with requests."""
    text = PAGE.read_text(encoding="utf-8")
    for path, body in re.findall(r"```python\n# ([\w./]+)\n(.*?)```", text, re.DOTALL):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(body)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if kind == "uvicorn":
        # On a busy machine, a worker that is slow to start is not one that hangs.
        command = ["uvicorn", "--timeout-worker-healthcheck=10"]
        command += ["--log-level=warning", f"--port={port}", "asgi:app"]
    else:
        command = ["gunicorn", "-c", "gunicorn.conf.py", f"--worker-class={kind}"]
        command += [f"--bind=127.0.0.1:{port}"]
        command += ["--preload"] * (kind == "sync")
        command += ["--log-level=warning", "shop:application"]
    command[1:1] = [f"--workers={workers}"]
    client = LocalClient("shop", DEADLINE)
    log = (directory / "log").open("wb")
    server = Server(directory, port, None, client)  # type: ignore[arg-type]
    server.save("first")
    with log:
        server.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    threads = [threading.Thread(target=server.load) for _ in range(3)]
    try:
        wait_until(
            lambda: server.process.poll() is not None or server.all_are_current(workers)
        )
        wait_until(server.listens)
        for thread in threads:
            thread.start()
        yield server
    except BaseException:
        sys.stderr.write((directory / "log").read_text())
        raise
    finally:
        server.is_over.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        server.process.terminate()
        try:
            server.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUMINAL_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def swap(server: Server, before: str, word: str) -> Any:
    """Save a word, and note when no worker answers with the one before any more."""
    server.save(word)
    report = server.decided(word)
    assert report.is_committed, report
    if not report.behind:
        server.over[before] = time.time()
    wait_until(lambda: server.answers and server.answers[-1][2] == word)
    return report


@pytest.mark.parametrize("kind", ["gthread", "gevent", "uvicorn"])
def test_no_answer_is_of_what_is_not_decided(place: Path, kind: str) -> None:
    with served(place, kind, 2) as server:
        report = swap(server, "first", "second")
        assert set(report.votes.values()) == {""}
        assert len(report.votes) == 2
        server.save("broken", "raise RuntimeError('not here')")
        report = server.decided("broken")
        assert not report.is_committed
        assert "not here" in report.why
        server.kill(2, decides=True)
        swap(server, "second", "third")
    server.check()
    assert {word for _, _, word in server.answers} == {"first", "second", "third"}


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("kind", ["sync", "gthread", "uvicorn"])
def test_many_swaps_under_load_with_kills(place: Path, kind: str) -> None:
    workers = 4
    windows = []
    with served(place, kind, workers) as server:
        before = "first"
        for number in range(20):
            if number % 5 == 3:
                server.save(f"broken {number}", "raise RuntimeError('not here')")
                assert not server.decided(f"broken {number}").is_committed
            if number % 5 == 4:
                server.kill(workers, decides=number % 2 == 0)
            report = swap(server, before, f"word {number}")
            before = f"word {number}"
            windows.append(report.mixed_seconds)
    server.check()
    assert not any("broken" in word for _, _, word in server.answers)
    windows.sort()
    sys.stdout.write(
        f"{kind}: {len(server.answers)} answers, {len(server.failed)} failed; mixed "
        f"window {windows[10] * 1e3:.1f} ms (p50), {windows[-1] * 1e3:.1f} ms at most\n"
    )
