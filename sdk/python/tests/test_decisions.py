"""Pure functions: errors, retries, steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from quartet_client import (
    FileTokenStore,
    InvalidInputError,
    NotFoundError,
    QuartetError,
    RateLimitedError,
    RetryPolicy,
    Tokens,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedResponseError,
    errors,
    retry,
    subscriptions,
    uploads,
)
from quartet_client.sources import Source, guess_content_type
from quartet_client.subscriptions import Conversation, Next
from quartet_client.uploads import Step

DOCUMENT = Path(__file__).parents[3] / "services" / "gateway" / "openapi.json"


def highest(_: float, bound: float) -> float:
    return bound


def request(method: str = "GET", path: str = "/x", **headers: str) -> httpx.Request:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Request(method, f"http://quartet.test{path}", headers=names)


def test_a_problem_becomes_a_typed_error() -> None:
    problem = {
        "type": "urn:quartet:problem:invalid_body",
        "title": "Invalid request body",
        "status": 422,
        "code": "invalid_body",
        "instance": "/v1/media/presign",
        "request_id": "r1",
        "errors": [
            {"pointer": "/size_bytes", "code": "too_large", "detail": "must be at most 5"},
            {"parameter": "limit", "code": "invalid_value", "detail": "must be a number"},
        ],
    }
    error = errors.from_response(httpx.Response(422, json=problem))
    assert isinstance(error, InvalidInputError)
    assert (error.code, error.status, error.request_id) == ("invalid_body", 422, "r1")
    assert [field.pointer for field in error.errors] == ["/size_bytes", None]
    assert error.errors[1].parameter == "limit"
    assert "/size_bytes must be at most 5" in str(error)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(500),
        httpx.Response(500, json=["no", "problem"]),
        httpx.Response(404, json={"code": 7}),
    ],
)
def test_other_error_bodies_are_unexpected_responses(response: httpx.Response) -> None:
    error = errors.from_response(response)
    assert isinstance(error, UnexpectedResponseError)
    assert (error.code, error.status) == ("unexpected_response", response.status_code)


def test_errors_of_a_load_balancer_are_transient() -> None:
    for status in (502, 503, 504):
        error = errors.from_response(httpx.Response(status, html="<h1>Bad gateway</h1>"))
        assert isinstance(error, UnavailableError)
        assert error.code == "unexpected_response"
    assert isinstance(errors.from_response(httpx.Response(429)), RateLimitedError)


def test_graphql_errors_have_the_types_of_problems() -> None:
    found = [
        {
            "message": "input.url must be http or https",
            "extensions": {
                "code": "INVALID_BODY",
                "requestId": "r2",
                "errors": [{"pointer": "/input/url", "code": "scheme", "detail": "must be http"}],
            },
        }
    ]
    error = errors.from_response(httpx.Response(400, json={"errors": found}))
    assert isinstance(error, InvalidInputError)
    assert (error.code, error.request_id) == ("invalid_body", "r2")
    assert error.errors[0].pointer == "/input/url"
    kinds = {"NOT_FOUND": NotFoundError, "UNAUTHENTICATED": UnauthenticatedError}
    for code, kind in kinds.items():
        assert isinstance(errors.from_graphql([{"extensions": {"code": code}}]), kind)
    stranges: list[list[Any]] = [[], [None], [{}], [{"extensions": []}]]
    for strange in stranges:
        assert isinstance(errors.from_graphql(strange), QuartetError)


@pytest.mark.parametrize(
    ("asked", "repeatable"),
    [
        (request("GET"), True),
        (request("PUT"), True),
        (request("DELETE"), True),
        (request("POST"), False),
        (request("PATCH"), False),
        (request("POST", idempotency_key="k"), True),
        (request("POST", "/v1/media/assets/ast_1/complete"), True),
        (request("POST", "/v1/core/sessions/refresh"), True),
        (request("POST", "/v1/core/sessions"), False),
    ],
)
def test_only_safe_requests_are_retried_once_sent(asked: httpx.Request, repeatable: bool) -> None:
    policy = RetryPolicy()
    lost = httpx.ReadError("cut")
    assert (policy.after_failure(asked, lost, 1, 0, highest) is not None) is repeatable
    unavailable = httpx.Response(503)
    assert (policy.after_response(asked, unavailable, 1, highest) is not None) is repeatable
    # Requests that were not sent, or were rate-limited, had no effect.
    assert policy.after_failure(asked, httpx.ConnectError("no"), 1, 0, highest) is not None
    assert policy.after_response(asked, httpx.Response(429), 1, highest) is not None


def test_pauses_double_up_to_a_limit() -> None:
    policy = RetryPolicy(attempts=6, first_wait_seconds=1, max_wait_seconds=5)
    lost = httpx.ReadError("cut")
    waits = [policy.after_failure(request(), lost, n, 0, highest) for n in range(1, 7)]
    assert waits == [1, 2, 4, 5, 5, None]
    assert policy.backoff(10_000, highest) == 5


def test_retry_after_is_honored_up_to_a_limit() -> None:
    policy = RetryPolicy(max_retry_after_seconds=60)

    def wait(seconds: str) -> float | None:
        limited = httpx.Response(429, headers={"retry-after": seconds})
        return policy.after_response(request(), limited, 1, lambda low, _: low)

    assert (wait("7"), wait("60"), wait("61")) == (7, 60, None)
    assert wait("Wed, 21 Oct 2026 07:28:00 GMT") == 0
    limited = errors.from_response(httpx.Response(429, headers={"retry-after": "61"}, json={}))
    assert limited.retry_after_seconds == 61


def test_a_request_in_flight_with_the_same_key_is_retried() -> None:
    policy = RetryPolicy()
    running = httpx.Response(409, headers={"retry-after": "1"})
    assert policy.after_response(request("POST"), running, 1, highest) is None
    assert policy.after_response(request("POST", idempotency_key="k"), running, 1, highest)


def test_a_lost_response_is_retried_within_the_window() -> None:
    policy = RetryPolicy(lost_answer_window_seconds=5)
    lost = httpx.ReadTimeout("late")
    assert policy.after_failure(request(), lost, 1, 4, highest) is not None
    assert policy.after_failure(request(), lost, 1, 6, highest) is None


def test_repeatable_posts_exist() -> None:
    paths = json.loads(DOCUMENT.read_text())["paths"]
    for path in ("/v1/media/assets/{id}/complete", "/v1/core/sessions/refresh"):
        assert retry.is_repeatable(request("POST", path))
        assert "post" in paths[path]


@pytest.mark.parametrize(
    ("status", "code", "step"),
    [
        (200, "", Step.DONE),
        (412, "PreconditionFailed", Step.DONE),
        (403, "AccessDenied", Step.NEW_URL),
        (403, "SignatureDoesNotMatch", Step.GIVE_UP),
        (400, "RequestTimeout", Step.AGAIN),
        (400, "BadDigest", Step.GIVE_UP),
        (503, "SlowDown", Step.AGAIN),
    ],
)
def test_steps_after_responses_of_the_store(status: int, code: str, step: Step) -> None:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    assert uploads.after_response(httpx.Response(status, content=body)) is step


def test_steps_after_close_codes() -> None:
    assert subscriptions.after_close(4401) is Next.RENEW
    assert subscriptions.after_close(1006) is Next.AGAIN
    assert subscriptions.after_close(4400) is Next.GIVE_UP
    assert isinstance(subscriptions.refused(4403, "Forbidden"), UnauthenticatedError)


def test_the_messages_of_a_subscription() -> None:
    conversation = Conversation("subscription { a }", None, {"x": 1})
    opening = json.loads(conversation.opening("secret"))
    assert opening["payload"] == {"authorization": "Bearer secret"}
    acknowledged = conversation.receive('{"type": "connection_ack"}')
    assert acknowledged.reply is not None
    assert json.loads(acknowledged.reply)["payload"]["variables"] == {"x": 1}
    following = conversation.receive('{"type": "next", "id": "1", "payload": {"data": {"a": 1}}}')
    assert following.data == {"a": 1}
    assert conversation.receive('{"type": "complete", "id": "1"}').complete
    for wrong in ("", "[]", '{"type": "next"}', '{"type": "what"}'):
        with pytest.raises(UnexpectedResponseError):
            conversation.receive(wrong)
    limited = '{"type": "error", "payload": [{"extensions": {"code": "RATE_LIMITED"}}]}'
    with pytest.raises(RateLimitedError):
        conversation.receive(limited)


def test_a_source_can_be_read_twice_and_in_parts(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with path.open("rb") as file:
        for source in (Source(path), Source(str(path)), Source(content), Source(file)):
            assert source.size_bytes == len(content)
            assert b"".join(source.chunks()) == content
            assert b"".join(source.chunks()) == content
            assert b"".join(source.chunks(300_000, 10)) == content[300_000:300_010]
        assert not file.closed
    assert Source(path).name == "a.bin"
    assert Source(content).name is None


def test_media_types_follow_from_extensions() -> None:
    assert guess_content_type("a.png") == "image/png"
    assert guess_content_type("a.txt.gz") == "application/octet-stream"
    assert guess_content_type("a") == "application/octet-stream"


def test_a_token_file_is_private_and_may_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tokens.json"
    store = FileTokenStore(path)
    assert store.load() is None
    tokens = Tokens("a", "r", "ses_1", 100.0, 10.0)
    store.save(tokens)
    assert store.load() == tokens
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["tokens.json"]
    path.write_text("{")
    assert store.load() is None
    store.save(None)
    assert not path.exists()
    assert "secret" not in repr(Tokens("secret", "secret", "s", 1, 1))


def test_tokens_are_renewed_before_they_expire() -> None:
    long = Tokens("a", "r", "s", expires_at=900, lifetime_seconds=900)
    assert [long.needs_refresh(now) for now in (869, 870)] == [False, True]
    short = Tokens("a", "r", "s", expires_at=10, lifetime_seconds=10)
    assert [short.needs_refresh(now) for now in (7.9, 8)] == [False, True]
