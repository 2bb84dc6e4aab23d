"""Ed25519 keys: which public keys are sound, and where secret keys lie.

A public key is a point of a curve in 32 bytes. Some bytes are refused, when a key is
added and each time that it is used: OpenSSL verifies any message under a point of small
order with one forged signature, and takes two texts of one point for two keys.
RFC 8032, section 5.1.3, says which encodings are right.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from luminal.errors import PhotonVerificationError
from luminal.store import state_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = [
    "SecretKey",
    "keys_directory",
    "normal_key",
    "state_path",
]

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _P - 1,
        # The two with order 8; the tests compute all five.
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    }
)
_LONGEST = 64 * 1024


def crypto() -> ModuleType:
    """Return the module of `cryptography` with Ed25519.

    Raises:
        PhotonVerificationError: It is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise PhotonVerificationError(
            "signatures cannot be checked",
            why=str(error),
            hint="pip install 'luminal-photons[sign]'",
        ) from None
    return ed25519


def _no_key(text: object, why: str) -> PhotonVerificationError:
    return PhotonVerificationError(
        f"{str(text)[:80]!r} is no key",
        why=why,
        hint="a key is the 64 hexadecimal digits that 'luminal key show' prints",
    )


@lru_cache(maxsize=256)
def normal_key(text: str) -> str:
    """Return a public key as 64 digits in lower case, so that one key has one text.

    Args:
        text: 64 hexadecimal digits.

    Raises:
        PhotonVerificationError: It is no key, or one that nobody should trust.
    """
    found = text.strip().casefold()
    if len(found) != 64 or not set(found) <= set("0123456789abcdef"):
        raise _no_key(text, "it is not 64 hexadecimal digits")
    number = int.from_bytes(bytes.fromhex(found), "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        raise _no_key(text, "it is not the canonical encoding of a point")
    if y in _SMALL_ORDER:
        raise _no_key(text, "its point has a small order: anybody can sign for it")
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(square, (_P - 1) // 2, _P) != 1:
        raise _no_key(text, f"it is no point of the curve (sign {sign})")
    return found


def state_path(*parts: str) -> str:
    """Return a path below the directory for state that must last.

    Args:
        *parts: Of the path; none for the directory itself.

    Raises:
        PhotonVerificationError: The user has no home directory.
    """
    directory = state_directory()
    if directory is None:
        raise PhotonVerificationError(
            "there is no directory for keys and versions",
            why="the user has no home directory",
            hint="set LUMINAL_STATE_DIR to an absolute path",
        )
    return os.path.join(directory, *parts)


def keys_directory() -> str:
    """Return the directory of this user's secret keys."""
    return state_path("keys")


class SecretKey:
    """A secret key, to sign with.

    Args:
        private: Key of `cryptography`.
    """

    def __init__(self, private: Any) -> None:
        self._private: Any = private

    def __repr__(self) -> str:
        return f"<SecretKey of {self.public}>"

    @property
    def public(self) -> str:
        """The public key, as 64 hexadecimal digits."""
        found: bytes = self._private.public_key().public_bytes_raw()
        return found.hex()

    def sign(self, message: bytes) -> str:
        """Return the signature of *message*, as 128 hexadecimal digits."""
        found: bytes = self._private.sign(message)
        return found.hex()

    @classmethod
    def new(cls) -> SecretKey:
        """Return a new key."""
        return cls(crypto().Ed25519PrivateKey.generate())

    def save(self, path: str, passphrase: str = "") -> None:
        """Write the key to a new file that nobody else can read.

        Args:
            path: Of the file, which must not exist.
            passphrase: Encrypts it; empty for none.

        Raises:
            FileExistsError: The file exists.
            OSError: It cannot be written.
        """
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        from luminal.store._atomic import create_once

        encryption: Any = NoEncryption()
        if passphrase:
            encryption = BestAvailableEncryption(passphrase.encode())
        data = self._private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, encryption
        )
        os.makedirs(os.path.dirname(path) or os.curdir, mode=0o700, exist_ok=True)
        if os.path.lexists(path):
            raise FileExistsError(17, "the key exists already", path)
        create_once(path, data)
        if self.load(path, lambda _: passphrase).public != self.public:
            raise FileExistsError(17, "another process has made this key", path)

    @classmethod
    def load(cls, path: str, ask: Callable[[str], str] | None = None) -> SecretKey:
        """Return the key of the file at *path*.

        Args:
            path: Of the file.
            ask: Returns the passphrase, for a key that has one.

        Raises:
            PhotonVerificationError: Others can read the file, the passphrase is wrong,
                or it holds no Ed25519 key.
        """
        ed25519 = crypto()
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        from luminal.store._atomic import read_private

        try:
            data = read_private(path, _LONGEST, closed=0o077)
        except FileNotFoundError:
            raise PhotonVerificationError(
                "there is no such key",
                file=path,
                why="the file does not exist",
                hint="make one: luminal key new",
            ) from None
        except OSError as error:
            # No link is followed: what it leads to may be exchanged by others.
            is_link = os.path.islink(path)
            raise PhotonVerificationError(
                "the secret key is not used",
                file=path,
                why="it is a link" if is_link else str(error),
                hint="name the file itself by its path"
                if is_link
                else f"chmod 600 {path}; if others may have read it, rotate the key",
            ) from None
        secret = None
        if b"ENCRYPTED" in data:
            secret = (ask(path) if ask is not None else "").encode()
        try:
            private = load_pem_private_key(data, secret or None)
        except (ValueError, TypeError):
            raise PhotonVerificationError(
                "the secret key cannot be read",
                file=path,
                why="the passphrase is wrong, or it is damaged"
                if secret is not None
                else "it is no PEM file of a key, or is damaged",
                hint="LUMINAL_KEY_PASSPHRASE or the prompt gives the passphrase"
                if secret is not None
                else "take it from a backup; or make one: luminal key new NAME",
            ) from None
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise PhotonVerificationError("is no Ed25519 key", file=path)
        return cls(private)
