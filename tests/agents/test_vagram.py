"""The Dyna loop at tiny scale: one switch between losses, same seeds same bits, fractions of model data as set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents import make
from valuegym.agents.control import losses
from valuegym.agents.control.actor_critic import Optimisation, SoftActorCritic, Trainer, normal, squashed
from valuegym.agents.control.buffer import ReplayBuffer, Transitions
from valuegym.agents.control.critics import CriticParameters
from valuegym.agents.control.ensemble import Architecture, Ensemble
from valuegym.agents.control.losses import LOSSES
from valuegym.agents.control.model_env import ModelVectorEnv
from valuegym.agents.control.mpc import plan
from valuegym.agents.control.side_by_side import learn_together
from valuegym.agents.control.vagram import Settings, VaGraM
from valuegym.agents.divergence import DivergenceError

PENDULUM = "valuegym/Pendulum-v0"
TINY: dict[str, Any] = {
    "width": 8,
    "members": 2,
    "hidden": 8,
    "model_steps": 3,
    "warmup_steps": 20,
    "refresh": 20,
    "rollout_every": 10,
    "updates_per_step": 1,
    "ramp": 30,
    "model_buffer": 300,
    "optimisation": Optimisation(batch=16),
}


def tiny(seed: int = 0, env_id: str = PENDULUM, **kwargs: Any) -> Any:
    return make("vagram", gym.make(env_id), seed=seed, **(TINY | kwargs))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- actor and critics ---


def learner(critic: CriticParameters | None = None, **settings: Any) -> SoftActorCritic:
    return SoftActorCritic(3, 1, critic or CriticParameters(width=16), Optimisation(**settings), seeded(0))


def test_log_densities_are_those_of_squashed_normals() -> None:
    agent = learner()
    s = torch.randn(1, 3, generator=seeded(1)).repeat(200_000, 1)
    with torch.no_grad():
        action, log_density = agent.sample(s)
        mean, log_std = agent._head(s[:1])
    normal = torch.distributions.Normal(mean, log_std.exp())
    exact = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform()])
    inside = action.abs()[:, 0] < 0.99
    torch.testing.assert_close(log_density[inside], exact.log_prob(action[inside])[:, 0], rtol=1e-2, atol=1e-2)
    counts = torch.histc(action, 20, -1, 1) / len(action)
    middle = torch.linspace(-0.95, 0.95, 20)[:, None]
    torch.testing.assert_close(counts, exact.log_prob(middle).exp()[:, 0] * 0.1, rtol=0.1, atol=0.004)


@pytest.mark.parametrize("bins", [0, 51])
def test_a_bandit_is_solved(bins: int) -> None:
    """Reward -(a - 0.5)**2, then the episode ends: the value is the reward, and the best action 0.5."""
    critic = CriticParameters(width=16, bins=bins, low=-3, high=1)
    agent = learner(critic, critic_rate=1e-2, actor_rate=1e-2, temperature=0.01)
    g, training = seeded(2), Trainer([agent])
    for _ in range(300):
        s, a = torch.randn(1, 64, 3, generator=g), 2 * torch.rand(1, 64, 1, generator=g) - 1
        training.update(Transitions(s, a, -((a[..., 0] - 0.5) ** 2), s, torch.ones(1, 64)))
    s = torch.randn(32, 3, generator=g)
    assert (agent.mode(s) - 0.5).abs().max() < 0.2
    values = agent.critics(s, torch.zeros(32, 1))
    assert (values + 0.25).abs().mean() < 0.06


def test_values_are_partial_derivatives_of_four_critics() -> None:
    agent = learner()
    s = torch.randn(5, 3, generator=seeded(3))
    action = agent.mode(s).detach()
    value, gradient = losses.value_gradients(agent.values, s)
    assert value.shape == (5, 4) and gradient.shape == (5, 4, 3)
    for k in range(2):
        leaf = s.clone().requires_grad_()
        (direct,) = torch.autograd.grad(agent.critics(leaf, action)[:, k].sum(), leaf)
        torch.testing.assert_close(gradient[:, k], direct)
    assert all(p.grad is None for p in [*agent.critics.parameters(), *agent.actor.parameters()])


def test_updates_follow_the_written_rule() -> None:
    """One step of gradient descent from fresh optimisers: Adam then moves every parameter by the sign of its gradient.

    Gradients are taken of the losses as they are written down, by finite differences.
    """
    agent = learner(CriticParameters(width=4), temperature=0.3)
    for module in (agent.actor, agent.critics, agent.target_critics):
        module.double()
    agent.log_temperature = agent.log_temperature.double()
    training, g, s = Trainer([agent]), seeded(4), agent.settings
    rows = [torch.randn(1, 6, n, generator=g, dtype=torch.float64) for n in (3, 1, 1, 3)]
    batch = Transitions(
        rows[0], torch.tanh(rows[1]), rows[2][..., 0], rows[3], torch.tensor([[0.0, 0, 1, 0, 0, 0]]).double()
    )
    state = agent.generator.get_state()
    noise = torch.randn(2, 6, 1, generator=agent.generator)
    agent.generator.set_state(state)
    temperature = agent.log_temperature.exp()

    def acted(observation: torch.Tensor, at: int) -> tuple[torch.Tensor, torch.Tensor]:
        return squashed(*normal(agent.actor(observation)[0]), noise[at])

    with torch.no_grad():
        action, log_density = acted(batch.next_observation, 0)
        ahead = agent.target_critics(batch.next_observation[0], action).min(-1).values - temperature * log_density
        target = batch.reward[0] + s.discount * (1 - batch.terminated[0]) * ahead

    def critic_loss() -> torch.Tensor:
        return 0.5 * (agent.critics(batch.observation[0], batch.action[0]) - target[:, None]).square().mean()

    def actor_loss() -> torch.Tensor:
        action, log_density = acted(batch.observation, 1)
        return (temperature * log_density - agent.critics(batch.observation[0], action).min(-1).values).mean()

    with torch.no_grad():
        slopes = _finite_differences(critic_loss, agent.critics.parameters())
        entropy = -acted(batch.observation, 1)[1].mean()
    starts = [p.detach().clone() for p in agent.critics.parameters()]
    actor_starts, warm = [p.detach().clone() for p in agent.actor.parameters()], agent.log_temperature.clone()
    slow = [p.clone() for p in agent.target_critics.parameters()]
    training.update(batch)
    for start, parameter, slope in zip(starts, agent.critics.parameters(), slopes, strict=True):
        torch.testing.assert_close(parameter.detach() - start, -s.critic_rate * slope.sign(), rtol=1e-3, atol=1e-6)
    for before, now, fast in zip(slow, agent.target_critics.parameters(), agent.critics.parameters(), strict=True):
        torch.testing.assert_close(now, before + s.tau * (fast.detach() - before))
    torch.testing.assert_close(
        agent.log_temperature - warm, -s.actor_rate * (entropy + 1).sign()[None], rtol=1e-3, atol=0
    )
    moves = [p.detach() - start for p, start in zip(agent.actor.parameters(), actor_starts, strict=True)]
    with torch.no_grad():  # under the critics after their own step
        for parameter, start in zip(agent.actor.parameters(), actor_starts, strict=True):
            parameter.copy_(start)
        slopes = _finite_differences(actor_loss, agent.actor.parameters())
    for move, slope in zip(moves, slopes, strict=True):
        torch.testing.assert_close(move, -s.actor_rate * slope.sign(), rtol=1e-3, atol=1e-6)


def _finite_differences(function: Any, parameters: Any, step: float = 1e-6) -> list[torch.Tensor]:
    slopes = []
    for parameter in parameters:
        slope, flat = torch.zeros_like(parameter), parameter.data.view(-1)
        for i in range(len(flat)):
            ends = []
            for sign in (1, -1):
                flat[i] += sign * step
                ends.append(float(function()))
                flat[i] -= sign * step
            slope.view(-1)[i] = (ends[0] - ends[1]) / (2 * step)
        slopes.append(slope)
    return slopes


# --- the loop ---


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_runs_and_loss_is_the_only_difference(loss: str) -> None:
    agent = tiny(loss=loss).learn(61)
    assert agent.refreshes == 3 and agent.steps == 61
    env = gym.make(PENDULUM)
    observation, _ = env.reset(seed=0)
    for deterministic in (True, False):
        action, _ = agent.predict(observation, deterministic=deterministic)
        assert env.action_space.contains(action)
    assert agent.predict(np.stack([observation] * 3))[0].shape == (3, 1)
    assert agent.settings == replace(Settings(), **(TINY | {"loss": loss}))


def test_the_same_seed_learns_the_same() -> None:
    before = torch.get_rng_state()
    first, second, other = (tiny(seed).learn(61) for seed in (1, 1, 2))
    for a, b, c in zip(*(agent.learner.actor.parameters() for agent in (first, second, other)), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


MIXED: list[dict[str, Any]] = [
    {"loss": "mse"},
    {"loss": "vagram", "warm_refreshes": 1},
    {"loss": "vagram", "warm_refreshes": 1},
    {"loss": "shuffled"},
    {"loss": "vagram_matrix", "ramp": 10},
    {"loss": "itervaml"},
    {"loss": "itervaml"},
    {"model_fraction": 0.0},
]


@pytest.mark.parametrize("kinds", [MIXED, [{"critic": "hl_gauss"}] * 2, [{"loss": "calibrated"}] * 2])
def test_agents_side_by_side_learn_as_each_does_alone(kinds: list[dict[str, Any]]) -> None:
    """Up to the last digits, which depend on where in a vector register a number lies."""
    together = [tiny(seed, **kwargs) for seed, kwargs in enumerate(kinds)]
    learn_together(together, 45)
    for seed, (agent, kwargs) in enumerate(zip(together, kinds, strict=True)):
        alone = tiny(seed, **kwargs).learn(45)
        pairs = [(agent.real.table, alone.real.table), (agent.imagined.table, alone.imagined.table)]
        for name in ("actor", "critics", "target_critics"):
            ours, theirs = (getattr(a.learner, name).parameters() for a in (agent, alone))
            pairs += list(zip(ours, theirs, strict=True))
        pairs += list(zip(agent.model.parameters(), alone.model.parameters(), strict=True))
        pairs.append((agent.learner.log_temperature, alone.learner.log_temperature))
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        assert agent.learner.log_temperature != math.log(0.1)


def test_agents_side_by_side_must_be_alike() -> None:
    with pytest.raises(ValueError, match="may differ in loss"):
        learn_together([tiny(0), tiny(1, hidden=9)], 5)
    learners = [SoftActorCritic(3, 1, CriticParameters(width=w), Optimisation(), seeded(0)) for w in (4, 8)]
    with pytest.raises(ValueError, match="of one kind"):
        Trainer(learners)


def test_the_fraction_of_model_data_follows_the_ramp() -> None:
    shares: list[float] = []
    agent = tiny(on_refresh=lambda a: shares.append(a.steps))
    agent.learn(80)
    assert shares == [20, 40, 60, 80]
    assert agent.model_fraction == pytest.approx(0.9)
    early = tiny().learn(35)
    assert early.model_fraction == pytest.approx(0.9 * 15 / 30)
    assert early.sample_batches().shape == (1, 16, 2 * 3 + 1 + 2)
    plain = tiny(model_fraction=0.0).learn(50)
    assert plain.model_fraction == 0 and plain.refreshes == 0 and plain.data is None


def test_batches_mix_by_the_fraction() -> None:
    agent = tiny(updates_per_step=3)
    agent.real, agent.imagined = ReplayBuffer(10, 3, 1), ReplayBuffer(10, 3, 1)
    for buffer, value in ((agent.real, 0.0), (agent.imagined, 1.0)):
        rows = torch.full((10,), value)
        buffer.add(Transitions(torch.zeros(10, 3), torch.zeros(10, 1), rows, torch.zeros(10, 3), rows).to_rows())
    for fraction, expected in ((0.0, 0), (0.5, 8), (0.9, 14)):
        agent.model_fraction = fraction
        assert Transitions.from_rows(agent.sample_batches(), 3, 1).reward.sum(-1).tolist() == [expected] * 3


def test_the_oldest_rows_are_overwritten() -> None:
    buffer = ReplayBuffer(4, 1, 1)
    for n in ((0, 1), (2, 3, 4), (5, 6), (7, 8, 9, 10, 11)):
        rows = torch.tensor(n, dtype=torch.float32)
        batch = Transitions(rows[:, None], rows[:, None], rows, rows[:, None], rows)
        buffer.add(batch.to_rows())
        assert sorted(buffer.transitions.reward.tolist()) == list(range(n[-1] + 1))[-4:]
    for column, kept in zip(Transitions.from_rows(batch.to_rows(), 1, 1), batch, strict=True):
        assert torch.equal(column, kept)


def test_the_range_of_values_holds_what_rewards_allow() -> None:
    agent = tiny(critic="hl_gauss").learn(25)
    edges = agent.learner.critics.edges
    rewards = agent.real.transitions.reward[:20]  # all below 0
    width = float(edges[1] - edges[0])
    assert float(edges[3] + width / 2) == pytest.approx(float(rewards.min()) / 0.01, rel=1e-4)
    assert float(edges[-4] - width / 2) == pytest.approx(0, abs=0.1)
    told = tiny(critic="hl_gauss", values=(-5.0, 5.0), bins=17).learn(21).learner.critics.edges
    assert len(told) == 18 and float(told[3] + told[4]) / 2 == pytest.approx(-5)


def test_validation_rows_are_left_out_of_averages() -> None:
    agent = tiny(validation=0.5).learn(60)
    assert 0.3 < agent.training.double().mean() < 0.7
    assert torch.equal(agent.statistics.included, agent.training)  # nothing terminates


def test_time_limits_are_not_terminations_and_terminations_need_to_be_known() -> None:
    agent = tiny(warmup_steps=201).learn(202)  # an episode of the pendulum is cut off after 200 steps
    assert len(agent.data.observation) == 201
    assert not agent.data.terminated.any()

    class Ends(gym.Wrapper):  # type: ignore[type-arg]
        def step(self, action: Any) -> Any:
            observation, reward, _, truncated, info = self.env.step(action)
            return observation, reward, True, truncated, info

    agent = VaGraM(Ends(gym.make(PENDULUM)), **TINY)
    with pytest.raises(ValueError, match="give terminal="):
        agent.learn(5)
    known = VaGraM(Ends(gym.make(PENDULUM)), terminal=lambda s: np.ones(len(s), np.bool_), **TINY)
    with pytest.raises(ValueError, match="without termination"):  # no next value to weigh anything by
        known.learn(40)


def test_bad_settings_are_named() -> None:
    for kwargs, message in (
        ({"loss": "vaml"}, "loss is 'vaml'"),
        ({"critic": "c51"}, "critic is 'c51'"),
        ({"model_fraction": 1.5}, "model_fraction is 1.5"),
        ({"refresh": 0}, "refresh is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(**kwargs)
    with pytest.raises(ValueError, match="flat boxes"):
        make("vagram", gym.make("valuegym/Delivery-v0"))


@pytest.mark.parametrize("name", ["mbpo", "mpc"])
def test_relatives_play(name: str) -> None:
    extra = {"horizon": 2, "candidates": 8} if name == "mpc" else {}
    agent = make(name, gym.make(PENDULUM), seed=0, **TINY, **extra)
    observation = np.zeros((2, 3), np.float32)
    assert agent.predict(observation)[0].shape == (2, 1)
    agent.learn(45)  # type: ignore[attr-defined]
    action, _ = agent.predict(observation, deterministic=True)
    assert action.shape == (2, 1) and (np.abs(action) <= 1).all()
    if name == "mbpo":
        assert agent.settings.loss == "nll" and agent.model.architecture.gaussian  # type: ignore[attr-defined]


# --- planning and the model as an environment ---


class Known(Ensemble):
    """A model that knows the dynamics: s' = s + a, r = -s**2."""

    def forward(self, observation: Any, action: Any, noise: Any = None) -> losses.Prediction:
        s, a = observation, action
        if s.ndim == 2:
            s, a = s.expand(2, *s.shape), a.expand(2, *a.shape)
        return losses.Prediction(s + a, -s.square().sum(-1))


