"""Search for settings of an agent by Optuna, on seeds that no evaluation uses, in a file that a killed search resumes.

A trial trains the agent with some settings on a few runs of a track, and scores it as the track does. Its runs and
evaluation episodes have seeds of their own, SEARCH_RUNS and SEARCH_EPISODES onwards, all below those of evaluation.
Trial 0 has the agent's own settings. What settings trial n tries depends on the seed of the search, n, and the trials
before it, so that a search that was killed goes on as if it had not been.

A file is JSON lines: a header, then a line for each trial.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from valuegym.agents import references
from valuegym.agents.search_spaces import Space
from valuegym.envs import checks, extras
from valuegym.envs.feedback.data import parse_json, write_atomically
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.experiments import EVALUATION, Experiment
from valuegym.leaderboards.run import play_record
from valuegym.leaderboards.training import learn, prepare

__all__ = [
    "SEARCH_EPISODES",
    "SEARCH_RUNS",
    "Search",
    "Trial",
    "best",
    "propose",
    "read_trials",
    "run_trial",
    "search",
    "seeds",
]

SEARCH_RUNS = 500_000  # runs of a search are seeded from here on
SEARCH_EPISODES = 600_000  # and their evaluation episodes from here on, below those of evaluation
MOST_RUNS = 100
FORMAT = 1
DIGITS = 3  # of numbers that are tried

Propose = Callable[[Space, Sequence["Trial"], int, int], dict[str, Any]]


class Trial(NamedTuple):
    """One trial.

    Attributes:
        settings: of the agent's constructor.
        score: mean of the middle half of all episodes, at the last evaluation point; None where the trial failed.
        scores: mean score of each run.
        seconds: on the wall.
        reason: why it failed, "" where it did not.
    """

    settings: dict[str, Any]
    score: float | None
    scores: list[float]
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Search:
    """All that a search depends on.

    Attributes:
        agent: a text that names it (`valuegym.agents.references`).
        experiment: its id.
        runs: of each trial, from 1 to 100.
        timesteps: of training in each run; None for the experiment's budget.
        seed: of the search.

    Raises:
        ValueError: a field is not as stated.
    """

    agent: str
    experiment: str
    runs: int = 2
    timesteps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        references.check(self.agent)
        experiments.find(self.experiment)
        object.__setattr__(self, "runs", checks.integer("runs", self.runs, 1, MOST_RUNS))
        object.__setattr__(self, "seed", checks.integer("seed", self.seed, 0, 2**31 - 1))
        if self.timesteps is not None:
            object.__setattr__(self, "timesteps", checks.integer("timesteps", self.timesteps, 1))

    def about(self) -> dict[str, Any]:
        """Return the header of the file."""
        source = references.origin(self.agent).get("source")
        return {"format": FORMAT, **asdict(self), "space": references.search_space(self.agent), "source": source}


def seeds(what: Experiment, runs: int) -> tuple[list[int], list[list[int]]]:
    """Return the seeds of the runs of a trial, and those of the evaluation episodes of each run.

    Raises:
        ValueError: there are too many episodes, or a seed of the experiment is among them.
    """
    ours = [SEARCH_RUNS + run for run in range(runs)]
    if what.episodes * runs > EVALUATION - SEARCH_EPISODES:
        raise ValueError(f"{what.id} has {what.episodes} episodes; a search has at most 400000 of all its runs.")
    episodes = [[SEARCH_EPISODES + what.episodes * run + i for i in range(what.episodes)] for run in range(runs)]
    theirs = {*what.seeds, *(seed for run in what.seeds for seed in what.evaluation_seeds(run))}
    used = theirs.intersection([*ours, *(seed for row in episodes for seed in row)])
    if used:
        raise ValueError(
            f"The seeds of {what.id} hold {min(used)}, which a search uses; expected seeds of runs below {SEARCH_RUNS}."
        )
    return ours, episodes


class _Job(NamedTuple):
    """One run of a trial."""

    agent: str
    experiment: str
    settings: str
    timesteps: int
    seed: int
    episodes: tuple[int, ...]
    data: str | None

    def __str__(self) -> str:
        return f"{self.agent} on {self.experiment}, seed {self.seed} of the search"


def _scores(job: _Job) -> list[float]:
    """Return the scores (E,) of a run at the last evaluation point."""
    what = experiments.find(job.experiment)
    player, _ = prepare(job.agent, what, job.seed, job.data, json.loads(job.settings))
    learn(player, job.timesteps)
    record = play_record(player, "searched", job.experiment, job.seed, job.data, job.episodes)
    return [row[-1] for row in record.scores]


def run_trial(
    plan: Search, settings: dict[str, Any], data: str | None = None, workers: int = 1, executor: str = "pool"
) -> Trial:
    """Train and score an agent with these settings on the seeds of a search.

    A trial whose runs raise an error, such as that of a training that diverges, has failed.

    Raises:
        ValueError: as `seeds`, or an unknown executor.
        OSError: worker processes die before they work on anything.
    """
    from scipy.stats import trim_mean  # not where only the help is read

    what = experiments.find(plan.experiment)
    runs, episodes = seeds(what, plan.runs)
    steps = what.timesteps if plan.timesteps is None else plan.timesteps
    text = json.dumps(settings)
    jobs = [
        _Job(plan.agent, plan.experiment, text, steps, run, tuple(row), data)
        for run, row in zip(runs, episodes, strict=True)
    ]
    began = time.monotonic()
    try:
        found = executors.parallel_map(experiments.in_workers(_scores), jobs, workers, "", executor)
    except executors.JobsFailed as error:
        reason = error.failures[0].reason[:300]
        return Trial(settings, None, [], _digits(time.monotonic() - began), reason)
    scores = np.array(found, np.float64)
    if np.isnan(scores).all():
        return Trial(settings, None, [], _digits(time.monotonic() - began), "no episode has a score")
    means = [float(np.nanmean(row)) if not np.isnan(row).all() else math.nan for row in scores]
    score = float(trim_mean(scores[~np.isnan(scores)], 0.25))
    return Trial(settings, score, [mean for mean in means if mean == mean], _digits(time.monotonic() - began))


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def propose(space: Space, trials: Sequence[Trial], number: int, seed: int) -> dict[str, Any]:
    """Return the settings that trial `number` tries, by Optuna's tree-structured Parzen estimator.

    Raises:
        ImportError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(f"A search needs Optuna: {extras.hint('search')} ({error}).") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mixed = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=int.from_bytes(mixed[:4], "big"))
    )
    distributions = {name: _distribution(optuna, value) for name, value in space.items()}
    for trial in trials[1:]:  # the first has settings that may lie outside
        state = optuna.trial.TrialState.FAIL if trial.score is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                params=trial.settings, distributions=distributions, value=trial.score, state=state
            )
        )
    drawn: dict[str, Any] = {}

    def objective(trial: Any) -> float:
        drawn.update({name: _suggested(trial, name, value) for name, value in space.items()})
        return 0.0  # what it is worth is found later, and stands in the file

    study.optimize(objective, n_trials=1)
    return {name: _rounded(value, space[name]) for name, value in drawn.items()}


