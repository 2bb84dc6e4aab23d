"""The page shows any name and any text as it is."""

from __future__ import annotations

import itertools
from html.parser import HTMLParser

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminal.hooks.records import HookStatistics
from luminal.model import Event, EventKind, Problem
from luminal.web import Failure, HostSnapshot, PhotonSnapshot, render_page
from luminal.web._page import EVENT_STYLES

PROBLEM = Problem("LUM104", "compile", "does not compile", line=1)


def snapshot(
    name: str = "geo", text: str = "", kind: EventKind = EventKind.SWAPPED
) -> HostSnapshot:
    """A host whose every word is *name* or *text*."""
    problem = attrs.evolve(PROBLEM, what=text, why=text, hint=text, file=text)
    return HostSnapshot(
        pid=1,
        command=text,
        at=1.0,
        photons=(PhotonSnapshot(name, "running", 1, 1.0, text, problem),),
        failures=(Failure(name, problem, 1.0),),
        events=(Event(kind, name, 1, text, 0.1, problem, at=1.0),),
        hooks=(HookStatistics(name, text, 1, 1, 1, 0.1, 0, 0),),
    )


class Reader(HTMLParser):
    """Notes the tags and what can be read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@given(name=st.text(min_size=1), text=st.text(min_size=1))
def test_no_word_of_a_host_becomes_a_tag_or_an_attribute(name: str, text: str) -> None:
    """Whatever photons, files and errors are called, the page has the same tags."""
    assert Reader(render_page(snapshot(name, text))).tags == PLAIN.tags


PLAIN = Reader(render_page(snapshot("geo", "words")))


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '" onmouseover="alert(1)',
        "</style><img src=x onerror=alert(1)>",
        "</script><!--",
        "&lt;b&gt;",
    ],
)
def test_names_are_shown_as_they_are(name: str) -> None:
    """A name that looks like a tag, an entity or an end of one is read as it stands."""
    reader = Reader(render_page(snapshot(name, name)))
    assert reader.tags == PLAIN.tags
    assert reader.words.count(name) >= 5


def test_a_name_that_is_no_text_can_be_shown() -> None:
    """A file's name may be any bytes; the page can be sent and written all the same."""
    page = render_page(snapshot(text="/photons/\udcff.py"))
    assert b"\\udcff.py" in page.encode("utf-8")


@pytest.mark.parametrize("kind", EventKind)
def test_every_happening_has_its_words(kind: EventKind) -> None:
    """Each is in the journal as it is called; each is either marked, or minor."""
    style = EVENT_STYLES.get(kind, "minor")
    assert f'<span class="tag {style}">{kind}</span>' in render_page(
        snapshot(kind=kind)
    )


def test_headings_skip_no_level() -> None:
    """One first heading, and none deeper than by one than the one before."""
    levels = [int(tag[1]) for tag, _ in PLAIN.tags if tag in {"h1", "h2", "h3", "h4"}]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_latest_photons_have_lanes() -> None:
    """Of many photons, those with the latest events have lanes; the page says so."""
    events = tuple(
        Event(EventKind.STARTED, f"photon-{number}", 1, at=float(number))
        for number in range(100)
    )
    page = render_page(attrs.evolve(snapshot(), events=events))
    assert "the latest 12 of 100" in page
    assert "<span>photon-99</span>" in page
    assert "<span>photon-0</span>" not in page
