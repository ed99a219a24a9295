"""Scores in wandb: one run per submission, offline by default, complete either way.

wandb runs in a process of its own. It keeps settings, credentials and a background service for the life of a process,
asks for a key if it sees a terminal, and prints; in a child process none of that reaches the caller or its open run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym._version import __version__
from valuegym.envs import extras
from valuegym.envs.functional import load
from valuegym.leaderboards.records.record import Record, write_atomically
from valuegym.leaderboards.records.submission import open_submission
from valuegym.leaderboards.standings.gather import Score, gather_scores
from valuegym.leaderboards.stats.bootstrap import estimates, interquartile_mean
from valuegym.leaderboards.tracking.offline_run import read_offline, relocate
from valuegym.leaderboards.trust.judgement import Judgement

__all__ = [
    "TrackedRun",
    "child_environment",
    "in_child",
    "log_agents",
    "log_scores",
    "log_submission",
    "read_offline",
    "relocate",
    "shortened",
    "start_run",
    "summary",
    "sync_offline",
]

TAG, ARTIFACT = 64, 128  # the most letters that wandb takes
INIT_TIMEOUT = 10.0  # s, to reach the server before the run goes offline
FINISH_TIMEOUT = 600.0  # s, to upload
PASSED_ON = (  # the rest of WANDB_* describes the caller's own runs
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_CONFIG_DIR",
    "WANDB_CREDENTIALS_FILE",
    "WANDB_ENTITY",
    "WANDB_HTTP_PROXY",
    "WANDB_HTTPS_PROXY",
    "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_INSECURE_DISABLE_SSL",
)
COLUMNS: list[str | int] = [
    "experiment",
    "status",
    "seed",
    "evaluation_point",
    "episodes",
    "interquartile_mean",
    "mean",
]


@dataclass(frozen=True)
class TrackedRun:
    """Place of a submission's run, and how it was written."""

    mode: str  # "online" or "offline": what happened, not what was requested
    directory: Path  # the run's own folder
    url: str | None  # None offline
    message: str  # one sentence for people


