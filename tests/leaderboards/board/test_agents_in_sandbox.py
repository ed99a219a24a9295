"""The suite's own agents in the real sandbox: each plays an episode there, action for action as it does outside.

A sandbox takes a second or more to start, so the agents of one track share one: agent i plays row i of a batch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from valuegym.agents import AGENTS, make, saved
from valuegym.agents.preference import constant
from valuegym.leaderboards import experiments
from valuegym.leaderboards.board import operations
from valuegym.leaderboards.board.sandbox import AgentFailure, Remote
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import EXPERIMENTS, Experiment
from valuegym.leaderboards.records.submission import EXAMPLE
from valuegym.leaderboards.run import play_record
from valuegym.leaderboards.trust.commitment import agent_digest
from valuegym.leaderboards.trust.judgement import judge, played
from valuegym.leaderboards.trust.ledger import read_ledger

pytestmark = pytest.mark.sandbox
OUTSIDE = {
    "oracle": "it asks the state of the live environment, which no sandbox holds",
    "goal_only": "it is given the sign of a hidden weight by the live environment",
    "language": "it needs a model: test_language_inside.py",
}
# Shorter episodes than those of the tracks, and shorter training where there is any.
SHORT: dict[str, dict[str, Any]] = {
    "preference/boards-regret": {"evaluation_points": (0, 3), "split": "dev"},
    "preference/policy-regret": {"evaluation_points": (0, 3), "split": "dev"},
    "preference/asking-regret": {"evaluation_points": (0, 2), "split": "dev"},
    "control/lqr-preferences": {"evaluation_points": (0, 1), "transitions": 60, "length": 3},
    "coevolution/lock-in": {"steps": 20},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 64, "batch_size": 64, "n_epochs": 1},
    "preference_ppo": {"n_steps": 64, "batch_size": 64, "n_epochs": 1},
}
STEPS = 64  # of training, for each agent
# Networks, references solved on a grid, language models.
SLOW = ("control/pendulum", "feedback/cartpole", "feedback/pendulum", "language/follow-people")
GROUP = """
from pathlib import Path
import numpy as np
from valuegym.agents import make as agent
from valuegym.agents.preference import constant

constant.TASKS = 2
HERE = str(Path(__file__).parent)
NAMED, STEPS = {named!r}, {steps!r}  # texts and settings


class Group:
    def __init__(self, env, seed):
        self.agents = [agent(text.replace("HERE", HERE), env, seed=seed, **settings) for text, settings in NAMED]

    def learn(self, timesteps):
        for each in self.agents:
            each.learn(STEPS)

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        memories, actions = list(state or [None] * len(self.agents)), []
        for i, each in enumerate(self.agents):
            if isinstance(observation, dict):
                row = {{name: value[i : i + 1] for name, value in observation.items()}}
            else:
                row = observation[i : i + 1]
            action, memories[i] = each.predict(row, memories[i], episode_start[i : i + 1], deterministic)
            actions.append(action)
        return np.concatenate(actions), memories


make = Group
"""


# Agents that are named in other ways, or have settings; they play beside those of a track.
FROM_ELSEWHERE: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "coevolution/lock-in": [
        ("shy_pack.shy", {}),
        ("shy_pack.shy", {"boldness": 0.5}),
        ("shy_pack:Shy", {"boldness": 2.0}),
        ("HERE/stranger.py:Shy", {}),
    ],
    "control/lqr": [
        ("saved:HERE/lqr_model_based.safetensors", {}),
        ("saved:HERE/ppo.zip", {}),
        ("ppo:HERE/ppo.zip", {}),
        ("lqr_model_based", {"rank": 1, "rounds": 1}),
        ("shy_pack.shy", {"boldness": 0.5}),
    ],
}
STRANGER = """
import numpy as np


class Shy:
    def __init__(self, env, seed, boldness=1.0):
        self.env, self.space, self.boldness = env, env.action_space, boldness
        self.rng, self.learnt = np.random.default_rng(seed), 0.0

    def learn(self, timesteps):
        observation, _ = self.env.reset(seed=1)
        for _ in range(timesteps):
            action = self.one()
            observation, reward, terminated, truncated, _ = self.env.step(action)
            self.learnt += float(reward)
            if terminated or truncated:
                self.env.reset()
        return self

    def one(self):
        if hasattr(self.space, "n"):
            return self.rng.integers(self.space.n)
        return np.clip(self.boldness * self.rng.uniform(-0.1, 0.1, self.space.shape), self.space.low, self.space.high)

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        first = state is None
        memory = np.zeros(len(episode_start)) if first else state + 1
        return np.stack([self.one() for _ in episode_start]), memory
