"""The client side of graphql-transport-ws. Pure functions: nothing here uses a socket."""

from __future__ import annotations

import enum
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from quartet_client import errors
from quartet_client.errors import QuartetError, UnauthenticatedError

PROTOCOL = "graphql-transport-ws"

BROKEN = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError)
"""What a socket raises that cannot be opened or has been closed."""

_NO_CLOSE_FRAME = 1006
_ID = "1"


@dataclass(frozen=True)
class Endpoint:
    """Where and how to connect."""

    url: str
    timeout_seconds: float
    """For the connection, and for its acknowledgement."""
    ssl_context: ssl.SSLContext | None
    proxy: str | None

    @property
    def socket_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def socket_ssl(self) -> ssl.SSLContext | None:
        """None for the default."""
        return self.ssl_context if self.socket_url.startswith("wss:") else None


class Next(enum.Enum):
    """What to do after the connection was closed."""

    RENEW = enum.auto()
    """Renew the access token, then reconnect."""
    AGAIN = enum.auto()
    """Reconnect after a pause."""
    GIVE_UP = enum.auto()


_AFTER_CLOSE: Mapping[int, Next] = {
    # The token has expired or was refused.
    4401: Next.RENEW,
    4403: Next.RENEW,
    # Going away, abnormal closure, internal error, restart, overload, bad gateway.
    1000: Next.AGAIN,
    1001: Next.AGAIN,
    1005: Next.AGAIN,
    1006: Next.AGAIN,
    1011: Next.AGAIN,
    1012: Next.AGAIN,
    1013: Next.AGAIN,
    1014: Next.AGAIN,
    4408: Next.AGAIN,
}


@dataclass(frozen=True)
class Reaction:
    """The reaction to a message from the server."""

    reply: str | None = None
    data: dict[str, Any] | None = None
    acknowledged: bool = False
    complete: bool = False


class Conversation:
    """One subscription on one socket."""

    def __init__(
        self, query: str, operation_name: str | None, variables: Mapping[str, Any]
    ) -> None:
        self._payload = {
            "query": query,
            "operationName": operation_name,
            "variables": dict(variables),
        }

    def opening(self, token: str | None) -> str:
        payload = {"authorization": f"Bearer {token}"} if token else {}
        return json.dumps({"type": "connection_init", "payload": payload})

    def receive(self, text: str | bytes) -> Reaction:
        """Raises an error that the server reports for this subscription."""
        message = _parse(text)
        kind = message.get("type")
        if kind == "connection_ack":
            subscribe = {"type": "subscribe", "id": _ID, "payload": self._payload}
            return Reaction(reply=json.dumps(subscribe), acknowledged=True)
        if kind == "ping":
            return Reaction(reply=json.dumps({"type": "pong"}))
        if kind == "pong":
            return Reaction()
        if kind == "complete":
            return Reaction(complete=True)
        payload = message.get("payload")
        if kind == "error" and isinstance(payload, list):
            raise errors.from_graphql(payload)
        if kind == "next" and isinstance(payload, dict):
            return Reaction(data=_data(payload))
        raise errors.unexpected_response(f"unexpected message of type {kind!r}")


_AFTER_REFUSED_HANDSHAKE: Mapping[int, Next] = {
    401: Next.RENEW,
    429: Next.AGAIN,
    502: Next.AGAIN,
    503: Next.AGAIN,
    504: Next.AGAIN,
}


def after_error(error: Exception) -> tuple[Next, QuartetError]:
    """What to do, and the error to raise when that has been done often enough."""
    if isinstance(error, QuartetError):
        return Next.AGAIN, error
    if isinstance(error, ConnectionClosed):
        frame = error.rcvd
        step = after_close(frame.code if frame else _NO_CLOSE_FRAME)
        if step is Next.AGAIN or frame is None:
            return step, errors.from_failure(error)
        return step, refused(frame.code, frame.reason)
    if isinstance(error, InvalidStatus):
        response = httpx.Response(
            error.response.status_code,
            headers=list(error.response.headers.raw_items()),
            content=bytes(error.response.body or b""),
        )
        step = _AFTER_REFUSED_HANDSHAKE.get(response.status_code, Next.GIVE_UP)
        return step, errors.from_response(response)
    return Next.AGAIN, errors.from_failure(error)


def after_close(code: int) -> Next:
    return _AFTER_CLOSE.get(code, Next.GIVE_UP)


def refused(code: int, reason: str) -> QuartetError:
    """The error for a connection that must not be opened again."""
    if after_close(code) is Next.RENEW:
        return UnauthenticatedError(
            "unauthenticated", "The access token was refused", status=401, detail=reason
        )
    return errors.unexpected_response(f"the socket was closed with {code}: {reason}")


def _data(payload: dict[str, Any]) -> dict[str, Any]:
    found = payload.get("errors")
    if isinstance(found, list) and found:
        raise errors.from_graphql(found)
    data = payload.get("data")
    if not isinstance(data, dict):
        raise errors.unexpected_response("a result without data")
    return data


def _parse(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise errors.unexpected_response("a message that is not JSON") from error
    if not isinstance(message, dict):
        raise errors.unexpected_response("a message that is not an object")
    return message
