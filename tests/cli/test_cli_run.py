"""``luminal run`` and ``luminal demo``: real hosts, real signals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.cli.running import running
from tests.cli.terminal import Said, Terminal
from tests.waiting import DEADLINE

GOOD = """\
import luminal


class Good(luminal.IPhoton):
    photon_name = "good"

    def start(self):
        print("good is up")

    def finalize(self):
        print("good is down")
"""
BAD = """\
import luminal
import a_library_that_nobody_has


class Bad(luminal.IPhoton):
    photon_name = "bad"
"""
STUBBORN = """\
import asyncio
import luminal


class Stubborn(luminal.IPhoton):
    photon_name = "stubborn"

    async def finalize(self):
        print("stubborn waits", flush=True)
        {wait}
"""


def test_one_broken_photon_of_several(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    terminal.write({"photons/good.py": GOOD, "photons/bad.py": BAD})
    golden("run", "run", "--no-installed", "photons", "--once")


def test_json_is_not_disturbed_by_what_photons_print(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    terminal.write({"photons/good.py": GOOD, "photons/bad.py": BAD})
    arguments = ("run", "--no-installed", "photons", "--once", "--json")
    said = golden("run-json", *arguments)
    started, stopped = map(json.loads, said.out.splitlines())
    assert {p["photon"]: p["state"] for p in started["photons"]} == {
        "bad": "failed",
        "good": "running",
    }
    assert (stopped["event"], stopped["exit"], stopped["abandoned"]) == (
        "stopped",
        1,
        [],
    )
    assert "good is up" in said.err


def wait_for(process: subprocess.Popen[str], wanted: str) -> str:
    """Read standard output up to a line with *wanted* in it."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted in line:
            return seen
    raise AssertionError(f"{wanted!r} never came:\n{seen}")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)]
)
def test_one_signal_finalizes(
    number: signal.Signals, code: int, terminal: Terminal
) -> None:
    terminal.write({"photons/good.py": GOOD})
    with terminal.start("run", "--no-installed", "photons") as process:
        wait_for(process, "running")
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE)
    assert "good is down" in out
    assert "abandoned" not in err
    assert process.returncode == code


def test_a_second_signal_hurries_and_names_what_is_left(terminal: Terminal) -> None:
    """The photon in the middle of its finalize is cut short; the rest is forced."""
    terminal.write(
        {
            "photons/stubborn.py": STUBBORN.format(wait="await asyncio.sleep(1000)"),
            "photons/good.py": GOOD,
        }
    )
    with terminal.start("run", "--no-installed", "photons") as process:
        wait_for(process, "stubborn  photons  running")
        process.send_signal(signal.SIGINT)
        wait_for(process, "stubborn waits")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert "good is down" not in out
    assert "photon 'stubborn'" in err
    assert process.returncode == 130


def test_a_third_signal_leaves_even_a_blocked_loop(terminal: Terminal) -> None:
    """Nothing that a photon does keeps the third Ctrl-C from ending the process."""
    # In short pieces: a signal just before a long sleep would not end that.
    wait = "import time; [time.sleep(0.01) for _ in range(100_000)]"
    terminal.write({"photons/stubborn.py": STUBBORN.format(wait=wait)})
    with terminal.start("run", "--no-installed", "photons") as process:
        wait_for(process, "stubborn  photons  running")
        process.send_signal(signal.SIGINT)
        wait_for(process, "stubborn waits")
        assert process.stderr is not None
        for wanted in ("stopping without finalize", "abandoned photon 'stubborn'"):
            process.send_signal(signal.SIGINT)
            assert any(wanted in line for line in process.stderr)
        process.wait(timeout=DEADLINE)
    assert process.returncode == 130


def test_a_signal_while_photons_start_stops_the_start(terminal: Terminal) -> None:
    slow = GOOD.replace(
        '        print("good is up")',
        '        print("rising", flush=True)\n'
        '        await __import__("asyncio").sleep(1000)',
    ).replace("def start", "async def start")
    terminal.write({"photons/slow.py": slow})
    with terminal.start("run", "--no-installed", "photons") as process:
        wait_for(process, "rising")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 130


