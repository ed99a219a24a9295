"""Social networks as arrays: ties between people, and the weights with which they listen to each other.

A network is kept in compressed rows, so that its memory is linear in people and ties however uneven the degrees are.
`None` stands for the complete network, in which everybody can meet everybody, wherever a network is expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys

__all__ = [
    "Network",
    "barabasi_albert",
    "by_name",
    "columns",
    "complete",
    "dense",
    "edges_of",
    "from_edges",
    "from_networkx",
    "listening",
    "neighbour",
    "partners",
    "read_edges",
    "to_networkx",
    "watts_strogatz",
]

Array = npt.NDArray[Any]


class Network(NamedTuple):
    """N people and E directed ties.

    offsets (N + 1,): the neighbours of person i are targets[offsets[i] : offsets[i + 1]], in increasing order.
    targets (E,): person at the other end of each tie.
    weights (E,): how much person i listens to that neighbour; 1 / degree by default.
    """

    offsets: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @property
    def degree(self) -> npt.NDArray[np.int64]:
        """Number of neighbours (N,)."""
        return np.diff(self.offsets)

    @property
    def sha256(self) -> str:
        """SHA-256 of the ties and their weights."""
        whole, real = np.concatenate(self[:2]).astype("<i8"), self.weights.astype("<f8")
        return hashlib.sha256(len(self.degree).to_bytes(8, "little") + whole.tobytes() + real.tobytes()).hexdigest()


def from_edges(edges: npt.ArrayLike, people: int, weights: npt.ArrayLike | None = None) -> Network:
    """Make the network of a list of edges (M, 2) between people 0 .. people - 1.

    Without weights every edge is a tie both ways, counted once, and everyone listens equally to all neighbours. With
    weights (M,) edge (i, j) says how much i listens to j, and that way only.

    Raises:
        ValueError: an edge leads to no person or to the person itself, or a weight is negative or repeated.
    """
    pairs = np.asarray(edges, np.int64).reshape(-1, 2)
    if people < 1 or (pairs < 0).any() or (pairs >= people).any():
        raise ValueError(f"edges must join people from 0 to {people - 1}; got {pairs.tolist()[:8]}.")
    if (loops := pairs[:, 0] == pairs[:, 1]).any():
        raise ValueError(f"Person {pairs[loops][0, 0]} has an edge to itself; leave such edges out.")
    if weights is None:
        both = np.concatenate([people * pairs[:, 0] + pairs[:, 1], people * pairs[:, 1] + pairs[:, 0]])
        pairs = np.stack(np.divmod(np.unique(both), people), axis=1)
        degree = np.bincount(pairs[:, 0], minlength=people)
        listened = 1.0 / degree[pairs[:, 0]]
    else:
        listened = np.asarray(weights, np.float64)
        if listened.shape != (len(pairs),) or not np.isfinite(listened).all() or (listened < 0).any():
            raise ValueError(f"weights must be {len(pairs)} finite numbers of at least 0, one for each edge.")
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs, listened = pairs[order], listened[order]
        if len(pairs) > 1 and (np.diff(pairs, axis=0) == 0).all(1).any():
            raise ValueError("An edge is given twice; give each pair (i, j) one weight.")
        degree = np.bincount(pairs[:, 0], minlength=people)
    return Network(np.concatenate([[0], np.cumsum(degree)]), pairs[:, 1].copy(), listened)


def edges_of(network: Network) -> npt.NDArray[np.int64]:
    """Return the directed ties (E, 2): person, neighbour."""
    return np.stack([np.repeat(np.arange(len(network.degree)), network.degree), network.targets], axis=1)


def complete(people: int) -> Network:
    """Make the complete network explicitly (`None` means the same and costs nothing)."""
    return from_edges(np.stack(np.triu_indices(people, 1), axis=1), people)


def watts_strogatz(people: int, neighbours: int, rewire: float, key: keys.Key | int) -> Network:
    """Make a small world (Watts, Strogatz 1998): a ring in which everyone is tied to the nearest `neighbours` people.

    One edge (i, i + d) after another keeps its first end and, with probability `rewire`, gets another one, uniform
    over the people to whom i is not yet tied; there are none where i is tied to everybody. Mean degree stays
    `neighbours`, an even number.

    Raises:
        ValueError: `neighbours` is odd or outside its range, or `rewire` is no probability.
    """
    if neighbours % 2 or not 2 <= neighbours < people or not 0 <= rewire <= 1:
        raise ValueError(
            f"neighbours = {neighbours}, rewire = {rewire}; expected an even number from 2 to {people - 1} and a "
            "probability."
        )
    key = keys.mix(key)
    here = np.repeat(np.arange(people), neighbours // 2)
    there = (here + np.tile(np.arange(1, neighbours // 2 + 1), people)) % people
    rewired = np.flatnonzero(keys.uniform(key, 0, np.arange(len(here))) < rewire).tolist()
    tied = set(np.concatenate([people * here + there, people * there + here]).tolist()) if rewired else set()
    degree = np.full(people, neighbours).tolist()
    for edge in rewired:
        i, old = int(here[edge]), int(there[edge])
        attempt = 1
        while degree[i] < people - 1:
            new = int(keys.integers(key, people, attempt, edge)[0])
            if new != i and people * i + new not in tied:
                tied -= {people * i + old, people * old + i}
                tied |= {people * i + new, people * new + i}
                degree[old] -= 1
                degree[new] += 1
                there[edge] = new
                break
            attempt += 1
    return from_edges(np.stack([here, there], axis=1), people)


def barabasi_albert(people: int, ties: int, key: keys.Key | int) -> Network:
    """Make a network by preferential attachment (Barabási, Albert 1999).

    Starts from a star of ties + 1 people; every newcomer ties itself to `ties` different people, each chosen in
    proportion to the ties that he or she has.

    Raises:
        ValueError: `ties` is outside its range.
    """
    if not 1 <= ties < people:
        raise ValueError(f"ties = {ties}; expected a number from 1 to {people - 1}.")
    key = keys.mix(key)
    ends = [end for leaf in range(1, ties + 1) for end in (0, leaf)]  # everyone once for each tie
    for newcomer in range(ties + 1, people):
        chosen: list[int] = []
        attempt = 0
        while len(chosen) < ties:
            for draw in keys.integers(key, len(ends), newcomer, attempt, np.arange(2 * ties)).tolist():
                if len(chosen) < ties and ends[draw] not in chosen:
                    chosen.append(ends[draw])
            attempt += 1
        ends += [end for friend in chosen for end in (newcomer, friend)]
    return from_edges(ends, people)


# Random networks: the function, and its default parameters in the order in which they are passed.
MADE: dict[str, tuple[Callable[..., Network], dict[str, Any]]] = {
    "watts-strogatz": (watts_strogatz, {"neighbours": 6, "rewire": 0.1, "seed": 0}),
    "barabasi-albert": (barabasi_albert, {"ties": 3, "seed": 0}),
}


def by_name(network: Any, people: int) -> Network | None:
    """Return the network of an argument, among this many people; None is the complete one.

    Args:
        network: None or "complete"; "watts-strogatz" or "barabasi-albert", alone or as a dictionary of that `name` and
            its parameters (`MADE`); the path of a file (`read_edges`); edges (M, 2), or (M, 3) with weights; a
            `Network`.
        people: N.

    Raises:
        ValueError: it is none of these, or has another number of people.
    """
    if network is None or (isinstance(network, str) and network == "complete"):
        return None
    if isinstance(network, str) and network in MADE:
        network = {"name": network}
    if isinstance(network, dict):
        make, usual = MADE.get(str(network.get("name")), (None, {}))
        given = {key: value for key, value in network.items() if key != "name"}
        fits = all(key in usual and isinstance(value, int | type(usual[key])) for key, value in given.items())
        if make is None or not fits:
            options = "; ".join(f"{name} with {', '.join(by)}" for name, (_, by) in MADE.items())
            raise ValueError(f"network = {network}; expected a name and numbers: {options}.")
        return make(people, *(usual | given).values())
    if isinstance(network, Network):
        found = network
    elif isinstance(network, str | Path):
        if not Path(network).is_file():
            raise ValueError(
                f"network = {str(network)!r}; expected one of {['complete', *MADE]}, or the path of a file."
            )
        found = read_edges(network)
    else:
        found = _from_rows(network)
    if len(found.degree) != people:
        raise ValueError(
            f"The network joins people from 0 to {len(found.degree) - 1} and people = {people}; "
            f"pass people={len(found.degree)}."
        )
    return found


def _from_rows(rows: Any) -> Network:
    """Make the network of edges (M, 2), or (M, 3) with weights, among people from 0 to the largest number."""
    try:
        table = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        table = np.zeros(0)
    if table.ndim != 2 or not len(table) or table.shape[1] not in (2, 3) or (table[:, :2] % 1).any():
        raise ValueError("edges must be rows of two numbers of people, or of two and a weight, at least one of them.")
    pairs = table[:, :2].astype(np.int64)
    return from_edges(pairs, int(pairs.max()) + 1, table[:, 2] if table.shape[1] == 3 else None)


def listening(network: Network) -> tuple[Network, npt.NDArray[np.bool_]]:
    """Return the network with weights that add up to 1 for everyone, and who has neighbours to listen to (N,)."""
    person = edges_of(network)[:, 0]
    total = np.bincount(person, network.weights, len(network.degree))
    return network._replace(weights=network.weights / np.where(total > 0, total, 1.0)[person]), total > 0


def read_edges(path: str | Path) -> Network:
    """Read a file with one edge per line: two numbers of people and, on all lines or none, the weight that i gives j.

    Numbers are separated by commas or blanks; lines that begin with # are skipped. People are 0 .. the largest number.

    Raises:
        ValueError: the file is not of this form.
        FileNotFoundError: there is no such file.
    """
    rows = [
        line.replace(",", " ").split()
        for line in Path(path).read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    widths = {len(row) for row in rows}
    try:
        if widths not in ({2}, {3}):
            raise ValueError
        edges = np.array([[int(row[0]), int(row[1])] for row in rows])
        weights = np.array([float(row[2]) for row in rows]) if widths == {3} else None
    except ValueError:
        raise ValueError(f"{path} must hold two numbers of people on every line, or two and a weight.") from None
    return from_edges(edges, int(edges.max()) + 1, weights)


def from_networkx(graph: Any) -> Network:
    """Convert a networkx graph, with people in the order of its nodes; directed graphs use the attribute `weight`."""
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = [(number[a], number[b]) for a, b in graph.edges if a != b]
    if not graph.is_directed():
        return from_edges(edges, len(number))
    weights = [float(weight) for a, b, weight in graph.edges(data="weight", default=1.0) if a != b]
    return from_edges(edges, len(number), weights)


def to_networkx(network: Network) -> Any:
    """Convert to a networkx graph: undirected where all ties go both ways, else directed with weights.

    Raises:
        ImportError: networkx, of the extra `networks`, is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise ImportError("networkx is missing: pip install 'valuegym[networks]'.") from error
    pairs = edges_of(network)
    undirected = np.array_equal(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))][:, ::-1], pairs)
    graph = networkx.Graph() if undirected else networkx.DiGraph()
    graph.add_nodes_from(range(len(network.degree)))
    graph.add_weighted_edges_from((int(a), int(b), float(w)) for (a, b), w in zip(pairs, network.weights, strict=True))
    return graph


