"""The commands for keys and bundles: key, sign, verify, pack, unpack, kill."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli._options import command
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    print_table,
    short,
)
from luminal.errors import (
    LuminalError,
    PhotonNotFoundError,
    PhotonVerificationError,
    did_you_mean_path,
)
from luminal.store import naming, replace_file

if TYPE_CHECKING:
    from luminal.trust import Bundle, SecretKey, Verified

__all__ = [
    "key_command",
    "kill_command",
    "pack_command",
    "print_bundle",
    "sign_command",
    "unpack_command",
    "verify_command",
]

_LIMIT = 2**22
_PASSPHRASE = "LUMINAL_KEY_PASSPHRASE"  # noqa: S105 - name of a variable
_WANTED = "Path of a key, or its name in the state directory."


# --- keys ----------------------------------------------------------------------------


def _key_path(name: str, *, is_host: bool = False) -> str:
    """Return where a secret key lies, by its name or path."""
    from luminal.trust import host_key_path
    from luminal.trust._keys import keys_directory

    if is_host:
        return host_key_path()
    if os.sep in name or "/" in name or name.endswith(".key"):
        return os.path.abspath(name)
    if not re.fullmatch(r"[\w.-]+", name):
        raise click.BadParameter("use letters, digits, '-', '_' and '.'")
    return os.path.join(keys_directory(), f"{name}.key")


def _passphrase(path: str, *, is_new: bool = False) -> str:
    """Return the passphrase of a key: of the environment, or as it is typed."""
    known = os.environ.get(_PASSPHRASE)
    if known is not None:
        return known
    if not sys.stdin.isatty():
        return ""
    found: str = click.prompt(
        f"Passphrase for {short(path)}",
        hide_input=True,
        confirmation_prompt=is_new,
        err=True,
    )
    return found


def _load_key(name: str) -> SecretKey:
    from luminal.trust import SecretKey

    return SecretKey.load(_key_path(name), _passphrase)


@command("key")
@click.argument("action", type=click.Choice(["new", "show", "rotate", "accept"]))
@click.argument("name", default=None, required=False, metavar="[NAME]")
@click.option("--host", is_flag=True, help="The key that opens sealed bundles.")
@click.option("--passphrase", is_flag=True, help="Encrypt a new key.")
@click.option("--to", "to", metavar="KEY", help="Public key that takes over.")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(), help="File of the rotation."
)
def key_command(
    action: str,
    name: str | None,
    host: bool,
    passphrase: bool,
    to: str | None,
    output: str | None,
    as_json: bool,
) -> Exit:
    """Make, show and rotate keys that sign.

    NAME is the name of a key in the state directory, or the path of its file.

    \b
    new     makes a secret key, and prints its public key
    show    prints the public key
    rotate  lets the old key NAME hand over to the public key of --to
    accept  lets this user's hosts take such a rotation over; NAME is its file
    """  # noqa: D301 - click knows a paragraph that is not wrapped by this character
    if action == "accept" and name is None:
        raise click.UsageError("accept needs the file that 'luminal key rotate' made.")
    name = "default" if name is None else name
    if action in ("new", "show"):
        public, path = _new_or_shown(action, name, host, passphrase)
        if as_json:
            print_json("key", Exit.FINE, key=public, file=path)
            return Exit.FINE
        if action == "new":
            print_message(f"secret key: {short(path)}; keep it to yourself")
        click.echo(public)
        return Exit.FINE
    from luminal.trust import Rotation, learn_rotation

    if action == "accept":
        _check_exists(name)
        rotation = Rotation.read(_read(name, "rotation of a key"), name)
        is_news = learn_rotation(rotation)
        if as_json:
            print_json("key", Exit.FINE, **attrs.asdict(rotation), is_new=is_news)
        else:
            known = "" if is_news else " (known already)"
            click.echo(f"{rotation.new} stands for {rotation.old}{known}")
        return Exit.FINE
    if to is None:
        raise click.UsageError("rotate needs --to KEY, the public key of the new one.")
    rotation = Rotation.make(_load_key(name), to)
    target = output or f"rotation-{rotation.old[:8]}.json"
    replace_file(target, rotation.data())
    if as_json:
        print_json("key", Exit.FINE, **attrs.asdict(rotation), file=target)
    else:
        click.echo(short(target))
        print_message(f"next, on each host: luminal key accept {short(target)}")
    return Exit.FINE


def _new_or_shown(
    action: str, name: str, is_host: bool, is_encrypted: bool
) -> tuple[str, str]:
    """Make or read a key; return its public key, and its path."""
    from luminal.trust import SecretKey
    from luminal.trust._seal import new_host_key, recipient_of

    path = _key_path(name, is_host=is_host)
    try:
        if is_host:
            is_new = action == "new"
            return (new_host_key(path) if is_new else recipient_of(path)), path
        if action == "show":
            return _load_key(name).public, path
        secret = SecretKey.new()
        phrase = _passphrase(path, is_new=True) if is_encrypted else ""
        if is_encrypted and not phrase:
            raise click.UsageError(f"Set ${_PASSPHRASE}, or type one at a terminal.")
        secret.save(path, phrase)
    except FileExistsError as error:
        raise PhotonVerificationError(
            "is a key already",
            file=path,
            why=str(error.strerror),
            hint="choose another NAME; remove the file if you mean to lose the key",
        ) from None
    return secret.public, path


# --- files ---------------------------------------------------------------------------


def _check_exists(path: str) -> None:
    if not os.path.lexists(path):
        raise PhotonNotFoundError(
            f"{short(path)!r} is not there",
            file=path,
            hint=f"name a file that exists{did_you_mean_path(path)}",
        )


def _read(path: str, what: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise PhotonVerificationError(f"is too large for a {what}", file=path)
    return data


def _is_list(path: str) -> bool:
    return path.endswith(".json")


# --- sign and verify -----------------------------------------------------------------


@command("sign")
@click.argument("file", type=click.Path())
@click.option("--key", "key", default="default", metavar="NAME", help=_WANTED)
def sign_command(file: str, key: str, as_json: bool) -> Exit:
    """Sign a bundle or a kill list.

    FILE is replaced by the same with your signature; those of others stay.
    """
    from luminal.trust import KillList, read_bundle, sign

    _check_exists(file)
    secret = _load_key(key)
    if _is_list(file):
        killing = KillList.read(_read(file, "kill list"), file).signed(secret)
        data, what = killing.data(), f"kill list {killing.number}"
        count = len(killing.signatures)
    else:
        _refuse_sealed(file)
        bundle = sign(read_bundle(file), secret)
        data, count = bundle.data(), len(bundle.signatures)
        what = f"{bundle.manifest.name} {bundle.manifest.version}"
    replace_file(file, data)
    if as_json:
        print_json("sign", Exit.FINE, file=file, key=secret.public, signatures=count)
    else:
        number = f"{count} signature{'s' if count != 1 else ''}"
        click.echo(f"{short(file)}: {what}, {number}")
    return Exit.FINE


def _refuse_sealed(file: str) -> None:
    from luminal.trust import is_sealed

    with open(file, "rb") as opened:
        if is_sealed(opened.read(64)):
            raise PhotonVerificationError(
                "is sealed",
                file=file,
                why="a seal is around a signed bundle",
                hint="sign it first, then seal: luminal pack FILE --seal-to RECIPIENT",
            )


@command("verify")
@click.argument("file", type=click.Path())
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A trusted public key; may be repeated.",
)
@click.option(
    "--threshold",
    type=int,
    help="How many must have signed; without it as the lock says, or all.",
)
@click.option(
    "--lock",
    type=click.Path(),
    default="luminal.lock",
    show_default=True,
    help="Where keys and threshold stand.",
)
def verify_command(
    file: str,
    keys: tuple[str, ...],
    threshold: int | None,
    lock: str,
    as_json: bool,
) -> Exit:
    """Check the signatures of a bundle or a kill list.

    Bundles that have expired, are killed, or are older than what was accepted are
    refused as well. Without --key, by the keys that luminal.lock trusts.
    """
    _check_exists(file)
    if keys:
        trusted = {key: key for key in keys}
    else:
        from luminal.trust import LockFile

        try:
            known = LockFile.read(os.path.abspath(lock))
        except FileNotFoundError:
            raise click.UsageError(
                f"Name trusted keys by --key; there is no {lock}."
            ) from None
        trusted = dict(known.keys)
        if not trusted:
            raise click.UsageError(f"Name trusted keys by --key; {lock} lists none.")
        threshold = threshold if threshold is not None else known.threshold
    needed = threshold if threshold is not None else len(trusted)
    what, verified = _verify(file, list(trusted.values()), needed)
    if as_json:
        print_json("verify", Exit.FINE, file=file, **attrs.asdict(verified))
    else:
        click.echo(f"{short(file)}: {what}, {verified}")
        names = {value.casefold(): name for name, value in trusted.items()}
        for key in verified.keys:
            name = names.get(key, key)
            click.echo(f"  {key}" + ("" if name == key else f"  {clean(name)}"))
    return Exit.FINE


def _verify(file: str, keys: list[str], threshold: int) -> tuple[str, Verified]:
    from luminal.trust import (
        HighestVersions,
        KillList,
        installed_kill_list,
        read_bundle,
        verify,
    )

    if _is_list(file):
        found = KillList.read(_read(file, "kill list"), file)
        return f"kill list {found.number}", found.verify(keys, threshold, file=file)
    bundle = read_bundle(file)
    manifest = bundle.manifest
    verified = verify(
        manifest,
        bundle.signatures,
        keys,
        threshold,
        file=file,
        highest=HighestVersions(),
    )
    killing = installed_kill_list()
    killing.check(manifest.name, manifest.version, manifest.tree, file)
    return f"{manifest.name} {manifest.version}", verified


# --- pack and unpack -----------------------------------------------------------------


@command("pack")
@click.argument("source")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="File to write; by default NAME-VERSION.photon.",
)
@click.option("--name", default="", help="Name of the bundle.")
@click.option("--version", default="", help="Version of the bundle.")
@click.option("--channel", default="", help="Where it is released, such as stable.")
@click.option(
    "--expires",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day (UTC) from which on it is not accepted.",
)
@click.option(
    "--key", "keys", multiple=True, metavar="NAME", help="Sign with this key."
)
@click.option(
    "--seal-to",
    "recipients",
    multiple=True,
    metavar="AGE-KEY",
    help="Encrypt it for this recipient; may be repeated.",
)
def pack_command(
    source: str,
    output: str | None,
    name: str,
    version: str,
    channel: str,
    expires: Any,
    keys: tuple[str, ...],
    recipients: tuple[str, ...],
    as_json: bool,
) -> Exit:
    """Pack photons into one file, a bundle.

    SOURCE is a package, a directory of photons, a wheel, the name of an installed
    distribution, or a bundle that is to be signed or sealed. The same files give the
    same bytes on every machine.
    """
    from luminal.trust import seal, sign

    bundle = _packed(source, name, version, channel, expires)
    for key in keys:
        bundle = sign(bundle, _load_key(key))
    manifest = bundle.manifest
    ending = ".sealed.photon" if recipients else ".photon"
    target = output or f"{manifest.name}-{manifest.version}{ending}"
    data = seal(bundle, recipients) if recipients else bundle.data()
    if os.path.isdir(target):
        raise click.UsageError(f"{target} is a directory.")
    replace_file(target, data)
    if as_json:
        print_json(
            "pack",
            Exit.FINE,
            file=target,
            name=manifest.name,
            version=manifest.version,
            tree=manifest.tree,
            files=len(manifest.files),
            bytes=len(data),
            signatures=len(bundle.signatures),
            recipients=len(recipients),
        )
    else:
        click.echo(
            f"{short(target)}: {manifest.name} {manifest.version}, "
            f"{len(manifest.files)} files, {len(data):,} bytes"
        )
    return Exit.FINE


def _packed(source: str, name: str, version: str, channel: str, expires: Any) -> Bundle:
    from datetime import UTC

    from luminal.discovery import pack
    from luminal.trust import read_bundle

    if source.endswith(".photon") and os.path.isfile(source):
        if name or version or channel or expires:
            raise click.UsageError(
                "A bundle keeps its name, version, channel and expiry: pack it anew."
            )
        _refuse_sealed(source)
        return read_bundle(source)
    until = int(expires.replace(tzinfo=UTC).timestamp()) if expires else 0
    return pack(source, name=name, version=version, channel=channel, expires=until)


@command("unpack")
@click.argument("file", type=click.Path())
@click.option(
    "--to",
    "to",
    metavar="DIRECTORY",
    type=click.Path(),
    help="Directory to make; by default NAME-VERSION.",
)
def unpack_command(file: str, to: str | None, as_json: bool) -> Exit:
    """Write the files of a bundle into a new directory.

    Nothing is written where the bundle is not sound, or the directory exists.
    """
    from luminal.trust import read_bundle

    _check_exists(file)
    bundle = read_bundle(file)
    manifest = bundle.manifest
    target = os.path.abspath(to or f"{manifest.name}-{manifest.version}")
    if os.path.lexists(target):
        raise click.UsageError(f"{short(target)} exists.")
    above = os.path.dirname(target)
    with naming(above):
        folder = tempfile.mkdtemp(prefix=".luminal-unpack-", dir=above)
    try:
        for member, data in bundle.files.items():
            path = os.path.join(folder, *member.split("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with naming(os.path.join(target, member)), open(path, "xb") as opened:
                opened.write(data)
        os.chmod(folder, 0o755)  # noqa: S103 - made for this user alone until now
        os.rename(folder, target)  # all of it, or nothing
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if as_json:
        files = sorted(bundle.files)
        print_json("unpack", Exit.FINE, directory=target, files=files)
    else:
        click.echo(f"{short(target)}: {len(bundle.files)} files")
    return Exit.FINE


def print_bundle(path: str) -> None:
    """Print what ``luminal inspect`` adds about a bundle; nothing for an unsound one.

    Args:
        path: Of the bundle.
    """
    from luminal.trust import read_bundle

    try:
        bundle = read_bundle(path)
    except LuminalError:
        return  # its candidate says what is wrong
    manifest = bundle.manifest
    click.echo(f"\n{short(path)}: bundle {manifest.name} {manifest.version}")
    facts = {
        "tree": manifest.tree[:16] + "...",
        "channel": manifest.channel,
        "expires": _day(manifest.expires),
        "signed by": ", ".join(sorted(s.key[:16] + "..." for s in bundle.signatures)),
    }
    for label, value in facts.items():
        if value:
            click.echo(f"  {label:<11}  {clean(value)}")
    rows = [(file, f"{size:,}", digest[:16]) for file, size, digest in manifest.files]
    print_table(("FILE", "BYTES", "SHA512"), rows)


def _day(seconds: int) -> str:
    import time

    try:
        return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds else ""
    except (OverflowError, ValueError, OSError):
        return str(seconds)


# --- kill ----------------------------------------------------------------------------


def _killed(what: str) -> tuple[str, str]:
    """Return the name and the range of versions that ``luminal kill`` is asked for."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    from luminal.discovery import split_requirement

    if not what:
        raise click.UsageError("Name what must not run: luminal kill NAME==VERSION")
    name, versions = split_requirement(what)
    versions = versions.replace(" ", "")
    try:
        SpecifierSet(versions)
    except InvalidSpecifier as error:
        raise click.UsageError(f"{clean(what)!r}: {error}.") from None
    # A name that no unit has would kill nothing.
    if not re.fullmatch(r"[\w./-]+", name):
        raise click.UsageError(f"{clean(what)!r} is not NAME or NAME==VERSION.")
    return name, versions


