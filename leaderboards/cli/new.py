"""The command `valuegym new`: a small starting point of one's own, with a test, that works as it is."""

from __future__ import annotations

import argparse
import ast
import json
import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from valuegym.envs import template
from valuegym.leaderboards.cli.arguments import add_command
from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.records.submission import EXAMPLE

__all__ = ["KINDS", "add_commands", "contents", "write_new"]

NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
LONGEST = 30  # characters of a name, so that all made of it are names that records can hold

AGENT = '''"""An agent of one's own: made by {Class}(env, seed=seed, **settings), played by `predict` of BatchAgent."""

import numpy as np
from valuegym.agents.base import BatchAgent


class {Class}(BatchAgent):
    """Agent that plays the action nearest to 0, or the middle one of several."""

    def act(self, observation, memory, start):
        """Return actions (N, ...) for a batch of N observations, and what to remember until the next step.

        Start (N,) marks the episodes that begin; memory is None at the first call.
        """
        space, n = self.action_space, len(start)
        if hasattr(space, "n"):
            return np.full(n, space.start + space.n // 2), memory
        action = np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
        return np.stack([action] * n), memory
'''
AGENT_TEST = '''"""Test of {name}.py: the agent plays a track, and its record replays."""

from pathlib import Path

import valuegym

AGENT = f"{{Path(__file__).with_name('{name}.py')}}:{Class}"


def test_its_record_replays(tmp_path):
    path = valuegym.run(AGENT, "control/lqr", 0, tmp_path)
    assert valuegym.verify(path).reason == ""


def test_it_is_scored_between_the_references():
    score, low, high = valuegym.evaluate(AGENT, "control/lqr", seeds=[0, 1]).estimate
    assert low <= score <= high <= 1
'''
TRACK = '''"""A track of one's own. Who verifies records of it names this file: --plugin {name}.py:TRACK."""

from valuegym import Experiment

TRACK = Experiment(
    id="own/{dashes}",
    about="A regulator of twice the mass.",
    env_id="valuegym/LQR-v0",
    arguments='{{"mass": 2.0}}',
    agents=("uniform", "oracle"),
)
'''
TRACK_TEST = '''"""Test of {name}.py: the oracle scores 1, and a record of another agent replays."""

import numpy as np
import valuegym

from {name} import TRACK


def test_the_oracle_scores_one_and_others_less(tmp_path):
    assert np.allclose(valuegym.evaluate("oracle", TRACK, seeds=[0]).scores, 1)
    assert valuegym.evaluate("uniform", TRACK).estimate[0] < 1


def test_a_record_replays(tmp_path):
    path = valuegym.run("uniform", TRACK.id, TRACK.seeds[0], tmp_path)
    assert valuegym.verify(path).reason == ""
'''
ENVIRONMENT = '''"""An environment of one's own as a core, and a track on it.

{protocol}
"""
{code}

# By its file, so that every process that loads the track finds the core.
valuegym.register_core("own/{Class}-v0", f"{{__file__}}:{Class}", tags=("tabular",))
TRACK = valuegym.Experiment(
    id="own/{dashes}",
    about="Walk to the goal and stay there.",
    env_id="own/{Class}-v0",
    agents=("uniform", "oracle"),
)
'''
ENVIRONMENT_TEST = '''"""Test of {name}.py: what every environment of valuegym passes, and scores of its references."""

from functools import partial

import gymnasium as gym
import numpy as np
import valuegym

from {name} import TRACK


def test_it_passes_every_check():
    valuegym.testing.check(partial(gym.make, TRACK.env_id))


def test_the_oracle_scores_one_and_others_less():
    assert np.allclose(valuegym.evaluate("oracle", TRACK).scores, 1)
    assert valuegym.evaluate("uniform", TRACK).estimate[0] < 1
'''
ANNOTATOR = '''"""An annotator of one's own, and a track whose agents learn from its answers.

It gets two batches of N segments with true rewards (N, L), lengths (N,), observations, actions and columns `info`, and
returns a label for each pair: 0 (the first is preferred), 1 (the second), 0.5 (the same) or NaN (can't tell). `rng` is
a numpy generator, the same for the same pair of an episode; leave the argument out where nothing is random.
"""

import numpy as np
from valuegym import Experiment

MISTAKES = 0.1  # share of the answers that are turned around


def {name}(first, second, rng):
    """Return labels (N,): the higher sum of rewards is preferred, one time in ten the other one."""
    returns = [side.rewards.sum(1) for side in (first, second)]
    labels = 0.5 + 0.5 * np.sign(returns[1] - returns[0])
    return np.where(rng.random(len(labels)) < MISTAKES, 1 - labels, labels)


TRACK = Experiment(
    id="own/{dashes}",
    about="Rewards known from the answers of {name}.",
    env_id="valuegym/RewardInference-v0",
    arguments=\'{{"annotator": "{name}.py:{name}", "evaluation_points": [0, 30]}}\',
    agents=("partial_return", "oracle"),
    episodes=3,
    score="evaluation_points",
)
'''
ANNOTATOR_TEST = '''"""Test of {name}.py: how often it is mistaken, and a record of an agent that learns from it."""

import numpy as np
import valuegym
from valuegym.envs.feedback.segments import Segments

from {name} import MISTAKES, TRACK, {name}


def test_the_higher_return_is_preferred_but_for_mistakes():
    rng, n = np.random.default_rng(0), 2000
    first, second = (Segments(np.zeros((n, 6, 1)), np.zeros((n, 5)), rng.normal(size=(n, 5))) for _ in range(2))
    better = second.rewards.sum(1) > first.rewards.sum(1)
    wrong = np.mean({name}(first, second, rng) != better)
    assert abs(wrong - MISTAKES) < 4 * np.sqrt(MISTAKES * (1 - MISTAKES) / n)
    assert set({name}(first, first, rng)) == {{0.5}}


def test_an_agent_learns_from_its_answers_and_the_record_replays(tmp_path):
    scores = valuegym.evaluate("partial_return", TRACK).scores  # by seed, episode and evaluation point
    assert scores[:, :, -1].mean() > scores[:, :, 0].mean()
    path = valuegym.run("partial_return", TRACK.id, TRACK.seeds[0], tmp_path)
    assert valuegym.verify(path).reason == ""
'''
ANNOTATOR_CARD = """# {name}

| | |
| --- | --- |
| who answers | a program; no person was asked |
| what is compared | the sums of the true rewards of two segments |
| noise | one answer in ten is turned around; equal sums are never mistaken for others |
| never answered | every pair gets an answer |
| what it needs to see | the true reward, which agents do not |
| source | your own; say here what it was made after, and what was measured |
"""
KINDS = ("agent", "annotator", "environment", "track")


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands,
        "new",
        _new,
        "write an agent, annotator, environment or track of your own to begin with, and its test, into this folder",
        "valuegym new agent shy",
        "valuegym new annotator strict",
        "valuegym new environment maze",
    )
    sub.add_argument("kind", choices=KINDS, help="what to write")
    sub.add_argument("name", metavar="NAME", help="of the file, in lower case: NAME.py, NAME:Name")


