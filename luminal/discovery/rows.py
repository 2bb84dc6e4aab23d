"""Candidates as bytes that the index keeps, and back."""

from __future__ import annotations

import marshal
from typing import Any

import attrs

from luminal.model import Candidate, Problem, Source

__all__ = ["pack", "unpack"]


def pack(candidate: Candidate) -> bytes:
    """Return *candidate* as bytes for a sealed file."""
    name, source, *rest, problem = attrs.astuple(candidate, recurse=False)
    last = attrs.astuple(problem) if problem else None
    return marshal.dumps((name, source.value, *rest, last))


def unpack(packed: bytes) -> Candidate:
    """Return the candidate that `pack` made *packed* of; it must be from our index."""
    # Authenticated by the store.
    name, source, *rest, last = marshal.loads(packed)  # noqa: S302
    values: list[Any] = [*rest, Problem(*last) if last else None]
    return Candidate(name, Source(source), *values)
