"""Names of photons and of modules: how they compare, and which ones are allowed.

One rule for each, used everywhere: two photons have one name if they are equal in
NFC with case folded; a module's name must be an identifier that Python's parser
would leave as it is (its NFKC form) and no keyword.
"""

from __future__ import annotations

import keyword
import unicodedata

from luminal.errors import PhotonValidationError

__all__ = ["check_module", "check_photon", "fold", "printable"]


def fold(name: str) -> str:
    """Return the form in which names of photons are compared."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def printable(name: str) -> str:
    """Return *name* without what a terminal or a UTF-8 stream cannot show."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def check_module(stem: str, file: str) -> None:
    """Refuse *stem* as a module's name.

    Raises:
        PhotonValidationError: No import statement could name such a module.
    """
    why = ""
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
