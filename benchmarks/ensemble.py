"""Updates per second of a dynamics ensemble: batched, member after member, and by the arithmetic of mbrl-lib.

    python benchmarks/ensemble.py [--seconds 3] [--rounds 5]

One update is a forward pass on a batch of 256 rows per member, squared error, the backward pass and a step of Adam.
All arms have the same sizes (one output more for the reward, on the trunk of the states), inputs that are already
standardised, and one thread. "mbrl-lib" is the arithmetic of its EnsembleLinearLayer (matmul, then an addition),
rebuilt, with Adam as it comes. Arms take turns, and medians over rounds are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import median

import _timing
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.control.batched_mlp import MLP
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.ensemble import Architecture, Ensemble, ModelFit, fit
from valuegym.agents.control.losses import LOSSES

MEMBERS, WIDTH, DEPTH = 5, 64, 3
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


def arms() -> dict[str, Update]:
    """One update of each arm on inputs (E, B, D + A) and targets (E, B, D + 1)."""
    sizes = [D + A] + [WIDTH] * DEPTH + [D + 1]
    batched = MLP(MEMBERS, D + A, D + 1, WIDTH, DEPTH)
    library = _layers(sizes, lambda a, b: EnsembleLinearLayer(MEMBERS, a, b))
    single = [_layers(sizes, nn.Linear) for _ in range(MEMBERS)]
    alone = [_stepped(network, torch.optim.Adam(network.parameters(), fused=True)) for network in single]

    def loop(x: Tensor, y: Tensor) -> None:
        for update, a, b in zip(alone, x, y, strict=True):
            update(a, b)

    return {
        "batched": _stepped(batched, torch.optim.Adam(batched.parameters(), fused=True)),
        "mbrl-lib": _stepped(library, torch.optim.Adam(library.parameters())),
        "loop": loop,
    }


def _whole(seconds: float) -> dict[str, float]:
    """Updates per second of `ensemble.fit` itself: sampling, standardising and weighting included."""
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
    options = parser.parse_args()
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    batch = [torch.randn(MEMBERS, BATCH, size, generator=g) for size in (D + A, D + 1)]
    updates = arms()
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
