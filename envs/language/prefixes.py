"""Exact values of all prefixes of a token process: what an agent that writes responses token by token can still earn.

A response to one of P prompts is a sequence of T tokens out of V. What has been written so far is a *prefix*, and the
prefixes are numbered like a heap: 0 is the empty one, and token a leads from prefix s to s V + 1 + a. So the N prefixes
that can be continued come first, M = N V + 1 is the number of all, and the values (P, M) of what follows them are, but
for the first column, a table (P, N, V) over prefixes and tokens. The reward (P, N, V) of a token may depend on the
whole prefix. Nothing is discounted: a response has T tokens, whatever they are.

Two optima. The plain one is the highest return. Under a KL penalty a policy earns, for each response y to a prompt x,

    r(x, y) - temperature log(policy(y | x) / reference(y | x)),

so that it stays near a reference policy; the temperature is in units of reward (Ziegler et al. 2019,
arXiv:1909.08593). Its optimum is known in closed form, prefix by prefix (`soft_values`, `soft_policy`), and its
advantages are temperature log(policy / reference) (Rafailov et al. 2024, arXiv:2404.12358, "From r to Q*").

Regret and partial return. The advantages of a stretch of L tokens sum to its return plus V(last prefix) - V(first
prefix), so the two models of preference rank two stretches alike if this difference is the same for both, as it is for
whole responses to one prompt, and in general they do not (`Stretches`, `partial_return`, `regret`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = [
    "MEMORY",
    "Stretches",
    "Tree",
    "draw",
    "evaluate",
    "every",
    "kl_divergence",
    "kl_objective",
    "log_softmax",
    "optimal_policy",
    "optimal_values",
    "partial_return",
    "policy_gradient",
    "reach",
    "regret",
    "soft_policy",
    "soft_values",
    "tree",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MEMORY = 2**28  # bytes that the values of all prefixes may take
TIE = 1e-9  # tokens within this of the best value count as equally good


class Tree(NamedTuple):
    """Numbers of the prefixes of responses: V tokens to choose from, T tokens in a response."""

    V: int
    T: int

    @property
    def starts(self) -> list[int]:
        """Number of the first prefix of 0, 1, ..., T tokens, and the number of all prefixes."""
        return [(self.V**t - 1) // (self.V - 1) for t in range(self.T + 2)]

    @property
    def N(self) -> int:
        """Prefixes that can be continued."""
        return self.starts[self.T]

    @property
    def M(self) -> int:
        """All prefixes, whole responses among them."""
        return self.starts[self.T + 1]

    def tokens(self, t: int) -> Integers:
        """Return the tokens (V**t, t) of all prefixes of t tokens, in order of their numbers."""
        return np.arange(self.V**t)[:, None] // self.V ** np.arange(t - 1, -1, -1) % self.V

    def number(self, tokens: Any) -> Integers:
        """Return the numbers (...) of prefixes, given as tokens (..., t)."""
        prefix = np.zeros(np.shape(tokens)[:-1], np.int64)
        for token in np.moveaxis(np.asarray(tokens), -1, 0):
            prefix = self.V * prefix + 1 + token
        return prefix

    def written(self, prefix: Integers) -> Integers:
        """Return the tokens (B, T) of prefixes (B,), in each row first those that are there and then -1."""
        tokens = np.full((len(prefix), self.T + 1), -1)
        place, rows = np.searchsorted(self.starts, prefix, "right") - 2, np.arange(len(prefix))
        for _ in range(self.T):
            going = prefix > 0
            tokens[rows, np.where(going, place, self.T)] = (prefix - 1) % self.V
            prefix, place = np.where(going, (prefix - 1) // self.V, 0), place - going
        return tokens[:, : self.T]


def tree(vocabulary: int, length: int, prompts: int = 1, memory: int = MEMORY) -> Tree:
    """Return the tree of all prefixes, if its values fit into so many bytes.

    Raises:
        ValueError: a number is no integer in its range (vocabulary from 2, the others from 1), or there are too many
            prefixes.
    """
    vocabulary, length = checks.integer("vocabulary", vocabulary, 2, 10**6), checks.integer("length", length, 1, 64)
    prompts, memory = checks.integer("prompts", prompts, 1, 10**6), checks.integer("memory", memory, 1)
    found = Tree(vocabulary, length)
    if 8 * prompts * found.M > memory:
        raise ValueError(
            f"vocabulary = {vocabulary} and length = {length} make {found.M:,} prefixes, whose values take "
            f"{8 * prompts * found.M / 2**30:,.3g} GiB for prompts = {prompts}; expected at most {memory / 2**30:.3g} "
            "GiB: choose fewer tokens, shorter responses or fewer prompts."
        )
    return found


# --- values ---


def _backward(rewards: Floats, value_of: Any) -> tuple[Floats, Floats]:
    """Return V (P, M) and Q (P, N, V), with V of a prefix computed from its Q by `value_of(Q, slice of prefixes)`."""
    P, N, V = rewards.shape
    values, action_values = np.zeros((P, N * V + 1)), np.empty((P, N, V))
    last = N
    while last:
        first = (last - 1) // V  # the first prefix that has as many tokens as prefix last - 1
        rows = slice(first, last)
        following = values[:, first * V + 1 : last * V + 1].reshape(P, last - first, V)
        action_values[:, rows] = rewards[:, rows] + following
        values[:, rows] = value_of(action_values[:, rows], rows)
        last = first
    return values, action_values


def optimal_values(rewards: Floats) -> tuple[Floats, Floats]:
    """Return the highest values V* (P, M) and Q* (P, N, V) of rewards (P, N, V)."""
    return _backward(rewards, lambda q, rows: q.max(-1))


def evaluate(rewards: Floats, policy: Floats) -> tuple[Floats, Floats]:
    """Return the values V (P, M) and Q (P, N, V) of a policy's probabilities (P, N, V)."""
    return _backward(rewards, lambda q, rows: (policy[:, rows] * q).sum(-1))


