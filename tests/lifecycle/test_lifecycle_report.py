"""What a host reads in reports is what happened."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import luminal

if TYPE_CHECKING:
    from pathlib import Path

THREE = """
from luminal import IPhoton

class Good(IPhoton):
    photon_name = "good"

class Lonely(IPhoton):
    photon_name = "lonely"
    photon_requires = ("nobody",)

class Off(IPhoton):
    photon_name = "off"
    photon_enabled = False
"""

FAILS = """
from luminal import IPhoton

class Fails(IPhoton):
    photon_name = "fails"

    def start(self):
        raise ValueError("no")
"""


async def test_refused_and_disabled_photons_of_a_file_are_not_loaded_beside_a_good_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "three.py").write_text(THREE)

    async with luminal.Loader() as loader:
        report = await loader.load(luminal.discover(tmp_path, group=None))
        assert [o.photon for o in report.loaded] == ["good"]
        assert [o.photon for o in report.failed] == ["lonely"]
        assert [o.photon for o in report.skipped] == ["off"]
        assert list(loader.photons) == ["good"]
        await loader.reload_photon("good")
        assert list(loader.photons) == ["good"]


async def test_the_loaders_report_has_the_latest_outcome_of_every_photon(
    tmp_path: Path,
) -> None:
    (tmp_path / "three.py").write_text(THREE)
    (tmp_path / "fails.py").write_text(FAILS)

    async with luminal.Loader() as loader:
        await loader.load(luminal.discover(tmp_path, group=None))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            started = await loader.start()
        assert [o.photon for o in started.failed] == ["fails"]
        verdicts = {o.photon: str(o.result) for o in loader.report}
        assert verdicts == {
            "good": "started",
            "fails": "failed",
            "lonely": "failed",
            "off": "skipped",
        }
