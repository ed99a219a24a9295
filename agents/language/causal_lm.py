"""Causal language models of transformers behind `score`, and tiny ones that are trained in seconds.

`load` reads a model from a folder, or from the hub where that is allowed; `tiny` makes one of the architecture of Llama
from a list of texts. Both need the extra `text`. Nothing here unpickles a file or runs code that a model brings.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks, extras

__all__ = [
    "DTYPES",
    "CausalLM",
    "Pieces",
    "Words",
    "load",
    "quiet",
    "save",
    "score_many",
    "tiny",
    "tokenizer_of",
    "train",
]

Floats = npt.NDArray[np.float64]
Encode = Callable[[str], list[int]]
DTYPES = ("float32", "bfloat16", "float16")
IGNORED = -100  # label of places that count in no loss
# By default transformers reads weights, and tokenizers splits texts, with further threads.
ONE_THREAD = {"HF_DEACTIVATE_ASYNC_LOAD": "1", "TOKENIZERS_PARALLELISM": "false"}
PIECE = re.compile(r"\w+|[^\w\s]")


class Words:
    """A vocabulary of whole words and marks: 0 begins and fills a text, 1 stands for whatever is unknown."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.words = sorted({word for text in texts for word in PIECE.findall(text)})
        self._numbers = {word: number for number, word in enumerate(self.words, 2)}

    def __len__(self) -> int:
        return len(self.words) + 2

    def __call__(self, text: str) -> list[int]:
        """Return the numbers of the words of a text."""
        return [self._numbers.get(word, 1) for word in PIECE.findall(text)]


