"""Scores of the scanner for benign distributions, and for the hostile set of the tests.

The benign ones are those that are installed beside this program, and wheels in
DIRECTORY, for example the downloads of `benchmarks.trust_profile`.

    python -m benchmarks.trust_scan [DIRECTORY]

Prints how many packages and files reach a score, by topic, which files those are, and
the score of each hostile text. Scores are no promise of the scanner's versions, so the
figures of the documentation are those of the version that the extra pins.
"""

from __future__ import annotations

import collections
import importlib.metadata
import sys
import time
import zipfile
from pathlib import Path

from luminal.trust import FileScore, scan
from tests.trust.hostile import HOSTILE

LEVELS = (0.2, 0.3, 0.5, 0.8)
PLUGINS = "luminal's own photons"


def topic_of(classifiers: list[str]) -> str:
    """Return the topic of a distribution, in a word or two."""
    topics = [c.split(" :: ")[1] for c in classifiers if c.startswith("Topic :: ")]
    return topics[0] if topics else "no topic"


def installed() -> dict[str, tuple[str, dict[str, bytes]]]:
    """Return name → topic and Python files, of what is installed."""
    found = {}
    for each in importlib.metadata.distributions():
        files = {}
        for path in each.files or ():
            if path.suffix == ".py" and (place := Path(str(path.locate()))).is_file():
                files[str(path)] = place.read_bytes()
        topic = topic_of(each.metadata.get_all("Classifier") or [])
        if files:
            found[f"{each.name} {each.version}"] = topic, files
    return found


def downloaded(directory: Path) -> dict[str, tuple[str, dict[str, bytes]]]:
    """Return name → topic and Python files, of wheels."""
    found = {}
    for wheel in sorted(directory.rglob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".py")]
            files = {name: archive.read(name) for name in names}
        found[" ".join(wheel.name.split("-")[:2])] = "downloaded", files
    return found


def own_photons() -> dict[str, bytes]:
    """Return the photons of the examples and of the demo."""
    root = Path(__file__).parent.parent
    folders = [root / "plugins_example", root / "luminal" / "cli" / "demo"]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*.py")
    }


def main() -> None:
    """Scan and print."""
    packages = installed()
    if len(sys.argv) > 1:
        packages |= downloaded(Path(sys.argv[1]))
    packages[PLUGINS] = PLUGINS, own_photons()
    began = time.perf_counter()
    scores: dict[str, list[FileScore]] = {
        name: scan(files, cache=False) for name, (_, files) in packages.items()
    }
    seconds = time.perf_counter() - began
    files = [each for of in scores.values() for each in of]
    scanned = [each for each in files if each.score is not None]
    print(f"{len(packages)} packages, {len(files)} files, {seconds:.0f} s")
    print(f"not scanned: {len(files) - len(scanned)}")
    for why, count in collections.Counter(f.why for f in files if f.why).most_common(5):
        print(f"  {count} x {why}")
    highest = {
        name: max((f.score or 0.0 for f in of), default=0.0)
        for name, of in scores.items()
    }
    for level in LEVELS:
        of_packages = sum(score >= level for score in highest.values())
        of_files = sum((each.score or 0) >= level for each in scanned)
        print(
            f"score >= {level}: {of_packages} packages "
            f"({of_packages / len(packages):.1%}), {of_files} files "
            f"({of_files / len(scanned):.2%})"
        )
    print("by topic, packages with a file of 0.3 or more:")
    topics: dict[str, list[float]] = collections.defaultdict(list)
    for name, (topic, _) in packages.items():
        topics[topic].append(highest[name])
    for topic, of_topic in sorted(topics.items()):
        high = sum(score >= 0.3 for score in of_topic)
        print(f"  {topic}: {high} of {len(of_topic)}")
    print("files of 0.3 or more:")
    for name, of in scores.items():
        for each in of:
            if (each.score or 0) >= 0.3:
                print(f"  {each.score:.2f}  {name}  {each.path}")
    print("hostile texts:")
    texts = {f"{name}.py": text.encode() for name, text in HOSTILE.items()}
    for each in scan(texts, cache=False):
        print(f"  {each.text}  {each.path}")


if __name__ == "__main__":
    main()
