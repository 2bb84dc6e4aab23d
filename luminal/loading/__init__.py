"""From a candidate to modules: read, compile, execute beside running code, commit.

This is the only package that writes to `sys.modules`. It creates and starts nothing of
a photon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.loading._generation import Generation as Generation
    from luminal.loading._importer import PhotonLoader as PhotonLoader
    from luminal.loading._judging import Snapshot as Snapshot
    from luminal.loading._judging import accepted_entry as accepted_entry
    from luminal.loading._judging import snapshot_of as snapshot_of
    from luminal.loading._judging import with_snapshot as with_snapshot
    from luminal.loading._late import read_unit as read_unit
    from luminal.loading._origin import BundleOrigin as BundleOrigin
    from luminal.loading._origin import DirectoryOrigin as DirectoryOrigin
    from luminal.loading._origin import DistributionOrigin as DistributionOrigin
    from luminal.loading._origin import ModuleLocation as ModuleLocation
    from luminal.loading._origin import Origin as Origin
    from luminal.loading._origin import claimed_directories as claimed_directories
    from luminal.loading._owned import add_owned as add_owned
    from luminal.loading._selection import Choice as Choice
    from luminal.loading._selection import Selected as Selected
    from luminal.loading._source import CodeCache as CodeCache
    from luminal.loading._source import Pinned as Pinned
    from luminal.loading._source import SourceFile as SourceFile
    from luminal.loading._source import extensions_of as extensions_of
    from luminal.loading._source import files_of_bundle as files_of_bundle
    from luminal.loading._source import read_bundle_files as read_bundle_files
    from luminal.loading._source import read_installed_files as read_installed_files
    from luminal.loading._source import read_source as read_source
    from luminal.loading._staging import Attempt as Attempt
    from luminal.loading._staging import Stage as Stage
    from luminal.loading._staging import is_in_transaction as is_in_transaction
    from luminal.loading._workers import Result as Result
    from luminal.loading._workers import WorkerThread as WorkerThread
    from luminal.loading._workers import describe_position as describe_position
    from luminal.loading._workers import reach_loop as reach_loop
    from luminal.loading._workers import run_each_in_thread as run_each_in_thread
    from luminal.loading._workers import run_from_thread as run_from_thread
    from luminal.loading._workers import run_in_thread as run_in_thread
    from luminal.loading._workers import run_on_worker as run_on_worker
    from luminal.loading._world import World as World
    from luminal.loading._world import forget_registrations as forget_registrations
    from luminal.loading._world import generation_of as generation_of
    from luminal.loading._world import namespaces_of as namespaces_of
    from luminal.loading._writes import Write as Write
    from luminal.loading._writes import latest_start as latest_start
    from luminal.loading._writes import look_at_writes as look_at_writes
    from luminal.loading._writes import record_writes as record_writes
    from luminal.loading._writes import take_write as take_write

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_generation": ("Generation",),
        "_importer": ("PhotonLoader",),
        "_judging": (
            "Snapshot",
            "accepted_entry",
            "snapshot_of",
            "with_snapshot",
        ),
        "_late": ("read_unit",),
        "_origin": (
            "BundleOrigin",
            "DirectoryOrigin",
            "DistributionOrigin",
            "Origin",
            "ModuleLocation",
            "claimed_directories",
        ),
        "_owned": ("add_owned",),
        "_selection": (
            "Choice",
            "Selected",
        ),
        "_source": (
            "CodeCache",
            "Pinned",
            "SourceFile",
            "extensions_of",
            "files_of_bundle",
            "read_bundle_files",
            "read_installed_files",
            "read_source",
        ),
        "_staging": (
            "Attempt",
            "Stage",
            "is_in_transaction",
        ),
        "_workers": (
            "Result",
            "WorkerThread",
            "describe_position",
            "reach_loop",
            "run_each_in_thread",
            "run_from_thread",
            "run_in_thread",
            "run_on_worker",
        ),
        "_world": (
            "World",
            "forget_registrations",
            "generation_of",
            "namespaces_of",
        ),
        "_writes": (
            "Write",
            "look_at_writes",
            "latest_start",
            "record_writes",
            "take_write",
        ),
    },
)
