"""Compare a unit with what ran before, by profiles, before its first line runs."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

import attrs

from luminal.errors import PhotonCapabilityError
from luminal.trust._profile import Capability, Drift, Profile, drift, profile_of
from luminal.trust._settings import TrustSettings
from luminal.trust._tree import tree_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["CapabilityRules"]

_KEPT = 3
"""Profiles that are kept of a unit: what serves, what follows, and an earlier one."""
_RETURNABLE = 8
"""Trees of a unit that are remembered; a host keeps fewer generations to return to."""


@attrs.define(eq=False)
class CapabilityRules:
    """Decides by profiles whether a unit may run, and says what is new in it.

    Args:
        settings: What is asked about, and what is refused. Their file is read again
            before something is rejected, so that who edits it need not restart the
            host; kinds that were denied stay so.
    """

    settings: TrustSettings
    # Unit → (digest of its files → profile), the newest at the end.
    _profiles: dict[str, dict[str, Profile]] = attrs.Factory(dict)
    # Unit → digests of its files that were let pass, which a roll-back may return to.
    _passed: dict[str, deque[str]] = attrs.Factory(dict)
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def examine(
        self,
        unit: str,
        names: Collection[str],
        old: Mapping[str, bytes] | None,
        new: Mapping[str, bytes],
        *,
        is_accepted: bool = False,
    ) -> tuple[Drift, ...]:
        """Return what *new* says that it does, and *old* did not say.

        Args:
            unit: Full name of the unit.
            names: The names by which the settings may mean it: of photons, of the file.
            old: The files of what serves; None at the first load, none in a mapping
                for a helper that other code of a swap imports for the first time.
            new: The files that are about to run.
            is_accepted: Whether somebody has accepted exactly these files, in a lock:
                then nothing is asked.

        Raises:
            PhotonCapabilityError: It must not run; the first place is named.
        """
        digest = tree_of(new).digest
        passed = self._passed.setdefault(unit, deque(maxlen=_RETURNABLE))
        profile = self._profile(unit, new)
        found: tuple[Drift, ...] = ()
        if old is not None:
            found = tuple(drift(self._profile(unit, old), profile))
        if digest in passed:  # a roll-back to what ran
            return found
        settings = self.settings
        if settings.file and self._refused(settings, names, profile, found):
            now = TrustSettings.read(settings.file)
            deny = tuple(dict.fromkeys((*now.deny, *settings.deny)))
            settings = self.settings = attrs.evolve(now, deny=deny, file=settings.file)
        refused = self._refused(settings, names, profile, found)
        if refused is not None and refused[1] == "ask" and is_accepted:
            refused = None
        if refused is not None:
            raise self._error(names, *refused)
        passed.append(digest)
        return found

    def _profile(self, unit: str, files: Mapping[str, bytes]) -> Profile:
        key = tree_of(files).digest
        with self._lock:
            known = self._profiles.setdefault(unit, {})
            profile = known.pop(key, None)
        if profile is None:
            profile = profile_of(files)
        with self._lock:
            known[key] = profile
            while len(known) > _KEPT:
                known.pop(next(iter(known)))
        return profile

    @staticmethod
    def _refused(
        settings: TrustSettings,
        names: Collection[str],
        profile: Profile,
        found: tuple[Drift, ...],
    ) -> tuple[Capability | Drift, str] | None:
        """Return what is refused, and by which setting."""
        accepted = {
            kind
            for name, kinds in settings.accept.items()
            if name in names
            for kind in kinds
        }
        for capability in profile.capabilities:
            key, kind = capability.key, str(capability.kind)
            if accepted.isdisjoint((key, kind)) and not {key, kind}.isdisjoint(
                settings.deny
            ):
                return capability, "deny"
        for each in found:
            capability_of = each.capability
            if capability_of is None:
                if settings.ask:
                    return each, "ask"
                continue
            keys = {capability_of.key, str(capability_of.kind)}
            if accepted.isdisjoint(keys) and not keys.isdisjoint(settings.ask):
                return each, "ask"
        return None

    def _error(
        self, names: Collection[str], what: Capability | Drift, setting: str
    ) -> PhotonCapabilityError:
        name = next(iter(names), "")
        where = os.path.basename(self.settings.file) or "the host's settings"
        capability = what.capability if isinstance(what, Drift) else what
        if capability is None:
            return PhotonCapabilityError(
                str(what),
                file=what.file,
                why=f"'{setting}' in [tool.luminal.trust] asks about what is new",
                hint="make the file shorter or less nested",
            )
        accept = f'{name} = ["{capability.kind}"]'
        return PhotonCapabilityError(
            str(what)
            if setting == "ask"
            else f"{capability.kind.meaning}, {capability.place}",
            file=capability.file,
            line=capability.line or None,
            why=f"{str(capability.kind)!r} is in '{setting}' of [tool.luminal.trust]",
            hint=f"to accept it, write {accept} below [tool.luminal.trust.accept] of "
            f"{where}, and reload it",
        )
