"""Equations as MathML, which browsers draw by themselves: an extension of Sphinx that needs no script and no network.

Pages hold LaTeX between dollars, which code hosts draw, too; latex2mathml translates it when the site is built.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

__all__ = ["mathml", "setup"]


def mathml(latex: str, display: bool = False) -> str:
    """Return an equation as MathML, on a line of its own if `display`.

    Raises:
        ValueError: braces do not match, or a command in it is unknown, which latex2mathml would print as it is.
    """
    bare = latex.replace(r"\{", "").replace(r"\}", "")
    if bare.count("{") != bare.count("}"):
        raise ValueError(f"The braces of the equation {latex!r} do not match.")
    try:
        found: str = convert(latex, display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"The equation {latex!r} cannot be read: {error!r}.") from error
    if "\\" in found:
        raise ValueError(
            f"The equation {latex!r} holds the unknown command {found[found.index(chr(92)) :].split('<')[0]}."
        )
    return found


def _visit(self: Any, node: Any) -> None:
    display = isinstance(node, nodes.math_block)
    try:
        found = mathml(node.astext(), display)
    except ValueError as error:
        raise SphinxError(f"{node.source}, line {node.line}: {error}") from error
    self.body.append(f'<div class="equation" tabindex="0">{found}</div>\n' if display else found)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; `html_math_renderer = "mathml"` chooses it."""
    app.add_html_math_renderer("mathml", inline_renderers=(_visit, None), block_renderers=(_visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
