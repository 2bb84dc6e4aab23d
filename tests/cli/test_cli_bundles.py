"""Keys, bundles, signatures and kill lists on the command line."""

from __future__ import annotations

import shlex
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luminal.cli._main import run
from luminal.trust import SecretKey
from tests.cli.terminal import Said, Terminal

WEATHER = """\
from luminal import IPhoton, hookimpl

class Weather(IPhoton):
    photon_version = "1.0"

    @hookimpl
    def who(self):
        return "weather"
"""


class Here:
    """Runs ``luminal`` in this process, in a directory of the test's own."""

    def __init__(self, place: Path, capsys: Any) -> None:
        self.place = place
        self._capsys = capsys

    def luminal(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        code = run(arguments)
        return Said(*self._capsys.readouterr(), code)


@pytest.fixture
def weather(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Here:
    (terminal.place / "weather").mkdir()
    (terminal.place / "weather" / "__init__.py").write_text(WEATHER)
    monkeypatch.chdir(terminal.place)
    monkeypatch.setenv("HOME", terminal.env["HOME"])
    monkeypatch.setenv("LUMINAL_CACHE_DIR", terminal.env["LUMINAL_CACHE_DIR"])
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(terminal.place / "state"))
    return Here(terminal.place, capsys)


def answer(terminal: Here, *arguments: str, code: int = 0) -> Any:
    said = terminal.luminal(*arguments, "--json")
    assert said.code == code, said
    return said.json()


def test_what_the_commands_print(
    weather: Here, record: Callable[[str, str], None]
) -> None:
    """Ed25519 and bundles are deterministic: the same keys give the same bytes."""
    for number, name in enumerate(["default", "ben"]):
        secret = SecretKey(Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))
        secret.save(str(weather.place / "state" / "keys" / f"{name}.key"))
        key = secret.public
    for name, *arguments in (
        ("key", "key", "show"),
        ("key-taken", "key", "new"),
        ("key-json", "key", "show", "ben", "--json"),
        ("pack", "pack", "weather"),
        ("pack-json", "pack", "weather", "--expires", "2099-01-31", "--json"),
        ("pack-none", "pack", "wether"),
        ("sign", "sign", "weather-1.0.photon"),
        ("sign-json", "sign", "weather-1.0.photon", "--key", "ben", "--json"),
        ("verify", "verify", "weather-1.0.photon", "--key", key),
        ("verify-json", "verify", "weather-1.0.photon", "--key", key, "--json"),
        ("verify-unknown", "verify", "weather-1.0.photon", "--key", "ab" * 31 + "03"),
        ("inspect-bundle", "inspect", "weather-1.0.photon", "--no-installed"),
        ("unpack", "unpack", "weather-1.0.photon"),
        ("unpack-json", "unpack", "weather-1.0.photon", "--to", "other", "--json"),
        ("kill", "kill", "weather==2.0", "--why", "it leaks"),
        ("kill-json", "kill", "weather==2.1", "--json"),
    ):
        record(name, weather.luminal(*arguments).as_text(*arguments))


def test_a_bundle_from_packing_to_verifying(weather: Here, terminal: Terminal) -> None:
    one = answer(weather, "key", "new", "anna")
    two = answer(weather, "key", "new", "ben")
    if sys.platform != "win32":
        assert stat.S_IMODE(Path(one["file"]).stat().st_mode) == 0o600
    assert answer(weather, "key", "new", "anna", code=1)  # never written over
    packed = answer(weather, "pack", "weather", "--key", "anna")
    assert packed["file"] == "weather-1.0.photon"
    keys = ["--key", one["key"], "--key", two["key"]]
    answer(weather, "verify", packed["file"], *keys, code=1)
    assert answer(weather, "sign", packed["file"], "--key", "ben")["signatures"] == 2
    verified = answer(weather, "verify", packed["file"], *keys)
    assert sorted(verified["keys"]) == sorted([one["key"], two["key"]])
    twice = ["--key", one["key"], "--key", one["key"].upper(), "--threshold", "2"]
    answer(weather, "verify", packed["file"], *twice, code=1)
    # What shows photons shows those of bundles.
    file = packed["file"]
    shown = answer(weather, "inspect", file, "--no-installed")["photons"][0]
    assert (shown["name"], shown["source"]) == ("Weather", "bundle")
    assert [hook["hook"] for hook in shown["hooks"]] == ["who"]
    assert "signed by" in weather.luminal("inspect", file, "--no-installed").out
    # It ends its process.
    assert terminal.luminal("check", file, "--no-installed").code == 0
    assert weather.luminal("order", "--hook", "who", file, "--no-installed").code == 0
    # A changed byte is named.
    path = weather.place / file
    path.write_bytes(path.read_bytes().replace(b'return "w', b'return "W'))
    said = weather.luminal("inspect", file, "--no-installed")
    assert said.code == 1
    assert "weather/__init__.py" in said.err + said.out


def test_unpacking_writes_all_or_nothing(weather: Here) -> None:
    file = answer(weather, "pack", "weather")["file"]
    unpacked = answer(weather, "unpack", file)
    assert "weather/__init__.py" in unpacked["files"]
    inside = weather.place / "weather-1.0" / "weather" / "__init__.py"
    assert inside.read_text() == WEATHER
    assert weather.luminal("unpack", file).code == 2  # it exists
    path = weather.place / file
    path.write_bytes(path.read_bytes()[:-1])
    before = sorted(weather.place.iterdir())
    assert weather.luminal("unpack", file, "--to", "other").code == 1
    assert sorted(weather.place.iterdir()) == before


