"""The host: finds and loads the photons, and calls their hooks for every line."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

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
    """Counts of lines by what happened to them. Only `call_hooks` changes it."""

    read: int = 0
    unparsed: int = 0
    dropped: int = 0
    errors: Counter[str] = attrs.Factory(Counter)
    seconds: float = 0.0

    @property
    def reported(self) -> int:
        """Number of records in the report."""
        return self.read - self.unparsed - self.dropped - self.errors.total()


@attrs.frozen
class Result:
    """The result of a run.

    Attributes:
        candidates: The photons that discovery found.
        report: The outcome of each photon.
        sections: The report on the log, in the order to print it.
        tally: Counts of lines.
    """

    candidates: Sequence[Candidate]
    report: Report
    sections: tuple[Section, ...]
    tally: Tally


def call_hooks(
    hooks: PipelineSpecs,
    lines: Iterable[tuple[str, int]],
    tally: Tally,
    tick: Callable[[int], None],
    is_over: Callable[[], bool],
) -> None:
    """Call the hooks for each of *lines*, until *is_over* returns True.

    Args:
        hooks: The Loader's hooks.
        lines: Text and length in bytes of each line.
        tally: Is updated.
        tick: Called with the length of each line that is done.
        is_over: Called after each line.
    """
    began = time.perf_counter()
    for line, size in lines:
        tally.read += 1
        try:
            record = hooks.parse(line=line)
            if record is None:
                tally.unparsed += 1
            else:
                hooks.enrich(record=record)
                if hooks.keep(record=record) is False:
                    tally.dropped += 1
                else:
                    hooks.aggregate(record=record)
        except Exception as error:  # noqa: BLE001 - the next records still count
            tally.errors[f"{type(error).__name__}: {error}"] += 1
        tick(size)
        if is_over():
            break
    tally.seconds = time.perf_counter() - began


def in_order(results: Iterable[Section | list[Section] | None]) -> tuple[Section, ...]:
    """Return the sections in *results*, sorted by rank."""
    flat: list[Section] = []
    for result in results:
        flat.extend(result if isinstance(result, list) else [result] if result else [])
    return tuple(sorted(flat, key=lambda section: section["rank"]))


async def process(
    lines: Iterable[tuple[str, int]],
    photons: Sequence[str],
    *,
    tick: Callable[[int], None] = lambda _size: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Result:
    """Load the photons, call their hooks for each of *lines*, and unload them.

    Args:
        lines: Text and length in bytes of each line.
        photons: Directories of photons, beside those of installed distributions.
        tick: Called with the length of each line that is done.
        is_over: Called after each line; True ends the run early.
    """
    found = luminal.discover(*photons, group=GROUP)
    tally = Tally()
    async with luminal.Loader(suppress_errors=True) as loader:
        loader.plugins.add_hookspecs(PipelineSpecs)
        loaded = await loader.load(found)
        started = await loader.start()
        hooks = loader.hooks(PipelineSpecs)
        # Reading blocks, so it runs on a thread; photons may use the loop.
        await asyncio.to_thread(call_hooks, hooks, lines, tally, tick, is_over)
        sections = in_order(hooks.report())
        report = Report((*loaded.skipped, *loaded.failed, *started))
        return Result(tuple(found), report, sections, tally)
