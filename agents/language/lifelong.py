"""Agents that are language models, trained again at every century on the answers of its people.

They play in FollowLanguage-v0, PredictLanguage-v0 and CoevolveLanguage-v0, where they always speak. Each keeps one
model a row. A step is: take the model of the last century (`start="iterative"`) or the first one (`"independent"`),
train it on the answers, and answer the items of the evaluation with it. The probability of an option is softmax of the
mean log-probability of its tokens, everywhere.

The memory is a dictionary of arrays with a row for each environment: all weights that are trained, and the votes so
far. Who writes it to a file (`numpy.savez`) can go on from there, with the same numbers. Needs the extra `text`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from valuegym.agents.base import BatchAgent, Mask, rules
from valuegym.agents.language import answers, causal_lm
from valuegym.agents.language.answers import Encoded
from valuegym.agents.language.causal_lm import CausalLM
from valuegym.envs import checks
from valuegym.envs.coevolution.trajectories import extrapolate
from valuegym.envs.language.follow_language import FollowLanguage
from valuegym.envs.language.item_bank import MOST, ItemBank
from valuegym.envs.language.statements import statements

__all__ = [
    "METHODS",
    "Lifelong",
    "extrapolative_dpo",
    "frozen_sft",
    "lifelong_dpo",
    "lifelong_dpo_independent",
    "lifelong_rlhf",
    "lifelong_rlhf_independent",
    "lifelong_sft",
]

Memory = dict[str, npt.NDArray[Any]]
STATEMENTS = 3000  # of people without values, on which the first model is trained
PAIRS = tuple(combinations(range(MOST), 2))
COPIES = 5.0  # of a pair at most, as published


class _Lesson(NamedTuple):
    """Material of a method at one step: items asked (n,), shares (n, 4), and votes of the pairs of options (n, 6).

    A vote is positive where the first option of the pair is preferred, and its size is the weight of the pair.
    """

    items: torch.Tensor
    shares: torch.Tensor
    votes: torch.Tensor


Loss = Callable[[torch.Tensor], torch.Tensor]


@lru_cache(maxsize=4)
def _first(bank: ItemBank, seed: int) -> CausalLM:
    """Return a tiny model trained on statements about all items by people without values."""
    texts = [f"{text} {option}" for text, some in zip(bank.contexts, bank.options, strict=True) for option in some]
    model = causal_lm.tiny(texts, seed)
    causal_lm.train(model, statements(bank, np.zeros(len(bank.names)), STATEMENTS, seed=seed), seed=seed)
    return model


class Lifelong(BatchAgent):
    """The loop; methods differ in their loss.

    Args:
        env: FollowLanguage-v0, PredictLanguage-v0 or CoevolveLanguage-v0.
        seed: of the first model and of the order of items.
        method: "sft" (cross-entropy with the shares of answers), "dpo" (direct preference optimisation on votes) or
            "rlhf" (a reward model, then policy gradients under a KL penalty).
        start: "iterative" or "independent".
        order: K of the extrapolation of votes; 0 for the votes as they are.
        ahead: M, how many steps votes are extrapolated.
        updates: gradient steps a century.
        lr: step size of Adam.
        batch: items of a gradient step.
        beta: weight of the penalty for leaving the model that a step begins with (dpo, rlhf). Log-probabilities are
            means over tokens; for sums over ten tokens it would be a tenth.
        centuries: at how many steps it learns; then it is frozen. None for all.
        model: any causal model, of which the parameters that require gradients are trained, or a folder with one, which
            gets adapters (`answers.lora`); by default a tiny one made from a config and trained in seconds.

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
        FileNotFoundError: there is no such folder.
        ImportError: transformers is not installed, or peft for the model of a folder.
    """

    def __init__(
        self,
        env: Any,
        seed: int = 0,
        method: str = "sft",
        start: str = "iterative",
        order: int = 0,
        ahead: int = 1,
        updates: int = 16,
        lr: float = 3e-3,
        batch: int = 20,
        beta: float = 5.0,
        centuries: int | None = None,
        model: CausalLM | str | None = None,
    ) -> None:
        super().__init__(env, seed)
        core: Any = rules(env)
        if not isinstance(core, FollowLanguage):
            raise ValueError(
                "Language models play in FollowLanguage-v0, PredictLanguage-v0 and CoevolveLanguage-v0 only."
            )
        self.core, self.method = core, METHODS[checks.choice("method", method, METHODS)]
        self.start = checks.choice("start", start, ("iterative", "independent"))
        self.order, self.ahead = checks.integer("order", order, 0, 15), checks.integer("ahead", ahead, 1, 100)
        self.updates, self.batch = checks.integer("updates", updates, 0, 10**6), checks.integer("batch", batch, 1)
        self.lr, self.beta = checks.real("lr", lr, high=1, above=0), checks.real("beta", beta, high=1e3, above=0)
        self.centuries = core.steps if centuries is None else checks.integer("centuries", centuries, 1)
        if not isinstance(model, CausalLM | str | None):
            raise checks.refusal("model", model, "a CausalLM, or the folder of a model")
        self.given = answers.lora(causal_lm.load(model)) if isinstance(model, str) else model

    def begin(self) -> None:
        """Make the first model, when it is needed."""
        first = self.given or _first(self.core.people.bank, self.seed)
        self.lm = replace(first, model=copy.deepcopy(first.model))
        self.trained = [p for p in self.lm.model.parameters() if p.requires_grad]
        self.origin = self.weights()
        banks = (self.core.bank_training, self.core.bank_evaluated)
        self.training, self.evaluated = (answers.encode(self.lm, bank) for bank in banks)

    def weights(self) -> npt.NDArray[np.float32]:
        """Return all trained parameters (P,)."""
        return torch.nn.utils.parameters_to_vector(self.trained).detach().cpu().numpy().astype(np.float32)

    def put(self, weights: npt.NDArray[np.float32]) -> None:
        """Set all trained parameters."""
        torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), self.trained)

    def act(self, observation: Mapping[str, Any], memory: Memory | None, start: Mask) -> tuple[Any, Memory]:
        """Train the model of each row on its answers, and return its answers (N, J*4)."""
        if not hasattr(self, "lm"):
            self.begin()
        t = np.rint(observation["time"][:, 0].astype(np.float64) * self.core.steps).astype(np.int64)
        shares = observation["answers"].astype(np.float64).reshape(len(t), -1, MOST)
        votes = np.stack([np.sign(shares[..., j] - shares[..., k]) for j, k in PAIRS], -1).reshape(len(t), 1, -1)
        old = memory or {"weights": np.repeat(self.origin[None], len(t), 0), "votes": votes}
        past = np.concatenate([old["votes"], votes], 1)[:, -self.order - 1 :]
        past = np.where((t == 0)[:, None, None], votes, past)
        weights, stated = old["weights"].copy(), []
        for row, step in enumerate(t.tolist()):
            begin = self.origin if step == 0 or self.start == "independent" else weights[row]
            if step < self.centuries:
                self.put(begin)
                self.learn_from(self.lesson(shares[row], past[row], step), step)
                weights[row] = self.weights()
            self.put(weights[row])
            stated.append(answers.choice_shares(self.lm, self.evaluated))
        return self.core.as_action(np.stack(stated)), {"weights": weights, "votes": past}

    def lesson(self, shares: Any, past: Any, step: int) -> _Lesson:
        """Return what there is to learn at a step from the shares (I, 4) and the votes so far (K + 1, 6 I)."""
        items = np.flatnonzero(shares.any(-1))
        K = min(step, self.order, len(past) - 1)
        votes = extrapolate(past[-K - 1 :], K, self.ahead) if K else past[-1]
        votes = np.clip(votes, -COPIES, COPIES).reshape(len(shares), len(PAIRS))[items]
        return _Lesson(
            torch.from_numpy(items),
            torch.from_numpy(shares[items]).float(),
            torch.from_numpy(votes).float(),
        )

    def learn_from(self, lesson: _Lesson, step: int) -> None:
        """Train the present model by the loss of the method."""
        loss = self.method(self, lesson, step)
        seed = 1000 * self.seed + step
        answers.fit(self.trained, loss, torch.arange(len(lesson.items)), self.updates, self.lr, self.batch, seed)

    def scores(self, items: torch.Tensor, model: CausalLM | None = None) -> torch.Tensor:
        """Return the mean log-probability of a token of each option (n, 4) of some of the items that can be asked."""
        return answers.option_scores(model or self.lm, self.training, items)

    def before(self, items: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities of the options (n, 4) by the model that a step begins with."""
        with torch.no_grad():
            return self.scores(items).log_softmax(-1)


