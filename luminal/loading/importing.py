"""The import statement as photons see it, and the finder for the rest of the world.

CPython takes ``__import__`` from the builtins of the code that runs an import
statement. The modules of photons get builtins of their own, so that a statement,
also a late one inside a function, is answered by the generation that it is in.
`importlib.import_module`, pickle and the host go through a finder on
`sys.meta_path`, which answers with the committed generation.
"""

from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING, Any

from luminal.loading.loader import PhotonLoader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from luminal.loading.loader import Modules

__all__ = ["PRIVATE_BUILTINS", "refresh_builtins"]

_real_import = builtins.__import__
# Luminal among them: a photon that derives from a `luminal.py` beside it is none.
_NEVER_OURS = sys.stdlib_module_names | {"luminal"}


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 - the protocol's names
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """Stand in for ``builtins.__import__`` in the modules of photons."""
    loader = globals.get("__loader__") if globals is not None else None
    if type(loader) is not PhotonLoader or globals is None:
        return _real_import(name, globals, locals, fromlist or (), level)
    generation = loader.generation
    top = name.partition(".")[0]
    if level:
        start = _absolute(top, globals, level)
        if not generation.origin.owns(start):
            return _real_import(name, globals, locals, fromlist or (), level)
    elif generation.origin.owns(name):
        start = top
    else:
        found = _neighbour(top, generation)
        if found is None:
            return _real_import(name, globals, locals, fromlist or (), 0)
        start = found
    module = generation.require(start + name[len(top) :])
    if fromlist:
        if hasattr(module, "__path__"):
            _import_submodules(generation, module, fromlist)
        return module
    if generation.origin.owns(start):
        return generation.require(start)
    return generation.view(start)


def _neighbour(top: str, generation: Modules) -> str | None:
    """Return the full name for the bare name *top*; None means: not ours."""
    if top in generation.external:
        return None
    start: str | None = None
    if top not in _NEVER_OURS:
        # Names of the standard library stay what everybody expects, whatever
        # lies beside the file.
        start = generation.origin.neighbour(top, generation.unit)
    if start is None:
        generation.external.add(top)
    return start


def _absolute(name: str, globals: Mapping[str, Any], level: int) -> str:  # noqa: A002
    """Resolve a relative import, with CPython's errors."""
    package: str = globals.get("__package__") or ""
    if not package:
        raise ImportError("attempted relative import with no known parent package")
    if package.count(".") < level - 1:
        raise ImportError("attempted relative import beyond top-level package")
    base = package.rsplit(".", level - 1)[0] if level > 1 else package
    return f"{base}.{name}" if name else base


def _import_submodules(
    generation: Modules, module: ModuleType, names: Sequence[str]
) -> None:
    """Import the submodules among *names*, as ``from package import name`` does."""
    for name in names:
        if name == "*":
            listed = [n for n in getattr(module, "__all__", ()) if n != "*"]
            _import_submodules(generation, module, listed)
        elif not hasattr(module, name):
            fullname = f"{module.__name__}.{name}"
            try:
                found = generation.require(fullname)
            except ModuleNotFoundError as error:
                if error.name != fullname:
                    raise
            else:
                setattr(module, name, found)


PRIVATE_BUILTINS: dict[str, Any] = {**vars(builtins), "__import__": _import}
"""The builtins of all photons' modules."""


def refresh_builtins() -> None:
    """Take over what the host has added to the builtins (`gettext.install`, say)."""
    if len(PRIVATE_BUILTINS) != len(vars(builtins)):
        PRIVATE_BUILTINS.update(vars(builtins))
        PRIVATE_BUILTINS["__import__"] = _import
