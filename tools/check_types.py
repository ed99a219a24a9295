"""Run mypy over valuegym as it is imported, and show that it sees across the packages.

In the checkout the packages lie in top-level folders, and mypy cannot follow an editable install of them: every
import of valuegym would silently be Any. So the package is copied to where imports expect it. The copy also holds
three planted modules with errors that only show when types cross from one package to the next; if mypy does not
report them, its silence about the rest means nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = Path("build/types")
FOLDERS = {
    "": "src/valuegym",
    "envs": "envs",
    "agents": "agents",
    "labelling": "labelling",
    "leaderboards": "leaderboards",
}

PLANTED = {
    "envs": "def double(x: int) -> int:\n    return 2 * x\n",
    "agents": "from valuegym.envs._planted import double\n\nname: str = double(1)\n",
    "leaderboards": "from valuegym.agents._planted import double, name\n\ndouble(name)\n",
}
PLANTED_ERRORS = {"agents": "[assignment]", "leaderboards": "[arg-type]"}


def copy_package() -> int:
    """Copy the package to TREE, with the planted modules, and return how many modules of its own it has."""
    shutil.rmtree(TREE, ignore_errors=True)
    for package, folder in FOLDERS.items():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder, TREE / "valuegym" / package, ignore=ignore, dirs_exist_ok=True)
    modules = sum(1 for _ in TREE.rglob("*.py"))
    for package, source in PLANTED.items():
        (TREE / "valuegym" / package / "_planted.py").write_text(source, encoding="utf-8")
    return modules


def run_mypy() -> list[str]:
    """Return what mypy says of the copy, with the paths of the checkout."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--package", "valuegym"]
    environment = os.environ | {"MYPYPATH": str(TREE)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    sys.stderr.write(found.stderr)
    return [in_checkout(line) for line in found.stdout.replace("\\", "/").splitlines()]


def in_checkout(line: str) -> str:
    """Return a line about a file of the copy as a line about the file it was copied from."""
    path = line.removeprefix(f"{TREE.as_posix()}/valuegym/")
    return path if path == line or path.split(":")[0].count("/") else f"{FOLDERS['']}/{path}"


def main() -> int:
    """Print the type errors; return 0 only if there are none and every planted one was reported."""
    os.chdir(ROOT)
    modules = copy_package()
    lines = run_mypy()
    planted = [line for line in lines if "/_planted.py:" in line]
    errors = [line for line in lines if line not in planted]
    for error in errors:
        print(error)
    blind = [
        package
        for package, code in PLANTED_ERRORS.items()
        if not any(line.startswith(package) and line.endswith(code) for line in planted)
    ]
    if blind and not errors:
        print(f"mypy did not report the error planted in valuegym.{blind[0]}, so its silence means nothing")
    elif not errors:
        print(f"types: {modules} modules without error, and the {len(PLANTED_ERRORS)} planted errors were reported")
    return bool(blind or errors)


if __name__ == "__main__":
    sys.exit(main())
