"""Rivals: seeds that one agent lacks change nothing for the others, and leaving them out does not pay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from valuegym.leaderboards.experiments import EXPERIMENTS
from valuegym.leaderboards.records.record import Record
from valuegym.leaderboards.standings.gather import gather_scores
from valuegym.leaderboards.standings.standings import Board, as_data, boards
from valuegym.leaderboards.standings.text import render_markdown, render_text

TRACK = replace(EXPERIMENTS["coevolution/follow-linear"], id="test/rivals", episodes=3, seeds=tuple(range(6)))
AGENTS = ("kalman", "theta", "frozen", "persistence")


@pytest.fixture(autouse=True)
def small_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPERIMENTS, TRACK.id, TRACK)


def make_records(seed: int, agents: tuple[str, ...] = AGENTS) -> list[Record]:
    """Records of every seed, whose scores differ between agents by a little more than between seeds."""
    draws = np.random.default_rng(seed)
    common = draws.normal(0, 0.2, (len(TRACK.seeds), TRACK.episodes))
    return [
        Record(agent, TRACK.id, run, {}, "", {}, [], (draws.normal(0.1 * i, 0.1) + common[run])[:, None].tolist())
        for i, agent in enumerate(agents)
        for run in TRACK.seeds
    ]


def board_of(records: list[Record]) -> Board:
    [board] = boards(gather_scores(records, "replayed"))
    return board


def lines(board: Board, without: str) -> list[dict[str, Any]]:
    """All that is said of each other agent, in the order of the board."""
    return [
        line
        for part in as_data(board)["divisions"]
        for line in part["agents"]
        if line["agent"] != without and part["name"] == "replayed"
    ]


def numbers(board: Board, without: str) -> list[tuple[Any, ...]]:
    return [(line["agent"], line["seeds"], str(line["estimates"])) for line in lines(board, without)]


@pytest.mark.parametrize("seed", range(3))
def test_seeds_that_one_agent_lacks_change_nothing_for_the_others(seed: int) -> None:
    """Ranks and their intervals are those without it, whichever are left; order and numbers are also those with it."""
    draws = np.random.default_rng(100 + seed)
    records = make_records(seed)
    whole = board_of(records)
    for agent in AGENTS:
        without = lines(board_of([record for record in records if record.agent != agent]), agent)
        for _ in range(2):
            kept = draws.choice(TRACK.seeds, draws.integers(1, len(TRACK.seeds)), replace=False)
            left = [record for record in records if record.agent != agent or record.seed in kept]
            board = board_of([left[i] for i in draws.permutation(len(left))])
            assert lines(board, agent) == without
            assert numbers(board, agent) == numbers(whole, agent)
            [row] = [row for row in board.agents if row.score.agent == agent]
            assert (row.rank, row.ranks, row.division) == (None, None, "incomplete")


def test_many_incomplete_agents_leave_the_complete_ones_alone() -> None:
    records = make_records(9)
    kept = [record for record in records if record.agent in AGENTS[:2] or record.seed == AGENTS.index(record.agent)]
    board, alone = board_of(kept), board_of([record for record in records if record.agent in AGENTS[:2]])
    assert as_data(board)["divisions"][0] == as_data(alone)["divisions"][0]
    assert [name for name, _ in board.divisions] == ["replayed", "incomplete"]


@pytest.mark.parametrize("seed", range(2))
def test_leaving_out_the_worst_seeds_does_not_pay(seed: int) -> None:
    """However many an agent leaves out, it has no place then, and stands below all that have one."""
    records = make_records(seed)
    for agent in AGENTS:
        own = sorted((record for record in records if record.agent == agent), key=lambda record: np.mean(record.scores))
        for number in (1, 3, len(own) - 1):
            left = [record for record in records if record not in own[:number]]
            board = board_of(left)
            assert [row.score.agent for row in board.agents].index(agent) == len(AGENTS) - 1
            assert board.agents[-1].rank is None
            assert board.agents[-1].status == f"replayed, {number} of {len(own)} seeds missing"


def test_the_tables_say_so() -> None:
    records = [record for record in make_records(0) if record.agent != "kalman" or record.seed]
    scores = gather_scores(records, "replayed")
    for text in (render_text(scores), render_markdown(scores)):
        assert "seeds are missing, so not ranked" in text
        assert "Who lacks seeds has no rank; the ranks of the others are those that they have without it." in text
    assert "lacks seeds" not in render_text(gather_scores(make_records(0), "replayed"))
