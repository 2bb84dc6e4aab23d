"""Recognise registrations that two generations of a photon cannot both make.

A metric or a table that a module registers on import is registered already when the
next generation of the module is imported, and many libraries refuse it then. The line
that raises is not wrong, so "correct the line" is no help.

An entry in a dictionary of the host that ``start`` makes and ``finalize`` deletes by
its key is made by the new photon before the old one deletes it.
"""

from __future__ import annotations

import dis
import inspect
from typing import TYPE_CHECKING, Any

from luminal._plain import mro_of, namespace_of, steps_of
from luminal.errors import LuminalError, PhotonStateError
from luminal.loading import namespaces_of
from luminal.model import Problem, State
from luminal.supervise import find_permanent

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable
    from types import CodeType, FrameType

    from luminal.lifecycle import Handler
    from luminal.loading import Generation
    from luminal.supervise import Leftover

__all__ = [
    "entries_taken_away",
    "permanent_registrations",
    "registration_error",
    "repeated_registration",
]

_MAX_CHARACTERS = 30_000
"""Size of the largest text that is searched: this happens on the host's loop, and the
parser holds it for 10 ms. `luminal check` searches larger ones."""
_TAKES_AWAY = ("pop", "remove", "discard", "un", "de", "dis")
"""How methods begin that take something away."""
_ENDING = {"finalize", "start", "__init__"}
"""Methods whose code may end something."""


def repeated_registration(
    cause: BaseException, before: Iterable[Generation]
) -> tuple[str, int, int] | None:
    """Return file, line and earlier generation of what *cause* says was done before.

    That is a line which runs on import, calls other people's code, and has not changed
    since the generation before ran it without an error.

    Args:
        cause: What was raised while new generations were staged.
        before: The generations that they were to replace.
    """
    if issubclass(type(cause), LuminalError | ImportError | NameError | SyntaxError):
        return None
    frames = list(steps_of(cause))
    known = {path: g for g in before for path in g.sources}
    own = [at for at, (f, _) in enumerate(frames) if f.f_code.co_filename in known]
    runs_on_import = [at for at in own if _is_of_body(frames[at][0])]
    if not runs_on_import or own[-1] == len(frames) - 1:
        return None  # raised by the photon's own code, or by a step of its life
    for at in own[own.index(runs_on_import[-1]) :]:
        frame, line = frames[at]
        path = frame.f_code.co_filename
        if not _is_as_before(_text_of(frame), known[path].sources[path].text, line):
            return None
    frame, line = frames[own[-1]]
    path = frame.f_code.co_filename
    return path, line, known[path].number


def _is_of_body(frame: FrameType) -> bool:
    """Whether *frame* runs the body of a module or of a class."""
    return not frame.f_code.co_flags & inspect.CO_OPTIMIZED


def _text_of(frame: FrameType) -> str:
    """Return the text that *frame*'s module was compiled from."""
    try:
        loader = frame.f_globals["__loader__"]
        return str(loader.get_source(frame.f_globals["__name__"]))
    except Exception:  # noqa: BLE001 - a module may hold anything under these names
        return ""


def _is_as_before(new: str, old: str, line: int) -> bool:
    """Whether *line* of *new* is in *old*, and so is what it uses of the module."""
    if max(len(new), len(old)) > _MAX_CHARACTERS:
        return False
    import ast

    lines = new.splitlines()
    if not 0 < line <= len(lines):
        return False
    if lines[line - 1].strip() not in {each.strip() for each in old.splitlines()}:
        return False
    from luminal._syntax import UNREADABLE, parse

    try:
        earlier = {ast.unparse(each) for each in parse(old).body}
        return _uses_only(parse(new).body, earlier, line)
    except UNREADABLE:
        return False


