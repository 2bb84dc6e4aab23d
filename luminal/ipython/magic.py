"""``%photon``: the verbs, and what happened while nobody asked.

In comes a line, out comes a table, or one clear error without a traceback.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from luminal.errors import LuminalError, MissingExtraError
from luminal.ipython.pictures import Table, of_candidates, of_handlers, of_report
from luminal.ipython.session import Session

try:
    from IPython.core.error import UsageError
    from IPython.core.magic import Magics, line_magic, magics_class
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "'%photon' needs 'IPython'",
        why=f"{error.name!r} is not installed",
        hint="pip install 'luminal-photons[ipython]'",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["PhotonMagics"]

_USAGE = """%photon list [PATH ...]    what is loaded; with paths, what could be
%photon load PATH ...      load and start files and directories
%photon reload [NAME ...]  swap in what their files hold now; all by default
%photon unload [NAME ...]  stop and forget; all by default
%photon watch DIRECTORY    load what is there, and reload what is saved
%photon watch --stop       end that, and unload what it has loaded"""


@magics_class
class PhotonMagics(Magics):
    """The line magic ``%photon``.

    The Loader behind it is ``photon_loader`` in the user's names, for hooks and all
    that has no verb.

    Args:
        shell: The shell that it serves.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._session = Session()
        shell.user_ns["photon_loader"] = self._session.loader

    @line_magic
    def photon(self, line: str) -> Table | None:
        """Load, list, reload and watch photons; ``%photon`` alone shows the verbs.

        Args:
            line: A verb, and what it is about.

        Raises:
            UsageError: It could not be done, and why; IPython prints that alone.
        """
        verbs: dict[str, Callable[[list[str]], Table | None]] = {
            "list": self._list,
            "load": self._load,
            "reload": self._reload,
            "unload": self._unload,
            "watch": self._watch,
        }
        try:
            verb, *words = shlex.split(line) or ["help"]
        except ValueError as error:
            raise UsageError(f"cannot read {line!r}: {error}") from None
        if verb not in verbs:
            if verb in ("help", "--help", "-h"):
                print(_USAGE)  # noqa: T201 - the shell's output is a print
                return None
            raise UsageError(f"no verb {verb!r}; there are:\n{_USAGE}")
        try:
            return verbs[verb](words)
        except LuminalError as error:
            raise UsageError(str(error)) from None

    def _list(self, paths: list[str]) -> Table:
        if paths:
            return of_candidates(self._session.find(paths))
        return of_handlers(self._session.loader.photons.values())

    def _load(self, paths: list[str]) -> Table:
        if not paths:
            raise UsageError("name a file or a directory: %photon load PATH ...")
        return of_report(self._session.load(paths))

    def _reload(self, names: list[str]) -> Table:
        return of_handlers(self._session.reload(names))

    def _unload(self, names: list[str]) -> Table:
        self._session.unload(names)
        return of_handlers(self._session.loader.photons.values())

    def _watch(self, words: list[str]) -> Table:
        if len(words) != 1:
            raise UsageError("name one directory: %photon watch DIRECTORY")
        if words == ["--stop"]:
            self._session.stop_watching()
            return of_handlers(self._session.loader.photons.values())
        return of_report(self._session.watch(words[0]))

    def tell_news(self, *_: Any) -> None:
        """Print what the watch has done since the last cell."""
        for event in self._session.news():
            print(event)  # noqa: T201 - as above

    def close(self) -> None:
        """Stop everything."""
        self._session.close()
        names = self.shell.user_ns if self.shell is not None else {}
        if names.get("photon_loader") is self._session.loader:
            del names["photon_loader"]
