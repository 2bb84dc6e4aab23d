"""Debuggers stop in photons before and after a swap, and step through them."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.waiting import DEADLINE

HOST = """
import luminal
import luminal.blocking


class Specs:
    @luminal.hookspec
    def locate(self, address): ...


LONG = luminal.Deadlines(load=3600, start=3600, finalize=3600, drain=3600)
with luminal.blocking.Loader(hookspecs=[Specs], deadlines=LONG) as loader:
    hooks = loader.hooks(Specs)
    loader.load_photons("photons").start()
    print(hooks.locate(address="first"), flush=True)
    loader.reload_photon("geo")
    print(hooks.locate(address="second"), flush=True)
"""
GEO = """
import luminal
from .names import full


class Geo(luminal.IPhoton):
    photon_name = "geo"

    def start(self):
        self.started = True

    @luminal.hookimpl
    def locate(self, address):
        country = "SE"
        name = full(country)
        return name
"""
NAMES = """
def full(code):
    text = code + "!"
    return text
"""
ATTACHED = """
import debugpy, runpy
print(debugpy.listen(("127.0.0.1", 0))[1], flush=True)
debugpy.wait_for_client()
runpy.run_path("host.py", run_name="__main__")
"""


def line_of(path: Path, text: str) -> int:
    """Return the number of the line in *path* that has *text*."""
    lines = path.read_text().splitlines()
    return next(at for at, line in enumerate(lines, 1) if text in line)


class Session:
    """What an editor says to a debugger, by the Debug Adapter Protocol."""

    def __init__(self, connection: socket.socket, file: BinaryIO) -> None:
        self._connection, self._file = connection, file
        self._count = 0
        self._events: list[dict[str, Any]] = []

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the body of its answer."""
        number = self.send(command, **arguments)
        while True:
            message = self._read()
            if message["type"] == "event":
                self._events.append(message)
            elif message.get("request_seq") == number:
                assert message["success"], message
                body: dict[str, Any] = message.get("body") or {}
                return body

    def send(self, command: str, **arguments: Any) -> int:
        self._count += 1
        said = {"seq": self._count, "type": "request"}
        text = json.dumps({**said, "command": command, "arguments": arguments})
        head = f"Content-Length: {len(text.encode())}\r\n\r\n"
        self._connection.sendall(head.encode() + text.encode())
        return self._count

    def event(self, name: str) -> dict[str, Any]:
        """Return the body of the next event called *name*."""
        while True:
            for at, message in enumerate(self._events):
                if message["event"] == name:
                    del self._events[at]
                    body: dict[str, Any] = message.get("body") or {}
                    return body
            message = self._read()
            if message["type"] == "event":
                self._events.append(message)

    def _read(self) -> dict[str, Any]:
        length = 0
        while (line := self._file.readline().strip()) != b"":
            key, _, value = line.partition(b":")
            length = int(value) if key.lower() == b"content-length" else length
        assert length, "the debugger has ended"
        message: dict[str, Any] = json.loads(self._file.read(length))
        return message

    def breakpoints(self, path: Path, *texts: str) -> None:
        """Set the breakpoints of *path* to the lines that have *texts*."""
        lines = [{"line": line_of(path, text)} for text in texts]
        set_ = self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=lines)
        assert all(each["verified"] for each in set_["breakpoints"]), set_

    def stopped(self) -> Stop:
        """Wait until the program stops."""
        thread = self.event("stopped")["threadId"]
        (frame, *_) = self.ask("stackTrace", threadId=thread)["stackFrames"]
        return Stop(self, thread, frame)


class Stop:
    """A thread that a debugger has stopped."""

    def __init__(self, session: Session, thread: int, frame: dict[str, Any]) -> None:
        self._session, self._thread, self._frame = session, thread, frame
        self.path = Path(frame["source"]["path"])

    @property
    def place(self) -> tuple[str, str]:
        """Name of the file, and text of the line."""
        text = self.path.read_text().splitlines()[self._frame["line"] - 1]
        return self.path.name, text.strip()

    def value(self, expression: str) -> str:
        asked = {"expression": expression, "frameId": self._frame["id"]}
        result: str = self._session.ask("evaluate", **asked)["result"]
        return result

    def go(self, how: str) -> Stop:
        """Go on by a command such as ``next``, until the program stops again."""
        self._session.ask(how, threadId=self._thread)
        return self._session.stopped()

    def let_go(self) -> None:
        self._session.ask("continue", threadId=self._thread)


