"""A language model as an agent: it takes the option with the highest mean log-probability of a token."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import make
from valuegym.agents.language import model_files
from valuegym.agents.language.language_agent import LanguageAgent, model_for
from valuegym.envs.language.words import choices, words_for

DELIVERY, TOKENS = "valuegym/Delivery-v0", "valuegym/TokenProcess-v0"
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers: valuegym[text]"
)


class Likes:
    """A model that likes options with one word, and counts what it is asked."""

    def __init__(self, word: str) -> None:
        self.word, self.asked = word, 0

    def score(self, context: str, continuations: Any) -> list[Any]:
        self.asked += 1
        return [np.full(len(text.split()), -1.0 - (self.word not in text)) for text in continuations]


def to_the_goal(context: str, continuations: Any) -> list[Any]:
    """Score the direction that is named first in the sentence about the goal."""
    way = context.split("The goal is")[1].split(".")[0]
    return [np.array([-0.1 if text.strip() in way.split()[1] else -2.0]) for text in continuations]


def test_it_takes_the_likeliest_option() -> None:
    env = gym.make(DELIVERY)
    model = Likes("left")
    agent = LanguageAgent(env, model=model)
    action, memory = agent.predict(np.int64(55))
    assert action == 2 and memory is None and env.action_space.contains(action)
    rows = agent.predict(np.array([55, 3, 55]))[0]
    assert rows.tolist() == [2, 2, 2] and rows.dtype == np.int64
    assert model.asked == 2  # equal contexts are asked once


def test_the_mean_over_tokens_counts_and_the_first_of_equal_ones() -> None:
    agent = LanguageAgent(
        gym.make(TOKENS), model=Likes(" "), words=lambda seen: ("Say", {" one two three": 6, " one": 2, " two": 1})
    )
    assert agent.predict(np.zeros(44, np.float32))[0] == 6


def test_a_model_that_follows_the_goal_arrives() -> None:
    env = gym.make(DELIVERY)
    agent = LanguageAgent(env, model=type("Guide", (), {"score": staticmethod(to_the_goal)})())
    seen, _ = env.reset(seed=0, options={"cell": 0})
    total, over = 0.0, False
    for _ in range(17):
        seen, reward, terminated, _, _ = env.step(agent.predict(seen)[0])
        total, over = total + float(reward), terminated
        if over:
            break
    assert over and total > 0


def test_actions_of_any_kind_and_vector_environments() -> None:
    envs = gym.make_vec("valuegym/LockIn-v0", 3)
    agent = LanguageAgent(envs, model=Likes("little"))
    actions = agent.predict(envs.reset(seed=0)[0])[0]
    core = gym.make("valuegym/LockIn-v0").unwrapped.core  # type: ignore[attr-defined]
    assert actions.shape == (3, 2) and actions.dtype == np.float32
    assert np.allclose(core.trust * (actions[:, 0] + 1) / 2, 0.3 * core.threshold)


def test_it_enters_by_the_table_of_agents(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n\nclass Model:\n    def score(self, context, continuations):\n"
        "        return [np.array([-1.0 - ('b' in text)]) for text in continuations]\n\n\nmodel = Model()\n\n\n"
        "def words(observation):\n    return 'Choose', [' b', ' a']\n"
    )
    mine = f"{tmp_path / 'mine.py'}"
    env = gym.make("CartPole-v1")
    agent = make("language", env, model=f"{mine}:model", words=f"{mine}:words")
    assert agent.predict(env.reset(seed=0)[0])[0] == 1


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    env = gym.make(DELIVERY)
    with pytest.raises(ValueError, match=r"model is ''; expected a folder"):
        make("language", env)
    with pytest.raises(ValueError, match=r"expected a folder, FILE\.py:NAME, or an object with score"):
        model_for(3)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        model_for(str(tmp_path / "none"))
    broken = type("Broken", (), {"score": lambda self, context, continuations: [np.array([np.nan])] * 4})()
    with pytest.raises(ValueError, match=r"scores of the options after .* expected for each of 4 continuations"):
        LanguageAgent(env, model=broken).predict(np.int64(5))


def texts_of_delivery() -> list[str]:
    words = words_for(gym.make(DELIVERY).unwrapped.core)  # type: ignore[attr-defined]
    return [context + text for cell in range(100) for context, texts, _ in [choices(words, cell)] for text in texts]


@needs_transformers
def test_a_tiny_model_from_a_folder(tmp_path: Path) -> None:
    from valuegym.agents.language.causal_lm import load, save, tiny

    model = tiny(texts_of_delivery(), width=16, layers=1, heads=2)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    context = "Row 3, column 4. The zebra"
    assert again.tokens(context) == model.tokens(context)
    for found, expected in zip(
        again.score(context, [" up", " down"]), model.score(context, [" up", " down"]), strict=True
    ):
        assert np.allclose(found, expected, atol=1e-6)
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in (tmp_path / "model").iterdir())
    with pytest.raises(FileExistsError, match="is there; expected a folder to be made"):
        save(model, tmp_path / "model")
    one, two = (
        LanguageAgent(gym.make(DELIVERY), model=source).predict(np.arange(100))[0]
        for source in (model, tmp_path / "model")
    )
    assert (one == two).all() and set(one.tolist()) <= {0, 1, 2, 3}


@needs_transformers
def test_a_changed_model_is_noticed(tmp_path: Path) -> None:
    from valuegym.agents.language.causal_lm import save, tiny
    from valuegym.leaderboards.plan import make_plan
    from valuegym.leaderboards.records.record import read_record
    from valuegym.leaderboards.run import jobs, run

    save(tiny(texts_of_delivery(), width=16, layers=1, heads=2), tmp_path / "model")
    settings = {"model": str(tmp_path / "model")}
    path = run("language", "language/token-process", 0, tmp_path / "results", settings=json.dumps(settings))
    found = read_record(path).provenance["agent"]
    assert found == {"settings": settings, "weights": model_files.digest(model_files.find(tmp_path / "model"))}
    [job] = jobs(["language"], ["language/token-process"], tmp_path / "results", [0], settings=settings)
    assert make_plan([job]).done == [job] and not make_plan([job]).edited
    weights = tmp_path / "model" / "model.safetensors"
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert make_plan([job]).edited == [job]


def test_files_that_only_their_owner_reads_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(PermissionError, match=r"model\.safetensors cannot be read .* \(safetensors writes mode 0600\)"):
        LanguageAgent(gym.make(DELIVERY), model=tmp_path)
