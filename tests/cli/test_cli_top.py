"""``luminal top``: the numbers are right, and the table fits any terminal."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luminal
from luminal.cli._top import keys_of, live_table
from luminal.managers.status import status_of
from tests.cli.running import GEO, geo, running
from tests.cli.screen import on_screen
from tests.cli.terminal import Terminal
from tests.waiting import DEADLINE

BUSY = """\
import asyncio
import subprocess
import sys
import threading

import luminal


class Busy(luminal.IPhoton):
    photon_name = "busy"

    async def start(self):
        for _ in range(3):
            self.context.spawn(asyncio.sleep(1000))
        self.ended = threading.Event()
        for _ in range(2):
            threading.Thread(target=self.ended.wait).start()
        words = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE)

    def finalize(self):
        self.ended.set()
        self.child.communicate()

    @luminal.hookimpl
    def locate(self, place):
        return 1 / place


class Idle(luminal.IPhoton):
    photon_name = "idle"
"""


class Specs:
    @luminal.hookspec
    def locate(self, place: int) -> float: ...


async def test_the_numbers_are_what_happened(tmp_path: Path) -> None:
    """Each photon's own, and the process's as the system has them."""
    (tmp_path / "busy.py").write_text(BUSY)

    async def live() -> dict[str, Any]:
        loader = luminal.Loader(cache=False)
        loader.plugins.add_hookspecs(Specs)
        async with loader:
            await loader.load(luminal.discover(tmp_path, group=None))
            await loader.start()
            for place in [*range(1, 1001), 0, 0]:
                try:
                    loader.hook.locate(place=place)
                except ZeroDivisionError:
                    assert place == 0
            return status_of(loader)

    before = threading.active_count()
    status = await live()
    busy, idle = status["photons"]
    assert (busy["calls"], busy["errors"], busy["generation"]) == (1002, 2, 1)
    assert 0 < busy["seconds"] < 60
    assert (busy["threads"], busy["tasks"], busy["processes"]) == (2, 3, 1)
    assert {idle[key] for key in ("calls", "errors", "threads", "tasks")} == {0}
    assert status["pid"] == os.getpid()
    assert status["threads"] >= before + 2
    if sys.platform == "linux":
        # The system counts the two by different clocks: some pages lie between.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        assert 2**20 < status["memory"] <= 1.1 * most


def photon(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": "running",
        "generation": 1,
        "calls": 0,
        "errors": 0,
        "seconds": 0.0,
        "threads": 0,
        "tasks": 0,
        "problem": None,
        **more,
    }


def shown(photons: list[dict[str, Any]], width: int, height: int = 24) -> list[str]:
    """Return the lines of the live table on a terminal of this size."""
    from rich.console import Console

    status = {
        "pid": 4711,
        "command": ["luminal", "run"],
        "memory": 50 * 2**20,
        "threads": 3,
        "photons": photons,
    }
    file = io.StringIO()
    console = Console(file=file, width=width, height=height)
    console.print(live_table(status, width, height))
    return file.getvalue().splitlines()


PROBLEM = {"what": "could not be started", "code": "LUM110", "why": "OSError: no"}


def test_at_80_columns_everything_is_there() -> None:
    times = {"rate": 1.25, "p50": 0.0000123, "p95": 0.25}
    lines = shown([photon("geo", calls=12, errors=3, tasks=4, **times)], 80)
    assert lines[0].split("  ")[:4] == [
        "host 4711",
        "1 of 1 running",
        "memory 50 MiB",
        "threads 3",
    ]
    heads = "NAME STATE GEN CALLS CALLS/S ERRORS P50 P95 THREADS TASKS"
    assert lines[3].split() == heads.split()
    assert lines[4].split() == [
        "geo",
        "running",
        "1",
        "12",
        "1.2",
        "3",
        "12us",
        "250ms",
        "0",
        "4",
    ]


def test_what_fails_is_told_and_kept_in_sight() -> None:
    """On a screen for some of them, those that matter are shown, in their order."""
    quiet = [photon(f"quiet{at}") for at in range(50)]
    failed = photon("bad", state="failed", problem=PROBLEM)
    wrong, slow = photon("wrong", errors=1), photon("slow", seconds=1.0)
    lines = shown([slow, *quiet, wrong, failed], 80, 15)
    assert len(lines) <= 15
    end = next(at for at, line in enumerate(lines) if "more;" in line)
    names = [line.split()[0] for line in lines[4:end]]
    assert (names[0], names[-2:]) == ("slow", ["wrong", "bad"])
    assert "bad: could not be started [LUM110]: OSError: no" in lines
    assert any(line.endswith("a taller terminal shows them") for line in lines)


PHOTONS = st.lists(
    st.builds(
        photon,
        st.text(min_size=1, max_size=60),
        state=st.sampled_from(["running", "stopping", "failed"]),
        calls=st.integers(0, 10**12),
        errors=st.integers(0, 10**6),
        seconds=st.floats(0, 10**6),
        problem=st.sampled_from([None, PROBLEM]),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(PHOTONS, st.integers(24, 200), st.integers(8, 60))
def test_no_line_is_wider_and_no_screen_higher_than_the_terminal(
    photons: list[dict[str, Any]], width: int, height: int
) -> None:
    """Whatever the names and numbers; a state is never cut short."""
    from rich.cells import cell_len

    lines = shown(photons, width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    if photons:
        states = {each["state"] for each in photons}
        assert any(state in line for line in lines[4:] for state in states)


def test_the_live_table_follows_and_leaves_on_ctrl_c(terminal: Terminal) -> None:
    """On the other screen; what was there before comes back."""
    terminal.write({"a/geo.py": geo("one")})
    words = [sys.executable, "-m", "luminal", "top", "--every", "0.1"]
    with running(terminal, "watch", "a") as host:
        with on_screen(words, terminal.place, terminal.env) as screen:
            assert "\x1b[?1049h" in screen.until("q quit")
            terminal.write({"a/geo.py": geo("two")})
            host.until(event="swapped")
            screen.until("running\x1b[0m    2")
            screen.type("\x03")
            assert "\x1b[?1049l" in screen.rest()
        assert screen.code == 130
        host.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_table_that_is_told_to_end_gives_the_screen_back(
    number: signal.Signals, terminal: Terminal
) -> None:
    """The cursor too: whoever sits there goes on typing."""
    terminal.write({"a/geo.py": geo("one")})
    words = [sys.executable, "-m", "luminal", "top"]
    with running(terminal, "run", "a") as host:
        with on_screen(words, terminal.place, terminal.env) as screen:
            screen.until("q quit")
            os.kill(screen.pid, number)
            rest = screen.rest()
        assert "\x1b[?1049l" in rest
        assert "\x1b[?25h" in rest
        assert screen.code == 130
        host.end()


def test_a_terminal_that_cannot_move_its_cursor_gets_the_table_once(
    terminal: Terminal,
) -> None:
    terminal.write({"a/geo.py": geo("one")})
    words = [sys.executable, "-m", "luminal", "top"]
    with running(terminal, "run", "a") as host:
        env = {**terminal.env, "TERM": "dumb"}
        with on_screen(words, terminal.place, env) as screen:
            shown = screen.rest()
        assert screen.code == 0
        assert "geo" in shown
        assert "\x1b[?" not in shown
        host.end()


def test_the_live_table_ends_with_its_host(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    words = [sys.executable, "-m", "luminal", "top", "--every", "0.1"]
    with running(terminal, "run", "a") as host:
        with on_screen(words, terminal.place, terminal.env) as screen:
            screen.until("q quit")
            host.end()
            assert "no host runs" in screen.rest()
        assert screen.code == 5


@pytest.mark.parametrize("width", [20, 40, 80])
def test_top_on_a_real_terminal_of_any_width(width: int, terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one").replace('"geo"', f'"{"long-" * 20}"')})
    words = [sys.executable, "-m", "luminal", "top"]
    with running(terminal, "run", "a") as host:
        with on_screen(words, terminal.place, terminal.env, width) as screen:
            screen.until("running\x1b")
            screen.type("\x03")
            screen.rest()
        assert screen.code == 130
        assert "Traceback" not in screen.text
        host.end()


def test_top_into_a_pipe_is_shown_once(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        done = subprocess.run(
            [sys.executable, "-m", "luminal", "top"],
            env=terminal.env,
            cwd=terminal.place,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=True,
        )
        host.end()
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.startswith("host ")


def test_a_key_that_is_unknown_does_nothing() -> None:
    """Shift and arrows, function keys, Alt and a letter, Escape, and the mouse."""
    for typed in ("[d", "[1;5B", "OR", "[[A", "[15~", "d", "", "[<0;1;1M", "[200~"):
        assert keys_of(f"s\x1b{typed}") == "s"
    assert keys_of("\x1b[Aq\x1b[Bd\x1bOA") == "kqjdk"


def test_keys_select_reload_disable_and_enable(terminal: Terminal) -> None:
    """The terminal is as it was, after q too."""
    terminal.write({"a/geo.py": geo("one"), "a/rain.py": GEO.replace("geo", "rain")})
    words = ["sh", "-c", f"{sys.executable} -m luminal top --every 60; stty -a"]
    with running(terminal, "run", "a") as host:
        with on_screen(words, terminal.place, terminal.env) as screen:
            screen.until("q quit")
            screen.type("r")
            screen.until("select a photon first")
            screen.type("j")
            screen.until("\x1b[7m")
            screen.type("r")
            screen.until("reload: geo")
            screen.type("l")
            screen.until("swapped")
            screen.type("\x1b[B")
            screen.until("rain  #1")
            screen.type("ls")
            screen.until("sorted by errors")
            screen.type("d")
            screen.until("disable: rain")
            status = terminal.luminal("top", "--json").json()
            assert status["disabled"] == ["rain"]
            screen.type("e")
            screen.until("enable: rain")
            screen.type("q")
            rest = screen.rest()
        assert screen.code == 0
        assert " icanon" in rest
        assert " echo " in rest
        host.end()
