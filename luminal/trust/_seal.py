"""Seal bundles for recipients, so that others cannot read them on the way and at rest.

A sealed bundle is a head and the encrypted bytes of a signed one. The head names the
bundle and its version in clear; they are part of what is authenticated, so a sealed
bundle cannot be passed off as another one. The bytes are encrypted by AES-256-GCM with
a key of their own, and that key is encrypted by age for each recipient: people by their
age keys, a host by its own.

It does not protect code from the machine that runs it.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonVerificationError
from luminal.trust._tree import MALFORMED, canonical_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.trust._bundle import Bundle

__all__ = [
    "Head",
    "host_key_path",
    "is_sealed",
    "new_host_key",
    "read_head",
    "recipient_of",
    "seal",
    "unseal",
    "use_host_key",
]

_MAGIC = b"luminal-sealed-v1\n"
_LONGEST_HEAD = 256 * 1024


def _age() -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise _missing(error) from None
    return pyrage


def _missing(error: ImportError) -> PhotonVerificationError:
    return PhotonVerificationError(
        "sealed bundles cannot be used",
        why=str(error),
        hint="pip install 'luminal-photons[seal]'",
    )


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise _missing(error) from None
    return AESGCM(key)


@attrs.frozen
class Head:
    """What a sealed bundle says in clear.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        key: The key of the contents, encrypted for the recipients by age.
        nonce: Of AES-GCM.
    """

    name: str
    version: str
    key: str
    nonce: str

    @property
    def data(self) -> bytes:
        """The line of it, which is authenticated too."""
        return canonical_json(attrs.asdict(self)) + b"\n"


def is_sealed(data: bytes) -> bool:
    """Whether the bytes of a bundle are sealed."""
    return data.startswith(_MAGIC)


def read_head(data: bytes, path: str = "") -> Head:
    """Return what a sealed bundle says in clear.

    Raises:
        PhotonVerificationError: It is damaged.
    """
    line, end, _ = data[len(_MAGIC) : len(_MAGIC) + _LONGEST_HEAD].partition(b"\n")
    try:
        head = Head(**json.loads(line))
        is_right = bool(end) and head.data == line + end
        is_right = is_right and head.name.isprintable() and head.version.isprintable()
    except MALFORMED:
        is_right = False
    if not is_right:
        raise PhotonVerificationError(
            "is a damaged sealed bundle",
            file=path or None,
            why="its head cannot be read",
            hint="get the bundle again",
        )
    return head


_chosen: list[str] = []


def use_host_key(path: str) -> None:
    """Let this process open sealed bundles by the key at *path*: a setting says so."""
    _chosen[:] = [path]


def host_key_path() -> str:
    """Return where this host's key to sealed bundles lies.

    ``$LUMINAL_HOST_KEY``, the setting ``host-key``, else ``host.key`` among the keys in
    the state directory.
    """
    from luminal.trust._keys import keys_directory

    own = os.environ.get("LUMINAL_HOST_KEY", "")
    return own or (_chosen or [os.path.join(keys_directory(), "host.key")])[0]


def new_host_key(path: str) -> str:
    """Write a new key to a file that nobody else can read; return its recipient.

    Raises:
        FileExistsError: The file exists.
    """
    from luminal.store._atomic import create_once

    identity = _age().x25519.Identity.generate()
    if os.path.lexists(path):
        raise FileExistsError(17, "the key exists already", path)
    os.makedirs(os.path.dirname(path) or os.curdir, mode=0o700, exist_ok=True)
    create_once(path, f"{identity}\n".encode())
    return recipient_of(path)


def _identity(path: str) -> Any:
    """Return the age identity of the file at *path*."""
    from luminal.store._atomic import read_private

    pyrage = _age()
    try:
        text = read_private(path, 64 * 1024, closed=0o077).decode()
    except FileNotFoundError:
        raise PhotonVerificationError(
            "there is no key to sealed bundles",
            file=path,
            why="the file does not exist",
            hint="make one: luminal key new --host; then let the author seal to it",
        ) from None
    except (OSError, ValueError) as error:
        raise PhotonVerificationError(
            "the key to sealed bundles is not used",
            file=path,
            why=str(error),
            hint=f"chmod 600 {path}",
        ) from None
    lines = [line for line in text.split() if line.startswith("AGE-SECRET-KEY-")]
    try:
        return pyrage.x25519.Identity.from_str(lines[0])
    except (IndexError, ValueError, pyrage.IdentityError) as error:
        raise PhotonVerificationError(
            "the key to sealed bundles cannot be read",
            file=path,
            why=str(error),
            hint="it is a line that begins with AGE-SECRET-KEY-",
        ) from None


def recipient_of(path: str) -> str:
    """Return the recipient that belongs to the key at *path*, to seal for it."""
    return str(_identity(path).to_public())


def seal(bundle: Bundle, recipients: Sequence[str]) -> bytes:
    """Return the bytes of *bundle*, sealed.

    Args:
        bundle: Signed already: what is sealed is signed, not the seal.
        recipients: Who can open it, as ``age1...``.

    Raises:
        PhotonVerificationError: One of *recipients* is none.
    """
    pyrage = _age()
    found = []
    for text in recipients:
        try:
            found.append(pyrage.x25519.Recipient.from_str(text.strip()))
        except (ValueError, pyrage.RecipientError) as error:
            raise PhotonVerificationError(
                f"{text[:80]!r} is no recipient",
                why=str(error),
                hint="'luminal key show --host' prints the host's, which begins with "
                "age1",
            ) from None
    key, nonce = os.urandom(32), os.urandom(12)
    head = Head(
        bundle.manifest.name,
        bundle.manifest.version,
        base64.b64encode(pyrage.encrypt(key, found)).decode(),
        base64.b64encode(nonce).decode(),
    )
    sealed: bytes = _cipher(key).encrypt(nonce, bundle.data(), _MAGIC + head.data)
    return _MAGIC + head.data + sealed


def unseal(data: bytes, path: str = "", key: str | None = None) -> bytes:
    """Return the bytes of the bundle that was sealed.

    Args:
        data: The sealed bytes.
        path: Where they were read from, to blame.
        key: Path of the host's key; None for `host_key_path`.

    Raises:
        PhotonVerificationError: The key is missing or opens it not, or it is damaged.
    """
    head = read_head(data, path)
    key_path = key or host_key_path()
    pyrage = _age()
    identity = _identity(key_path)
    what = f"{head.name} {head.version} is sealed"
    try:
        secret = pyrage.decrypt(base64.b64decode(head.key, validate=True), [identity])
        nonce = base64.b64decode(head.nonce, validate=True)
    except (ValueError, pyrage.DecryptError) as error:
        raise PhotonVerificationError(
            what,
            file=path or None,
            why=f"the key of this host does not open it: {error}",
            hint=f"let its author seal it to {identity.to_public()}",
        ) from None
    from cryptography.exceptions import InvalidTag

    start = len(_MAGIC) + len(head.data)
    try:
        opened: bytes = _cipher(secret).decrypt(nonce, data[start:], _MAGIC + head.data)
    except (InvalidTag, ValueError):
        raise PhotonVerificationError(
            what,
            file=path or None,
            why="it is damaged, or its name or version was changed",
            hint="get the bundle again",
        ) from None
    # Sealed as this name and version: what is inside must say the same.
    from luminal.trust._bundle import open_bundle

    manifest = open_bundle(opened, path).manifest
    if (manifest.name, manifest.version) != (head.name, head.version):
        raise PhotonVerificationError(
            what,
            file=path or None,
            why=f"what is inside is {manifest.name} {manifest.version}",
            hint="get the bundle again",
        )
    return opened
