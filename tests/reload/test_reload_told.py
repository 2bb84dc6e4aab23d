"""A save that was rejected: Handler, top, page, JSON and events say the same."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from luminal import Loader, LuminalError, discover
from luminal.cli._top import _why
from luminal.managers.status import report_of
from luminal.model import EventKind, OutcomeResult
from luminal.testing import AsyncHost
from luminal.web import snapshot_of
from tests.waiting import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Photons

pytestmark = pytest.mark.anyio


async def test_a_rejected_save_is_one_problem_everywhere(photons: Photons) -> None:
    """It is that of the generation that was not swapped in, until the next swap."""
    async with Loader() as loader:
        path = photons.photon("geo", "def start(self):\n    pass")
        (handler,) = await loader.load_photon(path)
        await handler.start()
        photons.photon("geo", "def start(self):\n    raise OSError('no')")
        with pytest.raises(LuminalError):
            await loader.reload_photon(path)
        event = next(e for e in loader.events.journal if e.kind is EventKind.REJECTED)
        assert event.generation == 2
        assert handler.number == 1
        problem = handler.problem
        assert problem is not None
        assert problem == event.problem
        assert problem.consequence == "still running generation 1"
        (outcome,) = loader.report
        assert (outcome.generation, outcome.problem) == (1, problem)
        report = json.loads(json.dumps(report_of(loader)))
        (row,) = report["photons"]
        assert row["problem"]["why"] == problem.why
        assert "could not be started" in _why(row)
        assert report["outcomes"][0]["problem"]["why"] == problem.why
        (photon,) = snapshot_of(loader).photons
        assert photon.problem == problem

        photons.photon("geo", "def start(self):\n    pass\n# well")
        await loader.reload_photon(path)
        assert handler.problem is None
        assert report_of(loader)["photons"][0]["problem"] is None
        assert snapshot_of(loader).photons[0].problem is None


async def test_still_running_is_said_of_what_runs(photons: Photons) -> None:
    """A photon that is only loaded, or has failed, is not running."""
    async with Loader() as loader:
        path = photons.photon("geo", "def start(self):\n    raise OSError")
        (handler,) = await loader.load_photon(path)
        photons.write("geo.py", "raise OSError")
        with pytest.raises(LuminalError, match="still loaded: generation 1"):
            await loader.reload_photon(path)
        with pytest.raises(LuminalError):
            await handler.start()
        with pytest.raises(LuminalError, match="its state is 'failed'") as caught:
            await loader.reload_photon(path)
        assert caught.value.consequence == "its state is 'failed'"


async def test_reports_of_a_start_say_started(photons: Photons) -> None:
    """What is started is loaded as well, and what failed is not."""
    photons.photon("bad", "def start(self):\n    raise OSError")
    photons.photon("good")
    async with Loader() as loader:
        loaded = await loader.load(discover(photons.path, group=None))
        assert [o.result for o in loaded] == [OutcomeResult.LOADED] * 2
        assert str(loaded) == "2 loaded, 0 skipped, 0 failed"
        started = await loader.start()
        assert [str(o.result) for o in started] == ["failed", "started"]
        assert [o.photon for o in started.started] == ["good"]
        assert [o.photon for o in started.loaded] == ["good"]
        assert str(started).startswith("1 started, 0 skipped, 1 failed\n")
        rows = json.loads(started.to_json())["photons"]
        assert [row["result"] for row in rows] == ["failed", "started"]
        assert [p.state for p in snapshot_of(loader).photons] == ["failed", "running"]


@pytest.mark.parametrize("where", ["photon", "helper"])
async def test_a_broken_save_that_is_undone_is_over(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No swap is needed: the problem is cleared, and an event says so."""
    caplog.set_level(logging.INFO, "luminal.watch")
    async with AsyncHost(tmp_path / "host") as host:
        host.write("pack/helper.py", "VALUE = 1\n")
        host.write(
            "pack/__init__.py",
            "import luminal\nfrom .helper import VALUE\n\n"
            "class Photon(luminal.IPhoton):\n    pass\n",
        )
        await host.watch()
        file = "pack/__init__.py" if where == "photon" else "pack/helper.py"
        good = (host.path / file).read_text()
        host.write(file, "raise OSError('broken')\n")
        await host.until("rejected", deadline=DEADLINE)
        handler = host.loader.photons["pack"]
        assert handler.problem is not None
        host.write(file, good)
        event = await host.until("recovered", deadline=DEADLINE)
        assert (event.photon, event.generation) == ("pack", 1)
        assert handler.problem is None
        assert report_of(host.loader)["photons"][0]["problem"] is None
        assert snapshot_of(host.loader).photons[0].problem is None
        assert not [e for e in host.events if e.kind is EventKind.SWAPPED]
