"""Candidates as discovery makes them: plain tuples, which need no import.

attrs takes a quarter as long to import as a thousand files to parse. So a discovery
makes no `luminal.model.Candidate`: `luminal.discovery.Discovered` does, when somebody
looks at one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from luminal.model import Candidate, Problem

__all__ = ["DIRECTORY", "DISTRIBUTION", "Draft", "candidate_of", "draft_of"]

DIRECTORY = "directory"
DISTRIBUTION = "distribution"


class Draft(NamedTuple):
    """The values of a `luminal.model.Candidate`, in the order of its attributes.

    Attributes:
        source: The value of its `luminal.model.Source`.
    """

    name: str
    source: str
    origin: str
    location: str
    target: str = ""
    line: int = 0
    version: str = ""
    author: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    checksum: str = ""
    requirements: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    api: str = ""
    group: str = ""
    owns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    distribution: str = ""
    metadata: str = ""
    root: str = ""
    enabled: bool = True
    problem: Problem | None = None


def candidate_of(draft: Draft) -> Candidate:
    """Return the candidate that *draft* stands for."""
    from luminal.model import Candidate, Source

    values: tuple[Any, ...] = draft
    name, source, *rest = values
    return Candidate(name, Source(source), *rest)


def draft_of(candidate: Candidate) -> Draft:
    """Return *candidate* as a draft."""
    values = {field: getattr(candidate, field) for field in Draft._fields}
    return Draft(**{**values, "source": candidate.source.value})
