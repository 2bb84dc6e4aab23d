"""The Sphinx extension: pages about photons, hooks and errors.

``extensions = ["luminal.sphinx"]`` adds the directives ``luminal-photons``,
``luminal-hooks`` and ``luminal-errors``. In come directories, a class of
specifications, the catalogue; out come descriptions that other pages can refer to. No
photon is ever imported: only the host's own specifications are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

__all__ = ["setup"]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives; Sphinx calls this.

    Args:
        app: The build.
    """
    from luminal import __version__
    from luminal.sphinx.directives import (
        ErrorsDirective,
        HooksDirective,
        PhotonsDirective,
    )

    for kind in ("photon", "error"):
        app.add_object_type(f"luminal-{kind}", f"luminal-{kind}", objname=kind)
    app.add_directive("luminal-photons", PhotonsDirective)
    app.add_directive("luminal-hooks", HooksDirective)
    app.add_directive("luminal-errors", ErrorsDirective)
    return {
        "version": __version__,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
