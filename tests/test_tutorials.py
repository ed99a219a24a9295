"""Tutorials and other pages do what they say: their blocks are run, their commands exist, their names are public."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from valuegym.agents import AGENTS
from valuegym.leaderboards.cli.main import parser
from valuegym.leaderboards.experiments import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted(page.stem for page in (DOCS / "tutorials").glob("*.md") if page.stem != "README")
SLOW = {"language-people", "reward-learner"}
NEEDS = {"vagram": ["torch"], "language-people": ["torch", "transformers"]}
# Pages whose blocks of Python other tests run, and those whose blocks are run below, with what they leave out.
RUN_ELSEWHERE = {"own", "feedback", "language", "reward-models"}
GIVEN = {
    "coevolution": "",
    "control": "import gymnasium as gym, valuegym\nfrom valuegym.envs.control.distractors import DistractingDimensions",
    "data": (
        "import numpy as np\nFOLDER = 'mine'\nstarts = np.zeros((4, 2, 2), int)\nactions = np.ones((4, 2, 3), int)\n"
        "actions[:, 1] = 3\nlabels = np.array([0.0, 1.0, 0.5, 1.0])"
    ),
    "faq": "",
    "labelling": "",
    "preference-model": "",
}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md", *sorted(DOCS.rglob("*.md"))]


def load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> Any:
    return load("tutorials_tool", ROOT / "tools" / "tutorials.py")


def text_of(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in TUTORIALS]
)
def test_a_tutorial_does_what_it_says(name: str, tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib", *NEEDS.get(name, ())):
        pytest.importorskip(module)
    # One site is enough, that of the slow test of wheels.
    monkeypatch.setattr("valuegym.leaderboards.site.pages.write_site", lambda scores, folder, **_: folder)
    before = set(sys.modules)
    problems, _ = tool.run(DOCS / "tutorials" / f"{name}.md", tmp_path)
    for module in set(sys.modules) - before:  # of the page's own
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_is_short_has_a_picture_and_says_what_next(name: str, tool: Any) -> None:
    text = text_of(f"tutorials/{name}")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert 350 < len(prose.split()) < 1200
    assert tool.pictures(text) == [f"{name}.svg"]
    assert 2 <= text.partition("\n## Try next\n")[2].count("\n- ") <= 5
    assert f"]({name}.md)" in text_of("tutorials/README")


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_blocks_of_python_run(
    name: str, tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "faq":
        problems, _ = tool.run(DOCS / f"{name}.md", tmp_path)
        assert not problems, "\n".join(problems)
        return
    for module in ("starlette", "uvicorn") if name == "labelling" else ():
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with pytest.warns() if name == "data" else pytest.MonkeyPatch.context():  # four answers show no reversed labels
        exec(GIVEN[name], names)
        for block in tool.blocks(text_of(name)):
            if block.language == "python":
                exec(block.text, names)


def test_every_page_with_python_is_run(tool: Any) -> None:
    found = {
        page.stem
        for page in DOCS.glob("*.md")
        for block in tool.blocks(page.read_text(encoding="utf-8"))
        if block.language == "python"
    }
    assert found <= RUN_ELSEWHERE | set(GIVEN)


def commands(page: Path, tool: Any) -> list[str]:
    """Lines of shell in a page, continued ones joined, without comments."""
    lines = []
    for block in tool.blocks(page.read_text(encoding="utf-8")):
        if block.language == "sh":
            lines += re.sub(r"\\\n\s*", "", block.text).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def mentions(page: Path) -> list[str]:
    """Commands within sentences, which may leave out what they need."""
    return re.findall(r"(?<!`)`(valuegym [^`\n]+)`", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if "results" not in page.parts], ids=lambda page: page.stem)
def test_every_command_is_one(page: Path, tool: Any) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = set(re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text(), re.MULTILINE))
    wrong = []
    for line in commands(page, tool):
        for words in split(line):
            if words[0] == "valuegym" and len(words) > 1:
                wrong += [line] * (not parses(words[1:]))
            elif words[0] == "make":
                wrong += [line] * (not all("=" in word or word in targets for word in words[1:]))
            elif words[:2] == ["python", "-m"] and words[2].split(".")[0] in ("studies", "valuegym"):
                wrong += [line] * (importlib.util.find_spec(words[2]) is None)
            elif words[:2] == ["pip", "install"]:
                wanted = {extra for group in re.findall(r"\[([\w,]+)\]", line) for extra in group.split(",")}
                wrong += [line] * (not wanted <= extras)
    wrong += [line for line in mentions(page) if not exists(shlex.split(line)[1:])]
    assert not wrong, "\n".join(wrong)


def split(line: str) -> list[list[str]]:
    """The commands of a line."""
    parts: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word in (">", ">>"):  # where the output goes
            break
        if word in ("&&", ";", "|"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def exists(words: list[str]) -> bool:
    """Whether there is such a command, and the options that are given."""
    top = parser()
    while words and not words[0].startswith("-"):
        found = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
        if not found:
            break
        if words[0] not in found[0].choices:
            return False
        top, words = found[0].choices[words[0]], words[1:]
    return all(word in top._option_string_actions for word in words if word.startswith("--"))


def parses(words: list[str]) -> bool:
    """Whether the command exists with these options, and the agents and tracks that it names do, too."""
    try:
        given = vars(parser().parse_args(words))
    except SystemExit as error:
        return error.code == 0
    agents, experiments = (
        [found] if isinstance(found, str) else found or [] for found in (given.get("agent"), given.get("experiment"))
    )
    placeholder = re.compile(r"[A-Z]+|.*[:.].*")
    return all(name in AGENTS or placeholder.fullmatch(name) or words[0] == "board" for name in agents) and all(
        name in EXPERIMENTS or placeholder.fullmatch(name) or name.startswith("own/") for name in experiments
    )


@pytest.mark.parametrize("name", ["mathematics", "papers"])
def test_every_name_is_public(name: str) -> None:
    text = text_of(name)
    found = sorted(set(re.findall(r"`(valuegym\.[\w.]+)`", text)))
    assert len(found) > 30
    for each in found:
        module, _, attribute = each.rpartition(".")
        try:
            assert attribute in getattr(importlib.import_module(module), "__all__", ()), each
        except AssertionError:
            assert importlib.util.find_spec(each), each
    for id in re.findall(r"`([A-Z]\w+-v0)`", text):
        assert f"valuegym/{id}" in importlib.import_module("valuegym.envs").ENVS


def test_every_equation_has_a_function_and_a_source() -> None:
    parts = re.split(r"^### ", text_of("mathematics"), flags=re.MULTILINE)[1:]
    assert len(parts) > 30
    for part in parts:
        assert re.search(r"`valuegym\.[\w.]+`", part), part
    with_equation = [part for part in parts if "$$" in part]
    assert len(with_equation) >= len(parts) - 1


def test_papers_have_one_row_each() -> None:
    rows = re.findall(r"^\| (?!paper |---)(.+?) \| .+ \| .+ \| .+ \|$", text_of("papers"), re.MULTILINE)
    assert len(rows) == len(set(rows)) >= 30


# --- equations ---


@pytest.fixture(scope="module")
def mathml() -> Any:
    pytest.importorskip("sphinx")
    pytest.importorskip("latex2mathml")
    return load("mathml", DOCS / "mathml.py").mathml


def test_equations_become_mathml(mathml: Any) -> None:
    assert "<msup><mi>V</mi>" in mathml("V^*(s)")
    assert 'display="block"' in mathml(r"\sum_t r_t", display=True)


@pytest.mark.parametrize("latex", [r"\frac{1", r"\nope{x}", r"x_{\nope}", "}x{{"])
def test_equations_that_are_none_are_refused(mathml: Any, latex: str) -> None:
    with pytest.raises(ValueError, match="equation"):
        mathml(latex)


# --- the tool ---


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a 0.51\n", "a   0.52\n", True),
        ("a 0.51\n", "a 0.54\n", False),
        ("a 12\n", "a 13\n", False),
        ("[ 1.20 3.]\n", "[ 1.21 3.]\n", True),
        ("a ... d\n", "a b c d\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("... c ...\n", "a b c d\n", True),
        ("a ... d\n", "a b c\n", False),
        ("a\n", "a b\n", False),
        ("-0.5\n", "0.5\n", False),
        ("1e-3\n", "1e-3\n", True),
    ],
)
def test_what_is_printed_may_differ_in_the_last_digit(tool: Any, expected: str, printed: str, same: bool) -> None:
    assert tool.matches(expected, printed) is same


PAGE = """# A page

