"""Arrays in files of the format safetensors: names, types, shapes and bytes, and nothing that could be executed.

A file is the length of its header in 8 bytes, the header as JSON, and the bytes of all arrays one after another. Other
programs read and write the same format; here numpy is enough.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_HEADER", "decode", "encode"]

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
MAX_HEADER = 2**22  # bytes
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def encode(arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Return a file with these arrays and texts.

    Raises:
        ValueError: an array has another type than those of DTYPES.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, end = [], 0
    for name, value in arrays.items():
        kind = _NAMES.get(value.dtype.newbyteorder("="))
        if kind is None:
            raise ValueError(f"{name} holds {value.dtype}; expected one of {', '.join(map(str, _NAMES))}.")
        parts.append(np.ascontiguousarray(value, DTYPES[kind]).tobytes())
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8 bytes
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name appears twice in its header")
    return dict(pairs)


def _size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """Return the header of a file, and where its arrays begin."""
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(MAX_HEADER, len(content) - 8):
        raise ValueError("it is no file of the format safetensors, or it was cut short")
    try:
        header = json.loads(content[8 : 8 + length].decode(), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"its header cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header, 8 + length


def decode(content: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return the arrays and the texts of a file; the arrays are copies of their own.

    Raises:
        ValueError: it is no such file, or damaged; the message is the end of a sentence about it.
    """
    header, begin = _header(content)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are no texts")
    arrays, end = {}, 0
    for name, entry in header.items():  # one after another, as they are written
        about = entry if isinstance(entry, dict) else {}
        kind, shape = about.get("dtype"), about.get("shape")
        if not isinstance(kind, str) or kind not in DTYPES:
            raise ValueError(f"the type of {name[:80]!r} is {str(kind)[:20]}, none of {', '.join(DTYPES)}")
        if not isinstance(shape, list) or len(shape) > 8 or not all(map(_size, shape)):
            raise ValueError(f"the shape of {name[:80]!r} is {str(shape)[:80]}")
        until = end + math.prod(shape) * np.dtype(DTYPES[kind]).itemsize
        if about.get("data_offsets") != [end, until] or begin + until > len(content):
            raise ValueError(f"the bytes of {name[:80]!r} do not fit its shape, or the file was cut short")
        arrays[name] = np.frombuffer(content[begin + end : begin + until], DTYPES[kind]).reshape(shape).copy()
        end = until
    if begin + end != len(content):
        raise ValueError("it holds more bytes than its header says")
    return arrays, metadata
