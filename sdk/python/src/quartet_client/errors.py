"""The errors that calls raise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import httpx

from quartet_client._generated.codes import STATUS_BY_CODE, ProblemCode

ClientCode = Literal[
    "connection_failed",
    "timed_out",
    "unexpected_response",
    "upload_refused",
    "file_changed",
]
"""Codes of errors that do not come from a service."""

ErrorCode = ProblemCode | ClientCode
"""The codes known to this version; newer services may have more."""


@dataclass(frozen=True)
class FieldError:
    """An invalid field of the request."""

    code: str
    """Stable name of the rule, such as ``too_large``."""
    detail: str
    """The rule in words, with its limit."""
    pointer: str | None = None
    """JSON pointer (RFC 6901) into the request body."""
    parameter: str | None = None
    """Name of the path, query or header parameter."""


class QuartetError(Exception):
    """A failed call; ``code`` is stable and meant to be compared."""

    def __init__(
        self,
        code: ErrorCode,
        title: str,
        *,
        status: int | None = None,
        detail: str | None = None,
        request_id: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        self.code = code
        self.title = title
        self.status = status
        """The HTTP status; None without a response."""
        self.detail = detail
        self.request_id = request_id
        """Identifies the request in the logs of the services."""
        self.errors = tuple(errors)
        """Every invalid field."""
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self._message())

    def _message(self) -> str:
        message = f"{self.code}: {self.title}"
        if self.detail:
            message += f" ({self.detail})"
        for error in self.errors:
            message += f"; {error.pointer or error.parameter or 'request'} {error.detail}"
        if self.request_id:
            message += f" [request {self.request_id}]"
        return message


class ConnectionFailedError(QuartetError):
    """There was no response: ``connection_failed`` or ``timed_out``."""


class UnexpectedResponseError(QuartetError):
    """The response is not from Quartet: ``unexpected_response``."""


class InvalidInputError(QuartetError):
    """The request is invalid; ``errors`` names each field."""


class UnauthenticatedError(QuartetError):
    """There is no session, it has ended, or the credentials are wrong."""


class ForbiddenError(QuartetError):
    """The caller lacks permission."""


class NotFoundError(QuartetError):
    """The object does not exist or belongs to another user."""


class ConflictError(QuartetError):
    """The request conflicts with an existing object or a concurrent change."""


class RateLimitedError(QuartetError):
    """Too many requests; retry after ``retry_after_seconds``."""


class UnavailableError(QuartetError):
    """A service or a dependency is unavailable."""


class UploadRefusedError(QuartetError):
    """The file was not stored: ``upload_refused`` or ``file_changed``."""


_BY_STATUS: Mapping[int, type[QuartetError]] = {
    400: InvalidInputError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
    413: InvalidInputError,
    415: InvalidInputError,
    422: InvalidInputError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}

# GraphQL responses have status 200 and a code. Two of the codes exist only there.
_STATUS_OF_GRAPHQL: Mapping[str, int] = {
    **STATUS_BY_CODE,
    "slug_taken": 409,
    "too_many_subscriptions": 429,
}

PASSING = (ConnectionFailedError, RateLimitedError, UnavailableError)
"""Errors after which a retry may succeed."""


def from_response(response: httpx.Response) -> QuartetError:
    """The error for a response with status 400 or above. Its body must have been read."""
    body = _json_object(response.content)
    graphql = body.get("errors") if "code" not in body else None
    if isinstance(graphql, list) and graphql:
        return from_graphql(graphql, response)
    retry_after = retry_after_seconds(response.headers)
    request_id = response.headers.get("x-request-id")
    kind = _BY_STATUS.get(response.status_code, QuartetError)
    if not isinstance(body.get("code"), str):
        # Perhaps from a load balancer, which can be overloaded like a service.
        transient = issubclass(kind, (RateLimitedError, UnavailableError))
        return (kind if transient else UnexpectedResponseError)(
            "unexpected_response",
            f"The response has status {response.status_code} and is not a problem document",
            status=response.status_code,
            request_id=request_id,
            retry_after_seconds=retry_after,
        )
    return kind(
        cast(ErrorCode, body["code"]),
        str(body.get("title", "")),
        status=response.status_code,
        detail=_text(body.get("detail")),
        request_id=_text(body.get("request_id")) or request_id,
        errors=_field_errors(body.get("errors")),
        retry_after_seconds=retry_after,
    )


def from_graphql(errors: Sequence[Any], response: httpx.Response | None = None) -> QuartetError:
    """The first GraphQL error, with the field errors of all."""
    objects = [error for error in errors if isinstance(error, dict)]
    first: dict[str, Any] = objects[0] if objects else {}
    extensions = [_object(error.get("extensions")) for error in objects] or [{}]
    code = str(extensions[0].get("code", "unexpected_response")).lower()
    status = _STATUS_OF_GRAPHQL.get(code)
    if status is None:
        # All other GraphQL errors are caused by the request.
        status = 422 if response is None or response.is_success else response.status_code
    headers = response.headers if response is not None else httpx.Headers()
    retry_after = retry_after_seconds(headers)
    if retry_after is None:
        retry_after = extensions[0].get("retryAfterSeconds")
    fields = [field for each in extensions for field in _field_errors(each.get("errors"))]
    return _BY_STATUS.get(status, QuartetError)(
        cast(ErrorCode, code),
        str(first.get("message", "")),
        status=status,
        request_id=_text(extensions[0].get("requestId")) or headers.get("x-request-id"),
        errors=fields,
        retry_after_seconds=retry_after,
    )


def from_failure(error: Exception) -> QuartetError:
    """The error for a connection without a response."""
    cause = str(error) or type(error).__name__
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return ConnectionFailedError("timed_out", "The request timed out", detail=cause)
    return ConnectionFailedError("connection_failed", "The connection failed", detail=cause)


def unexpected_response(detail: str) -> QuartetError:
    return UnexpectedResponseError(
        "unexpected_response", "The response does not match the specification", detail=detail
    )


def retry_after_seconds(headers: httpx.Headers) -> float | None:
    """The services send whole seconds. A date, from an intermediary, is ignored."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _field_errors(value: object) -> list[FieldError]:
    items = value if isinstance(value, list) else []
    return [
        FieldError(
            code=str(item.get("code", "")),
            detail=str(item.get("detail", "")),
            pointer=_text(item.get("pointer")),
            parameter=_text(item.get("parameter")),
        )
        for item in items
        if isinstance(item, dict)
    ]


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        return _object(json.loads(content))
    except ValueError:
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
