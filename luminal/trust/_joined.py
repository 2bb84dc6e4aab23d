"""What a lock asks of the profiles of units, and of the signatures of bundles."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from luminal.errors import PhotonVerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luminal.trust._judge import Unit
    from luminal.trust._lock import LockFile

__all__ = [
    "bundle_unit",
    "capabilities_of",
    "new_capabilities",
    "note_version",
    "signers_of",
    "why_killed",
]


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


def bundle_unit(path: str) -> Unit | None:
    """Return the bundle at *path* as a unit; None where this Luminal knows none.

    Raises:
        PhotonVerificationError: It is no sound bundle.
        OSError: It cannot be read.
    """
    from packaging.utils import canonicalize_name

    from luminal.trust._judge import Unit
    from luminal.trust._tree import tree_of

    bundles = _module("_bundle")
    if bundles is None:
        return None
    bundle = bundles.read_bundle(path)
    files, manifest = dict(bundle.files), bundle.manifest
    name, version = canonicalize_name(manifest.name), manifest.version
    return Unit(name, "bundle", version, files, tree_of(files), bundle=bundle)


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
    if unit.tree.digest != bundle.manifest.tree:
        raise PhotonVerificationError(
            f"{unit.name} has files that nobody has signed",
            file=bundle.path,
            why="its photons own libraries (photon_owns), which are not in the bundle",
            hint="put these libraries into the package",
        )
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


def why_killed(unit: Unit, file: LockFile) -> str:
    """Return why a unit must not run by the kill list in force; empty where it may."""
    kills = _module("_kill_list")
    if kills is None:
        return ""
    try:
        killing = kills.current_kill_list(file)
        killing.check(unit.name, unit.version, unit.tree.digest)
    except PhotonVerificationError as error:
        return f"{error.what}: {error.why}"
    return ""
