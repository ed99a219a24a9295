"""Values of tiny language models trained on statements of people: recovered from which form of question.

    python -m studies.language.tiny_people [--units 10] [--table]

Needs the extra `text`. A unit is a seed: of the people's values, their statements and the models.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.agents.language import causal_lm
from valuegym.agents.language.causal_lm import CausalLM
from valuegym.envs.language.item_bank import NAMES, ItemBank, balanced, generate, split
from valuegym.envs.language.statements import statements
from valuegym.envs.language.value_probes import (
    FORMS,
    ValueVector,
    answer,
    change,
    first_place,
    order_flips,
    value_vector,
)

ITEMS, BASE, TUNING, SPREAD = 40, 8000, 4000, 0.7
FIRST, NEXT = 3e-3, 1e-3  # step sizes of the base model and of further training


def expected(bank: ItemBank, values: Array) -> Array:
    """Return the vector (D,) of people of these values (D,), if log-odds are read from their choices themselves."""
    utility = bank.loadings @ values
    count = bank.counts[:, None]
    centred = np.where(np.arange(utility.shape[1]) < count, utility - utility.sum(-1, keepdims=True) / count, 0.0)
    found = np.einsum("ik,ikd->id", centred, bank.loadings)
    return np.array(found.sum(0) / bank.bears.sum(0))


def tuned(base: CausalLM, bank: ItemBank, values: Array, seed: int) -> CausalLM:
    """Return a copy of a model, trained further on statements of people of these values."""
    model = replace(base, model=copy.deepcopy(base.model))
    causal_lm.train(model, statements(bank, values, TUNING, seed=seed + 1), lr=NEXT, seed=seed)
    return model


def measure(seed: int) -> dict[str, list[float]]:
    """Return for each form what the page shows (see HEAD)."""
    bank = balanced(generate(ITEMS))
    learned, held_out = split(bank, seed=seed)
    texts = [f"{text} {option}" for text, some in zip(bank.contexts, bank.options, strict=True) for option in some]
    values = SPREAD * np.random.default_rng(seed).standard_normal(len(NAMES))
    base = causal_lm.tiny(texts, seed)
    causal_lm.train(base, statements(learned, np.zeros(len(NAMES)), BASE, seed=seed), lr=FIRST, seed=seed)
    models = [base, tuned(base, learned, values, seed), tuned(base, learned, -values, seed)]
    truth, found = expected(held_out, values), {}
    for form in FORMS:
        answers = [answer(held_out, model, form) for model in models]
        before, *after = (value_vector(held_out, each) for each in answers)
        shifts: list[ValueVector] = [change(each, before) for each in after]
        x, y = (shift.point for shift in shifts)
        signs = np.concatenate([np.sign(x) == np.sign(truth), np.sign(y) == -np.sign(truth)])
        found[form] = [
            float(np.corrcoef(before.point, truth)[0, 1]),
            float(np.mean([np.corrcoef(x, truth)[0, 1], np.corrcoef(y, -truth)[0, 1]])),
            float(signs.mean()),
            float(np.mean([np.linalg.norm(x), np.linalg.norm(y)]) / np.linalg.norm(truth)),
            float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y))),
            order_flips(answers[1]),
            first_place(answers[1]),
        ]
    return found


HEAD = (
    "form",
    "r of the base model",
    "r of the change",
    "signs right",
    "norm of the change, as a share of the people's",
    "cosine of opposite people's changes",
    "preferred option depends on the order",
    "excess of the first place",
)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each seed."""
    for unit in range(options.units):
        yield [(form, unit) for form in FORMS]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the values of one seed."""
    found = measure(keys[0][-1])
    return [harness.rounded([-1.0 if np.isnan(x) else x for x in found[form]]) for form, _ in keys]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    rows, units = [], 0
    for (form,), values in harness.columns(records).items():
        table, units = np.array(values), len(values)
        none = form == "plain"  # there is no order
        rows.append(
            [
                form,
                *(report.estimate(column) for column in table.T[:5]),
                *(["none", "none"] if none else [report.estimate(column) for column in table.T[5:]]),
            ]
        )
    parts = [
        "# Values of tiny language models",
        f"Models of Llama's architecture (width 64, two layers, about 0.1 million parameters) are trained on {BASE:,} "
        f"statements of people without values, and copies of them on {TUNING:,} statements of people whose nineteen "
        f"values are drawn from N(0, {SPREAD:g}²), or of people of the opposite values. Then they are asked items "
        "whose contexts none of them has seen; the phrases are those of the statements, in other combinations with "
        f"people and places, so that this is no test of understanding. Means over {units} seeds with 95% bootstrap "
        "intervals over seeds; r and cosine over the nineteen values, of the paired change from the base model; the "
        "naive reference is the base model itself.",
        "Written by `python -m studies.language.tiny_people`, which needs the extra `text`.",
        report.table(HEAD, rows),
    ]
    return {".md": report.page(*parts, *CONCLUSIONS)}


CONCLUSIONS = (
    "Scored after its context, an option shows the people's values, and opposite people move a model in opposite ways. "
    "The change is a third as large as the people's own log-odds, because it is a mean over all tokens of an option, "
    "of which few depend on the values: directions can be compared between models, sizes only within one form. "
    "Opposite changes are not exactly opposite (cosine above -1): part of what training does is common to both.",
    "Listed by letters, the same models answer by the order, and nothing of the values is seen. They were trained on "
    "statements alone and have never read a list, so that this says what the form asks for, and not that no model "
    "could answer it. The vector is still a vector: two models of opposite people have a cosine near 1 by letters, "
    "which is agreement on nothing. This is why `order_flips` belongs beside every vector from a form with a list.",
)

STUDY = harness.Study("tiny-people", jobs, run, pages)

if __name__ == "__main__":
    harness.run(STUDY, harness.parser(__doc__, units=10).parse_args())
