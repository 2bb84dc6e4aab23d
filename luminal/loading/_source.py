"""Read source files once, hash them, and compile exactly these bytes.

A file is not read again between its checksum and its execution, so it cannot be changed
in between. Code is looked up by the checksum. ``.pyc`` files are neither read nor
written: they are keyed by whole seconds and size, so an edit can go unnoticed, and
whoever can write beside the source can forge them.
"""

from __future__ import annotations

import base64
import marshal
import os
import threading
from functools import cached_property
from hashlib import sha256, sha512
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING, cast

import attrs

from luminal._phases import enter, phase
from luminal.compiling import compile_text
from luminal.discovery import read_bytes
from luminal.errors import (
    PhotonSyntaxError,
    PhotonTornError,
    PhotonUnreadableError,
    PhotonValidationError,
    PhotonVerificationError,
)
from luminal.loading._origin import ModuleLocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType

    from luminal.loading._generation import Generation
    from luminal.loading._judging import Snapshot
    from luminal.loading._origin import BundleOrigin, DistributionOrigin
    from luminal.store import SealedStore
    from luminal.trust import Bundle

__all__ = [
    "CodeCache",
    "Pinned",
    "SourceFile",
    "compile_source",
    "digest_of",
    "extensions_of",
    "files_of_bundle",
    "literals_of",
    "read_bundle_files",
    "read_installed_files",
    "read_source",
]


@attrs.frozen(slots=False)
class SourceFile:
    """A file's bytes as they were at one moment.

    Attributes:
        path: Absolute path of the file.
        data: Its bytes.
        checksum: Their SHA-512, as a hex digest.
    """

    path: str
    data: bytes = attrs.field(repr=False)
    checksum: str

    def __reduce__(self) -> tuple[object, ...]:
        return SourceFile, (self.path, self.data, self.checksum)

    @cached_property
    def text(self) -> str:
        """The text of the bytes, by the rules of PEP 263."""
        from importlib.util import decode_source

        return decode_source(self.data)


def read_source(path: str) -> SourceFile:
    """Read *path* once.

    Raises:
        PhotonUnreadableError: It is no regular file, too large, or not readable.
    """
    before = enter("read")
    try:
        # Discovery has checked it, or running code imports it.
        data, _ = read_bytes(path, is_known=True)
        enter("hash")
        return SourceFile(path, data, sha512(data).hexdigest())
    finally:
        enter(before)


VERSIONS = 3
"""Versions of one file whose code is kept in memory."""

_Kept = dict[str, tuple[str, bytes]]


def compile_source(source: SourceFile) -> tuple[CodeType, bytes | None]:
    """Compile *source*, without running it.

    Returns:
        The code, and the same marshalled where it came so; see `compile_text`.

    Raises:
        PhotonSyntaxError: The text is no Python; names file and line.
    """
    try:
        return compile_text(source.data, source.path, source.checksum)
    except SyntaxError as error:
        raise PhotonSyntaxError(
            "is not valid Python",
            file=source.path,
            line=error.lineno,
            why=f"{type(error).__name__}: {error.msg}",
            hint="fix the syntax",
        ) from error
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise PhotonSyntaxError(
            "is not valid Python",
            file=source.path,
            why=f"{type(error).__name__}: {error}",
            hint="remove null bytes and overlong expressions",
        ) from error


