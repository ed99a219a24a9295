"""The track `dial/plain`, which the name `dial_pack.plain` loads."""

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
