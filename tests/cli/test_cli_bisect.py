"""``--safe`` and ``doctor --bisect``: which photon is it?"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence

import pytest

from luminal.cli._bisect import _fewest
from tests.cli.running import geo, running
from tests.cli.terminal import Terminal
from tests.waiting import DEADLINE, wait_until

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
    assert (found["photons"], found["code"]) == (["sun"], 3)
    assert found["output"] == ["it rains"]
    assert terminal.luminal(*where, "--test", "true").code == 0
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
    """In the order of what requires what, also where a watch sees the files."""
    rain = geo("x").replace("geo", "rain")
    rain = rain.replace("def start", 'photon_requires = ("geo",)\n\n    def start')
    terminal.write({"a/geo.py": geo("one"), "a/rain.py": rain})
    with running(terminal, "watch", "a", "--safe") as host:
        assert not [each for each in host.seen if each["event"] == "loaded"]
        status = terminal.luminal("top", "--json").json()
        assert (status["photons"], status["disabled"]) == ([], ["geo", "rain"])
        assert terminal.luminal("enable", "rain").code == 1
        said = terminal.luminal("enable", "geo", "--json").json()
        assert [row["state"] for row in said["photons"]] == ["running"]
        assert terminal.luminal("enable").code == 0
        assert not terminal.luminal("top", "--json").json()["disabled"]
        host.end()
