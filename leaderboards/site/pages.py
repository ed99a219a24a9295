"""The leaderboards as a static site: plain files that need no server and ask the network for nothing.

    index.html             every board with its leader
    boards/<track>.html    plot, sortable table, what the tiers leave open, how to reproduce it
    boards/<track>.json    the table for programs
    agents.html            every agent
    agents/<name>.html     its card, its standing, its profile by tag, how to replay it
    environments.html      a picture of every environment
    trust.html             the tiers
    style.css, sort.js, environments/*.png

The same scores give the same bytes.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.agents import AGENTS
from valuegym.envs import ENVS, THIRD_PARTY
from valuegym.leaderboards.experiments import EXPERIMENTS, Experiment
from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.site.elements import (
    SCRIPT,
    STYLE,
    addresses,
    badge,
    breakable,
    cell,
    commands,
    escape,
    facts,
    frame,
    head,
    plain,
    section,
    table,
)
from valuegym.leaderboards.site.plots import (
    HIGHEST,
    LOWEST,
    assign,
    clipped,
    drawn,
    learning,
    plot,
    profile,
    radar,
    symbol,
)
from valuegym.leaderboards.standings.entries import Entrant
from valuegym.leaderboards.standings.text import (
    DIVISIONS,
    FAMILIES,
    OPEN_BOOK,
    Board,
    Row,
    as_data,
    boards,
    footnotes,
    heading,
    interval_text,
    point_text,
    span,
    starred,
)
from valuegym.leaderboards.trust.judgement import LIMITS
from valuegym.leaderboards.verification.scores import Score

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
    series: Mapping[str, int]
    pages: Mapping[str, str]  # experiment -> name of its page
    agents: Mapping[str, str]  # agent -> name of its page
    pictures: Mapping[str, str]  # environment -> its id on the page of environments
    entrants: Mapping[str, Sequence[Entrant]]
    notes: tuple[str, ...]


def write_site(
    scores: Sequence[Score],
    folder: str | os.PathLike[str],
    title: str = TITLE,
    notes: Sequence[str] = (),
    entrants: Mapping[str, Sequence[Entrant]] | None = None,
) -> Path:
    """Write the site; every file is replaced in one step, and none that is not of the site is touched.

    Args:
        scores: any number, of any agents on any experiments.
        folder: where it goes; made if needed.
        title: heading of the first page.
        notes: paragraphs of plain text at its end.
        entrants: agent -> its submissions that count, strongest first, for those that came in some.

    Returns:
        The path of the first page.

    Raises:
        ImportError: if pillow is not installed.
        ValueError: for scores that do not fit their evaluation points, or are not finite.
    """
    readable = [
        replace(score, agent=plain(score.agent), experiment=plain(score.experiment), status=plain(score.status))
        for score in scores
    ]
    found = tuple(boards(readable))
    names = dict.fromkeys(row.score.agent for board in found for row in board.rows)
    site = _Site(
        title=title,
        boards=found,
        series=assign(found),
        pages=addresses(board.experiment for board in found),
        agents=addresses(sorted(names)),
        pictures=addresses(id.removeprefix("valuegym/") for id in ENVS),
        entrants={plain(agent): sent for agent, sent in (entrants or {}).items()},
        notes=tuple(notes),
    )
    try:
        files = dict(_files(site))
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        raise ImportError('The site needs pillow for its pictures: pip install "valuegym[site]".') from error
    target = Path(folder)
    for name, content in files.items():  # the first page comes last, so that it never points at what is not there yet
        write_atomically(target / name, content)
    return target / "index.html"


def _files(site: _Site) -> Iterable[tuple[str, str | bytes]]:
    yield "style.css", STYLE
    yield "sort.js", SCRIPT
    for board in site.boards:
        yield f"boards/{site.pages[board.experiment]}.html", _board_page(site, board)
        text = json.dumps(as_data(board), indent=1, allow_nan=False)
        yield f"boards/{site.pages[board.experiment]}.json", f"{text}\n"
    for agent, name in site.agents.items():
        yield f"agents/{name}.html", _agent_page(site, agent)
    for id in ENVS:
        yield f"environments/{site.pictures[_short(id)]}.png", picture(id)
    yield "environments.html", _gallery(site)
    yield "agents.html", _agents(site)
    yield "trust.html", _trust()
    yield "index.html", _index(site)


# --- pages ---


def _index(site: _Site) -> str:
    grouped: dict[str, list[Board]] = {}
    for board in site.boards:
        grouped.setdefault(board.experiment.partition("/")[0], []).append(board)
    agents = sum(any(row.score.agent == agent for b in site.boards for row in b.agents) for agent in site.agents)
    body = [
        f"<h1>{escape(site.title)}</h1>",
        f"<p>An agent's score is a claim that anyone can replay. {SCALE}{NUMBERS} Several scores are never averaged "
        "into one.</p>",
        f'<p class="muted">{_count(len(site.boards), "board")}, {_count(agents, "agent")}, '
        f"{_count(len(ENVS), 'environment')}.</p>"
        if site.boards
        else "<p>No scores yet.</p>",
        *(_family(site, family, members) for family, members in grouped.items()),
        section("Take part", _take_part(), kind="bare"),
        section("Notes", *(f"<p>{escape(note)}</p>" for note in site.notes), anchor="notes", kind="bare"),
    ]
    return frame(site.title, body, current="index.html", about="Leaderboards of agents on environments about value.")


def _take_part() -> str:
    return (
        "<p>A submission is one file: the records of all seeds and a card. Its verdict can be had at home first:</p>"
        + (
            commands(
                "valuegym run --agent NAME --experiment ID",
                "valuegym submit results --card card.json",
                "valuegym verify NAME.zip",
            )
        )
    )


def _family(site: _Site, family: str, members: Sequence[Board]) -> str:
    rows = []
    for board in members:
        first = next((row for row in board.agents if row.rank == 1), None)
        none = "not ranked" if board.agents else "none yet"
        leader = _agent_link(site, first.score.agent) if first else f'<span class="muted">{none}</span>'
        about = EXPERIMENTS[board.experiment].about if board.experiment in EXPERIMENTS else ""
        rows.append(
            f'<tr><th scope="row" class="name"><a href="boards/{site.pages[board.experiment]}.html">'
            f"{breakable(_track(board.experiment))}</a></th>"
            f'<td class="prose spare">{escape(about)}</td><td class="name">{leader}</td>'
            + (_estimate(first.estimates[-1]) if first else cell(""))
            + cell(badge(first.tier, "") if first else "", sortable=False)
            + cell(str(len(board.agents)), len(board.agents), kind="spare")
            + "</tr>"
        )
    heads = [
        head("track", "ascending", "name"),
        head("what it asks", kind="prose spare name"),
        head("first", "ascending", "name"),
        head("score", "descending"),
        head("trust", "ascending"),
        head("agents", "descending", "spare"),
    ]
    body = f"<tbody>{''.join(rows)}</tbody>"
    return section(escape(family.capitalize()), table(f"Boards of {family}", heads, body))


def _board_page(site: _Site, board: Board) -> str:
    what = EXPERIMENTS.get(board.experiment)
    anchor = f"x{site.pages[board.experiment]}"
    everyone = drawn(board)
    key = "".join(f"<li>{_swatch(site, row.score.agent)}{escape(row.score.agent)}</li>" for row in everyone)
    notes = footnotes(board, ranks=False)
    if clipped(board):
        notes.append(f"The plot shows scores from {LOWEST:g} to {HIGHEST:g}.".replace("-", "−"))
    body = [
        _symbols(site, [row.score.agent for row in everyone]),
        f"<h1>{breakable(board.experiment)}</h1>",
        f"<p>{escape(what.about)}</p>" if what else "",
        "" if board.ranked else f'<p class="open-book">{OPEN_BOOK.capitalize()}: its answer is public.</p>',
        section(
            "Scores",
            plot(board, site.series, f"w{anchor}"),
            plot(board, site.series, f"n{anchor}", narrow=True),
            f'<ul class="key" aria-hidden="true">{key}</ul>' if len(board.evaluation_points) > 1 else "",
            _standings(site, board),
            *(f'<p class="muted note">{escape(note)}</p>' for note in notes),
            f'<p class="muted note">{SCALE}{NUMBERS} Each tier is ranked by itself, what the board executed first. '
            "The ranks are intervals that hold all true ranks of a tier at once, with 95% confidence, from paired "
            f'tests over seeds. <a href="{site.pages[board.experiment]}.json">The table for programs.</a></p>',
        ),
        section("What the tiers leave open", _limits(board)),
        section("The task", _task(site, what)) if what else "",
        section("Reproduce it", _reproduce(board)) if what else "",
    ]
    return frame(
        f"{board.experiment} – {site.title}",
        body,
        "../",
        "index.html",
        f"Scores of agents on {board.experiment}, with intervals, ranks and trust tiers.",
    )


def _standings(site: _Site, board: Board) -> str:
    single = board.evaluation_points == (0,)
    names = ["score"] if single else [heading(point, i == 0) for i, point in enumerate(board.evaluation_points)]
    heads = [
        head("rank", "ascending"),
        head("agent", "ascending", "name"),
        *(head(name, "descending") for name in names),
        head("ranks", "ascending"),
        head("seeds", "descending", "spare"),
        head("trust", "ascending"),
    ]
    bodies = [
        f'<tbody><tr><th scope="rowgroup" colspan="{len(heads)}" class="name division"><span>{DIVISIONS[name]}'
        "</span></th></tr>"
        f"{''.join(_standing(site, board, row) for row in members)}</tbody>"
        for name, members in board.divisions
    ]
    references = "".join(_standing(site, board, row) for row in board.references)
    bodies += [f'<tbody class="references">{references}</tbody>'] if references else []
    return table(f"Scores on {board.experiment}", heads, *bodies, many=not single)


def _standing(site: _Site, board: Board, row: Row) -> str:
    reference = row.score.role == "reference"
    star = "*" if row in starred(board) else ""
    mark = _swatch(site, row.score.agent) if row in drawn(board) else ""
    cells = [
        cell(str(row.rank or ""), row.rank),
        f'<th scope="row" class="name">{mark}{_agent_link(site, row.score.agent, "../")}{star}</th>',
        *(_estimate(row.at(point)) for point in board.evaluation_points),
        cell(span(*row.ranks), sum(row.ranks) / 2) if row.ranks else cell(""),
        cell(str(len(row.score.seeds)), len(row.score.seeds), kind="spare"),
        cell("reference" if reference else badge(row.standing, "../"), sortable=False),
    ]
    return f"<tr{' class=rejected' if row.tier == 'rejected' else ''}>{''.join(cells)}</tr>"


def _limits(board: Board) -> str:
    tiers = {row.tier for row in board.agents}
    found = {tier: words for tier, words in LIMITS.items() if tier in tiers}
    items = "".join(f"<dt>{badge(tier, '../')}</dt><dd>{escape(words)}</dd>" for tier, words in found.items())
    return f"<dl>{items}</dl>" if items else ""


def _task(site: _Site, what: Experiment) -> str:
    id, short = what.env_id, _short(what.env_id)
    link = f'<a href="../environments.html#{site.pictures[short]}">{escape(id)}</a>' if id in ENVS else escape(id)
    arguments = ", ".join(f"{name}={value!r}" for name, value in what.kwargs.items())
    return facts(
        {
            "environment": link,
            "arguments": f"<code>{escape(arguments)}</code>" if arguments else "",
            "training": f"{what.timesteps:,} steps" if what.timesteps else "none; agents learn while they act",
            "evaluation": f"{_count(len(what.seeds), 'seed')} of {_count(what.episodes, 'episode')}",
            "data": escape(what.data),
            "tags": escape(", ".join(what.tags)),
        }
    )


def _reproduce(board: Board) -> str:
    known = [row.score.agent for row in board.rows if row.score.agent in AGENTS]
    experiment = shlex.quote(board.experiment)
    return commands(
        *(f"valuegym run --agent {shlex.quote(agent)} --experiment {experiment}" for agent in known),
        "valuegym leaderboard results",
    )


def _agents(site: _Site) -> str:
    rows = []
    for agent, name in site.agents.items():
        mine = _rows(site, agent)
        tiers = dict.fromkeys(row.tier for _, row in mine if row.score.role != "reference")
        marks = " ".join(badge(tier, "") for tier in tiers) or "reference"
        rows.append(
            f'<tr><th scope="row" class="name"><a href="agents/{name}.html">{breakable(agent)}</a></th>'
            f'<td class="prose">{escape(_about(site, agent))}</td>'
            + cell(str(len(mine)), len(mine))
            + cell(marks, sortable=False)
            + "</tr>"
        )
    heads = [
        head("agent", "ascending", "name"),
        head("what it is", kind="prose name"),
        head("boards", "descending"),
        head("trust", "ascending"),
    ]
    body = [
        "<h1>Agents</h1>",
        "<p>Every agent with a page of its own: what it is, what it was given, where it stands, how to replay it.</p>",
        section("All agents", table("Agents", heads, f"<tbody>{''.join(rows)}</tbody>"))
        if rows
        else "<p>None yet.</p>",
    ]
    return frame(f"Agents – {site.title}", body, current="agents.html", about="Every agent on the leaderboards.")


def _agent_page(site: _Site, agent: str) -> str:
    mine = _rows(site, agent)
    entrants = site.entrants.get(agent, ())
    body = [
        f"<h1><bdi>{escape(agent)}</bdi></h1>",
        f"<p>{escape(_about(site, agent))}</p>",
        section("Card", *(_card(entrant, len(entrants) > 1) for entrant in entrants)),
        section("Standing", _standing_of(site, agent, mine)),
        section("Profile", _profile(site, agent, mine)),
        section("Learning", _learning(site, agent, entrants)),
        section("Replay it", _replay(agent, mine, entrants)),
    ]
    about = f"Scores of {agent} with intervals and ranks, and how to replay them."
    return frame(f"{agent} – {site.title}", body, "../", "agents.html", about)


def _card(entrant: Entrant, one_of_several: bool) -> str:
    card = entrant.card
    # Cards hold checked https links only; the address is shown, so that nobody follows it unawares.
    code = f'<a href="{escape(card.code)}" rel="noreferrer nofollow">{escape(card.code)}</a>' if card.code else ""
    hours = f"{card.compute['hours']:g} hours on {card.compute['hardware']}"
    return facts(
        {
            "authors": escape(", ".join(card.authors)),
            "code": code or "not public",
            "priors": escape(card.priors),
            "data": escape(card.data),
            "compute": escape(hours),
            "submission": f"<code>{escape(entrant.file)}</code>",
            "SHA-256": f"<code>{escape(entrant.digest)}</code>",
            "counts on": escape(", ".join(entrant.tracks)) if one_of_several else "",
            "notes": escape("; ".join(entrant.notes)),
        }
    )


def _standing_of(site: _Site, agent: str, mine: Sequence[tuple[Board, Row]]) -> str:
    rows = []
    for board, row in mine:
        rows.append(
            f'<tr><th scope="row" class="name"><a href="../boards/{site.pages[board.experiment]}.html">'
            f"{breakable(board.experiment)}</a></th>"
            + cell(f"{row.rank} of {board.peers(row)}" if row.rank else "", row.rank)
            + (cell(span(*row.ranks), sum(row.ranks) / 2) if row.ranks else cell(""))
            + _estimate(row.estimates[-1])
            + cell(str(len(row.score.seeds)), len(row.score.seeds))
            + cell("reference" if row.score.role == "reference" else badge(row.standing, "../"), sortable=False)
            + "</tr>"
        )
    heads = [
        head("track", "ascending", "name"),
        head("rank", "ascending"),
        head("ranks", "ascending"),
        head("score", "descending"),
        head("seeds", "descending"),
        head("trust", "ascending"),
    ]
    return table(f"Standing of {agent}", heads, f"<tbody>{''.join(rows)}</tbody>", many=True)


def _profile(site: _Site, agent: str, mine: Sequence[tuple[Board, Row]]) -> str:
    """One small plot for each set of tags: a line for each track, never a mean over them."""
    grouped: dict[str, list[tuple[Board, Row]]] = {}
    for board, row in mine:
        what = EXPERIMENTS.get(board.experiment)
        tags = what.tags if what else (board.experiment.partition("/")[0],)
        if row.tier != "rejected":
            grouped.setdefault(", ".join(tags), []).append((board, row))
    index, panels = site.series.get(agent), []
    for i, (shared, members) in enumerate(grouped.items()):
        star = radar(shared, agent, members, index, f"r{i}") if len(members) > 2 else ""
        lines = profile(shared, agent, members, index, f"p{i}")
        panels.append(f"<figure><h3>{escape(shared)}</h3>{star}{lines}</figure>")
    words = (
        "<p>The last score on each track with its interval, 0 in the middle of a star and 1 on its ring; small circles "
        "are the other agents and references.</p>"
    )
    return f'{words}<div class="grid">{"".join(panels)}</div>' if panels else ""


def _learning(site: _Site, agent: str, entrants: Sequence[Entrant]) -> str:
    """Curves from the submissions' evidence: a claim, and said to be one."""
    curves = [item for entrant in entrants for item in entrant.curves.items()]
    panels = "".join(
        f"<figure><h3>{escape(track)}</h3>{learning(track, agent, curve, site.series.get(agent), f'l{i}')}</figure>"
        for i, (track, curve) in enumerate(curves)
    )
    words = "<p>Scores during training, as the submission reports them: nobody has replayed these.</p>"
    return f'{words}<div class="grid">{panels}</div>' if panels else ""


