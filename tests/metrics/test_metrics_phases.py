"""The phases of loads and swaps: which there were, and how long each took."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from luminal import Loader, discover, hookspec
from luminal._phases import PHASES, Stopwatch, phase
from luminal.discovery import pack
from luminal.errors import LuminalError
from luminal.metrics import snapshot, to_text
from luminal.model import Event, EventKind
from luminal.testing import Host
from tests.waiting import DEADLINE

HELPER = "VALUE = {}\n"
GEO = """
from luminal import IPhoton, hookimpl
from .helper import VALUE

class Photon(IPhoton):
    photon_name = "geo"

    def start(self):
        pass

    def finalize(self):
        pass

    @hookimpl
    def locate(self, place):
        return VALUE
"""
LOADED = {"read", "hash", "compile", "execute"}
PLAIN = GEO.replace("from .helper import VALUE", "import sys\nVALUE = 1")


class Specification:
    @hookspec
    def locate(self, place: str) -> Any: ...


def write(host: Host, number: int) -> None:
    host.write("geo/helper.py", HELPER.format(number))
    host.write("geo/__init__.py", GEO)


def last(host: Host, kind: EventKind) -> Event:
    return [event for event in host.events if event.kind is kind][-1]


def steps(loader: Loader) -> dict[tuple[str, str], int]:
    """Return (step, phase) → how often it was measured."""
    return {(row.step, row.phase): row.count for row in snapshot(loader).phases}


def test_a_load_and_a_swap_say_how_long_each_phase_took() -> None:
    with Host(hookspecs=[Specification]) as host:
        write(host, 1)
        host.run()
        loaded, started = last(host, EventKind.LOADED), last(host, EventKind.STARTED)
        assert loaded.phases.keys() == LOADED
        assert started.phases.keys() == {"start"}
        handler = host.loader.photons["geo"]
        assert handler.phases == {**loaded.phases, **started.phases}
        write(host, 2)
        host.reload("geo")
        swapped = last(host, EventKind.SWAPPED)
        assert swapped.phases.keys() == LOADED | {"start", "commit"}
        assert [*swapped.phases] == [p for p in PHASES if p in swapped.phases]
        assert all(seconds > 0 for seconds in swapped.phases.values())
        # They do not overlap: a helper's import is no part of the photon's execution.
        assert sum(swapped.phases.values()) <= swapped.seconds
        assert handler.phases == swapped.phases
        host.until(EventKind.FINALIZED)
        assert last(host, EventKind.DRAINED).phases.keys() == {"drain"}
        assert last(host, EventKind.FINALIZED).phases.keys() == {"finalize"}
        [outcome] = host.loader.report
        assert outcome.phases == swapped.phases
        [row] = json.loads(host.loader.report.to_json())["photons"]
        assert row["phases"] == swapped.phases
        assert attrs.asdict(swapped)["phases"] == swapped.phases
        hash(swapped)


def test_the_totals_count_each_step_once() -> None:
    """Whatever number of photons a file has: of a swap all are one step."""
    two = GEO + GEO.replace('"geo"', '"two"').replace("class Photon", "class Two")
    with Host(hookspecs=[Specification]) as host:
        host.write("geo/helper.py", HELPER.format(1))
        host.write("geo/__init__.py", two)
        host.run()
        counts = steps(host.loader)
        assert counts["load", "execute"] == 1
        assert counts["load", "start"] == 2
        for number in (2, 3):
            host.write("geo/helper.py", HELPER.format(number))
            host.reload("geo")
        host.unload("geo")
        counts = steps(host.loader)
        assert {counts["swap", each] for each in (*LOADED, "start", "commit")} == {2}
        assert {counts["swap", each] for each in ("drain", "finalize")} == {4}
        assert counts["unload", "finalize"] == 2
        text = to_text(snapshot(host.loader))
    assert 'luminal_swap_phase_seconds_count{host="",phase="execute"} 2' in text
    assert 'luminal_load_phase_seconds_count{host="",phase="start"} 2' in text
    assert 'luminal_unload_phase_seconds_count{host="",phase="finalize"} 2' in text
    assert 'luminal_drain_seconds_count{host=""} 4' in text


def test_the_end_of_an_exclusive_photon_is_a_part_of_its_swap() -> None:
    with Host() as host:
        exclusive = PLAIN + "    photon_exclusive = True\n"
        host.write("geo.py", exclusive)
        host.run()
        host.write("geo.py", exclusive + "    A = 1\n")
        host.reload("geo")
        swapped = last(host, EventKind.SWAPPED)
        assert swapped.phases.keys() == LOADED | {"start", "commit", "finalize"}
        counts = steps(host.loader)
        assert counts["swap", "finalize"] == 1
        assert ("unload", "finalize") not in counts


def test_a_rejected_swap_says_how_far_it_came() -> None:
    with Host() as host:
        host.write("geo.py", GEO.replace("from .helper import VALUE", ""))
        host.run()
        host.write("geo.py", "def (\n")
        with pytest.raises(LuminalError):
            host.reload("geo")
        rejected = last(host, EventKind.REJECTED)
        assert rejected.phases.keys() == {"read", "hash", "compile"}
        assert steps(host.loader)["swap", "compile"] == 1
        assert ("swap", "commit") not in steps(host.loader)


async def test_the_judge_and_the_profile_are_phases_of_their_own(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "luminal.lock"
    lock.write_text('version = 1\nmode = "pin"\n')
    photons = tmp_path / "photons"
    (photons / "geo").mkdir(parents=True)
    (photons / "geo" / "__init__.py").write_text(PLAIN)
    path = photons / "geo.photon"
    path.write_bytes(pack(photons / "geo", version="1.0").data())
    (photons / "geo" / "__init__.py").unlink()
    async with Loader(lock=lock, trust={"drift": True}) as loader:
        await loader.load(discover(photons, group=None))
        phases = loader.photons["geo"].phases
        assert phases.keys() == LOADED | {"verify", "scan"}
        assert all(seconds > 0 for seconds in phases.values())
        assert steps(loader)["load", "verify"] == 1
        assert steps(loader)["load", "scan"] == 1


async def test_what_was_discovered_and_what_a_watch_read_is_counted(
    tmp_path: Path,
) -> None:
    (tmp_path / "geo.py").write_text(GEO.replace("from .helper import VALUE", ""))
    async with Loader() as loader:
        await loader.load(discover(tmp_path, group=None))
        await loader.start()
        assert steps(loader)["load", "discover"] == 1
    async with Loader() as loader:
        swapped = asyncio.get_running_loop().create_future()

        def note(event: Event) -> None:
            if event.kind is EventKind.SWAPPED:
                loop.call_soon_threadsafe(swapped.set_result, event)

        loop = asyncio.get_running_loop()
        loader.events.subscribe(note)
        await loader.watch_photons(tmp_path)
        assert ("load", "discover") in steps(loader)
        (tmp_path / "geo.py").write_text(GEO.replace("from .helper import VALUE", "2"))
        event = await swapped
        assert event.phases.keys() >= {"read", "hash", "execute", "start", "commit"}


async def test_a_check_of_another_package_is_a_phase_at_once() -> None:
    """As the trust package has it: a phase that nobody has named before."""
    watch = Stopwatch()
    with watch.running(), phase("verify"):
        await asyncio.to_thread(_scan)
    with phase("scan"):
        pass  # no step is under way
    assert [*watch.seconds()] == ["verify", "scan"]


def _scan() -> None:
    with phase("scan"), pytest.raises(ValueError, match="x"), phase("scan"):
        raise ValueError("x")


def test_a_clock_that_jumps_back_makes_no_negative_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jumps = iter(range(10_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    with Host(hookspecs=[Specification]) as host:
        write(host, 1)
        host.run()
        host.hook.locate(place="here")
        write(host, 2)
        host.reload("geo")
        host.hook.locate(place="here")
        assert all(s >= 0 for e in host.events for s in (e.seconds, *e.phases.values()))
        numbers = snapshot(host.loader)
        assert all(row.seconds >= 0 for row in (*numbers.hooks, *numbers.phases))


def test_what_is_left_of_old_code_is_counted() -> None:
    with Host() as host:
        host.write("geo.py", PLAIN)
        host.run()
        assert snapshot(host.loader).old_generations == 0
        kept = [host["geo"]]
        for number in range(3):
            host.write("geo.py", PLAIN + f"# {number}\nX = {number}\n")
            host.reload("geo")
            kept.append(host["geo"])
            host.until(EventKind.FINALIZED)
        assert snapshot(host.loader).old_generations == 3
        kept.clear()
        gc.collect()
        assert snapshot(host.loader).old_generations == 0
        assert 'old_generations{host=""} 0' in to_text(snapshot(host.loader))


def test_changes_of_shared_state_are_counted_where_they_are_watched() -> None:
    with Host(footprint="restore") as host:
        host.write(
            "geo.py", PLAIN.replace("    pass\n", "    sys.path.append('/x')\n", 1)
        )
        host.run()
        assert snapshot(host.loader).shared_state_changes == {"sys.path": 1}
        text = to_text(snapshot(host.loader))
    assert 'shared_state_changes_total{host="",facet="sys.path"} 1' in text


async def test_a_task_that_a_swap_has_started_is_no_part_of_it(tmp_path: Path) -> None:
    """Whatever it does later is counted by itself."""
    (tmp_path / "rain.py").write_text(
        PLAIN.replace("geo", "rain").replace("def locate", "def rain")
    )
    file = tmp_path / "chief.py"
    file.write_text(CHIEF)
    host = Chief()
    async with Loader(host=host) as loader:
        host.loader = loader
        await loader.load_photons(tmp_path)
        await loader.start()
        file.write_text(CHIEF + "CHANGED = True\n")
        await loader.reload_photon("chief")
        host.is_free.set()
        async with asyncio.timeout(DEADLINE):
            await host.is_done.wait()
        assert "rain" not in loader.photons
        assert ("unload", "finalize") in steps(loader)


class Chief:
    """A host that lets a photon unload another one."""

    loader: Loader

    def __init__(self) -> None:
        self.is_free = asyncio.Event()
        self.is_done = asyncio.Event()

    async def unload(self) -> None:
        await self.is_free.wait()
        if not self.is_done.is_set():
            await self.loader.unload_photon("rain")
            self.is_done.set()


CHIEF = """
from luminal import IPhoton

class Photon(IPhoton):
    photon_name = "chief"

    async def start(self):
        self.context.spawn(self.context.host.unload())
"""
