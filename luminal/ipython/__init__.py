"""The IPython extension: the line magic ``%photon``, and photons as tables.

``%load_ext luminal.ipython`` loads it. The magic has a Loader of its own, which runs on
an event loop of its own, so photons keep running between the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add ``%photon`` and the tables to *shell*; ``%load_ext`` calls this.

    Args:
        shell: The shell that is extended.

    Raises:
        MissingExtraError: IPython is too old, or incomplete.
    """
    from luminal.ipython._magic import PhotonMagics, add_formatters

    magics = PhotonMagics(shell)
    shell.register_magics(magics)
    shell.events.register("post_run_cell", magics.print_events)
    add_formatters(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Unload all photons and undo `load_ipython_extension`; ``%unload_ext`` calls this.

    Args:
        shell: The shell that was extended.
    """
    from luminal.ipython._magic import PhotonMagics, remove_formatters

    magics = shell.magics_manager.registry.pop(PhotonMagics.__name__, None)
    if isinstance(magics, PhotonMagics):
        shell.events.unregister("post_run_cell", magics.print_events)
        magics.close()
    shell.magics_manager.magics["line"].pop("photon", None)
    remove_formatters(shell)
