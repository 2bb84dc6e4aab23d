"""Fixtures for pytest: a host for each test.

A ``conftest.py`` activates them with
``pytest_plugins = ["luminal.testing.pytest_plugin"]``; there is no entry point that
loads them into other projects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luminal.errors import MissingExtraError
from luminal.supervise import LoopThread
from luminal.testing.host import AsyncHost, Host
from luminal.testing.leaks import THREAD_NAME

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
    """Arguments of the hosts: none, unless a ``conftest.py`` or test overrides it.

    An example: ``{"hookspecs": [Specs], "settings": {...}, "clock": FakeClock()}``.
    """
    return {}


@pytest.fixture
def luminal_host(tmp_path: Path, luminal_options: dict[str, Any]) -> Iterator[Host]:
    """An isolated host for a test that is a plain function. It is closed at the end."""
    with Host(tmp_path / "luminal", **luminal_options) as host:
        yield host


@pytest.fixture
def luminal_async_host(
    tmp_path: Path, luminal_options: dict[str, Any]
) -> Iterator[AsyncHost]:
    """An isolated host for a test that is a coroutine. It is closed at the end.

    Any library can run the test: anyio, pytest-asyncio, or `asyncio.run`.
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
