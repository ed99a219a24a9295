"""Verification: what is true passes, and whoever edits a record and recomputes its sum learns what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents.preference import constant
from valuegym.envs import functional
from valuegym.envs.preference import datasets
from valuegym.envs.preference.delivery import DISCOUNT, WEIGHTS, Delivery
from valuegym.envs.preference.random_delivery import RandomDelivery
from valuegym.leaderboards import experiments
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verification.replay import checkpoints, replay
from valuegym.leaderboards.verification.verify import (
    MAX_BATCH,
    batches,
    check,
    record_files,
    verify,
    verify_all,
    verify_together,
)

INFERENCE = "valuegym/RewardInference-v0"
LEARNERS = ("uniform", "oracle", "constant", "partial_return", "regret")
Edit = Callable[[list[Any]], Any]


def experiment(id: str, env_id: str, score: str, episodes: int = 3, **kwargs: Any) -> Experiment:
    row = {"options": kwargs.pop("options", None), "data": kwargs.pop("data", "")}
    return Experiment(id, "", env_id, json.dumps(kwargs), ("uniform",), 0, episodes, (0, 1), score, **row)


SMALL = {
    row.id: row
    for row in (
        experiment("test/drive", "valuegym/Delivery-v0", "return", options=("cell", (0, 54, 99))),
        experiment("test/walk", "valuegym/Delivery-v0", "return"),
        experiment(
            "test/weights",
            INFERENCE,
            "evaluation_points",
            annotator="regret",
            evaluation_points=(0, 3, 10),
            split="dev",
        ),
        experiment(
            "test/policy",
            "valuegym/RewardInferencePolicy-v0",
            "evaluation_points",
            2,
            evaluation_points=(0, 3),
            split="dev",
        ),
        experiment(
            "test/long",
            INFERENCE,
            "evaluation_points",
            2,
            annotator="regret",
            evaluation_points=(1, 300, 520),
            split="dev",
        ),
    )
}
HUMAN = experiment(
    "test/human",
    INFERENCE,
    "evaluation_points",
    1,
    annotator="human:Regret-Question",
    evaluation_points=(0, 5),
    data="x",
)


@pytest.fixture(autouse=True, scope="module")
def small_experiments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for id, row in (SMALL | {HUMAN.id: HUMAN}).items():
            patch.setitem(experiments.EXPERIMENTS, id, row)
        patch.setattr(constant, "TASKS", 2)
        constant._search.cache_clear()
        yield
        constant._search.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def honest(small_experiments: None, folder: Path) -> Callable[..., Path]:
    """Records as `run` writes them, made once."""
    return lambda agent, id, seed=0: run(agent, id, seed, folder)


@pytest.fixture
def forge(honest: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Edit the parsed lines of an honest record and recompute its sum."""

    def make(agent: str, id: str, edit: Edit) -> Path:
        lines = [json.loads(line) for line in honest(agent, id).read_text(encoding="utf-8").splitlines()]
        edit(lines)
        path = tmp_path / "seed-0.jsonl"
        path.write_text(seal(lines), encoding="utf-8")
        return path

    return make


def seal(lines: list[Any]) -> str:
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1])
    return body + json.dumps(lines[-1] | {"sha256": hashlib.sha256(body.encode()).hexdigest()}) + "\n"


def rejected(path: Path, data: str | None = None) -> str:
    """The reason for which a record is rejected: one short line."""
    verdict = verify(path, data)
    assert verdict.reason and verdict.record is None
    assert "\n" not in verdict.reason and verdict.reason.isprintable(), verdict.reason
    assert len(verdict.reason) < 500
    return verdict.reason


def setting(*path: Any, value: Any) -> Edit:
    """Set the value at a path of the parsed lines; a function is applied to what is there."""

    def edit(lines: list[Any]) -> None:
        at: Any = lines
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value(at[path[-1]]) if callable(value) else value

    return edit


def unrolled(episode: dict[str, Any]) -> list[Any]:
    return [action for count, action in episode["actions"] for _ in range(count)]


def acting(line: int, step: int, action: Any) -> Edit:
    """Play another action at one step."""

    def edit(lines: list[Any]) -> None:
        actions = unrolled(lines[line])
        actions[step] = action(actions[step]) if callable(action) else action
        lines[line]["actions"] = [[1, action] for action in actions]

    return edit


# --- honest records ---


