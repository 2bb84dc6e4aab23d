"""What a second factor approves: the photons and files that an operation is about."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader, discover
from luminal.discovery import files_of, pack
from luminal.managers import Control, speak
from luminal.managers._guard import OperationGuard
from luminal.trust import Factors
from tests.distributions import photon_text

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
            challenge = guard.hold("roll-back", ["geo"], None)
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
