"""Values of a language model as a drawing that stands alone: SVG, a line for each value, with intervals."""

from __future__ import annotations

import numpy as np

from valuegym.agents.language.value_report import Report, number, shortened
from valuegym.envs.language.value_probes import Interval
from valuegym.leaderboards.site.plots import DASHED, FAINT, MUTED, Frame, ticks

__all__ = ["draw"]

COLOURS = {  # of the pages of boards in light, for a drawing that stands alone
    "ink": "#1f2328",
    "muted": "#5f656e",
    "faint": "#e3e4e0",
    "card": "#ffffff",
    "agent-0": "#2f5fd0",
    "agent-1": "#bd4d0c",
}
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def draw(report: Report) -> str:
    """Return the values and, with a base, their change as SVG: a line for each value, and 95% intervals."""
    rows: list[tuple[str, Interval]] = [(report.model.name, report.values.interval())]
    if report.base and report.shift:
        rows.append((f"change from {report.base.name}", report.shift.interval()))
    ends = np.concatenate([np.ravel(part) for _, found in rows for part in found])
    ends = np.append(ends[~np.isnan(ends)], 0.0)
    space = 0.05 * max(float(np.ptp(ends)), 1e-3)
    limits = float(ends.min()) - space, float(ends.max()) + space
    names = report.values.names
    size = 640.0, 60 + 20 * len(names) + 18 * len(rows)
    frame = Frame(size, (150, 16, 14 + 18 * len(rows), 40), limits, (len(names) - 0.5, -0.5))
    for tick in ticks(*limits):
        frame.line([(frame.x(tick), frame.top), (frame.x(tick), frame.bottom)], FAINT, 0.8)
        frame.text(frame.x(tick), frame.bottom + 13, f"{tick + 0.0:.6g}", anchor="middle")
    frame.line([(frame.x(0), frame.top), (frame.x(0), frame.bottom)], MUTED, dash=DASHED)
    for k, name in enumerate(names):
        frame.text(frame.left - 8, frame.y(k), name, anchor="end")
    for index, (name, found) in enumerate(rows):
        frame.mark(frame.left + 4, 12 + 18 * index, index)
        frame.text(frame.left + 14, 12 + 18 * index, shortened(name, 70))
        for k in range(len(names)):
            _interval(frame, found, k, (index - (len(rows) - 1) / 2) * 0.36, index)
    unit = "nats per token, 95% intervals" if report.measure == "log_odds" else "difference of probabilities"
    frame.text((frame.left + frame.right) / 2, frame.bottom + 30, unit, anchor="middle")
    listed = ", ".join(f"{name} {number(float(x))}" for name, x in zip(names, rows[0][1].point, strict=True))
    element = frame.element("values", "", f"Values of {report.model.name}", f"{listed}.")
    style = ";".join(f"--{name}:{colour}" for name, colour in COLOURS.items()) + ";background:var(--card)"
    top = f"<svg xmlns=\"http://www.w3.org/2000/svg\" style='{style};font-family:{FONT}' "
    return top + str(element).removeprefix("<svg ") + "\n"


def _interval(frame: Frame, found: Interval, k: int, offset: float, index: int) -> None:
    """Draw a point and its interval on the line of a value."""
    point, low, high = (float(part[k]) for part in found)
    if np.isnan(point):
        return
    y, colour = frame.y(k + offset), f"var(--agent-{index})"
    frame.line([(frame.x(low), y), (frame.x(high), y)], colour, 6, opacity=0.4)
    frame.mark(frame.x(point), y, index)
