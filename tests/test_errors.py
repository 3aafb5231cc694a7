"""The exception tree, and exceptions of two worlds."""

from __future__ import annotations

import pytest

from map_reduce import errors


@pytest.mark.parametrize(
    "original",
    [
        ZeroDivisionError("division by zero"),
        KeyError("k"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        FileNotFoundError(2, "No such file", "x"),
        StopIteration(3),
        SystemExit(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_caught_as_ours_and_as_the_users(original):
    with pytest.raises(errors.MapError) as caught:
        raise errors.with_type_of(errors.MapError, "what happened, where", original)
    assert str(caught.value) == "what happened, where"
    assert caught.value.original is original
    assert caught.value.__cause__ is original
    assert isinstance(caught.value, type(original))


def test_an_exception_class_that_cannot_be_combined_is_still_reported():
    class Stubborn(Exception):
        def __init_subclass__(cls):
            raise TypeError("no subclasses, please")

    error = errors.with_type_of(errors.ReduceError, "text", Stubborn("x"))
    assert type(error) is errors.ReduceError
    assert isinstance(error.original, Stubborn)


def test_without_an_original_it_is_a_plain_error():
    error = errors.with_type_of(errors.MapError, "text", None)
    assert type(error) is errors.MapError
    assert error.original is None
