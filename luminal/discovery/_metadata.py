"""Installed distributions and their entry points → candidates; nothing is imported.

Where the file of an entry point is, is looked for in turn: the folder that the
distribution is installed in; what its editable installation points to (``.pth`` lines,
setuptools' finder, the project's address in ``direct_url.json``); the other entries of
the path; where the running interpreter would find its topmost package.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from luminal.discovery._directory import described
from luminal.discovery._distributions import (
    Distribution,
    FinderFailure,
    Installed,
    canonical,
    installed_distributions,
)
from luminal.discovery._draft import DISTRIBUTION, Draft
from luminal.discovery._manifest import Metadata, metadata_of
from luminal.discovery._names import fits, printable
from luminal.discovery._static import Resolver, may_bind_unseen, parse
from luminal.errors import (
    LuminalError,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonNotFoundError,
    PhotonUnreadableError,
    PhotonValidationError,
)
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.requirements import Requirement

    from luminal.discovery._scan import RecordingFileSystem
    from luminal.discovery._static import Definition

__all__ = ["EntryPoint", "Environment", "entries_of", "locate", "read_installed"]


_VALUE = re.compile(
    r"(?P<module>[\w.]+)\s*(:\s*(?P<attribute>[\w.]+))?\s*(\[(?P<extras>[^\[\]]*)\])?"
)


class EntryPoint(NamedTuple):
    """One entry, see the entry points specification.

    Attributes:
        name: Left of the sign.
        module: Dotted name of the module.
        attribute: Dotted name inside it, empty for the module itself.
        extras: Extras of the distribution that it needs.
        line: Line in the file, counted from 1.
        error: What is wrong with it, or None.
    """

    name: str
    module: str = ""
    attribute: str = ""
    extras: tuple[str, ...] = ()
    line: int = 0
    error: LuminalError | None = None

    @property
    def target(self) -> str:
        """``module:attribute``, or the module alone."""
        return f"{self.module}:{self.attribute}" if self.attribute else self.module


def entries_of(data: bytes, path: str, group: str) -> list[EntryPoint]:
    """Return the entries of *group*; a malformed one carries its error.

    Args:
        data: Bytes of the file.
        path: Its path, for errors.
        group: Name of the section.

    Raises:
        PhotonUnreadableError: The text is not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PhotonUnreadableError(
            "has entry points that are not UTF-8",
            file=path,
            line=data.count(b"\n", 0, error.start) + 1,
            why=str(error),
            hint="install the distribution again",
        ) from None
    found: list[EntryPoint] = []
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip()
        elif section == group:
            found.append(_entry(line, path, number))
    return found


def _entry(line: str, path: str, number: int) -> EntryPoint:
    name, sign, value = (part.strip() for part in line.partition("="))
    match = _VALUE.fullmatch(value)
    module = match["module"] if match else ""
    attribute = (match["attribute"] or "") if match else ""
    parts = [*module.split("."), *(attribute.split(".") if attribute else ())]
    if not sign or not name or match is None or not all(map(str.isidentifier, parts)):
        error = PhotonValidationError(
            f"{printable(line)!r} is not an entry point",
            file=path,
            line=number,
            why="it is not written as 'name = package.module:object'",
            hint="fix the entry in the distribution, and install it again",
        )
        return EntryPoint(printable(name or line), line=number, error=error)
    extras = (match["extras"] or "").split(",")
    wanted = tuple(extra.strip() for extra in extras if extra.strip())
    return EntryPoint(name, module, attribute, wanted, number)


