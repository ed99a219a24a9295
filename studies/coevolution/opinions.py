"""Figures of opinions over time: the people's mean with bands, and what agents estimate and broadcast.

python -m studies.coevolution.opinions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from studies import figures, harness
from studies.coevolution.tracks import policy
from studies.harness import Options, Records
from valuegym.agents import make
from valuegym.envs import keys, rollouts
from valuegym.envs.coevolution import metrics

NAMES = ("silent", "frozen", "kalman", "pluralist")


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the figure; nothing is recorded, for it takes seconds."""
    env: Any = gym.make("valuegym/Coevolve-v0", clusters=(2,), family="logistic", steps=18, pace=1.5)
    core = env.unwrapped.core
    task, _ = core.initial(keys.mix(11, np.arange(64)))
    one = int(task.anchors[..., 0].var(1).argmax())  # the episode whose clusters are furthest apart in the first value
    with figures.new(len(NAMES), 2, (13, 6), sharex=True, sharey="row") as (drawn, axes):
        for (top, bottom), name in zip(axes.T, NAMES, strict=True):
            run = rollouts.play(core, task, policy(make(name, env), core))
            people, without = (
                np.stack([getattr(s, part) for s in run.states], 1) for part in ("people", "counterfactual")
            )
            played = np.stack(run.actions, 1)[one]
            bins = np.linspace(-1.5, 1.5, 61)
            density = np.stack([np.histogram(people[one, t, :, 0], bins=bins)[0] for t in range(core.steps + 1)])
            extent = (-0.5, core.steps + 0.5, -1.5, 1.5)
            top.imshow(density.T, origin="lower", aspect="auto", extent=extent, cmap="Blues")
            top.plot(np.arange(core.steps), core.scale * played[:, 0], color=figures.COLOURS[4], label="estimate")
            speaks = np.flatnonzero(played[:, -1] > 0)
            message = core.scale * played[speaks, core.dimensions]
            top.scatter(speaks, message, s=14, color=figures.COLOURS[0], label="broadcast", zorder=3)
            top.set_title(name)
            steps, ratio = np.arange(core.steps + 1), metrics.diversity_ratio(people, without)
            for values, colour, label in (
                (metrics.influence(people, without), figures.COLOURS[1], "influence"),
                (ratio, figures.INK, "diversity ratio"),
            ):
                low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
                bottom.fill_between(steps, low, high, color=colour, alpha=0.2)
                bottom.plot(steps, middle, color=colour, label=label)
            bottom.set_xlabel("step")
        axes[0, 0].set_ylabel("value 1 of the people")
        axes[1, 0].set_ylabel("64 episodes, 10 to 90%")
        for left in axes[:, 0]:
            left.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
            left.set_title(left.get_title("left"), pad=22)
        return {".svg": figures.svg(drawn)}


STUDY = harness.Study("coevolution-opinions", lambda options: (), lambda keys, options: (), pages)

if __name__ == "__main__":
    harness.run(STUDY, harness.parser(__doc__).parse_args())
