"""Updates per second of a dynamics ensemble: batched, member after member, and by the arithmetic of mbrl-lib.

    python benchmarks/ensemble.py [--members 5] [--width 64] [--depth 3] [--seconds 3] [--rounds 5]

One update is a forward pass on a batch of 256 rows per member, squared error, the backward pass and a step of Adam.
All arms have the same sizes (one output more for the reward, on the trunk of the states), inputs that are already
standardised, and one thread. "mbrl-lib" is the arithmetic of its EnsembleLinearLayer (matmul, then an addition),
rebuilt, with Adam as it comes. Arms take turns, and medians over rounds are printed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.control.batched_mlp import MLP
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.ensemble import Architecture, Ensemble, ModelFit, fit
from valuegym.agents.control.losses import LOSSES

D, A, BATCH, N = 11, 3, 256, 5000
Update = Callable[[Tensor, Tensor], None]


class EnsembleLinearLayer(nn.Module):
    """One layer of mbrl-lib (Pineda et al. 2021): x W, and then + b."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, inputs, outputs) / (2 * inputs**0.5))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(E, B, in) -> (E, B, out)."""
        return x.matmul(self.weight) + self.bias


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


def arms(members: int, width: int, depth: int) -> dict[str, Update]:
    """One update of each arm on inputs (E, B, D + A) and targets (E, B, D + 1)."""
    sizes = [D + A] + [width] * depth + [D + 1]
    batched = MLP(members, D + A, D + 1, width, depth)
    library = _layers(sizes, lambda a, b: EnsembleLinearLayer(members, a, b))
    single = [_layers(sizes, nn.Linear) for _ in range(members)]
    alone = [_stepped(network, torch.optim.Adam(network.parameters(), fused=True)) for network in single]

    def loop(x: Tensor, y: Tensor) -> None:
        for update, a, b in zip(alone, x, y, strict=True):
            update(a, b)

    return {
        "batched": _stepped(batched, torch.optim.Adam(batched.parameters(), fused=True)),
        "mbrl-lib": _stepped(library, torch.optim.Adam(library.parameters())),
        "loop": loop,
    }


def rate(update: Update, batches: Iterator[tuple[Tensor, Tensor]], seconds: float) -> float:
    """Updates per second of this process's own time."""
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        update(*next(batches))
        done += 1
    return done / (time.process_time() - start)


def _whole(members: int, width: int, depth: int, seconds: float) -> dict[str, float]:
    """Updates per second of `ensemble.fit` itself: sampling, standardising and weighting included."""
    g = torch.Generator().manual_seed(0)
    s = torch.randn(N, D, generator=g)
    data = Transitions(s, torch.randn(N, A, generator=g), s[:, 0], s.roll(1, 0), torch.zeros(N) > 0)
    values = lambda x: torch.tanh(x[..., :4])  # noqa: E731
    rates = {}
    for reward_width in (0, 32):
        for name in ("mse", "vagram"):
            model = Ensemble(D, A, Architecture(members, width, depth, reward_width=reward_width), g)
            model.standardise(data)
            _, weights = LOSSES[name].weigh(values, data, model.error_units(0.99), generator=g)
            one = ModelFit(data, torch.arange(N), LOSSES[name].loss, weights, g)
            optimiser = torch.optim.Adam(model.parameters(), fused=True)
            start, steps = time.process_time(), 0
            while time.process_time() - start < seconds:
                fit(model, optimiser, one, 50, BATCH)
                steps += 50
            trunk = "own reward network" if reward_width else "reward on the trunk"
            rates[f"fit, {name}, {trunk}"] = steps / (time.process_time() - start)
    return rates


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("members", 5), ("width", 64), ("depth", 3), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    shape = (options.members, BATCH)
    batch = (torch.randn(*shape, D + A, generator=g), torch.randn(*shape, D + 1, generator=g))
    updates = arms(options.members, options.width, options.depth)
    rates: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(options.rounds):
        for name, update in updates.items():
            rates[name].append(rate(update, iter(lambda: batch, None), options.seconds))
    print(f"{options.members} x ({options.depth} x {options.width}), batch {BATCH} per member, one thread")
    middle = {name: median(values) for name, values in rates.items()}
    for name, value in middle.items():
        print(f"  {name:<9} {value:6.0f} updates/s   batched is {middle['batched'] / value:.2f} times as fast")
    for name, value in _whole(options.members, options.width, options.depth, options.seconds).items():
        print(f"  {name:<30} {value:6.0f} updates/s")


if __name__ == "__main__":
    main()
