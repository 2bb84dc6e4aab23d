"""Verify that enough of the trusted keys have signed something.

What is signed begins with what it is: a signature of a manifest is never one of a kill
list. k of n keys are counted by their bytes, so neither a second signature of one key
nor another text of it counts again. A key and those that it has handed over to are one
key, see `Rotation`.

What a host has seen is in the state directory: the highest version of each photon for
each key, so that nobody can hand it an older one, and the rotations that it knows.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonVerificationError
from luminal.store import lock_descriptor
from luminal.trust._bundle import Bundle, Manifest, Signature
from luminal.trust._keys import SecretKey, crypto, normal_key, state_path
from luminal.trust._tree import MALFORMED, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "HighestVersions",
    "Rotation",
    "Verified",
    "known_rotations",
    "learn_rotation",
    "sign",
    "verify",
    "verify_signatures",
]

_MANIFEST = b"luminal-photon-v1\0"
_ROTATION = b"luminal-rotation-v1\0"
_LIMIT = 2**24


@attrs.frozen
class Verified:
    """By whom something was signed.

    Attributes:
        keys: The trusted keys that count, sorted, as the host names them.
        threshold: How many were needed.
        of: How many are trusted.
    """

    keys: tuple[str, ...]
    threshold: int
    of: int

    def __str__(self) -> str:
        return f"signed {len(self.keys)}/{self.of}"


@attrs.frozen
class Rotation:
    """A key that hands over to another one, which its own signature says.

    Attributes:
        old: The key that signs.
        new: The key that stands for it from now on.
        signature: Of both keys, by the old one.
    """

    old: str
    new: str
    signature: str

    @property
    def message(self) -> bytes:
        """What is signed."""
        return _ROTATION + canonical_json({"old": self.old, "new": self.new})

    @classmethod
    def make(cls, secret: SecretKey, new: str) -> Rotation:
        """Return that the key of *secret* hands over to *new*.

        Raises:
            PhotonVerificationError: *new* is no key, or the same.
        """
        rotation = cls(secret.public, normal_key(new), "")
        if rotation.new == rotation.old:
            raise PhotonVerificationError(
                "a key cannot hand over to itself",
                why=f"{rotation.new[:8]}… is the key that signs",
                hint="make a new one: luminal key new NAME",
            )
        return attrs.evolve(rotation, signature=secret.sign(rotation.message))

    @classmethod
    def read(cls, data: bytes, path: str = "") -> Rotation:
        """Return the rotation that *data* says, once its signature is verified.

        Raises:
            PhotonVerificationError: It is none, or not signed by the old key.
        """
        try:
            fields = json.loads(data)
            found = cls(
                normal_key(fields["old"]),
                normal_key(fields["new"]),
                str(fields["signature"]).casefold(),
            )
        except MALFORMED as error:
            raise PhotonVerificationError(
                "is no rotation of a key",
                file=path,
                why=f"{type(error).__name__}: {error}",
                hint="make one: luminal key rotate",
            ) from None
        if not _is_signed(found.old, found.signature, found.message):
            raise PhotonVerificationError(
                "the rotation of a key is not signed by the old key",
                file=path,
                why="its signature does not fit",
                hint="get the file again from the key's owner",
            )
        return found

    def data(self) -> bytes:
        """Return it as the bytes of a file."""
        return canonical_json(attrs.asdict(self)) + b"\n"


def _is_signed(key: str, signature: str, message: bytes) -> bool:
    """Whether *signature* is that of *message* by *key*."""
    ed25519 = crypto()
    from cryptography.exceptions import InvalidSignature

    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _successors(rotations: Iterable[Rotation]) -> dict[str, str]:
    """Return old key → the key that hands over last in its chain."""
    following = {each.old: each.new for each in rotations}
    found = {}
    for old in following:
        key, seen = old, set[str]()
        while key in following and key not in seen:
            seen.add(key)
            key = following[key]
        found[old] = key
    return found


def verify_signatures(
    message: bytes,
    signatures: Iterable[Signature],
    keys: Iterable[str],
    threshold: int,
    *,
    what: str,
    file: str = "",
    rotations: Iterable[Rotation] | None = None,
) -> Verified:
    """Return by which of *keys* *message* was signed, if these are enough.

    Args:
        message: What was signed, with what it is at its beginning.
        signatures: Of anybody; those of unknown keys do not count.
        keys: Those that are trusted.
        threshold: How many of them are needed.
        what: What is signed, for errors.
        file: To blame.
        rotations: By which other keys stand for trusted ones; None for those that this
            user's hosts have learnt.

    Raises:
        PhotonVerificationError: Too few have signed; says which keys are missing.
    """
    trusted = {normal_key(key) for key in keys}
    if type(threshold) is not int or not 1 <= threshold <= len(trusted):
        raise PhotonVerificationError(
            f"the threshold is {threshold!r}",
            why=f"{len(trusted)} different keys are trusted",
            hint="set it to a whole number from 1 to as many",
        )
    known = known_rotations() if rotations is None else tuple(rotations)
    successors = _successors(known)
    # The key that may sign → the trusted key that it stands for. One that has handed
    # over signs no more, and two that have handed over to one key count once.
    signers: dict[str, str] = {}
    for key in sorted(trusted):
        signers.setdefault(successors.get(key, key), key)
    counted: set[str] = set()
    notes: list[str] = []
    for each in signatures:
        try:
            key = normal_key(each.key)
        except PhotonVerificationError as error:
            notes.append(str(error.why))
            continue
        if key in signers:
            if _is_signed(key, each.signature, message):
                counted.add(signers[key])
            else:
                notes.append(f"the signature by {key[:8]}… does not fit")
        elif key in successors:
            notes.append(f"{key[:8]}… has handed over to {successors[key][:8]}…")
        else:
            notes.append(f"{key[:8]}… is not trusted")
    if len(counted) < threshold:
        missing = sorted(trusted - counted)
        notes.append("missing: " + ", ".join(f"{key[:8]}…" for key in missing))
        raise PhotonVerificationError(
            f"{what} has {len(counted)} of {threshold} signatures that are needed",
            file=file or None,
            why="; ".join(dict.fromkeys(notes)),
            hint="let the owners of these keys sign it: luminal sign FILE",
        )
    return Verified(tuple(sorted(counted)), threshold, len(trusted))


def verify(
    manifest: Manifest,
    signatures: Iterable[Signature],
    keys: Iterable[str],
    threshold: int,
    *,
    file: str = "",
    now: float | None = None,
    highest: HighestVersions | None = None,
    rotations: Iterable[Rotation] | None = None,
) -> Verified:
    """Return by which of *keys* a bundle was signed, if these are enough.

    Args:
        manifest: Of the bundle.
        signatures: Of the bundle.
        keys: Those that the host trusts, as hexadecimal digits in either case.
        threshold: How many of them are needed.
        file: To blame.
        now: Seconds since 1970; None for the clock.
        highest: What was accepted before: an older version is refused. None where going
            back is what the host wants.
        rotations: See `verify_signatures`.

    Raises:
        PhotonVerificationError: Too few have signed it, it has expired, or a newer
            version was accepted before.
    """
    message = _MANIFEST + manifest.data
    what = f"{manifest.name} {manifest.version}"
    verified = verify_signatures(
        message,
        signatures,
        keys,
        threshold,
        what=what,
        file=file,
        rotations=rotations,
    )
    moment = time.time() if now is None else now
    if manifest.expires and moment >= manifest.expires:
        channel = f" on channel {manifest.channel!r}" if manifest.channel else ""
        raise PhotonVerificationError(
            f"{what} has expired{channel}",
            file=file or None,
            why=f"it was accepted until {_date(manifest.expires)}",
            hint="get a newer release",
        )
    if highest is not None:
        highest.check(manifest, verified, file)
    return verified


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"


def sign(bundle: Bundle, secret: SecretKey) -> Bundle:
    """Return *bundle* with the signature of *secret* added.

    Args:
        bundle: What to sign.
        secret: The key; a signature of it that is there already is replaced.
    """
    key = secret.public
    own = Signature(key, secret.sign(_MANIFEST + bundle.manifest.data))
    others = tuple(each for each in bundle.signatures if each.key != key)
    return attrs.evolve(bundle, signatures=(*others, own))


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Let one process at a time change the file at *path*."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(f"{path}.lock", "a+b") as file, lock_descriptor(file.fileno()):
        yield


def read_state(path: str) -> Any:
    """Return the value of a file in the state directory; None where there is none.

    Raises:
        PhotonVerificationError: It cannot be read, or is damaged. What was seen is then
            not known, so nothing that depends on it is accepted.
    """
    try:
        return parse_state(load_state(path), path)
    except FileNotFoundError:
        return None


def load_state(path: str) -> bytes:
    """Return the bytes of a file in the state directory.

    Raises:
        FileNotFoundError: There is none.
        PhotonVerificationError: As for `read_state`.
    """
    from luminal.store._atomic import read_private

    try:
        return read_private(path, _LIMIT)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unknown_state(path, error) from None


def parse_state(data: bytes, path: str) -> Any:
    """Return the value of such a file.

    Raises:
        PhotonVerificationError: As for `read_state`.
    """
    try:
        found = json.loads(data)
    except MALFORMED as error:
        raise _unknown_state(path, error) from None
    if found is None:  # as for no file, which may be
        raise _unknown_state(path, ValueError("it holds nothing"))
    return found


def _unknown_state(path: str, error: Exception) -> PhotonVerificationError:
    return PhotonVerificationError(
        "what this host has accepted before is not known",
        file=path,
        why=str(error),
        hint="restore the file from a backup, or remove it to begin anew",
    )


def write_state(path: str, value: object) -> None:
    """Replace a file in the state directory, whole or not at all."""
    from luminal.store._atomic import write_atomically

    write_atomically(path, canonical_json(value) + b"\n")


class HighestVersions:
    """The highest version of each photon that was accepted, for each key.

    Args:
        directory: Where it is kept; by default the state directory.
    """

    def __init__(self, directory: str | None = None) -> None:
        self.path: str = os.path.join(directory or state_path(), "versions.json")

    def _read(self) -> dict[str, dict[str, str]]:
        found = read_state(self.path)
        is_right = isinstance(found, dict) and all(
            isinstance(rows, dict) and all(map(_is_version, rows.values()))
            for rows in found.values()
        )
        if found is not None and not is_right:
            raise PhotonVerificationError(
                "what this host has accepted before is not known",
                file=self.path,
                why="it is no table of versions",
                hint="restore the file from a backup, or remove it to begin anew",
            )
        return found or {}

    def check(self, manifest: Manifest, verified: Verified, file: str = "") -> None:
        """Refuse a version older than one that the same keys have signed.

        Raises:
            PhotonVerificationError: Names both versions.
        """
        from packaging.version import Version

        known = self._read().get(manifest.name, {})
        seen = [Version(known[key]) for key in verified.keys if key in known]
        if seen and Version(manifest.version) < max(seen):
            raise PhotonVerificationError(
                f"{manifest.name} {manifest.version} is older than what was accepted",
                file=file or None,
                why=f"version {max(seen)} was accepted before",
                hint="to go back on purpose, release it again with a higher version",
            )

    def note(self, manifest: Manifest, verified: Verified) -> None:
        """Remember that a version was accepted.

        Raises:
            OSError: It cannot be written.
        """
        from packaging.version import Version

        version = Version(manifest.version)

        def is_news(known: dict[str, str]) -> bool:
            return any(
                key not in known or Version(known[key]) < version
                for key in verified.keys
            )

        if not is_news(self._read().get(manifest.name, {})):
            return
        with _locked(self.path):
            versions = self._read()
            known = versions.setdefault(manifest.name, {})
            for key in verified.keys:
                if key not in known or Version(known[key]) < version:
                    known[key] = manifest.version
            write_state(self.path, versions)


def _is_version(text: object) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)  # type: ignore[arg-type]
    except (InvalidVersion, TypeError):
        return False
    return True


def _rotations_path(directory: str | None) -> str:
    return os.path.join(directory or state_path(), "rotations.json")


def known_rotations(directory: str | None = None) -> tuple[Rotation, ...]:
    """Return the rotations that hosts of this user have learnt.

    Args:
        directory: Where they are kept; by default the state directory.

    Raises:
        PhotonVerificationError: The file is damaged.
    """
    path = _rotations_path(directory)
    rows = read_state(path) or []
    if not isinstance(rows, list):
        raise PhotonVerificationError(
            "what keys have handed over is not known",
            file=path,
            why="it is no list",
            hint="restore the file from a backup",
        )
    return tuple(Rotation.read(json.dumps(row).encode(), path) for row in rows)


def learn_rotation(rotation: Rotation, directory: str | None = None) -> bool:
    """Let hosts of this user accept the new key of *rotation* for the old one.

    Args:
        rotation: What the old key has signed.
        directory: Where it is kept; by default the state directory.

    Returns:
        Whether it was not known.

    Raises:
        PhotonVerificationError: The old key has handed over to another one before, or
            the rotations would go in a circle.
    """
    path = _rotations_path(directory)
    with _locked(path):
        known = known_rotations(directory)
        if any((r.old, r.new) == (rotation.old, rotation.new) for r in known):
            return False
        following = {each.old: each.new for each in known}
        if rotation.old in following:
            raise PhotonVerificationError(
                f"{rotation.old[:8]}… has handed over before",
                why=f"{following[rotation.old][:8]}… stands for it",
                hint="rotate that key; if the old one was stolen, take both out of "
                "the trusted keys",
            )
        key: str | None = rotation.new
        while key is not None:
            if key == rotation.old:
                raise PhotonVerificationError(
                    "the rotation would go in a circle",
                    why=f"{rotation.new[:8]}… leads back to {rotation.old[:8]}…",
                    hint="rotate to a new key",
                )
            key = following.get(key)
        write_state(path, [attrs.asdict(each) for each in (*known, rotation)])
    return True
