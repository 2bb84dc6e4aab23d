"""From a candidate to modules: read, compile, execute apart, commit or discard.

The only room that touches `sys.modules`. In come candidates, out come generations
and the photons in them. Nothing of a photon is created or started here.
"""

from __future__ import annotations

from luminal.loading._generation import Generation
from luminal.loading._origin import (
    DirectoryOrigin,
    DistributionOrigin,
    Origin,
    Place,
    claim_directory,
    claimed_directories,
)
from luminal.loading._selection import Choice, Selected
from luminal.loading._source import CodeCache, Pinned, SourceFile, read_source
from luminal.loading._staging import Attempt, Stage, is_in_transaction
from luminal.loading._workers import (
    Result,
    collecting_rarely,
    run_by,
    run_each_in_thread,
    run_in_thread,
)
from luminal.loading._world import World, drop_type_caches

__all__ = [
    "Attempt",
    "Choice",
    "CodeCache",
    "DirectoryOrigin",
    "DistributionOrigin",
    "Generation",
    "Origin",
    "Pinned",
    "Place",
    "Result",
    "Selected",
    "SourceFile",
    "Stage",
    "World",
    "claim_directory",
    "claimed_directories",
    "collecting_rarely",
    "drop_type_caches",
    "is_in_transaction",
    "read_source",
    "run_by",
    "run_each_in_thread",
    "run_in_thread",
]
