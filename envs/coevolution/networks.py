"""Social networks as arrays: ties between people, and the weights with which they listen to each other.

A network is kept in compressed rows, so that its memory is linear in people and ties however uneven the degrees are.
`None` stands for the complete network, in which everybody can meet everybody, wherever a network is expected.
"""

from __future__ import annotations

import hashlib
import numbers
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, extras, keys

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
    "numbered",
    "partners",
    "read_edges",
    "to_networkx",
    "watts_strogatz",
]

Array = npt.NDArray[Any]

PEOPLE = 10_000_000  # of a network, at most
TIES = 10_000_000  # of a network that is made from numbers, at most
EXACT, WHOLE = 2**53, 2**63 - 1  # the largest integers of arrays of floats and of integers
ROWS = "edges must be rows of two numbers of people (or other ids), or of two and a weight, at least one of them."


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


def from_edges(edges: Any, people: int | None = None, weights: npt.ArrayLike | None = None) -> Network:
    """Make the network of a list of edges (M, 2) between people.

    Without weights every edge is a tie both ways, counted once, and everyone listens equally to all neighbours. With
    weights (M,) edge (i, j) says how much i listens to j, and that way only. The order of the edges has no effect.

    Args:
        edges: pairs of ids: an array, or rows of integers of any size, texts, or other hashable values.
        people: N. The ids are then the numbers of people, 0 .. N - 1, and those in no edge have no ties. None: the
            people are those in the edges, numbered by their ids (`numbered`).
        weights: (M,) finite numbers of at least 0.

    Raises:
        ValueError: an edge leads to no person or to the person itself, an id is none, or a weight is negative, not
            finite or repeated.
    """
    ends, more = _ends(edges)
    if more is not None:
        raise ValueError("edges has three columns; expected two, and the third one as weights.")
    if people is None:
        number, people = _numbers(ends)
    else:
        number, people = _in_range(ends, checks.integer("people", people, 1, PEOPLE)), int(people)
    return _make(number.reshape(-1, 2), people, weights)


def _make(pairs: npt.NDArray[np.int64], people: int, weights: Any = None) -> Network:
    """Make the network of edges (M, 2) whose ends are numbers below `people`."""
    if (loops := pairs[:, 0] == pairs[:, 1]).any():
        raise ValueError(f"Person {pairs[loops][0, 0]} has an edge to itself; leave such edges out.")
    if weights is None:
        both = np.concatenate([people * pairs[:, 0] + pairs[:, 1], people * pairs[:, 1] + pairs[:, 0]])
        pairs = np.stack(np.divmod(np.unique(both), people), axis=1)
        degree = np.bincount(pairs[:, 0], minlength=people)
        listened = 1.0 / degree[pairs[:, 0]]
    else:
        try:
            listened = checks.reals("weights", weights, (len(pairs),), 0.0)
        except ValueError as error:
            raise ValueError(f"{str(error).rstrip('.')}, one for each edge.") from None
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs, listened = pairs[order], listened[order]
        if len(pairs) > 1 and (np.diff(pairs, axis=0) == 0).all(1).any():
            raise ValueError("An edge is given twice; give each pair (i, j) one weight.")
        if not np.isfinite(np.bincount(pairs[:, 0], listened, people)).all():
            raise ValueError("weights of one person add up to more than a number can hold; divide all of them.")
        degree = np.bincount(pairs[:, 0], minlength=people)
    return Network(np.concatenate([[0], np.cumsum(degree)]), pairs[:, 1].copy(), listened)


# ---------------------------------------------------------------- ids of people


def numbered(ids: Iterable[Any]) -> list[Any]:
    """Return different ids in the order in which people are numbered.

    Integers come first, by size, then texts, by their characters, then tuples of these; so the order of the edges has
    no effect. Where other values are among the ids, people are numbered in the order in which they first appear.
    """
    found = list(dict.fromkeys(ids))
    kinds: tuple[type, ...] = (numbers.Integral, str, tuple)
    if all(isinstance(id, kinds) for id in found):
        try:
            return sorted(found, key=lambda id: (next(i for i, kind in enumerate(kinds) if isinstance(id, kind)), id))
        except TypeError:  # tuples of what has no order
            pass
    return found


