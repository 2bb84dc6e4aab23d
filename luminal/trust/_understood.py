"""Functions of other modules whose effect on names is understood, see `Reader`.

``getattr`` with a name that the text has, an import that is called, ``chr``, what is
decoded: each returns what it would return, as far as the text says that.
"""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from luminal.trust._kinds import Kind, canonical, kind_of, kind_of_assignment
from luminal.trust._values import (
    Constant,
    Getter,
    Members,
    Module,
    Namespace,
    Scope,
    constant_of,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from luminal.trust._values import Values

__all__ = ["LARGEST_CONSTANT", "Understood"]

LARGEST_CONSTANT = 4096
"""Characters of a text that is put together from parts."""

_DECODERS: dict[str, Callable[[Any], bytes]] = {
    "base64.b64decode": base64.b64decode,
    "base64.b32decode": base64.b32decode,
    "base64.b16decode": base64.b16decode,
    "base64.urlsafe_b64decode": base64.urlsafe_b64decode,
    "binascii.unhexlify": binascii.unhexlify,
    "binascii.a2b_base64": binascii.a2b_base64,
}

_SENSITIVE_MODULES = ("os", "subprocess", "socket", "builtins", "ctypes")


class Understood:
    """A part of `Reader`: each method is told what a function is called with."""

    if TYPE_CHECKING:  # what the rest of the reader has
        _attributes: dict[str, Values]
        _module: Module
        _scope: Scope

        def _import(self, module: Module) -> None: ...
        def _joined(self, parts: Sequence[Any], node: ast.AST) -> Values: ...
        def _member(self, of: Values, name: str, node: ast.AST) -> Values: ...
        def _note(self, kind: Kind, node: ast.AST, name: str) -> None: ...
        def _own_module(self, name: str) -> Module | None: ...
        def _relative(self, level: int, name: str) -> Module | None: ...
        def _text(self, value: str, node: ast.AST) -> Values: ...

    def _folded(
        self, receivers: Values, method: str, given: list[Values], node: ast.AST
    ) -> Values:
        """Return what a method of a constant returns, where that is easily known."""
        if len(receivers) != 1:
            return ()
        receiver = receivers[0]
        if type(receiver) is Members:
            return receiver.values if method in ("get", "pop", "copy", "values") else ()
        value = receiver.value  # type: ignore[union-attr]
        if type(value) not in (str, bytes) or len(value) > LARGEST_CONSTANT:
            return ()
        if method == "join" and given and not value:
            for each in given[0]:
                if type(each) is Members:
                    return self._joined(each.parts, node)
            return ()
        if method == "decode" and type(value) is bytes:
            return self._text(value.decode("latin-1"), node)
        if method == "encode" and type(value) is str:
            return (Constant(value.encode("utf-8", "replace")),)
        if method in ("lower", "upper", "strip", "title", "swapcase"):
            return (
                self._text(getattr(value, method)(), node) if type(value) is str else ()
            )
        arguments = [constant_of(each) for each in given]
        if method == "replace" and type(value) is str and len(arguments) == 2:
            old, new = arguments
            if type(old) is str and type(new) is str and old and len(new) <= 16:
                return self._text(value.replace(old, new), node)
        return ()

    def _getattr(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name
        node = rest[-1]
        if len(given) < 2:
            return ()
        objects, attribute = given[0], constant_of(given[1])
        if type(attribute) is str:
            return self._member(objects, attribute, node)
        for value in objects:
            if value in _SENSITIVE_MODULES:
                self._note(Kind.CODE, node, f"getattr({value}, ...)")
        return ()

    def _setattr(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name
        node = rest[-1]
        if len(given) >= 2:
            attribute = constant_of(given[1])
            for value in given[0]:
                if type(value) is str:
                    kind = kind_of_assignment(value, str(attribute or ""))
                    if kind is not None:
                        self._note(kind, node, f"setattr({value}, ...)")
        if len(given) == 3 and type(constant_of(given[1])) is str:
            key = str(constant_of(given[1]))
            self._attributes[key] = union(self._attributes.get(key, ()), given[2])
        return ()

    def _getattribute(
        self, name: str, given: list[Values], *rest: Any
    ) -> Values | None:
        receiver = name.rpartition(".")[0]
        if receiver == "builtins.object":
            return self._getattr(name, given, *rest)
        return self._getattr(name, [(receiver,), *given], *rest)

    def _vars(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        if not given:
            return (Namespace(self._scope),)
        return tuple(
            Namespace(value) for value in given[0] if type(value) in (str, Module)
        )

    def _globals(self, *unused: Any) -> Values | None:
        del unused
        return (Namespace(self._module.scope),)

    def _import_call(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        node = rest[-1]
        wanted = constant_of(given[0]) if given else constant_of(named.get("name", ()))
        if type(wanted) is not str:
            if name.endswith("__import__"):
                self._note(Kind.CODE, node, name)
            return ("?",)
        is_relative = wanted.startswith(".")
        if is_relative:
            level = len(wanted) - len(wanted.lstrip("."))
            module = self._relative(level, wanted.lstrip("."))
        else:
            module = self._own_module(wanted)
        if module is not None:
            self._import(module)
            return (module,)
        if name.endswith("__import__") and len(given) < 4 and "fromlist" not in named:
            wanted = wanted.partition(".")[0]
        return (canonical(wanted),)

    def _open(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        node = rest[-1]
        is_method = name not in ("builtins.open", "io.open", "codecs.open", "io.FileIO")
        at = 0 if is_method else 1
        if is_method and kind_of(name):
            return None
        if name in ("gzip.open", "bz2.open", "lzma.open", "tarfile.open"):
            at = 1
        modes = given[at] if len(given) > at else named.get("mode", ())
        has_mode = len(given) > at or "mode" in named
        mode = constant_of(modes)
        if mode is None:
            if has_mode and not is_method:
                self._note(Kind.WRITES, node, name)
        elif type(mode) is str and re.fullmatch(
            r"[rwxabtU+]*[wxa+][rwxabt+:gz|]*", mode
        ):
            self._note(Kind.WRITES, node, name)
        return (f"{name}()",)

    def _os_open(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        del given, named
        node = rest[-1]
        flags = node.args[1] if len(getattr(node, "args", ())) > 1 else node
        writing = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC")
        for each in ast.walk(flags):
            if isinstance(each, ast.Attribute | ast.Name):
                word = each.attr if isinstance(each, ast.Attribute) else each.id
                if word in writing:
                    self._note(Kind.WRITES, node, name)
                    break
        return ()

    def _attrgetter(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        wanted = constant_of(given[0]) if given else None
        return (Getter(wanted),) if type(wanted) is str else ()

    def _partial(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        return given[0] if given else ()

    def _chr(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        number = constant_of(given[0]) if given else None
        if type(number) is int and 0 <= number < sys.maxunicode:
            return (Constant(chr(number)),)
        return ()

    def _decoded(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        node = rest[-1]
        data = constant_of(given[0]) if given else None
        if not isinstance(data, str | bytes) or len(data) > LARGEST_CONSTANT:
            return ()
        try:
            if name == "codecs.decode":
                how = constant_of(given[1]) if len(given) > 1 else None
                if how not in ("rot13", "rot_13"):
                    return ()
                return self._text(codecs.decode(str(data), "rot13"), node)
            return (Constant(_DECODERS[name](data)),)
        except (ValueError, TypeError, binascii.Error):
            return ()

    def _joined_path(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name
        parts = [constant_of(each) for each in given]
        if parts and all(type(part) is str for part in parts):
            return self._text("/".join(parts), rest[-1])
        return ()

    def _iterated(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        found: Values = ()
        for values in given:
            found = union(found, values)
        return tuple(v for v in found if type(v) is Members)

    def _yaml_load(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        loaders = given[1] if len(given) > 1 else named.get("Loader", ())
        if not any(
            (type(v) is str and "Safe" in v) or "Base" in str(v) for v in loaders
        ):
            self._note(Kind.UNPICKLING, rest[-1], name)
        return ()

    def _numpy_load(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        del given
        if "allow_pickle" in named:
            self._note(Kind.UNPICKLING, rest[-1], name)
        return ()

    _SPECIAL: ClassVar[dict[str, Callable[..., Values | None]]] = {
        "builtins.getattr": _getattr,
        "builtins.setattr": _setattr,
        "builtins.delattr": _setattr,
        "__getattribute__": _getattribute,
        "builtins.vars": _vars,
        "builtins.globals": _globals,
        "builtins.locals": _vars,
        "builtins.__import__": _import_call,
        "importlib.import_module": _import_call,
        "importlib.__import__": _import_call,
        "open": _open,
        "FileIO": _open,
        "os.open": _os_open,
        "operator.attrgetter": _attrgetter,
        "operator.methodcaller": _attrgetter,
        "functools.partial": _partial,
        "builtins.chr": _chr,
        "os.path.join": _joined_path,
        "pathlib.PurePath": _joined_path,
        "builtins.list": _iterated,
        "builtins.tuple": _iterated,
        "builtins.iter": _iterated,
        "builtins.reversed": _iterated,
        "builtins.sorted": _iterated,
        "codecs.decode": _decoded,
        **dict.fromkeys(_DECODERS, _decoded),
        "yaml.load": _yaml_load,
        "yaml.load_all": _yaml_load,
        "numpy.load": _numpy_load,
    }
    """Function → what is known of what it returns; None where the tables decide."""
