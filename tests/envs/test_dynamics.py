"""Dynamics of opinions: fixed points, conservation laws, published regimes, and the same bits alone and in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.coevolution import dynamics, networks

RNG = np.random.default_rng
Array = np.ndarray[Any, Any]


def clusters(x: Array, gap: float = 0.02, least: int = 1) -> int:
    """Groups of one-dimensional opinions (N,) that lie more than `gap` apart, of at least `least` people."""
    cuts = np.flatnonzero(np.diff(np.sort(x)) > gap)
    sizes = np.diff(np.concatenate([[-1], cuts, [len(x) - 1]]))
    return int((sizes >= least).sum())


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 100, 1001])
def test_total_is_the_sum(n: int) -> None:
    x = RNG(n).normal(size=(3, n, 2))
    before = x.copy()
    assert np.allclose(dynamics.total(x), x.sum(1), atol=1e-12) and (x == before).all()
    if n:
        assert np.allclose(dynamics.mean(x), x.mean(1))
        assert (dynamics.total(x)[1] == dynamics.total(x[1:2])[0]).all()
        assert (dynamics.total(np.asfortranarray(x)) == dynamics.total(x)).all()


class TestDeffuant:
    def test_is_one_meeting_after_another(self) -> None:
        rng = RNG(0)
        x = rng.uniform(size=(4, 30, 2))
        i, j = rng.integers(30, size=(2, 4, 200))  # some meet themselves
        expected = x.copy()
        for b in range(4):
            for m in range(200):
                p, q = i[b, m], j[b, m]
                difference = expected[b, q] - expected[b, p]
                if p != q and np.sqrt((difference**2).sum()) < 0.4:
                    expected[b, p] += 0.3 * difference
                    expected[b, q] -= 0.3 * difference
        assert (dynamics.deffuant(x, i, j, 0.4, 0.3) == expected).all()

    def test_keeps_the_mean_and_the_hull(self) -> None:
        rng = RNG(1)
        x = rng.uniform(size=(5, 40, 3))
        y = x
        for _ in range(20):
            i, j = rng.integers(40, size=(2, 5, 40))
            y = dynamics.deffuant(y, i, j, 0.6)
        assert np.allclose(y.mean(1), x.mean(1), atol=1e-13)
        assert (y >= x.min(1, keepdims=True) - 1e-12).all() and (y <= x.max(1, keepdims=True) + 1e-12).all()

    def test_those_too_far_apart_do_not_move(self) -> None:
        x = np.array([[[0.0], [0.5]]])
        i, j = np.array([[0]]), np.array([[1]])
        assert (dynamics.deffuant(x, i, j, 0.5) == x).all()  # the bound itself is out of reach
        assert (dynamics.deffuant(x, i, j, 0.6) == 0.25).all()
        assert (dynamics.deffuant(x, i, j, np.array([[0.6]]), np.array([[0.25]])) == [[[0.125], [0.375]]]).all()

    @pytest.mark.parametrize(("bound", "expected"), [(0.5, 1), (0.2, 2)])
    def test_published_regimes(self, bound: float, expected: int) -> None:
        """N = 1,000, mu = 1/2: consensus at eps = 0.5, two clusters at 0.2 (Deffuant et al. 2000).

        Besides the clusters of many a few people remain outside; those are not counted.
        """
        key = keys.mix(2, np.arange(5))
        x = keys.uniform(key[:, None], keys.RESET, np.arange(1000))[..., None]
        for t in range(100):
            u = keys.uniform(key[:, None, None], t, np.arange(1000), np.arange(2)[:, None])
            i = (u[:, 0] * 1000).astype(np.int64)
            j = (u[:, 1] * 999).astype(np.int64)
            x = dynamics.deffuant(x, i, j + (j >= i), bound)
        assert [clusters(row[:, 0], 0.05, least=50) for row in x] == [expected] * 5


class TestHegselmannKrause:
    def test_is_the_mean_of_those_in_reach(self) -> None:
        x = RNG(0).uniform(size=(3, 150, 2))
        apart = np.sqrt(((x[:, :, None] - x[:, None]) ** 2).sum(-1))
        near = (apart <= 0.3)[..., None]
        expected = (near * x[:, None]).sum(2) / near.sum(2)
        assert np.allclose(dynamics.hegselmann_krause(x, 0.3), expected, atol=1e-14)
        everyone = networks.complete(150)
        assert np.allclose(dynamics.hegselmann_krause(x, 0.3, everyone), expected, atol=1e-14)

    def test_agreement_is_a_fixed_point_and_so_are_distant_clusters(self) -> None:
        x = np.where(np.arange(10) < 4, 0.1, 0.9)[None, :, None] + np.zeros((2, 10, 3))
        assert (dynamics.hegselmann_krause(x, 0.3) == x).all()

    def test_on_a_network_only_neighbours_count(self) -> None:
        line = networks.from_edges([(0, 1), (1, 2)], 4)
        x = np.array([[[0.0], [0.2], [0.4], [0.3]]])
        assert np.allclose(dynamics.hegselmann_krause(x, 0.25, line)[0, :, 0], [0.1, 0.2, 0.3, 0.3])

    @pytest.mark.parametrize(("bound", "low", "high"), [(0.05, 5, 12), (0.15, 2, 2), (0.25, 1, 1)])
    def test_published_regimes(self, bound: float, low: int, high: int) -> None:
        """625 people: fragments, two clusters, consensus (Hegselmann, Krause 2002)."""
        x = RNG(3).uniform(size=(1, 625, 1))
        for _ in range(60):
            after = dynamics.hegselmann_krause(x, bound)
            if (after == x).all():
                break
            x = after
        assert low <= clusters(x[0, :, 0], 1e-3) <= high


class TestBias:
    def test_without_bias_everybody_is_as_likely(self) -> None:
        x = RNG(0).uniform(size=(1, 5, 1)).repeat(4000, 0)
        person = np.full(4000, 2)
        u = (np.arange(4000) + 0.5) / 4000
        chosen = dynamics.biased_partner(x, person, u, 0.0)
        assert np.bincount(chosen, minlength=5).tolist() == [1000, 1000, 0, 1000, 1000]

    def test_probability_is_a_power_of_distance(self) -> None:
        x = np.array([0.0, 0.1, 0.2, 0.4])[None, :, None].repeat(7000, 0)
        u = (np.arange(7000) + 0.5) / 7000
        chosen = dynamics.biased_partner(x, np.zeros(7000, int), u, 1.0)
        assert np.bincount(chosen, minlength=4).tolist() == [0, 4000, 2000, 1000]
        line = networks.from_edges([(0, 2), (0, 3)], 4)
        assert set(dynamics.biased_partner(x, np.zeros(7000, int), u, 1.0, line)) == {2, 3}
        assert set(dynamics.biased_partner(x, np.ones(7000, int), u, 1.0, line)) == {1}  # nobody to meet

    def test_media(self) -> None:
        x = np.array([[[0.2], [0.5], [0.9]]])
        messages = np.array([[[0.0], [1.0]]])
        never, always, first, last = np.ones((1, 3)), np.zeros((1, 3)), np.zeros((1, 3)), np.full((1, 3), 1 - 2**-53)
        assert (dynamics.media(x, messages, never, first, 0.6, 0.5, 0.0) == x).all()
        assert np.allclose(dynamics.media(x, messages, always, first, 0.6, 0.5, 0.0)[0, :, 0], [0.1, 0.25, 0.9])
        assert np.allclose(dynamics.media(x, messages, always, last, 0.6, 0.5, 0.0, 1.0)[0, :, 0], [0.2, 1.0, 1.0])
        likely = np.full((1, 3), 0.75)  # gamma = 1: the near medium with probability .8, .5, .9
        assert np.allclose(dynamics.media(x, messages, always, likely, 2.0, 0.5, 1.0)[0, :, 0], [0.1, 0.75, 0.95])


class TestFriedkinJohnsen:
    def test_converges_to_the_closed_form(self) -> None:
        rng = RNG(0)
        network = networks.barabasi_albert(40, 3, 5)
        x0, lam = rng.uniform(size=(2, 40, 3)), rng.uniform(0, 0.95, 40)
        x = x0
        for _ in range(600):
            x = dynamics.friedkin_johnsen(x, x0, lam, network)
        limit = dynamics.friedkin_johnsen_limit(x0, lam, networks.dense(network))
        assert np.allclose(x, limit, atol=1e-12)
        assert np.allclose(dynamics.friedkin_johnsen(limit, x0, lam, network), limit, atol=1e-13)

    def test_people_move_within_the_hull_of_what_they_hear(self) -> None:
        rng = RNG(1)
        x = rng.uniform(size=(3, 25, 2))
        for network in (None, networks.watts_strogatz(25, 4, 0.2, 1)):
            heard = dynamics.listen(x, network)
            assert (heard >= x.min(1, keepdims=True)).all() and (heard <= x.max(1, keepdims=True)).all()
        assert np.allclose(dynamics.listen(x), dynamics.listen(x, networks.complete(25)))
        agreed = np.broadcast_to(x[:, :1], x.shape)
        assert np.allclose(dynamics.friedkin_johnsen(agreed, agreed, 0.3), agreed, atol=1e-15)

    def test_people_follow_anchors_that_move(self) -> None:
        x = np.zeros((1, 6, 1))
        for t in range(400):
            x = dynamics.friedkin_johnsen(x, np.full((1, 6, 1), 0.01 * (t + 1)), 0.5)
        assert np.allclose(4.0 - x, 0.01, atol=1e-12)  # the lag of a common drift d is d lambda / (1 - lambda)


WITH_ISOLATED = {
    "ties": networks.from_edges([(0, 1), (1, 2)], 6),
    "weights": networks.from_edges([(0, 1), (2, 1), (3, 0), (4, 0)], 6, [0.5, 2.0, 0.0, 0.0]),
    "no ties": networks.from_edges([], 6),
}


@pytest.mark.parametrize("network", WITH_ISOLATED.values(), ids=list(WITH_ISOLATED))
def test_isolated_people_keep_their_own_opinion(network: networks.Network) -> None:
    """Whoever listens to nobody stays, in every model on a network, and no row is NaN."""
    x, anchor = RNG(0).normal(size=(2, 3, 6, 2))
    listens = networks.dense(network).any(1)
    alone = ~listens
    assert alone.sum() >= 3
    shared = networks.listening(network)[0]
    assert (dynamics.listen(x, network)[:, alone] == x[:, alone]).all()
    assert np.allclose(dynamics.listen(x, shared)[:, listens], (networks.dense(shared) @ x)[:, listens])
    for susceptibility in (0.3, 1.0, RNG(1).uniform(size=6), RNG(2).uniform(size=(3, 1)), RNG(3).uniform(size=(3, 6))):
        assert (dynamics.friedkin_johnsen(x, anchor, susceptibility, network)[:, alone] == anchor[:, alone]).all()
        y = anchor
        for _ in range(30):
            y = dynamics.friedkin_johnsen(y, anchor, susceptibility, shared)
        assert (y[:, alone] == anchor[:, alone]).all() and np.isfinite(y).all()
    limit = dynamics.friedkin_johnsen_limit(anchor, np.where(listens, 0.5, 1.0), networks.dense(shared))
    assert np.allclose(limit[:, alone], anchor[:, alone], atol=1e-12)
    nobody = network.degree == 0
    assert (dynamics.hegselmann_krause(x, 9.0, network)[:, nobody] == x[:, nobody]).all()
    partner = networks.partners(RNG(4).uniform(size=(3, 6)), network)
    assert (dynamics.deffuant(x, np.tile(np.arange(6), (3, 1)), partner, 9.0)[:, 5] == x[:, 5]).all()
    still = {"bound": 9.0, "social": 0.5, "influence": 0.0, "attachment": 0.0, "idiosyncratic_noise": 0.0}
    moved = dynamics.coevolve(x, partner, None, anchor, x, **still)  # type: ignore[arg-type]
    assert (moved[:, nobody] == x[:, nobody]).all() and np.isfinite(moved).all()
    for i in np.flatnonzero(nobody):
        assert (dynamics.biased_partner(x, np.full(3, i), np.full(3, 0.7), 1.0, network) == i).all()


def test_one_person_keeps_the_own_opinion() -> None:
    x, anchor = RNG(0).normal(size=(2, 3, 1, 2))
    for network in (None, networks.from_edges([], 1), networks.complete(1)):
        assert (dynamics.listen(x, network) == x).all()
        assert (dynamics.friedkin_johnsen(x, anchor, 0.7, network) == anchor).all()
        assert (dynamics.hegselmann_krause(x, 1.0, network) == x).all()
        assert (networks.partners(np.full((3, 1), 0.9), network) == 0).all()
        assert (dynamics.biased_partner(x, np.zeros(3, int), np.full(3, 0.7), 1.0, network) == 0).all()


class TestCoevolve:
    PARAMETERS = {"bound": 3.0, "social": 0.05, "attachment": 0.1, "idiosyncratic_noise": 0.02}

    @staticmethod
    def population(B: int = 3, N: int = 20, D: int = 5) -> tuple[Array, ...]:
        rng = RNG(0)
        x, anchor, noise = rng.normal(size=(3, B, N, D))
        return x, networks.partners(rng.uniform(size=(B, N))), rng.normal(size=(B, D)), anchor, noise

    def test_is_the_equation(self) -> None:
        x, partner, said, anchor, noise = self.population()
        y = dynamics.coevolve(x, partner, said, anchor, noise, influence=0.15, **self.PARAMETERS)
        for b in range(3):
            for i in range(20):
                friend = x[b, partner[b, i]] - x[b, i]
                ai = said[b] - x[b, i]
                expected = x[b, i] + 0.1 * friend * (np.sqrt(friend @ friend) < 3.0)
                expected = expected + 0.15 * ai * (np.sqrt(ai @ ai) < 3.0) + 0.1 * (anchor[b, i] - x[b, i])
                assert np.allclose(y[b, i], expected + 0.02 * noise[b, i], atol=1e-14)

    def test_an_ai_without_strength_changes_no_bit(self) -> None:
        x, partner, said, anchor, noise = self.population()
        y = dynamics.coevolve(x, partner, said, anchor, noise, influence=0.0, **self.PARAMETERS)
        silent = dynamics.coevolve(x, partner, 0 * said, anchor, noise, influence=0.0, **self.PARAMETERS)
        some = np.array([[0.0], [0.3], [0.0]])
        mixed = dynamics.coevolve(x, partner, said, anchor, noise, influence=some, **self.PARAMETERS)
        assert (y == silent).all() and (mixed[[0, 2]] == y[[0, 2]]).all() and (mixed[1] != y[1]).any()

    def test_each_may_hear_something_else(self) -> None:
        x, partner, said, anchor, noise = self.population()
        each = np.broadcast_to(said[:, None], x.shape)
        one, other = (
            dynamics.coevolve(x, partner, a, anchor, noise, influence=0.2, **self.PARAMETERS) for a in (said, each)
        )
        assert (one == other).all()


class TestRecommenders:
    def test_replicator(self) -> None:
        rng = RNG(0)
        shares = rng.dirichlet(np.ones(4), size=6)
        assert np.allclose(dynamics.replicator(shares, np.full((6, 4), 3.0)), shares, atol=1e-15)
        payoff = rng.normal(size=(6, 4))
        grown = dynamics.replicator(shares, payoff, 0.3)
        assert np.allclose(grown.sum(-1), 1) and np.allclose(
            np.log(grown / shares) - np.log(grown / shares)[:, :1], 0.3 * (payoff - payoff[:, :1])
        )
        absent = np.array([[0.0, 0.5, 0.5]])
        assert dynamics.replicator(absent, np.array([[9.0, 1.0, 0.0]]))[0, 0] == 0
        huge = dynamics.replicator(absent, np.array([[0.0, 5000.0, -5000.0]]))
        assert np.allclose(huge, [[0, 1, 0]])
        assert np.allclose(dynamics.replicator(shares, payoff, np.full(6, 0.3)), grown)

    def test_a_reader_settles_between_the_prejudice_and_the_items(self) -> None:
        start, x = np.array([[0.4]]), np.array([[-0.8]])
        for _ in range(200):
            x, clicked = dynamics.recommended(x, start, np.ones((1, 1)), np.full((1, 1), 0.5), 0.2, 0.7, 0.1)
        assert np.allclose(x, (0.2 * 0.4 + 0.1) / 0.3)  # the fixed point for the same item always
        assert clicked.all()

    def test_clicks_follow_agreement(self) -> None:
        u = ((np.arange(1000) + 0.5) / 1000)[None]
        x = np.full((1, 1000), 0.5)
        for item, expected in ((1.0, 750), (-1.0, 250)):
            assert dynamics.recommended(x, x, np.full_like(x, item), u, 0.2, 0.7, 0.1)[1].sum() == expected

    def test_the_recommender_exploits_and_explores(self) -> None:
        clicks, shown = (
            np.array([[[3.0, 1.0], [0.0, 2.0], [1.0, 1.0]]]),
            np.array([[[4.0, 4.0], [0.0, 4.0], [2.0, 2.0]]]),
        )
        heads = np.full((1, 3), 0.9)
        assert dynamics.recommend(clicks, shown, np.ones((1, 3)), heads, 0.1).tolist() == [[-1.0, 1.0, 1.0]]
        assert dynamics.recommend(clicks, shown, np.zeros((1, 3)), 1 - heads, 0.1).tolist() == [[-1.0, -1.0, -1.0]]

    def test_personalised_items_make_opinions_more_extreme(self) -> None:
        """The finding of Rossi, Polderman and Frasca, against items at random."""
        key = keys.mix(0)
        people, extreme = np.arange(2000), []
        for explore in (1.0, 0.05):
            start = 2 * keys.uniform(key, keys.RESET, people)[None] - 1
            x, clicks, shown = start, np.zeros((1, 2000, 2)), np.zeros((1, 2000, 2))
            for t in range(200):
                u = keys.uniform(key, t, people[:, None], np.arange(3))[None]
                item = dynamics.recommend(clicks, shown, u[..., 0], u[..., 1], explore)
                x, clicked = dynamics.recommended(x, start, item, u[..., 2], 0.1, 0.8, 0.1)
                at = (item[..., None] == [-1, 1]).astype(float)
                clicks, shown = clicks + at * clicked[..., None], shown + at
            extreme.append(np.abs(x).mean())
        assert extreme[1] > extreme[0] + 0.1

    def test_interest_feeds_on_itself(self) -> None:
        interests = np.array([[0.0, 2.0, -2.0, 5.0]])
        shown = np.array([[True, True, True, False]])
        after, clicked = dynamics.interest(interests, shown, np.full((1, 4), 0.5), np.full((1, 4), 0.01))
        assert clicked.tolist() == [[False, True, False, False]]
        assert np.allclose(after, [[-0.01, 2.01, -2.01, 5.0]])
        u = ((np.arange(10000) + 0.5) / 10000)[None]
        seen = np.ones((1, 10000), bool)
        clicks = dynamics.interest(np.full((1, 10000), 1.0), seen, u, np.zeros((1, 10000)))[1]
        assert abs(clicks.mean() - 1 / (1 + np.exp(-1))) < 1e-3


def dense_lock_in(W: Array, observations: Array, sigma: float) -> tuple[Array, Array]:
    """The model in plain matrix arithmetic: means (T, N) and precisions (T, N)."""
    T, N = observations.shape
    q, h, means, precisions = np.zeros(N), np.zeros(N), [], []
    evidence = np.isfinite(observations[0])
    for t in range(T):
        p = np.where(evidence, (t + 1) / sigma**2, 0.0)
        mu = np.where(evidence, observations[: t + 1].mean(0), 0.0)
        q, h = p + W @ q, mu * p + W @ h
        means.append(h / np.where(q > 0, q, 1))
        precisions.append(q)
    return np.array(means), np.array(precisions)


class TestLockIn:
    @pytest.mark.parametrize("gain", [0.9, 1.0, 1.1])
    def test_equals_a_dense_matrix_simulation(self, gain: float) -> None:
        N, T, sigma = 11, 60, 0.7
        one, two = 0.2, gain / (0.2 * (N - 1))
        W = np.zeros((N, N))
        W[0, 1:], W[1:, 0] = one, two
        assert np.isclose(np.abs(np.linalg.eigvals(W)).max(), np.sqrt(gain))
        o = RNG(0).normal(1.0, sigma, size=(T, N))
        o[:, 0] = np.nan
        means, precisions = dense_lock_in(W, o, sigma)
        network = networks.from_edges(np.argwhere(W > 0), N, W[W > 0])
        star = other = dynamics.belief(np.zeros((1, N)), np.zeros((1, N)))
        private, evidence = np.zeros((1, N)), np.isfinite(o[0])
        for t in range(T):
            private = np.where(evidence, dynamics.observe(private, np.full((1, N), float(t)), o[t]), 0.0)
            p = np.where(evidence, (t + 1) / sigma**2, 0.0)[None]
            star = dynamics.exchange(star, private, p, dynamics.hear_star(star, one, two))
            other = dynamics.exchange(other, private, p, dynamics.hear(other, network))
            for beliefs in (star, other):
                seen = beliefs.precision > 0
                assert np.allclose(beliefs.mean[seen], means[t][seen[0]], rtol=1e-10)
                assert np.allclose(np.ldexp(beliefs.precision, beliefs.exponent.clip(-1000)), precisions[t], rtol=1e-10)

    def test_random_networks_without_a_star(self) -> None:
        rng = RNG(4)
        N, T = 8, 200
        W = np.where(rng.uniform(size=(N, N)) < 0.4, rng.uniform(size=(N, N)), 0.0)
        np.fill_diagonal(W, 0)
        W *= 1.2 / np.abs(np.linalg.eigvals(W)).max()
        o = rng.normal(size=(T, N))
        means, _ = dense_lock_in(W, o, 1.0)
        network = networks.from_edges(np.argwhere(W > 0), N, W[W > 0])
        beliefs = dynamics.belief(np.zeros((1, N)), np.zeros((1, N)))
        private = np.zeros((1, N))
        for t in range(T):
            private = dynamics.observe(private, np.full((1, N), float(t)), o[t])
            beliefs = dynamics.exchange(beliefs, private, np.full((1, N), t + 1.0), dynamics.hear(beliefs, network))
        assert np.allclose(beliefs.mean[0], means[-1], rtol=1e-9)

    def test_nothing_overflows_and_nobody_alone_is_lost(self) -> None:
        """Precision passes 2^3,000 in a locked-in pair; a third person who listens to nobody keeps learning."""
        pair = networks.from_edges([(0, 1), (1, 0)], 3, [4.0, 4.0])
        beliefs = before = dynamics.belief(np.zeros((1, 3)), np.zeros((1, 3)))
        rng, private = RNG(0), np.zeros((1, 3))
        with np.errstate(all="raise", under="ignore"):
            for t in range(1600):
                private = dynamics.observe(private, np.full((1, 3), float(t)), rng.normal(size=(1, 3)))
                before, heard = beliefs, dynamics.hear(beliefs, pair)
                beliefs = dynamics.exchange(beliefs, private, np.full((1, 3), t + 1.0), heard)
        assert beliefs.exponent[0, 0] > 3000
        assert np.abs(beliefs.mean[0, :2] - before.mean[0, 1::-1]).max() < 1e-15  # each only repeats the other
        assert beliefs.mean[0, 2] == private[0, 2]
        assert beliefs.precision[0, 2] * 2.0 ** beliefs.exponent[0, 2] == 1600

    def test_without_any_evidence_the_prior_stays(self) -> None:
        beliefs = dynamics.belief(np.array([[0.3, -0.2]]), np.zeros((1, 2)))
        after = dynamics.exchange(beliefs, np.zeros((1, 2)), np.zeros((1, 2)), dynamics.hear_star(beliefs, 0.5, 0.5))
        assert after.mean.tolist() == [[0.3, -0.2]] and (after.precision == 0).all()


@pytest.mark.parametrize("B", [1, 3, 8, 1000])
def test_a_population_moves_by_the_same_bits_alone_and_in_a_batch(B: int) -> None:
    N, D = 13, 5
    key = keys.mix(11, np.arange(1000))[:, None]
    network = networks.watts_strogatz(N, 4, 0.3, 1)

    def play(key: keys.Key) -> list[Array]:
        rows = len(key)
        x = keys.normal(key[..., None], 0, np.arange(N)[:, None], np.arange(D))
        u, v = (keys.uniform(key, 1, i, np.arange(N)) for i in range(2))
        i, j = (keys.integers(key, N, 2, k, np.arange(40)) for k in range(2))
        partner = networks.partners(u, network)
        beliefs = dynamics.belief(x[..., 0], np.abs(x[..., 1]))
        shares = np.abs(x[..., 0]) / dynamics.total(np.abs(x[..., 0]))[:, None]
        return [
            dynamics.deffuant(x, i, j, 2.0),
            dynamics.hegselmann_krause(x, 2.0),
            dynamics.hegselmann_krause(x, 2.0, network),
            dynamics.biased_partner(x, i[:, 0], u[:, 0], 1.3),
            dynamics.media(x, x[:, :3], u, v, 3.0, 0.7, 0.7),
            dynamics.friedkin_johnsen(x, x[:, ::-1], u[:rows], network),
            dynamics.friedkin_johnsen(x, x[:, ::-1], u),
            dynamics.coevolve(
                x, partner, x[:, 0], x, x, bound=2.0, social=0.05, influence=u, attachment=0.1, idiosyncratic_noise=0.1
            ),
            dynamics.replicator(shares, x[..., 1], 0.3),
            dynamics.interest(x[..., 0], u < 0.5, v, u)[0],
            *dynamics.exchange(beliefs, x[..., 2], u, dynamics.hear_star(beliefs, u[:, 0], v[:, 0])),
            *dynamics.exchange(beliefs, x[..., 2], u, dynamics.hear(beliefs, network)),
        ]

    for part, whole in zip(play(key[:B]), play(key), strict=True):
        assert part.tobytes() == np.ascontiguousarray(whole[:B]).tobytes()