def _environment() -> tuple[str, str]:
    """Return the protocol and the code of the template core."""
    source = Path(template.__file__).read_text(encoding="utf-8")
    documentation = (template.__doc__ or "").strip().partition("\n\n")[2]
    code = source[source.index("\nfrom __future__") :]
    code = re.sub(r"__all__ = .*\n\n", "", code)
    return documentation, code.replace("from valuegym.envs import", "import valuegym\nfrom valuegym.envs import")


def _names_used() -> set[str]:
    """Return the names that the file of an annotator and its test use, and a function of that name would replace."""
    words = {"name": "_", "Class": "_", "dashes": "_"}
    nodes = [node for text in (ANNOTATOR, ANNOTATOR_TEST) for node in ast.walk(ast.parse(text.format(**words)))]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return (names | {node.arg for node in nodes if isinstance(node, ast.arg)}) - {"_"}


def contents(kind: str, name: str) -> dict[str, str]:
    """Return the files of a starting point, by their names.

    Raises:
        ValueError: the kind is unknown, or the name cannot be that of a module of one's own.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST or keyword.iskeyword(name):
        raise ValueError(
            f"NAME is {name!r}; expected at most {LONGEST} lower-case letters, digits and single underscores, a letter "
            "first."
        )
    words = {"name": name, "Class": name.title().replace("_", ""), "dashes": name.replace("_", "-")}
    if kind == "annotator" and name in _names_used():
        raise ValueError(f"NAME is {name!r}, which its files use for something else; choose another.")
    if kind == "agent":
        card = EXAMPLE | {"name": f"{name}.{words['Class']}"}
        files = {f"{name}.py": AGENT, f"test_{name}.py": AGENT_TEST}
        return {file: text.format(**words) for file, text in files.items()} | {
            "card.json": json.dumps(card, indent=2) + "\n"
        }
    if kind == "track":
        files = {f"{name}.py": TRACK, f"test_{name}.py": TRACK_TEST}
    elif kind == "annotator":
        files = {f"{name}.py": ANNOTATOR, f"test_{name}.py": ANNOTATOR_TEST, f"{name}.md": ANNOTATOR_CARD}
    elif kind == "environment":
        files = {f"{name}.py": ENVIRONMENT, f"test_{name}.py": ENVIRONMENT_TEST}
        protocol, code = (text.replace("Corridor", words["Class"]) for text in _environment())
        words |= {"protocol": protocol, "code": code.rstrip("\n") + "\n"}
    else:
        raise ValueError(f"There is no template of {kind!r}; expected one of {', '.join(KINDS)}.")
    return {file: text.format(**words) for file, text in files.items()}


def write_new(kind: str, name: str, folder: str | Path = ".") -> list[Path]:
    """Write a starting point into a folder, and return the paths of its files; none is overwritten.

    Raises:
        ValueError: as `contents`, or a module of that name is installed.
        FileExistsError: one of the files is there already; then none is written.
        OSError: a file cannot be written.
    """
    files = {Path(folder) / file: text for file, text in contents(kind, name).items()}
    there = [str(path) for path in files if path.exists()]
    if there:
        raise FileExistsError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already; nothing was written. "
            "Choose another NAME or an empty folder, or move what is there."
        )
    if find_spec(name) is not None:
        raise ValueError(f"NAME is {name!r}, but a module of that name is installed; choose another.")
    for path, text in files.items():
        write_atomically(path, text)
    return list(files)


def _new(args: argparse.Namespace) -> None:
    paths = write_new(args.kind, args.name)
    name = paths[0].stem
    if args.kind == "agent":
        words = f"--agent {name}.py:{name.title().replace('_', '')} --experiment control/lqr"
    else:
        words = f"--experiment {name}.py:TRACK"
    print(f"wrote  {', '.join(map(str, paths))}")
    print(f"next   python -m pytest    (pip install pytest)\n       valuegym run {words}")