def test_planning_finds_the_best_first_action() -> None:
    model = Known(1, 1, Architecture(members=2, width=4, depth=1), seeded(0))
    agent = SoftActorCritic(1, 1, CriticParameters(width=4), Optimisation(), seeded(1))
    with torch.no_grad():
        for parameter in agent.target_critics.parameters():
            parameter.zero_()
    action = plan(model, agent, torch.tensor([[0.6], [-0.4]]), seeded(2), horizon=3, candidates=4000)
    torch.testing.assert_close(action, torch.tensor([[-0.6], [0.4]]), rtol=0, atol=0.1)


def model_env(gaussian: bool = False, **kwargs: Any) -> ModelVectorEnv:
    env = gym.make(PENDULUM)
    starts = np.stack([env.reset(seed=i)[0] for i in range(5)])
    assert isinstance(env.action_space, gym.spaces.Box)
    model = Ensemble(3, 1, Architecture(members=2, width=4, depth=1, gaussian=gaussian), seeded(0))
    return ModelVectorEnv(model, starts, env.observation_space, env.action_space, **kwargs)


def test_the_model_is_a_vector_environment() -> None:
    envs = model_env(num_envs=4, max_episode_steps=3, terminal=lambda s: s[:, 0] > 10)
    trails = []
    for _ in range(2):
        observation, _ = envs.reset(seed=3)
        trail = [observation]
        for t in range(1, 7):
            before = envs._observation.copy()
            action = np.full((4, 1), 0.5, np.float32)
            observation, reward, terminated, truncated, info = envs.step(action)
            out = envs.model(torch.from_numpy(before), torch.from_numpy(action))
            after = np.stack([row for row in info["final_obs"]]) if t % 3 == 0 else observation
            assert all((abs(out.observation[:, i].detach().numpy() - after[i]).max(-1) < 1e-6).any() for i in range(4))
            assert truncated.all() == (t % 3 == 0) and not terminated.any()
            if t % 3 == 0:
                assert all((observation[i] == envs.starts).all(-1).any() for i in range(4))
            trail += [observation, reward]
        trails.append(trail)
    for a, b in zip(*trails, strict=True):
        np.testing.assert_array_equal(a, b)
    over = model_env(num_envs=2, terminal=lambda s: np.ones(len(s), np.bool_))
    over.reset(seed=0)
    _, _, terminated, truncated, info = over.step(np.zeros((2, 1), np.float32))
    assert terminated.all() and not truncated.any() and info["_final_obs"].all()


