"""The suite of all fleets over a scheduler and workers of Dask, each a process.

``python -m tests.fleet.dask_conformance`` runs it, in some minutes. Its arguments are
pytest's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.fleet.conformance import Adapter, Conformance, running

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Adapter]:
    from tests.fleet.cluster import Cluster

    with running(Cluster) as adapter:
        yield adapter


class TestCluster(Conformance):
    # Dask carries messages by TCP: they arrive, or the worker ends.
    test_messages_are_lost_or_come_twice = None  # type: ignore[assignment]
    # Workers end with their scheduler, so none knows more than an old journal.
    test_members_answer_while_there_is_no_coordinator = None  # type: ignore[assignment]
    test_an_old_journal_decides_nothing = None  # type: ignore[assignment]


if __name__ == "__main__":
    own = ["-p", "no:xdist", "--pyargs", "tests.fleet.dask_conformance"]
    sys.exit(pytest.main([*own, *sys.argv[1:]]))
