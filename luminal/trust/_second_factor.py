"""A second factor for operations that change what runs and are asked for from outside.

Who asks gets a challenge, which is a digest of the operation, of the photons with the
files that are to run and the generation that runs now, and of a number that is used
once. A key or a FIDO2 authenticator signs it, so it approves exactly that. A code of
TOTP (RFC 6238) is weaker: it shows that somebody is there, not what he has seen.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import MissingExtraError, SecondFactorError
from luminal.store import (
    lock_descriptor,
    read_private,
    state_directory,
    write_atomically,
)
from luminal.trust._tree import MALFORMED, canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "FIDO_ORIGIN",
    "Challenge",
    "Factors",
    "SecondFactor",
    "Subject",
    "fido_server",
    "requires_fido_extra",
]

_DOMAIN = b"luminal-operation-v1\0"
_NAME = "second-factor.json"
_VALID = 60.0
"""Seconds within which a challenge has to be answered."""
_MOST_PENDING = 100
_TRIES = 5
"""Wrong codes in a row after which no code is taken any more."""
_STEP = 30
_RP = "luminal.localhost"
FIDO_ORIGIN = f"https://{_RP}"
_UNREADABLE: tuple[type[Exception], ...] = (OSError, *MALFORMED)
_LIMIT = 2**20


def _default_path() -> str:
    directory = state_directory()
    if directory is None:
        raise SecondFactorError(
            "there is no directory for the registered second factors",
            why="the user has no home directory",
            hint="set LUMINAL_STATE_DIR to an absolute path",
        )
    return os.path.join(directory, _NAME)


@contextmanager
def requires_fido_extra() -> Iterator[None]:
    """Name the extra where something of it is not installed.

    Raises:
        MissingExtraError: Something is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            "the second factor needs a library that is not installed",
            why=str(error),
            hint="pip install 'luminal-photons[fido,sign]'",
        ) from error


@attrs.frozen
class Subject:
    """A photon that an operation is about.

    Attributes:
        name: Its name.
        generation: Number of the generation that runs now.
        digest: Of the files that are to run, see `luminal.trust.Tree`.
    """

    name: str
    generation: int
    digest: str


@attrs.frozen
class Challenge:
    """What is to be approved.

    Attributes:
        kind: ``fido``, ``key`` or ``totp``.
        operation: Such as ``reload``.
        subjects: The photons.
        nonce: A number that is used once, in hexadecimal.
        expires: Monotonic time in seconds after which it is refused.
    """

    kind: str
    operation: str
    subjects: tuple[Subject, ...]
    nonce: str
    expires: float

    @property
    def digest(self) -> bytes:
        """What is signed."""
        value = {
            "operation": self.operation,
            "photons": [list(attrs.astuple(each)) for each in self.subjects],
            "nonce": self.nonce,
        }
        return hashlib.sha256(_DOMAIN + canonical_json(value)).digest()


