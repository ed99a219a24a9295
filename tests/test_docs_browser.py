"""The documentation in a real browser: accessible by axe-core, no wider than a phone, searchable without a network.

Needs what `tests/leaderboards/site/test_site_browser.py` needs, and the site that `make docs` has built.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.leaderboards.site.test_site_browser import CHROMIUM, MISSING, TOOLS

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "docs" / "site"
# One of each kind.
PAGES = [
    "index.html",
    "start.html",
    "tutorials/regret.html",
    "mathematics.html",
    "papers.html",
    "environments/index.html",
    "environments/Delivery-v0.html",
    "agents/regret.html",
    "tracks.html",
    "commands.html",
    "reference/valuegym.envs.html",
    "results/index.html",
    "examples/corridor.html",
    "search.html",
]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
@pytest.mark.skipif(not SITE.is_dir(), reason="needs the site of `make docs`")
def test_a_browser_finds_nothing_wrong_with_the_documentation(tmp_path: Path) -> None:
    script = ROOT / "tests" / "leaderboards" / "site" / "look_at_site.mjs"
    command = ["node", str(script), TOOLS, str(CHROMIUM), str(SITE), str(tmp_path), *PAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"pages": len(PAGES), "found": []}


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
@pytest.mark.skipif(not SITE.is_dir(), reason="needs the site of `make docs`")
def test_the_search_finds_from_a_disk() -> None:
    page = f"{(SITE / 'search.html').as_uri()}?q=VaGraM"
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    found = subprocess.run([*words, page], capture_output=True, text=True, timeout=300, check=True).stdout
    assert "vagram.html" in found
