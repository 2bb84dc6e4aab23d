"""The Sphinx extension: directives that describe photons, hooks and errors.

``extensions = ["luminal.sphinx"]`` adds ``luminal-photons``, ``luminal-hooks`` and
``luminal-errors``, and roles that refer to what they describe. Photons are not
imported; classes of hook specifications are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

__all__ = ["setup"]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives and roles; Sphinx calls this.

    Args:
        app: The Sphinx application.

    Returns:
        The version of the extension, and that it may run in parallel.
    """
    from luminal import __version__
    from luminal.sphinx._directives import (
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
