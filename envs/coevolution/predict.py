"""Predict: estimate at every step what people will value some steps ahead."""

from __future__ import annotations

from typing import Any

from valuegym.envs import checks
from valuegym.envs.coevolution import population
from valuegym.envs.coevolution.follow import Follow

__all__ = ["Predict"]


class Predict(Follow):
    """Forecast values that move: estimate what people will value `horizon` steps from now.

    ## Description
    Like `Follow-v0`, but the estimate is a forecast: nine steps are observed, and the target at each is the mean of
    `horizon` steps later.

    ## Observation
    Like `Follow-v0`: `responses` (m*D,), `last_message` (D,), `time` (1,).

    ## Action
    Box(-1, 1, (D,)): the forecast of the mean, divided by `scale`.

    ## Reward
    -|forecast - mean at t + horizon|^2.

    ## Episode end
    Terminates after `steps` steps.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `horizon` | int | 1 | steps | distance of the target, at least 1 |
    | others | | | | those of `Follow-v0` |

    Raises:
        ValueError: the horizon is outside its range, or as `Follow-v0`.
        FileNotFoundError: as `Follow-v0`.

    ## Oracle and naive scores
    0 is persistence, whose forecast is the reading of the last responses; 1 is to know the path. The normalised return
    is the skill against persistence (Murphy 1988).

    ## Source
    The predict challenge of ProgressGym (Qiu et al. 2024, arXiv:2406.20087), as a population.

    ## Version history
    v0: first version.
    """

    def __init__(self, horizon: int = 1, **kwargs: Any) -> None:
        self.horizon = checks.integer("horizon", horizon, 1, population.STEPS)  # `Follow-v0` has the present
        super().__init__(**kwargs)
