"""A running host and those who talk to it: watch, reload, top, signals, sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from luminal.model import Deadlines
from tests.cli.running import BROKEN, GEO, geo, running
from tests.cli.terminal import Said, Terminal
from tests.waiting import DEADLINE


def test_watch_tells_swaps_refusals_arrivals_and_departures(
    terminal: Terminal,
) -> None:
    terminal.write({"a/geo.py": geo("one"), "b/keep.txt": ""})
    with running(terminal, "watch", "a", "b") as host:
        terminal.write({"a/geo.py": geo("two")})
        assert host.until(event="swapped")["generation"] == 2
        terminal.write({"a/geo.py": BROKEN})
        refused = host.until(event="rejected")
        assert refused["problem"]["code"] == "LUM104"
        assert refused["generation"] == 3
        terminal.write({"a/geo.py": geo("three")})
        assert host.until(event="swapped")["generation"] == 3
        terminal.write({"b/new.py": GEO.replace("geo", "new").replace("Geo", "New")})
        assert host.until(event="started", photon="new")["generation"] == 1
        (terminal.place / "b" / "new.py").unlink()
        host.until(event="unloaded", photon="new")
        assert host.end(signal.SIGTERM) == 0


def test_watch_as_text_has_one_line_an_event(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with terminal.start("watch", "--events", "--no-installed", "a") as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("started"):
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    words = [line.split() for line in lines if "says" not in line]
    assert [line[0] for line in words][-2:] == ["loaded", "started"]
    assert {line[1] for line in words} == {"geo"}


def test_watch_leaves_out_what_was_switched_off(terminal: Terminal) -> None:
    """Also when it is saved while the watch runs."""
    terminal.write({"a/geo.py": geo("one"), "a/off.py": geo("x").replace("geo", "off")})
    with running(terminal, "watch", "a", "--without", "off") as host:
        terminal.write({"a/off.py": geo("y").replace("geo", "off")})
        terminal.write({"a/geo.py": geo("two")})
        host.until(event="swapped", photon="geo")
        host.end()
    told = [(seen["event"], seen.get("photon")) for seen in host.seen]
    assert ("swapped", "geo") in told
    assert not {("loaded", "off"), ("started", "off")} & {*told}


def test_a_host_is_shown_on_a_page_as_long_as_it_runs(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "watch", "a", "--page", "0") as host:
        address = host.seen[-1]["page"]
        with urllib.request.urlopen(address) as answer:
            assert "geo" in answer.read().decode()
        port = address.rpartition(":")[2].strip("/")
        taken = terminal.luminal("run", "--no-installed", "a", "--page", port)
        assert taken.code == 1
        assert f"port {port} of 127.0.0.1" in taken.err
        assert host.end(signal.SIGTERM) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


LOOP = """
    async def start(self):
        thread = threading.current_thread().name
        self.context.logger.error("started in %s", thread)
