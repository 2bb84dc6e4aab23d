"""Operations that come from outside: a second factor, and a line in the audit log."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha512
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonNotFoundError
from luminal.loading import DistributionOrigin, accepted_entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.lifecycle import Handler
    from luminal.loading import Generation, World
    from luminal.managers.loader import Loader
    from luminal.trust import AuditLog, SecondFactor, Subject

__all__ = ["OPERATIONS", "OperationGuard", "Permit", "modules_near"]

OPERATIONS = ("reload", "unload", "disable", "enable")
"""Requests of the socket that change what runs; the page has ``roll-back`` as well."""

_OF_FILES = ("reload", "enable")
"""Those that run what is on the disk."""


@attrs.frozen
class Permit:
    """What may be done of what was asked for.

    Attributes:
        challenge: It has to be answered first; None to go on.
        files: Path → SHA-512 of all that may be executed; None where nobody was asked.
    """

    challenge: dict[str, Any] | None = None
    files: Mapping[str, str] | None = None


@attrs.define(eq=False)
class OperationGuard:
    """Lets an operation pass that comes from outside, by the host's settings of trust.

    Args:
        loader: Of the host.
        by: Where the operations come from, for the audit log.
    """

    loader: Loader
    by: str
    _factor: SecondFactor | None = attrs.field(init=False, default=None)
    _log: AuditLog | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        settings = self.loader.trust
        if settings is None:
            return
        if settings.second_factor:
            from luminal.trust import SecondFactor

            self._factor = SecondFactor(settings.second_factor, settings.factor)
        if settings.audit or settings.second_factor:
            from luminal.trust import AuditLog

            self._log = AuditLog()

    def hold(
        self, operation: str, names: Sequence[str], answer: Mapping[str, Any] | None
    ) -> Permit:
        """Return a challenge that has to be answered first, or what may be done.

        Reads files and writes the log: not to be called on an event loop.

        Args:
            operation: One of `OPERATIONS`, or ``roll-back``.
            names: Names or files of photons; none for all of them.
            answer: To the challenge that an earlier call has returned.

        Raises:
            SecondFactorError: The answer is not right.
            AuditLogError: The log cannot be written: the operation must not be done.
        """
        if self._factor is None and self._log is None:
            return Permit()
        about = _About()
        subjects = self._subjects(operation, names, about)
        by = self.by
        if self._factor is not None:
            if answer is None:
                return Permit(self._factor.challenge(operation, subjects))
            by = (
                f"{self._factor.kind} {self._factor.check(operation, subjects, answer)}"
            )
        if self._log is not None:
            rows = [(each.name, each.generation, each.digest) for each in subjects]
            self._log.append(operation, rows, by)
        return Permit(None, about.digests if self._factor is not None else None)

    def _subjects(
        self, operation: str, names: Sequence[str], about: _About
    ) -> list[Subject]:
        """Return what an operation is about, as everything is now."""
        from luminal.trust import Subject, tree_of

        loader = self.loader
        running, disabled = loader.photons, loader.disabled_files
        if not names:
            names = [*(disabled if operation == "enable" else running)]
        found: dict[str, Subject] = {}
        for name in names:
            # As the operation finds them: a path may be written in several ways.
            try:
                handlers = loader._registry.find(name)  # noqa: SLF001 - its own package
            except PhotonNotFoundError:
                digest = ""
                if operation in _OF_FILES:
                    digest = tree_of(self._files_of_disabled(about, name)).digest
                found[name] = Subject(name, 0, digest)
                continue
            for each in handlers:
                digest = each.checksum
                if operation in _OF_FILES:
                    digest = tree_of(self._files_of(about, each)).digest
                elif operation == "roll-back":
                    digest = tree_of(self._files_before(about, each)).digest
                found[each.name] = Subject(each.name, each.number, digest)
        return [found[name] for name in sorted(found)]

    def _files_of(self, about: _About, handler: Handler) -> dict[str, bytes]:
        """Return all that would be read if a photon were loaded now: path → bytes."""
        if handler.generation is None:
            return about.read(handler.filepath, is_alone=False)
        world = self.loader._world  # noqa: SLF001 - its own package
        return about.read_all(modules_near(world, handler.generation))

    def _files_of_disabled(self, about: _About, name: str) -> dict[str, bytes]:
        """Return the same of a photon that is disabled, or does not run at all."""
        known = self.loader._disabled.get(name)  # noqa: SLF001 - its own package
        if known is None:
            return {}
        modules = dict(known.modules)
        name = known.candidate.distribution if known.candidate is not None else ""
        if not modules and known.file:
            modules[known.file] = bool(name)
        files, judge = about.read_all(modules), self.loader.judge
        entry = accepted_entry(judge, name) if judge is not None else None
        if judge is not None and entry is not None:
            # It runs where what is installed was not accepted.
            folder = judge.vault.folder(entry.tree)
            kept = judge.vault.read(entry.tree) or {}
            files |= about.add(
                {os.path.join(folder, *p.split("/")): kept[p] for p in kept}
            )
        return files

    def _files_before(self, about: _About, handler: Handler) -> dict[str, bytes]:
        """Return what a roll-back would run: what is in memory, and what it imports.

        Modules that are not loaded, and units that import from it and have no earlier
        version, are read from the disk.
        """
        world = self.loader._world  # noqa: SLF001 - its own package
        reloader = self.loader._reloader  # noqa: SLF001 - likewise
        earlier = reloader.earlier(handler)
        from_disk = reloader.affected(set(earlier)) - earlier.keys()
        not_read = {
            path
            for unit, generation in [*world.generations.items()]
            if unit not in from_disk
            for path in generation.files
        }
        found = self._files_of(_About(), handler)
        files = about.add({p: found[p] for p in found.keys() - not_read})
        for unit, pinned in earlier.items():
            for path, source in pinned.sources.items():
                files[f"{unit}/{path}"] = source.data
                about.digests[path] = source.checksum
            if pinned.bundle is not None:
                about.digests[pinned.bundle.path] = pinned.bundle.checksum
        return files


def modules_near(world: World, generation: Generation | None) -> dict[str, bool]:
    """Return the modules of what runs, and of all that imports connect with it.

    A reload may replace what it imports from, and what imports from it.

    Args:
        world: Of the host.
        generation: What runs.

    Returns:
        Path of each module → whether what lies beside its unit is of others.
    """
    known = {generation.unit} if generation is not None else set()
    queue = set(known)
    while queue:
        near = {u for unit in queue for u in (*world.needs(unit), *world.users(unit))}
        queue = near - known
        known |= queue
    found: dict[str, bool] = {}
    for unit in known & world.generations.keys():
        each = world.generations[unit]
        if each.borrowed:
            continue
        is_alone = type(each.origin) is DistributionOrigin
        for fullname, location in tuple(each.locations.items()):
            # Also libraries that it owns.
            is_other = is_alone or fullname != unit
            found[location.path] = found.get(location.path, True) and is_other
    return found


@attrs.define(eq=False)
class _About:
    """The files that an operation is about, each read once.

    Attributes:
        digests: Path → SHA-512.
    """

    digests: dict[str, str] = attrs.Factory(dict)
    _read: dict[str, dict[str, bytes]] = attrs.Factory(dict)

    def read_all(self, modules: Mapping[str, bool]) -> dict[str, bytes]:
        """Return path → bytes of what may be executed where *modules* are loaded.

        Args:
            modules: Path of each → whether what lies beside its unit is of others.
        """
        files: dict[str, bytes] = {}
        for path in sorted(modules, key=lambda each: (modules[each], each)):
            if path not in files:
                files |= self.read(path, is_alone=modules[path])
        return files

    def read(self, file: str, *, is_alone: bool) -> dict[str, bytes]:
        """Return path → bytes of what may be executed where *file* is loaded.

        Args:
            file: A module, or one in a bundle.
            is_alone: Whether what lies beside its unit is of others.
        """
        from luminal.discovery import modules_around
        from luminal.trust import bundle_around

        file = bundle_around(file) or file
        if file not in self._read:
            files: dict[str, bytes] = {}
            if not file.endswith(".photon"):
                files = modules_around(file, is_alone=is_alone)
            else:  # also its data files and signatures
                with suppress(OSError), open(file, "rb") as archive:
                    files = {file: archive.read()}
            self._read[file] = self.add(files)
        return self._read[file]

    def add(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """Note that *files* may be executed, and return them."""
        for path, data in files.items():
            self.digests[path] = sha512(data).hexdigest()
        return files
