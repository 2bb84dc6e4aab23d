"""Fixtures for pytest, for those who ask: ``luminal.testing.plugin``.

Nothing here is used by a test that does not name it, and nothing loads this module by
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luminal.errors import MissingExtraError
from luminal.supervise.loop_thread import LoopThread
from luminal.testing.host import AsyncHost
from luminal.testing.patience import THREAD_NAME
from luminal.testing.sync import Host

try:
    import pytest
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "the fixtures need 'pytest'",
        why="'pytest' is not installed",
        hint="pip install 'luminal-photons[testing]'",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["luminal_async_host", "luminal_host", "luminal_options"]


@pytest.fixture
def luminal_options() -> dict[str, Any]:
    """Arguments of the hosts below; override it in a ``conftest.py`` or a test module.

    Such as ``{"hookspecs": [Specs], "settings": {...}, "clock": FakeClock()}``.
    """
    return {}


@pytest.fixture
def luminal_host(tmp_path: Path, luminal_options: dict[str, Any]) -> Iterator[Host]:
    """An isolated host for tests that are plain functions, closed at the end."""
    with Host(tmp_path / "luminal", **luminal_options) as host:
        yield host


@pytest.fixture
def luminal_async_host(
    tmp_path: Path, luminal_options: dict[str, Any]
) -> Iterator[AsyncHost]:
    """An isolated host for tests that are coroutines, closed at the end.

    It does not ask which library runs them.
    """
    options = {key: value for key, value in luminal_options.items() if key != "clock"}
    host = AsyncHost(tmp_path / "luminal", **options)
    try:
        yield host
    finally:
        loop = LoopThread(THREAD_NAME)
        try:
            loop.run(host.close())
        finally:
            loop.close()
