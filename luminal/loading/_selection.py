"""Choose the photons among the objects of a generation, and name them."""

from __future__ import annotations

import os
from types import FunctionType
from typing import TYPE_CHECKING, Any

import attrs

from luminal._plain import (
    error_text,
    name_of_class,
    namespace_of,
    plain,
    repr_of,
)
from luminal.errors import PhotonValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from luminal.loading._generation import Generation

__all__ = ["Choice", "Selected", "select_classes", "select_target"]

_flags_of = type.__dict__["__flags__"].__get__
_IS_ABSTRACT = 1 << 20  # Py_TPFLAGS_IS_ABSTRACT, what `inspect.isabstract` looks at


@attrs.frozen
class Selected:
    """A photon of a generation, before anything of it is created.

    Attributes:
        name: Its name.
        obj: Its class, or the object that an entry point leads to.
        generation: Where it comes from.
    """

    name: str
    obj: Any
    generation: Generation


@attrs.frozen
class Choice:
    """How the photons of a unit are chosen, also of its next generations.

    Attributes:
        base: What photons of directories derive from.
        others: Names of further classes that are wanted.
        targets: For a distribution: pairs of a photon's name and its entry point.
        excluded: Names of photons of the unit that are not to be loaded.
        failed: Entry points of a distribution that the host wanted, and whose photons
            could not be loaded.
    """

    base: type
    others: tuple[str, ...] = ()
    targets: tuple[tuple[str, str], ...] = ()
    excluded: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()

    def select(self, generation: Generation) -> list[Selected]:
        """Return the photons of *generation*.

        Raises:
            PhotonValidationError: See `select_classes` and `select_target`.
        """
        if not self.targets:
            found = select_classes(generation, self.base, self.others)
            if self.excluded:
                found = [photon for photon in found if photon.name not in self.excluded]
        else:
            found = [select_target(generation, to, name) for name, to in self.targets]
        generation.photons = tuple([photon.name for photon in found])
        for photon in found:
            for pattern in _patterns_of(photon):
                generation.declare_data(pattern)
        return found


def _patterns_of(photon: Selected) -> Sequence[str]:
    """Return ``photon_files`` of a photon.

    Raises:
        PhotonValidationError: It is no list of relative patterns.
    """
    cls = photon.obj if issubclass(type(photon.obj), type) else type(photon.obj)
    patterns = getattr(cls, "photon_files", ())
    if isinstance(patterns, list | tuple) and all(map(_is_pattern, patterns)):
        return patterns
    raise PhotonValidationError(
        "has unusable photon_files",
        photon=photon.name,
        why=f"it is {patterns!r}",
        hint="name files relative to the photon's folder: photon_files = ['*.yaml']",
    )


def _is_pattern(pattern: object) -> bool:
    return isinstance(pattern, str) and bool(pattern) and not os.path.isabs(pattern)


def select_classes(
    generation: Generation, base: type, others: Sequence[str] = ()
) -> list[Selected]:
    """Return the photons of a unit, in the order in which they are defined.

    A class counts where it derives from *base* and is defined in the unit; what is
    imported from elsewhere belongs to its own file. Where there is none, the module
    itself counts if it defines hook implementations, as pluggy's plugins do.

    Args:
        generation: Its root module is looked at.
        base: What photons derive from.
        others: Names of further classes that are wanted.

    Raises:
        PhotonValidationError: There is none, one is abstract, or one of *others* is
            missing.
    """
    module = generation.modules[generation.unit]
    found = _deriving(module, generation, base)
    for name in others:
        extra = vars(module).get(name)
        if not isinstance(extra, type):
            raise PhotonValidationError(
                f"has no class {name!r}",
                file=module.__file__,
                hint="correct the name in 'other_classes'",
            )
        found[extra] = None
    chosen = [
        cls
        for cls in found
        if not (_flags_of(cls) & _IS_ABSTRACT and _is_only_a_base(cls, found))
    ]
    if not chosen and _has_implementations(module):
        name = module.__name__.rpartition(".")[2]
        return [Selected(name, module, generation)]
    if not chosen:
        raise PhotonValidationError(
            "holds no photon",
            file=module.__file__,
            why=f"no class in it derives from {base.__qualname__!r}",
            hint=f"derive a class from {base.__module__}.{base.__qualname__}",
        )
    return [Selected(_name_of(cls, module), cls, generation) for cls in chosen]


def _has_implementations(module: ModuleType) -> bool:
    """Whether a function of the module is marked as a hook implementation."""
    for value in list(vars(module).values()):
        if type(value) is FunctionType and value.__module__ == module.__name__:
            # The marker of any pluggy project NAME sets ``NAME_impl`` to a dict.
            for mark, options in vars(value).items():
                if mark.endswith("_impl") and isinstance(options, dict):
                    return True
    return False


def _deriving(
    module: ModuleType, generation: Generation, base: type
) -> dict[type, None]:
    """Return the classes of *module* that derive from *base*, each once."""
    unit = generation.unit
    found: dict[type, None] = {}
    for name, value in list(vars(module).items()):
        if name.startswith("_"):
            continue
        # Not `isinstance`: it would ask a photon's own objects for `__class__`.
        if not issubclass(type(value), type) or value is base:
            continue
        home = namespace_of(value).get("__module__", "")
        if type(home) is not str:
            home = plain(home)
        if home != unit and not home.startswith(unit + "."):
            continue
        try:
            if issubclass(value, base):
                found[value] = None
        except BaseException as error:
            raise PhotonValidationError(
                "has a class that cannot be looked at",
                file=module.__file__,
                why=error_text(error),
                hint="correct the metaclass",
            ) from error
    return found


def _is_only_a_base(cls: type, found: dict[type, None]) -> bool:
    """Whether an abstract class is a base of another one; else it raises."""
    if any(other is not cls and issubclass(other, cls) for other in found):
        return True
    missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
    raise PhotonValidationError(
        "is abstract",
        photon=name_of_class(cls),
        why=f"it does not implement {missing}",
        hint="implement what is missing, or derive the photon from it",
    )


def _name_of(cls: type, module: ModuleType) -> str:
    """Return ``photon_name``, or what stands for it where a class sets none."""
    name, own = namespace_of(cls).get("photon_name"), name_of_class(cls)
    if name is None:
        # A class called just "Photon" is named after its file.
        name = own if own != "Photon" else module.__name__.rpartition(".")[2]
    if type(name) is not str or not name.strip() or not name.isprintable():
        raise PhotonValidationError(
            f"has an unusable photon_name {repr_of(name)}",
            photon=own,
            file=module.__file__,
            hint="set photon_name to a non-empty printable string, a plain str",
        )
    return name


def select_target(generation: Generation, target: str, name: str) -> Selected:
    """Return the object that an entry point names.

    Args:
        generation: The distribution's.
        target: ``package.module:attribute.path``, or a module alone.
        name: Name that the photon goes by.

    Raises:
        PhotonValidationError: There is no such object.
    """
    module_name, _, path = target.partition(":")
    obj: Any = generation.require(module_name.strip())
    for part in filter(None, path.strip().split(".")):
        try:
            obj = getattr(obj, part)
        except AttributeError as error:
            raise PhotonValidationError(
                f"its entry point {target!r} leads to nothing",
                photon=name,
                why=error_text(error),
                hint="correct the entry point in the distribution's pyproject.toml",
            ) from error
    return Selected(name, obj, generation)