@command("kill")
@click.argument("what", metavar="NAME[==VERSION]", default="")
@click.option(
    "--list",
    "file",
    type=click.Path(),
    default="kill-list.json",
    show_default=True,
    help="The list to add it to; made where it is not there.",
)
@click.option("--why", default="", help="Shown where the version is refused.")
@click.option("--key", "key", default="default", metavar="NAME", help=_WANTED)
def kill_command(what: str, file: str, why: str, key: str, as_json: bool) -> Exit:
    """Add a version to a kill list, and sign the list.

    Versions are a range, such as weather==2.0 or "weather>=2,<2.3". The number of the
    list goes up by one, and the signatures of others are gone: they sign it anew by
    luminal sign. Hosts that trust enough of the keys take a list over when it lies
    beside their luminal.lock.
    """
    from luminal.trust import Kill, KillList

    name, versions = _killed(what)
    known = KillList()
    if os.path.lexists(file):
        known = KillList.read(_read(file, "kill list"), file)
    new = known.adding(Kill(name, versions, why=why))
    new = KillList.read(new.data(), file).signed(_load_key(key))
    replace_file(file, new.data())
    if as_json:
        print_json("kill", Exit.FINE, file=file, number=new.number)
    else:
        click.echo(f"{short(file)}: kill list {new.number}, 1 signature")
    return Exit.FINE
