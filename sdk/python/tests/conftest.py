"""A live stack by `QUARTET_URL`: `cargo xtask test --clients` starts one, or
`cargo xtask live --wide-limits -- python -m pytest sdk/python`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from kinds import Waits, close, done, opened
from proxy import Proxy
from quartet_client import Quartet, Tokens

PASSWORD = "tangerine-violin-moss-4711"


@pytest.fixture(scope="session")
def url() -> str:
    """The URL of a live stack, for tests that need one."""
    if "QUARTET_URL" not in os.environ:
        pytest.skip("QUARTET_URL is not set")
    return os.environ["QUARTET_URL"]


@pytest.fixture(scope="session")
def account(url: str) -> tuple[str, str]:
    """Email and password of one user for all tests, since hashing passwords is slow."""
    return sign_up(url)


@pytest.fixture
def new_account(url: str) -> tuple[str, str]:
    """A user for tests that count or change its objects."""
    return sign_up(url)


def sign_up(url: str) -> tuple[str, str]:
    email = f"{uuid.uuid4().hex}@example.org"
    with Quartet(url) as quartet:
        quartet.account.sign_up(email, PASSWORD)
    return email, PASSWORD


@pytest.fixture
def tokens(url: str, account: tuple[str, str]) -> Tokens:
    """The tokens of a separate session, for tests that use its refresh token."""
    with Quartet(url) as quartet:
        return quartet.login(*account)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Open = Callable[..., Any]


@pytest.fixture
async def open_client(kind: str, url: str) -> AsyncIterator[Open]:
    """Opens clients that record pauses instead of sleeping, and closes them."""
    clients = []

    def open_one(*, waits: Waits | None = None, address: str = url, **options: Any) -> Any:
        clients.append(opened(kind, address, waits=waits or Waits(), **options))
        return clients[-1]

    yield open_one
    for client in clients:
        await close(client)


LogIn = Callable[..., Awaitable[Any]]


@pytest.fixture
def log_in(open_client: Open) -> LogIn:
    async def log_in(account: tuple[str, str], **options: Any) -> Any:
        client = open_client(**options)
        await done(client.login(*account))
        return client

    return log_in


@pytest.fixture
async def quartet(log_in: LogIn, account: tuple[str, str]) -> Any:
    """A client of the shared user."""
    return await log_in(account)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()
