"""People that are language models: train a model for every century, and record its answers for the environments.

    python -m studies.language.recorded_people --docs build/people [--units 6]
    python -m studies.language.recorded_people --docs build/mine --model FOLDER --file mine.json

Needs the extra `text`. A unit is a history: values of a population that move through ten centuries, and for each
century a model of Llama's architecture, a copy of one base that is fitted to the choice shares of the population. The
answers to items that no model was fitted to are written to `envs/language/people.json`, which the environments read.
With `--model` people are any causal model of transformers with adapters of low rank, of which the trunk is frozen;
`gym.make("valuegym/FollowLanguage-v0", people="mine.json")` reads the file that is written.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from studies import harness
from studies.harness import Array, Key, Options, Records
from valuegym.agents.language import answers, causal_lm
from valuegym.agents.language.causal_lm import CausalLM
from valuegym.envs import keys
from valuegym.envs.coevolution import trajectories
from valuegym.envs.language import people
from valuegym.envs.language.item_bank import NAMES, ItemBank, balanced, generate, split
from valuegym.envs.language.statements import shares, statements
from valuegym.leaderboards.records.record import write_atomically

ITEMS, CENTURIES = 24, 10  # of every value; nine that are observed, and one to predict
STATEMENTS, STEPS, BATCH = 6000, 48, 48
FIRST, NEXT = 3e-3, 3e-3  # step sizes of the base and of its copies
SEED = 20240620


@cache
def banks() -> tuple[ItemBank, ItemBank]:
    """Return the items that models are fitted to, and those whose answers are recorded; no context is in both."""
    return split(balanced(generate(ITEMS)))


@cache
def base(folder: str | None = None) -> CausalLM:
    """Return the model that all begin with: that of a folder, or a tiny one trained on statements without values."""
    if folder is not None:
        return answers.lora(causal_lm.load(folder))
    every = [f"{text} {option}" for bank in banks() for text, some in zip(bank.contexts, bank.options, strict=True)
             for option in some]  # fmt: skip
    model = causal_lm.tiny(every, SEED)
    causal_lm.train(model, statements(banks()[0], np.zeros(len(NAMES)), STATEMENTS, seed=SEED), lr=FIRST, seed=SEED)
    return model


def path(history: int) -> Array:
    """Return the values (C, D) of the population of a history."""
    key = keys.mix(np.array([SEED], np.uint64), history)
    return trajectories.by_name("mixed").draw(key, CENTURIES, len(NAMES))[0]


def fitted(values: Array, seed: int, folder: str | None = None) -> CausalLM:
    """Return a copy of the base that is fitted to the choice shares of people of these values (D,)."""
    bank, model = banks()[0], replace(base(folder), model=copy.deepcopy(base(folder).model))
    encoded, target = answers.encode(model, bank), torch.tensor(shares(bank, values), dtype=torch.float32)

    def loss(items: torch.Tensor) -> torch.Tensor:
        return answers.share_loss(answers.option_scores(model, encoded, items), target[items])

    trained = [p for p in model.model.parameters() if p.requires_grad]
    answers.fit(trained, loss, torch.arange(len(bank)), STEPS, NEXT, BATCH, seed)
    return model


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each history."""
    for history in range(options.units):
        yield [(history, century) for century in range(CENTURIES)]


def run(keys: Sequence[Key], options: Options) -> list[list[list[float]]]:
    """Return the answers of each century's model to the recorded items."""
    bank = banks()[1]
    found = []
    for history, century in keys:
        model = fitted(path(history)[century], SEED + CENTURIES * history + century, options.model)
        found.append(harness.rounded(answers.choice_shares(model, answers.encode(model, bank)), 4))
    return found


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Write the file of the environments; there is no page."""
    histories = len({key[0] for key in records})
    recorded = np.array([[records[h, c] for c in range(CENTURIES)] for h in range(histories)])
    values = np.array([path(h) for h in range(histories)])
    learn, evaluate = split(banks()[1], seed=1)
    write_atomically(
        Path(options.file),
        people.dump(people.People(banks()[1], np.isin(banks()[1].ids, learn.ids), recorded, values)),
    )
    print(options.file, f"{histories} histories, {len(learn)} items to ask, {len(evaluate)} to answer")
    return {}


STUDY = harness.Study("recorded-people", jobs, run, pages)

if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = harness.parser(__doc__, units=6)
    arguments.add_argument("--model", help="folder of a causal model of transformers; by default a tiny one is made")
    arguments.add_argument("--file", default=str(people.SHIPPED), help="where the people are written")
    harness.run(STUDY, arguments.parse_args())
