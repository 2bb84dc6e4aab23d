"""An ASGI server under load, while a route is edited and broken.

Counts requests that failed and responses of mixed generations. The load comes from
``wrk`` if it is installed (Debian: ``apt-get install wrk``), else from a client in
Python. Run ``python -m benchmarks.server --size full`` for 30 seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import banner

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = {"small": 1, "full": 30}
EDIT_EVERY = 0.1
ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def server(photons: Path, log: Path) -> Iterator[int]:
    """Run the example server on a copy of its photons; yield the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "plugins_example.server", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--photons", str(photons)],
            cwd=ROOT,
            stderr=output,
            env={**os.environ, "LUMINAL_CACHE_DIR": str(photons.parent / "cache")},
        )
        try:
            _until_ready(port, process)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), connect(port) as connection:
            if get(connection, "/whole")[0] == 200:
                return
        time.sleep(0.05)
    raise SystemExit("the server did not come up")


@contextlib.contextmanager
def connect(port: int) -> Iterator[http.client.HTTPConnection]:
    """Open a connection to the server; close it at the end."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.close()


def get(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    """Request *path*; return status and body."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


class Editor(threading.Thread):
    """Saves the route's package ten times a second, every fifth time broken.

    The last save is a good one: what a broken save follows at once need not be live.
    """

    def __init__(self, package: Path) -> None:
        super().__init__()
        self.package = package
        self.is_over = threading.Event()
        self.edits = 0
        self.latest = 0

    def run(self) -> None:
        """Save until `is_over` is set."""
        file = self.package / "edition.py"
        is_over = False
        while not is_over:
            is_over = self.is_over.wait(EDIT_EVERY)
            self.edits += 1
            is_broken = self.edits % 5 == 0 and not is_over
            file.write_text(f"EDITION = {self.edits}{' +' if is_broken else ''}\n")
        self.latest = self.edits


class Checker(threading.Thread):
    """Checks that each response comes from one generation."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.is_over = threading.Event()
        self.count = {"answers": 0, "mixed": 0, "failed": 0, "editions": 0}

    def run(self) -> None:
        """Send requests until `stop` is set."""
        with connect(self.port) as connection:
            self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        seen: set[int] = set()
        while not self.is_over.is_set():
            try:
                status, body = get(connection, "/whole")
            except (OSError, http.client.HTTPException):
                self.count["failed"] += 1
                connection.close()
                continue
            self.count["answers"] += 1
            if status != 200:
                self.count["failed"] += 1
                continue
            editions = json.loads(body)["editions"]
            self.count["mixed"] += len(set(editions)) != 1
            seen.update(editions)
        self.count["editions"] = len(seen)


def load(port: int, seconds: int) -> dict[str, float]:
    """Put load on the server; return requests, failures and latencies in ms."""
    wrk = shutil.which("wrk")
    if wrk is None:
        print("wrk is not installed: the load comes from Python")
        return _plain_load(port, seconds)
    url = f"http://127.0.0.1:{port}/whole"
    text = subprocess.run(
        [wrk, "-t1", "-c16", f"-d{seconds}s", "--latency", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    for numbers in re.findall(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    ):
        failed += sum(map(int, numbers))
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
    found: dict[str, float] = {
        "requests": int(re.findall(r"(\d+) requests in", text)[0]),
        "failed": failed,
    }
    for percent in ("50", "99"):
        value, unit = re.findall(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", text)[0]
        found[f"p{percent}"] = float(value) * scale[unit]
    return found


def _plain_load(port: int, seconds: int) -> dict[str, float]:
    times: list[float] = []
    failed = 0
    until = time.monotonic() + seconds
    with connect(port) as connection:
        while time.monotonic() < until:
            began = time.perf_counter()
            try:
                failed += get(connection, "/whole")[0] != 200
            except (OSError, http.client.HTTPException):
                failed += 1
                connection.close()
            times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    return {
        "requests": len(times),
        "failed": failed,
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
    }


def run(seconds: int) -> dict[str, Any]:
    """Load the server without edits, then with edits; return the counts."""
    with tempfile.TemporaryDirectory() as name:
        photons = Path(name, "photons")
        shutil.copytree(ROOT / "plugins_example" / "server" / "photons", photons)
        with server(photons, Path(name, "log")) as port:
            calm = load(port, seconds)
            editor, checker = Editor(photons / "whole"), Checker(port)
            editor.start()
            checker.start()
            edited = load(port, seconds)
            for thread in (editor, checker):
                thread.is_over.set()
                thread.join()
            with connect(port) as connection:
                is_live = _shows(connection, editor.latest)
                status, body = get(connection, "/_photons")
        rows = json.loads(body)["photons"] if status == 200 else []
        generation = next(r["generation"] for r in rows if r["name"] == "whole")
    return {
        "calm": calm,
        "edited": edited,
        "edits": editor.edits,
        "missed": 0 if is_live else 1,
        "generation": generation,
        **checker.count,
    }


def _shows(connection: http.client.HTTPConnection, edition: int) -> bool:
    """Wait until responses have *edition*, the last one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if set(json.loads(get(connection, "/whole")[1])["editions"]) == {edition}:
            return True
        time.sleep(0.01)
    return False


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SECONDS, default="small")
    seconds = SECONDS[parser.parse_args().size]
    banner(f"an ASGI server for {seconds} s, a route edited every {EDIT_EVERY} s")
    found = run(seconds)
    calm, edited = found.pop("calm"), found.pop("edited")
    for name in calm:
        share = edited[name] / calm[name] if calm[name] else 0.0
        print(
            f"{name:>10}  {calm[name]:10.1f} calm  {edited[name]:10.1f} edited  "
            f"{share:5.2f} x"
        )
    for name, value in found.items():
        print(f"{name:>10}  {value:10}")
    bad = calm["failed"] + edited["failed"]
    bad += found["failed"] + found["mixed"] + found["missed"]
    sys.exit(1 if bad or found["generation"] < 2 else 0)


if __name__ == "__main__":
    main()
