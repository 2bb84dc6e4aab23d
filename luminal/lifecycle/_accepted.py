"""Run the version of a distribution that was accepted, where another is installed.

After a ``pip install -U`` that nobody has accepted, the vault has the files of the
version that the lock lists, with its metadata: a host that starts finds its photons
there, as if it were installed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from luminal.discovery import discover
from luminal.errors import LuminalError, PhotonTornError
from luminal.loading import (
    DistributionOrigin,
    accepted_entry,
    add_owned,
    read_bundle_files,
    read_installed_files,
    read_source,
    with_snapshot,
)
from luminal.model import Problem
from luminal.trust import Status, changes_between

if TYPE_CHECKING:
    from luminal.loading import Pinned
    from luminal.trust import Judge, LockEntry

__all__ = ["use_accepted", "use_accepted_bundle"]


def use_accepted(judge: Judge, unit: Any, files: Pinned | None) -> Pinned | None:
    """Let a unit of a batch be the accepted version, where another is installed.

    Args:
        judge: Of the host.
        unit: With ``origin``, ``name``, ``candidates`` and ``kept``; changed where the
            accepted version is used.
        files: What is installed; None where it is incomplete.

    Returns:
        The files that are to be judged; None where there are none.

    Raises:
        PhotonVerificationError: What the vault has was changed; names the file.
        LockFileError: The lock cannot be read.
    """
    name, torn, asked = unit.candidates[0].distribution, None, None
    if files is not None:
        location = files.locations.get(unit.name) or unit.origin.find(unit.name)
        if location is None:
            return files
        at = unit.name, unit.origin, location
        try:
            files = add_owned(unit.name, files, read_source)
            files = with_snapshot(judge, *at, files, read_source)
        except PhotonTornError as error:  # a file that is no module is missing
            torn = error
        else:
            assert files.snapshot is not None  # noqa: S101 - just made
            asked = files.snapshot.unit
            listed = judge.file.units.get(name)
            if listed is not None and listed.tree == asked.tree.digest:
                return files
    entry = accepted_entry(judge, name)
    if entry is None:
        if torn is not None:
            raise torn
        return files
    why = "what is installed is incomplete"
    if torn is not None:
        why = f"{torn.file} {torn.what}"
    elif asked is not None:
        why = changes_between(judge.vault, entry, asked)
    return _become(judge, unit, entry, why) or files


def use_accepted_bundle(judge: Judge, unit: Any) -> Pinned | None:
    """Let a unit of a batch be the accepted version, where its bundle is another one.

    The files of a bundle are those of a distribution, so it is loaded as one.

    Args:
        judge: Of the host.
        unit: As for `use_accepted`.

    Returns:
        The files that are to be judged; None where they cannot be read.

    Raises:
        PhotonVerificationError: What the vault has was changed; names the file.
        LockFileError: The lock cannot be read.
    """
    origin = unit.origin
    try:
        files = read_bundle_files(origin, read_source)
        origin.take(files.bundle, files.locations)
        files = add_owned(unit.name, files, read_source)
        location = files.locations[unit.name]
        files = with_snapshot(judge, unit.name, origin, location, files, read_source)
    except (LuminalError, KeyError):
        return None  # to load it says why
    assert files.snapshot is not None  # noqa: S101 - just made
    asked = files.snapshot.unit
    entry = accepted_entry(judge, asked.name)
    if entry is None or entry.tree == asked.tree.digest:
        return files
    if judge.look(asked).status is not Status.MODIFIED:
        return files
    why = changes_between(judge.vault, entry, asked)
    return _become(judge, unit, entry, why) or files


def _become(judge: Judge, unit: Any, entry: LockEntry, why: str) -> Pinned | None:
    """Let *unit* be what the vault has; return its files, None where it has none."""
    judge.vault.read(entry.tree)  # all of it is as it was accepted
    folder, first = judge.vault.folder(entry.tree), unit.candidates[0]
    group = first.group or "luminal.photons"
    found = discover(group=group, path=[folder, *sys.path], index=False)
    wanted = {candidate.name for candidate in unit.candidates}
    kept = [each for each in found if each.metadata.startswith(folder)]
    kept = [each for each in kept if each.name in wanted] or kept
    if not kept:
        return None
    module = kept[0].target.partition(":")[0].strip()
    unit.origin = DistributionOrigin(module, kept[0].location, kept[0].metadata)
    unit.name, unit.candidates, unit.location = unit.origin.root[0], kept, None
    unit.kept = Problem(
        code="LUM109",
        phase="verify",
        what=f"runs version {entry.version or 'accepted'}, which was accepted",
        file=first.location,
        why=f"the present one was not accepted: {why}",
        hint=f"to run it: luminal lock accept {entry.name}",
    )
    return read_installed_files(unit.origin)
