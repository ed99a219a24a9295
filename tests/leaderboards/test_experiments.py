"""The programme of experiments, and the digest that says what an environment is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, make
from valuegym.agents.preference import constant
from valuegym.envs.coevolution.trajectories import FAMILIES
from valuegym.envs.preference import datasets, delivery
from valuegym.leaderboards.experiments import EVALUATION, EXPERIMENTS, find
from valuegym.leaderboards.records.fingerprint import environment_digest, provenance
from valuegym.leaderboards.verification.scores import SCORES

OPEN = [id for id, row in EXPERIMENTS.items() if not row.data]
HUMAN = [id for id, row in EXPERIMENTS.items() if row.data]
GRID = ("valuegym/Delivery-v0", '{"observation": "onehot"}')


def test_the_programme_is_complete() -> None:
    assert set(OPEN) == {
        "preference/delivery",
        "preference/boards-regret",
        "preference/boards-regret-noiseless",
        "preference/boards-partial-return",
        "preference/boards-partial-return-noiseless",
        "preference/early-regret",
        "preference/early-partial-return",
        "preference/policy-regret",
        "preference/policy-regret-noiseless",
        "preference/asking-regret",
        "preference/published-regret",
        "preference/published-partial-return",
        "control/lqr",
        "control/lqr-d4",
        "control/pendulum",
        "control/pendulum-d8",
        "control/mountain-car",
        "control/cartpole-swingup",
        "control/cartpole-swingup-d8",
        "control/acrobot",
        *(f"control/{name}-planned" for name in ("cartpole-swingup", "cartpole-swingup-d8", "acrobot")),
        *(f"control/lqr-preferences{end}" for end in ("", "-rotated", "-partial-return")),
        *(f"feedback/{name}" for name in ("cartpole", "pendulum", "mountain-car", "delivery")),
        "coevolution/lock-in",
        *(f"coevolution/{kind}-{family}" for kind in ("follow", "predict") for family in FAMILIES),
        "coevolution/follow-few-responses",
        *(f"coevolution/coevolve-{name}" for name in ("mixed", "one-cluster", "choices", "small-world")),
        "coevolution/follow-hubs",
        "language/token-process",
        "language/follow-people",
        "language/predict-people",
        "language/coevolve-people",
    }
    kinds = ("human", "relabelled", "unseen")
    assert set(HUMAN) == {f"preference/{kind}-{name.lower()}" for kind in kinds for name in datasets.CONDITIONS}


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_every_row_is_well_formed(id: str) -> None:
    row = find(id)
    assert row.id == id and re.fullmatch(r"[a-z]+/[a-z0-9-]+", id)
    assert row.about.endswith(".") and "\n" not in row.about
    assert json.loads(row.arguments) == row.kwargs and isinstance(row.kwargs, dict)
    assert row.env_id in gym.registry
    assert row.score in SCORES
    assert row.agents and set(row.agents) <= set(AGENTS) and len(set(row.agents)) == len(row.agents)
    assert len(set(row.seeds)) == len(row.seeds) and all(0 <= seed < 2**31 for seed in row.seeds)
    assert 1 <= row.episodes <= 1000 and row.timesteps >= 0
    assert row.data in ("", datasets.NAME)
    assert id.partition("/")[0] in row.tags
    with pytest.raises(FrozenInstanceError):
        row.episodes = 1  # type: ignore[misc]


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_specs_are_plain_json_without_folders(id: str) -> None:
    row = find(id)
    assert json.loads(json.dumps(row.spec())) == row.spec()
    assert row.spec()["id"] == row.env_id and row.spec()["kwargs"].items() >= row.kwargs.items()
    assert row.make_kwargs("/somewhere") == row.kwargs | ({"data": "/somewhere"} if row.data else {})
    row.kwargs["more"] = 1
    row.spec()["kwargs"]["more"] = 1
    assert "more" not in row.kwargs and "more" not in row.spec()["kwargs"]


@pytest.mark.parametrize("id", OPEN)
def test_environments_and_their_agents_can_be_made(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant, "TASKS", 2)
    row = find(id)
    env = gym.make(row.env_id, **row.make_kwargs())
    for agent in row.agents:
        if not AGENTS[agent].extra or importlib.util.find_spec("stable_baselines3"):
            make(agent, env, seed=row.seeds[0])


@pytest.mark.parametrize("id", HUMAN)
def test_human_environments_can_be_made_where_the_data_is(id: str, data_folder: Path) -> None:
    row = find(id)
    core = gym.make(row.env_id, **row.make_kwargs(str(data_folder))).unwrapped.core  # type: ignore[attr-defined]
    assert core.source.human.condition.lower() == id.partition("/human-")[2]
    assert not row.ranked


def test_ranked_tracks_are_played_on_tasks_that_nobody_trains_on() -> None:
    ranked = [row for row in EXPERIMENTS.values() if row.ranked and row.score == "evaluation_points"]
    assert len(ranked) == 12
    for row in ranked:
        core = gym.make(row.env_id, **row.kwargs).unwrapped.core  # type: ignore[attr-defined]
        tasks = getattr(core.source, "tasks", None)  # of boards; regulators have their split themselves
        assert (tasks.boards if tasks else core.source).split == "test" and core.random
    for row in EXPERIMENTS.values():
        if "published" in row.kwargs.values() or row.data:
            assert not row.ranked


def test_delivery_starts_once_from_every_open_cell() -> None:
    row = find("preference/delivery")
    assert row.options is not None and row.options[0] == "cell"
    starts = np.flatnonzero(delivery.board_mdp(np.array([delivery.BOARD])).start[0])
    assert row.options[1] == tuple(starts) and len(starts) == row.episodes == 92
    assert row.seeds == (0, 1, 2, 3, 4) and row.timesteps == 100_000


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_evaluation_seeds_are_apart_from_each_other_and_from_training(id: str) -> None:
    row = find(id)
    seeds = [seed for run in row.seeds for seed in row.evaluation_seeds(run)]
    assert len(set(seeds)) == len(seeds) == len(row.seeds) * row.episodes
    assert min(seeds) >= EVALUATION > max(row.seeds)
    assert row.evaluation_seeds(row.seeds[0]) == row.evaluation_seeds(row.seeds[0])


def test_an_unknown_experiment_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no experiment 'preference/x' here; .* Did you mean preference/"):
        find("preference/x")


# --- digests ---


def in_another_process(*arguments: str | None, hash_seed: str = "0") -> str:
    code = (
        "import json, sys\n"
        "from valuegym.leaderboards.records.fingerprint import environment_digest\n"
        "print(environment_digest(*json.loads(sys.argv[1])))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    return found.stdout.strip()


def test_digests_agree_between_processes() -> None:
    row = find("preference/boards-regret")
    for hash_seed, arguments in (("1", GRID), ("2", (row.env_id, row.arguments))):
        digest = environment_digest(*arguments)
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert in_another_process(*arguments, hash_seed=hash_seed) == digest


def test_digests_tell_environments_apart() -> None:
    inference = "valuegym/RewardInference-v0"
    digests = [
        environment_digest(id, arguments)
        for id, arguments in (
            GRID,
            ("valuegym/Delivery-v0", "{}"),
            ("valuegym/Delivery-v0", '{"observation": "features"}'),
            ("valuegym/Delivery-v0", '{"observation": "onehot", "reward": "hidden"}'),
            (inference, "{}"),
            (inference, '{"split": "dev"}'),
            (inference, '{"annotator": "regret-noiseless"}'),
            (inference, '{"evaluation_points": [0, 10]}'),
            ("valuegym/RewardInferencePolicy-v0", "{}"),
        )
    ]
    assert len(set(digests)) == len(digests)


def test_a_digest_depends_on_what_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment_digest(*GRID)
    environment_digest.cache_clear()
    try:
        assert environment_digest(*GRID) == before
        environment_digest.cache_clear()
        monkeypatch.setattr(delivery, "WEIGHTS", (-1.0, 50.0, -50.0, 1.0, -1.0, -2.5))
        assert environment_digest(*GRID) != before
    finally:
        environment_digest.cache_clear()


def test_a_digest_depends_on_the_data_and_not_on_where_it_lies(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = find("preference/human-regret-question")
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in datasets.file_names("Regret-Question"):
        shutil.copyfile(datasets.find(str(data_folder)) / name, copy / name)
    digest = environment_digest(row.env_id, row.arguments, str(data_folder))
    assert environment_digest(row.env_id, row.arguments, str(copy)) == digest
    monkeypatch.setenv(datasets.VARIABLE, str(copy))
    assert in_another_process(row.env_id, row.arguments, None) == digest
    other = find("preference/human-question-control")
    assert environment_digest(other.env_id, other.arguments, str(data_folder)) != digest


def test_provenance_is_plain_and_names_versions() -> None:
    found = provenance()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["numpy"] == np.__version__ and found["packages"]["gymnasium"] == gym.__version__
    assert re.fullmatch("[0-9a-f]{64}", found["source"])
