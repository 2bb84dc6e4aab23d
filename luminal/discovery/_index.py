"""What `discover` returns, and the persistent index that gives an earlier answer.

Each request has two files in the store: the answer with its fingerprint, small and read
at every start; and the facts of every file by digest, read only when something has
changed, so that one edit costs one parse. An answer is never stale, see
`luminal.discovery._files`. Records are made on access: a host that finds nothing
changed does not import attrs before it looks at one.
"""

from __future__ import annotations

import marshal
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Union, overload

from luminal.discovery._draft import Draft, candidate_of
from luminal.discovery._files import Fingerprint
from luminal.store import SealedStore, fingerprint

if TYPE_CHECKING:
    from luminal.discovery._discover import Request
    from luminal.discovery._scan import RecordingFileSystem
    from luminal.model import Candidate, Problem

__all__ = ["Discovered", "Index"]

_Row = Union["Candidate", Draft, bytes]
_FORMAT = 6
_KEEP = 64  # requests: a host has one or two, a test suite makes thousands


class Discovered(Sequence["Candidate"]):
    """Candidates in load order.

    Args:
        rows: Candidates, drafts of them, or drafts that `serialize` has packed.
        warnings: Problems of what can be loaded nevertheless, or their packed values.

    Attributes:
        seconds: How long the discovery took; 0 if that is unknown.
        api_version: The host's version of its API that they were checked for.
    """

    __slots__ = ("_rows", "_warnings", "api_version", "seconds")

    def __init__(
        self,
        rows: Iterable[_Row] = (),
        warnings: Iterable[Problem | tuple[Any, ...]] = (),
    ) -> None:
        # Private to this object; a row is replaced by the record that it means.
        self._rows: list[_Row] = list(rows)
        self._warnings = tuple(warnings)
        self.seconds: float = 0.0
        self.api_version: str | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Discovered: ...
    def __getitem__(self, index: int | slice) -> Candidate | Discovered:
        if isinstance(index, slice):
            part = Discovered(self._rows[index])
            part.api_version = self.api_version
            return part
        made = self._rows[index] = _record(self._rows[index])
        return made

    def __iter__(self) -> Iterator[Candidate]:
        rows = self._rows
        for index, row in enumerate(rows):
            made = rows[index] = _record(row)
            yield made

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

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is probably a mistake, though everything else can be loaded."""
        from luminal.model import Problem

        return tuple(
            Problem(*found) if isinstance(found, tuple) else found
            for found in self._warnings
        )

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


def _record(row: _Row) -> Candidate:
    """Return the candidate that *row* stands for."""
    if isinstance(row, bytes):
        row = deserialize(row)
    return candidate_of(row) if isinstance(row, Draft) else row


def serialize(draft: Draft) -> bytes:
    """Return *draft* as bytes for a sealed file."""
    problem = draft.problem
    row: tuple[Any, ...] = (*draft[:-1], problem.values() if problem else None)
    return marshal.dumps(row)


def deserialize(packed: bytes) -> Draft:
    """Return the draft in *packed*, which `serialize` must have made."""
    row: tuple[Any, ...] = marshal.loads(packed)  # noqa: S302  (the store checked it)
    draft = Draft(*row)
    if draft.problem is None:
        return draft
    from luminal.model import Problem

    return draft._replace(problem=Problem(*row[-1]))


class Index:
    """What earlier processes know about one request.

    Args:
        request: The request.
        store: Where it is kept.
    """

    __slots__ = ("_key", "_name", "_store")

    def __init__(self, request: Request, store: SealedStore) -> None:
        self._key = (_FORMAT, *request.key())
        self._name = fingerprint(repr(self._key).encode("utf-8", "surrogatepass"))
        self._store = store

    def answer(self) -> Discovered | None:
        """Return the earlier answer if it still holds, else None."""
        kept: Any = self._store.load(f"discovery-{self._name}")
        if kept is None or kept[0] != self._key:
            return None
        key, seen, rows, warnings = kept
        seen = Fingerprint(*seen)
        renewed = seen.still(time.time_ns())
        if renewed is None:
            return None
        if renewed is not seen:
            self._store.save(
                f"discovery-{self._name}", (key, renewed.serialize(), rows, warnings)
            )
        return Discovered(rows, warnings)

    def facts(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        """Return what is known of single files: path → (digest, packed facts)."""
        kept: Any = self._store.load(f"facts-{self._name}")
        return kept[1] if kept is not None and kept[0] == self._key else {}

    def keep(
        self,
        files: RecordingFileSystem,
        found: list[Draft],
        known: dict[str, tuple[str, tuple[object, ...]]],
    ) -> None:
        """Store what a scan found.

        Args:
            files: What it has seen.
            found: What came of it.
            known: What `facts` returned before.
        """
        if files.memo != known:
            self._store.save(f"facts-{self._name}", (self._key, files.memo))
        if not files.is_void:
            rows = [serialize(draft) for draft in found]
            warnings = [problem.values() for problem in files.warnings]
            answer = (self._key, files.fingerprint().serialize(), rows, warnings)
            self._store.save(f"discovery-{self._name}", answer)
        for prefix in ("discovery-", "facts-"):
            self._store.prune(prefix, _KEEP)
