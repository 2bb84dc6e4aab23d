"""Each photon of the example does its one thing, without a host around it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from plugins_example.photons.bots import Bots
from plugins_example.photons.combined import Combined
from plugins_example.photons.filters import HealthChecks, StaticAssets
from plugins_example.photons.latency import Latency, percentile
from plugins_example.photons.suspects import MANY_FAILED_LOGINS, Suspects
from plugins_example.photons.traffic import Traffic

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "plugins_example" / "distribution"))

from pipeline_extras.json_lines import JsonLines  # noqa: E402 - found by the path above
from pipeline_extras.networks import Networks  # noqa: E402 - as above

LINE = (
    '192.0.2.1 - ann [02/Mar/2026:13:05:59 +0000] "GET /a?b=c HTTP/1.1" 200 51 '
    '"-" "Firefox/135.0" 0.25'
)


def record(**changes: Any) -> dict[str, Any]:
    usual = {
        "address": "192.0.2.1",
        "time": datetime(2026, 3, 2, 13, tzinfo=UTC),
        "method": "GET",
        "path": "/a",
        "status": 200,
        "bytes": 1_000_000,
        "agent": "curl/8.11.0",
        "seconds": 0.5,
        "family": "curl",
        "is_bot": True,
    }
    return usual | changes


def test_combined_reads_every_field() -> None:
    assert Combined().parse(LINE) == {
        "address": "192.0.2.1",
        "time": datetime(2026, 3, 2, 13, 5, 59, tzinfo=UTC),
        "method": "GET",
        "path": "/a",
        "status": 200,
        "bytes": 51,
        "agent": "Firefox/135.0",
        "seconds": 0.25,
    }


def test_combined_reads_a_line_without_seconds_and_without_bytes() -> None:
    read = Combined().parse(LINE.removesuffix(" 0.25").replace(" 51 ", " - "))
    assert read is not None
    assert (read["seconds"], read["bytes"]) == (None, 0)


@pytest.mark.parametrize(
    "line", ["", "{}", LINE[:30], LINE.replace("Mar", "Foo"), "\\x00" * 50]
)
def test_combined_leaves_other_lines_to_others(line: str) -> None:
    assert Combined().parse(line) is None


def test_json_lines_reads_every_field() -> None:
    line = (
        '{"remote_addr": "192.0.2.1", "time": "2026-03-02T13:05:59+00:00", "request": '
        '"GET /a?b HTTP/2.0", "status": 200, "bytes": 5, "agent": "x", "seconds": 0.5}'
    )
    read = JsonLines().parse(line)
    assert read is not None
    assert read["time"] == datetime(2026, 3, 2, 13, 5, 59, tzinfo=UTC)
    assert (read["path"], read["status"], read["seconds"]) == ("/a", 200, 0.5)


@pytest.mark.parametrize(
    "line", ["", LINE, "{", "{}", "[]", '{"request": 5}', '{"request": "GET"}']
)
def test_json_lines_leaves_other_lines_to_others(line: str) -> None:
    assert JsonLines().parse(line) is None


def test_filters_drop_noise_and_have_no_opinion_on_the_rest() -> None:
    assert HealthChecks().keep(record(path="/healthz")) is False
    assert HealthChecks().keep(record()) is None
    assert StaticAssets().keep(record(path="/x.css")) is False
    assert StaticAssets().keep(record(path="/x.css", status=404)) is None


def test_agents_names_bots_and_browsers_from_its_table() -> None:
    from plugins_example.photons.agents import Agents

    agents = Agents()
    agents.start()
    seen = {}
    for agent in ("Googlebot/2.1", "Chrome/133 Safari/537", "a crawler", ""):
        agents.enrich(each := record(agent=agent))
        seen[agent] = (each["family"], each["is_bot"])
    assert seen == {
        "Googlebot/2.1": ("Googlebot", True),
        "Chrome/133 Safari/537": ("Chrome", False),
        "a crawler": ("other bot", True),
        "": ("unknown", False),
    }


def test_traffic_counts_by_hour_class_and_path() -> None:
    traffic = Traffic()
    traffic.start()
    for status in (200, 200, 404, 502):
        traffic.aggregate(record(status=status))
    hours, classes, paths = traffic.report()
    assert hours["rows"] == [("13:00", 4, 1, "#" * 40)]
    assert [(kind, count) for kind, _, count, _ in classes["rows"]] == [
        ("2xx", 2),
        ("4xx", 1),
        ("5xx", 1),
    ]
    assert paths["rows"] == [("/a", 4, "4.0 MB")]


def test_percentile_is_a_value_that_occurred() -> None:
    values = [float(value) for value in range(100)]
    assert [percentile(values, share) for share in (0, 0.5, 0.99, 1)] == [0, 50, 99, 99]
    assert percentile([7.0], 0.95) == 7.0


def test_latency_puts_the_slowest_path_first() -> None:
    latency = Latency()
    latency.start()
    latency.aggregate(record(path="/quick", seconds=0.001))
    latency.aggregate(record(path="/slow", seconds=2.0))
    latency.aggregate(record(path="/unmeasured", seconds=None))
    assert latency.report()["rows"] == [
        ("/slow", 1, *["2000 ms"] * 4),
        ("/quick", 1, *["1 ms"] * 4),
    ]


def test_bots_are_counted_with_their_share() -> None:
    bots = Bots()
    bots.start()
    bots.aggregate(record())
    bots.aggregate(record(family="Firefox", is_bot=False))
    assert bots.report()["rows"] == [("curl", 1, "50.0%")]


def test_suspects_are_scanners_and_guessers_and_nobody_else() -> None:
    suspects = Suspects()
    suspects.start()
    suspects.aggregate(record(address="scanner", path="/.env", status=404))
    suspects.aggregate(record(address="visitor", path="/typo", status=404))
    suspects.aggregate(record(address="forgetful", path="/login", status=401))
    for _ in range(MANY_FAILED_LOGINS):
        suspects.aggregate(record(address="guesser", path="/login", status=401))
    assert [row[0] for row in suspects.report()["rows"]] == ["guesser", "scanner"]


def test_networks_take_the_longest_prefix() -> None:
    networks = Networks()
    networks.start()
    for address in ("198.18.1.1", "198.18.0.200", "8.8.8.8", "nonsense", "::1"):
        networks.enrich(each := record(address=address))
        networks.aggregate(each)
    assert dict(row[:2] for row in networks.report()["rows"]) == {
        "the large access provider": 1,
        "the mobile network": 1,
        "other": 2,
        "not an address": 1,
    }
