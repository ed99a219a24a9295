"""Models of people's answers: they find what is planted, and agree with a second derivation and with published figures.

Whatever needs the answers is skipped without them.
"""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

from valuegym.envs.feedback.people import Questionnaire
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import RISKY

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def study() -> Iterator[Any]:
    yield importlib.import_module("studies.preference.people_figures")


def gambles(seed: int, n: int = 600, outcomes: int = 3) -> Segments:
    rng = np.random.default_rng(seed)
    columns = {"outcomes": rng.uniform(-40, 40, (n, outcomes)), "chances": rng.dirichlet(np.ones(outcomes), n)}
    return Segments(np.zeros((n, 2)), np.zeros((n, 1)), info=columns)


def some_form(people: int = 40, items: int = 20, seed: int = 0) -> Questionnaire:
    rng = np.random.default_rng(seed)
    answers = rng.integers(1, 6, (people, items)).astype(float)
    trait = np.array(list("ACENO" * (items // 5)))
    given = np.arange(items) < items // 2
    return Questionnaire(answers, trait, np.zeros(items, bool), given, tuple("x" * items))


# --- gambles ---


@pytest.mark.parametrize("kind", RISKY)
def test_a_fit_finds_the_parameters_behind_noiseless_shares(study: Any, kind: str) -> None:
    first, second = gambles(1), gambles(2)
    found = study.fit(kind, first, second, study.chances(RISKY[kind], first, second))
    for name in study.FREE[kind]:
        assert found[name] == pytest.approx(RISKY[kind][name], rel=1e-4), name


def test_chances_are_those_of_the_annotators(study: Any) -> None:
    from valuegym.envs.feedback.annotators import risky

    first, second = gambles(1), gambles(2)
    for kind in RISKY:
        p = risky(kind)(first, second, np.random.default_rng(0)).probability
        np.testing.assert_allclose(study.chances(RISKY[kind], first, second), p, atol=1e-12)


# --- a questionnaire ---


def test_ridge_is_least_squares_with_answers_of_nobody(study: Any) -> None:
    """The penalty is as many more people as there are items, each of whom has sqrt(penalty) in one and 0 elsewhere."""
    rng = np.random.default_rng(3)
    given, wanted = rng.standard_normal((30, 6)), rng.standard_normal((30, 4))
    more = np.vstack([given, np.sqrt(7.0) * np.eye(6)]), np.vstack([wanted, np.zeros((6, 4))])
    expected = np.linalg.lstsq(*more, rcond=None)[0]
    np.testing.assert_allclose(study.ridge(given, wanted, 7.0), expected, atol=1e-12)


def test_predictions_use_what_is_given_and_no_more(study: Any) -> None:
    """Changed answers that are to be predicted change no prediction; those of other people do."""
    one = some_form()
    train, test = np.arange(30), np.arange(30, 40)
    hidden = one.answers.copy()
    hidden[30:, ~one.given] = 6 - hidden[30:, ~one.given]
    other = one._replace(answers=hidden)
    for name in study.PREDICTORS:
        found = study.predict(name, one, train, test)
        np.testing.assert_array_equal(found, study.predict(name, other, train, test))
        assert found.shape == (10, 20) and np.isfinite(found).all()
    mean = study.predict("item mean", one, train, test)
    np.testing.assert_allclose(mean[3], one.answers[:30].mean(0))
    own = study.predict("own mean of the trait", one, train, test)
    assert own[0, 5] == pytest.approx(one.answers[30, [0, 5]].mean())
    strong = study.predict("ridge", one, train, test, 1e12)
    np.testing.assert_allclose(strong, mean, atol=1e-6)  # nothing but the mean is left


def test_a_score_is_a_sum_over_traits_of_mean_errors(study: Any) -> None:
    one = some_form()
    rows = np.arange(40)
    assert (study.score(one, rows, one.answers) == 0).all()
    np.testing.assert_allclose(study.score(one, rows, one.answers + 0.5), 2.5)
    missing = one._replace(answers=np.where(np.eye(40, 20, 15) > 0, np.nan, one.answers))
    np.testing.assert_allclose(study.score(missing, rows, one.answers - 1), 5.0)
    assert study.whole(np.array([0.2, 2.4, 2.6, 7.0])).tolist() == [1, 2, 3, 5]


def test_the_published_scores_of_the_questionnaire(study: Any, data_folder: Path) -> None:
    """3.79 for the constant, 2.90 for item means and 1.95 for ridge were found with other folds."""
    scores = {}
    for name in study.PREDICTORS:
        folds = [study.scored_people(name, fold, str(data_folder)) for fold in range(study.PEOPLE_FOLDS)]
        people = {person: value for fold in folds for person, value in fold.items()}
        assert sorted(people) == list(range(300))
        scores[name] = np.mean([value[0] for value in people.values()])
    assert scores["constant 3"] == pytest.approx(3.792, abs=5e-4)
    assert scores["item mean"] == pytest.approx(2.90, abs=0.01)
    assert scores["ridge"] == pytest.approx(1.95, abs=0.01)
    assert scores["own mean of the trait"] < scores["item mean"]
    one = study.questionnaire(str(data_folder))
    constants = [study.score(one, np.arange(300), np.full((300, 300), c)).mean() for c in range(1, 6)]
    assert int(np.argmin(constants)) + 1 == 3


# --- what is committed ---


def test_the_committed_page_follows_from_the_committed_records(study: Any) -> None:
    records = importlib.import_module("studies.harness").load(RESULTS / "data/people-figures.jsonl")
    [page] = study.pages(records, study.PARSER.parse_args([])).values()
    assert (RESULTS / "people-figures.md").read_text() == page


def test_some_of_the_committed_values_are_computed_again(study: Any, data_folder: Path) -> None:
    records = importlib.import_module("studies.harness").load(RESULTS / "data/people-figures.jsonl")
    options = Namespace(data=str(data_folder))
    for kind, name in (("gambles", "constant"), ("gambles", "expected-value"), ("hopper", "stands higher")):
        keys = [(kind, name, 0, unit) for unit in ((0, 5, 10) if kind == "gambles" else (0,))]
        for key, value in zip(keys, study.run(keys, options), strict=True):
            np.testing.assert_allclose(value, records[key], atol=1e-4)


def test_records_hold_means_of_groups_and_no_answers(study: Any) -> None:
    """No single answer, nor anything that it could be read from, is published with the page."""
    records = importlib.import_module("studies.harness").load(RESULTS / "data/people-figures.jsonl")
    assert {key[0] for key in records} == {"gambles", "parameters", "questionnaire", "hopper"}
    assert all(len(value) <= 5 for value in records.values())
    assert max(key[-1] for key in records if key[0] == "gambles") == study.GROUPS - 1
    assert sum(key[0] == "hopper" for key in records) == len(study.FEATURES)


@pytest.mark.slow
def test_the_published_errors_of_gambles(study: Any, data_folder: Path) -> None:
    """Held-out squared errors, found with other folds."""
    wanted = {"constant": 0.0496, "expected-value": 0.0266, "expected-utility": 0.0221, "prospect": 0.0210}
    for model, error in wanted.items():
        values = [study.gambles(model, unit, str(data_folder))[0] for unit in range(study.GROUPS)]
        assert np.mean(values) == pytest.approx(error, abs=1e-4)
