"""Texts that photons' code makes: safe to keep, to print, and never without an end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from luminal._plain import error_text, plain, repr_of, steps_of

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.anyio


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
