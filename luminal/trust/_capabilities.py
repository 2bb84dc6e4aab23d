"""What the texts of a unit say that they do, for the lock and its diff."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["capabilities_of", "new_capabilities"]


def _profiles() -> Any:
    """Return the module that reads profiles; None where this Luminal has none."""
    with suppress(ImportError):
        return importlib.import_module("luminal.trust._profile")
    return None


def capabilities_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return what *files* say that they do, in words, sorted."""
    profiles = _profiles()
    names = getattr(profiles, "names_of", None)
    return tuple(names(profiles.profile_of(files))) if names is not None else ()


def new_capabilities(
    before: Mapping[str, bytes], after: Mapping[str, bytes]
) -> list[str]:
    """Return what *after* says that it does and *before* did not say, in words."""
    profiles = _profiles()
    if profiles is None:
        return []
    found = profiles.drift(profiles.profile_of(before), profiles.profile_of(after))
    return [str(each) for each in found]
