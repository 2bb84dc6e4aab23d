"""Bundles → candidates, and directories, wheels and distributions → bundles.

What a bundle says of its photons was read from their syntax trees when it was packed,
and is in its manifest. Nothing is imported to pack it, nor to find it.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from luminal.discovery._names import check_photon, fold, printable
from luminal.discovery._static import facts_of
from luminal.errors import (
    LuminalError,
    PhotonNotFoundError,
    PhotonUnreadableError,
    PhotonValidationError,
    PhotonVerificationError,
    did_you_mean_path,
)
from luminal.model import Candidate, Problem, Source
from luminal.trust import (
    Bundle,
    build_bundle,
    check_member,
    host_key_path,
    is_sealed,
    open_bundle,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luminal.discovery._scan import RecordingFileSystem

__all__ = ["ENDING", "candidates_of", "pack", "read_bundle_file"]

ENDING = ".photon"

_TEXTS = ("version", "author", "description", "api")
_LISTS = ("tags", "requirements", "before", "after", "owns", "files")


def read_bundle_file(files: RecordingFileSystem, path: str) -> list[Candidate]:
    """Return the candidates of the bundle at *path*; nothing of it is executed.

    Args:
        files: Where files are looked at.
        path: Absolute path of the bundle.
    """
    try:
        data = files.read(path, needs_digest=True)
        if is_sealed(data):  # then the answer depends on the key
            files.exists(os.path.abspath(host_key_path()))
        return candidates_of(open_bundle(data, path), path)
    except LuminalError as error:
        phase = "read" if isinstance(error, PhotonUnreadableError) else "discovery"
        stem = os.path.basename(path).removesuffix(ENDING)
        return [
            Candidate(
                name=printable(stem),
                source=Source.BUNDLE,
                origin=printable(stem),
                location=path,
                problem=Problem.of(error, phase),
            )
        ]


def candidates_of(bundle: Bundle, path: str) -> list[Candidate]:
    """Return the photons that the manifest of *bundle* names.

    Args:
        bundle: An opened bundle.
        path: Its absolute path.

    Raises:
        PhotonVerificationError: It names none.
    """
    manifest = bundle.manifest
    if not manifest.photons:
        raise PhotonVerificationError(
            "holds no photon",
            file=path,
            why="its manifest names none",
            hint="pack a directory or a distribution with a photon",
        )
    return [_candidate(bundle, path, facts) for facts in manifest.photons]


def _candidate(bundle: Bundle, path: str, facts: Mapping[str, Any]) -> Candidate:
    manifest = bundle.manifest
    known: dict[str, Any] = {
        "name": printable(facts["name"]),
        "source": Source.BUNDLE,
        "origin": f"{manifest.name} {manifest.version}",
        "location": path,
        "checksum": bundle.checksum,
        "version": manifest.version,
        "root": manifest.root,
    }
    problem = None
    try:
        check_photon(facts["name"], path, 0)
        for key in _TEXTS:
            known[key] = _of_type(facts, key, str) or known.get(key, "")
        for key in _LISTS:
            known[key] = tuple(_of_type(facts, key, list) or ())
            if not all(type(each) is str for each in known[key]):
                _refuse_facts(key)
        known["enabled"] = _of_type(facts, "enabled", bool) is not False
        known["target"] = _of_type(facts, "target", str) or ""
        module = known["target"].partition(":")[0]
        if not (module + ".").startswith(manifest.root + "."):
            _refuse_facts("target")
    except LuminalError as error:
        error.file = error.file or path
        problem = Problem.of(error, "discovery")
        known = {k: v for k, v in known.items() if k not in _LISTS}
    return Candidate(**known, problem=problem)


def _of_type(facts: Mapping[str, Any], key: str, kind: type) -> Any:
    value = facts.get(key)
    if value is not None and type(value) is not kind:
        _refuse_facts(key)
    return value


def _refuse_facts(key: str) -> NoReturn:
    raise PhotonValidationError(
        f"has a manifest with an unusable {key!r}",
        hint="pack it again with 'luminal pack'",
    )


def _facts(candidate: Candidate, target: str) -> dict[str, Any]:
    """Return what a manifest keeps of a photon."""
    facts: dict[str, Any] = {"name": candidate.name, "target": target}
    for key in _TEXTS:
        if getattr(candidate, key):
            facts[key] = getattr(candidate, key)
    for key in _LISTS:
        if getattr(candidate, key):
            facts[key] = list(getattr(candidate, key))
    if not candidate.enabled:
        facts["enabled"] = False
    return facts


# ---- packing


def pack(
    source: str | os.PathLike[str],
    *,
    name: str = "",
    version: str = "",
    default_version: str = "",
    channel: str = "",
    expires: int = 0,
) -> Bundle:
    """Return a bundle of a directory, a wheel, or an installed distribution.

    Args:
        source: Path of a package, of a directory of photons, of a photon's file or of
            a wheel; or the name of a distribution that is installed.
        name: Of the bundle; by default that of the source.
        version: By default that of its photons, which must agree then.
        default_version: Used where they have none, or several.
        channel: Where it is released, such as ``stable``; empty for none.
        expires: Seconds since 1970 from which on it is not accepted; 0 for never.

    Raises:
        PhotonNotFoundError: There is no such source.
        PhotonValidationError: Its photons cannot be loaded, or have no version.
        PhotonVerificationError: One of its files cannot be part of a bundle.
    """
    text = os.fspath(source)
    path = os.path.abspath(text)
    if os.path.isdir(path):
        found = _of_directory(path, name)
    elif text.endswith(".whl"):
        found = _of_wheel(path)
    elif os.path.isfile(path):
        found = _of_file(path)
    else:
        found = _of_distribution(text)
    broken = next((c for c in found.candidates if c.problem is not None), None)
    if broken is not None and broken.problem is not None:
        raise broken.problem.error(broken.name)
    if not found.candidates:
        raise PhotonValidationError(
            "holds no photon",
            file=path,
            why="no class in it derives from IPhoton, and no entry point names one",
            hint="name the package, or the directory that holds photons",
        )
    found = attrs.evolve(
        found,
        name=name or found.name,
        version=version or found.version or _version_of(found, path, default_version),
    )
    if not found.is_installed:
        found.files.update(_metadata_files(found))
    return build_bundle(
        found.files,
        name=found.name,
        version=found.version,
        root=found.root,
        photons=[_facts(c, found.target_of(c)) for c in found.candidates],
        flat=found.is_flat,
        channel=channel,
        expires=expires,
    )


@attrs.frozen
class _Found:
    """What is to be packed.

    Attributes:
        files: Path in the bundle → bytes.
        root: See `Manifest.root`.
        candidates: Its photons.
        name: Of the source.
        version: Of the source, or empty.
        directory: What the locations of the candidates lie below.
        is_flat: See `Manifest.flat`.
        is_installed: Whether it has metadata of a distribution.
    """

    files: dict[str, bytes]
    root: str
    candidates: Sequence[Candidate]
    name: str
    version: str = ""
    directory: str = ""
    is_flat: bool = False
    is_installed: bool = False

    def target_of(self, candidate: Candidate) -> str:
        """Return ``package.module:Photon`` of a photon."""
        if self.is_installed:
            return candidate.target
        inside = os.path.relpath(candidate.location, self.directory)
        stem = inside.removesuffix(".py").removesuffix("__init__").rstrip(os.sep)
        parts = [part for part in stem.split(os.sep) if part]
        module = ".".join([self.root, *parts] if self.is_flat else parts)
        with open(candidate.location, "rb") as file:
            facts = facts_of(file.read(), candidate.location, "")
        is_module = candidate.target == module.rpartition(".")[2]
        if is_module and candidate.target not in {*facts.classes, *facts.imports}:
            return module  # its functions are the hook implementations
        return f"{module}:{candidate.target}"


def _version_of(found: _Found, path: str, default: str) -> str:
    versions = {c.version for c in found.candidates if c.version}
    if len(versions) != 1 and default:
        return default
    if len(versions) != 1:
        raise PhotonValidationError(
            "has no version" if not versions else "has several versions",
            file=path,
            why=f"its photons have {', '.join(sorted(versions)) or 'none'}",
            hint="name one: luminal pack --version 1.0 ...",
        )
    return versions.pop()


def _of_directory(path: str, name: str) -> _Found:
    from luminal.discovery._discover import discover, discover_file

    init = os.path.join(path, "__init__.py")
    own = os.path.basename(path)
    if os.path.isfile(init):
        found = discover_file(init)
        files = {f"{own}/{p}": data for p, data in _read_tree(path).items()}
        return _Found(files, own, [*found], own, directory=os.path.dirname(path))
    root = re.sub(r"\W", "_", name or own)
    root = f"_{root}" if not root.isidentifier() else root
    files = {f"{root}/{p}": data for p, data in _read_tree(path).items()}
    files[f"{root}/__init__.py"] = b""
    found = discover(path, group=None, index=False)
    candidates = [_without_order(c) for c in found]
    return _Found(files, root, candidates, own, directory=path, is_flat=True)


def _without_order(candidate: Candidate) -> Candidate:
    """Return *candidate* without the problem that others are missing here."""
    problem = candidate.problem
    if problem is not None and problem.phase == "order":
        return attrs.evolve(candidate, problem=None)
    return candidate


def _of_file(path: str) -> _Found:
    from luminal.discovery._discover import discover_file

    leaf = os.path.basename(path)
    stem = leaf.removesuffix(".py")
    if leaf == "__init__.py":
        return _of_directory(os.path.dirname(path), "")
    found = discover_file(path)
    with open(path, "rb") as file:
        files = {leaf: file.read()}
    return _Found(files, stem, [*found], stem, directory=os.path.dirname(path))


_LEFT_OUT = frozenset({"__pycache__", "node_modules", "CVS"})


def _read_tree(directory: str) -> dict[str, bytes]:
    """Return path → bytes of the files below *directory*.

    Hidden ones, what editors leave, and compiled Python are left out.

    Raises:
        PhotonVerificationError: One is a link, or no file.
    """
    files: dict[str, bytes] = {}
    waiting = [directory]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            name = entry.name
            if name.startswith(".") or name in _LEFT_OUT:
                continue
            if name.endswith(("~", ".swp", ".pyc", ".pyo", ENDING)):
                continue
            if entry.is_symlink():
                raise PhotonVerificationError(
                    "cannot be packed",
                    file=entry.path,
                    why="it is a link, and a bundle holds files only",
                    hint="replace it by a copy of what it leads to",
                )
            if entry.is_dir():
                waiting.append(entry.path)
            elif entry.is_file():
                inside = os.path.relpath(entry.path, directory).replace(os.sep, "/")
                check_member(inside, entry.path)
                with open(entry.path, "rb") as file:
                    files[inside] = file.read()
            else:
                raise PhotonVerificationError(
                    "cannot be packed", file=entry.path, why="it is no regular file"
                )
    return files


def _of_wheel(path: str) -> _Found:
    """Return what a wheel holds; it is unpacked to a private folder to be looked at."""
    import zipfile
    import zlib

    from luminal.trust._bundle import LIMIT

    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            rows = archive.infolist()
            if sum(row.file_size for row in rows) > LIMIT:
                raise PhotonVerificationError(
                    "is too large", file=path, why=f"the limit is {LIMIT:,} bytes"
                )
            for row in rows:
                if row.is_dir():
                    continue
                check_member(row.filename, path)
                if row.filename in files:
                    raise PhotonVerificationError(
                        "is no sound wheel", file=path, why=f"{row.filename!r} twice"
                    )
                with archive.open(row) as member:  # as many bytes as it has said
                    files[row.filename] = member.read(row.file_size + 1)
    except FileNotFoundError:
        raise _missing(path) from None
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError),
        *(NotImplementedError, RuntimeError),
    ) as error:
        raise PhotonUnreadableError(
            "is no wheel", file=path, why=str(error), hint="build it again"
        ) from None
    return _of_installed(files, path)


def _of_distribution(name: str) -> _Found:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        raise _missing(name) from None
    files: dict[str, bytes] = {}
    for each in found.files or ():
        inside = each.as_posix()
        is_left_out = inside.startswith("../") or "__pycache__" in each.parts
        if is_left_out or inside.endswith((".pyc", "/INSTALLER", "/REQUESTED")):
            continue
        if inside.endswith(("/RECORD", "/direct_url.json")):
            continue  # about this installation
        check_member(inside, name)
        with open(str(found.locate_file(each)), "rb") as file:
            files[inside] = file.read()
    return _of_installed(files, name)


def _missing(source: str) -> PhotonNotFoundError:
    return PhotonNotFoundError(
        f"{source!r} is not there",
        why="no file, directory or installed distribution is called so",
        hint="name a photon's file or directory, a .whl file, or a distribution of "
        f"this environment{did_you_mean_path(source)}",
    )


def _of_installed(files: dict[str, bytes], source: str) -> _Found:
    """Return what the files of a distribution are.

    Args:
        files: Path below the folder that it is installed in → bytes.
        source: To blame.
    """
    from luminal.discovery._discover import discover

    with tempfile.TemporaryDirectory(prefix="luminal-pack-") as folder:
        try:
            for inside, data in files.items():
                target = os.path.join(folder, *inside.split("/"))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "xb") as file:
                    file.write(data)
        except OSError as error:
            raise PhotonUnreadableError(
                f"cannot be packed: {inside!r}",
                file=source,
                why=error.strerror or str(error),
                hint="rename the file; or make room, where the disk is full",
            ) from None
        found = discover(path=[folder], index=False)
    candidates = [_blamed(_without_order(c), folder, source) for c in found]
    first = candidates[0] if candidates else None
    tops = {p.partition("/")[0] for p in files if p.endswith(".py")}
    tops = {top.removesuffix(".py") for top in tops if not top.endswith(".dist-info")}
    if len(tops) > 1:
        raise PhotonVerificationError(
            "cannot be packed",
            file=source,
            why=f"it has several packages: {', '.join(sorted(tops))}",
            hint="move them below one package",
        )
    root = _common_root(files, tops.pop()) if tops else ""
    name, _, version = first.origin.rpartition(" ") if first else ("", "", "")
    return _Found(files, root, candidates, name, version, is_installed=True)


def _blamed(candidate: Candidate, folder: str, source: str) -> Candidate:
    """Return *candidate*, whose problem is one of *source* and not of *folder*."""
    problem = candidate.problem
    if problem is None or not str(problem.file).startswith(folder):
        return candidate
    file = source + str(problem.file)[len(folder) :]
    return attrs.evolve(candidate, problem=attrs.evolve(problem, file=file))


def _common_root(files: Iterable[str], top: str) -> str:
    """Return the topmost package with code below *top*, which may be a namespace."""
    modules = [p.removesuffix(".py") for p in files if p.endswith(".py")]
    modules = [each for each in modules if f"{each}/".startswith(f"{top}/")]
    root = top
    while f"{root}/__init__" not in modules and root not in modules:
        below = {each[len(root) + 1 :].partition("/")[0] for each in modules}
        if len(below) != 1:
            break
        root = f"{root}/{below.pop()}"
    return root.replace("/", ".")


def _metadata_files(found: _Found) -> dict[str, bytes]:
    """Return the metadata of a wheel for what was a directory."""
    label = re.sub(r"[-_.]+", "_", found.name).lower()
    folder = f"{label}-{found.version}.dist-info"
    entries = [f"{_entry(c)} = {found.target_of(c)}\n" for c in found.candidates]
    first = found.candidates[0]
    about = f"Metadata-Version: 2.1\nName: {found.name}\nVersion: {found.version}\n"
    if len(found.candidates) == 1 and first.description:
        about += f"Summary: {first.description.splitlines()[0]}\n"
    return {
        f"{folder}/METADATA": about.encode(),
        f"{folder}/WHEEL": b"Wheel-Version: 1.0\nGenerator: luminal\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{folder}/entry_points.txt": (
            "[luminal.photons]\n" + "".join(entries)
        ).encode(),
    }


def _entry(candidate: Candidate) -> str:
    return re.sub(r"[^\w.-]", "-", fold(candidate.name)) or "photon"
