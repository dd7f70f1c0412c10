"""The tokens of the session, renewed when necessary."""

from __future__ import annotations

from quartet_client._runtime import AsyncOperation, AsyncRuntime
from quartet_client.errors import PASSING, UnauthenticatedError
from quartet_client.tokens import Tokens, TokenStore


class AsyncTokenKeeper:
    """Provides the access token. One caller refreshes it at a time; others wait for the result."""

    def __init__(
        self,
        store: TokenStore,
        refresh: AsyncOperation[[str], Tokens],
        runtime: AsyncRuntime,
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._runtime = runtime
        self._lock = runtime.lock()

    async def load(self) -> Tokens | None:
        return await self._runtime.in_thread(self._store.load)

    async def replace(self, tokens: Tokens | None) -> None:
        """For login and logout: a concurrent refresh does not undo it."""
        async with self._lock:
            await self._save(tokens)

    async def access_token(self) -> str | None:
        """A token that does not expire soon; None without a session."""
        tokens = await self.load()
        if tokens is None or not tokens.needs_refresh(self._runtime.now()):
            return tokens.access_token if tokens else None
        try:
            return await self.renew(tokens.access_token)
        except PASSING:
            if tokens.is_expired(self._runtime.now()):
                raise
            return tokens.access_token

    async def renew(self, refused: str) -> str | None:
        """The successor of `refused`, which another caller may have fetched already."""
        async with self._lock:
            tokens = await self.load()
            if tokens is None or tokens.access_token != refused:
                return tokens.access_token if tokens else None
            # Once the refresh token is used, its successor must not be lost.
            fresh = await self._runtime.shielded(self._exchange, tokens)
            return fresh.access_token

    async def _exchange(self, tokens: Tokens) -> Tokens:
        try:
            fresh = await self._refresh(tokens.refresh_token)
        except UnauthenticatedError:
            current = await self.load()
            if current is not None and current.refresh_token != tokens.refresh_token:
                # Another process that shares the store was faster.
                return current
            await self._save(None)
            raise
        await self._save(fresh)
        return fresh

    async def _save(self, tokens: Tokens | None) -> None:
        await self._runtime.in_thread(self._store.save, tokens)
