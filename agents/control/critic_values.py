"""Values of a trained actor-critic, for annotators by regret where no truth is known; in files without pickle.

A critic is an estimate: `docs/results/value-errors.md` shows how far one is from the truth on the pendulum, where the
truth is known. A file holds arrays (`valuegym.agents.tensors`) and JSON that says what was trained; loading compares
its SHA-256 with the one that was published, builds networks of the stated sizes, and reads nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from valuegym.agents import tensors
from valuegym.agents.control.actor_critic import Optimisation, SoftActorCritic
from valuegym.agents.control.critics import CriticParameters
from valuegym.envs import checks

__all__ = ["CriticValues", "encode", "load"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

FORMAT = 1
MAX_BYTES = 2**28
LATTICE = {1: 21, 2: 5, 3: 3, 4: 3}  # actions along each dimension, of so many, that V is the best of
ROWS = 2**14  # observations at a time


class CriticValues:
    """V and Q as trained critics have them: Q is the least of all critics, V its best over some actions.

    These are the actor's own and, for up to four dimensions, a lattice; the Q of a better action counts as V, so that
    no advantage is above 0. A soft critic counts a share of future entropy as reward, which `temperature` is the weight
    of.

    Args:
        learner: actor and critics after training.
        low: (A,) least actions of the environment.
        high: (A,) greatest ones; the networks' are in [-1, 1].

    Raises:
        ValueError: bounds are not finite, not as many as actions, or not in order.
    """

    def __init__(self, learner: SoftActorCritic, low: Any, high: Any) -> None:
        self.learner, self.discount = learner, learner.settings.discount
        self.low = checks.reals("low", low, (learner.A,))
        self.high = checks.reals("high", high, (learner.A,))
        if not (self.low < self.high).all():
            raise checks.refusal("low", low, f"numbers below high = {self.high.tolist()}")
        line: Any = np.linspace(-1, 1, LATTICE[learner.A]) if learner.A in LATTICE else ()
        self._lattice = torch.tensor(list(product(line, repeat=learner.A)), dtype=torch.float32)

    @property
    def temperature(self) -> float:
        """Weight of the entropy at the end of training."""
        return float(self.learner.log_temperature.exp())

    def _least(self, observations: Tensor, actions: Tensor) -> Tensor:
        return self.learner.critics(observations, actions).amin(-1)

    def _best(self, observations: Tensor) -> Tensor:
        best = self._least(observations, self.learner.mode(observations))
        for action in self._lattice:
            best = torch.maximum(best, self._least(observations, action.expand(len(observations), -1)))
        return best

    def _observations(self, observations: Any) -> Tensor:
        return torch.as_tensor(checks.reals("observations", observations, (None, self.learner.D))).float()

    @torch.no_grad()
    def value(self, observations: Any) -> Floats:
        """Return V (M,) of observations (M, D).

        Raises:
            ValueError: an observation is not finite or of another length.
        """
        parts = self._observations(observations).split(ROWS)
        return torch.cat([self._best(part) for part in parts]).double().numpy()

    @torch.no_grad()
    def action_value(self, observations: Any, actions: Array) -> Floats:
        """Return Q (M,) of observations (M, D) and actions (M, A), at most V.

        Raises:
            ValueError: an observation or action is not finite or of another length.
        """
        seen = self._observations(observations)
        given = np.clip(checks.reals("actions", actions, (len(seen), self.learner.A)), self.low, self.high)
        unit = torch.as_tensor(2 * (given - self.low) / (self.high - self.low) - 1).float()
        parts = zip(seen.split(ROWS), unit.split(ROWS), strict=True)
        return torch.cat([torch.minimum(self._least(s, a), self._best(s)) for s, a in parts]).double().numpy()


def _networks(learner: SoftActorCritic) -> dict[str, Any]:
    return {"actor": learner.actor, "critics": learner.critics}


def encode(values: CriticValues, **about: Any) -> tuple[bytes, str]:
    """Return a file with the networks, and its SHA-256 in hexadecimal digits.

    `about` is what else the file should say, as JSON: environment, seed, steps of training.

    Raises:
        ValueError: a parameter is not finite, or `about` is no JSON.
    """
    learner = values.learner
    arrays = {
        f"{part}.{name}": np.array(value.detach().cpu().numpy())
        for part, network in _networks(learner).items()
        for name, value in network.state_dict().items()
        if value.numel()  # edges of bins, where there are none
    }
    for name, value in arrays.items():
        checks.reals(name, value)
    described = {
        "format": FORMAT,
        "D": learner.D,
        "A": learner.A,
        "critic": asdict(learner.critics.settings),
        "discount": values.discount,
        "temperature": values.temperature,
        "low": values.low.tolist(),
        "high": values.high.tolist(),
    }
    try:
        text = json.dumps(described | {"about": about}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"about is {checks.printed(about)}, which cannot be written as JSON: {error}.") from None
    content = tensors.encode(arrays, {"valuegym.critic": text})
    return content, hashlib.sha256(content).hexdigest()


def load(path: str | Path, sha256: str) -> CriticValues:
    """Return the values in a file that `encode` made, if it has this SHA-256.

    Raises:
        ValueError: there is no such file, its SHA-256 is another one, or it holds no critics.
    """
    file = Path(path)
    if not file.is_file() or file.stat().st_size > MAX_BYTES:
        raise ValueError(f"There is no file {path} of at most {MAX_BYTES} bytes; expected critics that `encode` wrote.")
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != checks.text("sha256", sha256, "64 hexadecimal digits").lower():
        raise ValueError(f"{path} has the SHA-256 {found}, not {sha256}; it is another file than the one published.")
    try:
        arrays, metadata = tensors.decode(content)
        told = json.loads(metadata["valuegym.critic"])
        if told["format"] != FORMAT:
            raise ValueError(f"it has format {told['format']}; this version of valuegym reads format {FORMAT}")
        settings, parameters = Optimisation(discount=told["discount"]), CriticParameters(**told["critic"])
        D, A = checks.integer("D", told["D"], 1, 2**16), checks.integer("A", told["A"], 1, 2**16)
        learner = SoftActorCritic(D, A, parameters, settings, torch.Generator().manual_seed(0))
        for part, network in _networks(learner).items():
            empty = {name: value for name, value in network.state_dict().items() if not value.numel()}
            own = {
                name.removeprefix(f"{part}."): value for name, value in arrays.items() if name.startswith(f"{part}.")
            }
            network.load_state_dict(
                empty | {name: torch.from_numpy(checks.reals(name, value)) for name, value in own.items()}
            )
        learner.log_temperature.fill_(float(np.log(checks.real("temperature", told["temperature"], above=0))))
        return CriticValues(learner, told["low"], told["high"])
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")[:300]
        raise ValueError(f"{path} holds no critics as this version makes them: {reason}.") from None