@pytest.mark.parametrize(
    ("agent", "id"),
    [
        *[(agent, "test/weights") for agent in LEARNERS],
        *[(agent, id) for agent in ("uniform", "oracle") for id in ("test/drive", "test/walk", "test/policy")],
        ("uniform", "test/long"),
        ("partial_return", "test/long"),
    ],
)
def test_honest_records_are_true(honest: Callable[..., Path], agent: str, id: str) -> None:
    path = honest(agent, id)
    verdict = verify(path)
    assert (verdict.reason, verdict.warnings) == ("", ()) and verdict.record is not None
    assert verdict.record == read_record(path)
    np.testing.assert_allclose(check(read_record(path)), read_record(path).scores, rtol=0, atol=1e-9)
    if agent == "oracle" and id != "test/walk" and id != "test/drive":
        np.testing.assert_allclose(read_record(path).scores, 1, atol=1e-4)


def test_scores_are_normalised_discounted_returns(honest: Callable[..., Path]) -> None:
    record, core = read_record(honest("uniform", "test/walk")), Delivery()
    naive, best = core.references(None)  # type: ignore[arg-type]
    for episode, score in zip(record.episodes, record.scores, strict=True):
        env, total = gym.make("valuegym/Delivery-v0"), 0.0
        env.reset(seed=episode.seed)
        for t, action in enumerate(episode.actions):
            _, reward, terminated, truncated, _ = env.step(action)
            total += DISCOUNT**t * float(reward)
        assert (terminated, truncated) == (episode.terminated, episode.truncated)
        assert score == [pytest.approx((total - naive) / (best - naive), abs=1e-12)]
    assert WEIGHTS[1] == 50  # the goal pays more than anything else: scores lie near 1 at most
    assert np.max(record.scores) < 1.2


def test_reports_are_scored_as_the_environment_pays_them(honest: Callable[..., Path]) -> None:
    record = read_record(honest("partial_return", "test/weights"))
    env = gym.make(INFERENCE, **SMALL["test/weights"].kwargs)
    for episode, score in zip(record.episodes, record.scores, strict=True):
        env.reset(seed=episode.seed)
        for action in episode.actions:
            _, reward, terminated, _, _ = env.step(np.array(action, np.float32))
        assert terminated and len(score) == 3
        assert reward == pytest.approx(np.mean(score), abs=1e-9)


@pytest.mark.parametrize(("steps", "every", "points"), [(10, 4, [0, 4, 8, 10]), (8, 4, [0, 4, 8]), (3, 250, [0, 3])])
def test_states_are_kept_at_intervals_and_at_the_end(steps: int, every: int, points: list[int]) -> None:
    assert checkpoints(steps, every) == points
    assert checkpoints(steps, 1) == list(range(steps + 1))


@pytest.mark.parametrize(
    ("provenance", "warned"),
    [
        ({"source": "other"}, ["source"]),
        ({"valuegym": "99.0"}, ["valuegym"]),
        ({"source": None, "valuegym": ["x"]}, ["source", "valuegym"]),
        ({"packages": {"numpy": "1.0"}, "python": "2.7", "platform": "abacus"}, []),
    ],
)
def test_another_source_is_only_a_warning(
    forge: Callable[..., Path], provenance: dict[str, Any], warned: list[str]
) -> None:
    verdict = verify(forge("uniform", "test/walk", lambda lines: lines[0]["provenance"].update(provenance)))
    assert verdict.reason == "" and verdict.record is not None
    assert [warning.partition(" ")[0] for warning in verdict.warnings] == warned


def test_an_empty_provenance_is_only_a_warning(forge: Callable[..., Path]) -> None:
    verdict = verify(forge("uniform", "test/walk", setting(0, "provenance", value={})))
    assert verdict.reason == "" and len(verdict.warnings) == 2


# --- forged headers ---


@pytest.mark.parametrize("id", ["test/drive", "test/weights"])
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (setting(0, "experiment", value="test/nothing"), "no experiment 'test/nothing'"),
        (setting(0, "experiment", value="../../etc/passwd"), "no experiment"),
        (setting(0, "experiment", value="x\n\x1b[31m" * 1000), "no experiment"),
        (setting(0, "experiment", value="test/walk"), "spec|digest|seeds|start"),
        (setting(0, "experiment", value="preference/boards-regret"), "spec|seed"),
        (setting(0, "seed", value=2), "seed 2 is not one of the experiment's seeds"),
        (setting(0, "seed", value=1), "episodes' seeds"),
        (setting(0, "digest", value="0" * 64), "digest"),
        (setting(0, "digest", value=str.upper), "digest"),
        (setting(0, "digest", value=""), "digest"),
        (setting(0, "spec", value={}), "spec"),
        (setting(0, "spec", "id", value="valuegym/Delivery-v1"), "spec"),
        (setting(0, "spec", "id", value="CartPole-v1"), "spec"),
        (setting(0, "spec", "max_episode_steps", value=10_000), "spec"),
        (setting(0, "spec", "kwargs", value=lambda given: {} if given else {"board": "other"}), "spec"),
        (setting(0, "spec", "kwargs", "core", value="os:system"), "spec"),
        (setting(0, "spec", "kwargs", "observation", value="features"), "spec"),
        (setting(0, "spec", "kwargs", "data", value="/etc"), "spec"),
        (setting(0, "spec", "entry_point", value="os:system"), "spec"),
    ],
)
def test_an_edited_header_is_rejected(forge: Callable[..., Path], id: str, edit: Edit, reason: str) -> None:
    found = rejected(forge("uniform", id, edit))
    assert any(part in found for part in reason.split("|")), found


