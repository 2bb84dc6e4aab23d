"""The hooks of the pipeline, in the order in which a line of the log meets them.

What travels is plain, so that a photon imports nothing of the host. A *record* is
a dictionary that ``parse`` makes and ``enrich`` adds to; a *section* is a
dictionary with ``rank`` (its place in the report), ``title``, ``headings`` and
``rows``.

Keys that the photons of this example agree on: ``address``, ``time`` (an aware
`datetime.datetime`), ``method``, ``path`` (without the query), ``status``,
``bytes``, ``agent``, ``seconds`` (None where the log does not say), and, once
``agents`` has been at it, ``family`` and ``is_bot``.
"""

from __future__ import annotations

from typing import Any

from luminal import hookspec

Record = dict[str, Any]
Section = dict[str, Any]


class PipelineSpecs:
    """What a photon of the pipeline may implement; all of it is optional."""

    @hookspec(firstresult=True)
    def parse(self, line: str) -> Record | None:
        """Make a record of *line*; None lets the next photon try.

        Args:
            line: One line of the log, without its end.
        """

    @hookspec
    def enrich(self, record: Record) -> None:
        """Add keys to *record*, in place."""

    @hookspec(firstresult=True)
    def keep(self, record: Record) -> bool | None:
        """Say False to drop *record*; None where it is not yours to decide."""

    @hookspec
    def aggregate(self, record: Record) -> None:
        """Take from *record* what the report will need; it is not kept."""

    @hookspec
    def report(self) -> Section | list[Section] | None:
        """Return one section of the report, several, or None."""
