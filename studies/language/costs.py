"""Cost of language models on one core: of a century of tiny people, an evaluation and an update, by parameters.

    python -m studies.language.costs [--model FOLDER] [--units 3] [--table]

Needs the extra `text`. A unit is a repetition. With --model, the folder of a model such as SmolLM2 is measured, too
(`valuegym convert` makes one from a GGUF file). What larger models need is arithmetic, and stated as such.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.envs.language.item_bank import NAMES, balanced, generate
from valuegym.envs.language.statements import statements

SIZES = {"32x2": (32, 2), "64x2": (64, 2), "128x2": (128, 2), "256x4": (256, 4), "384x6": (384, 6)}  # width x layers
CENTURIES = ("32x2", "64x2", "128x2")
GIVEN = "given"  # the model of --model
STATEMENTS, TEXTS, PAIRS, BETA = 8000, 16, 8, 0.1
STEPS = 4  # updates that are timed together, after one that is not
GIB = 2**30


# --- what is measured ---


@cache
def _bank() -> Any:
    return balanced(generate(4))


def _tiny(size: str) -> Any:
    from valuegym.agents.language import causal_lm

    width, layers = SIZES[size]
    bank = balanced(generate(40))
    texts = [f"{text} {option}" for text, some in zip(bank.contexts, bank.options, strict=True) for option in some]
    return causal_lm.tiny(texts, width=width, layers=layers)


def _model(size: str, folder: str | None) -> Any:
    from valuegym.agents.language import causal_lm

    return causal_lm.load(str(folder)) if size == GIVEN else _tiny(size)


def seconds(work: Callable[[], object]) -> float:
    """Return CPU-seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _updates(model: Any) -> dict[str, Callable[[], object]]:
    """Return functions that make one update of all weights: of maximum likelihood, and of DPO."""
    import torch
    from torch.nn import functional as F

    bank, reference = _bank(), copy.deepcopy(model.model)
    two = [i for i in range(len(bank)) if bank.counts[i] == 2][:: max(1, len(bank) // PAIRS)][:PAIRS]
    optimiser = torch.optim.Adam(model.model.parameters(), 1e-5)

    def rows(option: int) -> list[list[int]]:
        return [model.tokens(f"{bank.contexts[i]} {bank.options[i][option]}") for i in two]

    def logs(net: Any, some: list[list[int]]) -> Any:
        longest = max(map(len, some))
        tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in some])
        mask = torch.arange(longest) < torch.tensor([[len(row)] for row in some])
        found = net(input_ids=tokens, attention_mask=mask.long()).logits[:, :-1].float().log_softmax(-1)
        return (found.gather(-1, tokens[:, 1:, None]).squeeze(-1) * mask[:, 1:]).sum(-1)

    def step(loss: Any) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    def likelihood() -> None:
        step(-logs(model.model, rows(0) + rows(1)).mean())

    def dpo() -> None:
        both = rows(0) + rows(1)
        with torch.no_grad():
            fixed = logs(reference, both)
        margin = (logs(model.model, both) - fixed).view(2, -1)
        step(-F.logsigmoid(BETA * (margin[0] - margin[1])).mean())

    return {"likelihood": likelihood, "dpo": dpo}


