"""Calls a generated function; whatever it stumbles over becomes a typed error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

from quartet_client import errors

P = ParamSpec("P")
T = TypeVar("T")


async def acall(operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    with reading():
        return await operation(*args, **kwargs)


def call(operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    with reading():
        return operation(*args, **kwargs)


class Body(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


B = TypeVar("B", bound=Body)


def checked(body: B) -> B:
    """Raises for a wrong type in it as Python does: that is no error of the answer."""
    body.to_dict()
    return body


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
