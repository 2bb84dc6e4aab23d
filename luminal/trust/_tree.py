"""The files of a unit as a value: a digest of each, and one digest of all.

A *tree* is what locks pin, signatures sign, bundles carry and the vault keeps. It does
not tell where the files lay, nor when they were written, so that a directory, a wheel
and a bundle of the same files have the same digest.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, NamedTuple

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MALFORMED", "FileDigest", "Tree", "canonical_json", "tree_of"]

MALFORMED: tuple[type[Exception], ...] = (
    *(ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RecursionError),
)
"""What is raised where a document of JSON that others have written is taken apart."""

# What a digest is of is a part of it: bytes that were digested for another purpose, or
# by a later form of this format, never have the same digest.
_DOMAIN = b"luminal-tree-v1\0"


def canonical_json(value: object) -> bytes:
    """Return *value* as the one JSON text that its digest and signature are of.

    Keys are sorted, nothing is indented, and all is ASCII.

    Args:
        value: Dictionaries, lists, strings, whole numbers, booleans and None.

    Raises:
        TypeError: It holds something else, such as a float, whose text depends on who
            writes it.
    """
    _check(value)
    return _encode(value).encode("ascii")


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True
).encode


def _check(value: object) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"a key is no string: {key!r}")
            _check(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item)
    elif value is not None and type(value) not in (str, int, bool):
        raise TypeError(f"has no canonical form: {value!r}")


class FileDigest(NamedTuple):
    """One file of a unit: a row of its tree, in the JSON text as well.

    Attributes:
        path: Its name below the unit's directory, with ``/`` between its parts.
        size: Bytes.
        sha512: Digest of its bytes, in hexadecimal.
    """

    path: str
    size: int
    sha512: str


@attrs.frozen(slots=False)
class Tree:
    """All files of a unit, sorted by path.

    Args:
        files: One record for each.
    """

    files: tuple[FileDigest, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-512 of the paths, sizes and digests of all files, in hexadecimal."""
        # The canonical text of the rows, in half the time: each load asks for it.
        rows = ",".join(
            [f"[{_quoted(p)},{n:d},{_quoted(d)}]" for p, n, d in self.files]
        )
        return hashlib.sha512(_DOMAIN + f"[{rows}]".encode("ascii")).hexdigest()

    def changes_to(self, other: Tree) -> tuple[list[str], list[str], list[str]]:
        """Return the paths that *other* has added, changed and removed."""
        mine = {file.path: file.sha512 for file in self.files}
        theirs = {file.path: file.sha512 for file in other.files}
        return (
            [path for path in theirs if path not in mine],
            [path for path in theirs if mine.get(path, theirs[path]) != theirs[path]],
            [path for path in mine if path not in theirs],
        )


def tree_of(files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Tree:
    """Return the tree of *files*.

    Args:
        files: Path below the unit's directory, with ``/`` → the bytes of the file.
    """
    return Tree(
        tuple(
            FileDigest(path, len(data), hashlib.sha512(data).hexdigest())
            for path, data in sorted(dict(files).items())
        )
    )
