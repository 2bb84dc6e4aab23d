"""What `discover` returns: an immutable sequence whose records are made on access.

A host that finds nothing changed does not import attrs before it looks at a record.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from luminal.model import Candidate

__all__ = ["Discovered", "deserialize", "serialize"]


class Discovered(Sequence["Candidate"]):
    """Candidates in load order.

    Args:
        rows: Candidates, or rows that `luminal.discovery._index` has packed.
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[Candidate | bytes] = ()) -> None:
        # Private to this object; a row is replaced by the record that it means.
        self._rows: list[Candidate | bytes] = list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Discovered: ...
    def __getitem__(self, index: int | slice) -> Candidate | Discovered:
        if isinstance(index, slice):
            return Discovered(self._rows[index])
        row = self._rows[index]
        if isinstance(row, bytes):
            row = self._rows[index] = deserialize(row)
        return row

    def __iter__(self) -> Iterator[Candidate]:

        rows = self._rows
        for index, row in enumerate(rows):
            if isinstance(row, bytes):
                rows[index] = made = deserialize(row)
                yield made
            else:
                yield row

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Discovered):
            return NotImplemented
        return tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        disabled = sum(not candidate.enabled for candidate in self)
        return (
            f"<Discovered photons={len(self)} problems={len(self.problems)} "
            f"disabled={disabled}>"
        )

    @property
    def problems(self) -> tuple[Candidate, ...]:
        """The candidates that cannot be loaded, in order."""
        return tuple(candidate for candidate in self if candidate.problem)

    def by_name(self, name: str) -> Candidate:
        """Return the candidate called *name*; of several, one that can be loaded.

        Args:
            name: A photon's name; case and normal form do not matter.

        Raises:
            PhotonNotFoundError: There is none.
        """
        from luminal.discovery._names import fold

        found = [c for c in self if fold(c.name) == fold(name)]
        found.sort(key=lambda c: (not c.enabled, c.problem is not None))
        if found:
            return found[0]
        from luminal.errors import PhotonNotFoundError, did_you_mean

        raise PhotonNotFoundError(
            "was not found",
            photon=name,
            why=f"none of {len(self)} candidates has this name",
            hint=did_you_mean(name, [c.name for c in self])
            or "check the directories and the group",
        )


def serialize(candidate: Candidate) -> bytes:
    """Return *candidate* as bytes for a sealed file."""
    import attrs

    name, source, *rest, problem = attrs.astuple(candidate, recurse=False)
    last = attrs.astuple(problem) if problem else None
    return marshal.dumps((name, source.value, *rest, last))


def deserialize(packed: bytes) -> Candidate:
    """Return the candidate in *packed*, which `serialize` must have made."""
    from luminal.model import Candidate, Problem, Source

    # Authenticated by the store.
    name, source, *rest, last = marshal.loads(packed)  # noqa: S302
    values: list[Any] = [*rest, Problem(*last) if last else None]
    return Candidate(name, Source(source), *values)
