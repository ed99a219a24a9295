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


@pytest.mark.slow  # two minutes: every page four times
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_a_browser_finds_nothing_wrong(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    from valuegym.leaderboards.entrants import Entrant

    scores = [*make_scores(), make_score("sent", 0.8, "control/pendulum", reports=(0,), status="executed")]
    scores.append(make_score("a-name-that-goes-on-and-on" * 3, 0.2, status="committed, 1 of 5 seeds missing"))
    sent = {"sent": [Entrant(CARD, f"{i}.zip", f"{i:064x}", (f"control/{i}",)) for i in range(2)]}
    make_site(tmp_path / "site", scores, notes=["A note."], entrants=sent)
    script = Path(__file__).with_name("look_at_site.mjs")
    command = ["node", str(script), TOOLS, str(CHROMIUM), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["pages"] == 16 and report["found"] == []
