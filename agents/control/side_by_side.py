"""Many seeds as one batch: agents whose models, actors and critics are joined and learn as each would alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from valuegym.agents.checkpoints import load_adam_state
from valuegym.agents.control.actor_critic import Trainer
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.ensemble import Ensemble, copy_standardisation, fit_together, join_models
from valuegym.agents.divergence import DivergenceError

if TYPE_CHECKING:
    from valuegym.agents.control.vagram import VaGraM

__all__ = ["MAY_DIFFER", "learn_together"]

# settings in which agents that learn together may differ
MAY_DIFFER = ("loss", "mse_weight", "warm_refreshes", "ramp", "model_fraction", "validation", "values", "model_buffer")


def learn_together(agents: Sequence[VaGraM], total_timesteps: int, state: Mapping[str, Any] | None = None) -> None:
    """Let agents learn side by side, each as it would alone.

    Their models are fitted as one, and their actors and critics are updated as one, so that with several agents each
    takes a fraction of the time that it takes alone. They may differ in environment, seed and the settings MAY_DIFFER.
    A single agent may go on from a `training_state` of its own.

    Raises:
        ValueError: other settings or the sizes of the agents differ, or an episode of an agent without `terminal`
            terminated.
        DivergenceError: a model, actor, critic or transition of an agent is not finite.
    """
    _check_alike(agents)
    first, s = agents[0], agents[0].settings
    modelled = [agent for agent in agents if agent.settings.model_fraction]
    model = join_models([agent.model for agent in modelled]) if modelled else first.model
    optimiser = torch.optim.Adam(model.parameters(), s.model_rate, fused=True)
    trainer: Trainer | None = None  # there is none during the warm-up
    if state is None:
        for agent in agents:
            agent.start(total_timesteps)
    else:
        trainer = _go_on(first, total_timesteps, state, optimiser)
    for steps in range(1 if state is None else first.steps + 1, total_timesteps + 1):
        since_warmup = steps - s.warmup_steps
        with _timed(agents, "environment"):
            for agent, action in zip(agents, _actions(agents, trainer), strict=True):
                agent.steps, agent.model_fraction = steps, agent.settings.model_fraction_after(since_warmup)
                agent.step(action)
        if since_warmup >= 0:
            trainer = trainer or Trainer([agent.make_learner() for agent in agents])
            if since_warmup % s.refresh == 0:
                _refresh(agents, model, optimiser)
            _update(agents, trainer, roll_out=since_warmup % s.rollout_every == 0)
        if len(agents) == 1 and first.after_step is not None:
            first.optimisers = _optimisers(optimiser, trainer)
            first.after_step(first)
    for agent in agents:
        agent.check_finite()


def _update(agents: Sequence[VaGraM], trainer: Trainer, roll_out: bool) -> None:
    """Update actors and critics as often as belongs to one step, at times after a rollout of the models."""
    first, modelled = agents[0], [agent for agent in agents if agent.settings.model_fraction]
    if roll_out:
        with _timed(modelled, "model"):
            for agent in modelled:
                agent.roll_out()
    with _timed(agents, "critic"):
        for rows in torch.stack([agent.sample_batches() for agent in agents], 1).to(first.settings.device):
            trainer.update(Transitions.from_rows(rows, first.D, first.A))


def _go_on(
    agent: VaGraM, total_timesteps: int, state: Mapping[str, Any], model: torch.optim.Optimizer
) -> Trainer | None:
    """Take a state of a training of one agent, and return its trainer, if the warm-up is over."""
    agent.restore(state, total_timesteps)
    trainer = None if agent.learner is None else Trainer([agent.learner])
    for name, optimiser in _optimisers(model, trainer).items():
        load_adam_state(optimiser, state["optimisers"][name])
    return trainer


def _optimisers(model: torch.optim.Optimizer, trainer: Trainer | None) -> dict[str, torch.optim.Optimizer]:
    """Return all optimisers of a training by name."""
    return {"model": model} | ({} if trainer is None else trainer.optimisers)


def _check_alike(agents: Sequence[VaGraM]) -> None:
    """Raise ValueError if agents cannot learn side by side."""
    first, s = agents[0], agents[0].settings
    for agent in agents:
        same = replace(agent.settings, **{name: getattr(s, name) for name in MAY_DIFFER})
        if (same, agent.model.architecture, agent.D, agent.A) != (s, first.model.architecture, first.D, first.A):
            raise ValueError(
                f"Agents that learn side by side may differ in {', '.join(MAY_DIFFER)}; one has {s} with "
                f"{first.D, first.A} dimensions of observation and action, another {agent.settings} with "
                f"{agent.D, agent.A}."
            )


def _actions(agents: Sequence[VaGraM], trainer: Trainer | None) -> Any:
    """Return actions (N, A) in [-1, 1] for the present observations of all agents; uniform ones in the warm-up."""
    if trainer is None:
        return [agent.rng.uniform(-1, 1, agent.A).astype(np.float32) for agent in agents]
    observation = np.stack([agent.observation for agent in agents]).astype(np.float32)
    actions = trainer.act(torch.from_numpy(observation)).cpu().numpy()
    if not np.isfinite(actions).all():  # one update carries what is not finite from any critic to its actor
        for agent in agents:
            agent.check_finite()
        raise DivergenceError(f"An action of training step {agents[0].steps + 1} is not finite.")
    return actions


def _refresh(agents: Sequence[VaGraM], model: Ensemble, optimiser: torch.optim.Optimizer) -> None:
    """Fit the joint model under weights from the present critics of each agent that has a model."""
    modelled = [agent for agent in agents if agent.settings.model_fraction]
    if modelled:
        s = agents[0].settings
        with _timed(modelled, "model"):
            try:
                fits = [agent.prepare_fit() for agent in modelled]
                copy_standardisation(model, [agent.model for agent in modelled])
                fit_together(model, optimiser, fits, s.model_steps, s.model_batch)
            finally:
                for agent in modelled:
                    agent.check_finite()  # says whose model has diverged, and when
    for agent in agents:
        agent.refreshes += agent in modelled
        if agent.on_refresh is not None:
            agent.on_refresh(agent)


@contextmanager
def _timed(agents: Sequence[VaGraM], part: str) -> Iterator[None]:
    """Add the CPU seconds of a block to this part, an equal portion for each agent."""
    start = time.process_time()
    yield
    for agent in agents:
        agent.seconds[part] += (time.process_time() - start) / len(agents)
