"""Social networks: shapes, degrees, hashes, reading and meeting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.coevolution import networks


def is_simple(network: networks.Network) -> bool:
    """No loops, no double ties, every tie both ways, weights 1 / degree."""
    pairs = networks.edges_of(network)
    return bool(
        (pairs[:, 0] != pairs[:, 1]).all()
        and len(np.unique(pairs, axis=0)) == len(pairs)
        and {(a, b) for a, b in pairs.tolist()} == {(b, a) for a, b in pairs.tolist()}
        and np.allclose(network.weights, 1 / network.degree[pairs[:, 0]])
    )


def test_edges() -> None:
    network = networks.from_edges([(2, 0), (0, 1), (1, 0)], 4)
    assert network.degree.tolist() == [2, 1, 1, 0] and network.targets.tolist() == [1, 2, 0, 0]
    assert is_simple(network)
    assert networks.dense(network).sum(1).tolist() == [1, 1, 1, 0]
    assert networks.from_edges([], 3).degree.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("edges", "weights", "message"),
    [
        ([(0, 4)], None, "0 to 3"),
        ([(-1, 2)], None, "0 to 3"),
        ([(1, 1)], None, "itself"),
        ([(0, 1)], [-1.0], "at least 0"),
        ([(0, 1)], [1.0, 2.0], "one for each edge"),
        ([(0, 1), (0, 1)], [1.0, 2.0], "twice"),
    ],
)
def test_bad_edges(edges: list[tuple[int, int]], weights: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        networks.from_edges(edges, 4, weights)


@pytest.mark.parametrize("rewire", [0.0, 0.1, 1.0])
def test_small_worlds(rewire: float) -> None:
    network = networks.watts_strogatz(200, 10, rewire, 7)
    assert is_simple(network) and len(network.targets) == 200 * 10
    ring = {((i, (i + d) % 200)) for i in range(200) for d in range(1, 6)}
    kept = sum((a, b) in ring for a, b in networks.edges_of(network).tolist())
    assert kept == 1000 if rewire == 0 else abs(kept / 1000 - (1 - rewire)) < 0.06
    assert network.sha256 == networks.watts_strogatz(200, 10, rewire, 7).sha256
    for people, neighbours in ((10, 3), (10, 10), (10, 0)):
        with pytest.raises(ValueError, match="even number"):
            networks.watts_strogatz(people, neighbours, rewire, 0)


def test_a_small_world_as_dense_as_can_be() -> None:
    assert is_simple(networks.watts_strogatz(7, 6, 1.0, 1))  # every redrawn end has one place to go


def test_preferential_attachment() -> None:
    network = networks.barabasi_albert(2000, 3, 1)
    assert is_simple(network) and len(network.targets) == 2 * (3 + 3 * (2000 - 4))
    assert network.degree[4:].min() == 3
    # degrees fall like k^-3: the share of degree k is 2 m (m + 1) / (k (k + 1) (k + 2))
    for k in (3, 4, 6):
        assert abs((network.degree == k).mean() - 24 / (k * (k + 1) * (k + 2))) < 0.03
    assert network.degree.max() > 60
    with pytest.raises(ValueError, match="ties"):
        networks.barabasi_albert(5, 5, 0)


def test_hashes() -> None:
    line, other = networks.from_edges([(0, 1)], 3), networks.from_edges([(0, 2)], 3)
    more = networks.from_edges([(0, 1)], 4)
    heavy = networks.from_edges([(0, 1), (1, 0)], 3, [1.0, 2.0])
    hashes = {n.sha256 for n in (line, other, more, heavy)}
    assert len(hashes) == 4
    assert line.sha256.startswith("29baf99fb2ac")  # the same on every machine


def test_meetings_are_uniform_over_neighbours() -> None:
    key = keys.mix(0, np.arange(4000))[:, None]
    u = keys.uniform(key, np.arange(5))
    met = networks.partners(u)
    assert (met != np.arange(5)).all()
    for i in range(5):
        shares = np.bincount(met[:, i], minlength=5) / 4000
        assert shares[i] == 0 and np.abs(np.delete(shares, i) - 0.25).max() < 0.03
    star = networks.from_edges([(0, 1), (0, 2)], 5)
    met = networks.partners(u, star)
    assert set(met[:, 0]) == {1, 2} and (met[:, 1:3] == 0).all() and (met[:, 3:] == [3, 4]).all()
    assert (networks.partners(np.full((1, 5), 1 - 2**-53)) == [4, 4, 4, 4, 3]).all()
    assert networks.partners(np.zeros((2, 1))).tolist() == [[0], [0]]
    everyone = networks.complete(5)
    assert (networks.partners(u, everyone) == networks.partners(u)).all()
    assert networks.partners(u, networks.from_edges([], 5)).tolist() == [[0, 1, 2, 3, 4]] * 4000


def test_columns_visit_every_tie_once() -> None:
    network = networks.barabasi_albert(50, 2, 3)
    everybody = np.arange(50)
    seen = [(i, k) for person, tie in networks.columns(network) for i, k in zip(everybody[person], tie, strict=True)]
    owner = np.repeat(np.arange(50), network.degree)
    assert sorted(k for _, k in seen) == list(range(len(network.targets)))
    assert all(owner[k] == i for i, k in seen)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_text("# friends\n0, 1\n1 2\n")
    assert networks.read_edges(path).sha256 == networks.from_edges([(0, 1), (1, 2)], 3).sha256
    path.write_text("0,1,0.5\n1,0,2\n")
    assert networks.dense(networks.read_edges(path)).tolist() == [[0, 0.5], [2, 0]]
    for text in ("", "0 1\n0 1 2\n", "a b\n", "0 1.5\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="two numbers of people"):
            networks.read_edges(path)


def test_networkx() -> None:
    networkx = pytest.importorskip("networkx")
    network = networks.barabasi_albert(30, 2, 1)
    assert networks.from_networkx(networks.to_networkx(network)).sha256 == network.sha256
    assert networkx.is_connected(networks.to_networkx(network))
    directed = networks.from_edges([(0, 1), (2, 1)], 3, [0.3, 0.4])
    graph = networks.to_networkx(directed)
    assert graph.is_directed() and networks.from_networkx(graph).sha256 == directed.sha256
    club = networks.from_networkx(networkx.karate_club_graph())
    assert len(club.degree) == 34 and len(club.targets) == 2 * 78


def test_arguments_stand_for_networks(tmp_path: Path) -> None:
    assert networks.by_name(None, 7) is None and networks.by_name("complete", 7) is None
    path = tmp_path / "edges.txt"
    path.write_text("0 1\n1 2\n")
    line = networks.from_edges([(0, 1), (1, 2)], 3)
    weighted = networks.from_edges([(0, 1), (2, 1)], 3, [0.5, 2.0])
    for argument, people, expected in (
        ("watts-strogatz", 20, networks.watts_strogatz(20, 6, 0.1, 0)),
        ({"name": "watts-strogatz", "seed": 4, "rewire": 1}, 20, networks.watts_strogatz(20, 6, 1.0, 4)),
        ("barabasi-albert", 20, networks.barabasi_albert(20, 3, 0)),
        ({"name": "barabasi-albert", "ties": 2}, 20, networks.barabasi_albert(20, 2, 0)),
        (str(path), 3, line),
        (path, 3, line),
        ([[0, 1], [1, 2]], 3, line),
        (np.array([[0, 1], [1, 2]]), 3, line),
        ([[0, 1, 0.5], [2, 1, 2]], 3, weighted),
        (line, 3, line),
    ):
        found = networks.by_name(argument, people)
        assert found is not None and found.sha256 == expected.sha256


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("hexagons", "watts-strogatz"),
        ({"ties": 2}, "expected a name"),
        ({"name": "barabasi-albert", "neighbours": 2}, "ties, seed"),
        ({"name": "barabasi-albert", "ties": "two"}, "expected a name and numbers"),
        ({"name": "barabasi-albert", "ties": 2.5}, "expected a name and numbers"),
        ([[0, 1], [1, 2]], "pass people=3"),
        ([[0, 50]], "pass people=51"),
        ([], "at least one"),
        ([[0, 1.5]], "two numbers"),
        ([[0, -1]], "0 to"),
        (3, "rows of two"),
        (networks.from_edges([(0, 1)], 2), "pass people=2"),
    ],
)
def test_arguments_that_stand_for_none_are_named(argument: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        networks.by_name(argument, 20)


def test_attention_is_shared_out() -> None:
    network = networks.from_edges([(0, 1), (0, 2), (2, 1), (3, 0)], 5, [1.0, 3.0, 0.5, 0.0])
    shared, listens = networks.listening(network)
    assert networks.dense(shared).sum(1).tolist() == [1, 0, 1, 0, 0]
    assert listens.tolist() == [True, False, True, False, False]
    assert networks.dense(shared)[0].tolist() == [0, 0.25, 0.75, 0, 0]
