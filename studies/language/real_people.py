"""Real language models as people: adapters fitted to choice shares of three populations, asked about other items.

    python -m studies.language.real_people --model FOLDER [--units 3] [--data FOLDER | --generated] [--table]

Needs the extra `text`. A unit is a seed: of the split of items, of the adapters and of the order of training. The model
is any causal model of transformers in a folder, such as SmolLM2 (`valuegym convert`); its trunk is frozen and computed
once. Items are the published ones of five moral foundations in the folder of --data or of VALUEGYM_DATA, or generated
ones where there is none. With `--docs build/real-people` nothing of the repository is overwritten.

Texts differ more than people do. So shares are read from changes of log-probabilities against the model as it was, in
the fit as in what is reported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from studies.language import adapted
from valuegym.envs.language.item_bank import FOUNDATIONS, NAMES, RULES, ItemBank, balanced, generate, load, split
from valuegym.envs.language.statements import shares

# Values of populations, in nats of choice; the second is the opposite of the first, the third orthogonal to both.
POPULATIONS = {
    "individual": (1.5, 1.0, -0.5, -1.0, -1.5),
    "binding": (-1.5, -1.0, 0.5, 1.0, 1.5),
    "mixed": (-1.0, 1.5, 1.0, -1.5, 0.667),
}
OPPOSITE = ("individual", "binding")
LEARNED, HELD_OUT = 30, 30  # items of each foundation
EPOCHS, BATCH, LR = 3, 8, 3e-3
SEED = 4000
FIRST = len(RULES)  # place of the first foundation among all values


class Items(NamedTuple):
    """Items to learn from and held-out ones, in the order of the foundations."""

    learned: ItemBank
    held_out: ItemBank


@cache
def _bank(data: str | None, name: str) -> ItemBank:
    if name == "published":
        return load(data, ("foundations",))
    bank = generate(2 * (LEARNED + HELD_OUT))
    return bank[bank.bears[:, FIRST : FIRST + len(FOUNDATIONS)].any(1)]


def items_of(data: str | None, name: str, seed: int) -> Items:
    """Return the same number of items of each foundation on both sides; no context is on both."""
    rng, found = np.random.default_rng(SEED + seed), []
    for side, count in zip(split(balanced(_bank(data, name)), seed=seed), (LEARNED, HELD_OUT), strict=True):
        rows = [np.flatnonzero(side.bears[:, FIRST + f]) for f in range(len(FOUNDATIONS))]
        if min(map(len, rows)) < count:
            raise ValueError(f"There are {min(map(len, rows))} items of a foundation on a side; expected {count}.")
        found.append(side[np.concatenate([rng.permutation(each)[:count] for each in rows])])
    return Items(*found)


def preference(scores: Array, bank: ItemBank) -> Array:
    """Return how much an option that serves an item's foundation is preferred (F, n), in nats per token."""
    sign = bank.loadings[:, 0, FIRST : FIRST + len(FOUNDATIONS)].sum(-1)
    found: Array = (sign * (scores[:, 0] - scores[:, 1])).reshape(len(FOUNDATIONS), -1)
    return found


class Prepared(NamedTuple):
    """The model, items, both banks below its last layers, what it says of them as it was (I, 4), and CPU-seconds."""

    model: Any
    items: Items
    texts: tuple[Any, Any]
    before: tuple[Array, Array]
    seconds: float


@lru_cache(maxsize=1)
def _prepared(folder: str, data: str | None, name: str, seed: int) -> Prepared:
    from valuegym.agents.language import answers, causal_lm

    model, items = causal_lm.load(folder), items_of(data, name, seed)
    start = time.process_time()
    learned, held_out = (answers.through_trunk(model, answers.encode(model, bank), adapted.TOP) for bank in items)
    upper = answers.upper_layers(model, adapted.TOP)
    before = adapted.scores(upper, learned), adapted.scores(upper, held_out)
    return Prepared(model, items, (learned, held_out), before, time.process_time() - start)