@pytest.mark.parametrize("field", ["core", "entry_point", "id", "additional"])
def test_a_submitted_spec_is_never_constructed(
    forge: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    (tmp_path / "forged_core.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entry = {"id": "forged_core:valuegym/Delivery-v0"}.get(field, "forged_core:Core")

    def edit(lines: list[Any]) -> None:
        spec = lines[0]["spec"]
        (spec if field in spec or field == "entry_point" else spec["kwargs"])[field] = entry

    path = forge("uniform", "test/drive", edit)
    for name in ("make", "make_vec"):
        monkeypatch.setattr(gym, name, lambda *arguments, **kwargs: pytest.fail("an environment was constructed"))
    monkeypatch.setattr(functional, "load", lambda entry: pytest.fail(f"{entry} was loaded"))
    assert "spec" in rejected(path)
    assert "forged_core" not in sys.modules


# --- forged episodes ---


def episodes(change: Callable[[list[Any], list[Any]], None]) -> Edit:
    """Change the list of episodes and that of scores alike."""

    def edit(lines: list[Any]) -> None:
        played, scores = lines[1:-1], lines[-1]["scores"]
        change(played, scores)
        lines[1:-1] = played

    return edit


def swap(played: list[Any], scores: list[Any]) -> None:
    for part in (played, scores):
        part[0], part[1] = part[1], part[0]


def drop(played: list[Any], scores: list[Any]) -> None:
    del played[-1], scores[-1]


def add(played: list[Any], scores: list[Any]) -> None:
    played.append(played[-1] | {"seed": played[-1]["seed"] + 1})
    scores.append(scores[-1])


def repeat(played: list[Any], scores: list[Any]) -> None:
    played.append(played[-1])
    scores.append(scores[-1])


def replace(played: list[Any], scores: list[Any]) -> None:
    """The best episode takes the place of all others."""
    best = int(np.argmax([row[-1] for row in scores]))
    played[:], scores[:] = [played[best]] * len(played), [scores[best]] * len(scores)


@pytest.mark.parametrize("id", ["test/walk", "test/weights"])
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (episodes(drop), "has 2 episodes; expected 3"),
        (episodes(add), "has 4 episodes; expected 3"),
        (episodes(repeat), "has 4 episodes; expected 3"),
        (episodes(swap), "episodes' seeds"),
        (episodes(replace), "episodes' seeds"),
        (setting(1, "seed", value=999), "episodes' seeds"),
        (setting(2, "seed", value=-1), "episodes' seeds"),
        (setting(2, "seed", value=10**400), "episodes' seeds"),
    ],
)
def test_edited_episodes_are_rejected(forge: Callable[..., Path], id: str, edit: Edit, reason: str) -> None:
    assert reason in rejected(forge("uniform", id, edit))


@pytest.mark.parametrize("id", ["test/walk", "test/weights", "test/policy"])
def test_an_episode_of_another_seed_is_rejected(forge: Callable[..., Path], id: str) -> None:
    def edit(lines: list[Any]) -> None:
        lines[1] = lines[2] | {"seed": lines[1]["seed"]}
        lines[-1]["scores"][0] = lines[-1]["scores"][1]

    agent = "uniform" if id == "test/walk" else "oracle"
    assert rejected(forge(agent, id, edit)).startswith("the episode of seed 1000000 ")


@pytest.mark.parametrize("id", ["test/drive", "test/weights"])
@pytest.mark.parametrize("delta", [1e-6, -1e-6, 0.5, 2**70])
@pytest.mark.parametrize("row", [0, 2])
def test_an_edited_score_is_rejected(forge: Callable[..., Path], id: str, delta: float, row: int) -> None:
    path = forge("uniform", id, setting(-1, "scores", row, -1, value=lambda score: score + delta))
    assert rejected(path) == "the scores are not those that the actions earn."


@pytest.mark.parametrize(
    "edit",
    [
        setting(-1, "scores", 0, value=[1.0]),
        setting(-1, "scores", value=[[1.0]] * 3),
        setting(-1, "scores", value=[[1.0] * 4] * 3),
        setting(-1, "scores", 0, 0, value=2**70),
        setting(-1, "scores", 0, 0, value=10**400),
        setting(-1, "scores", 0, 0, value=1e308),
    ],
)
def test_scores_of_another_form_are_rejected(forge: Callable[..., Path], edit: Edit) -> None:
    assert "scores" in rejected(forge("uniform", "test/weights", edit))