def _suggested(trial: Any, name: str, value: Any) -> Any:
    if isinstance(value, list):
        return trial.suggest_categorical(name, value)
    low, high, log = value["low"], value["high"], value.get("log", False)
    return (trial.suggest_int if _whole(low, high) else trial.suggest_float)(name, low, high, log=log)


def _whole(low: Any, high: Any) -> bool:
    """Return whether the numbers between two bounds are whole."""
    return isinstance(low, int) and isinstance(high, int)


def _distribution(optuna: Any, value: Any) -> Any:
    if isinstance(value, list):
        return optuna.distributions.CategoricalDistribution(value)
    low, high, log = value["low"], value["high"], value.get("log", False)
    kind = optuna.distributions.IntDistribution if _whole(low, high) else optuna.distributions.FloatDistribution
    return kind(low, high, log=log)


def _rounded(value: Any, bounds: Any) -> Any:
    """Return a number with few digits, within its bounds."""
    return min(max(_digits(value), bounds["low"]), bounds["high"]) if isinstance(value, float) else value


def search(
    plan: Search,
    path: Path,
    trials: int,
    data: str | None = None,
    workers: int = 1,
    executor: str = "pool",
    report: Callable[[int, Trial], None] | None = None,
    propose: Propose = propose,
) -> list[Trial]:
    """Run trials until there are so many, and keep each in a file as soon as it is done; go on where that ends.

    Args:
        plan: what is searched.
        path: of the file.
        trials: how many, with those that are there.
        data: folder of human data, where the experiment needs it.
        workers: processes in which the runs of a trial work.
        executor: of the runs.
        report: called with number and result of each trial that is done here.
        propose: propose(space, trials, number, seed) returns the settings of the next trial.

    Raises:
        ValueError: the file is that of another search or damaged, or as `run_trial`.
        ImportError: Optuna, or an extra of the agent, is not installed.
        OSError: the file cannot be written.
    """
    checks.integer("trials", trials, 1, 10**5)
    about = json.loads(json.dumps(plan.about()))
    seeds(experiments.find(plan.experiment), plan.runs)
    done = read_trials(path, about) if path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(len(done), trials):
        settings = propose(about["space"], done, number, plan.seed) if number else {}
        done.append(run_trial(plan, settings, data, workers, executor))
        lines = [about, *(trial._asdict() for trial in done)]
        write_atomically(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())
        if report is not None:
            report(number, done[-1])
    return done


def read_trials(path: Path, about: dict[str, Any]) -> list[Trial]:
    """Return the trials in a file, whose header has to be `about`.

    Raises:
        ValueError: it is that of another search, or damaged.
    """
    again = "give another file, or remove it to begin again"
    try:
        header, *rows = (parse_json(line) for line in path.read_bytes().splitlines())
        found = [Trial(**row) for row in rows]
        for trial in found:
            if trial.score is not None:
                checks.real("score", trial.score)
            if not isinstance(trial.settings, dict):
                raise ValueError(f"settings is {trial.settings!r}; expected an object.")
            checks.reals("scores", trial.scores, (None,))
            checks.real("seconds", trial.seconds, 0)
            checks.text("reason", trial.reason)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no file of a search: {str(error).rstrip('.')}; {again}.") from None
    if header != about:
        other = sorted(name for name in {*header, *about} if header.get(name) != about.get(name))
        raise ValueError(f"{path} is of a search with another {' and '.join(other)}; {again}.")
    return found


def best(trials: Sequence[Trial]) -> int | None:
    """Return the number of the trial with the highest score, the earliest of equals; None where all failed."""
    scored = [(trial.score, -number) for number, trial in enumerate(trials) if trial.score is not None]
    return -max(scored)[1] if scored else None
