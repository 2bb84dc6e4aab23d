"""At most two generations of a photon live: the third waits for the first to leave."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import SimpleNamespace

import attrs
import pytest

from luminal.errors import LuminalError
from luminal.model import Deadlines, EventKind, Probation
from tests.waiting import DEADLINE

PHOTON = """
from luminal import IPhoton, hookimpl
import luminal_test_gates as gates

class Photon(IPhoton):
    photon_name = "a"
    number = {number}

    @hookimpl
    def who(self):
        return {number}

    @hookimpl
    def visit(self, go):
        return go()

    def finalize(self):
        gates.finalize({number})
"""
PATIENT = Deadlines(DEADLINE, DEADLINE, DEADLINE, DEADLINE, drain=10 * DEADLINE)
HASTY = attrs.evolve(PATIENT, drain=0.5)
"""What leaves is given a fifth of it: too little for anybody, but not worth a wait."""


@pytest.fixture
def gates(monkeypatch):
    """What the photons call in ``finalize``; nothing by default."""
    found = SimpleNamespace(finalize=lambda number: None)
    monkeypatch.setitem(sys.modules, "luminal_test_gates", found)
    return found


class Caller:
    """A call of the hook that is under way until it is told to leave."""

    def __init__(self, host):
        self.leave, self.inside = threading.Event(), threading.Event()
        self.thread = threading.Thread(
            target=lambda: host.hook.visit(go=self._go), daemon=True
        )

    def _go(self):
        self.inside.set()
        self.leave.wait(DEADLINE)

    async def begin(self):
        self.thread.start()
        await asyncio.to_thread(self.inside.wait, DEADLINE)

    async def end(self):
        self.leave.set()
        await asyncio.to_thread(self.thread.join, DEADLINE)


def write(photons, number, head=""):
    return photons.write("a.py", head + PHOTON.format(number=number))


def order(host, kind, number):
    """Return at which place of all that was heard this happened."""
    kinds = [(event.kind, event.generation) for event in host.heard]
    return kinds.index((kind, number))


async def test_the_third_comes_after_the_first_has_ended(make_host, photons, gates):
    """A call on the first ends while the third starts: nothing is cut short."""
    async with make_host(deadlines=PATIENT) as host:
        (a,) = await host.run(write(photons, 1))
        caller = Caller(host)

        def hear(event):
            if (event.kind, event.generation) == (EventKind.STARTED, 3):
                caller.leave.set()

        host.events.subscribe(hear)
        await caller.begin()
        for number in (2, 3):
            write(photons, number)
            await host.reload_photon(a)
        assert order(host, EventKind.FINALIZED, 1) < order(host, EventKind.SWAPPED, 3)
        drained = host.heard[order(host, EventKind.DRAINED, 1)]
        assert drained.problem is None
        assert host._reloader.retirements.late == 0
        await caller.end()


async def test_a_call_that_does_not_end_holds_the_third_up_for_a_moment(
    make_host, photons, gates
):
    """The first is given its limit, and finalized before the third serves."""
    limits = attrs.evolve(
        PATIENT, drain=20
    )  # a tenth for the call, as much for the rest
    async with make_host(deadlines=limits) as host:
        (a,) = await host.run(write(photons, 1))
        caller = Caller(host)
        await caller.begin()
        for number in (2, 3):
            write(photons, number)
            await host.reload_photon(a)
        assert host.answers() == [3]
        assert order(host, EventKind.FINALIZED, 1) < order(host, EventKind.SWAPPED, 3)
        drained = host.heard[order(host, EventKind.DRAINED, 1)]
        assert "calls were still under way" in str(drained)
        await caller.end()


async def test_a_finalize_that_hangs_is_told_and_counted(make_host, photons, gates):
    """The third is not kept from serving for as long as that takes."""
    release = threading.Event()
    gates.finalize = lambda number: number != 1 or release.wait(DEADLINE)
    async with make_host(deadlines=HASTY) as host:
        (a,) = await host.run(write(photons, 1))
        reloads = []
        for number in (2, 3):
            write(photons, number)
            reloads.append(asyncio.create_task(host.reload_photon(a)))
            await host.until(lambda: host.answers() == [len(reloads) + 1])
        (kept,) = host.happened(EventKind.LEAKED)
        assert (kept.generation, kept.problem.phase) == (1, "finalize")
        assert "is still being retired" in str(kept)
        assert host._reloader.retirements.late == 1
        release.set()
        await asyncio.gather(*reloads)
        ended = {e.generation: e.problem for e in host.happened(EventKind.FINALIZED)}
        assert ended == {1: None, 2: None}


async def test_a_third_that_is_refused_takes_no_time_from_the_first(
    make_host, photons, gates
):
    """What never serves needs no room."""
    async with make_host(deadlines=PATIENT) as host:
        (a,) = await host.run(write(photons, 1))
        caller = Caller(host)
        await caller.begin()
        write(photons, 2)
        await host.reload_photon(a)
        write(photons, 3, head="1 / 0\n")
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        assert not host.happened(EventKind.DRAINED)
        await caller.end()
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        assert host.happened(EventKind.DRAINED)[0].problem is None


async def test_who_was_kept_for_a_return_is_gone_when_the_third_is_reported(
    make_host, photons, gates
):
    """On probation the first waits, whole, until the third has been taken."""
    async with make_host(probation=Probation(60.0), deadlines=PATIENT) as host:
        (a,) = await host.run(write(photons, 1))
        for number in (2, 3, 4):
            write(photons, number)
            await host.reload_photon(a)
            ended = [e.generation for e in host.happened(EventKind.FINALIZED)]
            assert ended == list(range(1, number - 1))
