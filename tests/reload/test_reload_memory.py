"""What a swap leaves behind in memory does not grow with their number."""

from __future__ import annotations


async def test_compiled_code_does_not_pile_up(make_host, photons):
    """Code of the latest versions is kept, whatever the number of reloads."""
    async with make_host() as host:
        body = "N = {}\n"
        (a,) = await host.run(photons.photon("a", body.format(0)))
        for number in range(1, 30):
            photons.photon("a", body.format(number))
            await host.reload_photon(a)
        assert len(host._world.codes._codes) < 10
        await host.roll_back(a)
        assert a.instance.N == 28