@pytest.mark.slow
def test_a_thread_that_stays_is_named_and_left(terminal: Terminal) -> None:
    text = GOOD.replace(
        '        print("good is up")',
        "        import threading\n"
        "        import time\n"
        "        threading.Thread(\n"
        "            target=time.sleep, args=[1000], name='clingy', daemon=False\n"
        "        ).start()",
    )
    terminal.write({"photons/good.py": text})
    said = terminal.luminal("run", "--no-installed", "photons", "--once")
    assert "abandoned thread 'clingy'" in said.err
    assert said.code == 1


def test_a_finalize_that_fails_is_told_and_fails_the_run(terminal: Terminal) -> None:
    text = GOOD.replace('print("good is down")', 'raise OSError("disk is full")')
    terminal.write({"photons/good.py": text})
    said = terminal.luminal("run", "--no-installed", "photons", "--once")
    assert "LUM112" in said.err
    assert "disk is full" in said.err
    assert said.code == 1


def test_without_a_running_photon_there_is_nothing_to_stay_for(
    terminal: Terminal,
) -> None:
    terminal.write({"photons/bad.py": BAD})
    assert terminal.luminal("run", "--no-installed", "photons").code == 1
    (terminal.place / "empty").mkdir()
    said = terminal.luminal("run", "--no-installed", "empty", "--json")
    assert said.code == said.json()["exit"] == 3


def test_demo_as_text(terminal: Terminal, golden: Callable[..., Said]) -> None:
    said = golden("demo", "demo")
    assert said.code == 0


def test_demo_as_json(terminal: Terminal) -> None:
    said = terminal.luminal("demo", "--json")
    steps = {step["step"] for step in said.json()["steps"]}
    assert {"discover", "load", "start", "call", "unload", "close"} <= steps
    assert said.code == 0


def test_demo_swaps_breaks_and_fixes_without_losing_a_record(
    terminal: Terminal,
) -> None:
    """Each generation answers some records, the broken one none, and all add up."""
    steps = terminal.luminal("demo", "--json").json()["steps"]
    saves = [step for step in steps if step["step"] == "save"]
    assert [save["generation"] for save in saves] == [2, 2, 3]
    codes = [save["problem"] and save["problem"]["code"] for save in saves]
    assert codes == [None, "LUM104", None]
    (count,) = (step["count"] for step in steps if step["step"] == "count")
    assert (count["lost"], count["doubled"], count["failed"]) == (0, 0, 0)
    assert count["by_scale"]["Fahrenheit"] >= 500
    assert count["by_scale"]["Kelvin"] >= 1500
    assert sum(count["by_scale"].values()) == count["fed"]


def test_run_and_watch_take_the_photons_that_the_demo_keeps(terminal: Terminal) -> None:
    assert terminal.luminal("demo", "--keep", "mine").code == 0
    said = terminal.luminal("list", "--no-installed", "mine")
    assert re.search(r"^mean +2\.1", said.out, re.MULTILINE)
    kept = (terminal.place / "mine" / "mean.py").read_bytes()
    said = terminal.luminal("run", "--no-installed", "--once", "--json", "mine")
    photons = json.loads(said.out.splitlines()[0])["photons"]
    names = {p["photon"] for p in photons if p["state"] == "running"}
    assert names == {"fahrenheit", "mean", "alarm"}  # the others are broken on purpose
    with running(terminal, "watch", "--no-installed", "mine") as host:
        mean = terminal.place / "mine" / "mean.py"
        mean.write_bytes(kept + b"CHANGED = 1\n")
        host.until(event="swapped", photon="mean")
        mean.write_bytes(kept)
    assert terminal.luminal("demo", "--keep", "mine").code == 4
    assert (terminal.place / "mine" / "mean.py").read_bytes() == kept