```python
x = 1
print(x)
```

```text
1
```

```sh
valuegym verify nothing   # refused
```
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", ""),
        ("print(x)", "print(x + 1)", "line 9: expected"),
        ("```sh", "```ruby", "'ruby'"),
        ("# A page", "![A picture](a.svg)", "does not make a.svg"),
    ],
)
def test_a_page_that_says_something_else_is_found(tool: Any, old: str, new: str, problem: str, tmp_path: Path) -> None:
    page, folder = tmp_path / "page.md", tmp_path / "work"
    folder.mkdir()
    page.write_text(PAGE.replace(old, new) if old else PAGE)
    problems, text = tool.run(page, folder)
    assert (problem in "\n".join(problems)) if problem else not problems
    if "line 9" in problem:  # --write mends it
        page.write_text(text)
        assert not tool.run(page, folder)[0]


def test_other_commands_are_refused(tool: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("valuegym verify nothing   # refused", "rm -rf results"))
    with pytest.raises(RuntimeError, match="no command of valuegym"):
        tool.run(page, tmp_path)
    page.write_text(PAGE.replace("   # refused", ""))
    with pytest.raises(RuntimeError, match="ended with status"):
        tool.run(page, tmp_path)


def test_code_of_tutorials_parses_and_defines_what_it_uses(tool: Any) -> None:
    for name in TUTORIALS:
        for block in tool.blocks(text_of(f"tutorials/{name}")):
            if block.language == "python":
                ast.parse(block.text)
                assert max(map(len, block.text.splitlines())) <= 120
