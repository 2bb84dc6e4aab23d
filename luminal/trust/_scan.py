"""Scores of a scanner that has learned from hostile code: hexora, in a child process.

The scanner is native code, and reads what it must not trust: a text can crash it or
keep it busy. So it runs in a process of its own, on copies in a private folder, with a
limit of time. What was not scanned for any reason is "not scanned", never clean. A low
score is no promise either; `docs/explanation/trust.md` says what the scores were tried
on and what they miss.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import os
import sys
import tempfile
import threading
import tokenize
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from luminal.store import SealedStore, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FileScore", "Rule", "scan"]

_SCANNER = "luminal.trust._scan:hexora_audit"
_DISTRIBUTION = "hexora"
_PATIENCE = 10.0, 10.0 / 1_000_000
"""Seconds for a file, and more for each of its bytes: some 30 times the usual."""
_STARTING = 30.0
"""Seconds in which the process has to be ready."""
_MOST_CRASHES = 20
"""Processes that may crash in one scan; what is left then is not scanned."""
_LARGEST = 8 * 2**20
_MOST_RULES = 50
_MISSING = "hexora is not installed: pip install 'luminal-photons[scan]'"
_KEPT = 5000
"""Scores in the cache."""

_START = """\
import sys
sys.path += [path for path in {path!r} if path not in sys.path]
from luminal.trust._scan import serve
serve({scanner!r}, {folder!r})
"""


@attrs.frozen
class Rule:
    """A rule of the scanner that a file matches.

    Attributes:
        rule: Its identifier.
        confidence: ``very_low`` to ``very_high``.
        line: Number of the line; 0 where it is not known.
        about: What it is about.
    """

    rule: str
    confidence: str
    line: int
    about: str


@attrs.frozen
class FileScore:
    """What the scanner says of a file.

    Attributes:
        path: Its path, as it was given.
        sha512: Digest of its bytes.
        score: From 0 to 1: the higher, the more it is like hostile code. None where it
            was not scanned.
        why: Why it was not scanned; empty where it was.
        rules: What it matches, in the order of lines.
    """

    path: str
    sha512: str
    score: float | None = None
    why: str = ""
    rules: tuple[Rule, ...] = ()

    @property
    def text(self) -> str:
        """The score, or that there is none."""
        return f"{self.score:.2f}" if self.score is not None else "not scanned"


def scan(
    files: Mapping[str, bytes],
    *,
    cache: bool = True,
    scanner: str = _SCANNER,
    patience: tuple[float, float] = _PATIENCE,
) -> list[FileScore]:
    """Return the score of each Python file; nothing is raised for a scanner that fails.

    Args:
        files: Path → bytes. Files that are no Python are left out.
        cache: Whether scores are kept by the digest of the bytes, and of the scanner's
            version.
        scanner: What is called in the child, as ``module:function``, with the path of
            a file; it returns its score and rules.
        patience: Seconds for each file, and more for each of its bytes.
    """
    import hashlib

    texts = {
        p: bytes(d) for p, d in sorted(files.items()) if p.endswith((".py", ".pyw"))
    }
    digests = {path: hashlib.sha512(data).hexdigest() for path, data in texts.items()}
    store = SealedStore() if cache and scanner == _SCANNER else None
    version = _version() if scanner == _SCANNER else "0"
    found: dict[str, FileScore] = {}
    for path, data in texts.items():
        if not version:
            found[path] = FileScore(path, digests[path], why=_MISSING)
        elif len(data) > _LARGEST:
            why = f"it has more than {_LARGEST >> 20} MiB"
            found[path] = FileScore(path, digests[path], why=why)
        elif store is not None:
            known: Any = store.load(_key(version, digests[path]))
            if known is not None:
                score, rules = known
                found[path] = _score_of(path, digests[path], score, rules)
    left = {path: data for path, data in texts.items() if path not in found}
    for path, answer in _scan_apart(left, scanner, patience):
        found[path] = result = (
            FileScore(path, digests[path], why=answer)
            if isinstance(answer, str)
            else _score_of(path, digests[path], *answer)
        )
        if store is not None and result.score is not None:
            store.save(_key(version, digests[path]), answer)
    if left and store is not None:
        store.prune("scan-", _KEPT)
    return [found[path] for path in texts]


def _version() -> str:
    """Return the scanner's version; empty where it is not installed."""
    with suppress(importlib.metadata.PackageNotFoundError, ImportError, ValueError):
        if importlib.util.find_spec(_DISTRIBUTION) is not None:
            return importlib.metadata.version(_DISTRIBUTION)
    return ""


def _key(version: str, digest: str) -> str:
    return f"scan-{fingerprint(f'{version} {digest}'.encode())}"


def _score_of(path: str, digest: str, score: float, rules: Any) -> FileScore:
    made = tuple(Rule(str(r), str(c), int(n), str(a)) for r, c, n, a in rules)
    return FileScore(path, digest, float(score), rules=made)


# --- The child -----------------------------------------------------------------------


