"""Social networks: shapes, degrees, hashes, reading and meeting."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
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
    path.write_text(f"7 {10**9}\n{2**70} 7\n")
    assert networks.read_edges(path).sha256 == networks.from_edges([(0, 1), (2, 0)]).sha256
    path.write_text("0 1\n1 3\n")
    assert networks.read_edges(path).degree.tolist() == [1, 2, 1]
    assert networks.read_edges(path, 5).degree.tolist() == [1, 2, 0, 1, 0]
    with pytest.raises(ValueError, match="0 to 2"):
        networks.read_edges(path, 3)
    for text in ("", "0 1\n0 1 2\n", "a b\n", "0 1.5\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="two numbers of people"):
            networks.read_edges(path)
    path.write_bytes(b"0 1\n\xff\xfe")
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
        ({"name": "barabasi-albert", "ties": "two"}, "ties is 'two'; expected an integer from 1 to 19"),
        ({"name": "barabasi-albert", "ties": 2.5}, "ties is 2.5"),
        ({"name": "barabasi-albert", "seed": -1}, "seed is -1"),
        ({"name": "barabasi-albert", "seed": True}, "seed is True"),
        ({"name": "watts-strogatz", "neighbours": 10**9}, "neighbours is 1000000000"),
        ({"name": "watts-strogatz", "rewire": np.nan}, "rewire is nan"),
        ({"name": ["watts-strogatz"]}, "expected a name"),
        ([[0, 1], [1, 2]], r"pass people=3, or the network that from_edges\(edges, 20\) makes"),
        ([[0, 50]], "pass people=51 for everybody from 0 to 50, or people=2 for those with an edge"),
        ([[0, 10**9]], "pass people=2"),
        ([["ann", "bob"]], "pass people=2"),
        ([[0, 1], [1, 20]], "people=3 for those with an edge"),
        ([], "at least one"),
        ([[0, 1.5]], "two numbers"),
        ([[0, -1]], "pass people=2"),
        ([[19, 19]], "itself"),
        ([[0, 1, 2, 3]], "rows of two"),
        ([[0, 1], [2, 3, 1.0]], "rows of two"),
        ([[0, np.nan]], "nan; edges must be rows"),
        ([[0, None]], "None; edges must be rows"),
        ([[0, True]], "True; edges must be rows"),
        ([[0, [1]]], "rows of two"),
        ([np.array(3)], "rows of two"),
        ([np.array([[0], [1]])], "rows of two"),
        (np.array([[np.nan, 1.0]]), "rows of two"),
        (np.array([[np.inf, 1.0, 2.0]]), "rows of two"),
        (np.array([[True, False]]), "rows of two"),
        (np.array([[0.5, 1.0]], np.longdouble), "rows of two"),
        ([[0, float(2**53 + 2)]], "rows of two"),
        (["ab", "cd"], "rows of two"),
        (iter([[0, 1]]), "rows of two"),
        (np.zeros((3, 3, 3), int), "rows of two"),
        ([[0, 19, np.nan]], r"weights\[0\] is nan"),
        ([[0, 19, np.inf]], r"weights\[0\] is inf"),
        ([[0, 19, -1.0]], r"weights\[0\] is -1"),
        ([[0, 19, "much"]], "weights is"),
        ([[0, 19, 1.5e308], [0, 1, 1.5e308]], "add up"),
        (b"edges", "rows of two"),
        (b"", "rows of two"),
        ("x" * 5000, "path of a file"),
        ("nothing\0", "path of a file"),
        (3, "rows of two"),
        (object(), "rows of two"),
        (networks.Network(np.array([0, 5]), np.array([7]), np.array([1.0])), "network"),
        (networks.Network(np.array([0, 1, 1]), np.array([0]), np.array([1.0])), "belong together"),
        (networks.Network(np.array([0, 1, 2]), np.array([1, 0]), np.array([1.0, np.nan])), "weights of the network"),
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


# ---------------------------------------------------------------- ids of any size and kind


def random_edges(rng: np.random.Generator) -> tuple[int, list[tuple[int, int]]]:
    """A number of people, and different edges between them that leave nobody out."""
    people = int(rng.integers(2, 12))
    pairs = [(i, int((i + rng.integers(1, people)) % people)) for i in range(people)]
    pairs += [(a, b) for a, b in rng.integers(people, size=(8, 2)).tolist() if a != b]
    return people, list(dict.fromkeys(pairs))


def name_of(kind: str, rng: np.random.Generator, people: int) -> list[Any]:
    """As many different ids, in the order in which people are numbered."""
    whole = sorted({int(x) * 2**64 + int(y) for x, y in rng.integers(-(2**40), 2**40, size=(3 * people, 2))})[:people]
    by_kind: dict[str, list[Any]] = {
        "dense": list(range(people)),
        "sparse": sorted(rng.choice(10**12, people, replace=False).tolist()),
        "negative": sorted((-rng.choice(10**12, people, replace=False)).tolist()),
        "above 2^53": [2**53 + i for i in range(people)],
        "above 2^63": [2**63 - 2 + i for i in range(people)],
        "huge": whole,
        "numpy": list(np.sort(rng.choice(10**6, people, replace=False))),
        "texts": sorted(f"p{n}" for n in rng.choice(10**6, people, replace=False)),
        "tuples": [(n // 3, n % 3) for n in range(people)],
        "numbers and texts": [*range(5, 5 + people // 2), *sorted(f"p{n}" for n in range(people - people // 2))],
    }
    return by_kind[kind]


KINDS = (
    "dense", "sparse", "negative", "above 2^53", "above 2^63", "huge", "numpy", "texts", "tuples", "numbers and texts"
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_any_size_and_kind_name_people(kind: str) -> None:
    """New names in the same order, another order of the edges, a graph: always the same network."""
    for seed in range(15):
        rng = np.random.default_rng(seed)
        people, pairs = random_edges(rng)
        ids = name_of(kind, rng, people)
        assert networks.numbered(rng.permutation(np.array(ids, object)) if kind != "tuples" else ids[::-1]) == ids
        weights = rng.uniform(size=len(pairs)).tolist()
        order = rng.permutation(len(pairs))
        named = [(ids[a], ids[b]) for a, b in pairs]
        expected, weighted = networks.from_edges(pairs, people), networks.from_edges(pairs, people, weights)
        shuffled = [named[k] for k in order]
        assert networks.from_edges(shuffled).sha256 == expected.sha256
        assert networks.from_edges([[b, a] for a, b in shuffled] + shuffled).sha256 == expected.sha256
        assert networks.from_edges(shuffled, None, [weights[k] for k in order]).sha256 == weighted.sha256
        for argument, wanted in (
            (shuffled, expected),
            ([list(edge) for edge in named], expected),
            ({(a, b) for a, b in named}, expected),
            ([(*named[k], weights[k]) for k in order], weighted),
        ):
            found = networks.by_name(argument, people)
            assert found is not None and found.sha256 == wanted.sha256


def test_arrays_of_ids() -> None:
    for dtype in (np.int32, np.int64, np.uint64, np.float16, np.float64, np.longdouble, object):
        assert networks.from_edges(np.array([[7, 900], [900, 1000]], dtype)).degree.tolist() == [1, 2, 1]
    assert networks.from_edges(np.array([[2**64 - 1, 2**64 - 2]], np.uint64)).degree.tolist() == [1, 1]
    found = networks.by_name(np.array([[5, 90, 0.5], [90, 5, 0.0]]), 2)
    assert found is not None and networks.dense(found).tolist() == [[0, 0.5], [0, 0]]
    with pytest.raises(ValueError, match="rows of two"):
        networks.from_edges(np.array([[2.0**53 + 2, 0.0]]))
    with pytest.raises(ValueError, match="third one as weights"):
        networks.from_edges([[0, 1, 0.5]], 2)


def test_ids_without_an_order_are_numbered_as_they_appear() -> None:
    a, b, c = (frozenset({n}) for n in (3, 1, 2))
    assert networks.numbered([a, b, a, c]) == [a, b, c]
    assert networks.numbered([("x", 1), (1, "x"), ("x", 1)]) == [("x", 1), (1, "x")]
    assert networks.from_edges([(a, b), (b, c)]).degree.tolist() == [1, 2, 1]


def test_huge_ids_cost_nothing() -> None:
    tracemalloc.start()
    networks.by_name([[0, 10**9], [10**9, 10**18]], 3)
    networks.from_edges([[2**200, -(10**9)]])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000
    with pytest.raises(ValueError, match="people is 1000000000"):
        networks.from_edges([[0, 10**9 - 1]], 10**9)


@pytest.mark.parametrize("kind", ["Graph", "DiGraph", "MultiGraph", "MultiDiGraph"])
def test_graphs_where_edges_are_expected(kind: str) -> None:
    networkx = pytest.importorskip("networkx")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        people, pairs = random_edges(rng)
        ids = name_of(("sparse", "texts", "tuples", "huge")[seed % 4], rng, people)
        graph = getattr(networkx, kind)()
        graph.add_nodes_from(ids[k] for k in rng.permutation(people))
        weights = rng.integers(1, 9, len(pairs)) / 8
        for k in rng.permutation(len(pairs)):
            a, b = pairs[k]
            if kind == "MultiDiGraph":  # parallel edges, whose weights add up
                graph.add_edge(ids[a], ids[b], weight=weights[k] / 4)
                graph.add_edge(ids[a], ids[b], weight=3 * weights[k] / 4)
            else:
                graph.add_edge(ids[a], ids[b], weight=weights[k])
                graph.add_edge(ids[a], ids[b], weight=weights[k])
        graph.add_edge(ids[0], ids[0], weight=5.0)  # left out
        expected = networks.from_edges(pairs, people, weights if graph.is_directed() else None)
        assert networks.from_networkx(graph).sha256 == expected.sha256
        found = networks.by_name(graph, people)
        assert found is not None and found.sha256 == expected.sha256
        graph.add_node("nobody's friend" if isinstance(ids[0], str) else (9, 9) if isinstance(ids[0], tuple) else 2**90)
        alone = networks.by_name(graph, people + 1)
        assert alone is not None and sorted(alone.degree)[0] == 0
        with pytest.raises(ValueError, match=f"pass people={people + 1}"):
            networks.by_name(graph, people)


def test_graphs_that_are_none_are_named() -> None:
    networkx = pytest.importorskip("networkx")
    for weight, message in ((np.nan, "nan"), (-1.0, "-1"), (np.inf, "inf"), ("much", "weights"), (None, "weights")):
        graph = networkx.DiGraph()
        graph.add_edge(0, 1, weight=weight)
        with pytest.raises(ValueError, match=message):
            networks.by_name(graph, 2)
    for other in (None, [[0, 1]], networkx, networkx.Graph):
        with pytest.raises(ValueError, match="expected a graph"):
            networks.from_networkx(other)
    with pytest.raises(ValueError, match="number of nodes is 0"):
        networks.from_networkx(networkx.Graph())


def test_networkx_is_not_imported_for_edges() -> None:
    code = (
        "import sys; from valuegym.envs.coevolution import networks; networks.by_name([['a', 'b']], 2); "
        "assert 'networkx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: networks.complete(10**9), "people is 1000000000"),
        (lambda: networks.complete(0), "people is 0"),
        (lambda: networks.watts_strogatz(10**9, 6, 0.1, 0), "people is 1000000000"),
        (lambda: networks.watts_strogatz(10**6, 10**5, 0.1, 0), "at most 10000000"),
        (lambda: networks.watts_strogatz(3000, 2998, 0.1, 0), "far fewer"),
        (lambda: networks.barabasi_albert(10**9, 3, 0), "people is 1000000000"),
        (lambda: networks.barabasi_albert(10**6, 10**5, 0), "at most 10000000"),
        (lambda: networks.barabasi_albert(1, 1, 0), "people is 1"),
        (lambda: networks.from_edges([[0, 1]], 2.0), "people is 2.0"),  # type: ignore[arg-type]
        (lambda: networks.from_edges([[0, "ann"]], 2), "got 'ann'"),
        (lambda: networks.from_edges([], None), "at least one"),
        (lambda: networks.by_name("complete", 0), "people is 0"),
        (lambda: networks.dense(networks.from_edges([[0, 1]], 10_000)), "number of people is 10000"),
    ],
)
def test_numbers_are_checked(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
