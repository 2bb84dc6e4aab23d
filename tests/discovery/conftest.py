"""A cache of its own for each test, and a folder that photons are written into."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from luminal.discovery import _files, _scan
from luminal.store import _stamps

Write = Callable[..., Path]
TICK = 20_000_000
"""Nanoseconds between two times of the file system that tests pretend."""


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


@pytest.fixture
def grown_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be old at once, as those of a real installation are."""
    for module in (_files, _scan):
        monkeypatch.setattr(module, "settled", lambda stamp, now: True)


class CoarseTimes:
    """`os` on a file system whose clock ticks every 20 ms, as many do."""

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def stat(self, path: str, dir_fd: int | None = None) -> SimpleNamespace:
        return self._coarse(os.stat(path, dir_fd=dir_fd))

    def fstat(self, descriptor: int) -> SimpleNamespace:
        return self._coarse(os.fstat(descriptor))

    def _coarse(self, status: os.stat_result) -> SimpleNamespace:
        names = ("st_mode", "st_ino", "st_dev", "st_size")
        fields = {name: getattr(status, name) for name in names}
        fields["st_mtime_ns"] = status.st_mtime_ns // TICK * TICK
        fields["st_ctime_ns"] = status.st_ctime_ns // TICK * TICK
        return SimpleNamespace(**fields)


@pytest.fixture
def coarse_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of 20 ms and a margin of 30 ms, so that some files are old enough."""
    monkeypatch.setattr(_stamps, "MARGIN", 30_000_000)
    for module in (_files, _scan):
        monkeypatch.setattr(module, "os", CoarseTimes())