def _scan_apart(
    texts: dict[str, bytes], scanner: str, patience: tuple[float, float]
) -> Iterator[tuple[str, Any]]:
    """Yield what a child says of each text: score and rules, or why there is none."""
    left = list(texts)
    crashes = 0
    while left:
        if crashes > _MOST_CRASHES:
            for path in left:
                yield path, f"the scanner has crashed {crashes} times"
            return
        done = 0
        with tempfile.TemporaryDirectory(prefix="luminal-scan-") as folder:
            # The names of the files are not used: what they are is no business of it.
            for number, path in enumerate(left):
                with open(os.path.join(folder, f"{number}.raw"), "wb") as file:
                    file.write(texts[path])
            for answer, is_last in _run(scanner, folder, left, texts, patience):
                yield left[done], answer
                done += 1
                if is_last:
                    break
        crashes += 1
        if done == 0:
            return
        left = left[done:]


def _run(
    scanner: str,
    folder: str,
    left: list[str],
    texts: dict[str, bytes],
    patience: tuple[float, float],
) -> Iterator[tuple[Any, bool]]:
    """Yield the answer of each file, and whether the process has ended with it."""
    from subprocess import DEVNULL, PIPE, Popen

    command = [sys.executable, "-I", "-S", "-B", "-c"]
    path = [os.path.abspath(each) for each in (*sys.path, _own_root())]
    start = _START.format(path=path, scanner=scanner, folder=folder)
    try:
        process = Popen(  # noqa: S603
            [*command, start], stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, cwd=folder
        )
    except OSError as error:
        for _ in left:
            yield f"no process can be started: {error}", False
        return
    assert process.stdout is not None  # noqa: S101 - a pipe
    try:
        if not _line(process, _STARTING):
            why = "the scanner does not start"
            for _ in left:
                yield why, False
            return
        for each in left:
            base, more = patience
            limit = base + more * len(texts[each])
            line = _line(process, limit)
            if not line:
                process.kill()
                yield _why_ended(process.wait(), limit), True
                return
            answer: Any = json.loads(line)
            yield answer, False
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _line(process: Any, seconds: float) -> bytes:
    """Return the next line of *process*; empty where it has ended, or is too slow."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        line: bytes = process.stdout.readline()
    finally:
        timer.cancel()
    return line if line.endswith(b"\n") else b""


def _why_ended(status: int, limit: float) -> str:
    import signal

    if status < 0 and -status != getattr(signal, "SIGKILL", 9):
        with suppress(ValueError):
            return f"the scanner crashed: {signal.Signals(-status).name}"
    if status < 0:
        return f"the scanner was not done in {limit:.0f} s"
    return f"the scanner ended with {status}"


def _own_root() -> str:
    own = os.path.abspath(__file__)
    for _ in __name__.split("."):
        own = os.path.dirname(own)
    return own


def serve(scanner: str, folder: str) -> None:
    """Scan the files of *folder* in their order; in the child.

    Args:
        scanner: As for `scan`.
        folder: Where they are, as ``0.raw`` and so on.
    """
    from importlib import import_module

    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the scanner prints is no answer
    module, _, name = scanner.partition(":")
    function = getattr(import_module(module), name)
    os.write(out, b"ready\n")
    number = 0
    while os.path.exists(raw := os.path.join(folder, f"{number}.raw")):
        with open(raw, "rb") as file:
            data = file.read()
        answer: Any
        try:
            text = _text_of(data)
            path = os.path.join(folder, f"{number}.py")
            with open(path, "w", encoding="utf-8", newline="") as file_:
                file_.write(text)
            answer = function(path)
        except Exception as error:  # noqa: BLE001 - told to the host
            answer = f"{type(error).__name__}: {error}".replace(folder, "")[:200]
        _write(out, json.dumps(answer).encode() + b"\n")
        number += 1


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _text_of(data: bytes) -> str:
    """Return the text of a file, which may have another encoding (PEP 263).

    Raises:
        SyntaxError: It is no Python: the scanner would give it a low score.
    """
    compile(data, "<scanned>", "exec", dont_inherit=True, optimize=0)
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def hexora_audit(path: str) -> tuple[float, list[tuple[str, str, int, str]]]:
    """Return the score of a file, and the rules that it matches; in the child.

    Raises:
        ValueError: The scanner gives no score.
    """
    import hexora

    [found] = hexora.audit_file(path)
    score = found.get("score")  # its type stubs do not list it
    if type(score) is not float or not 0 <= score <= 1:
        raise ValueError("the scanner gives no score")
    with open(path, "rb") as file:
        data = file.read()
    rules: list[tuple[str, str, int, str]] = []
    for item in found["items"][:_MOST_RULES]:
        start = (item.get("location") or (0, 0))[0]
        line = data.count(b"\n", 0, start) + 1 if start else 0
        rules.append((item["rule"], item["confidence"], line, item["description"]))
    rules.sort(key=lambda rule: rule[2])
    return score, rules