# --- methods: the loss of a batch, which is given as places in the lesson ---


def _sft(agent: Lifelong, lesson: _Lesson, step: int) -> Loss:
    """Return the cross-entropy of the shares of answers: least where the model answers as the people do."""
    return lambda at: answers.share_loss(agent.scores(lesson.items[at]), lesson.shares[at])


def _dpo(agent: Lifelong, lesson: _Lesson, step: int) -> Loss:
    """Return the loss of direct preference optimisation (Rafailov et al. 2023) on votes.

    -log sigmoid(beta (log p(chosen) - log p(rejected)) - the same of the model before), weighted by the sizes of votes.
    A vote says who is preferred, and not by how much: nothing in the loss ends the growth of a difference.
    """
    before = agent.before(lesson.items)
    first, second = (list(side) for side in zip(*PAIRS, strict=True))

    def loss(at: torch.Tensor) -> torch.Tensor:
        shift = agent.scores(lesson.items[at]).log_softmax(-1) - before[at]
        votes = lesson.votes[at]
        margin = agent.beta * votes.sign() * (shift[:, first] - shift[:, second])
        return -(votes.abs() * F.logsigmoid(margin)).sum() / votes.abs().sum().clamp(min=1.0)

    return loss


def _rlhf(agent: Lifelong, lesson: _Lesson, step: int) -> Loss:
    """Return minus the objective of a policy, E[reward] - beta KL(policy, policy before), after fitting a reward model.

    The reward of an option is a linear function of the last hidden state of its last token, in a copy of the model, and
    fitted to the shares of answers as logits. With two to four options the expectation is a sum: its gradient is exact.
    """
    reward = _rewards(agent, lesson, step)
    before = agent.before(lesson.items)

    def loss(at: torch.Tensor) -> torch.Tensor:
        logs = agent.scores(lesson.items[at]).log_softmax(-1)
        gain = reward[at] - agent.beta * (logs - before[at])
        return -(logs.exp() * gain).sum(-1).mean()

    return loss


