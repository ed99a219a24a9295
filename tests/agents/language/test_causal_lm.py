"""Causal language models behind `score`: their numbers, and what training on statements of people does to values."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from valuegym.agents.language import causal_lm
from valuegym.agents.language.causal_lm import CausalLM, Words, tiny, train
from valuegym.envs.language.item_bank import balanced, generate, split
from valuegym.envs.language.statements import statements
from valuegym.envs.language.value_probes import answer, change, compare, value_vector

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers: valuegym[text]"
)
BANK = balanced(generate(12))
TEXTS = [
    f"{context} {option}" for context, options in zip(BANK.contexts, BANK.options, strict=True) for option in options
]


class Bigram(torch.nn.Module):
    """A model of the form of transformers' whose next token depends on the last one alone."""

    def __init__(self, words: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(words, words, generator=generator))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return type("Output", (), {"logits": self.table[input_ids]})


def bigram() -> CausalLM:
    words = Words(TEXTS)
    return CausalLM(Bigram(len(words)), words, 0, "bigram")


def test_words() -> None:
    words = Words(["The dog barks.", "The cat!"])
    assert len(words) == 8 and words("The dog, the cat!") == [4, 7, 1, 1, 6, 2]


def test_scores_are_the_log_probabilities_of_the_tokens() -> None:
    model = bigram()
    context, options = BANK.contexts[0], [f" {option}" for option in BANK.options[0]]
    found = model.score(context, options)
    logs = model.model.table.log_softmax(-1).detach().numpy()
    for option, scores in zip(options, found, strict=True):
        tokens = model.encode(option)
        before = [model.encode(context)[-1], *tokens[:-1]]
        assert np.allclose(scores, logs[before, tokens], atol=1e-6) and scores.dtype == np.float64
    with pytest.raises(ValueError, match="has no token"):
        model.score(context, [" "])


def test_training_fits_frequencies_and_repeats_itself() -> None:
    models = [bigram(), bigram()]
    texts = statements(BANK, np.zeros(19), 150)
    before = torch.random.get_rng_state()
    losses = [train(model, texts, epochs=2, lr=0.1) for model in models]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]
    assert torch.equal(*(model.model.table for model in models))
    assert torch.equal(before, torch.random.get_rng_state())
    for bad in ({"epochs": 0}, {"lr": 0.0}, {"batch": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            train(models[0], texts, **bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no text of at least two tokens"):
        train(models[0], [""])


def test_folders_and_the_hub_are_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder; for a model on the hub, pass hub=True"):
        causal_lm.load(tmp_path / "missing")
    with pytest.raises(ValueError, match="pass revision=COMMIT"):
        causal_lm.load("somebody/model", hub=True)


@needs_transformers
def test_tiny_models_are_functions_of_their_seed() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (tiny(TEXTS, seed, width=32, layers=1) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    scores = [model.score(BANK.contexts[0], [" I"])[0] for model in (first, again, other)]
    assert scores[0] == scores[1] != scores[2]
    with pytest.raises(ValueError, match="width is 36; expected a multiple of 8"):
        tiny(TEXTS, width=36)
    with pytest.raises(ValueError, match="no word"):
        tiny(["", " "])


@needs_transformers
def test_filling_and_order_change_no_score() -> None:
    model = tiny(TEXTS, width=32, layers=1)
    context, options = BANK.contexts[1], [" I keep the goods.", " I", " I do not keep the goods and go home."]
    together = model.score(context, options)
    alone = [model.score(context, [option])[0] for option in options]
    turned = model.score(context, options[::-1])[::-1]
    for a, b, c in zip(together, alone, turned, strict=True):
        assert np.allclose(a, b, atol=1e-5) and np.allclose(a, c, atol=1e-5)
    reordered = BANK.reordered([range(len(options))[::-1] for options in BANK.options])
    vectors = [value_vector(bank, answer(bank, model)).point for bank in (BANK, reordered)]
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-4


@needs_transformers
def test_training_on_opposite_people_moves_values_in_opposite_ways() -> None:
    learned, held_out = split(BANK)
    weights = np.random.default_rng(0).choice([-1.0, 1.0], 19)
    base = tiny(TEXTS, width=32, layers=1)
    train(base, statements(learned, np.zeros(19), 1500), lr=0.01)
    start = value_vector(held_out, answer(held_out, base))
    moved = []
    for sign in (1, -1):
        model = replace(base, model=copy.deepcopy(base.model))
        train(model, statements(learned, sign * weights, 1500, seed=1), lr=0.005)
        moved.append(change(value_vector(held_out, answer(held_out, model)), start))
    for sign, found in zip((1, -1), moved, strict=True):
        assert np.corrcoef(found.point[:15], sign * weights[:15])[0, 1] > 0.8
    assert compare(*moved).cosine.point < -0.7


@needs_transformers
def test_a_saved_model_is_loaded_from_its_folder(tmp_path: Path) -> None:
    import tokenizers
    import transformers

    model = tiny(TEXTS, width=32, layers=1)
    words = {"<s>": 0, "<unk>": 1} | {word: number for number, word in enumerate(model.encode.words, 2)}
    fast = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    fast.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", unk_token="<unk>").save_pretrained(
        tmp_path
    )
    model.model.save_pretrained(tmp_path)
    loaded = causal_lm.load(tmp_path)
    for item in (0, 40, -1):
        options = [f" {option}" for option in BANK.options[item]]
        a, b = (one.score(BANK.contexts[item], options) for one in (model, loaded))
        assert all(np.allclose(x, y, atol=1e-6) for x, y in zip(a, b, strict=True))
