"""What a lock asks of the profiles of units, and of the signatures of bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.errors import PhotonVerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luminal.trust._judge import Unit
    from luminal.trust._lock import LockFile
    from luminal.trust._signatures import Verified

__all__ = [
    "bundle_unit",
    "capabilities_of",
    "new_capabilities",
    "note_version",
    "signers_of",
    "why_killed",
]


def capabilities_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return what *files* say that they do, as a lock keeps it."""
    from luminal.trust._profile import profile_of

    return tuple(profile_of(files).keys)


def new_capabilities(known: Iterable[str], files: Mapping[str, bytes]) -> list[str]:
    """Return in words what *files* say that they do and the lock does not list.

    Args:
        known: What was accepted, see `capabilities_of`.
        files: Path → bytes of the new version.
    """
    from luminal.trust._profile import drift, profile_of

    return [str(each) for each in drift(tuple(known), profile_of(files))]


def bundle_unit(path: str) -> Unit:
    """Return the bundle at *path* as a unit.

    Raises:
        PhotonVerificationError: It is no sound bundle.
        OSError: It cannot be read.
    """
    from packaging.utils import canonicalize_name

    from luminal.trust._bundle import read_bundle
    from luminal.trust._judge import Unit
    from luminal.trust._tree import tree_of

    bundle = read_bundle(path)
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


def _verified(unit: Unit, file: LockFile) -> Verified | None:
    bundle = unit.bundle
    if bundle is None or not file.keys:
        return None
    from luminal.trust._signatures import HighestVersions, verify

    if unit.tree.digest != bundle.manifest.tree:
        raise PhotonVerificationError(
            f"{unit.name} has files that nobody has signed",
            file=bundle.path,
            why="its photons own libraries (photon_owns), which are not in the bundle",
            hint="put these libraries into the package",
        )
    return verify(
        bundle.manifest,
        bundle.signatures,
        file.keys.values(),
        max(file.threshold, 1),
        file=bundle.path,
        highest=None if unit.has_run else HighestVersions(),
    )


def note_version(unit: Unit, file: LockFile) -> None:
    """Remember the version of a signed bundle that may run: no older one may later.

    Raises:
        OSError: It cannot be written.
    """
    verified = _verified(unit, file)
    if verified is not None and unit.bundle is not None:
        from luminal.trust._signatures import HighestVersions

        HighestVersions().note(unit.bundle.manifest, verified)


def why_killed(unit: Unit, file: LockFile) -> str:
    """Return why a unit must not run by the kill list in force; empty where it may."""
    from luminal.trust._kill_list import current_kill_list

    try:
        current_kill_list(file).check(unit.name, unit.version, unit.tree.digest)
    except PhotonVerificationError as error:
        return f"{error.what}: {error.why}"
    return ""
