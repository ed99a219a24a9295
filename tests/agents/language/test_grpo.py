"""GRPO on games of texts: the tokens that a tiny model reads, and, with TRL, what twenty steps do to its score."""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import valuegym.envs  # noqa: F401 - registers the ids
from valuegym.agents.language import grpo
from valuegym.agents.language.causal_lm import CausalLM, Words, tiny, train
from valuegym.agents.language.grpo import chat, chat_tokenizer, improve, play
from valuegym.envs.language.text_game import games

TOKENS, SMALL = "valuegym/TokenProcess-v0", {"vocabulary": 4, "length": 2, "prompts": 2}
MAKE = games(TOKENS, turns=2, invalid=-3.0, **SMALL)
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers: valuegym[text]"
)


def random_play(episodes: int) -> list[str]:
    """Texts of games whose answers are drawn uniformly from the options."""
    rng = np.random.default_rng(0)
    texts = []
    for seed in range(episodes):
        game = MAKE()
        first, turns = game.reset(seed=seed), []
        while not game.done:
            answer = f"t{rng.integers(4)}"
            turns.append((answer, game.step(answer)))
        texts.append(f"{chat(first, *turns)} turn end")
    return texts


def test_a_vocabulary_without_the_words_of_a_chat_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks 'turn' or 'end'; make it from texts of `chat`"):
        chat_tokenizer(Words(["Prompt p0"]))
    assert chat("Seen.", ("up", "More."), ("down", "Over.")) == "Seen. turn up end More. turn down end Over."


@needs_transformers
def test_the_template_gives_the_tokens_of_the_chat_and_answers_are_parsed() -> None:
    text = random_play(1)[0]
    words = Words([text])
    tokenizer = chat_tokenizer(words)
    first = text.split(" turn")[0]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": first}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert asked == words(f"{first} turn")
    if not hasattr(tokenizer, "parse_response"):
        pytest.skip("needs transformers 5.13")
    later = words(f"{text.rsplit(' turn', 1)[0]} turn")
    for before in (asked, later):
        [call] = tokenizer.parse_response(words("t1 end"), prefix=before)["tool_calls"]
        assert call["function"]["name"] == "step" and call["function"]["arguments"]["action"].strip() == "t1"


class Fixed(torch.nn.Module):
    """A model of the form of transformers' that always says one word and then ends its answer."""

    def __init__(self, words: Words, word: str) -> None:
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(1))
        self.say, self.turn, self.end, self.size = *words(f"{word} turn end"), len(words)

    def forward(self, input_ids: torch.Tensor) -> Any:
        logits = torch.full((*input_ids.shape, self.size), -1e9)
        said = torch.where(input_ids == self.turn, self.say, self.end)
        return type("Output", (), {"logits": logits.scatter(-1, said[..., None], 0.0)})


@needs_transformers
def test_a_fixed_player_earns_what_its_answers_earn() -> None:
    words = Words(random_play(20))
    model = CausalLM(Fixed(words, "t1"), words, None)
    totals = play(model, chat_tokenizer(words), MAKE, 6, first_seed=40)
    core = gym.make(TOKENS, **SMALL).unwrapped.core  # type: ignore[attr-defined]
    for seed, total in zip(range(40, 46), totals, strict=True):
        game = MAKE()
        prompt = int(game.reset(seed=seed)[8])
        assert total == pytest.approx(core.rewards[prompt, 0, 1] + core.rewards[prompt, 2, 1])
    silent = CausalLM(Fixed(words, "turn"), words, None)
    assert (play(silent, chat_tokenizer(words), MAKE, 2) == -6).all()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"group": 1}, "group is 1"),
        ({"lr": 0.0}, "lr is 0"),
        ({"turns": 0}, "turns is 0"),
    ],
)
def test_what_does_not_fit_is_said(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        improve(None, None, MAKE, **wrong)  # type: ignore[arg-type]


def test_a_missing_trl_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    if sys.version_info >= (3, 11):
        with pytest.raises(ImportError, match=r"GRPO needs TRL: pip install .*trl"):
            improve(None, None, MAKE)  # type: ignore[arg-type]
    monkeypatch.setattr(grpo.sys, "version_info", (3, 10, 4))
    with pytest.raises(ImportError, match=r"GRPO needs Python 3\.11 or newer"):
        improve(None, None, MAKE)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs trl: valuegym[trl]")
@pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning", "ignore:.*:DeprecationWarning")
def test_twenty_steps_of_grpo_improve_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    """Scores are 0 for uniformly random tokens and 1 for the optimum, of 200 sampled episodes with other starts.

    The model, a random Llama with whole words for tokens, has first read 400 games of random play.
    """
    texts = random_play(400)
    core = gym.make(TOKENS, **SMALL).unwrapped.core  # type: ignore[attr-defined]
    starts = np.array([int(MAKE().reset(seed=seed)[8]) for seed in range(10_000, 10_200)])
    naive, best = (float(part.mean()) for part in core.references(type("Task", (), {"prompt": starts})))
    state = random.getstate(), torch.random.get_rng_state()
    gains = []
    for seed in range(3):
        model = tiny(texts, seed=seed, width=32, layers=2, heads=2)
        train(model, texts, epochs=12, batch=16, lr=1e-2, seed=seed)
        tokenizer = chat_tokenizer(model.encode)  # type: ignore[arg-type]
        before = play(model, tokenizer, MAKE, 200, first_seed=10_000)
        log = improve(model, tokenizer, MAKE, steps=20, turns=2, seed=seed)
        after = play(model, tokenizer, MAKE, 200, first_seed=10_000)
        assert sum("reward" in row for row in log) == 20
        scores = [(float(totals.mean()) - naive) / (best - naive) for totals in (before, after)]
        gains.append(scores[1] - scores[0])
        with capsys.disabled():
            print(f"\n4 tokens, 2 places, seed {seed}: score {scores[0]:.2f} before and {scores[1]:.2f} after GRPO")
    assert random.getstate() == state[0] and torch.equal(torch.random.get_rng_state(), state[1])
    assert min(gains) > 0