def soft_values(rewards: Floats, log_reference: Floats, temperature: float) -> tuple[Floats, Floats]:
    """Return V (P, M) and Q (P, N, V) of the optimum under a KL penalty; V* and Q* at temperature 0.

    V(s) = temperature log sum_a reference(a | s) exp(Q(s, a) / temperature), Q(s, a) = r(s, a) + V(s a).

    Raises:
        ValueError: the temperature is no finite number of at least 0.
    """
    if checks.real("temperature", temperature, 0) == 0:
        return optimal_values(rewards)

    def value_of(q: Floats, rows: slice) -> Floats:
        best = q.max(-1, keepdims=True)
        weights = np.exp((q - best) / temperature + log_reference[:, rows])
        value: Floats = best[..., 0] + temperature * np.log(weights.sum(-1))
        return value

    return _backward(rewards, value_of)


def soft_policy(values: Floats, action_values: Floats, log_reference: Floats, temperature: float) -> Floats:
    """Return log probabilities (P, N, V) of the optimum under a KL penalty: log reference + (Q - V) / temperature.

    Raises:
        ValueError: the temperature is no finite number above 0.
    """
    checks.real("temperature", temperature, above=0)
    N = action_values.shape[1]
    logs: Floats = log_reference + (action_values - values[:, :N, None]) / temperature
    return logs


def optimal_policy(action_values: Floats) -> Floats:
    """Return probabilities (P, N, V) that share each prefix equally among its best tokens."""
    good = action_values >= action_values.max(-1, keepdims=True) - TIE
    shares: Floats = good / good.sum(-1, keepdims=True)
    return shares


# --- policies ---