def _id(value: Any, name: str) -> Any:
    """Return an id in its plain type; whole numbers in an array of floats are integers, where floats hold them all."""
    if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, str):
        return str(value)  # of numpy's own type for texts, too
    if isinstance(value, (float, np.floating)):
        number: Any = value if isinstance(value, np.longdouble) else float(value)
        if abs(number) <= EXACT and number == int(number):
            return int(value)
    elif value is not None and not isinstance(value, (bool, np.bool_)):
        try:
            hash(value)
            return value
        except TypeError:
            pass
    raise ValueError(f"{name} has an edge with the end {checks.printed(value)}; {ROWS}")


def _ends(edges: Any, name: str = "edges") -> tuple[Any, Any]:
    """Return the ends of edges (2M,), as an int64 array where they fit into one, and the third column if there is one.

    No number goes through a float, in which 2**53 + 1 is 2**53.
    """
    if isinstance(edges, np.ndarray) and edges.ndim == 2 and edges.shape[1] in (2, 3) and edges.dtype.kind in "iuf":
        ends = edges[:, :2].reshape(-1)
        if edges.dtype.kind == "f":
            ends = ends.astype(np.promote_types(ends.dtype, np.float64))
            exact = bool((np.abs(ends) <= EXACT).all()) and not (ends % 1).any()
        else:
            exact = bool((ends <= WHOLE).all())
        if exact:
            return ends.astype(np.int64), edges[:, 2] if edges.shape[1] == 3 else None
    if isinstance(edges, (str, bytes, Mapping)) or not isinstance(edges, Collection):
        raise ValueError(f"{name} is {checks.printed(edges)}; {ROWS}")
    rows = edges.tolist() if isinstance(edges, np.ndarray) else list(edges)
    rows = rows if isinstance(rows, list) else [rows]
    if not all(issubclass(kind, (list, tuple, np.ndarray)) for kind in set(map(type, rows))):
        wrong = next(row for row in rows if not isinstance(row, (list, tuple, np.ndarray)))
        raise ValueError(f"{name} holds {checks.printed(wrong)}; {ROWS}")
    sizes = [row.size if isinstance(row, np.ndarray) else len(row) for row in rows]
    widths = set(sizes) or {2}
    if widths not in ({2}, {3}):
        wrong = next((row for row, size in zip(rows, sizes, strict=True) if size not in (2, 3)), rows)
        raise ValueError(f"{name} holds {checks.printed(wrong)}; {ROWS}")
    more = [row[2] for row in rows] if widths == {3} else None
    ids = list(chain.from_iterable(rows if more is None else (row[:2] for row in rows)))
    if set(map(type, ids)) != {int}:
        ids = [_id(end, name) for end in ids]
    try:
        if set(map(type, ids)) <= {int}:
            return np.array(ids, np.int64), more
    except OverflowError:
        pass
    return ids, more


def _numbers(ends: Any) -> tuple[npt.NDArray[np.int64], int]:
    """Return the numbers of the people at the ends of edges, in the order of `numbered`, and how many people."""
    if not len(ends):
        raise ValueError(f"There are no edges, and so no people; {ROWS}")
    if isinstance(ends, np.ndarray):
        ids, number = np.unique(ends, return_inverse=True)
        return number.reshape(-1).astype(np.int64), len(ids)
    of = {id: number for number, id in enumerate(numbered(ends))}
    return np.array([of[id] for id in ends], np.int64), len(of)


def _in_range(ends: Any, people: int) -> npt.NDArray[np.int64]:
    """Return the ends of edges, which must be numbers of people."""
    if isinstance(ends, np.ndarray):
        wrong = ends[(ends < 0) | (ends >= people)].tolist()
    else:  # where not all ids are numbers below 2**63
        wrong = [end for end in ends if type(end) is not int or not 0 <= end < people]
    if wrong:
        raise ValueError(f"edges must join people from 0 to {people - 1}; got {checks.printed(wrong[0])}.")
    return np.asarray(ends, np.int64)


