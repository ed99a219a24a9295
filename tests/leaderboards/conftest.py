"""What tests of boards share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[..., Path]:
    """Makes a private ssh key in the test's folder; its public half lies beside it."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen, of OpenSSH")

    def make(name: str = "key") -> Path:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
        return tmp_path / name

    return make
