"""What the code of a generation that serves no more may still import.

Calls that began on it go on. What they import for the first time is executed for them
alone, from what was read when the generation was staged. It is never the text of the
generation that serves.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from luminal._plain import own_values_of
from luminal.loading._generation import Generation
from luminal.loading._importer import PhotonLoader
from luminal.loading._lines import show_late_lines
from luminal.loading._proxies import ModuleProxy
from luminal.loading._source import read_source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType, ModuleType

    from luminal.loading._origin import Origin
    from luminal.loading._roots import Roots
    from luminal.loading._source import Pinned, SourceFile
    from luminal.loading._world import World
    from luminal.trust import Judge

__all__ = ["Superseded"]


class Superseded:
    """The host of a generation that served until a certain commit.

    Args:
        world: Where it served.
        generation: The generation.
        commit: Number of the commit that ended it.
        serving: What served until then.

    Attributes:
        linked: Unit → the generation of it that this one imports from. Those that
            served until then and that it had imported or named, and those executed for
            it since.
    """

    def __init__(
        self,
        world: World,
        generation: Generation,
        commit: int,
        serving: Mapping[str, Generation],
    ) -> None:
        self.world = world
        self.generation = generation
        self.commit = commit
        self.linked: dict[str, Generation] = {generation.unit: generation}
        # Copies: a late import in another thread may add to them.
        for unit in (*tuple(generation.needs), *tuple(generation.late_units)):
            if unit in serving:
                self.linked.setdefault(unit, serving[unit])
        self._lock: threading.Lock = threading.Lock()
        # Full name of a module that executes → what serves under it.
        self._serving: dict[str, ModuleType | None] = {}

    @property
    def is_ending(self) -> bool:
        """Whether the generation is not retired yet: calls of it may go on."""
        return self.world.ending.get(self.generation.unit) is self.generation

    @property
    def roots(self) -> Roots:
        """The directories whose modules are the photons' own."""
        return self.world.roots

    @property
    def judge(self) -> Judge | None:
        """What decides what may run; None where no lock is in force."""
        return self.world.judge

    def provide(
        self,
        unit: str,
        origin: Origin,
        user: Generation | None = None,  # noqa: ARG002 - the protocol's
    ) -> Generation:
        """Return the generation of *unit* that belongs to this one."""
        with self._lock:
            found = self.find(unit)
            if found is None:
                serving = self.world.generations.get(unit)
                if serving is not None and serving.commit < self.commit:
                    return serving
                # For this one alone: the world may serve another text.
                found = Generation(unit, origin, self.generation.number, self)
                files = self.generation.late_units.get(unit)
                judge = self.judge
                if judge is not None:
                    from luminal.loading._judging import judged

                    at = None if files is not None else origin.find(unit)
                    files, found.verdict = judged(
                        judge, unit, origin, at, files, self.read, has_run=True
                    )
                if files is not None:
                    found.take(files)
                self.linked[unit] = found
        return found

    def find(self, unit: str) -> Generation | None:
        """Return the generation of *unit* that this one imports from.

        Also where it does so by way of others: it may have objects of their modules,
        which `pickle` looks up by name.
        """
        known = self.linked.copy()
        queue = list(known.values())
        while queue and unit not in known:
            for other, each in self._links(queue.pop()).items():
                if other not in known:
                    known[other] = each
                    queue.append(each)
        return known.get(unit)

    def _links(self, generation: Generation) -> dict[str, Generation]:
        if isinstance(generation.host, Superseded):
            return generation.host.linked.copy()
        serving = self.world.generations
        return {u: serving[u] for u in tuple(generation.needs) if u in serving}

    def expose(
        self,
        fullname: str,
        module: ModuleType,  # noqa: ARG002 - protocol
        owner: Generation,  # noqa: ARG002 - protocol
    ) -> None:
        """Note what serves: `sys.modules` is left to that."""
        self._serving[fullname] = sys.modules.get(fullname)

    def executed(
        self,
        fullname: str,
        module: ModuleType,
        owner: Generation,
    ) -> ModuleType:
        """Return what *module* has put into its place, where what serves is again."""
        serving = self._serving.pop(fullname)
        present = sys.modules.get(fullname)
        loader = own_values_of(present).get("__loader__")
        if (
            present is None
            or present is serving
            or type(present) is ModuleProxy  # others have put these there
            or (type(loader) is PhotonLoader and loader.generation is not owner)
        ):
            return module
        if serving is None:
            del sys.modules[fullname]
        else:
            sys.modules[fullname] = serving
        return present

    def executing(self, generation: Generation, source: SourceFile) -> None:
        """Let tracebacks show no other text of that path than *source*."""
        show_late_lines(generation, source, is_current=False)

    def withdraw(self, fullname: str, module: ModuleType) -> None:
        """Put what serves back, if the module's code has put something there."""
        self.executed(fullname, module, self.generation)

    def imports_changed(self, generation: Generation) -> None:
        """Do nothing: nobody reloads what serves no more."""

    def data_read(self, generation: Generation, path: str) -> None:
        """Do nothing, likewise."""

    def read_ahead(self, unit: str, origin: Origin) -> Pinned | None:  # noqa: ARG002
        """Return None: it is too late to read ahead."""
        return None

    def compile(self, source: SourceFile) -> CodeType:
        """Compile *source*, or return what it compiled to before."""
        return self.world.compile(source, is_new=True)

    def read(self, path: str) -> SourceFile:
        """Return the bytes of a file that has not changed since the staging.

        Raises:
            ImportError: It may have changed. Names photon, generation and file.
            PhotonUnreadableError: It cannot be read.
        """
        source = read_source(path)
        # Looked at after it was read, so that it has not changed in between either.
        if not self.is_unchanged(path):
            raise self.refusal(path)
        return source

    def is_unchanged(self, path: str) -> bool:
        """Whether the file at *path* is certainly what it was at the staging."""
        directory = self.generation.seen
        return directory is not None and directory.is_unchanged(path)

    def refusal(self, path: str) -> ImportError:
        """Return the error that says why the file at *path* is not imported."""
        old = self.generation
        names = ", ".join(map(repr, old.photons)) or repr(old.unit.rpartition(".")[2])
        return ImportError(
            f"{path} is not read for photon {names}, generation {old.number}, "
            f"which serves no more: the file has changed since, or may have, and was "
            f"not read or kept when that generation was loaded",
            path=path,
        )
