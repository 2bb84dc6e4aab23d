"""Writes distributions into a directory as pip does."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path

PHOTON = """\
from luminal import IPhoton, hookimpl
class {klass}(IPhoton):
    photon_name = {name!r}
    @hookimpl
    def who(self):
        return {name!r}, {version!r}
"""


def photon_text(name: str, version: str) -> str:
    """Return the text of a photon that answers with its name and version."""
    return PHOTON.format(klass=name.title(), name=name, version=version)


def record_row(path: str, data: bytes) -> str:
    """Return the row of RECORD for a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"{path},sha256={digest.decode().rstrip('=')},{len(data)}\n"


def put(
    site: Path,
    name: str,
    version: str,
    *,
    files: dict[str, str] | None = None,
    entries: str | None = None,
    folder: str | None = None,
    metadata: str = "",
    group: str = "luminal.photons",
    keep_older: bool = False,
) -> Path:
    """Write a distribution, its RECORD last; return its ``.dist-info`` folder.

    Args:
        site: Directory on the path.
        name: Of the distribution, and of its photon.
        version: Its version.
        files: Path → text; by default a package of one photon.
        entries: Lines of the group, by default one for that photon.
        folder: Name of the folder, by default of name and version.
        metadata: Further lines of METADATA.
        group: Entry-point group.
        keep_older: Whether the folders of other versions stay, as after
            ``pip install --target --upgrade``.
    """
    if files is None:
        files = {f"{name}/__init__.py": photon_text(name, version)}
    if entries is None:
        entries = f"{name} = {name}:{name.title()}"
    if not keep_older:
        for older in site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(older)
    info = site / (folder or f"{name}-{version}.dist-info")
    info.mkdir(parents=True)
    files = {
        **files,
        f"{info.name}/METADATA": "Metadata-Version: 2.1\n"
        f"Name: {name}\nVersion: {version}\n{metadata}\n",
        f"{info.name}/entry_points.txt": f"[{group}]\n{entries}\n",
    }
    rows = ""
    for path, text in files.items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        rows += record_row(path, text.encode())
    new = info / "RECORD.new"
    new.write_text(f"{rows}{info.name}/RECORD,,\n")
    os.replace(new, info / "RECORD")
    return info


def take_away(site: Path, name: str) -> None:
    """Remove a distribution and its package."""
    for folder in site.glob(f"{name}*"):
        shutil.rmtree(folder)
