"""`valuegym values`: the report's numbers, answers that are kept, and one clear line for what goes wrong."""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.agents.language import causal_lm, model_answers
from valuegym.agents.language import value_report as report
from valuegym.envs import extras
from valuegym.envs.language.item_bank import NAMES, ItemBank
from valuegym.envs.language.value_probes import answer, change, compare, value_vector
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.site.values import draw
from valuegym.leaderboards.verification import answer_cache, reference_cache

if importlib.util.find_spec("transformers") is None:
    pytest.skip("needs transformers: valuegym[text]", allow_module_level=True)

BANK, _ = report.items(each=3)
TEXTS = [f"{text} {option}" for text, some in zip(BANK.contexts, BANK.options, strict=True) for option in some]


def saved(folder: Path, seed: int) -> Path:
    """Write a tiny model with the words of the items."""
    import tokenizers
    import transformers

    model = causal_lm.tiny(TEXTS, seed, width=16, layers=1, heads=2)
    words = {"<s>": 0, "<unk>": 1} | {word: k for k, word in enumerate(model.encode.words, 2)}  # type: ignore[attr-defined]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>").save_pretrained(
        folder
    )
    model.model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return saved(folder / "after", 0), saved(folder / "before", 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(reference_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "valuegym" / "values"


def collect(source: Path, bank: ItemBank = BANK, form: str = "plain", **options: Any) -> model_answers.ModelAnswers:
    return model_answers.collect_answers(source, bank, form, cache=answer_cache, **options)


def fail(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("the model is asked again")


@pytest.mark.parametrize("form", ["plain", "repeat"])
def test_the_report_says_what_the_probes_say(form: str, models: tuple[Path, Path]) -> None:
    found = report.measure(models[0], models[1], each=3, form=form)
    a, b = (value_vector(BANK, answer(BANK, causal_lm.load(folder), form)) for folder in models)
    assert np.allclose(found.values.point, a.point, atol=1e-5)
    assert found.shift is not None and found.against is not None
    assert np.allclose(found.shift.point, change(a, b).point, atol=1e-5)
    assert np.allclose([part.point for part in found.against], [part.point for part in compare(a, b)], atol=1e-3)
    shown = report.render(found)
    assert max(map(len, shown.splitlines())) <= 80
    assert all(name in shown for name in NAMES) and ("order decides" in shown) == (form != "plain")
    content = json.loads(json.dumps(report.as_json(found), allow_nan=False))
    assert content["values"]["point"] == found.values.point.tolist() and content["names"] == list(NAMES)
    assert content["counts"] == [3] * 19 and set(content) >= {"cosine", "distance", "norm_ratio", "change"}


def test_a_model_is_asked_once(models: tuple[Path, Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collect(models[0], BANK)
    monkeypatch.setattr(causal_lm, "load", fail)
    again = collect(models[0], BANK)
    assert again.kept and not first.kept and again.digest == first.digest
    assert np.array_equal(first.answers.displayed, again.answers.displayed, equal_nan=True)
    assert np.array_equal(first.answers.orders, again.answers.orders)
    for other in (
        {"form": "letter"},
        {"dtype": "bfloat16"},
        {"bank": BANK[:-1]},
        {"source": models[1]},
    ):
        with pytest.raises(AssertionError, match="is asked again"):
            collect(**{"source": models[0], "bank": BANK} | other)  # type: ignore[arg-type]
    monkeypatch.setenv(reference_cache.VARIABLE, "off")
    with pytest.raises(AssertionError, match="is asked again"):
        collect(models[0], BANK)


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"displayed": [[[0.5]]], "orders": [[[0]]]}', "positive", "nan"])
def test_damaged_answers_are_asked_for_again(damage: str, models: tuple[Path, Path], cache: Path) -> None:
    first = collect(models[0], BANK)
    (path,) = cache.iterdir()
    good = json.loads(reference_cache.checked(path.read_text()))
    if damage in ("positive", "nan"):
        good["displayed"][0][0][0] = 0.5 if damage == "positive" else None
        damage = json.dumps(good)
    path.write_text(reference_cache.with_checksum(damage))
    again = collect(models[0], BANK)
    assert not again.kept and np.array_equal(first.answers.displayed, again.answers.displayed, equal_nan=True)
    assert collect(models[0], BANK).kept


def test_answers_that_others_may_write_are_not_read(models: tuple[Path, Path], cache: Path) -> None:
    collect(models[0], BANK)
    (path,) = cache.iterdir()
    path.chmod(0o666)
    assert not collect(models[0], BANK).kept


def test_batches_change_nothing_but_rounding(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reference_cache.VARIABLE, "off")
    one, many = (collect(models[0], BANK, batch=batch).answers.displayed for batch in (1, 64))
    assert np.allclose(one, many, atol=1e-5, equal_nan=True)


def test_the_drawing_is_svg_with_every_value(models: tuple[Path, Path]) -> None:
    found = report.measure(models[0], models[1], each=3)
    drawn = draw(found)
    assert drawn == draw(found)
    root = ElementTree.fromstring(drawn)
    texts = {each.text for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {*NAMES, "after", "change from before"} <= texts
    used, stated = set(re.findall(r"var\(--([\w-]+)\)", drawn)), set(re.findall(r"--([\w-]+):", drawn))
    assert used <= stated


def test_the_command(models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["values", str(models[0]), "--each", "3", "--base", str(models[1])]
    assert main([*line, "--plot", str(tmp_path / "out" / "values.svg")]) == 0
    shown = capsys.readouterr()
    assert "against base: cosine" in shown.out and not shown.err
    assert (tmp_path / "out" / "values.svg").read_text().startswith("<svg xmlns")
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["name"] == "after"


def pickled(folder: Path) -> list[str]:
    (folder / "pytorch_model.bin").touch()
    return ["values", str(folder)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (lambda folder: ["values", "missing/model"], "missing/model is neither a folder nor a file"),
        (lambda folder: ["values", "some/model", "--revision", "main"], "revision is 'main'; expected a commit"),
        (pickled, "a format of pickles, which can run code"),
        (lambda folder: ["convert", str(folder / "a.gguf"), "--output", str(folder / "b")], "neither a folder nor"),
        (lambda folder: ["convert", str(folder), "--output", str(folder / "b")], "nor weights of a language model"),
        (lambda folder: ["convert", *pickled(folder)[1:], "--output", str(folder / "b")], "a format of pickles"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(
    line: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert main(line(tmp_path / "model")) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_devices_that_are_not_there(models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["values", str(models[0]), "--each", "3", "--device", "nonsense"]) == 2
    assert "device is 'nonsense'; expected one that torch finds here" in capsys.readouterr().err


def test_without_transformers_it_says_what_to_install(
    models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert main(["values", str(models[0]), "--each", "3"]) == 2
    assert extras.hint("text") in capsys.readouterr().err


def test_old_pythons_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 10, 12, "final", 0))
    with pytest.raises(ImportError, match=r"need Python 3\.11 or later; this is 3\.10"):
        causal_lm.tiny(TEXTS)
