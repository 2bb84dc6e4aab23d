"""The host's version of its API counts wherever a loader itself looks for photons."""

from __future__ import annotations

from pathlib import Path

import pytest

import luminal
from luminal.errors import PhotonDependencyError
from tests.distributions import photon_text, put


def asking(name: str, version: str, api: str) -> str:
    return photon_text(name, version) + f"    photon_api = {api!r}\n"


async def test_an_upgrade_for_another_host_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def install(version: str, api: str) -> None:
        text = asking("apigeo", version, api)
        put(tmp_path, "apigeo", version, files={"apigeo/__init__.py": text})

    install("1.0", ">=1")
    found = luminal.discover(api_version="1.5", path=[tmp_path], index=False)
    async with luminal.Loader(suppress_errors=True) as loader:
        await loader.load(found)
        await loader.start()
        install("2.0", ">=2")
        with pytest.raises(PhotonDependencyError, match="host's API"):
            await loader.reload_photons(["apigeo"])
        handler = loader.photons["apigeo"]
        assert handler.candidate is not None
        assert handler.candidate.version == "1.0"
        install("3.0", "<2")
        await loader.reload_photons(["apigeo"])
        assert handler.problem is None
        assert handler.candidate.version == "3.0"


async def test_new_files_for_another_host_are_rejected(tmp_path: Path) -> None:
    first = tmp_path / "first.py"
    first.write_text(asking("first", "1.0", ">=1"))
    async with luminal.Loader() as loader:
        found = luminal.discover(tmp_path, group=None, api_version="1.5")
        await loader.load(found[:1])
        await loader.start()
        for name, api in (("other", ">=2"), ("right", "<2")):
            (tmp_path / f"{name}.py").write_text(asking(name, "1.0", api))
        with pytest.raises(PhotonDependencyError, match="host's API"):
            await loader.load_photon(tmp_path / "other.py")
        await loader.watch_photons(tmp_path)
        assert {*loader.photons} == {"first", "right"}
    async with luminal.Loader() as loader:
        await loader.load(found[:0])
        with pytest.raises(PhotonDependencyError, match="host's API"):
            await loader.load_photons(tmp_path)
