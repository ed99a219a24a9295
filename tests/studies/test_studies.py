"""The studies: their machinery, and that every committed page follows from the committed values."""

from __future__ import annotations

import importlib
import json
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"
STUDIES = ("active", "library_leak", "optimal_advantage", "sweeps")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def script(name: str) -> Any:
    return importlib.import_module(name)


# --- records ---


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    study, path, runs = script("_study"), tmp_path / "a" / "b.jsonl", []

    def job(key: Any) -> Any:
        return study.Job([key], lambda: runs.append(key) or [len(runs) / 3])

    every = [("x", unit, 0) for unit in range(4)]
    study.fill(path, map(job, every), (), minutes=-1)
    assert not runs
    study.fill(path, map(job, every[:2]), ())
    path.write_text(path.read_text() + '["x", 2, 0, 0.')  # cut short
    study.fill(path, map(job, every), study.recorded(path))
    assert runs == every
    assert study.recorded(path) == {key: round((i + 1) / 3, 5) for i, key in enumerate(every)}


def test_values_are_gathered_by_cell_and_cells_that_lack_one_left_out() -> None:
    study = script("_study")
    order = [(*cell, unit, seed) for cell in (("a", 1), ("b", 2)) for unit in range(3) for seed in range(2)]
    values = {key: [float(i), 0.5] for i, key in enumerate(order)}
    raw = study.gather(values, order)
    assert raw["a", 1].shape == (3, 2, 2)
    np.testing.assert_array_equal(raw["b", 2][:, :, 0], [[6, 7], [8, 9], [10, 11]])
    again = study.load(study.dump(raw))
    assert list(again) == list(raw)
    for cell in raw:
        np.testing.assert_array_equal(again[cell], raw[cell])
    assert study.spread(again, order) == values
    more = [(*cell, unit, seed) for cell in (("b", 2), ("c", 3)) for unit in range(4) for seed in range(3)]
    assert study.spread(again, more) == {key: values[key] for key in more if key in values}
    del values["b", 2, 1, 1]
    assert list(study.gather(values, order)) == [("a", 1)]


def test_a_study_goes_on_from_the_published_values(tmp_path: Path) -> None:
    study, runs = script("_study"), []

    def jobs(options: Namespace) -> Any:
        for unit in range(options.units):
            yield study.Job([("x", unit, 0)], lambda unit=unit: runs.append(unit) or [unit / 2])

    toy = study.Study("toy", jobs, lambda raw: {".md": f"{raw['x',][:, 0].tolist()}"})
    for units in (2, 4):
        records = tmp_path / f"records{units}"  # nothing of the first run is left but what it published
        study.run(toy, Namespace(units=units, results=records, docs=tmp_path, minutes=float("inf"), table=False))
    assert runs == [0, 1, 2, 3]
    assert (tmp_path / "toy.md").read_text() == "[0.0, 0.5, 1.0, 1.5]"


def test_an_estimate_resamples_whole_units() -> None:
    study, rng = script("_study"), np.random.default_rng(0)
    means = rng.standard_normal(400)
    one = study.estimate(means)
    same = study.estimate(np.repeat(means[:, None], 50, 1))  # repetitions of a unit add nothing
    np.testing.assert_allclose(one, same)
    assert one.mean == pytest.approx(means.mean())
    assert one.high - one.low == pytest.approx(2 * 1.96 * means.std() / 20, rel=0.1)
    counted = rng.random((400, 3)) < 0.2
    part = study.estimate(np.repeat(means[:, None], 3, 1), counted)
    assert part.mean == pytest.approx((means[:, None] * counted).sum() / counted.sum())
    assert np.isnan(study.estimate(means, np.zeros(400, bool)).mean)


# --- tasks ---


def test_tasks_are_those_of_the_query_environment() -> None:
    """A score is that of RewardInference-v0, and pairs keep to the process."""
    from valuegym.envs import keys
    from valuegym.envs.preference.reward_inference import RewardInference

    study = script("_study")
    core, task = RewardInference(evaluation_points=(1,)), study.random_task(3)
    full, _ = core.initial(keys.mix(0, np.array([3])))
    np.testing.assert_array_equal(full.weights[0], task.weights)
    for seed in range(5):
        guess = np.random.default_rng(seed).standard_normal(6).astype(np.float32)
        assert study.score_weights(task, guess.astype(float)) == pytest.approx(core.score(full, guess[None])[0])
    assert study.score_weights(task, task.weights) == pytest.approx(1)
    pairs = study.draw_pairs(task, 300, 3, np.random.default_rng(0))
    whole = study.draw_pairs(task, 300, 3, np.random.default_rng(0), whole=True)
    assert pairs.actions.shape == whole.actions.shape == (300, 2, 3)
    assert whole.mask.all()


def test_the_published_task_has_the_published_returns() -> None:
    task = script("_study").published_task()
    assert task.best == pytest.approx(41.2079, abs=1e-4)
    assert task.naive == pytest.approx(-71.2574, abs=1e-4)


