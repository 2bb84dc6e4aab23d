"""What a second factor approves: the photons and files that an operation is about."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader, discover
from luminal.discovery import files_of, pack
from luminal.errors import SecondFactorError
from luminal.managers import Control, speak
from luminal.managers._guard import OperationGuard
from luminal.trust import AuditLog, Factors, SecretKey
from tests.distributions import photon_text, put

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="hosts are asked on Unix sockets"
)
HELPED = "from .helper import VALUE\n" + photon_text("geo", "1.0")


def packed(place: Path, version: str) -> bytes:
    package = place / "source" / "blue"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(photon_text("blue", version))
    (package / "data.txt").write_text(version)
    return pack(package, version="1.0").data()


async def test_a_challenge_names_what_the_operation_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photons = tmp_path / "photons"
    photons.mkdir()
    (photons / "helper.py").write_text("VALUE = 1\n")
    (photons / "geo.py").write_text(HELPED)
    bundle = photons / "blue.photon"
    bundle.write_bytes(packed(tmp_path, "1.0"))
    Factors(str(tmp_path / "factors.json"), keys={"ann": "ab" * 32}).write()
    trust = {"second-factor": "key", "factor": str(tmp_path / "factors.json")}
    with tempfile.TemporaryDirectory(prefix="lum-") as sockets:
        monkeypatch.setenv("LUMINAL_RUNTIME_DIR", sockets)
        async with Loader(trust=trust) as loader:
            await loader.load(discover(photons, index=False))
            control = Control(loader)
            path = control.start(asyncio.get_running_loop())

            async def asked(ask: str, *names: object) -> Any:
                request = {"ask": ask, "photons": list(map(str, names))}
                answer = await asyncio.to_thread(speak, path, request)
                assert answer is not None
                return answer.get("challenge", answer)

            geo = (await asked("reload", "geo"))["photons"]
            assert [each["name"] for each in geo] == ["geo"]
            assert geo[0]["generation"] == 1
            # By whatever name the operation would find it.
            for name in (photons / "geo.py", photons / ".." / "photons" / "geo.py"):
                assert (await asked("reload", name))["photons"] == geo
                [left] = (await asked("unload", name))["photons"]
                assert (left["name"], left["generation"]) == ("geo", 1)
            # A helper's text is run, too.
            (photons / "helper.py").write_text("VALUE = 2\n")
            assert (await asked("reload", "geo"))["photons"] != geo
            # All of a bundle counts.
            blue = (await asked("reload", "blue"))["photons"]
            bundle.write_bytes(packed(tmp_path, "2.0"))
            assert (await asked("reload", "blue"))["photons"] != blue
            # What this host cannot do is not approved either.
            assert await asked("accept", "geo") == {"refused": "unknown request"}
            control.stop()


def test_what_is_in_a_bundle_is_read_for_profiles_and_scores(tmp_path: Path) -> None:
    path = tmp_path / "blue.photon"
    path.write_bytes(packed(tmp_path, "1.0"))
    text = photon_text("blue", "1.0").encode()
    assert files_of(str(path)) == {"blue/__init__.py": text}
    path.write_bytes(b"PK")
    assert files_of(str(path)) == {}


async def test_a_roll_back_is_approved_for_the_files_that_it_returns_to(
    tmp_path: Path,
) -> None:
    geo, helper = tmp_path / "geo.py", tmp_path / "helper.py"
    helper.write_text("VALUE = 1\n")
    geo.write_text(HELPED)
    factors = str(tmp_path / "factors.json")
    Factors(factors, keys={"ann": "ab" * 32}).write()
    trust = {"second-factor": "key", "factor": factors}
    async with Loader(trust=trust) as loader:
        await loader.load(discover(tmp_path, index=False))
        await loader.start()
        guard = OperationGuard(loader, "page")

        def asked() -> str:
            challenge = guard.hold("roll-back", ["geo"], None).challenge
            assert challenge is not None
            [subject] = challenge["photons"]
            assert subject["digest"] != loader.photons["geo"].checksum
            return str(subject["digest"])

        digests = []
        for number in (2, 3, 2):
            helper.write_text(f"VALUE = {number}\n")
            await loader.reload_photons(["geo"])
            digests.append(asked())
        # The text of the photon is the same each time; a helper's counts.
        assert len(set(digests)) == 3
        helper.write_text("VALUE = 1\n")
        assert asked() == digests[-1]  # what is on the disk does not run
        await loader.roll_back("geo")  # to 3, so that 2 is what would run next
        assert asked() == digests[1]


HELPER = "import sys\nsys.planted = 'ran'\nVALUE = 2\n"


def beside(place: Path) -> None:
    (place / "photons" / "helper.py").write_text(HELPER)


def in_the_photon(place: Path) -> None:
    (place / "photons" / "geo.py").write_text(HELPER + HELPED)


def in_a_bundle(place: Path) -> None:
    (place / "photons" / "blue.photon").write_bytes(packed(place, HELPER))


def in_a_distribution(place: Path) -> None:
    text = HELPER + photon_text("sun", "2.0")
    put(place / "site", "sun", "2.0", files={"sun/__init__.py": text})


def of_a_new_helper(place: Path) -> None:
    (place / "photons" / "newer.py").write_text(HELPER)


def by_a_new_link(place: Path) -> None:
    (place / "photons" / "helper.py").unlink()
    (place / "other.py").write_text(HELPER)
    os.symlink(place / "other.py", place / "photons" / "helper.py")


def reloaded(
    path: str, names: list[str], secret: SecretKey, ask: str = "reload"
) -> dict[str, Any]:
    """Ask for an operation, and answer its challenge."""
    request: dict[str, Any] = {"ask": ask, "photons": names}
    asked = (speak(path, request) or {})["challenge"]
    signature = secret.sign(bytes.fromhex(asked["digest"]))
    request["answer"] = {"nonce": asked["nonce"], "signature": signature}
    return speak(path, request) or {}


def guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Any
) -> tuple[Path, Path, dict[str, str], SecretKey]:
    """Make photons of a host with a second factor.

    Args:
        exchange: Called with *tmp_path* when an operation has been approved, or None.

    Returns:
        Their directory; another one for distributions; the host's settings; the key.
    """
    monkeypatch.delattr(sys, "planted", raising=False)
    photons, site = tmp_path / "photons", tmp_path / "site"
    photons.mkdir()
    site.mkdir()
    put(site, "sun", "1.0")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path))
    (photons / "helper.py").write_text("VALUE = 1\n")
    (photons / "geo.py").write_text(HELPED)
    (photons / "blue.photon").write_bytes(packed(tmp_path, "1.0"))
    secret = SecretKey.new()
    factors = str(tmp_path / "factors.json")
    Factors(factors, keys={"ann": secret.public}).write()
    append = AuditLog.append

    def approved(self: AuditLog, *arguments: Any) -> None:
        append(self, *arguments)
        if exchange is not None:
            exchange(tmp_path)

    monkeypatch.setattr(AuditLog, "append", approved)
    return photons, site, {"second-factor": "key", "factor": factors}, secret


EXCHANGED = [  # how, in which photon, and which file is named
    (beside, "geo", "helper.py"),
    (in_the_photon, "geo", "geo.py"),
    (in_a_bundle, "blue", "blue.photon"),
    (in_a_distribution, "sun", "__init__.py"),
]


@pytest.mark.parametrize(
    "case",
    [
        *EXCHANGED,
        (of_a_new_helper, "geo", "newer.py"),
        (by_a_new_link, "geo", "helper.py"),
        (None, "geo", ""),
        (None, "blue", ""),
        (None, "sun", ""),
        (None, "all", ""),
    ],
)
async def test_a_file_that_changes_after_the_approval_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Any, str, str]
) -> None:
    exchange, name, file = case
    photons, site, trust, secret = guarded(tmp_path, monkeypatch, exchange)
    (photons / "user.py").write_text(HELPED.replace("geo", "user"))
    with tempfile.TemporaryDirectory(prefix="lum-") as sockets:
        monkeypatch.setenv("LUMINAL_RUNTIME_DIR", sockets)
        async with Loader(trust=trust) as loader:
            found = discover(photons, path=[site], index=False)
            assert len((await loader.load(found)).loaded) == 4
            control = Control(loader)
            path = control.start(asyncio.get_running_loop())
            # All change before they are approved; a new helper is imported as well.
            (photons / "newer.py").write_text("VALUE = 3\n")
            (photons / "geo.py").write_text("from .newer import VALUE\n" + HELPED)
            (photons / "helper.py").write_text("VALUE = 2\n")
            (photons / "blue.photon").write_bytes(packed(tmp_path, "2.0"))
            put(site, "sun", "1.1")
            names = [] if name == "all" else [name]
            answer = await asyncio.to_thread(reloaded, path, names, secret)
            control.stop()
            numbers = {n: handler.number for n, handler in loader.photons.items()}
    assert not hasattr(sys, "planted")
    if exchange is None:
        assert not answer["failures"], answer
        wanted = {"all": ["blue", "geo", "sun", "user"], "geo": ["geo", "user"]}
        assert sorted(n for n in numbers if numbers[n] == 2) == wanted.get(name, [name])
    else:
        [failure] = answer["failures"]
        problem = failure["problem"]
        assert problem["code"] == "LUM136", problem
        assert problem["file"].endswith(file)
        assert "not what was approved" in problem["what"]
        assert set(numbers.values()) == {1}


@pytest.mark.parametrize(
    "case",
    [
        *EXCHANGED,
        (by_a_new_link, "geo", "helper.py"),
        (None, "geo", ""),
        (None, "blue", ""),
        (None, "sun", ""),
        (None, "own", ""),
        (None, "all", ""),
    ],
)
async def test_what_is_enabled_is_what_was_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Any, str, str]
) -> None:
    exchange, name, file = case
    photons, site, trust, secret = guarded(tmp_path, monkeypatch, exchange)
    files = {"bridgelib/__init__.py": "VALUE = 1\n"}
    put(site, "bridgelib", "1.0", files=files, entries="")
    own = "import bridgelib\n" + photon_text("own", "1.0")
    (photons / "own.py").write_text(own + "    photon_owns = ['bridgelib']\n")
    with tempfile.TemporaryDirectory(prefix="lum-") as sockets:
        monkeypatch.setenv("LUMINAL_RUNTIME_DIR", sockets)
        async with Loader(trust=trust) as loader:
            await loader.load(discover(photons, path=[site], index=False))
            names = [*loader.photons]
            assert sorted(names) == ["blue", "geo", "own", "sun"]
            await loader.disable_photons(names)
            control = Control(loader)
            path = control.start(asyncio.get_running_loop())
            asked = [] if name == "all" else [name]
            answer = await asyncio.to_thread(reloaded, path, asked, secret, "enable")
            control.stop()
            running, disabled = set(loader.photons), set(loader.disabled)
    assert not hasattr(sys, "planted")
    if exchange is None:
        assert not answer["failures"], answer
        assert running == ({*names} if name == "all" else {name})
    else:
        [failure] = answer["failures"]
        assert failure["problem"]["code"] == "LUM136", failure
        assert failure["problem"]["file"].endswith(file)
        assert (running, disabled) == (set(), {*names})


@pytest.mark.parametrize("what", ["nothing", "swap", "user", "unloaded"])
async def test_a_roll_back_returns_to_what_was_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.delattr(sys, "planted", raising=False)
    geo, user = tmp_path / "geo.py", tmp_path / "user.py"
    older, helper = tmp_path / "older.py", tmp_path / "helper.py"
    older.write_text("VALUE = 0\n")
    helper.write_text("VALUE = 1\n")
    geo.write_text("from .older import VALUE\n" + photon_text("geo", "1"))
    user.write_text("from .geo import VALUE\n" + photon_text("user", "1"))
    factors = str(tmp_path / "factors.json")
    Factors(factors, keys={"ann": "ab" * 32}).write()
    trust = {"second-factor": "key", "factor": factors}
    async with Loader(trust=trust) as loader:
        await loader.load(discover(tmp_path, index=False))
        await loader.start()
        geo.write_text(HELPED)  # it needs no older.py any more
        await loader.reload_photon("geo")
        user.write_text("from .geo import VALUE\n" + photon_text("user", "2"))
        await loader.reload_photon("user")
        guard = OperationGuard(loader, "page")
        # As for an answer that was right.
        monkeypatch.setattr(type(guard._factor), "check", lambda *_: "ann")
        permit = guard.hold("roll-back", ["geo"], {})
        if what == "swap":
            geo.write_text(HELPED.replace("VALUE\n", "VALUE as X\nVALUE = 4\n"))
            await loader.reload_photon("geo")
        elif what != "nothing":
            {"user": user, "unloaded": older}[what].write_text(HELPER)
        if what == "nothing":
            await loader._roll_back("geo", permit.files)
            assert loader.photons["geo"].number == 3
        else:
            with pytest.raises(SecondFactorError, match="not what was approved"):
                await loader._roll_back("geo", permit.files)
        assert loader.photons["user"].number >= 2
    assert not hasattr(sys, "planted")


async def test_what_a_lock_keeps_is_enabled_where_another_version_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, lock = tmp_path / "site", tmp_path / "luminal.lock"
    site.mkdir()
    put(site, "sun", "1.0")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    lock.write_text('version = 1\nmode = "pin"\n')
    async with Loader(lock=lock) as loader:
        await loader.load(discover(path=[site], index=False))
    put(site, "sun", "2.0")  # nobody has accepted it
    factors = str(tmp_path / "factors.json")
    Factors(factors, keys={"ann": "ab" * 32}).write()
    trust = {"second-factor": "key", "factor": factors}
    async with Loader(lock=lock, trust=trust) as loader:
        await loader.load(discover(path=[site], index=False))
        guard = OperationGuard(loader, "socket")
        monkeypatch.setattr(type(guard._factor), "check", lambda *_: "ann")
        kept = loader.photons["sun"].filepath
        assert kept.startswith(str(tmp_path / "state"))
        for _ in range(2):
            await loader.disable_photons(["sun"])
            permit = guard.hold("enable", ["sun"], {})
            assert kept in (permit.files or {})
            await loader._enable(["sun"], permit.files)
            assert loader.photons["sun"].filepath == kept
        await loader.disable_photons(["sun"])
        with pytest.raises(SecondFactorError):
            await loader._enable(["sun"], {})
        await loader.enable_photons(["sun"])
        candidate = loader.photons["sun"].candidate
        assert candidate is not None
        assert candidate.version == "1.0"