@attrs.define
class Environment:
    """What is installed, asked about requirements.

    Attributes:
        installed: What is installed.
    """

    installed: Installed
    # Canonical name → its metadata.
    _known: dict[str, Metadata] = attrs.Factory(dict)

    def check(
        self, distribution: Distribution, metadata: Metadata, extras: tuple[str, ...]
    ) -> None:
        """Refuse a distribution whose ``Requires-Dist`` is not satisfied.

        Args:
            distribution: What requires.
            metadata: Its metadata.
            extras: Its extras that an entry point asks for.

        Raises:
            PhotonDependencyError: Something is missing or of a wrong version.
        """
        self._check(distribution, metadata, extras, (distribution.name,))

    def _check(
        self,
        distribution: Distribution,
        metadata: Metadata,
        extras: tuple[str, ...],
        chain: tuple[str, ...],
    ) -> None:
        for line in metadata.requires:
            requirement = _asked_for(line, distribution, extras)
            if requirement is None:
                continue
            name = canonical(requirement.name)
            names = " -> ".join((*chain, name))
            several = self.installed.choose(name)
            if not several:
                raise _unmet(distribution, line, f"{name!r} is not installed", names)
            there = several[0]
            other = self._metadata(there)
            version = other.version or there.version
            range_ = str(requirement.specifier)
            if range_ and not fits(version, range_):
                why = f"version {version} is installed"
                raise _unmet(distribution, line, why, names)
            if requirement.extras and name not in chain:
                wanted = tuple(sorted(requirement.extras))
                only = [r for r in other.requires if "extra" in r]
                extra = other._replace(requires=tuple(only))
                self._check(there, extra, wanted, (*chain, name))

    def _metadata(self, distribution: Distribution) -> Metadata:
        found = self._known.get(distribution.name)
        if found is None:
            try:
                found = _metadata_of(distribution)
            except LuminalError:  # its own problem; its folder's name says the version
                found = Metadata()
            self._known[distribution.name] = found
        return found


def _metadata_of(distribution: Distribution) -> Metadata:
    """Return what the metadata of *distribution* say.

    Raises:
        PhotonUnreadableError: It has none, or they cannot be read.
    """
    data = distribution.read_metadata()
    if not data:
        raise PhotonUnreadableError(
            "belongs to a distribution without metadata",
            file=distribution.metadata,
            why="there is no such file, it is empty, or there is no way to it",
            hint=f"pip install --force-reinstall {distribution.name}",
        )
    found = metadata_of(data, distribution.metadata)
    if not found.requires and distribution.is_egg:
        found = found._replace(requires=distribution.egg_requires())
    return found


