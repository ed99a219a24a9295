"""Plug-ins of installed packages: names are read and nothing is imported before one is used."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from valuegym.envs import plugins

GROUPS = [f"valuegym.{kind}" for kind in ("agents", "environments", "experiments", "annotators")]


def install(folder: Path, package: str, points: str, source: str) -> None:
    """Write a package into a folder as pip would leave it."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(source)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(points)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_plugins_are_named_by_package_and_loaded_when_used(folder: Path) -> None:
    install(folder, "one_pack", "[valuegym.agents]\nshy = one_pack:Shy\ngone = one_pack:Gone\n", "class Shy: pass\n")
    install(folder, "faulty_pack", "[valuegym.agents]\nshy = faulty_pack:Shy\n", "raise RuntimeError('no')\n")
    names = plugins.installed("valuegym.agents")
    assert {"one_pack.shy", "one_pack.gone", "faulty_pack.shy"} <= set(names) and "one_pack" not in sys.modules
    assert plugins.load_plugin("valuegym.agents", "one_pack.shy").__name__ == "Shy"
    for name, message in (
        ("faulty_pack.shy", r"faulty_pack\.shy \(faulty_pack:Shy\) cannot be imported: RuntimeError: no"),
        ("one_pack.gone", r"one_pack\.gone .* cannot be imported: AttributeError"),
        ("one_pack.missing", r"No plug-in of valuegym\.agents is called 'one_pack\.missing'; installed are"),
    ):
        with pytest.raises(ValueError, match=message):
            plugins.load_plugin("valuegym.agents", name)


def test_a_clash_of_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("shy", f"pack.{module}:Shy", "valuegym.agents") for module in ("a", "b")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    points.append(EntryPoint("bold", "os:getcwd", "valuegym.agents"))
    with pytest.raises(ValueError, match=r"Two plug-ins of valuegym\.agents are called pack\.shy: .* uninstall one"):
        plugins.load_plugin("valuegym.agents", "pack.shy")
    assert plugins.load_plugin("valuegym.agents", "os.bold")() == str(Path.cwd())  # others are not harmed
    monkeypatch.setattr(plugins, "entry_points", lambda group: points[:1] * 2)  # found twice on the path
    assert list(plugins.installed("valuegym.agents")) == ["pack.shy"]


def test_importing_valuegym_imports_no_plugin_and_nothing_heavy(folder: Path) -> None:
    groups = "".join(f"[{group}]\nx = loud_pack:X\n" for group in GROUPS)
    install(folder, "loud_pack", groups, "raise RuntimeError('imported')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\nimport valuegym, gymnasium\n"
        "heavy = ('loud_pack', 'torch', 'wandb', 'scipy', 'valuegym.leaderboards', 'valuegym.agents')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "assert 'evaluate' in dir(valuegym)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("text", ["", ":", "a:", ":b", "a.py", "a b:c", "a:b c", "../a.py:", "a.py:b-c"])
def test_texts_of_another_form_name_nothing(text: str) -> None:
    assert not plugins.is_reference(text)
    with pytest.raises(ValueError, match="names no object; expected"):
        plugins.load_reference(text)


def test_a_file_is_imported_once_and_a_faulty_one_can_be_mended(folder: Path) -> None:
    path = folder / "own.py"
    path.write_text("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\n1 / 0\n")
    with pytest.raises(ValueError, match=r"own\.py cannot be imported: ZeroDivisionError: division by zero"):
        plugins.load_reference(f"{path}:P")
    path.write_text(path.read_text().replace("1 / 0", "class Q:\n    class R: pass"))
    assert plugins.load_reference(f"{path}:P")().x == 1
    assert plugins.load_reference(f"{path}:P") is plugins.load_reference(f"{path}:P")
    assert plugins.load_reference(f"{path}:Q.R").__name__ == "R"
    before = plugins.source_digest(f"{path}:P")
    path.write_text(path.read_text().replace("x: int = 1", "x: int = 2"))  # of the same length, within one second
    assert plugins.load_reference(f"{path}:P")().x == 2 and plugins.source_digest(f"{path}:P") != before
    assert plugins.short_name(f"{path}:Q.R") == "own.Q.R"