class CodeCache:
    """Compiled code by path and digest, in memory and in sealed files on disk.

    On disk there is one file for each directory of sources. It is read when the first
    file of that directory is compiled, and written by `save`.

    Args:
        store: Keeps it for the next process; None for memory alone.
        limit: Most files whose code is kept in memory.
    """

    def __init__(self, store: SealedStore | None = None, limit: int = 20_000) -> None:
        self.store = store
        self.limit = limit
        # (path, digest) → code. The path is part of it: tracebacks name it.
        self._codes: dict[tuple[str, str], CodeType] = {}
        # Path → digests of its versions in `_codes`.
        self._versions: dict[str, list[str]] = {}
        # Directory → path → (digest, marshalled code), as on disk.
        self._kept: dict[str, _Kept] = {}
        self._changed: set[str] = set()
        # Late imports compile in any thread.
        self._lock: threading.Lock = threading.Lock()

    @property
    def has_changed(self) -> bool:
        """Whether `save` has something to write."""
        return bool(self._changed)

    def compile(self, source: SourceFile, *, is_new: bool = False) -> CodeType:
        """Return the code of *source*, compiled now or before.

        Args:
            source: What to compile.
            is_new: It has just been edited, so it is not on disk, and is not kept
                there.

        Raises:
            PhotonSyntaxError: The text is no Python.
        """
        key = (source.path, source.checksum)
        code = self._codes.get(key)
        if code is not None:
            return code
        before = enter("compile")
        try:
            code = None if is_new else self._from_disk(source)
            if code is None:
                code, packed = compile_source(source)
                if not is_new:
                    self._keep(source, code, packed)
        finally:
            enter(before)
        with self._lock:
            # A roll-back may return to the latest versions.
            versions = self._versions.setdefault(source.path, [])
            versions.append(source.checksum)
            if len(versions) > VERSIONS:
                self._codes.pop((source.path, versions.pop(0)), None)
            while len(self._codes) >= self.limit:
                del self._codes[next(iter(self._codes))]
            self._codes[key] = code
        return code

    def _read(self, directory: str) -> _Kept:
        kept = self._kept.get(directory)
        if kept is None:
            loaded = self.store.load(_file_of(directory)) if self.store else None
            kept = loaded if isinstance(loaded, dict) else {}
            self._kept[directory] = kept
        return kept

    def _from_disk(self, source: SourceFile) -> CodeType | None:
        if self.store is None:
            return None
        directory = os.path.dirname(source.path)
        kept = self._kept.get(directory)
        if kept is None:
            with self._lock:
                kept = self._read(directory)
        digest, data = kept.get(source.path, ("", b""))
        if digest != source.checksum:
            return None
        # The store has authenticated the file that these bytes come from.
        return cast("CodeType", marshal.loads(data))  # noqa: S302

    def _keep(self, source: SourceFile, code: CodeType, packed: bytes | None) -> None:
        if self.store is not None:
            directory = os.path.dirname(source.path)
            with self._lock:
                entry = (source.checksum, packed or marshal.dumps(code))
                self._read(directory)[source.path] = entry
                self._changed.add(directory)

    def release(self) -> None:
        """Free the memory of what was read, unless there is something to `save`."""
        with self._lock:
            if not self._changed:
                self._kept.clear()

    def save(self) -> None:
        """Write what has been compiled since the last call, and free its memory."""
        with self._lock:
            changed = {d: self._kept[d] for d in self._changed}
            self._changed.clear()
            self._kept.clear()
        if self.store is not None:
            for directory, kept in changed.items():
                there = {p: e for p, e in kept.items() if _is_there(p)}
                self.store.save(_file_of(directory), there)


def _is_there(path: str) -> bool:
    """Whether a file, or the bundle that it lies in, exists."""
    from luminal.trust import bundle_around

    return os.path.exists(bundle_around(path) or path)


def _file_of(directory: str) -> str:
    return f"code-{sha256(os.fsencode(directory)).hexdigest()[:32]}"


@attrs.frozen
class Pinned:
    """The files of a unit as they were at one moment.

    Attributes:
        locations: Full name → where the module was found.
        sources: Path → its bytes.
        late_units: Other unit → its files, see `Generation.late_units`.
        owned: Name of a module of a library that the unit owns → directory it lies in.
        bundle: What they are the files of; None for those that lie on the disk.
        snapshot: All files of the unit; None where no lock names it.
    """

    locations: Mapping[str, ModuleLocation]
    sources: Mapping[str, SourceFile]
    late_units: Mapping[str, Pinned] = attrs.Factory(dict)
    owned: Mapping[str, str] = attrs.Factory(dict)
    bundle: Bundle | None = None
    snapshot: Snapshot | None = None

    def with_snapshot(
        self,
        snapshot: Snapshot | None,
        sources: Mapping[str, SourceFile] | None = None,
    ) -> Pinned:
        """Return the same with *snapshot*, and with *sources* where they are given."""
        return Pinned(
            self.locations,
            self.sources if sources is None else sources,
            self.late_units,
            self.owned,
            self.bundle,
            snapshot,
        )

    @classmethod
    def of(cls, generation: Generation) -> Pinned:
        """Return the files of *generation*."""
        return cls(
            dict(generation.locations),
            dict(generation.sources),
            dict(generation.late_units),
            generation.owned,
            generation.bundle,
            generation.snapshot,
        )


def extensions_of(origin: DistributionOrigin) -> list[str]:
    """Return the compiled modules that a distribution has installed."""
    suffixes = tuple(EXTENSION_SUFFIXES)
    return [name for name, _, _ in origin.record or () if name.endswith(suffixes)]


_INSTALL_AGAIN = (
    "install the distribution again; to edit its files, install it editable"
)


