"""The suite of all fleets, over plain processes and sockets that lose messages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.conformance import MEMBERS, Adapter, Conformance
from tests.fleet.processes import Processes


@pytest.fixture(scope="module")
def fleet() -> Iterator[Adapter]:
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:  # a short path
        adapter = Processes(Path(directory))
        try:
            adapter.start_coordinator()
            for member in MEMBERS:
                adapter.add(member)
            yield adapter
        finally:
            adapter.close()


class TestProcesses(Conformance):
    pass