"""


RELOAD = "reload?photon=geo"


def act(page: str, action: str) -> bytes:
    """Ask the page at an address with its token for an action."""
    address, _, token = page.partition("#token=")
    request = urllib.request.Request(
        f"{address}actions/{action}",
        headers={"Origin": address.rstrip("/"), "X-Luminal-Token": token},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        text: bytes = answer.read()
        return text


def act_or_not(page: str, action: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        act(page, action)


def test_the_page_reloads_on_the_loop_of_the_host(terminal: Terminal) -> None:
    """Where its tasks can reach what the host and other photons have made there."""
    head, _, _ = GEO.partition("    def start")
    terminal.write({"a/geo.py": f"import threading\n{head}{LOOP}"})
    with running(terminal, "watch", "a", "--page", "0", "--page-actions") as host:
        page = host.seen[-1]["page"]
        assert act(page, RELOAD) == b"reloaded, generation 2"
        address = page.partition("#")[0]
        with urllib.request.urlopen(f"{address}report.json") as answer:
            records = json.load(answer)["records"]
        assert [each["text"] for each in records] == ["started in MainThread"] * 2


def test_a_page_of_a_host_that_stops_at_once_is_refused(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    said = terminal.luminal("run", "--no-installed", "a", "--once", "--page", "0")
    assert said.code == 2
    assert "--once and --page exclude each other" in said.err


@pytest.mark.parametrize("option", ["--polling", "--no-polling"])
def test_polling_without_a_watch_is_refused(terminal: Terminal, option: str) -> None:
    """As an argument; in a file or a variable it is for other commands as well."""
    terminal.write({"a/geo.py": geo("one")})
    said = terminal.luminal("run", "--no-installed", "a", "--once", option)
    assert said.code == 2
    assert "--watch" in said.err
    terminal.env["LUMINAL_POLLING"] = "1"
    assert terminal.luminal("run", "--no-installed", "a", "--once").code == 0


def test_run_with_watch_reloads_and_a_file_alone_can_be_watched(
    terminal: Terminal,
) -> None:
    terminal.write({"a/geo.py": geo("one"), "a/other.py": geo("x").replace("geo", "o")})
    with terminal.start("run", "--watch", "--no-installed", "a/geo.py") as process:
        assert process.stderr is not None
        while "running" not in process.stderr.readline():
            assert process.poll() is None
        terminal.write({"a/geo.py": geo("two")})
        while "'geo' swapped, generation 2" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE)
    assert "geo says two" in out
    assert "o says" not in out.replace("geo says", "")
    assert terminal.luminal("run", "--watch", "--once", "a").code == 2


def test_a_hang_up_reloads_all(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        terminal.write({"a/geo.py": geo("two")})
        host.process.send_signal(signal.SIGHUP)
        assert host.process.stderr is not None
        while "geo says two" not in host.process.stderr.readline():
            assert host.process.poll() is None
        assert host.end() == 130


HANGING = """\
import asyncio
import sys

import luminal


class Geo(luminal.IPhoton):
    photon_name = "geo"

    async def start(self):
        print("geo hangs", file=sys.stderr, flush=True)
        await asyncio.Event().wait()
