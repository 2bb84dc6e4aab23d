"""What a photon changed of the interpreter's shared state, facet by facet.

What comes in is a moment before a photon's code runs and one after, what goes out are
the changes, each of them allowed, warned of, restored or refused by the host's policy.
A moment costs a fraction of a millisecond, so every load, swap and unload can have
two.
"""

from __future__ import annotations

import enum
import warnings
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonStateError
from luminal.supervise.facets import FACETS, Facet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["Change", "Footprint", "FootprintWarning", "Policy", "hold_to"]


class Policy(enum.StrEnum):
    """What is done about a change of one facet."""

    ALLOW = "allow"
    WARN = "warn"
    RESTORE = "restore"
    REFUSE = "refuse"


class FootprintWarning(UserWarning):
    """A photon changed shared state."""


@attrs.frozen
class Change:
    """One facet that is not as it was.

    Attributes:
        facet: Its name, see `luminal.supervise.facets`.
        added: What is there now and was not, as text.
        removed: What was there and is not, as text.
        can_restore: Whether there is a way to put it back.
        is_restored: Whether that has been done.
    """

    facet: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    can_restore: bool = False
    is_restored: bool = False

    def __str__(self) -> str:
        words = [*(f"+{text}" for text in self.added)]
        words += [f"-{text}" for text in self.removed]
        return f"{self.facet}: {', '.join(words)}"


@attrs.frozen(repr=False)
class Footprint:
    """The facets' values at one moment."""

    _values: tuple[Any, ...]

    @classmethod
    def take(cls) -> Footprint:
        """Read every facet now."""
        return cls(tuple([facet.read() for facet in FACETS]))

    def since(self, before: Footprint) -> tuple[Change, ...]:
        """Return what changed from *before* to this."""
        changes = []
        for facet, old, new in zip(FACETS, before._values, self._values, strict=True):
            if old is new or old == new:
                continue
            if facet.has_ends:
                present = set(new)
                kept = tuple(item for item in old if item in present)
                if len(kept) < len(new):
                    changes.append(_change(facet, kept, new))
            else:
                changes.append(_change(facet, old, new))
        return tuple(changes)

    def restore(self, change: Change) -> Change:
        """Put the facet of *change* back to what it was at this moment."""
        for facet, value in zip(FACETS, self._values, strict=True):
            if facet.name == change.facet and facet.restore is not None:
                return _restored(facet, value, change)
        return change

    def undo(self, change: Change, before: Footprint) -> Change:
        """Take back what became of a facet between *before* and this moment.

        What others have added or removed since stays as it is.
        """
        moments = zip(FACETS, before._values, self._values, strict=True)
        for facet, old, new in moments:
            if facet.name != change.facet or facet.restore is None:
                continue
            present = facet.read()
            target = _without(present, old, new)
            if target is present:
                return attrs.evolve(change, is_restored=True)
            return _restored(facet, target, change)
        return change

    def without(
        self, before: Footprint, after: Footprint, facets: AbstractSet[str]
    ) -> Footprint:
        """Return this moment as if *facets* had not changed from *before* to *after*.

        So that what rests on a change that has been taken back does not revive it.
        """
        moments = zip(FACETS, self._values, before._values, after._values, strict=True)
        return Footprint(
            tuple(
                _without(mine, old, new) if facet.name in facets else mine
                for facet, mine, old, new in moments
            )
        )

    def __repr__(self) -> str:
        return f"<Footprint facets={len(self._values)}>"


def _restored(facet: Facet, value: Any, change: Change) -> Change:
    if facet.restore is None:
        return change
    try:
        facet.restore(value)
    except (OSError, ValueError):
        return change  # a signal, away from the main thread; a lost directory
    return attrs.evolve(change, is_restored=True)


def _change(facet: Facet, old: Any, new: Any) -> Change:
    added, removed = _difference(old, new)
    return Change(facet.name, added, removed, facet.restore is not None)


def _difference(old: Any, new: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(old, dict):
        keys = [k for k in {**old, **new} if old.get(k, ...) is not new.get(k, ...)]
        changed = [k for k in keys if old.get(k, ...) != new.get(k, ...)]
        return (
            tuple(_text(k) for k in changed if k in new),
            tuple(_text(k) for k in changed if k in old),
        )
    if isinstance(old, tuple):
        added = tuple(_text(item) for item in new if item not in old)
        removed = tuple(_text(item) for item in old if item not in new)
        # Else it is their order, or how often one of them is there.
        return (added, removed) if added or removed else ((_text(new),), (_text(old),))
    return (_text(new),), (_text(old),)


def _without(present: Any, old: Any, new: Any) -> Any:
    """Return *present* without what leads from *old* to *new*."""
    if isinstance(new, dict):
        target = dict(present)
        for key in {**old, **new}:
            was, became = old.get(key, ...), new.get(key, ...)
            if was is became or present.get(key, ...) is not became:
                continue
            if was is ...:
                target.pop(key, None)
            else:
                target[key] = was
        return target
    if isinstance(new, tuple):
        return old if present == new else _merged(present, old, new)
    return old if present is new or present == new else present


def _merged(
    present: tuple[Any, ...], old: tuple[Any, ...], new: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return *present* with what was lost, after what stood before it."""
    merged = [one for one in present if one in old or one not in new]
    for index, one in enumerate(old):
        if one not in new and one not in present:
            ahead = [merged.index(o) + 1 for o in old[:index] if o in merged]
            merged.insert(max(ahead, default=0), one)
    return tuple(merged)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    name = getattr(value, "__qualname__", None)
    try:
        return f"{value.__module__}.{name}" if name else repr(value)[:120]
    except Exception:  # noqa: BLE001 - a photon's own object
        return f"<{type(value).__qualname__}>"


def hold_to(
    before: Footprint,
    policies: Mapping[str, Policy],
    *,
    photon: str,
    default: Policy = Policy.ALLOW,
) -> tuple[Change, ...]:
    """Compare with *before* and do what the policies say.

    Args:
        before: The moment before the photon's code ran.
        policies: Facet → policy.
        photon: Whose code ran in between.
        default: Policy of the facets that *policies* does not name.

    Returns:
        Every change, those that were restored marked so.

    Raises:
        PhotonStateError: A facet that is refused has changed; what can be restored
            of the refused ones has been.
    """
    changes = []
    refused = []
    for change in Footprint.take().since(before):
        policy = policies.get(change.facet, default)
        if policy is Policy.WARN:
            text = f"photon {photon!r} changed {change}"
            warnings.warn(text, FootprintWarning, stacklevel=2)
        if policy in (Policy.RESTORE, Policy.REFUSE):
            change = before.restore(change)  # noqa: PLW2901 - the same one, restored
        if policy is Policy.REFUSE:
            refused.append(change)
        changes.append(change)
    if refused:
        raise PhotonStateError(
            "changed what the host refuses to have changed",
            photon=photon,
            why="; ".join(str(change) for change in refused),
            hint="leave it alone, or ask the host for another policy",
        )
    return tuple(changes)