@attrs.define
class Factors:
    """What is registered, in a file that only this user can read.

    Args:
        path: The file; by default ``second-factor.json`` in the directory for state.

    Attributes:
        keys: Name → public Ed25519 key, in hexadecimal.
        fido: Name → credential of an authenticator, in base64.
        totp: Name → secret, in base32; at most one.
        last_step: The newest step of TOTP that was used, or tried to be.
        failures: Wrong codes since the last right one.
    """

    path: str = attrs.field(factory=_default_path)
    keys: dict[str, str] = attrs.Factory(dict)
    fido: dict[str, str] = attrs.Factory(dict)
    totp: dict[str, str] = attrs.Factory(dict)
    last_step: int = 0
    failures: int = 0

    @classmethod
    def read(cls, path: str = "") -> Factors:
        """Read the file; without one nothing is registered.

        Raises:
            SecondFactorError: It cannot be read, or others can.
        """
        factors = cls(path) if path else cls()
        try:
            values = json.loads(read_private(factors.path, _LIMIT, closed=0o077))
            for name in ("keys", "fido", "totp"):
                table = values[name]
                setattr(factors, name, {str(k): str(v) for k, v in table.items()})
            factors.last_step = int(values["last_step"])
            factors.failures = int(values["failures"])
        except FileNotFoundError:
            return factors
        except _UNREADABLE as error:
            raise SecondFactorError(
                "the registered second factors cannot be read",
                file=factors.path,
                why=f"{type(error).__name__}: {error}",
                hint="register them again with luminal factor",
            ) from error
        return factors

    def write(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            SecondFactorError: It cannot be written.
        """
        values = {
            "schema": 1,
            "keys": self.keys,
            "fido": self.fido,
            "totp": self.totp,
            "last_step": self.last_step,
            "failures": self.failures,
        }
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            write_atomically(self.path, json.dumps(values, indent=2).encode())
        except OSError as error:
            raise SecondFactorError(
                "the registered second factors cannot be written",
                file=self.path,
                why=str(error),
                hint="make room, or set LUMINAL_STATE_DIR to another directory",
            ) from error


@attrs.define(eq=False)
class SecondFactor:
    """Asks for a second factor, and checks the answers.

    Args:
        kind: ``fido``, ``key`` or ``totp``.
        path: The file of `Factors`.
        clock: Wall-clock seconds, for TOTP.
        monotonic: Seconds, for the end of challenges.
    """

    kind: str
    path: str = ""
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    # Nonce → what was asked, until it is answered or expires.
    _pending: dict[str, Challenge] = attrs.field(init=False, factory=dict)
    # Held while codes are compared and counted, by threads of this process.
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def challenge(self, operation: str, subjects: Sequence[Subject]) -> dict[str, Any]:
        """Return what who asks has to answer, as values of JSON.

        Raises:
            SecondFactorError: Nothing of this kind is registered.
        """
        factors = Factors.read(self.path)
        if not getattr(factors, "keys" if self.kind == "key" else self.kind):
            raise SecondFactorError(
                f"no second factor of the kind {self.kind!r} is registered",
                file=factors.path,
                hint=f"luminal factor add {self.kind}",
            )
        nonce = secrets.token_hex(16)
        now = self.monotonic()
        made = Challenge(self.kind, operation, tuple(subjects), nonce, now + _VALID)
        with self._lock:
            for old in [n for n, c in self._pending.items() if c.expires < now]:
                del self._pending[old]
            while len(self._pending) >= _MOST_PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[nonce] = made
        return {
            "kind": self.kind,
            "operation": operation,
            "photons": [attrs.asdict(each) for each in made.subjects],
            "nonce": nonce,
            "seconds": _VALID,
            "digest": made.digest.hex(),
            "credentials": list(factors.fido.values()) if self.kind == "fido" else [],
        }

    def check(
        self, operation: str, subjects: Sequence[Subject], answer: Mapping[str, Any]
    ) -> str:
        """Check an answer. Whatever comes of it, its challenge is used up.

        Args:
            operation: What is asked for now.
            subjects: What it is about, as everything is now.
            answer: ``nonce``; and ``signature`` of a key, ``code`` of TOTP, or
                ``assertion`` of an authenticator.

        Returns:
            The name of the factor that has approved it.

        Raises:
            SecondFactorError: The answer is wrong, late, or to another question.
        """
        nonce = answer.get("nonce")
        with self._lock:
            asked = self._pending.pop(nonce, None) if isinstance(nonce, str) else None
        if asked is None:
            raise _refused("the challenge is not known, or was answered before")
        if self.monotonic() > asked.expires:
            raise _refused(f"the challenge was valid for {_VALID:.0f} seconds")
        if asked.operation != operation:
            raise _refused(f"the challenge was for the operation {asked.operation!r}")
        if asked.subjects != tuple(subjects):
            raise _refused(_difference(asked.subjects, subjects))
        with self._lock, _alone_with(Factors.read(self.path).path):
            factors = Factors.read(self.path)
            try:
                if self.kind == "key":
                    return _check_key(factors, asked, answer)
                if self.kind == "fido":
                    return _check_fido(factors, asked, answer)
                return self._check_code(factors, answer)
            except MALFORMED as error:
                raise SecondFactorError(
                    "the second factor was refused",
                    file=factors.path,
                    why=f"the answer, or what is registered, is malformed: {error}",
                    hint="ask again; or register it again with luminal factor",
                ) from error

    def _check_code(self, factors: Factors, answer: Mapping[str, Any]) -> str:
        """Check a code of TOTP; its step, or the failure, is written down first."""
        with requires_fido_extra():
            import pyotp
        import hmac

        if factors.failures >= _TRIES:
            raise _refused(
                f"{_TRIES} codes were wrong",
                "register the secret again: luminal factor add totp",
            )
        [(name, secret)] = [*factors.totp.items()][:1] or [("", "")]
        if not secret:
            raise _refused("no secret of TOTP is registered", "luminal factor add totp")
        code = str(answer.get("code", "")).replace(" ", "")
        now = int(self.clock()) // _STEP
        totp = pyotp.TOTP(secret)
        for step in (now - 1, now, now + 1):
            right = totp.generate_otp(step)
            if hmac.compare_digest(right.encode(), code.encode()):
                if step <= factors.last_step:
                    raise _refused("the code was used before", "wait for the next one")
                factors.last_step, factors.failures = step, 0
                factors.write()
                return name
        factors.failures += 1
        factors.write()
        left = _TRIES - factors.failures
        raise _refused(f"the code is wrong; {left} more may be tried")


@contextmanager
def _alone_with(path: str) -> Iterator[None]:
    """Let no other host count codes meanwhile: each code is taken once by all."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _refused(f"{path}.lock cannot be opened: {error}") from error
    try:
        with lock_descriptor(descriptor):
            yield
    finally:
        os.close(descriptor)


def _refused(why: str, hint: str = "ask again") -> SecondFactorError:
    return SecondFactorError("the second factor was refused", why=why, hint=hint)


def _difference(asked: Sequence[Subject], now: Sequence[Subject]) -> str:
    """Return why a challenge does not fit what is there now."""
    names = {each.name for each in asked} ^ {each.name for each in now}
    if names:
        return f"the challenge was for other photons: {', '.join(sorted(names))}"
    for old, new in zip(asked, now, strict=False):
        if old.generation != new.generation:
            return f"the generation of {new.name!r} is {new.generation} by now"
        if old.digest != new.digest:
            return f"the files of {new.name!r} have changed since"
    return "the challenge was for the photons in another order"


def _check_key(factors: Factors, asked: Challenge, answer: Mapping[str, Any]) -> str:
    with requires_fido_extra():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        signature = bytes.fromhex(str(answer.get("signature", "")))
    except ValueError:
        raise _refused("the signature is not hexadecimal") from None
    for name, key in factors.keys.items():
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            public.verify(signature, asked.digest)
        except (InvalidSignature, ValueError):
            continue
        return name
    raise _refused("no registered key has made the signature")


def fido_server() -> Any:
    """Return a server of FIDO2 for the operations of Luminal's hosts.

    Raises:
        MissingExtraError: fido2 is not installed.
    """
    with requires_fido_extra():
        from fido2.server import Fido2Server
        from fido2.webauthn import PublicKeyCredentialRpEntity
    entity = PublicKeyCredentialRpEntity(id=_RP, name="Luminal")
    return Fido2Server(entity, verify_origin=lambda origin: origin == FIDO_ORIGIN)


def _check_fido(factors: Factors, asked: Challenge, answer: Mapping[str, Any]) -> str:
    server = fido_server()
    from fido2.webauthn import AttestedCredentialData

    registered = {
        name: AttestedCredentialData(base64.b64decode(data))
        for name, data in factors.fido.items()
    }
    _, state = server.authenticate_begin(
        list(registered.values()), challenge=asked.digest
    )
    assertion = answer.get("assertion")
    if not isinstance(assertion, dict):
        raise _refused("there is no assertion of an authenticator")
    try:
        used = server.authenticate_complete(state, list(registered.values()), assertion)
    except Exception as error:  # noqa: BLE001 - of bytes that anybody may send
        raise _refused(f"the authenticator's answer is wrong: {error}") from None
    return next(name for name, each in registered.items() if each == used)
