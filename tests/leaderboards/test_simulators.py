"""Tracks on environments without a core: any Gymnasium environment is played, replayed, or said to be a claim."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import valuegym
from valuegym.agents import make
from valuegym.envs import THIRD_PARTY, plugins, registration
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.board import operations
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.plan import why_not
from valuegym.leaderboards.records.record import Record, read_record, write_record
from valuegym.leaderboards.records.simulators import MAX_LENGTH, read_action
from valuegym.leaderboards.records.submission import EXAMPLE
from valuegym.leaderboards.run import play_record, run
from valuegym.leaderboards.standings.gather import gather_scores
from valuegym.leaderboards.trust.judgement import judge
from valuegym.leaderboards.verification.verify import verify

OBSERVATIONS: dict[str, gym.Space[Any]] = {
    "box": spaces.Box(-1, 1, (3,), np.float32),
    "image": spaces.Box(0, 255, (8, 9, 3), np.uint8),
    "discrete": spaces.Discrete(5, start=2),
    "multidiscrete": spaces.MultiDiscrete([3, 4]),
    "dict": spaces.Dict(
        a=spaces.Box(-1, 1, (2,), np.float64), b=spaces.Discrete(3), c=spaces.Dict(d=spaces.MultiBinary(2))
    ),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 1, (), np.float32))),
}
ACTIONS: dict[str, gym.Space[Any]] = {
    "box": spaces.Box(-2, 2, (2, 2), np.float32),
    "scalar": spaces.Box(-1, 1, (), np.float64),
    "integers": spaces.Box(0, 9, (2,), np.int32),
    "discrete": spaces.Discrete(3, start=-1),
    "multidiscrete": spaces.MultiDiscrete([[3, 4], [2, 2]]),
    "multibinary": spaces.MultiBinary(3),
}


class Drawn(gym.Env[Any, Any]):
    """Observations drawn at random; the reward is the sum of the action's numbers, and a draw."""

    def __init__(self, observation: str = "box", action: str = "discrete", noise: str = "own", length: int = 9) -> None:
        self.observation_space, self.action_space = deepcopy(OBSERVATIONS[observation]), ACTIONS[action]
        self.noise, self.length = noise, length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t, self.bonus = 0, (options or {}).get("bonus", 0.0)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.t += 1
        draw = {"own": self.np_random, "other": np.random.default_rng()}.get(self.noise, self.np_random).random()
        reward = float("nan") if self.noise == "nan" else float(np.sum(action)) + draw + self.bonus
        if self.noise == "fails" and self.t == 3:
            raise RuntimeError("no more")
        return self.observation_space.sample(), reward, np.bool_(self.t >= self.length), False, {}


