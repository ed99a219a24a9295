"""The leaderboards as a static site: plain files that need no server and ask the network for nothing.

    index.html             every board with its leader
    boards/<track>.html    plot, sortable table, what the tiers leave open, how to reproduce it
    boards/<track>.json    the table for programs
    agents.html            every agent
    agents/<name>.html     its card, its standing, its profile by tag, how to replay it
    environments.html      a picture of every environment
    trust.html             the tiers
    style.css, sort.js, environments/*.png

Each page is a template of its own in `templates/`; the functions here collect what it shows. The same scores give the
same bytes.
"""

from __future__ import annotations

import io
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from numpy.typing import NDArray

from valuegym.agents import AGENTS
from valuegym.envs import ENVS, THIRD_PARTY, extras
from valuegym.leaderboards.experiments import EXPERIMENTS
from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.site import plots
from valuegym.leaderboards.site.elements import addresses, make_templates, plain, stored
from valuegym.leaderboards.standings.entries import ListedSubmission
from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.standings.ranking import OPEN_BOOK
from valuegym.leaderboards.standings.standings import FAMILIES, Board, Row, as_data, boards, starred
from valuegym.leaderboards.standings.text import footnotes, heading, interval_text, point_text, span
from valuegym.leaderboards.trust.tiers import DIVISIONS, LIMITS, Standing

__all__ = [
    "picture",
    "write_site",
]

TITLE = "valuegym leaderboards"
STEPS = 12  # random steps before the picture of an environment
SEED = 0
SCALE = (
    "Scores are 0 at the naive reference and 1 at the oracle (or the stated reference), both computed by the suite. "
)
NUMBERS = "Numbers are interquartile means over seeds and episodes with 95% bootstrap intervals."


@dataclass(frozen=True)
class _Site:
    """All that pages are made of: boards, agents' looks, and where everything is."""

    title: str
    boards: tuple[Board, ...]
    series: Mapping[str, int]  # agent -> index of its colour and marker
    pages: Mapping[str, str]  # experiment -> name of its page
    agents: Mapping[str, str]  # agent -> name of its page
    pictures: Mapping[str, str]  # environment -> its id on the page of environments
    submissions: Mapping[str, Sequence[ListedSubmission]]
    notes: tuple[str, ...]

    def rows(self, agent: str) -> list[tuple[Board, Row]]:
        """Every board that an agent is on, with its row."""
        return [(board, row) for board in self.boards for row in board.rows if row.score.agent == agent]


def write_site(
    scores: Sequence[Score],
    folder: str | os.PathLike[str],
    title: str = TITLE,
    notes: Sequence[str] = (),
    submissions: Mapping[str, Sequence[ListedSubmission]] | None = None,
) -> Path:
    """Write the site; every file is replaced in one step, and none that is not of the site is touched.

    Args:
        scores: any number, of any agents on any experiments.
        folder: where it goes; made if needed.
        title: heading of the first page.
        notes: paragraphs of plain text at its end.
        submissions: agent -> its submissions that count, strongest first, for agents that came in some.

    Returns:
        The path of the first page.

    Raises:
        ImportError: if pillow is not installed.
        OSError: where the folder cannot be written.
        ValueError: for scores that do not fit their evaluation points, or are not finite.
    """
    readable = [
        replace(score, agent=plain(score.agent), experiment=plain(score.experiment), standing=_plain(score.standing))
        for score in scores
    ]
    found = tuple(boards(readable))
    names = dict.fromkeys(row.score.agent for board in found for row in board.rows)
    site = _Site(
        title=title,
        boards=found,
        series=plots.assign_series(found),
        pages=addresses(board.experiment for board in found),
        agents=addresses(sorted(names)),
        pictures=addresses(id.removeprefix("valuegym/") for id in ENVS),
        submissions={plain(agent): sent for agent, sent in (submissions or {}).items()},
        notes=tuple(notes),
    )
    try:
        files = dict(_files(site))
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        raise ImportError(f"The site needs pillow for its pictures: {extras.hint('site')}.") from error
    target = Path(folder)
    for name, content in files.items():  # the first page comes last, so that it never points at what is not there yet
        write_atomically(target / name, content)
    return target / "index.html"


def _plain(standing: Standing) -> Standing:
    return replace(standing, reason=plain(standing.reason))


