"""What a reload is about: units whose files differ, and the bytes that were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.errors import LuminalError
from luminal.loading import read_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luminal.loading import Choice, Generation, Origin, Pinned, SourceFile
    from luminal.model import Candidate

__all__ = ["Change", "Renewal"]


@attrs.frozen
class Renewal:
    """What a distribution has become.

    Attributes:
        unit: Its unit.
        origin: Where its modules are looked for now.
        choice: How its photons are chosen.
        candidates: What discovery knows of them.
        files: Its sources; None for an editable installation, which keeps no list.
    """

    unit: str
    origin: Origin
    choice: Choice
    candidates: tuple[Candidate, ...]
    files: Pinned | None


@attrs.define(eq=False)
class Change:
    """The units that are to be replaced, and by what.

    Attributes:
        units: Units whose files have changed, or that are to be replaced anyway.
        snapshot: Path → bytes that have been read already.
        pinned: Unit → files to be used instead of those on disk.
        renewals: Unit of a distribution → what has become of it.
    """

    units: set[str] = attrs.Factory(set)
    snapshot: dict[str, SourceFile] = attrs.Factory(dict)
    pinned: dict[str, Pinned] = attrs.Factory(dict)
    renewals: dict[str, Renewal] = attrs.Factory(dict)

    def differs(self, renewal: Renewal, serving: Generation) -> bool:
        """Whether a distribution is another one than the generation that serves."""
        if renewal.files is None:
            for path, known in serving.sources.items():
                self.compare(renewal.unit, path, known)
            return renewal.unit in self.units
        found = {p: s.checksum for p, s in renewal.files.sources.items()}
        return found != {p: s.checksum for p, s in serving.sources.items()}

    def include(self, renewal: Renewal) -> None:
        """Replace a distribution by what it has become."""
        self.units.add(renewal.unit)
        self.renewals[renewal.unit] = renewal
        if renewal.files is not None:
            self.pinned[renewal.unit] = renewal.files

    @property
    def may_be_half_written(self) -> bool:
        """Whether a file is empty or ends within a line.

        So it does while the next save has truncated it and not written all of it.
        """
        return any(not s.data.endswith(b"\n") for s in self.snapshot.values())

    @property
    def has_empty(self) -> bool:
        """Whether a file is empty, as after its truncation."""
        return any(not source.data for source in self.snapshot.values())

    def equals(self, other: Change) -> bool:
        """Whether the same bytes were read for both."""
        mine = {path: source.checksum for path, source in self.snapshot.items()}
        theirs = {path: source.checksum for path, source in other.snapshot.items()}
        return mine == theirs and self.units == other.units

    def drop_unchanged(self, serving: Mapping[str, Generation]) -> None:
        """Drop units that serve what was read by now, or that serve no more."""
        for unit in list(self.units):
            generation = serving.get(unit)
            read = self.snapshot.keys() & generation.sources if generation else set()
            if generation is None or (
                read
                and all(
                    self.snapshot[path].checksum == generation.sources[path].checksum
                    for path in read
                )
            ):
                self.units.discard(unit)

    def compare(self, unit: str, path: str, known: SourceFile) -> None:
        """Read the file at *path*; replace *unit* if it is not what is *known*.

        What equals them is dropped: a touch, a chmod, a checkout there and back.
        """
        try:
            source = read_source(path)
        except LuminalError:
            self.units.add(unit)  # staging it will say what is wrong
            return
        if source.checksum != known.checksum:
            self.units.add(unit)
            self.snapshot[path] = source
