"""Users and sessions."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from quartet_client._async.keeper import AsyncTokenKeeper
from quartet_client._calls import acall, checked, expect
from quartet_client._generated.rest import AuthenticatedClient
from quartet_client._generated.rest.api.sessions import delete_session, list_sessions
from quartet_client._generated.rest.api.users import create_user, delete_me, get_me, update_me
from quartet_client._generated.rest.models import (
    AccountDeletion,
    Session,
    SessionPage,
    SignUp,
    User,
    UserPatch,
)
from quartet_client._generated.rest.types import UNSET


class AsyncAccount:
    """The attribute ``account`` of ``AsyncQuartet``."""

    def __init__(self, rest: AuthenticatedClient, keeper: AsyncTokenKeeper) -> None:
        self._rest = rest
        self._keeper = keeper

    async def sign_up(
        self,
        email: str,
        password: str,
        display_name: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> User:
        """Creates an account, without logging in."""
        return expect(
            User,
            await acall(
                create_user.asyncio,
                client=self._rest,
                body=SignUp(email=email, password=password, display_name=display_name),
                idempotency_key=idempotency_key or new_idempotency_key(),
            ),
        )

    async def get(self) -> User:
        return expect(User, await acall(get_me.asyncio, client=self._rest))

    async def update(self, patch: UserPatch, *, if_match: str | None = None) -> User:
        """Absent members of the patch keep their value; None clears it."""
        return expect(
            User,
            await acall(
                update_me.asyncio,
                client=self._rest,
                body=checked(patch),
                if_match=if_match or UNSET,
            ),
        )

    async def delete(self, current_password: str, *, if_match: str | None = None) -> None:
        """Deletes the account and its sessions. Requires a recent login."""
        await delete_me.asyncio_detailed(
            client=self._rest,
            body=AccountDeletion(current_password=current_password),
            if_match=if_match or UNSET,
        )
        await self._keeper.replace(None)

    async def sessions(self, *, page_size: int = 100) -> AsyncIterator[Session]:
        """The sessions of the caller, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = expect(
                SessionPage,
                await acall(
                    list_sessions.asyncio,
                    client=self._rest,
                    limit=page_size,
                    cursor=cursor or UNSET,
                ),
            )
            for session in page.data:
                yield session
            cursor = page.next_cursor
            if cursor is None:
                return

    async def end_session(self, session_id: str) -> None:
        """Ends another session; use ``logout`` for this one."""
        await delete_session.asyncio_detailed(id=session_id, client=self._rest)


def new_idempotency_key() -> str:
    """A key that makes a POST safe to retry."""
    return uuid.uuid4().hex
