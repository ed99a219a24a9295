"""Figures of all studies in one style, as SVG whose bytes depend on what they show alone."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from studies.report import Estimate

INK, MUTED, FAINT = "#1f2430", "#7a8190", "#e3e6eb"
COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0f766e", "#be185d", "#475569")
MARKERS = "os^DvpXP"
TITLE_WIDTH = 11  # characters of a panel's title to an inch
STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "valuegym",
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}


class Curve(NamedTuple):
    """A named line of estimates over x."""

    name: str
    y: Sequence[Estimate | None]  # None where there is none
    style: int  # of colour and marker
    dashed: bool = False
    x: Sequence[float] | None = None  # by default 0, 1, 2, ...


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    ticks: Sequence[object] = ()  # at x = 0, 1, 2, ...; none for numbers as they are
    limits: tuple[float, float] | None = (-0.03, 1.03)
    levels: Mapping[float, str] | None = None  # ticks of a logarithmic y axis
    line: float | None = None  # to compare with


def curves(lines: Mapping[str, Sequence[Estimate | None]]) -> list[Curve]:
    """Return named lines as curves, each in its own style."""
    return [Curve(name, y, style) for style, (name, y) in enumerate(lines.items())]


@contextmanager
def new(columns: int, rows: int, size: tuple[float, float], **options: Any) -> Iterator[tuple[Any, Any]]:
    """Give a figure and its axes (rows, columns); everything inside the block is drawn in the one style."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(dict(STYLE)):
        figure = Figure(figsize=size, facecolor="white", layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)


def svg(figure: Any) -> str:
    """Return a figure as SVG."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Creator": None, "Date": None})
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines()) + "\n"


def draw(panels: Sequence[Panel], columns: int = 3) -> str:
    """Return panels as SVG, with one legend under all of them; intervals are bars, curves without points left out."""
    panels = [replace(panel, curves=[curve for curve in panel.curves if any(curve.y)]) for panel in panels]
    columns = max(min(columns, len(panels)), 1)
    rows = max(-(-len(panels) // columns), 1)
    width = max(3.4 * columns, 6.8)
    with new(columns, rows, (width, 0.5 + 2.7 * rows)) as (figure, grid):
        for axes, panel in zip(grid.flat, panels, strict=False):
            _fill(axes, replace(panel, title=textwrap.fill(panel.title, int(TITLE_WIDTH * width / columns))))
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        _legend(figure, {curve.name: curve for panel in panels for curve in panel.curves})
        return svg(figure)


def _legend(figure: Any, lines: Mapping[str, Curve]) -> None:
    """Place a legend under all axes, in as many columns as fit into the width of the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=name, **_look(curve)) for name, curve in lines.items()]
    renderer = FigureCanvasAgg(figure).get_renderer()
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent(renderer).width <= 0.98 * figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(handles) // columns) - 1))
            return
        legend.remove()


def _look(curve: Curve) -> dict[str, Any]:
    colour, marker = COLOURS[curve.style % len(COLOURS)], MARKERS[curve.style % len(MARKERS)]
    look = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.6}
    return look | {"linestyle": "--" if curve.dashed else "-"}


def _fill(axes: Any, panel: Panel) -> None:
    if panel.line is not None:
        axes.axhline(panel.line, color=MUTED, linewidth=1, dashes=(4, 3))
    width = min(0.06, 0.5 / max(len(panel.curves), 1))
    for i, curve in enumerate(panel.curves):
        there = [place for place, estimate in enumerate(curve.y) if estimate]
        x = np.array(there if curve.x is None else curve.x, float)
        if panel.ticks:  # side by side, so that intervals do not hide each other
            x = x + width * (i - (len(panel.curves) - 1) / 2)
        point, low, high = np.array([curve.y[place] for place in there], float).reshape(-1, 3).T
        axes.vlines(x, low, high, color=COLOURS[curve.style % len(COLOURS)], alpha=0.4, linewidth=3)
        axes.plot(x, point, **_look(curve))
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), map(str, panel.ticks))
        axes.set_xlim(-0.4, len(panel.ticks) - 0.6)
    if panel.levels:
        axes.set_yscale("log")
        axes.set_yticks(list(panel.levels), panel.levels.values())
        axes.minorticks_off()
    if panel.limits:
        axes.set_ylim(*panel.limits)
    axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    axes.grid(axis="y")


HEAT = (COLOURS[0], "#fbd5b5", "#ffffff", "#bcd0f7", COLOURS[1])  # from -1 over 0 to 1
GAP = 0.3  # between groups of rows or columns, in cells
CELL = (0.43, 0.235)  # inches


@dataclass(frozen=True)
class HeatMap:
    """Numbers from -1 to 1 by row and column, in groups; cells that are not in `values` have a dash."""

    title: str
    rows: Sequence[Sequence[str]]
    columns: Sequence[Sequence[str]]
    values: Mapping[tuple[str, str], float]
    bold: Collection[tuple[str, str]] = ()
    marked: Mapping[str, str] = field(default_factory=dict)  # text beside a row, which gets a frame


def heat_map(found: HeatMap) -> str:
    """Return a heat map as SVG, with its numbers in the cells."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    across, down = _places(found.columns), _places(found.rows)
    width, height = (max(places.values(), default=0.0) + 1 for places in (across, down))
    colour = LinearSegmentedColormap.from_list("heat", list(HEAT))
    with new(1, 1, (2.2 + CELL[0] * width, 1.6 + CELL[1] * height)) as (figure, grid):
        axes = grid[0, 0]
        for (row, y), (column, x) in product(down.items(), across.items()):
            value = found.values.get((row, column))
            face = FAINT if value is None else to_hex(colour((min(max(value, -1.0), 1.0) + 1) / 2))
            number = "-" if value is None else f"{round(value, 2) + 0.0:.2f}"
            look = {"color": "white" if value is not None and abs(value) > 0.7 else INK, "fontsize": 7.2}
            look["weight"] = "bold" if (row, column) in found.bold else "normal"
            _rectangle(axes, (x, y, 1.0), facecolor=face, edgecolor="white", linewidth=0.8)
            axes.text(x + 0.5, y + 0.53, number, ha="center", va="center", **look)
        for row, note in found.marked.items():
            _rectangle(axes, (0.0, down[row], width), facecolor="none", edgecolor=INK, linewidth=1.8, zorder=3)
            axes.text(width + 0.15, down[row] + 0.53, f"◀ {note}", va="center", fontsize=8, weight="bold")
        axes.set_xlim(-0.05, width + (3.2 if found.marked else 0.05))
        axes.set_ylim(height + 0.05, -0.05)
        axes.xaxis.tick_top()
        axes.set_xticks([x + 0.4 for x in across.values()], list(across), rotation=45, ha="left")
        axes.set_yticks([y + 0.53 for y in down.values()], list(down))
        axes.tick_params(pad=2, labelcolor=INK, labelsize=8)
        for label in axes.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() in found.marked else "normal")
        axes.spines[["left", "bottom"]].set_visible(False)
        figure.suptitle(found.title, x=0.01, ha="left", fontsize=10)
        return svg(figure)


def _rectangle(axes: Any, place: tuple[float, float, float], **look: Any) -> None:
    """Draw a rectangle from x, y with a width, one cell high."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(place[:2], place[2], 1, **look))


def _places(groups: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return where each name of the groups begins; groups without names take no room."""
    named = [(g, name) for g, group in enumerate(group for group in groups if group) for name in group]
    return {name: i + GAP * g for i, (g, name) in enumerate(named)}
