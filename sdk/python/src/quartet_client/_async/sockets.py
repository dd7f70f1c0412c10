"""Subscriptions over a WebSocket that reconnects."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from quartet_client import errors, subscriptions
from quartet_client._async.keeper import AsyncTokenKeeper
from quartet_client._runtime import AsyncRuntime
from quartet_client.retry import RetryPolicy
from quartet_client.subscriptions import BROKEN, Conversation, Endpoint, Next, Reaction

_MAX_MESSAGE_BYTES = 1024 * 1024
# The longest wait for the close handshake, whose result is not needed.
_CLOSE_TIMEOUT_SECONDS = 0.5
# A connection that was open for this long, or brought an event, worked. Any other counts as a
# failure: a service that accepts connections and closes them at once would be asked without an end.
_WORKED_AFTER_SECONDS = 1.0


class AsyncSockets:
    """One socket for each subscription."""

    def __init__(
        self,
        endpoint: Endpoint,
        keeper: AsyncTokenKeeper,
        policy: RetryPolicy,
        runtime: AsyncRuntime,
    ) -> None:
        self._endpoint = endpoint
        self._keeper = keeper
        self._policy = policy
        self._runtime = runtime

    async def subscribe(
        self, query: str, operation_name: str | None, variables: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any]]:
        """The data of each event. Events while the connection is down are missed."""
        conversation = Conversation(query, operation_name, variables)
        broken = 0
        renewed = False
        while True:
            token: str | None = None
            connected_at: float | None = None
            try:
                token = await self._keeper.access_token()
                async with connect(
                    self._endpoint.socket_url,
                    subprotocols=[Subprotocol(subscriptions.PROTOCOL)],
                    open_timeout=self._endpoint.timeout_seconds,
                    close_timeout=_CLOSE_TIMEOUT_SECONDS,
                    max_size=_MAX_MESSAGE_BYTES,
                    ssl=self._endpoint.socket_ssl,
                    proxy=self._endpoint.proxy,
                ) as socket:
                    await socket.send(conversation.opening(token))
                    async with aclosing(self._reactions(socket, conversation)) as reactions:
                        async for reaction in reactions:
                            if reaction.acknowledged:
                                connected_at = time.monotonic()
                            if reaction.data is not None:
                                broken, renewed = 0, False
                                yield reaction.data
                return
            except (*BROKEN, *errors.PASSING) as error:
                step, failure = subscriptions.after_error(error)
            if connected_at is not None:
                open_seconds = time.monotonic() - connected_at
                if open_seconds >= _WORKED_AFTER_SECONDS:
                    broken, renewed = 0, False
            if step is Next.RENEW and not renewed and token is not None:
                renewed = True
                await self._keeper.renew(token)
                continue
            broken += 1
            if step is not Next.AGAIN or broken >= self._policy.subscription_attempts:
                raise failure
            pause = failure.retry_after_seconds or 0
            await self._runtime.sleep(pause + self._policy.backoff(broken, self._runtime.jitter))

    async def _reactions(
        self, socket: ClientConnection, conversation: Conversation
    ) -> AsyncGenerator[Reaction]:
        # The timeout ends with the acknowledgement; then pings detect a dead connection.
        timeout: float | None = self._endpoint.timeout_seconds
        while True:
            text = await self._runtime.receive(socket, timeout)
            reaction = conversation.receive(text)
            if reaction.reply is not None:
                # A closed socket raises once its remaining messages have been read.
                with suppress(ConnectionClosed):
                    await socket.send(reaction.reply)
            if reaction.acknowledged:
                timeout = None
            yield reaction
            if reaction.complete:
                return
