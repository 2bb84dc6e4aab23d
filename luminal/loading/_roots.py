"""Under which names the program imports the modules of photons' directories.

A bot has ``cogs/greet.py``, and ``from cogs.text import X`` in it: its directory lies
below an entry of `sys.path`. Import statements of photons that lead into a directory of
photons, or into a declared root, lead to the photons' own modules. These keep the names
that they always have, such as ``cogs_1a2b3c4d.text``.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

import attrs

from luminal.loading._origin import DirectoryOrigin, claim_directory, claim_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Root", "Roots"]

_NEVER_OURS = sys.stdlib_module_names | {"luminal"}


@attrs.frozen
class Root:
    """One name under which a directory is imported.

    Attributes:
        name: What import statements call it, ``bot.cogs`` for example. Empty where it
            is an entry of `sys.path`: then its modules have no prefix.
        origin: Where its modules are found.
        fullname: What its modules' names really begin with.
        is_shared: Whether other directories are a part of that package (PEP 420).
        is_declared: Whether the host has declared it. Modules without a prefix are
            taken from declared directories only: a photon may lie beside the program.
    """

    name: str
    origin: DirectoryOrigin
    fullname: str
    is_shared: bool = False
    is_declared: bool = False

    @property
    def directory(self) -> str:
        """The directory's absolute path."""
        rest = self.fullname[len(self.origin.name) :].replace(".", os.sep)
        return self.origin.directory + rest

    def resolve(self, name: str) -> str | None:
        """Return the full name of the module that *name* leads to, if it does."""
        if not self.name:
            fullname = f"{self.fullname}.{name}"
            top = fullname[: len(fullname) - len(name)] + name.partition(".")[0]
            location = self.origin.find(top)
            return fullname if location and location.kind != "namespace" else None
        if name == self.name:
            return self.fullname
        if not name.startswith(self.name + "."):
            return None
        rest = name[len(self.name) + 1 :]
        first = f"{self.fullname}.{rest.partition('.')[0]}"
        if self.is_shared and self.origin.find(first) is None:
            return None
        return f"{self.fullname}.{rest}"


class Roots:
    """The directories of one loader whose modules are the photons' own.

    Args:
        owner: The world that they are loaded into.

    Attributes:
        declared: Absolute paths of further directories that the host has declared.
    """

    def __init__(self, owner: object, declared: tuple[str, ...] = ()) -> None:
        self.owner = owner
        self.declared: tuple[str, ...] = declared
        # Directory → the one origin that all of its units share.
        self._origins: dict[str, DirectoryOrigin] = {}
        # The same of declared directories in which no photons were looked for.
        self._declared_origins: dict[str, DirectoryOrigin] = {}
        # First part of a name → roots whose names begin so, the longest first.
        # Replaced as a whole. The empty part is of those whose modules have no prefix.
        self._names: dict[str, list[Root]] = {}
        self._entries: list[str] = []
        # What `_names` was made for: `sys.path`, how many origins, how many declared.
        self._made_for: object = None

    def declare(self, directories: Iterable[str]) -> None:
        """Let modules of more directories be the photons' own.

        Args:
            directories: Absolute paths. What is known already is not added again.
        """
        new = [d for d in directories if d not in self.declared]
        if new:
            self.declared = tuple(dict.fromkeys((*self.declared, *new)))

    def claim(self, directory: str) -> DirectoryOrigin:
        """Return the origin of the photons in *directory*."""
        origin = self._origins.get(directory)
        if origin is None:
            origin = self._declared_origins.get(directory)
            origin = origin or claim_directory(directory, self.owner)
            self._origins = {**self._origins, directory: origin}
        return origin

    @property
    def salts(self) -> tuple[tuple[str, int], ...]:
        """Path of each directory, and the salt of the name that its modules have."""
        origins = (*self._origins.values(), *self._declared_origins.values())
        return tuple({o.directory: o.salt for o in origins}.items())

    def adopt(self, salts: Iterable[tuple[str, int]], declared: Iterable[str]) -> None:
        """Let modules have the names that they have in another process.

        Args:
            salts: Its `salts`.
            declared: What it has declared.
        """
        for directory, salt in salts:
            if directory not in self._origins:
                origin = claim_name(DirectoryOrigin(directory, salt), self.owner)
                self._origins = {**self._origins, directory: origin}
        self.declare(declared)

    def find(self, name: str) -> tuple[Root, str] | None:
        """Return the root that *name* leads into, and the full name of that module.

        Args:
            name: What an absolute import names.
        """
        names = self._table()
        top = name.partition(".")[0]
        for root in names.get(top, ()):
            fullname = root.resolve(name)
            if fullname is not None:
                return root, fullname
        for root in names.get("", ()):
            fullname = root.resolve(name) if root.is_declared else None
            if fullname is None:
                continue
            found = _found(top, self._entries)
            if _is_among(os.path.join(root.directory, top), 0, found):
                return root, fullname
        return None

    def has_part(self, top: str) -> bool:
        """Whether the names of some roots begin with *top*."""
        return top in self._table()

    def may_hold(self, top: str) -> bool:
        """Whether names that begin with *top* may lead into a root."""
        names = self._table()
        return top in names or any(root.is_declared for root in names.get("", ()))

    def are_imported(self) -> bool:
        """Whether the host may have imported modules of a root for itself."""
        return any(
            not root.name or root.name in sys.modules
            for roots in self._table().values()
            for root in roots
        )

    def names_of(self, fullname: str) -> Iterator[str]:
        """Yield what other code of the program may call the module *fullname*."""
        for roots in self._table().values():
            for root in roots:
                if fullname.startswith(root.fullname + "."):
                    rest = fullname[len(root.fullname) + 1 :]
                    yield f"{root.name}.{rest}" if root.name else rest

    def package_of(self, origin: object) -> str:
        """Return the name of the directory of *origin* as a package, if it is one."""
        for roots in self._table().values():
            for root in roots:
                if root.origin is origin and root.fullname == root.origin.name:
                    return root.name
        return ""

    def _table(self) -> dict[str, list[Root]]:
        path = tuple(sys.path)
        made_for = (path, len(self._origins), self.declared)
        if self._made_for != made_for:
            names: dict[str, list[Root]] = {}
            # `sys.path` may hold anything; imports pass over what is no string.
            texts = [each for each in map(_as_text, path) if each is not None]
            entries = [os.path.abspath(each or os.curdir) for each in texts]
            for root in self._all(entries):
                names.setdefault(root.name.partition(".")[0], []).append(root)
            for roots in names.values():
                roots.sort(key=lambda root: -len(root.name))
            self._names, self._entries, self._made_for = names, entries, made_for
        return self._names

    def _all(self, entries: list[str]) -> Iterator[Root]:
        """Yield all roots, as the *entries* of `sys.path` lead to them."""
        for directory, origin in self._origins.items():
            is_declared = directory in self.declared
            yield from _named(directory, origin, origin.name, entries, is_declared)
        for directory in self.declared:
            if directory in self._origins:
                continue
            origin = self._origin_of(directory)
            # Within a directory of photons its modules are photons' own already.
            rest = directory[len(origin.directory) :].replace(os.sep, ".")
            fullname = origin.name + rest
            yield from _named(directory, origin, fullname, entries, is_declared=True)

    def _origin_of(self, directory: str) -> DirectoryOrigin:
        """Return where the modules of a declared directory are found."""
        for known, origin in self._origins.items():
            if _is_below(directory, known):
                return origin
        if directory not in self._declared_origins:
            found = claim_directory(directory, self.owner)
            self._declared_origins[directory] = found
        return self._declared_origins[directory]


