"""Annotators of one's own in the query environments: by function, file, module and plug-in; the same in every row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym.envs
from valuegym.envs import plugins
from valuegym.envs.feedback import annotators as a
from valuegym.envs.feedback import utilities as u
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import annotators, own_annotators

QUERY = [id for id, row in valuegym.envs.ENVS.items() if "query" in row.tags]
PAIRS = 7


def arguments(id: str) -> dict[str, Any]:
    small = {"size": (4, 4)} if "RewardInference" in id else {"transitions": 5} if "LQR" in id else {}
    return {"evaluation_points": (PAIRS,), **small, **({"candidates": 3} if "Active" in id else {})}


def answers(id: str, annotator: Any, seed: int = 5, rows: int = 0, **kwargs: Any) -> np.ndarray:
    """Return the labels that an agent sees, (PAIRS,) of the scalar environment or (PAIRS, rows)."""
    kwargs = {**arguments(id), "annotator": annotator, **kwargs}
    env: Any = gym.make_vec(id, num_envs=rows, **kwargs) if rows else gym.make(id, **kwargs)
    env.reset(seed=seed)
    env.action_space.seed(0)
    action = np.zeros(env.action_space.shape, np.float32)  # in an active environment, the first candidate
    return np.array([env.step(action)[0]["label"] for _ in range(PAIRS)])


def discounted(first: Segments, second: Segments) -> np.ndarray:
    """Answer by discounted returns, row by row; differences of at most 1e-6 are "the same"."""
    factor = first.info["discount"][:, None] ** np.arange(first.steps)
    d = (factor * second.rewards).sum(1) - (factor * first.rewards).sum(1)
    return np.where(np.abs(d) <= 1e-6, 0.5, 1.0 * (d > 0))


def regretful(first: Segments, second: Segments) -> np.ndarray:
    factor = first.info["discount"][:, None] ** np.arange(first.steps)
    d = (factor * (second.info["advantages"] - first.info["advantages"])).sum(1)
    return np.where(np.abs(d) <= 1e-6, 0.5, 1.0 * (d > 0))


def chance(first: Segments, second: Segments, rng: np.random.Generator) -> Any:
    assert len(first) == len(second) == 1
    return rng.choice([0.0, 1.0, 0.5, np.nan])


OWN: dict[str, Any] = {
    "discounted": discounted,
    "regretful": regretful,
    "chance": chance,
    "silent": lambda first, second: np.full(len(first), np.nan),
    "bpref": a.bpref("mistake", mistake=0.3),
    "mixture": a.Mixture([a.bpref(), a.Annotator(u.Regret(discount=0.9))]),
}


@pytest.mark.parametrize("id", QUERY)
@pytest.mark.parametrize("name", OWN)
def test_answers_follow_from_the_key_in_every_row(id: str, name: str) -> None:
    alone = answers(id, OWN[name])
    np.testing.assert_array_equal(answers(id, OWN[name]), alone)  # after a reset with the same seed
    together = answers(id, OWN[name], seed=3, rows=4)
    np.testing.assert_array_equal(together[:, 2], alone)
    if name == "chance":
        assert len(np.unique(together)) > 2 and not np.array_equal(together[:, 0], together[:, 1])
    elif name == "silent":
        assert (alone == annotators.CANNOT_TELL).all()


@pytest.mark.parametrize("id", QUERY)
@pytest.mark.parametrize(("own", "name"), [(discounted, "partial-return-noiseless"), (regretful, "regret-noiseless")])
def test_the_columns_hold_what_the_annotators_of_the_suite_compare(id: str, own: Any, name: str) -> None:
    np.testing.assert_array_equal(answers(id, own), answers(id, name))
    if "Probe" in id:
        for probe in ("variable-horizon", "single-step"):
            np.testing.assert_array_equal(answers(id, own, probe=probe), answers(id, name, probe=probe))
    if id == "valuegym/RewardInference-v0":
        np.testing.assert_array_equal(answers(id, own, board="risky"), answers(id, name, board="risky"))


@pytest.mark.parametrize("id", QUERY)
def test_every_pair_is_asked_about_once(id: str) -> None:
    count = 0

    def counting(first: Segments, second: Segments) -> np.ndarray:
        nonlocal count
        count += len(first)
        return discounted(first, second)

    answers(id, counting)
    assert count == PAIRS * (3 if "Active" in id else 1)


def test_what_an_annotator_sees_is_the_true_task() -> None:
    seen: list[tuple[Segments, Segments]] = []

    def look(first: Segments, second: Segments) -> np.ndarray:
        seen.append((first, second))
        return np.zeros(len(first))

    answers("valuegym/RewardInference-v0", look, rows=3)
    for part in seen[0]:
        assert part.observations.dtype.kind == part.actions.dtype.kind == "i" and len(part) == 3
        assert set(part.info) == {"advantages", "values", "features", "discount"} and part.lengths.min() >= 1
        assert (part.info["advantages"] <= 1e-9).all()
    answers("valuegym/LQRFromPreferences-v0", look)
    assert (seen[-1][0].info["advantages"] <= 0).all() and (seen[-1][0].rewards <= 0).all()


SOURCE = """
import numpy as np
from valuegym.envs.preference.annotators import ANNOTATORS

