"""Run the version of a distribution that was accepted, where another is installed.

After a ``pip install -U`` that nobody has accepted, the vault has the files of the
version that the lock lists, with its metadata: a host that starts finds its photons
there, as if it were installed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from luminal.discovery import discover
from luminal.errors import PhotonTornError
from luminal.loading import (
    DistributionOrigin,
    accepted_entry,
    add_owned,
    read_installed_files,
    read_source,
    with_snapshot,
)
from luminal.model import Problem
from luminal.trust import changes_between

if TYPE_CHECKING:
    from luminal.loading import Pinned
    from luminal.trust import Judge

__all__ = ["use_accepted"]


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
    first = unit.candidates[0]
    why = "what is installed is incomplete"
    entry = accepted_entry(judge, first.distribution)
    if files is not None:
        unit_name, origin = unit.name, unit.origin
        location = files.locations.get(unit_name) or origin.find(unit_name)
        try:
            if location is not None:
                files = add_owned(unit_name, files, read_source)
                files = with_snapshot(
                    judge, unit_name, origin, location, files, read_source
                )
        except PhotonTornError as error:  # a file that is no module is missing
            if entry is None:
                raise
            why = f"{error.file} {error.what}"
        else:
            if entry is None or files.snapshot is None:
                return files
            asked = files.snapshot.unit
            if asked.tree.digest == entry.tree:
                return files
            why = changes_between(judge.vault, entry, asked)
    if entry is None:
        return files
    judge.vault.read(entry.tree)  # all of it is as it was accepted
    folder = judge.vault.folder(entry.tree)
    found = discover(group=first.group, path=[folder, *sys.path], index=False)
    wanted = {candidate.name for candidate in unit.candidates}
    kept = [
        candidate
        for candidate in found
        if candidate.distribution == first.distribution
        and candidate.metadata.startswith(folder)
    ]
    kept = [candidate for candidate in kept if candidate.name in wanted] or kept
    if not kept:
        return files
    module = kept[0].target.partition(":")[0].strip()
    unit.origin = DistributionOrigin(module, kept[0].location, kept[0].metadata)
    unit.name, unit.candidates = unit.origin.root[0], kept
    unit.kept = Problem(
        code="LUM109",
        phase="verify",
        what=f"runs version {entry.version or 'accepted'}, which was accepted",
        file=first.location,
        why=f"the installed one was not accepted: {why}",
        hint=f"to run it: luminal lock accept {entry.name}",
    )
    return read_installed_files(unit.origin)
