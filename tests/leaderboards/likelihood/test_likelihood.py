"""The human-likelihood track: metrics against direct formulas, honest folds, and the published numbers."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
from valuegym.envs.preference import datasets, models, subjective_utility
from valuegym.leaderboards.likelihood import model
from valuegym.leaderboards.likelihood.model import Model, Pairs

ROWS = {name: candidates for name, (candidates, _) in model.ROWS.items()}
# Mean ten-fold cross-entropy: partial return, regret, partial return + end value, three free weights.
PUBLISHED = {
    "Privileged-Control": (0.6202, 0.5730, 0.5655, 0.5486),
    "Pr-Privileged": (0.5053, 0.5250, 0.4967, 0.4742),
    "Regret-Privileged": (0.5463, 0.4402, 0.4467, 0.3944),
    "Question-Control": (0.5306, 0.4851, 0.4851, 0.4796),
    "Pr-Question": (0.5045, 0.5373, 0.5373, 0.5018),
    "Regret-Question": (0.5162, 0.4634, 0.4634, 0.4523),
}
UNIQUE = {"Privileged-Control": 1234, "Pr-Privileged": 1797, "Regret-Privileged": 1672}


@cache
def load(condition: str, folder: Path) -> Pairs:
    return model.pairs(datasets.load(condition, str(folder)))


def synthetic(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences of very unequal units, true weights, Bradley-Terry answers."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1.0, 30.0, 0.02]
    weights = np.array([0.7, -0.05, 40.0])
    return X, weights, models.BradleyTerry().label(X @ weights, rng.random(n))


# --- fitting and metrics ---


def test_fit_finds_the_weights_and_a_stationary_point() -> None:
    X, weights, labels = synthetic()
    found = model.fit(X, labels)
    np.testing.assert_allclose(found.weights, weights, rtol=0.2)
    gradient = X.T @ (models.BradleyTerry().probability(X @ found.weights) - labels)
    assert np.abs(gradient / np.abs(X).sum(0)).max() < 1e-6 and found.rate == 0


def test_fit_finds_lapses() -> None:
    X, weights, labels = synthetic(20_000)
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(len(labels)) < 0.2, rng.integers(2, size=len(labels)), labels)
    found = model.fit(X, labels, lapse=True)
    assert found.rate == pytest.approx(0.2, abs=0.05)
    np.testing.assert_allclose(found.weights, weights, rtol=0.2)
    losses = [
        models.Lapse(models.BradleyTerry(), rate).cross_entropy(X @ found.weights, labels).mean()
        for rate in (found.rate - 0.01, found.rate, found.rate + 0.01)
    ]
    assert losses[1] < min(losses[0], losses[2])


def test_priors_shrink_and_vanish() -> None:
    X, _, labels = synthetic(300)
    free, tight, wide = (model.fit(X, labels, scales=s).weights for s in ((), (1e-3,) * 3, (1e6,) * 3))
    np.testing.assert_allclose(free, wide, rtol=1e-4)
    assert (np.abs(tight) < 5e-3).all()
    assert (model.fit(X * [1, 0, 1], labels, scales=(1.0,) * 3).weights[1]) == 0


def test_tie_band_is_the_best_there_is() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 5, 40):
        x, labels = np.round(rng.normal(size=n), 1), rng.choice([0, 0.5, 1.0], n)
        band = model.tie_band(x, labels)
        best = max(model.is_correct(x, labels, b).mean() for b in (0.0, *np.abs(x)))
        assert model.is_correct(x, labels, band).mean() == best


def test_calibration_error() -> None:
    rng, n = np.random.default_rng(0), 200_000
    p = rng.random(n)
    labels = 1.0 * (rng.random(n) < p)
    assert model.calibration_error(p, labels) < 0.01
    assert model.calibration_error(np.full(100, 0.9), np.full(100, 0.5)) == pytest.approx(0.4)
    sharp = 0.5 + 0.5 * np.sign(p - 0.5) * np.abs(2 * p - 1) ** 0.5
    assert model.calibration_error(sharp, labels) > 0.07
    flip = rng.random(n) < 0.5  # which segment is called the second does not matter
    turned = model.calibration_error(np.where(flip, 1 - p, p), np.where(flip, 1 - labels, labels))
    assert turned == pytest.approx(model.calibration_error(p, labels), abs=1e-3)


def test_floor_is_that_of_certainty_but_for_ties() -> None:
    labels = np.array([0, 1, 0.5, 0.5])
    assert model.floor(labels) == pytest.approx(np.log(2) / 2)


def test_folds_keep_groups_together_and_are_even() -> None:
    group = np.random.default_rng(0).integers(500, size=2000)
    fold = model.folds(group, np.random.default_rng(1))
    assert all(len(set(fold[group == g])) == 1 for g in np.unique(group))
    sizes = np.bincount([fold[group == g][0] for g in np.unique(group)], minlength=10)
    assert sizes.max() - sizes.min() <= 1


def test_group_bootstrap_sees_that_copies_are_no_news() -> None:
    values, group = np.random.default_rng(0).normal(size=200), np.arange(200)
    alone = model.group_means(values, group, 2000, 0).std()
    copied = model.group_means(np.repeat(values, 9), np.repeat(group, 9), 2000, 0).std()
    assert copied == pytest.approx(alone) and alone == pytest.approx(values.std() / 200**0.5, rel=0.1)


def test_every_figure_of_the_explanation_is_on_the_page() -> None:
    docs = Path(__file__).parents[3] / "docs"
    explained, found = (
        (docs / name).read_text("utf-8") for name in ("preference-model.md", "results/human-likelihood.md")
    )
    figures = re.findall(r"[+-]?\d\.\d+ \[[^]]+\]|\d\.\d{4}", " ".join(explained.split()))
    assert len(figures) > 40 and not [figure for figure in figures if figure not in found]


# --- people ---


@pytest.mark.parametrize("condition", PUBLISHED)
def test_published_losses_are_reproduced(data_folder: Path, condition: str) -> None:
    data = load(condition, data_folder)
    tolerance = 0.0015 if len(data.labels) > 1000 else 0.004  # what one partition into folds differs by from another
    for name, expected in zip(
        ("partial return", "regret", "partial return + end value", "three free weights"),
        PUBLISHED[condition],
        strict=True,
    ):
        held = model.cross_validate(ROWS[name], data, grouped=False, partitions=1)
        assert held.mean == pytest.approx(expected, abs=tolerance), name


def test_published_weights_accuracies_and_mixture_are_reproduced(data_folder: Path) -> None:
    data = load("Privileged-Control", data_folder)
    scales = {"partial return": 0.059, "regret": 0.242}
    for name, scale in scales.items():
        (one,) = ROWS[name]
        assert model.fit(one.differences(data), data.labels).weights == pytest.approx([scale], abs=5e-4)
    weights = model.fit(model.THREE_WEIGHTS.differences(data), data.labels).weights
    assert weights == pytest.approx([0.299, 0.163, 0.284], abs=1e-3)
    for name, share in (("regret", 0.559), ("partial return", 0.486)):
        (one,) = ROWS[name]
        hits = model.is_correct(one.differences(data)[:, 0], data.labels, models.Noiseless().tie_band)
        assert hits.mean() == pytest.approx(share, abs=5e-4)
    assert model.floor(data.labels) == pytest.approx(0.137, abs=5e-4)
    shown = load("Pr-Privileged", data_folder)
    (mixed,) = ROWS["partial return, lapse"]
    found = model.fit(mixed.differences(shown), shown.labels, lapse=True)
    assert found.rate == pytest.approx(0.059, abs=0.002)
    assert model.cross_validate([mixed], shown, grouped=False, partitions=1).mean == pytest.approx(0.4535, abs=0.0015)


def test_a_single_weight_is_a_temperature(data_folder: Path) -> None:
    """One over the other, and so are the held-out losses, by two ways of fitting."""
    data = load("Regret-Question", data_folder)
    x = model.REGRET.differences(data)
    fold = model.folds(data.group, np.random.default_rng([0, 0]))
    fit = models.cross_validate_temperature(models.BradleyTerry, x[:, 0], data.labels, fold)
    assert 1 / fit.temperature == pytest.approx(model.fit(x, data.labels).weights[0], rel=1e-4)
    held = model.cross_validate([model.REGRET], data, partitions=1)
    assert fit.loss == pytest.approx(held.mean, abs=1e-7) and len(fit.folds) == model.FOLDS


def test_unique_pairs(data_folder: Path) -> None:
    assert {c: int(load(c, data_folder).group.max()) + 1 for c in UNIQUE} == UNIQUE
    human = datasets.load("Regret-Question", str(data_folder))
    turned = human.segments._replace(**{name: f[:, ::-1] for name, f in human.segments._asdict().items()})
    assert (model.pair_groups(turned) == model.pair_groups(human.segments)).all()


def test_no_answer_reaches_its_own_prediction(data_folder: Path) -> None:
    data = load("Regret-Question", data_folder)
    before = model.cross_validate([model.SUBJECTIVE_UTILITY], data, partitions=1)
    changed = np.flatnonzero(data.group == data.group[7])
    labels = data.labels.copy()
    labels[changed] = 1 - labels[changed] + (labels[changed] == 0.5) * 0.5
    after = model.cross_validate([model.SUBJECTIVE_UTILITY], data._replace(labels=labels), partitions=1)
    assert (after.probability[0, changed] == before.probability[0, changed]).all()
    assert (after.probability != before.probability).any()


def test_swapping_a_pair_changes_nothing(data_folder: Path) -> None:
    data = load("Regret-Question", data_folder)
    turned = data._replace(
        segments=type(data.segments)(*(field[:, :, ::-1] for field in data.segments)), labels=1 - data.labels
    )
    for candidates in ROWS.values():
        if len(candidates) == 1:
            a, b = (model.cross_validate(candidates, d, partitions=1) for d in (data, turned))
            assert a.mean == pytest.approx(b.mean, abs=1e-6) and a.accuracy == b.accuracy


def test_subjective_utility_predicts_people_better_than_three_weights(data_folder: Path) -> None:
    for condition in PUBLISHED:
        data = load(condition, data_folder)
        three, ours = (
            model.cross_validate([one], data, partitions=1) for one in (model.THREE_WEIGHTS, model.SUBJECTIVE_UTILITY)
        )
        gain, low, _ = model.paired_gain(three, ours, data.group)
        assert gain > 0
        if condition == "Privileged-Control":
            assert gain >= 0.015 and low > 0
    parameters = model.SUBJECTIVE_UTILITY.differences(data).shape[1] + model.SUBJECTIVE_UTILITY.lapse
    assert parameters == len(subjective_utility.TERMS) + 1 == model.ROWS["subjective utility"][1] == 8


def test_selection_happens_inside_the_folds(data_folder: Path) -> None:
    data = load("Regret-Question", data_folder)
    noise = np.random.default_rng(0).normal(size=(len(data.labels), 40))
    candidates = (Model("noise", lambda _: noise), model.REGRET)
    held = model.cross_validate(candidates, data, partitions=1)
    assert held.chosen == ("regret",) * 10
    alone = model.cross_validate([model.REGRET], data, partitions=1)
    assert (held.loss == alone.loss).all()


def test_the_page_is_written_and_the_same_again(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    from valuegym.leaderboards.cli.main import main

    few = {
        name: model.ROWS[name]
        for name in ("regret", "three free weights", "three weights, prior and lapse", "subjective utility")
    }
    monkeypatch.setattr(model, "ROWS", few)
    monkeypatch.setattr(model, "ABLATIONS", model.ABLATIONS[:1])
    pages = []
    for name in ("a", "b"):
        folder = tmp_path / name
        assert (
            main(["likelihood", "--data", str(data_folder), "--condition", "Regret-Question", "--output", str(folder)])
            == 0
        )
        pages.append([(folder / f"human-likelihood.{ending}").read_bytes() for ending in ("md", "svg")])
    assert pages[0] == pages[1]
    assert b"| subjective utility | 8 |" in pages[0][0] and pages[0][1].startswith(b"<?xml")
    assert main(["likelihood", "--data", str(data_folder), "--condition", "nobody", "--output", str(tmp_path)]) == 2