def track(**change: Any) -> Experiment:
    values: dict[str, Any] = {"id": "own/drawn", "about": "", "env_id": "own/Drawn-v0", "arguments": "{}"}
    values |= {"agents": ("uniform",), "timesteps": 0, "episodes": 2, "seeds": (0, 1), "score": "return"}
    return Experiment(**(values | {"references": (0.0, 10.0), "deterministic": True} | change))


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Own ids and tracks, forgotten afterwards; commands work in this process."""
    before, own, known = dict(gym.registry), dict(registration.OWN), dict(experiments.EXPERIMENTS)
    gym.register("own/Drawn-v0", Drawn, max_episode_steps=20)
    gym.register("own/Endless-v0", Drawn)
    monkeypatch.setitem(executors.EXECUTORS, "pool", executors.serial)
    monkeypatch.setattr("valuegym.leaderboards.site.pages.write_site", lambda scores, folder, **_: folder)
    monkeypatch.chdir(tmp_path)
    yield
    for table, kept in ((gym.registry, before), (registration.OWN, own), (experiments.EXPERIMENTS, known)):
        table.clear()  # type: ignore[attr-defined]
        table.update(kept)  # type: ignore[attr-defined]


class Anything:
    """Agent that plays fixed actions of any space."""

    def __init__(self, space: Any) -> None:
        self.space = space

    def predict(self, observation: Any, state: Any, episode_start: Any, deterministic: bool) -> Any:
        self.space.seed(0 if state is None else state)
        return np.stack([self.space.sample() for _ in episode_start]), (0 if state is None else state) + 1


@pytest.mark.parametrize(
    ("observation", "action"), [*((name, "discrete") for name in OBSERVATIONS), *(("box", name) for name in ACTIONS)]
)
def test_every_kind_of_space_is_played_and_replayed(observation: str, action: str, tmp_path: Path) -> None:
    what = track(arguments=json.dumps({"observation": observation, "action": action}))
    path = valuegym.record(Anything(ACTIONS[action]), what, "any")
    assert verify(path).reason == "" and not verify(path).claimed
    record = read_record(path)
    assert set(record.episodes[0].states) == {"rewards", "observations"} and len(record.episodes[0].actions) == 9
    assert record.spec == {"id": "own/Drawn-v0", "kwargs": what.kwargs, "max_episode_steps": 20}
    assert path.read_bytes() == valuegym.record(Anything(ACTIONS[action]), what, "any", overwrite=True).read_bytes()
    again = replace(what, id="own/other")
    assert why_not("uniform", experiments.register(again).id) == ""
    assert verify(run("uniform", again.id, 0, tmp_path)).reason == ""
    assert "has none" in why_not("oracle", again.id)


def test_scores_are_returns_between_the_references(tmp_path: Path) -> None:
    what = track(arguments='{"action": "scalar", "length": 30}', options=("bonus", (0.0, 1.0)), references=(-5, 15))
    scores = valuegym.evaluate(Anything(spaces.Box(-1, 1, (), np.float64)), what, seeds=[1]).scores
    expected = []
    for seed, bonus in zip(what.evaluation_seeds(1), (0.0, 1.0), strict=True):
        env, agent = gym.make("own/Drawn-v0", action="scalar", length=30), Anything(spaces.Box(-1, 1, (), np.float64))
        env.reset(seed=seed, options={"bonus": bonus})
        total, memory, over = 0.0, None, False
        while not over:
            action, memory = agent.predict(None, memory, np.zeros(2), True)
            _, reward, terminated, truncated, _ = env.step(np.asarray(action[len(expected)]))
            total, over = total + float(reward), terminated or truncated
        expected.append((total + 5) / 20)
    np.testing.assert_allclose(scores[0, :, 0], expected)


def changed(record: Record, name: str, value: Any) -> Record:
    first = record.episodes[0]
    if name in vars(first):
        return replace(record, episodes=[replace(first, **{name: value}), *record.episodes[1:]])
    return replace(record, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("actions", [1] * 9, "rewards are others"),
        ("actions", [0] * 8, "which is not how the replay ends"),
        ("actions", [0] * 10, "goes on after its end, at step 9"),
        ("actions", [0] * 21, "has 21 steps; the limit is 20"),
        ("actions", [5] * 9, "not in the action space"),
        ("actions", [0.0] * 9, "not in the action space"),
        ("actions", [True] * 9, "not in the action space"),
        ("actions", [[0]] * 9, "not in the action space"),
        ("actions", [[[], [0]]] * 9, "not in the action space"),
        ("actions", [10**30] * 9, "not in the action space"),
        ("actions", ["0"] * 9, "not in the action space"),
        ("states", {}, "holds []; expected ['observations', 'rewards']"),
        ("states", {"rewards": [], "observations": [1]}, "observations are others|rewards are others"),
        ("terminated", False, "which is not how the replay ends"),
        ("truncated", True, "which is not how the replay ends"),
        ("scores", [[0.5], [0.5]], "the scores are not those"),
        ("seed", 7, "seed 7 is not one of"),
        ("digest", "0", "the environment digest differs"),
    ],
)
def test_an_edited_record_is_refused(name: str, value: Any, message: str) -> None:
    path = valuegym.record(Anything(ACTIONS["discrete"]), track(), "any")
    record = read_record(path)
    assert record.episodes[0].actions != value
    write_record(path, changed(record, name, value) if name != "seed" else replace(record, seed=value))
    found = verify(path).reason
    assert any(part in found for part in message.split("|")), found


def test_swapped_observations_are_noticed() -> None:
    path = valuegym.record(Anything(ACTIONS["discrete"]), track(), "any")
    record = read_record(path)
    states = record.episodes[0].states | {"observations": record.episodes[1].states["observations"]}
    write_record(path, changed(record, "states", states))
    assert "its observations are others when it is replayed" in verify(path).reason


def test_what_does_not_repeat_itself_is_a_claim(capsys: pytest.CaptureFixture[str]) -> None:
    noisy = '{"noise": "other"}'
    with pytest.raises(
        ValueError, match=r"is declared deterministic, but .* rewards are others .* deterministic=False"
    ):
        valuegym.record(Anything(ACTIONS["discrete"]), track(arguments=noisy), "any")
    assert not list(Path().rglob("*.jsonl"))
    what = track(id="own/noisy", arguments=noisy, deterministic=False)
    paths = [valuegym.record(Anything(ACTIONS["discrete"]), what, "any", seed=seed) for seed in (0, 1)]
    found = verify(paths[0])
    assert found.reason == "" and found.claimed and len(read_record(paths[0]).episodes[0].states["rewards"]) == 9
    assert main(["leaderboard", "results", "--track", "off"]) == 0
    out = capsys.readouterr().out
    assert "2 records hold claimed rewards: their environment does not repeat itself" in out
    assert re.search(r"any .* 2  claimed\n", out) and "claimed, not checked" in out and "replayed" not in out
    Path("card.json").write_text(json.dumps(EXAMPLE | {"name": "any"}))
    assert main(["submit", "results", "--output", "any.zip"]) == 0
    judgement = judge("any.zip", workers=1)
    assert judgement.tier == "claimed" and "rewards as claimed" in judgement.text
    record = read_record(paths[0])
    for name, value, message in (
        ("states", {"rewards": [0.0]}, "does not hold one reward for each of its 9 steps"),
        ("states", {"rewards": ["1"] * 9}, "no finite number"),
        ("states", {"rewards": [1e308] * 9}, "no finite number"),
        ("actions", [9] * 9, "not in the action space"),
        ("terminated", False, "before its end"),
        ("scores", [[9.0], [9.0]], "the scores are not those"),
    ):
        write_record(paths[0], changed(record, name, value))
        assert message in verify(paths[0]).reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"references": None}, "references is None, but own/Drawn-v0 computes none"),
        ({"references": (1.0, 1.0)}, "expected the naive return first, the best above it"),
        ({"references": (1.0, 1.0 + 1e-12)}, "expected the naive return first, the best above it"),
        ({"references": (-1.7e308, 1.7e308)}, "expected the naive return first, the best above it"),
        ({"references": (2.0, 1.0)}, "expected the naive return first, the best above it"),
        ({"references": (0.0, float("nan"))}, "references[1] is nan; expected finite numbers"),
        ({"references": (0.0, float("inf"))}, "references[1] is inf; expected finite numbers"),
        ({"references": 3}, "references has shape (); expected finite numbers of shape (2,)"),
        ({"references": ("0", "1")}, "expected finite numbers"),
        ({"score": "evaluation_points"}, "an environment without a core has 'return' alone"),
        ({"data": "human-delivery"}, "an environment without a core gets none"),
        ({"deterministic": 1}, "deterministic is 1; expected True or False"),
        ({"ranked": None}, "ranked is None; expected True or False"),
        ({"agents": "uniform"}, "agents is 'uniform'; expected several texts"),
        ({"tags": (1,)}, "tags is (1,); expected several texts"),
        ({"options": ("bonus", (1.0,))}, "expected 2 values, one an episode"),
        ({"options": 3}, "expected a name and a value for each episode"),
        ({"env_id": "valuegym/LQR-v0"}, "valuegym/LQR-v0 computes its references; leave references out"),
    ],
)
def test_what_a_track_declares_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        experiments.register(track(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arguments": '{"noise": "fails"}'}, "the environment fails in the episode of seed 0, step 2: Runtime"),
        ({"arguments": '{"noise": "nan"}'}, "gives the reward nan"),
        ({"env_id": "own/Endless-v0", "arguments": f'{{"length": {MAX_LENGTH + 2}}}'}, "does not end within"),
    ],
)
def test_a_faulty_environment_is_named(change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuegym.leaderboards.records.simulators.MAX_LENGTH", 30)
    with pytest.raises(ValueError, match=message.replace("within", "within 30 steps")):
        valuegym.record(Anything(ACTIONS["discrete"]), track(**change), "any")


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_of_a_space_are_read_and_others_refused(name: str) -> None:
    space: Any = ACTIONS[name]
    space.seed(0)
    for _ in range(20):
        action = space.sample()
        read = read_action(space, np.asarray(action).tolist())
        assert space.contains(read) and np.array_equal(read, action) and read.dtype == space.dtype
    wrong: list[Any] = [None, "x", [1, [2]], float("nan"), 99, np.full((7, 7), 0), [[[]]], 10**400, {}, object()]
    wrong += [np.full(space.shape, 99), np.full(space.shape, np.nan), np.full(space.shape, 1e300), np.array("a")]
    for value in wrong:
        with pytest.raises(ValueError, match="is not in the action space"):
            read_action(space, value)


def test_a_track_of_ones_own_may_list_agents_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    experiments.register(track(agents=("uniform", "oracle")))
    assert main(["run", "--experiment", "own/drawn", "--executor", "serial"]) == 2
    assert "oracle does not play on own/drawn: Agent 'oracle' asks" in capsys.readouterr().err
    assert (
        "own/drawn" in experiments.EXPERIMENTS and "references declared" in (main(["list"]), capsys.readouterr().out)[1]
    )


def test_a_core_without_references_has_those_that_the_track_declares(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "corridor.py"
    source = example.read_text(encoding="utf-8").replace("def references", "def _references")
    (tmp_path / "bare_core.py").write_text(source, encoding="utf-8")
    valuegym.register_core("own/Bare-v0", "bare_core.py:Corridor", {"size": 3})
    with pytest.raises(ValueError, match="references is None, but own/Bare-v0 computes none"):
        experiments.register(track(env_id="own/Bare-v0", references=None, deterministic=False))
    what = track(env_id="own/Bare-v0", references=(-12.0, 0.0), deterministic=False)
    path = valuegym.record(Anything(spaces.Discrete(3)), what, "any")
    assert verify(path).reason == "" and not verify(path).claimed
    env, total = gym.make("own/Bare-v0"), 0.0
    env.reset(seed=what.evaluation_seeds(0)[0])
    for action in read_record(path).episodes[0].actions:
        total += float(env.step(action)[1])
    np.testing.assert_allclose(read_record(path).scores[0], [(total + 12) / 12])


@pytest.mark.parametrize("id", ["CartPole-v1", "valuegym/InvertedPendulum-v0", "valuegym/Hopper-D5-v0"])
def test_environments_of_gymnasium_and_mujoco_are_tracks(id: str, capsys: pytest.CaptureFixture[str]) -> None:
    if id in THIRD_PARTY:
        pytest.importorskip("mujoco")
    what = experiments.register(track(env_id=id, id="own/theirs", references=(20.0, 500.0), episodes=3))
    assert main(["run", "--experiment", what.id, "--executor", "serial"]) == 0
    assert main(["verify", "results"]) == 0 and "verified  2 of 2 records" in capsys.readouterr().out
    assert main(["measures", "results"]) in (0, 2)
    assert read_record(next(Path().rglob("*.jsonl"))).spec["max_episode_steps"] == gym.spec(id).max_episode_steps


class Edited:
    """A core whose class is replaced, as in a notebook."""


def test_an_edited_core_has_another_digest_and_its_references_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEGYM_CACHE", str(tmp_path / "cache"))
    example = Path(__file__).resolve().parents[2] / "examples" / "corridor.py"
    core = plugins.load_reference(f"{example}:Corridor")
    best, here = [0.0], sys.modules[__name__]

    class Other(core):  # type: ignore[misc, valid-type]
        def references(self, task: Any) -> Any:
            naive, _ = super().references(task)
            return naive, np.full(len(naive), best[0])

    Other.__qualname__, Other.__module__ = "Edited", __name__
    monkeypatch.setattr(here, "Edited", Other)
    monkeypatch.setitem(sys.modules, __name__, here)
    valuegym.register_core("own/Edited-v0", Other)
    what = experiments.register(track(env_id="own/Edited-v0", references=None, deterministic=False))
    path = valuegym.record(Anything(spaces.Discrete(3)), what, "any")
    assert verify(path).reason == ""
    best[0] = 5.0
    assert "the scores are not those" in verify(path).reason  # references are computed again
    monkeypatch.setattr(Other, "reward", lambda self, *_: np.ones(len(_[1].time)))
    assert "the environment digest differs" in verify(path).reason


@pytest.mark.sandbox
@pytest.mark.parametrize("env_id", ["CartPole-v1", "own/Kept-v0"])
def test_a_board_executes_agents_on_them(env_id: str, tmp_path: Path) -> None:
    """An environment of one's own stays with the board; the agent sees its spaces and observations."""
    example = Path(__file__).resolve().parents[2] / "examples" / "corridor.py"
    valuegym.register_core("own/Kept-v0", f"{example}:Corridor", {"size": 4})
    known: dict[str, Any] = {} if env_id == "CartPole-v1" else {"references": None, "deterministic": False}
    what = experiments.register(track(env_id=env_id, id="own/theirs", **known))
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "agent.py").write_text("from valuegym.agents.uniform import Uniform as make\n")
    seeds = what.evaluation_seeds(0)
    inside = operations._played(tmp_path / "agent", "any", what.id, 0, seeds, None, None)
    outside = play_record(make("uniform", gym.make(env_id)), "any", what.id, 0)
    assert inside == outside


def test_a_claim_is_executed_where_the_board_played_itself() -> None:
    what = experiments.register(track(arguments='{"noise": "other"}', deterministic=False))
    record = play_record(Anything(ACTIONS["discrete"]), "any", what.id, 0)
    for tier, reached in (("executed", "executed"), ("committed", "claimed"), ("replayed", "claimed")):
        assert gather_scores([record], tier)[0].standing.tier == reached
