"""What the pages say, as reStructuredText.

In come values, out comes text with the descriptions that Sphinx makes entries,
signatures and references of. Needs no Sphinx.
"""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from luminal.errors import LuminalError
    from luminal.model import Candidate
    from luminal.sphinx.specifications import Specification

__all__ = ["errors_text", "hooks_text", "photons_text", "plain"]


def photons_text(candidates: Iterable[Candidate], hooks: Mapping[str, str]) -> str:
    """Return the description of each photon.

    Args:
        candidates: In the order of the page.
        hooks: Photon → the hooks that it implements, as text.
    """
    blocks = []
    for candidate in candidates:
        fields = {
            "Version": plain(candidate.version),
            "Author": plain(candidate.author),
            "Tags": plain(", ".join(candidate.tags)),
            "From": _origin(candidate),
            "Requires": _literals(candidate.requirements),
            "Comes before": _literals(candidate.before),
            "Comes after": _literals(candidate.after),
            "Wants API": plain(candidate.api),
            "Implements": hooks.get(candidate.name, ""),
            "Switched off": "" if candidate.enabled else "yes",
            "Problem": _problem(candidate),
        }
        body = [plain(candidate.description), _fields(fields)]
        # A name that is refused may be nothing but blanks.
        name = candidate.name.strip() or os.path.basename(candidate.location)
        blocks.append(_block(f".. luminal-photon:: {name}", body))
    return "\n".join(blocks) or "There are no photons.\n"


def hooks_text(
    specs: object,
    specifications: Sequence[Specification],
    implementers: Mapping[str, Sequence[str]] | None,
    process: Callable[[str, str], str],
    module: str,
) -> str:
    """Return the description of a class or module of specifications.

    Args:
        specs: The class or module.
        specifications: Its hooks.
        implementers: Hook → photons in the order of calls; None says nothing of them.
        process: Turns a name and a docstring into reStructuredText.
        module: The module that a class is described under; empty for its own.
    """
    home = getattr(specs, "__module__", None)
    name = str(getattr(specs, "__qualname__", getattr(specs, "__name__", "")))
    is_class = home is not None
    blocks = []
    for spec in specifications:
        fields = {"Answers with": spec.kind}
        if implementers is not None:
            photons = implementers.get(spec.name, ())
            roles = ", ".join(f":luminal-photon:`{plain(each)}`" for each in photons)
            fields["Implemented by"] = roles or "nobody"
        kind = "py:method" if is_class else "py:function"
        options = "   :async:\n" if spec.is_async else ""
        options += "" if is_class else f"   :module: {name}\n"
        head = f".. {kind}:: {spec.name}{spec.signature}\n{options}".rstrip()
        blocks.append(_block(head, [process(spec.name, spec.doc), _fields(fields)]))
    if not is_class:
        return "\n".join(blocks)
    head = f".. py:class:: {name}\n   :module: {module or home}"
    if module and home != module:
        head += f"\n   :canonical: {home}.{name}"
    doc = inspect.cleandoc(vars(specs).get("__doc__") or "")
    return _block(head, [process(name, doc), "\n".join(blocks)])


def errors_text(errors: Mapping[str, type[LuminalError]]) -> str:
    """Return the description of each error, ordered by code."""
    blocks = []
    for code, error in sorted(errors.items()):
        also = [
            base.__name__
            for base in error.__mro__[1:]
            if base.__module__ == "builtins"
            and base not in (Exception, BaseException, object)
        ]
        fields = {
            "Class": f":py:exc:`~{error.__module__}.{error.__qualname__}`",
            "Is also": _literals(also[:1]),
        }
        meaning = inspect.cleandoc(error.__doc__ or "").split("\n\nArgs:")[0]
        body = [meaning, _fields(fields)]
        blocks.append(_block(f".. luminal-error:: {code}", body))
    return "\n".join(blocks)


def plain(text: str) -> str:
    """Return *text* on one line, with whatever reStructuredText reads into it taken."""
    return re.sub(r"([^\w\s,.;()-])|_(?=\W|$)", _escaped, " ".join(text.split()))


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match[0]


def _origin(candidate: Candidate) -> str:
    if candidate.group:
        return f"``{candidate.origin}``, in the group ``{candidate.group}``"
    return ""


def _problem(candidate: Candidate) -> str:
    problem = candidate.problem
    if problem is None:
        return ""
    return f":luminal-error:`{problem.code}`: {plain(problem.what)}"


def _literals(words: Iterable[str]) -> str:
    return ", ".join(f"``{word}``" for word in words)


def _fields(fields: Mapping[str, str]) -> str:
    return "\n".join(f":{name}: {text}" for name, text in fields.items() if text)


def _block(head: str, body: Iterable[str]) -> str:
    """Return a directive with everything in *body* that is not empty below it."""
    parts = "\n\n".join(part.strip("\n") for part in body if part.strip())
    return f"{head}\n\n{textwrap.indent(parts, '   ')}\n"
