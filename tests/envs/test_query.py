"""A second source of tasks, written here, through the core of the query environments with learners as they are."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from valuegym.agents import make
from valuegym.envs import keys
from valuegym.envs.functional import FunctionalVectorEnv
from valuegym.envs.preference import annotators
from valuegym.envs.preference.query import ActiveState, QueryCore, State, check_evaluation_points
from valuegym.envs.preference.segments import Segment
from valuegym.envs.preference.tabular_query import Drawn, TabularSource, read, read_candidates

ARMS = 3


class BanditTasks:
    """Three arms with hidden worth, whose order is shown: all that another kind of task has to state."""

    shape, discount, random = (2, ARMS, ARMS), 0.9, True
    spaces: dict[str, gym.Space[Any]] = {"names": gym.spaces.Box(0, ARMS - 1, (ARMS,), np.int64)}

    def draw(self, key: keys.Key) -> Drawn:
        B = len(key)
        features = np.zeros((B, 2, ARMS, ARMS))
        features[:, 0] = np.eye(ARMS)
        return Drawn(
            next_state=np.ones((B, 2, ARMS), np.int64),
            features=features,
            terminal=np.tile([False, True], (B, 1)),
            start=np.tile([1.0, 0.0], (B, 1)),
            weights=3.0 * keys.normal(key[:, None], keys.RESET, 1, np.arange(ARMS)),
            layout=keys.permutation(key, ARMS, keys.RESET, 0),
        )

    def observation(self, layout: np.ndarray) -> dict[str, np.ndarray]:
        return {"names": layout.copy()}

    def render(self, mode: str, layout: np.ndarray, pair: Segment, caption: str, answer: int) -> Any:
        first, second = layout[pair.actions[:, 0]]
        return f"{first} or {second}; {caption}"


class Bandit(QueryCore):
    """Which arm is worth most?"""

    def __init__(
        self, annotator: str = "regret-noiseless", candidates: int | None = None, policy: bool = False
    ) -> None:
        source = TabularSource(BanditTasks(), annotators.by_name(annotator), length=1, policy=policy)
        super().__init__(source, (0, 8, 40), candidates)


ENTRY = f"{__name__}:Bandit"


@pytest.fixture(autouse=True)
def registered() -> Any:
    for id, entry in {"test/Bandit-v0": {}, "test/ActiveBandit-v0": {"candidates": 3}}.items():
        gym.register(
            id,
            entry_point="valuegym.envs.functional:FunctionalEnv",
            vector_entry_point="valuegym.envs.functional:FunctionalVectorEnv",
            kwargs={"core": ENTRY, **entry},
        )
    yield
    del gym.registry["test/Bandit-v0"], gym.registry["test/ActiveBandit-v0"]


def final_scores(name: str, id: str, n: int = 20, **kwargs: Any) -> np.ndarray:
    """The scores (n, 3) of an agent at the evaluation points of n episodes."""
    envs: Any = gym.make_vec(id, num_envs=n, **kwargs)
    agent: Any = make(name, gym.make(id, **kwargs), seed=0)
    observation, _ = envs.reset(seed=0)
    memory, start, terminated = None, np.ones(n, np.bool_), np.zeros(n, np.bool_)
    while not terminated.all():
        action, memory = agent.predict(observation, memory, start)
        observation, reward, terminated, *_ = envs.step(action)
        start = np.zeros(n, np.bool_)
    scores = envs.unwrapped.state.scores
    np.testing.assert_allclose(reward, scores.mean(-1))
    return np.asarray(scores)


@pytest.mark.parametrize("id", ["test/Bandit-v0", "test/ActiveBandit-v0"])
def test_a_new_source_passes_the_checker_and_reads_back(id: str) -> None:
    env = gym.make(id)
    check_env(env.unwrapped, skip_render_check=True)
    observation, _ = env.reset(seed=3)
    assert sorted(observation["names"].tolist()) == [0, 1, 2]
    query = read(observation)
    assert query.next_states.shape == (2, ARMS) and query.features.shape == (2, ARMS, ARMS)
    assert query.answer == annotators.CANNOT_TELL and query.is_evaluation_point
    if id == "test/ActiveBandit-v0":
        assert read_candidates(observation).actions.shape == (3, 2, 1)
    observation, *_ = env.step(env.action_space.sample())
    assert read(observation).answer in (annotators.FIRST, annotators.SECOND, annotators.SAME)
    assert not read(observation).is_evaluation_point


@pytest.mark.parametrize("name", ["regret", "partial_return", "bayes_regret"])
def test_learners_learn_the_arms_of_a_new_source(name: str) -> None:
    pytest.importorskip("scipy")  # the learners need it, environments do not
    scores = final_scores(name, "test/Bandit-v0")
    assert (scores[:, 0] == 0).all() and scores[:, 1].mean() > 0.7 and (scores[:, 2] > 0.999).mean() > 0.9


def test_any_source_has_an_active_environment() -> None:
    pytest.importorskip("scipy")  # the learners need it, environments do not
    scores = final_scores("active_bayes_regret", "test/ActiveBandit-v0", n=6)
    assert (scores[:, 2] > 0.999).all()


def test_the_oracle_and_the_naive_reference_of_a_new_source() -> None:
    for policy in (False, True):
        core = Bandit(policy=policy)
        task, state = core.initial(keys.mix(0, np.arange(30)))
        np.testing.assert_allclose(core.score(task, core.oracle_action(task, state)), 1)
        np.testing.assert_allclose(core.score(task, 0 * core.oracle_action(task, state)), 0, atol=1e-12)


def test_the_first_candidate_is_the_pair_of_the_passive_environment() -> None:
    passive, active = Bandit(), Bandit(candidates=4)
    task, _ = passive.initial(keys.mix(0, np.arange(5)))
    pair, answer = passive.query(task, np.full(5, 7))
    pairs, answers = active.pool(task, np.full(5, 7), 4)
    assert all((a == b[:, 0]).all() for a, b in zip(pair, pairs, strict=True)) and (answer == answers[:, 0]).all()
    state = ActiveState(np.full(5, 7), np.zeros((5, 3)), np.full(5, 2))
    chosen, said = active.answered(task, state)
    assert all((a == b[:, 2]).all() for a, b in zip(chosen, pairs, strict=True)) and (said == answers[:, 2]).all()


def test_a_source_draws_itself() -> None:
    core = Bandit()
    task, state = core.initial(keys.mix(0, np.arange(1)))
    assert core.render("ansi", task, [State(np.ones(1, np.int64), state.scores)], []).partition("; pair 1: ")[2]


def test_rows_are_those_of_the_scalar_environment() -> None:
    envs = FunctionalVectorEnv(core=ENTRY, num_envs=3)
    many, _ = envs.reset(seed=5)
    for row in range(3):
        one, _ = gym.make("test/Bandit-v0").reset(seed=5 + row)
        assert all(np.array_equal(one[name], many[name][row]) for name in many)


@pytest.mark.parametrize(
    "points",
    [(), (3, 1), (1, 1), (-1, 2), (1.5,), None, 3, "3", {3}, [[1, 2]], [True], [np.nan], range(10**9), [10**400]],
    ids=lambda points: repr(points)[:20],
)
def test_evaluation_points_increase(points: Any) -> None:
    with pytest.raises(ValueError, match=r"evaluation_points(\[0\])? is .*; expected "):
        check_evaluation_points(points)
