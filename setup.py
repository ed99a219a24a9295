"""Map folder X to package valuegym.X; the metadata is in setup.cfg, the tools' settings in pyproject.toml."""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("envs", "agents", "labelling", "leaderboards")
ROOT = Path(__file__).parent


def links(address: str, readme: str, version: str) -> dict:
    """Return the description, and the addresses of the project where it has a public one.

    There, links of README are made absolute, so that the package index shows its pictures.
    """
    if not address:
        return {"long_description": readme}

    def absolute(found: re.Match) -> str:
        kind = "raw" if found[0].startswith("!") else "blob"
        return f"{found[1]}{address}/{kind}/v{version}/{found[2]})"

    return {
        "long_description": re.sub(r"(!?\[[^]]*\]\()(?![a-z]+:|#)([^)\s]+)\)", absolute, readme),
        "url": address,
        "project_urls": {
            "Source": address,
            "Documentation": f"{address}/tree/v{version}/docs",
            "Changelog": f"{address}/blob/v{version}/CHANGELOG.md",
            "Issues": f"{address}/issues",
        },
    }


if __name__ == "__main__":
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    version = re.search(r'"(.+)"', (ROOT / "src/valuegym/_version.py").read_text(encoding="utf-8"))[1]
    setup(
        **links(config["valuegym"]["repository"], (ROOT / "README.md").read_text(encoding="utf-8"), version),
        long_description_content_type="text/markdown",
        packages=["valuegym"]
        + [f"valuegym.{p}" for f in FOLDERS for p in (f, *(f"{f}.{s}" for s in find_packages(f)))],
        package_dir={"valuegym": "src/valuegym"} | {f"valuegym.{f}": f for f in FOLDERS},
    )
