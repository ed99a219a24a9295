"""The studies of preferences: tasks, that pages follow from records, and that records can be computed again."""

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

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"
STUDIES = ("active", "library_leak", "optimal_advantage", "sweeps")


def script(name: str) -> Any:
    return importlib.import_module(f"studies.{name}")


# --- tasks ---


def test_tasks_are_those_of_the_query_environment() -> None:
    """A score is that of RewardInference-v0, and pairs keep to the process."""
    from valuegym.envs import keys
    from valuegym.envs.preference.reward_inference import RewardInference

    study = script("preference.tasks")
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
    task = script("preference.tasks").published_task()
    assert task.best == pytest.approx(41.2079, abs=1e-4)
    assert task.naive == pytest.approx(-71.2574, abs=1e-4)


def test_the_largest_loop_is_found_by_walking_all_of_them() -> None:
    module = script("preference.optimal_advantage")
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
    module = script("preference.optimal_advantage")
    for unit in range(30):
        task = module.loop_task(unit)
        policy, _ = tabular.optimal_actions(task.mdp, tabular.reward(task.mdp, task.weights[None]))
        cell = np.flatnonzero(task.mdp.start[0])
        for _ in range(20):
            cell = task.mdp.next_state[0, cell, policy[0, cell]]
        ended = task.mdp.terminal[0, cell]
        assert not ended.any() if module.GROUPS[unit % 3] == "looping is best" else ended.all()


# --- what is committed ---


@pytest.mark.parametrize("name", STUDIES)
def test_the_committed_page_follows_from_the_committed_records(name: str) -> None:
    module = script(f"preference.{name}")
    study = module.STUDY
    records = script("harness").load(RESULTS / f"data/{study.name}.jsonl")
    for suffix, text in study.pages(records, module.PARSER.parse_args([])).items():
        path = RESULTS / f"{study.name}{suffix}"
        if suffix.endswith(".md"):
            assert path.read_text() == text
            assert all((RESULTS / picture).is_file() for picture in re.findall(r"\]\((\S+\.svg)\)", text))
        else:
            assert path.is_file() and "nan" not in path.read_text()


def quick(name: str, key: Any) -> bool:
    """Whether values of a key are computed soon, and have one optimum, so that any machine finds the same."""
    if name == "active":
        return bool(key[0] == "risky")
    if name == "sweeps":
        return key[1] in (3, 6) and key[3:6] == ("partial return", "partial_return", 300)
    if name == "optimal_advantage":
        return key[0] == "loops" or (key[0] == "amounts" and key[3] <= 1000)
    return bool(key[0] == "gap")


@pytest.mark.parametrize("name", STUDIES)
def test_some_of_the_committed_values_are_computed_again(name: str) -> None:
    module = script(f"preference.{name}")
    records = script("harness").load(RESULTS / f"data/{module.STUDY.name}.jsonl")
    options = module.PARSER.parse_args(["--units", "1"])
    options.__dict__ |= {"loop_units": 3, "shuffles": 0, "data": None}
    checked = 0
    for keys in module.jobs(options):
        for key in keys[:1]:
            if quick(name, key):
                [value] = module.run([key], options)
                np.testing.assert_allclose(value, records[key], atol=1e-3, err_msg=json.dumps(key))
                checked += 1
    assert checked >= 3


def test_the_page_of_identifiability_is_what_the_probes_say() -> None:
    found = script("preference.identifiability").pages({}, Namespace())
    assert (RESULTS / "identifiability.md").read_text() == found[".md"]


FIGURE = re.compile(r"[+-]?\d+\.\d+(?: \[[^\]]+\])?")


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