@contextmanager
def debugged(place: Path) -> Iterator[tuple[Session, subprocess.Popen[str]]]:
    """Run ``host.py`` in *place* under debugpy, and attach to it."""
    command = [sys.executable, "-Xfrozen_modules=off", "-c", ATTACHED]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            address = ("127.0.0.1", port)
            with (
                socket.create_connection(address, DEADLINE) as connection,
                connection.makefile("rb") as file,
            ):
                yield Session(connection, file), process
        finally:
            process.kill()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path.resolve()
    geo = place / "photons" / "geo"
    geo.mkdir(parents=True)
    (place / "host.py").write_text(HOST)
    (geo / "__init__.py").write_text(GEO)
    (geo / "names.py").write_text(NAMES)
    return place


@pytest.mark.skipif(
    importlib.util.find_spec("debugpy") is None, reason="debugpy is not installed"
)
def test_an_editor_stops_in_each_generation_and_steps(place: Path) -> None:
    """Also in `start` on a worker thread; lines move with the saved text."""
    geo = place / "photons" / "geo" / "__init__.py"
    with debugged(place) as (session, process):
        session.ask("initialize", adapterID="test", pathFormat="path")
        session.send("attach", justMyCode=True)
        session.event("initialized")
        session.breakpoints(place / "host.py", "loader.reload_photon")
        session.breakpoints(geo, "self.started", "country = ")
        session.ask("configurationDone")

        for country, call in (("SE", "first"), ("NO", "second")):
            stop = session.stopped()
            assert stop.place == ("__init__.py", "self.started = True")
            stop.let_go()
            stop = session.stopped()
            assert stop.place == ("__init__.py", f'country = "{country}"')
            assert stop.value("address") == f"'{call}'"
            stop = stop.go("next")
            assert stop.place == ("__init__.py", "name = full(country)")
            stop = stop.go("stepIn")
            assert stop.place == ("names.py", 'text = code + "!"')
            assert stop.value("code") == f"'{country}'"
            stop = stop.go("stepOut")
            assert stop.path == geo
            stop.let_go()
            if country == "SE":
                stop = session.stopped()
                assert stop.path.name == "host.py"
                # As an editor does that saves: lines move, and breakpoints with them.
                geo.write_text("# saved\n\n" + GEO.replace("SE", "NO"))
                session.breakpoints(geo, "self.started", "country = ")
                stop.let_go()
        session.event("terminated")
        session.ask("disconnect")  # or debugpy's own process keeps the pipe open
        out, _ = process.communicate(timeout=DEADLINE)
    assert out.splitlines() == ["['SE!']", "['NO!']"]


def test_a_breakpoint_in_the_code_stops_in_each_generation(place: Path) -> None:
    """`breakpoint()` in a photon, on the main thread and on the worker of `start`."""
    geo = place / "photons" / "geo" / "__init__.py"
    pause = "breakpoint()\n        "
    text = GEO.replace("self.started", f"{pause}self.started")
    geo.write_text(text.replace("name = full", f"{pause}name = full"))
    saved = "F.write_text('# saved' + F.read_text().replace('SE', 'NO'))"
    host = HOST.replace("    loader.reload", f"    {saved}\n    loader.reload")
    said = "from pathlib import Path; F = Path('photons/geo/__init__.py')\n"
    (place / "host.py").write_text(said + host)
    done = subprocess.run(
        [sys.executable, "host.py"],
        cwd=place,
        input="p self.photon_name\ncontinue\np country\nnext\nu\ncontinue\n" * 2,
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for wanted in ("(Pdb) 'geo'", "(Pdb) 'SE'", "(Pdb) 'NO'", "['SE!']", "['NO!']"):
        assert wanted in done.stdout