def _rewards(agent: Lifelong, lesson: _Lesson, step: int) -> torch.Tensor:
    """Return the rewards (n, 4) of options by a reward model fitted to the lesson, 0 on average over an item's."""
    model = copy.deepcopy(agent.lm.model)
    head = torch.nn.Parameter(torch.zeros(model.config.hidden_size))
    seed = 1000 * agent.seed + step

    def rewards(at: torch.Tensor) -> torch.Tensor:
        return _hidden(model, agent.training, lesson.items[at], head)

    def loss(at: torch.Tensor) -> torch.Tensor:
        return answers.share_loss(rewards(at), lesson.shares[at])

    parameters = [head, *(p for p in model.parameters() if p.requires_grad)]
    answers.fit(parameters, loss, torch.arange(len(lesson.items)), agent.updates, agent.lr, agent.batch, seed)
    with torch.no_grad():
        found = rewards(torch.arange(len(lesson.items)))
    there = agent.training.place[lesson.items] >= 0
    found = torch.where(there, found, 0.0)
    return torch.where(there, found - found.sum(-1, keepdim=True) / there.sum(-1, keepdim=True), 0.0)


def _hidden(model: Any, encoded: Encoded, items: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Return the linear function of the last hidden state of each option's last token (n, 4)."""
    place = encoded.place[items]
    there = place >= 0
    rows, attended = encoded.rows[place[there]], encoded.attended[place[there]]
    states = model(input_ids=rows, attention_mask=attended, output_hidden_states=True).hidden_states[-1]
    last = states[torch.arange(len(rows)), attended.sum(1) - 1]
    return torch.full(place.shape, answers.LEAST).masked_scatter(there, last.float() @ head)


METHODS: dict[str, Callable[[Lifelong, _Lesson, int], Loss]] = {"sft": _sft, "dpo": _dpo, "rlhf": _rlhf}

lifelong_sft = partial(Lifelong, method="sft")
frozen_sft = partial(Lifelong, method="sft", centuries=1)
lifelong_dpo = partial(Lifelong, method="dpo")
lifelong_dpo_independent = partial(Lifelong, method="dpo", start="independent")
extrapolative_dpo = partial(Lifelong, method="dpo", order=1)
lifelong_rlhf = partial(Lifelong, method="rlhf", beta=1.0)
lifelong_rlhf_independent = partial(Lifelong, method="rlhf", beta=1.0, start="independent")
