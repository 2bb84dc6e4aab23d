"""What `sys.modules` holds under the names of a generation that is being staged.

Code that is part of the stage finds the new modules there, and all other code finds
what was there before. So a name that serves gets a `ModuleProxy`, and a name that
nothing serves under gets a `StagedModule`. Code is part of a stage where its context
says so, or where a function of one of the staged modules is on its stack: a thread that
a photon has started has a context of its own.

`Attempt` puts both there, and takes them away when the stage is over.
"""

from __future__ import annotations

import sys
import threading
import time
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from luminal._plain import own_values_of
from luminal.loading._generation import Generation, namespace
from luminal.loading._importer import (
    PhotonFinder,
    PhotonLoader,
    importing_generation,
    is_superseded,
    staging_context,
    taken,
)

if TYPE_CHECKING:
    from luminal.loading._staging import Attempt, Stage

__all__ = [
    "ModuleProxy",
    "StagedModule",
    "drop",
    "end_stand_ins",
    "hide",
    "importable",
    "is_inside",
    "is_ours",
    "is_stand_in",
    "made_by",
    "notify_waiting",
    "plain",
    "publish",
    "put",
    "resolve",
    "serve",
    "serve_below",
    "settle",
    "shared_namespace",
    "stand_in",
    "stands_for",
    "wait_until_visible",
]

_own = ModuleType.__getattribute__
# Asked of every module by code that looks at all of `sys.modules`: `inspect.getmodule`,
# `warnings`, `pickle`. None of them wants a module executed.
_PASSIVE = frozenset(
    {"__class__", "__doc__", "__file__", "__loader__", "__name__", "__package__"}
    | {"__version__", "__warningregistry__"}
)


def put(fullname: str, module: ModuleType) -> None:
    """Put *module* into `sys.modules`, and into the package above where all share that.

    What walks along attributes, as `pydoc.locate` does, finds there what an import
    does. Packages of photons have their own modules.

    Args:
        fullname: Its name there.
        module: A module, or what stands for it.
    """
    sys.modules[fullname] = module
    names, leaf = _shared_names(fullname)
    if leaf in names:
        names[leaf] = module


def drop(fullname: str) -> None:
    """Take a module away from both."""
    sys.modules.pop(fullname, None)
    names, leaf = _shared_names(fullname)
    names.pop(leaf, None)


def shared_namespace(fullname: str, directory: str) -> ModuleType:
    """Return *directory* as a package without code that all share.

    What is loaded for the first time is an attribute of it for its own stage alone.
    """
    module = namespace(fullname, directory)

    def __getattr__(name: str) -> Any:  # noqa: N807 - PEP 562
        attempt = taken.get(f"{fullname}.{name}")
        if attempt is not None and attempt.shows():
            return sys.modules[f"{fullname}.{name}"]
        raise AttributeError(f"module {fullname!r} has no attribute {name!r}")

    vars(module)["__getattr__"] = __getattr__
    return module


def _shared_names(fullname: str) -> tuple[dict[str, Any], str]:
    """Return the names of the package above, if all share it, and the last part."""
    above, _, leaf = fullname.rpartition(".")
    shared = sys.modules.get(above)
    if type(shared) is ModuleType:
        names = shared.__dict__
        if type(names.get("__loader__")) is not PhotonLoader:
            return names, leaf
    return {}, leaf


def is_inside(stage: Stage) -> bool:
    """Whether the calling code is part of *stage*."""
    attempt = staging_context.get()
    if attempt is not None and not attempt.stage.is_over:
        return attempt.stage is stage
    generation = importing_generation()
    if generation is None:
        return False
    # In the middle of the commit it serves already, and proxies do not know that yet.
    is_ready = stage.ready.get(generation.unit) is generation
    return is_ready or getattr(generation.host, "stage", None) is stage


