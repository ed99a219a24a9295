"""JSON from strangers: what is not finite, repeated, too deep or of the wrong kind is refused, and nothing is built."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

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
    """Whether a number may be too large for a float: it has an exponent of three digits, or 200 digits in a row."""
    shape = text.encode(errors="replace").translate(_SHAPE)
    return b"e000" in shape or b"e+000" in shape or b"0" * 200 in shape


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


# Made once: there are many lines, and a look at each number takes longer than all the rest.
_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_once)
_CAREFUL = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_once, parse_float=_finite)


def decode(text: str, where: str, error: type[ValueError] = ValueError) -> Any:
    """The value of a JSON text, or `error` with one sentence that names the place."""
    try:
        return (_CAREFUL if _perhaps_large(text) else _DECODER).decode(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is not valid JSON ({str(problem)[:80]}).") from None


def nested(value: Any, room: int) -> bool:
    """Whether a JSON value is nested deeper than this."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return room < 0 or any(nested(part, room - 1) for part in inside)


def readable(text: str) -> bool:
    """Whether a text is what it looks like: printable characters in composed form, no controls, no marks of direction.

    Line breaks are the only exception.
    """
    return text.replace("\n", " ").isprintable() and unicodedata.is_normalized("NFC", text)


def shown(value: Any, room: int = 60) -> str:
    """A stranger's value for a message: short, on one line, with everything unprintable escaped."""
    text = ascii(value) if isinstance(value, str) else ascii(str(value)[: 4 * room])
    return text if len(text) <= room else f"{text[:room]}…"