def _files(site: _Site) -> Iterable[tuple[str, str | bytes]]:
    yield "style.css", stored("style.css")
    yield "sort.js", stored("sort.js")
    for board in site.boards:
        yield f"boards/{site.pages[board.experiment]}.html", _board(site, board)
        text = json.dumps(as_data(board), indent=1, allow_nan=False)
        yield f"boards/{site.pages[board.experiment]}.json", f"{text}\n"
    for agent, name in site.agents.items():
        yield f"agents/{name}.html", _agent(site, agent)
    for id in ENVS:
        yield f"environments/{site.pictures[_short(id)]}.png", picture(id)
    yield "environments.html", _environments(site)
    yield "agents.html", _agents(site)
    yield "trust.html", _fill("trust.html", site)
    yield "index.html", _index(site)


@cache
def _templates() -> Environment:
    tables = {"DIVISIONS": DIVISIONS, "ENVS": ENVS, "EXPERIMENTS": EXPERIMENTS, "LIMITS": LIMITS}
    tables |= {"THIRD_PARTY": THIRD_PARTY}
    words = {"NUMBERS": NUMBERS, "OPEN_BOOK": OPEN_BOOK, "SCALE": SCALE, "SEED": SEED, "STEPS": STEPS}
    templates = make_templates(**tables, **words)
    templates.filters |= {"counted": _counted, "quote": shlex.quote, "short": _short, "track": _track}
    templates.filters |= {"interval_text": interval_text, "point_text": point_text, "span": lambda ranks: span(*ranks)}
    return templates


def _fill(template: str, site: _Site, root: str = "", **names: Any) -> str:
    """Fill in a template; root is the way to the site's first page, "" or "../"."""
    return _templates().get_template(template).render(site=site, root=root, **names)


# --- what pages show ---


def _index(site: _Site) -> str:
    families: dict[str, list[tuple[Board, Row | None]]] = {}
    for board in site.boards:
        leader = next((row for row in board.agents if row.rank == 1), None)
        families.setdefault(board.experiment.partition("/")[0], []).append((board, leader))
    agents = {row.score.agent for board in site.boards for row in board.agents}  # without references
    return _fill("index.html", site, families=families, agents=len(agents))


def _board(site: _Site, board: Board) -> str:
    anchor = f"x{site.pages[board.experiment]}"
    points, single = board.evaluation_points, board.evaluation_points == (0,)
    drawn = plots.drawn(board)
    notes = footnotes(board, ranks=False)
    if plots.clipped(board):
        notes.append(f"The plot shows scores from {plots.LOWEST:g} to {plots.HIGHEST:g}.".replace("-", "−"))
    names = ["score"] if single else [heading(point, i == 0) for i, point in enumerate(points)]
    ours = [row.score.agent for row in board.rows if row.score.agent in AGENTS]
    experiment = shlex.quote(board.experiment)
    return _fill(
        "board.html",
        site,
        "../",
        board=board,
        experiment=EXPERIMENTS.get(board.experiment),
        drawn=drawn,
        symbols=Markup("").join(map(plots.symbol, sorted({site.series[row.score.agent] for row in drawn}))),
        wide=plots.plot(board, site.series, f"w{anchor}"),
        narrow=plots.plot(board, site.series, f"n{anchor}", narrow=True),
        many=not single,
        columns=[
            ("rank", "ascending", ""),
            ("agent", "ascending", "name"),
            *((name, "descending", "") for name in names),
            ("ranks", "ascending", ""),
            ("seeds", "descending", "spare"),
            ("trust", "ascending", ""),
        ],
        starred=starred(board),
        notes=notes,
        tiers={row.tier for row in board.agents} & set(LIMITS),
        reproduce=[
            *(f"valuegym run --agent {shlex.quote(agent)} --experiment {experiment}" for agent in ours),
            "valuegym leaderboard results",
        ],
    )


def _agents(site: _Site) -> str:
    lines = []
    for agent in site.agents:
        rows = site.rows(agent)
        tiers = dict.fromkeys(row.tier for _, row in rows if row.score.role != "reference")
        lines.append((agent, _about(site, agent), len(rows), list(tiers)))
    return _fill("agents.html", site, agents=lines)


def _agent(site: _Site, agent: str) -> str:
    rows, submissions = site.rows(agent), site.submissions.get(agent, ())
    in_submissions = {track for submission in submissions for track in submission.tracks}
    folders = [
        shlex.quote(f"results/{board.experiment}/{agent}")
        for board, _ in rows
        if board.experiment not in in_submissions
    ]
    return _fill(
        "agent.html",
        site,
        "../",
        agent=agent,
        about=_about(site, agent),
        rows=rows,
        submissions=submissions,
        profile=_profile(site, agent, rows),
        curves=_curves(site, agent, submissions),
        records=[f"valuegym verify {folder}" for folder in folders],
        runs=_runs(agent, rows) if agent in AGENTS else [],
    )


