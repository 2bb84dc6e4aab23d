"""Bundles: a photon with all its files in one archive, ``NAME-VERSION.photon``.

A bundle is a zip of one form only. Its members are sorted and stored as they are, with
one date and the same attributes, and nothing lies between, before or after them. So the
same files give the same bytes on every machine, which no compressor promises. Reading
goes the other way: what was read is written again, and whatever is not the same to the
last byte is refused. That leaves no room for what archives hide: two members of one
name, links, data after the end, sizes that lie.

The members are shaped as in a wheel, and two are ours: ``PHOTON/manifest.json`` names
the bundle and has a digest of each other member, ``PHOTON/signatures.json`` has
signatures of the manifest. Nothing is ever unpacked to be loaded.
"""

from __future__ import annotations

import json
import stat
import struct
import unicodedata
import zlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from luminal.errors import PhotonUnreadableError, PhotonVerificationError
from luminal.trust._tree import MALFORMED, Tree, canonical_json, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ENDING",
    "MANIFEST",
    "SIGNATURES",
    "Bundle",
    "Manifest",
    "Signature",
    "build_bundle",
    "bundle_around",
    "check_member",
    "open_bundle",
    "read_bundle",
]

ENDING = ".photon"
"""What the names of bundles end in."""
MANIFEST = "PHOTON/manifest.json"
SIGNATURES = "PHOTON/signatures.json"

LIMIT = 16 * 2**20
"""Most bytes of a bundle, and so of all that is in it: nothing is compressed."""
MOST_MEMBERS = 10_000
_LONGEST_NAME = 240
"""Bytes; most file systems allow 255 for one part of a path."""

_FORMAT = 1
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION = 20
_IS_UTF8 = 0x800
_DATE = (1 << 5) | 1  # 1 January 1980, the first day that a zip knows
_ATTRIBUTES = (stat.S_IFREG | 0o644) << 16
_MADE_BY = (3 << 8) | _VERSION  # Unix: only there attributes say what kind a file is

_COMPILED = (".pyc", ".pyo")
_NATIVE = (".so", ".pyd", ".dll", ".dylib", ".a", ".lib", ".o")
_NATIVE_STARTS = (
    b"\x7fELF",
    b"MZ",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\xfe\xed\xfa\xcf",
    b"\xfe\xed\xfa\xce",
    b"!<arch>\n",
)
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"com{n}" for n in range(1, 10)}
    | {f"lpt{n}" for n in range(1, 10)}
)


def bundle_around(path: str) -> str:
    """Return the path of the bundle that *path* lies in; empty where it is in none.

    A file of a bundle has the path of the bundle with its own name after it.
    """
    for separator in ("/", "\\"):
        before, found, _ = path.partition(ENDING + separator)
        if found:
            return before + ENDING
    return ""


def _refuse(path: str, why: str, member: str = "", hint: str = "") -> NoReturn:
    raise PhotonVerificationError(
        f"is not a sound bundle: {member!r}" if member else "is not a sound bundle",
        file=path,
        why=why,
        hint=hint or "get the bundle again, or pack it again with 'luminal pack'",
    )


@attrs.frozen
class Signature:
    """One signature of a manifest.

    Attributes:
        key: Public key, 64 hexadecimal digits.
        signature: 128 hexadecimal digits.
    """

    key: str
    signature: str


