"""Photons that tests ask for what they see of their own modules."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader


@pytest.fixture
def loader() -> Iterator[Loader]:
    """A loader; when the test ends, nothing of what it loaded may be left."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    threads = set(threading.enumerate())
    loader = Loader()
    yield loader
    asyncio.run(loader.close())
    left = {
        name
        for name in set(sys.modules) - modules
        if getattr(sys.modules[name], "__file__", None) is None
        or "photons" in str(sys.modules[name].__file__)
    }
    assert not {n for n in left if n.startswith("photons_")}
    assert sys.meta_path == finders
    assert not [t for t in set(threading.enumerate()) - threads if not t.daemon]


@pytest.fixture
def start(loader: Loader) -> Callable[[Path], Any]:
    """Return a function that loads a file, starts its photon and returns it."""

    def start(path: Path) -> Any:
        async def go() -> Any:
            handlers = await loader.load_photon(path)
            await handlers.start()
            return handlers[0].instance

        return asyncio.run(go())

    return start
