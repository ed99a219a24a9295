"""Scores and records of a model that a script of one's own has trained: `valuegym.evaluate` and `valuegym.record`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.agents import AGENTS, make
from valuegym.envs import checks
from valuegym.leaderboards import experiments
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import NAME, path_of, write_record
from valuegym.leaderboards.run import play_record
from valuegym.leaderboards.stats.summary import summarise

__all__ = ["Evaluation", "evaluate", "record"]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one track: 0 is the naive reference, 1 the oracle.

    Attributes:
        track: id of the experiment.
        seeds: of the runs whose evaluation episodes were played.
        scores: (R, E, P) by run, episode and evaluation point; P is 1 where there is a single score. NaN where the
            oracle is not above the naive reference.
        estimate: the ranked number of the track (`Experiment.ranked_number`), with the ends of its 95% bootstrap
            interval over the track's units (over episodes where there is one run). The model is the same in all runs,
            so that the interval does not cover the randomness of training.
    """

    track: str
    seeds: tuple[int, ...]
    scores: npt.NDArray[np.float64]
    estimate: tuple[float, float, float]

    def __str__(self) -> str:
        """Return the score as the tables print it."""
        point, low, high = self.estimate
        episodes = f"{len(self.seeds)} x {self.scores.shape[1]} episodes"
        return f"{self.track}: {point:.3f} [{low:.3f}, {high:.3f}] ({episodes}; 0 naive reference, 1 oracle)"


def _found(track: str | Experiment) -> Experiment:
    if isinstance(track, Experiment):
        return experiments.register(track)
    return experiments.find(experiments.resolve([track])[0])


def _player(model: Any, what: Experiment, data: str | None) -> Any:
    """Return a model as it is, and an agent made from a text that names one."""
    if isinstance(model, str):
        return make(model, gym.make(what.env_id, **what.make_kwargs(data)))
    if not callable(getattr(model, "predict", None)):
        raise ValueError(
            f"{type(model).__name__} has no method predict(observation, state, episode_start, deterministic); expected "
            "a Stable-Baselines3 model, an agent, or a text that names one."
        )
    _check_spaces(model, what, data)
    return model


def _check_spaces(model: Any, what: Experiment, data: str | None) -> None:
    """Refuse a model that says it was trained with other spaces than those of the track's environment."""
    env = gym.make(what.env_id, **what.make_kwargs(data))
    for name in ("observation_space", "action_space"):
        trained, played = getattr(model, name, None), getattr(env, name)
        if isinstance(trained, gym.spaces.Space) and _kind(trained) != _kind(played):
            call = ", ".join([repr(what.env_id), *(f"{key}={value!r}" for key, value in what.kwargs.items())])
            raise ValueError(
                f"The model was trained with the {name} {trained}; {what.id} has {played}. Train it in "
                f"its environment, gymnasium.make({call})."
            )


def _kind(space: gym.Space[Any]) -> Any:
    """Return the type and the size of a space; channels of images may be first or last, as both players take them."""
    if isinstance(space, gym.spaces.Dict):
        return {name: _kind(part) for name, part in space.items()}
    if isinstance(space, gym.spaces.Tuple):
        return [_kind(part) for part in space]
    shape = space.shape or ()
    sizes = [np.asarray(getattr(space, name, 0)).tolist() for name in ("n", "nvec")]
    return type(space), sorted(shape) if len(shape) == 3 else list(shape), sizes


def _stated(about: Any) -> dict[str, Any]:
    """Return what a record should say of its agent, in JSON's own types."""
    stated = {} if about is None else checks.plain(about)
    try:
        if isinstance(stated, dict):
            json.dumps(stated, allow_nan=False)
            return stated
    except (TypeError, ValueError, RecursionError):
        pass
    raise checks.refusal("about", about, "a dictionary of JSON values, all numbers finite")


def evaluate(
    model: Any, track: str | Experiment, seeds: Sequence[int] | None = None, data: str | None = None
) -> Evaluation:
    """Play the evaluation episodes of a track and score them; nothing is trained and nothing is written.

    Args:
        model: anything with Stable-Baselines3's `predict`, trained; or a text that names an agent.
        track: an experiment, its id, or a text that names one from outside (FILE.py:NAME).
        seeds: of the runs, each with evaluation episodes of its own; by default all of the track.
        data: folder of human data, where the track needs it.

    Raises:
        ValueError: the model has no `predict`, does not fit the track, there is no such track or seed, or no episode
            has a score.
    """
    what = _found(track)
    player = _player(model, what, data)
    runs = tuple(checks.integers("seeds", what.seeds if seeds is None else seeds, (None,), 0, 2**31 - 1).tolist())
    if not runs:
        raise ValueError("seeds is empty; expected one or more.")
    scores = np.array([play_record(player, "evaluated", what.id, seed, data).scores for seed in runs], np.float64)
    defined = ~np.isnan(scores[..., -1]).all(1)
    if not defined.any():
        raise ValueError(
            f"No episode of {what.id} on seeds {runs} has a score: the oracle is not above the naive reference."
        )
    point, low, high = map(float, summarise(scores[defined], what.rank_units).score)
    return Evaluation(what.id, runs, scores, (point, low, high))


def record(
    model: Any,
    track: str | Experiment,
    name: str,
    seed: int = 0,
    folder: str | Path = "results",
    data: str | None = None,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Play one run of a track with a trained model and write its record, as `valuegym run` does.

    Args:
        model: anything with Stable-Baselines3's `predict`, trained.
        track: an experiment, its id, or a text that names one from outside (FILE.py:NAME).
        name: under which the record and the tables hold it; not that of an agent of valuegym.
        seed: of the run, one of the track's; the model should have been trained with this seed.
        folder: of the results.
        data: folder of human data, where the track needs it.
        about: what else the record's header should say of the agent, as JSON: arguments, steps, versions.
        overwrite: whether a record that is there already is replaced.

    Returns:
        The path of the record; `valuegym verify` and `valuegym leaderboard` read the folder.

    Raises:
        ValueError: the name is taken or has other characters than a record allows, `about` is no JSON, `folder` no
            path, or as in `evaluate`.
        FileExistsError: the record is there already.
        OSError: the record cannot be written.
    """
    what = _found(track)
    if checks.text("name", name) in AGENTS:
        raise ValueError(f"name is {name!r}, as an agent of valuegym is called; choose another.")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"name is {name!r}; expected 1 to 64 letters, digits, dots, dashes or underscores, the first "
            "a letter or digit."
        )
    if (seed := checks.integer("seed", seed)) not in what.seeds:
        raise ValueError(f"seed is {seed!r}; expected one of the track's, {what.seeds}.")
    overwrite = checks.flag("overwrite", overwrite)
    path = path_of(checks.folder("folder", folder), name, what.id, seed)
    about = _stated(about)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; overwrite=True replaces it.")
    made = play_record(_player(model, what, data), name, what.id, seed, data, about=about)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, made)
    return path
