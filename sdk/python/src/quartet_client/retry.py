"""When a request is sent again, and after how long. Decisions only: nothing here waits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from quartet_client import errors

REPEATABLE = "quartet_repeatable"
"""Request extension by which a caller says that a POST may be sent twice."""

_REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Completing twice gives the same answer; so does refreshing, within a grace time.
_REPEATABLE_POSTS = re.compile(r"/v1/media/assets/[^/]+/complete|/v1/core/sessions/refresh")
_TRANSIENT = frozenset({408, 502, 503, 504})
# These end before the request left.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Jitter = Callable[[float, float], float]
"""``random.uniform``, or what a test puts in its place."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to try. Waits double, and each is drawn between 0 and its bound."""

    attempts: int = 4
    """How often a request is sent at most."""
    first_wait_seconds: float = 0.3
    max_wait_seconds: float = 5.0
    max_retry_after_seconds: float = 30.0
    """A server that asks for a longer pause gets none: the error is raised."""
    subscription_attempts: int = 10
    """How often a subscription that broke connects again before it gives up."""
    lost_answer_window_seconds: float | None = None
    """How long after an answer was lost its request may still be repeated; None: any time."""

    def after_failure(
        self,
        request: httpx.Request,
        error: httpx.TransportError,
        attempt: int,
        lost_for_seconds: float,
        jitter: Jitter,
    ) -> float | None:
        """Seconds to wait before the next attempt after a broken connection; None: no more."""
        if attempt >= self.attempts or isinstance(error, httpx.LocalProtocolError):
            return None
        if was_sent(error):
            window = self.lost_answer_window_seconds
            if not is_repeatable(request) or (window is not None and lost_for_seconds > window):
                return None
        return self.backoff(attempt, jitter)

    def after_answer(
        self, request: httpx.Request, response: httpx.Response, attempt: int, jitter: Jitter
    ) -> float | None:
        """Seconds to wait before the next attempt after this answer; None: it stands."""
        if attempt >= self.attempts or not _may_pass(request, response):
            return None
        asked = errors.retry_after_seconds(response.headers)
        if asked is None:
            return self.backoff(attempt, jitter)
        if asked > self.max_retry_after_seconds:
            return None
        return asked + jitter(0, self.first_wait_seconds)

    def backoff(self, attempt: int, jitter: Jitter) -> float:
        """Seconds to wait after this many attempts in vain."""
        bound = self.first_wait_seconds * 2 ** min(attempt - 1, 30)
        return jitter(0, min(self.max_wait_seconds, bound))


def is_repeatable(request: httpx.Request) -> bool:
    """Whether sending the request twice does what sending it once does."""
    return (
        request.method in _REPEATABLE_METHODS
        or "idempotency-key" in request.headers
        or bool(request.extensions.get(REPEATABLE))
        or _REPEATABLE_POSTS.fullmatch(request.url.path) is not None
    )


def was_sent(error: httpx.TransportError) -> bool:
    """Whether the server may have seen the request."""
    return not isinstance(error, _NEVER_SENT)


def _may_pass(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether the same request may get a better answer later, and is safe to send again."""
    if response.status_code == 429:
        # Refused before anything was done.
        return True
    if response.status_code == 409:
        # The first request with this Idempotency-Key still runs.
        return "idempotency-key" in request.headers and "retry-after" in response.headers
    return response.status_code in _TRANSIENT and is_repeatable(request)
