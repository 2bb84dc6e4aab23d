"""The suite of all fleets, over the workers of one server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.conformance import MEMBERS, Adapter, Conformance
from tests.fleet.workers import Workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet() -> Iterator[Adapter]:
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="fleet-") as directory,  # a short path
    ):
        adapter = Workers(Path(directory))
        for name, value in adapter.environ.items():
            patch.setenv(name, value)
        try:
            for member in MEMBERS:
                adapter.add(member)
            yield adapter
        finally:
            adapter.close()


class TestWorkers(Conformance):
    # What is between processes of one machine arrives, or its connection ends.
    test_messages_are_lost_or_come_twice = None  # type: ignore[assignment]
    # There is no time without a coordinator in which a journal could be changed.
    test_a_row_that_is_torn_was_not_written = None  # type: ignore[assignment]
    test_an_old_journal_decides_nothing = None  # type: ignore[assignment]
    test_members_answer_while_there_is_no_coordinator = None  # type: ignore[assignment]
