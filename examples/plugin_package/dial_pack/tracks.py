"""The tracks `dial/plain` and `dial/answers`, which the names `dial_pack.plain` and `dial_pack.answers` load."""

from __future__ import annotations

from valuegym import Experiment

PLAIN = Experiment(
    id="dial/plain",
    about="Turn a dial to its mark.",
    env_id="dial_pack/Dial-v0",
    agents=("uniform", "dial_pack.turner"),
    references=(-10.0, -1.425),  # means over starts: to leave it, 20 * 0.5; the shortest way, the sum of (k / 10)^2 / 2
    deterministic=True,
)
ANSWERS = Experiment(
    id="dial/answers",
    about="Rewards known from answers about last steps.",
    env_id="valuegym/RewardInference-v0",
    arguments='{"annotator": "dial_pack.last_step", "evaluation_points": [0, 10]}',
    agents=("partial_return", "oracle"),
    episodes=2,
    score="evaluation_points",
)