@dataclass(frozen=True, eq=False)
class CausalLM:
    """A causal language model that can be asked by `value_probes.answer`.

    Attributes:
        model: of transformers, with logits over tokens.
        encode: function from a text to its tokens, without any that mark begin or end.
        start: token before every text; None for no such token.
        name: for people.
    """

    model: Any
    encode: Encode
    start: int | None
    name: str = "causal-lm"

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, with the one that starts it."""
        return [*([] if self.start is None else [self.start]), *self.encode(text)]

    def score(self, context: str, continuations: Sequence[str]) -> list[Floats]:
        """Return the log-probabilities of the tokens of each continuation, given the context and the tokens before.

        Raises:
            ValueError: a continuation has no token, or nothing stands before it.
        """
        return score_many(self, [(context, text) for text in continuations], max(len(continuations), 1))


@torch.no_grad()
def score_many(
    model: CausalLM,
    texts: Sequence[tuple[str, str]],
    batch: int = 8,
    progress: Callable[[int], object] = lambda done: None,
) -> list[Floats]:
    """Return the log-probabilities of the tokens of each continuation after its context, many texts at a time.

    Texts of similar length share a batch; what is shorter is filled at the right, which changes nothing but rounding.

    Args:
        model: whom to ask.
        texts: pairs of a context and its continuation.
        batch: texts that the model reads at a time.
        progress: is called after each batch with the number of texts in it.

    Raises:
        ValueError: a context or a continuation has no token, or the batch is no integer of at least 1.
    """
    batch = checks.integer("batch", batch, 1)
    pairs = [(model.tokens(context), model.encode(text)) for context, text in texts]
    if not all(before and end for before, end in pairs):
        raise ValueError("The context or a continuation has no token; expected at least one in each.")
    order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))  # what needs most memory first
    found: list[Floats] = [np.empty(0)] * len(pairs)
    device = next(model.model.parameters()).device
    model.model.eval()
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        rows, mask = _padded([[*pairs[i][0], *pairs[i][1]] for i in chosen])
        rows, mask = rows.to(device), mask.to(device)
        logits = model.model(input_ids=rows, attention_mask=mask).logits
        for row, i in enumerate(chosen):
            first, last = len(pairs[i][0]), sum(map(len, pairs[i]))
            logs = logits[row, first - 1 : last - 1].float().log_softmax(-1)
            scores = logs.gather(-1, rows[row, first:last, None]).squeeze(-1).double().cpu().numpy()
            found[i] = np.minimum(scores, 0.0)
        progress(len(chosen))
    return found


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of tokens filled with 0 at the right, and their attention mask, both (rows, longest)."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    return tokens, (torch.arange(longest) < torch.tensor([[len(row)] for row in rows])).long()


def _transformers() -> Any:
    """Import transformers.

    Raises:
        ImportError: it is not installed, or Python is too old for it.
    """
    if sys.version_info < (3, 11):
        have = ".".join(map(str, sys.version_info[:2]))
        raise ImportError(f"Language models need Python 3.11 or later; this is {have}. The rest of valuegym works.")
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f"Language models need transformers: {extras.hint('text')} ({error}).") from error
    return transformers


def tiny(texts: Sequence[str], seed: int = 0, width: int = 64, layers: int = 2, heads: int = 4) -> CausalLM:
    """Return an untrained model of Llama's architecture whose vocabulary is the words of the texts.

    The global random state stays as it is.

    Raises:
        ValueError: there is no word, a number is no integer in its range, or heads do not divide the width evenly.
        ImportError: transformers is not installed.
    """
    words = Words(texts)
    if len(words) == 2:
        raise ValueError("texts hold no word; expected at least one.")
    seed, width = checks.integer("seed", seed, 0, 2**63 - 1), checks.integer("width", width, 2, 4096)
    layers, heads = checks.integer("layers", layers, 1, 64), checks.integer("heads", heads, 1, 64)
    if width % (2 * heads):
        raise checks.refusal("width", width, f"a multiple of {2 * heads}, twice the number of heads")
    transformers = _transformers()
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(config)
    return CausalLM(model.float(), words, 0, "tiny-llama")


def train(
    model: CausalLM, texts: Sequence[str], epochs: int = 1, lr: float = 3e-3, batch: int = 64, seed: int = 0
) -> list[float]:
    """Train a model in place on the next token of each text, and return the mean loss of each epoch.

    Adam with a step size that falls linearly to a tenth; texts are shuffled in every epoch by the seed.

    Raises:
        ValueError: there is no text with two tokens, or a number is out of its range.
        DivergenceError: a loss is not finite.
    """
    epochs, batch = checks.integer("epochs", epochs, 1), checks.integer("batch", batch, 1)
    lr, seed = checks.real("lr", lr, high=1, above=0), checks.integer("seed", seed, 0, 2**63 - 1)
    rows = [row for row in map(model.tokens, texts) if len(row) > 1]
    if not rows:
        raise ValueError("texts hold no text of at least two tokens; expected one.")
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.model.parameters(), lr)
    device, steps = next(model.model.parameters()).device, epochs * -(-len(rows) // batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, steps)
    losses = []
    model.model.train()
    for epoch in range(epochs):
        total = 0.0
        for part in torch.randperm(len(rows), generator=generator).split(batch):
            tokens, mask = _padded([rows[i] for i in part.tolist()])
            logits = model.model(input_ids=tokens.to(device), attention_mask=mask.to(device)).logits[:, :-1]
            target = torch.where(mask > 0, tokens, IGNORED)[:, 1:].to(device)
            loss = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), ignore_index=IGNORED)
            if not loss.isfinite():
                raise DivergenceError(f"The loss of {model.name} is {loss.item()} in epoch {epoch + 1} of {epochs}.")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(part)
        losses.append(total / len(rows))
    model.model.eval()
    return losses


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let transformers and tokenizers work in the calling thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def tokenizer_of(words: Words) -> Any:
    """Return a tokenizer of transformers that makes the same tokens of a text as the vocabulary.

    `<s>` begins and fills a text, `<unk>` stands for whatever is unknown.

    Raises:
        ImportError: transformers is not installed.
    """
    transformers = _transformers()
    import tokenizers

    numbers = {"<s>": 0, "<unk>": 1} | {word: number for number, word in enumerate(words.words, 2)}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="<unk>"))
    pieces = tokenizers.Regex(PIECE.pattern)
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Split(pieces, behavior="removed", invert=True)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", pad_token="<s>", unk_token="<unk>", padding_side="left"
    )


def save(model: CausalLM, folder: str | Path) -> None:
    """Write a tiny model and its tokenizer to a folder, from which `load` reads it; all users may read the files.

    The folder is put in its place when it is complete.

    Raises:
        ValueError: the model has no vocabulary of whole words.
        FileExistsError: there is something at this place.
    """
    if not isinstance(model.encode, Words):
        raise ValueError(f"{model.name} has no vocabulary of whole words; expected a model made by `tiny`.")
    target = Path(folder)
    if target.exists():
        raise FileExistsError(f"{target} is there; expected a folder to be made.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        part = Path(temporary) / "model"
        model.model.save_pretrained(part)
        tokenizer_of(model.encode).save_pretrained(part)
        for path in part.iterdir():
            path.chmod(0o644)
        part.rename(target)


def load(
    source: str | Path,
    gguf_file: str | None = None,
    revision: str | None = None,
    hub: bool = False,
    dtype: str = "float32",
    device: str = "cpu",
) -> CausalLM:
    """Return a model from a folder with safetensors, or a GGUF file in it.

    Everything is done by this thread alone, so that it also works where no other may be started, as in the sandbox.

    Args:
        source: the folder; with `hub` the id of a model on the hub.
        gguf_file: name of the GGUF file in the folder (needs gguf).
        revision: of a model on the hub; its commit, so that it stays the same.
        hub: whether the hub may be asked; by default nothing reaches the network.
        dtype: of the weights in memory, one of DTYPES; one from GGUF is always in single precision.
        device: where the model is put, in torch's words, such as "cuda:0".

    Raises:
        FileNotFoundError: there is no such folder, and the hub may not be asked.
        PermissionError: a file of the folder cannot be read by this user.
        ValueError: a model on the hub is named without a revision, the dtype is unknown, the device is not there, or
            the model lacks weights, which would be random.
        ImportError: transformers is not installed.
    """
    if not checks.flag("hub", hub) and not Path(source).is_dir():
        raise FileNotFoundError(f"{source} is not a folder; for a model on the hub, pass hub=True and a revision.")
    if hub and revision is None:
        raise ValueError(f"{source} is on the hub; pass revision=COMMIT, so that the model stays the same.")
    checks.choice("dtype", dtype, DTYPES)
    if gguf_file and dtype != "float32":
        raise checks.refusal("dtype", dtype, "float32 for a GGUF file; `valuegym convert` makes a folder of it")
    for path in () if hub else Path(source).iterdir():
        if path.is_file() and not os.access(path, os.R_OK):
            raise PermissionError(f"{path} cannot be read by this user (safetensors writes mode 0600): chmod a+r it.")
    transformers = _transformers()
    options: dict[str, Any] = {"revision": revision} if hub else {"local_files_only": True}
    options |= {"trust_remote_code": False} | ({"gguf_file": gguf_file} if gguf_file else {})
    weights: dict[str, Any] = {} if gguf_file else {"use_safetensors": True, "dtype": getattr(torch, dtype)}
    with quiet(), _one_thread():
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source), **options)
        model, about = transformers.AutoModelForCausalLM.from_pretrained(
            str(source), **options, **weights, output_loading_info=True
        )
    if missing := sorted(map(str, [*about["missing_keys"], *about["mismatched_keys"]])):
        raise ValueError(
            f"{source} lacks {len(missing)} weights of a {type(model).__name__} or has them in another shape, such as "
            f"{missing[0]}; expected a whole model."
        )
    try:
        model.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise checks.refusal("device", device, f"one that torch finds here, such as cpu ({reason})") from None
    return CausalLM(model, Pieces(tokenizer), tokenizer.bos_token_id, Path(str(source)).name)


@contextmanager
def quiet() -> Iterator[None]:
    """Let transformers show no bars and no warnings inside the block."""
    logging = _transformers().utils.logging
    shown = logging.is_progress_bar_enabled()
    level = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


@dataclass(frozen=True, eq=False)
class Pieces:
    """A tokenizer of transformers as a function from a text to its tokens, without any that mark begin or end."""

    tokenizer: Any

    def __call__(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        with _one_thread():
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
