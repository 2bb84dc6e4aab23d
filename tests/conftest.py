"""What all tests share: a cache of their own, and a folder of photons."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import textwrap
from pathlib import Path

import pytest

# What tests install with pip has the versions that are written down, as with `dev.py`.
_PINS = Path(__file__).resolve().parents[1] / "constraints.txt"
os.environ.setdefault("PIP_CONSTRAINT", _PINS.as_uri())

# A shell that runs this in the background makes it, and all that it starts, deaf to
# Ctrl-C; the tests that press it need a process that hears.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis times the garbage collector in a callback. The exception that halts a
# thread is raised in whatever Python code the thread runs, and a callback loses it. The
# first call installs the callback, and no later one does.
with contextlib.suppress(ImportError):
    from hypothesis import settings
    from hypothesis.internal.conjecture.junkdrawer import gc_cumulative_time

    before = list(gc.callbacks)
    gc_cumulative_time()
    gc.callbacks[:] = before
    # A slow machine is no failure.
    settings.register_profile("luminal", deadline=None)
    settings.load_profile("luminal")


class Photons:
    """A directory that tests write photons into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write *text*, dedented, at *name* below the directory; return its path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
        path.write_bytes(data)
        return path

    def photon(self, name: str, body: str = "", head: str = "") -> Path:
        """Write a file with one photon called like it, with *body* in its class."""
        text = "from luminal import IPhoton\n" + textwrap.dedent(head)
        text += "\n\nclass Photon(IPhoton):\n    photon_version = '1'\n"
        text += textwrap.indent(textwrap.dedent(body), "    ")
        return self.write(name + ".py", text)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutines run on asyncio, each on a loop of its own."""
    return "asyncio"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a test caches away from the user, and from other tests; state too."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("LUMINAL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LUMINAL_CACHE_DIR", str(directory))
    return directory


@pytest.fixture
def photons(tmp_path: Path) -> Photons:
    """An empty directory for photons."""
    return Photons(tmp_path / "photons")
