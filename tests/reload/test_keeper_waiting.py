"""What a watched photon lacks comes with another's change, and it is tried again."""

from __future__ import annotations

import pytest

from luminal.model import Happening


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
        await host.until(lambda: host.happened(Happening.REFUSED))
        assert host.answers() == [("a", 1)]
        photons.write("a.py", change)
        await host.until(lambda: {n for _, n in host.answers()} == {1, 2})
        await host.until(lambda: len(host.happened(Happening.STARTED)) == 3)


async def test_a_new_version_waits_for_a_photon_that_appears(make_host, photons):
    """It is refused as long as what it requires is not there, in one batch or two."""
    async with make_host() as host:
        photons.write("a.py", text("a", 1))
        await host.watch_photons(photons.path)
        await host.until(lambda: host.answers() == [("a", 1)])
        photons.write("a.py", text("a", 2, body="photon_requires = ['new']"))
        await host.until(lambda: host.happened(Happening.REFUSED))
        photons.write("new.py", text("new", 1))
        await host.until(lambda: sorted(host.answers()) == [("a", 2), ("new", 1)])
        assert host.photons["a"].number == 2
