"""The text of ``entry_points.txt`` → its entries, with lines for what is wrong."""

from __future__ import annotations

import re

import attrs

from luminal.discovery.names import printable
from luminal.errors import LuminalError, PhotonUnreadableError, PhotonValidationError

__all__ = ["EntryPoint", "entries_of"]

_VALUE = re.compile(
    r"(?P<module>[\w.]+)\s*(:\s*(?P<attribute>[\w.]+))?\s*(\[(?P<extras>[^\[\]]*)\])?"
)


@attrs.frozen
class EntryPoint:
    """One entry, see the entry points specification.

    Attributes:
        name: Left of the sign.
        module: Dotted name of the module.
        attribute: Dotted name inside it, empty for the module itself.
        extras: Extras of the distribution that it needs.
        line: Line in the file, counted from 1.
        error: What is wrong with it, or None.
    """

    name: str
    module: str = ""
    attribute: str = ""
    extras: tuple[str, ...] = ()
    line: int = 0
    error: LuminalError | None = None

    @property
    def target(self) -> str:
        """``module:attribute``, or the module alone."""
        return f"{self.module}:{self.attribute}" if self.attribute else self.module


def entries_of(data: bytes, path: str, group: str) -> list[EntryPoint]:
    """Return the entries of *group*; a malformed one carries its error.

    Args:
        data: Bytes of the file.
        path: Its path, for errors.
        group: Name of the section.

    Raises:
        PhotonUnreadableError: The text is not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PhotonUnreadableError(
            "has entry points that are not UTF-8",
            file=path,
            line=data.count(b"\n", 0, error.start) + 1,
            why=str(error),
            hint="install the distribution again",
        ) from None
    found: list[EntryPoint] = []
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1].strip()
        elif section == group:
            found.append(_entry(line, path, number))
    return found


def _entry(line: str, path: str, number: int) -> EntryPoint:
    name, sign, value = (part.strip() for part in line.partition("="))
    match = _VALUE.fullmatch(value)
    module = match["module"] if match else ""
    attribute = (match["attribute"] or "") if match else ""
    parts = [*module.split("."), *(attribute.split(".") if attribute else ())]
    if not sign or not name or match is None or not all(map(str.isidentifier, parts)):
        error = PhotonValidationError(
            f"{printable(line)!r} is not an entry point",
            file=path,
            line=number,
            why="it is not written as 'name = package.module:object'",
            hint="mend the entry in the distribution, and install it again",
        )
        return EntryPoint(printable(name or line), line=number, error=error)
    extras = (match["extras"] or "").split(",")
    wanted = tuple(extra.strip() for extra in extras if extra.strip())
    return EntryPoint(name, module, attribute, wanted, number)
