"""What a user misspells is named, with its place and what may have been meant."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, cast

import pytest

import luminal
import luminal.blocking
from luminal.errors import PhotonNotFoundError, PhotonValidationError
from luminal.testing import Host

GEO = """
import luminal
import luminal.blocking

class Geo(luminal.IPhoton):
    photon_name = "geo"

    @luminal.hookimpl
    def locate(self, address): return "SE"
"""


class Specs:
    @luminal.hookspec
    def locate(self, address: str) -> str: ...  # type: ignore[empty-body]


def test_a_misspelt_photon_hook_argument_or_file(tmp_path: Path) -> None:
    with Host(tmp_path, hookspecs=[Specs]) as host:
        host.write("geo.py", GEO)
        host.run()
        with pytest.raises(PhotonNotFoundError, match="did you mean 'geo'"):
            host.reload("goe")
        with pytest.raises(PhotonNotFoundError, match="did you mean 'geo'"):
            host.unload("goe")
        hooks: Any = host.hooks(Specs)
        with pytest.raises(
            AttributeError, match="Specs specifies no hook 'loacte'; did"
        ):
            hooks.loacte(address="")
        assert copy.copy(hooks).locate(address="") == ["SE"]
        with pytest.raises(PhotonNotFoundError, match=r"did you mean '.*/geo.py'"):
            host.call(host.loader.load_photon(Path(host.path, "goe.py")))
        host.edit("geo.py", GEO.replace("address)", "adress)"))
        with pytest.raises(PhotonValidationError) as at_reload:
            host.reload("geo")
        assert host.hook.locate(address="") == ["SE"]
        host.unload("geo")
        with pytest.raises(PhotonValidationError) as at_start:
            host.run()
        for caught in (at_reload, at_start):
            text = str(caught.value)
            assert re.search(r"geo.py:\d", text), text
            assert "locate(address); did you mean 'address'?" in text


def test_a_misspelt_base_is_warned_of(tmp_path: Path) -> None:
    head = "import luminal\nfrom luminal import IPhoton as IPhotno\n"
    for name, base in (("a", "luminal.Iphoton"), ("b", "luminal.IPhotn")):
        (tmp_path / f"{name}.py").write_text(f"{head}class Geo({base}):\n    pass\n")
    (tmp_path / "c.py").write_text(f"{head}class Sun(IPhotno):\n    pass\n")
    (tmp_path / "d.py").write_text("from app import MyPhoton\nclass D(MyPhoton): ...\n")
    found = luminal.discover(tmp_path, group=None)
    assert [each.name for each in found] == ["Sun"]
    assert [Path(each.file).name for each in found.warnings] == ["a.py", "b.py"]
    for each in found.warnings:
        assert each.line == 3
        assert "did you mean 'IPhoton'" in each.hint


def test_misspelt_arguments_of_the_loader() -> None:
    with pytest.raises(TypeError, match=r"hookspecs=\[Specs\]"):
        luminal.Loader(hookspecs=cast(Any, Specs))


async def test_a_misspelt_photon_that_the_host_must_have(tmp_path: Path) -> None:
    (tmp_path / "geo.py").write_text(GEO)
    async with luminal.Loader(must_have=["goe"]) as loader:
        await loader.load(luminal.discover(tmp_path, group=None))
        with pytest.raises(PhotonNotFoundError, match="did you mean 'geo'"):
            await loader.start()


@pytest.mark.parametrize(
    "method", ["reload_photons", "unload_photons", "disable_photons", "enable_photons"]
)
async def test_one_name_in_place_of_many_is_refused(
    tmp_path: Path, method: str
) -> None:
    """It would be read letter by letter."""
    async with luminal.Loader() as loader:
        with pytest.raises(TypeError, match=r"=\['geo'\]"):
            await getattr(loader, method)("geo")
    with luminal.blocking.Loader() as plain:
        if hasattr(plain, method):
            with pytest.raises(TypeError, match=r"=\['geo'\]"):
                getattr(plain, method)("geo")
