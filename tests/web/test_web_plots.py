"""What the page plots is what the exporters and the text say; nothing else is kept."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

import pytest

from luminal.metrics import snapshot
from luminal.testing import Host
from luminal.web import _plots
from luminal.web._plots import Plots
from tests.web.conftest import GEO


def fetch(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        text: str = answer.read().decode()
    return text


def call(host: Host, times: int) -> None:
    for number in range(times):
        try:
            host.hook.locate(place="nowhere" if number % 5 == 0 else "here")
        except ValueError:
            assert number % 5 == 0


def test_plots_text_and_json_agree(host: Host, url: str) -> None:
    call(host, 10)
    host.write("geo.py", GEO + "    # again\n")
    host.reload("geo")
    call(host, 15)
    [row] = [row for row in snapshot(host.loader).hooks if row.photon == "geo"]
    assert (row.calls, row.errors) == (25, 5)
    [point] = json.loads(fetch(url + "plots.json"))["points"]
    assert (point["calls"], point["errors"]) == (25, 5)
    text = fetch(url + "metrics")
    for name, value in (("calls", 25), ("errors", 5)):
        found = re.findall(
            rf"^luminal_hook_{name}_total{{.*}} (\d+)$", text, re.MULTILINE
        )
        assert sum(map(int, found)) == value
    report = json.loads(fetch(url + "report.json"))
    [geo] = [photon for photon in report["photons"] if photon["name"] == "geo"]
    assert (geo["total_calls"], geo["total_errors"]) == (25, 5)
    assert (geo["timed"], geo["p50"]) == (row.timed, row.quantile(0.5))
    assert geo["p95"] == row.quantile(0.95)
    assert geo["phases"] == host.loader.photons["geo"].phases
    assert "commit" in fetch(url)


def test_points_are_differences_and_bounded(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_plots, "_INTERVAL", 0.0)
    plots = Plots(host.loader)
    assert plots.points()[0]["seconds"] == 0
    call(host, 20)
    *_, point = plots.points()
    assert (point["new_calls"], point["new_errors"]) == (20, 4)
    assert point["timed"] == 16
    assert 0 < point["p50"] <= point["p95"]
    *_, point = plots.points()
    assert (point["new_calls"], point["timed"], point["p95"]) == (0, 0, 0)
    for _ in range(400):
        found = plots.points()
    assert len(found) == 300
    monkeypatch.setattr(_plots, "_INTERVAL", 3600.0)
    assert plots.points() == found  # a second page adds no point


def test_a_page_that_nobody_looks_at_reads_nothing(
    host: Host, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(_plots, "snapshot", asked.append)
    fetch(url)
    fetch(url + "metrics")
    call(host, 5)
    assert not asked
