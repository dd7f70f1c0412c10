"""Sends requests with an access token, retries them, and raises typed errors."""

from __future__ import annotations

import httpx

from quartet_client import errors
from quartet_client._async.keeper import AsyncTokenKeeper
from quartet_client._runtime import AsyncRuntime
from quartet_client.retry import RetryPolicy, was_sent


class AsyncTransport(httpx.AsyncBaseTransport):
    """Between httpx and the network. Reads each response completely: they are small."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        policy: RetryPolicy,
        runtime: AsyncRuntime,
        keeper: AsyncTokenKeeper | None = None,
    ) -> None:
        self._inner = inner
        self._policy = policy
        self._runtime = runtime
        self._keeper = keeper

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._keeper is None:
            response = await self._attempts(request)
        else:
            response = await self._authorized(request, self._keeper)
        if response.is_error:
            raise errors.from_response(response)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _authorized(self, request: httpx.Request, keeper: AsyncTokenKeeper) -> httpx.Response:
        token = await keeper.access_token()
        if token is None:
            return await self._attempts(request)
        request.headers["authorization"] = f"Bearer {token}"
        response = await self._attempts(request)
        if response.status_code != 401:
            return response
        # Refused without any effect: the token has expired early, or its key was retired.
        renewed = await keeper.renew(token)
        if renewed is None:
            return response
        request.headers["authorization"] = f"Bearer {renewed}"
        return await self._attempts(request)

    async def _attempts(self, request: httpx.Request) -> httpx.Response:
        attempt = 0
        lost_at: float | None = None
        while True:
            attempt += 1
            try:
                response = await self._once(request)
            except httpx.TransportError as error:
                now = self._runtime.now()
                if lost_at is None and was_sent(error):
                    lost_at = now
                lost_for = 0 if lost_at is None else now - lost_at
                wait = self._policy.after_failure(
                    request, error, attempt, lost_for, self._runtime.jitter
                )
                if wait is None:
                    raise errors.from_failure(error) from error
            else:
                wait = self._policy.after_response(request, response, attempt, self._runtime.jitter)
                if wait is None:
                    return _settled(request, response, lost=lost_at is not None)
            await self._runtime.sleep(wait)

    async def _once(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        try:
            # So that errors while reading refer to their request.
            response.request = request
            await response.aread()
        finally:
            await response.aclose()
        return response


def _settled(request: httpx.Request, response: httpx.Response, *, lost: bool) -> httpx.Response:
    """A deletion whose response was lost has succeeded if the retry finds nothing."""
    if lost and request.method == "DELETE" and response.status_code == 404:
        return httpx.Response(204, headers={"x-request-id": _request_id(response)})
    return response


def _request_id(response: httpx.Response) -> str:
    return str(response.headers.get("x-request-id", ""))