"""


def bring_plugin(folder: Path) -> None:
    """Put a stranger's package with a plug-in into a folder, as pip lays it out, and the same class into a file."""
    about = folder / "shy_pack-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shy-pack\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[valuegym.agents]\nshy = shy_pack:Shy\n", encoding="utf-8")
    for name in ("shy_pack.py", "stranger.py"):
        (folder / name).write_text(STRANGER, encoding="utf-8")


def bring_models(folder: Path, what: Experiment) -> None:
    """Put trained agents into a folder: as valuegym saves them, and a zip of Stable-Baselines3."""
    env = gym.make(what.env_id, **what.kwargs)
    for name in ("lqr_model_based", "ppo"):
        settings = SETTINGS.get(name, {})
        trained: Any = make(name, env, seed=1, **settings)
        trained.learn(STEPS)
        content = saved.encode(trained, name, env, 1, settings)
        (folder / f"{name}{saved.suffix(trained)}").write_bytes(content)


def track(name: str) -> str:
    """The first track that an agent belongs on and that needs no data of people."""
    if name == "ppo":  # beside the other agent that loads torch and trains for a moment only
        return "control/lqr"
    found = [what.id for what in EXPERIMENTS.values() if name in what.agents and not what.data]
    assert found, f"{name} is on no track, so it cannot be shown to play in a sandbox; add it to one in experiments.py"
    return found[0]


def groups() -> dict[str, list[str]]:
    """The agents of every track that play there in a sandbox."""
    found: dict[str, list[str]] = {}
    for name in AGENTS:
        if name not in OUTSIDE:
            found.setdefault(track(name), []).append(name)
    return found


@pytest.fixture(autouse=True)
def quick_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The agent `constant` looks at two training tasks instead of all of them, here and inside."""
    monkeypatch.setattr(constant, "TASKS", 2)
    constant._search.cache_clear()
    yield
    constant._search.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An agent's folder."""
    (tmp_path / "agent").mkdir()
    yield tmp_path / "agent"
    sys.modules.pop("shy_pack", None)


def test_every_agent_plays_in_a_sandbox() -> None:
    assert sorted([*OUTSIDE, *(name for names in groups().values() for name in names)]) == sorted(AGENTS)


