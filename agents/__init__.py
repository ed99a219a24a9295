"""The agents of valuegym, made by name and imported only when used."""

from __future__ import annotations

from typing import Any, NamedTuple

from valuegym.agents.base import Agent
from valuegym.envs.functional import load


class Entry(NamedTuple):
    """One agent: where it is, the extra it needs, and what it is given to know beyond its observations."""

    entry: str
    extra: str
    about: str


AGENTS: dict[str, Entry] = {
    "uniform": Entry("valuegym.agents.uniform:Uniform", "", "uniformly random actions"),
    "oracle": Entry("valuegym.agents.oracle:Oracle", "", "asks the environment's own solver; the reference for 1"),
    "constant": Entry(
        "valuegym.agents.preference.constant:Constant", "", "the best of 73 constant answers on training tasks"
    ),
    "partial_return": Entry(
        "valuegym.agents.preference.partial_return:PartialReturn", "", "weights by partial return; Gaussian prior"
    ),
    "regret": Entry(
        "valuegym.agents.preference.regret:Regret", "", "weights by regret with exact values; Gaussian prior"
    ),
    "bayes_partial_return": Entry(
        "valuegym.agents.preference.bayes_partial_return:BayesPartialReturn",
        "",
        "posterior by partial return; log-uniform prior",
    ),
    "bayes_regret": Entry(
        "valuegym.agents.preference.bayes_regret:BayesRegret",
        "",
        "posterior by regret, exact values; log-uniform prior",
    ),
    "active_bayes_regret": Entry(
        "valuegym.agents.preference.active_bayes_regret:ActiveBayesRegret",
        "",
        "bayes_regret that asks what tells it most",
    ),
    "value_bayes_regret": Entry(
        "valuegym.agents.preference.active_bayes_regret:for_value",
        "",
        "bayes_regret that asks what promises most return",
    ),
    "random_bayes_regret": Entry(
        "valuegym.agents.preference.active_bayes_regret:at_random", "", "bayes_regret that asks at random"
    ),
    "regret_library": Entry(
        "valuegym.agents.preference.regret_library:RegretLibrary",
        "",
        "weights by regret, values from a library of policies",
    ),
    "optimal_advantage": Entry(
        "valuegym.agents.preference.optimal_advantage:OptimalAdvantage", "", "a table by partial return; no dynamics"
    ),
    "cpl": Entry("valuegym.agents.preference.cpl:CPL", "", "a softmax policy, contrastively; no dynamics"),
    **{
        name: Entry(f"valuegym.agents.coevolution.trackers:{entry}", "", about)
        for name, entry, about in (
            ("silent", "Silent", "values by a Kalman filter, and never a broadcast"),
            ("frozen", "Frozen", "values as first told, for ever"),
            ("persistence", "Persistence", "values as last told; lifelong learning of order 0"),
            ("lifelong", "Lifelong", "values, four fifths of the way from the last estimate"),
            ("lifelong_independent", "lifelong_independent", "values, four fifths of the way from the first reading"),
            ("extrapolative", "Extrapolative", "values by finite differences, order 1, as published"),
            (
                "extrapolative_2",
                "extrapolative_2",
                "values by finite differences, order 2, two steps ahead, as published",
            ),
            ("extrapolative_shrunk", "extrapolative_shrunk", "values by a quarter of the extrapolated step"),
            ("moving_average", "MovingAverage", "values by exponential smoothing, gain 0.3"),
            ("kalman", "Kalman", "values by a Kalman filter; told the noise of the reports"),
            ("theta", "Theta", "values by the Theta method"),
        )
    },
    "pluralist": Entry(
        "valuegym.agents.coevolution.pluralist:Pluralist",
        "",
        "serves clusters and keeps diversity; told the constants of the dynamics",
    ),
    "lqr_model_based": Entry(
        "valuegym.agents.control.lqr_model_based:LQRModelBased",
        "agents",
        "a linear model of rank 2 and the Riccati equation",
    ),
    "no_force": Entry("valuegym.agents.control.no_force:NoForce", "", "no force at all"),
    **{
        name: Entry(f"valuegym.agents.control.lqr_preference_learner:{entry}", "agents", about)
        for name, entry, about in (
            (
                "lqr_regret",
                "LQRPreferenceLearner",
                "reward by regret, a model of rank 2 by value gradients; Gaussian prior",
            ),
            ("lqr_partial_return", "partial_return", "the same with a reward by partial return"),
            ("lqr_regret_mse", "squared_error", "lqr_regret with a model of rank 2 by squared error"),
            ("lqr_regret_diagonal", "diagonal", "lqr_regret with the published, diagonal value-gradient weights"),
            ("lqr_regret_full", "unrestricted", "lqr_regret with a model of full rank by squared error"),
        )
    },
    "vagram": Entry("valuegym.agents.control.vagram:VaGraM", "agents", "Dyna with a model weighted by value gradients"),
    "mbpo": Entry(
        "valuegym.agents.control.mbpo:make", "agents", "the same loop with a Gaussian model fitted by likelihood"
    ),
    "mpc": Entry("valuegym.agents.control.mpc:MPC", "agents", "learns as vagram does and plans with the model"),
    "sac": Entry(
        "valuegym.agents.control.sac:make", "agents", "Stable-Baselines3's SAC, with as many updates as vagram"
    ),
    "ppo": Entry("valuegym.agents.ppo:make", "agents", "Stable-Baselines3's PPO with its default settings"),
    "no_trust": Entry("valuegym.agents.coevolution.trust:none", "", "hears nobody, stays silent"),
    "full_trust": Entry("valuegym.agents.coevolution.trust:full", "", "believes everybody as much as it can"),
    "threshold_trust": Entry(
        "valuegym.agents.coevolution.trust:below_threshold", "", "0.9 of the trust that locks people in"
    ),
    "echo_free": Entry(
        "valuegym.agents.coevolution.trust:EchoFree", "", "takes its echo out of reports; the laws of the model"
    ),
}


def make(name: str, env: Any, seed: int = 0, **kwargs: Any) -> Agent:
    """Make an agent for a scalar environment.

    Raises:
        ValueError: no agent has this name.
        ImportError: the agent needs an extra that is not installed; the message names it.
    """
    if name not in AGENTS:
        raise ValueError(f"There is no agent {name!r}; expected one of {sorted(AGENTS)}.")
    try:
        constructor = load(AGENTS[name].entry)
    except ImportError as error:
        if not AGENTS[name].extra:
            raise
        raise ImportError(
            f"Agent {name!r} needs an extra: pip install 'valuegym[{AGENTS[name].extra}]' ({error})."
        ) from error
    agent: Agent = constructor(env, seed=seed, **kwargs)
    return agent


__all__ = ["AGENTS", "Agent", "make"]
