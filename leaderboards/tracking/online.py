"""Reading wandb projects: the open inbox, where anybody logs submissions, and the public board of what was verified.

wandb's own client asks the server, in a process of its own as in `log`, and waits while the server is busy. What was
read is kept in a folder: for `max_age` seconds the server is not asked again, and where no server answers the copy
stands in. Nothing that a stranger logged is trusted: numbers of an inbox are claims, and of its artifacts only
plain files of the kind "submission" are fetched, up to a size, for `judge` to judge.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.records.strict_json import printable
from valuegym.leaderboards.records.submission import MAX_FILE
from valuegym.leaderboards.tracking.log import in_child
from valuegym.leaderboards.trust.ledger import Ledger
from valuegym.leaderboards.trust.tiers import TIERS

__all__ = [
    "MAX_AGE",
    "OnlineRun",
    "Reading",
    "fetch_submissions",
    "publish_report",
    "read_project",
    "render",
]

MAX_AGE = 300.0  # s for which a copy is used without asking the server
PATIENCE = 180.0  # s for all attempts at one request together
PAGE = 100  # runs in one request
MAX_RUNS = 10_000
NOBODY = "All scores are as claimed; with a board's ledger (--board) the tiers that it verified are shown."
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}/[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class OnlineRun:
    """A run of a project as the server describes it: nothing in it is checked."""

    id: str
    name: str
    state: str  # "finished", "running", "failed", ...
    created: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """Runs of a project, and in one sentence where they were read from and when."""

    runs: tuple[OnlineRun, ...]
    message: str


def read_project(
    project: str, folder: str | Path, max_age: float = MAX_AGE, tags: Sequence[str] = (), patience: float = PATIENCE
) -> Reading:
    """Read the finished leaderboard runs of a project, oldest first.

    Args:
        project: "entity/project".
        folder: where copies of what was read are kept.
        max_age: s; a younger copy is taken without asking the server, 0 to ask in any case.
        tags: only runs that have all of these.
        patience: s, for the server to answer; it is asked again while it is busy.

    Raises:
        ValueError: for a project that is not ENTITY/PROJECT.
        ImportError: if wandb is not installed.
        OSError: if the server does not answer and there is no copy, with the reason.
    """
    copy = Path(folder) / "wandb" / "read" / f"{_checked(project).replace('/', '--')}.json"
    held = _copy(copy)
    if held and 0 <= time.time() - held["time"] < max_age:  # a clock may have been put back
        return _reading(held, tags, f"{project}: as read at {_clock(held)}.")
    try:
        found = in_child(f"{__name__}:_read_runs", {"project": project}, Path(folder), "online", patience)
    except RuntimeError as error:
        if not held:
            raise OSError(f"{project} could not be read, and there is no earlier copy: {error}") from None
        return _reading(held, tags, f"{project}: as read at {_clock(held)}; now it could not be read: {error}")
    held = {"time": time.time(), "runs": found["runs"]}
    write_atomically(copy, json.dumps(held))
    return _reading(held, tags, f"{project}: {len(held['runs'])} runs read.")


def fetch_submissions(project: str, run: str, folder: str | Path, patience: float = 10 * PATIENCE) -> list[Path]:
    """Download the submissions of one run into a folder, under the run's own name; returns their paths.

    References to other places, other files, and what is too large are left where they are.

    Raises:
        ValueError: for a project that is not ENTITY/PROJECT, or an invalid run id.
        OSError: where the server does not give them.
    """
    if not RUN.fullmatch(run):
        raise ValueError(f"{printable(run)} is not the id of a run; expected letters, digits, hyphens and underscores.")
    target = Path(folder) / run
    request = {"project": _checked(project), "run": run, "target": str(target)}
    try:
        found = in_child(f"{__name__}:_download", request, Path(folder), "online", patience)
    except RuntimeError as error:
        raise OSError(f"The submissions of run {run} of {project} could not be fetched: {error}") from None
    return [Path(path) for path in found["files"]]


def publish_report(project: str, title: str, text: str, folder: str | Path, patience: float = PATIENCE) -> str:
    """Publish a Markdown text as a wandb report of a project, by the package wandb-workspaces; returns its address.

    Raises:
        ValueError: for a project that is not ENTITY/PROJECT.
        ImportError: if wandb-workspaces is not installed.
        OSError: where the server does not take it.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ImportError("Reports on wandb need its package wandb-workspaces, which is not installed.")
    request = {"project": _checked(project), "title": title, "text": text}
    try:
        return str(in_child(f"{__name__}:_publish", request, Path(folder), "online", patience)["url"])
    except RuntimeError as error:
        raise OSError(f"The report could not be published in {project}: {error}") from None


