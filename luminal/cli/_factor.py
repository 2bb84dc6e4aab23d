"""The second factor on the command line, and the log of what was accepted."""

from __future__ import annotations

import base64
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from luminal.cli._options import command, trust_settings
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    print_table,
    short,
)
from luminal.errors import PathTakenError, SecondFactorError, did_you_mean
from luminal.trust import (
    AuditLog,
    Challenge,
    Factors,
    Subject,
    describe,
    fido_server,
    requires_fido_extra,
)

if TYPE_CHECKING:
    from luminal.trust import AuditRow

__all__ = ["answer_challenge", "audit_command", "factor_command"]

# --- Answering -----------------------------------------------------------------------


def answer_challenge(asked: dict[str, Any]) -> dict[str, Any]:
    """Ask the user to approve an operation, and return the answer for the host.

    What is signed is what is shown here, not what the host says that it is.

    Args:
        asked: The host's challenge.

    Raises:
        SecondFactorError: There is no key, or no authenticator.
    """
    subjects = tuple(
        Subject(str(s["name"]), int(s["generation"]), str(s["digest"]))
        for s in asked["photons"]
    )
    kind, nonce = str(asked["kind"]), str(asked["nonce"])
    challenge = Challenge(kind, str(asked["operation"]), subjects, nonce, 0.0)
    print_message(f"the host asks for a second factor ({clean(kind)}) to approve:")
    for each in subjects:
        files = f", files {each.digest[:16]}..." if each.digest else ""
        name, number = clean(each.name), each.generation
        print_message(
            f"  {clean(challenge.operation)} {name}, running generation {number}{files}"
        )
    if kind == "totp":
        return {"nonce": nonce, "code": _typed("code", "type it at a terminal")}
    if kind == "key":
        return {"nonce": nonce, "signature": _signed(challenge.digest)}
    return {"nonce": nonce, "assertion": _asserted(challenge.digest, asked)}


def _typed(what: str, hint: str) -> str:
    """Return what the user types.

    Raises:
        SecondFactorError: There is nobody to type it.
    """
    try:
        return str(click.prompt(what, err=True))
    except click.Abort:
        if sys.stdin.isatty():
            raise  # it was interrupted
        raise SecondFactorError(
            f"nobody can be asked for the {what}",
            why="standard input has ended, and is no terminal",
            hint=hint,
        ) from None


def _signed(digest: bytes) -> str:
    """Return the signature of the key whose file the user names."""
    with requires_fido_extra():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    path = os.environ.get("LUMINAL_FACTOR_KEY", "")
    path = path or _typed("file with the key", "name it in LUMINAL_FACTOR_KEY")
    try:
        with open(path, "rb") as file:
            data = file.read()
        assert b"PRIVATE KEY" in data, "it is no PEM file of a key"  # noqa: S101
        key = load_pem_private_key(data, None)
        assert isinstance(key, Ed25519PrivateKey), "it is no Ed25519 key"  # noqa: S101
        return key.sign(digest).hex()
    except (OSError, ValueError, TypeError, AssertionError) as error:
        raise SecondFactorError(
            "the key cannot be used",
            file=path,
            why=str(error),
            hint="name the file that luminal factor add key has written",
        ) from None


def _client() -> Any:
    """Return a client of the authenticator that is plugged in."""
    from luminal.trust import FIDO_ORIGIN

    with requires_fido_extra():
        from fido2.client import DefaultClientDataCollector, Fido2Client
        from fido2.hid import CtapHidDevice
    device = next(iter(CtapHidDevice.list_devices()), None)
    if device is None:
        raise SecondFactorError(
            "there is no authenticator",
            why="no FIDO2 device was found at this machine",
            hint="plug it in, and see that this user may open it",
        )
    print_message("touch the authenticator")
    return Fido2Client(device, DefaultClientDataCollector(FIDO_ORIGIN))


def _asserted(digest: bytes, asked: dict[str, Any]) -> dict[str, Any]:
    server = fido_server()
    from fido2.webauthn import AttestedCredentialData

    known = [AttestedCredentialData(base64.b64decode(c)) for c in asked["credentials"]]
    options, _ = server.authenticate_begin(known, challenge=digest)
    try:
        response = _client().get_assertion(options.public_key).get_response(0)
    except Exception as error:
        if isinstance(error, SecondFactorError):
            raise
        raise _no_answer(error) from error
    return dict(response)


def _no_answer(error: Exception) -> SecondFactorError:
    return SecondFactorError(
        "the authenticator has not answered", why=str(error), hint="try again"
    )


# --- luminal factor ------------------------------------------------------------------


def _factors() -> Factors:
    settings = trust_settings()
    return Factors.read(settings.factor if settings is not None else "")


