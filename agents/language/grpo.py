"""Language models that learn games of texts by GRPO (Shao et al. 2024, arXiv:2402.03300), with TRL's trainer.

`improve` gives a `TextGame` to `GRPOTrainer` as its `environment_factory`; `chat_tokenizer` gives a tiny model of whole
words the chat template and the parser of answers that TRL needs, and `play` lets a model play with sampled answers. A
model of one's own comes with a tokenizer whose template supports tools, and needs no `chat_tokenizer`.

Rollouts of a group must begin alike, so each row of the data set names a seed, and `reset` gets it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from valuegym.agents.language.causal_lm import CausalLM, Words, tokenizer_of
from valuegym.envs import checks, extras
from valuegym.envs.language.text_game import TextGame

__all__ = ["TURN", "chat", "chat_tokenizer", "improve", "play"]

Games = Callable[[], TextGame]
TURN = "turn"  # the word after which the model answers
END = "end"  # the word that ends an answer
# The user's text, then for each answer the word TURN, the text of an option, the word END, and what follows.
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }} {% for k, v in c.function.arguments.items() %}"
    "{{ k }} {{ v }} {% endfor %}{% endfor %}{{ m.content }} end {% else %}{{ m.content }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}turn {% endif %}"
)
PARSER: dict[str, Any] = {
    "defaults": {"role": "assistant", "content": ""},
    "start_anchor_pattern": rf"\b(?={TURN}\s*$)",
    "fields": {
        "tool_calls": {
            "open": TURN,
            "close_pattern": rf"\b{END}\b",
            "repeats": True,
            "optional": True,
            "content": "text",
            "transform": {"type": "function", "function": {"name": "step", "arguments": {"action": "{content}"}}},
        }
    },
}


def chat(first: str, *turns: tuple[str, str]) -> str:
    """Return a game as the text that a tiny model reads: what is seen first, then answers with what follows each."""
    return first + "".join(f" {TURN} {answer} {END} {seen}" for answer, seen in turns)


def chat_tokenizer(words: Words) -> Any:
    """Return the tokenizer of a vocabulary with a chat template and a parser for TRL.

    Raises:
        ValueError: the words "turn" and "end" are not in the vocabulary.
        ImportError: transformers is not installed.
    """
    if not {TURN, END} <= set(words.words):
        raise ValueError(f"The vocabulary lacks {TURN!r} or {END!r}; make it from texts of `chat`.")
    tokenizer = tokenizer_of(words)
    tokenizer.eos_token = END
    tokenizer.chat_template = TEMPLATE
    tokenizer.response_template = PARSER
    return tokenizer


def _trl() -> Any:
    """Import TRL.

    Raises:
        ImportError: it is not installed, or this Python is older than 3.11.
    """
    if sys.version_info < (3, 11):
        raise ImportError(f"GRPO needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    try:
        import datasets
        import trl
    except ImportError as error:
        raise ImportError(f"GRPO needs TRL: {extras.hint('trl')} ({error}).") from error
    return trl, datasets


@contextmanager
def _global_state() -> Iterator[None]:
    """Put the global generators back as they were, and silence TRL's note that this door is experimental."""
    import random

    python, numbers, silent = random.getstate(), np.random.get_state(), os.environ.get("TRL_EXPERIMENTAL_SILENCE")  # noqa: NPY002
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        if silent is None:
            del os.environ["TRL_EXPERIMENTAL_SILENCE"]
        else:
            os.environ["TRL_EXPERIMENTAL_SILENCE"] = silent


def improve(
    model: CausalLM,
    tokenizer: Any,
    games: Games,
    steps: int = 20,
    groups: int = 8,
    group: int = 8,
    turns: int = 1,
    lr: float = 3e-3,
    tokens: int = 64,
    seed: int = 0,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Train a model in place by GRPO on the CPU, and return TRL's log.

    Args:
        model: to be trained.
        tokenizer: of transformers, with a chat template that supports tools.
        games: makes a new game at each call, such as `text_game.games(...)`.
        steps: updates, each on new rollouts.
        groups: starts for each update.
        group: rollouts from each start, at least 2, whose mean is the baseline.
        turns: answers in a rollout at most.
        lr: step size.
        tokens: of a rollout at most, what is seen included.
        seed: of everything that is drawn; the starts of update k are those of seeds k groups, k groups + 1, ...
        settings: further arguments of `trl.GRPOConfig`.

    Raises:
        ValueError: a number is out of its range.
        ImportError: TRL is not installed, or this Python is older than 3.11.
    """
    counts = {"steps": steps, "groups": groups, "turns": turns, "tokens": tokens}
    for name, value in counts.items():
        checks.integer(name, value, 1)
    checks.integer("group", group, 2)
    checks.real("lr", lr, above=0)
    checks.integer("seed", seed, 0, 2**32 - 1)
    trl, datasets = _trl()
    from transformers import PrinterCallback

    rows = [{"prompt": [{"role": "user", "content": ""}], "seed": start} for start in range(steps * groups)]
    with _global_state(), tempfile.TemporaryDirectory() as folder:
        arguments: dict[str, Any] = {
            "output_dir": folder,
            "max_steps": steps,
            "per_device_train_batch_size": groups * group,
            "num_generations": group,
            "max_completion_length": tokens,
            "max_tool_calling_iterations": turns,
            "learning_rate": lr,
            "lr_scheduler_type": "constant",
            "beta": 0.0,
            "shuffle_dataset": False,
            "seed": seed,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": [],
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
        }
        trainer = trl.GRPOTrainer(
            model=model.model,
            args=trl.GRPOConfig(**(arguments | settings)),
            processing_class=tokenizer,
            train_dataset=datasets.Dataset.from_list(rows),
            environment_factory=games,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.model.eval()
    return list(trainer.state.log_history)


@torch.no_grad()
def play(
    model: CausalLM, tokenizer: Any, games: Games, episodes: int, seed: int = 0, first_seed: int = 0, longest: int = 8
) -> npt.NDArray[np.float64]:
    """Return the sums of rewards (episodes,) of a model that samples its answers at temperature 1.

    Args:
        model: to play.
        tokenizer: with a chat template and a parser of answers, such as that of `chat_tokenizer`.
        games: makes a new game at each call; games need a limit of `turns` if answers may be no options.
        episodes: to be played, from the starts of seeds `first_seed`, `first_seed` + 1, ...
        seed: of the samples.
        first_seed: of the first start.
        longest: tokens of an answer at most.

    Raises:
        ValueError: a number is out of its range.
    """
    checks.integer("episodes", episodes, 1)
    checks.integer("longest", longest, 1)
    generator = torch.Generator().manual_seed(checks.integer("seed", seed, 0))
    end = tokenizer.eos_token_id
    totals = np.zeros(episodes)
    for episode in range(episodes):
        game = games()
        text = game.reset(seed=first_seed + episode)
        tokens = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        while not game.done:
            answer: list[int] = []
            while len(answer) < longest and (not answer or answer[-1] != end):
                logits = model.model(input_ids=torch.tensor([[*tokens, *answer]])).logits[0, -1].float()
                answer.append(int(torch.multinomial(logits.softmax(-1), 1, generator=generator)))
            seen = game.step(tokenizer.decode([token for token in answer if token != end]))
            tokens = [*tokens, *answer, *tokenizer(f"{seen} {TURN}", add_special_tokens=False)["input_ids"]]
        totals[episode] = game.total
    return totals
