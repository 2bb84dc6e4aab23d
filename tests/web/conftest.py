"""A host with a page: photons that run, that fail, and that were never loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from luminal import hookspec
from luminal.errors import PhotonBatchError
from luminal.managers import Loader
from luminal.testing import Host
from luminal.web import serve

GEO = """
    from luminal import IPhoton, hookimpl


    class Photon(IPhoton):
        @hookimpl
        def locate(self, place):
            if place == "nowhere":
                raise ValueError(place)
            return place
"""
BROKEN = """
    from luminal import IPhoton


    class Photon(IPhoton):
        async def start(self):
            raise KeyError("<script>alert(1)</script>")
"""


class Specification:
    @hookspec
    def locate(self, place: str) -> Any: ...


@pytest.fixture
def host() -> Iterator[Host]:
    with Host(hookspecs=[Specification]) as host:
        host.write("geo.py", GEO)
        host.write("broken.py", BROKEN)
        host.write("wrong.py", "from luminal import IPhoton\nclass Wrong(IPhoton:\n")
        with pytest.raises(PhotonBatchError):
            host.run()
        yield host


@pytest.fixture
def loader(host: Host) -> Loader:
    return host.loader


@pytest.fixture
def url(loader: Loader) -> Iterator[str]:
    with serve(loader, port=0) as served:
        yield served.url