@pytest.mark.parametrize("id", ["test/drive", "test/walk"])
def test_every_edited_action_of_delivery_is_seen(forge: Callable[..., Path], id: str) -> None:
    rng = random.Random(0)
    for _ in range(25):
        line, turn = rng.randrange(1, 4), rng.randrange(1, 4)

        def edit(lines: list[Any], line: int = line, turn: int = turn) -> None:
            step = rng.randrange(len(unrolled(lines[line])))
            acting(line, step, lambda action: (action + turn) % 4)(lines)

        reason = rejected(forge("uniform", id, edit))
        assert reason.startswith(f"the episode of seed {1_000_000 + line - 1} is not what the environment does")


@pytest.mark.parametrize("field", ["cell", "move"])
def test_every_edited_state_of_delivery_is_seen(forge: Callable[..., Path], field: str) -> None:
    rng = random.Random(0)
    for _ in range(25):
        line, by = rng.randrange(1, 4), rng.choice((-1, 1, 10, 50))

        def edit(lines: list[Any], line: int = line, by: int = by) -> None:
            values = lines[line]["states"][field]
            at = rng.randrange(len(values))
            values[at] = (values[at] + by) % 100

        assert rejected(forge("uniform", "test/walk", edit)).startswith(f"the episode of seed {1_000_000 + line - 1}")


@pytest.mark.parametrize("at", [0, 1, -1])
@pytest.mark.parametrize("cell", [100, -1, -101, 10**6, -(10**6), 2**62, 2**63 - 1, -(2**63), 2**63, 2**64, 10**400])
def test_states_that_are_no_states_are_rejected(forge: Callable[..., Path], at: int, cell: int) -> None:
    rejected(forge("uniform", "test/walk", setting(2, "states", "cell", at, value=cell)))


@pytest.mark.parametrize("value", [1.0, 0.5, "1", None, [1], {}, True, [], "x" * 100_000])
@pytest.mark.parametrize("whole", [False, True])
def test_states_of_another_type_are_rejected(forge: Callable[..., Path], value: Any, whole: bool) -> None:
    def edit(lines: list[Any]) -> None:
        states = lines[2]["states"]["cell"]
        states[:] = [value] * len(states) if whole else [*states[:-1], value]

    rejected(forge("uniform", "test/walk", edit))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (setting(1, "states", value={}), "states have the fields"),
        (lambda lines: lines[1]["states"].pop("move"), "states have the fields"),
        (lambda lines: lines[1]["states"].update(more=[1]), "states have the fields"),
        (lambda lines: lines[1]["states"].update({"x" * 100_000: [1]}), "states have the fields"),
        (lambda lines: lines[1]["states"]["cell"].pop(), "states for"),
        (lambda lines: lines[1]["states"]["move"].append(0), "states for"),
        (lambda lines: [values.clear() for values in lines[1]["states"].values()], "0 states for"),
    ],
)
def test_missing_and_extra_states_are_rejected(forge: Callable[..., Path], edit: Edit, reason: str) -> None:
    assert reason in rejected(forge("uniform", "test/walk", edit))


@pytest.mark.parametrize("start", [True, False])
def test_another_start_is_rejected(forge: Callable[..., Path], start: bool) -> None:
    """A consistent episode, but from a cell that the seed, or the experiment's option, does not give."""

    def edit(lines: list[Any]) -> None:
        core = Delivery()
        first = 0 if lines[1]["states"]["cell"][0] else 1
        state = functional.take_rows(core.initial(np.zeros(1, np.uint64), cell=np.array([first]))[1], np.array([0]))
        episode = lines[1]
        episode["states"] = {"cell": [first], "move": [0]}
        actions = []
        while not core.terminal(None, state)[0]:  # type: ignore[arg-type]
            action = core.oracle_action(None, state)  # type: ignore[arg-type]
            state = core.transition(None, state, action, None, None)  # type: ignore[arg-type]
            actions.append([1, int(action[0])])
            for name, value in state._asdict().items():
                episode["states"][name].append(int(value[0]))
        episode |= {"actions": actions, "terminated": True, "truncated": False}

    path = forge("uniform", "test/drive" if start else "test/walk", edit)
    assert "does not start in the state that its seed gives" in rejected(path)


def test_a_step_after_the_end_is_rejected(forge: Callable[..., Path]) -> None:
    def edit(lines: list[Any]) -> None:
        lines[1]["actions"].append([1, 0])
        cell = lines[1]["states"]["cell"][-1]
        lines[1]["states"]["cell"].append(cell)
        lines[1]["states"]["move"].append(4 * cell)

    assert read_record(forge("oracle", "test/walk", edit)).episodes[0].terminated
    steps = len(read_record(forge("oracle", "test/walk", edit)).episodes[0].actions)
    assert f"goes on after its end, at step {steps - 1}" in rejected(forge("oracle", "test/walk", edit))


