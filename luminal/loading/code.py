"""Bytes to code: compiled once per content, kept in memory and sealed on disk.

Code is looked up by the digest of the very bytes that are to run. ``.pyc`` files are
neither read nor written: they are keyed by whole seconds and size, so that an edit
can go unnoticed, and anybody who can write beside the source can forge them.
"""

from __future__ import annotations

import marshal
import threading
from typing import TYPE_CHECKING, cast

import attrs

from luminal.errors import PhotonSyntaxError

if TYPE_CHECKING:
    from types import CodeType

    from luminal.loading.source import SourceFile
    from luminal.store import SealedStore

__all__ = ["CodeCache", "compile_source"]


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
    """Compiled code by path and digest, in memory and for one origin on disk.

    Args:
        store: Where it outlives the process; None for memory alone.
        name: Name of its file there.
        limit: Most files whose code is kept in memory.
    """

    store: SealedStore | None = None
    name: str = ""
    limit: int = 20_000
    # (path, digest) → code. The path is part of it: tracebacks name it.
    _codes: dict[tuple[str, str], CodeType] = attrs.Factory(dict)
    # path → (digest, marshalled code), as on disk; read at the first miss.
    _kept: dict[str, tuple[str, bytes]] | None = None
    _changed: bool = False
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def compile(self, source: SourceFile) -> CodeType:
        """Return the code of *source*, compiled now or before.

        Raises:
            PhotonSyntaxError: The text is no Python.
        """
        key = (source.path, source.checksum)
        code = self._codes.get(key)
        if code is None:
            code = self._from_disk(source)
            if code is None:
                code = compile_source(source)
                self._keep(source, code)
            with self._lock:
                while len(self._codes) >= self.limit:
                    del self._codes[next(iter(self._codes))]
                self._codes[key] = code
        return code

    def _read(self) -> dict[str, tuple[str, bytes]]:
        if self._kept is None:
            kept = self.store.load(self.name) if self.store is not None else None
            self._kept = kept if isinstance(kept, dict) else {}
        return self._kept

    def _from_disk(self, source: SourceFile) -> CodeType | None:
        if self.store is None:
            return None
        digest, data = self._read().get(source.path, ("", b""))
        if digest != source.checksum:
            return None
        # The store has authenticated the file that these bytes come from.
        return cast("CodeType", marshal.loads(data))  # noqa: S302

    def _keep(self, source: SourceFile, code: CodeType) -> None:
        if self.store is not None:
            self._read()[source.path] = (source.checksum, marshal.dumps(code))
            self._changed = True

    def save(self) -> None:
        """Write what has been compiled since the last call, and free its memory."""
        if self.store is not None and self._changed and self._kept is not None:
            self.store.save(self.name, self._kept)
        self._changed = False
        self._kept = None