@attrs.frozen(slots=False)
class Manifest:
    """What a bundle says about itself, and what signatures are of.

    Attributes:
        name: Of the bundle.
        version: By PEP 440.
        root: Full name of the package or module that all its modules lie below.
        tree: Digest of its files, see `luminal.trust.Tree`.
        files: (path, bytes, SHA-512 as hexadecimal digits) of each.
        photons: Facts of each photon: attributes of `luminal.model.Candidate`.
        flat: Whether a directory of photons was packed, whose files import each other
            by their bare names.
        capabilities: What its code does, where that was written down.
        channel: Where it was released, such as ``stable``; empty for none.
        expires: Seconds since 1970 from which on it is not accepted; 0 for never.
    """

    name: str
    version: str
    root: str
    tree: str
    files: tuple[tuple[str, int, str], ...]
    photons: tuple[Mapping[str, Any], ...] = ()
    flat: bool = False
    capabilities: tuple[str, ...] = ()
    channel: str = ""
    expires: int = 0

    @cached_property
    def data(self) -> bytes:
        """The one text of it, as it is stored and signed."""
        return canonical_json(
            {
                "format": _FORMAT,
                "name": self.name,
                "version": self.version,
                "root": self.root,
                "tree": self.tree,
                "files": [list(row) for row in self.files],
                "photons": [dict(row) for row in self.photons],
                "flat": self.flat,
                "capabilities": list(self.capabilities),
                "channel": self.channel,
                "expires": self.expires,
            }
        )

    @classmethod
    def read(cls, data: bytes, path: str = "") -> Manifest:
        """Return the manifest whose text *data* is.

        Args:
            data: Its bytes.
            path: Of the file to blame.

        Raises:
            PhotonVerificationError: It is no manifest, or not in its canonical form.
        """
        found = _parsed(data, path, MANIFEST)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            _refuse(
                path,
                "it has another format than this version of Luminal reads",
                MANIFEST,
                "update Luminal",
            )
        found.pop("format")
        try:
            manifest = cls(
                **{
                    **found,
                    "files": tuple(tuple(row) for row in found["files"]),
                    "photons": tuple(found["photons"]),
                    "capabilities": tuple(found["capabilities"]),
                }
            )
            _check_manifest(manifest)
            is_same = manifest.data == data
        except MALFORMED as error:
            _refuse(path, f"its fields are not those of a manifest: {error}", MANIFEST)
        if not is_same:
            _refuse(path, "it is not in its canonical form", MANIFEST)
        return manifest


def _parsed(data: bytes, path: str, member: str) -> Any:
    try:
        return json.loads(data)
    except MALFORMED as error:
        _refuse(path, f"it is no JSON: {error}", member)


def _check_manifest(manifest: Manifest) -> None:
    """Refuse fields of wrong types.

    Raises:
        ValueError: Names the field.
    """
    from packaging.version import InvalidVersion, Version

    for field in ("name", "version", "root", "tree", "channel"):
        value = getattr(manifest, field)
        if type(value) is not str or not (value.isprintable() and value.isascii()):
            raise ValueError(f"{field!r} is no plain text")
    if not manifest.name or any(c in manifest.name for c in "/\\:"):
        raise ValueError("'name' is not fit for a file")
    try:
        Version(manifest.version)
    except InvalidVersion as error:
        raise ValueError(str(error)) from None
    if not all(part.isidentifier() for part in manifest.root.split(".")):
        raise ValueError("'root' is no name of a module")
    if type(manifest.flat) is not bool:
        raise ValueError("'flat' is neither true nor false")
    if type(manifest.expires) is not int or manifest.expires < 0:
        raise ValueError("'expires' is no time")
    for row in manifest.files:
        path, size, digest = row
        if (type(path), type(size), type(digest)) != (str, int, str):
            raise ValueError("'files' has a row of other types")
    for facts in manifest.photons:
        if not isinstance(facts, dict) or type(facts.get("name")) is not str:
            raise ValueError("'photons' has one without a name")
    if not all(type(each) is str for each in manifest.capabilities):
        raise ValueError("'capabilities' are no texts")


