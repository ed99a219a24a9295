"""The harness and the report: records, resuming, intervals, and the one notation."""

from __future__ import annotations

import importlib
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> Any:
    return importlib.import_module(f"studies.{name}")


class Toy:
    """A study of eight keys that counts what it runs."""

    def __init__(self, folder: Path) -> None:
        self.ran: list[Any] = []
        self.folder = folder
        self.path = folder / "data" / "toy.jsonl"

    def jobs(self, options: Namespace) -> Any:
        return ([(cell, 0, unit) for cell in "xy"] for unit in range(options.units))

    def run(self, keys: Any, options: Namespace) -> list[float]:
        self.ran += keys
        return [key[-1] / 2 for key in keys]

    def go(self, **options: Any) -> None:
        harness = script("harness")
        study = harness.Study("toy", self.jobs, self.run, lambda records, options: {".md": f"{len(records)}"})
        options = {"units": 4, "minutes": float("inf"), "processes": 1, "table": False, "docs": self.folder} | options
        harness.run(study, Namespace(**options))


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    toy, harness = Toy(tmp_path), script("harness")
    toy.go(minutes=-1)
    assert not toy.ran and (tmp_path / "toy.md").read_text() == "0"
    toy.go(units=2)
    toy.path.write_text(toy.path.read_text() + '["x", 0, 2, [0.')  # cut short
    toy.go(table=True)
    assert len(toy.ran) == 4 and (tmp_path / "toy.md").read_text() == "4"
    toy.go()
    assert sorted(toy.ran) == [(cell, 0, unit) for cell in "xy" for unit in range(4)]
    assert toy.path.read_text() == '["x",0,0,[0.0,0.5,1.0,1.5]]\n["y",0,0,[0.0,0.5,1.0,1.5]]\n'
    del (records := harness.load(toy.path))["y", 0, 1]
    toy.path.write_text(harness.dump(records))
    toy.go()
    assert toy.ran[8:] == [("y", 0, 1)] and len(harness.load(toy.path)) == 8


def test_processes_find_the_same(tmp_path: Path) -> None:
    """Two processes, on a study of the suite."""
    lines = []
    for processes in (1, 2):
        module, folder = script("coevolution.phase_diagrams"), tmp_path / str(processes)
        options = module.PARSER.parse_args(["--seeds", "1", "--docs", str(folder), "--processes", str(processes)])
        study = module.harness.Study("toy", _cluster_jobs, module.run, lambda records, options: {})
        module.harness.run(study, options)
        lines.append(sorted((folder / "data/toy.jsonl").read_text().splitlines()))
    assert lines[0] == lines[1] and len(lines[0]) == 4


def _cluster_jobs(options: Namespace) -> Any:
    return ([("clusters", bound, name, 0) for name in ("Deffuant", "Hegselmann-Krause")] for bound in (0.3, 0.5))


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    harness = script("harness")
    records = {("a", 1, unit): [float(unit), 0.5] for unit in (0, 1, 3)} | {("b", seed): {"c": seed} for seed in (0, 1)}
    text = harness.dump(records)
    assert [line[:14] for line in text.splitlines()] == [
        '["a",1,0,[[0.0',
        '["a",1,3,[[3.0',
        '["b",0,[{"c":0',
        '["b",1,[{"c":1',
    ]
    path = tmp_path / "x.jsonl"
    assert harness.load(path) == {}
    path.write_text(text)
    assert harness.load(path) == records


def test_cells_that_lack_a_key_are_left_out() -> None:
    harness = script("harness")
    keys = [(*cell, seed, unit) for cell in (("a", 1), ("b", 2)) for unit in range(3) for seed in range(2)]
    records = {key: [float(i), 0.5] for i, key in enumerate(keys)}
    raw = harness.arrays(records, [keys])
    assert raw["a", 1].shape == (3, 2, 2)
    np.testing.assert_array_equal(raw["b", 2][:, :, 0], [[6, 7], [8, 9], [10, 11]])
    del records["b", 2, 1, 1]
    assert list(harness.arrays(records, [keys])) == [("a", 1)]


def test_an_estimate_resamples_whole_units() -> None:
    report, rng = script("report"), np.random.default_rng(0)
    means = rng.standard_normal(400)
    one = report.estimate(means)
    same = report.estimate(np.repeat(means[:, None], 50, 1))  # repetitions of a unit add nothing
    np.testing.assert_allclose(one, same)
    assert one.point == pytest.approx(means.mean())
    assert one.high - one.low == pytest.approx(2 * 1.96 * means.std() / 20, rel=0.1)
    counted = rng.random((400, 3)) < 0.2
    part = report.estimate_where(np.repeat(means[:, None], 3, 1), counted)
    assert part.point == pytest.approx((means[:, None] * counted).sum() / counted.sum())
    assert report.estimate_where(means, np.zeros(400, bool)) is None
    assert report.estimate(np.repeat([[0.0], [1.0]], 50, axis=1))[:2] == (0.5, 0.0)


def test_estimates_have_one_notation() -> None:
    report = script("report")
    found = report.Estimate(0.8749, -0.001, 1.0)
    assert str(found) == "0.87 [0.00, 1.00]"
    assert report.show(found, report.decimals(3, "+")) == "+0.875 [-0.001, +1.000]"
    assert report.show(report.resampled([1.0, 1.0, 1234.5]), report.significant) == "1.00 [1.00, 1,234]"
    pages = [*(ROOT / "docs/results").glob("*.md"), ROOT / "README.md"]
    assert not [page.name for page in pages if re.search(r"\(-?[\d.]+ to -?[\d.]+\)", page.read_text("utf-8"))]


def test_results_are_named_in_one_style() -> None:
    names = [path.name for path in (ROOT / "docs/results").iterdir() if path.name != "README.md"]
    assert not [name for name in names if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(\.md|\.svg)?", name)]
    assert not list((ROOT / "docs/results").glob("*.jsonl"))
