"""A language model in the sandbox: it answers as outside, from files that every user may read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents.language.language_agent import LanguageAgent
from valuegym.envs.language.words import choices, words_for
from valuegym.leaderboards.board.sandbox import AgentFailure, Remote

DELIVERY = "valuegym/Delivery-v0"
AGENT = (
    "from pathlib import Path\nfrom valuegym.agents.language.language_agent import LanguageAgent\n\n\n"
    "def make(env, seed):\n    return LanguageAgent(env, seed, model=Path(__file__).parent / 'model')\n"
)


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers: valuegym[text]")
def test_a_language_model_answers_inside_as_outside(tmp_path: Path) -> None:
    from valuegym.agents.language.causal_lm import save, tiny, train

    env = gym.make(DELIVERY)
    words = words_for(env.unwrapped.core)  # type: ignore[attr-defined]
    asked = [choices(words, cell)[:2] for cell in range(100)]
    texts = [context + options[cell % 4] for cell, (context, options) in enumerate(asked)]
    model = tiny(texts, width=16, layers=1, heads=2)
    train(model, texts, epochs=20, batch=10)
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "agent.py").write_text(AGENT, encoding="utf-8")
    save(model, folder / "model")
    cells = np.arange(100)
    outside = LanguageAgent(env, model=folder / "model").predict(cells)[0]
    with Remote(folder, env, (DELIVERY, {}), 0) as inside:
        assert (inside.predict(cells, None, np.ones(100, np.bool_))[0] == outside).all()
    assert len(set(outside.tolist())) > 1
    (folder / "model" / "model.safetensors").chmod(0o600)
    with pytest.raises(AgentFailure, match="chmod a\\+r"), Remote(folder, env, (DELIVERY, {}), 0):
        pass
