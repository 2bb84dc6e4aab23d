"""Rules for names, and for versions and ranges (PEP 440)."""

from __future__ import annotations

import keyword
import unicodedata
from typing import TYPE_CHECKING

from luminal.errors import PhotonValidationError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

__all__ = [
    "check_module",
    "check_photon",
    "check_range",
    "fits",
    "fold",
    "is_version",
    "printable",
    "split_requirement",
]


def fold(name: str) -> str:
    """Return the form in which names of photons are compared."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def printable(name: str) -> str:
    """Return *name* without what a terminal or a UTF-8 stream cannot show."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def check_module(stem: str, file: str) -> None:
    """Refuse *stem* as a module's name.

    Raises:
        PhotonValidationError: No import statement could name such a module.
    """
    why = ""
    if stem.isascii() and stem.isidentifier() and not keyword.iskeyword(stem):
        return
    if keyword.iskeyword(stem):
        why = "it is a keyword of Python"
    elif not stem.isidentifier():
        why = "it is not an identifier"
    elif unicodedata.normalize("NFKC", stem) != stem:
        why = "Python reads it as " + repr(unicodedata.normalize("NFKC", stem))
    if why:
        raise PhotonValidationError(
            f"module name {printable(stem)!r} cannot be imported",
            file=file,
            why=why,
            hint="rename the file to letters, digits and underscores",
        )


def check_photon(name: str, file: str, line: int) -> None:
    """Refuse *name* as a photon's name.

    Raises:
        PhotonValidationError: It is empty, padded, or cannot be shown.
    """
    if not name or name != name.strip() or not name.isprintable():
        raise PhotonValidationError(
            f"{name!r} is not a name for a photon",
            file=file,
            line=line,
            why="it is empty, begins or ends with a space, or cannot be printed",
            hint="give photon_name visible characters",
        )


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
    from packaging.version import InvalidVersion, Version

    specifiers = check_range(range_)
    try:
        return specifiers.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def is_version(text: str) -> bool:
    """Return whether *text* is a version (PEP 440)."""
    if text.isascii() and all(map(str.isdecimal, text.split("."))):
        return True  # as most are, and the import takes longer than all else
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def check_range(range_: str) -> SpecifierSet:
    """Return *range_* parsed.

    Raises:
        PhotonValidationError: It is malformed.
    """
    # Most photons ask for no range, and the import takes longer than all else.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(range_)
    except InvalidSpecifier:
        raise PhotonValidationError(
            f"{range_!r} is not a range of versions",
            why="PEP 440 knows ==, !=, <, <=, >, >=, ~= and ===",
            hint="write it like '>=1.2,<2'",
        ) from None
