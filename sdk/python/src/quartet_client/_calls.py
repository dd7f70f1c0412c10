"""Calls generated functions and converts their failures into typed errors."""

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
    """Raises TypeError and the like for invalid members, which are not errors of the response."""
    body.to_dict()
    return body


def expect(kind: type[T], result: object) -> T:
    """Narrows the result of a generated function; problems were raised before."""
    if not isinstance(result, kind):
        raise errors.unexpected_response(f"{type(result).__name__} instead of {kind.__name__}")
    return result


@contextmanager
def reading() -> Iterator[None]:
    """For code that reads a response without validation."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise errors.unexpected_response(f"{type(error).__name__}: {error}") from error
