"""Probation: a bad generation is taken back once; the one before has never stopped."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from types import SimpleNamespace

import attrs
import pytest

from luminal.errors import LuminalError, PhotonRollbackError
from luminal.hooks import _compile, _execution
from luminal.model import EventKind, Probation, State

TERMS = Probation(seconds=30.0, interval=0.02, error_rate=0.5, min_calls=10)
BRIEF = Probation(seconds=0.1, interval=0.02)


def photon(number, *, healthy="True", says=None):
    return f"""
        from luminal import IPhoton, hookimpl

        class Photon(IPhoton):
            photon_name = "a"

            async def is_healthy(self):
                return {healthy}

            @hookimpl
            def who(self):
                return {says or number}
        """


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    "healthy",
    ["False", "1 / 0", "exit()", 'type("Odd", (), {"__bool__": lambda _: 1 / 0})()'],
)
async def test_an_unhealthy_generation_is_taken_back_once(make_host, photons, healthy):
    """The old instance, never stopped, serves again; the new one is finalized."""
    async with make_host(probation=TERMS) as host:
        (a,) = await host.run(photons.write("a.py", photon(1)))
        old = a.instance
        photons.write("a.py", photon(2, healthy=healthy))
        await host.reload_photon(a)
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        assert (a.instance, a.state, a.number) == (old, State.RUNNING, 1)
        assert host.answers() == [1]
        (back,) = host.happened(EventKind.ROLLED_BACK)
        assert "is_healthy" in back.problem.why
        (ended,) = host.happened(EventKind.FINALIZED)
        assert ended.generation == 2
        photons.write("a.py", photon(3))
        await host.reload_photon(a)
        assert host.answers() == [3]


@pytest.mark.fault(15)
async def test_too_many_errors_take_a_generation_back(make_host, photons):
    async with make_host(probation=TERMS) as host:
        (a,) = await host.run(photons.write("a.py", photon(1)))
        photons.write("a.py", photon(2, says="1 / 0"))
        await host.reload_photon(a)
        for _ in range(TERMS.min_calls + 1):
            if not host.happened(EventKind.ROLLED_BACK):
                with pytest.raises(ZeroDivisionError):
                    host.hook.who()
        await host.until(lambda: host.happened(EventKind.ROLLED_BACK))
        assert host.answers() == [1]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("advance(1_000_000)", "advance(1_000_000)", ""),
        (
            "advance(1_000_000)",
            "advance(20_000_000)",
            "slower: .*[0-9]+ timed.*40 timed",
        ),
        ("fail(1)", "fail(1)", ""),
        ("fail(1)", "fail(4)", "raised in [0-9]+ of .* before in 4 of 40"),
    ],
)
async def test_a_generation_that_is_worse_than_the_old_one_is_taken_back(
    make_host, photons, monkeypatch, before, after, why
):
    """By the time of its calls or by its errors, and the event says the numbers."""
    now = calls = 0

    def advance(nanoseconds):
        nonlocal now
        now += nanoseconds

    def fail(of_ten):
        nonlocal calls
        calls += 1
        if calls % 10 < of_ten:
            raise LookupError

    aid = SimpleNamespace(advance=advance, fail=fail)
    monkeypatch.setitem(sys.modules, "aid_of_test", aid)
    monkeypatch.setattr(_compile, "perf_counter_ns", lambda: now)
    monkeypatch.setattr(_execution, "perf_counter_ns", lambda: now)
    settings = attrs.evolve(TERMS, error_rate=0.9, more_errors=0.2, slowdown=4)

    def call(times):
        for _ in range(times):
            with contextlib.suppress(LookupError):
                host.hook.who()

    async with make_host(probation=settings) as host:
        source = photon(1, says=f'__import__("aid_of_test").{before}')
        (a,) = await host.run(photons.write("a.py", source))
        call(40)
        photons.write("a.py", source.replace(before, after))
        await host.reload_photon(a)
        call(20)
        if why:
            await host.until(lambda: host.happened(EventKind.ROLLED_BACK))
            (back,) = host.happened(EventKind.ROLLED_BACK)
            assert re.search(why, back.problem.why)
        else:
            rows = host.plugins.compare(a.instance)
            assert [(r.calls, r.calls_before) for r in rows] == [(20, 40)]
            assert not host.happened(EventKind.ROLLED_BACK)


async def test_a_healthy_generation_is_confirmed_at_the_end(make_host, photons):
    """Until then the old one is whole; then it is finalized."""
    async with make_host(probation=BRIEF) as host:
        (a,) = await host.run(photons.write("a.py", photon(1)))
        photons.write("a.py", photon(2))
        await host.reload_photon(a)
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        kinds = [event.kind for event in host.heard]
        assert kinds.index(EventKind.CONFIRMED) < kinds.index(EventKind.FINALIZED)
        assert not host.happened(EventKind.ROLLED_BACK)
        assert host.answers() == [2]


async def test_the_next_reload_ends_a_probation(make_host, photons):
    """Two generations at most: the second is confirmed when the third comes."""
    async with make_host(probation=TERMS) as host:
        (a,) = await host.run(photons.write("a.py", photon(1)))
        for number in (2, 3):
            photons.write("a.py", photon(number))
            await host.reload_photon(a)
        (confirmed,) = host.happened(EventKind.CONFIRMED)
        assert confirmed.generation == 2
        assert host.answers() == [3]


@pytest.mark.fault(16)
async def test_where_the_one_before_fails_too_it_is_off_and_says_so(
    make_host, photons, caplog
):
    async with make_host(probation=TERMS) as host:
        (a,) = await host.run(photons.write("a.py", photon(1, healthy="False")))
        photons.write("a.py", photon(2, healthy="False"))
        with caplog.at_level(logging.CRITICAL, "luminal.reload"):
            await host.reload_photon(a)
            await host.until(lambda: a.state is State.STOPPED)
        assert host.answers() == []
        assert len(host.happened(EventKind.ROLLED_BACK)) == 1
        assert len(host.happened(EventKind.FAILED)) == 1
        assert "photon 'a' does not run" in caplog.text


async def test_a_refused_reload_leaves_the_probation_as_it_is(make_host, photons):
    """What was never alive ends no probation: the one before can still come back."""
    async with make_host(probation=TERMS) as host:
        (a,) = await host.run(photons.write("a.py", photon(1)))
        photons.write("a.py", photon(2, healthy="self.context.data.get('fine', True)"))
        await host.reload_photon(a)
        photons.write("a.py", "def broken(:\n")
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        assert not host.happened(EventKind.CONFIRMED)
        a.context.data["fine"] = False
        await host.until(lambda: host.happened(EventKind.ROLLED_BACK))
        assert host.answers() == [1]


async def test_a_swap_that_was_taken_back_is_nothing_to_return_to(make_host, photons):
    """After it, a roll-back leads to what came before; where nothing did, nowhere."""
    async with make_host(probation=TERMS) as host:
        (a,) = await host.run(photons.write("a.py", photon(1)))
        photons.write("a.py", photon(2, healthy="False"))
        await host.reload_photon(a)
        await host.until(lambda: host.happened(EventKind.FINALIZED))
        with pytest.raises(PhotonRollbackError, match="cannot be rolled back"):
            await host.roll_back(a)
        assert host.answers() == [1]
        photons.write("a.py", photon(3))
        await host.reload_photon(a)
        photons.write("a.py", photon(4, healthy="False"))
        await host.reload_photon(a)
        await host.until(lambda: len(host.happened(EventKind.ROLLED_BACK)) == 2)
        assert host.answers() == [3]
        await host.roll_back(a)
        assert host.answers() == [1]


async def test_photons_that_exchanged_their_files_are_taken_back_to_them(
    make_host, photons
):
    """Also as far as the files are concerned: an unload takes the right one."""

    def other(text):
        return text.replace('"a"', '"b"')

    async with make_host(probation=TERMS) as host:
        first = photons.write("a.py", photon(1))
        second = photons.write("b.py", other(photon(2)))
        a, b = await host.run(first, second)
        photons.write("a.py", other(photon(3)))
        photons.write("b.py", photon(4, healthy="False"))
        await host.reload_photons([a, b])
        await host.until(lambda: len(host.happened(EventKind.FINALIZED)) == 2)
        assert sorted(host.answers()) == [1, 2]
        await host.unload_photon(second)
        assert host.answers() == [1]


@pytest.mark.fault(15)
async def test_who_was_stopped_meanwhile_stays_so(make_host, photons):
    """The host stops one of two on probation; the other one is taken back."""

    def two(number):
        return "from luminal import IPhoton, hookimpl\n" + "".join(
            f"class Photon{name}(IPhoton):\n"
            f"    photon_name = {name!r}\n"
            "    def is_healthy(self):\n"
            "        return not self.context.data.get('is_ill')\n"
            "    @hookimpl\n"
            "    def who(self):\n"
            f"        return {name!r}, {number}\n"
            for name in "ab"
        )

    async with make_host(probation=TERMS) as host:
        a, b = await host.run(photons.write("both.py", two(1)))
        photons.write("both.py", two(2))
        await host.reload_photon(a)
        await a.stop()
        b.context.data["is_ill"] = True
        await host.until(lambda: len(host.happened(EventKind.FINALIZED, "a")) == 2)
        assert host.answers() == [("b", 1)]
        assert (a.state, a.number) == (State.STOPPED, 1)
        assert (b.state, b.number) == (State.RUNNING, 1)
        await a.start()
        assert sorted(host.answers()) == [("a", 1), ("b", 1)]