def dense(network: Network) -> npt.NDArray[np.float64]:
    """Return the weights as a matrix (N, N): row i holds the weights that i gives to everyone."""
    matrix = np.zeros((len(network.degree),) * 2)
    matrix[tuple(edges_of(network).T)] = network.weights
    return matrix


def neighbour(person: Array, u: Array, people: int, network: Network | None = None) -> npt.NDArray[np.int64]:
    """Choose a neighbour for each person, uniformly.

    Args:
        person: numbers of people, any shape.
        u: uniform draws of that shape.
        people: N.
        network: of the neighbours; None for the complete one.

    Returns:
        Numbers of people; the person itself where there are no neighbours, which moves nobody.
    """
    if network is None:
        other = (u * (people - 1)).astype(np.int64)
        return other + (other >= person) if people > 1 else other
    degree = network.degree
    at = np.take(network.offsets, person) + (u * np.take(degree, person)).astype(np.int64)
    if degree.all():
        return np.take(network.targets, at)
    alone = degree[person] == 0
    return np.where(alone, person, network.targets[np.where(alone, 0, at)] if len(network.targets) else person)


def partners(u: Array, network: Network | None = None) -> npt.NDArray[np.int64]:
    """Choose a neighbour for everyone: (B, N) uniform draws -> (B, N) people (`neighbour`)."""
    person = np.arange(u.shape[-1])
    return neighbour(np.broadcast_to(person, u.shape), u, u.shape[-1], network)


def columns(network: Network) -> Iterator[tuple[Any, Array]]:
    """Iterate over everybody's first neighbours, then the second ones, and so on.

    Yields the people who have that many, (n,) or slice(None) for everybody, and where their ties lie in `targets` and
    `weights` (n,): adding up in this order takes memory linear in people and gives the same bits for any number of
    populations.
    """
    degree = network.degree
    persons = np.arange(len(degree))
    for k in range(int(degree.max(initial=0))):
        persons = persons[degree[persons] > k]
        yield slice(None) if len(persons) == len(degree) else persons, network.offsets[persons] + k