def _uses_only(statements: list[ast.stmt], earlier: set[str], line: int) -> bool:
    """Whether what *line* uses of the module is assigned as in *earlier*."""
    import ast

    assigned = {
        name.id: each
        for each in statements
        if isinstance(each, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for name in ast.walk(each)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }
    inner = [
        each
        for statement in statements
        for each in ast.walk(statement)
        if isinstance(each, ast.expr) and each.lineno <= line <= (each.end_lineno or 0)
    ]
    used = {n.id for e in inner for n in ast.walk(e) if isinstance(n, ast.Name)}
    waiting = [each for name, each in assigned.items() if name in used]
    return all(ast.unparse(each) in earlier for each in waiting)


def entries_taken_away(old: Handler) -> tuple[Problem, ...]:
    """Return where a photon that was replaced takes away what its successor has put.

    Args:
        old: Handler of the photon. One that does not run has been finalized.
    """
    life = old._life
    generation = life.generation
    if generation is None or life.state is not State.RUNNING:
        return ()
    if not any(map(_may_take_away, _ending_codes(life.instance))):
        return ()
    source = generation.sources.get(old.filepath)
    text = source.text if source is not None else ""
    if not text or len(text) > _MAX_CHARACTERS:
        return ()
    from luminal._syntax import UNREADABLE, parse
    from luminal.discovery.lint import entry_pairs

    try:
        issues = list(entry_pairs(parse(text), old.filepath))
    except UNREADABLE:
        return ()
    errors = [
        PhotonStateError(
            "takes away what its next generation has put there",
            file=issue.file,
            line=issue.line,
            why=issue.why,
            hint=issue.hint,
        )
        for issue in issues
    ]
    return tuple(Problem.of(error, "finalize") for error in errors)


def permanent_registrations(old: Iterable[Generation]) -> tuple[Problem, ...]:
    """Return what replaced code has registered that Python cannot unregister.

    Args:
        old: The generations that were replaced.
    """
    found = find_permanent(lambda: namespaces_of(old))
    return tuple([Problem.of(registration_error(one), "finalize") for one in found])


def registration_error(registered: Leftover) -> PhotonStateError:
    """Return the error of a registration that stays after its code has ended."""
    file, _, line = registered.where.rpartition(":")
    return PhotonStateError(
        f"has registered {registered.name!r} with {registered.kind}",
        file=file or registered.where,
        line=int(line) if line.isdigit() else None,
        why=registered.why,
        hint="register it in a module of the host, once, or unregister it in finalize",
    )


def _ending_codes(instance: object) -> list[CodeType]:
    """Return the code of what runs at the end of *instance*, without running any."""
    functions: dict[str, Any] = {}
    for cls in mro_of(type(instance)):
        values = namespace_of(cls)
        for name in values.keys() & _ENDING:
            if inspect.iscode(getattr(values[name], "__code__", None)):
                functions.setdefault(name, values[name].__code__)
    found: list[CodeType] = []
    for name, code in functions.items():
        if name == "finalize":
            found.append(code)
        elif "on_close" in code.co_names:
            found += [c for c in code.co_consts if inspect.iscode(c)]
    return found


def _may_take_away(code: CodeType) -> bool:
    # Most photons end here, so nothing is parsed for them.
    if any(name.startswith(_TAKES_AWAY) for name in code.co_names):
        return True
    steps, arguments = code.co_code[::2], code.co_code[1::2]
    if not _DELETES.isdisjoint(steps):
        return True
    for at in range(1, len(steps)):
        # Setting an attribute to None is one way; the photon's own do not count.
        if steps[at] == _SETS:
            is_loaded = dis.opname[steps[at - 1]].startswith("LOAD_FAST")
            if not is_loaded or arguments[at - 1]:
                return True
    return any(inspect.iscode(c) and _may_take_away(c) for c in code.co_consts)


_DELETES = {dis.opmap["DELETE_SUBSCR"], dis.opmap["DELETE_ATTR"]}
_SETS = dis.opmap["STORE_ATTR"]
