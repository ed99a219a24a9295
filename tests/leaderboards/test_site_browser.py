"""The site in a real browser: accessible by axe-core, no wider than a phone, sortable by keyboard, light and dark.

Needs Chromium, Node and a folder with axe-core and playwright-core, which the variable VALUEGYM_BROWSER_TOOLS names:

    npm install --prefix FOLDER axe-core playwright-core
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.leaderboards.test_site import CARD, make_score, make_scores, make_site
from valuegym.leaderboards.standings.entries import ListedSubmission
from valuegym.leaderboards.trust.tiers import Standing

ROOT = Path(__file__).resolve().parents[2]
TOOLS = os.environ.get("VALUEGYM_BROWSER_TOOLS", "")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [
    what
    for what, there in (
        ("Chromium", CHROMIUM),
        ("Node", shutil.which("node")),
        ("axe-core in VALUEGYM_BROWSER_TOOLS", TOOLS and (Path(TOOLS) / "node_modules" / "axe-core").is_dir()),
    )
    if not there
]


def look(site: Path, pages: int) -> None:
    """Open every page of a site; nothing may be wrong with any."""
    script = Path(__file__).with_name("look_at_site.mjs")
    command = ["node", str(script), TOOLS, str(CHROMIUM), str(site)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"pages": pages, "found": []}


@pytest.mark.slow  # two minutes: every page four times
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_a_browser_finds_nothing_wrong(tmp_path: Path) -> None:
    pytest.importorskip("PIL")

    scores = [
        *make_scores(),
        make_score("sent", 0.8, "control/pendulum", evaluation_points=(0,), standing=Standing("executed")),
    ]
    scores.append(make_score("a-name-that-goes-on-and-on" * 3, 0.2, standing=Standing("committed", missing=1)))
    sent = {"sent": [ListedSubmission(CARD, f"{i}.zip", f"{i:064x}", (f"control/{i}",)) for i in range(2)]}
    make_site(tmp_path / "site", scores, notes=["A note."], submissions=sent)
    look(tmp_path / "site", 16)


@pytest.mark.slow  # two minutes
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_a_browser_finds_nothing_wrong_with_the_published_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page, the agents, the boards with most columns and most rows, and the agents on most boards."""
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(str(ROOT))
    from studies import baselines

    baselines.site(baselines.PAGE.with_suffix(""), str(tmp_path / "site"))
    kept = {"index", "agents", "preference-boards-regret", "preference-policy-regret", "preference-asking-regret"}
    kept |= {"control-lqr", "coevolution-lock-in", "coevolution-coevolve-mixed", "kalman", "regret", "oracle"}
    for path in (tmp_path / "site").rglob("*.html"):
        if path.stem not in kept:
            path.unlink()
    look(tmp_path / "site", len(kept))
