"""The annotator matrix: what its rows and columns keep to, and that its page follows from its records."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")
pytest.importorskip("torch")

import torch

from valuegym.envs import mdp as tabular
from valuegym.envs.feedback import utilities
from valuegym.envs.preference import models
from valuegym.envs.preference.segments import Segment

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"
SOME_ROWS = ["two-kinds", "skip", "coin", "prospect"]
SOME_COLUMNS = ["true-reward", "random", "partial-return", "ensemble", "general", "more", "pal", "vpl", "cpl"]


def script(name: str) -> Any:
    return importlib.import_module(f"studies.{name}")


@pytest.fixture
def matrix() -> Any:
    return script("preference.matrix")


@pytest.fixture
def annotators() -> Any:
    return script("preference.matrix_annotators")


@pytest.fixture
def learners() -> Any:
    return script("preference.matrix_learners")


def computed(matrix: Any, rows: list[str], columns: list[str]) -> dict[Any, Any]:
    """Return all values of one board, from 20 pairs."""
    arguments = ["--units", "1", "--pairs", "20", "--annotators", *rows, "--learners", *columns]
    options = matrix.parse(arguments)
    return {
        key: value for keys in matrix.jobs(options) for key, value in zip(keys, matrix.run(keys, options), strict=True)
    }


def data_of(matrix: Any, learners: Any, board: Any, rows: list[str], n: int) -> Any:
    """Return what learners learn from on board 1."""
    given = [script("preference.matrix_annotators").answers(row, board, 1) for row in rows]
    users = board.first.info["user"]
    return learners.Data(
        board.task,
        matrix.some(board.pairs, slice(n)),
        np.array([answers.labels[:n] for answers in given]),
        np.array([answers.strength[:n] for answers in given]),
        users[:n],
        matrix.some(board.pairs, slice(n, None)),
        users[n:],
        1,
    )


@pytest.fixture
def _few_steps(matrix: Any, learners: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for every fit holds for short ones; the page, imported before, states the true number."""
    for name in ("FIT", "SLOW"):
        monkeypatch.setattr(learners, name, replace(getattr(learners, name), steps=8))


# --- rows ---


def test_rows_give_what_they_state(annotators: Any) -> None:
    """Strengths where a row promises them, both kinds of users where it has two, and probabilities of answers."""
    for name, row in annotators.ROWS.items():
        board = annotators.board(1, 20, row.board)
        answers = annotators.answers(name, board, 1)
        assert len(answers) == 20 + annotators.HELD_OUT
        assert np.isfinite(answers.strength).all() == row.strengths, name
        assert answers.labels.tobytes() == annotators.answers(name, board, 1).labels.tobytes()
        if name not in ("implicit", "late"):
            assert np.isfinite(answers.probability[~answers.skipped]).all(), name


def test_the_minority_wants_the_worst_for_the_best(annotators: Any) -> None:
    board = annotators.board(1, 20)
    weights, other = board.task.weights, board.other
    assert sorted(weights) == sorted(other)
    assert (weights != other).sum() == 2
    assert other[weights.argmax()] == weights.min()
    np.testing.assert_array_equal(board.first.info["user"], np.arange(320) % annotators.USERS)
    assert annotators.answers("two-kinds", board, 1).user.tolist() == board.first.info["user"].tolist()
    points = annotators.ROWS["ideal-points"].make(board).users
    assert len(points) == annotators.USERS
    np.testing.assert_allclose(points[0].utility.point, weights / np.linalg.norm(weights))
    np.testing.assert_allclose(points[-1].utility.point, other / np.linalg.norm(other))


def test_utilities_of_the_study_are_those_of_the_models(annotators: Any) -> None:
    board = annotators.board(1, 20)
    task, pairs = board.task, Segment(*(field[None, :, 0] for field in board.pairs))
    solved, discount = models.solve(task.mdp, task.weights[None]), task.mdp.discount
    for utility, statistic in (
        (annotators.Earned(task.weights, discount), models.PartialReturn()),
        (annotators.ThreeWeights(discount), models.ThreeWeights(*annotators.PEOPLE)),
    ):
        np.testing.assert_allclose(utility(board.first), statistic.utility(solved, pairs, discount)[0], atol=1e-9)


def test_gambles_have_the_expected_value_of_the_segments(annotators: Any) -> None:
    """Chances sum to 1, and expected outcomes are what expected features earn; some segments are a risk."""
    board = annotators.board(1, 20, "risky")
    for part in (board.first, board.second):
        chances, outcomes = part.info["chances"], part.info["outcomes"]
        np.testing.assert_allclose(chances.sum(1), 1)
        np.testing.assert_allclose((chances * outcomes).sum(1), utilities.PartialReturn()(part), atol=1e-9)
        assert (((chances > 0) & (chances < 1)).any(1)).any()