def _replay(agent: str, mine: Sequence[tuple[Board, Row]], entrants: Sequence[Entrant]) -> str:
    parts, sent = [], {track for entrant in entrants for track in entrant.tracks}
    for entrant in entrants:
        file = shlex.quote(entrant.file)
        parts += [
            "<p>Take the submission, see that it is this one, and play every action again:</p>",
            commands(f"sha256sum {file}    # {entrant.digest}", f"valuegym verify {file}"),
        ]
    folders = [shlex.quote(f"results/{board.experiment}/{agent}") for board, _ in mine if board.experiment not in sent]
    if folders:
        parts += [
            "<p>With the records, play every action again:</p>",
            commands(*(f"valuegym verify {folder}" for folder in folders)),
        ]
    if agent in AGENTS:
        tracks = [board.experiment for board, _ in mine if board.experiment in EXPERIMENTS]
        runs = [f"valuegym run --agent {agent} --experiment {name} --results again" for name in tracks]
        extra = AGENTS[agent].extra
        first = [f'pip install "valuegym[{extra}]"'] if extra else []
        parts += [
            "<p>Or run the agent anew, with the same seeds:</p>",
            commands(*first, *runs, "valuegym score again"),
        ]
    return "".join(parts)


def _gallery(site: _Site) -> str:
    figures = []
    for id, entry in ENVS.items():
        about, shape, spaces = _environment(id)
        name = site.pictures[_short(id)]
        tracks = [board.experiment for board in site.boards if _env_of(board.experiment) == id]
        links = ", ".join(f'<a href="boards/{site.pages[t]}.html">{breakable(_track(t))}</a>' for t in tracks)
        figures.append(
            f'<figure id="{name}"><img src="environments/{name}.png" width="{shape[1]}" height="{shape[0]}" '
            f'loading="lazy" alt="{escape(f"{_short(id)} after {STEPS} random steps: {about}")}">'
            f"<figcaption><h2>{escape(id)}</h2><p>{escape(about)}</p>"
            + facts(
                {
                    "observation": escape(spaces[0]),
                    "action": escape(spaces[1]),
                    "steps": f"at most {entry.max_episode_steps}" if entry.max_episode_steps else "",
                    "tags": escape(", ".join(entry.tags)),
                    "boards": links,
                }
            )
            + "</figcaption></figure>"
        )
    third_party = ", ".join(f"<code>{escape(id)}</code>" for id in THIRD_PARTY)
    body = [
        "<h1>Environments</h1>",
        f"<p>Every environment of the suite, as it draws itself after {STEPS} random steps from seed {SEED}.</p>",
        f'<div class="grid">{"".join(figures)}</div>',
        section("Made from others'", f"<p>{third_party}</p>", kind="bare"),
    ]
    return frame(f"Environments – {site.title}", body, current="environments.html", about="Every environment, drawn.")


