"""`Vault`: the files of every version that was accepted, by the digest of their tree.

An upgrade that nobody has accepted replaces the accepted version on the disk. A host
that starts then runs the accepted one from here. A tree is a directory that is made
beside its place and moved there, so it is whole or not there at all; what is read is
compared with the digest all the same.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonVerificationError
from luminal.trust._tree import MALFORMED, FileDigest, Tree, canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Vault"]

_MOST_TREES = 200
_MOST_BYTES = 2 * 2**30
_STALE = 3600.0
_TEMPORARY = ".tmp"
_UNREADABLE: tuple[type[Exception], ...] = (OSError, *MALFORMED)


@attrs.frozen
class Vault:
    """A directory of accepted trees.

    Args:
        directory: Its absolute path; None where the user has no directory for state.
        most_trees: Trees that are kept, those that were used last.
        most_bytes: Bytes of all of them.
    """

    directory: str | None
    most_trees: int = _MOST_TREES
    most_bytes: int = _MOST_BYTES

    def folder(self, digest: str) -> str:
        """Return the directory with the files of a tree, laid out as they were."""
        return os.path.join(self.directory or "", digest, "files")

    def has(self, digest: str) -> bool:
        """Whether the tree is there, unchecked."""
        return self.directory is not None and os.path.isdir(self.folder(digest))

    def keep(self, files: Mapping[str, bytes], tree: Tree) -> bool:
        """Keep the files of *tree*, and say whether that worked.

        Args:
            files: Path in the tree → bytes.
            tree: Their tree.
        """
        if self.directory is None:
            return False
        place = os.path.join(self.directory, tree.digest)
        try:
            if self.has(tree.digest):
                with contextlib.suppress(PhotonVerificationError):
                    self.read(tree.digest)
                    os.utime(place)
                    return True
                self._drop(place)  # it is damaged
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            temporary = f"{place}.{os.getpid()}-{os.urandom(6).hex()}{_TEMPORARY}"
            try:
                self._write(temporary, files, tree)
                os.rename(temporary, place)
            except OSError:
                shutil.rmtree(temporary, ignore_errors=True)
                if not self.has(tree.digest):  # another process was faster
                    raise
            self.clean(but=tree.digest)
        except OSError:
            return False
        return True

    def _write(self, place: str, files: Mapping[str, bytes], tree: Tree) -> None:
        os.mkdir(place, 0o700)
        listed = {**files, **_record_of(files)}
        for path, data in listed.items():
            target = os.path.join(place, "files", *path.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "xb") as file:
                file.write(data)
        rows = [[file.path, file.size, file.sha512] for file in tree.files]
        with open(os.path.join(place, "tree.json"), "xb") as file:
            file.write(canonical_json(rows))

    def tree(self, digest: str) -> Tree | None:
        """Return the tree that has *digest*; None where it is not kept.

        Raises:
            PhotonVerificationError: What is kept is another one; names the file.
        """
        if not self.has(digest):
            return None
        path = os.path.join(self.directory or "", digest, "tree.json")
        try:
            with open(path, "rb") as file:
                rows: Any = json.loads(file.read())
            tree = Tree(tuple(FileDigest(*row) for row in rows))
            if tree.digest == digest:
                return tree
        except _UNREADABLE:
            pass
        raise _damaged(path)

    def read(self, digest: str) -> dict[str, bytes] | None:
        """Return path → bytes of the files of a tree; None where it is not kept.

        Raises:
            PhotonVerificationError: A file is missing or has changed; names it.
        """
        tree = self.tree(digest)
        if tree is None:
            return None
        found: dict[str, bytes] = {}
        for each in tree.files:
            path = os.path.join(self.folder(digest), *each.path.split("/"))
            try:
                with open(path, "rb") as file:
                    data = file.read(each.size + 1)
            except OSError:
                raise _damaged(path) from None
            if hashlib.sha512(data).hexdigest() != each.sha512:
                raise _damaged(path)
            found[each.path] = data
        return found

    def clean(self, but: str = "") -> None:
        """Remove what was left half written, and what was not used for longest.

        Args:
            but: Digest of a tree that stays.
        """
        if self.directory is None:
            return
        kept: list[tuple[float, str, int]] = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    changed = entry.stat(follow_symlinks=False).st_mtime
                    if entry.name.endswith(_TEMPORARY):
                        if time.time() - changed > _STALE:
                            shutil.rmtree(entry.path, ignore_errors=True)
                    elif entry.is_dir(follow_symlinks=False) and entry.name != but:
                        kept.append((changed, entry.path, _size_of(entry.path)))
        kept.sort(reverse=True)
        size = 0
        for number, (_, path, own) in enumerate(kept, 2):
            size += own
            if number > self.most_trees or size > self.most_bytes:
                self._drop(path)

    def _drop(self, place: str) -> None:
        """Remove a tree: first from its place, so that it is never there in part."""
        temporary = f"{place}.{os.getpid()}-{os.urandom(6).hex()}{_TEMPORARY}"
        os.rename(place, temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def _size_of(place: str) -> int:
    """Return the bytes of a tree, as its list of files has them."""
    try:
        with open(os.path.join(place, "tree.json"), "rb") as file:
            return sum(row[1] for row in json.loads(file.read()))
    except _UNREADABLE:
        return 0


def _damaged(path: str) -> PhotonVerificationError:
    return PhotonVerificationError(
        "is not what was accepted",
        file=path,
        why="the kept copy of an accepted version has been changed or is incomplete",
        hint="remove its directory; then install the accepted version again, or accept "
        "the installed one",
    )


def _record_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the RECORD of a distribution's files, by which they are loaded.

    The installed one is not part of the tree: installers add files of their own to it.
    """
    folder = next(
        (p.split("/")[0] for p in files if p.endswith("dist-info/METADATA")), ""
    )
    if not folder:
        return {}
    import csv
    import io

    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    for path, data in sorted(files.items()):
        raw = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
        rows.writerow((path, f"sha256={raw.decode()}", len(data)))
    rows.writerow((f"{folder}/RECORD", "", ""))
    return {f"{folder}/RECORD": text.getvalue().encode("utf-8", "surrogateescape")}
