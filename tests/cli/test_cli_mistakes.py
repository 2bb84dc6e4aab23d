"""A user in a hurry: typos, closed doors, full disks, odd terminals. No traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.running import geo, running
from tests.cli.screen import on_screen
from tests.cli.terminal import Said, Terminal
from tests.waiting import DEADLINE

WHERE = ("--no-installed", "a")
ODD = (
    "import luminal\n\n\nclass É(luminal.IPhoton):\n    photon_name = 'é'\n"
    "    photon_description = 'naïve → ✓'\n"
)


@pytest.fixture(autouse=True)
def photons(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one"), "a/odd.py": ODD})


def calm(said: Said, code: int) -> Said:
    """Return *said*, which has ended with *code* and without a traceback."""
    assert "Traceback" not in said.err, said.err
    assert said.code == code, said.err
    return said


# Every exit code, from the outside.


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list", *WHERE), 0),
        (("list", "--no-installed", "broken"), 1),
        (("list", "--nonsense"), 2),
        (("list", "nowhere"), 3),
        (("verify", "nowhere.photon"), 3),
        (("key", "accept", "nowhere.json"), 3),
        (("new", "geo", "--in", "a"), 4),
        (("check", "--no-installed", "unsafe", "--strict"), 4),
        (("reload",), 5),
        (("top",), 5),
        (("report",), 5),
    ],
)
def test_each_exit_code(
    arguments: tuple[str, ...], code: int, terminal: Terminal
) -> None:
    """130 is among the signals."""
    unsafe = f"import os\nos.environ['A'] = ''\n{geo('x')}"
    terminal.write({"broken/bad.py": "class Bad(IPhoton: x\n", "unsafe/geo.py": unsafe})
    calm(terminal.luminal(*arguments), code)
    if "--nonsense" not in arguments:
        document = json.loads(terminal.luminal(*arguments, "--json").out)
        assert document["exit"] == code


# Streams.


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", *WHERE),
        ("inspect", *WHERE),
        ("check", *WHERE),
        ("order", *WHERE),
        ("order", *WHERE, "--hook", "x"),
        ("graph", *WHERE),
        ("run", *WHERE, "--once"),
        ("doctor", *WHERE),
        ("doctor", "--config"),
        ("report", *WHERE),
        ("new", "fresh"),
        ("demo",),
        ("reload",),
        ("top",),
    ],
    ids=" ".join,
)
def test_standard_output_holds_one_json_document_a_line_and_nothing_else(
    arguments: tuple[str, ...], terminal: Terminal
) -> None:
    """Whatever photons print goes where talk goes."""
    said = terminal.luminal(*arguments, "--json")
    lines = said.out.splitlines() if arguments[0] == "run" else [said.out]
    for line in lines:
        document = json.loads(line)
        assert (document["schema"], document["command"]) == (2, arguments[0])
        assert document["exit"] == said.code


def test_photons_do_not_print_into_a_report(terminal: Terminal) -> None:
    said = calm(terminal.luminal("report", *WHERE, "--output", "-"), 0)
    assert said.out.startswith("<!DOCTYPE html>")
    assert "geo says one" in said.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("list", *WHERE),
        ("list", *WHERE, "--json"),
        ("run", *WHERE, "--json"),
        ("watch", *WHERE),
        ("doctor", *WHERE),
        ("demo",),
    ],
    ids=" ".join,
)
def test_a_full_disk_is_said_in_a_line(
    arguments: tuple[str, ...], terminal: Terminal
) -> None:
    """A host ends in order: its photons are finalized."""
    said = terminal.shell(f"luminal {' '.join(arguments)} > /dev/full")
    calm(said, 1 if arguments[0] not in ("run", "watch") else said.code)
    if arguments[0] in ("run", "watch"):
        assert "stopping" in said.err
    else:
        assert said.err.splitlines()[-1] == "luminal: No space left on device"


@pytest.mark.parametrize("command", ["list", "watch", "demo"])
def test_a_pipe_that_is_closed_early_is_no_error(
    command: str, terminal: Terminal
) -> None:
    """`luminal COMMAND | head -1`; a host whose output is closed ends."""
    arguments = "" if command == "demo" else "--no-installed a"
    said = terminal.shell(
        f"luminal {command} {arguments} --json | head -1; echo ${{PIPESTATUS[0]}}"
        if command == "watch"
        else f"luminal {command} {arguments} | head -1; echo ${{PIPESTATUS[0]}}"
    )
    calm(said, 0)
    assert said.out.splitlines()[-1] == "0"


def test_what_cannot_be_written_is_said_and_taken_back(terminal: Terminal) -> None:
    (terminal.place / "file").write_text("")
    said = calm(terminal.luminal("new", "fresh", "--in", "file/below"), 1)
    assert said.err.startswith("luminal: Not a directory")
    # The second of two files is refused: the first one goes as well.
    (terminal.place / "tests").write_text("")
    (terminal.place / "half").mkdir()
    said = terminal.luminal("report", *WHERE, "--output", "nowhere/page.html")
    calm(said, 1)
    assert "nowhere/page.html" in said.err


# Places.


def test_a_misspelt_path_or_name_is_answered_with_the_nearest(
    terminal: Terminal,
) -> None:
    terminal.write({"photons/rain.py": geo("x").replace("geo", "rain")})
    for arguments, meant in (
        (("list", "photon"), "photons"),
        (("list", "photosn/deep/er"), "photons"),
        (("check", "photons/rian.py"), "rain.py"),
        (("inspect", "rian", "photons"), "rain"),
        (("run", "photons", "--only", "rian"), "rain"),
        (("order", "photons", "--only", "rian"), "rain"),
    ):
        said = calm(terminal.luminal(*arguments, "--no-installed"), 3)
        assert re.search(rf"did you mean '([^']*/)?{meant}'\?", said.err), arguments
    said = calm(terminal.luminal("list", "photons", "--without", "rian"), 0)
    assert "no photon 'rian'; did you mean 'rain'?" in said.err


def test_a_photon_that_is_awaited_by_name_may_come_later(terminal: Terminal) -> None:
    with running(terminal, "watch", "a", "--only", "later") as host:
        terminal.write({"a/later.py": geo("x").replace("geo", "later")})
        host.until(event="started", photon="later")
        host.end()


@pytest.mark.parametrize("command", ["list", "check", "run", "doctor", "report", "new"])
def test_closed_doors_are_said(command: str, terminal: Terminal) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() == 0 and setpriv is None:
        pytest.skip("root may enter everywhere, and cannot be kept from it here")
    # Root that may not pass every door.
    caps = "--bounding-set=-dac_override,-dac_read_search"
    prefix = [setpriv, caps] if os.geteuid() == 0 and setpriv else []
    closed, shut = terminal.place / "closed", terminal.place / "shut"
    closed.mkdir()
    shut.mkdir()
    (closed / "geo.py").write_text(geo("x"))
    (closed / "geo.py").chmod(0)
    shut.chmod(0)
    try:
        for place, code in ((closed, 0 if command == "new" else 1), (shut, 2)):
            rest = ["fresh", "--in"] if command == "new" else ["--no-installed"]
            done = subprocess.run(
                [*prefix, sys.executable, "-m", "luminal", command, *rest, str(place)],
                env=terminal.env,
                cwd=terminal.place,
                capture_output=True,
                text=True,
                check=False,
                timeout=DEADLINE,
            )
            said = Said(done.stdout, done.stderr, done.returncode)
            words = {0: "next:", 1: "LUM103", 2: "not readable"}[code]
            if (command, code) == ("report", 1):
                words = "failing: geo"
            calm(said, code)
            assert words in said.out + said.err
    finally:
        shut.chmod(0o700)


def test_no_home_is_no_obstacle(terminal: Terminal) -> None:
    for name in ("HOME", "LUMINAL_CACHE_DIR", "LANG"):
        terminal.env.pop(name, None)
    for arguments in (("list", *WHERE), ("run", *WHERE, "--once"), ("check", *WHERE)):
        calm(terminal.luminal(*arguments), 0)


@pytest.mark.parametrize(
    "command", ["list", "inspect", "graph", "check", "run", "report"]
)
def test_a_locale_without_unicode_ends_nothing(
    command: str, terminal: Terminal
) -> None:
    """Though names and texts have letters that it lacks."""
    terminal.env |= {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    more = ("--once",) if command == "run" else ()
    more = ("--output", "-") if command == "report" else more
    said = calm(terminal.luminal(command, *WHERE, *more, encoding="utf-8"), 0)
    assert "\xe9" in said.out


@pytest.mark.parametrize("columns", [20, 40])
@pytest.mark.parametrize("command", ["list", "check", "order", "doctor"])
def test_a_narrow_terminal_gets_every_word(
    command: str, columns: int, terminal: Terminal
) -> None:
    words = [sys.executable, "-m", "luminal", command, *WHERE]
    env = {**terminal.env, "NO_COLOR": "1"}
    with on_screen(words, terminal.place, env, columns) as screen:
        screen.rest()
    assert screen.code == 0
    assert "Traceback" not in screen.text
    assert "geo" in screen.text or command == "doctor"


# Hosts that are asked.


def test_dead_and_false_sockets_are_no_hosts(terminal: Terminal, sockets: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(sockets / "99999.sock"))
    (sockets / "12.sock").write_text("")
    (sockets / "13.sock").mkdir()
    for command in ("top", "reload", "report"):
        calm(terminal.luminal(command), 5)
        for pid in (99999, 12, 13):
            calm(terminal.luminal(command, "--host", str(pid)), 5)
    calm(terminal.luminal("doctor", *WHERE, "--fix"), 1)
    assert [path.name for path in sockets.iterdir()] == ["13.sock"]


@pytest.mark.parametrize(
    "answer", [b"", b"no JSON\n", b"[]\n", b'{"refused": "unknown request"}\n']
)
def test_who_answers_nonsense_is_no_host(
    answer: bytes, terminal: Terminal, sockets: Path
) -> None:
    """A host of another version, or something else altogether."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(sockets / "7.sock"))
        listener.listen()
        listener.settimeout(30)

        def serve() -> None:
            for _ in range(6):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        for command in ("top", "reload", "report"):
            calm(terminal.luminal(command, "--host", "7"), 5)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(DEADLINE)


