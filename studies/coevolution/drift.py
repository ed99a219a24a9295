"""Print the skill of the Kalman filter against persistence by its drift, on seeds that no experiment has.

python -m studies.coevolution.drift
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from studies.coevolution.tracks import policy
from valuegym.agents import make
from valuegym.envs import keys, rollouts
from valuegym.envs.coevolution import trajectories

DRIFTS = (0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


def main() -> None:
    """Print a line for each family."""
    print(f"{'':24}" + "".join(f"{x:8}" for x in DRIFTS))
    follow = []
    for family in (*trajectories.FAMILIES, "mixed"):
        id = "Coevolve" if family == "mixed" else "Follow"
        env: Any = gym.make(f"valuegym/{id}-v0", family=family)
        core = env.unwrapped.core
        task, _ = core.initial(keys.mix(1, np.arange(400)))
        runs = [rollouts.play(core, task, policy(make("kalman", env, drift=x), core)) for x in DRIFTS]
        skills = [core.episode_metrics(task, run.states, run.actions)["skill"].mean() for run in runs]
        follow += [skills] if id == "Follow" else []
        print(f"{id}, {family}".ljust(24) + "".join(f"{x:8.3f}" for x in skills))
    print("Follow, mean".ljust(24) + "".join(f"{x:8.3f}" for x in np.mean(follow, 0)))


if __name__ == "__main__":
    main()
