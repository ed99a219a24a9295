"""Episodes whose references coincide have no score: null in records, left out of every number, and said to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.coevolution.follow import Follow
from valuegym.envs.functional import episode_keys
from valuegym.envs.mdp import TIE
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import EXPERIMENTS
from valuegym.leaderboards.records.record import Record, path_of, read_record, write_record
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings.gather import Score, from_verdicts, gather_scores
from valuegym.leaderboards.standings.standings import as_data, boards
from valuegym.leaderboards.standings.text import render_markdown, render_text
from valuegym.leaderboards.stats.bootstrap import (
    estimates,
    interquartile_mean,
    resampled_interquartile_means,
    stratified_bootstrap,
)
from valuegym.leaderboards.tracking.log import _request, summary
from valuegym.leaderboards.verification.verify import verify, verify_all

TRACK = replace(EXPERIMENTS["coevolution/follow-linear"], id="test/flat", episodes=3, seeds=(0, 1, 2))
AGENTS = ("kalman", "persistence", "oracle")
FLAT = ((0, 1), (2, 0), (2, 1), (2, 2))  # (run, episode) whose references coincide: one of run 0, all of run 2


@pytest.fixture
def flat(enrol: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the oracle be no better than the naive reference in some episodes."""
    enrol(TRACK)
    monkeypatch.setenv("VALUEGYM_CACHE", "off")
    own = Follow.references
    keys = episode_keys([TRACK.evaluation_seeds(run)[episode] for run, episode in FLAT])

    def references(core: Follow, task: Any) -> Any:
        naive, best = own(core, task)
        return naive, np.where(np.isin(task.key, keys), naive - (task.key % 2), best)

    monkeypatch.setattr(Follow, "references", references)


@pytest.fixture
def results(flat: None, tmp_path: Path) -> Path:
    """The results of all agents."""
    for agent in AGENTS:
        for seed in TRACK.seeds:
            run(agent, TRACK.id, seed, tmp_path)
    return tmp_path


def test_records_hold_null_and_verify(results: Path) -> None:
    for agent in AGENTS:
        for seed in TRACK.seeds:
            path = path_of(results, agent, TRACK.id, seed)
            assert verify(path).reason == ""
            last = json.loads(
                path.read_text(encoding="utf-8").splitlines()[-1], parse_constant=lambda x: pytest.fail(x)
            )
            assert [(score is None) for [score] in last["scores"]] == [(seed, e) in FLAT for e in range(3)]


@pytest.mark.parametrize(("episode", "value"), [(0, float("nan")), (1, 1.0), (1, 0.0)])
def test_no_record_may_choose_which_of_its_scores_are_undefined(results: Path, episode: int, value: float) -> None:
    path = path_of(results, "kalman", TRACK.id, 0)
    record = read_record(path)
    record.scores[episode][0] = value
    write_record(path, record)
    assert verify(path).reason == "the scores are not those that the actions earn."


def test_boards_leave_them_out_and_say_so(results: Path) -> None:
    scores = from_verdicts(verify_all(results))
    for score in scores:
        assert score.seeds == (0, 1) and score.standing.missing == 0 and score.undefined == (4, 1)
        assert np.isnan(score.values).sum() == 1
    [board] = boards(scores)
    assert all(np.isfinite(row.estimates).all() for row in board.rows)
    assert {row.score.agent: row.last for row in board.references}["oracle"] == pytest.approx(1, abs=1e-9)
    said = (
        "without a score, because the oracle is not above the naive reference there: left out, with them 1 of the runs."
    )
    for text in (render_text(scores), render_markdown(scores)):
        assert said in " ".join(text.split()).replace("\\", "") and "nan" not in text
    data = json.dumps(as_data(board), allow_nan=False)
    assert said in data
    for score in scores:
        request = _request([score], [], {}, "records")
        assert json.dumps(request, allow_nan=False) and len(request["rows"]) == 2 and len(summary(score)) == 13
        assert request["config"]["undefined_episodes"] == {TRACK.id: 4}


