"""Dynamics of people's values: by other people, by an AI, by time. Each equation once, as a pure function of arrays.

Populations are arrays (B, N, D): B independent populations, N people, D value dimensions. Functions take uniform and
normal draws as arguments, so that a population and its counterfactual without an AI can share them (common random
numbers). Parameters are numbers or arrays that broadcast against (B, N), for example (B, 1) for one value per
population.

Every sum has an order that does not depend on B, and no product goes through BLAS: a population moves by the same bits
alone and among a thousand others.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.coevolution.networks import Network, columns

__all__ = [
    "Belief",
    "Heard",
    "belief",
    "biased_partner",
    "bounded_pull",
    "coevolve",
    "deffuant",
    "distance",
    "exchange",
    "friedkin_johnsen",
    "friedkin_johnsen_limit",
    "hear",
    "hear_star",
    "hegselmann_krause",
    "interest",
    "length",
    "listen",
    "mean",
    "media",
    "observe",
    "recommend",
    "recommended",
    "replicator",
    "total",
]

Array = npt.NDArray[Any]
Real = npt.NDArray[np.float64]
Number: TypeAlias = "float | Array"

BLOCK = 64  # people that everyone is compared with at a time; a part of the order of summation
CACHED = 2048  # people whose step is computed at a time
NEAREST = 1e-5  # smallest distance where a power of the distance would be infinite


def total(x: Array, axis: int = 1) -> Real:
    """Sum over an axis in a fixed order, by halves: elementwise additions only.

    np.sum may add in another order for another shape or memory layout, and so give other bits.
    """
    x = np.asarray(x, np.float64)
    axis %= x.ndim
    x = x.transpose(axis, *range(axis), *range(axis + 1, x.ndim))
    if not len(x):
        return np.zeros(x.shape[1:])
    while len(x) > 1:
        half = len(x) // 2
        paired = x[:half] + x[half : 2 * half]
        if len(x) % 2:
            paired[0] += x[-1]
        x = paired
    return np.array(x[0])


def mean(x: Array, axis: int = 1) -> Real:
    """Mean over an axis, by default over people, in a fixed order."""
    return total(x, axis) / x.shape[axis]


def length(v: Array) -> Real:
    """Euclidean length over the last axis, one dimension after another."""
    square = v[..., 0] * v[..., 0]
    for d in range(1, v.shape[-1]):
        square = square + v[..., d] * v[..., d]
    return np.sqrt(square)


def distance(x: Array, y: Array) -> Real:
    """Euclidean distance over the last axis."""
    return length(x - y)


@checks.numbers(bound={"low": 0})
def bounded_pull(x: Array, y: Array, bound: Number) -> Real:
    """Pull of y on x under bounded confidence, 1[|y - x| < bound] (y - x): (..., D) -> (..., D)."""
    return _pull(x, y, bound)


def _pull(x: Array, y: Array, bound: Number) -> Real:
    difference = y - x
    difference *= (length(difference) < bound).astype(np.float64)[..., None]
    return difference


def _each(value: Number) -> Any:
    """Return a parameter that broadcasts against (B, N) in a shape that broadcasts against (B, N, D)."""
    return value if np.ndim(value) == 0 else np.asarray(value)[..., None]


@checks.numbers(bound={"low": 0}, rate={"low": 0, "high": 0.5})
def deffuant(x: Array, first: Array, second: Array, bound: Number, rate: Number = 0.5) -> Real:
    """Let pairs meet, one after another: x_i += mu (x_j - x_i), x_j += mu (x_i - x_j) where |x_i - x_j| < eps.

    Deffuant, Neau, Amblard, Weisbuch (2000), "Mixing beliefs among interacting agents".

    The result is that of meeting number 0, 1, 2, ... in turn; meetings that share no person are done at once.

    Args:
        x: (B, N, D).
        first: (B, M) person i of each meeting.
        second: (B, M) person j.
        bound: eps, the confidence bound; broadcasts against (B, M).
        rate: mu, from 0 to 1/2; broadcasts against (B, M).
    """
    B, N, D = x.shape
    y = np.array(x, np.float64).reshape(B * N, D)
    row = N * np.arange(B)[:, None]
    i, j = (first + row).reshape(-1), (second + row).reshape(-1)
    eps, mu = (np.broadcast_to(value, first.shape).reshape(-1) for value in (bound, rate))
    first_use = np.empty(B * N, np.int64)
    while i.size:
        order = np.arange(i.size)
        first_use[np.stack([i, j], axis=1).reshape(-1)[::-1]] = np.repeat(order, 2)[
            ::-1
        ]  # the last one written, so the first
        free = (first_use[i] == order) & (first_use[j] == order)
        a, b = i[free], j[free]
        move = mu[free, None] * _pull(y[a], y[b], eps[free])
        y[a] += move
        y[b] -= np.where((a == b)[:, None], 0.0, move)
        i, j, eps, mu = i[~free], j[~free], eps[~free], mu[~free]
    return y.reshape(B, N, D)


@checks.numbers(bound={"low": 0})
def hegselmann_krause(x: Array, bound: Number, network: Network | None = None) -> Real:
    """Move everyone to the mean of all within the bound, x_i = mean {x_j : |x_i - x_j| <= eps}, at once.

    Hegselmann, Krause (2002), "Opinion dynamics and bounded confidence". With a network, j runs over i and the
    neighbours of i. (B, N, D) -> (B, N, D); all pairs are compared, memory B N min(N, 64) D.
    """
    pull, count = np.zeros(x.shape), np.zeros(x.shape[:2])
    if network is None:
        reach = np.broadcast_to(bound, x.shape[:2])[..., None]
        for start in range(0, x.shape[1], BLOCK):
            difference = x[:, None, start : start + BLOCK] - x[:, :, None]
            near = length(difference) <= reach
            pull += total(difference * near[..., None], 2)
            count += near.sum(2)
        return x + pull / count[..., None]
    reach = np.broadcast_to(bound, x.shape[:2])
    for person, tie in columns(network):
        difference = np.take(x, network.targets[tie], axis=1) - x[:, person]
        near = (length(difference) <= reach[:, person]).astype(np.float64)
        pull[:, person] += difference * near[..., None]
        count[:, person] += near
    return x + pull / (count + 1.0)[..., None]


@checks.numbers(u={"low": 0, "high": 1})
def biased_partner(x: Array, person: Array, u: Array, bias: Number, network: Network | None = None) -> Array:
    """Choose whom a platform makes a person meet: j with probability proportional to |x_i - x_j|^-gamma.

    Sîrbu, Pedreschi, Giannotti, Kertész (2019), "Algorithmic bias amplifies opinion fragmentation and polarization";
    gamma = 0 picks uniformly. Distances below 1e-5 count as 1e-5.

    Args:
        x: (B, N, D).
        person: (B,) who is to meet another person.
        u: (B,) uniform draws.
        bias: gamma, a number or (B,).
        network: whose neighbours may be met.

    Returns:
        (B,) people; the person itself where it has no neighbours.
    """
    B, N, _ = x.shape
    here = x[np.arange(B), person][:, None]
    weight = np.maximum(distance(here, x), NEAREST) ** -np.broadcast_to(bias, (B,))[:, None]
    if network is None:
        neighbours = np.arange(N) != person[:, None]
    else:
        neighbours = np.zeros((B, N), np.bool_)
        for row, i in enumerate(person.tolist()):
            neighbours[row, network.targets[network.offsets[i] : network.offsets[i + 1]]] = True
    cumulative = np.cumsum(np.where(neighbours, weight, 0.0), axis=1)
    chosen = (cumulative <= (u * cumulative[:, -1])[:, None]).sum(1)
    return np.where(cumulative[:, -1] > 0, np.minimum(chosen, N - 1), person)


@checks.numbers(
    u={"low": 0, "high": 1},
    choice={"low": 0, "high": 1},
    bound={"low": 0},
    chance={"low": 0, "high": 1},
    rate={"low": 0, "high": 1},
)
def media(
    x: Array, messages: Array, u: Array, choice: Array, bound: Number, chance: Number, bias: Number, rate: Number = 0.5
) -> Real:
    """Let everyone turn to a medium with probability p: x_i += mu (m_k - x_i) where |m_k - x_i| < eps.

    The medium k is chosen with probability proportional to |x_i - m_k|^-gamma, and is not moved itself: an AI is a
    medium whose message is its action. Pansanella, Sîrbu, Kertész, Rossetti (2023), "Mass media impact on opinion
    evolution in biased digital environments"; the contact of Sîrbu et al. (2019).

    Args:
        x: (B, N, D).
        messages: (B, K, D) of the media.
        u: (B, N) uniform draws: whether a person turns to a medium.
        choice: (B, N) uniform draws: to which.
        bound: eps.
        chance: p.
        bias: gamma.
        rate: mu; 1/2 takes the mean of the person and the medium.
    """
    gap = distance(x[:, :, None], messages[:, None])
    weight = np.maximum(gap, NEAREST) ** -np.broadcast_to(bias, x.shape[:2])[..., None]
    cumulative = np.cumsum(weight, axis=-1)
    k = (cumulative[..., :-1] <= (choice * cumulative[..., -1])[..., None]).sum(-1)
    message = np.take_along_axis(messages, k[..., None], axis=1)
    return x + _each(rate) * _pull(x, message, bound) * (u < chance)[..., None]


def listen(x: Array, network: Network | None = None) -> Real:
    """Weighted mean of the neighbours, (W x)_i = sum_j w_ij x_j; without a network the mean of all others.

    One step of DeGroot (1974), "Reaching a consensus". Those who listen to nobody, without neighbours or with weights
    of 0 only, listen to themselves: w_ii = 1.
    """
    alone = _alone(network, x.shape[1])
    if network is None:
        return np.array(x, np.float64) if alone is not None else (total(x)[:, None] - x) / (x.shape[1] - 1)
    heard: Real = np.zeros(x.shape)
    for person, tie in columns(network):
        heard[:, person] += network.weights[tie][:, None] * np.take(x, network.targets[tie], axis=1)
    if alone is not None:
        heard[:, alone] = x[:, alone]
    return heard


def _alone(network: Network | None, people: int) -> npt.NDArray[np.bool_] | None:
    """Tell who listens to nobody (N,); None where everybody listens to somebody."""
    if network is None:
        return None if people > 1 else np.ones(people, np.bool_)
    degree = network.degree
    if degree.all() and network.weights.all():
        return None
    alone = np.ones(people, np.bool_)
    alone[np.repeat(np.arange(people), degree)[network.weights > 0]] = False
    return alone if alone.any() else None


def friedkin_johnsen(x: Array, anchor: Array, susceptibility: Number, network: Network | None = None) -> Real:
    """Move people who listen to others and stay attached to an anchor: x' = Lambda W x + (I - Lambda) anchor.

    Friedkin, Johnsen (1990), "Social influence and opinions". The model's anchor is x(0); one that moves from step to
    step, (B, N, D), is a value that progresses by itself. `susceptibility` is the diagonal of Lambda, from 0 to 1; it
    counts as 0 for those who listen to nobody, who keep their own opinion, the anchor.
    """
    weight: Real = _each(susceptibility)
    if (alone := _alone(network, x.shape[1])) is not None:
        weight = np.where(alone[:, None], 0.0, weight)
    return weight * listen(x, network) + (1.0 - weight) * anchor


@checks.numbers(susceptibility={"low": 0, "high": 1}, matrix={"low": 0})
def friedkin_johnsen_limit(anchor: Array, susceptibility: Array, matrix: Array) -> Real:
    """Limit of `friedkin_johnsen` for a constant anchor: (I - Lambda W)^-1 (I - Lambda) anchor.

    anchor (B, N, D), susceptibility (N,), matrix W (N, N), whose rows of zeros are people who listen to nobody. Goes
    through a linear solver: for references and tests, never for transitions.

    Raises:
        LinAlgError: nobody is attached, so that no limit is singled out.
    """
    lam = np.where(np.any(matrix, 1), np.asarray(susceptibility, np.float64), 0.0)[:, None]
    system: Real = np.eye(len(lam)) - lam * matrix
    return np.linalg.solve(system, np.asarray((1.0 - lam) * anchor, np.float64)).astype(np.float64)


def _check_strength(name: str, value: Number) -> None:
    """Refuse strengths and distances below 0 or not finite: in few operations, for it is done at every step."""
    if isinstance(value, float):
        fine = 0.0 <= value < math.inf
    else:
        fine = bool(np.min(value) >= 0 and np.max(value) < np.inf)
    if not fine:
        checks.reals(name, value, low=0)


def coevolve(
    x: Array,
    partner: Array,
    broadcast: Array | None,
    anchor: Array,
    noise: Array,
    *,
    bound: Number,
    social: Number,
    influence: Number,
    attachment: Number,
    idiosyncratic_noise: Number,
) -> Real:
    """Move people by meetings, an AI, anchors that progress, and idiosyncratic noise.

    x_i' = x_i + 2 a_s 1[|x_j - x_i| < eps] (x_j - x_i) + a_a 1[|a - x_i| < eps] (a - x_i)
               + a_0 (b_i - x_i) + sigma xi_i

    with j the person whom i meets: bounded confidence (Deffuant et al. 2000) with the AI as a medium, on moving
    anchors (Friedkin, Johnsen 1990). An influence of 0 is bit-identical to no AI at all.

    Args:
        x: (B, N, D) values of people.
        partner: (B, N) the person whom each one meets (`networks.partners`).
        broadcast: a, (B, D) the AI's message to all, or (B, N, D) to each; None where there is no AI.
        anchor: b, (B, N, D) the value to which each person would go without others.
        noise: xi, (B, N, D) standard normal draws.
        bound: eps, the confidence bound.
        social: a_s, pull of the person met.
        influence: a_a, pull of the AI; 0 where it is silent.
        attachment: a_0, pull of the anchor.
        idiosyncratic_noise: sigma.

    Raises:
        ValueError: one of the last five is below 0 or not finite.
    """
    _check_strength("bound", bound)
    _check_strength("social", social)
    _check_strength("influence", influence)
    _check_strength("attachment", attachment)
    _check_strength("idiosyncratic_noise", idiosyncratic_noise)
    B, N, D = x.shape
    flat, row = x.reshape(B * N, D), N * np.arange(B)[:, None]
    friend = (partner + row).reshape(-1)
    messages = None if broadcast is None else broadcast.reshape(-1, D)
    speaker = np.arange(B * N) if messages is None or len(messages) == B * N else np.repeat(np.arange(B), N)
    b, xi, after = anchor.reshape(B * N, D), noise.reshape(B * N, D), np.empty((B * N, D))
    eps, a_s, a_a, a_0, sigma = (
        value if np.ndim(value) == 0 else np.broadcast_to(value, (B, N)).reshape(-1)
        for value in (bound, 2.0 * np.asarray(social), influence, attachment, idiosyncratic_noise)
    )
    # Some people at a time, so that a million do not go through memory at every operation; one dimension after another,
    # which is faster than five numbers at a time.
    for start in range(0, B * N, CACHED):
        now = slice(start, start + CACHED)
        here, met = (np.asfortranarray(values) for values in (flat[now], np.take(flat, friend[now], axis=0)))
        moved = here + _of(a_s, now) * _pull(here, met, _some(eps, now))
        if messages is not None:
            heard = np.asfortranarray(np.take(messages, speaker[now], axis=0))
            moved += _of(a_a, now) * _pull(here, heard, _some(eps, now))
        moved += _of(a_0, now) * (np.asfortranarray(b[now]) - here)
        moved += _of(sigma, now) * np.asfortranarray(xi[now])
        after[now] = moved
    return after.reshape(B, N, D)


def _some(value: Any, now: slice) -> Any:
    """Select a parameter for some people: a number for all, or entries of (B * N,)."""
    return value if np.ndim(value) == 0 else value[now]


def _of(value: Any, now: slice) -> Any:
    """Select a parameter for some people, in a shape that broadcasts against (n, D)."""
    return value if np.ndim(value) == 0 else value[now, None]


@checks.numbers(shares={"low": 0})
def replicator(shares: Array, payoff: Array, rate: Number = 1.0) -> Real:
    """Exposure drift, in which shares with higher payoffs grow: s_k' = s_k exp(eta f_k) / sum_l s_l exp(eta f_l).

    The discrete replicator equation (Taylor, Jonker 1978), as the drift of shares of attention (B, K) under payoffs
    (B, K). A share of 0 stays 0, equal payoffs change nothing.
    """
    push: Real = _each(rate) * payoff
    grown = shares * np.exp(push - push.max(-1, keepdims=True))
    return grown / total(grown, -1)[..., None]


@checks.numbers(u={"low": 0, "high": 1})
def recommended(
    opinion: Array, start: Array, item: Array, u: Array, stubbornness: Number, memory: Number, pull: Number
) -> tuple[Real, Array]:
    """Reader with a recommender: x' = alpha x(0) + beta x + gamma p, with alpha + beta + gamma = 1.

    Rossi, Polderman, Frasca (2022), "The closed loop between opinion formation and personalized recommendations". The
    item has a position p = +1 or -1; the reader clicks with probability (1 + p x) / 2, the more the item agrees.

    Args:
        opinion: x, (B, N) in [-1, 1].
        start: x(0), (B, N).
        item: p, (B, N).
        u: (B, N) uniform draws: whether it is clicked.
        stubbornness: alpha.
        memory: beta.
        pull: gamma.

    Returns:
        The next opinions (B, N) and the clicks (B, N) bool.
    """
    clicked = u < 0.5 * (1.0 + item * opinion)
    return stubbornness * start + memory * opinion + pull * item, clicked


@checks.numbers(
    clicks={"low": 0},
    impressions={"low": 0},
    u={"low": 0, "high": 1},
    choice={"low": 0, "high": 1},
    explore={"low": 0, "high": 1},
)
def recommend(clicks: Array, impressions: Array, u: Array, choice: Array, explore: Number) -> Array:
    """Recommend a position to the reader of `recommended`: the higher click-through rate, or at random.

    With probability epsilon, and where the rates are equal, a fair coin. Positions never shown have rate 0.

    Args:
        clicks: (B, N, 2) clicks so far on positions -1 and +1.
        impressions: (B, N, 2) how often each was shown.
        u: (B, N) uniform draws: whether to explore.
        choice: (B, N) uniform draws: the coin.
        explore: epsilon.
    """
    rate = clicks / np.maximum(impressions, 1)
    best = np.sign(rate[..., 1] - rate[..., 0])
    coin = np.where(choice < 0.5, -1.0, 1.0)
    return np.where((u < explore) | (best == 0), coin, best)


@checks.numbers(u={"low": 0, "high": 1}, step={"low": 0})
def interest(interests: Array, exposed: Array, u: Array, step: Array) -> tuple[Real, Array]:
    """Self-reinforcing interest: mu(a) + delta if item a is shown and clicked, mu(a) - delta if shown and not clicked.

    Jiang, Chiappa, Lattimore, György, Kohli (2019), "Degenerate feedback loops in recommender systems"; clicks have
    probability 1 / (1 + exp(-mu(a))). The loop degenerates when interests leave every bound.

    Args:
        interests: mu, (B, K).
        exposed: (B, K) bool, whether an item is shown.
        u: (B, K) uniform draws: whether an item is clicked.
        step: delta, (B, K) at least 0; the paper draws it uniformly from [0, 0.01].

    Returns:
        The next interests (B, K) and the clicks (B, K) bool.
    """
    clicked = exposed & (u * (1.0 + np.exp(-interests)) < 1.0)
    return interests + np.where(exposed, np.where(clicked, step, -step), 0.0), clicked


class Belief(NamedTuple):
    """Gaussian beliefs N(mean, 1 / (precision 2^exponent)) of everyone, all (B, N).

    Precision grows exponentially under lock-in; powers of two are stored separately, so that nothing overflows and,
    where nothing would, the bits are those of plain arithmetic. Precision is 0 (no belief) or in [1/2, 1).
    """

    mean: Real
    precision: Real
    exponent: npt.NDArray[np.int64]


_NEVER = -(2**40)  # the exponent of 0: below every other


def belief(mean: Array, precision: Array) -> Belief:
    """Beliefs from means and precisions (B, N), precision 0 for no belief."""
    return _normal(np.asarray(mean, np.float64), np.asarray(precision, np.float64), np.zeros(mean.shape, np.int64))


def _normal(mean: Real, precision: Real, exponent: Array) -> Belief:
    mantissa, shift = np.frexp(precision)
    return Belief(mean, mantissa, np.where(mantissa > 0, exponent + shift, _NEVER))


def _shift(x: Real, exponent: Array) -> Real:
    """Return x times 2^exponent, exactly, for exponents of at most 0; far below the largest term it becomes 0."""
    return np.ldexp(x, np.maximum(np.minimum(exponent, 0), -2000).astype(np.int32))


def observe(private_mean: Array, count: Array, observation: Array) -> Real:
    """Update the mean of `count` observations with another one: mu + (o - mu) / (count + 1)."""
    return private_mean + (observation - private_mean) / (count + 1.0)


class Heard(NamedTuple):
    """Messages received by everyone, (B, N): sums of precisions W q and of evidence W (nu q), both times 2^exponent."""

    precision: Real
    evidence: Real
    exponent: npt.NDArray[np.int64]


def hear_star(beliefs: Belief, trust_in_people: Number, trust_in_ai: Number) -> Heard:
    """Messages where person 0 is an AI: it hears everybody with trust lambda1, everybody only it, with trust lambda2.

    Trusts are numbers or (B,). The spectral radius of this W is sqrt((N - 1) lambda1 lambda2).
    """
    nu, q, e = beliefs
    B, N = q.shape
    one: Array = np.broadcast_to(trust_in_people, (B,))
    two: Array = np.broadcast_to(trust_in_ai, (B,))
    top = e[:, 1:].max(1, initial=_NEVER)
    aligned = _shift(q[:, 1:], e[:, 1:] - top[:, None])
    precision, evidence = (np.empty((B, N)) for _ in range(2))
    exponent = np.empty((B, N), np.int64)
    precision[:, 0], evidence[:, 0] = one * total(aligned), one * total(aligned * nu[:, 1:])
    exponent[:, 0] = np.where(precision[:, 0] > 0, top, _NEVER)
    precision[:, 1:] = (two * q[:, 0])[:, None]
    evidence[:, 1:] = (two * q[:, 0] * nu[:, 0])[:, None]
    exponent[:, 1:] = np.where(precision[:, 1:] > 0, e[:, :1], _NEVER)
    return Heard(precision, evidence, exponent)


def hear(beliefs: Belief, network: Network) -> Heard:
    """Messages on any network, whose weights are the trusts w_ij of i in j."""
    nu, q, e = beliefs
    exponent = np.full(q.shape, _NEVER)
    for person, tie in columns(network):
        trusted = np.where(network.weights[tie] > 0, e[:, network.targets[tie]], _NEVER)
        exponent[:, person] = np.maximum(exponent[:, person], trusted)
    precision, evidence = np.zeros(q.shape), np.zeros(q.shape)
    for person, tie in columns(network):
        other, weight = network.targets[tie], network.weights[tie]
        aligned = weight * _shift(q[:, other], e[:, other] - exponent[:, person])
        precision[:, person] += aligned
        evidence[:, person] += aligned * nu[:, other]
    return Heard(precision, evidence, exponent)


def exchange(beliefs: Belief, private_mean: Array, private_precision: Array, heard: Heard) -> Belief:
    """Add everyone's own evidence and the messages received: q' = p + W q, nu' q' = mu p + W (nu q).

    The Lock-in model (Qiu, He, Chugh, Kleiman-Weiner 2025, "The lock-in hypothesis: stagnation by algorithm"). Only
    aggregate beliefs are visible, so that evidence is counted repeatedly. If the spectral radius of W is below 1
    everyone learns the truth; above 1 somebody almost surely never does. Where neither private nor heard evidence
    exists, the mean stays.

    Args:
        beliefs: nu and q, the aggregate beliefs.
        private_mean: mu, (B, N) after this step's observation.
        private_precision: p, (B, N).
        heard: W q and W (nu q), from `hear` or `hear_star`.
    """
    own, shift = np.frexp(np.asarray(private_precision, np.float64))
    top = np.maximum(np.where(own > 0, shift, _NEVER), heard.exponent)
    own = _shift(own, shift - top)
    scale = heard.exponent - top
    q = own + _shift(heard.precision, scale)
    evidence = private_mean * own + _shift(heard.evidence, scale)
    informed = q > 0
    mean = np.where(informed, evidence / np.where(informed, q, 1.0), beliefs.mean)
    return _normal(mean, q, top)
