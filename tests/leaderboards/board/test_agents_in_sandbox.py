"""The suite's own agents in the real sandbox: each plays an episode there, action for action as it does outside.

A sandbox takes a second or more to start, so the agents of one track share one: agent i plays row i of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from valuegym.agents import AGENTS
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
OUTSIDE = {"oracle": "it asks the state of the live environment, which no sandbox holds"}
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
SLOW = ("control/pendulum", "feedback/cartpole", "feedback/pendulum")  # networks, references solved on a grid
GROUP = """
import numpy as np
from valuegym.agents import make as agent
from valuegym.agents.preference import constant

constant.TASKS = 2
NAMES, SETTINGS, STEPS = {names!r}, {settings!r}, {steps!r}


class Group:
    def __init__(self, env, seed):
        self.agents = [agent(name, env, seed=seed, **SETTINGS.get(name, dict())) for name in NAMES]

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
def folder(tmp_path: Path) -> Path:
    """An agent's folder."""
    (tmp_path / "agent").mkdir()
    return tmp_path / "agent"


def test_every_agent_plays_in_a_sandbox() -> None:
    assert sorted([*OUTSIDE, *(name for names in groups().values() for name in names)]) == sorted(AGENTS)


@pytest.mark.parametrize(
    ("name", "agents"),
    [pytest.param(*group, id=group[0], marks=[pytest.mark.slow] * (group[0] in SLOW)) for group in groups().items()],
)
def test_agents_play_inside_as_they_do_outside(
    name: str, agents: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(AGENTS[agent].extra for agent in agents):
        pytest.importorskip("stable_baselines3")
    what = EXPERIMENTS[name]
    what = replace(
        what,
        arguments=json.dumps(what.kwargs | SHORT.get(name, {})),
        timesteps=STEPS * len(agents) if what.timesteps else 0,
        episodes=len(agents),
        options=(what.options[0], what.options[1][: len(agents)]) if what.options else None,
    )
    monkeypatch.setitem(experiments.EXPERIMENTS, name, what)
    source = GROUP.format(names=agents, settings=SETTINGS, steps=STEPS)
    (folder / "agent.py").write_text(source, encoding="utf-8")
    module: dict[str, Any] = {}
    exec(source, module)
    outside = module["make"](gym.make(what.env_id, **what.kwargs), 0)
    if what.timesteps:
        outside.learn(what.timesteps)
    seeds = what.evaluation_seeds(0)
    inside = operations._played(folder, "group", name, 0, seeds, None, None)
    assert [len(episode.actions) > 0 for episode in inside.episodes] == [True] * len(agents)
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
    "what",
    [BOARD, pytest.param(EXPERIMENTS["preference/boards-regret-noiseless"], marks=pytest.mark.slow)],
    ids=lambda what: what.id,
)
def test_an_executed_entry_of_bayes_regret(
    what: Experiment, folder: Path, tmp_path: Path, make_key: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """From a board's first line to a verdict that anybody can check, by commands alone."""
    monkeypatch.chdir(tmp_path)
    make_key()
    source = "from valuegym.agents.preference.bayes_regret import BayesRegret as make\n"
    (folder / "agent.py").write_text(source, encoding="utf-8")
    (tmp_path / "card.json").write_text(json.dumps(EXAMPLE | {"name": "bayes_regret"}), encoding="utf-8")
    signed = ["--key", "key"]
    fixed = ["--agent", "bayes_regret", "--submitter", "me", "--digest", agent_digest(folder)]
    executed = ["--card", "card.json", "--commitment", "2", "--experiment", what.id, "--nonce", "nonce"]
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
    assert "accepted bayes_regret" in shown and f"executed, on {what.id}" in shown
    ledger = read_ledger("board.jsonl")
    body = ledger.entries[3].body
    assert body["tier"] == "executed" and body["reason"] == "" and list(body["scores"]) == [what.id]
    again = judge("agent.zip", ledger=ledger, again=True)  # with the nonce in the ledger, anybody can
    assert again.reason == "" and again.digest == body["submission"] and played(again.verdicts) == body["plays"]
    assert len(again.verdicts) == len(what.seeds)