def test_two_hosts_of_one_directory_are_told_apart(terminal: Terminal) -> None:
    with running(terminal, "run", "a") as one, running(terminal, "run", "a") as two:
        said = calm(terminal.luminal("reload", "geo"), 2)
        assert "--host" in said.err
        pid = str(one.process.pid)
        assert calm(terminal.luminal("reload", "geo", "--host", pid), 0)
        numbers = [
            terminal.luminal("top", "--json", "--host", str(host.process.pid)).json()[
                "photons"
            ][0]["generation"]
            for host in (one, two)
        ]
        assert numbers == [2, 1]
        one.end()
        two.end()


def test_ctrl_c_while_a_command_reads_is_130(terminal: Terminal) -> None:
    """Where a photon's import takes long, say."""
    slow = "print('slow', flush=True)\nimport time\ntime.sleep(1000)\n" + geo("x")
    terminal.write({"b/slow.py": slow})
    with terminal.start("check", "--no-installed", "b") as process:
        assert process.stderr is not None
        assert "slow" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_ctrl_c_that_another_thread_gets_ends_a_command(terminal: Terminal) -> None:
    """The system may hand it to any thread; the loop is asleep then."""
    slow = """\
import luminal, signal, sys, threading

main = threading.main_thread().ident
while sys._current_frames()[main].f_code.co_name != "select":
    pass
signal.pthread_kill(threading.get_ident(), signal.SIGINT)
threading.Event().wait(60)
"""
    terminal.write({"b/slow.py": slow + geo("x")})
    said = terminal.luminal("check", "--no-installed", "b", "--timeout", "50")
    assert calm(said, 130)
    assert "LUM111" not in said.err


