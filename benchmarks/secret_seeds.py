"""Cost of secret seeds, whose draws cannot be inverted, against public ones: executing and replaying, by track.

    python benchmarks/secret_seeds.py                 # one track of every kind of environment
    python benchmarks/secret_seeds.py --only lock-in --rounds 9

Executed: the first run of the track by the uniform agent in its sandbox, start of the sandbox and scoring included, in
seconds by the clock, for an agent's processes are not counted with this one. Replayed: the record of that run is
checked, references included, in seconds of the processor. Both are the least of some rounds in which the two kinds of
seeds take turns. Without a sandbox on this machine only replays are measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import _timing
import gymnasium as gym

from valuegym.leaderboards import experiments
from valuegym.leaderboards.board.sandbox import Remote, missing
from valuegym.leaderboards.records.record import Record
from valuegym.leaderboards.run import play_record
from valuegym.leaderboards.trust.commitment import committed_seeds
from valuegym.leaderboards.verification import reference_cache
from valuegym.leaderboards.verification.verify import check

NONCE, AGENT = "07" * 32, "a" * 64
UNIFORM = "from valuegym.agents.uniform import Uniform as make\n"
Pair = tuple[list[float], list[float]]  # seconds with public and with secret seeds


def tracks() -> list[str]:
    """Return one track for each environment of the suite that is a core and needs no data."""
    found: dict[str, str] = {}
    for name in experiments.EXPERIMENTS:
        what = experiments.find(name)
        if what.replayable and not what.simulated and "human" not in name:
            found.setdefault(what.env_id, name)
    return sorted(found.values())


def measure(name: str, rounds: int, folder: Path) -> tuple[Pair, Pair]:
    """Return seconds of executing and of replaying the first run of a track."""
    what = experiments.find(name)
    run = what.seeds[0]
    kinds = (list(what.evaluation_seeds(run)), committed_seeds(NONCE, AGENT, name, run, what.episodes))
    executed: Pair = ([], [])
    replayed: Pair = ([], [])
    for _ in range(rounds):
        for kind, seeds in enumerate(kinds):
            with tempfile.TemporaryDirectory() as cache:
                os.environ[reference_cache.VARIABLE] = cache  # where nothing is cached yet
                records: list[Record] = []
                executed[kind].extend(
                    _timing.seconds(
                        lambda s=seeds, r=records: r.append(play(name, run, s, folder)), 1, time.perf_counter
                    )
                )
            with tempfile.TemporaryDirectory() as cache:
                os.environ[reference_cache.VARIABLE] = cache
                replayed[kind].extend(_timing.seconds(lambda s=seeds, r=records: check(r[0], None, s)))
    return executed, replayed


def play(name: str, run: int, seeds: list[int], folder: Path) -> Record:
    """Return the record of a run in the sandbox or, without one, in this process."""
    what = experiments.find(name)
    env = gym.make(what.env_id, **what.make_kwargs(None))
    if missing():
        from valuegym.agents.uniform import Uniform

        return play_record(Uniform(env, run), "uniform", name, run, None, seeds)
    with Remote(folder, env, (what.env_id, what.kwargs), run) as player:
        return play_record(player, "uniform", name, run, None, seeds)


def main() -> None:
    """Print a line for each track."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="tracks whose name holds this text")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the fastest counts (default: 3)")
    args = parser.parse_args()
    if missing():
        print(f"played here, not in a sandbox: {missing()}")
    print(f"{'seconds, public and secret':<34}{'executed':>9}{'':>9}{'ratio':>7}{'replayed':>10}{'':>9}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "agent.py").write_text(UNIFORM, encoding="utf-8")
        Path(folder).chmod(0o755)
        for name in tracks():
            if args.only in name:
                row = f"{name:<34}"
                for width, pair in zip((9, 10), measure(name, args.rounds, Path(folder)), strict=True):
                    public, secret = map(min, pair)
                    row += f"{public:>{width}.3f}{secret:>9.3f}{secret / public:>7.2f}"
                print(row, flush=True)


if __name__ == "__main__":
    main()