def bump(cells: list[int], moves: list[int], steps: int) -> list[Any]:
    """Drive against the upper edge, steps times: every step is a true transition of a vehicle in row 0."""
    cells += [cells[-1]] * steps
    moves += [4 * cells[-1]] * steps
    return [[steps, 0]]


@pytest.mark.parametrize(
    ("steps", "truncated", "reason"),
    [(199, False, "before its end"), (199, True, "says terminated=False, truncated=True"), (201, True, "limit is 200")],
)
def test_the_step_limit_is_the_environments(
    forge: Callable[..., Path], steps: int, truncated: bool, reason: str
) -> None:
    def edit(lines: list[Any]) -> None:
        states = lines[1]["states"] = {"cell": [0], "move": [0]}  # the first episode of test/drive starts in cell 0
        lines[1] |= {"actions": bump(states["cell"], states["move"], steps), "terminated": False}
        lines[1]["truncated"] = truncated

    assert reason in rejected(forge("uniform", "test/drive", edit))


def test_an_episode_at_the_step_limit_is_true(forge: Callable[..., Path]) -> None:
    """The same standing still for exactly 200 steps is an episode; its score is what it earns."""

    def edit(lines: list[Any]) -> None:
        states = lines[1]["states"] = {"cell": [0], "move": [0]}
        lines[1] |= {"actions": bump(states["cell"], states["move"], 200), "terminated": False, "truncated": True}
        naive, best = Delivery().references(None)  # type: ignore[arg-type]
        lines[-1]["scores"][0] = [(-sum(DISCOUNT**t for t in range(200)) - naive) / (best - naive)]

    verdict = verify(forge("uniform", "test/drive", edit))
    assert verdict.reason == ""


@pytest.mark.parametrize("agent", ["uniform", "oracle"])
@pytest.mark.parametrize("id", ["test/walk", "test/weights"])
def test_an_episode_that_stops_early_is_rejected(forge: Callable[..., Path], agent: str, id: str) -> None:
    def cut(lines: list[Any]) -> None:
        lines[1]["actions"] = [[1, action] for action in unrolled(lines[1])[:-1]]
        for values in lines[1]["states"].values():
            values.pop(-1 if id == "test/walk" else 0)
            if id == "test/weights":
                values.append(values[0])

    def edit(lines: list[Any]) -> None:
        cut(lines)
        if id == "test/weights":
            lines[1]["states"] = {"num_queries": [0, 10], "scores": [[0.0] * 3, [*lines[-1]["scores"][0][:2], 0.0]]}
        lines[1]["terminated"] = lines[1]["truncated"] = False

    def pretend(lines: list[Any]) -> None:
        edit(lines)
        lines[1]["terminated"] = True

    assert "before its end" in rejected(forge(agent, id, edit))
    assert "says terminated=True, truncated=False" in rejected(forge(agent, id, pretend))


@pytest.mark.parametrize("id", ["test/walk", "test/weights"])
@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_flipped_flags_are_rejected(forge: Callable[..., Path], id: str, flag: str) -> None:
    path = forge("oracle", id, setting(1, flag, value=lambda value: not value))
    assert "which is not how the replay ends" in rejected(path)


# --- forged actions ---