def test_cyclic_answers_are_no_order_and_others_shift_by_one(annotators: Any) -> None:
    board = annotators.board(1, 20)
    cyclic = annotators.ROWS["cyclic"].make(board)
    np.testing.assert_array_equal(
        cyclic.difference(board.first, board.second), -cyclic.difference(board.second, board.first)
    )
    d = np.sign(cyclic.difference(board.first[np.repeat(np.arange(40), 40)], board.first[np.tile(np.arange(40), 40)]))
    better = d.reshape(40, 40) > 0
    assert np.trace(better.astype(int) @ better.astype(int) @ better.astype(int)) > 0  # cycles of three
    on_time, late = (annotators.answers(name, board, 1).labels for name in ("implicit", "late"))
    np.testing.assert_array_equal(on_time[:-1], late[1:])


# --- columns ---


@pytest.mark.usefixtures("_few_steps")
def test_learners_see_no_true_reward(matrix: Any, annotators: Any, learners: Any) -> None:
    """With other weights in the task, and the same answers, all but those that are given them learn the same."""
    board = annotators.board(1, 20)
    data = data_of(matrix, learners, board, ["two-kinds", "first"], 20)
    data = data._replace(strength=np.nan_to_num(data.strength))
    other = data._replace(task=data.task._replace(weights=-data.task.weights[::-1], naive=np.nan, best=np.nan))
    for name, column in learners.COLUMNS.items():
        found = zip(column.learn(data), column.learn(other), strict=True)
        same = all(np.array_equal(a.policy, b.policy) for a, b in found)
        assert same or name in ("true-reward", "bottleneck"), name


@pytest.mark.usefixtures("_few_steps")
def test_learners_side_by_side_are_those_of_the_package(matrix: Any, annotators: Any, learners: Any) -> None:
    """One of several annotators, by our loop and by `fit_pairs`; the ensemble's mean is over its members."""
    from valuegym.agents.reward_models.bradley_terry import fit_pairs, reward_ensemble
    from valuegym.agents.reward_models.pairs import make_pairs

    board = annotators.board(1, 20)
    data = data_of(matrix, learners, board, ["coin", "regret"], 20)
    mdp = board.task.mdp
    for loss in ("bt", "margin", "scaled", "dynamic"):
        [found] = learners.bradley_terry(loss)(data._replace(labels=data.labels[1:], strength=data.strength[1:]))
        generator = data.generator()
        model = reward_ensemble(mdp.features.shape[-1], generator, 1, depth=0, discount=mdp.discount).double()
        sides = [data.pairs.features[:, side] for side in (0, 1)]
        masks = {"first_mask": data.pairs.mask[:, 0], "second_mask": data.pairs.mask[:, 1]}
        pairs = make_pairs(*sides, data.labels[1], strength=data.strength[1], dtype=torch.float64, **masks)
        fit_pairs(model, pairs, learners.FIT, generator, loss)
        [expected] = learners._of_rewards(data, model)
        np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(found.policy, expected.policy)


def test_users_in_turn_keep_their_pairs(matrix: Any, annotators: Any, learners: Any) -> None:
    board = annotators.board(1, 20)
    data = data_of(matrix, learners, board, ["two-kinds"], 20)
    sets = learners._sets(data.pairs, torch.as_tensor(data.labels), torch.ones(1, 20))
    for user in range(annotators.USERS):
        own = data.users == user
        np.testing.assert_array_equal(sets.labels[0, user], data.labels[0, own])
        np.testing.assert_array_equal(sets.inputs[0, user], data.pairs.features[own])
        np.testing.assert_array_equal(sets.mask[0, user], data.pairs.mask[own])


# --- the matrix ---


@pytest.mark.usefixtures("_few_steps")
def test_a_row_does_not_depend_on_the_others(matrix: Any) -> None:
    """Values are the same alone and in another order; the true reward is 1, no answer uniform play."""
    found = computed(matrix, SOME_ROWS, SOME_COLUMNS)
    assert all(found[20, row, "true-reward", 0][0] == 1 for row in SOME_ROWS)
    again = computed(matrix, ["coin", "two-kinds"], SOME_COLUMNS)
    assert again == {key: value for key, value in found.items() if key[1] in ("coin", "two-kinds")}
    assert found[20, "skip", matrix.ANSWERS, 0][0] == 0
    assert {tuple(value) for key, value in found.items() if key[1] == "skip" and key[2] in matrix.COMMON} == {
        (0.0, None, None)
    }
    score, *_, majority, minority = found[20, "two-kinds", "partial-return", 0]
    assert score == majority
    assert minority <= 1


def test_the_best_cross_entropy_is_the_entropy(matrix: Any, annotators: Any, learners: Any) -> None:
    """The annotator's own logits have a cross-entropy of about the entropy, and the accuracy of the best."""
    board = annotators.board(1, 20)
    given = annotators.answers("partial-return", board, 1)
    p = np.clip(given.probability, 1e-12, 1 - 1e-12)
    learnt = learners.Learnt(tabular.uniform_policy(board.task.mdp), np.log(p) - np.log1p(-p))
    score, accuracy, bits = matrix.value(board, learnt, given, False)
    _, _, entropy, best = matrix.facts(given)
    assert score == pytest.approx(0, abs=1e-9)
    assert bits == pytest.approx(entropy, abs=0.1)
    assert accuracy == pytest.approx(best, abs=0.05)


