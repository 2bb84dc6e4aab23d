"""Versions and ranges by PEP 440, and requirements that photons have on photons."""

from __future__ import annotations

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from luminal.errors import PhotonValidationError

__all__ = ["check_range", "fits", "split_requirement"]

_OPERATORS = "<>=!~"


def split_requirement(text: str) -> tuple[str, str]:
    """Return name and range of a requirement such as ``"geo >= 1.2"``."""
    cut = min((i for i in map(text.find, _OPERATORS) if i >= 0), default=len(text))
    return text[:cut].strip(), text[cut:].strip()


def fits(version: str, range_: str) -> bool:
    """Return whether *version* is in the range; pre-releases are as good as others.

    An empty or malformed version fits nothing.

    Args:
        version: A version.
        range_: PEP 440 clauses with commas between them.

    Raises:
        PhotonValidationError: The range is malformed.
    """
    specifiers = check_range(range_)
    try:
        return specifiers.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def check_range(range_: str) -> SpecifierSet:
    """Return *range_* parsed.

    Raises:
        PhotonValidationError: It is malformed.
    """
    try:
        return SpecifierSet(range_)
    except InvalidSpecifier:
        raise PhotonValidationError(
            f"{range_!r} is not a range of versions",
            why="PEP 440 knows ==, !=, <, <=, >, >=, ~= and ===",
            hint="write it like '>=1.2,<2'",
        ) from None