class ModuleProxy(ModuleType):
    """One entry of `sys.modules` that is two modules.

    It is the new generation's module for code that is part of the stage, and the
    serving one for all other code. The new one is executed when it is first asked for.
    When the stage is over, the proxy is one of the two for everybody and for ever, and
    forgets the other.

    Args:
        name: Full name of the module.
        unit: Unit that it belongs to.
        serving: What was in `sys.modules`; None for a name that leads nowhere by now.
        attempt: The `Attempt` that stages the new generation; None once it serves.
        has_earlier: Calls of a generation before the serving one may be under way.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        serving: ModuleType | None,
        attempt: Attempt | None,
        *,
        has_earlier: bool = False,
    ) -> None:
        super().__init__(name)
        own = _own(self, "__dict__")
        own["_module"], own["_unit"], own["_attempt"] = serving, unit, attempt
        own["_earlier"] = has_earlier

    def __getattribute__(self, name: str) -> Any:
        if name in _PASSIVE:
            own = _own(self, "__dict__")
            attempt = _attempt_of_caller(own)
            if attempt and not attempt.has(own["__name__"], own["_unit"]):
                return _own(self, name)
            if own["_earlier"]:
                known = _of_caller(own, is_asked=False) or own["_module"]
                if type(known) is Generation:
                    known = known.modules.get(own["__name__"])
                if known is None:
                    return _own(self, name)
                return getattr(known, name)
        # Every import asks for `__spec__`, in Python and in C. Whatever is raised here
        # is what the import raises: "No module named", where the new generation has no
        # such module any more.
        is_import = name == "__spec__"
        try:
            module = resolve(self, is_import=is_import)
        except ModuleNotFoundError as error:
            fullname = _own(self, "__name__")
            if is_import or error.name != fullname:
                raise
            raise AttributeError(
                f"module {fullname!r} is not part of this generation", name=name
            ) from error
        return getattr(module, name)

    def __setattr__(self, name: str, value: object) -> None:
        # `importlib` sets a submodule on its package as it finds it in `sys.modules`.
        setattr(resolve(self), name, resolve(value))

    def __delattr__(self, name: str) -> None:
        delattr(resolve(self), name)

    def __dir__(self) -> list[str]:
        return dir(resolve(self))


def _attempt_of_caller(own: dict[str, Any]) -> Attempt | None:
    """Return the attempt of a proxy, if the caller is part of its stage."""
    attempt: Attempt | None = own["_attempt"]
    return attempt if attempt is not None and is_inside(attempt.stage) else None


def resolve(module: Any, *, is_import: bool = False) -> Any:
    """Return what a proxy is for the caller; other objects as they are.

    Args:
        module: Any object.
        is_import: Whether it is being imported: who imports it then needs its unit.
    """
    if type(module) is not ModuleProxy:
        return module
    own = _own(module, "__dict__")
    attempt = _attempt_of_caller(own)
    if attempt is not None:
        return attempt.supply(own["__name__"], own["_unit"], is_import=is_import)
    found = own["_module"]
    if own["_earlier"]:
        earlier = _of_caller(own)
        if earlier is not None:
            return earlier
    if found is None:
        return _import_anew(own["__name__"], is_import=is_import)
    return found.require(own["__name__"]) if type(found) is Generation else found


def _import_anew(fullname: str, *, is_import: bool) -> ModuleType:
    """Return what serves under a name that so far only old code has imported.

    Raises:
        ModuleNotFoundError: Nothing does, or no import asks.
    """
    spec = PhotonFinder.find_spec(fullname) if is_import else None
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
    return cast("ModuleType", spec.loader.create_module(spec))


def _of_caller(own: dict[str, Any], *, is_asked: bool = True) -> ModuleType | None:
    """Return the module of the earlier generation whose code is calling, if any is.

    Args:
        own: Attributes of the proxy.
        is_asked: Execute it where that has not been done.

    Raises:
        ImportError: That generation has no such module.
    """
    caller = importing_generation()
    if caller is None or not is_superseded(caller):
        return None
    host: Any = caller.host
    generation: Generation | None = host.find(own["_unit"])
    if generation is None:
        return None
    fullname = own["__name__"]
    if is_asked:
        return generation.require(fullname)
    found: ModuleType | None = generation.modules.get(fullname)
    return found


def stand_in(proxy: ModuleProxy, old: Generation) -> None:
    """Leave a settled proxy in `sys.modules` until *old* is retired.

    Calls of earlier generations that are under way find their own module there.
    """
    own = _own(proxy, "__dict__")
    own["_earlier"] = True
    put(own["__name__"], proxy)
    old.stand_ins.append(proxy)


def importable(generation: Generation, fullname: str) -> ModuleType:
    """Return what an import of a module of *generation* may put into `sys.modules`.

    That is the module. While calls of old code may go on, it is what stands for a
    module of each.

    Args:
        generation: Whose module it is. It is executed if need be.
        fullname: Its full name.

    Raises:
        ImportError: It is of old code that was retired: nothing would take it away.
        BaseException: Whatever the module's code raised.
    """
    module = generation.require(fullname)
    present = sys.modules.get(fullname)
    if is_stand_in(present):
        return cast("ModuleProxy", present)
    if not is_superseded(generation):
        return module
    host: Any = generation.host
    if not host.is_ending:
        raise ImportError(
            f"{fullname!r} is of a generation that was retired: it is found by import "
            f"statements in its own code only",
            name=fullname,
        )
    proxy = ModuleProxy(fullname, generation.unit, plain(present), None)
    stand_in(proxy, host.generation)
    return proxy


def is_stand_in(module: Any) -> bool:
    """Whether *module* is a proxy that waits for an old generation to be retired."""
    return type(module) is ModuleProxy and _own(module, "__dict__")["_earlier"]


def is_ours(module: object) -> bool:
    """Whether *module* is a photon's, or a package without code."""
    kind = type(module)
    if kind is ModuleProxy or kind is StagedModule:
        return True
    names = own_values_of(module)
    if type(names.get("__loader__")) is PhotonLoader:
        return True
    spec = names.get("__spec__")
    return spec is not None and getattr(spec, "loader", module) is None


