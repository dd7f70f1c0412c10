"""Links and their clicks on a live stack."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from typing import Any

import httpx
import pytest

from conftest import LogIn
from kinds import done, each
from quartet_client import (
    ConflictError,
    CreateLinkInput,
    InvalidInputError,
    Link,
    LinkFilter,
    LinkOrder,
    LinkOrderField,
    LinkStatus,
    NotFoundError,
    OrderDirection,
    StringComparison,
    UpdateLinkInput,
)

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
TARGET = "https://example.com/somewhere"


async def test_create_change_find_and_delete_a_link(quartet: Any) -> None:
    slug = uuid.uuid4().hex
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    link = await done(
        quartet.links.create(
            CreateLinkInput(url=TARGET, slug=slug, title="There", expires_at=later)
        )
    )
    assert (link.slug, link.url, link.title) == (slug, TARGET, "There")
    assert link.expires_at == later
    assert link.status == LinkStatus.ACTIVE
    assert (link.clicks.total, link.clicks.last_at) == (0, None)
    # Absent members keep their value, None clears it.
    changed = await done(quartet.links.update(link.id, UpdateLinkInput(title=None)))
    assert (changed.title, changed.expires_at, changed.url) == (None, later, TARGET)
    assert await done(quartet.links.get(link.id)) == changed
    assert await done(quartet.links.by_slug(slug)) == changed
    await done(quartet.links.delete(link.id))
    assert await done(quartet.links.get(link.id)) is None
    with pytest.raises(NotFoundError):
        await done(quartet.links.delete(link.id))


async def test_links_are_paginated(log_in: LogIn, new_account: tuple[str, str]) -> None:
    quartet = await log_in(new_account)
    prefix = uuid.uuid4().hex[:12]
    for n in range(5):
        await done(quartet.links.create(CreateLinkInput(url=TARGET, slug=f"{prefix}-{n}")))
    newest_first = [link.slug async for link in each(quartet.links.list(page_size=2))]
    assert newest_first == [f"{prefix}-{n}" for n in (4, 3, 2, 1, 0)]
    some = quartet.links.list(
        where=LinkFilter(slug=StringComparison(gte=f"{prefix}-2")),
        order_by=[LinkOrder(field=LinkOrderField.SLUG, direction=OrderDirection.ASC)],
        page_size=1,
    )
    assert [link.slug async for link in each(some)] == [f"{prefix}-{n}" for n in (2, 3, 4)]


async def test_invalid_input_has_field_and_request_id(quartet: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await done(quartet.links.create(CreateLinkInput(url="ftp://example.com", slug="a")))
    error = refused.value
    assert error.code == "invalid_input"
    assert {field.pointer for field in error.errors} == {"/input/url", "/input/slug"}
    assert error.request_id


async def test_a_taken_slug_is_a_conflict(quartet: Any) -> None:
    link = await done(quartet.links.create(CreateLinkInput(url=TARGET)))
    with pytest.raises(ConflictError) as refused:
        await done(quartet.links.create(CreateLinkInput(url=TARGET, slug=link.slug)))
    assert refused.value.errors[0].pointer == "/input/slug"


async def test_custom_documents(quartet: Any) -> None:
    data = await done(quartet.links.graphql.run("{ links(first: 1) { totalCount } }"))
    assert data["links"]["totalCount"] >= 0
    with pytest.raises(InvalidInputError) as refused:
        await done(quartet.links.graphql.run("{ nonsense }"))
    assert refused.value.code == "graphql_validation_failed"


async def test_clicks_are_counted_and_reported_live(quartet: Any) -> None:
    link = await done(quartet.links.create(CreateLinkInput(url=TARGET)))
    clicking = asyncio.create_task(click_repeatedly(link))
    try:
        event = await first(quartet.links.clicks(link.id))
    finally:
        clicking.cancel()
    assert event.bot is False
    assert event.totals.people >= 1
    series = await done(quartet.links.series(link.id))
    assert sum(point.people for point in series) >= 1
    assert await done(quartet.links.series("lnk_00000000000000000000000000")) is None


async def test_a_subscription_to_an_unknown_link_is_refused(quartet: Any) -> None:
    with pytest.raises(NotFoundError) as refused:
        await first(quartet.links.clicks("lnk_00000000000000000000000000"))
    assert refused.value.code == "not_found"
    with pytest.raises(InvalidInputError) as wrong:
        await first(quartet.links.clicks("nonsense"))
    assert wrong.value.errors[0].pointer == "/linkId"


async def test_a_subscription_ends_with_its_link(quartet: Any) -> None:
    link = await done(quartet.links.create(CreateLinkInput(url=TARGET)))
    clicking = asyncio.create_task(click_repeatedly(link))
    seen = 0
    async for _ in in_background(quartet.links.clicks(link.id)):
        if seen == 0:
            clicking.cancel()
            await done(quartet.links.delete(link.id))
        seen += 1
    assert seen >= 1


async def click_repeatedly(link: Link) -> None:
    """The start of a subscription cannot be observed, so click until one is reported."""
    async with httpx.AsyncClient(headers={"user-agent": BROWSER}) as browser:
        while True:
            await browser.get(link.short_url)


async def in_background(items: Any) -> Any:
    """The synchronous iterator waits in a thread, so that the loop is not blocked."""
    if hasattr(items, "__anext__"):
        async for item in items:
            yield item
        return
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield item


async def first(items: Any) -> Any:
    try:
        async for item in in_background(items):
            return item
    finally:
        await close_events(items)
    raise AssertionError("the subscription ended without an event")


async def close_events(items: Any) -> None:
    if hasattr(items, "aclose"):
        await items.aclose()
    else:
        items.close()
