"""Calls a generated function; whatever it stumbles over becomes a typed error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from quartet_client import errors

P = ParamSpec("P")
T = TypeVar("T")


async def acall(operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    with reading():
        return await operation(*args, **kwargs)


def call(operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    with reading():
        return operation(*args, **kwargs)


def expect(kind: type[T], answer: object) -> T:
    """Narrows what a generated function may give; problems were raised before."""
    if not isinstance(answer, kind):
        raise errors.unexpected_answer(f"{type(answer).__name__} in place of {kind.__name__}")
    return answer


@contextmanager
def reading() -> Iterator[None]:
    """For code that reads answers trustfully."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise errors.unexpected_answer(f"{type(error).__name__}: {error}") from error
