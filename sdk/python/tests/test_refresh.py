"""Access tokens that expire, on a live stack.

Where the stack was started with `--set core.sessions.access_token_ttl_seconds=3`, tokens are
waited for until the services refuse them; otherwise a broken signature stands for that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import LogIn, Open
from kinds import Clock, done
from proxy import Answer, Cut, Proxy
from quartet_client import (
    AsyncQuartet,
    ConnectionFailedError,
    FileTokenStore,
    MemoryTokenStore,
    Quartet,
    Tokens,
    UnauthenticatedError,
)

REFRESH = "/v1/core/sessions/refresh"
ME = "/v1/core/users/me"
SHORT_LIFE_SECONDS = 10
WORN_OUT_SESSIONS = 8


@pytest.fixture(scope="session")
def refused_sessions(url: str, account: tuple[str, str]) -> list[Tokens]:
    """Sessions whose access tokens the services refuse, unknown to the client."""
    with Quartet(url) as quartet:
        sessions = [quartet.login(*account) for _ in range(WORN_OUT_SESSIONS)]
    if sessions[0].lifetime_seconds > SHORT_LIFE_SECONDS:
        sessions = [broken(tokens) for tokens in sessions]
    deadline = time.monotonic() + 60
    while not is_refused(url, sessions[-1]):
        assert time.monotonic() < deadline, "the token does not end"
    far_away = time.time() + 1_000_000
    return [dataclasses.replace(tokens, expires_at=far_away) for tokens in sessions]


def broken(tokens: Tokens) -> Tokens:
    head, _, signature = tokens.access_token.rpartition(".")
    return dataclasses.replace(tokens, access_token=f"{head}.{signature[::-1]}")


def is_refused(url: str, tokens: Tokens) -> bool:
    headers = {"authorization": f"Bearer {tokens.access_token}"}
    return httpx.get(f"{url}{ME}", headers=headers).status_code == 401


@pytest.fixture
def refused(refused_sessions: list[Tokens]) -> Tokens:
    return refused_sessions.pop()


def nearly_over(tokens: Tokens) -> Tokens:
    return dataclasses.replace(tokens, expires_at=time.time())


async def test_a_refused_token_is_renewed_and_the_call_retried(
    open_client: Open, refused: Tokens, account: tuple[str, str]
) -> None:
    store = MemoryTokenStore(refused)
    quartet = open_client(token_store=store)
    assert (await done(quartet.account.get())).email == account[0]
    renewed = store.load()
    assert renewed is not None
    assert renewed.session_id == refused.session_id
    assert renewed.refresh_token != refused.refresh_token


@pytest.mark.parametrize("service", ["links", "media"])
async def test_tokens_are_renewed_for_every_service(
    open_client: Open, refused: Tokens, service: str
) -> None:
    store = MemoryTokenStore(refused)
    quartet = open_client(token_store=store)
    if service == "links":
        assert await done(quartet.links.by_slug("there-is-none")) is None
    else:
        await done(quartet.media.upload(b"x", file_name="a.txt"))
    assert store.load() != refused


async def test_a_token_is_renewed_before_it_expires(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    clock = Clock(time.time())
    quartet = await log_in(account, proxy=proxy.url, now=clock)
    await done(quartet.account.get())
    assert proxy.count("POST", REFRESH) == 0
    first = proxy.requests("GET", ME)[-1].headers["authorization"]
    clock.seconds += 1_000
    await done(quartet.account.get())
    assert proxy.count("POST", REFRESH) == 1
    assert proxy.requests("GET", ME)[-1].headers["authorization"] != first
    assert proxy.count("GET", ME) == 2


@pytest.mark.parametrize("state", ["refused", "nearly over"])
async def test_threads_refresh_one_at_a_time(
    url: str, tokens: Tokens, refused_sessions: list[Tokens], proxy: Proxy, state: str
) -> None:
    worn = refused_sessions.pop() if state == "refused" else nearly_over(tokens)
    failures: list[BaseException] = []
    with Quartet(url, proxy=proxy.url, token_store=MemoryTokenStore(worn)) as quartet:
        barrier = threading.Barrier(8)

        def ask() -> None:
            barrier.wait()
            try:
                quartet.account.get()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert proxy.count("POST", REFRESH) == 1


@pytest.mark.parametrize("state", ["refused", "nearly over"])
async def test_tasks_refresh_one_at_a_time(
    url: str, tokens: Tokens, refused_sessions: list[Tokens], proxy: Proxy, state: str
) -> None:
    worn = refused_sessions.pop() if state == "refused" else nearly_over(tokens)
    store = MemoryTokenStore(worn)
    async with AsyncQuartet(url, proxy=proxy.url, token_store=store) as quartet:
        users = await asyncio.gather(*[quartet.account.get() for _ in range(8)])
    assert len({user.id for user in users}) == 1
    assert proxy.count("POST", REFRESH) == 1


async def test_a_task_that_is_cancelled_loses_no_tokens(
    url: str, tokens: Tokens, proxy: Proxy
) -> None:
    store = MemoryTokenStore(nearly_over(tokens))
    saved = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Watched(MemoryTokenStore):
        def save(self, tokens: Tokens | None) -> None:
            store.save(tokens)
            loop.call_soon_threadsafe(saved.set)

        def load(self) -> Tokens | None:
            return store.load()

    async with AsyncQuartet(url, proxy=proxy.url, token_store=Watched()) as quartet:
        task = asyncio.create_task(quartet.account.get())
        while proxy.count("POST", REFRESH) == 0:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(saved.wait(), 10)
        await quartet.account.get()
    assert proxy.count("POST", REFRESH) == 1


@pytest.mark.parametrize("fault", [Cut.LOST, Cut.DURING, Cut.BEFORE, Answer(503)])
async def test_a_lost_refresh_is_retried_within_the_grace_period(
    open_client: Open, tokens: Tokens, proxy: Proxy, fault: Any
) -> None:
    store = MemoryTokenStore(nearly_over(tokens))
    quartet = open_client(proxy=proxy.url, token_store=store)
    proxy.plan("POST", REFRESH, fault)
    await done(quartet.account.get())
    assert proxy.count("POST", REFRESH) == 2
    renewed = store.load()
    assert renewed is not None
    assert renewed.refresh_token != tokens.refresh_token


async def test_a_lost_refresh_is_not_retried_after_the_grace_period(
    open_client: Open, tokens: Tokens, proxy: Proxy
) -> None:
    # Each call of the clock takes ten seconds: a later attempt must not be made.
    late = Clock(time.time() + 10_000)

    def now() -> float:
        late.seconds += 10
        return late.seconds

    quartet = open_client(proxy=proxy.url, token_store=MemoryTokenStore(tokens), now=now)
    proxy.plan("POST", REFRESH, *[Cut.LOST] * 4)
    with pytest.raises(ConnectionFailedError):
        await done(quartet.account.get())
    assert proxy.count("POST", REFRESH) == 2


async def test_a_token_is_used_until_it_expires_while_core_is_down(
    open_client: Open, tokens: Tokens, account: tuple[str, str], proxy: Proxy
) -> None:
    # Within the last fifth of its lifetime, but not expired.
    clock = Clock(tokens.expires_at - 0.01)
    quartet = open_client(proxy=proxy.url, token_store=MemoryTokenStore(tokens), now=clock)
    proxy.plan("POST", REFRESH, *[Answer(503)] * 4)
    assert (await done(quartet.account.get())).email == account[0]


async def test_an_ended_session_removes_the_tokens(
    open_client: Open, url: str, tokens: Tokens
) -> None:
    with Quartet(url, token_store=MemoryTokenStore(tokens)) as other:
        other.logout()
    store = MemoryTokenStore(nearly_over(tokens))
    quartet = open_client(token_store=store)
    with pytest.raises(UnauthenticatedError) as ended:
        await done(quartet.account.get())
    assert ended.value.code == "invalid_refresh_token"
    assert ended.value.request_id
    assert store.load() is None


async def test_a_login_takes_precedence_over_a_refresh(
    url: str, tokens: Tokens, account: tuple[str, str], proxy: Proxy
) -> None:
    store = MemoryTokenStore(nearly_over(tokens))
    async with AsyncQuartet(url, proxy=proxy.url, token_store=store) as quartet:
        asking = asyncio.create_task(quartet.account.get())
        while proxy.count("POST", REFRESH) == 0:
            await asyncio.sleep(0)
        login = await quartet.login(*account)
        await asking
    kept = store.load()
    assert kept is not None
    assert kept.session_id == login.session_id


async def test_two_processes_share_a_file(
    open_client: Open, tokens: Tokens, proxy: Proxy, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.json"
    FileTokenStore(path).save(nearly_over(tokens))
    first, second = (
        open_client(proxy=proxy.url, token_store=FileTokenStore(path)) for _ in range(2)
    )
    await done(first.account.get())
    await done(second.account.get())
    assert proxy.count("POST", REFRESH) == 1


async def test_tokens_of_a_faster_process_are_used(
    open_client: Open, tokens: Tokens, proxy: Proxy
) -> None:
    class Shared(MemoryTokenStore):
        """Whose content changes while a refresh is on its way."""

        def load(self) -> Tokens | None:
            return newer if proxy.count("POST", REFRESH) else nearly_over(tokens)

    newer = dataclasses.replace(tokens, refresh_token="qrt_ref_newer")
    quartet = open_client(proxy=proxy.url, token_store=Shared())
    gone = b'{"code": "invalid_refresh_token", "title": "used"}'
    proxy.plan("POST", REFRESH, Answer(401, {}, gone))
    await done(quartet.account.get())
    assert proxy.requests("GET", ME)[-1].headers["authorization"].endswith(tokens.access_token)
