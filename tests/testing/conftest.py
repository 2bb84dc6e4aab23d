"""The kit's own fixtures, as its users get them, and a photon to play with."""

from __future__ import annotations

import pytest

from luminal import hookspec

# What `pytest_plugins` does for users; pytest takes that in the topmost conftest only.
from luminal.testing.pytest_plugin import (  # noqa: F401 - fixtures
    luminal_async_host,
    luminal_host,
    luminal_options,
)


class Specs:
    """The hooks of the test host."""

    @hookspec
    def greet(self, name: str) -> str: ...


HELLO = '''
    """A greeting photon."""
    from luminal import IPhoton, hookimpl

    class Hello(IPhoton):
        photon_name = "hello"

        @hookimpl
        def greet(self, name):
            return f"hello {name}"
'''


@pytest.fixture(scope="session")
def hello() -> str:
    return HELLO


@pytest.fixture(scope="session")
def specs() -> type:
    return Specs
