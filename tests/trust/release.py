"""A release by two people, from packing to roll-back; each has an account of their own.

``python -m tests.trust.release`` runs it and prints what happens. All is done by the
command line, in processes of their own, with a home directory for each account: an
author packs, Anna and Ben sign, and the host of an operator runs what two of three keys
have signed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]

WEATHER = """\
from luminal import IPhoton

class Weather(IPhoton):
    photon_version = "{version}"
"""


class Account:
    """Somebody with a home directory, who runs ``luminal``."""

    def __init__(self, place: Path, name: str) -> None:
        self.name = name
        self.home = place / name
        self.home.mkdir()
        self.env = {
            "HOME": str(self.home),
            "LUMINAL_RUNTIME_DIR": str(self.home / "run"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "luminal", *arguments],
            cwd=self.home,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def luminal(self, *arguments: str, code: int = 0) -> str:
        """Run a command; it must end with *code*. Return all that it printed."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == code, (self.name, arguments, out, err)
        return out + err

    def send(self, file: str, to: Account, name: str = "") -> None:
        """Copy a file to another account, by a move into its place."""
        target = to.home / (name or file)
        beside = target.with_name(f".{target.name}.new")
        beside.write_bytes((self.home / file).read_bytes())
        os.replace(beside, target)


class Host:
    """A running ``luminal watch``, and the events that it prints."""

    def __init__(self, operator: Account) -> None:
        self.process = operator.start("watch", "photons", "--no-installed", "--json")
        self.events: list[dict[str, Any]] = []
        self._new = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._new:
                self.events.append(json.loads(line))
                self._new.notify_all()

    def wait(self, event: str) -> dict[str, Any]:
        """Return the first event of that name after those that were waited for."""
        with self._new:
            assert self._new.wait_for(
                lambda: self._find(event) is not None, DEADLINE
            ), (
                event,
                self.events,
            )
            at = self._find(event)
            assert at is not None
            found = self.events[at]
            del self.events[: at + 1]
            return found

    def _find(self, event: str) -> int | None:
        names = [each.get("event") for each in self.events]
        return names.index(event) if event in names else None

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=DEADLINE)


def packed(author: Account, version: str) -> str:
    """Let the author pack a version; return the name of the file."""
    package = author.home / "weather"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(WEATHER.format(version=version))
    author.luminal("pack", "weather")
    return f"weather-{version}.photon"


def signed(author: Account, file: str, *signers: Account) -> None:
    """Send a file to each signer in turn, and back to the author."""
    for signer in signers:
        author.send(file, signer)
        signer.luminal("sign", file)
        signer.send(file, author)


RUN = ("run", "photons", "--no-installed", "--once")


def main(say: Callable[[str], object] = print) -> None:
    """Run the release; raises where something is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="lum-") as folder:
        names = ("author", "anna", "ben", "carl", "operator")
        accounts = [Account(Path(folder), name) for name in names]
        author, anna, ben, carl, operator = accounts
        keys = {each.name: each.luminal("key", "new") for each in (anna, ben, carl)}
        rows = "".join(f'{n} = "{text.split()[0]}"\n' for n, text in keys.items())
        (operator.home / "luminal.lock").write_text(
            f'version = 1\nmode = "signed"\nthreshold = 2\n\n[keys]\n{rows}'
        )
        (operator.home / "photons").mkdir()
        first = first_release(author, anna, ben, operator)
        say("1.0: refused with one signature of three keys, runs with two")
        host = Host(operator)
        try:
            host.wait("started")
            update(author, ben, carl, operator, host, first)
            say("2.0: refused with one, swapped in with two; 1.0 again is refused")
            kill(anna, ben, operator, host)
            say("2.0 killed by two: rolled back to 1.0 while it runs")
        finally:
            host.close()
        said = operator.luminal(*RUN, code=1)
        assert "killed" in said, said
        third = packed(author, "3.0")
        signed(author, third, anna, carl)
        author.send(third, operator, "photons/weather.photon")
        operator.luminal(*RUN)
        say("after a restart: 2.0 is refused, 3.0 with two signatures runs")


def first_release(
    author: Account, anna: Account, ben: Account, operator: Account
) -> str:
    """Release 1.0; return the name of its file."""
    first = packed(author, "1.0")
    signed(author, first, anna)
    author.send(first, operator, "photons/weather.photon")
    said = operator.luminal(*RUN, code=1)
    assert "1 of 2" in said, said
    signed(author, first, ben)
    author.send(first, operator, "photons/weather.photon")
    operator.luminal("verify", "photons/weather.photon")
    operator.luminal(*RUN)
    return first


def update(
    author: Account,
    ben: Account,
    carl: Account,
    operator: Account,
    host: Host,
    first: str,
) -> None:
    """Release 2.0 to a host that runs *first*, and try to bring that back."""
    second = packed(author, "2.0")
    signed(author, second, ben)
    author.send(second, operator, "photons/weather.photon")
    assert "1 of 2" in str(host.wait("rejected")["problem"])
    signed(author, second, carl)
    author.send(second, operator, "photons/weather.photon")
    host.wait("swapped")
    author.send(first, operator, "photons/weather.photon")
    assert "older" in str(host.wait("rejected")["problem"])
    author.send(second, operator, "photons/weather.photon")
    host.wait("recovered")


def kill(anna: Account, ben: Account, operator: Account, host: Host) -> None:
    """Kill 2.0, which the host runs; by one signature nothing is killed."""
    anna.luminal("kill", "weather==2.0", "--why", "it leaks")
    anna.send("kill-list.json", operator)
    anna.send("kill-list.json", ben)
    ben.luminal("sign", "kill-list.json")
    assert "killed" not in str(host.events)
    ben.send("kill-list.json", operator)
    assert "it leaks" in str(host.wait("rolled_back")["problem"])


if __name__ == "__main__":
    main()
