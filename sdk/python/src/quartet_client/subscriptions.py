"""The client's side of graphql-transport-ws. Decisions only: nothing here touches a socket."""

from __future__ import annotations

import enum
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quartet_client import errors
from quartet_client.errors import QuartetError, UnauthenticatedError

PROTOCOL = "graphql-transport-ws"
_ID = "1"


@dataclass(frozen=True)
class Endpoint:
    """Where the socket is opened, and how."""

    url: str
    timeout_seconds: float
    """For opening, and for the acknowledgement."""
    ssl_context: ssl.SSLContext | None
    proxy: str | None

    @property
    def socket_url(self) -> str:
        return "ws" + self.url.removeprefix("http")


class Next(enum.Enum):
    """What to do after the connection ended."""

    RENEW = enum.auto()
    """Get a new access token, then connect again."""
    AGAIN = enum.auto()
    """Connect again after a pause."""
    GIVE_UP = enum.auto()


_AFTER_CLOSE: Mapping[int, Next] = {
    # The token ended, or was not taken.
    4401: Next.RENEW,
    4403: Next.RENEW,
    # Going away, cut off, broken inside, restarting, overloaded, a bad gateway.
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
    """What a message from the server asks for."""

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
        """Raises what the server tells as an error of this subscription."""
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
        raise errors.unexpected_answer(f"a message of type {kind!r} on the socket")


def after_close(code: int) -> Next:
    return _AFTER_CLOSE.get(code, Next.GIVE_UP)


def refused(code: int, reason: str) -> QuartetError:
    """The error that stands for a connection that was closed for good."""
    if after_close(code) is Next.RENEW:
        return UnauthenticatedError(
            "unauthenticated", "The access token was not taken", status=401, detail=reason
        )
    return errors.unexpected_answer(f"the socket was closed with {code}: {reason}")


def _data(payload: dict[str, Any]) -> dict[str, Any]:
    told = payload.get("errors")
    if isinstance(told, list) and told:
        raise errors.from_graphql(told)
    data = payload.get("data")
    if not isinstance(data, dict):
        raise errors.unexpected_answer("a result without data")
    return data


def _parse(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise errors.unexpected_answer("a message that is not JSON") from error
    if not isinstance(message, dict):
        raise errors.unexpected_answer("a message that is not an object")
    return message