@pytest.mark.parametrize(
    ("name", "agents"),
    [pytest.param(*group, id=group[0], marks=[pytest.mark.slow] * (group[0] in SLOW)) for group in groups().items()],
)
def test_agents_play_inside_as_they_do_outside(
    name: str, agents: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agents of the table, and plug-ins, files, saved agents and zips, are made by the same texts."""
    for extra in {AGENTS[agent].extra for agent in agents} - {""}:
        pytest.importorskip({"text": "transformers"}.get(extra, "stable_baselines3"))
    named = [(agent, SETTINGS.get(agent, {})) for agent in agents] + FROM_ELSEWHERE.get(name, [])
    what = EXPERIMENTS[name]
    what = replace(
        what,
        arguments=json.dumps(what.kwargs | SHORT.get(name, {})),
        timesteps=STEPS * len(named) if what.timesteps else 0,
        episodes=len(named),
        options=(what.options[0], (what.options[1] * len(named))[: len(named)]) if what.options else None,
    )
    monkeypatch.setitem(experiments.EXPERIMENTS, name, what)
    if name in FROM_ELSEWHERE:
        bring_plugin(folder)
        monkeypatch.syspath_prepend(folder)
        if any(text.startswith("saved:") for text, _ in named):
            bring_models(folder, what)
    source = GROUP.format(named=named, steps=STEPS)
    (folder / "agent.py").write_text(source, encoding="utf-8")
    module: dict[str, Any] = {"__file__": str(folder / "agent.py")}
    exec(source, module)
    outside = module["make"](gym.make(what.env_id, **what.kwargs), 0)
    if what.timesteps:
        outside.learn(what.timesteps)
    seeds = what.evaluation_seeds(0)
    inside = operations._played(folder, "group", name, 0, seeds, None, None)
    assert [len(episode.actions) > 0 for episode in inside.episodes] == [True] * len(named)
    assert inside == play_record(outside, "group", name, 0, None, seeds)


# --- data of people ---

HUMAN = next(what for what in EXPERIMENTS.values() if what.data)


def test_tracks_of_people_are_refused_in_one_sentence(folder: Path) -> None:
    """The sandbox does not hold their data, from which the rules would be made."""
    source = "from valuegym.agents.preference.bayes_regret import BayesRegret as make\n"
    (folder / "agent.py").write_text(source, encoding="utf-8")
    env = gym.make(HUMAN.env_id, board="published")  # of the same spaces
    with pytest.raises(AgentFailure) as error, Remote(folder, env, (HUMAN.env_id, HUMAN.kwargs), 0):
        pass
    refused = (
        "ValueError: The rules of valuegym/RewardInference-v0 cannot be given here: Human preferences need the folder"
    )
    assert refused in str(error.value)


def test_the_folder_of_peoples_data_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(Exception):
        """What a sandbox would have been given."""

    def remote(folder: Any, env: Any, about: Any, seed: int, limits: Any) -> None:
        raise Refused(about)

    monkeypatch.setattr(operations, "Remote", remote)
    monkeypatch.setattr(operations.gym, "make", lambda *_, **kwargs: kwargs["data"])
    with pytest.raises(Refused) as given:
        operations._played("agent", "visitor", HUMAN.id, 0, [1], "/a/folder", None)
    assert given.value.args == ((HUMAN.env_id, HUMAN.kwargs),) and "/a/folder" not in str(given.value)


# --- a board ---

BOARD = Experiment(
    "test/bayes",
    "",
    "valuegym/RewardInference-v0",
    '{"annotator": "regret", "evaluation_points": [0, 3], "split": "dev"}',
    ("bayes_regret",),
    0,
    2,
    (0, 1),
    "evaluation_points",
)


@pytest.fixture(autouse=True, scope="module")
def small_experiment(enrol: Callable[..., None]) -> None:
    enrol(BOARD)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        pytest.param(BOARD, "bayes_regret", id=BOARD.id),
        pytest.param(BOARD, "shy", id="a plug-in"),
        pytest.param(
            EXPERIMENTS["preference/boards-regret-noiseless"], "bayes_regret", marks=pytest.mark.slow, id="a real track"
        ),
    ],
)
def test_an_executed_entry(
    what: Experiment,
    name: str,
    folder: Path,
    tmp_path: Path,
    make_key: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """From a board's first line to a verdict that anybody can check, by commands alone."""
    monkeypatch.chdir(tmp_path)
    make_key()
    source = "from valuegym.agents.preference.bayes_regret import BayesRegret as make\n"
    if name == "shy":  # from a package that nobody but the folder holds
        bring_plugin(folder)
        source = (
            "import valuegym.agents\n"
            "def make(env, seed):\n"
            "    return valuegym.agents.make('shy_pack.shy', env, seed=seed, boldness=0.5)\n"
        )
    (folder / "agent.py").write_text(source, encoding="utf-8")
    (tmp_path / "card.json").write_text(json.dumps(EXAMPLE | {"name": name}), encoding="utf-8")
    signed = ["--key", "key"]
    fixed = ["--agent", name, "--submitter", "me", "--digest", agent_digest(folder), "--experiment", what.id]
    executed = ["--card", "card.json", "--commitment", "2", "--nonce", "nonce"]
    for command in (
        ["begin", "board.jsonl", "--name", "A board", *signed],
        ["open", "board.jsonl", "--nonce", "nonce", *signed],
        ["commit", "board.jsonl", *fixed, *signed],
        ["execute", "board.jsonl", "agent", *executed, *signed],
        ["reveal", "board.jsonl", "--nonce", "nonce", *signed],
        ["show", "board.jsonl", "--board-key", "key.pub"],
    ):
        assert main(["board", *command]) == 0, capsys.readouterr()
    shown = capsys.readouterr().out
    assert f"accepted {name}" in shown and f"executed, on {what.id}" in shown
    ledger = read_ledger("board.jsonl")
    body = ledger.entries[4].body
    assert body["tier"] == "executed" and body["reason"] == "" and list(body["scores"]) == [what.id]
    again = judge("agent.zip", ledger=ledger, again=True)  # with the nonce in the ledger, anybody can
    assert again.reason == "" and again.digest == body["submission"] and played(again.verdicts) == body["plays"]
    assert len(again.verdicts) == len(what.seeds)
