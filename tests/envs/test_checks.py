"""Checks of values from outside: what they return, and the sentence they refuse with."""

import numpy as np
import pytest

from valuegym.envs import checks

Array = np.ndarray


class ArrayThatRaises:
    """Claims to be an array."""

    def __array__(self, *_: object, **__: object) -> None:
        raise RuntimeError("no array after all")


NO_NUMBERS = (
    None,
    "1",
    b"1",
    True,
    np.bool_(True),
    [1.0],
    {},
    1j,
    float("nan"),
    float("inf"),
    -np.inf,
    10**400,
    object(),
    np.ma.masked,
    np.longdouble("1e4000"),  # finite, and not so in double precision
    np.float16("inf"),
    ArrayThatRaises(),
)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
def test_values_that_are_no_finite_numbers_are_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"^scale is .+; expected a finite number above 0\.$"):
        checks.real("scale", value, above=0)


@pytest.mark.parametrize("value", [2.0, np.float64(2), "2", None, True, float("nan"), [2]])
def test_values_that_are_no_integers_are_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"^steps is .+; expected an integer of at least 1\.$"):
        checks.integer("steps", value, 1)


def test_bounds() -> None:
    assert checks.real("x", 0, 0, 1) == 0.0 and checks.real("x", np.float32(1), 0, 1) == 1.0
    assert checks.integer("n", np.uint64(2**63)) == 2**63
    for bad, options, phrase in (
        (-0.1, {"low": 0, "high": 1}, "from 0 to 1"),
        (0, {"above": 0}, "above 0"),
        (1, {"low": 0, "below": 1}, "of at least 0 and below 1"),
        (3, {"high": 2}, "of at most 2"),
    ):
        with pytest.raises(ValueError, match=f"a finite number {phrase}"):
            checks.real("x", bad, **options)


def test_arrays_are_fresh_and_name_the_first_bad_entry() -> None:
    weights = np.ones(2)
    assert checks.reals("weights", weights, (2,)) is not weights
    assert checks.reals("weights", [], (None,)).shape == (0,)
    assert checks.integers("ids", np.array([2**53 + 1], np.uint64)).tolist() == [2**53 + 1]
    for value, message in (
        ([0.0, np.nan], r"weights\[1\] is nan; expected finite numbers of shape \(2,\)"),
        ([[1], [2, 3]], r"expected finite numbers of shape \(2,\)"),
        ([1, 2, 3], r"weights has shape \(3,\)"),
        ([True, False], "expected finite numbers"),
        ([0.0, True], "expected finite numbers"),
        ((1, np.bool_(False)), "expected finite numbers"),
        ([np.zeros(1, bool), 1.0], "expected finite numbers"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), "expected finite numbers"),
        ([1.0, np.ma.masked], "expected finite numbers"),
        (np.array(["1", "1e4000"], np.longdouble), "expected finite numbers"),
        (ArrayThatRaises(), "expected finite numbers"),
        (["1", "2"], "expected finite numbers"),
        ([None, 1.0], "expected finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            checks.reals("weights", value, (2,))
    for value in ([1.0], [2**63], np.array([2**63], np.uint64), [True], [-1]):
        with pytest.raises(ValueError, match=r"ids"):
            checks.integers("ids", value, (1,), 0)


def test_choices_and_flags() -> None:
    assert checks.choice("mode", "a", ("a", "b")) == "a"
    assert checks.flag("x", np.True_) is True
    for value in ("c", None, ["a"], np.array(["a", "b"])):
        with pytest.raises(ValueError, match=r"mode is .+; expected one of 'a', 'b'"):
            checks.choice("mode", value, ("a", "b"))
    for value in (1, "True", None):
        with pytest.raises(ValueError, match=r"x is .+; expected True or False"):
            checks.flag("x", value)


def test_numbers_are_compared_with_bounds_in_double_precision() -> None:
    for small in (np.float16(1e-7), np.float32(1e-45)):
        with pytest.raises(ValueError, match="x is"):
            checks.real("x", small, 1e-6)
    assert checks.real("x", np.float16(0.5), -1e9, 1e9) == 0.5  # half precision has no such bounds


def test_functions_of_numbers() -> None:
    @checks.numbers(rate={"low": 0, "high": 1})
    def moved(x: "Array", rate: "float" = 0.5, name: "str" = "") -> object:
        return x * rate

    x = np.array([1.0, 2.0])
    assert moved(x) is not None and np.array_equal(moved([1, 2], rate=np.float32(0.5)), x / 2)  # type: ignore[arg-type]
    for value in (np.array([1.0, np.nan]), [np.inf, 1.0], None, "x", np.array(["a"]), 1j, np.ma.masked):
        with pytest.raises(ValueError, match=r"^x(\[| ).*expected finite numbers\.$"):
            moved(value)
    for bad in (np.nan, 1.5, -0.1, None, "x", [0.5, 2.0]):
        with pytest.raises(ValueError, match=r"^rate(\[| ).*from 0 to 1\.$"):
            moved(x, bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        moved(x, x=x)


def test_a_vector_is_checked_like_real_numbers_and_not_copied() -> None:
    given = np.array([1.0, -2.0, 1e308])
    assert checks.vector("d", given, 3) is given
    assert checks.vector("d", [1, 2], 2).tolist() == [1.0, 2.0] and checks.vector("d", given[:0], 0).shape == (0,)
    for value in (given[:2], given[None], np.array([1.0, np.nan, 1.0]), np.array([1.0, -np.inf, 1.0]), "abc", None):
        messages = []
        for check in (lambda v: checks.vector("d", v, 3), lambda v: checks.reals("d", v, (3,))):
            with pytest.raises(ValueError, match="expected finite numbers of shape") as refused:
                check(value)
            messages.append(str(refused.value))
        assert messages[0] == messages[1]
