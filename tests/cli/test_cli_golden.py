"""What each command prints is on record, as text and as JSON: look at what changes."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable

import pytest

from luminal.cli._main import COMMANDS
from tests.cli.conftest import GOLDEN
from tests.cli.running import BROKEN, GEO, geo, running
from tests.cli.terminal import Said, Terminal
from tests.waiting import DEADLINE

WHERE = ("--no-installed", "a")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_on_record_as_text_and_as_json(name: str) -> None:
    """Written by the tests below and beside; a new command has to come with both."""
    lines = [file.read_text().partition("\n")[0] for file in GOLDEN.glob("*.txt")]
    of_command = [line.split() for line in lines if line.split()[2] == name]
    assert [line for line in of_command if "--json" not in line]
    assert [line for line in of_command if "--json" in line]


@pytest.mark.parametrize("form", ["text", "json"])
def test_new(form: str, terminal: Terminal, golden: Callable[..., Said]) -> None:
    more = ("--json",) if form == "json" else ()
    for kind in ("file", "folder", "distribution"):
        directory = f"{kind}s"
        golden(
            f"new-{kind}-{form}", "new", "geo", "--kind", kind, "--in", directory, *more
        )
    golden(f"new-taken-{form}", "new", "geo", "--in", "files", *more)


@pytest.mark.parametrize("form", ["text", "json"])
def test_doctor(form: str, terminal: Terminal, golden: Callable[..., Said]) -> None:
    """One finding of each kind that a directory can have."""
    terminal.write({"a/geo.py": geo("one"), "a/needy.py": NEEDY})
    terminal.write({"a/__pycache__/gone.cpython-312.pyc": ""})
    more = ("--json",) if form == "json" else ()
    assert golden(f"doctor-{form}", "doctor", *WHERE, *more).code == 1


NEEDY = """\
import luminal


class Needy(luminal.IPhoton):
    photon_name = "needy"
    photon_requires = ("goe",)
"""


def test_doctors_settings_as_json(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    terminal.write({"pyproject.toml": "[tool.luminal]\nrecursive = true\n"})
    golden("doctor-config-json", "doctor", "--config", "--json")


def test_demo_as_json(golden: Callable[..., Said]) -> None:
    golden("demo-json", "demo", "--json")


def test_report(terminal: Terminal, golden: Callable[..., Said]) -> None:
    """The page itself is tested elsewhere."""
    terminal.write({"a/geo.py": GEO, "a/bad.py": BAD})
    golden("report", "report", *WHERE)
    golden("report-json", "report", *WHERE, "--json")


BAD = """\
import luminal


def reach(host):
    raise OSError(f"{host} does not answer")


class Bad(luminal.IPhoton):
    photon_name = "bad"

    def start(self):
        self.connection = reach("localhost")
