"""What changes at the same time, and must not be mixed with one swap.

In come units that are replaced in swaps of their own, and what is staged; out comes
which of them the new code depends on. What it imports from is known only by then.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from luminal.errors import PhotonReloadError
from luminal.reload.plan import affected
from luminal.reload.requirements import find_unmet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from luminal.lifecycle import Registry
    from luminal.loading import Attempt, Generation, World
    from luminal.reload.pairing import Pair

__all__ = ["Mixture"]


@attrs.define(eq=False)
class Mixture:
    """Which units a swap turns out to depend on, of those that change apart from it.

    Args:
        others: Units that change as well: later, or had they not been refused.

    Attributes:
        found: Those that the new code depends on.
        users: Units that have begun to import from what is replaced meanwhile.
    """

    others: AbstractSet[str] = frozenset()
    found: set[str] = attrs.Factory(set)
    users: set[str] = attrs.Factory(set)

    def look(self, staged: Mapping[str, Generation]) -> None:
        """Note what the generations in *staged* have imported from so far."""
        if self.others:
            for generation in list(staged.values()):
                self.found |= self.others & generation.needs

    @contextmanager
    def looking(self, attempt: Attempt) -> Iterator[None]:
        """Look at the end of the block, also where an import in it fails."""
        try:
            yield
        finally:
            self.look(attempt.pending)

    def check(self, staged: Mapping[str, Generation]) -> None:
        """Refuse new code that would be linked to an earlier generation.

        Raises:
            PhotonReloadError: It imports from what changes apart from it.
        """
        self.look(staged)
        if self.found:
            names = ", ".join(repr(u.rpartition(".")[2]) for u in sorted(self.found))
            raise PhotonReloadError(
                "would be mixed with an earlier generation",
                why=f"it imports from {names}, whose next generation was refused",
                hint="mend that one",
            )

    def check_users(self, units: Sequence[str], world: World) -> None:
        """Refuse to leave anybody behind who is linked to what is replaced.

        Raises:
            PhotonReloadError: A late import of running code has made such a link.
        """
        self.users = affected(units, world.users).difference(units)
        if self.users:
            names = ", ".join(repr(u.rpartition(".")[2]) for u in sorted(self.users))
            raise PhotonReloadError(
                "has got another user while its next generation was being started",
                why=f"{names} has imported from it",
                hint="reload it once more",
            )

    def check_requirements(self, pairs: Sequence[Pair], registry: Registry) -> None:
        """Refuse photons whose requirements, or those of others, are not met then.

        Raises:
            PhotonDependencyError: Names what is missing, or the chain of a circle.
        """
        unmet = find_unmet(pairs, registry)
        if unmet is None:
            return
        for name in unmet.others:
            other = registry.get(name)
            if other is not None and other.generation is not None:
                self.found |= self.others & {other.generation.unit}
        raise unmet.error