def fitted(ready: Prepared, values: Sequence[float], seed: int) -> Any:
    """Return the upper layers of a copy whose adapters are fitted to the choice shares of a population."""
    import torch

    from valuegym.agents.language import answers

    every = np.zeros(len(NAMES))
    every[FIRST : FIRST + len(FOUNDATIONS)] = values
    target = torch.tensor(shares(ready.items.learned, every), dtype=torch.float32)
    before = torch.tensor(np.maximum(ready.before[0], -100), dtype=torch.float32)  # absent options have less

    def loss(scores: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return answers.share_loss(scores - before[items], target[items])

    return adapted.trained(ready.model, ready.texts[0], loss, EPOCHS, LR, BATCH, seed)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each training."""
    for seed in range(options.units):
        for population in POPULATIONS:
            yield [(adapted.items_name(options), population, seed)]


def run(keys: Sequence[Key], options: Options) -> list[dict[str, Any]]:
    """Return what the model prefers in held-out items before and after each fit, and CPU-seconds."""
    folder, found = adapted.folder_of(options), []
    with adapted.one_thread():
        for name, population, seed in keys:
            ready = _prepared(folder, options.data, name, seed)
            start = time.process_time()
            upper = fitted(ready, POPULATIONS[population], SEED + seed)
            seconds = time.process_time() - start
            after = adapted.scores(upper, ready.texts[1])
            print(f"{name}, seed {seed}: {population} fitted in {seconds:.0f} CPU-s", flush=True)
            found.append({
                "model": Path(folder).name,
                "learned": len(ready.items.learned),
                "before": harness.rounded(preference(ready.before[1], ready.items.held_out), 4),
                "after": harness.rounded(preference(after, ready.items.held_out), 4),
                "seconds": round(seconds, 1),
                "trunk": round(ready.seconds, 1),
            })  # fmt: skip
    return found


# --- the page ---


def correlation(vectors: Array, values: Sequence[float]) -> Array:
    """Return r (...) of vectors (..., F) with the values of a population (F,)."""
    x = vectors - vectors.mean(-1, keepdims=True)
    y = np.array(values) - np.mean(values)
    found: Array = (x @ y) / np.sqrt((x**2).sum(-1) * (y @ y))
    return found


def slope_of(vectors: Array, values: Sequence[float]) -> Array:
    """Return the slope (...) of vectors (..., F), differences of log-odds, on those of a population."""
    v = 2 * np.array(values)
    found: Array = vectors @ v / (v @ v)
    return found


def cosine(vectors: Array) -> Array:
    """Return the cosine (...) of pairs of vectors (..., 2, F)."""
    a, b = vectors[..., 0, :], vectors[..., 1, :]
    found: Array = (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return found


def over_items(changes: Array, statistic: Any) -> report.Estimate:
    """Return a statistic of mean changes (..., F), from changes (n, ..., F) of n items of each foundation.

    Items of each foundation are resampled.
    """
    rng = np.random.default_rng(0)
    n, F = len(changes), changes.shape[-1]
    drawn = []
    for _ in range(2000):
        rows = rng.integers(n, size=(n, F))
        drawn.append(np.stack([changes[rows[:, f], ..., f].mean(0) for f in range(F)], -1))
    low, high = np.quantile(statistic(np.array(drawn)), [0.025, 0.975])
    return report.Estimate(float(statistic(changes.mean(0))), float(low), float(high))


def results(records: Records, name: str, seed: int) -> dict[str, Array]:
    """Return the changes (n, F) of held-out items from the base, of each population."""
    cells = {population: records[name, population, seed] for population in POPULATIONS}
    return {population: (np.array(each["after"]) - np.array(each["before"])).T for population, each in cells.items()}


def tables(records: Records, name: str) -> list[str]:
    """Return what came out on some items, for every seed."""
    seeds = sorted({key[-1] for key in records if key[0] == name})
    seeds = [seed for seed in seeds if all((name, each, seed) in records for each in POPULATIONS)]
    fits, crossed = [], np.zeros((len(seeds), len(POPULATIONS), len(POPULATIONS) + 1))
    opposite = []
    for s, seed in enumerate(seeds):
        changes = results(records, name, seed)
        for p, (population, values) in enumerate(POPULATIONS.items()):
            cell, change = records[name, population, seed], changes[population]
            sign = float((np.sign(change) == np.sign(values)).mean())
            slope = over_items(change, lambda found, v=values: slope_of(found, v))
            fits.append([
                seed, population, over_items(change, lambda found, v=values: correlation(found, v)),
                f"{correlation(np.array(cell['before']).mean(1), values):.2f}", slope, f"{sign:.2f}",
                f"{cell['seconds']:.0f}",
            ])  # fmt: skip
            crossed[s, p, :-1] = [correlation(change.mean(0), other) for other in POPULATIONS.values()]
            crossed[s, p, -1] = cell["trunk"]
        pair = np.stack([changes[each] for each in OPPOSITE], 1)
        opposite.append([seed, over_items(pair, cosine)])
    mean = crossed.mean(0)
    cross = [[p, *(f"{r:.2f}" for r in row[:-1])] for p, row in zip(POPULATIONS, mean, strict=True)]
    head = ("seed", "population", "r of the change", "r of the model as it was", "slope", "signs right", "CPU-s")
    return [
        report.table(head, fits),
        f"Below its last layers the model computed all items once, in {mean[0, -1]:.0f} CPU-s a seed.",
        report.table(("seed", f"cosine of the changes of `{OPPOSITE[0]}` and `{OPPOSITE[1]}`"), opposite),
        "What the change of each fitted model (rows) has in common with each population, r, mean over seeds:",
        report.table(("fitted to", *POPULATIONS), cross),
    ]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    first = next(iter(records.values()))
    populations = [[name, *values] for name, values in POPULATIONS.items()]
    parts = [
        "# Real language models as people",
        f"{first['model']}: adapters of rank {adapted.RANK} in its last {adapted.TOP} layers are fitted to the choice "
        f"shares of three populations in {first['learned']} items about five moral foundations ({EPOCHS} epochs), and "
        f"asked {len(FOUNDATIONS) * HELD_OUT} others, whose contexts are not among them. Shares are read as the "
        "softmax of how much the mean log-probability of a token has changed from the model as it was; so they are "
        "fitted, and so they are reported: the change of a value is the mean over held-out items of the change of one "
        "option, which serves the foundation, minus that of the other. r is over the five foundations; a slope of 1 is "
        "that of people who answer just as their population. 95% bootstrap intervals over items within foundations "
        "hold for one training. The naive reference is the model as it was. CPU-seconds are of one thread, on a "
        "machine that was busy with other work.",
        "Written by `python -m studies.language.real_people --model FOLDER`, which needs the extra `text`.",
        report.table(("population", *FOUNDATIONS), populations),
    ]
    for name, title in (("published", "Published items"), ("generated", "Generated items")):
        if any(key[0] == name for key in records):
            parts += [f"## {title}", *([GENERATED] if name == "generated" else []), *tables(records, name)]
    return {".md": report.page(*parts, *CONCLUSIONS)}


GENERATED = (
    "These vary two situations for each foundation over people and places, and need no download. Both situations are "
    "on both sides, so that this is no test of situations that are new."
)
CONCLUSIONS: tuple[str, ...] = (
    "**Directions carry over, sizes do not.** In items that it has not seen, each fitted model changes more like its "
    "own population than like another one; but by a fifth of what the population says. Take such people for "
    "directions, and compare sizes only among them.",
    "**Settings** were tried on another split (seed 100) and not on these. There shares were first fitted as they are, "
    "and not as changes: r of the first population was 0.61 at a step size of 0.001 and 0.74 at 0.003. Our reading, "
    "which is no measurement, is that most of what is learnt is then what the model happens to say of each text.",
)
STUDY = harness.Study("real-people", jobs, run, pages)

if __name__ == "__main__":
    harness.run(STUDY, adapted.arguments(harness.parser(__doc__, units=3)).parse_args())
