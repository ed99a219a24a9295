"""JSON from strangers: what is not finite, repeated, too deep or of the wrong kind is refused, and nothing is built."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:40])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def decode(text: str, where: str, error: type[ValueError] = ValueError) -> Any:
    """The value of a JSON text, or `error` with one sentence that names the place."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
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
