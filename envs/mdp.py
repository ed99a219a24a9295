"""Tabular Markov decision processes and their exact solutions, batched over processes and over reward weights.

Letters: B processes, S states, A actions, d reward features; `...` any further leading axes (weights, seeds).
Rewards are linear, r(s, a) = w . phi(s, a); phi is the expected feature vector of the transition. A terminal state
maps to itself with zero features, so every value there is 0. Source of the standard results: Puterman (1994),
"Markov Decision Processes"; successor features: Barreto et al. (2017).

Policies come in two forms: actions (..., B, S) of integers, and probabilities (..., B, S, A).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = [
    "TabularMDP",
    "advantages",
    "between",
    "discounted_sum",
    "evaluate",
    "expected_features",
    "expected_next",
    "greedy_policy",
    "mean_return",
    "normalised_return",
    "occupancy",
    "optimal_actions",
    "optimal_policy",
    "optimal_values",
    "probabilities",
    "q_values",
    "reward",
    "reward_scale",
    "soft_maximum",
    "soft_values",
    "successor_features",
    "uniform_policy",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TIE = 1e-6  # actions within this share of the reward scale of the best count as equally good
BLOCKS = 400  # from so many states on, neighbourly processes are solved block by block
_TYPES = {
    "features": ("fiu", "real numbers"),
    "terminal": ("b", "bools"),
    "start": ("fiu", "real numbers"),
    "next_state": ("iu", "integers"),
    "probability": ("fiu", "real numbers"),
}
_TAIL = 1e-16  # deterministic evaluation sums returns until discount**steps is below this


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """B processes with given dynamics. Exactly one of next_state and probability is given.

    Attributes:
        features: (B, S, A, d) expected reward features of taking action a in state s.
        terminal: (B, S) bool.
        start: (B, S) start distribution, rows sum to 1.
        discount: per step, in (0, 1]; 1 is for deterministic episodic tasks, whose returns then run over 2**17 steps.
        next_state: (B, S, A) integers: deterministic transitions, solved by the fast path.
        probability: (B, S, A, S): stochastic transitions, rows sum to 1.

    Raises:
        ValueError: a shape, type, feature, start distribution or transition is not as stated.
    """

    features: Floats
    terminal: npt.NDArray[np.bool_]
    start: Floats
    discount: float
    next_state: Integers | None = None
    probability: Floats | None = None

    def __post_init__(self) -> None:
        """Check shapes and laws once, and make terminal states absorbing with zero features."""
        self._check_arrays()
        S = self.features.shape[1]
        if not np.isfinite(self.features).all():
            checks.reals("features", self.features)
        checks.real("discount", self.discount, high=1, above=0)
        _check_distribution("start", self.start)
        ends = self.terminal[:, :, None]
        object.__setattr__(self, "features", np.where(ends[..., None], 0.0, self.features))
        if self.next_state is not None and self.probability is None:
            if self.next_state.min() < 0 or self.next_state.max() >= S:
                raise ValueError(f"next_state must hold states from 0 to {S - 1}.")
            object.__setattr__(self, "next_state", np.where(ends, np.arange(S)[:, None], self.next_state))
        elif self.probability is not None and self.next_state is None:
            _check_distribution("probability", self.probability)
            if self.discount == 1:
                raise ValueError("discount = 1 is for deterministic transitions; expected a number below 1.")
            object.__setattr__(self, "probability", np.where(ends[..., None], np.eye(S)[:, None, :], self.probability))
        else:
            raise ValueError("Give exactly one of next_state (deterministic) and probability (stochastic).")

    def _check_arrays(self) -> None:
        """Check types and shapes."""
        for name, (kinds, noun) in _TYPES.items():
            value = getattr(self, name)
            given = value is not None or name not in ("next_state", "probability")
            if given and (not isinstance(value, np.ndarray) or value.dtype.kind not in kinds):
                raise checks.refusal(name, value, f"an array of {noun}")
        if self.features.ndim != 4:
            raise ValueError(f"features have shape {self.features.shape}; expected (B, S, A, d).")
        B, S, A, _ = self.features.shape
        shapes = {"terminal": (B, S), "start": (B, S), "next_state": (B, S, A), "probability": (B, S, A, S)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"{name} has shape {value.shape}; expected {shape} for features {self.features.shape}."
                )


def _check_distribution(name: str, chances: Floats) -> None:
    if (chances < 0).any() or not np.allclose(chances.sum(-1), 1):
        raise ValueError(f"{name} must be a probability distribution: along its last axis not negative, with sum 1.")


def reward(mdp: TabularMDP, weights: Floats) -> Floats:
    """Rewards r(s, a) = w . phi(s, a).

    Weights (..., B, d), or (d,) for all -> (..., B, S, A), summed in a fixed order: bit-identical at any batch size.
    """
    weights = np.broadcast_to(weights, (*weights.shape[:-2], mdp.features.shape[0], weights.shape[-1]))
    total = np.zeros((*weights.shape[:-1], *mdp.features.shape[1:3]))
    for i in range(weights.shape[-1]):
        total += weights[..., i, None, None] * mdp.features[..., i]
    return total


def q_values(mdp: TabularMDP, reward: Floats, values: Floats) -> Floats:
    """Action values r(s, a) + discount * E[V(s')]: reward (..., B, S, A), values (..., B, S) -> (..., B, S, A)."""
    return reward + mdp.discount * expected_next(mdp, values)


def expected_next(mdp: TabularMDP, values: Floats) -> Floats:
    """Expected next values E[V(s') | s, a]: (..., B, S) -> (..., B, S, A)."""
    return expected_features(mdp, values[..., None])[..., 0]


def expected_features(mdp: TabularMDP, table: Floats) -> Floats:
    """Expected next vectors E[x(s') | s, a] of x(s): (..., B, S, k) -> (..., B, S, A, k)."""
    if mdp.next_state is not None:
        S, k = table.shape[-2:]
        rows = np.arange(math.prod(table.shape[:-2])).reshape(*table.shape[:-2], 1, 1)
        ahead: Floats = table.reshape(-1, k)[mdp.next_state + rows * S]
        return ahead
    assert mdp.probability is not None
    expected: Floats = np.einsum("bsat,...btk->...bsak", mdp.probability, table)
    return expected


def _doublings(discount: float) -> int:
    """Number of doublings after which the discounted tail of a return is negligible."""
    return 17 if discount == 1 else int(np.ceil(np.log2(max(np.log(_TAIL) / np.log(discount), 1.0)))) + 1


def _along_paths(mdp: TabularMDP, actions: Integers, signal: Floats) -> Floats:
    """Discounted sums of signal (N, S, k) along the deterministic paths that actions (N, S) follow: -> (N, S, k).

    Path doubling: sum_{2n}(s) = sum_n(s) + discount**n * sum_n(state after n steps), exact to machine precision in
    log2(horizon) gathers.
    """
    assert mdp.next_state is not None
    (N, S), B = actions.shape, mdp.next_state.shape[0]
    ahead = mdp.next_state[np.arange(N)[:, None] % B, np.arange(S), actions]
    ahead = (ahead + np.arange(N)[:, None] * S).reshape(-1)
    total, factor = signal.reshape(N * S, signal.shape[-1]), mdp.discount
    for n in range(_doublings(mdp.discount)):
        further = total[ahead]
        if n in (5, S.bit_length()) and not further.any():
            break  # every path has ended; one that has not after S steps never will
        total = total + factor * further
        ahead = ahead[ahead]
        factor *= factor
    return total.reshape(N, S, total.shape[-1])


def _chosen(table: Floats, actions: Integers) -> Floats:
    """Select a table (..., S, A, k) at actions (..., S) -> (..., S, k)."""
    return np.take_along_axis(table, actions[..., None, None], -2)[..., 0, :]


def _solve(mdp: TabularMDP, policy: Floats, signal: Floats, transpose: bool = False) -> Floats:
    """Solve (I - discount * P_policy) x = signal (..., B, S, k) for policy probabilities (..., B, S, A)."""
    if mdp.discount == 1:
        raise ValueError("discount = 1: only deterministic policies, given as actions, can be evaluated.")
    S = policy.shape[-2]
    if mdp.next_state is not None and S >= BLOCKS:
        width = int(np.abs(mdp.next_state - np.arange(S)[:, None]).max())
        if 8 * width <= S:
            return _solve_blocks(mdp, policy, signal, transpose, max(width, 1))
    if mdp.next_state is not None:
        matrix = np.zeros((*policy.shape[:-1], S))
        flat = matrix.reshape(-1, S, S)
        successors = np.broadcast_to(mdp.next_state, policy.shape).reshape(-1, S, policy.shape[-1])
        chance = policy.reshape(successors.shape)
        row, state = np.arange(len(flat))[:, None], np.arange(S)
        for a in range(policy.shape[-1]):  # one successor for each action, so no index repeats within an addition
            flat[row, state, successors[..., a]] += chance[..., a]
    else:
        assert mdp.probability is not None
        matrix = np.einsum("...bsa,bsat->...bst", policy, mdp.probability)
    matrix *= -mdp.discount  # in place: for many processes at once the matrices are most of the memory
    matrix[..., np.arange(S), np.arange(S)] += 1.0
    solution = np.linalg.solve(np.swapaxes(matrix, -1, -2) if transpose else matrix, signal)
    return solution.astype(np.float64, copy=False)


def _solve_blocks(mdp: TabularMDP, policy: Floats, signal: Floats, transpose: bool, width: int) -> Floats:
    """Solve as `_solve` where no transition leads further than `width` states, by block tridiagonal elimination.

    The matrix has at least as much on its diagonal as beside it, so the blocks need no pivoting among each other.
    Cost O(S * width**2) instead of O(S**3): a map of 100 x 100 cells is solved in a second.
    """
    assert mdp.next_state is not None
    S, A = policy.shape[-2:]
    n = -(-S // width)
    successors = np.broadcast_to(mdp.next_state, policy.shape).reshape(-1, S, A)
    chance, N = policy.reshape(successors.shape), len(successors)
    # Row s of the matrix: the entries of the columns of its own block and of the blocks before and after it.
    matrix = np.zeros((N, n * width, 3 * width))
    every, state = np.arange(n * width), np.arange(S)
    matrix[:, every, width + every % width] = 1.0
    for a in range(A):
        row, column = (successors[..., a], state) if transpose else (state, successors[..., a])
        matrix[np.arange(N)[:, None], row, column - (row // width - 1) * width] -= mdp.discount * chance[..., a]
    below, diagonal, above = np.split(matrix.reshape(N, n, width, 3 * width), 3, -1)
    solution = np.zeros((N, n * width, signal.shape[-1]))
    solution[:, :S] = signal.reshape(N, S, -1)
    solution = solution.reshape(N, n, width, -1)
    eliminated = np.zeros((N, n, width, width))
    for i in range(n):
        if i:
            diagonal[:, i] -= below[:, i] @ eliminated[:, i - 1]
            solution[:, i] -= below[:, i] @ solution[:, i - 1]
        solved = np.linalg.solve(diagonal[:, i], np.concatenate([above[:, i], solution[:, i]], -1))
        eliminated[:, i], solution[:, i] = solved[..., :width], solved[..., width:]
    for i in reversed(range(n - 1)):
        solution[:, i] -= eliminated[:, i] @ solution[:, i + 1]
    return solution.reshape(N, n * width, -1)[:, :S].reshape(signal.shape)


def _check_actions(name: str, actions: Any, A: int) -> Integers:
    """Return actions, which are integers below A."""
    fine = isinstance(actions, np.ndarray) and actions.dtype.kind in "iu"
    if fine and actions.min(initial=0) >= 0 and actions.max(initial=0) < A:
        return actions
    return checks.integers(name, actions, low=0, high=A - 1)


def _check_policy(mdp: TabularMDP, policy: Integers | Floats) -> Integers | Floats:
    """Return a policy: actions (..., S), or their probabilities (..., S, A)."""
    S, A = mdp.features.shape[1:3]
    if np.issubdtype(policy.dtype, np.integer):
        return np.asarray(_check_actions("policy", policy, A), np.int64)
    if policy.shape[-2:] != (S, A):
        raise ValueError(f"policy has shape {policy.shape}; expected actions (..., {S}) or numbers (..., {S}, {A}).")
    return policy if np.isfinite(policy).all() else checks.reals("policy", policy)


def probabilities(actions: Integers, A: int) -> Floats:
    """Convert a deterministic policy to probabilities: (..., S) -> (..., S, A).

    Raises:
        ValueError: an action is no integer from 0 to A - 1.
    """
    A = checks.integer("A", A, 1)
    actions = _check_actions("actions", actions, A)
    return (actions[..., None] == np.arange(A)).astype(np.float64)


def discounted_sum(mdp: TabularMDP, policy: Integers | Floats, signal: Floats) -> Floats:
    """Expected discounted sum of a signal (..., B, S, A, k) from every state: -> (..., B, S, k).

    x(s) = E[sum_t discount**t signal(s_t, a_t) | s_0 = s]. The policy holds actions (..., B, S) or probabilities (...,
    B, S, A), with the same leading axes as the signal (which may broadcast). Deterministic policies in deterministic
    processes are summed along their paths; everything else is a linear solve.

    Raises:
        ValueError: an action is none of the process, or a probability is not finite.
    """
    A, policy = mdp.features.shape[2], _check_policy(mdp, policy)
    if np.issubdtype(policy.dtype, np.integer):
        actions = np.asarray(policy, np.int64)
        if mdp.next_state is not None:
            chosen = _chosen(np.broadcast_to(signal, (*actions.shape, *signal.shape[-2:])), actions)
            return _along_paths(mdp, actions.reshape(-1, actions.shape[-1]), chosen).reshape(chosen.shape)
        policy = probabilities(actions, A)
    expected = np.zeros((*policy.shape[:-1], signal.shape[-1]))
    for a in range(A):
        expected += policy[..., a, None] * signal[..., a, :]
    return _solve(mdp, np.asarray(policy, np.float64), expected)


def evaluate(mdp: TabularMDP, policy: Integers | Floats, reward: Floats) -> Floats:
    """Values V of a policy: reward (..., B, S, A) -> (..., B, S)."""
    return discounted_sum(mdp, policy, reward[..., None])[..., 0]


def successor_features(mdp: TabularMDP, policy: Integers | Floats) -> Floats:
    """Successor features psi(s) = E[sum_t discount**t phi(s_t, a_t) | s_0 = s] (..., B, S, d) (Barreto 2017).

    V(s) = w . psi(s) for reward weights w.
    """
    return discounted_sum(mdp, policy, mdp.features)


def occupancy(mdp: TabularMDP, policy: Integers | Floats) -> Floats:
    """Discounted expected visits sum_t discount**t P(s_t = s) from the start distribution: -> (..., B, S).

    Sums to 1 / (1 - discount).

    Raises:
        ValueError: an action is none of the process, or a probability is not finite.
    """
    policy = _check_policy(mdp, policy)
    if np.issubdtype(policy.dtype, np.integer):
        policy = probabilities(np.asarray(policy, np.int64), mdp.features.shape[2])
    start = np.broadcast_to(mdp.start[..., None], (*policy.shape[:-1], 1))
    return _solve(mdp, np.asarray(policy, np.float64), start, transpose=True)[..., 0]


def optimal_actions(
    mdp: TabularMDP, reward: Floats, first: Integers | None = None, max_iterations: int = 1000
) -> tuple[Integers, Floats]:
    """Find an optimal deterministic policy by policy iteration (Howard 1960).

    Reward (..., B, S, A) -> an optimal deterministic policy (..., B, S) and V* (..., B, S).

    `first` is a policy to start from; a good one saves iterations. An action changes only where it gains more than
    rounding error, so the iteration ends.

    Raises:
        ValueError: a reward is not finite.
        ArithmeticError: it does not end within max_iterations, as with endless gains at discount 1.
    """
    if not np.isfinite(reward).all():
        checks.reals("reward", reward)
    lead = reward.shape[:-1]
    actions = np.argmax(reward, -1) if first is None else np.array(np.broadcast_to(first, lead))
    for _ in range(max_iterations):
        values = evaluate(mdp, actions, reward)
        q = q_values(mdp, reward, values)
        rounding = 1e-12 * np.maximum(np.abs(values).max(-1, keepdims=True), 1e-300)
        better = np.argmax(q, -1)
        gain = (
            np.take_along_axis(q, better[..., None], -1)[..., 0] - np.take_along_axis(q, actions[..., None], -1)[..., 0]
        )
        improve = gain > rounding
        if not improve.any():
            return actions, values
        actions = np.where(improve, better, actions)
    raise ArithmeticError(
        f"Policy iteration found no fixed point in {max_iterations} iterations; is discount = {mdp.discount} below 1?"
    )


def optimal_values(mdp: TabularMDP, reward: Floats) -> tuple[Floats, Floats]:
    """Optimal values V* (..., B, S) and action values Q* (..., B, S, A)."""
    _, values = optimal_actions(mdp, reward)
    return values, q_values(mdp, reward, values)


def soft_maximum(values: Floats, temperature: float) -> Floats:
    """Soft maximum temperature * log sum_a exp(Q(a) / temperature) over the last axis, without overflow.

    Raises:
        ValueError: the temperature is no finite number above 0.
    """
    checks.real("temperature", temperature, above=0)
    best = values.max(-1)
    total: Floats = best + temperature * np.log(np.exp((values - best[..., None]) / temperature).sum(-1))
    return total


def soft_values(
    mdp: TabularMDP, reward: Floats, temperature: float, max_iterations: int = 1000
) -> tuple[Floats, Floats]:
    """Maximum-entropy V (..., B, S) and Q (..., B, S, A) of reward (..., B, S, A); V* and Q* at temperature 0.

    V(s) = temperature * log sum_a exp(Q(s, a) / temperature), Q = r + discount * E[V(s')], 0 in terminal states, and
    the policy is exp((Q - V) / temperature) (Ziebart 2010; Haarnoja et al. 2017, eqs. 5 to 7). The temperature is in
    units of reward. Soft policy iteration from V*: every step solves the current policy exactly and is Newton's
    step for the equations above, so a handful suffice at any discount below 1.

    Raises:
        ValueError: the temperature is no finite number of at least 0, or above 0 at discount 1.
        ArithmeticError: the equations do not hold to rounding within max_iterations.
    """
    checks.real("temperature", temperature, 0)
    values, action_values = optimal_values(mdp, reward)
    if temperature == 0:
        return values, action_values
    if mdp.discount == 1:
        raise ValueError("discount = 1: the entropy of endless steps has no finite sum; expected a discount below 1.")
    running, rounding = ~mdp.terminal, 1e-13 / (1 - mdp.discount)
    for _ in range(max_iterations):
        target = np.where(running, soft_maximum(action_values, temperature), 0.0)
        scale = np.maximum(np.abs(values).max(-1, keepdims=True), temperature)
        if (np.abs(target - values) <= rounding * scale).all():
            return target, q_values(mdp, reward, target)
        log_policy = (action_values - soft_maximum(action_values, temperature)[..., None]) / temperature
        bonus = np.where(running[..., None], temperature * log_policy, 0.0)
        values = evaluate(mdp, np.exp(log_policy), reward - bonus)
        action_values = q_values(mdp, reward, values)
    raise ArithmeticError(f"Soft policy iteration found no fixed point in {max_iterations} iterations.")


def advantages(values: Floats, action_values: Floats) -> Floats:
    """Advantages A(s, a) = Q(s, a) - V(s): values (..., S), action_values (..., S, A) -> (..., S, A)."""
    return action_values - values[..., None]


@checks.numbers(scale={"low": 0})
def greedy_policy(action_values: Floats, scale: Floats | float) -> Floats:
    """Probabilities (..., S, A) that share each state equally among actions within TIE * scale of the best.

    scale: the reward scale, max |r|, a number or (...,). A plain argmax would let rounding decide between equal
    actions.
    """
    best = action_values.max(-1, keepdims=True)
    good = action_values >= best - TIE * np.asarray(scale)[..., None, None]
    return good / good.sum(-1, keepdims=True)


def reward_scale(reward: Floats) -> Floats:
    """Reward scale max |r(s, a)|: (..., S, A) -> (...,)."""
    return np.abs(reward).max((-2, -1))


def optimal_policy(mdp: TabularMDP, reward: Floats) -> Floats:
    """Probabilities (..., B, S, A) of the optimal policy, near-ties shared."""
    return greedy_policy(optimal_values(mdp, reward)[1], reward_scale(reward))


def uniform_policy(mdp: TabularMDP) -> Floats:
    """Probabilities (B, S, A) of the uniform policy."""
    return np.full(mdp.features.shape[:3], 1.0 / mdp.features.shape[2])


def mean_return(mdp: TabularMDP, values: Floats) -> Floats:
    """Mean return J = E[V(s_0)] over the start distribution: (..., B, S) -> (..., B)."""
    return (mdp.start * values).sum(-1)


def between(returns: Floats, naive: Floats, best: Floats) -> Floats:
    """Normalise returns: (returns - naive) / (best - naive), elementwise.

    NaN, undefined, where the best return is not above the naive one by more than rounding: there is no scale then.
    """
    span = best - naive
    scaled = span > TIE * np.maximum(np.abs(best), np.abs(naive))
    return np.where(scaled, (returns - naive) / np.where(scaled, span, 1.0), np.nan)


def normalised_return(mdp: TabularMDP, reward: Floats, policy: Integers | Floats) -> Floats:
    """Normalised return (J_policy - J_uniform) / (J_optimal - J_uniform).

    0 for uniformly random actions, 1 for an optimal policy, unbounded below.

    reward (..., B, S, A) and policy have the same leading axes; -> (..., B).
    """
    uniform = np.broadcast_to(uniform_policy(mdp), reward.shape)
    naive = mean_return(mdp, evaluate(mdp, uniform, reward))
    best = mean_return(mdp, optimal_actions(mdp, reward)[1])
    return between(mean_return(mdp, evaluate(mdp, policy, reward)), naive, best)