@attrs.frozen(slots=False)
class Bundle:
    """An opened bundle: all of its files, as bytes that have been checked.

    Attributes:
        manifest: What it says about itself.
        files: Path → bytes of what is to be loaded, without the two members of ours.
        signatures: Of the manifest; not verified yet, see `luminal.trust.verify`.
        checksum: SHA-512 of the whole archive, as hexadecimal digits.
        path: Where it was read from.
    """

    manifest: Manifest
    files: Mapping[str, bytes] = attrs.field(repr=False)
    signatures: tuple[Signature, ...] = ()
    checksum: str = ""
    path: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Its version."""
        return self.manifest.version

    @cached_property
    def tree(self) -> Tree:
        """Digests of the files."""
        return tree_of(self.files)

    def data(self) -> bytes:
        """Return the bundle as the bytes of an archive."""
        members = {**self.files, MANIFEST: self.manifest.data}
        if self.signatures:
            members[SIGNATURES] = _signatures_data(self.signatures)
        return _archive(members)


def _signatures_data(signatures: Iterable[Signature]) -> bytes:
    rows = sorted({(each.key, each.signature) for each in signatures})
    return canonical_json({"signatures": [list(row) for row in rows]})


def _signatures(data: bytes, path: str) -> tuple[Signature, ...]:
    found = _parsed(data, path, SIGNATURES)
    try:
        signatures = tuple(Signature(*row) for row in found["signatures"])
        is_same = _signatures_data(signatures) == data
    except MALFORMED as error:
        _refuse(path, f"it is no list of signatures: {error}", SIGNATURES)
    for each in signatures:
        for text, length in ((each.key, 64), (each.signature, 128)):
            is_text = type(text) is str and len(text) == length
            if not is_text or not set(text) <= set("0123456789abcdef"):
                _refuse(path, f"{str(text)[:70]!r} is not {length} digits", SIGNATURES)
    if not is_same:
        _refuse(path, "it is not in its canonical form", SIGNATURES)
    return signatures


def build_bundle(
    files: Mapping[str, bytes],
    *,
    name: str,
    version: str,
    root: str,
    photons: Iterable[Mapping[str, Any]] = (),
    flat: bool = False,
    capabilities: Iterable[str] = (),
    channel: str = "",
    expires: int = 0,
) -> Bundle:
    """Return a bundle of *files*.

    Args:
        files: Path, with ``/`` between its parts → bytes.
        name: Of the bundle.
        version: By PEP 440.
        root: Full name of the package or module that all its modules lie below.
        photons: See `Manifest`.
        flat: See `Manifest`.
        capabilities: See `Manifest`.
        channel: See `Manifest`.
        expires: See `Manifest`.

    Raises:
        PhotonVerificationError: A file cannot be part of a bundle; names it.
    """
    tree = tree_of(files)
    manifest = Manifest(
        name=name,
        version=version,
        root=root,
        tree=tree.digest,
        files=tuple((f.path, f.size, f.sha512) for f in tree.files),
        photons=tuple(photons),
        flat=flat,
        capabilities=tuple(capabilities),
        channel=channel,
        expires=expires,
    )
    try:
        return open_bundle(Bundle(manifest, dict(files)).data(), f"{name}{ENDING}")
    except UnicodeEncodeError as error:
        why, member = "its name is no text", repr(error.object)
    except PhotonVerificationError as error:  # no host would open it
        why, member = error.why or "", error.what.partition(": ")[2]
    about = "" if member in ("", repr(MANIFEST)) else f": {member}"
    raise PhotonVerificationError(
        f"cannot be a bundle{about}",
        why=why.removeprefix("its fields are not those of a manifest: "),
        hint="rename or remove the file" if about else "correct it, and pack it again",
    )


def _local_header(name: bytes, data: bytes) -> bytes:
    return (
        _LOCAL.pack(
            b"PK\3\4", _VERSION, _IS_UTF8, 0, 0, _DATE,
            zlib.crc32(data), len(data), len(data), len(name), 0,
        )
        + name
    )  # fmt: skip


def _central_header(name: bytes, data: bytes, offset: int) -> bytes:
    return (
        _CENTRAL.pack(
            b"PK\1\2", _MADE_BY, _VERSION, _IS_UTF8, 0, 0, _DATE,
            zlib.crc32(data), len(data), len(data), len(name),
            0, 0, 0, 0, _ATTRIBUTES, offset,
        )
        + name
    )  # fmt: skip


def _archive(members: Mapping[str, bytes]) -> bytes:
    """Return the one archive of *members*."""
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for path in sorted(members):
        name, data = path.encode(), members[path]
        directory.append(_central_header(name, data, offset))
        header = _local_header(name, data)
        parts += [header, data]
        offset += len(header) + len(data)
    size = sum(map(len, directory))
    count = len(directory)
    end = _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)
    return b"".join([*parts, *directory, end])


def check_member(path: str, file: str = "") -> None:
    """Refuse the name of a member that could mean something else on some machine.

    Args:
        path: The name.
        file: The bundle to blame.

    Raises:
        PhotonVerificationError: Says what is wrong with it.
    """
    why = _wrong_name(path)
    if why:
        _refuse(file, why, path)


def _wrong_name(path: str) -> str:
    if not path or len(path.encode(errors="replace")) > _LONGEST_NAME:
        return "its name is empty or too long"
    if "\0" in path:
        return "its name has a null byte in it"
    if "\\" in path:
        return "its name has a backslash in it, which some systems split at"
    if path.startswith("/") or ":" in path:
        return "its path is absolute"
    if unicodedata.normalize("NFC", path) != path:
        return "its name is not in the Unicode form NFC, so it may have a twin"
    if not path.isprintable():
        return "its name has characters that cannot be printed"
    if path.endswith("/"):
        return "it is a directory; only files are members"
    for part in path.split("/"):
        if part in ("..", "."):
            return f"its path has {part!r} in it"
        if not part or part != part.strip(" ") or part.endswith("."):
            return "its path has a part that not every system can have"
        if part.partition(".")[0].casefold() in _DEVICES:
            return "it is named like a device of Windows"
    leaf = path.rpartition("/")[2].casefold()
    if leaf.endswith(_COMPILED) or "__pycache__" in path.casefold().split("/"):
        return "it is compiled code, which nobody can read"
    if leaf.endswith(".pth"):
        return "a .pth file runs code at the start of Python"
    if leaf.endswith(_NATIVE) or ".so." in leaf:
        return "it is native code, which a bundle cannot hold; ship a wheel"
    return ""


def _check_members(members: Mapping[str, bytes], path: str) -> None:
    """Refuse members that are native code, and names that are one for some system."""
    seen: dict[str, str] = {}
    for member, data in members.items():
        if data.startswith(_NATIVE_STARTS) and not _is_text(data):
            why = "it is native code, which a bundle cannot hold; ship a wheel"
            _refuse(path, why, member)
        parts = member.split("/")
        for depth in range(1, len(parts) + 1):
            part = "/".join(parts[:depth])
            twin = seen.setdefault(_fold(part), part)
            if twin != part:
                why = f"its name differs from {twin!r} by case or accents only"
                _refuse(path, why, member)
            if depth < len(parts) and part in members:
                _refuse(path, f"it lies below {part!r}, which is a file", member)


def _is_text(data: bytes) -> bool:
    """Whether what begins like a program of DOS is a text, such as ``MZ = 1``."""
    return b"\0" not in data[:4096]


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _members(data: bytes, path: str) -> dict[str, bytes]:
    """Return the members of the archive *data*, which is in the one form.

    Raises:
        PhotonVerificationError: It is not; names the member, and says what is wrong.
    """
    if len(data) > LIMIT:
        _refuse(path, f"it has {len(data):,} bytes, the limit is {LIMIT:,}")
    if len(data) < _END.size or data[-_END.size :][:4] != b"PK\5\6":
        why = "it is no zip archive, is cut off, or something follows its end"
        _refuse(path, why)
    end = _END.unpack_from(data, len(data) - _END.size)
    _, disk, of_disk, count, total, size, start, comment = end
    if 0xFFFF in (count, total) or 0xFFFFFFFF in (size, start):
        _refuse(path, "it has records of Zip64, which may contradict the others")
    if disk or of_disk or comment or count != total:
        _refuse(path, "its end record is not that of a bundle")
    if start + size + _END.size != len(data):
        _refuse(path, "its directory does not lie between its members and its end")
    if count > MOST_MEMBERS:
        _refuse(path, f"it has {count:,} members, the limit is {MOST_MEMBERS:,}")
    members: dict[str, bytes] = {}
    at, offset = start, 0
    for _ in range(count):
        at, offset = _member(data, path, at, offset, start, members)
    # What has been overlooked above is found here: it is written in one way only.
    if at != start + size or _archive(members) != data:
        _refuse(path, "its bytes are not those that packing its files gives")
    return members


def _member(
    data: bytes,
    path: str,
    at: int,
    offset: int,
    start: int,
    members: dict[str, bytes],
) -> tuple[int, int]:
    """Add the member at *at* in the directory to *members*.

    Args:
        data: The archive.
        path: To blame.
        at: Where the record of the member begins.
        offset: Where the member itself is to begin.
        start: Where the directory begins.
        members: Those before it.

    Returns:
        Where the next record and the next member begin.
    """
    if at + _CENTRAL.size > len(data) - _END.size:
        _refuse(path, "its directory is cut off")
    row = _CENTRAL.unpack_from(data, at)
    length, extra, note = row[10:13]
    name = data[at + _CENTRAL.size :][:length]
    try:
        member = name.decode()
    except UnicodeDecodeError:
        _refuse(path, "a name is not UTF-8", ascii(name))
    if row[0] != b"PK\1\2":
        _refuse(path, "its directory is damaged", member)
    packed, size = row[8], row[9]
    attributes, lies_at = row[15] >> 16, row[16]
    check_member(member, path)
    if member in members:
        _refuse(path, "two members have this name", member)
    if row[3] & 1:
        _refuse(path, "it is encrypted", member)
    if stat.S_ISLNK(attributes):
        _refuse(path, "it is a link", member)
    if 0xFFFFFFFF in (packed, size, lies_at) or extra:
        _refuse(path, "it has records of Zip64, or others that may lie", member)
    if size > LIMIT or packed > LIMIT:
        _refuse(path, f"it says that it has {size:,} bytes", member)
    if row[4] != 0 or packed != size:
        why = "it is compressed; a bundle stores files as they are"
        _refuse(path, why, member)
    if lies_at != offset:
        _refuse(path, "it overlaps another member, or there is a gap", member)
    begin = offset + _LOCAL.size + length
    if begin + size > start:
        _refuse(path, "it is cut off, or overlaps the directory", member)
    content = data[begin : begin + size]
    if data[offset:begin] != _local_header(name, content):
        _refuse(path, "it is damaged, or its two headers differ", member)
    whole = _CENTRAL.size + length + extra + note
    if data[at : at + whole] != _central_header(name, content, offset):
        _refuse(path, "it has another date, attributes or extra fields", member)
    members[member] = content
    return at + whole, begin + size


def open_bundle(data: bytes, path: str = "") -> Bundle:
    """Return the bundle whose bytes are *data*. Nothing is written or executed.

    Its signatures are not verified; all else is.

    Args:
        data: The archive, perhaps sealed.
        path: Where it was read from.

    Raises:
        PhotonVerificationError: It is no sound bundle; names the member, and says why.
            Or it is sealed, and this host cannot open it.
    """
    import hashlib

    from luminal.trust._seal import is_sealed, unseal

    checksum = hashlib.sha512(data).hexdigest()
    if is_sealed(data):
        data = unseal(data, path)
    members = _members(data, path)
    text = members.pop(MANIFEST, None)
    if text is None:
        _refuse(path, f"it has no {MANIFEST}")
    manifest = Manifest.read(text, path)
    signed = members.pop(SIGNATURES, None)
    _check_members(members, path)
    for member in members:
        if _fold(member.partition("/")[0]) == "photon":
            _refuse(path, "only the two members of Luminal lie in PHOTON", member)
    tree = tree_of(members)
    listed = {row[0]: row for row in manifest.files}
    for file in tree.files:
        row = listed.pop(file.path, None)
        if row is None:
            _refuse(path, "the manifest does not list it", file.path)
        if row != (file.path, file.size, file.sha512):
            _refuse(path, "it has not the digest that the manifest says", file.path)
    for missing in listed:
        _refuse(path, "the manifest lists it, and it is missing", missing)
    if tree.digest != manifest.tree or len(tree.files) != len(manifest.files):
        _refuse(path, "the digest of all files is another", MANIFEST)
    _check_root(manifest, members, path)
    signatures = _signatures(signed, path) if signed is not None else ()
    return Bundle(manifest, members, signatures, checksum, path)


def _check_root(manifest: Manifest, members: Mapping[str, bytes], path: str) -> None:
    """Refuse a bundle with modules elsewhere than below its root."""
    import sys

    root = manifest.root
    if root.partition(".")[0] in sys.stdlib_module_names | {"luminal"}:
        why = f"its modules would be called {root!r}, like those of another library"
        _refuse(path, why, hint="rename the package")
    stem = root.replace(".", "/")
    if f"{stem}/__init__.py" not in members and f"{stem}.py" not in members:
        _refuse(path, f"it has no module {root!r}, which its manifest names")
    for member in members:
        is_below = member == f"{stem}.py" or member.startswith(f"{stem}/")
        if member.endswith(".py") and not is_below and not _is_metadata(member):
            why = f"it lies outside of {root!r}, the only package of the bundle"
            _refuse(path, why, member)


def _is_metadata(member: str) -> bool:
    top = member.partition("/")[0]
    return top.endswith((".dist-info", ".data"))


def read_bundle(path: str) -> Bundle:
    """Return the bundle at *path*; see `open_bundle`.

    Raises:
        PhotonUnreadableError: It cannot be read.
        PhotonVerificationError: It is no sound bundle.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        raise PhotonUnreadableError(
            "cannot be read",
            file=path,
            why=getattr(error, "strerror", None) or str(error),
            hint="name a .photon file",
        ) from error
    return open_bundle(data, path)