def log_scores(
    scores: Sequence[Score],
    files: Sequence[str | os.PathLike[str]],
    directory: str | os.PathLike[str],
    mode: str | None = None,
    project: str = "valuegym",
    entity: str | None = None,
    config: Mapping[str, Any] | None = None,
    kind: str = "records",
) -> TrackedRun:
    """Log one agent's scores and the records they come from as one wandb run.

    The run's summary has `score/<experiment>/<evaluation point>`, `.../low` and `.../high`; its table
    `scores` has a row per experiment, seed and evaluation point; its artifact `<agent>-<kind>` holds the files. An
    offline run can be moved: its folder holds everything, and `sync_offline` (`valuegym sync`) uploads it.

    There is one run for each agent and kind, and each submission, of a project: another call from the same directory
    writes it again under the same id, online or offline, and an offline run takes the place of the one before.

    Args:
        scores: of one agent, one for each experiment.
        files: record files, kept as an artifact under their paths from the deepest folder they share.
        directory: where wandb's folder is made.
        mode: "offline", "online", or None for online where the variable WANDB_MODE says so and offline otherwise.
            Where online finds no key or no server the run is written offline, and the message says why.
        project: wandb project.
        entity: wandb user or team; None for the key's own.
        config: anything JSON can hold, added to the run's config: digests, arguments, versions.
        kind: what the files are, the artifact's type: "records" or "submission".

    Raises:
        ImportError: if wandb is not installed.
        FileNotFoundError: if a file is missing.
        TypeError: for a config that JSON cannot hold, such as one with a number that is not finite.
        ValueError: for no scores, scores of several agents, two scores on one experiment, or an unknown mode.
        RuntimeError: if wandb fails for another reason.
    """
    mode = mode or ("online" if os.environ.get("WANDB_MODE") == "online" else "offline")
    if mode not in ("offline", "online"):
        raise ValueError(f"mode is {mode!r}, expected 'offline' or 'online'.")
    request = _request(scores, [Path(file).resolve() for file in files], config or {}, kind)
    folder = Path(directory).resolve()
    request |= {"mode": mode, "directory": str(folder), "project": project, "entity": entity}
    request |= {"init_timeout": INIT_TIMEOUT, "finish_timeout": FINISH_TIMEOUT}
    try:
        json.dumps(request)
        _require_finite(request["config"], "config")
    except (TypeError, ValueError) as error:  # a dict that holds itself is a ValueError
        raise TypeError(
            f"config cannot be written as JSON: {error}; use text, finite numbers, lists, dicts."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    request["id"] = _id_of(folder, [entity or "", project, kind, request["name"], request["config"].get("submission")])
    here = folder / "wandb"
    before = set(here.glob(f"run-*-{request['id']}"))
    try:
        answer = in_child(f"{__name__}:_write_run", request, folder, mode)
        if reason := answer.get("reason", ""):  # in a process of its own, because in one wandb uses an id but once
            answer = in_child(f"{__name__}:_write_run", request | {"mode": "offline"}, folder, "offline")
            answer["message"] = f"{reason}, so the run was written offline. {answer['message']}"
            for abandoned in set(here.glob(f"run-*-{request['id']}")) - before:
                shutil.rmtree(abandoned, ignore_errors=True)
    except RuntimeError as error:
        raise RuntimeError(f"wandb could not write the run of {request['name']}: {error}") from None
    return TrackedRun(answer["mode"], Path(answer["directory"]), answer["url"], answer["message"])


def in_child(
    function: str, request: dict[str, Any], folder: Path, mode: str, patience: float | None = None
) -> dict[str, Any]:
    """Answer a request by a function of this suite ("module:name"), JSON to JSON, in a process of its own.

    Raises:
        ImportError: if wandb is not installed.
        RuntimeError: with wandb's last words, or if it took more than `patience` seconds.
    """
    spec = importlib.util.find_spec("wandb")
    if spec is None or spec.origin is None:  # a plain folder called wandb, full of runs, has no origin
        raise ImportError(f"Tracking needs wandb, which is not installed: {extras.hint('tracking')}.")
    command = "import sys; from valuegym.leaderboards.tracking.log import _child; _child(sys.argv[1])"
    try:
        finished = subprocess.run(
            [sys.executable, "-c", command, function],
            input=json.dumps(request),
            env=child_environment(folder, mode),
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the server did not answer within {patience:g} s") from None
    if finished.returncode:
        words = (finished.stderr.strip() or f"exit status {finished.returncode}").splitlines()[-1]
        raise RuntimeError(shortened(words, 500))
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer


def log_submission(
    judgement: Judgement,
    directory: str | os.PathLike[str],
    mode: str | None = None,
    project: str = "valuegym",
    entity: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> TrackedRun:
    """Log an accepted submission as one run: its scores, its card and tier in the config, the file as an artifact.

    Args:
        judgement: of the submission.
        directory: where wandb's folder is made.
        mode: "offline", "online" or None, as in `log_scores`.
        project: wandb project.
        entity: wandb user or team; None for the key's own.
        about: more for the config, such as the head of the ledger that holds the verdict.

    Raises:
        ValueError: for a rejected submission.
        Exception: whatever `log_scores` raises.
    """
    if judgement.reason:
        raise ValueError(f"{judgement.path} was rejected ({judgement.reason}), so there is nothing to log.")
    submission = open_submission(judgement.path)
    records = [verdict.record for verdict in judgement.verdicts if verdict.record is not None]
    config = {
        "submission": judgement.digest,
        "tier": judgement.tier,
        "limit": judgement.limit,
        "commitment": judgement.commitment,
        "card": asdict(submission.card),
        "digests": {record.experiment: record.digest for record in records},
        "versions": submission.manifest["provenance"],
        **(about or {}),
    }
    scores = gather_scores(records, judgement.tier)
    return log_scores(scores, [judgement.path], directory, mode, project, entity, config, "submission")


def log_agents(
    records: Sequence[tuple[Path, Record]], scores: Sequence[Score], directory: str | os.PathLike[str], mode: str
) -> Iterator[tuple[str, TrackedRun]]:
    """Log one run for each agent that is not a reference; yields its name and its run.

    Args:
        records: of any agents, with their files.
        scores: of these records, one for each agent and experiment.
        directory: where wandb's folder is made.
        mode: "offline" or "online".

    Raises:
        Exception: whatever `log_scores` raises.
    """
    digests = {record.experiment: record.digest for _, record in records}
    for agent in dict.fromkeys(score.agent for score in scores if score.role == "agent"):
        files = [path for path, record in records if record.agent == agent]
        own = [score for score in scores if score.agent == agent]
        yield agent, log_scores(own, files, directory, mode=mode, config={"digests": digests})


def summary(score: Score) -> dict[str, float]:
    """Return the scalars logged for a score: point estimate and interval at each evaluation point, if it has any."""
    scalars: dict[str, float] = {}
    for queries, (point, low, high) in zip(score.evaluation_points, _estimates(score), strict=True):
        key = f"score/{score.experiment}/{queries}"
        scalars |= {key: point, f"{key}/low": low, f"{key}/high": high}
    return {key: float(value) for key, value in scalars.items() if np.isfinite(value)}


def _estimates(score: Score) -> NDArray[np.float64]:
    """Return `estimates`, NaN where no run has a defined score."""
    return estimates(score.values) if len(score.values) else np.full((len(score.evaluation_points), 3), np.nan)


def _request(scores: Sequence[Score], files: Sequence[Path], config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Collect all that the child process needs, as JSON holds it."""
    agents = sorted({score.agent for score in scores})
    if len(agents) != 1:
        raise ValueError(f"scores are of {len(agents)} agents {agents}, expected one; log each agent by itself.")
    experiments = [score.experiment for score in scores]
    if len(set(experiments)) < len(experiments):
        raise ValueError(f"scores name experiments {experiments}, expected each once.")
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"Record file {missing[0]} does not exist.")
    shared = os.path.commonpath([file.parent for file in files]) if files else ""
    tiers = [score.standing.text(len(score.seeds)) for score in scores]
    undefined = {score.experiment: score.undefined[0] for score in scores if any(score.undefined)}
    tags = [f"valuegym-{__version__}", *experiments, *sorted(set(tiers))]
    return {
        "name": agents[0],
        "tags": [_fitted(tag, TAG) for tag in tags],
        "config": {
            "agent": agents[0],
            "suite_version": __version__,
            "experiments": experiments,
            "status": {score.experiment: score.status for score in scores},
            "seeds": {score.experiment: [int(seed) for seed in score.seeds] for score in scores},
            **({"undefined_episodes": undefined} if undefined else {}),
            **config,
        },
        "summary": {key: value for score in scores for key, value in summary(score).items()},
        "rows": [row for score in scores for row in _rows(score)],
        "artifact": re.sub(r"[^\w.-]", "-", _fitted(f"{agents[0]}-{kind}", ARTIFACT), flags=re.ASCII),
        "kind": kind,
        "files": {Path(file).relative_to(shared).as_posix(): str(file) for file in files},
    }


def _fitted(name: str, room: int) -> str:
    """Return a name of at most so many letters: a longer one ends with its hash, so that no two become one."""
    return name if len(name) <= room else f"{name[: room - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def shortened(words: str, room: int) -> str:
    """Return a message of at most so many letters: of a longer one the middle is left out, which is often a name."""
    return words if len(words) <= room else f"{words[: room // 2 - 1]}…{words[len(words) - room // 2 :]}"


def _require_finite(value: Any, place: str) -> None:
    """Refuse numbers that JSON cannot hold: wandb writes null for NaN, and infinity as it is.

    Raises:
        ValueError: naming the place.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}")
    for key, part in value.items() if isinstance(value, dict) else ():
        _require_finite(part, f"{place}[{key!r}]")
    for i, part in enumerate(value) if isinstance(value, list | tuple) else ():
        _require_finite(part, f"{place}[{i}]")


def _id_of(folder: Path, about: Sequence[Any]) -> str:
    """Return the id of the run about something, drawn once and kept in the folder: no other folder has it."""
    path, key = folder / "wandb" / "ids.json", json.dumps(about)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        known = kept.get(key, "")
    except (OSError, ValueError, AttributeError):
        kept, known = {}, ""
    if isinstance(known, str) and re.fullmatch(r"[0-9a-f]{8}", known):
        return known
    write_atomically(path, json.dumps(kept | {key: (drawn := secrets.token_hex(4))}, indent=1))
    return drawn


def sync_offline(folder: str | os.PathLike[str]) -> Iterator[tuple[Path, str]]:
    """Upload offline runs, wherever they were moved to: one run's folder, or all in a results folder.

    Each is mended by `relocate` and uploaded by wandb's own `sync`, which writes a run of the same id again.

    Returns:
        The folder of each run, and "" or why it was not uploaded.

    Raises:
        FileNotFoundError: where there is no offline run.
        ImportError: if wandb is not installed.
    """
    given = Path(folder).resolve()
    found = sorted({log.parent for log in given.rglob("run-*.wandb") if log.parent.name.startswith("offline-run-")})
    if not found and not list(given.glob("run-*.wandb")):
        raise FileNotFoundError(f"There are no offline runs in {folder}; `valuegym leaderboard` writes them.")
    for run in found or [given]:
        try:
            relocate(run)
            in_child(f"{__name__}:_sync_run", {"run": str(run)}, run.parent, "online", FINISH_TIMEOUT)
        except (OSError, ValueError, RuntimeError) as error:
            yield run, str(error)
        else:
            yield run, ""


def _sync_run(request: dict[str, Any]) -> dict[str, Any]:
    """Sync a run from its beginning, whatever of it was synced before.

    Raises:
        RuntimeError: with wandb's own words. Its exit status says nothing, but it leaves a mark beside what it synced.
    """
    folder = Path(request["run"])
    for mark in (*folder.glob("*.synced"), *folder.glob("*.syncstate")):
        mark.unlink()
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", str(folder)]
    loud = {name: value for name, value in os.environ.items() if name != "WANDB_SILENT"}
    done = subprocess.run(command, cwd=folder, env=loud, capture_output=True, encoding="utf-8", check=False)
    if not list(folder.glob("*.synced")):
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise RuntimeError(f"wandb sync did not take it: {shortened(said[-1] if said else 'no word', 500)}")
    return {}


def _rows(score: Score) -> list[list[Any]]:
    return [
        [
            score.experiment,
            score.status,
            int(seed),
            int(queries),
            len(own),
            float(interquartile_mean(own)),
            float(own.mean()),
        ]
        for s, seed in enumerate(score.seeds)
        for r, queries in enumerate(score.evaluation_points)
        for own in [score.values[s, ~np.isnan(score.values[s, :, r]), r]]
    ]


def child_environment(folder: Path, mode: str) -> dict[str, str]:
    """Return the child's environment variables: the caller's, without what describes its own wandb runs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_") or key in PASSED_ON}
    kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    kept |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    kept["WANDB_CACHE_DIR"] = str(folder / "wandb" / "cache")
    if mode == "offline":  # online, the user's own settings may name the server
        kept["WANDB_CONFIG_DIR"] = str(folder / "wandb" / "config")
    return kept


def _child(function: str) -> None:
    """Answer one request: JSON on standard input and output."""
    answer, sys.stdout = sys.stdout, sys.stderr
    result = load(function)(json.load(sys.stdin))
    answer.write(json.dumps(result))
    answer.flush()


def _write_run(request: dict[str, Any]) -> dict[str, Any]:
    """Write a run; answers where it is, or only the reason why the server did not take it."""
    import wandb

    run, reason = start_run(wandb, request)
    if run is None:
        return {"reason": reason}
    folder = Path(run.dir).resolve().parent
    earlier = [other for other in _offline_runs(request) if other != folder]
    os.environ["WANDB_DATA_DIR"] = str(folder / "data")  # copies of artifact files stay with their run
    run.log({"scores": wandb.Table(columns=COLUMNS, data=request["rows"])})
    run.summary.update(request["summary"])
    if request["files"]:
        artifact = wandb.Artifact(request["artifact"], type=request["kind"])
        for name, file in request["files"].items():
            artifact.add_file(file, name=name)
        logged = run.log_artifact(artifact)
        try:  # finishing keeps silent about a server that is gone
            logged.wait(timeout=int(request["finish_timeout"])) if run.url else None
        except Exception as error:  # of several kinds, by version
            run.finish(exit_code=1)
            return {"reason": f"The wandb server did not take all of the run ({_sentence(error)})"}
    url = run.url
    run.finish()
    for other in earlier:  # only now is there a whole one in its place
        shutil.rmtree(other, ignore_errors=True)
    where = f"Logged online at {url}." if url else f"Logged offline; to upload: valuegym sync {folder}"
    mode = "online" if url else "offline"
    return {"mode": mode, "directory": str(folder), "url": url, "message": where}


def _offline_runs(request: dict[str, Any]) -> list[Path]:
    """Return the folders of offline runs that have the id of the requested one."""
    return sorted((Path(request["directory"]) / "wandb").glob(f"offline-run-*-{request['id']}"))


def start_run(wandb: Any, request: dict[str, Any]) -> tuple[Any, str]:
    """Open a run; returns it and "", or None and why the server did not take it."""
    wanted = {
        "console": "off",
        "disable_code": True,
        "disable_git": True,
        "finish_timeout": request["finish_timeout"],
        "init_timeout": request["init_timeout"],
        "silent": True,
        "x_disable_machine_info": True,  # a public board has no use for host and user names
        "x_disable_stats": True,
    }
    supported = wandb.Settings.model_fields  # some of these are younger than the oldest wandb supported
    settings = wandb.Settings(**{key: value for key, value in wanted.items() if key in supported})
    arguments = {key: request[key] for key in ("name", "tags", "config", "project", "entity")}
    arguments |= {"dir": request["directory"], "job_type": "leaderboard", "settings": settings}
    arguments["id"] = request["id"]
    before = (Path(request["directory"]) / "wandb").glob(f"*run-*-{request['id']}")
    if any(time.time() - one.stat().st_mtime < 2 for one in before):
        time.sleep(2)  # the folders of runs are named by the second
    if request["mode"] == "offline":
        return wandb.init(mode="offline", **arguments), ""
    try:
        return wandb.init(mode="online", **arguments), ""
    except wandb.errors.UsageError as error:
        return None, f"wandb has no API key ({_sentence(error)})"
    except wandb.errors.CommError as error:
        return None, f"The wandb server did not accept the run ({_sentence(error)})"


def _sentence(error: Exception) -> str:
    return shortened(" ".join(str(error).split()).rstrip("."), 200)
