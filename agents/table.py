"""Table of the agents that valuegym ships; their modules are imported only when used."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["AGENTS", "AgentEntry"]


class AgentEntry(NamedTuple):
    """One agent of the table.

    Attributes:
        entry: its constructor, as "module:name".
        extra: the optional dependencies that it needs, "" for none.
        about: one phrase for people, with the knowledge that it is given beyond its observations.
    """

    entry: str
    extra: str
    about: str


AGENTS: dict[str, AgentEntry] = {
    "uniform": AgentEntry("valuegym.agents.uniform:Uniform", "", "uniformly random actions"),
    "oracle": AgentEntry(
        "valuegym.agents.oracle:Oracle",
        "",
        "asks the environment's own solver; the reference for 1",
    ),
    "constant": AgentEntry(
        "valuegym.agents.constant:constant", "", "the best of 73 constant answers on training tasks"
    ),
    "goal_only": AgentEntry(
        "valuegym.agents.preference.goal_only:GoalOnly",
        "",
        "weights of the destination alone, told which feature it is; a line to pass",
    ),
    "partial_return": AgentEntry(
        "valuegym.agents.preference.partial_return:PartialReturn",
        "",
        "weights by partial return; Gaussian prior",
    ),
    "regret": AgentEntry(
        "valuegym.agents.preference.regret:Regret", "", "weights by regret with exact values; Gaussian prior"
    ),
    "bayes_partial_return": AgentEntry(
        "valuegym.agents.preference.bayes_partial_return:BayesPartialReturn",
        "",
        "posterior over weights by partial return; log-uniform prior",
    ),
    "bayes_regret": AgentEntry(
        "valuegym.agents.preference.bayes_regret:BayesRegret",
        "",
        "posterior over weights by regret with exact values; log-uniform prior",
    ),
    "bayes_mixture": AgentEntry(
        "valuegym.agents.preference.bayes_mixture:BayesMixture",
        "",
        "posterior over weights and over how people answer; nobody tells it how they do",
    ),
    "active_bayes_regret": AgentEntry(
        "valuegym.agents.preference.active_bayes_regret:ActiveBayesRegret",
        "",
        "bayes_regret that asks the query with the highest expected information gain",
    ),
    "value_bayes_regret": AgentEntry(
        "valuegym.agents.preference.active_bayes_regret:by_value_of_information",
        "",
        "bayes_regret that asks the query with the highest expected value of information",
    ),
    "value_bayes_mixture": AgentEntry(
        "valuegym.agents.preference.active_bayes_mixture:by_value_of_information",
        "",
        "bayes_mixture that asks the query with the highest expected value of information",
    ),
    "random_bayes_mixture": AgentEntry(
        "valuegym.agents.preference.active_bayes_mixture:at_random", "", "bayes_mixture that asks a query at random"
    ),
    "random_bayes_regret": AgentEntry(
        "valuegym.agents.preference.active_bayes_regret:at_random", "", "bayes_regret that asks a query at random"
    ),
    "regret_library": AgentEntry(
        "valuegym.agents.preference.regret_library:RegretLibrary",
        "",
        "weights inferred by regret, values from a library of policies; Gaussian prior",
    ),
    "optimal_advantage": AgentEntry(
        "valuegym.agents.preference.optimal_advantage:OptimalAdvantage",
        "",
        "optimal advantages inferred by partial return; needs no dynamics",
    ),
    "cpl": AgentEntry(
        "valuegym.agents.preference.cpl:CPL",
        "",
        "a softmax policy by contrastive preference learning; needs no dynamics",
    ),
    **{
        name: AgentEntry(f"valuegym.agents.coevolution.trackers:{entry}", "", about)
        for name, entry, about in (
            ("silent", "Silent", "values estimated by a Kalman filter, and never a broadcast"),
            ("frozen", "Frozen", "the first reading of values, for ever"),
            ("persistence", "Persistence", "the last reading of values; lifelong learning of order 0"),
            ("lifelong", "Lifelong", "four fifths of the way from the last estimate to each reading of values"),
            (
                "lifelong_independent",
                "lifelong_independent",
                "four fifths of the way from the first reading to each reading of values",
            ),
            ("extrapolative", "Extrapolative", "values extrapolated by finite differences of order 1, as published"),
            (
                "extrapolative_2",
                "extrapolative_2",
                "values extrapolated by finite differences of order 2, two steps ahead, as published",
            ),
            (
                "extrapolative_shrunk",
                "extrapolative_shrunk",
                "a quarter of the extrapolated step from the last reading of values",
            ),
            ("moving_average", "MovingAverage", "values estimated by exponential smoothing with gain 0.3"),
            ("kalman", "Kalman", "values estimated by a Kalman filter; given the noise of the responses"),
            ("theta", "Theta", "values forecast by the Theta method"),
        )
    },
    **{
        name: AgentEntry(f"valuegym.agents.language.lifelong:{name}", "text", f"a language model {about}")
        for name, about in (
            ("frozen_sft", "trained once, on the shares of the first century's answers"),
            ("lifelong_sft", "trained at every century on the shares of answers"),
            ("lifelong_dpo", "trained at every century by direct preference optimisation"),
            ("lifelong_dpo_independent", "trained by direct preference optimisation, from the first model each time"),
            ("extrapolative_dpo", "trained by direct preference optimisation on votes extrapolated by order 1"),
            ("lifelong_rlhf", "trained at every century by a reward model and exact policy gradients"),
            ("lifelong_rlhf_independent", "trained as lifelong_rlhf is, from the first model each time"),
        )
    },
    "pluralist": AgentEntry(
        "valuegym.agents.coevolution.pluralist:Pluralist",
        "",
        "serves clusters of people and preserves diversity; given the constants of the dynamics",
    ),
    "linear_search": AgentEntry(
        "valuegym.agents.control.linear_search:LinearSearch", "", "random search over clipped linear policies"
    ),
    "lqr_model_based": AgentEntry(
        "valuegym.agents.control.lqr_model_based:LQRModelBased",
        "agents",
        "control by a linear model of rank 2 and the Riccati equation",
    ),
    "no_force": AgentEntry("valuegym.agents.control.no_force:NoForce", "", "no force at all"),
    **{
        name: AgentEntry(f"valuegym.agents.control.lqr_preference_learner:{entry}", "agents", about)
        for name, entry, about in (
            (
                "lqr_regret",
                "LQRPreferenceLearner",
                "reward inferred by regret, a model of rank 2 fitted by value gradients; Gaussian prior",
            ),
            ("lqr_partial_return", "partial_return", "lqr_regret with a reward inferred by partial return"),
            ("lqr_regret_mse", "squared_error", "lqr_regret with a model of rank 2 fitted by squared error"),
            ("lqr_regret_diagonal", "diagonal", "lqr_regret with the published, diagonal value-gradient weights"),
            ("lqr_regret_full", "unrestricted", "lqr_regret with a model of full rank fitted by squared error"),
        )
    },
    "vagram": AgentEntry(
        "valuegym.agents.control.vagram:VaGraM", "agents", "Dyna with a model weighted by value gradients"
    ),
    "mbpo": AgentEntry(
        "valuegym.agents.control.mbpo:make", "agents", "the loop of vagram with a Gaussian model fitted by likelihood"
    ),
    "mpc": AgentEntry(
        "valuegym.agents.control.mpc:MPC", "agents", "training of vagram, then model-predictive control with the model"
    ),
    "sac": AgentEntry(
        "valuegym.agents.control.sac:make", "agents", "Stable-Baselines3's SAC, with as many updates as vagram"
    ),
    "ppo": AgentEntry("valuegym.agents.ppo:make", "agents", "Stable-Baselines3's PPO with its default settings"),
    "preference_ppo": AgentEntry(
        "valuegym.agents.feedback.preference_ppo:make",
        "agents",
        "ppo on a reward learned from at most 500 answers; the annotator sees the true reward",
    ),
    "preference_sac": AgentEntry(
        "valuegym.agents.feedback.preference_sac:make",
        "agents",
        "sac on a reward learned from at most 500 answers; the annotator sees the true reward",
    ),
    "no_trust": AgentEntry("valuegym.agents.coevolution.trust_policies:none", "", "no trust in people, and no message"),
    "full_trust": AgentEntry(
        "valuegym.agents.coevolution.trust_policies:full", "", "the highest trust in people that the environment allows"
    ),
    "threshold_trust": AgentEntry(
        "valuegym.agents.coevolution.trust_policies:below_threshold",
        "",
        "0.9 of the trust at which people are locked in",
    ),
    "echo_free": AgentEntry(
        "valuegym.agents.coevolution.trust_policies:EchoFree",
        "",
        "a Kalman filter that subtracts its own echo from responses; given the laws of the model",
    ),
    "language": AgentEntry(
        "valuegym.agents.language.language_agent:LanguageAgent",
        "text",
        "a language model that chooses between the texts of the actions; given the words of the environment",
    ),
}
