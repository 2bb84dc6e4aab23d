"""Where the file of an installed module is, found without importing its package.

Looked at in turn: the folder that the distribution is installed in; what its
editable installation points to (``.pth`` lines, setuptools' finder, the project's
address in ``direct_url.json``); the other entries of the path.
"""

from __future__ import annotations

import ast
import json
import os
from typing import TYPE_CHECKING

from luminal.discovery.parsing import parse
from luminal.errors import LuminalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.discovery.distributions import Distribution
    from luminal.discovery.witness import Witness

__all__ = ["locate"]


def locate(
    witness: Witness, distribution: Distribution, module: str, path: tuple[str, ...]
) -> tuple[str, str] | None:
    """Return (file, folder that absolute imports start from) of *module*, or None.

    Args:
        witness: Where files are looked at.
        distribution: What brings the module.
        module: Its dotted name.
        path: Entries of ``sys.path``.
    """
    parts = module.split(".")
    # Where one folder has it all, the first that has it wins, as in an import. What
    # is written down about editable installations is read only if it must be.
    for places in (_site, _pth_folders, _project):
        for root in places(witness, distribution):
            if file := _file(witness, os.path.join(root, *parts)):
                return file, root
    for top, target in _mapped(witness, distribution.site):
        known = top.split(".")
        if parts[: len(known)] == known:
            stem = os.path.join(target, *parts[len(known) :])
            if len(known) == len(parts):
                stem = target.removesuffix(".py")
            if file := _file(witness, stem):
                return file, os.path.dirname(target)
    for root in path:
        if file := _file(witness, os.path.join(root, *parts)):
            return file, root
    return None


def _file(witness: Witness, stem: str) -> str | None:
    for file in (os.path.join(stem, "__init__.py"), stem + ".py"):
        if witness.exists(file):
            return file
    return None


def _site(witness: Witness, distribution: Distribution) -> Iterator[str]:
    del witness  # the one place that needs no look
    yield distribution.site


def _pth_folders(witness: Witness, distribution: Distribution) -> Iterator[str]:
    site = distribution.site
    for path in _beside(witness, site, ".pth"):
        try:
            text = witness.read(path).decode("utf-8", "surrogateescape")
        except LuminalError:
            continue
        for line in map(str.strip, text.splitlines()):
            # Lines that begin with "import" would be executed by `site`; not here.
            if line and line[0] != "#" and not line.startswith(("import ", "import\t")):
                yield os.path.normpath(os.path.join(site, line))


def _project(witness: Witness, distribution: Distribution) -> Iterator[str]:
    path = os.path.join(distribution.folder, "direct_url.json")
    if not witness.is_file(path):
        return
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = json.loads(witness.read(path))
        url = urlsplit(origin["url"])
        is_editable = origin["dir_info"]["editable"]
    except (LuminalError, ValueError, LookupError, TypeError, RecursionError):
        return
    if url.scheme == "file" and is_editable is True:
        folder = url2pathname(url.path)
        yield folder
        yield os.path.join(folder, "src")


def _mapped(witness: Witness, site: str) -> Iterator[tuple[str, str]]:
    """Yield (module, path without ending) from the finders that setuptools writes."""
    for pth in _beside(witness, site, ".pth"):
        name = os.path.basename(pth).removesuffix(".pth")
        if not name.startswith("__editable__."):
            continue
        # `__editable__.my_dist-1.0.pth` loads `__editable___my_dist_1_0_finder.py`.
        safe = "".join(c if c.isalnum() else "_" for c in name)
        finder = os.path.join(site, f"{safe}_finder.py")
        if not witness.is_file(finder):
            continue
        try:
            tree = parse(witness.read(finder), finder)
        except (LuminalError, RecursionError, MemoryError):
            continue
        for node in tree.body:
            yield from _mapping(node)


def _mapping(node: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.AnnAssign):
        targets, value = [node.target], node.value
    elif isinstance(node, ast.Assign):
        targets, value = node.targets, node.value  # type: ignore[assignment]
    else:
        return
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    if "MAPPING" not in names or value is None:
        return
    try:
        mapping = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return
    if isinstance(mapping, dict):
        for module, target in sorted(mapping.items(), key=repr, reverse=True):
            if isinstance(module, str) and isinstance(target, str):
                yield module, target


def _beside(witness: Witness, site: str, ending: str) -> Iterator[str]:
    listing = witness.packages(site)
    if not isinstance(listing, int):
        for name in map(str, listing[2:]):
            if name.endswith(ending):
                yield os.path.join(site, name)