@pytest.mark.usefixtures("_few_steps")
def test_quick_runs_are_the_same_and_go_on_where_they_stopped(
    matrix: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harness, rows = script("harness"), ["partial-return", "skip", "coin"]
    options = [
        "--quick",
        "--annotators",
        *rows,
        "--learners",
        "true-reward",
        "random",
        *matrix.COMMON[:1],
        "pal",
        "--docs",
    ]
    folders = tmp_path / "one", tmp_path / "two"
    harness.run(matrix.STUDY, matrix.parse([*options, str(folders[0])]))
    names = ("annotator-matrix.md", "annotator-matrix.svg", "data/annotator-matrix.jsonl")
    before = [(folders[0] / name).read_bytes() for name in names]
    lines = before[2].decode().splitlines(keepends=True)
    (folders[1] / "data").mkdir(parents=True)
    (folders[1] / names[2]).write_text("".join(lines[::2]) + lines[1][:10])  # stopped, with a line cut short
    harness.run(matrix.STUDY, matrix.parse([*options, str(folders[1])]))
    assert harness.load(folders[1] / names[2]) == harness.load(folders[0] / names[2])
    assert [(folders[1] / name).read_bytes() for name in names[:2]] == before[:2]
    assert "**Worst row: " in before[0].decode()
    picture = before[1].decode()
    assert "worst row" in picture
    assert "nan" not in picture.lower()
    assert "<image" not in picture
    capsys.readouterr()


def test_quick_runs_do_not_touch_the_pages(matrix: Any) -> None:
    options = matrix.parse(["--quick"])
    assert options.units == 2
    assert RESULTS not in (options.docs, *options.docs.parents)
    with pytest.raises(SystemExit):
        matrix.parse(["--pairs", "25"])


def test_heat_maps_hold_their_numbers() -> None:
    figures = script("figures")
    found = figures.HeatMap(
        "t", [["a"], [], ["b"]], [["x", "y"]], {("a", "x"): -0.001, ("b", "y"): 1.5}, {("b", "y")}, {"b": "m"}
    )
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figures.heat_map(found))
    assert [text for text in texts if re.fullmatch(r"-?\d\.\d\d|-", text)] == ["0.00", "-", "-", "1.50"]
    assert {"a", "b", "x", "y", "t", "◀ m"} <= set(texts)
    assert figures._places([["a"], [], ["b", "c"]]) == {"a": 0, "b": 1 + figures.GAP, "c": 2 + figures.GAP}
    assert figures.heat_map(found) == figures.heat_map(found)


# --- what is committed ---


def test_the_committed_page_follows_from_the_committed_records(matrix: Any) -> None:
    records = script("harness").load(RESULTS / "data/annotator-matrix.jsonl")
    found = matrix.pages(records, matrix.parse([]))
    assert (RESULTS / "annotator-matrix.md").read_text() == found[".md"]
    assert "nan" not in (RESULTS / "annotator-matrix.svg").read_text()
    assert not [keys for keys in matrix.jobs(matrix.parse([])) for key in keys if key not in records]
    scores = {key: value[0] for key, value in records.items() if key[2] == "true-reward"}
    assert min(scores.values()) == 1


def test_some_of_the_committed_values_are_computed_again(matrix: Any) -> None:
    records = script("harness").load(RESULTS / "data/annotator-matrix.jsonl")
    columns = ["true-reward", "constant", "random", "partial-return"]
    options = matrix.parse(
        ["--units", "1", "--annotators", "partial-return", "regret", "prospect", "--learners", *columns]
    )
    for keys in matrix.jobs(options):
        for key, value in zip(keys, matrix.run(keys, options), strict=True):
            np.testing.assert_allclose(np.array(value, float), np.array(records[key], float), atol=1e-3)


def test_answers_that_say_nothing_teach_no_more_than_a_random_reward(matrix: Any) -> None:
    """In the committed records the paired difference has an interval that holds 0."""
    records, report = script("harness").load(RESULTS / "data/annotator-matrix.jsonl"), script("report")
    found = matrix.cells(records, matrix.parse([]))
    for row in ("first", "coin"):
        gain = report.estimate(matrix.common(found, row) - found[row, "random"][:, 0])
        assert gain.low < 0 < gain.high


def test_figures_of_the_guide_stand_on_the_page() -> None:
    guide = (RESULTS.parent / "feedback.md").read_text()
    section = guide[guide.index("## Answered by A") : guide.index("## In the query environments")]
    figures = re.findall(r"[+-]?\d\.\d\d \[[^\]]+\]", section.replace("\n", " "))
    page = (RESULTS / "annotator-matrix.md").read_text()
    assert len(figures) >= 4
    assert all(figure in page for figure in figures)
