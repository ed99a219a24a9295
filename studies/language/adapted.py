"""Shared by studies of real language models: adapters in the last layers, above a trunk that is computed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from studies.harness import Array, Options

TOP, RANK = 6, 8  # layers with adapters, and their rank


def folder_of(options: Options) -> str:
    """Return the folder of the model.

    Raises:
        ValueError: there is none.
    """
    if options.model is None:
        raise ValueError("There is no model; pass --model FOLDER, such as one that `valuegym convert` makes.")
    return str(options.model)


def items_name(options: Options) -> str:
    """Return which items are asked: "published" ones of a folder, or "generated" ones."""
    given = options.data or os.environ.get("VALUEGYM_DATA")
    return "generated" if options.generated or not given else "published"


def arguments(parser: Any) -> Any:
    """Return the parser with the arguments that name a model and items."""
    parser.add_argument("--model", metavar="FOLDER", help="folder of a causal model of transformers")
    parser.add_argument("--data", metavar="FOLDER", help="with the published items; by default VALUEGYM_DATA")
    parser.add_argument("--generated", action="store_true", help="ask generated items, whatever data there are")
    return parser


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread in the block, so that seconds of the process are those of one core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def scores(upper: Any, texts: Any, batch: int = 16) -> Array:
    """Return the mean log-probability of a token of each option (I, 4)."""
    import torch

    from valuegym.agents.language import answers

    upper.model.eval()
    length = texts.attended.sum(1)[texts.place.clamp(min=0)].amax(1)  # those of similar length share a batch
    order = length.argsort()
    with torch.no_grad():
        parts = [answers.option_scores(upper, texts, items) for items in order.split(batch)]
    found: Array = torch.cat(parts)[order.argsort()].double().numpy()
    return found


def trained(
    model: Any, texts: Any, loss_of: Callable[[Any, Any], Any], epochs: int, lr: float, batch: int, seed: int
) -> Any:
    """Return the upper layers of a copy of a model whose adapters were trained.

    `loss_of` takes the scores of options of some items and these items, and returns their loss.
    """
    import torch

    from valuegym.agents.language import answers

    upper = answers.upper_layers(answers.lora(model, RANK, TOP, seed), TOP)
    every = torch.arange(len(texts.place))
    answers.fit(
        [p for p in upper.model.parameters() if p.requires_grad],
        lambda items: loss_of(answers.option_scores(upper, texts, items), items),
        every,
        epochs * -(-len(every) // batch),
        lr,
        batch,
        seed,
    )
    return upper


def t(values: Array) -> float:
    """Return mean over standard error of values (n,)."""
    values = np.asarray(values, float)
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))
