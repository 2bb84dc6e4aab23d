"""Operations that come from outside: a second factor, and a line in the audit log."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.lifecycle import Handler
    from luminal.loading import Generation
    from luminal.managers.loader import Loader
    from luminal.trust import AuditLog, SecondFactor, Subject

__all__ = ["OPERATIONS", "OperationGuard"]

OPERATIONS = ("reload", "unload", "disable", "enable")
"""Requests of the socket that change what runs; the page has ``roll-back`` as well."""

_OF_FILES = ("reload", "enable")
"""Those that run what is on the disk."""


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
    ) -> dict[str, Any] | None:
        """Return a challenge that has to be answered first; None to go on.

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
            return None
        subjects = self._subjects(operation, names)
        by = self.by
        if self._factor is not None:
            if answer is None:
                return self._factor.challenge(operation, subjects)
            by = (
                f"{self._factor.kind} {self._factor.check(operation, subjects, answer)}"
            )
        if self._log is not None:
            rows = [(each.name, each.generation, each.digest) for each in subjects]
            self._log.append(operation, rows, by)
        return None

    def _subjects(self, operation: str, names: Sequence[str]) -> list[Subject]:
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
                digest = self._digest_of(file) if operation in _OF_FILES else ""
                found[name] = Subject(name, 0, digest)
                continue
            for each in handlers:
                digest = each.checksum
                if operation in _OF_FILES:
                    digest = self._digest_of(each.filepath, each.generation)
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

    def _digest_of(self, file: str, generation: Generation | None = None) -> str:
        """Return the digest of what would be loaded from *file* now.

        Args:
            file: Of a photon, or empty.
            generation: What runs of it; the helpers that it imports from count, too.
        """
        from luminal.discovery import files_of
        from luminal.trust import tree_of

        if not file:
            return ""
        files = files_of(file)
        if file.endswith(".photon"):  # also its data files and signatures
            with suppress(OSError), open(file, "rb") as archive:
                files = {os.path.basename(file): archive.read()}
        world = self.loader._world  # noqa: SLF001 - its own package
        known = {generation.unit} if generation is not None else set()
        queue = set(known)
        while queue:
            queue = {u for unit in queue for u in world.needs(unit)} - known
            known |= queue
            for unit in queue & world.generations.keys():
                location = world.generations[unit].locations.get(unit)
                if location is not None and not world.generations[unit].borrowed:
                    found = files_of(location.path)
                    files |= {f"{unit}/{path}": data for path, data in found.items()}
        return tree_of(files).digest
