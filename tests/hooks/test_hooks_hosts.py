"""The suites of hosts end with our manager, test by test, as with pluggy's."""

from __future__ import annotations

import pytest

from tests.hooks.hosts import HOSTS, Host, compare


@pytest.mark.peers
@pytest.mark.parametrize("host", HOSTS, ids=lambda h: f"{h.name}-{h.version}")
def test_a_hosts_suite_ends_as_with_pluggy(host: Host) -> None:
    """Downloads the host and its suite; see ``tests/hooks/hosts.py``."""
    row = compare(host)
    assert row["differences"] == {}
    assert row["tests"] > 100
    assert row["pluggy"] > row["tests"] / 2