def _among(ends: Any, weights: Any, people: int) -> Network:
    """Make the network of edges among a given number of people.

    If the largest id is people - 1 and none is negative, the ids are the numbers of people; else the people are those
    in the edges (`numbered`), of whom there must be as many.
    """
    if not len(ends):
        raise ValueError(f"network holds no edges; {ROWS}")
    largest = ends.max() if isinstance(ends, np.ndarray) and ends.min() >= 0 else None
    if largest == people - 1:
        return _make(ends.reshape(-1, 2), people, weights)
    number, found = _numbers(ends)
    if found != people:
        fits = f"pass people={found}"
        if largest is not None and found <= largest < PEOPLE:
            fits = (
                f"pass people={largest + 1} for everybody from 0 to {largest}, or people={found} for those with an edge"
            )
        if largest is not None and largest < people:
            fits += f", or the network that from_edges(edges, {people}) makes, in which the others have no ties"
        raise ValueError(f"network joins {found} people and people = {people}; {fits}.")
    return _make(number.reshape(-1, 2), people, weights)


def edges_of(network: Network) -> npt.NDArray[np.int64]:
    """Return the directed ties (E, 2): person, neighbour."""
    return np.stack([np.repeat(np.arange(len(network.degree)), network.degree), network.targets], axis=1)


def complete(people: int) -> Network:
    """Make the complete network explicitly (`None` means the same and costs nothing).

    Raises:
        ValueError: there are too few or too many people.
    """
    people = checks.integer("people", people, 1, int(TIES**0.5))
    return _make(np.stack(np.triu_indices(people, 1), axis=1), people)


def watts_strogatz(people: int, neighbours: int, rewire: float, key: keys.Key | int) -> Network:
    """Make a small world (Watts, Strogatz 1998): a ring in which everyone is tied to the nearest `neighbours` people.

    One edge (i, i + d) after another keeps its first end and, with probability `rewire`, gets another one, uniform
    over the people to whom i is not yet tied; there are none where i is tied to everybody. Mean degree stays
    `neighbours`, an even number.

    Raises:
        ValueError: `neighbours` is odd or outside its range, `rewire` is no probability, or there would be too many
            ties.
    """
    people = checks.integer("people", people, 3, PEOPLE)
    neighbours, rewire = checks.integer("neighbours", neighbours), checks.real("rewire", rewire, 0, 1)
    if neighbours % 2 or not 2 <= neighbours < people:
        raise ValueError(f"neighbours is {neighbours}; expected an even number from 2 to {people - 1}.")
    _check_ties(people * neighbours)
    if rewire and people * neighbours * people > TIES * (people - neighbours):  # for the search for free ends
        raise ValueError(f"neighbours is {neighbours}; expected far fewer than the {people} people, or rewire = 0.")
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
    return _make(np.stack([here, there], axis=1), people)


def barabasi_albert(people: int, ties: int, key: keys.Key | int) -> Network:
    """Make a network by preferential attachment (Barabási, Albert 1999).

    Starts from a star of ties + 1 people; every newcomer ties itself to `ties` different people, each chosen in
    proportion to the ties that he or she has.

    Raises:
        ValueError: `ties` is outside its range, or there would be too many ties.
    """
    people = checks.integer("people", people, 2, PEOPLE)
    ties = checks.integer("ties", ties, 1, people - 1)
    _check_ties(2 * people * ties)
    key = keys.mix(key)
    ends = [end for leaf in range(1, ties + 1) for end in (0, leaf)]  # everyone once for each tie
    for newcomer in range(ties + 1, people):
        chosen: dict[int, None] = {}  # in the order of the draws
        attempt = 0
        while len(chosen) < ties:
            for draw in keys.integers(key, len(ends), newcomer, attempt, np.arange(2 * ties)).tolist():
                if len(chosen) < ties:
                    chosen[ends[draw]] = None
            attempt += 1
        ends += [end for friend in chosen for end in (newcomer, friend)]
    return _make(np.array(ends, np.int64).reshape(-1, 2), people)


def _check_ties(ties: int) -> None:
    if ties > TIES:
        raise ValueError(f"The network would have {ties} ties; expected at most {TIES}.")


# Random networks: the function, and its default parameters in the order in which they are passed.
MADE: dict[str, tuple[Callable[..., Network], dict[str, Any]]] = {
    "watts-strogatz": (watts_strogatz, {"neighbours": 6, "rewire": 0.1, "seed": 0}),
    "barabasi-albert": (barabasi_albert, {"ties": 3, "seed": 0}),
}