def test_the_model_environment_says_what_is_wrong() -> None:
    envs = model_env(num_envs=2)
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.zeros((2, 1), np.float32))
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(2, 1\)"):
        envs.step(np.zeros((3, 1), np.float32))
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"actions\[1, 0\] is"):
            envs.step(np.array([[0.0], [bad]]))
        with pytest.raises(ValueError, match=r"starts\[0, 2\] is"):
            space, actions = envs.single_observation_space, envs.single_action_space
            ModelVectorEnv(envs.model, [[0, 0, bad]], space, actions)  # type: ignore[arg-type]
    with torch.no_grad():
        next(envs.model.parameters()).fill_(float("nan"))
    with pytest.raises(DivergenceError, match="it has diverged"):
        envs.step(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="at least one state"):
        ModelVectorEnv(envs.model, np.zeros((0, 3)), envs.single_observation_space, envs.single_action_space)  # type: ignore[arg-type]


BAD_SEEDS: tuple[Any, ...] = (
    *(-1, -2, 1.5, float("nan"), float("inf"), [1], [1, 2, 3, 4], [1, -1, 2], [1.0, 2, 3], (), [], ["1", 2, 3]),
    *(np.int64(3), np.array([1, 2, 3]), [np.int64(1), 2, 3]),
)


@pytest.mark.parametrize("gaussian", [False, True])
def test_rows_of_the_model_environment_are_seeded_as_native_ones(gaussian: bool) -> None:
    """Row i of seed s is a single environment of seed s + i, through resets, whatever the other rows do."""

    def trail(envs: ModelVectorEnv, seed: Any) -> Any:
        seen = [envs.reset(seed=seed)[0]]
        for _ in range(7):
            observation, reward, *_ = envs.step(np.full((envs.num_envs, 1), 0.3, np.float32))
            seen += [observation, reward[:, None]]
        seen.append(envs.reset()[0])  # the next episode of every stream
        return np.concatenate(seen, 1)

    many = trail(model_env(num_envs=3, max_episode_steps=3, gaussian=gaussian), 11)
    assert len(np.unique(many[:, 3:], axis=0)) == 3
    for i in range(3):
        one = trail(model_env(num_envs=1, max_episode_steps=3, gaussian=gaussian), 11 + i)
        np.testing.assert_allclose(one[0], many[i], rtol=1e-5, atol=1e-6)
    listed = trail(model_env(num_envs=3, max_episode_steps=3, gaussian=gaussian), [13, 11, 12])
    np.testing.assert_allclose(listed, many[[2, 0, 1]], rtol=1e-5, atol=1e-6)
    envs = model_env(num_envs=2)
    envs.reset(seed=[5, 6])
    assert envs.np_random_seed == (5, 6)
    first, _ = envs.reset(seed=[None, 6])  # a stream goes on
    again = model_env(num_envs=2)
    again.reset(seed=[5, 9])
    np.testing.assert_array_equal(again.reset()[0][0], first[0])
    np.testing.assert_array_equal(model_env(num_envs=2).reset(seed=6)[0][0], first[1])


