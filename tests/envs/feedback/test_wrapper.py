"""Wrappers: the reward is hidden, segments are what happened, scalar and vector agree, learned rewards arrive."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import valuegym.envs
from valuegym.envs.feedback.annotators import Annotator, bpref
from valuegym.envs.feedback.answers import Answers, Feedback, join
from valuegym.envs.feedback.learned_reward import LearnedReward, LearnedRewardVector
from valuegym.envs.feedback.queries import queries_per_round
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.wrapper import PreferenceFeedback, PreferenceFeedbackVector

LIMIT = 8
KINDS = ("box", "discrete", "dict")


class Walk(gym.Env[Any, Any]):
    """Observations count steps and hold the last action; rewards are unlike any other number; some episodes end early.

    The reward of action a at step t is 1000.25 + 10 t + a. Episode e ends after 3 + e % 4 steps, where it may end.
    """

    def __init__(self, kind: str = "box", ends: bool = True) -> None:
        self.kind, self.ends, self.episode = kind, ends, -1
        box = gym.spaces.Box(-2.0, 1e6, (3,), np.float32)
        number = gym.spaces.Discrete(1000)
        spaces: dict[str, gym.Space[Any]] = {
            "box": box, "discrete": number, "dict": gym.spaces.Dict({"x": box, "n": number})
        }  # fmt: skip
        self.observation_space = spaces[kind]
        self.action_space = gym.spaces.Discrete(4) if kind != "dict" else gym.spaces.Box(-1, 1, (2,), np.float32)

    def _seen(self, last: float) -> Any:
        box = np.array([self.episode, self.t, last], np.float32)
        number = np.int64(10 * self.episode + self.t)
        return {"box": box, "discrete": number, "dict": {"x": box, "n": number}}[self.kind]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = (self.episode + 1 if seed is None else seed) % 88
        self.t = 0
        return self._seen(0), {"reward": 1000.25}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        a = float(np.sum(action))
        reward = 1000.25 + 10 * self.t + a
        self.t += 1
        over = self.ends and self.t >= 3 + self.episode % 4
        info = {"reward": reward, "episode": {"r": reward}, "note": self.t, "final_info": {"r": reward}}
        return self._seen(a), reward, over, False, info


def walk(kind: str = "box", ends: bool = True) -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Walk(kind, ends), LIMIT)


def vector(n: int, mode: AutoresetMode, kind: str = "box", ends: bool = True) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: walk(kind, ends)] * n, autoreset_mode=mode)


def wrapped(kind: str = "box", ends: bool = True, annotator: Any = None, **kwargs: Any) -> PreferenceFeedback:
    arguments: dict[str, Any] = {"segment_length": 3, "every": 20, "rounds": 4, "horizon": None, **kwargs}
    if arguments.get("fixed_horizon", True):
        arguments["horizon"] = LIMIT
    return PreferenceFeedback(walk(kind, ends), annotator or Annotator(), 30, **arguments)


def numbers(thing: Any) -> list[float]:
    """Return all numbers within an observation, an info or feedback."""
    if isinstance(thing, dict):
        return [x for _, value in sorted(thing.items()) for x in numbers(value)]
    if isinstance(thing, (list, tuple)):
        return [x for value in thing for x in numbers(value)]
    if isinstance(thing, (Segments, Answers, Feedback)):
        return numbers(list(vars(thing).values()))
    if isinstance(thing, np.ndarray) and thing.dtype == object:
        return numbers(thing.tolist())
    return np.asarray(thing, np.float64).reshape(-1).tolist() if thing is not None else []


def play(env: gym.Env[Any, Any], steps: int, seed: int = 0) -> list[tuple[Any, float, bool, bool, dict[str, Any]]]:
    env.action_space.seed(seed)
    seen = [(*env.reset(seed=seed), 0.0)]
    found: list[Any] = [(seen[0][0], 0.0, False, False, seen[0][1])]
    for _ in range(steps):
        found.append(env.step(env.action_space.sample()))
        if found[-1][2] or found[-1][3]:
            found.append((*_reset(env), {}))
    return found


def _reset(env: gym.Env[Any, Any]) -> tuple[Any, float, bool, bool]:
    observation, info = env.reset()
    assert not info
    return observation, 0.0, False, False


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reward_is_nowhere_to_be_seen(kind: str, fixed: bool) -> None:
    env = wrapped(kind, fixed_horizon=fixed)
    found = play(env, 100)
    assert {step[1] for step in found} == {0.0} and all(type(step[1]) is float for step in found)
    news = [step[4]["preferences"] for step in found if step[4]]
    assert {name for step in found for name in step[4]} == {"preferences"} and len(news) == 4
    feedback, true = env.feedback(), env.true_feedback()
    assert feedback is not None and true is not None
    for thing in (*((step[0], step[4]) for step in found), feedback):
        assert not [x for x in numbers(thing) if x >= 1000.25]
    assert [x for x in numbers(true) if x >= 1000.25]
    assert np.isnan(feedback.answers.probability).all() and not np.isnan(true.answers.probability).any()
    assert set(feedback.first.info) == {"round"} and set(true.first.info) == {"round", "recent_return"}
    assert feedback.first.terminated.any() == (not fixed) and true.first.terminated.any()
    again = join(news)
    for name in ("actions", "lengths"):
        np.testing.assert_array_equal(getattr(again.first, name), getattr(feedback.first, name))
    np.testing.assert_array_equal(again.answers.labels, feedback.answers.labels)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_segments_are_what_happened(kind: str, ends: bool, fixed: bool) -> None:
    env = wrapped(kind, ends, fixed_horizon=fixed)
    play(env, 100)
    true = env.true_feedback()
    assert true is not None and len(true) == 30
    for part in (true.first, true.second):
        check_segments(part, kind, ends, fixed)
    expected = queries_per_round("constant", 30, 4)
    assert np.bincount(true.first.info["round"]).tolist() == expected


def check_segments(part: Segments, kind: str, ends: bool, fixed: bool) -> None:
    """Check segments of `Walk` against what its observations say."""
    seen = part.observations["n" if kind == "dict" else "x"] if kind == "dict" else part.observations
    for i in range(len(part)):
        n = int(part.lengths[i])
        if kind == "box":
            episode, t = seen[i, : n + 1, 0].astype(int), seen[i, : n + 1, 1].astype(int)
        else:
            episode, t = np.divmod(seen[i, : n + 1].astype(int), 10)
        over = 3 + episode[0] % 4 if ends else 99
        assert (episode == episode[0]).all() and (t == np.minimum(t[0] + np.arange(n + 1), over)).all()
        live = (t[:-1] < over) & (t[1:] > t[:-1])
        acted = part.actions[i, :n].reshape(n, -1).astype(np.float64).sum(1)
        rewards = np.where(live, 1000.25 + 10 * t[:-1] + acted, 0.0)
        np.testing.assert_allclose(part.rewards[i, :n], rewards, atol=1e-4)
        assert part.terminated[i] == (live[-1] and t[-1] == over)
        assert t[0] < over  # no segment begins after the end of its episode
        assert n == 3 or (not fixed and ends and t[0] == 0)


def test_a_fixed_horizon_gives_no_end_away() -> None:
    env = wrapped(every=10**6)
    env.reset(seed=0)  # ends after 3 steps
    steps = [env.step(1) for _ in range(LIMIT)]
    assert [step[2] for step in steps] == [False] * LIMIT and [step[3] for step in steps] == [False] * 7 + [True]
    for step in steps[2:]:
        np.testing.assert_array_equal(step[0], steps[2][0])
    with pytest.raises(gym.error.ResetNeeded):
        env.step(1)
    env.reset()
    free = wrapped(fixed_horizon=False, every=10**6)
    free.reset(seed=0)
    assert [free.step(1)[2] for _ in range(3)] == [False, False, True]
    short = PreferenceFeedback(walk(ends=False), Annotator(), 1, segment_length=2, horizon=5)
    short.reset(seed=0)
    assert [short.step(1)[3] for _ in range(5)] == [False] * 4 + [True]


def test_recent_returns_scale_adaptive_thresholds() -> None:
    seen: list[Segments] = []

    def look(first: Segments, second: Segments) -> np.ndarray:
        seen.append(first)
        return np.zeros(len(first))

    env = PreferenceFeedback(walk(ends=False), look, 12, segment_length=4, every=LIMIT * 3, rounds=3, horizon=LIMIT)
    env.action_space.seed(0)
    returns: list[float] = []
    env.reset(seed=0)
    for _ in range(9):
        earned = 0.0
        for t in range(LIMIT):
            action = int(env.action_space.sample())
            earned += 1000.25 + 10 * t + action
            env.step(action)
        returns.append(earned)
        env.reset()
    for k, first in enumerate(seen):
        np.testing.assert_allclose(first.info["recent_return"], np.mean(returns[: 3 * k + 3][-10:]) * 4 / LIMIT)
        assert (first.info["round"] == k).all()


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bits(kind: str, fixed: bool) -> None:
    def run(reset: int, **kwargs: Any) -> Feedback:
        env = wrapped(kind, annotator=bpref("mistake", mistake=0.5), fixed_horizon=fixed, **kwargs)
        before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
        play(env, 90, reset)
        assert (np.random.get_state()[1] == before).all()  # type: ignore[index]  # noqa: NPY002
        found = env.feedback()
        assert found is not None
        return found

    one, two, other, own = run(1), run(1), run(2), run(1, seed=9)
    assert_same(one, two)
    assert not np.array_equal(one.answers.labels, other.answers.labels)
    assert not np.array_equal(one.answers.labels, own.answers.labels)
    assert_same(own, run(1, seed=9))


def assert_same(one: Feedback, two: Feedback) -> None:
    for a, b in zip(numbers(one), numbers(two), strict=True):
        assert a == b or (np.isnan(a) and np.isnan(b))


def act(space: gym.Space[Any], t: int) -> Any:
    return np.int64(t * 7 % 4) if isinstance(space, gym.spaces.Discrete) else np.full(2, (t % 5) / 5, np.float32)


@pytest.mark.parametrize(
    ("mode", "ends", "fixed"),
    [
        *((mode, ends, False) for mode in AutoresetMode for ends in (True, False)),
        *((mode, False, True) for mode in AutoresetMode),
        (AutoresetMode.DISABLED, True, True),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_one_row_is_the_scalar_environment(kind: str, mode: AutoresetMode, ends: bool, fixed: bool) -> None:
    scalar = wrapped(kind, ends, fixed_horizon=fixed)
    arguments = {"segment_length": 3, "every": 20, "rounds": 4, "fixed_horizon": fixed}
    rows = PreferenceFeedbackVector(
        vector(1, mode, kind, ends),
        Annotator(),
        30,
        horizon=LIMIT if fixed else None,
        **arguments,  # type: ignore[arg-type]
    )
    observation, _ = scalar.reset(seed=3)
    seen, _ = rows.reset(seed=3)
    assert numbers(observation) == numbers(seen)
    done = False
    for t in range(82):
        action = act(scalar.action_space, t)
        batch = np.asarray(action)[None]
        if done and mode is AutoresetMode.NEXT_STEP:
            observation, _ = scalar.reset()
            seen, _, terminated, truncated, _ = rows.step(batch)  # ignores the action
            assert numbers(observation) == numbers(seen) and not terminated[0] and not truncated[0]
        elif done and mode is AutoresetMode.DISABLED:
            scalar.reset()
            rows.reset(options={"reset_mask": np.array([True])})
        elif done:
            scalar.reset()
        observation, reward, over, cut, info = scalar.step(action)
        seen, rewards, terminated, truncated, infos = rows.step(batch)
        done = over or cut
        assert (reward, over, cut) == (rewards[0], terminated[0], truncated[0]) == (0.0, over, cut)
        assert ("preferences" in info) == ("preferences" in infos)
        final = infos["final_obs"][0] if done and mode is AutoresetMode.SAME_STEP else seen
        assert numbers(observation) == numbers(final)
        if "preferences" in info:
            assert_same(info["preferences"], infos["preferences"])
    one, two = scalar.true_feedback(), rows.true_feedback()
    assert one is not None and two is not None and len(one) == 30
    assert_same(one, two)


@pytest.mark.parametrize(
    ("mode", "ends", "fixed"),
    [*((mode, True, False) for mode in AutoresetMode), (AutoresetMode.DISABLED, True, True),
     (AutoresetMode.NEXT_STEP, False, True)],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_segments_of_many_rows_are_what_happened(kind: str, mode: AutoresetMode, ends: bool, fixed: bool) -> None:
    rows = PreferenceFeedbackVector(
        vector(3, mode, kind, ends), Annotator(), 200, segment_length=3, every=45, rounds=5, fixed_horizon=fixed,
        horizon=LIMIT if fixed else None,
    )  # fmt: skip
    rows.action_space.seed(0)
    rows.reset(seed=[0, 1, 2])
    for _ in range(105):
        _, rewards, terminated, truncated, info = rows.step(rows.action_space.sample())
        assert rewards.dtype == np.float64 and not rewards.any()
        assert set(info) <= {"final_obs", "_final_obs", "preferences"}
        assert not [x for x in numbers(info) if x >= 1000.25]
        done = terminated | truncated
        assert not (fixed and terminated.any())
        if done.any() and mode is AutoresetMode.DISABLED:
            options = {"reset_mask": done}
            rows.reset(options=options)
            assert options == {"reset_mask": done}
    true = rows.true_feedback()
    assert true is not None and len(true) == 200
    for part in (true.first, true.second):
        check_segments(part, kind, ends, fixed)


def test_rows_that_end_early_cannot_wait_where_the_next_episode_starts_at_once() -> None:
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        rows = PreferenceFeedbackVector(vector(2, mode), Annotator(), 1, segment_length=2, horizon=LIMIT)
        rows.reset(seed=0)
        with pytest.raises(
            ValueError, match=r"Environments \[0.* ended after .* before the horizon of 8; expected auto"
        ):
            for _ in range(6):
                rows.step(np.ones(2, np.int64))
    rows = PreferenceFeedbackVector(vector(2, AutoresetMode.DISABLED), Annotator(), 1, segment_length=2, horizon=3)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        rows.step(np.ones(2, np.int64))
    rows.reset(seed=0)
    for _ in range(3):
        rows.step(np.ones(2, np.int64))
    with pytest.raises(gym.error.ResetNeeded, match=r"Environments \[0, 1\] have finished"):
        rows.step(np.ones(2, np.int64))


@pytest.mark.parametrize("id", valuegym.envs.ENVS)
def test_every_registered_environment_can_be_wrapped(id: str) -> None:
    arguments: dict[str, Any] = {"segment_length": 2, "every": 12, "rounds": 2, "fixed_horizon": False}
    env = PreferenceFeedback(gym.make(id), bpref("stochastic"), 4, **arguments)
    found = play(env, 26)
    assert {step[1] for step in found} == {0.0} and len(env.true_feedback() or ()) == 4
    rows = PreferenceFeedbackVector(gym.make_vec(id, num_envs=2), bpref("stochastic"), 4, **arguments)
    rows.reset(seed=0)
    rows.action_space.seed(0)
    for _ in range(15):  # some of them begin episodes
        assert not rows.step(rows.action_space.sample())[1].any()
    assert len(rows.feedback() or ()) == 4


def test_pairs_may_be_selected() -> None:
    def select(first: Segments, second: Segments, n: int) -> np.ndarray:
        assert len(first) == 5 * n and np.isnan(first.rewards).all() and not first.info
        return np.arange(n)[::-1] * 5

    env = wrapped(select=select, candidates=5)
    play(env, 100)
    assert len(env.feedback() or ()) == 30
    for bad, message in (
        (lambda first, second, n: np.zeros(n, int), "a pair twice"),
        (lambda first, second, n: np.arange(n) - 1, r"select\(first, second, n\)\[0\] is -1"),
        (lambda first, second, n: np.arange(n + 1), "has shape"),
        (lambda first, second, n: np.ones(n), "expected integers"),
    ):
        with pytest.raises(ValueError, match=message):
            play(wrapped(select=bad), 100)


def test_skipped_pairs_are_left_out_and_count() -> None:
    env = wrapped(annotator=lambda first, second: np.where(np.arange(len(first)) % 2, np.nan, 1.0))
    play(env, 100)
    found = env.feedback()
    assert found is not None and 0 < len(found) < 20 and (found.answers.labels == 1).all()
    silent = wrapped(annotator=lambda first, second: np.full(len(first), np.nan))
    assert not any(step[4] for step in play(silent, 100)) and silent.feedback() is None
    assert silent.true_feedback() is None


def test_queries_wait_until_there_is_a_pair() -> None:
    env = PreferenceFeedback(walk(ends=False), Annotator(), 10, segment_length=LIMIT, every=2, rounds=5, horizon=LIMIT)
    found = play(env, 2 * LIMIT + 1)
    assert [k for k, step in enumerate(found) if step[4]] == [17]  # the first step at which two segments are there
    assert len(env.feedback() or ()) == 10


def test_info_passes_through_where_it_is_asked_for() -> None:
    env = wrapped(info_keys=("note", "none"))
    env.reset(seed=0)
    assert env.step(1)[4] == {"note": 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PreferenceFeedback(Walk(), Annotator(), 1), "no step limit; expected horizon=STEPS"),
        (lambda: PreferenceFeedback(Walk(), Annotator(), 1, horizon=0), "horizon is 0"),
        (lambda: PreferenceFeedback(Walk(), Annotator(), 1, horizon=9), "segment_length is 50; expected at most"),
        (lambda: PreferenceFeedback(Walk(), Annotator(), 1, horizon=9, fixed_horizon=False), "is 9; expe"),
        (lambda: PreferenceFeedback(Walk(), Annotator(), 1, fixed_horizon=1), "fixed_horizon is 1"),  # type: ignore[arg-type]
        (lambda: PreferenceFeedback(gym.make("CartPole-v1"), Annotator(), 1, horizon=501), "horizon is 501"),
        (lambda: PreferenceFeedback(gym.make("CartPole-v1"), Annotator(), 1, memory=9), "memory is 9"),
        (lambda: PreferenceFeedback(gym.make("CartPole-v1"), Annotator(), 0), "budget is 0"),
        (lambda: PreferenceFeedback(gym.make("CartPole-v1"), 3, 1), "annotator is 3"),
        (lambda: PreferenceFeedback(gym.make("CartPole-v1"), Annotator(), 1, every=0), "every is 0"),
        (lambda: PreferenceFeedback(gym.make("CartPole-v1"), Annotator(), 1, seed=-1), "seed is -1"),
        (lambda: PreferenceFeedback(gym.make("CartPole-v1"), Annotator(), 1, candidates=0), "candidates is 0"),
        (lambda: PreferenceFeedback(gym.make("Blackjack-v1"), Annotator(), 1, fixed_horizon=False), "Flatten"),
        (lambda: PreferenceFeedback(LearnedReward(walk(), len), Annotator(), 1), "wrapped in LearnedReward already"),  # type: ignore[arg-type]
        (lambda: PreferenceFeedback(wrapped(), Annotator(), 1), "wrapped in PreferenceFeedback already"),
        (
            lambda: PreferenceFeedbackVector(
                SyncVectorEnv([lambda: LearnedReward(walk(), len)]), Annotator(), 1, fixed_horizon=False  # type: ignore[arg-type, list-item, return-value]
            ),
            "wrapped in LearnedReward already",
        ),
        (
            lambda: PreferenceFeedbackVector(gym.make_vec("CartPole-v1", 2), Annotator(), 1, horizon=100),
            "horizon is 100; expected the environments' own limit of 500",
        ),
        (lambda: LearnedReward(walk(), 3), "model is 3"),  # type: ignore[arg-type]
        (lambda: LearnedReward(walk(), len, "median"), "aggregation is 'median'"),  # type: ignore[arg-type]
        (lambda: LearnedReward(walk(), len, coefficient=-1.0), "coefficient is -1.0"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- learned rewards ---


def model(observations: Any, actions: np.ndarray, following: Any) -> np.ndarray:
    """Return 100 times the next count of steps plus the present one, so that all three arguments show."""
    assert len(observations) == len(actions) == len(following)
    return 100.0 * following[:, 1] + observations[:, 1] + actions / 10


@pytest.mark.parametrize("below", [lambda: walk(), lambda: wrapped(fixed_horizon=False)])
def test_a_learned_reward_is_that_of_the_model(below: Callable[[], gym.Env[Any, Any]]) -> None:
    env = LearnedReward(below(), model)
    for _ in range(3):
        env.reset()
        done, t = False, 0
        while not done:
            _, reward, terminated, truncated, _ = env.step(t % 4)
            assert reward == 100.0 * (t + 1) + t + (t % 4) / 10 and type(reward) is float
            done, t = terminated or truncated, t + 1


@pytest.mark.parametrize("mode", AutoresetMode)
def test_learned_rewards_of_a_vector_are_those_of_its_rows(mode: AutoresetMode) -> None:
    rows = LearnedRewardVector(vector(3, mode), model)
    rows.reset(seed=[0, 1, 2])
    t, fresh = np.zeros(3), np.zeros(3, np.bool_)
    for k in range(40):
        action = np.full(3, k % 4)
        _, rewards, terminated, truncated, _ = rows.step(action)
        np.testing.assert_allclose(rewards, np.where(fresh, 0.0, 100 * (t + 1) + t + (k % 4) / 10))
        done = terminated | truncated
        t = np.where(fresh, 0, t + 1)
        fresh = done & (mode is AutoresetMode.NEXT_STEP)
        if mode is not AutoresetMode.NEXT_STEP:
            t[done] = 0
        if done.any() and mode is AutoresetMode.DISABLED:
            rows.reset(options={"reset_mask": done})


def test_ensembles_are_aggregated() -> None:
    members = np.array([[1.0], [2.0], [6.0]])
    for aggregation, expected in (("mean", 3.0), ("min", 1.0), ("mean_minus_std", 3.0 - 2 * members.std())):
        env = LearnedReward(walk(), lambda *batch: members, aggregation, 2.0)
        env.reset()
        assert env.step(0)[1] == pytest.approx(expected)


@pytest.mark.parametrize("answer", [None, 1.0, [np.nan], [1.0, 2.0], [[1.0], [np.inf]], "a", [[[1.0]]]])
def test_models_must_return_finite_rewards(answer: Any) -> None:
    env = LearnedReward(walk(), lambda *batch: answer)
    env.reset()
    with pytest.raises(ValueError, match=r"the reward of the model.*; expected finite numbers"):
        env.step(0)


# --- checkers ---


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gymnasium_finds_no_fault(kind: str, ends: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(wrapped(kind, ends), skip_render_check=True)
        check_env(wrapped(kind, ends, fixed_horizon=False), skip_render_check=True)


def test_the_spec_makes_the_same_environment_again() -> None:
    env = PreferenceFeedback(gym.make("CartPole-v1"), bpref(), 3, segment_length=7)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert isinstance(again.get_wrapper_attr("feedback").__self__, PreferenceFeedback)


@pytest.mark.parametrize("kind", KINDS)
def test_stable_baselines_finds_no_fault(kind: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checker.check_env(wrapped(kind))
        checker.check_env(LearnedReward(wrapped(kind), lambda observations, actions, following: np.zeros(len(actions))))


def test_stable_baselines_learns_from_a_learned_reward() -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    inner = PreferenceFeedback(gym.make("CartPole-v1"), bpref(), 6, segment_length=5, every=30, rounds=3)
    env = LearnedReward(inner, lambda observations, actions, following: -np.abs(following[:, 2]))
    sb3.PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(96)
    assert len(inner.feedback() or ()) == 6
