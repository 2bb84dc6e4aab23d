"""The example server: while a route changes, no request fails or mixes generations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.server import ROOT, connect, get, run, server
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_answers_stay_whole_under_load_and_edits() -> None:
    found = run(seconds=2)
    assert found["calm"]["failed"] == found["edited"]["failed"] == 0
    assert found["failed"] == 0
    assert found["mixed"] == found["missed"] == 0
    assert found["answers"] > 0
    assert found["generation"] > 2


def test_a_route_keeps_its_state_over_an_edit(tmp_path: Path) -> None:
    photons = tmp_path / "photons"
    shutil.copytree(ROOT / "plugins_example" / "server" / "photons", photons)
    with server(photons, tmp_path / "log") as port, connect(port) as connection:
        for count in (1, 2, 3):
            assert json.loads(get(connection, "/visits")[1]) == {"count": count}
        visits = photons / "visits.py"
        visits.write_text(visits.read_text().replace('"count": data', '"visits": data'))
        seen = wait_until(
            lambda: json.loads(get(connection, "/visits")[1]).get("visits")
        )
        assert seen > 3
        assert get(connection, "/nowhere")[0] == 404
        state = json.loads(get(connection, "/_photons")[1])
        generations = {row["name"]: row["generation"] for row in state["photons"]}
        assert generations == {"greeting": 1, "visits": 2, "whole": 1}
