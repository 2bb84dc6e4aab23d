"""What served before: the files that a roll-back returns to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from luminal.reload.plan import components

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from luminal.loading import Pinned

__all__ = ["History", "Past"]

Past = dict[str, "Mapping[str, Pinned]"]
"""Unit → what it can return to; nothing where it has had one generation only."""


@attrs.define(eq=False)
class History:
    """One step back for every unit, together with what changed along with it."""

    # Unit → the files, before the swap that made its serving generation, of all units
    # that took part in that swap.
    _before: dict[str, Mapping[str, Pinned]] = attrs.Factory(dict)

    def note(self, before: Mapping[str, Pinned]) -> Past:
        """Note that the units of *before* have been replaced in one swap.

        Returns:
            What was known of them until now, for `take_back`.
        """
        past = {unit: self._before.get(unit, {}) for unit in before}
        self._before.update(dict.fromkeys(before, before))
        return past

    def take_back(self, past: Past) -> None:
        """Forget a swap that was reverted: its units serve again what they did."""
        self._before.update(past)

    def forget(self, unit: str) -> None:
        """Forget a unit that serves no more."""
        self._before.pop(unit, None)

    def before(
        self, unit: str, needs: Callable[[str], AbstractSet[str]]
    ) -> tuple[dict[str, Pinned], list[set[str]]]:
        """Return what *unit* and all that changed with it were.

        Args:
            unit: What is to be rolled back.
            needs: Unit → units that it imports from.

        Returns:
            Unit → its files; nothing where it has had one generation only. And the
            groups that imports connect, the one with *unit* first.
        """
        swap = self._before.get(unit, {})
        # A unit that has been replaced once more since then has another past.
        same = {u: files for u, files in swap.items() if self._before.get(u) is swap}
        groups = components(same.keys(), needs)
        return same, sorted(groups, key=lambda group: unit not in group)
