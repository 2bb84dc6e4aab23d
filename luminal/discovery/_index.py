"""The persistent index: an earlier answer, and the fingerprint that it rests on.

Each request has two files in the store: the answer with its fingerprint, small and read
at every start; and the facts of every file by digest, read only when something has
changed, so that one edit costs one parse. An answer is never stale, see
`luminal.discovery._files`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from luminal.discovery._candidates import Discovered
from luminal.discovery._files import Fingerprint
from luminal.store import SealedStore, fingerprint

if TYPE_CHECKING:
    from luminal.discovery._discover import Request
    from luminal.discovery._scan import RecordingFileSystem
    from luminal.model import Candidate

__all__ = ["Index"]

_FORMAT = 3
_KEEP = 64  # requests: a host has one or two, a test suite makes thousands


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
        key, seen, rows = kept
        seen = Fingerprint(*seen)
        renewed = seen.still(time.time_ns())
        if renewed is None:
            return None
        if renewed is not seen:
            self._store.save(
                f"discovery-{self._name}", (key, renewed.serialize(), rows)
            )
        return Discovered(rows)

    def facts(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        """Return what is known of single files: path → (digest, packed facts)."""
        kept: Any = self._store.load(f"facts-{self._name}")
        return kept[1] if kept is not None and kept[0] == self._key else {}

    def keep(
        self,
        files: RecordingFileSystem,
        found: list[Candidate],
        known: dict[str, tuple[str, tuple[object, ...]]],
    ) -> None:
        """Store what a scan found.

        Args:
            files: What it has seen.
            found: What came of it.
            known: What `facts` returned before.
        """
        from luminal.discovery._candidates import serialize

        if files.memo != known:
            self._store.save(f"facts-{self._name}", (self._key, files.memo))
        if not files.is_void:
            rows = [serialize(candidate) for candidate in found]
            answer = (self._key, files.fingerprint().serialize(), rows)
            self._store.save(f"discovery-{self._name}", answer)
        for prefix in ("discovery-", "facts-"):
            self._store.prune(prefix, _KEEP)
