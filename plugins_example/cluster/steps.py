"""What workers do. Dask imports this module in their processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import luminal
import luminal.fleet
from plugins_example.pipeline.hookspecs import PipelineSpecs

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[int, "dict[str, Any] | None"]
"""Number of a line, and its record; None for one that was dropped."""


def make_loader() -> luminal.Loader:
    """Return the Loader of a worker process; the fleet says what it loads."""
    return luminal.Loader(hookspecs=[PipelineSpecs], unknown_hooks="ignore")


def process(first: int, lines: Sequence[str]) -> list[Row]:
    """Parse, enrich and filter some lines.

    Args:
        first: Number of the first line.
        lines: Text of each.

    Returns:
        One row for each line, of plain values: whoever gets them has no photon.
    """
    hook = luminal.fleet.hook()
    rows: list[Row] = []
    for number, line in enumerate(lines, first):
        record = hook.parse(line=line)
        if record is not None:
            hook.enrich(record=record)
            if hook.keep(record=record) is False:
                record = None
        rows.append((number, record))
    return rows
