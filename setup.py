"""Map folder X to package valuegym.X; the metadata is in setup.cfg, the tools' settings in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = ("envs", "agents", "labelling", "leaderboards")

setup(
    packages=["valuegym"] + [f"valuegym.{p}" for f in FOLDERS for p in (f, *(f"{f}.{s}" for s in find_packages(f)))],
    package_dir={"valuegym": "src/valuegym"} | {f"valuegym.{f}": f for f in FOLDERS},
)
