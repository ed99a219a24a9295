"""Updates per second of a dynamics ensemble: batched, member after member, and by mbrl-lib.

    python benchmarks/ensemble.py [--seconds 3] [--rounds 5]

    python -m venv folder && folder/bin/pip install torch==VERSION gymnasium omegaconf hydra-core termcolor tqdm
    folder/bin/pip install --no-deps mbrl
    python benchmarks/ensemble.py --python folder/bin/python --rounds 21 --seconds 0.15

One update is a forward pass on a batch of 256 rows per member, squared error, the backward pass and a step of Adam.
All arms have the same sizes (one output more for the reward, on the trunk of the states), inputs that are already
standardised, and one thread. Arms take turns, and medians over rounds are printed.

With `--python` the second side is mbrl-lib (Pineda et al. 2021, MIT) itself, its `GaussianMLP` without variances, which
lives in an environment of its own and runs as a subprocess, on the same arrays and with the same fused Adam, at several
sizes. It is timed twice: by its `Model.update`, which also computes the norm of the gradient, and without that norm,
which is the same work as ours. What counts is the median of the rounds' ratios; many short turns beat a busy machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import median
from typing import IO, Any

import _timing
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEMBERS, WIDTH, DEPTH = 5, 64, 3
SIZES = ((5, 64, 3), (7, 64, 3), (5, 200, 4), (7, 200, 4))  # members, width and depth, against mbrl-lib
ARMS = ("its loss and Adam", "its Model.update")
D, A, BATCH, N = 11, 3, 256, 5000
Update = Callable[[Tensor, Tensor], object]


def _layers(sizes: list[int], layer: Callable[[int, int], nn.Module]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in pairwise(sizes):
        parts += [layer(a, b), nn.SiLU()]
    return nn.Sequential(*parts[:-1])


def _stepped(network: nn.Module, optimiser: torch.optim.Optimizer) -> Update:
    def update(x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        F.mse_loss(network(x), y).backward()
        optimiser.step()

    return update


def arrays(members: int) -> tuple[Tensor, Tensor]:
    """Return inputs (E, B, D + A) and targets (E, B, D + 1)."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(members, BATCH, D + A, generator=g), torch.randn(members, BATCH, D + 1, generator=g)


def batched(members: int, width: int, depth: int) -> Update:
    """Return one update of the stacked networks."""
    from valuegym.agents.control.batched_mlp import MLP

    network = MLP(members, D + A, D + 1, width, depth)
    return _stepped(network, torch.optim.Adam(network.parameters(), fused=True))


def loop() -> Update:
    """Return one update of every member, one after the other."""
    sizes = [D + A] + [WIDTH] * DEPTH + [D + 1]
    single = [_layers(sizes, nn.Linear) for _ in range(MEMBERS)]
    alone = [_stepped(network, torch.optim.Adam(network.parameters(), fused=True)) for network in single]

    def update(x: Tensor, y: Tensor) -> None:
        for one, a, b in zip(alone, x, y, strict=True):
            one(a, b)

    return update


