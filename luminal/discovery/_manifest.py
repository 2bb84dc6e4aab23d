"""Metadata beside the code: ``[tool.luminal]`` of a pyproject.toml, and METADATA."""

from __future__ import annotations

from typing import NamedTuple

from luminal.discovery._static import plain_value
from luminal.errors import PhotonUnreadableError, PhotonValidationError

__all__ = ["Metadata", "metadata_of", "table_of"]


def table_of(data: bytes, path: str) -> dict[str, object]:
    """Return the ``[tool.luminal]`` table of a ``pyproject.toml``, checked.

    Args:
        data: Its bytes.
        path: Its path, for errors.

    Returns:
        Metadata as in a class body, without the prefix ``photon_``; empty where
        there is no such table.

    Raises:
        PhotonValidationError: It is not TOML, or a value has the wrong type.
    """
    import tomllib

    try:
        table = tomllib.loads(data.decode()).get("tool", {}).get("luminal", {})
        found = {key: plain_value(key, value) for key, value in table.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise PhotonValidationError(
            "has a pyproject.toml that cannot be read",
            file=path,
            why=str(error),
            hint="fix the file, or remove it",
        ) from None
    for key, plain in found.items():
        if plain is None:
            raise PhotonValidationError(
                f"[tool.luminal] has no use for {key!r} = {table[key]!r}",
                file=path,
                why="unknown key, or a value of the wrong type",
                hint="see the how-to on discovery for keys and types",
            )
    return found


class Metadata(NamedTuple):
    """Core metadata of a distribution, as far as photons inherit it.

    Attributes:
        name: Its name, as its author writes it.
        version: Its version.
        author: Author, or the author's address.
        summary: One line.
        keywords: Its keywords.
        requires: ``Requires-Dist`` lines.
    """

    name: str = ""
    version: str = ""
    author: str = ""
    summary: str = ""
    keywords: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


def metadata_of(data: bytes, path: str) -> Metadata:
    """Return what the headers of METADATA or PKG-INFO say.

    Args:
        data: Its bytes: headers, an empty line, a text that is left alone.
        path: Its path, for errors.

    Raises:
        PhotonUnreadableError: The headers are not UTF-8 (core metadata, "encoding").
    """
    head = data.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError as error:
        raise PhotonUnreadableError(
            "belongs to a distribution whose metadata is not UTF-8",
            file=path,
            line=head.count(b"\n", 0, error.start) + 1,
            why=str(error),
            hint="install the distribution again, built by a current tool",
        ) from None
    last = ""
    requires: list[str] = []
    said: dict[str, str] = {}
    for line in lines:
        if line[:1] in (" ", "\t"):
            if last == "requires-dist":
                requires[-1] += " " + line.strip()
            elif last in said:
                said[last] += "\n" + line.strip()
            continue
        key, colon, value = line.partition(":")
        last = key.strip().lower() if colon else ""
        if last == "requires-dist":
            requires.append(value.strip())
        elif last in _KEYS and last not in said:
            value = value.strip()
            said[last] = "" if value == "UNKNOWN" else value
        else:
            last = ""
    keywords = said.get("keywords", "")
    divider = "," if "," in keywords else None
    return Metadata(
        name=said.get("name", ""),
        version=said.get("version", ""),
        author=said.get("author") or said.get("author-email", ""),
        summary=said.get("summary", "").partition("\n")[0],
        keywords=tuple([k for key in keywords.split(divider) if (k := key.strip())]),
        requires=tuple(requires),
    )


_KEYS = frozenset({"name", "version", "author", "author-email", "summary", "keywords"})