def _as_text(entry: object) -> str | None:
    return entry if isinstance(entry, str) else None


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(os.path.join(directory, ""))


def _named(
    directory: str,
    origin: DirectoryOrigin,
    fullname: str,
    entries: list[str],
    is_declared: bool,
) -> Iterator[Root]:
    """Yield *directory* under each name that leads to it."""
    names: dict[str, None] = {}
    for known in dict.fromkeys((directory, os.path.realpath(directory))):
        for entry in entries:
            for above in dict.fromkeys((entry, os.path.realpath(entry))):
                if above == known:
                    names[""] = None
                elif _is_below(known, above):
                    rest = known[len(os.path.join(above, "")) :]
                    names[rest.replace(os.sep, ".")] = None
    is_named = False
    for name in names:
        parts = name.split(".") if name else []
        if not all(map(str.isidentifier, parts)) or _NEVER_OURS.intersection(parts[:1]):
            continue
        found = _found(parts[0], entries) if parts else []
        if parts and not _is_among(directory, len(parts) - 1, found):
            continue
        is_named = is_named or bool(parts)
        yield Root(name, origin, fullname, len(found) > 1, is_declared)
    own = os.path.basename(directory)
    if own in names or not own.isidentifier() or own in _NEVER_OURS:
        return
    # Its own name: of photons' directories where no other one leads to it; of declared
    # ones where that leads to nothing else, or no other one leads to it.
    is_free = not _found(own, entries)
    if (is_free or is_declared) if not is_named else (is_free and is_declared):
        yield Root(own, origin, fullname)


def _is_among(directory: str, levels: int, found: list[str]) -> bool:
    """Whether a directory lies so many *levels* below one of those *found*."""
    above = os.path.realpath(directory)
    for _ in range(levels):
        above = os.path.dirname(above)
    return above in map(os.path.realpath, found)


_SUFFIXES = (".py", *EXTENSION_SUFFIXES)


def _found(top: str, entries: Iterable[str]) -> list[str]:
    """Return the paths, without a suffix, that ``import top`` would lead to.

    It is several directories where none of them has an ``__init__.py`` (PEP 420). The
    import system is not asked: it keeps listings that may be a moment old.
    """
    portions: list[str] = []
    for entry in entries:
        path = os.path.join(entry, top)
        if os.path.isfile(os.path.join(path, "__init__.py")):
            return [path]
        if any(os.path.isfile(path + suffix) for suffix in _SUFFIXES):
            return [path]
        if os.path.isdir(path):
            portions.append(path)
    return list(dict.fromkeys(portions))
