"""A language model as an annotator: answers of a scorer that is known, both orders, and where it is asked."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents.language.annotator import LanguageAnnotator, in_words
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.wrapper import PreferenceFeedback
from valuegym.envs.language.words import words_for


class Counts:
    """A model that likes text with a word, `gain` nats for each time, and the first place by `bias` nats."""

    def __init__(self, word: str, gain: float = 1.0, bias: float = 0.0) -> None:
        self.word, self.gain, self.bias = word, gain, bias

    def score(self, context: str, continuations: Any) -> list[Any]:
        found = re.search(r"First: (.*)\nSecond: (.*)\nThe better", context)
        assert found is not None
        liked = [self.gain * text.count(self.word) for text in found.groups()]
        liked[0] += self.bias
        return [np.array([like - 100.0, like - 100.0]) for like in liked]


def segments(actions: Any, **options: Any) -> Segments:
    actions = np.asarray(actions)
    return Segments(np.full((len(actions), actions.shape[1] + 1), 55), actions, **options)


def describe(segment: Segments) -> str:
    return " ".join("left" if action == 2 else "other" for action in segment.actions[0, : segment.lengths[0]])


FIRST, SECOND = segments([[2, 2, 2], [0, 0, 0], [2, 0, 0]]), segments([[2, 0, 0], [2, 2, 0], [0, 0, 2]])


def test_the_answers_of_a_known_scorer() -> None:
    annotator = LanguageAnnotator(Counts("left", 0.5), describe, temperature=2.0)
    answers = annotator(FIRST, SECOND, np.random.default_rng(0))
    assert annotator.difference(FIRST, SECOND) == pytest.approx([-1.0, 1.0, 0.0])
    assert answers.labels.tolist() == [0, 1, 0.5]
    assert answers.probability == pytest.approx(1 / (1 + np.exp([0.5, -0.5, 0.0])))


@pytest.mark.parametrize("bias", [-3.0, 7.0, 40.0])
def test_a_bias_towards_a_place_cancels(bias: float) -> None:
    plain, biased = (LanguageAnnotator(Counts("left", 1.0, b), describe) for b in (0.0, bias))
    assert biased.difference(FIRST, SECOND) == pytest.approx(plain.difference(FIRST, SECOND), abs=1e-12)
    assert abs(biased._log_odds(("other", "left"))) > 1.5  # one order alone is decided by the place
    swapped = biased.difference(SECOND, FIRST)
    assert swapped == pytest.approx(-biased.difference(FIRST, SECOND))


def test_nothing_is_random_unless_drawn() -> None:
    def labels(seed: int, draw: bool) -> list[float]:
        annotator = LanguageAnnotator(Counts("left", 0.1), describe, draw=draw)
        many = segments([[2, 2, 2]] * 400), segments([[0, 0, 0]] * 400)
        return annotator(*many, np.random.default_rng(seed)).labels.tolist()

    assert labels(0, False) == labels(1, False) == [0.0] * 400
    assert labels(0, True) == labels(0, True) != labels(1, True)
    assert np.mean(labels(0, True)) == pytest.approx(1 / (1 + np.exp(0.3)), abs=0.08)


def test_segments_in_words() -> None:
    words = words_for(gym.make("valuegym/Delivery-v0").unwrapped.core)  # type: ignore[attr-defined]
    short = segments([[2, 3]], lengths=np.array([1]))
    text = in_words(words)(short)
    assert text.startswith("Row 5, column 5. The goal is") and text.endswith("Move left.") and text.count("Move") == 1
    with pytest.raises(ValueError, match=r"Action 3 of step 0 is none of the options \[' a', ' b'\]; pass `describe`"):
        in_words(lambda seen: ("Say", [" a", " b"]))(segments([[3]]))


def test_it_answers_preference_feedback() -> None:
    env = gym.make("valuegym/Delivery-v0")
    words = words_for(env.unwrapped.core)  # type: ignore[attr-defined]
    annotator = LanguageAnnotator(Counts("Move left", 0.5), in_words(words))
    wrapped = PreferenceFeedback(env, annotator, budget=6, segment_length=3, every=20, rounds=2, seed=0)
    wrapped.reset(seed=0)
    for step in range(60):
        _, _, terminated, truncated, _ = wrapped.step(step * 7 % 4)
        if terminated or truncated:
            wrapped.reset()
    feedback = wrapped.feedback()
    assert feedback is not None
    left = [(part.actions == 2).sum(1) for part in (feedback.first, feedback.second)]
    assert len(feedback) == 6
    assert feedback.answers.labels.tolist() == (0.5 + 0.5 * np.sign(left[1] - left[0])).tolist()


def test_it_answers_query_environments() -> None:
    asked: list[str] = []

    def told(segment: Segments) -> str:
        asked.append(f"{segment.rewards[0].sum():.3f}")
        return "left " * int(segment.rewards[0].sum() > 0)

    annotator = LanguageAnnotator(Counts("left"), told)
    env = gym.make("valuegym/RewardInference-v0", split="dev", evaluation_points=(0, 3), annotator=annotator)
    env.reset(seed=0)
    assert len(asked) >= 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"question": "Which of {first}?"}, "expected a text with {first} and {second}, each once"),
        ({"answers": (" a", " a")}, "expected two different texts"),
        ({"describe": "left"}, "expected a function of a segment"),
        ({"model": 3}, "expected a folder, FILE.py:NAME, or an object with score"),
        ({"draw": 1}, "draw is 1"),
    ],
)
def test_what_does_not_fit_is_said(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        LanguageAnnotator(**({"model": Counts("left"), "describe": describe} | wrong))
    with pytest.raises(ValueError, match="There are 3 first and 2 second"):
        LanguageAnnotator(Counts("left"), describe).difference(FIRST, SECOND[:2])