def _profile(site: _Site, agent: str, rows: Sequence[tuple[Board, Row]]) -> list[tuple[str, list[Markup]]]:
    """Plots for each set of tags, with a line for each track, never a mean over them: (tags, plots)."""
    grouped: dict[str, list[tuple[Board, Row]]] = {}
    for board, row in rows:
        experiment = EXPERIMENTS.get(board.experiment)
        tags = experiment.tags if experiment else (board.experiment.partition("/")[0],)
        if row.tier != "rejected":
            grouped.setdefault(", ".join(tags), []).append((board, row))
    index, figures = site.series.get(agent), []
    for i, (shared, members) in enumerate(grouped.items()):
        star = [plots.radar(shared, agent, members, index, f"r{i}")] if len(members) > 2 else []
        figures.append((shared, [*star, plots.profile(shared, agent, members, index, f"p{i}")]))
    return figures


def _curves(site: _Site, agent: str, submissions: Sequence[ListedSubmission]) -> list[tuple[str, list[Markup]]]:
    """Learning curves from the submissions' evidence, which are claims: (track, [plot])."""
    curves = [item for submission in submissions for item in submission.curves.items()]
    return [
        (track, [plots.learning_curve(track, agent, curve, site.series.get(agent), f"l{i}")])
        for i, (track, curve) in enumerate(curves)
    ]


def _runs(agent: str, rows: Sequence[tuple[Board, Row]]) -> list[str]:
    """Commands that run an agent of the suite again and show its scores."""
    tracks = [board.experiment for board, _ in rows if board.experiment in EXPERIMENTS]
    extra = AGENTS[agent].extra
    return [
        *([f'pip install -e ".[{extra}]"'] if extra else []),
        *(f"valuegym run --agent {agent} --experiment {track} --results again" for track in tracks),
        "valuegym score again",
    ]


def _about(site: _Site, agent: str) -> str:
    if agent in site.submissions:
        return site.submissions[agent][0].card.about
    about = AGENTS[agent].about if agent in AGENTS else ""
    return f"{about[:1].upper()}{about[1:]}." if about else "Nothing is known of it but its records."


def _environments(site: _Site) -> str:
    environments = []
    for id, entry in ENVS.items():
        played = [
            board
            for board in site.boards
            if board.experiment in EXPERIMENTS and EXPERIMENTS[board.experiment].env_id == id
        ]
        environments.append((id, entry, _look(id), played))
    return _fill("environments.html", site, environments=environments)


# --- pictures of environments ---


class _Look(NamedTuple):
    """An environment in one sentence, the size of its picture in pixels, and its spaces in a few words."""

    about: str
    width: int
    height: int
    observation: str
    action: str


@cache
def picture(id: str) -> bytes:
    """Draw a registered environment after a few random steps, as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_render(id)).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _render(id: str) -> NDArray[np.uint8]:
    import gymnasium as gym

    env = gym.make(id, render_mode="rgb_array")
    try:
        env.reset(seed=SEED)
        env.action_space.seed(SEED)
        for _ in range(STEPS):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                break
        return np.asarray(env.render(), np.uint8)
    finally:
        env.close()


@cache
def _look(id: str) -> _Look:
    import gymnasium as gym
    from PIL import Image

    env: Any = gym.make(id)
    about = (type(env.unwrapped.core).__doc__ or "").strip().splitlines()[0].replace("`", "")
    spaces = _space(env.observation_space), _space(env.action_space)
    env.close()
    return _Look(about, *Image.open(io.BytesIO(picture(id))).size, *spaces)


def _space(space: Any) -> str:
    """Describe a space in a few words: its kind and its shape or size."""
    if hasattr(space, "spaces"):
        return ", ".join(f"{name} {_space(part)}" for name, part in space.spaces.items())
    if hasattr(space, "n"):
        return f"{space.n} choices"
    kind = "number" if space.dtype.kind == "f" else "integer"
    return " × ".join(map(str, space.shape)) + f" {kind}{'s' * (int(np.prod(space.shape)) != 1)}"


# --- filters ---


def _short(id: str) -> str:
    return id.removeprefix("valuegym/")


def _track(experiment: str) -> str:
    """Return an experiment's name within its family."""
    family, _, track = experiment.partition("/")
    return track if family in FAMILIES and track else experiment


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
