"""The suite of all fleets over workers of Dask, but for what takes a minute more.

`tests.fleet.dask_conformance` is the whole of it: there the scheduler is killed at each
step, and all workers end with it and are started again.
"""

from __future__ import annotations

import pytest

pytest.importorskip("distributed")

from tests.fleet import dask_conformance
from tests.fleet.conformance import Adapter

pytestmark = pytest.mark.slow

fleet = dask_conformance.fleet


class TestCluster(dask_conformance.TestCluster):
    test_a_row_that_is_torn_was_not_written = None  # type: ignore[assignment]

    @pytest.mark.parametrize(("step", "is_committed"), [("after-commit", True)])
    def test_the_coordinator_is_killed(
        self, fleet: Adapter, unit: str, step: str, is_committed: bool
    ) -> None:
        super().test_the_coordinator_is_killed(fleet, unit, step, is_committed)
