"""The second factor, its challenges, and the log of what was accepted."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import attrs
import pyotp
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fido2.cose import ES256
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorAssertionResponse,
    AuthenticatorData,
    CollectedClientData,
)

from luminal.errors import AuditLogError, SecondFactorError
from luminal.trust import (
    FIDO_ORIGIN,
    AuditLog,
    Challenge,
    Factors,
    SecondFactor,
    Subject,
)

GEO = Subject("geo", 3, "ab" * 64)
NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "second-factor.json")


def with_key(path: str, **options: Any) -> tuple[SecondFactor, Ed25519PrivateKey]:
    key = Ed25519PrivateKey.generate()
    other = Ed25519PrivateKey.generate()
    keys = {"bob": other.public_key().public_bytes_raw().hex()}
    keys["ann"] = key.public_key().public_bytes_raw().hex()
    Factors(path, keys=keys).write()
    return SecondFactor("key", path, **options), key


def signed(key: Ed25519PrivateKey, asked: dict[str, Any]) -> dict[str, Any]:
    digest = bytes.fromhex(asked["digest"])
    return {"nonce": asked["nonce"], "signature": key.sign(digest).hex()}


def test_a_key_approves_one_operation_once(path: str) -> None:
    factor, key = with_key(path)
    asked = factor.challenge("reload", [GEO])
    subjects = tuple(Subject(**photon) for photon in asked["photons"])
    again = Challenge("key", asked["operation"], subjects, asked["nonce"], 0.0)
    assert again.digest.hex() == asked["digest"], "a client computes it itself"
    answer = signed(key, asked)
    assert factor.check("reload", [GEO], answer) == "ann"
    with pytest.raises(SecondFactorError, match="answered before"):
        factor.check("reload", [GEO], answer)


@pytest.mark.parametrize(
    ("operation", "now", "words"),
    [
        ("unload", GEO, "for the operation 'reload'"),
        ("reload", attrs.evolve(GEO, name="other"), "for other photons: geo, other"),
        ("reload", attrs.evolve(GEO, generation=4), "generation of 'geo' is 4"),
        ("reload", attrs.evolve(GEO, digest="cd" * 64), "files of 'geo' have changed"),
    ],
)
def test_what_was_approved_is_what_is_done(
    path: str, operation: str, now: Subject, words: str
) -> None:
    factor, key = with_key(path)
    answer = signed(key, factor.challenge("reload", [GEO]))
    with pytest.raises(SecondFactorError, match="was refused") as caught:
        factor.check(operation, [now], answer)
    assert words in str(caught.value)
    with pytest.raises(SecondFactorError, match="answered before"):
        factor.check("reload", [GEO], answer)  # it is used up all the same


def test_late_foreign_and_senseless_answers_are_refused(path: str) -> None:
    time = [0.0]
    factor, key = with_key(path, monotonic=lambda: time[0])
    answer = signed(key, factor.challenge("reload", [GEO]))
    time[0] = 61.0
    with pytest.raises(SecondFactorError, match="valid for 60 seconds"):
        factor.check("reload", [GEO], answer)
    stranger = signed(Ed25519PrivateKey.generate(), factor.challenge("reload", [GEO]))
    with pytest.raises(SecondFactorError, match="no registered key"):
        factor.check("reload", [GEO], stranger)
    for wrong in ({}, {"signature": "zz"}, {"signature": None}, {"code": "1"}):
        nonce = factor.challenge("reload", [GEO])["nonce"]
        with pytest.raises(SecondFactorError):
            factor.check("reload", [GEO], {**wrong, "nonce": nonce})
    for nonce in (None, 3, [], "0" * 32):
        with pytest.raises(SecondFactorError, match="not known"):
            factor.check("reload", [GEO], {"nonce": nonce, "signature": ""})
    # Challenges that nobody answers do not pile up.
    for _ in range(300):
        factor.challenge("reload", [GEO])
    assert len(factor._pending) <= 100


def test_a_code_is_taken_once_and_five_wrong_ones_end_it(path: str) -> None:
    secret = pyotp.random_base32()
    Factors(path, totp={"phone": secret}).write()
    time = [float(NOW)]

    def check(code: str) -> str:
        # A new host each time: what counts is in the file.
        factor = SecondFactor("totp", path, clock=lambda: time[0])
        nonce = factor.challenge("reload", [GEO])["nonce"]
        return factor.check("reload", [GEO], {"nonce": nonce, "code": code})

    def code(steps: int = 0) -> str:
        return pyotp.TOTP(secret).at(NOW + 30 * steps)

    assert check(code(-1)) == "phone"
    with pytest.raises(SecondFactorError, match="used before"):
        check(code(-1))
    assert check(code(1)) == "phone", "clocks differ by a step"
    with pytest.raises(SecondFactorError, match="used before"):
        check(code(0))  # an older one than the last
    for far in (2, -2):
        with pytest.raises(SecondFactorError, match="is wrong"):
            check(code(far))
    time[0] += 90
    assert check(code(3)) == "phone", "a right one ends the count"
    for left in (4, 3, 2, 1, 0):
        with pytest.raises(SecondFactorError, match=f"{left} more"):
            check("000000" if code(3) != "000000" else "111111")
    time[0] += 90
    with pytest.raises(SecondFactorError, match="5 codes were wrong"):
        check(code(6))


class Authenticator:
    """A FIDO2 authenticator of software, by the structures of fido2."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = ES256.from_cryptography_key(self._key.public_key())
        self.credential = AttestedCredentialData.create(
            b"\0" * 16, os.urandom(16), public
        )

    def assertion(
        self, challenge: bytes, origin: str = FIDO_ORIGIN, flags: int = 1
    ) -> dict[str, Any]:
        import hashlib

        rp = hashlib.sha256(origin.removeprefix("https://").encode()).digest()
        data = AuthenticatorData.create(rp, flags, 7)
        client = CollectedClientData.create(
            CollectedClientData.TYPE.GET, challenge, origin
        )
        signature = self._key.sign(data + client.hash, ec.ECDSA(hashes.SHA256()))
        response = AuthenticatorAssertionResponse(
            client_data=client, authenticator_data=data, signature=signature
        )
        made = AuthenticationResponse(
            raw_id=self.credential.credential_id, response=response
        )
        return json.loads(json.dumps(dict(made)))  # as it comes through the socket


