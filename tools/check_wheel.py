"""Look inside a wheel: it must hold exactly the package's files, all below valuegym/, and its console script.

Usage: python tools/check_wheel.py build/dist/valuegym-*.whl
"""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "valuegym": "src/valuegym",
    "valuegym/envs": "envs",
    "valuegym/agents": "agents",
    "valuegym/labelling": "labelling",
    "valuegym/leaderboards": "leaderboards",
}
SCRIPT = "valuegym = valuegym.leaderboards.__main__:main"


def expected_files() -> set[str]:
    """Return the names that the checkout's files should have in the wheel."""
    return {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def complaints(wheel: Path) -> list[str]:
    """Return a sentence for each thing that is wrong with the wheel."""
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        scripts = "\n".join(archive.read(n).decode() for n in names if n.endswith(".dist-info/entry_points.txt"))
    files = {name for name in names if ".dist-info/" not in name.partition("/")[0] + "/"}
    expected = expected_files()
    found = [
        f"{name} is in the checkout but not in the wheel: its folder lacks __init__.py, "
        f"or package_data in setup.cfg lacks {Path(name).suffix!r}"
        for name in sorted(expected - files)
    ]
    found += [f"{name} is in the wheel but not in the package" for name in sorted(files - expected)]
    found += [f"the wheel lacks {folder}/py.typed" for folder in FOLDERS if f"{folder}/py.typed" not in files]
    if SCRIPT not in scripts.splitlines():
        found.append(f"the wheel lacks the console script {SCRIPT!r}")
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        found.append("the wheel lacks LICENSE")
    return found


def main() -> int:
    """Print what is wrong with the wheels named on the command line; return 0 if nothing is."""
    wheels = [Path(argument) for argument in sys.argv[1:]]
    found = [f"{wheel.name}: {complaint}" for wheel in wheels for complaint in complaints(wheel)]
    for complaint in found:
        print(complaint)
    if not wheels:
        print("check_wheel.py needs the path of a wheel")
    elif not found:
        print(f"wheel: {', '.join(wheel.name for wheel in wheels)} holds {len(expected_files())} files, as it should")
    return bool(found or not wheels)


if __name__ == "__main__":
    sys.exit(main())
