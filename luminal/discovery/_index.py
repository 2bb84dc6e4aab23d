"""The persistent index: an answer, and the evidence that it rests on.

Two sealed files a request: the answer with its evidence, small and read at every
start; and the facts of every file by digest, read only when something has changed,
so that one edit costs one parse. Never stale: see `luminal.discovery._files`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from luminal.discovery._candidates import Discovered
from luminal.discovery._files import Evidence
from luminal.store import SealedStore, fingerprint

if TYPE_CHECKING:
    from luminal.discovery._discover import Request
    from luminal.discovery._scan import Witness
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
        seen = Evidence(*seen)
        evidence = seen.still(time.time_ns())
        if evidence is None:
            return None
        if evidence is not seen:
            self._store.save(f"discovery-{self._name}", (key, evidence.pack(), rows))
        return Discovered(rows)

    def facts(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        """Return what is known of single files: path → (digest, packed facts)."""
        kept: Any = self._store.load(f"facts-{self._name}")
        return kept[1] if kept is not None and kept[0] == self._key else {}

    def keep(
        self,
        witness: Witness,
        found: list[Candidate],
        known: dict[str, tuple[str, tuple[object, ...]]],
    ) -> None:
        """Write down what a survey found.

        Args:
            witness: What it has seen.
            found: What came of it.
            known: What `facts` returned before.
        """
        from luminal.discovery._candidates import pack

        if witness.memo != known:
            self._store.save(f"facts-{self._name}", (self._key, witness.memo))
        if not witness.is_void:
            rows = [pack(candidate) for candidate in found]
            answer = (self._key, witness.evidence().pack(), rows)
            self._store.save(f"discovery-{self._name}", answer)
        for prefix in ("discovery-", "facts-"):
            self._store.prune(prefix, _KEEP)