def measure(size: str, folder: str | None) -> dict[str, float]:
    """Return parameters, tokens of a text, and CPU-seconds of everything, of one model."""
    import torch

    from valuegym.agents.language import causal_lm

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, bank = _model(size, folder), _bank()
        pairs = [(bank.contexts[i], f" {text}") for i in range(len(bank)) for text in bank.options[i]]
        tokens = sum(len(model.tokens(context)) + len(model.encode(text)) for context, text in pairs)
        causal_lm.score_many(model, pairs[:8])
        found = {
            "parameters": float(sum(each.numel() for each in model.model.parameters())),
            "tokens": tokens / len(pairs),
            "items": len(bank) / seconds(partial(causal_lm.score_many, model, pairs)),
        }
        if size in CENTURIES:
            learned = balanced(generate(40))
            century = statements(learned, np.zeros(len(NAMES)), STATEMENTS)
            found["century"] = seconds(partial(causal_lm.train, model, century))
        for name, update in _updates(model).items():
            update()
            found[name] = seconds(lambda update=update: [update() for _ in range(STEPS)]) / STEPS  # type: ignore[misc]
        return found
    finally:
        torch.set_num_threads(threads)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each model and repetition."""
    for unit in range(options.units):
        for size in (*SIZES, *([GIVEN] if options.model else [])):
            yield [(size, unit)]


def run(keys: Sequence[Key], options: Options) -> list[dict[str, float]]:
    """Return what one model costs."""
    found = measure(keys[0][0], options.model)
    name = {"name": Path(options.model).name} if keys[0][0] == GIVEN else {}
    return [{key: float(f"{value:.5g}") if key != "parameters" else value for key, value in found.items()} | name]


# --- arithmetic: models that are too large for this ---


class Llama(NamedTuple):
    """Shape of a model of Llama's architecture."""

    width: int
    inner: int
    layers: int
    heads: int
    groups: int  # heads of keys and values
    vocabulary: int
    tied: bool = False

    @property
    def linear(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the linear maps of a layer."""
        small = self.width // self.heads * self.groups
        attention = [(self.width, self.width), (self.width, small), (self.width, small), (self.width, self.width)]
        return [*attention, (self.width, self.inner), (self.width, self.inner), (self.inner, self.width)]

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        layer = sum(a * b for a, b in self.linear) + 2 * self.width
        return self.layers * layer + self.width + self.vocabulary * self.width * (2 - self.tied)

    def adapters(self, rank: int) -> int:
        """Return the number of parameters of LoRA at all linear maps."""
        return self.layers * sum(rank * (a + b) for a, b in self.linear)


LARGE = {
    "8B (Llama 3)": Llama(4096, 14336, 32, 32, 8, 128256),
    "70B (Llama 3)": Llama(8192, 28672, 80, 64, 8, 128256),
}
RANK = 16
BYTES = {"float32": 4, "bfloat16": 2, "8 bits": 1, "4 bits": 0.5}
TRAINED = 16  # bytes of a trained parameter: float32 weight, gradient, and two moments of Adam
MEMORY = (16, 24, 48, 80, 140)  # GiB, of laptops and of accelerators
FREE = 0.8  # share of a memory that weights and states may take
BANK = (1721, 4518, 60)  # items of the published bank, their options, tokens of a text (rounded up)


# --- the page ---


def exponent(parameters: Array, costs: Array) -> report.Estimate:
    """Return b of cost = a parameters^b by least squares in logarithms, of costs (units, sizes), and its interval."""
    x = np.log(parameters) - np.log(parameters).mean()
    return report.estimate((np.log(costs) @ x) / (x @ x))


def _name(size: str, values: Sequence[Mapping[str, Any]]) -> str:
    return str(values[0]["name"]) if size == GIVEN else size


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    cells = {size: values for (size,), values in harness.columns(records).items()}
    rows: list[list[str]] = []

    def show(values: Sequence[Mapping[str, Any]], name: str) -> str:
        found = [value[name] for value in values if name in value]
        if len(found) < 2:
            return report.significant(found[0]) if found else "not measured"
        return report.show(report.estimate(np.array(found)), report.significant)

    for size, values in sorted(cells.items(), key=lambda cell: float(cell[1][0]["parameters"])):
        per = [value["items"] * value["parameters"] for value in values]
        rows.append(
            [
                _name(size, values),
                str(len(values)),
                f"{values[0]['parameters']:,.0f}",
                show(values, "century"),
                show(values, "items"),
                show(values, "likelihood"),
                show(values, "dpo"),
                f"{np.mean(per) / 1e6:,.0f}",
            ]
        )
    head = (
        "model (width x layers)",
        "repetitions",
        "parameters",
        f"a century ({STATEMENTS:,} statements), CPU-s",
        "evaluation, items a CPU-s",
        f"update by likelihood ({TEXTS} texts), CPU-s",
        f"update by DPO ({PAIRS} pairs), CPU-s",
        "items a CPU-s times millions of parameters",
    )
    fits = []
    tiny = [size for size in SIZES if size in cells]
    for name, what in (("items", "evaluation"), ("likelihood", "likelihood"), ("dpo", "DPO")):
        row = [what]
        for sizes in (tiny, tiny[-2:] + [size for size in (GIVEN,) if size in cells]):
            units = min(len(cells[size]) for size in sizes)
            costs = np.array([[cells[size][unit][name] for size in sizes] for unit in range(units)])
            parameters = np.array([cells[size][0]["parameters"] for size in sizes])
            found = exponent(parameters, 1 / costs if name == "items" else costs)
            row.append(str(found) if units > 1 else f"{found.point:.2f}")
        fits.append(row)
    return {".md": report.page(*_text(), report.table(head, rows), GROWTH, report.table(FIT, fits), *_large())}


FIT = ("cost", "exponent over the tiny sizes", "exponent over the two largest of them and the given model")


def _text() -> tuple[str, ...]:
    return (
        "# What language models cost on one core",
        "One thread, single precision, all weights trained (Adam); means over repetitions with 95% bootstrap "
        "intervals, or one figure. An evaluation asks generated items in the form `plain`, eight texts at a time; a "
        "century is one epoch of statements, 64 at a time. The tiny models have a vocabulary of whole words, so that "
        "their texts have fewer tokens, and rates of another model are comparable by order of magnitude. Other work on "
        "the same machine is in these figures as far as it slows a core down; the published ones are pooled from two "
        "runs on a busy machine, where seconds of the same work differed by up to 60%.",
        "Written by `python -m studies.language.costs --model FOLDER`, which needs the extra `text`.",
    )


GROWTH = (
    "## Growth\n\nExponents b of cost = a · parameters^b, by least squares in logarithms. 1 is what multiplications "
    "cost; the tiny models are below it, because much of their time does not depend on their width."
)


def _large() -> tuple[str, ...]:
    """Return what larger models need, by arithmetic."""
    memory, work = [], []
    items, options, tokens = BANK
    for name, shape in LARGE.items():
        N, lora = shape.parameters, shape.adapters(RANK)
        states = TRAINED * lora
        memory.append(
            [
                name,
                f"{N:,}",
                *(f"{N * size / GIB:,.1f}" for size in BYTES.values()),
                f"{TRAINED * N / GIB:,.0f}",
                f"{lora / 1e6:,.1f} million, {states / GIB:.2f}",
                f"{(2 * N + states) / GIB:,.1f}",
                f"{(0.5 * N + states) / GIB:,.1f}",
            ]
        )
        flops = [2 * N * tokens * options, 6 * N * tokens * STATEMENTS, 4 * N * tokens * STATEMENTS]
        work.append([name, *(f"{each / 1e15:,.0f}" for each in flops)])
    head = (
        "model",
        "parameters",
        *(f"weights in {name}, GiB" for name in BYTES),
        "full fine-tuning with Adam, GiB",
        f"LoRA of rank {RANK} at all linear maps: parameters and their states, GiB",
        "LoRA on bfloat16, GiB",
        "LoRA on 4 bits, GiB",
    )
    share = LARGE["8B (Llama 3)"].adapters(RANK) / LARGE["8B (Llama 3)"].parameters
    uses = {f"asked, {name}": size for name, size in BYTES.items()}
    uses |= {f"LoRA on {name}": BYTES[name] + TRAINED * share for name in ("bfloat16", "4 bits")}
    uses |= {"all weights trained": TRAINED}
    largest = [
        [f"{memory} GiB", *(report.significant(FREE * memory * GIB / each / 1e9) for each in uses.values())]
        for memory in MEMORY
    ]
    return (
        "## Larger models, by arithmetic\n\nNothing here is measured. Parameters follow from the published shapes; "
        f"{TRAINED} bytes of a trained parameter are its weight, its gradient and two moments of Adam in single "
        "precision. Activations come on top: with texts of a hundred tokens and small batches they are small beside "
        "the weights, except for the logits, rows · tokens · vocabulary · 4 bytes (eight texts of 60 tokens: "
        f"{8 * tokens * 128256 * 4 / GIB:.2f} GiB).",
        report.table(head, memory),
        f"The largest models, in billions of parameters, whose weights and states take {FREE:.0%} of a memory "
        "(adapters as in the 8B model; the rest is left to activations and the system). `causal_lm.load` reads "
        "float32, bfloat16 and float16; 8 and 4 bits need a loader of your own, whose model goes into `CausalLM`:",
        report.table(("memory", *uses), largest),
        f"Operations: 2 · parameters a token forward, 6 to train all weights, 4 with LoRA, whose frozen weights need "
        f"no gradients. The published bank has {items:,} items with {options:,} options, taken as texts of {tokens} "
        "tokens; a device that sustains 100 · 10¹² operations a second makes 10¹⁵ in ten seconds.",
        report.table(
            (
                "model",
                "evaluation on the published bank, 10¹⁵ operations",
                f"{STATEMENTS:,} statements, all weights",
                "the same with LoRA",
            ),
            work,
        ),
    )


STUDY = harness.Study("language-costs", jobs, run, pages)

if __name__ == "__main__":
    arguments = harness.parser(__doc__, units=3)
    arguments.add_argument("--model", metavar="FOLDER", help="another model to measure, such as SmolLM2")
    harness.run(STUDY, arguments.parse_args())
