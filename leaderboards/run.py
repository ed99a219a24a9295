"""Runs of experiments: the only writer of results.

A finished run is never repeated, an unfinished one leaves nothing behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array

from valuegym.agents import references
from valuegym.envs import checks
from valuegym.envs.functional import action_rules
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records import simulators
from valuegym.leaderboards.records.costs import add_cost
from valuegym.leaderboards.records.fingerprint import provenance, track_digest
from valuegym.leaderboards.records.record import (
    Episode,
    Record,
    RecordError,
    path_of,
    remove_stale_temporaries,
    write_record,
)
from valuegym.leaderboards.records.simulators import Play
from valuegym.leaderboards.training import learn, prepare, progress
from valuegym.leaderboards.verification.replay import replay
from valuegym.leaderboards.verification.scores import declared_scores, scores_of, simulated_returns

__all__ = ["Job", "jobs", "play", "play_record", "play_simulators", "predicted", "run", "run_all"]


class Job(NamedTuple):
    """One run: everything that its result depends on, and where the result goes.

    Attributes:
        agent: a text that names it (`valuegym.agents.references`).
        experiment: its id.
        seed: of the run.
        folder: of the results.
        data: folder of human data, None for the default.
        evaluation: seeds of the evaluation episodes, None for the experiment's own.
        settings: of the agent's constructor, as JSON, "" for none.
        overwrite: whether a record that is there is made again; it stays until the new one is complete.
    """

    agent: str
    experiment: str
    seed: int
    folder: str
    data: str | None = None
    evaluation: tuple[int, ...] | None = None
    settings: str = ""
    overwrite: bool = False

    @property
    def name(self) -> str:
        """Name of the agent in the record."""
        return references.record_name(self.agent, json.loads(self.settings or "{}"))

    def __str__(self) -> str:
        """Name the run for people."""
        return f"{self.name} on {self.experiment}, seed {self.seed}"

    @property
    def path(self) -> Path:
        """Path of the record."""
        return path_of(Path(self.folder), self.name, self.experiment, self.seed)


def play(
    agent: Any, envs: Any, seeds: Sequence[int], options: dict[str, Any], deterministic: bool = True
) -> list[Episode]:
    """Play one episode in every row of a vector environment, seeded row by row, recording actions and states.

    Actions that the environment clips are recorded as the core got them.

    Raises:
        ValueError: the agent's `predict` returns no pair, or an action outside the action space that is not clipped.
    """
    if hasattr(agent, "attach"):
        agent.attach(envs)
    core, n = envs.unwrapped.core, envs.num_envs
    allowed = action_rules(core)
    observation, _ = envs.reset(seed=list(seeds), options=options)
    start, memory, running = np.ones(n, np.bool_), None, np.ones(n, np.bool_)
    actions: list[list[Any]] = [[] for _ in range(n)]
    states = [
        {name: [value[row].tolist()] for name, value in envs.unwrapped.state._asdict().items()} for row in range(n)
    ]
    ends = np.zeros((n, 2), np.bool_)
    every = getattr(core, "checkpoint", 1)
    while running.any():
        action, memory = predicted(agent, observation, memory, start, deterministic)
        action = allowed.clip(action, (n,))
        observation, _, terminated, truncated, _ = envs.step(action)
        state = envs.unwrapped.state
        for row in np.flatnonzero(running):
            actions[row].append(action[row].tolist())
            ends[row] = terminated[row], truncated[row]
            if ends[row].any() or len(actions[row]) % every == 0:
                for name, value in state._asdict().items():
                    states[row][name].append(value[row].tolist())
        start = terminated | truncated
        running &= ~start
    return [Episode(seeds[i], actions[i], states[i], bool(ends[i, 0]), bool(ends[i, 1])) for i in range(n)]


def play_simulators(
    agent: Any, what: experiments.Experiment, seeds: Sequence[int]
) -> tuple[list[Episode], list[float]]:
    """Play one episode in each of several environments without a core; return the episodes and their returns.

    Raises:
        ValueError: the agent's `predict` returns no pair, or an action outside the action space; the environment fails,
            or is declared deterministic and does something else when the same actions are played again.
    """
    plays = [
        Play(simulators.make(what.env_id, what.kwargs), seed, options)
        for seed, options in zip(seeds, what.reset_options(), strict=True)
    ]
    space, start, memory = plays[0].env.observation_space, np.ones(len(plays), np.bool_), None
    batch: Any = create_empty_array(space, len(plays))
    while not all(play.over for play in plays):
        seen = [play.observation for play in plays]
        batch = concatenate(space, seen, batch)
        action, memory = predicted(agent, deepcopy(batch), memory, start)
        for row, play in enumerate(plays):
            if not play.over:
                play.step(action[row])
        start = np.zeros(len(plays), np.bool_)
    episodes = [play.episode(what.deterministic) for play in plays]
    for play in plays:
        play.env.close()
    try:
        return episodes, simulated_returns(what, episodes)
    except RecordError as error:
        raise ValueError(
            f"{what.id} is declared deterministic, but {error} Declare deterministic=False, and scores are claims."
        ) from error


def predicted(agent: Any, observation: Any, memory: Any, start: Any, deterministic: bool = True) -> tuple[Any, Any]:
    """Return an agent's actions and memory.

    Raises:
        ValueError: its `predict` returns something else.
    """
    answer = agent.predict(observation, state=memory, episode_start=start, deterministic=deterministic)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ValueError(
            f"{type(agent).__name__}.predict returned a {type(answer).__name__}; expected a pair (actions, "
            "memory), as Stable-Baselines3's models return it."
        )
    return answer


def run(
    agent: str,
    experiment: str,
    seed: int,
    folder: str | Path,
    data: str | None = None,
    evaluation: Sequence[int] | None = None,
    settings: str = "",
    overwrite: bool = False,
    visible: bool = False,
) -> Path:
    """Train where the experiment has a budget, play its evaluation episodes, and write the record.

    Args:
        agent: a text that names it (`valuegym.agents.references`).
        experiment: its id.
        seed: of the run.
        folder: of the results.
        data: folder of human data, where the experiment needs it.
        evaluation: seeds of the evaluation episodes; by default the experiment's own.
        settings: of the agent's constructor, as JSON, "" for none.
        overwrite: whether a record that is there is made again.
        visible: whether the progress of training is shown, where standard error is a terminal.

    Returns:
        The path of the record; by default one that exists already is left as it is.

    Raises:
        ValueError: for an unknown agent or experiment, settings that it does not take, or a seed out of range.
        OSError: when the folder cannot be written.
    """
    what, chosen = experiments.find(experiment), references.settings_of(settings)
    seed = checks.integer("seed", seed, 0, 2**31 - 1)
    job = Job(agent, experiment, seed, str(checks.folder("folder", folder)), data, settings=settings)
    path = job.path
    if evaluation is not None:
        evaluation = _evaluation_seeds(evaluation, what)
    if path.is_file() and not checks.flag("overwrite", overwrite):
        return path
    about = references.origin(agent, chosen)
    with progress(what.timesteps, str(job)) if visible else nullcontext() as observer:
        player, _ = prepare(agent, what, seed, data, chosen, (observer,) if observer else ())
        began = time.process_time(), time.monotonic()  # packages are imported by now
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # before the work, not after it
            raise OSError(
                f"Cannot write results to {path.parent} ({error.strerror}); choose another folder."
            ) from error
        with executors.limited_threads():
            learn(player, what.timesteps)
            record = play_record(player, job.name, experiment, seed, data, evaluation, about)
    write_record(path, record)
    seconds, wall = time.process_time() - began[0], time.monotonic() - began[1]
    add_cost(Path(folder), job.name, experiment, seed, seconds, wall)
    return path


def _evaluation_seeds(seeds: Any, what: experiments.Experiment) -> list[int]:
    """Return a seed for each episode; those of a board have more bits than an integer of numpy's.

    Raises:
        ValueError: there is not one for each episode, or one is no integer of at least 0.
    """
    listed = list(seeds) if isinstance(seeds, (list, tuple, range)) or np.ndim(seeds) == 1 else []
    if len(listed) != what.episodes or isinstance(seeds, np.ma.MaskedArray):
        raise checks.refusal("evaluation", seeds, f"{what.episodes} integers of at least 0, one for each episode")
    return [checks.integer("evaluation", seed, 0) for seed in listed]


def play_record(
    player: Any,
    agent: str,
    experiment: str,
    seed: int,
    data: str | None = None,
    evaluation: Sequence[int] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Record:
    """Let a trained agent play its evaluation episodes, and return the record under the agent's name.

    The header's provenance holds `about`, what there is to say of the agent.

    Raises:
        ValueError: for an unknown experiment, or an action outside the action space.
    """
    what = experiments.find(experiment)
    spec, seeds = what.spec(), what.evaluation_seeds(seed) if evaluation is None else list(evaluation)
    digest = track_digest(what, data)
    made_with = provenance() | ({"agent": dict(about)} if about else {})
    if what.simulated:
        episodes, returns = play_simulators(player, what, seeds)
        scores = declared_scores(what, returns)
        return Record(agent, experiment, seed, spec, digest, made_with, episodes, scores.tolist())
    envs = gym.make_vec(what.env_id, num_envs=what.episodes, **what.make_kwargs(data))
    options = {what.options[0]: np.array(what.options[1])} if what.options else {}
    episodes = play(player, envs, seeds, options)
    core = envs.unwrapped.core  # type: ignore[attr-defined]
    scores = scores_of(what, core, replay(core, episodes, spec["max_episode_steps"], options), {})
    return Record(agent, experiment, seed, spec, digest, made_with, episodes, scores.tolist())


def jobs(
    agents: Iterable[str] | None,
    names: Iterable[str],
    folder: str | Path,
    seeds: Iterable[int] | None = None,
    data: str | None = None,
    draw: Callable[[str, int], tuple[int, ...]] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Return the runs of some agents on some experiments.

    Args:
        agents: texts that name them (`valuegym.agents.references`); None for those of each track.
        names: of the experiments.
        folder: of the results.
        seeds: of the runs; None for all of each experiment.
        data: folder of human data, where an experiment needs it.
        draw: draw(experiment, run) gives the seeds of the evaluation episodes; None for the experiment's own.
        settings: of the agents' constructors, None for none.

    Raises:
        ValueError: for an unknown agent or experiment, or settings that are no JSON.
    """
    text = references.settings_text(settings or {})
    chosen = []
    for name in names:
        what = experiments.find(name)
        for agent in what.agents if agents is None else agents:
            references.check(agent)
            for seed in what.seeds if seeds is None else seeds:
                chosen.append(Job(agent, name, seed, str(folder), data, draw(name, seed) if draw else None, text))
    return chosen


def _work(job: Job, visible: bool = False) -> Path:
    return run(*job, visible=visible)


def run_all(chosen: Sequence[Job], workers: int = 2, executor: str = "pool") -> list[Path]:
    """Run jobs in parallel; those whose record exists are skipped, so a killed call continues where it stopped.

    One after another in this process, each shows the progress of its training on a terminal. What a write that was
    killed left behind is removed. A job that fails stops no other.

    Raises:
        ValueError: for an unknown executor.
        JobsFailed: when all jobs are through and some failed; it names them.
        OSError: where worker processes die before they work on anything, or a Ray cluster is gone.
        KeyboardInterrupt: saying how many runs are finished and kept.
    """
    todo = [job for job in chosen if job.overwrite or not job.path.is_file()]
    for folder in {job.path.parent for job in chosen}:
        remove_stale_temporaries(folder)
    try:
        work = partial(_work, visible=True) if executor == "serial" else _work
        executors.parallel_map(experiments.in_workers(work), todo, workers, "running", executor)
    except KeyboardInterrupt:
        kept = sum(job.path.is_file() for job in chosen)
        raise KeyboardInterrupt(f"{kept} of {len(chosen)} runs are finished and kept") from None
    return [job.path for job in chosen]
