"""Bytes to code: compiled once per content, kept in memory and sealed on disk.

Code is looked up by the digest of the very bytes that are to run. ``.pyc`` files are
neither read nor written: they are keyed by whole seconds and size, so that an edit
can go unnoticed, and anybody who can write beside the source can forge them.
"""

from __future__ import annotations

import marshal
import os
import threading
from hashlib import sha256
from typing import TYPE_CHECKING, cast

import attrs

from luminal.errors import PhotonSyntaxError

if TYPE_CHECKING:
    from types import CodeType

    from luminal.loading.source import SourceFile
    from luminal.store import SealedStore

__all__ = ["CodeCache", "compile_source"]

VERSIONS = 3
"""Versions of one file whose code is kept in memory."""

_Kept = dict[str, tuple[str, bytes]]


def compile_source(source: SourceFile) -> CodeType:
    """Compile *source*; nothing of it runs.

    Raises:
        PhotonSyntaxError: The text is no Python; names file and line.
    """
    try:
        # Our own __future__ flags must not leak into authors' code.
        return compile(source.data, source.path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise PhotonSyntaxError(
            "its text does not compile",
            file=source.path,
            line=error.lineno,
            why=f"{type(error).__name__}: {error.msg}",
            hint="correct the line, then load it again",
        ) from error
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise PhotonSyntaxError(
            "its text does not compile",
            file=source.path,
            why=f"{type(error).__name__}: {error}",
            hint="remove null bytes and overlong expressions",
        ) from error


@attrs.define(eq=False)
class CodeCache:
    """Compiled code by path and digest, in memory and, sealed, on disk.

    On disk there is one file for each directory of sources, read at the first file
    of that directory and written by `save`.

    Args:
        store: Where it outlives the process; None for memory alone.
        limit: Most files whose code is kept in memory.
    """

    store: SealedStore | None = None
    limit: int = 20_000
    # (path, digest) → code. The path is part of it: tracebacks name it.
    _codes: dict[tuple[str, str], CodeType] = attrs.Factory(dict)
    # Path → digests of its versions in `_codes` that were compiled here.
    _versions: dict[str, list[str]] = attrs.Factory(dict)
    # Directory → path → (digest, marshalled code), as on disk.
    _kept: dict[str, _Kept] = attrs.Factory(dict)
    _changed: set[str] = attrs.Factory(set)
    # Late imports compile in any thread.
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    @property
    def has_changed(self) -> bool:
        """Whether `save` has something to write."""
        return bool(self._changed)

    def compile(self, source: SourceFile, *, is_new: bool = False) -> CodeType:
        """Return the code of *source*, compiled now or before.

        Args:
            source: What to compile.
            is_new: It has just been edited: it is not on disk yet, and may not be
                worth keeping there.

        Raises:
            PhotonSyntaxError: The text is no Python.
        """
        key = (source.path, source.checksum)
        code = self._codes.get(key)
        if code is not None:
            return code
        code = None if is_new else self._from_disk(source)
        if code is None:
            code = compile_source(source)
            if not is_new:
                self._keep(source, code)
            self._forget_older(source)
        if len(self._codes) >= self.limit:
            with self._lock:
                while len(self._codes) >= self.limit:
                    del self._codes[next(iter(self._codes))]
        self._codes[key] = code
        return code

    def _forget_older(self, source: SourceFile) -> None:
        """Keep what a roll-back or a branch switch may come back to, and no more."""
        with self._lock:
            versions = self._versions.setdefault(source.path, [])
            versions.append(source.checksum)
            if len(versions) > VERSIONS:
                self._codes.pop((source.path, versions.pop(0)), None)

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

    def _keep(self, source: SourceFile, code: CodeType) -> None:
        if self.store is not None:
            directory = os.path.dirname(source.path)
            with self._lock:
                entry = (source.checksum, marshal.dumps(code))
                self._read(directory)[source.path] = entry
                self._changed.add(directory)

    def release(self) -> None:
        """Free what was read from the disk, unless there is something to `save`."""
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
                there = {p: e for p, e in kept.items() if os.path.exists(p)}
                self.store.save(_file_of(directory), there)


def _file_of(directory: str) -> str:
    return f"code-{sha256(os.fsencode(directory)).hexdigest()[:32]}"
