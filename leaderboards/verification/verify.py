"""Verification: is a record true? Everything is rebuilt from this installation's own registry.

A record is compared, never obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.envs import ENVS
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.fingerprint import provenance, track_digest
from valuegym.leaderboards.records.record import Record, RecordError, read_record
from valuegym.leaderboards.records.strict_json import printable
from valuegym.leaderboards.verification import reference_cache
from valuegym.leaderboards.verification.replay import replay
from valuegym.leaderboards.verification.scores import References, declared_scores, scores_of, simulated_returns

__all__ = [
    "Candidate",
    "Verdict",
    "batches",
    "check",
    "episode_limit",
    "record_files",
    "verify",
    "verify_all",
    "verify_candidates",
    "verify_together",
]

MAX_BATCH = 2**24  # bytes of records that are replayed together


class Verdict(NamedTuple):
    """The result of verifying one record file.

    Attributes:
        path: of the file, or the name of a submission's member.
        reason: why it was rejected, "" if it is true.
        warnings: differences that do not matter by themselves.
        record: the record, None if it was rejected.
        claimed: whether its rewards were taken as they are, for the environment does not repeat itself.
    """

    path: str
    reason: str
    warnings: tuple[str, ...] = ()
    record: Record | None = None
    claimed: bool = False


class Candidate(NamedTuple):
    """A record to be replayed.

    Attributes:
        path: where it is.
        record: as read.
        seeds: those that its episodes must have, None for the experiment's public ones.
    """

    path: str
    record: Record
    seeds: Sequence[int] | None = None


def check(record: Record, data: str | None = None, seeds: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
    """Return the scores (E, P) of a record, recomputed from its actions.

    Args:
        record: as read.
        data: folder of human data, where the experiment needs it.
        seeds: those that its episodes must have; by default the experiment's own.

    Raises:
        RecordError: if anything in it is not as this installation has it.
    """
    _check_header(record, data, seeds)
    return _replayed([record], data, {})[0]


def episode_limit(experiment: str) -> int | None:
    """Return how many steps an episode of an experiment may have, None for any number.

    Raises:
        RecordError: there is no such experiment here.
    """
    limit: int | None = _known(experiment).spec()["max_episode_steps"]
    return limit


def _known(experiment: str) -> experiments.Experiment:
    try:
        return experiments.find(experiment)
    except ValueError:
        raise RecordError(f"there is no experiment {printable(experiment, 80)} here; {experiments.NAME_IT}") from None


def _check_header(record: Record, data: str | None, seeds: Sequence[int] | None) -> None:
    """Raise RecordError unless the header and the seeds are as this installation has them."""
    what = _known(record.experiment)
    if record.seed not in what.seeds:
        raise RecordError(f"seed {record.seed} is not one of the experiment's seeds {what.seeds}.")
    if record.spec != what.spec():
        raise RecordError("the environment's spec is not the one registered here.")
    if record.digest != track_digest(what, data):
        raise RecordError("the environment digest differs: the record was made with another environment or other data.")
    seeds = what.evaluation_seeds(record.seed) if seeds is None else list(seeds)
    played = [episode.seed for episode in record.episodes]
    if len(played) != len(seeds):
        raise RecordError(f"the record has {len(played)} episodes; expected {len(seeds)}.")
    if played != seeds:
        raise RecordError(f"the episodes' seeds are not the expected ones, {seeds[0]} to {seeds[-1]}.")


def _replayed(records: Sequence[Record], data: str | None, cached: References) -> list[np.ndarray[Any, Any]]:
    """Return the scores (E, P) of records of one experiment, all played at once.

    Cached references are not computed again, and what is computed is added to them.

    Raises:
        RecordError: if any of the records is not true.
    """
    what, counts = experiments.find(records[0].experiment), [len(record.episodes) for record in records]
    episodes = [episode for record in records for episode in record.episodes]
    if what.simulated:
        together, tolerance = declared_scores(what, simulated_returns(what, episodes)), 1e-6
    else:
        env: Any = gym.make(what.env_id, **what.make_kwargs(data)).unwrapped
        options = {what.options[0]: np.tile(what.options[1], len(records))} if what.options else {}
        found = replay(env.core, episodes, what.spec()["max_episode_steps"], options)
        together, tolerance = scores_of(what, env.core, found, cached), 1e-9
    scores = np.split(together, np.cumsum(counts)[:-1])
    for record, own in zip(records, scores, strict=True):
        claimed = np.array(record.scores, np.float64) if len({len(row) for row in record.scores}) == 1 else np.zeros(0)
        if claimed.shape != own.shape or not np.allclose(claimed, own, 0, tolerance, equal_nan=True):
            raise RecordError("the scores are not those that the actions earn.")
    return scores


def _reason(records: Sequence[Record], data: str | None, cached: References) -> str:
    """Return why the records are not all true; "" where they are."""
    try:
        _replayed(records, data, cached)
    except (ValueError, OSError) as error:
        return str(error) or type(error).__name__
    return ""


def verify_candidates(candidates: Sequence[Candidate], data: str | None = None) -> list[Verdict]:
    """Replay records and return verdicts in their order; those of one experiment are played together, which is fast.

    Where one of them is not true, each is played by itself, so that no record's verdict depends on another's.
    """
    reasons = [""] * len(candidates)
    groups: dict[tuple[str, bool], list[int]] = {}
    for place, candidate in enumerate(candidates):
        try:
            _check_header(candidate.record, data, candidate.seeds)
            groups.setdefault((candidate.record.experiment, candidate.seeds is None), []).append(place)
        except (ValueError, OSError) as error:
            reasons[place] = str(error) or type(error).__name__
    for (name, public), places in groups.items():
        digest = candidates[places[0]].record.digest  # is this installation's own
        kept = public and experiments.find(name).env_id in ENVS  # the code of others may change at any time
        before = reference_cache.load(digest) if kept else {}
        cached = dict(before)
        untrue = _reason([candidates[place].record for place in places], data, cached)
        for place in places if untrue else ():
            reasons[place] = _reason([candidates[place].record], data, cached) if len(places) > 1 else untrue
        if kept and len(cached) > len(before):
            reference_cache.save(digest, cached)
    return [
        Verdict(candidate.path, reason) if reason else _accepted(candidate.path, candidate.record)
        for candidate, reason in zip(candidates, reasons, strict=True)
    ]


def verify(path: str | Path, data: str | None = None) -> Verdict:
    """Replay one record file. Damaged, edited and hostile files give a verdict with the reason, not an exception."""
    return verify_together([str(path)], data)[0]


def verify_together(paths: Sequence[str], data: str | None = None) -> list[Verdict]:
    """Replay several record files; damaged and hostile ones give a verdict, not an exception."""
    found: dict[str, Verdict] = {}
    candidates = []
    for path in paths:
        try:
            candidates.append(Candidate(path, read_record(Path(path), episode_limit)))
        except (ValueError, OSError) as error:
            found[path] = Verdict(path, str(error) or type(error).__name__)
    found |= {verdict.path: verdict for verdict in verify_candidates(candidates, data)}
    return [found[path] for path in paths]


def _accepted(path: str, record: Record) -> Verdict:
    """Return the verdict on a record that is true, with the differences that do not matter by themselves."""
    here, what = provenance(), experiments.find(record.experiment)
    differs = [name for name in ("source", "valuegym") if record.provenance.get(name) != here[name]]
    return Verdict(
        path, "", tuple(f"{name} differs from this installation's" for name in differs), record, not what.replayable
    )


class _Batch(NamedTuple):
    """Record files that are replayed together."""

    paths: Sequence[str]
    data: str | None

    def __str__(self) -> str:
        """Name the files for people."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"replaying {self.paths[0]}{more}"