@command("factor")
@click.argument("action", type=click.Choice(["list", "add", "remove"]))
@click.argument("kind", required=False, metavar="[KIND]")
@click.argument("name", required=False, metavar="[NAME]")
@click.option(
    "--public",
    metavar="HEX",
    help="Register this public Ed25519 key, instead of a new one.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where to write the secret of a new key; by default NAME.pem.",
)
def factor_command(
    action: str,
    kind: str | None,
    name: str | None,
    public: str | None,
    output: str | None,
    as_json: bool,
) -> Exit:
    """Register what approves operations on running hosts.

    ACTION is list, add or remove. `luminal factor add key NAME` makes a key, `add totp`
    a secret for an app with codes, `add fido NAME` registers an authenticator. `remove
    NAME` takes it back.
    Hosts ask for it with [tool.luminal.trust] second-factor = "key" (or "totp",
    "fido"). A host that runs sees the change at once.
    """
    factors = _factors()
    if action == "list":
        return _list_factors(factors, as_json)
    if action == "remove":
        return _remove_factor(factors, kind or "", as_json)
    if kind not in ("key", "totp", "fido"):
        nearest = did_you_mean(kind or "", ("key", "totp", "fido"), "; ")
        raise click.UsageError(f"KIND is one of key, totp, fido{nearest}")
    chosen = name or kind
    if chosen in {*factors.keys, *factors.fido, *factors.totp} and kind != "totp":
        raise PathTakenError(
            f"a second factor {chosen!r} is registered already",
            file=factors.path,
            hint="choose another NAME, or remove that one first",
        )
    said: dict[str, Any] = {"name": chosen, "kind": kind}
    if kind == "key":
        said |= _add_key(factors, chosen, public, output)
    elif kind == "totp":
        said |= _add_totp(factors, chosen)
    else:
        factors.fido[chosen] = _new_credential()
    factors.write()
    if as_json:
        print_json("factor", Exit.FINE, **said)
        return Exit.FINE
    print_message(f"registered {chosen!r} in {short(factors.path)}")
    if "file" in said:
        print_message(f"its secret is in {short(said['file'])}: keep it elsewhere")
    if "uri" in said:
        click.echo(said["uri"])
    return Exit.FINE


def _list_factors(factors: Factors, as_json: bool) -> Exit:
    rows = [
        (name, kind)
        for kind, table in (
            ("key", factors.keys),
            ("fido", factors.fido),
            ("totp", factors.totp),
        )
        for name in table
    ]
    code = Exit.FINE if rows else Exit.NOTHING
    if as_json:
        print_json("factor", code, factors=[{"name": n, "kind": k} for n, k in rows])
    elif rows:
        print_table(("NAME", "KIND"), rows)
    else:
        print_message("no second factor is registered; see luminal factor --help")
    return code


def _remove_factor(factors: Factors, name: str, as_json: bool) -> Exit:
    found = False
    for table in (factors.keys, factors.fido, factors.totp):
        found = table.pop(name, None) is not None or found
    if not found:
        known = [*factors.keys, *factors.fido, *factors.totp]
        raise SecondFactorError(
            f"no second factor {name!r} is registered",
            file=factors.path,
            hint=f"registered: {', '.join(known) or 'none'}"
            + did_you_mean(name, known, "; "),
        )
    factors.write()
    if as_json:
        print_json("factor", Exit.FINE, removed=name)
    else:
        print_message(f"removed {name!r}")
    return Exit.FINE


def _add_key(
    factors: Factors, name: str, public: str | None, output: str | None
) -> dict[str, str]:
    with requires_fido_extra():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (
            Ed25519PrivateKey,
            Ed25519PublicKey,
        )
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
    if public is not None:
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        except ValueError as error:
            raise SecondFactorError(
                "that is no public key", why=str(error), hint="give 64 hex digits"
            ) from None
        factors.keys[name] = public.lower()
        return {}
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = output or f"{name}.pem"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise PathTakenError("file exists", file=path, hint="choose --output") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    factors.keys[name] = key.public_key().public_bytes_raw().hex()
    return {"file": path, "public": factors.keys[name]}


def _add_totp(factors: Factors, name: str) -> dict[str, str]:
    with requires_fido_extra():
        import pyotp
    secret = base64.b32encode(secrets.token_bytes(20)).decode()
    factors.totp = {name: secret}
    factors.failures = factors.last_step = 0
    uri = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Luminal")
    return {"uri": uri}


def _new_credential() -> str:
    server = fido_server()
    from fido2.webauthn import PublicKeyCredentialUserEntity

    user = PublicKeyCredentialUserEntity(
        id=secrets.token_bytes(16), name="luminal", display_name="Luminal"
    )
    options, state = server.register_begin(user)
    try:
        response = _client().make_credential(options.public_key)
        data = server.register_complete(state, response)
    except Exception as error:
        if isinstance(error, SecondFactorError):
            raise
        raise _no_answer(error) from error
    return base64.b64encode(bytes(data.credential_data)).decode()


# --- luminal audit -------------------------------------------------------------------


@command("audit")
@click.option("--verify", is_flag=True, help="Only check that no line was changed.")
def audit_command(verify: bool, as_json: bool) -> Exit:
    """Show what was asked of hosts from outside and accepted.

    Hosts write it with [tool.luminal.trust] audit = true, and where they ask for a
    second factor. Each line seals the line before it; the exit code is 1 where one was
    changed, removed or added, and the line is named. What was cut off at the end cannot
    be noticed.
    """
    log = AuditLog()
    rows = list(log.rows())  # raises for a line that was changed
    code = Exit.FINE if rows else Exit.NOTHING
    if as_json:
        shown = [] if verify else [describe(row) for row in rows]
        print_json("audit", code, path=log.path, count=len(rows), rows=shown)
    elif not rows:
        print_message(f"nothing is in {short(log.path)}")
    elif verify:
        print_message(f"{len(rows)} lines, none changed: {short(log.path)}")
    else:
        headings = ("#", "AT", "OPERATION", "PHOTONS", "GENERATION", "BY")
        print_table(headings, [_cells(row) for row in rows])
    return code


def _cells(row: AuditRow) -> tuple[str, ...]:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at / 1000))
    names = ", ".join(name for name, _, _ in row.photons)
    numbers = ", ".join(str(number) for _, number, _ in row.photons)
    return (str(row.number), at, row.operation, clean(names), numbers, clean(row.by))
