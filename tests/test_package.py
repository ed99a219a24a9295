"""The package as it is installed: what an import loads, what the metadata promises, and what keeps the tests apart."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import valuegym

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src/valuegym", "envs", "agents", "labelling", "leaderboards")
HEAVY = ("matplotlib", "networkx", "pandas", "ray", "scipy", "stable_baselines3", "torch", "transformers", "wandb")
EXTRAS_OF_CI = ("agents", "control", "text", "tracking", "networks", "site", "label", "dev")


def run_python(code: str, cwd: Path) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    return normalised(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0])


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = run_python(f"import sys, valuegym; print(*({set(HEAVY)!r} & set(sys.modules)))", tmp_path)
    assert loaded == "", f"`import valuegym` also imports {loaded}"


def test_import_registers_the_environments(tmp_path: Path) -> None:
    code = "import gymnasium, valuegym; print(*(i for i in gymnasium.registry if i.startswith('valuegym/')))"
    assert run_python(code, tmp_path)


def test_importing_twice_warns_of_nothing(tmp_path: Path) -> None:
    code = "import importlib, valuegym.envs; importlib.reload(valuegym.envs); importlib.reload(valuegym)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_bare_top_level_package_is_installed(tmp_path: Path) -> None:
    names = ("envs", "agents", "labelling", "leaderboards", "src")
    code = f"import importlib.util as u; print(*filter(u.find_spec, {names}))"
    assert run_python(code, tmp_path) == ""


def test_version_is_the_same_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", valuegym.__version__)
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    citation = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert changelog is not None and changelog[1] == valuegym.__version__
    assert citation is not None and citation[1] == valuegym.__version__


def test_changelog_has_the_same_sections_in_every_version() -> None:
    _, *versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for version in versions:
        sections = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert sections == ["Breaking", "Added", "Fixed", "Scores changed"], version.split("\n")[0]


def test_installed_metadata_has_the_version_and_the_console_script() -> None:
    try:
        installed = importlib.metadata.distribution("valuegym")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("valuegym is imported here without being installed")
    assert installed.version == valuegym.__version__
    (script,) = installed.entry_points.select(group="console_scripts")
    assert script.name == "valuegym" and callable(script.load())


def test_every_folder_with_modules_is_a_package() -> None:
    """A folder without __init__.py works from the checkout and is missing from the wheel."""
    holders = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert {str(folder.relative_to(ROOT)) for folder in holders if not (folder / "__init__.py").exists()} == set()
    assert all((ROOT / folder / "py.typed").exists() for folder in FOLDERS)


def test_constraints_pin_every_direct_requirement_of_ci(setup_cfg: configparser.ConfigParser) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normalised(line.split("==")[0]) for line in lines if "==" in line}
    wanted = setup_cfg["options"]["install_requires"].split("\n")
    for extra in EXTRAS_OF_CI:
        wanted += setup_cfg["options.extras_require"][extra].split("\n")
    assert {requirement_name(line) for line in wanted if line} <= pinned


def test_extra_all_holds_every_extra_for_users(setup_cfg: configparser.ConfigParser) -> None:
    extras = setup_cfg["options.extras_require"]
    listed = re.search(r"\[(.+)\]", extras["all"])
    assert listed is not None
    assert set(listed[1].split(",")) == set(extras) - {"all", "dev"}


def test_tests_cannot_reach_another_machine() -> None:
    for address in (("192.0.2.1", 80), ("example.invalid", 80)):
        with socket.socket() as client, pytest.raises(RuntimeError, match="loopback"):
            client.connect(address)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())


def test_tests_run_offline_and_away_from_home() -> None:
    assert os.environ["WANDB_MODE"] == "offline"
    assert Path.home() == Path(os.environ["WANDB_DIR"])
    assert "WANDB_API_KEY" not in os.environ
