"""What a lock asks of the profiles of units, and of the signatures of bundles."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luminal.trust._judge import Unit
    from luminal.trust._lock import LockFile

__all__ = ["capabilities_of", "new_capabilities", "note_version", "signers_of"]


def _module(name: str) -> Any:
    """Return a module of this package; None where this Luminal has none."""
    with suppress(ImportError):
        return importlib.import_module(f"luminal.trust.{name}")
    return None


def capabilities_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return what *files* say that they do, as a lock keeps it."""
    profiles = _module("_profile")
    return tuple(profiles.profile_of(files).keys) if profiles is not None else ()


def new_capabilities(known: Iterable[str], files: Mapping[str, bytes]) -> list[str]:
    """Return in words what *files* say that they do and the lock does not list.

    Args:
        known: What was accepted, see `capabilities_of`.
        files: Path → bytes of the new version.
    """
    profiles = _module("_profile")
    if profiles is None:
        return []
    found = profiles.drift(tuple(known), profiles.profile_of(files))
    return [str(each) for each in found]


def signers_of(unit: Unit, file: LockFile) -> tuple[str, ...]:
    """Return the names of the keys of *file* that have signed a bundle; else none.

    Raises:
        PhotonVerificationError: Too few of them have, or an older version was accepted
            with a higher number.
    """
    verified = _verified(unit, file)
    if verified is None:
        return ()
    names = {key.casefold(): name for name, key in file.keys.items()}
    return tuple(sorted(names.get(key.casefold(), key) for key in verified.keys))


def _verified(unit: Unit, file: LockFile) -> Any:
    bundle: Any = unit.bundle
    if bundle is None or not file.keys:
        return None
    signatures = _module("_signatures")
    if signatures is None:
        return None
    return signatures.verify(
        bundle.manifest,
        bundle.signatures,
        file.keys.values(),
        max(file.threshold, 1),
        file=bundle.path,
        highest=None if unit.has_run else signatures.HighestVersions(),
    )


def note_version(unit: Unit, file: LockFile) -> None:
    """Remember the version of a signed bundle that may run: no older one may later.

    Raises:
        OSError: It cannot be written.
    """
    bundle: Any = unit.bundle
    verified = _verified(unit, file)
    if verified is not None:
        highest = _module("_signatures").HighestVersions()
        highest.note(bundle.manifest, verified)