def _work(batch: _Batch) -> list[Verdict]:
    return verify_together(*batch)


def batches(runs: Sequence[tuple[str, str]], sizes: Sequence[int], workers: int) -> list[list[int]]:
    """Group records that are to be replayed together: each batch holds one track, in the order of the seeds.

    Runs of one seed stay together, for their references are the same. Every worker gets a part of a track, and none
    gets more than MAX_BATCH bytes at once, unless a single record has more.

    Args:
        runs: track and seed of each record.
        sizes: of each record in bytes.
        workers: parallel processes.

    Returns:
        The batches, each a list of places in `runs`.
    """
    grouped: dict[str, list[int]] = {}
    for place in sorted(range(len(runs)), key=lambda place: runs[place][1]):
        grouped.setdefault(runs[place][0], []).append(place)
    found: list[list[int]] = []
    for places in grouped.values():
        room, used = min(MAX_BATCH, -(-sum(sizes[place] for place in places) // workers)), MAX_BATCH + 1
        for place in places:
            if used + sizes[place] > room:
                found.append([])
                used = 0
            found[-1].append(place)
            used += sizes[place]
    return found


def record_files(folder: str | Path) -> list[Path]:
    """Return the record files in a results folder (or the file itself), sorted.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = Path(folder)
    found = [folder] if folder.is_file() else sorted(folder.rglob("seed-*.jsonl"))
    if not found:
        raise FileNotFoundError(f"There are no records in {folder}; `valuegym run` writes them.")
    return found


def verify_all(folder: str | Path, data: str | None = None, workers: int = 2) -> list[Verdict]:
    """Replay every record of a folder in fresh processes.

    Raises:
        FileNotFoundError: if there is none.
        JobsFailed: if worker processes die again and again.
    """
    paths = record_files(folder)
    runs = [(str(path.parent.parent), path.name) for path in paths]
    together = batches(runs, [path.stat().st_size for path in paths], workers)
    work = [_Batch([str(paths[place]) for place in places], data) for places in together]
    found = {
        v.path: v
        for part in executors.parallel_map(experiments.in_workers(_work), work, workers, "verifying")
        for v in part
    }
    return [found[str(path)] for path in paths]