def _trust() -> str:
    items = "".join(f"<dt>{badge(tier, '')}</dt><dd>{escape(words)}</dd>" for tier, words in LIMITS.items())
    body = [
        "<h1>How far to trust a score</h1>",
        "<p>Records hold the actions and the states, so anyone can replay them. A replay shows that these actions earn "
        "this score. It does not show how the actions were found. Each tier closes one gap more, and says what it "
        "leaves open.</p>",
        section("Tiers, weakest first", f"<dl>{items}</dl>", anchor="tiers"),
        section(
            "Check for yourself",
            "<p>Records, a submission, or a whole board with its signatures:</p>",
            commands("valuegym verify results", "valuegym verify NAME.zip", "valuegym board show board.jsonl"),
        ),
        section(
            "What is not here",
            "<p>What did not survive the replay is listed on its board as rejected, with the reason, and is neither "
            "ranked nor drawn. An entry that lacks seeds says so beside its tier.</p>",
        ),
    ]
    return frame("Trust – valuegym leaderboards", body, current="trust.html", about="What each trust tier leaves open.")


# --- pieces ---


@cache
def picture(id: str) -> bytes:
    """A registered environment as it draws itself after a few random steps, as PNG."""
    from PIL import Image

    return _png(Image, _render(id))


def _png(image: Any, pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, "png", optimize=True)
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
def _environment(id: str) -> tuple[str, tuple[int, int], tuple[str, str]]:
    """What an environment is in one sentence, the size (height, width) of its picture, and its spaces."""
    import gymnasium as gym
    from PIL import Image

    env: Any = gym.make(id)
    about = (type(env.unwrapped.core).__doc__ or "").strip().splitlines()[0].replace("`", "")
    spaces = _space(env.observation_space), _space(env.action_space)
    env.close()
    width, height = Image.open(io.BytesIO(picture(id))).size
    return about, (height, width), spaces