def test_an_authenticator_approves_what_it_signs(path: str) -> None:
    device = Authenticator()
    data = base64.b64encode(bytes(device.credential)).decode()
    Factors(path, fido={"token": data}).write()
    factor = SecondFactor("fido", path)

    def answered(challenge: bytes | None = None, **options: Any) -> str:
        asked = factor.challenge("unload", [GEO])
        assert asked["credentials"] == [data]
        digest = bytes.fromhex(asked["digest"])
        assertion = device.assertion(challenge or digest, **options)
        answer = {"nonce": asked["nonce"], "assertion": assertion}
        return factor.check("unload", [GEO], answer)

    assert answered() == "token"
    with pytest.raises(SecondFactorError, match="Wrong challenge"):
        answered(os.urandom(32))
    with pytest.raises(SecondFactorError, match="Invalid origin"):
        answered(origin="https://evil.example")
    with pytest.raises(SecondFactorError, match="User Present"):
        answered(flags=0)
    other = factor.challenge("unload", [GEO])
    stranger = Authenticator().assertion(bytes.fromhex(other["digest"]))
    with pytest.raises(SecondFactorError, match="Unknown credential"):
        factor.check("unload", [GEO], {"nonce": other["nonce"], "assertion": stranger})
    for wrong in (None, {}, {"id": 3}, "x"):
        nonce = factor.challenge("unload", [GEO])["nonce"]
        with pytest.raises(SecondFactorError):
            factor.check("unload", [GEO], {"nonce": nonce, "assertion": wrong})


def test_a_file_that_is_open_or_damaged_is_named(path: str) -> None:
    with pytest.raises(SecondFactorError, match="no second factor of the kind 'key'"):
        SecondFactor("key", path).challenge("reload", [GEO])
    factor, _ = with_key(path)
    os.chmod(path, 0o644)
    with pytest.raises(SecondFactorError, match="cannot be read") as caught:
        factor.challenge("reload", [GEO])
    assert caught.value.file == path
    for text in ("", "[]", "{}", '{"keys": 1}', "\0"):
        Path(path).write_text(text)
        os.chmod(path, 0o600)
        with pytest.raises(SecondFactorError, match="cannot be read"):
            factor.challenge("reload", [GEO])


# --- The log -------------------------------------------------------------------------


def log_of(tmp_path: Path, count: int = 4) -> AuditLog:
    log = AuditLog(str(tmp_path / "state" / "audit.jsonl"))
    for number in range(1, count + 1):
        log.append("reload", [("geo", number, "ab")], "key ann")
    return log


def test_a_changed_removed_or_moved_line_is_named(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    assert [row.number for row in log.rows()] == [1, 2, 3, 4]
    assert os.stat(log.path).st_mode & 0o777 == 0o600
    file = Path(log.path)
    lines = file.read_bytes().splitlines(keepends=True)
    cases = [
        (2, [lines[0], lines[1].replace(b"ann", b"bob"), *lines[2:]]),
        (3, [*lines[:2], lines[3]]),
        (1, lines[1:]),
        (4, [*lines[:3], b"{}\n"]),
        (5, [*lines, lines[3]]),
        (2, [lines[0], lines[2], lines[1], lines[3]]),
    ]
    for number, changed in cases:
        file.write_bytes(b"".join(changed))
        with pytest.raises(AuditLogError) as caught:
            list(log.rows())
        assert caught.value.line == number
    file.write_bytes(b"".join([*lines[:3], b"{}\n"]))
    with pytest.raises(AuditLogError, match="ends with a line that is wrong"):
        log.append("reload", [], "socket")


def test_a_line_that_was_not_written_to_its_end_is_removed(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    file = Path(log.path)
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        file.write_bytes(whole[:end])
        assert len(list(log.rows())) == 3
        log.append("unload", [("geo", 1, "")], "socket")
        assert [row.operation for row in log.rows()][2:] == ["reload", "unload"]


def test_two_hosts_write_one_chain_and_a_full_disk_is_told(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    logs = [log_of(tmp_path, 0) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: logs[n % 4].append("reload", [], "x"), range(40)))
    assert [row.number for row in logs[0].rows()] == list(range(1, 41))
    with pytest.raises(AuditLogError, match="cannot be"):
        AuditLog(str(tmp_path / "state" / "audit.jsonl" / "x")).append("r", [], "")
    if os.path.exists("/dev/full"):
        with pytest.raises(AuditLogError, match="cannot be written"):
            AuditLog("/dev/full").append("reload", [], "socket")
