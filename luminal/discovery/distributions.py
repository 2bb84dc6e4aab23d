"""Which distributions are installed: names of folders on ``sys.path``, no more.

Comes in: listings. Goes out: each distribution once, as an import would see it: the
first entry of the path that has it wins, a ``.dist-info`` beats the ``.egg-info``
that setuptools leaves beside it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from luminal.discovery.witness import Witness

__all__ = ["Distribution", "canonical", "installed_distributions"]


@attrs.frozen
class Distribution:
    """A distribution as the name of its folder tells it.

    Attributes:
        name: Canonical name.
        version: Version, empty where the folder's name has none.
        folder: Absolute path of the ``.dist-info`` or ``.egg-info`` folder.
        twins: Further ``.dist-info`` folders of the same name beside it.
    """

    name: str
    version: str
    folder: str
    twins: tuple[str, ...] = ()

    @property
    def site(self) -> str:
        """The entry of ``sys.path`` that it is installed in."""
        return os.path.dirname(self.folder)

    @property
    def metadata(self) -> str:
        """Path of its metadata."""
        is_egg = self.folder.endswith(".egg-info")
        return os.path.join(self.folder, "PKG-INFO" if is_egg else "METADATA")


def canonical(name: str) -> str:
    """Return *name* in the form in which names of distributions compare (PEP 503)."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(part for part in parts if part)


def installed_distributions(
    witness: Witness, path: tuple[str, ...]
) -> dict[str, Distribution]:
    """Return canonical name → distribution for what is installed on *path*."""
    found: dict[str, Distribution] = {}
    for entry in path:
        listing = witness.packages(entry)
        if isinstance(listing, int):
            continue
        here: dict[str, list[Distribution]] = {}
        # Names are sorted: of one stem, `.dist-info` comes before `.egg-info`.
        for name in map(str, listing[2:]):
            stem, ending = os.path.splitext(name)
            if ending in (".dist-info", ".egg-info"):
                distribution = _distribution(entry, name, stem, ending)
                here.setdefault(distribution.name, []).append(distribution)
        for name, several in here.items():
            if name not in found:
                found[name] = _one(several)
    return found


def _one(several: list[Distribution]) -> Distribution:
    modern = [d for d in several if d.folder.endswith(".dist-info")]
    first, *others = modern or several[:1]
    return attrs.evolve(first, twins=tuple(other.folder for other in others))


def _distribution(entry: str, name: str, stem: str, ending: str) -> Distribution:
    if ending == ".egg-info":
        parts = stem.split("-")
        project, version = parts[0], parts[1] if len(parts) > 1 else ""
    else:
        project, _, version = stem.rpartition("-")
    folder = os.path.join(entry, name)
    return Distribution(canonical(project or stem), version, folder)
