"""Texts that photons' code makes: safe to keep, to print, and never without an end."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from luminal import Loader, discover
from luminal._plain import error_text, plain, repr_of, steps_of, to_json
from luminal.managers.status import report_of
from luminal.web import render_page, snapshot_of

if TYPE_CHECKING:
    from tests.conftest import Photons


class Loud(str):
    """A text with ideas of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        raise SystemExit("str")

    def __len__(self) -> int:
        raise SystemExit("len")

    def __getitem__(self, _: object) -> str:
        raise SystemExit("item")

    def isprintable(self) -> bool:
        """Lie."""
        return True


class Unreadable(Exception):
    """An exception that cannot be asked."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__()
        self.raised = raised

    def __str__(self) -> str:
        raise self.raised

    __repr__ = __str__


@pytest.mark.parametrize(
    "raised",
    [ValueError(), SystemExit(), GeneratorExit(), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_the_text_of_an_exception_that_raises(raised: BaseException) -> None:
    """Whatever `__str__` raises is not raised further."""
    assert error_text(Unreadable(raised)).startswith("Unreadable: ")
    assert "Unreadable" in repr_of(Unreadable(raised))


def test_texts_are_plain_bounded_and_printable() -> None:
    """A subclass of `str` becomes a `str`; what would control a terminal is escaped."""
    text = plain(Loud("\x1b[31m <b> \x07 \u202e \udcff \u00a0\n\tz"))
    assert type(text) is str
    assert text == "\\x1b[31m <b> \\x07 \\u202e \\udcff \u00a0\n\tz"
    assert len(plain("x" * 10**7)) < 3000
    assert plain("x" * 10**7).startswith("xxx")


def test_the_name_of_a_class_is_read_without_its_metaclass() -> None:
    """A metaclass may define `__name__` as a property that raises."""

    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise SystemExit

    class Weird(Exception, metaclass=Meta):
        pass

    assert error_text(Weird("x")) == "Weird: x"


def test_an_endless_recursion_costs_no_second() -> None:
    """Of a million frames only the first and the last are looked at."""

    def deeper() -> None:
        deeper()

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200_000)
    try:
        with pytest.raises(RecursionError) as caught:
            deeper()
        steps = [frame.f_code.co_name for frame, _ in steps_of(caught.value)]
    finally:
        sys.setrecursionlimit(limit)
    assert 100 < len(steps) <= 500
    assert steps[0].startswith("test_")
    assert steps[-1] == "deeper"


def test_json_holds_no_lone_surrogates() -> None:
    """Other readers than Python refuse them; what was there stays to be read."""
    document = {"path": "caf\udce9", "ok": "caf\u00e9 \U0001f600", "said": "\\udce9"}
    text = to_json(document)
    assert text.isascii()
    read = json.loads(text)
    assert read == {**document, "path": "caf\\udce9"}
    json.dumps(read, ensure_ascii=False).encode()


HOSTILE = "\\x1b]0;owned\\x07 <script> \\u202e"


@pytest.mark.anyio
async def test_what_a_photon_says_is_escaped_wherever_it_is_shown(
    photons: Photons, caplog: pytest.LogCaptureFixture
) -> None:
    """Terminal, HTML and JSON show no control character of a photon's."""
    photons.photon("bad", f"photon_description = '{HOSTILE}'\n"
                   f"def start(self):\n    raise OSError('{HOSTILE}')")  # fmt: skip
    photons.write("worse.py", f"raise OSError('{HOSTILE}')")
    async with Loader(logging=True) as loader:
        await loader.load(discover(photons.path, group=None))
        await loader.start()
        shown = [
            render_page(snapshot_of(loader)),
            str(loader.report),
            *map(str, loader.events.journal),
            *(record.getMessage() for record in caplog.records),
        ]
        assert any("\\x1b" in text for text in shown)
        assert "<script> " not in shown[0]
        for text in (*shown, to_json(report_of(loader)), loader.report.to_json()):
            assert not {"\x1b", "\x07", "\u202e"} & set(text)
