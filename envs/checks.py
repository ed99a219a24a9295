"""Checks of values from outside: each returns the value in its plain type, or says in one sentence what was expected.

Every boundary (constructors, reset options, labels, weights, command-line arguments) uses these, so that no value that
is not finite gets in, and scalar and vector environments refuse the same inputs. All errors are `ValueError`.
"""

from __future__ import annotations

import difflib
import math
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "choice",
    "fields",
    "flag",
    "floats",
    "folder",
    "integer",
    "integers",
    "numbers",
    "plain",
    "printed",
    "real",
    "reals",
    "refusal",
    "similar",
    "similar_argument",
    "text",
    "vector",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Item = TypeVar("Item")
Function = TypeVar("Function", bound=Callable[..., Any])
Bound = float | None


def _between(low: Bound, high: Bound, above: Bound, below: Bound) -> str:
    """Phrase the bounds, or nothing where there are none."""
    if low is not None and high is not None:
        return f"from {low!r} to {high!r}"
    phrases = (("of at least", low), ("above", above), ("of at most", high), ("below", below))
    return " and ".join(f"{phrase} {bound!r}" for phrase, bound in phrases if bound is not None)


def _inside(values: Any, low: Bound, high: Bound, above: Bound, below: Bound) -> Any:
    inside = np.isfinite(values)
    for bound, compare in ((low, np.greater_equal), (high, np.less_equal), (above, np.greater), (below, np.less)):
        if bound is not None:
            inside = inside & compare(values, bound)
    return inside


def printed(value: Any) -> str:
    """Print a value in at most 80 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of thousands of digits, for example
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def plain(value: Any) -> Any:
    """Return a value with numpy's numbers and arrays, paths and members of enumerations in it as JSON's own types.

    Mappings and NamedTuples become dictionaries, a graph of networkx that of its `networks.Network`, sets become lists
    in the order of their texts; other values stay as they are.
    """
    if isinstance(value, np.longdouble):
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {plain(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return _plain_items(value)
    if hasattr(type(value), "is_multigraph"):
        from valuegym.envs.coevolution import networks

        return plain(networks.from_networkx(value))
    return value


def _plain_items(values: Any) -> Any:
    """Return what `plain` makes of a collection without names."""
    if hasattr(values, "_asdict"):
        return plain(values._asdict())
    if isinstance(values, tuple):
        return tuple(plain(one) for one in values)
    return [plain(one) for one in (values if isinstance(values, list) else sorted(values, key=repr))]


def real(
    name: str, value: Any, low: Bound = None, high: Bound = None, *, above: Bound = None, below: Bound = None
) -> float:
    """Return a finite real number between bounds; `low` and `high` belong to the range, `above` and `below` do not.

    Raises:
        ValueError: the value is no real number (a bool or a text is none), not finite, or out of bounds.
    """
    if (
        type(value) is float  # the common case, without arrays
        and math.isfinite(value)
        and (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return value
    bounds = _between(low, high, above, below)
    expected = f"expected a finite number{f' {bounds}' if bounds else ''}"
    array = None if isinstance(value, (str, bytes, bool, np.bool_)) or value is None else _array(value)
    if array is None or array.ndim or array.dtype.kind not in "fiu" or not _inside(array, low, high, above, below):
        raise ValueError(f"{name} is {printed(value)}; {expected}.")
    return float(array)


def fields(instance: Any, ranges: Mapping[str, tuple[Bound, Bound]]) -> None:
    """Check fields of a dataclass, frozen or not, by name and range (None for no bound), and store them as floats.

    Raises:
        ValueError: a value is no real number, not finite, or out of its range.
    """
    for name, (low, high) in ranges.items():
        object.__setattr__(instance, name, real(name, getattr(instance, name), low, high))


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return an integer between bounds, which belong to the range.

    Raises:
        ValueError: the value is no integer (2.0 and a bool are none), or out of bounds.
    """
    bounds = _between(low, high, None, None)
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{name} is {printed(value)}; expected an integer{f' {bounds}' if bounds else ''}.")
    return number


def flag(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        ValueError: the value is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} is {printed(value)}; expected True or False.")
    return bool(value)


def refusal(name: str, value: Any, expected: str) -> ValueError:
    """Return the error that names an argument, its value and what was expected, for values that no check here knows."""
    return ValueError(f"{name} is {printed(value)}; expected {expected}.")


