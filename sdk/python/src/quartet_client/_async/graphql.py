"""Executes GraphQL documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from quartet_client import errors
from quartet_client._async.sockets import AsyncSockets
from quartet_client.retry import REPEATABLE

PATH = "/v1/links/graphql"
_ACCEPT = "application/graphql-response+json"


class AsyncGraphQl:
    """Queries and mutations by POST, subscriptions by WebSocket."""

    def __init__(self, http: httpx.AsyncClient, sockets: AsyncSockets) -> None:
        self._http = http
        self._sockets = sockets

    async def run(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
    ) -> dict[str, Any]:
        """Executes a custom document; returns its data."""
        response = await self._http.post(
            PATH,
            json={
                "query": query,
                "variables": dict(variables or {}),
                "operationName": operation_name,
            },
            headers={"accept": _ACCEPT},
            # A mutation whose response was lost may have taken effect.
            extensions={REPEATABLE: query.lstrip().startswith(("query", "{"))},
        )
        body = response.json()
        if not isinstance(body, dict):
            raise errors.unexpected_response("the GraphQL response is not an object")
        if body.get("errors"):
            raise errors.from_graphql(body["errors"], response)
        data = body.get("data")
        if not isinstance(data, dict):
            raise errors.unexpected_response("the GraphQL response has no data")
        return data

    def watch(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
    ) -> AsyncGenerator[dict[str, Any]]:
        """Subscribes by a custom document; yields the data of each event."""
        return self._sockets.subscribe(query, operation_name, variables or {})