def render(reading: Reading, ledger: Ledger | None = None) -> str:
    """Render the runs of a project by track: strongest tier first, then the best score at the last evaluation point.

    A tier is that of the ledger's verdict on the run's submission, "claimed" without one: what a run says of itself is
    a stranger's word, and its scores are as claimed.
    """
    verdicts = {e.body["submission"]: e.body["tier"] for e in ledger.accepted()} if ledger else {}
    tracks: dict[str, list[tuple[int, float, str]]] = {}
    for run in reading.runs:
        strength = TIERS.index(verdicts.get(str(run.config.get("submission")), "claimed"))
        for track, (queries, point, low, high) in _last_scores(run.summary).items():
            interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
            at = f" at {queries} preferences" if queries else ""
            line = f"  {TIERS[strength]:<10}{printable(run.name, 32)[1:-1]:<33}{point:6.2f}{interval}{at}  run {run.id}"
            tracks.setdefault(printable(track)[1:-1], []).append((-strength, -point, line))
    lines = [line for track in sorted(tracks) for line in (track, *(text for _, _, text in sorted(tracks[track])))]
    source = f"Tiers are those of {ledger.signer}." if ledger else NOBODY
    return "\n".join((*lines, *([source] if tracks else []), reading.message))


def _last_scores(summary: dict[str, Any]) -> dict[str, tuple[int, float, float | None, float | None]]:
    """Map each track to its last evaluation point, point estimate, low and high.

    They are read from the scalars `score/<track>/<evaluation point>`, `.../low` and `.../high`.
    """

    def number(key: str) -> float | None:
        value = summary.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) <= sys.float_info.max else None  # neither NaN, nor infinite, nor too large

    found: dict[str, tuple[int, float, float | None, float | None]] = {}
    for key in summary:
        match, point = re.fullmatch(r"score/(.{1,200})/(\d{1,9})", key), number(key)
        if match and point is not None and int(match[2]) >= found.get(match[1], (0,))[0]:
            found[match[1]] = int(match[2]), point, number(f"{key}/low"), number(f"{key}/high")
    return found


def _checked(project: str) -> str:
    if not PROJECT.fullmatch(project):
        raise ValueError(f"{printable(project)} is not a project; expected ENTITY/PROJECT.")
    return project


def _copy(path: Path) -> dict[str, Any] | None:
    """Load the copy of an earlier reading; None for none, or one that is damaged."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        _reading(held, (), "")
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return dict(held) if isinstance(held["time"], float) else None


def _reading(held: dict[str, Any], tags: Sequence[str], message: str) -> Reading:
    runs = (OnlineRun(**run | {"tags": tuple(run["tags"])}) for run in held["runs"])
    return Reading(tuple(run for run in runs if set(tags) <= set(run.tags)), message)


def _clock(held: dict[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(held["time"]))


# --- within the child ---


def _read_runs(request: dict[str, Any]) -> dict[str, Any]:
    """Read the finished leaderboard runs of a project, the newest MAX_RUNS of them."""
    import wandb

    api = wandb.Api(timeout=60)
    filters = {"$and": [{"jobType": "leaderboard"}, {"state": "finished"}]}
    found = api.runs(request["project"], filters=filters, order="-created_at", per_page=PAGE, lazy=False)
    runs = []
    for run, _ in zip(found, range(MAX_RUNS), strict=False):
        config = {name: value for name, value in run.config.items() if not name.startswith("_")}
        summary = {name: value for name, value in dict(run.summary._json_dict).items() if not name.startswith("_")}
        about = OnlineRun(run.id, run.name, run.state, str(run.created_at), tuple(run.tags), config, summary)
        runs.append(asdict(about))
    return {"runs": runs[::-1]}


def _download(request: dict[str, Any]) -> dict[str, Any]:
    """Download the plain files of a run's artifacts of the kind "submission"."""
    import wandb

    _limit_files(MAX_FILE)
    run = wandb.Api(timeout=60).run(f"{request['project']}/{request['run']}")
    files: list[str] = []
    for artifact in run.logged_artifacts():
        if artifact.type != "submission":
            continue
        for name, entry in artifact.manifest.entries.items():
            plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}\.zip", name) and entry.ref is None
            if plain and (entry.size or 0) <= MAX_FILE and len(files) < 10:
                files.append(str(artifact.get_entry(name).download(root=request["target"], skip_cache=True)))
    return {"files": files}


def _limit_files(size: int) -> None:
    """Let this process write no file of more bytes: what a manifest says about a file need not be true."""
    with contextlib.suppress(ImportError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        most = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))


def _publish(request: dict[str, Any]) -> dict[str, Any]:
    """Publish a report of one block of Markdown."""
    from wandb_workspaces.reports import v2  # type: ignore[import-not-found, unused-ignore]

    entity, _, project = request["project"].partition("/")
    blocks = [v2.MarkdownBlock(text=request["text"])]
    report = v2.Report(project=project, entity=entity, title=request["title"], blocks=blocks)
    report.save()
    return {"url": report.url}