def test_the_page_says_so(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("PIL")
    assert main(["leaderboard", str(results), "--track", "off"]) == 0
    assert "4 episodes of " in capsys.readouterr().out
    page = (results / "site" / "boards" / "test-flat.html").read_text(encoding="utf-8")
    assert "without a score" in page and ">nan<" not in page.lower()


def make_record(agent: str, seed: int, scores: list[float]) -> Record:
    return Record(agent, TRACK.id, seed, {}, "", {}, [], [[score] for score in scores])


def test_an_agent_without_any_score_has_no_row_and_is_named(flat: None) -> None:
    """Alone, or beside one that has scores."""
    none = [make_record("kalman", seed, [np.nan] * 3) for seed in TRACK.seeds]
    some = [make_record("theta", seed, [0.1, 0.5, np.nan]) for seed in TRACK.seeds]
    for records, rows in ((none, []), (none + some, ["theta"])):
        scores = gather_scores(records, "replayed")
        [board] = boards(scores)
        assert [row.score.agent for row in board.rows] == rows and board.ranked
        for text in (render_text(scores), render_markdown(scores)):
            assert "9 episodes of kalman without a score" in " ".join(text.split()) and "3 of the runs" in text
    [score] = gather_scores(none, "replayed")
    assert summary(score) == {} and _request([score], [], {}, "records")["rows"] == []


# --- statistics over what is defined ---


def some_missing(seed: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Numbers of which about a third are missing, but not the first of any run."""
    draws = np.random.default_rng(seed)
    values = draws.normal(size=shape)
    values[..., 1:][draws.random(values[..., 1:].shape) < 0.35] = np.nan
    return values


@pytest.mark.parametrize(("runs", "own"), [(1, 7), (2, 3), (5, 4), (10, 9)])
def test_resampled_means_are_those_of_what_is_there(runs: int, own: int) -> None:
    values, draws = some_missing(runs, (runs, own)), np.random.default_rng(1)
    chosen = draws.integers(runs, size=(50, runs))
    found = resampled_interquartile_means(values, (chosen[..., None] == np.arange(runs)).sum(1))
    samples = (values[rows].ravel() for rows in chosen)
    np.testing.assert_allclose(found, [interquartile_mean(sample[~np.isnan(sample)]) for sample in samples])


def test_estimates_are_those_of_what_is_there() -> None:
    values = some_missing(3, (6, 5))
    [[point, low, high]] = estimates(values[:, :, None])
    assert point == interquartile_mean(values[~np.isnan(values)])
    assert (low, high) == stratified_bootstrap(values[:, None], interquartile_mean, np.random.default_rng(0))
    one = some_missing(4, (1, 30))
    kept = one[~np.isnan(one)]
    np.testing.assert_array_equal(estimates(one[..., None]), estimates(kept[None, :, None]))
    for padding in (0, 1, 4):  # runs may be made equally long by what is not there
        whole = np.random.default_rng(5).normal(size=(4, 6))
        longer = np.concatenate([whole, np.full((4, padding), np.nan)], 1)
        np.testing.assert_array_equal(estimates(longer[..., None]), estimates(whole[..., None]))
    for bad in (np.full((2, 2, 1), np.nan), [[[1.0], [np.nan]], [[np.nan], [np.nan]]], [[[np.inf]], [[0.0]]]):
        with pytest.raises(ValueError, match="scores holds"):
            estimates(bad)


def test_ranks_are_those_of_what_is_there() -> None:
    whole = np.random.default_rng(6).normal(size=(3, 8, 5)) + np.arange(3)[:, None, None]
    longer = np.concatenate([whole, np.full((3, 8, 2), np.nan)], 2)
    for units in ("tasks", "seeds"):
        found = []
        for values in (whole, longer):
            made = [Score(str(i), "x/y", (0,), own[..., None], tuple(range(8))) for i, own in enumerate(values)]
            [board] = boards([replace(score, units=units) for score in made])
            found.append([(row.score.agent, row.ranks) for row in board.agents])
        assert found[0] == found[1]


# --- published tracks ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, what in EXPERIMENTS.items() if what.score == "return" and not what.simulated]
)
def test_no_episode_of_a_published_track_is_undefined(name: str) -> None:
    what = EXPERIMENTS[name]
    core: Any = gym.make(what.env_id, **what.make_kwargs()).unwrapped.core  # type: ignore[attr-defined]
    runs = what.seeds[:1] if what.options else what.seeds  # where starts are given, they are the same in each run
    seeds = [seed for run in runs for seed in what.evaluation_seeds(run)]
    task, _ = core.initial(
        episode_keys(seeds), **({what.options[0]: np.array(what.options[1])} if what.options else {})
    )
    naive, best = (np.asarray(reference, np.float64) for reference in core.references(task))
    assert (best - naive > 1000 * TIE * np.maximum(np.abs(best), np.abs(naive))).all()