def test_a_sealed_bundle_is_for_its_recipients(
    weather: Here, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient = answer(weather, "key", "new", "--host")["key"]
    answer(weather, "key", "new")
    answer(weather, "pack", "weather", "--key", "default", "-o", "w.photon")
    sealed = answer(weather, "pack", "w.photon", "--seal-to", recipient)["file"]
    assert WEATHER.encode() not in (weather.place / sealed).read_bytes()
    shown = answer(weather, "list", sealed, "--no-installed")
    assert shown["photons"][0]["name"] == "Weather"
    said = weather.luminal("sign", sealed)
    assert said.code == 1
    assert "sign it first" in said.err
    # Its name is part of what is sealed.
    path = weather.place / sealed
    path.write_bytes(path.read_bytes().replace(b'"1.0"', b'"9.0"', 1))
    assert "was changed" in weather.luminal("list", sealed, "--no-installed").err
    # A setting names the key as well.
    text = '[tool.luminal]\nhost-key = "none.key"\n'
    (weather.place / "pyproject.toml").write_text(text)
    terminal.env["LUMINAL_STATE_DIR"] = str(weather.place / "state")
    assert "none.key" in terminal.luminal("list", sealed, "--no-installed").err
    monkeypatch.setenv("LUMINAL_HOST_KEY", str(weather.place / "none.key"))
    said = weather.luminal("inspect", sealed, "--no-installed")
    assert said.code == 1
    assert "luminal key new --host" in said.err + said.out


def test_a_passphrase_and_a_rotation(
    weather: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUMINAL_KEY_PASSPHRASE", "correct horse")
    old = answer(weather, "key", "new", "old", "--passphrase")
    new = answer(weather, "key", "new", "new")["key"]
    rotation = answer(weather, "key", "rotate", "old", "--to", new)
    file = answer(weather, "pack", "weather", "--key", "new")["file"]
    answer(weather, "verify", file, "--key", old["key"], code=1)
    assert answer(weather, "key", "accept", rotation["file"])["is_new"]
    answer(weather, "verify", file, "--key", old["key"])
    monkeypatch.setenv("LUMINAL_KEY_PASSPHRASE", "wrong")
    said = weather.luminal("sign", file, "--key", "old")
    assert said.code == 1
    assert "passphrase" in said.err


def test_a_kill_list_is_numbered_and_signed(weather: Here) -> None:
    key = answer(weather, "key", "new")["key"]
    assert answer(weather, "kill", "weather==2.0", "--why", "leaks")["number"] == 1
    assert answer(weather, "kill", "tides >= 1, < 2")["number"] == 2
    answer(weather, "verify", "kill-list.json", "--key", key)
    (weather.place / "kill-list.json").write_text("<<<<<<<")
    assert weather.luminal("kill", "more").code == 1
    assert weather.luminal("kill").code == 2


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("key", 2, "Missing argument"),
        ("key nwe", 2, "is not one of"),
        ("key accept", 2, "needs the file"),
        ("key accept rotation.json", 3, "is not there"),
        ("key rotate anna", 2, "needs --to"),
        ("key rotate anna --to ben", 1, "'ben' is no key"),
        ("key rotate anna --to ANNA", 1, "hand over to itself"),
        ("key new ''", 2, "use letters"),
        ("key new anna", 1, "is a key already"),
        ("key show linked", 1, "it is a link"),
        ("key show broken", 1, "take it from a backup"),
        ("sign weather.photon --key ana", 1, "there is no such key"),
        ("sign weather.phton --key anna", 3, "did you mean 'weather.photon'"),
        ("verify weather.photon", 2, "there is no luminal.lock"),
        ("verify weather.photon --lock none.lock", 2, "none.lock lists none"),
        ("verify weather.photon --key ANNA --threshold 2", 1, "1 different keys"),
        ("verify weather.photon --key ANNA --threshold 0", 1, "the threshold is 0"),
        ("pack weather --version one", 1, "Invalid version: 'one'"),
        ("pack weather --name ../x", 1, "not fit for a file"),
        ("pack weathr", 3, "is not there"),
        ("pack weather --expires soon", 2, "does not match"),
        ("unpack weather", 1, "Is a directory"),
        ("kill", 2, "Name what must not run"),
        ("kill weather==", 2, "Invalid specifier"),
        ("kill weather=1", 2, "Invalid specifier"),
        ("kill 'weather @ http://x'", 2, "is not NAME"),
        ("kill weather[fast]==1", 2, "is not NAME"),
    ],
)
def test_wrong_words_are_answered_in_a_line(
    weather: Here, words: str, code: int, text: str
) -> None:
    anna = answer(weather, "key", "new", "anna")
    assert weather.luminal("pack", "weather", "-o", "weather.photon").code == 0
    keys = Path(anna["file"]).parent
    (keys / "linked.key").symlink_to("anna.key")
    (keys / "broken.key").write_text(Path(anna["file"]).read_text()[:40])
    (keys / "broken.key").chmod(0o600)
    (weather.place / "none.lock").write_text('version = 1\nmode = "pin"\n')

    def present() -> dict[str, bytes]:
        files = (each for each in weather.place.rglob("*") if each.is_file())
        return {str(each): each.read_bytes() for each in files}

    before = present()
    said = weather.luminal(*shlex.split(words.replace("ANNA", anna["key"])))
    assert said.code == code, said
    assert text in said.err.replace("\n", " "), said.err
    assert "Traceback" not in said.err
    assert present() == before
