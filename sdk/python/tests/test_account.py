"""Users and sessions on a live stack."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from conftest import PASSWORD, LogIn, Open
from kinds import done, each
from quartet_client import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    QuartetError,
    UnauthenticatedError,
    UserPatch,
)
from quartet_client.rest import operations


async def test_sign_up_change_and_delete_a_user(open_client: Open) -> None:
    client = open_client()
    email = f"{uuid.uuid4().hex}@example.org"
    user = await done(client.account.sign_up(email, PASSWORD, "Ada"))
    assert (user.email, user.display_name) == (email, "Ada")
    await done(client.login(email, PASSWORD))
    assert (await done(client.account.get())).id == user.id
    changed = await done(client.account.update(UserPatch(display_name="Lovelace")))
    assert changed.display_name == "Lovelace"
    # Absent members keep their value, None clears it.
    assert (await done(client.account.update(UserPatch()))).display_name == "Lovelace"
    cleared = await done(client.account.update(UserPatch(display_name=None)))
    assert cleared.display_name is None
    with pytest.raises(ConflictError) as stale:
        await done(client.account.update(UserPatch(display_name="x"), if_match='"old"'))
    assert stale.value.code == "precondition_failed"
    await done(client.account.delete(PASSWORD))
    with pytest.raises(UnauthenticatedError):
        await done(client.login(email, PASSWORD))


async def test_sessions_are_paginated_and_can_be_ended(
    log_in: LogIn, new_account: tuple[str, str]
) -> None:
    clients = [await log_in(new_account) for _ in range(3)]
    sessions = [session async for session in each(clients[0].account.sessions(page_size=1))]
    assert len(sessions) == 3
    assert [session.current for session in sessions].count(True) == 1
    other = next(session for session in sessions if not session.current)
    await done(clients[0].account.end_session(other.id))
    left = [session.id async for session in each(clients[0].account.sessions())]
    assert other.id not in left
    with pytest.raises(NotFoundError):
        await done(clients[0].account.end_session(other.id))


async def test_logout_removes_the_tokens(quartet: Any) -> None:
    await done(quartet.logout())
    with pytest.raises(UnauthenticatedError) as refused:
        await done(quartet.account.get())
    assert refused.value.request_id
    await done(quartet.logout())


async def test_invalid_input_has_fields_and_request_id(open_client: Open) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await done(open_client().account.sign_up("not-an-email", "short"))
    error = refused.value
    assert (error.code, error.status) == ("invalid_body", 422)
    assert {field.pointer for field in error.errors} == {"/email", "/password"}
    assert all(field.code and field.detail for field in error.errors)
    assert error.request_id
    assert error.request_id in str(error)


async def test_a_wrong_password_has_a_code(open_client: Open, account: tuple[str, str]) -> None:
    client = open_client()
    with pytest.raises(UnauthenticatedError) as refused:
        await done(client.login(account[0], PASSWORD + "!"))
    assert refused.value.code == "invalid_credentials"


async def test_a_taken_email_is_a_conflict(open_client: Open, account: tuple[str, str]) -> None:
    with pytest.raises(ConflictError) as refused:
        await done(open_client().account.sign_up(account[0], PASSWORD))
    assert refused.value.code == "email_taken"
    assert refused.value.errors[0].pointer == "/email"


async def test_the_same_idempotency_key_signs_up_once(open_client: Open) -> None:
    client = open_client()
    key = uuid.uuid4().hex
    email = f"{key}@example.org"
    users = [
        await done(client.account.sign_up(email, PASSWORD, idempotency_key=key)) for _ in range(2)
    ]
    assert users[0] == users[1]


async def test_every_operation_has_a_function(quartet: Any, kind: str) -> None:
    call = operations.get_jwks.sync if kind == "sync" else operations.get_jwks.asyncio
    document: Any = await done(call(client=quartet.rest))
    assert document.keys[0].kty == "OKP"


async def test_an_invalid_parameter_is_named(quartet: Any) -> None:
    with pytest.raises(QuartetError) as refused:
        await done(quartet.account.end_session("nonsense"))
    assert refused.value.code == "invalid_parameter"
    assert refused.value.errors[0].parameter == "id"


def test_an_invalid_url_is_refused(kind: str) -> None:
    from quartet_client import AsyncQuartet, Quartet

    with pytest.raises(ValueError, match="http"):
        (Quartet if kind == "sync" else AsyncQuartet)("localhost:8080")