def serve(proxy: Any, module: ModuleType) -> None:
    """Let *proxy*, which stands for a module of old calls, be *module* for others."""
    own = _own(proxy, "__dict__")
    own["_module"] = module
    put(own["__name__"], proxy)


def serve_below(old: Generation, fullname: str, module: ModuleType) -> None:
    """Let what stands for a module of calls of *old* be *module* for others."""
    for proxy in old.stand_ins:
        if _own(proxy, "__dict__")["__name__"] == fullname:
            serve(proxy, module)


def plain(module: Any) -> Any:
    """Return the module that a proxy has become; other objects as they are."""
    if type(module) is not ModuleProxy:
        return module
    own = _own(module, "__dict__")
    return own["_module"] if own["_attempt"] is None else module


def made_by(generation: Generation, fullname: str) -> Any:
    """Return what code of *generation* has put into `sys.modules`; None for nothing.

    That is something of its own under any name, or anything below its own name.

    Args:
        generation: One that is staged, or serves.
        fullname: Under which name.
    """
    made: Any = sys.modules.get(fullname)
    if type(made) is ModuleProxy:
        own = _own(made, "__dict__")
        if own["_unit"] != generation.unit:
            return None
        if own["__name__"] == fullname:
            return _made_before(own, generation)
        return generation.modules.get(own["__name__"])
    loader = own_values_of(made).get("__loader__")
    if type(loader) is PhotonLoader:
        return made if loader.generation is generation else None
    is_inside = fullname.startswith(f"{generation.unit}.")
    return made if is_inside and not is_ours(made) else None


def _made_before(own: dict[str, Any], generation: Generation) -> Any:
    """Return what the generation before has put there, if it has no file.

    It goes on where the next one does not make it anew, as in Python: a text may make
    it only where there is none.
    """
    attempt: Attempt | None = own["_attempt"]
    if attempt is None:
        return None
    serving, fullname = own["_module"], own["__name__"]
    loader = own_values_of(serving).get("__loader__")
    if type(loader) is PhotonLoader:
        is_other = loader.name != fullname
        return generation.modules.get(loader.name) if is_other else None
    before = attempt.stage.world.generations.get(generation.unit)
    has_file = before is None or fullname in before.locations
    return None if has_file or is_ours(serving) else serving


