"""The client: one object for all services."""

from __future__ import annotations

import dataclasses
import ssl
from types import TracebackType
from typing import Self

import httpx

from quartet_client._async.account import AsyncAccount
from quartet_client._async.graphql import PATH, AsyncGraphQl
from quartet_client._async.keeper import AsyncTokenKeeper
from quartet_client._async.links import AsyncLinks
from quartet_client._async.media import AsyncMedia
from quartet_client._async.sockets import AsyncSockets
from quartet_client._async.transport import AsyncTransport
from quartet_client._async.upload import AsyncUploader
from quartet_client._calls import acall, expect
from quartet_client._generated.rest import AuthenticatedClient, models
from quartet_client._generated.rest import Client as RestClient
from quartet_client._generated.rest.api.sessions import (
    create_session,
    delete_session,
    refresh_session,
)
from quartet_client._runtime import AsyncRuntime
from quartet_client._version import USER_AGENT
from quartet_client.errors import UnauthenticatedError
from quartet_client.retry import RetryPolicy
from quartet_client.subscriptions import Endpoint
from quartet_client.tokens import MemoryTokenStore, Tokens, TokenStore

# A little longer than the timeout of the services, so that they respond first.
DEFAULT_TIMEOUT = httpx.Timeout(35.0, connect=5.0)
# A used refresh token returns the same successor for 10 seconds; after that, reuse ends the
# session. A lost response must be noticed soon enough to retry in time, or else never.
_REFRESH_TIMEOUT = httpx.Timeout(4.0)
_REFRESH_WINDOW_SECONDS = 5.0
# The store may be hashing a large file after its last byte.
_STORE_ANSWER_SECONDS = 120.0


class AsyncQuartet:
    """A client of one gateway. Use it as a context manager, or call ``aclose`` at the end."""

    def __init__(
        self,
        url: str,
        *,
        token_store: TokenStore | None = None,
        retry: RetryPolicy | None = None,
        timeout: httpx.Timeout = DEFAULT_TIMEOUT,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        runtime: AsyncRuntime | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("url must start with http:// or https://")
        url = url.rstrip("/")
        policy = retry or RetryPolicy()
        runtime = runtime or AsyncRuntime()
        verify = ssl_context or True
        network = httpx.AsyncHTTPTransport(verify=verify, proxy=proxy)
        refresh_policy = dataclasses.replace(
            policy, lost_answer_window_seconds=_REFRESH_WINDOW_SECONDS
        )
        self._runtime = runtime
        self._keeper = AsyncTokenKeeper(token_store or MemoryTokenStore(), self._refresh, runtime)
        self._anonymous = _http(url, timeout, AsyncTransport(network, policy, runtime))
        self._refreshing = _http(
            url, _REFRESH_TIMEOUT, AsyncTransport(network, refresh_policy, runtime)
        )
        self._authorized = _http(
            url, timeout, AsyncTransport(network, policy, runtime, self._keeper)
        )
        self._store = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(verify=verify, proxy=proxy),
            timeout=httpx.Timeout(**{**timeout.as_dict(), "read": _STORE_ANSWER_SECONDS}),
        )
        self.rest = AuthenticatedClient(base_url=url, token="")
        """For the generated functions of ``quartet_client.rest``."""
        self.rest.set_async_httpx_client(self._authorized)
        sockets = AsyncSockets(
            Endpoint(url + PATH, timeout.connect or 5.0, ssl_context, proxy),
            self._keeper,
            policy,
            runtime,
        )
        self.account = AsyncAccount(self.rest, self._keeper)
        self.media = AsyncMedia(self.rest, AsyncUploader(self._store, policy, runtime))
        self.links = AsyncLinks(AsyncGraphQl(self._authorized, sockets))

    async def login(self, email: str, password: str) -> Tokens:
        """Opens a session. Its tokens are kept in the token store and renewed."""
        requested_at = self._runtime.now()
        result = await acall(
            create_session.asyncio,
            client=_rest(self._anonymous),
            body=models.Credentials(email=email, password=password),
        )
        tokens = _tokens(expect(models.Tokens, result), requested_at)
        await self._keeper.replace(tokens)
        return tokens

    async def logout(self) -> None:
        """Ends the session. Its tokens are removed even if the server cannot be reached."""
        if await self._keeper.load() is None:
            return
        try:
            await delete_session.asyncio_detailed(id="current", client=self.rest)
        except UnauthenticatedError:
            # It has ended already.
            pass
        finally:
            await self._keeper.replace(None)

    async def aclose(self) -> None:
        for client in (self._anonymous, self._refreshing, self._authorized, self._store):
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _refresh(self, refresh_token: str) -> Tokens:
        requested_at = self._runtime.now()
        result = await acall(
            refresh_session.asyncio,
            client=_rest(self._refreshing),
            body=models.RefreshRequest(refresh_token=refresh_token),
        )
        return _tokens(expect(models.Tokens, result), requested_at)


def _http(url: str, timeout: httpx.Timeout, transport: AsyncTransport) -> httpx.AsyncClient:
    headers = {"user-agent": USER_AGENT}
    return httpx.AsyncClient(base_url=url, timeout=timeout, transport=transport, headers=headers)


def _rest(http: httpx.AsyncClient) -> RestClient:
    return RestClient(base_url=str(http.base_url)).set_async_httpx_client(http)


def _tokens(tokens: models.Tokens, requested_at: float) -> Tokens:
    # Counted from before the request, so that the lifetime is never overestimated.
    return Tokens(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        session_id=tokens.session_id,
        expires_at=requested_at + tokens.expires_in,
        lifetime_seconds=tokens.expires_in,
    )
