"""Studies of values and of answers by regret on the pendulum: their parts at tiny scale, and their committed pages."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import torch

from valuegym.agents.control.critic_values import load
from valuegym.envs.control import pendulum
from valuegym.envs.feedback.annotators import Annotator
from valuegym.envs.feedback.utilities import PartialReturn, Regret

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"
STUDIES = ("preference.regret_pendulum", "preference.annotator_entropy", "control.value_errors")


def script(name: str) -> Any:
    return importlib.import_module(f"studies.{name}")


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let studies compute regret on a grid that is solved at once."""
    segments = script("control.pendulum_segments")
    found = segments.grid_values((60, 49))
    monkeypatch.setattr(segments, "grid_values", lambda: found)
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_the_committed_page_follows_from_the_committed_records(name: str) -> None:
    module = script(name)
    records = script("harness").load(RESULTS / f"data/{module.STUDY.name}.jsonl")
    options = module.PARSER.parse_args([])
    for suffix, text in module.STUDY.pages(records, options).items():
        path = RESULTS / f"{module.STUDY.name}{suffix}"
        if suffix == ".md":
            assert path.read_text() == text
        assert path.is_file() and "nan" not in path.read_text()
    assert all(key in records for keys in module.jobs(options) for key in keys)


# --- segments ---


def test_segments_are_those_of_the_environment() -> None:
    """Rewards and next states are those of Gymnasium's pendulum, and regrets telescope."""
    segments = script("control.pendulum_segments")
    drawn = segments.draw(50, np.random.default_rng(0), 4)
    x = np.arctan2(drawn.observations[:, :-1, 1], drawn.observations[:, :-1, 0]).astype(float)
    v, torque = drawn.observations[:, :-1, 2].astype(float), 2.0 * drawn.actions[..., 0]
    np.testing.assert_allclose(drawn.rewards, -(x**2 + 0.1 * v**2 + 0.001 * torque**2), atol=1e-4)
    angle, speed = pendulum.move(pendulum.Parameters(), x, v, torque.astype(float))
    np.testing.assert_allclose(segments.observe(angle, speed), drawn.observations[:, 1:], atol=1e-5)
    again = segments.draw(50, np.random.default_rng(0), 4)
    np.testing.assert_array_equal(drawn.actions, again.actions)


# --- regret on the pendulum ---


def test_the_true_reward_is_planned_well_and_scores_are_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    study = script("preference.regret_pendulum")
    monkeypatch.setattr(study, "STARTS", 6)
    study.references.cache_clear()
    truth = study.plan(lambda angle, velocity, torque: -pendulum.cost(angle, velocity, torque))
    assert study.score(truth) > 0.95
    task, naive, best = study.references()
    assert naive < best
    assert study.score(lambda state, t: study.CORE.oracle_action(task, state)) == pytest.approx(1)
    assert study.score(lambda state, t: np.zeros((len(state.angle), 1))) < 0.5
    study.references.cache_clear()


def test_a_constant_and_a_scale_of_a_learnt_reward_do_not_matter() -> None:
    study = script("preference.regret_pendulum")
    one, two = (
        study.plan(lambda x, v, u, a=a, b=b: a - b * pendulum.cost(x, v, u)) for a, b in ((0.0, 1.0), (3.0, 0.5))
    )
    state = script("control.pendulum_segments").draw_states(30, np.random.default_rng(0))
    np.testing.assert_allclose(one(state, 0), two(state, 0), atol=0.05)


