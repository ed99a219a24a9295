"""The documentation: links of the repository become those of the site, and docstrings become Markdown."""

from __future__ import annotations

import ast
import importlib.util
import io
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
griffe = pytest.importorskip("griffe", reason="the reference needs griffelib")

MODULE = '''"""Sums of things.

    total = add(1)

That is all.
"""

__all__ = ["Adder", "BIG", "add"]

BIG = 9  # the largest


def add(x: int, *more: int, scale: float = 1.0) -> int:
    """Return a sum of shape (S*A,), *not* a product.

    Args:
        x: the first.
        more: the others,
            if any.

    Raises:
        ValueError: x is negative.
    """


class Adder:
    """A sum.

    Attributes:
        total: so far.
    """

    def __init__(self, start: int = 0) -> None:
        self.total = start

    def more(self) -> None:
        """Add one."""

    def _hidden(self) -> None:
        """Do nothing."""
'''


@pytest.fixture(scope="module")
def site() -> Any:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "tools" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("[a](docs/own.md#b)", "README.md", "[a](own.md#b)"),
        ("[a](../examples/corridor.py)", "docs/own.md", "[a](examples/corridor.md)"),
        ("[a](../README.md)", "docs/own.md", "[a](index.md)"),
        ("[a](../data.md)", "docs/results/people.md", "[a](../data.md)"),
        ("[a](README.md)", "docs/results/people.md", "[a](index.md)"),
        ("[a](data/people.jsonl)", "docs/results/people.md", "[a]"),
        ("[a](CITATION.cff)", "README.md", "[a]"),
        ("[a](https://a.org) [b](#c)", "README.md", "[a](https://a.org) [b](#c)"),
        ("```python own.py\nx\n```", "docs/own.md", "```{code-block} python\n:caption: own.py\n\nx\n```"),
        ("```sh\nx\n```", "docs/own.md", "```sh\nx\n```"),
    ],
)
def test_pages_are_adapted_to_the_site(site: Any, text: str, source: str, expected: str) -> None:
    assert site.adapted(text, source) == expected


def test_a_module_becomes_markdown(site: Any, tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(MODULE, encoding="utf-8")
    module = griffe.load("sums", search_paths=[tmp_path], docstring_parser="google")
    page = site.module_section(module, ast.parse(MODULE), tmp_path / "sums.py")
    assert "    total = add(1)" in page
    assert "{py:function} add(x: int, *more: int, scale: float = 1.0) -> int" in page
    assert "Return a sum of shape (S\\*A,), *not* a product." in page
    assert "- `more`: the others, if any." in page
    assert "- `ValueError`: x is negative." in page
    assert "{py:class} Adder(start: int = 0)\n" in page
    assert "{py:method} more() -> None" in page
    assert "_hidden" not in page
    assert "- `BIG`: a constant. the largest" in page


def test_every_environment_agent_track_and_command_has_its_place(site: Any) -> None:
    tracks, commands = site.tracks(), site.commands()
    assert all(f"## {name}\n" in tracks for name in site.EXPERIMENTS)
    assert "## valuegym verify\n" in commands
    assert "### valuegym board judge\n" in commands
    assert dict(site.agent_pages()).keys() == {f"agents/{name}.md" for name in site.AGENTS}


def test_pictures_move_and_loop(site: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(io.BytesIO(site.moving_picture("valuegym/LQR-v0", "oracle"))) as picture:
        assert picture.n_frames > 5
        assert picture.info["loop"] == 0
        assert picture.width <= site.WIDTH


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('    """Add one."""\n\n    def _hidden', '    """Add one."""\n\n    def _hidden', None),
        (
            '    """A sum.\n\n    Attributes:\n        total: so far.\n    """\n',
            "",
            "Adder is public and has no docstring",
        ),
        ('"Adder", ', "", "Adder is not in `__all__`"),
    ],
)
def test_an_undocumented_public_name_fails_the_build(
    site: Any, old: str, new: str, complaint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "__init__.py").write_text(MODULE.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(site, "BUILD", tmp_path / "build")
    monkeypatch.setattr(site.public_names, "FOLDERS", {"valuegym": "sums"})
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site.public_names, "ROOT", tmp_path)
    if complaint is None:
        assert dict(site.reference()).keys() == {"reference/valuegym.md", "reference/index.md"}
    else:
        with pytest.raises(SystemExit, match=complaint):
            dict(site.reference())


def test_pages_say_what_readers_of_screens_need() -> None:
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("accessible", ROOT / "docs" / "accessible.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (
        '<aside class="toc-drawer no-toc"><pre>x</pre><table><thead>\n<tr class="row"><th class="head"><p></p></th>\n'
        '<th class="head"><p></p></th></tr></thead><tr><td>1</td></tr></table>'
    )
    found = module.accessible(page)
    assert found == (
        '<aside aria-label="This page" class="toc-drawer no-toc"><pre tabindex="0">x</pre>'
        "<table><tr><td>1</td></tr></table>"
    )
    assert module.accessible(found) == found


def test_names_and_ids_are_links_where_they_are_listed(site: Any) -> None:
    text = "`valuegym.envs.mdp.between` `Delivery-v0` `other.name`"
    expected = "{py:obj}`~valuegym.envs.mdp.between` [`Delivery-v0`](environments/Delivery-v0.md) `other.name`"
    assert site.adapted(text, "docs/papers.md") == expected
    assert site.adapted(text, "docs/own.md") == text
