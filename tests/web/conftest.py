"""A host with a page: photons that run, that fail, and that were never loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from luminal import discover, hookspec
from luminal.managers import Loader
from luminal.web import serve

HOOK = """
@hookimpl
def locate(self, place):
    if place == "nowhere":
        raise ValueError(place)
    return place
"""
HEAD = "from luminal import hookimpl"
START = """
async def start(self):
    raise KeyError("<script>alert(1)</script>")
"""


class Specification:
    @hookspec
    def locate(self, place: str) -> Any: ...


@pytest.fixture
def loader(photons: Any) -> Iterator[Loader]:
    photons.photon("geo", HOOK, HEAD)
    photons.photon("broken", START)
    photons.write("wrong.py", "from luminal import IPhoton\nclass Wrong(IPhoton:\n")
    loader = Loader(suppress_errors=True)
    loader.plugins.add_hookspecs(Specification)

    async def begin() -> None:
        await loader.load(discover(str(photons.path), group=None))
        await loader.start()

    asyncio.run(begin())
    yield loader
    asyncio.run(loader.close())


@pytest.fixture
def url(loader: Loader) -> Iterator[str]:
    with serve(loader, port=0) as served:
        yield served.url
