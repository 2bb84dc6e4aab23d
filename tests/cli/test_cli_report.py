"""``luminal report``: its forms, what is compared, and the history."""

from __future__ import annotations

import json
import os

import pytest

from luminal.web import read_report
from tests.cli.running import geo, running
from tests.cli.terminal import Terminal

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="hosts are asked on Unix sockets"
)


def test_a_host_is_reported_compared_and_remembered(terminal: Terminal) -> None:
    """Its history is read while it runs, and when it does not run any more."""
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a", "--history") as host:
        said = terminal.luminal("report", "--format", "json", "-o", "old.json")
        assert (said.code, said.out) == (0, "old.json\n")
        old = read_report((terminal.place / "old.json").read_text())
        assert (old.pid, old.photons[0].name) == (host.process.pid, "geo")
        said = terminal.luminal("reload", "geo")
        assert said.code == 0
        text = terminal.luminal("report", "--format", "text", "--against", "old.json")
        assert text.code == 0
        assert "swaps: 1 swapped, 0 rejected" in text.out
        assert "compared, before > now" in text.out
        assert "of another command" not in text.out
        more = ("--against", "old.json", "--cpu", "0.1", "-o", "new.html")
        assert terminal.luminal("report", *more).code == 0
        assert "Compared" in (terminal.place / "new.html").read_text()
        same = terminal.luminal(
            "report", "--format", "json", "--against", "old.json", "-o", "old.json"
        )
        assert same.code == 2
        assert "the same file" in same.err
        live = terminal.luminal("report", "--since", "7d", "--format", "json")
        assert json.loads(live.out)["swaps"]["swapped"] == 1
        host.end()
    past = terminal.luminal("report", "--since", "2w", "--format", "json")
    report = read_report(past.out)
    assert (past.code, report.pid, report.has_history) == (0, 0, True)
    assert (report.swaps["swapped"], report.runs) == (1, 1)
    assert ("swap", "commit", 1) in [(p.step, p.phase, p.count) for p in report.phases]
    other = terminal.luminal("report", "a", "--format", "text", "--against", "old.json")
    assert "of another command: " in other.out
    html = terminal.luminal("report", "--since", "1h", "--against", "old.json", "-o-")
    assert "history of a host" in html.out
    named = terminal.luminal("report", "--history", "nothing")
    assert named.code == 3
    assert "there are: luminal-" in named.err


def test_what_cannot_be_reported_is_named(terminal: Terminal) -> None:
    terminal.write({"page.html": "<html>", "a/geo.py": geo("one")})
    terminal.write({"later.json": '{"kind": "luminal report", "schema": 9}'})
    for words, text in (
        (("a", "--against", "page.html"), "page.html: it is not JSON"),
        (("a", "--against", "later.json"), "schema 9"),
        (("a", "--against", "none.json"), "does not exist"),
        (("--since", "7x"), "neither a span"),
        (("a", "--since", "7d"), "exclude each other"),
    ):
        said = terminal.luminal("report", *words)
        assert said.code == 2, words
        assert text in said.err.replace("\n", " ")


def test_without_a_history_there_is_nothing_to_report(terminal: Terminal) -> None:
    said = terminal.luminal("report", "--since", "7d")
    assert said.code == 3
    assert "none has kept a history" in said.err
    terminal.write({"a/geo.py": geo("one")})
    with running(terminal, "run", "a"):
        said = terminal.luminal("report", "--since", "7d")
        assert said.code == 3
        assert "keeps no history" in said.err
        assert "without --since" in said.err