def test_acting_greedily_on_the_true_advantage_is_optimal(coarse: Any) -> None:
    study = script("preference.regret_pendulum")
    observe = script("control.pendulum_segments").observe

    def advantage(x: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        x, v, u = np.broadcast_arrays(x, v, u)
        found: np.ndarray = coarse.action_value(observe(x, v).reshape(-1, 3), u.reshape(-1, 1) / 2).reshape(x.shape)
        return found

    state = script("control.pendulum_segments").draw_states(40, np.random.default_rng(1))
    seen, played = observe(*state), study.greedy(advantage)(state, 0)
    lost = coarse.value(seen) - coarse.action_value(seen, played)
    assert lost.max() < 1.0 and lost.mean() < 0.05


def test_learning_is_a_function_of_the_seed(coarse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study = script("preference.regret_pendulum")
    state = script("control.pendulum_segments").draw_states(5, np.random.default_rng(1))
    monkeypatch.setattr(study, "SETTINGS", study.FitSettings(steps=5, batch=16))
    monkeypatch.setattr(study, "NODES", (24, 17))
    monkeypatch.setattr(study, "HELD", 50)
    monkeypatch.setattr(study, "CALIBRATION", 100)
    monkeypatch.setattr(study, "score", lambda policy: float(policy(state, 0).sum()))
    study.annotator.cache_clear()
    before = torch.random.get_rng_state()
    one, two, other = (study.learn("regret", 3, 20, seed) for seed in (0, 0, 1))
    assert one == two != other and set(one) == set(study.LEARNERS)
    assert torch.equal(before, torch.random.get_rng_state())
    study.annotator.cache_clear()


def test_regret_and_partial_return_disagree_about_pairs(coarse: Any) -> None:
    drawn = script("control.pendulum_segments").draw(400, np.random.default_rng(0), 3)
    first, second = drawn[:200], drawn[200:]
    regret, earned = (Annotator(u).difference(first, second) for u in (Regret(coarse, 0.99), PartialReturn(0.99)))
    assert 0.3 < (np.sign(regret) == np.sign(earned)).mean() < 0.9


# --- entropy ---


def test_answers_of_every_annotator_are_measured() -> None:
    study = script("preference.annotator_entropy")
    for name in (study.BOARD, study.GAMBLES):
        found = study.study(name, 0)
        assert list(found) == study.titles(name)
        for annotator, first, second in found.values():
            share, bits, none, temperature = study.measure(annotator, first, second, 0)
            assert 0 <= share <= 1 and 0 < bits < 1 and none == 0 and temperature > 0
    silent = study.measure(study.Implicit(0.0, utility=annotator.utility), first, second, 0)
    assert silent[:2] == [None, None] and silent[3] is None and 0 < silent[2] < 1


def test_the_page_has_every_annotator_of_the_page_on_preferences() -> None:
    text, guide = ((RESULTS / name).read_text() for name in ("annotator-entropy.md", "../feedback.md"))
    summary = script("preference.annotator_entropy").summary(
        script("harness").load(RESULTS / "data/annotator-entropy.jsonl")
    )
    assert summary in text and summary in guide
    for word in ("PartialReturn", "Regret", "EndState", "Thurstone", "Noiseless", "Perceived", "Linear", "Cyclic"):
        assert word in guide and (f"({word}" in text or f"={word}" in text)
    for word in ("ideal_points", "Mixture", "Drifting", "risky", "Implicit"):
        assert f"`{word}(" in text


# --- errors of values ---


def test_the_published_critic_has_the_published_hash_and_error() -> None:
    study, segments = script("control.value_errors"), script("control.pendulum_segments")
    text = (RESULTS / "value-errors.md").read_text()
    [digest] = [line.strip("`") for line in text.splitlines() if len(line) == 66 and line.startswith("`")]
    critic = load(RESULTS / "data" / study.FILE, digest)
    assert (RESULTS / "data" / study.FILE).stat().st_size < 200_000
    drawn = segments.draw(2 * study.PAIRS, np.random.default_rng(4), study.LENGTH)
    published = script("harness").load(RESULTS / "data/value-errors.jsonl")
    row = published["critic", study.PLACES[0], study.TRAINED[-1], 0]
    assert math.isclose(critic.temperature, row[-2], abs_tol=1e-4)
    seen = drawn.observations[:, :-1].reshape(-1, 3)
    error = critic.value(seen) - segments.grid_values((100, 81)).value(seen)
    assert error.mean() == pytest.approx(row[0], abs=2)  # the page has a finer grid


def test_a_critic_that_is_the_grid_has_no_error(coarse: Any) -> None:
    study, segments = script("control.value_errors"), script("control.pendulum_segments")
    drawn = segments.draw(2 * study.PAIRS, np.random.default_rng(0), 1)
    errors = study.critic_errors(coarse, drawn)
    assert errors[:2] == [0, 0] and errors[3] == 0 and errors[5] == pytest.approx(1) and errors[6] == 1


# --- features ---


def test_successor_features_satisfy_their_bellman_equation_and_give_the_values() -> None:
    """At the weights of the true reward they are the values that the solver of grids finds on the same grid."""
    module, study = script("preference.pendulum_features"), script("preference.regret_pendulum")
    w = -np.array([np.pi**2, 0.1 * 64, 0.001 * study.LIMIT**2, 0.0, 0.0])
    t = module.table()
    x, v = t.where.nodes()
    np.testing.assert_allclose(t.features @ w, -pendulum.cost(x, v, np.linspace(-2, 2, module.TORQUES)[:, None]))
    psi = np.zeros((t.where.size, 5))
    for _ in range(3):
        psi = module.successor_features(w, psi)
    ahead = t.features @ w + (t.weight * (psi @ w)[t.corners]).sum(-1)
    np.testing.assert_allclose(ahead.max(0), psi @ w, atol=0.3)
    values = pendulum.values(pendulum.Parameters(), module.NODES)
    assert np.abs(psi @ w - values).mean() < 1.5 and values.std() > 30


def test_regret_from_features_is_that_of_the_grid() -> None:
    """Sums of features and their change from start to end, at the true weights, telescope to the regret."""
    module, study = script("preference.pendulum_features"), script("preference.regret_pendulum")
    w = -np.array([np.pi**2, 0.1 * 64, 0.001 * study.LIMIT**2, 0.0, 0.0])
    drawn = script("control.pendulum_segments").draw(300, np.random.default_rng(0), 3)
    np.testing.assert_allclose(module.sums(drawn) @ w, PartialReturn(0.99)(drawn), atol=1e-4)
    psi = np.zeros((module.table().where.size, 5))
    for _ in range(3):
        psi = module.successor_features(w, psi)
    mine = (module.sums(drawn) + module.change(drawn, psi)) @ w
    known = script("control.pendulum_segments").grid_values((60, 49))
    assert np.corrcoef(mine, Regret(known, 0.99)(drawn))[0, 1] > 0.97


def test_a_logistic_regression_finds_its_weights_and_its_gradient_vanishes() -> None:
    module, rng = script("preference.pendulum_features"), np.random.default_rng(0)
    x, w = rng.standard_normal((4000, 5)), np.array([1.0, -2.0, 0.5, 0.0, 1.5])
    labels = 1.0 * (rng.random(4000) < 1 / (1 + np.exp(-x @ w)))
    found = module.newton(x, labels, np.zeros(5), 30)
    np.testing.assert_allclose(found, w, atol=0.25)
    for i in range(5):
        off = np.eye(5)[i] * 1e-4
        assert abs(module.loss(x, labels, found + off) - module.loss(x, labels, found - off)) < 1e-6


def test_the_learner_by_regret_keeps_the_likeliest_of_what_it_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    module, segments = script("preference.pendulum_features"), script("control.pendulum_segments")
    monkeypatch.setattr(module, "STARTS", 1)
    monkeypatch.setattr(module, "STEPS", 2)
    first, second = (segments.draw(50, np.random.default_rng(i), 3) for i in range(2))
    labels = 1.0 * (np.random.default_rng(2).random(50) < 0.5)
    one, two = (module.by_regret(first, second, labels, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).all()
