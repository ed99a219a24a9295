"""The cheap baselines of the suite, published as submissions that anyone can replay.

    python benchmarks/baselines.py [--results baselines] [--table]

Runs what is not there yet, packs one submission for each agent into docs/results/baselines/, replays them all, and
writes docs/results/baselines.md from what the replay found. With --table it only does the last two.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from valuegym.agents import AGENTS
from valuegym.leaderboards.entrants import enter, judge_all
from valuegym.leaderboards.records import write_atomically
from valuegym.leaderboards.run import jobs, run_all
from valuegym.leaderboards.submission import Card, pack, write
from valuegym.leaderboards.table import render_markdown
from valuegym.leaderboards.trust import LIMITS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "baselines.md"
BOARDS = ("preference/boards-regret", "preference/boards-partial-return")
# Tracks whose records are small enough for a repository: a few kilobytes for each run.
BASELINES: Mapping[str, Sequence[str]] = {
    "uniform": ("preference/delivery",),
    "constant": BOARDS,
    "partial_return": BOARDS,
    "regret": BOARDS[:1],
    "oracle": ("preference/delivery", *BOARDS),
}
HARDWARE = "one core of a virtual machine (AMD EPYC)"
HOURS = {"uniform": 0.001, "constant": 0.01, "partial_return": 0.01, "regret": 0.03, "oracle": 0.01}


def card(agent: str) -> Card:
    """The card of a baseline."""
    about = AGENTS[agent].about
    return Card(
        name=agent,
        about=f"{about[:1].upper()}{about[1:]}.",
        authors=("The authors of valuegym",),
        code="",
        priors=f"As it says of itself: {about}.",
        data="nothing",
        compute={"hardware": HARDWARE, "hours": HOURS[agent]},
    )


def make(results: str, folder: Path) -> None:
    """Run what is missing and pack it."""
    for agent, tracks in BASELINES.items():
        paths = run_all(jobs([agent], tracks, results))
        write(folder / f"{agent}.zip", pack(card(agent), (path.read_bytes() for path in paths)))


def page(folder: Path, workers: int = 2) -> str:
    """The page, from the submissions in a folder, every one replayed; ValueError where one does not replay."""
    judgements = judge_all(sorted(folder.glob("*.zip")), None, workers)
    for judgement in judgements:
        if judgement.reason:
            raise ValueError(judgement.text)
    scores, known = enter([], judgements)
    files = "\n".join(
        f"| [{entrant.file}](baselines/{entrant.file}) | {entrant.card.about} | `{entrant.digest}` |"
        for entrant in known.values()
    )
    return f"""# Baselines

The cheap baselines on tracks whose records are small, as submissions: every score below is recomputed from the actions
in these files, by `python benchmarks/baselines.py --table`, and `valuegym verify` plays any of them again. What that
leaves open: {LIMITS["replayed"]}.

Scores are 0 at the naive reference and 1 at the oracle: interquartile means over seeds and episodes with 95% bootstrap
intervals. Records of the other tracks hold every state and are larger, from 0.1 to 1.4 MB for each run; `valuegym run
--all` makes them.

{render_markdown(scores)}

## Files

| submission | agent | SHA-256 |
| :-- | :-- | :-- |
{files}
"""


def main() -> None:
    """Run, pack, replay, write."""
    parser = argparse.ArgumentParser(description="Run, pack, replay and write down the cheap baselines.")
    parser.add_argument("--results", default="baselines", help="where records go that are not there yet")
    parser.add_argument("--table", action="store_true", help="only replay the submissions and write the page")
    args = parser.parse_args()
    folder = PAGE.with_suffix("")
    if not args.table:
        make(args.results, folder)
    write_atomically(PAGE, page(folder))
    print(PAGE)


if __name__ == "__main__":
    main()
