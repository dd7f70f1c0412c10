"""The differences between the two clients other than ``async`` and ``await``."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

from quartet_client.retry import Jitter

P = ParamSpec("P")
T = TypeVar("T")

AsyncOperation = Callable[P, Awaitable[T]]
Operation = Callable[P, T]


class AsyncRuntime:
    """Time, randomness, locks and threads for asyncio."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Jitter = random.uniform,
    ) -> None:
        self.now = now
        self.sleep = sleep
        self.jitter = jitter

    def lock(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function that may block, such as reading a file."""
        return await asyncio.to_thread(function, *args, **kwargs)

    async def shielded(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Completes the function even if its caller is cancelled."""
        return await asyncio.shield(asyncio.ensure_future(function(*args, **kwargs)))

    async def receive(self, socket: AsyncReceiver, timeout_seconds: float | None) -> str | bytes:
        return await asyncio.wait_for(socket.recv(), timeout_seconds)


class Runtime:
    """The same for threads."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Jitter = random.uniform,
    ) -> None:
        self.now = now
        self.sleep = sleep
        self.jitter = jitter

    def lock(self) -> threading.Lock:
        return threading.Lock()

    def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    def shielded(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    def receive(self, socket: Receiver, timeout_seconds: float | None) -> str | bytes:
        return socket.recv(timeout_seconds)


class AsyncReceiver(Protocol):
    async def recv(self) -> str | bytes: ...


class Receiver(Protocol):
    def recv(self, timeout: float | None = None) -> str | bytes: ...
