"""``--safe`` and ``doctor --bisect``: which photon is it?"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence

import pytest

from luminal.cli._bisect import _fewest
from tests.cli.running import BROKEN, geo, running
from tests.cli.terminal import Terminal
from tests.waiting import DEADLINE, brief, wait_until

NAMES = [f"p{number}" for number in range(12)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_fewest_that_fail_together_are_found(count: int) -> None:
    choice = random.Random(count)
    for _ in range(20):
        wanted = sorted(choice.sample(NAMES, count), key=NAMES.index)

        def fails(names: Sequence[str], wanted: list[str] = wanted) -> bool:
            return {*wanted} <= {*names}

        assert _fewest(NAMES, fails) == wanted


def test_the_photon_that_ends_the_process_is_found(terminal: Terminal) -> None:
    """Beside healthy ones, with what it requires; one with a problem stays away."""
    crash = (
        geo("x").replace("geo", "crash").replace("print(", "import os; os._exit(7)\n#")
    )
    crash = crash.replace("def start", 'photon_requires = ("base",)\n\n    def start')
    files = {f"a/{name}.py": geo(name).replace("geo", name) for name in ("base", "sun")}
    terminal.write({**files, "a/crash.py": crash, "a/broken.py": "def ="})
    said = terminal.luminal("doctor", "--no-installed", "a", "--bisect")
    assert said.code == 1, said.err
    assert said.out == "photon 'crash' (with base, which it requires)\n"
    assert "left out: broken" in said.err
    assert "exit 7" in said.err
    test = 'case " $LUMINAL_WITHOUT " in *" sun "*) ;; *) echo it rains; exit 3;; esac'
    where = ("doctor", "--no-installed", "a", "--bisect")
    found = terminal.luminal(*where, "--test", test, "--json").json()["bisect"]
    (culprit,) = found["culprits"]
    assert (culprit["photons"], culprit["code"]) == (["sun"], 3)
    assert culprit["output"] == ["it rains"]
    fine = terminal.luminal(*where, "--test", "true")
    assert (fine.code, fine.out) == (0, "the command succeeds with all photons\n")
    timed = terminal.luminal(*where, "--test", "sleep 100", "--timeout", "0.1")
    assert "timed out" in timed.err
    assert timed.out == "the command fails without any photon too\n"
    for wrong in (
        ("--test", "true"),
        ("--timeout", "5"),
        ("--bisect", "--fix"),
        ("--bisect", "--config"),
        ("--config", "--import-time"),
    ):
        assert terminal.luminal("doctor", *wrong).code == 2, wrong


def test_each_of_several_culprits_is_found(terminal: Terminal) -> None:
    """Whether it hangs, fails alone, or fails only together with another."""
    names = ("base", "fog", "hail", "rain", "storm", "sun")
    files = {f"a/{name}.py": geo(name).replace("geo", name) for name in names}
    terminal.write(files)
    script = """
    is_on() { case " $LUMINAL_WITHOUT " in *" $1 "*) return 1;; esac; }
    is_on hail && sleep 1000
    is_on rain && is_on sun && { echo rainbow; exit 5; }
    is_on fog && exit 6
    exit 0
    """
    where = ("doctor", "--no-installed", "a", "--bisect", "--timeout", str(brief(0.3)))
    said = terminal.luminal(*where, "--test", script)
    assert said.code == 1
    assert sorted(said.out.splitlines()) == [
        "photon 'fog'",
        "photon 'hail'",
        "photons that fail only together: 'rain', 'sun'",
    ]
    assert "timed out" in said.err
    assert "| rainbow" in said.err
    for name in ("fog", "hail", "sun"):
        assert f"--without {name}" in said.err
    always = terminal.luminal(
        *where, "--test", "exit $((6 - $(set -- $LUMINAL_WITHOUT; echo $#)))"
    )
    assert len(always.out.splitlines()) == 5
    assert "and there are more" in always.err


def test_an_interrupted_search_leaves_no_process(terminal: Terminal) -> None:
    """Though what it tries has a session of its own, which Ctrl-C does not reach."""
    terminal.write({"a/geo.py": geo("one")})
    mark = terminal.place / "mark"
    test = f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 1000"
    where = ("doctor", "--no-installed", "a", "--bisect")
    with terminal.start(*where, "--test", test) as process:
        wait_until(mark.exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    # What a command leaves running does not keep its try from ending.
    said = terminal.luminal(*where, "--test", "sleep 3 & exit 4", "--timeout", "60")
    assert "exit 4" in said.err
    assert "timed out" not in said.err


def test_a_safe_start_runs_nothing_until_it_is_enabled(terminal: Terminal) -> None:
    """In the order of what requires what, also where a watch sees the files.

    What cannot run is told at the start; what fails when it is enabled, to who did so.
    """
    rain = geo("x").replace("geo", "rain")
    rain = rain.replace("def start", 'photon_requires = ("geo",)\n\n    def start')
    bad = geo("x").replace("geo", "bad").replace("print(", "raise OSError(#")
    crash = (
        geo("x").replace("geo", "crash").replace("print(", "import os; os._exit(7)#")
    )
    terminal.write({"a/geo.py": geo("one"), "a/rain.py": rain, "a/broken.py": BROKEN})
    terminal.write({"a/bad.py": bad.replace("OSError(#", "OSError("), "a/x.py": crash})
    names = ["bad", "crash", "geo", "rain"]
    with running(terminal, "watch", "a", "--safe") as host:
        assert not [each for each in host.seen if each["event"] == "loaded"]
        (told,) = [each for each in host.seen if each["event"] == "started"]
        assert sorted(told["disabled"]) == names
        assert [row["photon"] for row in told["photons"]] == ["broken"]
        status = terminal.luminal("top", "--json").json()
        assert (status["photons"], sorted(status["disabled"])) == ([], names)
        said = terminal.luminal("enable", "rain")
        assert said.code == 1
        assert "photon 'rain': requires 'geo' [LUM106]" in said.err
        said = terminal.luminal("enable", "geo", "--json").json()
        assert [row["state"] for row in said["photons"]] == ["running"]
        said = terminal.luminal("enable", "bad", "rain")
        assert said.code == 1
        assert said.err.count("[LUM") == said.err.count("photon 'bad': could not") == 1
        said = terminal.luminal("enable", "crash")
        assert "ended before it had answered" in said.err
        assert host.process.wait(DEADLINE) == 7


def test_a_safe_start_says_what_to_do_next(terminal: Terminal) -> None:
    terminal.write({"a/geo.py": geo("one"), "a/broken.py": "def ="})
    with terminal.start("run", "a", "--no-installed", "--safe") as process:
        assert process.stderr is not None
        lines = [*iter(process.stderr.readline, RUNNING)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    text = "".join(lines)
    assert "photon 'broken': is not valid Python" in text
    assert "safe start: disabled geo\n" in text
    assert "luminal enable NAME" in text


RUNNING = "running; press Ctrl-C to stop\n"
