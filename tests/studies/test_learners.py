"""The studies of the preference learners: what they ask, and that their pages say what their scores say."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from valuegym.envs import keys
from valuegym.envs.preference import datasets
from valuegym.envs.preference.reward_inference import RewardInference

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "results"


@pytest.fixture
def studies() -> Any:
    return importlib.import_module("studies.preference.learners")


@pytest.mark.parametrize("name", ["near-optimal", "people"])
def test_committed_pages_follow_from_the_committed_scores(studies: Any, name: str) -> None:
    path = DOCS / f"data/{name}.jsonl"
    assert path.stat().st_size < 2**20
    found = studies.STUDIES[name].pages(studies.harness.load(path), studies.options_of([name]))
    assert found[".md"] == (DOCS / f"{name}.md").read_text()


def test_shares_count_what_is_near_optimal_by_unit(studies: Any) -> None:
    records = {
        ("random", "regret", "bayes_regret", 3, 0, 0): 0.899,
        ("random", "regret", "bayes_regret", 3, 2, 0): 0.9,
        ("random", "regret", "bayes_regret", 3, 0, 7): -1.0,
        ("stored", "regret", "regret", 10, 0, 1): 0.123,
    }
    found = studies.cells(records, "random")
    assert found == {("regret", "bayes_regret", 3): {(0, 0): 0.899, (0, 2): 0.9, (7, 0): -1.0}}
    np.testing.assert_array_equal(studies.shares(found["regret", "bayes_regret", 3]), [0.5, 0])


def test_differences_are_paired_and_intervals_cover_their_mean(studies: Any) -> None:
    scores = {
        ("regret", "bayes_regret", 3): {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 1.0, (2, 0): 1.0},
        ("regret", "regret", 3): {(0, 0): 0.0, (1, 0): 1.0},
    }
    first, second = studies.paired(scores, ("regret", "bayes_regret", 3), ("regret", "regret", 3))
    np.testing.assert_array_equal([first, second], [[1, 1], [0, 1]])
    assert studies.paired(scores, ("regret", "bayes_regret", 3), ("regret", "regret", 10)) is None
    share = np.random.default_rng(0).random(50)
    point, low, high = studies.report.estimate(share)
    assert low < point < high
    assert high - low == pytest.approx(2 * 1.96 * share.std() / np.sqrt(50), rel=0.15)


def test_pairs_are_those_of_the_environment_s_episode(studies: Any) -> None:
    core = RewardInference(annotator="regret", split="dev", evaluation_points=(7,))
    task, _ = core.initial(keys.mix(0, np.array([3])))
    pairs, label = studies.questions(core, task, 0, 7)
    for i in range(7):
        pair, answer = core.query(task, np.array([i + 1]))
        for many, one in zip(pairs, pair, strict=True):
            np.testing.assert_array_equal(many[i], one[0])
        assert studies.annotators.answer_codes(label[i : i + 1]) == answer
    other, _ = studies.questions(core, task, 1, 7)
    assert not np.array_equal(other.states, pairs.states)


def test_a_study_goes_on_where_it_stopped(studies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["near-optimal", "--units", "2", "--seeds", "1", "--numbers", "3", "5", "--docs", str(tmp_path)]
    options = studies.options_of([*command, "--learners", "partial_return", "--annotators", "partial-return"])
    study, path, ran = studies.STUDIES["near-optimal"], tmp_path / "data" / "near-optimal.jsonl", []

    def fit(wanted: Any, options: Any) -> Any:
        ran.extend(wanted)
        return study.run(wanted, options)

    counted = studies.harness.Study("near-optimal", study.jobs, fit, study.pages)
    studies.harness.run(counted, options)
    whole = path.read_text()
    assert len(ran) == 4
    path.write_text(whole[:-10])  # the last line cut short
    studies.harness.run(counted, options)
    assert len(ran) == 6 and path.read_text() == whole  # those of the number that was not finished
    studies.harness.run(counted, options)
    assert len(ran) == 6
    assert (tmp_path / "near-optimal.svg").is_file()
    assert "| 3 | 2 x 1 |" in (tmp_path / "near-optimal.md").read_text()
    assert [math.floor(score * 1000 + 1e-9) / 1000 for score in studies.harness.load(path).values()] == list(
        studies.harness.load(path).values()
    )


def test_partitions_are_disjoint_and_the_attention_filter_left_no_sheep(studies: Any, data_folder: Path) -> None:
    human = datasets.load("Privileged-Control", str(data_folder))
    hit = human.segments.features[..., 2].any(-1)
    one = hit[:, 0] != hit[:, 1]
    prefers_sheep = np.where(hit[:, 1], human.labels, 1 - human.labels)[one]
    assert len(prefers_sheep) == 163 and not prefers_sheep.any()
    options = studies.options_of(["people", "--data", str(data_folder)])
    key = ("Privileged-Control", "partial_return:likelihood", 896, 1, 0)
    assert key in {key for keys in studies.people(options) for key in keys}
    [score] = studies.fit([key], options)
    assert score > 0.9
