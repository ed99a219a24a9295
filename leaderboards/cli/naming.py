"""Names of environments as people type them."""

from __future__ import annotations

import gymnasium as gym

from valuegym.envs import checks
from valuegym.leaderboards import experiments
from valuegym.leaderboards.experiments import Experiment

__all__ = ["environment_id", "experiment_of"]

NAMESPACE = "valuegym/"


def environment_id(name: str) -> str:
    """Return the registered id for a name such as "Delivery", "Delivery-v0" or "valuegym/Delivery-v0".

    Raises:
        ValueError: there is no such environment; one that reads alike is proposed.
    """
    for text in (name, f"{NAMESPACE}{name}", f"{NAMESPACE}{name}-v0"):
        if text in gym.registry:
            return text
    lower = {id.lower(): id for id in gym.registry if id.startswith(NAMESPACE)}
    found = lower.get(f"{NAMESPACE}{name}-v0".lower()) or lower.get(f"{NAMESPACE}{name}".lower())
    if found:
        return found
    known = [id.removeprefix(NAMESPACE).removesuffix("-v0") for id in lower.values()]
    close = checks.similar(name.removeprefix(NAMESPACE).removesuffix("-v0"), known)
    raise ValueError(f"There is no environment {name!r}.{close} `valuegym list` shows all.")


def experiment_of(name: str) -> Experiment:
    """Return a track on an environment with its own arguments, so that agents can be trained as there.

    Where there is none, an experiment without training.

    Raises:
        ValueError: there is no such environment.
    """
    id = environment_id(name)
    for one in experiments.EXPERIMENTS.values():
        if one.env_id == id and one.arguments == "{}" and not one.data:
            return one
    return Experiment(id="own/environment", about="An environment without a track.", env_id=id)
