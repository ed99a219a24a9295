"""Arrays in files: what goes in comes out, in the published format, and anything else is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from valuegym.agents import tensors


def test_arrays_of_all_types_and_shapes_come_back() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{kind}/{shape}": (100 * rng.random(shape)).astype(dtype)
        for kind, dtype in tensors.DTYPES.items()
        for shape in ((), (0,), (3,), (2, 0, 4), (1, 2, 3))
    }
    arrays["turned"] = np.arange(6.0).reshape(2, 3).T
    arrays["big-endian"] = np.arange(3, dtype=">f8")
    content = tensors.encode(arrays, {"a": "b", "c": ""})
    found, metadata = tensors.decode(content)
    assert list(found) == list(arrays) and metadata == {"a": "b", "c": ""}
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].flags.writeable and found[name].shape == value.shape
    assert tensors.decode(tensors.encode({}, {})) == ({}, {})


def test_the_format_is_the_published_one() -> None:
    """Eight bytes of length, JSON with dtype, shape and data_offsets, then the bytes: https://github.com/huggingface/safetensors."""
    content = tensors.encode({"x": np.array([1.0, 2.0], np.float32)}, {"k": "v"})
    n = int.from_bytes(content[:8], "little")
    assert n % 8 == 0 and json.loads(content[8 : 8 + n]) == {
        "__metadata__": {"k": "v"},
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    assert content[8 + n :] == b"\x00\x00\x80\x3f\x00\x00\x00\x40"


@pytest.mark.parametrize("value", [np.array([None]), np.array(["x"]), np.zeros(2, complex), np.zeros(2, np.float16)])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"x holds .*; expected one of"):
        tensors.encode({"x": value}, {})


def entry(**change: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | change}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (entry(dtype="O"), "the type of 'x' is O"),
        (entry(dtype=[]), "the type of 'x'"),
        (entry(shape=[-1, -2]), "the shape of 'x'"),
        (entry(shape=[2.0]), "the shape of 'x'"),
        (entry(shape=[True, 2]), "the shape of 'x'"),
        (entry(shape=2), "the shape of 'x'"),
        (entry(shape=[2**40, 2**40]), "do not fit its shape"),
        (entry(shape=[1] * 20), "the shape of 'x'"),
        (entry(data_offsets=[0, 4]), "do not fit its shape"),
        (entry(data_offsets=[-8, 0]), "do not fit its shape"),
        (entry(data_offsets=[8, 16]), "do not fit its shape"),
        (entry() | {"y": entry()["x"]}, "the bytes of 'y' do not fit"),
        ({"x": 3}, "the type of 'x'"),
        ({"__metadata__": 3}, "no texts"),
        ({"__metadata__": {"a": 3}}, "no texts"),
        ([], "no JSON object"),
        (None, "no JSON object"),
        ({}, "more bytes than its header says"),
        ('{"x": 1, "x": 1}', "appears twice"),
        ("[" * 100_000, "nested too deeply|cannot be read"),
        ("{ ", "cannot be read"),
        ("\ud800", "cannot be read"),
    ],
)
def test_hostile_headers_are_refused(header: Any, message: str) -> None:
    text = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogatepass")
    with pytest.raises(ValueError, match=message):
        tensors.decode(len(text).to_bytes(8, "little") + text + bytes(8))


def test_lengths_that_lie_allocate_nothing() -> None:
    for length in (0, 1, 2**22 + 1, 2**63):
        with pytest.raises(ValueError, match="no file of the format"):
            tensors.decode(length.to_bytes(8, "little") + b"{}")
