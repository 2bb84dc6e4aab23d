"""Text of objects that anybody may have written, safe to keep and to print.

A photon's exception, class or name is asked for its text by its own code, which may
raise anything, and return anything of any length. What the functions of this module
return is exactly a `str`, bounded, and without characters that control a terminal.

`static_of` and the like look at classes and objects without any code of theirs.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any

from luminal.errors import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType, TracebackType

__all__ = [
    "SIMPLE",
    "attribute_of",
    "attributes_of",
    "cause_of",
    "class_name",
    "error_text",
    "has_simple_text",
    "may_be_secret",
    "module_of",
    "mro_of",
    "name_of_class",
    "names_of",
    "namespace_of",
    "note_text",
    "own_values_of",
    "plain",
    "qualname_of",
    "repr_of",
    "static_of",
    "steps_of",
    "to_json",
    "traceback_of",
]

MOST = 2000
"""Characters that are kept of a text."""

_FIRST, _LAST = 100, 400
"""Steps of a long traceback that are looked at: at its beginning and at its end."""

_TEXT = "__luminal_text__"
"""Where the text of an exception is kept, once it was read."""

# A module has a member, instances of a class have a descriptor that computes it.
_DESCRIPTORS = (GetSetDescriptorType, MemberDescriptorType)

SIMPLE = frozenset({str, int, float, bool, bytes, type(None)})
"""Classes whose objects are shown by no code of anybody else's."""

# A metaclass may define all of these for its classes, and a class for its objects.
mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
namespace_of: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
_values_of_error: Callable[[BaseException], dict[str, Any]] = BaseException.__dict__[
    "__dict__"
].__get__
_args_of_error: Callable[[BaseException], tuple[Any, ...]] = BaseException.__dict__[
    "args"
].__get__
traceback_of: Callable[[BaseException], TracebackType | None] = BaseException.__dict__[
    "__traceback__"
].__get__
cause_of: Callable[[BaseException], BaseException | None] = BaseException.__dict__[
    "__cause__"
].__get__


def static_of(cls: type, name: str, default: Any = None) -> Any:
    """Return what *cls* or a base of it defines as *name*; none of their code runs."""
    for part in mro_of(cls):
        values = namespace_of(part)
        if name in values:
            return values[name]
    return default


def attribute_of(thing: object, name: str, default: Any = None) -> Any:
    """Return what *thing* or its class has as *name*; none of their code runs.

    Args:
        thing: A class, a module or an instance.
        name: Name of the attribute. What a descriptor would return is not known: it is
            returned itself.
        default: Returned where there is none.
    """
    is_class = issubclass(type(thing), type)
    if not is_class and name in (own := own_values_of(thing)):
        return own[name]
    for part in mro_of(thing if is_class else type(thing)):  # type: ignore[arg-type]
        values = namespace_of(part)
        if name in values:
            return values[name]
    return default


def attributes_of(thing: object, names: Iterable[str]) -> dict[str, Any]:
    """Return what `attribute_of` finds of *names*, without those that there are not."""
    is_class = issubclass(type(thing), type)
    found: dict[str, Any] = {}
    for part in reversed(mro_of(thing if is_class else type(thing))):  # type: ignore[arg-type]
        values = namespace_of(part)
        for name in names:
            if name in values:
                found[name] = values[name]
    if not is_class:
        own = own_values_of(thing)
        found.update({name: own[name] for name in names if name in own})
    return found


def own_values_of(instance: object) -> dict[str, Any]:
    """Return the ``__dict__`` of *instance*, empty where it has none."""
    for part in mro_of(type(instance)):
        found: Any = namespace_of(part).get("__dict__")
        if type(found) in _DESCRIPTORS:
            values = found.__get__(instance)
            return values if type(values) is dict else {}
    return {}


def names_of(value: object) -> set[str]:
    """Return the names of the attributes of *value*; none of its code runs."""
    if issubclass(type(value), type):
        classes = mro_of(value)  # type: ignore[arg-type]
        return {name for part in classes for name in namespace_of(part)}
    return {
        *own_values_of(value),
        *(n for part in mro_of(type(value)) for n in namespace_of(part)),
    }


def plain(value: object, most: int = MOST) -> str:
    """Return the text of *value* as a bounded and printable `str`.

    Args:
        value: A text, or an object whose ``__str__`` is called. What that raises is not
            raised further, whatever it is.
        most: Characters that are kept: of a longer text, the beginning and the end.
    """
    try:
        text: Any = value
        if issubclass(type(value), BaseException):
            text = _noted(text)
        elif not issubclass(type(value), str):
            text = str(value)
        text = str.__str__(text)  # of a subclass, the characters alone
    except BaseException:  # noqa: BLE001 - the code of a photon may raise anything
        text = f"<{class_name(value)}, whose text cannot be read>"
    if len(text) > most:
        half = most // 2
        left = len(text) - 2 * half
        text = f"{text[:half]} ... ({left} characters more) ... {text[-half:]}"
    return escaped(text)


