"""The dynamics against NDlib's, on the same graphs: the same statistics over seeds, and how much faster.

    python -m venv folder && folder/bin/pip install ndlib six scikit-learn
    python benchmarks/against_ndlib.py --python folder/bin/python [--seeds 40]

NDlib (Rossetti et al. 2018, BSD-2) lives in an environment of its own and is run as a subprocess. Each case is
`iterations` times N meetings of two; compared are the effective number of clusters, (sum c)^2 / sum c^2 over clusters
of size c, and the mean distance between two people. A case agrees when our mean over seeds lies within two standard
errors (of both means together) of NDlib's, and within the middle 95% of its single seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

CASES: dict[str, dict[str, Any]] = {
    "complete, eps 0.5": {"graph": "complete", "people": 100, "bound": 0.5, "bias": 0.0, "iterations": 40},
    "complete, eps 0.2": {"graph": "complete", "people": 100, "bound": 0.2, "bias": 0.0, "iterations": 40},
    "complete, eps 0.32, bias 1": {"graph": "complete", "people": 100, "bound": 0.32, "bias": 1.0, "iterations": 40},
    "small world, eps 0.3": {"graph": "watts_strogatz", "people": 150, "bound": 0.3, "bias": 0.0, "iterations": 40},
    "hubs, eps 0.3": {"graph": "barabasi_albert", "people": 150, "bound": 0.3, "bias": 0.0, "iterations": 40},
}
TIMED = {"graph": "complete", "people": 1000, "bound": 0.5, "bias": 0.0, "iterations": 20}


def statistics(x: Any) -> list[float]:
    """Effective number of clusters (gaps above 0.01 part them) and mean distance between two, of opinions (N,)."""
    x = np.sort(np.asarray(x, float))
    sizes = np.diff(np.concatenate([[-1], np.flatnonzero(np.diff(x) > 0.01), [len(x) - 1]]))
    return [float(sizes.sum() ** 2 / (sizes**2).sum()), float(np.abs(x[:, None] - x).mean())]


def theirs(case: dict[str, Any], edges: list[list[int]], seeds: int) -> tuple[list[Any], float]:
    """Statistics of every seed and seconds per seed, by NDlib; runs where NDlib is installed."""
    import random

    import ndlib.models.ModelConfig
    import ndlib.models.opinions
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(case["people"]))
    graph.add_edges_from(edges)
    found, spent = [], 0.0
    for seed in range(seeds):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - where NDlib draws from
        model = ndlib.models.opinions.AlgorithmicBiasModel(graph, seed=seed)
        config = ndlib.models.ModelConfig.Configuration()
        config.add_model_parameter("epsilon", case["bound"])
        config.add_model_parameter("gamma", case["bias"])
        model.set_initial_status(config)
        start = time.process_time()
        for _ in range(case["iterations"] + 1):  # its iteration 0 does nothing
            model.iteration(node_status=False)
        spent += time.process_time() - start
        found.append(statistics([model.status[i] for i in range(case["people"])]))
    return found, spent / seeds


def network_of(case: dict[str, Any]) -> Any:
    """The graph of a case; None for the complete one."""
    from valuegym.envs.coevolution import networks

    if case["graph"] == "watts_strogatz":
        return networks.watts_strogatz(case["people"], 6, 0.1, 1)
    return networks.barabasi_albert(case["people"], 3, 1) if case["graph"] == "barabasi_albert" else None


def ours(case: dict[str, Any], seeds: int) -> tuple[list[Any], float]:
    """Run a case in valuegym, all seeds at once."""
    from valuegym.envs import keys
    from valuegym.envs.coevolution import dynamics, networks

    N, network, key = case["people"], network_of(case), keys.mix(7, np.arange(seeds))
    x = keys.uniform(key[:, None], keys.RESET, np.arange(N))[..., None]
    start = time.process_time()
    for t in range(case["iterations"]):
        u = keys.uniform(key[:, None, None], t, np.arange(2)[:, None], np.arange(N))
        person = (u[:, 0] * N).astype(np.int64)
        if case["bias"] == 0:
            x = dynamics.deffuant(x, person, networks.neighbour(person, u[:, 1], N, network), case["bound"])
            continue
        for m in range(N):  # whom one meets depends on where everybody is by then
            other = dynamics.biased_partner(x, person[:, m], u[:, 1, m], case["bias"], network)
            x = dynamics.deffuant(x, person[:, m : m + 1], other[:, None], case["bound"])
    spent = time.process_time() - start
    return [statistics(row[:, 0]) for row in x], spent / seeds


def run_theirs(python: str, case: dict[str, Any], seeds: int) -> tuple[Any, float]:
    """Run `theirs` in the environment that has NDlib."""
    from valuegym.envs.coevolution import networks

    network = network_of(case) or networks.complete(case["people"])
    question = json.dumps([case, networks.edges_of(network).tolist(), seeds])
    answer = subprocess.run([python, __file__, "--child"], input=question, capture_output=True, text=True, check=True)
    found, spent = json.loads(answer.stdout.splitlines()[-1])
    return np.array(found), spent


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="an interpreter whose environment has ndlib")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(theirs(*json.loads(sys.stdin.read()))))
        return
    print(f"{'case':30}{'statistic':>20}{'NDlib':>9}{'middle 95%':>16}{'valuegym':>10}  agrees")
    for name, case in CASES.items():
        reference, _ = run_theirs(arguments.python, case, arguments.seeds)
        mine = np.array(ours(case, arguments.seeds)[0])
        for k, statistic in enumerate(("effective clusters", "mean distance")):
            a, b = reference[:, k], mine[:, k]
            low, high = np.quantile(a, [0.025, 0.975])
            error = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / arguments.seeds)
            agrees = abs(a.mean() - b.mean()) <= 2 * error + 1e-9 and low - 1e-9 <= b.mean() <= high + 1e-9
            print(f"{name:30}{statistic:>20}{a.mean():9.3f}{f'{low:.3f} - {high:.3f}':>16}{b.mean():10.3f}  {agrees}")
    _, slow = run_theirs(arguments.python, TIMED, 1)
    ours(TIMED, 1)  # once for warmth
    fast, batch = (ours(TIMED, seeds)[1] for seeds in (1, 32))
    meetings = TIMED["people"] * TIMED["iterations"]
    print(f"\n{meetings} meetings of {TIMED['people']} people: NDlib {slow:.2f} s, valuegym {fast:.4f} s alone "
          f"({slow / fast:.0f} times), {batch:.4f} s each of 32 at once ({slow / batch:.0f} times)")  # fmt: skip


if __name__ == "__main__":
    main()
