"""What is new in the text of a swap: told, or asked about before a line runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import luminal
from luminal.errors import PhotonCapabilityError, TrustSettingsError
from luminal.model import EventKind
from luminal.trust import CapabilityRules, TrustSettings

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """
import luminal
{start}

class Hello(luminal.IPhoton):
    @luminal.hookimpl
    def greet(self):
        return {value}
"""


class Specs:
    @luminal.hookspec
    def greet(self):
        """Greet."""


def write(path: Path, value: int, start: str = "") -> None:
    path.write_text(HELLO.format(value=value, start=start))


async def loaded(path: Path, **settings: object) -> luminal.Loader:
    loader = luminal.Loader(hookspecs=[Specs], cache=False, **settings)
    await (await loader.load_photon(path)).start()
    return loader


async def test_a_new_capability_is_an_event_and_in_the_report(tmp_path: Path) -> None:
    photon, net = tmp_path / "hello.py", tmp_path / "net.py"
    write(photon, 1)
    loader = await loaded(photon, trust={"drift": True})
    write(photon, 2)
    await loader.reload_photon("Hello")
    assert not loader.report.outcomes[-1].warnings
    net.write_text("import socket\n\ntext = '127.0.0.1'\nsocket.getaddrinfo(text, 1)\n")
    write(photon, 3, "from net import text")
    await loader.reload_photon("Hello")
    expected = "now opens sockets at import, net.py:4"
    [warning] = loader.report.outcomes[-1].warnings
    assert (warning.what, warning.file, warning.line) == (expected, str(net), 4)
    assert expected in str(loader.report)
    [event] = [e for e in loader.events.journal if e.kind is EventKind.DRIFTED]
    assert event.photon == "Hello"
    assert event.problem is not None
    assert event.problem.what == expected
    write(photon, 4, "from net import text  # again")
    await loader.reload_photon("Hello")
    assert not loader.report.outcomes[-1].warnings, "it is not new any more"
    await loader.unload_photon("Hello")


async def test_what_is_asked_about_waits_for_the_setting(tmp_path: Path) -> None:
    photon, marker = tmp_path / "hello.py", tmp_path / "ran"
    project = tmp_path / "pyproject.toml"
    asks = "[tool.luminal.trust]\nask = ['processes', 'network:import']\n"
    project.write_text(asks)
    write(photon, 1)
    loader = await loaded(photon, trust=project)
    start = f"import os\nos.system('echo > {marker}')"
    write(photon, 2, start)
    with pytest.raises(PhotonCapabilityError) as caught:
        await loader.reload_photon("Hello")
    assert not marker.exists(), "no line of it ran"
    assert loader.hook.greet() == [1]
    error = caught.value
    assert (error.file, error.line) == (str(photon), 4)
    assert error.what == "now starts or signals processes at import, hello.py:4"
    assert 'Hello = ["processes"]' in str(error)
    assert loader.report.outcomes[-1].problem.code == "LUM134"
    with project.open("a") as file:
        file.write('[tool.luminal.trust.accept]\nHello = ["processes"]\n')
    await loader.reload_photon("Hello")
    assert loader.hook.greet() == [2]
    assert marker.exists()
    # Of sockets only those at import are asked about; going back is never.
    write(photon, 3, "import socket\ndef ask():\n    return socket.socket()")
    await loader.reload_photon("Hello")
    project.write_text(asks)
    await loader.roll_back("Hello")
    assert loader.hook.greet() == [2]
    await loader.unload_photon("Hello")


async def test_what_is_denied_is_not_loaded(tmp_path: Path) -> None:
    photon = tmp_path / "hello.py"
    write(photon, 1, "import pickle\ndef f():\n    pickle.loads(b'')")
    loader = luminal.Loader(hookspecs=[Specs], trust={"deny": ["unpickling"]})
    report = await loader.load(luminal.discover(tmp_path, group=None, index=False))
    [outcome] = report.failed
    assert outcome.problem.what == "unpickles, hello.py:5"
    allowed = {"deny": ["unpickling"], "accept": {"hello": ["unpickling"]}}
    await (await loaded(photon, trust=allowed)).unload_photon("Hello")
    await (await loaded(photon, trust={"deny": ["unpickling:import"]})).unload_photon(
        "Hello"
    )


def test_what_a_lock_has_accepted_is_told_and_not_asked_about() -> None:
    rules = CapabilityRules(TrustSettings(ask=("network",), deny=("unpickling",)))
    old = {"p.py": b""}
    new = {"p.py": b"import socket\nsocket.socket()\n"}
    with pytest.raises(PhotonCapabilityError):
        rules.examine("p", ["p"], old, new)
    [found] = rules.examine("p", ["p"], old, new, is_accepted=True)
    assert found.kind == "network"
    denied = {"p.py": b"import pickle\npickle.loads(b'')\n"}
    with pytest.raises(PhotonCapabilityError, match="unpickles"):
        rules.examine("p", ["p"], old, denied, is_accepted=True)


def test_settings_that_do_not_fit_are_named(tmp_path: Path) -> None:
    for table, words in (
        ({"asks": []}, "did you mean 'ask'"),
        ({"ask": "network"}, "'ask' is no list"),
        ({"ask": ["netwrok"]}, "did you mean 'network'"),
        ({"ask": ["network:function"]}, "'network:function'"),
        ({"accept": ["network"]}, "'accept' is no table"),
        ({"accept": {"geo": ["x"]}}, "'accept' has no kind 'x'"),
        ({"drift": 1}, "'drift' is neither"),
        ({"scan": "on"}, "'scan' is none of 'warn', 'accept'"),
        ({"scan-threshold": "x"}, "'scan-threshold' is no number"),
        ({"scan-threshold": True}, "'scan-threshold' is no number"),
        ({"scan-threshold": 7}, "no score from 0 to 1"),
        ({"scan-threshold": float("nan")}, "no score from 0 to 1"),
        ({"scanned": "abc"}, "'scanned' is no list"),
        ({"scanned": ["abc"]}, "no SHA-512"),
        ({"factor": 5}, "'factor' is no path"),
        ({"ask": 5}, "'ask' is no list"),
        ({"accept": {"geo": 5}}, "'accept' is no list"),
        ({"second-factor": "sms"}, "'fido', 'key', 'totp'"),
    ):
        with pytest.raises(TrustSettingsError, match="trust") as caught:
            luminal.Loader(trust=table)
        assert words in str(caught.value)
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.luminal]\ntrust = 3\n")
    with pytest.raises(TrustSettingsError, match="must be a table"):
        luminal.Loader(trust=file)
