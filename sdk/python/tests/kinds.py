"""Both clients behind one interface, so that each test is written once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from quartet_client import AsyncQuartet, AsyncRuntime, Quartet, Runtime

T = TypeVar("T")


@dataclass
class Waits:
    """Replaces sleeping: records the pauses, and may run a function."""

    seconds: list[float] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def sync(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.meanwhile()

    async def asynchronous(self, seconds: float) -> None:
        self.sync(seconds)


@dataclass
class Clock:
    """A clock that is moved by tests."""

    seconds: float

    def __call__(self) -> float:
        return self.seconds


def opened(kind: str, url: str, *, waits: Waits | None, now: Any = None, **options: Any) -> Any:
    """A client of the kind `sync` or `async`; its methods are used through `done` and `each`."""
    changed: dict[str, Any] = {} if now is None else {"now": now}
    if kind == "sync":
        if waits is not None:
            changed["sleep"] = waits.sync
        return Quartet(url, runtime=Runtime(**changed), **options)
    if waits is not None:
        changed["sleep"] = waits.asynchronous
    return AsyncQuartet(url, runtime=AsyncRuntime(**changed), **options)


async def done(result: Awaitable[T] | T) -> T:
    if inspect.isawaitable(result):
        return await result
    return result


async def each(items: AsyncIterator[T] | Iterator[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterator):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def close(client: Quartet | AsyncQuartet) -> None:
    if isinstance(client, Quartet):
        client.close()
    else:
        await client.aclose()
