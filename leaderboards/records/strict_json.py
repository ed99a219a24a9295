"""JSON from untrusted files: numbers that are not finite, repeated names and deep nesting are refused."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

__all__ = ["decode_json", "nested", "printable", "readable"]

# Digits become 0, both signs of an exponent e, and everything but a plus a space: what is left shows how long numbers
# are.
_SHAPE = bytes(
    0x30 if chr(i).isdigit() else 0x65 if chr(i) in "eE" else 0x2B if chr(i) == "+" else 0x20 for i in range(128)
)
_SHAPE += b" " * 128


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:40])


def _perhaps_large(text: str) -> bool:
    """Return whether a number may be too large for a float: an exponent of three digits, or 200 digits in a row."""
    shape = text.encode(errors="replace").translate(_SHAPE)
    return b"e000" in shape or b"e+000" in shape or b"0" * 200 in shape


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name appears twice in one object")
    return value


# Made once: there are many lines, and a look at each number takes longer than all the rest.
_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
_CAREFUL = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique, parse_float=_finite)


def decode_json(text: str, where: str, error: type[ValueError] = ValueError) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: as the type `error`, with one sentence that names the place.
    """
    try:
        return (_CAREFUL if _perhaps_large(text) else _DECODER).decode(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is not valid JSON ({str(problem)[:80]}).") from None


def nested(value: Any, room: int) -> bool:
    """Return whether a JSON value is nested deeper than `room`."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return room < 0 or any(nested(part, room - 1) for part in inside)


def readable(text: str) -> bool:
    """Return whether a text has printable characters in composed form only, and no controls but line breaks."""
    return text.replace("\n", " ").isprintable() and unicodedata.is_normalized("NFC", text)


def printable(value: Any, room: int = 60) -> str:
    """Return an untrusted value for a message: short, on one line, with everything unprintable escaped."""
    text = ascii(value) if isinstance(value, str) else ascii(str(value)[: 4 * room])
    return text if len(text) <= room else f"{text[:room]}…"