def repr_of(value: object, most: int = 200) -> str:
    """Return ``repr(value)`` as `plain` returns a text."""
    try:
        text = repr(value)
    except BaseException:  # noqa: BLE001 - the code of a photon may raise anything
        text = f"<{class_name(value)}, which cannot be shown>"
    return plain(text, most)


def _noted(error: BaseException) -> str:
    text = _values_of_error(error).get(_TEXT)
    return text if type(text) is str else str(error)


def note_text(error: BaseException, text: str | None = None) -> None:
    """Read the text of *error* now, and keep it with the exception.

    For threads that may be given up if that does not return. From then on no code of
    the exception runs where its text is needed.

    Args:
        error: Anything that was raised.
        text: What to keep instead, where it cannot be read.
    """
    if not has_simple_text(error):
        _values_of_error(error)[_TEXT] = plain(error) if text is None else text


def has_simple_text(error: BaseException) -> bool:
    """Whether to read the text of *error* runs nobody's code."""
    if _TEXT in _values_of_error(error):
        return True
    text = static_of(type(error), "__str__")
    is_builtin = type(text) is WrapperDescriptorType
    return is_builtin and all(type(arg) in SIMPLE for arg in _args_of_error(error))


_SECRET = ("pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie")
"""Parts of the names of settings whose values are not shown."""


def may_be_secret(key: str) -> bool:
    """Whether the value of a setting of this name must not be shown."""
    return any(word in key.lower() for word in _SECRET)


def class_name(value: object) -> str:
    """Return the name of the class of *value*; none of its code runs."""
    return plain(name_of_class(type(value)), 200)


def name_of_class(cls: type) -> str:
    """Return the name of *cls* as it is, a `str`; none of its code runs."""
    return str.__str__(_name(cls))


def error_text(error: BaseException, most: int = MOST) -> str:
    """Return the class of *error*, and its text where it has one.

    Args:
        error: Anything that was raised. No code but its ``__str__`` runs.
        most: Characters of the text that are kept.
    """
    text = plain(error, most)
    return f"{class_name(error)}: {text}" if text else class_name(error)


def qualname_of(thing: object) -> str:
    """Return the qualified name of a function or class, or of the class of *thing*.

    None of their code runs.
    """
    while type(thing) is MethodType:
        thing = thing.__func__
    if type(thing) is FunctionType or type(thing) is BuiltinFunctionType:
        return str.__str__(thing.__qualname__)
    cls = thing if issubclass(type(thing), type) else type(thing)
    return str.__str__(_qualname(cls))  # type: ignore[arg-type]


def module_of(thing: object) -> str:
    """Return the name of the module that a function, a class or an object is from.

    None of their code runs. Where it is no text, the name is empty.
    """
    while type(thing) is MethodType:
        thing = thing.__func__
    if type(thing) is FunctionType or type(thing) is BuiltinFunctionType:
        name: object = thing.__module__
    else:
        cls = thing if issubclass(type(thing), type) else type(thing)
        name = own_values_of(thing).get("__module__")
        try:
            name = name or _module(cls)  # type: ignore[arg-type]
        except AttributeError:  # somebody has deleted it
            return ""
    return name if type(name) is str else ""


def steps_of(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of a traceback and the lines in them, the innermost last.

    An endless recursion may have left a million of them: of a long traceback only the
    beginning and the end are yielded.
    """
    steps = _steps(traceback_of(error))
    first = list(islice(steps, _FIRST))
    for step in (*first, *deque(steps, _LAST)):
        yield step.tb_frame, step.tb_lineno or 0


def _steps(step: TracebackType | None) -> Iterator[TracebackType]:
    while step is not None:
        yield step
        step = step.tb_next


def to_json(document: object, **options: Any) -> str:
    """Return *document* as JSON that every reader accepts.

    A path may hold bytes that are no text, which Python keeps as lone surrogates. JSON
    has none: they are written as backslash escapes.

    Args:
        document: What `json.dumps` takes.
        **options: Its arguments.
    """
    import json
    import re

    text = json.dumps(document, **options)
    if "\\ud" not in text:
        return text
    whole = json.dumps(document, **{**options, "ensure_ascii": False})
    whole = re.sub("[\ud800-\udfff]", lambda m: f"\\\\u{ord(m[0]):04x}", whole)
    return json.dumps(json.loads(whole), indent=options.get("indent"))
