"""Broken connections and busy servers, with a live stack."""

from __future__ import annotations

import socket

import httpx
import pytest

from conftest import PASSWORD, LogIn, Open
from kinds import Waits, close, done, opened
from proxy import Answer, Cut, Fault, Proxy
from quartet_client import (
    AsyncQuartet,
    ConnectionFailedError,
    CreateLinkInput,
    Quartet,
    RateLimitedError,
    RetryPolicy,
    UnavailableError,
    UnexpectedResponseError,
    UserPatch,
)

ME = "/v1/core/users/me"
BUSY = (
    b'{"type": "urn:quartet:problem:rate_limited", "title": "Too many requests", "status": 429,'
    b' "code": "rate_limited", "instance": "/", "request_id": "from-the-proxy"}'
)


@pytest.mark.parametrize("fault", [Cut.BEFORE, Cut.LOST, Cut.DURING, Answer(503), Answer(502)])
async def test_safe_requests_are_retried(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy, fault: Fault
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    proxy.plan("GET", ME, fault, fault)
    assert (await done(quartet.account.get())).email == account[0]
    assert proxy.count("GET", ME) == 3


@pytest.mark.parametrize("fault", [Cut.BEFORE, Cut.LOST, Cut.DURING])
async def test_unsafe_requests_are_sent_once(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy, fault: Fault
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    proxy.plan("PATCH", ME, fault)
    with pytest.raises(ConnectionFailedError) as failed:
        await done(quartet.account.update(UserPatch(display_name="Once")))
    assert failed.value.code == "connection_failed"
    assert proxy.count("PATCH", ME) == 1


async def test_queries_are_retried_and_mutations_are_not(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    proxy.plan("POST", "/v1/links/graphql", Cut.LOST)
    with pytest.raises(ConnectionFailedError):
        await done(quartet.links.create(CreateLinkInput(url="https://example.com/once")))
    assert proxy.count("POST", "/v1/links/graphql") == 1
    proxy.plan("POST", "/v1/links/graphql", Cut.LOST)
    assert await done(quartet.links.by_slug("there-is-none")) is None
    assert proxy.count("POST", "/v1/links/graphql") == 3


async def test_sign_up_is_retried_with_its_key(open_client: Open, proxy: Proxy) -> None:
    quartet = open_client(proxy=proxy.url)
    proxy.plan("POST", "/v1/core/users", Cut.LOST, Cut.DURING)
    email = f"repeated-{id(quartet)}@example.org"
    user = await done(quartet.account.sign_up(email, PASSWORD))
    assert user.email == email
    keys = {seen.headers["idempotency-key"] for seen in proxy.requests("POST", "/v1/core/users")}
    assert (proxy.count("POST", "/v1/core/users"), len(keys)) == (3, 1)


@pytest.mark.parametrize("path", [ME, "/v1/core/sessions"])
async def test_429_is_retried_after_retry_after(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy, path: str
) -> None:
    waits = Waits()
    method = "GET" if path == ME else "POST"
    proxy.plan(method, path, Answer(429, {"retry-after": "7"}, BUSY))
    quartet = await log_in(account, proxy=proxy.url, waits=waits)
    await done(quartet.account.get())
    [wait] = waits.seconds
    assert 7 <= wait <= 7 + RetryPolicy().first_wait_seconds


async def test_429_with_a_long_retry_after_is_raised(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    waits = Waits()
    quartet = await log_in(account, proxy=proxy.url, waits=waits)
    proxy.plan("GET", ME, Answer(429, {"retry-after": "3600"}, BUSY))
    with pytest.raises(RateLimitedError) as limited:
        await done(quartet.account.get())
    error = limited.value
    assert (error.code, error.status, error.retry_after_seconds) == ("rate_limited", 429, 3600)
    assert error.request_id == "from-the-proxy"
    assert waits.seconds == []


async def test_attempts_are_limited(log_in: LogIn, account: tuple[str, str], proxy: Proxy) -> None:
    waits = Waits()
    quartet = await log_in(account, proxy=proxy.url, waits=waits, retry=RetryPolicy(attempts=3))
    unavailable = BUSY.replace(b"rate_limited", b"unavailable").replace(b"429", b"503")
    proxy.plan("GET", ME, *[Answer(503, {"retry-after": "1"}, unavailable)] * 3)
    with pytest.raises(UnavailableError) as failed:
        await done(quartet.account.get())
    assert (failed.value.code, failed.value.retry_after_seconds) == ("unavailable", 1)
    assert (proxy.count("GET", ME), len(waits.seconds)) == (3, 2)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"content-type": "text/html"}, b"<h1>Welcome to the hotel</h1>"),
        Answer(200, {"content-type": "application/json"}, b"[]"),
        Answer(200, {"content-type": "application/json"}, b'{"id": "usr_1"}'),
        Answer(500, {"content-type": "text/html"}, b"<h1>Oops</h1>"),
        Answer(418, {}, b""),
    ],
)
async def test_foreign_responses_are_unexpected_responses(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy, answer: Answer
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    proxy.plan("GET", ME, answer)
    with pytest.raises(UnexpectedResponseError):
        await done(quartet.account.get())
    proxy.plan("POST", "/v1/links/graphql", answer)
    with pytest.raises(UnexpectedResponseError):
        await done(quartet.links.by_slug("x"))


async def test_a_deletion_whose_response_is_lost_succeeds(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    asset = await done(quartet.media.upload(b"x", file_name="x.txt"))
    proxy.plan("DELETE", asset.id, Cut.LOST)
    await done(quartet.media.delete(asset.id))
    assert proxy.count("DELETE", asset.id) == 2


async def test_a_server_that_starts_late_is_retried(
    open_client: Open, account: tuple[str, str]
) -> None:
    proxy = Proxy()
    port = int(proxy.url.rsplit(":", 1)[1])
    proxy.close()
    started: list[Proxy] = []

    def start() -> None:
        if not started:
            started.append(Proxy(port))

    quartet = open_client(proxy=proxy.url, waits=Waits(meanwhile=start))
    try:
        # Even what may not be repeated, since it never left.
        await done(quartet.login(*account))
    finally:
        for late in started:
            late.close()
    assert started[0].count("POST", "/v1/core/sessions") == 1


async def test_a_silent_server_times_out(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client: Quartet | AsyncQuartet = opened(
            kind, address, waits=Waits(), timeout=httpx.Timeout(0.05)
        )
        with pytest.raises(ConnectionFailedError) as failed:
            await done(client.login("unused@example.org", PASSWORD))
        await close(client)
    assert (failed.value.code, failed.value.status) == ("timed_out", None)
