"""What a swap leaves behind in memory does not grow with their number."""

from __future__ import annotations

import gc
import textwrap
import weakref


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


async def test_types_made_of_a_photons_class_do_not_keep_it(make_host, photons):
    """`typing` remembers what it was asked for; a generation ends all the same."""
    text = textwrap.dedent("""
        from typing import Generic, List, Optional, TypeVar
        from luminal import IPhoton

        class Row: ...
        T = TypeVar("T")
        class Box(Generic[T]): ...
        KINDS = Optional[Row], List[Row], Box[Row]

        class Photon(IPhoton):
            photon_name = "a"
        """)
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", text))
        row = weakref.ref(vars(a.generation.root)["Row"])
        photons.write("a.py", text + "\n# two\n")
        await host.reload_photon(a)
        gc.collect()
        assert row() is None