def by_name(network: Any, people: int) -> Network | None:
    """Return the network of an argument, among this many people; None is the complete one.

    Ids in edges and files are the numbers of people if they reach from 0 or above to people - 1; people whose number is
    missing have no ties. Other ids, of any size and kind, name the people, who are numbered by them (`numbered`).

    Args:
        network: None or "complete"; "watts-strogatz" or "barabasi-albert", alone or as a dictionary of that `name` and
            its parameters (`MADE`); the path of a file (`read_edges`); edges (M, 2), or (M, 3) with weights; a graph of
            networkx (`from_networkx`); a `Network`, or the dictionary of its fields, as a spec holds it.
        people: N.

    Raises:
        ValueError: it is none of these, or has another number of people.
    """
    people = checks.integer("people", people, 1, PEOPLE)
    if network is None or (isinstance(network, str) and network == "complete"):
        return None
    if isinstance(network, str) and network in MADE:
        network = {"name": network}
    if isinstance(network, dict) and set(network) == set(Network._fields):
        network = Network(**network)
    if isinstance(network, dict):
        make, usual = MADE.get(str(network.get("name")), (None, {}))
        given = {key: value for key, value in network.items() if key != "name"}
        if make is None or not all(key in usual for key in given):
            options = "; ".join(f"{name} with {', '.join(by)}" for name, (_, by) in MADE.items())
            raise ValueError(f"network is {checks.printed(network)}; expected a name and numbers: {options}.")
        values = usual | given
        return make(people, *(values | {"seed": checks.integer("seed", values["seed"], 0, 2**64 - 1)}).values())
    if isinstance(network, str | Path):
        if not os.path.isfile(network):
            raise ValueError(
                f"network is {checks.printed(network)}; expected one of {['complete', *MADE]}, or the path of a file."
            )
        return _among(*_lines(network), people)
    if not isinstance(network, Network) and not _is_graph(network):
        return _among(*_ends(network, "network"), people)
    found = _valid(network) if isinstance(network, Network) else from_networkx(network)
    if len(found.degree) != people:
        raise ValueError(
            f"network joins {len(found.degree)} people and people = {people}; pass people={len(found.degree)}."
        )
    return found


def _valid(network: Network) -> Network:
    """Return a network whose arrays are what they should be, in their types."""
    offsets = checks.integers("offsets of the network", network.offsets, (None,), 0)
    targets = checks.integers("targets of the network", network.targets, (None,), 0, max(len(offsets) - 2, 0))
    weights = checks.reals("weights of the network", network.weights, (len(targets),), 0.0)
    found = Network(offsets, targets, weights)
    fits = len(offsets) > 1 and offsets[0] == 0 and offsets[-1] == len(targets) and (found.degree >= 0).all()
    if fits:
        person, other = edges_of(found).T
        fits = bool((person != other).all() and ((np.diff(other) > 0) | (np.diff(person) > 0)).all())
    if not fits:
        raise ValueError("network has offsets and targets that do not belong together; make it by from_edges.")
    return found


def listening(network: Network) -> tuple[Network, npt.NDArray[np.bool_]]:
    """Return the network with weights that add up to 1 for everyone, and who has neighbours to listen to (N,)."""
    person = edges_of(network)[:, 0]
    total = np.bincount(person, network.weights, len(network.degree))
    return network._replace(weights=network.weights / np.where(total > 0, total, 1.0)[person]), total > 0


def read_edges(path: str | Path, people: int | None = None) -> Network:
    """Read a file with one edge per line: two numbers of people and, on all lines or none, the weight that i gives j.

    Numbers, integers of any size, are separated by commas or blanks; lines that begin with # are skipped.

    Args:
        path: of the file.
        people: as in `from_edges`.

    Raises:
        ValueError: the file is not of this form.
        FileNotFoundError: there is no such file.
    """
    ends, weights = _lines(path)
    number, found = (
        _numbers(ends) if people is None else (_in_range(ends, checks.integer("people", people, 1, PEOPLE)), people)
    )
    return _make(number.reshape(-1, 2), found, weights)