def theirs(members: int, width: int, depth: int) -> dict[str, Update]:
    """Return one update of mbrl-lib by each of ARMS; works where mbrl-lib is installed."""
    from mbrl.models import GaussianMLP

    activation = {"_target_": "torch.nn.SiLU"}

    def new() -> tuple[Any, torch.optim.Optimizer]:
        model = GaussianMLP(D + A, D + 1, "cpu", depth, members, width, True, activation_fn_cfg=activation)
        return model, torch.optim.Adam(model.parameters(), fused=True)

    model, optimiser = new()
    whole, its_optimiser = new()

    def bare(x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        model.loss(x, y)[0].backward()
        optimiser.step()

    return dict(zip(ARMS, (bare, lambda x, y: whole.update(x, its_optimiser, y)), strict=True))


def serve(questions: IO[str]) -> None:
    """Answer each question, [members, width, depth, seconds], by the updates per second of ARMS."""
    known: dict[tuple[int, ...], dict[str, Update]] = {}
    for line in questions:
        *size, seconds = json.loads(line)
        if tuple(size) not in known:
            known[tuple(size)] = theirs(*size)
        updates, (x, y) = known[tuple(size)], arrays(size[0])
        print(json.dumps([_timing.rate(partial(update, x, y), seconds) for update in updates.values()]), flush=True)


def against(python: str, rounds: int, seconds: float) -> None:
    """Print updates per second of both libraries in turns, and the ratios."""
    command = [python, __file__, "--child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None and peer.stdout is not None
        print(f"batch {BATCH} per member, one thread, {rounds} rounds; ratio: median (min to max)")
        print(f"{'members, hidden':<18}{'valuegym':>10}   mbrl-lib, updates/s, and how many times as fast is valuegym")
        for size in SIZES:
            work, rates = partial(batched(*size), *arrays(size[0])), []
            for _ in range(rounds):
                print(json.dumps([*size, seconds]), file=peer.stdin, flush=True)
                other = json.loads(peer.stdout.readline())
                rates.append([_timing.rate(work, seconds), *other])
            mine, *others = zip(*rates, strict=True)
            print(f"{f'{size[0]} x ({size[2]} x {size[1]})':<18}{median(mine):>10.0f}", end="")
            for name, other in zip(ARMS, others, strict=True):
                ratio = [a / b for a, b in zip(mine, other, strict=True)]
                print(
                    f"   {name} {median(other):.0f}: {median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f})", end=""
                )
            print()


def _whole(seconds: float) -> dict[str, float]:
    """Updates per second of `ensemble.fit` itself: sampling, standardising and weighting included."""
    from valuegym.agents.control.buffer import Transitions
    from valuegym.agents.control.ensemble import Architecture, Ensemble, ModelFit, fit
    from valuegym.agents.control.losses import LOSSES

    g = torch.Generator().manual_seed(0)
    s = torch.randn(N, D, generator=g)
    data = Transitions(s, torch.randn(N, A, generator=g), s[:, 0], s.roll(1, 0), torch.zeros(N) > 0)
    values = lambda x: torch.tanh(x[..., :4])  # noqa: E731
    rates = {}
    for reward_width in (0, 32):
        for name in ("mse", "vagram"):
            model = Ensemble(D, A, Architecture(MEMBERS, WIDTH, DEPTH, reward_width=reward_width), g)
            model.standardise(data)
            _, weights = LOSSES[name].weigh(values, data, model.error_units(0.99), generator=g)
            one = ModelFit(data, torch.arange(N), LOSSES[name].loss, weights, g)
            optimiser = torch.optim.Adam(model.parameters(), fused=True)
            trunk = "own reward network" if reward_width else "reward on the trunk"
            work = partial(fit, model, optimiser, one, 50, BATCH)
            rates[f"fit, {name}, {trunk}"] = 50 * _timing.rate(work, seconds)
    return rates


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--python", help="an interpreter whose environment has mbrl-lib, to compare with")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        serve(sys.stdin)
        return
    if options.python:
        against(options.python, options.rounds, options.seconds)
        return
    batch = arrays(MEMBERS)
    updates = {"batched": batched(MEMBERS, WIDTH, DEPTH), "loop": loop()}
    rates: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(options.rounds):
        for name, update in updates.items():
            rates[name].append(_timing.rate(partial(update, *batch), options.seconds))
    print(f"{MEMBERS} x ({DEPTH} x {WIDTH}), batch {BATCH} per member, one thread")
    middle = {name: median(values) for name, values in rates.items()}
    for name, value in middle.items():
        print(f"  {name:<9} {value:6.0f} updates/s   batched is {middle['batched'] / value:.2f} times as fast")
    for name, value in _whole(options.seconds).items():
        print(f"  {name:<30} {value:6.0f} updates/s")


if __name__ == "__main__":
    main()