def second(first, second):
    return np.ones(len(first))

class Wrong:
    pass

number = 3
suite = ANNOTATORS["end-state"]
"""


@pytest.mark.parametrize("id", QUERY)
def test_a_text_names_an_annotator(id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"my_module_{QUERY.index(id)}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    for text in (f"{path}:second", f"{name}:second"):
        assert (answers(id, text) == annotators.SECOND).all()
        env = gym.make(id, annotator=text, **arguments(id))
        assert env.spec is not None
        again = gym.make(env.spec.from_json(env.spec.to_json()))
        assert again.spec is not None and again.spec.kwargs["annotator"] == text
        assert env.unwrapped.core.hashes == (plugins.source_digest(text),)  # type: ignore[attr-defined]
    for text, message in (
        (f"{path}:third", "has no third"),
        (f"{path}:number", "annotator is 3; expected a function"),
        (f"{path}:Wrong", "annotator is .*Wrong.*; expected a function"),
        (f"{tmp_path}/none.py:second", "There is no file"),
        ("no_such_module:second", "no_such_module cannot be imported"),
        ("oracle", "annotator is 'oracle'; expected one of .*PACKAGE.MODULE:NAME.*plug-in"),
    ):
        with pytest.raises(ValueError, match=message):
            gym.make(id, annotator=text, **arguments(id))


def test_an_installed_plug_in_is_an_annotator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "answering.py").write_text(SOURCE)
    about = tmp_path / "answering_pack-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: answering-pack\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[valuegym.annotators]\nsecond = answering:second\nsuite = answering:suite\n"
    )
    for id in QUERY:
        assert (answers(id, "answering_pack.second") == annotators.SECOND).all()
    found = own_annotators.resolve("answering_pack.suite")
    assert found is annotators.ANNOTATORS["end-state"]
    with pytest.raises(ValueError, match=r"compares ThreeWeights.*; expected regret or partial return"):
        gym.make("valuegym/LQRFromPreferences-v0", annotator="answering_pack.suite")


@pytest.mark.parametrize("id", QUERY)
@pytest.mark.parametrize(
    ("annotator", "message"),
    [
        (3, "annotator is 3; expected a function"),
        (None, "annotator is None; expected a function"),
        (lambda first: 1, "takes the arguments"),
        (lambda first, second: None, "The answer of the annotator <lambda> is None; expected"),
        (lambda first, second: np.full(len(first), 7), r"The answer of the annotator <lambda>\[0\] is 7.0; expected"),
        (lambda first, second: np.zeros(9), r"annotator <lambda> has shape \(9,\); expected"),
        (a.Annotator(u.Regret(discount=0.9), noise=(a.Skip(0.1, True),)), "needs the column 'recent_return'"),
    ],
)
def test_what_is_no_annotator_is_refused_by_name(id: str, annotator: Any, message: str) -> None:
    run: Callable[[], Any] = lambda: answers(id, annotator)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        run()
    with pytest.raises(ValueError, match=message):
        answers(id, annotator, rows=2)


def test_answers_that_were_forgotten_are_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answers("valuegym/RewardInferenceActive-v0", chance)
    monkeypatch.setattr(own_annotators, "KEPT", 3)
    np.testing.assert_array_equal(answers("valuegym/RewardInferenceActive-v0", chance), whole)
    one, two = own_annotators.resolve(chance), own_annotators.resolve(chance)
    assert isinstance(one, own_annotators.OwnAnnotator) and isinstance(two, own_annotators.OwnAnnotator)

    def pairs(numbers: np.ndarray) -> tuple[Segments, Segments]:
        same = Segments(np.zeros((len(numbers), 2)), np.zeros((len(numbers), 1)))
        return same, same

    key = np.arange(1, 7, dtype=np.uint64)
    codes = one.codes(key, pairs)
    for part in ([0, 1], [1, 2, 3], [5, 0, 3, 4], [2]):  # some are known, and are forgotten when the others are asked
        np.testing.assert_array_equal(two.codes(key[part], pairs), codes[part])
