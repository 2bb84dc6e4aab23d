"""What did not work the first time is tried again: loads, reloads, the watch's end."""

from __future__ import annotations

import asyncio
import builtins

import pytest

from luminal.model import EventKind


def text(name, number, head="", body="pass"):
    return f"""
        from luminal import IPhoton, hookimpl
        {head}

        class Photon(IPhoton):
            photon_name = {name!r}
            {body}

            @hookimpl
            def who(self):
                return {name!r}, {number}
        """


@pytest.mark.parametrize(
    ("waiting", "change"),
    [
        (text("new", 1, head="from .a import NEW"), text("a", 2, head="NEW = 1")),
        (
            text("new", 1, body="photon_requires = ['a>=2']"),
            text("a", 2, body="photon_version = '2'"),
        ),
        (text("a", 1), text("b", 2)),
    ],
    ids=["name", "version", "freed"],
)
async def test_a_new_file_waits_for_what_another_becomes(
    make_host, photons, waiting, change
):
    """It is refused, and loaded when a photon that runs brings what it lacks."""
    async with make_host() as host:
        photons.write("a.py", text("a", 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("a", 1)])
        photons.write("new.py", waiting)
        await host.until(lambda: host.happened(EventKind.REJECTED))
        assert host.answers() == [("a", 1)]
        photons.write("a.py", change)
        await host.until(lambda: {n for _, n in host.answers()} == {1, 2})
        await host.until(lambda: len(host.happened(EventKind.STARTED)) == 3)


async def test_a_new_version_waits_for_a_photon_that_appears(make_host, photons):
    """It is refused as long as what it requires is not there, in one batch or two."""
    async with make_host() as host:
        photons.write("a.py", text("a", 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("a", 1)])
        photons.write("a.py", text("a", 2, body="photon_requires = ['new']"))
        await host.until(lambda: host.happened(EventKind.REJECTED))
        photons.write("new.py", text("new", 1))
        await host.until(lambda: sorted(host.answers()) == [("a", 2), ("new", 1)])
        assert host.photons["a"].number == 2


async def test_a_stop_that_is_cancelled_can_be_asked_for_again(make_host, photons):
    """What the watch has loaded is unloaded then, and nothing of the watch is left."""
    async with make_host() as host:
        photons.write("a.py", text("a", 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("a", 1)])
        stopping = asyncio.create_task(host.stop_watching_photons())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert list(host.photons) == ["a"]
        await host.stop_watching_photons()
        assert not host.photons
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("a", 1)])


async def test_a_photon_that_ends_the_watch_while_it_starts(make_host, photons):
    """It is refused at once, and the watch goes on."""
    async with make_host() as host:
        head = "import builtins; HOST = builtins.HOST"
        body = """refused = None

            async def start(self):
                try:
                    await HOST.stop_watching_photons()
                except Exception as error:
                    type(self).refused = type(error).__name__"""
        photons.write("a.py", text("a", "self.refused", head=head, body=body))
        builtins.HOST = host
        try:
            await host.watch_photons(photons.path)
            await host.until(lambda: host.answers() == [("a", "PhotonStateError")])
        finally:
            del builtins.HOST
        photons.write("a.py", text("a", 2))
        await host.until(lambda: host.answers() == [("a", 2)])