"""


@pytest.mark.parametrize("by", ["a hang-up", "the socket", "the page"])
def test_a_second_signal_cancels_a_reload_that_was_asked_for(
    by: str, terminal: Terminal
) -> None:
    """It is not waited for until its deadline."""
    terminal.write({"a/geo.py": geo("one")})
    asking = None
    with running(terminal, "run", "a", "--page", "0", "--page-actions") as host:
        terminal.write({"a/geo.py": HANGING})
        if by == "a hang-up":
            host.process.send_signal(signal.SIGHUP)
        elif by == "the page":
            page = host.seen[-1]["page"]
            threading.Thread(target=act_or_not, args=(page, RELOAD)).start()
        else:
            asking = terminal.start("reload", "geo", "--json")
        assert host.process.stderr is not None
        for wanted in ("geo hangs", "press Ctrl-C again to force", "to exit at once"):
            if wanted != "geo hangs":
                host.process.send_signal(signal.SIGINT)
            while wanted not in (line := host.process.stderr.readline()):
                assert line
        # What is not cancelled ends by its deadline, later than this.
        _, err = host.process.communicate(timeout=Deadlines().start * 0.8)
        assert host.process.returncode == 130
        assert "abandoned" not in err
        if asking is not None:
            said, _ = asking.communicate(timeout=DEADLINE)
            assert "is being stopped" in said or asking.returncode == 5


def test_reload_replaces_refuses_and_names_what_is_unknown(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        golden("reload", "reload")
        terminal.write({"a/geo.py": BROKEN})
        golden("reload-refused", "reload", "geo")
        said = terminal.luminal("reload", "geo", "--json")
        (photon,) = said.json()["photons"]
        assert (said.code, photon["generation"]) == (4, 2)
        assert photon["problem"]["code"] == "LUM104"
        golden("reload-unknown", "reload", "goe")
        assert terminal.luminal("reload", "goe", "--json").json()["exit"] == 3
        assert host.end() == 130


def test_without_a_host_there_is_nobody_to_ask(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    golden("reload-no-host", "reload")
    for command in ("reload", "top"):
        said = terminal.luminal(command, "--json")
        assert said.code == said.json()["exit"] == 5
    assert terminal.luminal("top", "--host", "1").code == 5


def test_one_of_several_hosts_is_chosen(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as one, running(terminal, "run", "a") as two:
        said = terminal.luminal("reload")
        assert said.code == 2
        for host in (one, two):
            pid = host.process.pid
            assert str(pid) in said.err
            chosen = terminal.luminal("top", "--json", "--host", f"{pid}").json()
            assert chosen["pid"] == pid
            host.end()


def test_nobody_else_can_connect(terminal: Terminal, sockets: Path) -> None:
    sockets.rmdir()
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        (socket,) = sockets.iterdir()
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        host.end()
    assert list(sockets.iterdir()) == []


def test_a_directory_that_others_can_enter_is_not_used(
    terminal: Terminal, sockets: Path
) -> None:
    """The host runs all the same, and says that it cannot be reached."""
    sockets.chmod(0o755)
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        assert list(sockets.iterdir()) == []
        host.end()
    assert "chmod 700" in terminal.luminal("doctor", "--no-installed").out


def test_doctor_finds_and_removes_sockets_of_hosts_that_are_gone(
    terminal: Terminal, sockets: Path
) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as gone:
        gone.process.kill()
        gone.process.wait()
    with running(terminal, "run", "a") as host:
        stale = sockets / f"{gone.process.pid}.sock"
        assert stale.exists()
        said = terminal.luminal("doctor", "--no-installed", "--json").json()
        assert str(stale) in [finding["file"] for finding in said["findings"]]
        terminal.luminal("doctor", "--no-installed", "--fix")
        assert [p.name for p in sockets.iterdir()] == [f"{host.process.pid}.sock"]
        host.end()


def test_top_counts_threads_and_tasks_of_a_photon(terminal: Terminal) -> None:
    busy = GEO.replace(
        '        print("geo says {word}", flush=True)',
        "        import asyncio\n"
        "        self.context.spawn(asyncio.sleep(1000))\n"
        "        self.context.every(1000, list)",
    ).replace("def start", "async def start")
    terminal.write({"a/geo.py": busy})
    with running(terminal, "run", "a") as host:
        status = terminal.luminal("top", "--json").json()
        (photon,) = status["photons"]
        assert (photon["state"], photon["generation"]) == ("running", 1)
        assert (photon["threads"], photon["tasks"]) == (1, 1)
        assert status["threads"] >= 2
        lines = terminal.luminal("top", "--once").out.splitlines()
        seen = dict(zip(lines[0].split(), lines[1].split(), strict=True))
        assert (seen["NAME"], seen["STATE"], seen["GEN"]) == ("geo", "running", "1")
        assert (seen["THREADS"], seen["TASKS"]) == ("1", "1")
        host.end()


def test_nonsense_on_the_socket_does_not_end_the_host(
    terminal: Terminal, sockets: Path
) -> None:
    import socket

    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        path = str(sockets / f"{host.process.pid}.sock")
        for nonsense in (b"\n", b"[]\n", b"x" * 2**17, b'{"ask": "rm"}\n', b"\xff\n"):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
                line.connect(path)
                line.sendall(nonsense)
                assert b"refused" in line.recv(1000)
        assert terminal.luminal("top", "--json").code == 0
        host.end()


def test_the_names_of_running_photons_complete(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        terminal.env |= {
            "_LUMINAL_COMPLETE": "bash_complete",
            "COMP_WORDS": "luminal reload g",
            "COMP_CWORD": "2",
        }
        said = terminal.luminal()
        assert said.out.strip() == "plain,geo"
        host.end()


@pytest.mark.slow
def test_a_host_that_is_silent_is_said_to_be(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a") as host:
        os.kill(host.process.pid, signal.SIGSTOP)
        said = terminal.luminal("top", "--host", str(host.process.pid))
        os.kill(host.process.pid, signal.SIGCONT)
        assert said.code == 5
        assert "does not answer" in said.err
        host.end()


@pytest.mark.parametrize(
    ("arguments", "variable", "setting", "polls"),
    [
        (("watch", "--polling"), "", "false", True),
        (("run", "--watch", "--polling"), "0", "false", True),
        (("watch",), "1", "false", True),
        (("watch",), "", "true", True),
        (("watch", "--no-polling"), "1", "true", False),
    ],
)
def test_polling_is_asked_for(
    terminal: Terminal,
    arguments: tuple[str, ...],
    variable: str,
    setting: str,
    polls: bool,
) -> None:
    """By an option, else by the variable, else by the file."""
    table = f"[tool.luminal]\npolling = {setting}\n"
    terminal.write({"photons/geo.py": geo("one"), "pyproject.toml": table})
    if variable:
        terminal.env["LUMINAL_POLLING"] = variable
    with running(terminal, *arguments, "photons") as host:
        host.process.send_signal(signal.SIGINT)
        _, err = host.process.communicate(timeout=DEADLINE)
    assert ("looked at every 2 s" in err) is polls


def test_a_watch_that_waits_for_a_photon_can_be_stopped(terminal: Terminal) -> None:
    """What it waits for is ended in order."""
    text = geo("one").replace("print(", "__import__('time').sleep(2) or print(")
    terminal.write({"photons/geo.py": geo("one")})
    with running(terminal, "watch", "photons") as host:
        terminal.write({"photons/other.py": text.replace('"geo"', '"other"')})
        host.until(event="loaded", photon="other")
        assert host.end() == 130


def test_watch_has_one_line_a_save(terminal: Terminal) -> None:
    """Of several photons too, whether they are swapped, rejected or left alone."""
    text = "from helper import T\n" + GEO
    both = {
        "a/geo.py": text,
        "a/rain.py": text.replace("geo", "rain"),
    }
    terminal.write({**both, "a/helper.py": "T = 1\n"})
    with terminal.start("watch", "--no-installed", "a") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        limit = threading.Timer(DEADLINE, process.kill)
        limit.start()
        lines: list[str] = []

        def until(text: str) -> None:
            for line in process.stdout or ():
                lines.append(line)
                if text in line:
                    return
            raise AssertionError(f"{text!r} never came: {lines}")

        while "press Ctrl-C" not in process.stderr.readline():
            assert process.poll() is None
        terminal.write({"a/helper.py": "T = 2\n"})
        until("saved")
        terminal.write({"a/helper.py": "T = = 2\n"})
        until("rejected")
        terminal.write({"a/helper.py": "T = 2\n"})
        until("undone")
        assert terminal.luminal("reload", "geo").code == 0
        until("on request")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
        limit.cancel()
    told = [line.split("  ") for line in lines if ":" in line]
    assert [(cells[1], cells[2]) for cells in told] == [
        ("a/helper.py", "geo 1 -> 2, rain 1 -> 2"),
        ("a/helper.py:1", "geo, rain"),
        ("a/helper.py", "geo, rain"),
        ("a/geo.py", "geo 2 -> 3"),
    ]


def test_the_log_of_a_host_is_followed(terminal: Terminal) -> None:
    """Its events, and what its photons log, until it ends."""
    # A logger below the photon's own is the photon's too.
    text = GEO.replace("print(", 'self.context.logger.getChild("net").warning(')
    text = text.replace(", flush=True", "")
    terminal.write({"a/geo.py": text.format(word="one")})
    with running(terminal, "run", "a") as host:
        with terminal.start("log", "geo", "--follow") as follower:
            assert follower.stdout is not None
            while "geo says one" not in follower.stdout.readline():
                assert follower.poll() is None
            terminal.write({"a/geo.py": text.format(word="two")})
            assert terminal.luminal("reload", "geo").code == 0
            while "geo says two" not in follower.stdout.readline():
                assert follower.poll() is None
            host.end()
            assert follower.wait(DEADLINE) == 0
        assert terminal.luminal("log").code == 5