def _space(space: Any) -> str:
    """A space in a few words: its kind and its shape or size."""
    if hasattr(space, "spaces"):
        return ", ".join(f"{name} {_space(part)}" for name, part in space.spaces.items())
    if hasattr(space, "n"):
        return f"{space.n} choices"
    kind = "number" if space.dtype.kind == "f" else "integer"
    return " × ".join(map(str, space.shape)) + f" {kind}{'s' * (int(np.prod(space.shape)) != 1)}"


def _rows(site: _Site, agent: str) -> list[tuple[Board, Row]]:
    return [(board, row) for board in site.boards for row in board.rows if row.score.agent == agent]


def _about(site: _Site, agent: str) -> str:
    if agent in site.entrants:
        return site.entrants[agent][0].card.about
    about = AGENTS[agent].about if agent in AGENTS else ""
    return f"{about[:1].upper()}{about[1:]}." if about else "Nothing is known of it but its records."


def _agent_link(site: _Site, agent: str, root: str = "") -> str:
    return f'<a href="{root}agents/{site.agents[agent]}.html">{breakable(agent)}</a>'


def _env_of(experiment: str) -> str:
    return EXPERIMENTS[experiment].env_id if experiment in EXPERIMENTS else ""


def _short(id: str) -> str:
    return id.removeprefix("valuegym/")


def _track(experiment: str) -> str:
    """The name within its family."""
    family, _, track = experiment.partition("/")
    return track if family in FAMILIES and track else experiment


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _estimate(estimate: NDArray[np.float64] | None) -> str:
    interval = interval_text(estimate)
    words = (point_text(estimate) + (f" <small>{interval}</small>" if interval else "")).replace("-", "−")
    return cell(words, None if estimate is None else float(estimate[0]))


def _symbols(site: _Site, agents: Sequence[str]) -> str:
    used = sorted({site.series[agent] for agent in agents})
    hidden = '<svg width="0" height="0" style="position:absolute" aria-hidden="true">'
    return f"{hidden}{''.join(map(symbol, used))}</svg>" if used else ""


def _swatch(site: _Site, agent: str) -> str:
    return f'<svg class="swatch" aria-hidden="true"><use href="#agent-{site.series[agent]}"/></svg>'
