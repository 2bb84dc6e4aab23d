"""The suite of all fleets, over plain processes and sockets that lose messages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fleet.conformance import Adapter, Conformance, running
from tests.fleet.processes import Processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet() -> Iterator[Adapter]:
    with running(Processes) as adapter:
        yield adapter


class TestProcesses(Conformance):
    # What a member does by itself is tested with the workers of a server.
    test_a_syntax_error_is_refused = None  # type: ignore[assignment]
    test_a_prepared_photon_stays = None  # type: ignore[assignment]
    test_a_call_that_is_under_way_ends_on_its_generation = None  # type: ignore[assignment]
    test_one_no_is_a_no_of_all = None  # type: ignore[assignment]
    test_the_clock_jumps = None  # type: ignore[assignment]
