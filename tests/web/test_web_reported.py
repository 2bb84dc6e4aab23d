"""The report about a host: one record behind page, metrics, text, JSON and HTML."""

from __future__ import annotations

import gc
import html
import json
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from luminal import hookspec
from luminal.managers.status import report_of as status_of
from luminal.metrics import sample_cpu, snapshot, snapshot_of_status, to_text
from luminal.testing import Host
from luminal.web import (
    HostReport,
    compare,
    read_report,
    render_report,
    report_of,
    snapshot_of,
)
from luminal.web import (
    snapshot_of_status as page_of_status,
)
from tests.waiting import wait_until

GEO = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "geo"

    def start(self):
        self.context.data["seen"] = 1

    @hookimpl
    def locate(self, place):
        if place == "nowhere":
            raise ValueError("<b>no</b>")
        return place
"""


class Specification:
    @hookspec
    def locate(self, place: str) -> Any: ...


@pytest.fixture
def host() -> Iterator[Host]:
    with Host(hookspecs=[Specification]) as host:
        host.write("geo.py", GEO)
        host.run()
        for number in range(2):
            for _ in range(15):
                host.hook.locate(place="here")
            host.write("geo.py", GEO + f"# {number}\n")
            host.reload("geo")
        for _ in range(3):
            with pytest.raises(ValueError, match="no"):
                host.hook.locate(place="nowhere")
        yield host


def reported(host: Host) -> HostReport:
    """Return the report as a command of another process would make it."""
    status = json.loads(json.dumps(status_of(host.loader), default=str))
    return report_of(
        page_of_status(status),
        snapshot_of_status(status),
        began=status["began"],
        errors=status["errors"],
        cpu=status["cpu"],
    )


def text_of(document: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", document))


def test_report_page_and_metrics_do_not_disagree(host: Host) -> None:
    def agree() -> bool:
        gc.collect()  # old generations are collected at any time, which is counted
        numbers = snapshot(host.loader)
        sent = json.loads(json.dumps(status_of(host.loader), default=str))
        return attrs.evolve(snapshot_of_status(sent), at=numbers.at) == numbers

    assert wait_until(agree)
    numbers, page = snapshot(host.loader), snapshot_of(host.loader)
    report = reported(host)
    [row] = report.hooks
    [total] = numbers.hooks
    for name in ("photon", "hook", "calls", "errors", "timed", "seconds", "buckets"):
        assert getattr(row, name) == getattr(total, name)
    assert (row.p95, row.mean) == (total.quantile(0.95), total.mean)
    exported = to_text(numbers)
    assert f'hook_calls_total{{host="",photon="geo",hook="locate"}} {row.calls}' in (
        exported
    )
    assert 'swaps_total{host="",photon="geo",result="swapped"} 2' in exported
    assert (report.swaps["swapped"], report.photons[0].swaps) == (2, {"swapped": 2})
    [photon] = page.photons
    assert (report.photons[0].generation, photon.generation) == (3, 3)
    assert report.photons[0].since == photon.since
    phases = {(row.step, row.phase): row.count for row in report.phases}
    assert phases["swap", "compile"] == 2
    assert phases == {(row.step, row.phase): row.count for row in numbers.phases}
    [error] = report.errors
    assert (error.count, error.error, error.photon) == (3, "ValueError", "geo")
    assert error.where.endswith("geo.py:12")
    assert [row.calls for row in report.load] == [row.calls]
    assert read_report(report.to_json()) == report
    document = text_of(render_report(report, page))
    assert f" {row.calls} " in document
    assert "ValueError" in document


def test_the_file_loads_nothing_and_escapes_what_photons_say(host: Host) -> None:
    host.write("geo.py", GEO.replace('"geo"', '"<script>x</script>"'))
    sample_cpu(host.loader, 0.05, 50)
    report, page = reported(host), snapshot_of(host.loader)
    odd = attrs.evolve(report.hooks[0], photon="<script>alert(1)</script>")
    report = attrs.evolve(report, hooks=(odd,))
    document = render_report(report, page, attrs.evolve(report, at=0.0, pid=7))
    assert "<script>alert" not in document
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:|vscode:)""", document)
    without_names = re.sub(
        r'http-equiv="Content|http://www.w3.org/2000/svg', "", document
    )
    assert "http" not in without_names
    assert "default-src 'none'" in html.unescape(document)
    for title in ("Compared", "Hooks by p99", "Leaks", "At a restart", "CPU"):
        assert f">{title}</h2>" in document


def test_what_a_restart_would_lose(host: Host) -> None:
    """State, what was rejected, what is disabled, and numbers that are not kept."""
    host.write("other.py", GEO.replace('"geo"', '"other"'))
    host.write("geo.py", "def (\n")
    with pytest.raises(Exception, match="not valid Python"):
        host.reload("geo")
    losses = {(row.photon, row.what): row.why for row in reported(host).losses}
    assert ("geo", "its state (1 in all)") in losses
    assert "not valid Python" in losses["geo", "the generation that runs"]
    assert "no history" in losses["", "all numbers of this report"]
    [rejected] = [e for e in reported(host).errors if "valid" in e.what]
    assert rejected.where.endswith("geo.py:1")


def test_two_reports_of_one_process_are_compared_by_what_was_done_between(
    host: Host,
) -> None:
    old = reported(host)
    for _ in range(25):
        host.hook.locate(place="here")
    new = reported(host)
    [change] = compare(old, new)
    assert change.new is not None
    assert (change.new.calls, change.new.errors) == (25, 0)
    assert change.verdict != "too few timed calls"
    assert change.ratio == change.new.mean / old.hooks[0].mean
    [few] = compare(new, attrs.evolve(reported(host), at=new.at + 1))
    assert (few.verdict, few.ratio) == ("too few timed calls", None)
    fresh = attrs.evolve(new, hooks=(attrs.evolve(old.hooks[0], calls=1, errors=1),))
    [anew] = compare(new, attrs.evolve(fresh, at=new.at + 1))
    assert anew.new is not None
    assert (anew.new.calls, anew.new.errors) == (1, 1)
    other = attrs.evolve(new, pid=1)
    slow = attrs.evolve(other.hooks[0], mean=other.hooks[0].mean * 3, errors=50)
    [change] = compare(old, attrs.evolve(other, hooks=(slow,)))
    assert change.verdict == "slower, more errors"
    assert [c.verdict for c in compare(old, attrs.evolve(other, hooks=()))] == ["gone"]
    with pytest.raises(ValueError, match="the same report"):
        compare(old, old)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<html>", "not JSON"),
        ("[1]", "no report|not a report"),
        ('{"schema": 2, "command": "top"}', "not a report"),
        ('{"kind": "luminal report", "schema": 99}', "schema 99"),
        ('{"kind": "luminal report", "schema": 1}', "incomplete"),
        ('{"kind": "luminal report", "schema": 1, "photons": 3}', "incomplete"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_report_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_report(text)


def test_a_report_with_values_of_other_kinds_is_named(host: Host) -> None:
    """So that to compare and to render it cannot fail later."""
    given = json.loads(reported(host).to_json())
    for place, key, value in (
        ("hooks", "calls", "many"),
        ("hooks", "mean", None),
        ("hooks", "photon", {}),
        ("hooks", "buckets", [1]),
        ("hooks", "buckets", 3),
        ("photons", "swaps", []),
        ("load", "at", "now"),
        ("", "pid", "1"),
        ("", "cpu", 3),
    ):
        damaged = json.loads(json.dumps(given))
        (damaged[place][0] if place else damaged)[key] = value
        with pytest.raises(ValueError, match="damaged"):
            read_report(json.dumps(damaged))
