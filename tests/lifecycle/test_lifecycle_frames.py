"""The way of an exception travels as small values; the traceback does not."""

from __future__ import annotations

import gc
import json
import pickle

import attrs
import pytest

from luminal.errors import LuminalError
from luminal.model import Frame, Problem
from luminal.testing import Host

DEEP = """\
import json
import luminal


class Canary:
    pass


def parse(text):
    canary = Canary()
    return json.loads(text)


class Geo(luminal.IPhoton):
    photon_name = "geo"

    {how}def start(self):
        self.at = parse("nonsense")
"""
ENDLESS = """\
import luminal


def fall(depth):
    return fall(depth + 1)


class Geo(luminal.IPhoton):
    photon_name = "geo"

    def start(self):
        fall(0)
"""


def failure(text: str, name: str = "geo.py", **beside: str) -> Problem:
    """Return why the photon of *text* does not start, or load."""
    with Host() as host:
        for module, its_text in beside.items():
            host.write(f"geo/{module}.py", its_text)
        host.write(name, text)
        with pytest.raises(LuminalError):
            host.run()
        (problem,) = (each.problem for each in host.events if each.problem is not None)
        return problem


def own(problem: Problem) -> list[tuple[str, int, str]]:
    return [
        (frame.function, frame.line, frame.text)
        for frame in problem.frames
        if frame.is_own
    ]


@pytest.mark.parametrize("how", ["", "async "])
def test_the_authors_calls_are_known_with_their_lines(how: str) -> None:
    """Luminal's own and the standard library's are told apart from them."""
    problem = failure(DEEP.format(how=how))
    assert own(problem) == [
        ("Geo.start", 18, 'self.at = parse("nonsense")'),
        ("parse", 11, "return json.loads(text)"),
    ]
    others = [frame.file for frame in problem.frames if not frame.is_own]
    assert any("json" in file for file in others)
    assert any("lifecycle" in file for file in others)
    assert (problem.line, problem.consequence) == (
        11,
        "it does not run; what it had started has been ended",
    )


def test_a_failing_import_is_followed_through_the_photons_own_files() -> None:
    text = "import luminal\nfrom .maps import SCALE\n" + DEEP.format(how="")
    problem = failure(text, "geo/__init__.py", maps="SCALE = 1 / 0\n")
    assert own(problem) == [
        ("<module>", 2, "from .maps import SCALE"),
        ("<module>", 1, "SCALE = 1 / 0"),
    ]
    assert problem.consequence == "it is not loaded"


def test_the_lines_are_those_that_ran_not_those_of_the_disk() -> None:
    """A refused generation is quoted from its own text, and so is the one before."""
    # By the time it fails, its file holds something else.
    again = "__import__('pathlib').Path(__file__).write_text('# nothing' * 30)"
    with Host() as host:
        host.write("geo.py", "import luminal\nclass Geo(luminal.IPhoton):\n    pass\n")
        host.run()
        host.edit("geo.py", f"import luminal\n{again}; raise OSError('no')\n")
        with pytest.raises(LuminalError) as caught:
            host.reload("Geo")
    assert own(Problem.of(caught.value, "import")) == [
        ("<module>", 2, f"{again}; raise OSError('no')")
    ]
    assert caught.value.consequence == "still running generation 1"
    assert "so: still running generation 1" in str(caught.value)


def test_a_way_without_end_is_kept_at_both_ends() -> None:
    problem = failure(ENDLESS)
    assert "RecursionError" in problem.why
    assert len(problem.frames) <= 32
    functions = [function for function, _, _ in own(problem)]
    assert functions[0] == "Geo.start"
    assert functions[-1] == "fall"


def test_no_frame_is_kept_alive() -> None:
    """What was local where it failed is gone, though the problem is still there."""
    problem = failure(DEEP.format(how=""))
    gc.collect()
    alive = [thing for thing in gc.get_objects() if type(thing).__name__ == "Canary"]
    assert not alive
    assert problem.frames


def test_a_problem_survives_json_and_pickle() -> None:
    problem = failure(DEEP.format(how=""))
    again = Problem(**json.loads(json.dumps(attrs.asdict(problem))))
    assert again == problem
    assert again.frames == problem.frames
    error = pickle.loads(pickle.dumps(problem.error("geo")))
    assert Problem.of(error, "start").frames == problem.frames
    assert Problem.of(error, "start") == problem


def test_problems_that_differ_in_their_way_only_are_equal() -> None:
    """A photon that is refused again, by another way, has the same problem."""
    one = Problem("LUM105", "import", "no", frames=(Frame("a.py", 1),))
    two = Problem("LUM105", "import", "no", frames=(Frame("b.py", 2),))
    assert one == two
    assert hash(one) == hash(two)


def test_a_module_that_lies_about_its_loader_is_no_obstacle() -> None:
    head = "import luminal\n__loader__ = 7\n__name__ = None\nraise OSError('no')\n"
    text = f"{head}class Geo(luminal.IPhoton):\n    pass\n"
    problem = failure(text)
    assert own(problem) == [("<module>", 4, "raise OSError('no')")]
