"""The lines that tracebacks and `inspect` show of photons' files.

`linecache` knows a file by its path alone, and several texts of one path may run: calls
of an earlier generation go on. So it gets what is right for all of them, which is the
new text up to the first statement in which they differ, and nothing after it. Equal
lines further on are left out as well, since `inspect` takes whole blocks of lines. When
the earlier generations have been collected, all lines are shown.

Code that is being staged gets its own lines when it asks: libraries compile functions
from their source, or read what is written in it. When it is rejected, its text counts
as that of an earlier generation.
"""

from __future__ import annotations

import gc
import io
import linecache
from collections import UserList
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from luminal.errors import LuminalError
from luminal.loading._importer import current_attempt
from luminal.loading._source import SourceFile, read_source

if TYPE_CHECKING:
    from luminal.loading._generation import Generation

__all__ = ["end_lines", "show_late_lines", "show_lines", "show_staged_lines"]

_LARGEST = 200_000
"""Characters of a text in which statements are looked for; of a larger one that differs
nothing is shown. The parser takes some 0.2 s for as many."""


class _Lines(UserList[str]):
    """The lines that are shown of one path, found when they are asked for.

    Attributes:
        current: The generation that runs, if one does.
        texts: Each generation that has executed the file, the latest last, and what it
            executed.
    """

    current: ref[Generation] | None = None
    texts: tuple[tuple[ref[Generation], SourceFile], ...] = ()
    # What was found, of which texts.
    _found: tuple[tuple[str, ...], list[str]] = ((), [])
    _was_collected_for: tuple[str, ...] = ()

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def data(self) -> list[str]:  # type: ignore[override]
        """The lines; `UserList` asks for nothing else."""
        attempt = current_attempt()
        if attempt is not None:
            for known, source in self.texts:
                host = getattr(known(), "host", None)
                if getattr(host, "stage", None) is attempt.stage:
                    return _common_lines([source])
        texts = self._living()
        key = tuple(source.checksum for source in texts)
        if len(texts) > 1 and key != self._was_collected_for and gc.isenabled():
            # An earlier generation is garbage in most cases, and not collected yet.
            self._was_collected_for = key
            gc.collect()
            texts = self._living()
            key = tuple(source.checksum for source in texts)
        if key != self._found[0]:
            self._found = key, _common_lines(texts)
        return self._found[1]

    def __getitem__(self, index: int | slice) -> str | list[str]:  # type: ignore[override]
        return self.data[index]

    def _living(self) -> list[SourceFile]:
        """Return the different texts that code may have, the one that runs first."""
        alive = [source for known, source in self.texts if known() is not None]
        if self.current is None:
            with suppress(LuminalError):
                alive.append(read_source(self.path))
        return list({s.checksum: s for s in reversed(alive)}.values())

    def _forget(self, gone: ref[Generation]) -> None:
        """Forget a generation that has been collected."""
        self.texts = tuple([pair for pair in self.texts if pair[0] is not gone])
        if self.current is gone:
            self.current = None
        if not self.texts and _shown.get(self.path) is self:
            _shown.pop(self.path, None)
            entry: Any = linecache.cache.get(self.path)
            if entry is not None and len(entry) == 4 and entry[2] is self:
                linecache.cache.pop(self.path, None)


# Path → what is shown of it.
_shown: dict[str, _Lines] = {}


def show_lines(generation: Generation) -> None:
    """Let tracebacks show the lines of *generation*, which runs from now on."""
    for source in _executed(generation):
        show_late_lines(generation, source, is_current=True)


def show_staged_lines(generation: Generation, source: SourceFile) -> None:
    """Note that *generation* executes *source*, where others have executed its path.

    Args:
        generation: It does not serve yet.
        source: What is executed.
    """
    if source.path in _shown:
        show_late_lines(generation, source, is_current=False)


def show_late_lines(
    generation: Generation, source: SourceFile, *, is_current: bool
) -> None:
    """Let tracebacks show the lines of a module that is imported late.

    Args:
        generation: It is of this one.
        source: What is executed.
        is_current: Whether that one is what runs for all.
    """
    path = source.path
    lines = _shown.get(path)
    if lines is None:
        lines = _shown.setdefault(path, _Lines(path))
    others = lines.texts
    for pair in others:
        if pair[0]() is generation:
            others = tuple([each for each in others if each is not pair])
    known = ref(generation, lines._forget)  # noqa: SLF001 - our own
    if is_current:
        lines.current = known
        lines.texts = (*others, (known, source))
    else:
        lines.texts = ((known, source), *others)
    # An entry without a modification time is never compared with the file.
    shown: Any = lines
    linecache.cache[path] = (len(source.data), None, shown, path)


def end_lines(generation: Generation) -> None:
    """Note that *generation* does not run any more for all: its calls may go on."""
    for source in _executed(generation):
        lines = _shown.get(source.path)
        if lines is not None and lines.current is not None:
            current = lines.current()
            if current is None or current is generation:
                lines.current = None


def _executed(generation: Generation) -> list[SourceFile]:
    """Return the sources of the modules that have been executed."""
    found = []
    for fullname in tuple(generation.modules):
        location = generation.locations.get(fullname)
        source = generation.sources.get(location.path) if location else None
        if source is not None:
            found.append(source)
    return found


def lines_of(text: str) -> list[str]:
    """Split *text* as Python counts its lines: a form feed begins none."""
    lines = io.StringIO(text).readlines()
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def _common_lines(texts: list[SourceFile]) -> list[str]:
    """Return the lines of the first of *texts*, as far as all are the same."""
    try:
        first, *others = [source.text for source in texts] or [""]
    except (SyntaxError, UnicodeError, ValueError):  # the file has become no text
        return []
    lines = lines_of(first)
    end = len(lines)
    for other in others:
        end = min(end, _first_difference(lines, lines_of(other)))
    return lines[:end]


def _first_difference(one: list[str], other: list[str]) -> int:
    """Return where the first statement begins in which two texts differ."""
    shorter = min(len(one), len(other))
    at = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    return min(_statement_at(one, at), _statement_at(other, at))


def _statement_at(lines: list[str], at: int) -> int:
    """Return the first line of the statement at top level that is around line *at*.

    Comments after a statement count as part of it, as they do for `inspect`.
    """
    text = "".join(lines)
    if len(text) > _LARGEST:
        return 0
    from luminal._syntax import UNREADABLE, parse

    try:
        body = parse(text).body
    except UNREADABLE:
        return 0
    start = 0
    for node in body:
        decorators = getattr(node, "decorator_list", ())
        first = min([node.lineno, *(each.lineno for each in decorators)]) - 1
        if first > at:
            break
        start = first
    return start
