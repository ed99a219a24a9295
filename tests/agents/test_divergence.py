"""Learning that diverges stops with one sentence that says what diverged and when, and no such policy is scored."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

import torch

from valuegym.agents import make
from valuegym.agents.base import BatchAgent, TrainingEnv
from valuegym.agents.control import losses
from valuegym.agents.control.actor_critic import Optimisation
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.ensemble import Architecture, Ensemble, ModelFit, fit
from valuegym.agents.divergence import DivergenceError
from valuegym.agents.preference import descent, posterior
from valuegym.agents.preference.preference_learner import lowest

PENDULUM = "valuegym/Pendulum-v0"
TINY: dict[str, Any] = {
    "width": 4,
    "hidden": 4,
    "members": 2,
    "model_steps": 3,
    "warmup_steps": 8,
    "refresh": 8,
    "rollout_every": 8,
    "updates_per_step": 1,
    "model_buffer": 700,
}
ASKING: dict[str, Any] = {
    "budget": 4,
    "every": 6,
    "rounds": 2,
    "segment_length": 2,
    "members": 2,
    "width": 4,
    "fit_steps": 2,
}
SMALL: dict[str, dict[str, Any]] = {
    "vagram": TINY,
    "mbpo": TINY,
    "mpc": TINY | {"horizon": 2, "candidates": 8},
    "sac": {"learning_starts": 4, "gradient_steps": 1},
    "ppo": {"n_steps": 8, "batch_size": 8, "n_epochs": 2, "device": "cpu"},
    "preference_sac": ASKING | {"learning_starts": 4, "train_freq": 1, "gradient_steps": 1},
    "preference_ppo": ASKING | {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
    "lqr_model_based": {},
    "linear_search": {},
}


class Open(gym.Wrapper[Any, Any, Any, Any]):
    """The pendulum as environments of others are: it takes any action, and may hand out NaN at a step."""

    def __init__(self, nan: str = "", at: int = 0) -> None:
        super().__init__(gym.make(PENDULUM))
        self.nan, self.at, self.steps = nan, at, 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation, reward, *rest = self.env.step(np.nan_to_num(np.clip(action, -1, 1)))
        if self.steps == self.at:
            observation, reward = (observation * np.nan, reward) if self.nan == "observation" else (observation, np.nan)
        return observation, reward, *rest


def agent_of(name: str, env: Any = None, **kwargs: Any) -> Any:
    """A small agent of this name."""
    return make(name, env or Open(), seed=4, **(SMALL[name] | kwargs))


# Learning rates at which something diverges, and what.
RATES = [
    ("vagram", {"model_rate": 1e30}, "model"),
    ("vagram", {"optimisation": Optimisation(critic_rate=1e30)}, "critics"),
    ("vagram", {"optimisation": Optimisation(actor_rate=1e300)}, "actor"),
    ("vagram", {"optimisation": Optimisation(critic_rate=1e30), "model_fraction": 0.0}, "critics"),
    ("vagram", {"model_rate": 1e30, "critic": "hl_gauss"}, "model"),
    ("mbpo", {"model_rate": 1e30}, "model"),
    ("mbpo", {"optimisation": Optimisation(critic_rate=1e30)}, "critics"),
    ("mpc", {"model_rate": 1e30}, "model"),
    ("sac", {"learning_rate": 1e30}, "critic"),
    ("ppo", {"learning_rate": 1e30}, "policy|net|extractor"),
    ("preference_sac", {"learning_rate": 1e30}, "critic"),
    ("preference_ppo", {"learning_rate": 1e30}, "policy|net|extractor"),
]


@pytest.mark.parametrize(("name", "kwargs", "what"), RATES)
def test_a_rate_that_is_too_high_stops_training(name: str, kwargs: dict[str, Any], what: str) -> None:
    with pytest.raises(
        DivergenceError, match=rf"^\w+ with seed 4 diverged after \d+ training steps: its .*({what})"
    ) as error:
        agent_of(name, **kwargs).learn(40)
    assert str(error.value).count(". ") == 0 and str(error.value).endswith(".")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("nan", ["observation", "reward"])
def test_transitions_that_are_not_finite_stop_training(name: str, nan: str) -> None:
    with pytest.raises(DivergenceError, match=rf"^The {nan} .*5"):
        agent_of(name, Open(nan, at=5)).learn(40)


def networks(agent: Any) -> dict[str, Any]:
    """The parts of a trained agent, each of which may be planted with a NaN."""
    if hasattr(agent, "learner"):
        return {"model": agent.model, "actor": agent.learner.actor, "critics": agent.learner.critics}
    return dict(agent.policy.named_children())


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("lqr_model_based", "linear_search")])
def test_a_nan_anywhere_in_what_was_learnt_stops_training(name: str) -> None:
    for part in ("model", "actor", "critics") if name in ("vagram", "mbpo", "mpc") else (0, -1):
        agent = agent_of(name)
        agent.learn(16)
        parts = networks(agent)
        module = parts[part] if isinstance(part, str) else [m for m in parts.values() if list(m.parameters())][part]
        with torch.no_grad():
            next(iter(module.parameters())).fill_(float("nan"))
        with pytest.raises(DivergenceError, match="diverged after"):
            agent.learn(24)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_a_policy_that_is_not_finite_acts_no_more(name: str, shape: tuple[int, ...]) -> None:
    agent = agent_of(name)
    agent.learn(16)
    observation = np.zeros(shape, np.float32)
    agent.predict(observation, deterministic=True)
    with pytest.raises(ValueError):
        agent.predict(observation * np.nan, deterministic=True)
    if name == "lqr_model_based":
        agent.gain = agent.gain * np.nan
    elif name == "linear_search":
        agent.weights = agent.weights * np.nan
    else:
        parts = networks(agent)
        with torch.no_grad():
            for parameter in [p for module in parts.values() for p in module.parameters()]:
                parameter.fill_(float("nan"))
    with pytest.raises(DivergenceError):
        agent.predict(observation, deterministic=True)


def test_agents_that_learn_while_acting_return_no_action_that_is_not_finite() -> None:
    class Lost(BatchAgent):
        def act(self, observation: Any, memory: Any, start: Any) -> Any:
            return np.full((len(start), 1), np.nan), memory

    agent = Lost(gym.make(PENDULUM))
    with pytest.raises(DivergenceError, match="action of Lost is not finite"):
        agent.predict(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="The observation holds"):
        agent.predict(np.full(3, np.nan, np.float32))


def test_a_model_that_diverges_says_so() -> None:
    generator = torch.Generator().manual_seed(0)
    s, a = torch.randn(30, 2, generator=generator), torch.randn(30, 1, generator=generator)
    data = Transitions(s, a, s[:, 0], s, torch.zeros(30))
    model = Ensemble(2, 1, Architecture(members=2, width=4, depth=1), generator)
    model.standardise(data)
    units = model.error_units(0.99)
    optimiser = torch.optim.Adam(model.parameters(), 1e30)
    with pytest.raises(DivergenceError, match="The model diverged: after 5 gradient steps"):
        fit(model, optimiser, ModelFit(data, torch.arange(30), losses.mse, units, generator), 5)
    with pytest.raises(DivergenceError, match="critics are not finite"):
        losses.critic_statistics(lambda s: s[..., :1] * float("nan"), data, torch.ones(2))


def test_posteriors_and_fits_say_so() -> None:
    with pytest.raises(DivergenceError, match="likelihood"):
        next(posterior.samples(lambda w, b: np.full((len(b) - 1, len(w)), np.nan), [3], 0, 2))
    with pytest.raises(DivergenceError, match="likelihood"):  # one point of all has any: no sample gets there
        next(posterior.samples(lambda w, b: np.stack([0 * w[:, 0], -1e300 * w[:, 0] ** 2]), [3], 0, 2))
    with pytest.raises(DivergenceError, match="loss"):
        lowest(lambda w: (float("nan"), w), [np.zeros(2)])
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match="loss"):
        descent.descend(lambda w: np.full((len(w), 1, 2), 1e300), np.ones(1), np.full((1, 2), 1e300))


def test_the_environment_of_learners_changes_no_number() -> None:
    plain, watched = gym.make(PENDULUM), TrainingEnv(gym.make(PENDULUM))
    np.testing.assert_array_equal(plain.reset(seed=2)[0], watched.reset(seed=2)[0])
    for _ in range(3):
        for ours, theirs in zip(watched.step(np.ones(1, np.float32)), plain.step(np.ones(1, np.float32)), strict=True):
            np.testing.assert_equal(ours, theirs)
    with pytest.raises(ValueError, match="env is a list"):
        TrainingEnv([])  # type: ignore[arg-type]