def read_installed_files(origin: DistributionOrigin) -> Pinned | None:
    """Read all source files that RECORD says a distribution has installed.

    Each must have the digest that RECORD gives (PEP 376).

    They are kept from the load on: pip removes the files of a version that runs, and
    its code may import more of them later.

    Args:
        origin: The distribution.

    Returns:
        The files; None where there is no RECORD, as for the sources of an editable
        installation.

    Raises:
        PhotonTornError: A file is missing, or is not what RECORD says.
    """
    if origin.record is None:
        return None
    unit = origin.root[0]
    locations: dict[str, ModuleLocation] = {}
    sources: dict[str, SourceFile] = {}
    for name, path, digest in origin.record:
        fullname = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if not name.endswith(".py") or not origin.owns(fullname):
            continue
        try:
            source = read_source(path)
        except PhotonUnreadableError as error:
            raise PhotonTornError(
                error.what, file=path, why=error.why, hint=_INSTALL_AGAIN
            ) from error
        with phase("hash"):
            is_other = digest and digest != digest_of(source)
        if is_other:
            raise PhotonTornError(
                "is not what its RECORD says",
                file=path,
                why="it was edited, or its installation is incomplete",
                hint=_INSTALL_AGAIN,
            )
        kind = "package" if name.endswith("/__init__.py") else "module"
        locations[fullname] = ModuleLocation(kind, path, unit)  # type: ignore[arg-type]
        sources[path] = source
    return Pinned(locations, sources)


def digest_of(source: SourceFile) -> str:
    """Return the digest of *source* as RECORD writes it."""
    raw = base64.urlsafe_b64encode(sha256(source.data).digest())
    return "sha256=" + raw.rstrip(b"=").decode()


def files_of_bundle(bundle: Bundle, origin: BundleOrigin) -> Pinned:
    """Return the files of *bundle*: each has its path after that of the bundle.

    Args:
        bundle: An opened bundle.
        origin: Where it lies.
    """
    unit = origin.root
    sources: dict[str, SourceFile] = {}
    locations: dict[str, ModuleLocation] = {}
    digests = {path: digest for path, _, digest in bundle.manifest.files}
    for member, data in bundle.files.items():
        fullname = member.removesuffix(".py").removesuffix("/__init__")
        fullname = fullname.replace("/", ".")
        if not member.endswith(".py") or not origin.owns(fullname):
            continue
        path = os.path.join(origin.path, *member.split("/"))
        kind = "package" if member.endswith("/__init__.py") else "module"
        locations[fullname] = ModuleLocation(kind, path, unit)  # type: ignore[arg-type]
        sources[path] = SourceFile(path, data, digests[member])
    for member in bundle.files:  # folders without an `__init__.py` (PEP 420)
        parts = member.split("/")[:-1]
        while parts and origin.owns(above := ".".join(parts)):
            if above not in locations and all(map(str.isidentifier, parts)):
                folder = os.path.join(origin.path, *parts)
                locations[above] = ModuleLocation("namespace", folder, "")
            del parts[-1]
    return Pinned(locations, sources, bundle=bundle)


def read_bundle_files(
    origin: BundleOrigin, read: Callable[[str], SourceFile]
) -> Pinned:
    """Return the files of the bundle of *origin*, all of them checked.

    Args:
        origin: Where it lies.
        read: Returns the bytes of a file.

    Raises:
        PhotonVerificationError: It is no sound bundle, or has another root.
        PhotonUnreadableError: It cannot be read.
    """
    from luminal.trust import open_bundle

    archive = read(origin.path)
    with phase("verify"):
        bundle = open_bundle(archive.data, origin.path)
    if bundle.manifest.root != origin.root:
        raise PhotonVerificationError(
            "cannot replace what runs",
            file=origin.path,
            why=f"its package {origin.root!r} is called {bundle.manifest.root!r} now",
            hint="unload its photons first, or restart the host",
        )
    return files_of_bundle(bundle, origin)


def literals_of(attribute: str, path: str, source: SourceFile) -> Iterator[str]:
    """Yield the strings that *source* assigns to *attribute*, without executing it.

    Args:
        attribute: Name of an attribute of photons, such as ``photon_owns``.
        path: Path of the file, for errors.
        source: Its bytes.

    Raises:
        PhotonValidationError: It is no literal list of strings.
    """
    import ast  # few photons declare any

    from luminal._syntax import UNREADABLE, parse

    try:
        body = parse(source.data, path).body
    except UNREADABLE:
        return  # to compile it says why
    inside = [each for c in body if isinstance(c, ast.ClassDef) for each in c.body]
    for statement in (*body, *inside):
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        if not any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
            continue
        assert isinstance(statement, ast.Assign | ast.AnnAssign)  # noqa: S101
        try:
            value = ast.literal_eval(statement.value or ast.Constant(None))
        except (*UNREADABLE, TypeError):
            value = None
        if isinstance(value, str):
            value = (value,)
        if not isinstance(value, list | tuple) or not all(
            isinstance(each, str) for each in value
        ):
            raise PhotonValidationError(
                f"{attribute} is not a literal list of names",
                file=path,
                line=statement.lineno,
                why="it is read without running the file",
                hint=f"write it like {attribute} = ['bridgelib']",
            )
        yield from value