def _asked_for(
    line: str, distribution: Distribution, extras: tuple[str, ...]
) -> Requirement | None:
    """Return the requirement in *line*, None where its marker leaves it out.

    Raises:
        PhotonDependencyError: It is malformed.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
        return requirement if _applies(requirement, extras) else None
    except InvalidRequirement as error:
        why = str(error).partition("\n")[0]
    except (ValueError, LookupError, RecursionError) as error:
        # Well formed, and yet without a value: an unknown variable, versions that
        # are none. Which of these packaging raises for it depends on its version.
        why = f"its marker means nothing: {error}"
    raise PhotonDependencyError(
        f"distribution requires {line!r}",
        file=distribution.metadata,
        why=why,
        hint="fix the requirement in the distribution, and install it again",
    )


def _applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    marker = requirement.marker
    if marker is None:
        return True
    return any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def _unmet(
    distribution: Distribution, line: str, why: str, names: str
) -> PhotonDependencyError:
    return PhotonDependencyError(
        f"distribution requires {line!r}",
        file=distribution.metadata,
        why=f"{why} ({names})",
        hint=f"pip install {line.partition(';')[0].strip()!r}",
    )


def locate(
    files: RecordingFileSystem,
    distribution: Distribution,
    module: str,
    path: tuple[str, ...],
) -> tuple[str, str] | None:
    """Return (file, folder that absolute imports start from) of *module*, or None.

    Args:
        files: Where files are looked at.
        distribution: What brings the module.
        module: Its dotted name.
        path: Entries of ``sys.path``.
    """
    parts = module.split(".")
    if distribution.is_found_by_others:
        return _located_by_others(files, distribution, parts)
    # Where one folder has it all, the first that has it wins, as in an import. What
    # is written down about editable installations is read only if it must be.
    for places in (_site, _pth_folders, _project):
        for root in places(files, distribution):
            if file := _file(files, os.path.join(root, *parts)):
                return file, root
    for top, target in _mapped(files, distribution.site):
        known = top.split(".")
        if parts[: len(known)] == known:
            stem = os.path.join(target, *parts[len(known) :])
            if len(known) == len(parts):
                stem = target.removesuffix(".py")
            if file := _file(files, stem):
                return file, os.path.dirname(target)
    for root in path:
        if file := _file(files, os.path.join(root, *parts)):
            return file, root
    return _found_by_interpreter(files, parts)


def _located_by_others(
    files: RecordingFileSystem, distribution: Distribution, parts: list[str]
) -> tuple[str, str] | None:
    """Return what `locate` does for a distribution that does not lie in a directory."""
    for tail in (os.path.join(*parts, "__init__.py"), os.path.join(*parts) + ".py"):
        if file := distribution.locate(tail):
            return file, file.removesuffix(tail).rstrip(os.sep)
    return _found_by_interpreter(files, parts)


def _found_by_interpreter(
    files: RecordingFileSystem, parts: list[str]
) -> tuple[str, str] | None:
    """Return where the running interpreter would look for a module, or None.

    An editable installation may bring a finder of its own (PEP 660): those of the
    ``editables`` library and of meson-python do. Finding a topmost package imports
    nothing.
    """
    from importlib.util import find_spec

    files.is_void = True  # what a finder says may change, and nothing on disk does
    if parts[0] in sys.builtin_module_names:
        return None
    try:
        spec = find_spec(parts[0])
    except Exception:  # noqa: BLE001  (a finder of others)
        return None
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        stem = os.path.abspath(os.path.join(folder, *parts[1:]))
        if file := _file(files, stem):
            return file, os.path.dirname(os.path.abspath(folder))
    origin = spec.origin or ""
    if len(parts) == 1 and origin.endswith(".py") and files.is_file(origin):
        return os.path.abspath(origin), os.path.dirname(os.path.abspath(origin))
    return None


def _file(files: RecordingFileSystem, stem: str) -> str | None:
    for file in (os.path.join(stem, "__init__.py"), stem + ".py"):
        if files.exists(file):
            return file
    return None


def _site(files: RecordingFileSystem, distribution: Distribution) -> Iterator[str]:
    del files  # the one place that needs no look
    yield distribution.site


def _pth_folders(
    files: RecordingFileSystem, distribution: Distribution
) -> Iterator[str]:
    site = distribution.site
    for path in _beside(files, site, ".pth"):
        try:
            text = files.read(path).decode("utf-8", "surrogateescape")
        except LuminalError:
            continue
        for line in map(str.strip, text.splitlines()):
            # Lines that begin with "import" would be executed by `site`; not here.
            if line and line[0] != "#" and not line.startswith(("import ", "import\t")):
                yield os.path.normpath(os.path.join(site, line))


def _project(files: RecordingFileSystem, distribution: Distribution) -> Iterator[str]:
    path = os.path.join(distribution.folder, "direct_url.json")
    if not files.is_file(path):
        return
    import json
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = json.loads(files.read(path))
        url = urlsplit(origin["url"])
        is_editable = origin["dir_info"]["editable"]
    except (LuminalError, ValueError, LookupError, TypeError, RecursionError):
        return
    if url.scheme == "file" and is_editable is True:
        folder = url2pathname(url.path)
        yield folder
        yield os.path.join(folder, "src")


def _mapped(files: RecordingFileSystem, site: str) -> Iterator[tuple[str, str]]:
    """Yield (module, path without ending) from the finders that setuptools writes."""
    for pth in _beside(files, site, ".pth"):
        name = os.path.basename(pth).removesuffix(".pth")
        if not name.startswith("__editable__."):
            continue
        # `__editable__.my_dist-1.0.pth` loads `__editable___my_dist_1_0_finder.py`.
        safe = "".join(c if c.isalnum() else "_" for c in name)
        finder = os.path.join(site, f"{safe}_finder.py")
        if not files.is_file(finder):
            continue
        try:
            tree = parse(files.read(finder), finder)
        except (LuminalError, RecursionError, MemoryError):
            continue
        for node in tree.body:
            yield from _mapping(node)


def _mapping(node: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.AnnAssign):
        targets, value = [node.target], node.value
    elif isinstance(node, ast.Assign):
        targets, value = node.targets, node.value  # type: ignore[assignment]
    else:
        return
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    if "MAPPING" not in names or value is None:
        return
    try:
        mapping = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return
    if isinstance(mapping, dict):
        for module, target in sorted(mapping.items(), key=repr, reverse=True):
            if isinstance(module, str) and isinstance(target, str):
                yield module, target


def _beside(files: RecordingFileSystem, site: str, ending: str) -> Iterator[str]:
    listing = files.packages(site)
    if not isinstance(listing, int):
        for name in map(str, listing[2:]):
            if name.endswith(ending):
                yield os.path.join(site, name)


def read_installed(
    files: RecordingFileSystem, path: tuple[str, ...], group: str, base: str
) -> Iterator[Draft]:
    """Yield a candidate for each entry point of *group*.

    Args:
        files: Where files are looked at.
        path: Absolute entries of ``sys.path``.
        group: Entry-point group.
        base: Name of the photon base.
    """
    installed = installed_distributions(files, path)
    environment = Environment(installed)
    for failure in installed.failures:
        yield _of_failed_finder(failure, group)
    for name, several in installed.by_name.items():
        texts = [_entry_points(distribution) for distribution in several]
        if not any(_may_have(text, group) for text in texts):
            continue
        distribution, *twins = installed.choose(name)
        text = texts[several.index(distribution)]
        known: dict[str, Any] = {
            "name": name,
            "source": DISTRIBUTION,
            "origin": f"{name} {distribution.version}".strip(),
            "location": "",
            "group": group,
            "distribution": name,
            "metadata": distribution.folder,
            "problem": None,
        }
        file = distribution.path("entry_points.txt")
        try:
            if isinstance(text, LuminalError):
                raise text
            entries = entries_of(text or b"", file, group)
        except LuminalError as error:
            known["problem"] = Problem.of(error, "discovery")
            yield Draft(**known)
            continue
        if entries:
            reader = _Reader(files, distribution, path, base, environment, twins)
            yield from reader.candidates(known, entries, file)


def _entry_points(distribution: Distribution) -> bytes | LuminalError | None:
    try:
        return distribution.read("entry_points.txt")
    except LuminalError as error:
        return error


def _may_have(text: bytes | LuminalError | None, group: str) -> bool:
    """Whether *text* is worth to be parsed, or is a problem."""
    if isinstance(text, bytes):
        # What is not ASCII may be of another encoding.
        return group.encode() in text or not text.isascii()
    return text is not None


def _of_failed_finder(failure: FinderFailure, group: str) -> Draft:
    error = PhotonUnreadableError(
        "finder of distributions failed",
        why=failure.error,
        hint="fix or remove what has put this finder on sys.meta_path",
    )
    return Draft(
        name=failure.finder,
        source=DISTRIBUTION,
        origin=failure.finder,
        location="",
        group=group,
        problem=Problem.of(error, "discovery"),
    )


@attrs.define
class _Reader:
    """Reads the entry points of one distribution.

    Everything but `files` belongs to this one distribution.
    """

    files: RecordingFileSystem
    distribution: Distribution
    path: tuple[str, ...]
    base: str
    environment: Environment
    twins: list[Distribution]

    def candidates(
        self, known: dict[str, Any], entries: list[EntryPoint], file: str
    ) -> Iterator[Draft]:
        """Yield the candidate of each of *entries*, which stand in *file*."""
        metadata = Metadata()
        try:
            metadata = _metadata_of(self.distribution)
            self._check_twins()
        except LuminalError as error:
            known["problem"] = Problem.of(error, "discovery")
        version = metadata.version or self.distribution.version
        name = metadata.name or self.distribution.name
        known.update(
            origin=f"{name} {version}".strip(),
            version=version,
            author=metadata.author,
            description=metadata.summary,
            tags=metadata.keywords,
        )
        # Class → the first entry that leads to it.
        classes: dict[tuple[str, str], EntryPoint] = {}
        lines: set[tuple[str, str]] = set()
        for entry in entries:
            if (entry.name, entry.target) in lines:
                continue  # the same line twice
            lines.add((entry.name, entry.target))
            values = {**known, "name": entry.name, "target": entry.target}
            try:
                definition, line = self._read(values, entry, file)
                if definition is not None:
                    key = (definition.path, definition.facts.name)
                    first = classes.setdefault(key, entry)
                    if first is not entry:
                        self._warn_of_second_name(first, entry, file)
                        continue
                if values["problem"] is None:
                    self.environment.check(self.distribution, metadata, entry.extras)
            except LuminalError as error:
                definition = None
                values["problem"] = known["problem"] or Problem.of(error, "discovery")
            if definition is None:
                yield Draft(**values)
            else:
                yield described(self.files, values, definition, entry.target, line, {})

    def _check_twins(self) -> None:
        if self.twins:
            folders = [d.place for d in (self.distribution, *self.twins)]
            raise PhotonConflictError(
                f"distribution {self.distribution.name!r} is installed "
                f"{len(folders)} times in one place",
                file=folders[0],
                why=" and ".join(map(os.path.basename, folders)),
                hint=f"pip install --force-reinstall {self.distribution.name}",
            )

    def _warn_of_second_name(
        self, first: EntryPoint, entry: EntryPoint, file: str
    ) -> None:
        error = PhotonConflictError(
            f"entry points {first.name!r} and {entry.name!r} lead to one class",
            file=file,
            line=entry.line,
            why=f"{first.target} and {entry.target}: one photon, named by the first",
            hint="remove one of them from the distribution's entry points",
        )
        self.files.warnings.append(Problem.of(error, "discovery"))

    def _read(
        self, values: dict[str, Any], entry: EntryPoint, file: str
    ) -> tuple[Definition | None, int]:
        """Add to *values* what the module of *entry* says; return class and line."""
        if entry.error is not None:
            raise entry.error
        place = locate(self.files, self.distribution, entry.module, self.path)
        if place is None and self.distribution.is_found_by_others:
            raise PhotonNotFoundError(
                f"lies in {self.distribution.place}",
                file=file,
                line=entry.line,
                why=f"there is no file of the module {entry.module!r} in a directory, "
                "and Luminal loads and reloads files",
                hint="install the distribution with pip, or unpack the archive",
            )
        if place is None:
            raise PhotonNotFoundError(
                f"entry point leads to nothing: no module {entry.module!r}",
                file=file,
                line=entry.line,
                why=f"no Python file of that name belongs to {values['origin']!r}",
                hint="install the distribution again, or fix its entry point",
            )
        location, root = place
        facts = self.files.facts(location)
        values.update(location=location, checksum=facts.checksum)
        if facts.problem is not None:
            values["problem"] = values["problem"] or facts.problem
            return None, 0
        top = entry.attribute.partition(".")[0]
        if (
            top
            and not facts.is_dynamic
            and top not in facts.bound
            and not may_bind_unseen(self.files.read(location))
        ):
            raise PhotonValidationError(
                f"entry point leads to nothing: no {top!r} in {entry.module!r}",
                file=location,
                why=f"line {entry.line} of {file} names it",
                hint="fix the entry point, or define what it names",
            )
        if not top or top != entry.attribute:
            return None, 0
        definition = Resolver(self.files, root, self.base).find(location, top)
        if definition is None:
            return None, 0
        here = definition.path == location
        return definition, (
            definition.facts.line if here else facts.imports.get(top, ("", 0))[1]
        )
