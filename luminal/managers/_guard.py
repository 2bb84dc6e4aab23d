"""Operations that come from outside: a second factor, and a line in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luminal.managers.loader import Loader
    from luminal.trust import AuditLog, SecondFactor, Subject

__all__ = ["OPERATIONS", "OperationGuard"]

OPERATIONS = ("reload", "unload", "disable", "enable", "accept", "roll-back")
"""Requests that change what runs."""

_OF_FILES = ("reload", "enable", "accept")
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
            operation: One of `OPERATIONS`.
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
        from luminal.discovery import files_of
        from luminal.trust import Subject, tree_of

        loader = self.loader
        running, disabled = loader.photons, loader.disabled_files
        if not names:
            names = [*(disabled if operation == "enable" else running)]
        found = []
        for name in sorted(set(names)):
            handler = running.get(name)
            if handler is None:
                at_path = [h for h in running.values() if h.filepath == name]
                handler = at_path[0] if at_path else None
            file = handler.filepath if handler else disabled.get(name, "")
            if operation in _OF_FILES:
                digest = tree_of(files_of(file)).digest if file else ""
            else:
                digest = handler.checksum if handler is not None else ""
            found.append(Subject(name, handler.number if handler else 0, digest))
        return found