@pytest.mark.parametrize("seed", BAD_SEEDS, ids=repr)
def test_bad_seeds_are_refused_as_by_native_vector_environments(seed: Any) -> None:
    found = []
    for envs in (model_env(num_envs=3), gym.make_vec(PENDULUM, num_envs=3)):
        envs.reset(seed=4)
        before = envs.np_random_seed
        with pytest.raises(Exception) as error:
            envs.reset(seed=seed)
        found.append(error.type)
        if isinstance(envs, ModelVectorEnv):
            assert envs.np_random_seed == before  # nothing has changed
    assert found[0] is found[1]
    for none in ("123", b"123", {}, {1, 2, 3}, object()):
        with pytest.raises(gym.error.Error):
            model_env(num_envs=3).reset(seed=none)  # type: ignore[arg-type]


def test_sac_is_stable_baselines_with_the_same_ratio() -> None:
    pytest.importorskip("stable_baselines3")
    agent: Any = make("sac", gym.make(PENDULUM), seed=0, learning_starts=10)
    agent.learn(13)
    assert agent._n_updates == 5 * 3 and agent.batch_size == 128
    action, _ = agent.predict(np.zeros(3, np.float32), deterministic=True)
    assert action.shape == (1,)


# --- another device ---


class Elsewhere(torch.overrides.TorchFunctionMode):
    """Lets the device "meta", which holds no numbers, pass for an accelerator, wherever code has to look at numbers.

    Operations on tensors of two devices fail there as they do on any accelerator.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Zeros for what is brought to the CPU, all rows for those chosen by a mask."""
        meta = bool(args) and isinstance(args[0], torch.Tensor) and args[0].is_meta
        if meta and func in (torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.any):
            found = torch.zeros(args[0].shape, dtype=args[0].dtype)
            return {torch.Tensor.cpu: found, torch.Tensor.tolist: found.tolist(), torch.Tensor.any: True}[func]
        if meta and func is torch.Tensor.__getitem__:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            return func(args[0], tuple(slice(None) if getattr(i, "dtype", None) is torch.bool else i for i in index))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("loss", "critic"), [*((loss, "hl_gauss") for loss in LOSSES), ("vagram", "mse")])
def test_everything_is_computed_on_one_device(loss: str, critic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, fused: adam(*args))  # fused for real accelerators only
    names = ("vagram", "mpc") if loss == "vagram" else ("vagram",)
    settings = TINY | {"loss": loss, "critic": critic, "model_steps": 1, "device": "meta"}
    agents = [make(name, gym.make(PENDULUM), seed=0, **settings) for name in names]
    with Elsewhere():
        learn_together(agents, 22)
        for agent in agents:
            assert agent.predict(np.zeros((2, 3)))[0].shape == (2, 1)
    assert all(p.is_meta for p in [*agents[0].model.parameters(), *agents[0].learner.critics.parameters()])
    assert agents[0].refreshes == 1
    assert not agents[0].imagined.table.is_meta and agents[0].imagined.rows


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="device is 'cudo'; expected"):
        tiny(device="cudo")
