"""A cache of its own for each test, and a folder that photons are written into."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the index of the test away from that of the user."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("LUMINAL_CACHE_DIR", str(directory))
    return directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory for photons."""
    directory = tmp_path / "photons"
    directory.mkdir()
    return directory


@pytest.fixture
def write(folder: Path) -> Write:
    """Return a function that writes a file below the folder, dedented."""

    def write(name: str, text: str | bytes) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, str):
            text = textwrap.dedent(text).encode()
        path.write_bytes(text)
        return path

    return write
