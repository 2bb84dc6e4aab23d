"""Operations that come from outside: a second factor, and a line in the audit log."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha512
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.lifecycle import Handler
    from luminal.loading import Generation
    from luminal.managers.loader import Loader
    from luminal.trust import AuditLog, SecondFactor, Subject

__all__ = ["OPERATIONS", "OperationGuard", "Permit"]

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
        from luminal.trust import Subject

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
                file = disabled.get(name, "")
                digest = self._digest_of(about, file) if operation in _OF_FILES else ""
                found[name] = Subject(name, 0, digest)
                continue
            for each in handlers:
                digest = each.checksum
                if operation in _OF_FILES:
                    digest = self._digest_of(about, each.filepath, each.generation)
                elif operation == "roll-back":
                    digest = self._digest_before(each)
                found[each.name] = Subject(each.name, each.number, digest)
        return [found[name] for name in sorted(found)]

    def _digest_before(self, handler: Handler) -> str:
        """Return the digest of what a roll-back would run, which is in memory."""
        from luminal.trust import tree_of

        reloader = self.loader._reloader  # noqa: SLF001 - its own package
        files = {
            f"{unit}/{path}": source.data
            for unit, pinned in reloader.earlier(handler).items()
            for path, source in pinned.sources.items()
        }
        return tree_of(files).digest

    def _digest_of(
        self, about: _About, file: str, generation: Generation | None = None
    ) -> str:
        """Return the digest of all that would be read if *file* were loaded now.

        Args:
            about: What was read for the operation; this adds to it.
            file: Of a photon, or empty.
            generation: What runs of it; what it imports from and what imports from it
                counts, too, as a reload may replace that.
        """
        from luminal.loading import DistributionOrigin
        from luminal.trust import tree_of

        world = self.loader._world  # noqa: SLF001 - its own package
        files: dict[str, bytes] = {}
        if file and generation is None:
            files |= about.read(file, is_alone=False)
        known = {generation.unit} if generation is not None else set()
        queue = set(known)
        while queue:
            near = {
                u for unit in queue for u in (*world.needs(unit), *world.users(unit))
            }
            queue = near - known
            known |= queue
        for unit in known & world.generations.keys():
            each = world.generations[unit]
            if each.borrowed:
                continue
            is_alone = type(each.origin) is DistributionOrigin
            for fullname, location in tuple(each.locations.items()):
                if location.path not in files:  # also libraries that it owns
                    is_other = is_alone or fullname != unit
                    files |= about.read(location.path, is_alone=is_other)
        return tree_of(files).digest


@attrs.define(eq=False)
class _About:
    """The files that an operation is about, each read once.

    Attributes:
        digests: Path → SHA-512.
    """

    digests: dict[str, str] = attrs.Factory(dict)
    _read: dict[str, dict[str, bytes]] = attrs.Factory(dict)

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
            digests = {path: sha512(data).hexdigest() for path, data in files.items()}
            self.digests.update(digests)
            self._read[file] = files
        return self._read[file]