def test_settings_that_mean_nothing_are_found(terminal: Terminal) -> None:
    terminal.write({"pyproject.toml": "[tool.luminal.photons.goe]\ncity = 'Kyiv'\n"})
    terminal.env["LUMINAL_RECURSIV"] = "1"
    said = calm(terminal.luminal("doctor", *WHERE), 1)
    assert "did you mean 'LUMINAL_RECURSIVE'?" in said.out
    assert "settings for 'goe', but no such photon" in said.out
    assert "did you mean 'geo'?" in said.out


def test_a_setting_of_a_wrong_kind_in_the_environment_is_a_usage_error(
    terminal: Terminal,
) -> None:
    terminal.env["LUMINAL_RECURSIVE"] = "perhaps"
    said = calm(terminal.luminal("list", *WHERE), 2)
    assert "LUMINAL_RECURSIVE" in said.err
    assert "perhaps" in said.err


def test_a_signal_that_another_thread_gets_ends_the_host(terminal: Terminal) -> None:
    """The system may hand it to any thread; the loop is asleep then."""
    terminal.write(
        {
            "a/slow.py": """\
import luminal, os, signal, sys, threading


class Slow(luminal.IPhoton):
    def start(self):
        main = threading.main_thread().ident

        def strike():
            while not os.path.exists("go"):
                threading.Event().wait(0.01)
            while sys._current_frames()[main].f_code.co_name != "select":
                pass
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            threading.Event().wait(60)

        self.context.thread(strike)
"""
        }
    )
    with terminal.start("run", *WHERE) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("running"):
            assert process.poll() is None
        terminal.write({"go": ""})
        try:
            _, err = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "stopping" in err