"""


def test_a_failure_at_start_is_shown_with_the_authors_calls(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    """Those that require it are named, and how many run."""
    needy = NEEDY.replace("goe", "bad")
    terminal.write({"a/geo.py": GEO, "a/bad.py": BAD, "a/needy.py": needy})
    golden("run-start-fails", "run", *WHERE, "--once")
    golden("run-start-fails-json", "run", *WHERE, "--once", "--json")
    said = terminal.luminal("run", *WHERE, "--once", "-v")
    assert "lifecycle/_steps.py" in said.err
    assert said.err.index("in Bad.start") < said.err.index("lifecycle/_steps.py")


def test_several_failures_are_told_together(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    """Each failure names the photons that require the failed one."""
    first = NEEDY.replace("goe", "bad")
    second = NEEDY.replace("goe", "bad").replace("needy", "second")
    terminal.write(
        {
            "a/geo.py": GEO,
            "a/bad.py": "raise OSError('no')\n" + BAD,
            "a/needy.py": first,
            "a/second.py": second,
            "a/typo.py": "class Typo(IPhoton:\n",
        }
    )
    golden("run-several-fail", "run", *WHERE, "--once")
    golden("check-several-fail", "check", *WHERE)
    golden("list-several-fail", "list", *WHERE)


def test_top(terminal: Terminal, golden: Callable[..., Said]) -> None:
    terminal.write({"a/geo.py": geo("one"), "a/bad.py": BAD})
    with running(terminal, "run", "a") as host:
        golden("top", "top")
        golden("top-json", "top", "--json")
        said = terminal.luminal("top", "--cpu", "--once", "--every", "0.2")
        assert said.out.splitlines()[0].endswith("TASKS  CPU")
        assert "looks late" in said.err
        said = terminal.luminal("top", "--cpu", "--json", "--every", "0.2")
        assert json.loads(said.out)["cpu"]["ticks"] > 0
        golden("report-host-json", "report", "--json")
        golden("reload-json", "reload", "geo", "--json")
        assert host.end() == 130
    golden("top-no-host-json", "top", "--json")


def test_photons_are_unloaded_disabled_and_enabled(
    terminal: Terminal, golden: Callable[..., Said]
) -> None:
    """A disabled one stays away, whatever is saved; an unloaded one comes back."""
    rain = geo("x").replace("geo", "rain")
    terminal.write({"a/geo.py": geo("one"), "a/rain.py": rain, "a/sun.py": BAD})
    with running(terminal, "watch", "a") as host:
        golden("unload", "unload", "rain")
        golden("unload-unknown-json", "unload", "riad", "--json")
        golden("disable", "disable", "geo")
        terminal.write({"a/geo.py": geo("two"), "a/rain.py": rain + "\n"})
        host.until(event="started", photon="rain")
        status = terminal.luminal("top", "--json").json()
        assert status["disabled"] == ["geo"]
        assert "geo" not in [each["name"] for each in status["photons"]]
        assert "disabled: geo" in terminal.luminal("top", "--once").err
        golden("enable", "enable")
        golden("enable-none", "enable")
        golden("enable-unknown", "enable", "rain")
        golden("disable-json", "disable", "geo", "--json")
        terminal.write({"a/geo.py": geo("two").replace("print", "raise OSError")})
        golden("enable-json", "enable", "geo", "--json")
        golden("log-json", "log", "bad", "--json")
        golden("log", "log", "bad", "-n", "2")
        assert "goe" not in golden("log-unknown", "log", "goe").out
        assert host.end() == 130


@pytest.mark.parametrize("form", ["text", "json"])
def test_watch(
    form: str, terminal: Terminal, record: Callable[[str, str], None]
) -> None:
    """Started, swapped, refused, mended, joined, left, and stopped."""
    arguments = ["watch", *WHERE, *(["--json"] if form == "json" else [])]
    terminal.write({"a/geo.py": geo("one")})
    seen = []
    with terminal.start(*arguments) as process:
        assert process.stdout is not None
        late = threading.Timer(DEADLINE, process.kill)  # else `until` reads on for ever
        late.daemon = True
        late.start()

        def until(kind: str, number: int, text: str) -> None:
            """Read on until geo's generation *number* has done that.

            Args:
                kind: Which event.
                number: Which generation.
                text: What the line of the save contains instead.
            """
            assert process.stdout is not None
            for line in process.stdout:
                if "says" in line:  # it prints beside the events
                    continue
                seen.append(line)
                told = json.loads(line) if form == "json" else {}
                if told and (told["event"], told.get("generation")) == (kind, number):
                    return
                if not told and text in line:
                    return
            raise AssertionError(f"{kind} never came: {seen}")

        until("started", 1, "geo   a")
        if form == "json":
            until("ready", None, "")  # type: ignore[arg-type]
        else:
            assert process.stderr is not None
            while "running" not in process.stderr.readline():
                assert process.poll() is None
        terminal.write({"a/geo.py": geo("two")})
        until("finalized", 1, "geo 1 -> 2")
        terminal.write({"a/geo.py": BROKEN})
        until("rejected", 3, "rejected: ")
        terminal.write({"a/geo.py": geo("three")})
        until("finalized", 2, "geo 2 -> 3")
        terminal.write({"a/new.py": GEO.replace("geo", "new")})
        until("started", 1, "new 1")
        (terminal.place / "a" / "new.py").unlink()
        until("unloaded", 1, "deleted")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE)
        late.cancel()
    seen += [line for line in out.splitlines(keepends=True) if "says" not in line]
    # When an old generation is collected is the collector's affair.
    seen = [line for line in seen if "retired" not in line]
    said = Said("".join(seen), err, process.returncode)
    record(f"watch-{form}", said.as_text(*arguments))
