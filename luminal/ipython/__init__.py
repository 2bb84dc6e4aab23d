"""The IPython extension: ``%photon``, and how photons look in a notebook.

``%load_ext luminal.ipython`` adds both. In come magic lines, out come the answers of a
Loader that lives beside the shell, on an event loop of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add ``%photon`` and the pictures to *shell*; ``%load_ext`` calls this.

    Raises:
        MissingExtraError: This IPython is too old, or not all there.
    """
    from luminal.ipython.magic import PhotonMagics
    from luminal.ipython.pictures import hang_up

    magics = PhotonMagics(shell)
    shell.register_magics(magics)
    shell.events.register("post_run_cell", magics.tell_news)
    hang_up(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Stop all photons and take everything back; ``%unload_ext`` calls this."""
    from luminal.ipython.magic import PhotonMagics
    from luminal.ipython.pictures import take_down

    magics = shell.magics_manager.registry.pop(PhotonMagics.__name__, None)
    if isinstance(magics, PhotonMagics):
        shell.events.unregister("post_run_cell", magics.tell_news)
        magics.close()
    shell.magics_manager.magics["line"].pop("photon", None)
    take_down(shell)
