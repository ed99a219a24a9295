"""The environments of valuegym, registered with Gymnasium when this package is imported.

One table for each family, one row for each id: `ENVS` holds them all, `THIRD_PARTY` those that are no cores of this
suite.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from valuegym.envs.registration import Environment, ThirdParty, core_spec, register_core, register_plugins

__all__ = ["ENVS", "THIRD_PARTY", "Environment", "ThirdParty", "register_all", "register_core"]


def _core(family: str, core: str, steps: int | None, *tags: str, **kwargs: Any) -> Environment:
    """Return the row of a core "module:Class" of a family."""
    return Environment(f"valuegym.envs.{family}.{core}", kwargs, steps, (family, *tags))


_INFERENCE = "reward_inference:RewardInference"
PREFERENCE: dict[str, Environment] = {
    "valuegym/Delivery-v0": _core("preference", "delivery:Delivery", 200, "tabular"),
    "valuegym/DeliveryOneHot-v0": _core("preference", "delivery:Delivery", 200, "tabular", observation="onehot"),
    "valuegym/RandomDelivery-v0": _core("preference", "random_delivery:RandomDelivery", 200, "tabular"),
    "valuegym/RiskyDelivery-v0": _core("preference", "risky_delivery:RiskyDelivery", 200, "tabular", "stochastic"),
    "valuegym/RewardInference-v0": _core("preference", _INFERENCE, None, "query"),
    "valuegym/RewardInferencePolicy-v0": _core("preference", _INFERENCE, None, "query", action="policy"),
    "valuegym/RewardInferenceActive-v0": _core(
        "preference", "reward_inference_active:RewardInferenceActive", None, "query"
    ),
    "valuegym/ProbeInference-v0": _core("preference", "probe_inference:ProbeInference", None, "query", "stochastic"),
}

_PENDULUM, _CARTPOLE, _DISTRACTORS = "pendulum:Pendulum", "cartpole_swingup:CartPoleSwingUp", "distractors:Distractors"
CONTROL: dict[str, Environment] = {
    "valuegym/LQR-v0": _core("control", "lqr:LQR", 200, "oracle"),
    "valuegym/LQR-D4-v0": _core("control", "lqr:LQR", 200, "oracle", "distractors", "stochastic", distractors=4),
    "valuegym/LQRFromPreferences-v0": _core(
        "control", "lqr_from_preferences:LQRFromPreferences", None, "preference", "query"
    ),
    "valuegym/Pendulum-v0": _core("control", _PENDULUM, 200, "oracle"),
    "valuegym/Pendulum-D8-v0": _core(
        "control", _DISTRACTORS, 200, "oracle", "distractors", base=f"valuegym.envs.control.{_PENDULUM}", number=8
    ),
    "valuegym/CartPoleSwingUp-v0": _core("control", _CARTPOLE, 500, "reference"),
    "valuegym/CartPoleSwingUp-D8-v0": _core(
        "control", _DISTRACTORS, 500, "reference", "distractors", base=f"valuegym.envs.control.{_CARTPOLE}", number=8
    ),
    "valuegym/MountainCarContinuous-v0": _core("control", "mountain_car:MountainCarContinuous", 999, "oracle"),
    "valuegym/Acrobot-v0": _core("control", "acrobot:Acrobot", 500, "reference"),
}

COEVOLUTION: dict[str, Environment] = {
    "valuegym/Follow-v0": _core("coevolution", "follow:Follow", None),
    "valuegym/Predict-v0": _core("coevolution", "predict:Predict", None),
    "valuegym/Coevolve-v0": _core("coevolution", "coevolve:Coevolve", None, "stochastic"),
    "valuegym/LockIn-v0": _core("coevolution", "lock_in:LockIn", None, "stochastic"),
}

_FOLLOW = "follow_language:FollowLanguage"
LANGUAGE: dict[str, Environment] = {
    "valuegym/TokenProcess-v0": _core("language", "token_process:TokenProcess", None, "tabular"),
    "valuegym/FollowLanguage-v0": _core("language", _FOLLOW, None, "people"),
    "valuegym/PredictLanguage-v0": _core("language", _FOLLOW, None, "people", horizon=1),
    "valuegym/CoevolveLanguage-v0": _core("language", "coevolve_language:CoevolveLanguage", None, "people"),
}

ENVS = PREFERENCE | CONTROL | COEVOLUTION | LANGUAGE
THIRD_PARTY: dict[str, ThirdParty] = {
    f"valuegym/{task}{f'-D{number}' if number else ''}-v0": ThirdParty(
        "valuegym.envs.control.mujoco:make", {"task": f"{task}-v5", "number": number}, 1000, "control"
    )
    for task in ("Hopper", "Walker2d", "HalfCheetah", "InvertedPendulum")
    for number in (0, 5, 10, 15)
}


def register_all() -> None:
    """Register every row once, and what installed packages bring.

    Cores are registered as a scalar and a native vector environment, the others by their entry point.
    """
    specs = [core_spec(id, row) for id, row in ENVS.items()]
    specs += [
        EnvSpec(id, row.entry_point, max_episode_steps=row.max_episode_steps, kwargs=row.kwargs)
        for id, row in THIRD_PARTY.items()
    ]
    for spec in specs:
        gym.registry.setdefault(spec.id, spec)
    register_plugins()


register_all()
