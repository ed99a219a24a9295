"""Imports point one way: envs <- agents <- leaderboards, and in leaderboards from each floor to those below it.

Environments need gymnasium and numpy only.

The rules are read from the sources, so that they also hold for modules no test imports.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("envs", "agents", "leaderboards")
FOLDERS = {"valuegym": "src/valuegym"} | {f"valuegym.{layer}": layer for layer in LAYERS}
ENVS_MAY_LOAD = {"gymnasium", "numpy", "valuegym", *sys.stdlib_module_names}

# The boxes of leaderboards/, folders and modules, lowest floor first; a box imports boxes of lower floors only.
FLOORS = (
    ("experiments", "executors", "stats", "likelihood"),
    ("records", "training"),
    ("verification",),
    ("run", "trust"),
    ("plan", "evaluation", "standings"),
    ("site", "tracking"),
    ("board",),
    ("cli", "__init__"),
    ("__main__",),
)
FLOOR = {box: floor for floor, boxes in enumerate(FLOORS) for box in boxes}
MAX_ARROWS = 60  # from one box of leaderboards/ to another

# Functions of arrays: no gymnasium, and nothing of valuegym that is not pure itself.
PURE = {
    "valuegym.agents.divergence",
    "valuegym.agents.kl",
    "valuegym.agents.control.finite",
    "valuegym.envs.checks",
    "valuegym.agents.preference.comparisons",
    "valuegym.agents.control.critics",
    "valuegym.agents.preference.descent",
    "valuegym.agents.control.ensemble",
    "valuegym.agents.control.linear_model",
    "valuegym.agents.control.losses",
    "valuegym.agents.control.lqr_preferences",
    "valuegym.agents.control.batched_mlp",
    "valuegym.agents.control.buffer",
    "valuegym.agents.preference.posterior",
    "valuegym.agents.preference.values",
    "valuegym.envs.coevolution.dynamics",
    "valuegym.envs.coevolution.metrics",
    "valuegym.envs.coevolution.networks",
    "valuegym.envs.coevolution.planning",
    "valuegym.envs.control.grid",
    "valuegym.envs.control.riccati",
    "valuegym.envs.elementary",
    "valuegym.envs.extras",
    "valuegym.envs.feedback.annotators",
    "valuegym.envs.feedback.answers",
    "valuegym.envs.feedback.calibration",
    "valuegym.envs.feedback.segments",
    "valuegym.envs.feedback.transforms",
    "valuegym.envs.feedback.utilities",
    "valuegym.envs.feedback.values",
    "valuegym.envs.keys",
    "valuegym.envs.language.prefixes",
    "valuegym.envs.language.readings",
    "valuegym.envs.language.worlds",
    "valuegym.envs.mdp",
    "valuegym.envs.preference.annotators",
    "valuegym.envs.preference.models",
    "valuegym.envs.preference.outcomes",
    "valuegym.envs.preference.probes",
    "valuegym.envs.preference.segments",
    "valuegym.envs.rendering.axes",
    "valuegym.envs.rendering.candidates",
    "valuegym.envs.rendering.coevolution",
    "valuegym.envs.rendering.control",
    "valuegym.envs.rendering.delivery",
    "valuegym.envs.rendering.font",
    "valuegym.envs.rendering.language",
    "valuegym.envs.rendering.palette",
    "valuegym.envs.rendering.probes",
    "valuegym.envs.rendering.raster",
    "valuegym.leaderboards.stats.bootstrap",
    "valuegym.leaderboards.stats.ranks",
    "valuegym.leaderboards.stats.pareto",
    "valuegym.leaderboards.trust.tiers",
}


class Import(NamedTuple):
    """One name that a module imports; `loaded` if importing the module imports it too."""

    name: str
    line: int
    loaded: bool


MODULE = re.compile(r"valuegym(?:\.\w+)+(?=$|:)")  # a text that names a module, or something in one after a colon
IMPORTERS = ("import_module", "__import__", "resolve_name")


def read_imports(source: str, package: str) -> Iterator[Import]:
    """Yield every import of a module of `package`, also those inside functions and under TYPE_CHECKING.

    So are those in disguise: attributes of a package that was imported (`valuegym.leaderboards.cli`), texts that name a
    module of valuegym, and texts given to a function that imports.
    """
    tree = ast.parse(source)
    bound = bindings(tree, package)

    def visit(node: ast.AST, loaded: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, loaded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            yield Import(base, node.lineno, loaded)
            yield from (Import(f"{base}.{alias.name}", node.lineno, loaded) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            skipped = node.orelse if ast.unparse(node.test).startswith("not ") else node.body
            for child in (*node.body, *node.orelse):
                yield from visit(child, loaded and child not in skipped)
        else:
            name = disguised(node, bound, package)
            if name:
                yield Import(name, getattr(node, "lineno", 0), loaded)
            later: Sequence[ast.AST] = ()  # what is not carried out before a call; decorators and defaults are
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                later = node.body if isinstance(node.body, list) else [node.body]
            for child in ast.iter_child_nodes(node):
                yield from visit(child, loaded and child not in later)

    return visit(tree, True)


def bindings(tree: ast.AST, package: str) -> dict[str, str]:
    """Return what the names that a module's import statements bind stand for."""
    bound = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom):
                bound[alias.asname or alias.name] = f"{absolute(node, package)}.{alias.name}"
            else:
                first = alias.name.split(".")[0]
                bound[alias.asname or first] = alias.name if alias.asname else first
    return bound


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the module that names are imported from."""
    base = node.module or ""
    if node.level:
        base = ".".join(part for part in (*package.split(".")[: 1 - node.level or None], base) if part)
    return base


def disguised(node: ast.AST, bound: dict[str, str], package: str) -> str:
    """Return the module that a node refers to without importing it by a statement, or something in it; "" for none."""
    if isinstance(node, ast.Attribute):
        first, dot, rest = ast.unparse(node).partition(".")
        name = bound.get(first, "") + dot + rest
        return name if MODULE.fullmatch(name) else ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        found = MODULE.match(node.value)
        return found[0] if found else ""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = ast.unparse(node.func)
        text = str(node.args[0].value)
        if bound.get(function, function).rpartition(".")[2] in IMPORTERS:
            return importlib.util.resolve_name(text, package)
    return ""


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def box_of(name: str) -> str:
    """Return the box of leaderboards/ that a module, or a name imported from one, belongs to; "" for none."""
    first = name.removeprefix("valuegym.leaderboards").lstrip(".").split(".")[0]
    if not within(name, "valuegym.leaderboards"):
        return ""
    return first if first in FLOOR else "__init__"


def arrow(module: str, name: str) -> tuple[str, str] | None:
    """Return the two boxes that an import joins, None within a box or outside of leaderboards/.

    The bare package is no box: whoever imports a module of it has imported it.
    """
    joined = box_of(module), box_of(name)
    bare = name == "valuegym.leaderboards"
    return None if bare or not all(joined) or joined[0] == joined[1] else joined


def arrows(sources: Iterable[tuple[str, str, str]]) -> set[tuple[str, str]]:
    """Return all pairs of boxes that imports join, of modules, their packages and their sources."""
    found = {arrow(module, name) for module, package, source in sources for name, *_ in read_imports(source, package)}
    return {pair for pair in found if pair is not None}


def crowded(found: set[tuple[str, str]]) -> str:
    """Return a sentence if there are too many imports between boxes, else ""."""
    if len(found) <= MAX_ARROWS:
        return ""
    return f"{len(found)} imports between boxes of leaderboards/; at most {MAX_ARROWS}: {sorted(found)}"


def violations(source: str, module: str, package: str) -> list[str]:
    """Return a sentence for each import of the module that a rule forbids."""
    layer = module.split(".")[1] if "." in module else ""
    above = LAYERS[LAYERS.index(layer) + 1 :] if layer in LAYERS else ()
    found = []
    for name, line, loaded in read_imports(source, package):
        top = name.split(".")[0]
        where = f"{module}, line {line}, imports {name}:"
        if top in LAYERS:
            found.append(f"{where} the package is called valuegym.{top}")
        if any(within(name, f"valuegym.{other}") for other in above):
            found.append(f"{where} {layer} lies below")
        pair = arrow(module, name)
        if pair and FLOOR[pair[1]] >= FLOOR[pair[0]]:
            found.append(f"{where} {pair[0]} lies below {pair[1]}, or beside it")
        if layer == "envs" and loaded and top not in ENVS_MAY_LOAD:
            found.append(f"{where} environments load only gymnasium and numpy; import it where it is used")
        if module in PURE and (top == "gymnasium" or (top == "valuegym" and not is_pure(name))):
            found.append(f"{where} a pure module imports only pure modules and no gymnasium")
    return found


def is_pure(name: str) -> bool:
    """Tell whether an imported name is a pure module, something in one, or a package that holds one."""
    return any(within(name, module) or within(module, name) for module in PURE)


def modules() -> Iterator[tuple[str, str, Path]]:
    """Yield each module of the package: its name, the package its relative imports start from, its file."""
    for root, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (root, *path.relative_to(ROOT / folder).with_suffix("").parts)
            if parts[-1] == "__init__":
                yield ".".join(parts[:-1]), ".".join(parts[:-1]), path
            else:
                yield ".".join(parts), ".".join(parts[:-1]), path


def test_imports_point_one_way() -> None:
    found = [
        violation
        for module, package, path in modules()
        for violation in violations(path.read_text(encoding="utf-8"), module, package)
    ]
    assert not found, "\n".join(found)


def test_every_box_has_a_floor() -> None:
    folder = ROOT / "leaderboards"
    boxes = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert boxes == set(FLOOR), "name each box of leaderboards/ once in FLOORS"
    assert sum(map(len, FLOORS)) == len(FLOOR)


def test_few_imports_run_between_boxes() -> None:
    found = arrows((module, package, path.read_text(encoding="utf-8")) for module, package, path in modules())
    assert not crowded(found), crowded(found)
    assert len(found) > 30  # they are found at all


def test_too_many_imports_between_boxes_are_found() -> None:
    pairs = [(above, below) for above in FLOOR for below in FLOOR if FLOOR[below] < FLOOR[above]]
    assert len(pairs) > MAX_ARROWS
    sources = [(f"valuegym.leaderboards.{a}.x", f"valuegym.leaderboards.{a}", f"from ..{b} import y") for a, b in pairs]
    assert arrows(sources[:MAX_ARROWS]) == set(pairs[:MAX_ARROWS]) and not crowded(arrows(sources[:MAX_ARROWS]))
    assert crowded(arrows(sources[: MAX_ARROWS + 1]))
    again = [("valuegym.leaderboards.site.z", "valuegym.leaderboards.site", "def f():\n    from ..records import y")]
    assert arrows(again * 100) == {("site", "records")}


def test_tests_import_the_package_and_not_its_folders() -> None:
    found = [
        f"{path.relative_to(ROOT)}, line {line}, imports {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name, line, _ in read_imports(path.read_text(encoding="utf-8"), "tests")
        if name.split(".")[0] in LAYERS
    ]
    assert not found, "\n".join(found)


def test_every_pure_module_is_there() -> None:
    missing = PURE - {module for module, _, _ in modules()}
    assert not missing, f"renamed or removed, and so no longer watched: {sorted(missing)}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("valuegym.envs.planted", "import valuegym.agents"),
        ("valuegym.envs.planted", "from valuegym import leaderboards"),
        ("valuegym.envs.planted", "from ..agents import base"),
        ("valuegym.envs.planted", "from .. import agents"),
        ("valuegym.envs.planted", "def f():\n    from valuegym.agents.base import Agent"),
        ("valuegym.envs.planted", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import valuegym.agents"),
        ("valuegym.agents.planted", "class A:\n    from valuegym.leaderboards import run"),
        ("valuegym.leaderboards.planted", "import envs"),
        ("valuegym.agents.planted", "from envs.keys import mix"),
        ("valuegym.planted", "import leaderboards.run as run"),
        ("valuegym.envs.planted", "import torch"),
        ("valuegym.envs.planted", "try:\n    from scipy import linalg\nexcept ImportError:\n    pass"),
        ("valuegym.envs.planted", "import sys\nif sys.platform == 'linux':\n    import matplotlib.pyplot as plt"),
        ("valuegym.envs.mdp", "def f():\n    import gymnasium.spaces"),
        ("valuegym.envs.mdp", "from valuegym.envs.functional import FunctionalEnv"),
        ("valuegym.leaderboards.verification.planted", "from valuegym.leaderboards.run import run"),
        ("valuegym.leaderboards.verification.planted", "from valuegym.leaderboards import run"),
        ("valuegym.leaderboards.standings.planted", "def f():\n    from valuegym.leaderboards.board import sandbox"),
        ("valuegym.leaderboards.trust.planted", "from ..standings.gather import Score"),
        ("valuegym.leaderboards.tracking.planted", "import valuegym.leaderboards.site.pages"),  # beside it
        ("valuegym.leaderboards.records.planted", "from valuegym.leaderboards import Score"),
        ("valuegym.leaderboards.run", "from valuegym.leaderboards.trust.ledger import append"),
        ("valuegym.leaderboards", "from valuegym.leaderboards.cli.main import main"),
        ("valuegym.leaderboards.trust.tiers", "from valuegym.leaderboards.records import record"),  # pure
        (
            "valuegym.leaderboards.records.planted",
            "import importlib\nimportlib.import_module('valuegym.leaderboards.cli')",
        ),
        ("valuegym.leaderboards.records.planted", "from importlib import import_module as f\nf('..cli', __package__)"),
        ("valuegym.leaderboards.records.planted", "def f():\n    return __import__('valuegym.leaderboards.cli')"),
        ("valuegym.leaderboards.records.planted", "from valuegym import leaderboards as l\nl.cli.main.main()"),
        ("valuegym.leaderboards.records.planted", "import valuegym\nvaluegym.leaderboards.cli.main.main()"),
        ("valuegym.leaderboards.records.planted", "import valuegym.leaderboards as l\nl.run.run()"),
        ("valuegym.leaderboards.records.planted", "from ... import leaderboards\nprint(leaderboards.site)"),
        ("valuegym.leaderboards.records.planted", "import sys\nsys.modules['valuegym.leaderboards.cli']"),
        ("valuegym.leaderboards.records.planted", "load('valuegym.leaderboards.cli.main:main')"),
        ("valuegym.envs.planted", "import importlib\nimportlib.import_module('valuegym.agents')"),
        ("valuegym.envs.planted", "torch = __import__('torch')"),
        ("valuegym.envs.planted", "def f(torch=__import__('torch')):\n    pass"),
        ("valuegym.envs.planted", "import typing\nif not typing.TYPE_CHECKING:\n    import torch"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert violations(source, module, module.rpartition(".")[0])


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("valuegym.envs.planted", "import json\nimport gymnasium as gym\nfrom numpy import typing"),
        ("valuegym.envs.planted", "def f():\n    import scipy.sparse\n    import matplotlib.pyplot"),
        ("valuegym.envs.planted", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("valuegym.envs.planted", "from .keys import mix\nfrom valuegym.envs_of_others import agents"),
        ("valuegym.agents.planted", "import torch\nfrom valuegym.envs import keys"),
        ("valuegym.leaderboards.planted", "import wandb\nfrom valuegym import agents, envs"),
        ("valuegym.envs.mdp", "from valuegym.envs.keys import mix\nfrom valuegym.envs import keys"),
        ("valuegym.leaderboards.board.planted", "import valuegym.leaderboards\nfrom ..standings import gather"),
        ("valuegym.leaderboards.trust.planted", "from . import ledger\nfrom valuegym.leaderboards import experiments"),
        ("valuegym.leaderboards.__main__", "from valuegym.leaderboards.cli.main import main"),
        ("valuegym.leaderboards", "from valuegym.leaderboards.standings.gather import Score"),
        ("valuegym.envs.planted", "import typing\nif not typing.TYPE_CHECKING:\n    pass\nelse:\n    import torch"),
        ("valuegym.envs.planted", "def f():\n    return __import__('torch')"),
        ("valuegym.envs.planted", "import valuegym\nload('valuegym.envs.mdp:Mdp', valuegym.__version__)"),
        ("valuegym.leaderboards.board.planted", "from valuegym import leaderboards\nleaderboards.standings.gather"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, source: str) -> None:
    assert violations(source, module, module.rpartition(".")[0]) == []
