"""README's numbers against the stored results that they come from."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BOARDS = {"regret": "preference/boards-regret", "partial return": "preference/boards-partial-return"}


def rows_of(table: str) -> dict[str, dict[str, str]]:
    """Return the rows of the first Markdown table in a text, by the entry of its column "agent"."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[re.sub(r"\s+", " ", cell.replace("\\", "")).strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {row[cells[0].index("agent")]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def baselines(track: str) -> dict[str, dict[str, str]]:
    page = (ROOT / "docs" / "results" / "baselines.md").read_text(encoding="utf-8")
    return rows_of(page.partition(f"### {track}\n")[2].partition("###")[0])


def test_the_main_comparison_is_that_of_the_baselines() -> None:
    """`make demo` runs these agents on these boards; the page of baselines is made by replaying their records."""
    table = README.partition("| annotator | learner |")[2].partition("\n\n")[0]
    lines = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert len(lines) == 5
    for annotator, learner, score, ten, hundred, thousand, near, _ in lines:
        for board in BOARDS.values() if annotator == "either" else [BOARDS[annotator]]:
            row = baselines(board)[learner]
            columns = ("score", "10", "100", "1000", "near")
            assert [row[column] for column in columns] == [score, ten, hundred, thousand, near], (board, learner)
            if learner != "constant":
                assert row["0 prefs"] == "0.00 [0.00, 0.00]"
    ranks = {(annotator, learner): rank for annotator, learner, *_, rank in lines if rank}
    for annotator, board in BOARDS.items():
        scores = [float(baselines(board)[learner]["score"].split()[0]) for learner in ("regret", "partial_return")]
        better = ("regret", "partial_return")[scores[1] > scores[0]]
        assert better == annotator.replace(" ", "_")
        assert ranks[annotator, better] == "1"


def test_what_constants_score_is_on_the_page_of_baselines() -> None:
    """By `python -m studies.baselines`: the published board, and every track with new labels in each episode."""
    said = re.search(r"best on other boards\s+scores (\S+), and the destination's weight alone (\S+);", README)
    assert said
    board = baselines("preference/published-regret (open-book reference, not ranked)")
    line = baselines("preference/relabelled-privileged-control (open-book reference, not ranked)")
    assert board["constant"]["score"].split()[0] == said[1] and line["goal_only"]["score"].split()[0] == said[2]
    page = (ROOT / "docs" / "results" / "baselines.md").read_text(encoding="utf-8")
    tracks = re.findall(r"^### (preference/relabelled-.*)$", page, re.MULTILINE)
    assert len(tracks) == 8
    for track in tracks:
        assert float(baselines(track)["constant"]["score"].split()[0]) <= 0.0
