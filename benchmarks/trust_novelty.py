"""Novelty of benign and hostile texts, against families of texts that belong together.

There are few sets of photons of one operator in public, so modules of one package stand
for them: written by the same people for one purpose. Families are the packages that are
installed beside this program with 40 modules or more, Luminal's own example photons,
and all packages together, each as one photon. Half of a family is the operator's own;
the other half, and the hostile texts of the tests, alone and added to a text of the
other half, are the new ones.

    python -m benchmarks.trust_novelty

Prints, for each family, how many of each would be called new at a stated rate of false
alarms of 5 % or less. If the stated rate is honest, it is 5 % of the other half.
"""

from __future__ import annotations

import random
import statistics
import time

from benchmarks.trust_scan import installed, own_photons
from luminal.trust._novelty import features_of, score_of
from tests.trust.hostile import HOSTILE

RATE = 0.05
FEWEST = 40
MOST = 400
LARGEST = 2_000_000
Row = tuple[int, float, float, float]


def families() -> dict[str, dict[str, dict[str, bytes]]]:
    """Return name of a family → name of a text → its files."""
    packages = {
        name: files
        for name, (_, files) in installed().items()
        if sum(map(len, files.values())) < LARGEST
    }
    found = {"all packages, each as one": packages}
    found["Luminal's own photons"] = {p: {p: d} for p, d in own_photons().items()}
    for name, files in packages.items():
        modules = {p: {p: data} for p, data in files.items() if len(data) > 200}
        if len(modules) >= FEWEST:
            found[name] = dict(list(modules.items())[:MOST])
    return found


def rate_of(features: set[str], own: list[set[str]]) -> float:
    """Return the stated rate of false alarms of a text, as `NoveltyModel` does."""
    counts: dict[str, int] = {}
    for each in own:
        for feature in each:
            counts[feature] = counts.get(feature, 0) + 1
    score = score_of([counts.get(each, 0) for each in features], len(own))
    left_out = [score_of([counts[f] - 1 for f in each], len(own) - 1) for each in own]
    return sum(each >= score for each in left_out) / len(own)


def measure(units: list[set[str]], hostile: list[set[str]]) -> Row:
    """Return the number of own texts, and the parts of each kind that are new."""
    random.Random(1).shuffle(units)
    own, others = units[: len(units) // 2], units[len(units) // 2 :]
    some = others[:20]
    added = [text | other for text in hostile for other in some]
    return len(own), *(
        statistics.fmean(rate_of(each, own) <= RATE for each in kind)
        for kind in (others, hostile, added)
    )


def main() -> None:
    """Measure and print."""
    texts = {f"{name}.py": text.encode() for name, text in HOSTILE.items()}
    hostile = [set(features_of({path: text})[0]) for path, text in texts.items()]
    print(f"called new at a stated rate of {RATE:.0%} or less:")
    print(f"{'own':>4}  {'others':>6}  {'hostile':>7}  {'added':>6}")
    rows = []
    began = time.perf_counter()
    for name, units in families().items():
        found = [set(features_of(files)[0]) for files in units.values()]
        found = [each for each in found if each]
        if len(found) < FEWEST // 2:
            continue
        row = measure(found, hostile)
        rows.append(row)
        print(f"{row[0]:4}  {row[1]:6.0%}  {row[2]:7.0%}  {row[3]:6.0%}  {name}")
    means = [statistics.fmean(row[at] for row in rows) for at in (1, 2, 3)]
    print(f"mean  {means[0]:6.1%}  {means[1]:7.1%}  {means[2]:6.1%}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
