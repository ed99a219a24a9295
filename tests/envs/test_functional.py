"""The one reset and step: vector rows equal scalar environments, and Gymnasium's contract holds to the letter."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from valuegym.envs import keys
from valuegym.envs.functional import FunctionalEnv, FunctionalVectorEnv

DELIVERY = "valuegym/Delivery-v0"
INFERENCE = "valuegym/RewardInference-v0"
WALK, WALK_AHEAD, COUNTER = "toy/Walk-v0", "toy/WalkAhead-v0", "toy/Counter-v0"
SHORT = {"evaluation_points": (0, 1, 2)}


class WalkTask(NamedTuple):
    drift: np.ndarray


class WalkState(NamedTuple):
    position: np.ndarray


class Walk:
    """A random walk in the plane that slips, drifts its own way each episode and ends outside the unit disc."""

    observation_space = gym.spaces.Box(-2, 2, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}

    def initial(self, key: keys.Key, position: np.ndarray | None = None) -> tuple[WalkTask, WalkState]:
        drift = 0.1 * keys.normal(key[:, None], keys.RESET, np.arange(2))
        drawn = keys.uniform(key[:, None], keys.RESET, np.arange(2, 4)) - 0.5
        return WalkTask(drift), WalkState(drawn if position is None else np.stack([position, 0.0 * position], -1))

    def transition(
        self, task: WalkTask, state: WalkState, action: np.ndarray, key: keys.Key, t: np.ndarray
    ) -> WalkState:
        slips = keys.uniform(key, t, 0) < 0.25
        noise = keys.normal(key[:, None], t[:, None], np.arange(1, 3))
        step = np.where(slips[:, None], -action[:, ::-1], action)
        ended = self.terminal(task, state)[:, None]
        return WalkState(np.where(ended, state.position, state.position + 0.2 * step + 0.05 * noise + task.drift))

    def reward(self, task: WalkTask, state: WalkState, action: np.ndarray, next_state: WalkState) -> np.ndarray:
        cost = np.abs(next_state.position).sum(-1) + 0.1 * (action.astype(np.float64) ** 2).sum(-1)
        return np.where(self.terminal(task, state), 0.0, -cost)

    def terminal(self, task: WalkTask, state: WalkState) -> np.ndarray:
        return (state.position**2).sum(-1) > 1

    def observation(self, task: WalkTask, state: WalkState) -> np.ndarray:
        return np.clip(state.position, -2, 2).astype(np.float32)

    def render(self, mode: str, task: WalkTask, states: list[WalkState], actions: list[np.ndarray]) -> Any:
        assert len(states) == len(actions) + 1
        if mode == "ansi":
            return " ".join(f"{s.position[0, 0]:.17g}" for s in states) + f" {actions!r} {task.drift[0, 0]:.17g}"
        return np.full((4, 4, 3), int(50 * abs(states[-1].position[0, 0])), np.uint8)


class WalkAhead(Walk):
    """The same walk, whose episodes are prepared ahead."""

    resets_ahead = 16


class CounterState(NamedTuple):
    n: np.ndarray


class Counter(Walk):
    """Discrete actions are added up; ends at 5 or above, where the time limit of 3 may fall on the same step."""

    observation_space = gym.spaces.Discrete(20)  # type: ignore[assignment]
    action_space = gym.spaces.Discrete(4)  # type: ignore[assignment]

    def initial(self, key: keys.Key) -> tuple[Any, Any]:  # type: ignore[override]
        return WalkTask(np.zeros(len(key))), CounterState(keys.integers(key, 2, keys.RESET))

    def transition(self, task: Any, state: Any, action: np.ndarray, key: keys.Key, t: np.ndarray) -> Any:
        return CounterState(np.where(self.terminal(task, state), state.n, state.n + action))

    def reward(self, task: Any, state: Any, action: np.ndarray, next_state: Any) -> np.ndarray:
        return (next_state.n - state.n).astype(np.float64)

    def terminal(self, task: Any, state: Any) -> np.ndarray:
        return state.n >= 5

    def observation(self, task: Any, state: Any) -> np.ndarray:
        return state.n.copy()


def core(name: str) -> str:
    return f"{__name__}:{name}"


@pytest.fixture(autouse=True, scope="module")
def _toys() -> Iterator[None]:
    for id, name, limit in ((WALK, "Walk", 11), (WALK_AHEAD, "WalkAhead", 11), (COUNTER, "Counter", 3)):
        gym.register(
            id=id,
            entry_point="valuegym.envs.functional:FunctionalEnv",
            vector_entry_point="valuegym.envs.functional:FunctionalVectorEnv",
            max_episode_steps=limit,
            kwargs={"core": core(name)},
        )
    yield
    for id in (WALK, WALK_AHEAD, COUNTER):
        del gym.registry[id]


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, with equal types; dictionaries, sequences and object arrays entry by entry."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list) or (isinstance(a, np.ndarray) and a.dtype == object):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def row(observation: Any, i: int) -> Any:
    return {k: v[i] for k, v in observation.items()} if isinstance(observation, dict) else observation[i]


def random_actions(envs: gym.vector.VectorEnv[Any, Any, Any], rng: np.random.Generator) -> np.ndarray:
    space = envs.single_action_space
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.n, size=envs.num_envs)
    assert isinstance(space, gym.spaces.Box)
    return rng.uniform(-1, 1, (envs.num_envs, *space.shape)).astype(np.float32)


def rollout(envs: Any, steps: int, seed: Any = 5, actions: int = 0) -> list[Any]:
    """Everything that comes out of a vector environment under random actions."""
    rng = np.random.default_rng(actions)
    out: list[Any] = [envs.reset(seed=seed)]
    out += [envs.step(random_actions(envs, rng)) for _ in range(steps)]
    return out


def assert_same_rollouts(a: list[Any], b: list[Any]) -> None:
    for t, (x, y) in enumerate(zip(a, b, strict=True)):
        assert same(x, y), f"step {t}: {x} and {y}"


@pytest.fixture
def untouched_global_state() -> Iterator[None]:
    before = np.random.get_state()  # noqa: NPY002
    yield
    after = np.random.get_state()  # noqa: NPY002
    assert before[2] == after[2] and (before[1] == after[1]).all()


# --- vector and scalar environments are the same environment ---


@pytest.mark.usefixtures("untouched_global_state")
@pytest.mark.parametrize(
    ("id", "kwargs", "num_envs", "resets"),
    [
        (DELIVERY, {}, 64, 3000),
        (DELIVERY, {"observation": "features", "reward": "hidden"}, 3, 100),
        (WALK, {}, 64, 800),
        (WALK_AHEAD, {}, 40, 1200),
        (COUNTER, {}, 64, 3000),
        (INFERENCE, SHORT, 8, 60),
        (
            INFERENCE,
            {**SHORT, "annotator": "partial-return-noiseless", "board": "published", "action": "policy"},
            4,
            12,
        ),
    ],
)
def test_vector_rows_equal_scalar_environments(id: str, kwargs: dict[str, Any], num_envs: int, resets: int) -> None:
    seed, rng = 77, np.random.default_rng(0)
    envs = gym.make_vec(id, num_envs=num_envs, **kwargs)
    scalars = [gym.make(id, **kwargs) for _ in range(num_envs)]
    observations, info = envs.reset(seed=seed)
    assert info == {} and observations in envs.observation_space
    for i, env in enumerate(scalars):
        assert same(env.reset(seed=seed + i), (row(observations, i), {}))
    done, count, ends = np.zeros(num_envs, bool), num_envs, {"terminated": 0, "truncated": 0}
    while count < resets:
        actions = random_actions(envs, rng)
        observations, rewards, terminated, truncated, info = envs.step(actions)
        assert (rewards.dtype, terminated.dtype, truncated.dtype, info) == (np.float64, np.bool_, np.bool_, {})
        for i, env in enumerate(scalars):
            if done[i]:  # the step after the end ignores the action
                expected = (env.reset()[0], 0.0, False, False)
            else:
                expected = env.step(actions[i])[:4]
                assert type(expected[1]) is float and type(expected[2]) is bool and type(expected[3]) is bool
            assert same(row(observations, i), expected[0])
            assert (rewards[i], terminated[i], truncated[i]) == expected[1:]
        done = terminated | truncated
        count += int(done.sum())
        ends["terminated"] += int(terminated.sum())
        ends["truncated"] += int(truncated.sum())
    assert ends["terminated"] > 0
    assert (ends["truncated"] > 0) == (id != INFERENCE and num_envs > 3), ends  # the time limit took part


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize(
    ("id", "kwargs", "steps"),
    [(DELIVERY, {}, 450), (WALK, {}, 60), (WALK_AHEAD, {}, 60), (COUNTER, {}, 40), (INFERENCE, SHORT, 9)],
)
def test_native_vector_equals_gymnasiums_own(id: str, kwargs: dict[str, Any], steps: int, mode: AutoresetMode) -> None:
    native = gym.make_vec(id, num_envs=5, autoreset_mode=mode, **kwargs)
    sync = gym.make_vec(id, num_envs=5, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **kwargs)
    assert isinstance(native.unwrapped, FunctionalVectorEnv) and not isinstance(sync.unwrapped, FunctionalVectorEnv)
    assert native.observation_space == sync.observation_space and native.action_space == sync.action_space
    assert native.metadata["autoreset_mode"] is mode
    a, b = rollout(native, steps), rollout(sync, steps)
    assert_same_rollouts(a, b)
    if mode is AutoresetMode.SAME_STEP:
        assert any("final_obs" in out[4] for out in a[1:])
    assert native.np_random_seed == sync.np_random_seed


def test_final_observations_are_the_last_of_their_episode() -> None:
    envs = FunctionalVectorEnv(core("Walk"), num_envs=6, max_episode_steps=11, autoreset_mode="SameStep")
    observations, _ = envs.reset(seed=1)
    rng, seen = np.random.default_rng(0), 0
    for _ in range(60):
        observations, _, terminated, truncated, info = envs.step(random_actions(envs, rng))
        done = terminated | truncated
        assert ("final_obs" in info) == done.any()
        if done.any():
            assert (info["_final_obs"] == done).all() and info["_final_info"].dtype == np.bool_
            for i in range(6):
                final = info["final_obs"][i]
                assert (final is not None) == done[i]
                if terminated[i]:
                    seen += 1
                    assert (final**2).sum() > 1 >= (observations[i] ** 2).sum()
    assert seen


@pytest.mark.parametrize("depth", [1, 2, 3, 16])
def test_episodes_begun_ahead_are_the_same_episodes(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WalkAhead, "resets_ahead", depth)
    plain, ahead = (FunctionalVectorEnv(core(name), num_envs=7, max_episode_steps=4) for name in ("Walk", "WalkAhead"))
    assert_same_rollouts(rollout(plain, 200), rollout(ahead, 200))
    mask = np.array([True, False] * 3 + [True])
    orders: list[dict[str, Any]] = [
        {"options": {"reset_mask": mask}},
        {"seed": [1, None, 2, None, 3, None, 4], "options": {"reset_mask": mask}},
        {"options": {"position": 0.25}},
        {"options": {"position": np.linspace(0, 0.5, 7), "reset_mask": ~mask}},
        {"seed": [None, 3, None, None, 9, None, None]},
        {},
    ]
    for _ in range(8):
        for order in orders:
            assert same(plain.reset(**copy.deepcopy(order)), ahead.reset(**copy.deepcopy(order)))
            assert_same_rollouts(_steps(plain, 3), _steps(ahead, 3))


def _steps(envs: FunctionalVectorEnv, n: int) -> list[Any]:
    rng = np.random.default_rng(n)
    return [envs.step(random_actions(envs, rng)) for _ in range(n)]


def test_without_a_limit_nothing_is_truncated() -> None:
    envs = FunctionalVectorEnv(core("Walk"), num_envs=50)
    assert not any(out[3].any() for out in rollout(envs, 50)[1:])
    assert gym.make_vec(DELIVERY, num_envs=2).unwrapped.max_episode_steps == 200  # type: ignore[attr-defined]


def test_terminated_and_truncated_may_fall_on_one_step() -> None:
    both = [out[2] & out[3] for out in rollout(gym.make_vec(COUNTER, num_envs=20), 20)[1:]]
    assert np.any(both)


def test_time_counts_from_each_reset() -> None:
    envs = FunctionalVectorEnv(core("Counter"), num_envs=2, max_episode_steps=3)
    envs.reset(seed=0)
    stay = np.zeros(2, np.int64)
    envs.step(stay)
    envs.reset(options={"reset_mask": np.array([True, False])})
    truncated = np.array([envs.step(stay)[3] for _ in range(6)])
    assert truncated[:, 0].nonzero()[0].tolist() == [2]
    assert truncated[:, 1].nonzero()[0].tolist() == [1, 5]


# --- seeds ---


def test_seeds_decide_everything() -> None:
    def play(seed: Any) -> list[Any]:
        return rollout(gym.make_vec(WALK, num_envs=3), 40, seed)

    assert_same_rollouts(play(5), play(5))
    assert_same_rollouts(play(5), play([5, 6, 7]))
    assert_same_rollouts(play(5), play((5, 6, 7)))
    first, second = play(5)[0][0], play(6)[0][0]
    assert same(first[1:], second[:-1])  # row i has the seed s + i
    assert len({tuple(start) for start in [*first.tolist(), second[-1].tolist()]}) == 4


def test_neighbouring_seeds_do_not_share_episodes() -> None:
    envs = FunctionalVectorEnv(core("Walk"), num_envs=200)
    starts = [envs.reset(seed=0 if e == 0 else None)[0] for e in range(20)]
    assert len({tuple(start) for episode in starts for start in episode.tolist()}) == 4000


def test_no_seed_keeps_the_stream() -> None:
    env = gym.make(WALK)
    first = [env.reset(seed=3)[0], *(env.reset()[0] for _ in range(30))]
    again = [env.reset(seed=3)[0], *(env.reset(seed=None)[0] for _ in range(30))]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(a.tolist()) for a in first}) == 31


def test_none_in_a_list_of_seeds_keeps_that_rows_stream() -> None:
    envs, env = gym.make_vec(WALK, num_envs=3), gym.make(WALK)
    envs.reset(seed=[3, 4, 5])
    observations, _ = envs.reset(seed=[None, 40, None])
    env.reset(seed=3)
    assert same(observations[0], env.reset()[0])
    assert same(observations[1], env.reset(seed=40)[0])
    assert envs.np_random_seed == (3, 40, 5)


@pytest.mark.parametrize("id", [WALK, WALK_AHEAD])
def test_reset_without_a_seed(id: str) -> None:
    envs = FunctionalVectorEnv(core("Walk"), num_envs=4)
    assert envs.np_random_seed == (-1, -1, -1, -1)
    observations, _ = envs.reset()
    assert len({tuple(o) for o in observations.tolist()}) == 4
    seeds = envs.np_random_seed
    assert len(set(seeds)) == 4 and min(seeds) >= 0
    assert same(envs.reset(seed=list(seeds))[0], observations)  # the seed that was drawn is reported
    a, b = gym.make(id), gym.make(id)
    start = a.reset()[0]
    assert not same(start, b.reset()[0])
    assert same(start, b.reset(seed=a.unwrapped.np_random_seed)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1.5, np.int64(3), "3"])
def test_seeds_must_be_python_integers(seed: Any) -> None:
    with pytest.raises(gym.error.Error):
        FunctionalEnv(core("Walk")).reset(seed=seed)


@pytest.mark.parametrize("seed", [[1, 2], [1, 2, 3, 4], []])
def test_one_seed_for_each_environment(seed: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"{len(seed)} seeds.* 3 environments"):
        FunctionalVectorEnv(core("Walk"), num_envs=3).reset(seed=seed)


# --- masks and options ---


def test_masked_reset_touches_only_its_rows() -> None:
    envs = gym.make_vec(WALK, num_envs=4, autoreset_mode=AutoresetMode.DISABLED)
    scalars = [gym.make(WALK) for _ in range(4)]
    observations, _ = envs.reset(seed=9)
    for i, env in enumerate(scalars):
        env.reset(seed=9 + i)
    rng, resets = np.random.default_rng(1), 0
    for _ in range(80):
        actions = random_actions(envs, rng)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        for i, env in enumerate(scalars):
            assert same(env.step(actions[i])[:4], (observations[i], rewards[i], terminated[i], truncated[i]))
        done = terminated | truncated
        if done.any():
            with pytest.raises(ResetNeeded, match="reset_mask"):
                envs.step(actions)
            observations, info = envs.reset(options={"reset_mask": done})
            assert info == {}
            resets += int(done.sum())
            for i in np.flatnonzero(done):
                assert same(observations[i], scalars[i].reset()[0])
    assert resets > 20


def test_masked_reset_takes_seeds_and_leaves_options_alone() -> None:
    envs = FunctionalVectorEnv(core("Walk"), num_envs=3)
    before, _ = envs.reset(seed=0)
    options = {"reset_mask": np.array([False, True, False])}
    after, _ = envs.reset(seed=[10, 11, 12], options=options)
    assert list(options) == ["reset_mask"]
    assert same(after[[0, 2]], before[[0, 2]]) and same(after[1], FunctionalEnv(core("Walk")).reset(seed=11)[0])
    assert envs.np_random_seed == (0, 11, 2)


@pytest.mark.parametrize(
    "mask", [np.zeros(3, bool), np.ones(2, bool), np.ones((3, 1), bool), np.array([1, 0, 1]), [True, False, True], True]
)
def test_bad_masks(mask: Any) -> None:
    envs = FunctionalVectorEnv(core("Walk"), num_envs=3)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"reset_mask is .*; expected a bool array of shape \(3,\)"):
        envs.reset(options={"reset_mask": mask})


def test_mask_before_the_first_reset() -> None:
    with pytest.raises(ResetNeeded, match="reset_mask"):
        FunctionalVectorEnv(core("Walk"), num_envs=2).reset(options={"reset_mask": np.array([True, False])})


def test_options_say_where_to_start() -> None:
    env, envs = gym.make(DELIVERY), gym.make_vec(DELIVERY, num_envs=3)
    for cell in (0, np.int64(31), np.array(45)):
        assert env.reset(seed=1, options={"cell": cell})[0] == int(cell)
    assert envs.reset(seed=1, options={"cell": 31})[0].tolist() == [31, 31, 31]
    assert envs.reset(options={"cell": [0, 31, 45]})[0].tolist() == [0, 31, 45]
    mask = np.array([False, True, True])
    assert envs.reset(options={"cell": np.array([9, 8, 7]), "reset_mask": mask})[0].tolist() == [0, 8, 7]
    assert envs.reset(options={"cell": 5, "reset_mask": mask})[0].tolist() == [0, 5, 5]


def test_options_take_up_one_episode_like_any_reset() -> None:
    for options in ({"cell": 31}, None):
        env, envs = gym.make(DELIVERY), gym.make_vec(DELIVERY, num_envs=2)
        env.reset(seed=1), envs.reset(seed=1)
        env.reset(options=options), envs.reset(options=options)
        starts = [env.reset()[0] for _ in range(40)]
        assert starts == [envs.reset()[0][0] for _ in range(40)]
        assert len(set(starts)) > 10


@pytest.mark.parametrize("cell", [-1, 100, 22, 34, 89, 1.5, [31]])
def test_cells_that_are_no_start(cell: Any) -> None:
    with pytest.raises(ValueError, match="cell"):
        gym.make(DELIVERY).reset(seed=0, options={"cell": cell})


# --- misuse ---


def test_stepping_needs_an_episode() -> None:
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        FunctionalEnv(core("Counter")).step(0)
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        FunctionalVectorEnv(core("Counter"), num_envs=2).step([0, 0])
    env = FunctionalEnv(core("Counter"))
    env.reset(seed=0)
    while not env.step(3)[2]:
        pass
    for _ in range(2):
        with pytest.raises(ResetNeeded, match="terminated"):
            env.step(0)
    env.reset()
    env.step(0)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (4, "4.*0 to 3"),
        (-1, "-1.*0 to 3"),
        (2**63, "9223372036854775808.*0 to 3"),
        (1.0, "1.0.*0 to 3"),
        (np.float32(1), "0 to 3"),
        ("1", "'1'.*0 to 3"),
        (None, "None.*0 to 3"),
        ([1], r"\[1\].*0 to 3"),
        (np.array([1]), r"\[1\].*0 to 3"),
        (np.nan, "nan.*0 to 3"),
        (True, "True.*0 to 3"),
        (np.True_, "True.*0 to 3"),
        (np.array(True), "True.*0 to 3"),
    ],
)
def test_wrong_discrete_actions(action: Any, said: str) -> None:
    env = FunctionalEnv(core("Counter"))
    start, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        env.step(action)
    assert env.step(np.uint8(2))[0] == start + 2  # nothing had happened


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ([0, 1], r"\(2,\).*\(3,\)"),
        (1, r"\(\).*\(3,\)"),
        ([[0], [1], [2]], r"\(3, 1\).*\(3,\)"),
        ([0, 1, 4], "0 to 3"),
        ([0, -1, 2], "0 to 3"),
        (np.array([0, 1, 2**64 - 1], np.uint64), "0 to 3"),
        (np.array([0, 1, 255], np.uint8), "0 to 3"),
        ([0.0, 1.0, 2.0], "float64.*0 to 3"),
        ([True, False, True], "bool.*0 to 3"),
        ([True, 0, 1], "bool.*0 to 3"),
        ([0, None, 1], "object.*0 to 3"),
    ],
)
def test_wrong_discrete_vector_actions(actions: Any, said: str) -> None:
    envs = FunctionalVectorEnv(core("Counter"), num_envs=3)
    start, _ = envs.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        envs.step(actions)
    observations = envs.step(np.array([0, 2, 0], np.uint8))[0]
    assert (observations - start == [0, 2, 0]).all()  # nothing had happened


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (0.5, r"\(\).*\(2,\)"),
        ([0.5], r"\(1,\).*\(2,\)"),
        ([[0.5, 0.5]], r"\(1, 2\).*\(2,\)"),
        ([np.nan, 0.0], "0.* is nan"),
        ([np.inf, 0.0], "0.* is inf.*finite"),
        ([1e300, 0.0], r"0.* is 1e\+300.*from -1\.0 to 1\.0"),
        ([1.01, 0.0], r"0.* is 1\.01.*from -1\.0 to 1\.0: gymnasium\.wrappers\.ClipAction"),
        ([0.0, -3.0], r"1.* is -3\.0.*from -1\.0 to 1\.0"),
        ([2, 0], r"0.* is 2;.*from -1\.0 to 1\.0"),
        (["a", "b"], "real numbers"),
        ([1j, 0], "real numbers"),
        ([None, 0.0], "real numbers"),
    ],
)
def test_wrong_box_actions(action: Any, said: str) -> None:
    env, envs = FunctionalEnv(core("Walk")), FunctionalVectorEnv(core("Walk"), num_envs=2)
    env.reset(seed=0), envs.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        env.step(action)
    with pytest.raises(ValueError, match=r"^Action.*expected"):
        envs.step([action, action])
    good = np.array([0.5, -0.5])
    assert same(env.step(good)[0], envs.step([good, good])[0][0])
    assert same(env.step([1, 0])[0], envs.step([[1, 0], [0, 0]])[0][0])  # integers are real numbers


def test_wrong_construction() -> None:
    with pytest.raises(ValueError, match="num_envs is 0; expected an integer from 1"):
        FunctionalVectorEnv(core("Walk"), num_envs=0)
    with pytest.raises(ValueError, match=r"'film'.*'ansi', 'rgb_array', 'human'"):
        FunctionalEnv(core("Walk"), render_mode="film")
    with pytest.raises(ValueError, match=r"'human'.*'ansi', 'rgb_array'"):
        FunctionalVectorEnv(core("Walk"), render_mode="human")
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        gym.make(DELIVERY, colour="red")


def test_action_spaces_that_are_not_supported() -> None:
    for space in (gym.spaces.Discrete(3, start=1), gym.spaces.MultiBinary(2)):
        Odd.action_space = space  # type: ignore[assignment]
        with pytest.raises(TypeError, match="not supported"):
            FunctionalEnv(core("Odd"))


class Odd(Walk):
    """A core whose action space is set by the test above."""


# --- nothing is shared with the outside ---


ALL_KINDS = [
    (WALK, {}),
    (WALK_AHEAD, {}),
    (COUNTER, {}),
    *((DELIVERY, {"observation": kind}) for kind in ("cell", "onehot", "features", "image")),
    (INFERENCE, {**SHORT, "board": "published"}),
    (INFERENCE, SHORT),
]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize(("id", "kwargs"), ALL_KINDS)
def test_what_is_returned_belongs_to_the_caller(id: str, kwargs: dict[str, Any], mode: AutoresetMode) -> None:
    def play(spoil: bool) -> list[Any]:
        envs, rng = gym.make_vec(id, num_envs=3, autoreset_mode=mode, **kwargs), np.random.default_rng(0)
        out: list[Any] = [envs.reset(seed=4)]
        kept = [copy.deepcopy(out[0])]
        for _ in range(7 if id == INFERENCE else 25):
            actions = random_actions(envs, rng)
            out.append(envs.step(actions))
            kept.append(copy.deepcopy(out[-1]))
            if spoil:
                scribble(out[-1]), scribble(actions), scribble(out[0])
        assert spoil or same(out, kept)  # nothing handed out has changed since
        return kept

    assert_same_rollouts(play(spoil=False), play(spoil=True))


@pytest.mark.parametrize(("id", "kwargs"), ALL_KINDS)
def test_what_the_scalar_environment_returns_belongs_to_the_caller(id: str, kwargs: dict[str, Any]) -> None:
    def play(spoil: bool) -> list[Any]:
        env, rng = gym.make(id, **kwargs), np.random.default_rng(1)
        out = [env.reset(seed=4)[0]]
        kept = [copy.deepcopy(out[0])]
        for _ in range(7 if id == INFERENCE else 25):
            action = one_action(env, rng)
            observation, _, terminated, truncated, _ = env.step(action)
            out.append(env.reset()[0] if terminated or truncated else observation)
            kept.append(copy.deepcopy(out[-1]))
            if spoil:
                scribble(out[-1]), scribble(action)
        assert spoil or same(out, kept)
        return kept

    assert same(play(spoil=False), play(spoil=True))


def scribble(x: Any) -> None:
    """Overwrite every array in x."""
    if isinstance(x, dict | tuple | list):
        for value in x.values() if isinstance(x, dict) else x:
            scribble(value)
    elif isinstance(x, np.ndarray) and x.dtype == object:
        scribble(list(x))
    elif isinstance(x, np.ndarray):
        x[...] = 1


def one_action(env: gym.Env[Any, Any], rng: np.random.Generator) -> Any:
    if isinstance(env.action_space, gym.spaces.Discrete):
        return int(rng.integers(env.action_space.n))
    assert isinstance(env.action_space, gym.spaces.Box)
    return rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
@pytest.mark.parametrize(("id", "kwargs"), [(WALK, {}), (WALK_AHEAD, {}), (DELIVERY, {}), (INFERENCE, SHORT)])
def test_copies_continue_identically(id: str, kwargs: dict[str, Any], duplicate: Any) -> None:
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        envs = gym.make_vec(id, num_envs=4, autoreset_mode=mode, **kwargs)
        rollout(envs, 5)
        other = duplicate(envs)
        a = [_steps(envs, 12), envs.reset()]
        b = [_steps(other, 12), other.reset()]
        assert_same_rollouts(a[0], b[0])
        assert same(a[1][0], b[1][0])
    env = gym.make(id, **kwargs)
    env.reset(seed=8), env.step(one_action(env, np.random.default_rng(0)))
    other = duplicate(env)
    outs = []
    for e in (env, other):
        rng, out = np.random.default_rng(2), []
        for _ in range(30):
            observation, reward, terminated, truncated, _ = e.step(one_action(e, rng))
            if terminated or truncated:
                observation, _ = e.reset()
            out.append((observation, reward, terminated, truncated))
        outs.append(out)
    assert_same_rollouts(*outs)


# --- pictures ---


def test_no_render_mode_no_picture() -> None:
    env = gym.make(DELIVERY)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.unwrapped.render() is None
    envs = gym.make_vec(DELIVERY, num_envs=2)
    envs.reset(seed=0)
    assert envs.render() is None


@pytest.mark.parametrize("id", [WALK, WALK_AHEAD])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_pictures_look_back_within_the_episode_only(id: str, mode: str) -> None:
    envs = gym.make_vec(id, num_envs=3, render_mode="ansi", autoreset_mode=AutoresetMode(mode))
    scalars = [gym.make(id, render_mode="ansi") for _ in range(3)]
    envs.reset(seed=2)
    for i, env in enumerate(scalars):
        env.reset(seed=2 + i)
    rng, done, resets, lengths = np.random.default_rng(0), np.zeros(3, bool), 0, set()
    buffer = np.zeros((3, 2), np.float32)  # one buffer for all actions
    for t in range(80):
        if t == 40:
            envs.reset(), [env.reset() for env in scalars]
            done[:] = False
        else:
            buffer[:] = random_actions(envs, rng)
            _, _, terminated, truncated, _ = envs.step(buffer)
            for i, env in enumerate(scalars):
                if not done[i] or mode == "SameStep":
                    env.step(buffer[i].copy())
                if done[i] if mode == "NextStep" else (terminated | truncated)[i]:
                    env.reset()
            done = terminated | truncated
            resets += int(done.sum())
        pictures = envs.render()
        assert isinstance(pictures, tuple) and len(pictures) == 3
        assert list(pictures) == [env.render() for env in scalars]
        lengths |= {picture.count("array") for picture in pictures}
    assert resets > 10 and lengths == {0, 1, 2, 3}


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_rendering_does_not_change_the_episode(render_mode: str) -> None:
    quiet, drawn = FunctionalEnv(core("Walk")), FunctionalEnv(core("Walk"), render_mode=render_mode)
    a, b = quiet.reset(seed=0), drawn.reset(seed=0)
    for _ in range(3):
        assert same(a[0], b[0])
        picture = drawn.render()
        assert (
            isinstance(picture, str)
            if render_mode == "ansi"
            else (picture.dtype, picture.shape) == (np.uint8, (4, 4, 3))
        )
        a, b = quiet.step([0.1, 0.2]), drawn.step([0.1, 0.2])  # type: ignore[assignment]


# --- other processes ---


def test_async_vector_by_id_alone() -> None:
    id = "valuegym:" + DELIVERY
    envs = gym.make_vec(id, num_envs=2, vectorization_mode="async", vector_kwargs={"context": "spawn"})
    try:
        a = rollout(envs, 30)
    finally:
        envs.close()
    assert_same_rollouts(a, rollout(gym.make_vec(id, num_envs=2), 30))
