"""Short links and their clicks."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from quartet_client._async.graphql import AsyncGraphQl
from quartet_client._calls import acall, reading
from quartet_client._generated.links.base_model import UNSET
from quartet_client._generated.links.documents import WATCH_CLICKS_GQL
from quartet_client._generated.links.enums import Interval
from quartet_client._generated.links.fragments import ClickEvent, ClickPoint, Link
from quartet_client._generated.links.input_types import (
    CreateLinkInput,
    LinkFilter,
    LinkOrder,
    UpdateLinkInput,
)
from quartet_client._generated.links.operations import AsyncLinksOperations
from quartet_client._generated.links.watch_clicks import WatchClicks


class AsyncLinks:
    """The attribute ``links`` of ``AsyncQuartet``."""

    def __init__(self, graphql: AsyncGraphQl) -> None:
        self.graphql = graphql
        """For custom documents."""
        self._operations = AsyncLinksOperations(graphql)

    async def create(self, link: CreateLinkInput) -> Link:
        return await acall(self._operations.create_link, link)

    async def update(self, link_id: str, change: UpdateLinkInput) -> Link:
        """Absent members keep their value; None clears an optional one."""
        return await acall(self._operations.update_link, link_id, change)

    async def delete(self, link_id: str) -> None:
        """Deletes a link with its clicks. Its slug becomes available."""
        await acall(self._operations.delete_link, link_id)

    async def get(self, link_id: str) -> Link | None:
        """None if the link does not exist or belongs to another user."""
        return await acall(self._operations.get_link, link_id)

    async def by_slug(self, slug: str) -> Link | None:
        """None if the link does not exist or belongs to another user."""
        return await acall(self._operations.get_link_by_slug, slug)

    async def list(
        self,
        *,
        where: LinkFilter | None = None,
        order_by: Sequence[LinkOrder] = (),
        page_size: int = 50,
    ) -> AsyncIterator[Link]:
        """The links of the caller, page by page; by default newest first."""
        cursor: str | None = None
        while True:
            page = await acall(
                self._operations.list_links,
                where=where or UNSET,
                order_by=[*order_by] or UNSET,
                first=page_size,
                after=cursor or UNSET,
            )
            for link in page.nodes:
                yield link
            cursor = page.page_info.end_cursor
            if cursor is None or not page.page_info.has_next_page:
                return

    async def series(
        self,
        link_id: str,
        *,
        by: Interval = Interval.DAY,
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
    ) -> Sequence[ClickPoint] | None:
        """Clicks by hour or day, oldest first; by default of the last 24 hours or 30 days.

        None if the link does not exist.
        """
        link = await acall(
            self._operations.get_click_series,
            link_id,
            by,
            from_=start or UNSET,
            to=end or UNSET,
        )
        return None if link is None else link.clicks.series

    async def clicks(self, link_id: str) -> AsyncGenerator[ClickEvent]:
        """Every click from now on. Ends when the link is deleted.

        To leave the loop early, close the generator, preferably by ``contextlib``'s closing.
        Reconnects when the connection breaks. Clicks in between are missing, but included in
        the totals of the next one.
        """
        variables = {"linkId": link_id}
        # Closing this generator closes those below it, and the socket.
        async with aclosing(self.graphql.watch(WATCH_CLICKS_GQL, variables)) as events:
            async for data in events:
                with reading():
                    event = WatchClicks.model_validate(data).clicks
                yield event
