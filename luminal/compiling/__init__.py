"""Reads large source texts in a child process, so that they stop no thread of the host.

CPython's parser and compiler hold the interpreter from the beginning of a text to its
end, on whichever thread they run. An event loop stands still meanwhile, for a file of
0.6 MB half a second. So a large text is parsed and compiled by a child process of the
same interpreter. It is started with the first such text, is kept for a while, and sends
back marshalled values, which take a thirtieth of the time to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.compiling._process import CompilerCrashedError as CompilerCrashedError
    from luminal.compiling._process import NoCompilerError as NoCompilerError
    from luminal.compiling._process import run_in_compiler as run_in_compiler
    from luminal.compiling._text import compile_text as compile_text
    from luminal.compiling._text import is_large as is_large

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_process": ("CompilerCrashedError", "NoCompilerError", "run_in_compiler"),
        "_text": ("compile_text", "is_large"),
    },
)