def similar(value: Any, options: Iterable[Any]) -> str:
    """Return " Did you mean regret?" for a text that resembles one to three of the options, "" for any other value."""
    if not isinstance(value, str) or len(value) > 80:
        return ""
    texts = {option.lower(): option for option in options if isinstance(option, str)}
    close = difflib.get_close_matches(value.lower(), texts, 3)
    return f" Did you mean {' or '.join(texts[one] for one in close)}?" if close else ""


def similar_argument(error: TypeError, function: Any) -> str:
    """Return `similar` for the unknown argument that an error of a call names; also those of its class's table."""
    unknown = re.search(r"(\w+)\S*\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if unknown is None:
        return ""
    called = getattr(sys.modules.get(function.__module__), unknown[1], None)  # what the arguments were passed on to
    names: set[str] = set()
    for one in (*getattr(function, "__mro__", (function,)), *([called] if callable(called) else [])):
        names |= set(re.findall(r"^\s*\| `(\w+)` \|", one.__doc__ or "", re.M))
        with suppress(TypeError, ValueError):
            names |= set(signature(one).parameters)
    return similar(unknown[2], names - {"self", "args", "kwargs"})


def text(name: str, value: Any, expected: str = "a text") -> str:
    """Return a text.

    Raises:
        ValueError: the value is none.
    """
    if not isinstance(value, str):
        raise refusal(name, value, expected)
    return value


def folder(name: str, value: Any) -> Path:
    """Return the path of a folder, which need not be there.

    Raises:
        ValueError: the value is no text and no path.
    """
    path = value if isinstance(value, str) else os.fspath(value) if isinstance(value, os.PathLike) else None
    if not isinstance(path, str) or "\0" in path:
        raise refusal(name, value, "the path of a folder")
    return Path(path)


def choice(name: str, value: Any, choices: Iterable[Item]) -> Item:
    """Return the one of `choices` that equals the value.

    Raises:
        ValueError: none does.
    """
    options = list(choices)
    for option in options:
        if type(value) is type(option) and value == option:
            return option
    expected = f"{'one of ' if len(options) > 1 else ''}{', '.join(map(repr, options))}"
    raise ValueError(f"{refusal(name, value, expected)}{similar(value, options)}")


def _array(value: Any) -> npt.NDArray[Any] | None:
    """Return the value as an array, or None where it is none: ragged lists, bools among numbers, masked entries.

    Floats come in double precision, in which they are compared with bounds: half precision has no 1e6, and extended
    precision has finite numbers that are not finite in double precision.
    """
    try:
        array = np.asarray(value)
    except Exception:  # whatever an object raises that claims to be an array
        return None
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return None
    if isinstance(value, (list, tuple)) and array.dtype.kind in "iuf" and _holds_no_number(value):
        return None
    if array.dtype.kind == "f" and array.dtype != np.float64:
        with np.errstate(over="ignore"):
            return array.astype(np.float64)
    return array


def _holds_no_number(value: Any) -> bool:
    """Return whether a list, or a list in it, holds a bool or what is masked, which numpy takes for numbers."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "b" or (isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value))
    return isinstance(value, (bool, np.bool_)) or (
        isinstance(value, (list, tuple)) and any(map(_holds_no_number, value))
    )


def _fits(there: tuple[int, ...], shape: Sequence[int | None]) -> bool:
    """Return whether a shape is the expected one, in which None is any length."""
    return len(there) == len(shape) and all(
        size is None or size == found for size, found in zip(shape, there, strict=True)
    )


def _checked(name: str, value: Any, shape: Sequence[int | None] | None, kinds: str, noun: str, bounds: Any) -> Any:
    array = _array(value)
    if (  # the common case, without the words for what would be wrong
        array is not None
        and array.dtype.kind in kinds
        and (shape is None or _fits(array.shape, shape))
        and (not array.size or _inside(array, *bounds).all())
    ):
        return array
    phrase = _between(*bounds)
    expected = f"expected {noun}{f' {phrase}' if phrase else ''}"
    if shape is not None:
        expected += (
            f" of shape ({', '.join('n' if size is None else str(size) for size in shape)}{',' * (len(shape) == 1)})"
        )
    if array is None or (array.dtype.kind not in kinds and array.size):
        raise ValueError(f"{name} is {printed(value)}; {expected}.")
    if shape is not None and not _fits(array.shape, shape):
        raise ValueError(f"{name} has shape {array.shape}; {expected}.")
    bad = ~_inside(array, *bounds) if array.size else np.zeros(array.shape, bool)
    if np.any(bad):
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f"[{', '.join(map(str, where))}]" if where else ""
        raise ValueError(f"{name}{place} is {array[where].item()!r}; {expected}.")
    return array


def reals(
    name: str,
    value: Any,
    shape: Sequence[int | None] | None = None,
    low: Bound = None,
    high: Bound = None,
    *,
    above: Bound = None,
    below: Bound = None,
) -> Floats:
    """Return a fresh float64 array of finite numbers; None in `shape` is any length.

    Raises:
        ValueError: the shape is another one, or an entry is no real number, not finite, or out of bounds.
    """
    bounds = (low, high, above, below)
    return np.array(_checked(name, value, shape, "fiu", "finite numbers", bounds), np.float64)


def vector(name: str, value: Any, n: int) -> Floats:
    """Return n finite numbers as a float64 array; one that is that already is not copied, and is checked quickly.

    Raises:
        ValueError: the shape is another one, or an entry is no finite number.
    """
    if (
        type(value) is np.ndarray
        and value.dtype.char == "d"
        and value.shape == (n,)
        and np.logical_and.reduce(np.isfinite(value))
    ):
        return value
    return reals(name, value, (n,))


def floats(name: str, value: Any) -> Floats:
    """Return real numbers as a float64 array, NaN and infinity among them; a float64 array is not copied.

    Raises:
        ValueError: these are no real numbers.
    """
    array = _array(value)
    if array is None or (array.dtype.kind not in "fiu" and array.size):
        raise refusal(name, value, "real numbers")
    return array.astype(np.float64, copy=False)


def integers(
    name: str,
    value: Any,
    shape: Sequence[int | None] | None = None,
    low: int | None = None,
    high: int | None = None,
) -> Integers:
    """Return a fresh int64 array; None in `shape` is any length.

    Raises:
        ValueError: the shape is another one, an entry is no integer (2.0 is none), or out of bounds.
    """
    low, high = -(2**63) if low is None else low, 2**63 - 1 if high is None else high
    array = _checked(name, value, shape, "iu", "integers", (None, None, None, None))
    outside = (array < low) | (array > high) if array.size else np.zeros(array.shape, bool)
    if np.any(outside):
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        place = f"[{', '.join(map(str, where))}]" if where else ""
        raise ValueError(
            f"{name}{place} is {array[where].item()!r}; expected an integer {_between(low, high, None, None)}."
        )
    return array.astype(np.int64)


NUMERIC = {"Array", "Floats", "Number", "Real", "float", "Floats | float"}  # annotations of numbers and arrays of them


def numbers(**ranges: Mapping[str, Any]) -> Callable[[Function], Function]:
    """Let a function refuse arguments that are no finite numbers, or out of `ranges`: bounds of `real` by name.

    Arrays of floats, integers or bools go on as they are, lists as arrays. The function raises ValueError for any other
    value of an argument that its annotation calls a number or an array.
    """

    def decorate(function: Function) -> Function:
        found = signature(function).parameters
        names, numeric = list(found), {name for name, one in found.items() if one.annotation in NUMERIC}

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            given = dict(zip(names, args, strict=False)) | kwargs
            if len(given) == len(args) + len(kwargs):  # else the call itself fails
                for name in given.keys() & numeric:
                    given[name] = _number(name, given[name], ranges.get(name, {}))
                return function(**given)
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate


def _number(name: str, value: Any, bounds: Mapping[str, Any]) -> Any:
    """Return a number or an array of numbers as it is if it is finite and within bounds, a list as an array."""
    if isinstance(value, np.ndarray) and not bounds:
        kind = value.dtype.kind
        if kind in "iub" or (kind == "f" and np.isfinite(value).all()):
            return value
    if type(value) is float:
        return real(name, value, **bounds)
    array = reals(name, value, **bounds)
    return value if isinstance(value, (np.ndarray, float, int)) else array if array.ndim else float(array)
