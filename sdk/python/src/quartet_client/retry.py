"""When a request is retried, and after which pause. Pure functions: nothing here waits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from quartet_client import errors

REPEATABLE = "quartet_repeatable"
"""Request extension that marks a POST as safe to retry."""

_REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Completing twice returns the same response; so does refreshing, within the grace period.
_REPEATABLE_POSTS = re.compile(r"/v1/media/assets/[^/]+/complete|/v1/core/sessions/refresh")
_TRANSIENT = frozenset({408, 502, 503, 504})
# These happen before the request is sent.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Jitter = Callable[[float, float], float]
"""``random.uniform``, unless replaced by a test."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often to retry. Pauses double; each is random between 0 and its limit."""

    attempts: int = 4
    """The maximum number of attempts."""
    first_wait_seconds: float = 0.3
    max_wait_seconds: float = 5.0
    max_retry_after_seconds: float = 30.0
    """The error is raised if the server asks for a longer pause."""
    subscription_attempts: int = 10
    """The number of failed connections after which a subscription gives up."""
    lost_answer_window_seconds: float | None = None
    """How long a request may be retried after its response was lost; None for no limit."""

    def after_failure(
        self,
        request: httpx.Request,
        error: httpx.TransportError,
        attempt: int,
        lost_for_seconds: float,
        jitter: Jitter,
    ) -> float | None:
        """Seconds before the next attempt after a broken connection; None for no retry."""
        if attempt >= self.attempts or isinstance(error, httpx.LocalProtocolError):
            return None
        if was_sent(error):
            window = self.lost_answer_window_seconds
            if not is_repeatable(request) or (window is not None and lost_for_seconds > window):
                return None
        return self.backoff(attempt, jitter)

    def after_response(
        self, request: httpx.Request, response: httpx.Response, attempt: int, jitter: Jitter
    ) -> float | None:
        """Seconds before the next attempt after this response; None for no retry."""
        if attempt >= self.attempts or not _may_retry(request, response):
            return None
        asked = errors.retry_after_seconds(response.headers)
        if asked is None:
            return self.backoff(attempt, jitter)
        if asked > self.max_retry_after_seconds:
            return None
        return asked + jitter(0, self.first_wait_seconds)

    def backoff(self, attempt: int, jitter: Jitter) -> float:
        """Seconds to wait after this number of failed attempts."""
        limit = self.first_wait_seconds * 2 ** min(attempt - 1, 30)
        return jitter(0, min(self.max_wait_seconds, limit))


def is_repeatable(request: httpx.Request) -> bool:
    """Whether the request is safe to retry."""
    return (
        request.method in _REPEATABLE_METHODS
        or "idempotency-key" in request.headers
        or bool(request.extensions.get(REPEATABLE))
        or _REPEATABLE_POSTS.fullmatch(request.url.path) is not None
    )


def was_sent(error: httpx.TransportError) -> bool:
    """Whether the server may have received the request."""
    return not isinstance(error, _NEVER_SENT)


def _may_retry(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether a retry may succeed and is safe."""
    if response.status_code == 429:
        # Refused without any effect.
        return True
    if response.status_code == 409:
        # The first request with this Idempotency-Key is in flight.
        return "idempotency-key" in request.headers and "retry-after" in response.headers
    return response.status_code in _TRANSIENT and is_repeatable(request)