def test_the_largest_loop_is_found_by_walking_all_of_them() -> None:
    module = script("optimal_advantage")
    for unit in range(12):
        mdp = module.loop_task(unit).mdp
        S, A = mdp.features.shape[1:3]
        table = np.random.default_rng(unit).standard_normal((S, A))
        found = -np.inf
        for s in np.flatnonzero(~mdp.terminal[0]):
            for a in range(A):
                there = mdp.next_state[0, s, a]
                if there == s:
                    found = max(found, table[s, a])
                elif not mdp.terminal[0, there]:
                    back = [table[there, b] for b in range(A) if mdp.next_state[0, there, b] == s]
                    found = max(found, table[s, a] + max(back))
        assert module.largest_loop(mdp, table.reshape(-1)) == pytest.approx(found)


def test_ending_or_looping_is_best_as_the_group_says() -> None:
    module = script("optimal_advantage")
    for unit in range(30):
        task = module.loop_task(unit)
        policy, _ = tabular.optimal_actions(task.mdp, tabular.reward(task.mdp, task.weights[None]))
        cell = np.flatnonzero(task.mdp.start[0])
        for _ in range(20):
            cell = task.mdp.next_state[0, cell, policy[0, cell]]
        ended = task.mdp.terminal[0, cell]
        assert not ended.any() if module.GROUPS[unit % 3] == "looping is best" else ended.all()


def test_q_learning_finds_the_way_and_does_not_look_at_its_neighbours() -> None:
    module, study = script("optimal_advantage"), script("_study")
    mdp = delivery.board_mdp(np.array([[[0, 0, 0, 0, 1]]]))
    task = study.make_task(mdp, np.array([-1.0, 10, 0, 0, 0, 0]))
    reward = tabular.reward(task.mdp, task.weights[None])
    advantage = tabular.advantages(*tabular.optimal_values(task.mdp, reward))
    table = np.concatenate([reward, advantage, reward])
    repeat = (3, 1, 1)
    rows = module.Rows(
        np.tile(task.mdp.next_state, repeat),
        table,
        np.tile(task.mdp.terminal, repeat[:2]),
        np.tile(task.mdp.start > 0, repeat[:2]),
        0.999,
    )
    key = np.arange(3, dtype=np.uint64)
    policies = module.q_learning(rows, key, episodes=200, every=20, limit=50)
    assert policies.shape == (3, 11, 5, 4)
    for policy in policies[[0, 2], -1]:
        assert study.score_policy(task, (policy / policy.sum(-1, keepdims=True))[None]) == pytest.approx(1)
    alone = module.q_learning(module.Rows(*(f[2:] for f in rows[:4]), 0.999), key[2:], 200, 20, 50)
    np.testing.assert_array_equal(alone[0], policies[2])


# --- what is committed ---


@pytest.mark.parametrize("name", STUDIES)
def test_the_committed_page_follows_from_the_committed_values(name: str) -> None:
    raw = script("_study").load((RESULTS / f"raw/{name}.jsonl").read_text())
    for suffix, text in script(name).STUDY.pages(raw).items():
        path = RESULTS / f"{name}{suffix}"
        if suffix.endswith(".md"):
            assert path.read_text() == text
            assert all((RESULTS / picture).is_file() for picture in re.findall(r"\]\((\S+\.svg)\)", text))
        else:
            assert path.is_file() and "nan" not in path.read_text()


def quick(name: str, cell: Any) -> bool:
    """Whether values of a cell are computed soon, and have one optimum, so that any machine finds the same."""
    if name == "active":
        return bool(cell[0] == "risky")
    if name == "sweeps":
        return cell[1] in (3, 6) and cell[-3:] == ["partial return", "partial_return", 300]
    if name == "optimal_advantage":
        return cell[0] == "loops" or (cell[0] == "amounts" and cell[-1] <= 1000)
    return cell[0] == "gap"


@pytest.mark.parametrize("name", STUDIES)
def test_some_of_the_committed_values_are_computed_again(name: str) -> None:
    raw, module = script("_study").load((RESULTS / f"raw/{name}.jsonl").read_text()), script(name)
    options = Namespace(units=1, seeds=1, loop_units=3, shaping_units=0, shuffles=0, candidates=10, data=None)
    checked = 0
    for job in module.STUDY.jobs(options):
        for *cell, unit, seed in job.keys[:1]:
            if quick(name, cell):
                place = unit // 3 if cell[0] == "loops" else unit
                expected = raw[tuple(cell)][place, seed]
                np.testing.assert_allclose(job.run()[0], expected, atol=1e-3, err_msg=json.dumps(cell))
                checked += 1
    assert checked >= 3


def test_the_page_of_identifiability_is_what_the_probes_say() -> None:
    assert (RESULTS / "identifiability.md").read_text() == script("identifiability").page()


FIGURE = re.compile(r"[+-]?\d+\.\d+(?: \(-?[\d.]+ to -?[\d.]+\)| \[[^\]]+\])?")


def test_every_figure_of_the_index_stands_on_the_page_it_links() -> None:
    """A row without a link of its own speaks of the page of the row before."""
    text, pages = (RESULTS / "README.md").read_text(), ""
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    figures = 0
    for row in rows:
        if links := re.findall(r"\]\(([\w-]+\.md)\)", row):
            pages = "".join((RESULTS / link).read_text() for link in links)
        for figure in FIGURE.findall(row):
            assert figure in pages, f"{figure} of {row}"
            figures += 1
    assert figures > 10