def log_softmax(logits: Floats) -> Floats:
    """Return log probabilities of a softmax over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logs


def reach(policy: Floats) -> Floats:
    """Return the probabilities (P, M) that a response begins with each prefix, under probabilities (P, N, V)."""
    P, N, V = policy.shape
    reached = np.ones((P, N * V + 1))
    first, last = 0, 1
    while first < N:
        rows = slice(first, last)
        reached[:, first * V + 1 : last * V + 1] = (reached[:, rows, None] * policy[:, rows]).reshape(P, -1)
        first, last = last, last * V + 1
    return reached


def kl_divergence(log_policy: Floats, log_reference: Floats) -> Floats:
    """Return KL(policy || reference) (P,) of whole responses, from log probabilities (P, N, V)."""
    policy = np.exp(log_policy)
    divergence: Floats = evaluate(np.where(policy > 0, log_policy - log_reference, 0.0), policy)[0][:, 0]
    return divergence


def kl_objective(rewards: Floats, log_policy: Floats, log_reference: Floats, temperature: float) -> Floats:
    """Return the mean return less temperature times KL(policy || reference), (P,): what `soft_values` maximise."""
    returns = evaluate(rewards, np.exp(log_policy))[0][:, 0]
    objective: Floats = returns - temperature * kl_divergence(log_policy, log_reference)
    return objective


def policy_gradient(
    rewards: Floats, log_policy: Floats, log_reference: Floats, temperature: float
) -> tuple[Floats, Floats]:
    """Return `kl_objective` (P,) and its gradient (P, N, V) with respect to the logits of a softmax policy.

    The policy gradient theorem, summed over all prefixes and tokens in place of sampled ones: reach(s) policy(a | s)
    A(s, a), with the advantage of the reward r - temperature log(policy / reference) (Sutton et al. 2000).
    """
    policy = np.exp(log_policy)
    values, action_values = evaluate(rewards - temperature * (log_policy - log_reference), policy)
    N = policy.shape[1]
    gradient: Floats = reach(policy)[:, :N, None] * policy * (action_values - values[:, :N, None])
    return values[:, 0], gradient


# --- what people compare ---


class Stretches(NamedTuple):
    """Stretches of L tokens: prompt (...), prefix before each token (..., L), tokens (..., L)."""

    prompt: Integers
    prefix: Integers
    token: Integers

    def read(self, table: Any) -> Any:
        """Return the entries (..., L) of a table (P, N, V), an array of numpy or a tensor of torch."""
        return table[self.prompt[..., None], self.prefix, self.token]


def draw(
    shape: Tree, policy: Floats, prompt: Integers, start: Integers, length: int, rng: np.random.Generator
) -> Stretches:
    """Return stretches of so many tokens that begin after `start` tokens, both written by a policy (P, N, V).

    Args:
        shape: of the tree.
        policy: probabilities (P, N, V).
        prompt: of each stretch (...), from 0 to P - 1.
        start: tokens before each stretch (...), from 0 to T - length.
        length: L, tokens of a stretch.
        rng: generator of the draws.

    Raises:
        ValueError: a prompt, start or length is outside its range, or prompt and start differ in shape.
    """
    length = checks.integer("length", length, 1, shape.T)
    prompt, start = (
        checks.integers("prompt", prompt, None, 0, len(policy) - 1),
        checks.integers("start", start, None, 0, shape.T - length),
    )
    if prompt.shape != start.shape:
        raise ValueError(f"start has shape {start.shape}; expected {prompt.shape}, one for each prompt.")
    cumulative = np.cumsum(policy, -1)
    prefixes, tokens = np.zeros((shape.T, *prompt.shape), np.int64), np.zeros((shape.T, *prompt.shape), np.int64)
    prefix = np.zeros_like(prompt)
    for t in range(shape.T):
        ladder = cumulative[prompt, prefix]
        prefixes[t], tokens[t] = prefix, (ladder[..., :-1] <= rng.random(prompt.shape)[..., None]).sum(-1)
        prefix = shape.V * prefix + 1 + tokens[t]
    steps = start[None] + np.arange(length).reshape(-1, *[1] * start.ndim)
    taken = (np.moveaxis(np.take_along_axis(every, steps, 0), 0, -1) for every in (prefixes, tokens))
    return Stretches(prompt, *taken)


def every(shape: Tree, prompts: int, length: int) -> Stretches:
    """Return all stretches of so many tokens, by prompt, place and tokens.

    Raises:
        ValueError: the length is no integer from 1 to T.
    """
    checks.integer("length", length, 1, shape.T)
    parts = []
    for prompt in range(prompts):
        for start in range(shape.T - length + 1):
            tokens = shape.tokens(start + length)
            before = np.stack([shape.number(tokens[:, : start + k]) for k in range(length)], 1)
            parts.append(Stretches(np.full(len(tokens), prompt), before, tokens[:, start:]))
    return Stretches(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def partial_return(rewards: Floats, stretches: Stretches) -> Floats:
    """Return the sums (...) of the rewards (P, N, V) of stretches."""
    total: Floats = stretches.read(rewards).sum(-1)
    return total


def regret(values: Floats, action_values: Floats, stretches: Stretches) -> Floats:
    """Return the regrets (...) of stretches: the sums of V(s) - Q(s, a), at the optimum that the values are of."""
    loss: Floats = -stretches.read(action_values - values[:, : action_values.shape[1], None]).sum(-1)
    return loss