def _lines(path: str | Path) -> tuple[Any, list[float] | None]:
    """Return what `_ends` returns, of the lines of a file."""
    try:
        rows = [
            line.replace(",", " ").split()
            for line in Path(path).read_text(encoding="utf-8").splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        ]
        widths = {len(row) for row in rows}
        if widths not in ({2}, {3}):
            raise ValueError
        edges = [[int(row[0]), int(row[1])] for row in rows]
        weights = [float(row[2]) for row in rows] if widths == {3} else None
    except ValueError:
        raise ValueError(f"{path} must hold two numbers of people on every line, or two and a weight.") from None
    return _ends(edges)[0], weights


def _is_graph(value: Any) -> bool:
    """Tell whether a value is a graph of networkx, without importing it."""
    return any(kind.__module__.partition(".")[0] == "networkx" for kind in type(value).__mro__) and hasattr(
        value, "is_multigraph"
    )


def from_networkx(graph: Any) -> Network:
    """Convert a networkx graph, whose nodes are the people, numbered by their names (`numbered`).

    An undirected graph is a list of ties: everyone listens equally to all neighbours, parallel edges are one tie, and
    weights have no effect (`graph.to_directed()` keeps them). In a directed graph edge (i, j) says by its attribute
    `weight`, 1 by default, how much i listens to j; parallel edges are several reasons to listen, and their weights
    add up. Edges from a node to itself are left out.

    Raises:
        ValueError: it is no graph of networkx, has no nodes, or a weight is negative or not a finite number.
    """
    if not _is_graph(graph):
        raise ValueError(f"graph is {checks.printed(graph)}; expected a graph of networkx.")
    of = {node: number for number, node in enumerate(numbered(graph.nodes))}
    people = checks.integer("number of nodes", len(of), 1, PEOPLE)
    edges = [(of[a], of[b], weight) for a, b, weight in graph.edges(data="weight", default=1.0) if a != b]
    pairs = np.array([edge[:2] for edge in edges], np.int64).reshape(-1, 2)
    if not graph.is_directed():
        return _make(pairs, people)
    weights = checks.reals("weights", [edge[2] for edge in edges], (len(edges),), 0.0)
    order = np.lexsort((weights, pairs[:, 1], pairs[:, 0]))  # so that sums of parallel edges have an order
    pairs, which = np.unique(pairs[order], axis=0, return_inverse=True)
    return _make(pairs, people, np.bincount(which.reshape(-1), weights[order], len(pairs)))


def to_networkx(network: Network) -> Any:
    """Convert to a networkx graph: undirected where all ties go both ways, else directed with weights.

    Raises:
        ImportError: networkx, of the extra `networks`, is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise ImportError(f"networkx is missing: {extras.hint('networks')}.") from error
    pairs = edges_of(network)
    undirected = np.array_equal(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))][:, ::-1], pairs)
    graph = networkx.Graph() if undirected else networkx.DiGraph()
    graph.add_nodes_from(range(len(network.degree)))
    graph.add_weighted_edges_from((int(a), int(b), float(w)) for (a, b), w in zip(pairs, network.weights, strict=True))
    return graph


def dense(network: Network) -> npt.NDArray[np.float64]:
    """Return the weights as a matrix (N, N): row i holds the weights that i gives to everyone.

    Raises:
        ValueError: there are too many people for a matrix.
    """
    checks.integer("number of people", len(network.degree), 0, int(TIES**0.5))
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

    Raises:
        ValueError: a draw is not from 0 to below 1, or there is no such person.
    """
    people = checks.integer("people", people, 1)
    _check_draws(u)
    if not (np.min(person, initial=0) >= 0 and np.max(person, initial=0) < people):
        checks.integers("person", person, low=0, high=people - 1)
    return _neighbour(person, u, people, network)


def _check_draws(u: Array) -> None:
    if not (np.min(u, initial=0.0) >= 0 and np.max(u, initial=0.0) < 1):
        checks.reals("u", u, low=0, below=1)


def _neighbour(person: Array, u: Array, people: int, network: Network | None) -> npt.NDArray[np.int64]:
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
    """Choose a neighbour for everyone: (B, N) uniform draws -> (B, N) people (`neighbour`).

    Raises:
        ValueError: a draw is not from 0 to below 1.
    """
    _check_draws(u)
    person = np.arange(u.shape[-1])
    return _neighbour(np.broadcast_to(person, u.shape), u, u.shape[-1], network)


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