@pytest.mark.parametrize(
    "action",
    [4, -1, 10**6, 2**63, 2**64, 10**400, 1.0, 0.5, 1e308, "0", "", None, {}, [], [0], [[0]], [0, 1], "x" * 10_000],
)
@pytest.mark.parametrize("whole", [False, True])
def test_actions_outside_a_discrete_space_are_rejected(forge: Callable[..., Path], action: Any, whole: bool) -> None:
    def edit(lines: list[Any]) -> None:
        for episode in lines[1:-1]:
            n = len(unrolled(episode))
            episode["actions"] = [[n, action]] if whole else [[1, action], *([1, a] for a in unrolled(episode)[1:])]

    assert "action" in rejected(forge("uniform", "test/walk", edit))


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    "action",
    [
        [1.0000001] + [0.0] * 5,
        [-2] + [0] * 5,
        [1e30] + [0.0] * 5,
        [1e300] + [0.0] * 5,
        [2**63] + [0] * 5,
        [10**400] + [0] * 5,
        [0.0] * 5,
        [0.0] * 7,
        [[0.0] * 6],
        [[0.0]] * 6,
        ["0"] * 6,
        [None] + [0.0] * 5,
        [[]] * 6,
        {"a": 1},
        0.0,
        0,
        None,
        "x",
        json.loads("[" * 70 + "]" * 70),
    ],
)
def test_actions_outside_a_box_are_rejected(forge: Callable[..., Path], action: Any, step: int) -> None:
    assert "action" in rejected(forge("uniform", "test/weights", acting(1, step, action)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_actions_that_are_not_finite_are_rejected(honest: Callable[..., Path], tmp_path: Path, number: str) -> None:
    lines = honest("uniform", "test/weights").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[1])["actions"][0][1][0]
    lines[1] = lines[1].replace(repr(first), number, 1)
    body = "".join(line + "\n" for line in lines[:-1])
    last = json.loads(lines[-1]) | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    (tmp_path / "seed-0.jsonl").write_text(body + json.dumps(last) + "\n", encoding="utf-8")
    rejected(tmp_path / "seed-0.jsonl")


@pytest.mark.parametrize("id", ["test/weights", "test/long", "test/policy"])
def test_an_edited_report_is_rejected(forge: Callable[..., Path], id: str) -> None:
    agent = "oracle" if id != "test/long" else "partial_return"
    what = SMALL[id].kwargs["evaluation_points"]
    for column, where in enumerate(what):

        def edit(lines: list[Any], where: int = where, column: int = column) -> None:
            acting(1, where, lambda action: [-x for x in action])(lines)

        if id == "test/long" and read_record(forge(agent, id, edit)).scores[0][column] <= 0:
            continue  # the opposite of a bad answer may be as bad
        reason = rejected(forge(agent, id, edit))
        assert "does not follow from the one before and the actions" in reason


def test_a_report_forged_in_states_and_scores_is_rejected(forge: Callable[..., Path]) -> None:
    """Someone writes 1 wherever a score stands, in the states and at the end."""

    def edit(lines: list[Any]) -> None:
        for line in lines[1:-1]:
            line["states"]["scores"][-1] = [1.0, 1.0, 1.0]
        lines[-1]["scores"] = [[1.0] * 3] * 3

    assert "does not follow" in rejected(forge("uniform", "test/weights", edit))


def test_a_forged_start_is_rejected(forge: Callable[..., Path]) -> None:
    for states in ({"num_queries": 1}, {"scores": [1.0, 0.0, 0.0]}):

        def edit(lines: list[Any], states: dict[str, Any] = states) -> None:
            for name, value in states.items():
                lines[1]["states"][name][0] = value

        assert "does not start" in rejected(forge("uniform", "test/weights", edit))


@pytest.mark.parametrize(
    ("num_queries", "point"), [(200, 1), (251, 1), (501, 2), (10**6, 2), (-5, 1), (520, -1), (2**62, 1)]
)
def test_a_forged_checkpoint_is_rejected(forge: Callable[..., Path], num_queries: int, point: int) -> None:
    path = forge("uniform", "test/long", setting(1, "states", "num_queries", point, value=num_queries))
    assert len(read_record(path).episodes[0].states["num_queries"]) == 4  # after 0, 250, 500 and 521 steps
    assert rejected(path).startswith("the episode of seed 1000000 ")


@pytest.mark.parametrize("point", [1, 2, 3])
def test_a_score_forged_at_a_checkpoint_is_rejected(forge: Callable[..., Path], point: int) -> None:
    def edit(lines: list[Any]) -> None:
        for scores in lines[1]["states"]["scores"][point:]:
            scores[0] = 0.123
        lines[-1]["scores"][0][0] = 0.123

    assert "does not follow" in rejected(forge("uniform", "test/long", edit))


def test_an_action_that_answers_no_report_changes_nothing(
    forge: Callable[..., Path], honest: Callable[..., Path], tmp_path: Path
) -> None:
    """Only the sum protects it: there is nothing else that it could change."""
    edit = acting(1, 5, lambda action: [-x for x in action])
    path = forge("uniform", "test/weights", edit)
    assert verify(path).reason == ""
    np.testing.assert_allclose(
        check(read_record(path)), read_record(honest("uniform", "test/weights")).scores, atol=1e-12
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    stale = json.loads(honest("uniform", "test/weights").read_text(encoding="utf-8").splitlines()[-1])
    path.write_text("".join(line + "\n" for line in (*lines[:-1], json.dumps(stale))), encoding="utf-8")
    assert "SHA-256" in rejected(path)


# --- several at once ---


def test_records_are_judged_together_as_each_by_itself(
    honest: Callable[..., Path], forge: Callable[..., Path], tmp_path: Path
) -> None:
    """A record that is not true neither spoils others nor hides among them."""
    forged = forge("uniform", "test/weights", setting(-1, "scores", 0, 0, value=0.5))
    (tmp_path / "seed-1.jsonl").write_text("no record\n", encoding="utf-8")
    paths = [honest("uniform", "test/weights", 0), honest("uniform", "test/weights", 1), forged]
    paths += [honest("oracle", "test/weights", 0), honest("uniform", "test/walk", 0), honest("uniform", "test/drive")]
    paths.append(tmp_path / "seed-1.jsonl")
    together = verify_together([str(path) for path in paths])
    assert together == [verify(path) for path in paths]
    assert [bool(verdict.reason) for verdict in together] == [False, False, True, False, False, False, True]


def test_references_play_each_task_once(honest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that met the same episodes share what these are worth; a start cell of one's own makes another episode."""
    asked: list[int] = []
    true = RandomDelivery.references

    def counted(self: Any, task: Any) -> Any:
        asked.append(len(task.start))
        return true(self, task)

    monkeypatch.setattr(RandomDelivery, "references", counted)
    row = experiment("test/random", "valuegym/RandomDelivery-v0", "return")
    monkeypatch.setitem(experiments.EXPERIMENTS, row.id, row)
    paths = [honest(agent, row.id, seed) for agent in ("uniform", "oracle") for seed in (0, 1)]
    asked.clear()
    assert not any(verdict.reason for verdict in verify_together([str(path) for path in paths]))
    assert asked == [6]  # two seeds of three episodes, whoever played them
    core = gym.make("valuegym/Delivery-v0").unwrapped.core
    cells = {"cell": np.array([0, 54, 0])}
    episodes = read_record(honest("uniform", "test/drive")).episodes
    assert replay(core, [episodes[i] for i in (0, 1, 0)], 200, cells).task_index.tolist() == [0, 1, 0]


@pytest.mark.parametrize("workers", [1, 2, 3, 50])
def test_batches_hold_every_run_of_a_track_once(workers: int) -> None:
    rng = np.random.default_rng(workers)
    runs = [(f"track-{rng.integers(3)}", f"seed-{rng.integers(9)}") for _ in range(100)]
    sizes = [int(10 ** rng.uniform(2, 8)) for _ in runs]
    found = batches(runs, sizes, workers)
    assert sorted(place for places in found for place in places) == list(range(100))
    for places in found:
        assert len({runs[place][0] for place in places}) == 1
        assert [runs[place][1] for place in places] == sorted(runs[place][1] for place in places)
        assert len(places) == 1 or sum(sizes[place] for place in places) <= MAX_BATCH
    small = batches(runs[:10], [1] * 10, workers)
    assert len(small) >= min(workers, 10 // len({track for track, _ in runs[:10]}))


# --- fuzz ---

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 99, 100, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, -(10**400), 0.5, -0.0, 1e-12,
    1e308, -1e308, "", "x", "\ud800", [], {}, [[]], [None], [1, [2]], {"a": 1}, [0.5] * 6, [2.0] * 6, [0.0, 0.0, 0.0],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything within a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def mutate(rng: random.Random, lines: list[Any]) -> None:
    """Change, remove, repeat or exchange a value somewhere; deep and shallow places are as likely."""
    every = [place for place in places(lines) if len(place) > 1]
    depth = rng.choice(sorted({len(place) for place in every}))
    *outer, last = rng.choice([place for place in every if len(place) == depth])
    at: Any = lines
    for key in outer:
        at = at[key]
    kind = rng.randrange(6)
    if kind == 0:
        del at[last]
    elif kind == 1 and isinstance(at, list):
        at.insert(last, at[rng.randrange(len(at))])
    elif kind == 2 and isinstance(at, list):
        other = rng.randrange(len(at))
        at[last], at[other] = at[other], at[last]
    elif kind == 3 and type(at[last]) in (int, float):
        at[last] += rng.choice((-1, 1, 1e-7, 10**6))
    else:
        at[last] = rng.choice(ODD)


@pytest.mark.parametrize(("agent", "id", "n"), [("uniform", "test/walk", 400), ("uniform", "test/weights", 200)])
def test_no_forgery_surprises_and_none_changes_a_score(
    honest: Callable[..., Path], tmp_path: Path, agent: str, id: str, n: int
) -> None:
    text, rng = honest(agent, id).read_text(encoding="utf-8").splitlines(), random.Random(7)
    scores, path, true = np.array(read_record(honest(agent, id)).scores), tmp_path / "seed-0.jsonl", 0
    for _ in range(n):
        lines = [json.loads(line) for line in text]
        for _ in range(rng.choice((1, 1, 3))):
            mutate(rng, lines)
        path.write_text(seal(lines), encoding="utf-8")
        verdict = verify(path)
        if verdict.reason:
            assert "\n" not in verdict.reason and verdict.reason.isprintable() and len(verdict.reason) < 500
            continue
        true += 1
        assert verdict.record is not None
        np.testing.assert_allclose(verdict.record.scores, scores, rtol=0, atol=1e-9)
    assert true < n / 2


# --- files ---


def test_all_records_of_a_folder_are_replayed_in_fresh_processes(tmp_path: Path) -> None:
    true = [run("uniform", "preference/delivery", seed, tmp_path) for seed in (0, 1)]
    lines = [json.loads(line) for line in true[0].read_text(encoding="utf-8").splitlines()]
    forged = tmp_path / "preference" / "delivery" / "forged"
    forged.mkdir()
    lines[-1]["scores"][0][0] += 0.1
    (forged / "seed-0.jsonl").write_text(seal(lines), encoding="utf-8")
    (forged / "seed-1.jsonl").write_bytes(pickle.dumps(lines))
    (forged / "seed-2.jsonl").mkdir()
    lines[-1]["scores"][0][0] -= 0.1
    for _ in range(600):  # JSON that decodes, and that processes could not hand to each other
        lines[0]["provenance"] = {"deep": lines[0]["provenance"]}
    (forged / "seed-3.jsonl").write_text(seal(lines), encoding="utf-8")
    verdicts = verify_all(tmp_path, workers=2)
    assert [verdict.path for verdict in verdicts] == sorted(str(path) for path in tmp_path.rglob("seed-*.jsonl"))
    reasons = {str(Path(verdict.path).relative_to(tmp_path / "preference/delivery")): verdict for verdict in verdicts}
    assert reasons["uniform/seed-0.jsonl"].reason == reasons["uniform/seed-1.jsonl"].reason == ""
    assert reasons["uniform/seed-1.jsonl"].record == read_record(true[1])
    assert "scores" in reasons["forged/seed-0.jsonl"].reason
    assert "not text" in reasons["forged/seed-1.jsonl"].reason
    assert "seed-2.jsonl" in reasons["forged/seed-2.jsonl"].reason


def test_only_records_are_record_files(tmp_path: Path) -> None:
    names = ("b/seed-1.jsonl", "a/seed-0.jsonl", "a/.seed-0.jsonl.x1", "a/seed-0.json", "index.html", "wandb/run.jsonl")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert record_files(tmp_path) == [tmp_path / "a/seed-0.jsonl", tmp_path / "b/seed-1.jsonl"]
    assert record_files(tmp_path / "index.html") == [tmp_path / "index.html"]
    for folder in (tmp_path / "none", tmp_path / "wandb"):
        with pytest.raises(FileNotFoundError, match=r"no records in .*; `valuegym run` writes them"):
            record_files(folder)


def test_a_missing_file_is_a_verdict(tmp_path: Path) -> None:
    assert "none.jsonl" in rejected(tmp_path / "none.jsonl")


def limited(path: Path) -> str:
    """The verdict on a file by a process that may use 1 GiB and 20 s."""
    code = (
        "import resource, sys\n"
        "from valuegym.leaderboards.verification.verify import verify\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "reason = verify(sys.argv[1]).reason\n"
        "print(f'rejected: {reason}' if reason else 'true')\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=20, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert found.returncode == 0, found.stderr[-500:]
    return found.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize("kind", ["endless", "pipe"])
def test_files_that_never_end_are_rejected(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "seed-0.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert limited(path).startswith("rejected")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize(
    ("steps", "reason"), [(100_000, "line 2: the episode has 100000 steps; the limit is"), (200, "an action is not in")]
)
def test_a_small_record_cannot_fill_the_memory(tmp_path: Path, steps: int, reason: str) -> None:
    path = run("uniform", "preference/delivery", 0, tmp_path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for episode in lines[1:-1]:
        n = steps if episode is lines[1] else 1
        states = {"cell": [episode["states"]["cell"][0]] * (n + 1), "move": [0] * (n + 1)}
        episode |= {"actions": [[n, [0] * 2000]], "states": states}  # up to 200 million numbers
    path.write_text(seal(lines), encoding="utf-8")
    assert limited(path).startswith(f"rejected: {reason}")


# --- human data ---


def test_a_human_record_needs_the_published_data(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(datasets.VARIABLE, raising=False)
    path = run("partial_return", HUMAN.id, 0, tmp_path / "results", str(data_folder))
    assert verify(path, str(data_folder)).reason == ""
    assert str(data_folder) not in path.read_text(encoding="utf-8")
    assert "pass data=FOLDER or set VALUEGYM_DATA" in rejected(path)
    assert "nowhere is not a folder" in rejected(path, str(tmp_path / "nowhere"))
    copy = tmp_path / "copy"
    copy.mkdir()
    assert "missing from" in rejected(path, str(copy))
    for name in datasets.file_names("Regret-Question"):
        shutil.copyfile(datasets.find(str(data_folder)) / name, copy / name)
    assert verify(path, str(copy)).reason == ""
    damaged = tmp_path / "damaged"
    shutil.copytree(copy, damaged)
    labels = damaged / datasets.file_names("Regret-Question")[1]
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x01")
    assert "is not the published file" in rejected(path, str(damaged))
