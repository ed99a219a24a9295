"""Packing an agent's records from a results folder into a submission."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.submission import Card, pack

__all__ = ["pack_results"]


def pack_results(
    results: str | Path,
    card: Card,
    names: Sequence[str] | None = None,
    evidence: Sequence[str | Path] = (),
    seal: dict[str, object] | None = None,
) -> tuple[bytes, int]:
    """Pack all records of one agent; returns the submission's content and the number of records in it.

    Args:
        results: results folder, with records under `<experiment>/<agent>/seed-<n>.jsonl`.
        card: of the agent, which it names.
        names: experiments; None for all that the folder holds records of.
        evidence: npz or JSON files to add.
        seal: the commitment whose seeds were played, None for public seeds.

    Raises:
        ValueError: for an unknown experiment, or records and evidence that cannot be submitted.
        FileNotFoundError: where there is no record of the agent, or no such evidence.
    """
    found = sorted(Path(results).glob(f"*/*/{card.name}/seed-*.jsonl"))
    if names:
        for name in names:
            experiments.find(name)
        found = [path for path in found if "/".join(path.parts[-4:-2]) in names]
    if not found:
        others = sorted({path.parent.name for path in Path(results).glob("*/*/*/seed-*.jsonl")})
        hint = f" The name of the card is that of a row; {results} has {', '.join(others)}." if others else ""
        where = f" for {', '.join(names)}" if names else ""
        raise FileNotFoundError(
            f"There are no records by {card.name}{where} in {results}; `valuegym run` writes them.{hint}"
        )
    extra = {Path(path).name: Path(path).read_bytes() for path in evidence}
    return pack(card, (path.read_bytes() for path in found), extra, seal), len(found)
