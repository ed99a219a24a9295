"""The environments of valuegym, registered with Gymnasium when this package is imported.

One row per id: the core that states the environment, its default arguments, its step limit and its tags.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym


class Entry(NamedTuple):
    """One registered environment."""

    core: str
    kwargs: dict[str, Any]
    max_episode_steps: int | None
    tags: tuple[str, ...]


_DISTRACTORS, _PENDULUM = "valuegym.envs.control.distractors:Distractors", "valuegym.envs.control.pendulum:Pendulum"
_CARTPOLE = "valuegym.envs.control.cartpole_swingup:CartPoleSwingUp"
_LQR = "valuegym.envs.control.lqr:LQR"
_INFERENCE = "valuegym.envs.preference.reward_inference:RewardInference"
ENVS: dict[str, Entry] = {
    "valuegym/Delivery-v0": Entry("valuegym.envs.preference.delivery:Delivery", {}, 200, ("preference", "tabular")),
    "valuegym/RandomDelivery-v0": Entry(
        "valuegym.envs.preference.random_delivery:RandomDelivery", {}, 200, ("preference", "tabular")
    ),
    "valuegym/RiskyDelivery-v0": Entry(
        "valuegym.envs.preference.risky_delivery:RiskyDelivery", {}, 200, ("preference", "tabular", "stochastic")
    ),
    "valuegym/RewardInference-v0": Entry(_INFERENCE, {}, None, ("preference", "query")),
    "valuegym/ProbeInference-v0": Entry(
        "valuegym.envs.preference.probe_inference:ProbeInference", {}, None, ("preference", "query", "stochastic")
    ),
    "valuegym/Follow-v0": Entry("valuegym.envs.coevolution.follow:Follow", {}, None, ("coevolution",)),
    "valuegym/Predict-v0": Entry("valuegym.envs.coevolution.predict:Predict", {}, None, ("coevolution",)),
    "valuegym/Coevolve-v0": Entry(
        "valuegym.envs.coevolution.coevolve:Coevolve", {}, None, ("coevolution", "stochastic")
    ),
    "valuegym/RewardInferenceActive-v0": Entry(
        "valuegym.envs.preference.reward_inference_active:RewardInferenceActive", {}, None, ("preference", "query")
    ),
    "valuegym/RewardInferencePolicy-v0": Entry(_INFERENCE, {"action": "policy"}, None, ("preference", "query")),
    "valuegym/LQR-v0": Entry(_LQR, {}, 200, ("control", "oracle")),
    "valuegym/Pendulum-v0": Entry(_PENDULUM, {}, 200, ("control", "oracle")),
    "valuegym/Pendulum-D8-v0": Entry(
        _DISTRACTORS, {"base": _PENDULUM, "number": 8}, 200, ("control", "oracle", "distractors")
    ),
    "valuegym/CartPoleSwingUp-v0": Entry(_CARTPOLE, {}, 500, ("control", "reference")),
    "valuegym/CartPoleSwingUp-D8-v0": Entry(
        _DISTRACTORS, {"base": _CARTPOLE, "number": 8}, 500, ("control", "reference", "distractors")
    ),
    "valuegym/MountainCarContinuous-v0": Entry(
        "valuegym.envs.control.mountain_car:MountainCarContinuous", {}, 999, ("control", "oracle")
    ),
    "valuegym/Acrobot-v0": Entry("valuegym.envs.control.acrobot:Acrobot", {}, 500, ("control", "reference")),
    "valuegym/LQR-D4-v0": Entry(_LQR, {"distractors": 4}, 200, ("control", "oracle", "distractors", "stochastic")),
    "valuegym/LQRFromPreferences-v0": Entry(
        "valuegym.envs.control.lqr_from_preferences:LQRFromPreferences", {}, None, ("control", "preference", "query")
    ),
    "valuegym/LockIn-v0": Entry("valuegym.envs.coevolution.lock_in:LockIn", {}, None, ("coevolution", "stochastic")),
}


class Foreign(NamedTuple):
    """One registered environment that is no core of this suite: what makes it, and the extra that it needs."""

    entry_point: str
    kwargs: dict[str, Any]
    max_episode_steps: int
    extra: str


FOREIGN: dict[str, Foreign] = {
    f"valuegym/{task}{f'-D{number}' if number else ''}-v0": Foreign(
        "valuegym.envs.control.mujoco:make", {"task": f"{task}-v5", "number": number}, 1000, "control"
    )
    for task in ("Hopper", "Walker2d", "HalfCheetah", "InvertedPendulum")
    for number in (0, 5, 10, 15)
}


def register_all() -> None:
    """Register every row, once: a scalar and a native vector environment for each core, the others as they are."""
    for id, foreign in FOREIGN.items():
        if id not in gym.registry:
            gym.register(
                id=id,
                entry_point=foreign.entry_point,
                max_episode_steps=foreign.max_episode_steps,
                kwargs=foreign.kwargs,
            )
    for id, entry in ENVS.items():
        if id not in gym.registry:
            gym.register(
                id=id,
                entry_point="valuegym.envs.functional:FunctionalEnv",
                vector_entry_point="valuegym.envs.functional:FunctionalVectorEnv",
                max_episode_steps=entry.max_episode_steps,
                kwargs={"core": entry.core, **entry.kwargs},
            )


register_all()
