"""The studies of what is possible, and of a learner that is not told how people answer."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.preference.reward_inference import RewardInference

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def possible() -> Any:
    from studies import possible

    return possible


@pytest.fixture(scope="module")
def mixture() -> Any:
    from studies.preference import mixture

    return mixture


@pytest.fixture(scope="module")
def less() -> Any:
    from studies.preference import less_to_ask

    return less_to_ask


@pytest.fixture(scope="module")
def records(possible: Any) -> Any:
    return possible.harness.load(RESULTS / "data" / "possible.jsonl")


# --- what is possible ---


def test_the_hypotheses_hold_the_weights_of_every_board(possible: Any) -> None:
    core = RewardInference(evaluation_points=(1,))
    every = possible.hypotheses()
    assert every.shape == (720, 6)
    key = keys.mix(3, np.arange(40))
    weights = core.source.tasks.original(key)[1]
    assert (weights[:, None] == every).all(-1).any(1).all()


def test_no_agent_is_above_what_is_possible_and_that_is_below_the_oracle(possible: Any, records: Any) -> None:
    rows = {id: possible.row(id, records) for id in possible.tracks.IDS}
    rows |= {id: possible.query_row(id, records) for id in possible.QUERIES}
    for id, found in rows.items():
        gap = possible.ratio(np.stack([found.agent - found.possible, found.naive], 1))
        assert gap.high > 0, id
        assert gap.low > -0.01, id
        assert found.skill(found.possible).high <= 1, id
    assert len(rows) == 22


def test_a_track_is_solved_only_with_its_whole_interval(possible: Any) -> None:
    naive = np.ones(50)
    for agent, verdict in ((0.5, "yes"), (0.6, "no")):
        row = possible.Row("a", naive, np.full(50, agent), np.full(50, 0.5), None)
        assert row.cells(str)[-1] == verdict
    mixed = possible.Row("a", naive, np.where(np.arange(50) < 5, 0.9, 0.5), np.full(50, 0.5), None)
    assert mixed.cells(str)[-1] == "open"


def test_the_filter_of_a_track_repeats_its_record(possible: Any, records: Any) -> None:
    id = "coevolution/follow-few-responses"
    found = possible.moving(id)
    for name, stored in records[id, 0].items():
        np.testing.assert_allclose(found[name], stored, atol=1e-5)


# --- people and annotators ---


def test_blocks_share_no_answer_within_a_shuffle(mixture: Any) -> None:
    options = Namespace(blocks=12, shuffles=2)
    assert mixture.blocks(1793, 35, options) == [(0, part) for part in range(12)]
    assert mixture.blocks(442, 89, options) == [(s, part) for s in (0, 1) for part in range(4)]


def test_intervals_take_as_many_blocks_as_share_no_answer(mixture: Any) -> None:
    values = np.resize([0.0, 1.0], 400)
    one, many = (mixture.resampled_mean([values], [size]) for size in (4, 400))
    assert one.point == many.point == 0.5
    assert one.high - one.low > 5 * (many.high - many.low)
    assert mixture.sized(442, 89, 8) == 4
    assert mixture.sized(2532, 89, 8) == 8


def test_the_pages_tables_are_those_of_the_records(mixture: Any) -> None:
    def value(*scores: float) -> dict[str, Any]:
        each = dict(zip(mixture.LEARNERS, ([0, s, 0, 0] for s in scores), strict=True))
        return {**each, "kinds": [[0.25, 0.01]] * 4, "lapse": [0.1, 0.01], "score": [0.5, 0.02]}

    first = {("A", 35): [value(1, 0, 1), value(0.5, 0, 1)], ("A", 89): [value(1, 1, 0)] * 2}
    again = {("A", 35): [value(0, 0, 0), value(0.5, 0, 0)]}
    people = "\n".join(mixture.people_parts(first, {"A": 500}))
    assert "| 35 | A | 2 | 0.500 [0.000, 1.000] | 0.000 [0.000, 0.000] | 1.000 [1.000, 1.000] | -0.500" in people
    assert "| 35 | 2 | 0.500 | 0.354 | 0.010 | 0.020 |" in "\n".join(mixture.sampler_parts(first, again))
    assert "| A | 2 | 0.250 | 0.250 | 0.250 | 0.250 | 0.100 |" in mixture.belief_table(first)
    boards = {("boards", "regret", 35, 0, 0, i): value(0.95, 0.95, 0) for i in range(5)}
    assert "| +0.000 [+0.000, +0.000] | yes |" in mixture.board_table(boards)
    assert mixture.crowd_table({}) == ""


def test_the_best_constant_knows_the_board(mixture: Any) -> None:
    best, drawn = mixture.constants()
    assert best > 0.99
    assert abs(drawn) < 0.1


def test_the_area_is_that_under_the_curve(less: Any) -> None:
    np.testing.assert_allclose(less.area(np.array([[1.0] * 5, [0, 0, 0, 0, 1]])), [1.0, 2.5 / 9])


@pytest.mark.parametrize("name", ["less-to-ask", "mixture", "possible"])
def test_pages_are_those_of_their_records(name: str, possible: Any, mixture: Any, less: Any) -> None:
    study = {"less-to-ask": less, "mixture": mixture, "possible": possible}[name]
    stored = study.harness.load(RESULTS / "data" / f"{name}.jsonl")
    options = study.PARSER.parse_args([])
    assert study.pages(stored, options)[".md"] == (RESULTS / f"{name}.md").read_text(encoding="utf-8")
