"""Answers of causal language models to items as tensors, with gradients, and the loop that fits a model by them.

The score of an option is the log-probability of its tokens after the context, summed, or averaged over tokens as the
probes do. Needs torch, and nothing of transformers. Shapes: I items, at most 4 options.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from valuegym.agents.divergence import DivergenceError
from valuegym.agents.language.causal_lm import CausalLM
from valuegym.envs import checks, extras
from valuegym.envs.language.item_bank import MOST, ItemBank

__all__ = ["Encoded", "choice_shares", "encode", "fit", "lora", "option_scores", "share_loss"]

Floats = npt.NDArray[np.float64]
LEAST = -1e4  # score of an option that is not there: its probability is exactly 0


class Encoded(NamedTuple):
    """Texts of a bank as tokens.

    rows (R, L) tokens, attended (R, L), answer (R, L-1) true where the next token is one of the option, place (I, 4)
    row of each option or -1.
    """

    rows: torch.Tensor
    attended: torch.Tensor
    answer: torch.Tensor
    place: torch.Tensor


def encode(model: CausalLM, bank: ItemBank) -> Encoded:
    """Return every option of a bank after its context, in the form `plain` of the probes."""
    texts: list[tuple[list[int], list[int]]] = []
    place = torch.full((len(bank), MOST), -1)
    for i, (context, options) in enumerate(zip(bank.contexts, bank.options, strict=True)):
        before = model.tokens(context)
        for k, option in enumerate(options):
            place[i, k] = len(texts)
            texts.append((before, model.encode(f" {option}")))
    longest = max(len(before) + len(after) for before, after in texts)
    rows = torch.zeros(len(texts), longest, dtype=torch.long)
    attended, answer = torch.zeros_like(rows), torch.zeros(len(texts), longest - 1, dtype=torch.bool)
    for r, (before, after) in enumerate(texts):
        rows[r, : len(before) + len(after)] = torch.tensor([*before, *after])
        attended[r, : len(before) + len(after)] = 1
        answer[r, len(before) - 1 : len(before) + len(after) - 1] = True
    return Encoded(rows, attended, answer, place)


def option_scores(model: CausalLM, encoded: Encoded, items: torch.Tensor, mean: bool = True) -> torch.Tensor:
    """Return the log-probability of each option (n, 4) of some items (n,), averaged over its tokens or summed."""
    place = encoded.place[items]
    there = place >= 0
    chosen = place[there]
    longest = int(encoded.attended[chosen].sum(1).max())
    rows, attended = encoded.rows[chosen, :longest], encoded.attended[chosen, :longest]
    device = next(model.model.parameters()).device
    logits = model.model(input_ids=rows.to(device), attention_mask=attended.to(device)).logits[:, :-1].float().cpu()
    loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none").view(len(rows), -1)
    answer = encoded.answer[chosen, : longest - 1]
    total = -(loss * answer).sum(1)
    found = torch.full(place.shape, LEAST)
    return found.masked_scatter(there, total / answer.sum(1) if mean else total)


def choice_shares(model: CausalLM, encoded: Encoded, batch: int = 64) -> Floats:
    """Return the probability of choosing each option (I, 4): softmax of the mean log-probability of its tokens."""
    model.model.eval()
    with torch.no_grad():
        parts = [option_scores(model, encoded, items) for items in torch.arange(len(encoded.place)).split(batch)]
    return torch.cat(parts).double().softmax(-1).numpy()


def share_loss(scores: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of shares (n, 4) and choices by scores (n, 4); least where they agree."""
    return -(shares * scores.log_softmax(-1)).sum(-1).mean()


def fit(
    parameters: list[torch.nn.Parameter],
    loss: Callable[[torch.Tensor], torch.Tensor],
    items: torch.Tensor,
    steps: int,
    lr: float,
    batch: int,
    seed: int,
) -> float:
    """Minimise the loss of random batches of items by Adam, in place, and return the last loss.

    The step size falls linearly to a tenth. Gradients are clipped to a norm of 1.

    Raises:
        DivergenceError: a loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(parameters, lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, max(steps, 1))
    value = torch.zeros(())
    waiting: list[torch.Tensor] = []
    for step in range(steps):
        if not waiting:
            waiting = list(items[torch.randperm(len(items), generator=generator)].split(batch))
        value = loss(waiting.pop())
        if not value.isfinite():
            raise DivergenceError(f"The loss is {value.item()} in step {step + 1} of {steps}.")
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
    return value.item()


def lora(model: CausalLM, rank: int = 8, top: int | None = None, seed: int = 0) -> CausalLM:
    """Return a model with a frozen trunk and adapters of low rank (Hu et al. 2022), which alone are trained.

    For models too large to be trained as a whole, such as those of `causal_lm.load`. The adapters begin at 0, so that
    the new model first answers as the given one, and the given one stays as it is.

    Args:
        model: any causal model of transformers.
        rank: of the adapters.
        top: how many layers get adapters, from the last one; None for all.
        seed: of their first weights; the global random state stays as it is.

    Raises:
        ValueError: a number is outside its range.
        ImportError: peft is not installed.
    """
    rank, seed = checks.integer("rank", rank, 1, 1024), checks.integer("seed", seed, 0, 2**63 - 1)
    layers = int(model.model.config.num_hidden_layers)
    top = layers if top is None else checks.integer("top", top, 1, layers)
    try:
        import peft
    except ImportError as error:
        raise ImportError(f"Adapters need peft: {extras.hint('text')} ({error}).") from error
    head = model.model.get_output_embeddings()
    linear = (name for name, part in model.model.named_modules() if isinstance(part, torch.nn.Linear) and part != head)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=sorted({name.rpartition(".")[2] for name in linear}),
        layers_to_transform=list(range(layers - top, layers)),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # peft reads it
        adapted = peft.get_peft_model(copy.deepcopy(model.model), config)
    return replace(model, model=adapted, name=f"{model.name}-lora")