def stands_for(thing: Any, module: ModuleType) -> bool:
    """Whether *thing* is *module*, or a proxy of it, settled or not."""
    if type(thing) is ModuleProxy:
        thing = _own(thing, "__dict__")["_module"]
    return thing is module


def end_stand_ins(old: Generation) -> None:
    """Put plain modules into `sys.modules` again: *old* is retired."""
    for proxy in old.stand_ins:
        own = _own(proxy, "__dict__")
        fullname = own["__name__"]
        own["_earlier"] = False
        if sys.modules.get(fullname) is not proxy:
            continue
        module = own["_module"]
        if type(module) is Generation:  # it has no such module, or nobody asked for it
            module = module.modules.get(fullname)
        if module is None:
            drop(fullname)
        else:
            put(fullname, module)
    old.stand_ins.clear()


def settle(
    proxy: ModuleProxy, becomes: ModuleType | Generation | None = None
) -> ModuleType:
    """Let *proxy* be the same for everybody from now on.

    Args:
        proxy: The proxy.
        becomes: What it is: a module, or one that its generation has not executed yet.
            None for the serving one.

    Returns:
        The serving one.
    """
    own = _own(proxy, "__dict__")
    serving: ModuleType = own["_module"]
    own["_module"] = serving if becomes is None else becomes
    own["_attempt"] = None
    own["_earlier"] = False
    return serving


class StagedModule(ModuleType):
    """A module of a new generation, under a name that nothing serves under.

    Only its stage sees what is in it. For all other code an import of it waits until
    the stage is over, and other attributes are not there, so that nobody who only looks
    at `sys.modules` waits. It is no proxy: `publish` makes it a plain module.
    """

    def __getattribute__(self, name: str) -> Any:
        own = _own(self, "__dict__")
        # A module may set either to something else.
        fullname = getattr(own.get("__spec__"), "name", None) or str(own["__name__"])
        attempt: Attempt | None = taken.get(fullname)
        if name == "__class__" or (attempt is not None and attempt.shows()):
            return _own(self, name)
        if name != "__spec__":
            raise AttributeError(
                f"module {fullname!r} is being loaded as a photon", name=name
            )
        if attempt is not None:
            attempt.admit(fullname)
            if attempt.shows() or type(self) is not StagedModule:
                return _own(self, "__spec__")
        # It was given up. Import looks into `sys.modules` again where a module is
        # "initialising", and goes on as if this one had never been there.
        spec = ModuleSpec(fullname, None)
        spec._initializing = True  # type: ignore[attr-defined] # noqa: SLF001
        return spec


def hide(module: ModuleType) -> None:
    """Let only its stage see what is in *module*."""
    module.__class__ = StagedModule


def publish(module: ModuleType) -> None:
    """Make *module* a plain module again."""
    if type(module) is StagedModule:
        module.__class__ = ModuleType  # type: ignore[assignment]


_over = threading.Condition()
_waiting = 0
"""Threads that wait for it; changed while it is held."""


def notify_waiting() -> None:
    """Wake the threads that wait for an attempt or a stage to be over."""
    if _waiting:
        with _over:
            _over.notify_all()


def wait_until_visible(attempt: Attempt, fullname: str) -> None:
    """Wait until the modules of *attempt* are everybody's, or are gone.

    Raises:
        ModuleNotFoundError: The time of a load has passed.
    """
    global _waiting
    end = time.monotonic() + attempt.stage.patience
    with _over:
        # Counted before the condition is looked at: what comes true later notifies.
        _waiting += 1
        try:
            while not (attempt.is_over or attempt.stage.is_over or attempt.shows()):
                left = end - time.monotonic()
                if left <= 0:
                    raise ModuleNotFoundError(
                        f"No module named {fullname!r}: it is still being loaded as a "
                        "photon",
                        name=fullname,
                    )
                _over.wait(left)
        finally:
            _waiting -= 1
