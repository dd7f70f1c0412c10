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
    """Only tests that ask for this need a live stack."""
    if "QUARTET_URL" not in os.environ:
        pytest.skip("QUARTET_URL is not set")
    return os.environ["QUARTET_URL"]


@pytest.fixture(scope="session")
def account(url: str) -> tuple[str, str]:
    """Address and password of one user for all tests: hashing passwords takes its time."""
    return sign_up(url)


@pytest.fixture
def new_account(url: str) -> tuple[str, str]:
    """For tests that count what a user has, or change it."""
    return sign_up(url)


def sign_up(url: str) -> tuple[str, str]:
    email = f"{uuid.uuid4().hex}@example.org"
    with Quartet(url) as quartet:
        quartet.account.sign_up(email, PASSWORD)
    return email, PASSWORD


@pytest.fixture
def tokens(url: str, account: tuple[str, str]) -> Tokens:
    """Of a session of one's own: whoever refreshes it spends its refresh token."""
    with Quartet(url) as quartet:
        return quartet.login(*account)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Open = Callable[..., Any]


@pytest.fixture
async def open_client(kind: str, url: str) -> AsyncIterator[Open]:
    """Opens clients that wait by noting it, and closes them."""
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
    """A client of the user of all tests."""
    return await log_in(account)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()
