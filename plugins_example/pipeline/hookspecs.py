"""The hooks of the pipeline, in the order in which the host calls them.

Their arguments and results are plain values, so that photons import nothing of the
host. A *record* is a dictionary that ``parse`` makes and ``enrich`` adds to. A
*section* is a dictionary with ``rank`` (its position in the report), ``title``,
``headings`` and ``rows``.

The photons of this example use the keys ``address``, ``time`` (an aware
`datetime.datetime`), ``method``, ``path`` (without the query), ``status``, ``bytes``,
``agent`` and ``seconds`` (None if the log does not have them). The photon ``agents``
adds ``family`` and ``is_bot``.
"""

from __future__ import annotations

from typing import Any

from luminal import hookspec

Record = dict[str, Any]
Section = dict[str, Any]


class PipelineSpecs:
    """The hooks that photons of the pipeline implement. Each is optional."""

    @hookspec(firstresult=True)
    def parse(self, line: str) -> Record | None:
        """Return the record of *line*, or None to let the next photon try.

        Args:
            line: One line of the log, without its line end.
        """

    @hookspec
    def enrich(self, record: Record) -> None:
        """Add keys to *record*, in place."""

    @hookspec(firstresult=True)
    def keep(self, record: Record) -> bool | None:
        """Return False to drop *record*, or None to let the next photon decide."""

    @hookspec
    def aggregate(self, record: Record) -> None:
        """Count *record* for the report; the host does not keep it."""

    @hookspec
    def report(self) -> Section | list[Section] | None:
        """Return one section of the report, several, or None."""
