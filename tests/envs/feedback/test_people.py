"""Published answers of people: known by hash, with signs that hold, and the figures of docs/feedback.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from valuegym.envs.feedback import people
from valuegym.envs.feedback.annotators import risky

PAPI = ("items.csv", "responses_300x300.csv")


def copied(data_folder: Path, name: str, target: Path) -> Path:
    (target / name).mkdir()
    for file in people.FILES.get(name, PAPI):
        shutil.copyfile(data_folder / name / file, target / name / file)
        (target / name / file).chmod(0o600)
    return target


@pytest.fixture(scope="module")
def choices(data_folder: Path) -> people.Choices:
    return people.choices13k(data_folder)


LOADERS = {"hopper_human_prefs": people.hopper, "choices13k": people.choices13k, "papi": people.papi}


@pytest.mark.parametrize("name", people.FILES)
def test_files_are_known_by_hash(name: str, data_folder: Path, tmp_path: Path) -> None:
    folder = copied(data_folder, name, tmp_path)
    LOADERS[name](folder / name)  # the folder itself will do, too
    path = folder / name / next(iter(people.FILES[name]))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=rf"{path.name} is not the published file: its SHA-256 differs"):
        LOADERS[name](folder)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"its SHA-256 differs, for it is empty\. Get it again"):
        LOADERS[name](folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{path.name} is missing from"):
        LOADERS[name](folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALUEGYM_DATA", raising=False)
    for loader in LOADERS.values():
        with pytest.raises(FileNotFoundError, match="pass data=FOLDER or set VALUEGYM_DATA"):
            loader()
        with pytest.raises(FileNotFoundError, match="none is not a folder; expected one that holds files such as"):
            loader(tmp_path / "none")
    with pytest.raises(ValueError, match="part is 'test'; expected one of 'train', 'eval'"):
        people.hopper(tmp_path, part="test")


# --- Hopper ---


def test_people_prefer_a_hopper_that_stands_higher(data_folder: Path) -> None:
    """The sign of the labels: turned around, three answers in four would go to the hopper that is further down."""
    pairs = people.hopper(data_folder)
    assert repr(pairs.answers) == "<100 answers: 32 first, 40 second, 28 the same>"
    assert pairs.first.observations.shape == (100, 101, 11) and pairs.first.actions.shape == (100, 100, 3)
    heights = [side.observations[:, :100, 0].mean(1) for side in (pairs.first, pairs.second)]
    decided = pairs.answers.labels != 0.5
    agreement = ((heights[1] > heights[0]) == (pairs.answers.labels == 1))[decided].mean()
    assert agreement == pytest.approx(55 / 72)


def test_nothing_is_held_out_of_the_hopper_pairs(data_folder: Path) -> None:
    train, held = people.hopper(data_folder), people.hopper(data_folder, part="eval")
    assert len(held) == 10
    for row in range(10):
        same = (train.first.observations == held.first.observations[row]).all((1, 2))
        [place] = np.flatnonzero(same & (train.second.observations == held.second.observations[row]).all((1, 2)))
        assert train.answers.labels[place] == held.answers.labels[row]


# --- choices13k ---


def test_choices_are_read_as_published(data_folder: Path, choices: people.Choices) -> None:
    every, standard = people.choices13k(data_folder, standard=False), choices
    assert (len(every.share), len(standard.share)) == (14568, 9831)
    first, second = every.first.info, every.second.info  # problem 1: A 26 at 0.95, else -1; B 21 at 0.95, else 23
    assert first["outcomes"][0, :3].tolist() == [26, -1, 0]
    assert second["outcomes"][0, :3].tolist() == [21, 23, 0] and second["chances"][0, 0] == 0.95
    assert every.share[0] == pytest.approx(0.62667, abs=1e-5) and every.people[0] == 15 and every.problem[0] == 1
    assert np.isin(standard.problem, every.problem).all()
    for side in (every.first, every.second):
        assert np.abs(side.info["chances"].sum(1) - 1).max() < 1e-12


@pytest.mark.parametrize(
    ("kind", "error", "agreement"),
    [("expected-value", 0.0266, 0.767), ("expected-utility", 0.0221, 0.814), ("prospect", 0.0210, 0.823)],
)
def test_annotators_of_gambles_are_as_near_to_people_as_stated(
    kind: str, error: float, agreement: float, choices: people.Choices
) -> None:
    """The parameters that `risky` has, on the problems they were fitted to: mean squared error, and majorities."""
    p = risky(kind)(choices.first, choices.second, np.random.default_rng(0)).probability
    assert np.mean((p - choices.share) ** 2) == pytest.approx(error, abs=5e-5)
    decided = choices.share != 0.5
    assert np.mean(((p > 0.5) == (choices.share > 0.5))[decided]) == pytest.approx(agreement, abs=1e-3)
    assert np.mean((choices.share - choices.share.mean()) ** 2) == pytest.approx(0.0496, abs=5e-5)


def test_majorities_are_answers(choices: people.Choices) -> None:
    pairs = choices.feedback()
    p, labels = pairs.answers.probability, pairs.answers.labels
    assert ((labels == 1) == (p > 0.5)).all() and ((labels == 0.5) == (p == 0.5)).all()


# --- PAPI ---


def test_answers_to_items_are_keyed(data_folder: Path) -> None:
    found = people.papi(data_folder)
    assert found.answers.shape == (300, 300) and found.given.sum() == 120 and np.isnan(found.answers).sum() == 52
    assert np.nanmin(found.answers) == 1 and np.nanmax(found.answers) == 5
    assert {trait: int((found.trait == trait).sum()) for trait in people.TRAITS} == dict.fromkeys(people.TRAITS, 60)
    assert {trait: int((found.trait == trait)[found.given].sum()) for trait in people.TRAITS} == dict.fromkeys(
        "ACENO", 24
    )
    filled = np.where(np.isnan(found.answers), 3, found.answers)
    for trait in people.TRAITS:  # items against a trait go with those for it, and would not if they were still reversed
        correlation = np.corrcoef(filled[:, found.trait == trait].T)
        reverse = found.reverse[found.trait == trait]
        assert correlation[~reverse][:, reverse].mean() > 0.2
    assert found.items[0] == "Worry about things." and found.trait[0] == "N" and not found.reverse[0]


def test_a_questionnaire_is_known_by_what_is_in_its_files(data_folder: Path, tmp_path: Path) -> None:
    folder = copied(data_folder, "papi", tmp_path) / "papi"
    items, answers = (folder / name for name in PAPI)
    good = items.read_text(), answers.read_text()
    items.write_text("\r\n".join(good[0].splitlines()))
    answers.write_text("\n".join(",".join(f'"{x}"' for x in line.split(",")) for line in good[1].splitlines()))
    np.testing.assert_array_equal(people.papi(tmp_path).answers, people.papi(data_folder).answers)
    lines = good[1].splitlines()
    for path, text, message in (
        (
            answers,
            "\n".join([*lines[:-1], lines[-1][:-1] + ("1" if lines[-1][-1] != "1" else "2")]),
            "does not hold what",
        ),
        (answers, "\n".join([*lines[:-1], lines[-1][:-1] + "x"]), "expected 300 rows, of a number and 300 answers"),
        (answers, "\n".join([*lines[:-1], lines[-1] + ",3"]), "expected 300 rows, of a number and 300 answers"),
        (answers, "", "expected 300 rows"),
        (answers, good[1].replace(",5,", ",7,"), "300 answers from 0 to 5 each"),
        (answers, '"', "it is no table in CSV"),
        (answers, "\udcff", "it is no table in CSV"),
        (items, good[0].replace("Worry about things", "Worry"), "does not hold what was published"),
        (items, good[0].replace("-A4", "+A4"), "does not hold what was published"),
        (items, good[0].replace("split", "part"), "expected the columns Key, Sign, split and Item"),
        (items, "<html>", "expected the columns Key"),
    ):
        items.write_text(good[0])
        answers.write_text(good[1])
        path.write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match=message) as error:
            people.papi(tmp_path)
        assert str(error.value).startswith(f"{path}: ")
    items.unlink()
    with pytest.raises(FileNotFoundError, match=r"items\.csv is missing from"):
        people.papi(tmp_path)
