"""Verification: is a record true? Everything is rebuilt from this installation's own registry.

A record is compared, never obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.leaderboards import experiments
from valuegym.leaderboards.digest import environment_digest, provenance
from valuegym.leaderboards.records import Record, RecordError, read
from valuegym.leaderboards.replay import replay
from valuegym.leaderboards.run import spread
from valuegym.leaderboards.scores import SCORES


class Verdict(NamedTuple):
    """What became of one record file: reason is "" if it is true.

    Warnings are differences that do not matter by themselves.
    """

    path: str
    reason: str
    warnings: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def status(self) -> str:
        """The trust tier that the verdict gives."""
        return f"rejected: {self.reason}" if self.reason else "replayed"


def check(record: Record, data: str | None = None, seeds: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
    """The scores (E, R) of a record, recomputed from its actions.

    Its episodes must have the experiment's own seeds, or these where they are given.

    Raises RecordError if anything in it is not as this installation has it.
    """
    try:
        what = experiments.find(record.experiment)
    except ValueError:
        raise RecordError(f"there is no experiment {record.experiment[:80]!r} here.") from None
    if record.seed not in what.seeds:
        raise RecordError(f"seed {record.seed} is not one of the experiment's seeds {what.seeds}.")
    spec = what.spec()
    if record.spec != spec:
        raise RecordError("the environment's spec is not the one registered here.")
    if record.digest != environment_digest(what.env_id, what.arguments, data if what.data else None):
        raise RecordError("the environment digest differs: the record was made with another environment or other data.")
    seeds = what.evaluation_seeds(record.seed) if seeds is None else list(seeds)
    played = [episode.seed for episode in record.episodes]
    if len(played) != len(seeds):
        raise RecordError(f"the record has {len(played)} episodes; expected {len(seeds)}.")
    if played != seeds:
        raise RecordError(f"the episodes' seeds are not those that were due, {seeds[0]} to {seeds[-1]}.")
    env: Any = gym.make(what.env_id, **what.make_kwargs(data)).unwrapped
    options = {what.options[0]: np.array(what.options[1])} if what.options else {}
    scores = SCORES[what.score](env.core, replay(env.core, record.episodes, spec["max_episode_steps"], options))
    claimed = np.array(record.scores) if len({len(row) for row in record.scores}) == 1 else np.zeros(0)
    if claimed.shape != scores.shape or not np.allclose(claimed, scores, rtol=0, atol=1e-9):
        raise RecordError("the scores are not those that the actions earn.")
    return scores


def verify(path: str | Path, data: str | None = None) -> Verdict:
    """Replay one record file. Damaged, edited and hostile files give a verdict with the reason, not an exception."""
    try:
        record = read(Path(path))
        check(record, data)
    except (ValueError, OSError) as error:
        return Verdict(str(path), str(error) or type(error).__name__)
    return found_true(str(path), record)


def found_true(path: str, record: Record) -> Verdict:
    """The verdict on a record that was checked, with the differences that do not matter by themselves."""
    here = provenance()
    differs = [name for name in ("source", "valuegym") if record.provenance.get(name) != here[name]]
    return Verdict(path, "", tuple(f"{name} differs from this installation's" for name in differs), record)


def _work(item: tuple[str, str | None]) -> Verdict:
    return verify(*item)


def record_files(folder: str | Path) -> list[Path]:
    """The record files in a results folder (or the file itself), sorted; FileNotFoundError if there is none."""
    folder = Path(folder)
    found = [folder] if folder.is_file() else sorted(folder.rglob("seed-*.jsonl"))
    if not found:
        raise FileNotFoundError(f"There are no records in {folder}; `valuegym run` writes them.")
    return found


def verify_all(folder: str | Path, data: str | None = None, workers: int = 2) -> list[Verdict]:
    """Replay every record of a folder in fresh processes."""
    return spread(_work, [(str(path), data) for path in record_files(folder)], workers, "verifying")
