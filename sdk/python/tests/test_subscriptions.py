"""Subscriptions whose connection breaks."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from conftest import LogIn, Open
from kinds import Waits, done
from proxy import Answer, Cut, Proxy
from quartet_client import (
    ConnectionFailedError,
    CreateLinkInput,
    MemoryTokenStore,
    RetryPolicy,
    Tokens,
    UnauthenticatedError,
    UnexpectedResponseError,
)
from test_links import TARGET, click_repeatedly, close_events, first, in_background

EVENT = {
    "id": "clk_1",
    "at": "2026-01-01T00:00:00Z",
    "country": None,
    "referrerHost": None,
    "device": "DESKTOP",
    "bot": False,
    "botReason": None,
    "totals": {"total": 1, "people": 1, "unique": 1, "bots": 0},
}


async def test_a_broken_connection_reconnects(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    link = await done(quartet.links.create(CreateLinkInput(url=TARGET)))
    clicking = asyncio.create_task(click_repeatedly(link))
    events = quartet.links.clicks(link.id)
    totals: list[int] = []
    async for event in in_background(events):
        totals.append(event.totals.total)
        if proxy.count("CONNECT", "") == 4:
            break
        # Events that arrived before the cut are still reported; then it reconnects.
        proxy.cut_tunnels()
    clicking.cancel()
    await close_events(events)
    assert totals == sorted(totals)


async def test_reconnects_are_limited(open_client: Open, tokens: Tokens, proxy: Proxy) -> None:
    waits = Waits()
    quartet = open_client(
        proxy=proxy.url,
        waits=waits,
        token_store=MemoryTokenStore(tokens),
        retry=RetryPolicy(subscription_attempts=3),
    )
    proxy.plan("CONNECT", "", *[Cut.BEFORE] * 3)
    with pytest.raises(ConnectionFailedError):
        await first(quartet.links.clicks("lnk_00000000000000000000000000"))
    assert len(waits.seconds) == 2


@contextmanager
def scripted(*scripts: Any) -> Iterator[tuple[int, list[str]]]:
    """A server with a script per connection; yields its port and the received tokens."""
    came: list[str] = []
    remaining = list(scripts)

    def talk(socket: ServerConnection) -> None:
        opening = json.loads(socket.recv())
        came.append(opening["payload"]["authorization"])
        script = remaining.pop(0)
        if isinstance(script, int):
            socket.close(script, "as scripted")
            return
        socket.send(json.dumps({"type": "connection_ack"}))
        socket.recv()
        for message in script:
            if isinstance(message, int):
                socket.close(message, "as scripted")
                return
            socket.send(json.dumps(message))

    server: Server
    with serve(talk, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-transport-ws")]) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1], came
        server.shutdown()
        thread.join()


NEXT = {"type": "next", "id": "1", "payload": {"data": {"clicks": EVENT}}}
PING = {"type": "ping"}
COMPLETE = {"type": "complete", "id": "1"}


@pytest.mark.parametrize("refusal", [[4401], 4401, 4403])
async def test_an_expired_token_is_renewed(
    open_client: Open, tokens: Tokens, proxy: Proxy, refusal: Any
) -> None:
    waits = Waits()
    store = MemoryTokenStore(
        dataclasses.replace(tokens, expires_at=time.time() + 1000, lifetime_seconds=900)
    )
    with scripted(refusal, [NEXT, COMPLETE]) as (proxy.tunnel_to, came):
        # The sockets go to the script, the refresh to the live stack.
        quartet = open_client(token_store=store, waits=waits, proxy=proxy.url)
        events = [event async for event in in_background(quartet.links.clicks("lnk_1"))]
    assert [event.totals.total for event in events] == [1]
    assert came[0] == f"Bearer {tokens.access_token}"
    assert came[1] != came[0]
    assert waits.seconds == []


async def test_a_token_that_is_refused_twice_is_reported(
    open_client: Open, tokens: Tokens, proxy: Proxy
) -> None:
    with scripted(4403, 4403) as (proxy.tunnel_to, came):
        quartet = open_client(token_store=MemoryTokenStore(tokens), proxy=proxy.url)
        with pytest.raises(UnauthenticatedError):
            await first(quartet.links.clicks("lnk_1"))
    assert len(came) == 2


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013])
async def test_reconnects_after_a_pause_when_the_server_restarts(
    open_client: Open, tokens: Tokens, code: int
) -> None:
    waits = Waits()
    still_good = dataclasses.replace(tokens, expires_at=time.time() + 1000)
    with scripted([PING, NEXT, code], code, [NEXT, COMPLETE]) as (port, came):
        quartet = open_client(
            address=f"http://127.0.0.1:{port}",
            waits=waits,
            token_store=MemoryTokenStore(still_good),
        )
        events = [event async for event in in_background(quartet.links.clicks("lnk_1"))]
    assert len(events) == 2
    assert len(came) == 3
    assert len(waits.seconds) == 2


async def test_a_server_that_accepts_and_closes_is_not_asked_without_an_end(
    open_client: Open, tokens: Tokens
) -> None:
    waits = Waits()
    still_good = dataclasses.replace(tokens, expires_at=time.time() + 1000)
    with scripted(*[[1013]] * 5) as (port, came):
        quartet = open_client(
            address=f"http://127.0.0.1:{port}",
            waits=waits,
            token_store=MemoryTokenStore(still_good),
            retry=RetryPolicy(subscription_attempts=3),
        )
        with pytest.raises(ConnectionFailedError):
            await first(quartet.links.clicks("lnk_1"))
    assert len(came) == 3
    assert len(waits.seconds) == 2


async def test_a_token_that_is_refused_after_the_acknowledgement_is_renewed_once(
    open_client: Open, tokens: Tokens, proxy: Proxy
) -> None:
    with scripted(*[[4401]] * 3) as (proxy.tunnel_to, came):
        quartet = open_client(token_store=MemoryTokenStore(tokens), proxy=proxy.url)
        with pytest.raises(UnauthenticatedError):
            await first(quartet.links.clicks("lnk_1"))
    assert len(came) == 2


async def test_another_protocol_is_reported(open_client: Open, tokens: Tokens) -> None:
    still_good = dataclasses.replace(tokens, expires_at=time.time() + 1000)
    for script in ([4400], [{"type": "nonsense"}], [{"type": "next", "payload": {}}]):
        with scripted(script) as (port, _):
            quartet = open_client(
                address=f"http://127.0.0.1:{port}", token_store=MemoryTokenStore(still_good)
            )
            with pytest.raises(UnexpectedResponseError):
                await first(quartet.links.clicks("lnk_1"))


async def test_a_transient_refresh_failure_keeps_the_subscription(
    open_client: Open, tokens: Tokens, proxy: Proxy
) -> None:
    waits = Waits()
    ended = dataclasses.replace(tokens, expires_at=time.time() - 1)
    proxy.plan("POST", "/v1/core/sessions/refresh", *[Answer(503)] * 4)
    with scripted([NEXT, COMPLETE]) as (proxy.tunnel_to, came):
        quartet = open_client(token_store=MemoryTokenStore(ended), waits=waits, proxy=proxy.url)
        events = [event async for event in in_background(quartet.links.clicks("lnk_1"))]
    assert (len(events), len(came)) == (1, 1)
    # Three pauses of the refresh, one of the subscription.
    assert len(waits.seconds) == 4
