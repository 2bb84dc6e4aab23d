"""Photons that are saved together change together, as far as they can be swapped."""

from __future__ import annotations

import threading

import pytest

from luminal.errors import LuminalError
from luminal.model import EventKind

NAMES = "abcdef"


def photon(name, number, start="pass", head=""):
    """Return a photon that answers with its name and *number*."""
    return f"""
import luminal
{head}
class It(luminal.IPhoton):
    photon_name = {name!r}

    def start(self):
        {start}

    @luminal.hookimpl
    def who(self):
        return {name!r}, {number}
"""


async def test_no_call_sees_a_batch_in_part(make_host, photons):
    """Unrelated files: each call sees the old text of all, or the new text of all."""
    paths = [photons.write(f"{n}.py", photon(n, 0)) for n in NAMES]
    async with make_host() as host:
        handlers = await host.run(*paths)
        seen, is_over = set(), threading.Event()

        def call():
            while not is_over.is_set():
                seen.add(tuple(number for _, number in host.hook.who()))

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, 12):
                for name in NAMES:
                    photons.write(f"{name}.py", photon(name, number))
                await host.reload_photons(handlers, policy="component")
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        assert len(seen) > 1
        assert {len(set(numbers)) for numbers in seen} == {1}
        assert host.answers() == [(n, 11) for n in NAMES]


@pytest.mark.parametrize(
    "broken",
    [
        "def (:",
        photon("c", 2, head="1 / 0"),
        photon("c", 2, "raise ValueError('no')"),
        photon("c", 2).replace("def who(self)", "def who(self, nothing)"),
        photon("a", 2),
    ],
    ids=["syntax", "import", "start", "hook", "name"],
)
async def test_one_that_is_broken_keeps_its_generation_and_is_named(
    make_host, photons, broken
):
    """Those that pass are swapped in one step, whatever is wrong with another."""
    paths = [photons.write(f"{n}.py", photon(n, 1)) for n in NAMES]
    async with make_host() as host:
        handlers = await host.run(*paths)
        steps = []
        host.events.subscribe(
            lambda event: (
                steps.append([number for _, number in host.answers()])
                if event.kind is EventKind.SWAPPED
                else None
            )
        )
        for name in NAMES:
            photons.write(f"{name}.py", photon(name, 2))
        photons.write("c.py", broken)
        with pytest.raises(LuminalError) as caught:
            await host.reload_photons(handlers, policy="component")
        assert str(paths[2]) in str(caught.value)
        assert {o.photon for o in host.report.failed} == {"c"}
        expected = [1 if n == "c" else 2 for n in NAMES]
        assert [number for _, number in host.answers()] == expected
        assert steps
        assert all(step == expected for step in steps)


async def test_two_that_are_broken_are_both_named(make_host, photons):
    """In the code of one, and in the `start` of another that was staged with it."""
    paths = [photons.write(f"{n}.py", photon(n, 1)) for n in NAMES]
    async with make_host() as host:
        handlers = await host.run(*paths)
        for name in NAMES:
            photons.write(f"{name}.py", photon(name, 2))
        photons.write("b.py", photon("b", 2, head="1 / 0"))
        photons.write("e.py", photon("e", 2, "raise ValueError('no')"))
        with pytest.raises(LuminalError):
            await host.reload_photons(handlers, policy="component")
        assert {o.photon for o in host.report.failed} == {"b", "e"}
        assert [n for _, n in host.answers()] == [2, 1, 2, 2, 1, 2]


async def test_what_depends_on_a_broken_one_is_rejected_with_it(make_host, photons):
    """Also where the dependency is new with this batch."""
    paths = [photons.write(f"{n}.py", photon(n, 1)) for n in "abc"]
    async with make_host() as host:
        handlers = await host.run(*paths)
        photons.write("a.py", photon("a", 2, head="1 / 0"))
        photons.write("b.py", photon("b", 2, head="from . import a"))
        photons.write("c.py", photon("c", 2))
        with pytest.raises(LuminalError):
            await host.reload_photons(handlers, policy="component")
        assert host.answers() == [("a", 1), ("b", 1), ("c", 2)]
        assert {o.photon for o in host.report.failed} == {"a", "b"}


async def test_two_that_begin_to_import_one_new_helper_share_it(make_host, photons):
    """A helper that appears with the batch is one module for all."""
    paths = [photons.write(f"{n}.py", photon(n, 1)) for n in "ab"]
    async with make_host() as host:
        handlers = await host.run(*paths)
        photons.write("helper.py", "THING = object()\n")
        for name in "ab":
            text = photon(name, 2, head="from .helper import THING")
            text = text.replace(f"return {name!r}, 2", "return THING")
            photons.write(f"{name}.py", text)
        await host.reload_photons(handlers, policy="component")
        first, second = host.answers()
        assert first is second


@pytest.mark.parametrize("asked", ["a", "b"])
async def test_what_begins_to_import_the_other_is_rolled_back_with_it(
    make_host, photons, asked
):
    """And what has changed in the same batch, but apart from them, stays."""
    paths = [photons.write(f"{n}.py", photon(n, 1)) for n in "abc"]
    async with make_host() as host:
        handlers = await host.run(*paths)
        for name in "ac":
            photons.write(f"{name}.py", photon(name, 2, head="N = 2"))
        text = photon("b", 2, head="from .a import N")
        photons.write("b.py", text.replace("'b', 2", "'b', N"))
        await host.reload_photons(handlers, policy="component")
        assert host.answers() == [("a", 2), ("b", 2), ("c", 2)]
        await host.roll_back(host.photons[asked])
        assert host.answers() == [("a", 1), ("b", 1), ("c", 2)]
