"""What a photon's module shows to the import system: ``__loader__`` and resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from luminal.loading.source import read_source

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from luminal.loading.origin import Origin
    from luminal.loading.source import SourceFile

__all__ = ["Modules", "PhotonLoader"]


class Modules(Protocol):
    """What the import system asks of a generation, see `Generation` for each."""

    unit: str
    origin: Origin
    number: int
    borrowed: bool
    external: set[str]
    sources: dict[str, SourceFile]

    def require(self, fullname: str) -> ModuleType:
        """Return the module *fullname*, executed."""

    def need(self, unit: str) -> None:
        """Note that this unit imports from *unit*."""

    def view(self, fullname: str) -> ModuleType:
        """Return a package that several owners share, with our modules in it."""


class PhotonLoader:
    """An importlib loader (PEP 451, PEP 302) that speaks for one generation.

    It answers with the bytes that were compiled, not with what the file holds by
    now, so that `inspect.getsource` and tracebacks show the code that runs.

    Args:
        name: Full name of the module.
        path: Its file.
        generation: The generation that it belongs to.
    """

    __slots__ = ("__weakref__", "generation", "name", "path")

    def __init__(self, name: str, path: str, generation: Modules) -> None:
        self.name = name
        self.path = path
        self.generation = generation

    def __repr__(self) -> str:
        return f"<PhotonLoader {self.name} #{self.generation.number}>"

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the generation's module *spec.name*, executing it if need be."""
        return self.generation.require(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `create_module` returns modules that have been executed."""

    def is_package(self, fullname: str) -> bool:
        """Whether *fullname* is a package."""
        return hasattr(self.generation.require(fullname), "__path__")

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - PEP 302
        """Return the path of the module's file."""
        return self.path

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - PEP 302
        """Return the text that was compiled."""
        source = self.generation.sources.get(self.path) or read_source(self.path)
        return source.text

    def get_data(self, path: str) -> bytes:
        """Return the bytes of a file beside the module; `pkgutil.get_data` asks."""
        with open(path, "rb") as file:
            return file.read()

    def get_resource_reader(self, fullname: str) -> Any:
        """Return a reader for `importlib.resources`, or None for a plain module."""
        from importlib.readers import FileReader

        return FileReader(cast("Any", self)) if self.is_package(fullname) else None
