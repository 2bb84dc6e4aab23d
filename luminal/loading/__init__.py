"""From a candidate to modules: read, compile, execute apart, commit or discard.

The only room that touches `sys.modules`. In come candidates, out come generations
and the photons in them. Nothing of a photon is created or started here.
"""

from __future__ import annotations

from luminal.loading.apart import Result, run_apart, run_by, run_each_apart
from luminal.loading.attempt import Attempt, Pinned
from luminal.loading.code import CodeCache
from luminal.loading.collecting import collecting_rarely
from luminal.loading.generation import Generation
from luminal.loading.origin import (
    DirectoryOrigin,
    DistributionOrigin,
    Origin,
    claim_directory,
    claimed_directories,
)
from luminal.loading.place import Place
from luminal.loading.selection import Choice, Selected
from luminal.loading.source import SourceFile, read_source
from luminal.loading.staging import Stage, is_in_transaction
from luminal.loading.typecaches import drop_type_caches
from luminal.loading.world import World

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
    "run_apart",
    "run_by",
    "run_each_apart",
]
