"""Send functions and classes of photons to other processes of `multiprocessing`.

`pickle` sends a function as the name of its module and its own name. The modules of
photons cannot be imported in a child process that was not forked, and in a child that
was forked before a reload they are those of the generation before. So the pickler of
`multiprocessing` sends the text of the generation with the name. The child executes it
once, as a generation of a `World` of its own, and finds the name in there.

Each generation has a key that no other one has, in whatever process. What arrives under
a known key is not executed again: not twice in a child, and not in the process that has
sent it and gets results back.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import re
import sys
import zlib
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonSendError
from luminal.interfaces.context import PhotonContext
from luminal.loading._generation import known_generation, known_generations
from luminal.loading._importer import (
    is_superseded,
    known_worlds,
    remove_from_finder,
)
from luminal.loading._origin import DirectoryOrigin, DistributionOrigin
from luminal.loading._proxies import end_stand_ins
from luminal.loading._source import CodeCache, Pinned
from luminal.loading._staging import Stage
from luminal.loading._world import World, generation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.loading._generation import Generation, Key
    from luminal.loading._origin import Origin
    from luminal.trust import Judge

__all__ = ["patch_pickler", "receive", "restore_pickler"]

# What `pickle` sends by its name, beside classes.
_NAMED = {
    FunctionType,
    BuiltinFunctionType,
    type(functools.lru_cache(lambda: None)),
}


@attrs.frozen
class _Unit:
    """One generation, as it is sent.

    Attributes:
        unit: Full name of its root module.
        key: Its key.
        number: Its number, for messages.
        photons: Names of its photons.
        origin: Where its modules are looked for.
        files: Its files.
    """

    unit: str
    key: Key
    number: int
    photons: tuple[str, ...]
    origin: Origin
    files: Pinned


@attrs.frozen
class _Parcel:
    """A generation and all that it imports from.

    Attributes:
        units: Those that are imported first come first.
        directories: Of all directories of photons: path, and the salt of the name.
        declared: Further directories whose modules are the photons' own.
        judge: Decides what may run; None where no lock is in force.
    """

    units: tuple[_Unit, ...]
    directories: tuple[tuple[str, int], ...]
    declared: tuple[str, ...]
    judge: Judge | None


# ---- the sending process


def patch_pickler() -> None:
    """Let `multiprocessing` send what is defined in photons."""
    pickler = _pickler()
    replaced = getattr(pickler, "reducer_override", None)
    if hasattr(replaced, "luminal_replaced"):
        return

    def reducer_override(self: Any, thing: Any) -> Any:
        # Called for each object but plain data: as little as possible.
        kind = type(thing)
        found: Any = NotImplemented
        if kind in _NAMED or issubclass(kind, type):
            found = _reduce(thing)
        elif kind is MethodType:
            _check_method(thing)
        elif kind is PhotonContext:
            raise _refusal(thing.name, "its context", _CONTEXT, _SEND_DATA)
        if found is NotImplemented and replaced is not None:
            return replaced(self, thing)
        return found

    reducer_override.luminal_replaced = replaced  # type: ignore[attr-defined]
    pickler.reducer_override = reducer_override


def restore_pickler() -> None:
    """Undo `patch_pickler`; another function over ours stays, and ours below it."""
    if "multiprocessing.reduction" not in sys.modules:
        return
    pickler = _pickler()
    ours: Any = getattr(pickler, "reducer_override", None)
    if not hasattr(ours, "luminal_replaced"):
        return
    del pickler.reducer_override
    if ours.luminal_replaced is not None:
        pickler.reducer_override = ours.luminal_replaced


def _pickler() -> Any:
    reduction: Any = sys.modules["multiprocessing.reduction"]
    return reduction.ForkingPickler


def _reduce(thing: Any) -> Any:
    """Return how a function or class is sent; NotImplemented where it is no photon's.

    Raises:
        PhotonSendError: It is a photon's, and no other process could find it.
    """
    fullname = getattr(thing, "__module__", None)
    if type(fullname) is not str:
        return NotImplemented
    owners = (world.owner(fullname) for world in known_worlds())
    serving = next((owner for owner in owners if owner is not None), None)
    defined_in = None if isinstance(thing, type) else generation_of(thing)
    if serving is None and defined_in is None:
        return NotImplemented
    if serving is not None and serving.borrowed:
        return NotImplemented  # the child imports it as any other module
    qualname = thing.__qualname__
    for generation in _candidates(fullname, serving, defined_in):
        if _find(generation, fullname, qualname) is thing:
            if generation.executes(fullname):
                raise _refusal_of(thing, generation, _EXECUTING, _SEND_LATER)
            packed = _packed(generation)
            is_class = isinstance(thing, type)
            return receive, (generation.key, packed, fullname, qualname, is_class)
    if serving is None and not _is_below(fullname, defined_in):
        return NotImplemented  # a library's, that has wrapped a photon's
    raise _refusal_of(thing, serving or defined_in, *_why_not(qualname))


def _candidates(fullname: str, *first: Generation | None) -> Iterator[Generation]:
    """Yield the generations that may have defined a thing of the module *fullname*."""
    yield from (generation for generation in first if generation is not None)
    for generation in known_generations():
        if generation not in first and _is_below(fullname, generation):
            yield generation


def _is_below(fullname: str, generation: Generation | None) -> bool:
    return generation is not None and fullname in generation.modules


def _find(generation: Generation, fullname: str, qualname: str) -> Any:
    """Return what *qualname* means in a module of *generation*; None for nothing."""
    found: Any = generation.modules.get(fullname)
    for name in qualname.split("."):
        # Looked up as `pickle` does; a class may have a metaclass that answers.
        found = getattr(found, name, None)
    return found


def _packed(generation: Generation) -> bytes:
    """Return *generation* with all that it imports from, to be sent."""
    group = _with_needs(generation)
    # More is read and imported while it lives, but nothing is ever taken away.
    size = tuple((g.key, len(g.sources), len(g.late_units)) for g in group)
    if generation.packed is None or generation.packed[0] != size:
        roots = generation.host.roots
        parcel = _Parcel(
            tuple(
                _Unit(g.unit, g.key, g.number, g.photons, _bare(g.origin), Pinned.of(g))
                for g in group
            ),
            roots.salts,
            roots.declared,
            # The other process reads the lock as it is then.
            generation.host.judge,
        )
        generation.packed = size, zlib.compress(pickle.dumps(parcel), 1)
    return generation.packed[1]


def _with_needs(generation: Generation) -> list[Generation]:
    """Return *generation* and all that it imports from, it itself last."""
    found: dict[str, Generation] = {}
    queue = [generation]
    while queue:
        user = queue.pop()
        if user.borrowed or user.unit in found:
            continue
        found[user.unit] = user
        for unit in tuple(user.needs):
            needed = user.linked(unit)
            if needed is None and is_superseded(user):
                host: Any = user.host
                needed = host.find(unit)
            elif needed is None:
                owners = (world.generations.get(unit) for world in known_worlds())
                needed = next((each for each in owners if each is not None), None)
            if needed is not None:
                queue.append(needed)
    return list(reversed(found.values()))


def _bare(origin: Origin) -> Origin:
    """Return *origin* without what it has read; its names are known all the same."""
    if not isinstance(origin, DistributionOrigin):
        return origin
    bare = DistributionOrigin(origin.module, origin.location, origin.metadata)
    # An upgrade may have removed its files.
    vars(bare).update(root=origin.root, roots=origin.roots)
    return bare


# ---- what cannot be sent

_BY_NAME = "another process finds functions and classes by their names"
_EXECUTING = "its module is being imported, and the other process would import it too"
_CONTEXT = "what a context owns belongs to this process"
_TO_MODULE = "define it at the level of the module, under a name of its own"
_SEND_DATA = "send a function of the module, and the data that it needs"
_SEND_LATER = "send it from `start`, or later"


def _why_not(qualname: str) -> tuple[str, str]:
    if "<lambda>" in qualname or "<locals>" in qualname:
        what = "a lambda" if "<lambda>" in qualname else "local"
        return f"it is {what}, and {_BY_NAME}", _TO_MODULE
    return (
        f"{qualname!r} means something else in its module, and {_BY_NAME}",
        _TO_MODULE,
    )


def _check_method(method: MethodType) -> None:
    """Refuse the bound method of a photon, unless that says itself how it is sent.

    Raises:
        PhotonSendError: The photon has its context.
    """
    kind = type(method.__self__)
    if type(getattr(method.__self__, "context", None)) is not PhotonContext:
        return
    for name in ("__reduce_ex__", "__reduce__", "__getstate__"):
        if getattr(kind, name, None) is not getattr(object, name):
            return
    generation = generation_of(method)
    if generation is not None:
        why = f"it is bound to the photon, whose context stays here: {_CONTEXT}"
        raise _refusal_of(method.__func__, generation, why, _SEND_DATA)


def _refusal(
    photon: str,
    subject: str,
    why: str,
    hint: str,
    file: str | None = None,
    line: int | None = None,
) -> PhotonSendError:
    return PhotonSendError(
        f"{subject} cannot be sent to another process",
        photon=photon,
        file=file,
        line=line,
        why=why,
        hint=hint,
    )


def _refusal_of(
    thing: Any, generation: Generation | None, why: str, hint: str
) -> PhotonSendError:
    """Return the error that names *thing*, its photon, file and line."""
    names = generation.photons if generation is not None else ()
    photon = ", ".join(names) or thing.__module__.rpartition(".")[2]
    code = getattr(thing, "__code__", None)
    if code is not None:
        return _refusal(
            photon,
            f"function {thing.__qualname__!r}",
            why,
            hint,
            code.co_filename,
            code.co_firstlineno,
        )
    file = line = None
    location = generation.locations.get(thing.__module__) if generation else None
    if location is not None and generation is not None:
        file = location.path
        source = generation.sources.get(file)
        text = source.text if source is not None else ""
        found = re.search(
            rf"^\s*class {re.escape(thing.__name__)}\b", text, re.MULTILINE
        )
        line = text.count("\n", 0, found.end()) + 1 if found else None
    return _refusal(photon, f"{thing.__qualname__!r}", why, hint, file, line)


# ---- the receiving process

# What other processes have sent to this one, and which process that was: a child that
# is forked begins anew.
_received: tuple[int, World] | None = None


def receive(
    key: Key, packed: bytes, fullname: str, qualname: str, is_class: bool
) -> Any:
    """Return a function or class that another process has sent.

    Args:
        key: Key of its generation.
        packed: That generation, with all that it imports from.
        fullname: Full name of its module.
        qualname: Its name in there.
        is_class: Whether it is a class.

    Returns:
        What was sent. A function that raises when it is called, where the text of the
        generation does: a worker of a pool that fails to read its work ends, and the
        whole pool with it.
    """
    generation = known_generation(key)
    if generation is None and _is_for_us(key, fullname):
        try:
            generation = _load(key, pickle.loads(zlib.decompress(packed)))  # noqa: S301 - of `multiprocessing`
        except BaseException as error:
            if is_class:
                raise
            return functools.partial(_raise, error)
    if generation is not None:
        module = generation.require(fullname)
    else:
        module = importlib.import_module(fullname)
    return functools.reduce(getattr, qualname.split("."), module)


def _raise(error: BaseException, /, *_: Any, **__: Any) -> Any:
    raise error


def _is_for_us(key: Key, fullname: str) -> bool:
    """Whether text that is sent to this process may be executed in it.

    Not in one that has loaded the photon by itself: a result that comes late would
    bring the code of a generation back that serves no more.
    """
    process = os.getpid()
    own = (w.owner(fullname) for w in known_worlds() if not _is_receiver(w))
    return key[0] != process and all(g is None or g.key[0] != process for g in own)


def _is_receiver(world: World) -> bool:
    return _received is not None and _received[1] is world


def _world() -> World:
    """Return the world of what this process has received."""
    global _received
    process = os.getpid()
    if _received is None or _received[0] != process:
        # Names of photons lead to what was received, and no more to what a forked child
        # has inherited. The functions that it has go on in their own modules.
        for world in known_worlds():
            there = [g for g in world.generations.values() if not g.borrowed]
            if any(generation.key[0] == process for generation in there):
                continue
            for fullname in [name for each in there for name in each.modules]:
                sys.modules.pop(fullname, None)
            remove_from_finder(world)
        _received = process, World(CodeCache())
    return _received[1]


def _load(key: Key, parcel: _Parcel) -> Generation:
    """Load what *parcel* holds, as far as it is not here; return that under *key*."""
    world = _world()
    with world.lock:
        world.roots.adopt(parcel.directories, parcel.declared)
        world.judge = parcel.judge
        here = {u.unit: known_generation(u.key) for u in parcel.units}
        new = [each for each in parcel.units if here[each.unit] is None]
        stage = Stage(world, pinned={each.unit: each.files for each in new})
        stage.ready.update((u, g) for u, g in here.items() if g is not None)
        serving = world.generations
        replacing = {u for u, g in here.items() if u in serving and serving[u] is not g}
        before = [world.generations[unit] for unit in replacing]
        stage.begin_replacing(replacing)
        made = []
        with stage.attempt(replacing) as attempt:
            for each in new:
                origin = each.origin
                if isinstance(origin, DirectoryOrigin):
                    origin = world.roots.claim(origin.directory)
                generation = attempt.provide(each.unit, origin)
                generation.number, generation.photons = each.number, each.photons
                made.append((generation, each.key))
        stage.commit()
        for generation, own_key in made:
            generation.take_key(own_key)
        for old in before:
            end_stand_ins(old)  # a worker has no calls of it under way
    loaded = known_generation(key)
    if loaded is None:
        raise KeyError(key)
    return loaded
