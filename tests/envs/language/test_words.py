"""Words for observations and actions: they say what the numbers say, and lead to the actions they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym.envs  # noqa: F401 - registers the ids
from valuegym.envs.functional import load
from valuegym.envs.language.words import WORDS, choices, words_for

OWN = "def words(observation):\n    return f'Seen {observation}.', [' a', ' b']\n"


def core_of(name: str, **options: Any) -> Any:
    return gym.make(f"valuegym/{name}-v0", **options).unwrapped.core  # type: ignore[attr-defined]


@pytest.mark.parametrize("entry", WORDS)
def test_every_core_has_words_for_all_that_is_seen(entry: str) -> None:
    core = load(entry)()
    words = words_for(core)
    key = np.arange(20, dtype=np.uint64)
    task, state = core.initial(key)
    for row in core.observation(task, state):
        context, texts, actions = choices(words, row)
        assert context == choices(words, row)[0]  # the same words for the same numbers
        assert all(core.action_space.contains(action if np.ndim(action) else np.int64(action)) for action in actions)
        assert len(texts) == len(actions) and all(text.startswith(" ") for text in texts)


def test_delivery_says_where_the_goal_is_and_what_lies_around() -> None:
    context, texts, actions = choices(words_for(core_of("Delivery")), 88)
    assert context == (
        "Row 8, column 8. The goal is 1 right. Around: up brick, down road, left brick, right goal on brick. Move"
    )
    assert texts == [" up", " down", " left", " right"] and actions == [0, 1, 2, 3]
    corner = choices(words_for(core_of("Delivery", observation="onehot")), np.eye(100)[0])[0]
    assert corner.startswith("Row 0, column 0. The goal is 8 down and 9 right. Around: up edge, down road, left edge")
    for observation in ("features", "image"):
        with pytest.raises(ValueError, match='need observation="cell" or "onehot"'):
            words_for(core_of("Delivery", observation=observation))


def test_the_token_process_says_prompt_and_tokens() -> None:
    env = gym.make("valuegym/TokenProcess-v0")
    env.reset(seed=0, options={"prompt": 2})
    words = words_for(env.unwrapped.core)  # type: ignore[attr-defined]
    env.step(5)
    seen = env.step(0)[0]
    context, texts, _ = choices(words, seen)
    assert context == "Prompt p2. Written: t5 t0. Next:" and texts[3] == " t3" and len(texts) == 8


def test_lock_in_offers_degrees_of_trust_below_and_above_the_threshold() -> None:
    core = core_of("LockIn")
    seen = np.array([0.5, 0.25, 1, 0, 0.125, 0, 0.5], np.float32)
    context, _, actions = choices(words_for(core), seen)
    assert "You believe 0.50. People report 0.25" in context and "12 percent of what" in context
    trust = [core.trust * (action[0] + 1) / 2 for action in actions]
    assert np.allclose(trust, np.array([0, 0.3, 0.9, 3]) * core.threshold, atol=1e-7)
    low = core_of("LockIn", trust=0.06)
    assert [float(a[0]) for a in choices(words_for(low), seen)[2]] == pytest.approx([-1, -0.5, 0.5, 1])


def test_words_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    words = words_for(None, f"{tmp_path / 'mine.py'}:words")
    assert choices(words, 3) == ("Seen 3.", [" a", " b"], [0, 1])
    assert choices(lambda seen: ("Say", {" no": -1.0, " yes": 1.0}), 0)[2] == [-1.0, 1.0]


def test_what_are_no_words_is_said() -> None:
    with pytest.raises(ValueError, match=r"no words for Coevolve; there are for Delivery, TokenProcess, LockIn\. Pass"):
        words_for(core_of("Coevolve"))
    with pytest.raises(ValueError, match=r"No plug-in of valuegym.words is called 'shy'"):
        words_for(None, "shy")
    with pytest.raises(ValueError, match=r"words is 3; expected a function words\(observation\)"):
        words_for(None, 3)  # type: ignore[arg-type]
    for wrong in ("a text", ("", [" a", " b"]), ("c", [" a"]), ("c", [" a", " a"]), ("c", "ab"), ("c", [" a", 1])):
        with pytest.raises(ValueError, match=r"expected \(context, options\): a text and at least two"):
            choices(lambda seen, wrong=wrong: wrong, 0)  # type: ignore[misc]
