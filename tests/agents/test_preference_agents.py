"""Agents that learn their reward from answers: what they are asked, what they learn, and what they leave alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

import torch

from valuegym.agents import checkpoints, make
from valuegym.agents.base import TrainingEnv
from valuegym.agents.feedback import preference_sac
from valuegym.agents.feedback.asking import ANNOTATORS, Absorbing, Asking, AskingEnv, annotator_of, at_random
from valuegym.agents.reward_models.pairs import INPUTS, feedback_pairs
from valuegym.envs.feedback.wrapper import PreferenceFeedback

PENDULUM, CARTPOLE = "valuegym/Pendulum-v0", "CartPole-v1"
ASKING: dict[str, Any] = {
    "budget": 8,
    "every": 60,
    "rounds": 2,
    "segment_length": 5,
    "members": 2,
    "width": 8,
    "fit_steps": 5,
}
SAC = ASKING | {"learning_starts": 20, "train_freq": 5, "gradient_steps": 1, "policy_kwargs": {"net_arch": [8]}}
PPO = ASKING | {"n_steps": 64, "batch_size": 32, "n_epochs": 1}


def sac(env: Any = None, **settings: Any) -> Any:
    return make("preference_sac", env or gym.make(PENDULUM), seed=3, **(SAC | settings))


def ppo(env: Any = None, **settings: Any) -> Any:
    return make("preference_ppo", env or gym.make(CARTPOLE), seed=3, **(PPO | settings))


def weights(agent: Any) -> Any:
    return torch.cat([value.detach().double().flatten() for value in agent.policy.state_dict().values()])


# --- the absorbing state ---


def test_an_episode_ends_in_the_absorbing_state() -> None:
    env = Absorbing(TrainingEnv(gym.make(CARTPOLE)), waits=3)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation, [*env.observation, 0])
    rewards, ends, seen = [], [], []
    while not ends or not ends[-1]:
        observation, reward, terminated, truncated, _ = env.step(0)
        assert not terminated and env.observation_space.contains(observation)
        rewards.append(reward)
        ends.append(truncated)
        seen.append(observation)
    alive = int(sum(rewards))
    assert rewards == [1.0] * alive + [0.0] * 3 and ends == [False] * (alive + 2) + [True]
    absorbed = [0.0] * 4 + [1.0]
    assert [row.tolist() == absorbed for row in seen] == [False] * alive + [True] * 3
    np.testing.assert_array_equal(seen[alive - 1], [*env.observation, 0])
    assert abs(env.observation[2]) > 0.2, "the environment's own last observation is seen and kept"


def test_segments_do_not_tell_when_episodes_end() -> None:
    """Every segment has the same length, and every living step is as likely to begin one."""
    waits = 4
    env = PreferenceFeedback(
        Absorbing(TrainingEnv(gym.make(CARTPOLE)), waits),
        at_random,
        budget=300,
        segment_length=waits + 1,
        every=300,
        rounds=1,
        fixed_horizon=False,
        seed=0,
    )
    env.reset(seed=0)
    for _ in range(300):
        if env.step(0)[3]:
            env.reset()
    found = env.feedback()
    assert found is not None
    for side in (found.first, found.second):
        assert (side.lengths == waits + 1).all() and not side.terminated.any()
        waiting = side.observations[..., -1]
        assert (waiting[:, 0] == 0).all() and waiting[:, 1:].any(), "they begin in life, and some go on after it"


def test_a_horizon_truncates_and_the_limit_of_the_environment_holds() -> None:
    for horizon, steps in ((None, 200), (7, 7), (300, 200)):
        env = Absorbing(TrainingEnv(gym.make(PENDULUM)), 2, horizon)
        env.reset(seed=0)
        ends = [env.step(np.zeros(1, np.float32))[3] for _ in range(steps)]
        assert ends == [False] * (steps - 1) + [True]


# --- rewards ---


def played(id: str = CARTPOLE, steps: int = 400, **settings: Any) -> AskingEnv:
    """An environment in which random actions were taken."""
    env = AskingEnv(gym.make(id), Asking(**(ASKING | {"every": 200} | settings)), seed=1)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    return env


def test_the_absorbing_state_is_the_zero_and_a_deviation_the_unit() -> None:
    env = played(budget=30, fit_steps=60, scale=3.0)
    pairs = feedback_pairs(env.preferences.feedback(), inputs=env._inputs)
    with torch.no_grad():
        found = env.model.rewards(pairs.inputs[None]).double().numpy()
    units = (found - env._zero[..., None, None]) / env._unit[..., None, None]
    waits = pairs.inputs[..., -3].numpy() > 0  # before the two discrete actions
    assert waits.any() and np.abs(units[:, waits]).max() < 1e-5
    np.testing.assert_allclose(units.reshape(2, -1).std(1), 1, rtol=1e-6)
    alive = pairs.inputs.numpy()[~waits]
    learned = env.rewards(alive[:, :4], alive[:, 5:].argmax(1), alive[:, :4])
    np.testing.assert_allclose(learned, 3 * units[:, ~waits].mean(0), rtol=1e-5)
    assert learned.mean() > 1.5, "to be alive is better than not, which nothing but the answers says"


def test_a_transform_moves_the_zero_with_the_absorbing_state() -> None:
    plain, other = played(budget=20), played(budget=20, transform="z_score")
    x, a = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32), np.arange(9) % 2
    ratio = other.rewards(x, a, x) / plain.rewards(x, a, x)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_where_no_episode_ends_the_mean_is_the_zero() -> None:
    env = played(PENDULUM, budget=20)
    pairs = feedback_pairs(env.preferences.feedback(), inputs=env._inputs)
    inputs = pairs.inputs.numpy().reshape(-1, 5)
    learned = env.rewards(inputs[:, :3], inputs[:, 4:], inputs[:, :3])
    assert abs(learned.mean()) < 1e-5 and 0.1 < learned.std() <= 1 + 1e-6  # members agree in part


def test_before_the_first_answers_there_is_no_reward() -> None:
    env = played(steps=20)
    assert env.fits == env.answers == 0
    np.testing.assert_array_equal(env.rewards(np.ones((3, 4)), np.zeros(3, np.int64), np.ones((3, 4))), 0)


def test_the_budget_is_spent_in_rounds() -> None:
    for select in ("uniform", "disagreement", "k_center"):
        env = played(steps=500, select=select)
        assert (env.fits, env.answers) == (2, 8)


def test_steps_of_waiting_count_or_not() -> None:
    """Three rounds are over after as many steps of the agent as were asked for, or after fewer."""
    played_steps = {}
    for waits_count in (True, False):
        env = AskingEnv(gym.make(CARTPOLE), Asking(**(ASKING | {"every": 50, "waits_count": waits_count})), seed=1)
        env.reset(seed=0)
        env.action_space.seed(0)
        played_steps[waits_count] = 0
        while env.fits < 2:
            played_steps[waits_count] += 1
            if any(env.step(env.action_space.sample())[2:4]):
                env.reset()
    assert played_steps[True] < played_steps[False] == 100


def test_labels_that_are_all_the_same_leave_a_finite_reward() -> None:
    env = played(annotator=lambda first, second: np.full(len(first), 0.5), fit_steps=50)
    assert np.isfinite(env.rewards(np.ones((3, 4)), np.zeros(3, np.int64), np.ones((3, 4)))).all()


@pytest.mark.parametrize("transform", ["z_score", "clip", "min_max", "lsc", "par", "win_rate", "centred"])
@pytest.mark.parametrize("aggregation", ["min", "mean_minus_std"])
def test_transforms_and_aggregations_are_applied(transform: str, aggregation: str) -> None:
    plain, other = played(PENDULUM), played(PENDULUM, transform=transform, aggregation=aggregation)
    x, a = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    found = other.rewards(x, a[:, :1], x)
    assert found.shape == (9,) and np.isfinite(found).all()
    assert not np.array_equal(found, plain.rewards(x, a[:, :1], x))


# --- agents ---


@pytest.mark.parametrize("buffer_size", [1000, 70])
def test_the_whole_replay_buffer_has_the_rewards_of_the_newest_models(buffer_size: int) -> None:
    agent = sac(buffer_size=buffer_size).learn(150)
    buffer = agent.replay_buffer
    n = min(150, buffer_size)
    assert agent.asking.fits == 2 and (buffer.full or buffer.pos == n)
    agent.label()
    actions = agent.policy.unscale_action(buffer.actions[:n, 0])
    learned = agent.asking.rewards(buffer.observations[:n, 0], actions, buffer.next_observations[:n, 0])
    np.testing.assert_allclose(buffer.rewards[:n, 0], learned, rtol=1e-5, atol=1e-6)
    assert learned.std() > 0


def test_actions_in_the_buffer_are_compared_as_the_environment_gets_them() -> None:
    env = gym.wrappers.RescaleAction(gym.make(PENDULUM), np.float32(-2), np.float32(2))
    agent = sac(env).learn(130)
    asked = agent.asking.preferences.feedback().first.actions
    assert np.abs(asked).max() > 1
    rows = agent.policy.unscale_action(agent.replay_buffer.actions[:130, 0])
    assert np.isin(asked.round(4), rows.round(4)).all()


def test_rollouts_have_learned_rewards_and_the_values_that_follow_from_them() -> None:
    after: list[Any] = []

    class Watched(gym.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> Any:
            moved = self.env.step(action)
            after.append(np.array(moved[0]))
            return moved

    agent = ppo(Watched(gym.make(CARTPOLE)), scale=0.5, horizon=None, inputs="action_next").learn(128)
    buffer = agent.rollout_buffer
    observations = buffer.observations.reshape(64, 4)
    actions, following = buffer.actions.reshape(64).astype(np.int64), np.array(after[-64:])
    learned = agent.asking.rewards(observations, actions, following)
    np.testing.assert_allclose(buffer.rewards.reshape(64), learned, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(buffer.returns, buffer.advantages + buffer.values, rtol=1e-6, atol=1e-6)
    starts = buffer.episode_starts.reshape(64)
    last = [i for i in range(63) if starts[i + 1]]
    values = buffer.values.reshape(64)
    for i in last:  # nothing follows the end: the absorbing state is worth 0
        np.testing.assert_allclose(buffer.advantages.reshape(64)[i], learned[i] - values[i], rtol=1e-4, atol=1e-5)
    assert last


def test_the_policy_stays_as_it_is_before_the_first_answers() -> None:
    before, agent = weights(ppo()), ppo(every=10**6).learn(128)
    assert torch.equal(before, weights(agent)) and not torch.equal(before, weights(ppo().learn(128)))


@pytest.mark.parametrize("kind", [sac, ppo])
def test_the_references_do_not_ask(kind: Any) -> None:
    for reward in ("true", "constant"):
        agent = kind(reward=reward, scale=2.0).learn(128)
        buffer = agent.replay_buffer if kind is sac else agent.rollout_buffer
        rewards = buffer.rewards[:60]
        assert agent.asking.answers == 0 and agent.asking.preferences.feedback() is None
        if reward == "constant":
            assert not rewards.any()
        elif kind is sac:
            state = buffer.observations[:60, 0].astype(float)
            angle = np.arctan2(state[:, 1], state[:, 0])
            cost = angle**2 + 0.1 * state[:, 2] ** 2 + 0.001 * 4 * buffer.actions[:60, 0, 0] ** 2
            np.testing.assert_allclose(rewards[:, 0], -2 * cost, rtol=1e-3, atol=1e-4)
        else:
            np.testing.assert_array_equal(rewards, 2)


@pytest.mark.parametrize("kind", [sac, ppo])
def test_only_the_order_of_true_returns_counts(kind: Any) -> None:
    """Four times the reward is the same training to the bit, for it never reaches the agent; its negative is not."""
    id = PENDULUM if kind is sac else CARTPOLE

    def trained(factor: float) -> Any:
        return weights(kind(gym.wrappers.TransformReward(gym.make(id), lambda r: factor * r)).learn(128))

    assert torch.equal(trained(1.0), trained(4.0)) and not torch.equal(trained(1.0), trained(-1.0))


@pytest.mark.parametrize("kind", [sac, ppo])
def test_the_same_seed_gives_the_same_bits_and_others_draws_stay(kind: Any) -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - to see that nobody uses it
    torch.manual_seed(5)
    expected = random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
    found = []
    for _ in range(2):
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        agent = kind()
        agent.learn(70)
        torch.rand(3)  # in between, others draw
        torch.manual_seed(5)
        agent.learn(80, reset_num_timesteps=False)
        assert (random.random(), np.random.random(), torch.rand(1)) == expected  # noqa: NPY002
        found.append(weights(agent))
    assert torch.equal(*found)
    assert not torch.equal(found[0], weights(kind()))


def test_exploration_before_the_first_answers_is_by_novelty() -> None:
    line = np.arange(12.0)[:, None]
    unit = line.std()
    np.testing.assert_allclose(preference_sac.novelty(line[[0, 5]], line), np.log1p(np.array([5, 3]) / unit))
    assert preference_sac.novelty(line[:1], line[:1]).tolist() == [0.0]
    agent = sac(pretrain=True, every=100)
    untrained = {name: value.clone() for name, value in agent.critic.state_dict().items()}
    agent.learn(90)
    assert agent.replay_buffer.rewards[10:80].min() >= 0 and agent.replay_buffer.rewards[:80].max() > 0
    assert any(not torch.equal(value, untrained[name]) for name, value in agent.critic.state_dict().items())
    agent.learn(30, reset_num_timesteps=False)
    assert agent.asking.fits == 1 and agent._untrained is None
    assert (agent.replay_buffer.rewards[:100] < 0).any(), "the learned reward is in its place"


# --- settings ---


def test_annotators_by_name_and_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def second(first, second):\n    return [1.0] * len(first)\n")
    env = played(annotator="mine.py:second")
    assert (env.preferences.feedback().answers.labels == 1).all()  # type: ignore[union-attr]
    for name in ANNOTATORS:
        assert callable(annotator_of(name))
    for wrong in ("oracel", "mine.py:none", 3, None, lambda first: 0):
        with pytest.raises(ValueError):
            Asking(annotator=wrong)


def test_spaces_that_fit_no_reward_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"need a box of observations, .*Discrete\(100\).*FlattenObservation"):
        ppo(gym.make("valuegym/Delivery-v0"))
    with pytest.raises(ValueError, match="preference_sac needs a bounded box of actions, not Discrete"):
        sac(gym.make(CARTPOLE))


@pytest.mark.parametrize("inputs", sorted(INPUTS))
def test_models_see_what_is_said(inputs: str) -> None:
    """Steps of waiting are all the same, and other inputs are those of the transition."""
    env = played(inputs=inputs, budget=30)
    found = env.preferences.feedback()
    seen = found.first.observations
    x = env._inputs(seen, found.first.actions)
    waits = seen[:, 1:, 4] > 0
    assert waits.any() and len(np.unique(x[waits], axis=0)) == 1 == len(np.unique(x[..., env._flag][waits]))
    assert not x[~waits][:, env._flag].any()
    before, action, after = seen[:, :-1], np.eye(2)[found.first.actions], seen[:, 1:]
    parts = {"before": before, "action": action, "after": after}
    expected = np.concatenate([parts[name] for name in INPUTS[inputs]], -1)
    np.testing.assert_array_equal(x[~waits], expected[~waits])
    last = ~waits[:, :-1] & waits[:, 1:]
    assert (np.abs(seen[:, 1:-1][last][:, [0, 2]]) > (2.4, 0.2095)).any(1).all(), "the last state of life is seen"


def test_a_state_in_mid_episode_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes end, queries are chosen among candidates, and rewards are transformed."""
    settings = {"select": "entropy_k_center", "transform": "z_score", "memory": 90, "n_steps": 32, "every": 40}
    monkeypatch.chdir(tmp_path)
    states: list[Any] = []
    kinds = (lambda env: ppo(env, **settings)), (lambda env: sac(env, memory=90, buffer_size=60))
    for kind, id in zip(kinds, (CARTPOLE, PENDULUM), strict=True):
        log = checkpoints.EnvLog(gym.make(id))
        agent = kind(log)
        states.clear()

        def keep(agent: Any, log: Any = log) -> None:
            if agent.num_timesteps >= 96 and not states:
                states.append((checkpoints.encode(agent.training_state(), {}), log.state()))

        agent.after_step = keep
        agent.learn(192)
        again = checkpoints.EnvLog(gym.make(id))
        checkpoints.replay(again, again, states[0][1])
        Path("state").write_bytes(states[0][0])
        other = kind(again)
        other.resume(checkpoints.decode(Path("state"))[0])
        other.learn(192)
        assert torch.equal(weights(agent), weights(other)) and again.digest() == log.digest()
        assert agent.asking.answers == other.asking.answers == 8
        for one, two in zip(
            agent.asking.model.state_dict().values(), other.asking.model.state_dict().values(), strict=True
        ):
            assert torch.equal(one, two)
        with pytest.raises(ValueError, match="the state does not fit this agent"):
            kind(gym.make(id)).resume({})


def test_answers_on_their_way_cannot_be_kept() -> None:
    class Later:
        def submit(self, first: Any, second: Any) -> None:
            """Take queries."""

        def collect(self) -> None:
            """Have no answer yet."""

    with pytest.raises(ValueError, match="an annotator that answers later keeps its queries elsewhere"):
        ppo(annotator=Later()).learn(64).training_state()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "track"), [("preference_ppo", "feedback/cartpole"), ("preference_sac", "feedback/pendulum")]
)
def test_five_hundred_answers_are_enough(name: str, track: str) -> None:
    import valuegym
    from valuegym.leaderboards.experiments import find

    what = find(track)
    agent: Any = make(name, gym.make(what.env_id), seed=0)
    agent.learn(what.timesteps)
    assert agent.asking.answers <= 500
    assert valuegym.evaluate(agent, track, seeds=[0]).estimate[0] > 0.9
