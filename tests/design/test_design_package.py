"""Rules of the package that ruff, mypy and lint-imports cannot check."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import luminal
from luminal import errors
from luminal.errors import ERROR_CODES

ROOT = Path(luminal.__file__).resolve().parent.parent
NAMES = sorted(
    module.name
    for module in pkgutil.walk_packages(luminal.__path__, "luminal.")
    if not module.name.endswith("__main__")
)
PUBLIC = {
    "luminal": "Deadlines Handler IPhoton Loader LuminalError PhotonContext "
    "PluginManager Previous Probation Quarantine __version__ discover hookimpl "
    "hookspec",
    "luminal.blocking": "Loader PlainHandler PlainHandlers",
    "luminal.contrib.discord": "Cogs",
    "luminal.discovery": "Discovered discover discover_file pack",
    "luminal.hooks": "Answer DeferredPluginManager ErrorPlace HookComparison "
    "HookFailure HookStatistics HookTotal OrderExplanation Place PluginManager",
    "luminal.interfaces": "IPhoton LifecycleSpecs PhotonContext Subject hookimpl "
    "hookspec",
    "luminal.ipython": "load_ipython_extension unload_ipython_extension",
    "luminal.managers": "Control GreenLight Handler Loader LoopController LoopTask "
    "LoopTrace SuperLoop ThreadManager TracedThread super_loop_factory",
    "luminal.metrics": "CONTENT_TYPE CpuLine CpuSample CpuTotal EventTotal "
    "HistoryRecord LoadSpan MetricsSnapshot PhaseTotal PhotonMetrics TextWriter "
    "create_app errors_of histories history_file observe_opentelemetry read_history "
    "register_prometheus sample_cpu snapshot snapshot_of_status to_text "
    "trace_opentelemetry",
    "luminal.model": "Candidate Deadlines Event EventKind Failure FailureKind "
    "FileChange Frame Outcome OutcomeResult "
    "Probation Problem Quarantine Report Source State Step "
    "SwapChanges TABLE advance as_quarantine",
    "luminal.sphinx": "setup",
    "luminal.testing": "AsyncHost FakeClock Folder Host Leak Save save",
    "luminal.tools": "Logger Sentinel SystemUtils",
    "luminal.web": "ErrorRow Failure HookChange HookRow HostReport HostSnapshot "
    "LeakRow LoadRow LossRow PhaseRow PhotonRow PhotonSnapshot Server compare "
    "create_app read_report render_page render_report report_of serve snapshot_of "
    "snapshot_of_status",
}
"""What users import: whoever adds a name here, adds it to the documentation."""


# What importing costs --------------------------------------------------------------

HEAVY = frozenset(
    {
        *("asyncio", "attr", "attrs", "click", "concurrent", "email", "inspect"),
        *("importlib.metadata", "importlib_metadata", "inotify_simple", "jinja2"),
        *("json", "logging", "packaging", "pluggy", "rich", "subprocess"),
        *("typing_extensions", "watchfiles"),
    }
)
"""Modules that would be felt at start-up; `typing` is loaded by `luminal` itself."""


@pytest.mark.parametrize("name", ["luminal", "luminal.errors"])
def test_import_is_light(name: str) -> None:
    """Whoever only imports Luminal, or catches its errors, pays for nothing else."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; before = {{*sys.modules}}; "
    code += f"import {name}; print(*{{*sys.modules}} - before)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    ours = {each for each in loaded if each.startswith("luminal")}
    assert name in loaded
    assert ours <= {"luminal", "luminal._lazy", name}
    assert loaded & HEAVY == set()


def test_no_module_needs_itself_to_be_imported() -> None:
    """Imports at module level, those for type checkers left out, make no circle."""
    needs = {}
    for name in NAMES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        needs[name] = {each for each in imported(tree.body) if each in NAMES} - {name}
    assert len([*TopologicalSorter(needs).static_order()]) == len(NAMES)


def imported(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the name of each module, or member of one, that *body* imports at once."""
    for node in body:
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                members = [f"{module}.{alias.name}" for alias in node.names]
                modules = [each for each in members if each in NAMES]
                yield from modules
                if len(modules) < len(members):
                    yield module
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from imported(node.orelse)
            case ast.If() | ast.Try():
                for name in ("body", "handlers", "orelse", "finalbody"):
                    yield from imported(getattr(node, name, []))
            case ast.ExceptHandler() | ast.With():
                yield from imported(node.body)


# What is public --------------------------------------------------------------------


def test_all_is_exact() -> None:
    """``__all__`` has the names above, each once, and each can be had."""
    for name, expected in PUBLIC.items():
        module = importlib.import_module(name)
        assert sorted(module.__all__) == expected.split(), name
        assert set(module.__all__) <= set(dir(module))
        assert [each for each in module.__all__ if not hasattr(module, each)] == []
    raised = {each.__name__ for each in ERROR_CODES.values()} & {*vars(errors)}
    assert raised <= {*errors.__all__}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        luminal.nothing  # noqa: B018 - the access is the test


def test_public_names_have_a_docstring_of_their_own() -> None:
    """One that is inherited would say of the child what the parent does."""
    silent = []
    for name in ("luminal", *NAMES):
        module = importlib.import_module(name)
        if not module.__doc__:
            silent.append(name)
        for member, value in vars(module).items():
            if getattr(value, "__module__", None) == name and member[0] != "_":
                silent += [f"{name}.{each}" for each in undescribed(member, value)]
    assert silent == []


def undescribed(name: str, value: object) -> Iterator[str]:
    """Yield *name*, and the members of the class *value*, that have no docstring."""
    members = {name: value}
    if inspect.isclass(value):
        members |= {f"{name}.{k}": v for k, v in vars(value).items() if k[0] != "_"}
    for member, each in members.items():
        inner = each.fget if isinstance(each, property) else each
        inner = getattr(inner, "__func__", inner)
        is_class = inspect.isclass(inner)
        if is_class or inspect.isfunction(inner):
            said = vars(inner).get("__doc__") if is_class else inner.__doc__
            if not said:
                yield member


# What is written -------------------------------------------------------------------

FORBIDDEN = [
    "py" + "pi",
    "python" + "hosted",
    "ana" + "conda.org",
    "hack" + "y",
    "blazing" + "ly",
    "cutting" + "-edge",
    "seam" + "less",
    "power" + "ful",
    "effort" + "less",
    "/ro" + "ot/",
    "/wo" + "rk/",
]
"""Package registries, advertising, and one machine's paths."""
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]
WORD = re.compile(
    "|".join(rf"\b{word}\b" for word in UNFINISHED)
    + "|(?i:"
    + "|".join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in FORBIDDEN)
    + ")"
)


def test_no_text_has_a_forbidden_word() -> None:
    """None that git tracks, fixtures of bytes left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone of the repository")
    found = []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        data = path.read_bytes() if name and path.is_file() else b""
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            if WORD.search(line):
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == []


def test_dev_py_can_be_read_by_an_old_python_that_it_refuses() -> None:
    """It compiles for 3.6, to say what is missing. CI runs the same command."""
    text = (ROOT / "dev.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__ import annotations\n" not in text
    script = ROOT / ".ci" / "run"
    assert "dev.py test" in script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
