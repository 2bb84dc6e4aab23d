"""``luminal fleet``, for the workers of a server on this machine."""

from __future__ import annotations

import contextlib
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.running import geo
from tests.cli.terminal import Said, Terminal
from tests.waiting import wait_until

WORKER = Path(__file__).with_name("fleet_worker.py")
VERSIONED = geo("{}").replace('"geo"', '"geo"\n    photon_version = "1"')

VARYING = (
    (rf"\b{re.escape(platform.node())}\b *", "<machine>  "),
    (r"\b[0-9a-f]{12}\b", "<digest>"),
    (r"  \d+  +\d\.\d\d  +", "  <pid>  <python>  "),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<at>"),
    (r"\w+@<machine> *", "<user>  "),
    (r'"by": "\w+@.*"', '"by": "<user>"'),
    (r"\b\d+\.\d{3}\b", "<n>"),
    (r"for \d+ ms", "for <n> ms"),
    (r'"(began)": [\d.e+-]+', r'"\1": <n>'),
    (r'"python": "[\d.]+"', '"python": "<version>"'),
    (r'"host": ".*"', '"host": "<machine>"'),
    (r"web-\d: photon", "<member>: photon"),
    (r" +$", ""),
    (r"(?<=\S)  +", "  "),
)


@pytest.fixture
def fleet_golden(
    terminal: Terminal, record: Callable[[str, str], None]
) -> Callable[..., Said]:
    """Run a command, and compare what it says with what is on record."""

    def compare(name: str, *arguments: str) -> Said:
        said = terminal.luminal(*arguments)
        text = said.as_text(*arguments)
        for pattern, instead in VARYING:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        record(name, text)
        return said

    return compare


def write(terminal: Terminal, word: str) -> None:
    terminal.write({"geo.py": VERSIONED.format(word)})


@contextlib.contextmanager
def workers(terminal: Terminal, *members: str, name: str = "web") -> Iterator[None]:
    """Let workers run of which the first coordinates; they serve ``geo.py``."""
    terminal.env["LUMINAL_STATE_DIR"] = str(terminal.place.parent / "state")
    write(terminal, "one")
    with contextlib.ExitStack() as stack:
        for member in members:
            process = subprocess.Popen(
                [sys.executable, str(WORKER), name, member, "geo.py"],
                cwd=terminal.place,
                env=terminal.env,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            lines = iter(process.stdout or ())
            assert any(line == "ready\n" for line in lines)
        yield


def test_a_fleet(terminal: Terminal, fleet_golden: Callable[..., Said]) -> None:
    """One server, asked for everything: its start takes the time of this test."""
    assert fleet_golden("fleet-none", "fleet", "status").code == 5
    with workers(terminal, "web-1", "web-2"):
        wait_until(lambda: terminal.luminal("fleet", "status").code == 0)
        fleet_golden("fleet-status", "fleet", "status")
        fleet_golden("fleet-json", "fleet", "status", "--json")
        assert fleet_golden("fleet-same", "fleet", "swap", "geo.py").code == 0
        write(terminal, "two")
        assert fleet_golden("fleet-swap", "fleet", "swap", "geo.py").code == 0
        terminal.write({"geo.py": VERSIONED.format("bad") + "\nraise OSError('no')\n"})
        said = fleet_golden("fleet-rejected", "fleet", "swap", "geo.py")
        assert said.code == 4
        write(terminal, "three")
        said = terminal.luminal(
            "fleet", "swap", "geo.py", "--mode", "barrier", "--json"
        )
        assert said.json()["swaps"][0]["mode"] == "barrier"
        assert fleet_golden("fleet-back", "fleet", "roll-back", "geo").code == 0
        assert fleet_golden("fleet-unknown", "fleet", "roll-back", "gea").code == 1
        assert fleet_golden("fleet-missing", "fleet", "swap", "nothing.py").code == 1
        assert fleet_golden("fleet-history", "fleet", "history").code == 0
        assert (
            len(terminal.luminal("fleet", "history", "--json").json()["history"]) == 5
        )
        said = terminal.luminal("fleet", "recover", "--json")
        assert said.json()["swaps"][0]["number"] == 6


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("swap",), "needs SOURCE"),
        (("roll-back",), "needs UNIT"),
        (("status", "x"), "takes no argument"),
        (("status", "--dask", "a", "--ray", "b"), "exclude"),
        (("swap", "x", "--first", "1"), "need --mode canary"),
        (("status", "--mode", "barrier"), "options of swap"),
        (("stauts",), "stauts"),
    ],
)
def test_a_misuse_is_told(
    terminal: Terminal, arguments: tuple[str, ...], why: str
) -> None:
    said = terminal.luminal("fleet", *arguments)
    assert said.code == 2
    assert why in said.err


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_a_missing_extra_is_named(terminal: Terminal) -> None:
    said = terminal.luminal("fleet", "status", "--ray", "auto")
    assert said.code == 2
    assert "luminal-photons[ray]" in said.err


def test_a_swap_for_which_nobody_could_vote_says_so(terminal: Terminal) -> None:
    distributed = pytest.importorskip("distributed")
    preload = {
        "preload": ["luminal.fleet.dask"],
        "preload_argv": [["--journal", str(terminal.place.parent / "journal")]],
    }
    write(terminal, "one")
    with distributed.LocalCluster(
        n_workers=0,
        processes=True,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs=preload,
    ) as cluster:
        own = ("--dask", cluster.scheduler_address)
        said = terminal.luminal("fleet", "swap", "geo.py", *own)
        assert said.code == 0
        assert said.out.startswith("geo: decision 1; no member was there to vote")
        said = terminal.luminal("fleet", "history", *own)
        assert "no member was there to vote" in said.out


def test_a_bundle_that_is_misspelt_is_named(terminal: Terminal) -> None:
    terminal.write({"geo.photon": "a bundle"})
    with workers(terminal, "web-1"):
        wait_until(lambda: terminal.luminal("fleet", "status").code == 0)
        said = terminal.luminal("fleet", "swap", "gee.photon")
    assert "did you mean 'geo.photon'?" in said.err


def test_who_is_no_coordinator_is_told(terminal: Terminal) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=0, **options) as cluster:
        address = cluster.scheduler_address
        said = terminal.luminal("fleet", "status", "--dask", address)
    assert said.code == 5
    assert "coordinates no fleet" in said.err
    assert "--preload luminal.fleet.dask" in said.err
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        said = terminal.luminal("fleet", "status", "--dask", f"tcp://{address}")
    assert said.code == 5
    for address, why in (("here", "missing port"), ("http://here:1", "scheme 'http'")):
        said = terminal.luminal("fleet", "status", "--dask", address)
        assert said.code == 5
        assert why in said.err
        assert "never awaited" not in said.err
