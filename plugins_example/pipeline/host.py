"""The host: finds and loads the photons, then passes every line by their hooks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

import luminal
from luminal.model import Report
from plugins_example.pipeline.hookspecs import PipelineSpecs, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from luminal.model import Candidate

GROUP = "luminal.photons"


@attrs.define
class Tally:
    """What became of the lines; `pump` alone writes it."""

    read: int = 0
    unparsed: int = 0
    dropped: int = 0
    errors: Counter[str] = attrs.Factory(Counter)
    seconds: float = 0.0

    @property
    def reported(self) -> int:
        """How many records reached the report."""
        return self.read - self.unparsed - self.dropped - self.errors.total()


@attrs.frozen
class Result:
    """All that a run leaves behind.

    Attributes:
        candidates: What discovery found.
        report: Which photons took part, which did not, and why.
        sections: The report on the log, in the order to print it.
        tally: What became of the lines.
    """

    candidates: Sequence[Candidate]
    report: Report
    sections: tuple[Section, ...]
    tally: Tally


def pump(
    hook: Any,
    lines: Iterable[tuple[str, int]],
    tally: Tally,
    tick: Callable[[int], None],
    is_over: Callable[[], bool],
) -> None:
    """Pass each of *lines* by the hooks, until there is none or *is_over* says so.

    Args:
        hook: The loader's relay for synchronous calls.
        lines: Text and length in bytes of each line.
        tally: Counts what becomes of them.
        tick: Told the length of each line that is done with.
        is_over: Asked after each line.
    """
    began = time.perf_counter()
    for line, size in lines:
        tally.read += 1
        try:
            record = hook.parse(line=line)
            if record is None:
                tally.unparsed += 1
            else:
                hook.enrich(record=record)
                if hook.keep(record=record) is False:
                    tally.dropped += 1
                else:
                    hook.aggregate(record=record)
        except Exception as error:  # noqa: BLE001 - one bad record, not the end
            tally.errors[f"{type(error).__name__}: {error}"] += 1
        tick(size)
        if is_over():
            break
    tally.seconds = time.perf_counter() - began


def in_order(answers: Iterable[Section | list[Section] | None]) -> tuple[Section, ...]:
    """Return the sections in *answers* by their rank."""
    flat: list[Section] = []
    for answer in answers:
        flat.extend(answer if isinstance(answer, list) else [answer] if answer else [])
    return tuple(sorted(flat, key=lambda section: section["rank"]))


async def process(
    lines: Iterable[tuple[str, int]],
    photons: Sequence[str],
    *,
    tick: Callable[[int], None] = lambda _size: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Result:
    """Load the photons, pass *lines* by them, and unload them again.

    Args:
        lines: Text and length in bytes of each line.
        photons: Directories of photons; installed distributions are found as well.
        tick: Told the length of each line that is done with.
        is_over: Asked after each line; True ends the run early.

    Returns:
        The report, and which photons made it.
    """
    found = luminal.discover(*photons, group=GROUP)
    tally = Tally()
    async with luminal.Loader(suppress_errors=True) as loader:
        loader.plugins.add_hookspecs(PipelineSpecs)
        loaded = await loader.load(found)
        started = await loader.start()
        # Reading blocks, so it has a thread; the loop stays free for the photons.
        await asyncio.to_thread(pump, loader.hook, lines, tally, tick, is_over)
        sections = in_order(loader.hook.report())
        report = Report((*loaded.skipped, *loaded.failed, *started))
        return Result(tuple(found), report, sections, tally)
