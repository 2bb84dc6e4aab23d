"""A hook of a photon that fails again and again is skipped, told, and tried again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from luminal import Loader, Quarantine, hookspec
from luminal.cli._top import _row
from luminal.managers.status import status_of
from luminal.testing import FakeClock
from luminal.web import render_page, snapshot_of

if TYPE_CHECKING:
    from tests.conftest import Photons

pytestmark = pytest.mark.anyio

HEAD = "from luminal import hookimpl\n"
BODY = """
fails = True

@hookimpl
def on_message(self):
    if self.fails:
        raise LookupError("on_message")
    return "bad"

@hookimpl
def on_other(self):
    return "other"
"""


class Specs:
    """One hook that goes on without who fails, and one that does not."""

    @hookspec(isolate=True)
    def on_message(self) -> None:
        """Say something."""

    @hookspec
    def on_other(self) -> None:
        """Say something else."""


@pytest.mark.parametrize("rounds", [0, 40], ids=["cold", "compiled"])
async def test_a_hook_is_skipped_told_and_tried_again(
    rounds: int, photons: Photons, caplog: pytest.LogCaptureFixture
) -> None:
    """After failures in a row only that hook is skipped, until it succeeds again."""
    clock = FakeClock(1000)
    async with Loader(hookspecs=[Specs], quarantine=3) as loader:
        loader.plugins.set_quarantine(Quarantine(3, 30), clock)
        (handler,) = await loader.load_photon(photons.photon("bad", BODY, HEAD))
        await handler.start()
        handler.instance.fails = False
        for _ in range(rounds):
            assert loader.hook.on_message() == ["bad"]
        handler.instance.fails = True
        for _ in range(5):
            assert loader.hook.on_message() == []
        assert loader.failures_of("bad") == {"hook": 3}
        assert loader.hook.on_other() == ["other"]
        kinds = [event.kind for event in loader.events.journal]
        assert kinds.count("quarantined") == 1
        event = loader.events.journal[-1]
        assert event.problem is not None
        assert (event.photon, event.generation) == ("bad", 1)
        assert event.problem.code == "LUM125"
        assert "LookupError: on_message" in event.problem.why
        assert any("skipped for 30 seconds" in r.getMessage() for r in caplog.records)

        assert handler.quarantined == ("on_message",)
        (row,) = json.loads(json.dumps(status_of(loader)))["photons"]
        assert row["quarantined"] == ["on_message"]
        assert _row(row, None)[1] == "quarantined"
        assert "quarantined: on_message" in render_page(snapshot_of(loader))

        clock.advance(31)
        for _ in range(5):
            assert loader.hook.on_message() == []
        assert loader.failures_of("bad") == {"hook": 4}
        clock.advance(31)
        handler.instance.fails = False
        for _ in range(max(rounds, 2)):
            assert loader.hook.on_message() == ["bad"]
        assert loader.events.journal[-1].kind == "released"
        assert handler.quarantined == ()


async def test_a_reload_ends_a_quarantine(photons: Photons) -> None:
    """A save is tried at once."""
    async with Loader(hookspecs=[Specs], quarantine=1) as loader:
        path = photons.photon("bad", BODY, HEAD)
        (handler,) = await loader.load_photon(path)
        await handler.start()
        assert loader.hook.on_message() == []
        assert handler.quarantined == ("on_message",)
        photons.photon("bad", BODY.replace("True", "False"), HEAD)
        await loader.reload_photon(path)
        assert loader.hook.on_message() == ["bad"]
        assert handler.quarantined == ()


async def test_failures_that_are_raised_count_as_well(photons: Photons) -> None:
    """A hook that is not isolated raises, until it is skipped."""
    body = BODY.replace('return "other"', 'raise LookupError("on_other")')
    async with Loader(hookspecs=[Specs], quarantine=2) as loader:
        (handler,) = await loader.load_photon(photons.photon("bad", body, HEAD))
        await handler.start()
        for _ in range(2):
            with pytest.raises(LookupError):
                loader.hook.on_other()
        assert loader.hook.on_other() == []
        assert handler.quarantined == ("on_other",)
        assert loader.failures_of("bad") == {}


async def test_photons_that_cannot_start_quarantine_nothing_of_luminals(
    photons: Photons,
) -> None:
    """The life-cycle hooks are implemented by Luminal itself."""
    async with Loader(quarantine=1, suppress_errors=True) as loader:
        for number in range(3):
            photons.photon(f"bad{number}", "def start(self):\n    raise OSError")
        photons.photon("good", "def start(self):\n    self.has_started = True")
        handlers = await loader.load_photons(photons.path)
        await handlers.start()
        assert loader.photons["good"].instance.has_started


@pytest.mark.parametrize("wrong", [-1, Quarantine(0), Quarantine(3, 0)])
def test_settings_that_make_no_sense_are_refused(wrong: Quarantine | int) -> None:
    """They are no way to switch it off."""
    with pytest.raises(ValueError, match="not a number"):
        Loader(quarantine=wrong)
