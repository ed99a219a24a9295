"""The studies of the preference learners: what they ask, and that their pages say what their scores say."""

from __future__ import annotations

import json
import sys
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


@pytest.fixture(scope="module")
def studies() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import studies as module
    finally:
        sys.path.pop(0)
    return module


@pytest.fixture(scope="module")
def report(studies: Any) -> Any:
    return studies.study_report


@pytest.mark.parametrize("study", ["near-optimal", "people"])
def test_committed_pages_follow_from_the_committed_scores(report: Any, study: str) -> None:
    assert (DOCS / f"{study}.jsonl").stat().st_size < 2**20
    assert report.PAGES[study](DOCS) == (DOCS / f"{study}.md").read_text()


def test_compact_scores_keep_what_is_near_optimal(report: Any) -> None:
    scores = {
        ("regret", "bayes_regret", 3, 0, 0): 0.89996,
        ("regret", "bayes_regret", 3, 0, 2): 0.9,
        ("regret", "bayes_regret", 3, 7, 0): -1.0,
        ("regret", "regret", 10, 1, 0): 0.123456,
    }
    found = report.read(report.compact(scores))
    assert found == {
        ("regret", "bayes_regret", 3): {(0, 0): 0.899, (0, 2): 0.9, (7, 0): -1.0},
        ("regret", "regret", 10): {(1, 0): 0.123},
    }
    np.testing.assert_array_equal(report.shares(found["regret", "bayes_regret", 3]), [0.5, 0])


def test_differences_are_paired_and_intervals_cover_their_mean(report: Any) -> None:
    scores = {
        ("regret", "bayes_regret", 3): {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 1.0, (2, 0): 1.0},
        ("regret", "regret", 3): {(0, 0): 0.0, (1, 0): 1.0},
    }
    first, second = report.paired(scores, ("regret", "bayes_regret", 3), ("regret", "regret", 3))
    np.testing.assert_array_equal([first, second], [[1, 1], [0, 1]])
    assert report.paired(scores, ("regret", "bayes_regret", 3), ("regret", "regret", 10)) is None
    share = np.random.default_rng(0).random(50)
    point, low, high = report.interval(share)
    assert low < point < high
    assert high - low == pytest.approx(2 * 1.96 * share.std() / np.sqrt(50), rel=0.15)


def test_pairs_are_those_of_the_environment_s_episode(studies: Any) -> None:
    core = RewardInference(annotator="regret", split="dev", evaluation_points=(7,))
    task, _ = core.initial(keys.mix(0, np.array([3])))
    pairs, label = studies.asked(core, task, 0, 7)
    for i in range(7):
        pair, answer = core.query(task, np.array([i + 1]))
        for many, one in zip(pairs, pair, strict=True):
            np.testing.assert_array_equal(many[i], one[0])
        assert studies.annotators.answer_codes(label[i : i + 1]) == answer
    other, _ = studies.asked(core, task, 1, 7)
    assert not np.array_equal(other.states, pairs.states)


def test_a_study_goes_on_where_it_stopped(
    studies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["studies", "near-optimal", "--units", "2", "--seeds", "1", "--jobs", "1", "--reports", "3", "5"]
    command += ["--split", "dev", "--learners", "partial_return", "--annotators", "partial-return"]
    command += ["--results", str(tmp_path / "results"), "--docs", str(tmp_path / "docs")]
    monkeypatch.setattr(sys, "argv", command)
    studies.main()
    path = tmp_path / "results" / "near-optimal.jsonl"
    whole = path.read_text()
    assert "4 fits" in capsys.readouterr().out
    path.write_text(whole[:-10])  # the last line cut short
    (tmp_path / "docs" / "near-optimal.jsonl").unlink()
    studies.main()
    assert "2 fits" in capsys.readouterr().out  # those of the task that was not finished
    assert studies.recorded(path) == {tuple(key): score for *key, score in map(json.loads, whole.splitlines())}
    studies.main()
    assert "0 fits" in capsys.readouterr().out
    page = (tmp_path / "docs" / "near-optimal.md").read_text()
    path.unlink()
    studies.main()  # what was published need not be fitted again
    assert "0 fits" in capsys.readouterr().out
    assert (tmp_path / "docs" / "near-optimal.md").read_text() == page
    assert (tmp_path / "docs" / "near-optimal.svg").is_file()
    assert "| 3 | 2 x 1 |" in (tmp_path / "docs" / "near-optimal.md").read_text()


def test_partitions_are_disjoint_and_the_attention_filter_left_no_sheep(studies: Any, data_folder: Path) -> None:
    human = datasets.load("Privileged-Control", str(data_folder))
    hit = human.segments.features[..., 2].any(-1)
    one = hit[:, 0] != hit[:, 1]
    prefers_sheep = np.where(hit[:, 1], human.labels, 1 - human.labels)[one]
    assert len(prefers_sheep) == 163 and not prefers_sheep.any()
    job = studies.Job("human:Privileged-Control", 0, 1, ("partial_return:likelihood",), (896,), data=str(data_folder))
    ((key, score),) = studies.scores(job)
    assert key == ("Privileged-Control", "partial_return:likelihood", 896, 0, 1) and score > 0.9
