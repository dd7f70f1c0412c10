"""Uploads and assets on a live stack, with injected faults."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import LogIn
from kinds import Clock, Waits, done, each
from proxy import Answer, Cut, Proxy
from quartet_client import (
    AssetStatus,
    ConflictError,
    ConnectionFailedError,
    InvalidInputError,
    NotFoundError,
    PresignRequest,
    RetryPolicy,
    UploadRefusedError,
    Visibility,
)

# More than one chunk, and no whole number of them.
CONTENT = b"hello quartet\n" * 50_000
PRESIGN = "/v1/media/presign"
STORE = "/incoming/"


async def content_of(quartet: Any, asset_id: str) -> bytes:
    download = await done(quartet.media.download(asset_id))
    return httpx.get(download.url).raise_for_status().content


async def test_paths_bytes_and_files_can_be_uploaded(quartet: Any, tmp_path: Path) -> None:
    path = tmp_path / "hello.txt"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        for content, options in (
            (path, {}),
            (str(path), {"checksum": False}),
            (CONTENT, {"file_name": "bytes.txt"}),
            (io.BytesIO(CONTENT), {"file_name": "memory.txt"}),
            (file, {}),
        ):
            steps: list[tuple[int, int]] = []
            asset = await done(
                quartet.media.upload(
                    content, on_progress=lambda *step, steps=steps: steps.append(step), **options
                )
            )
            assert asset.status == AssetStatus.READY
            assert asset.content_type == "text/plain"
            assert steps[-1] == (len(CONTENT), len(CONTENT))
            assert steps == sorted(steps)
            assert await content_of(quartet, asset.id) == CONTENT
            expected = None if "checksum" in options else hashlib.sha256(CONTENT).hexdigest()
            assert asset.checksum_sha256 == expected
        assert not file.closed


async def test_a_public_asset_has_a_url(quartet: Any) -> None:
    asset = await done(
        quartet.media.upload(b"# open", file_name="a.md", visibility=Visibility.PUBLIC)
    )
    assert httpx.get(asset.url).content == b"# open"


async def test_assets_are_paginated(log_in: LogIn, new_account: tuple[str, str]) -> None:
    quartet = await log_in(new_account)
    made = [(await done(quartet.media.upload(b"x", file_name=f"{n}.txt"))).id for n in range(5)]
    listed = [asset.id async for asset in each(quartet.media.assets(page_size=2))]
    assert listed == made[::-1]
    public = quartet.media.assets(visibility=Visibility.PUBLIC)
    assert [asset async for asset in each(public)] == []
    pending = quartet.media.assets(status=AssetStatus.PENDING)
    assert [asset async for asset in each(pending)] == []


async def test_a_deleted_asset_is_not_found(quartet: Any) -> None:
    asset = await done(quartet.media.upload(b"x", file_name="x.txt"))
    assert await done(quartet.media.asset(asset.id)) == asset
    await done(quartet.media.delete(asset.id))
    for operation in (quartet.media.asset, quartet.media.delete, quartet.media.download):
        with pytest.raises(NotFoundError) as refused:
            await done(operation(asset.id))
        assert refused.value.code == "not_found"


async def test_a_refused_presign_names_its_fields(quartet: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await done(
            quartet.media.upload(b"MZ", file_name="a/b.exe", content_type="application/x-evil")
        )
    pointers = {field.pointer for field in refused.value.errors}
    assert pointers == {"/file_name", "/content_type"}
    assert refused.value.request_id


async def test_a_file_of_another_type_is_refused(quartet: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await done(quartet.media.upload(b"no picture at all", file_name="a.png"))
    assert [field.pointer for field in refused.value.errors] == ["/content_type"]


async def test_unusable_content_is_refused_before_a_request(quartet: Any) -> None:
    with pytest.raises(ValueError, match="file_name"):
        await done(quartet.media.upload(b"x"))

    class Pipe(io.RawIOBase):
        def readable(self) -> bool:
            return True

    with pytest.raises(ValueError, match="seek"):
        await done(quartet.media.upload(Pipe(), file_name="x.txt"))
    with pytest.raises(FileNotFoundError):
        await done(quartet.media.upload("/no/such/file.txt"))


async def test_completing_without_an_upload_is_a_conflict(quartet: Any) -> None:
    presigned = await done(
        quartet.media.presign(
            PresignRequest(
                file_name="x.txt",
                content_type="text/plain",
                size_bytes=1,
                visibility=Visibility.PRIVATE,
            )
        )
    )
    with pytest.raises(ConflictError):
        await done(quartet.media.complete(presigned.asset.id))


@pytest.mark.parametrize(
    "fault",
    [
        Cut.BEFORE,
        Cut.HALF_REQUEST,
        Cut.LOST,
        Cut.DURING,
        Answer(503, body=b"<Error><Code>SlowDown</Code></Error>"),
        Answer(500),
    ],
)
async def test_an_interrupted_upload_is_completed(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy, fault: Any
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    proxy.plan("PUT", STORE, fault)
    steps: list[tuple[int, int]] = []
    asset = await done(
        quartet.media.upload(
            CONTENT, file_name="a.txt", on_progress=lambda *step: steps.append(step)
        )
    )
    assert asset.status == AssetStatus.READY
    assert await content_of(quartet, asset.id) == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert (proxy.count("PUT", STORE), proxy.count("POST", PRESIGN)) == (2, 1)


async def test_the_store_never_sees_the_access_token(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    await done(quartet.media.upload(b"x", file_name="a.txt"))
    [put] = proxy.requests("PUT", STORE)
    assert "authorization" not in put.headers
    assert put.headers["content-length"] == "1"


async def test_an_expired_url_is_replaced(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    expired = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    proxy.plan("PUT", STORE, Answer(403, body=expired))
    asset = await done(quartet.media.upload(CONTENT, file_name="a.txt"))
    assert await content_of(quartet, asset.id) == CONTENT
    first, second = proxy.requests("POST", PRESIGN)
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    puts = proxy.requests("PUT", STORE)
    assert puts[0].path != puts[1].path


async def test_a_url_that_expires_during_an_outage_is_replaced(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    clock = Clock(time.time())
    waits = Waits()
    quartet = await log_in(account, proxy=proxy.url, waits=waits, now=clock)

    def a_quarter_of_an_hour_later() -> None:
        clock.seconds += 900

    waits.meanwhile = a_quarter_of_an_hour_later
    proxy.plan("PUT", STORE, Cut.BEFORE)
    asset = await done(quartet.media.upload(CONTENT, file_name="a.txt"))
    assert asset.status == AssetStatus.READY
    assert proxy.count("POST", PRESIGN) == 2


async def test_an_unreachable_store_is_reported(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy
) -> None:
    quartet = await log_in(account, proxy=proxy.url, retry=RetryPolicy(attempts=3))
    proxy.plan("PUT", STORE, *[Cut.BEFORE] * 3)
    with pytest.raises(ConnectionFailedError):
        await done(quartet.media.upload(CONTENT, file_name="a.txt"))
    assert proxy.count("PUT", STORE) == 3
    proxy.plan("PUT", STORE, Answer(400, body=b"<Error><Code>BadDigest</Code></Error>"))
    with pytest.raises(UploadRefusedError) as refused:
        await done(quartet.media.upload(CONTENT, file_name="a.txt"))
    assert (refused.value.status, refused.value.detail) == (400, "BadDigest")


async def test_a_file_that_shrinks_during_the_upload_is_reported(
    quartet: Any, tmp_path: Path
) -> None:
    path = tmp_path / "shrinking.txt"
    path.write_bytes(CONTENT)

    def shrink(sent: int, _: int) -> None:
        path.write_bytes(CONTENT[:sent])

    with pytest.raises(UploadRefusedError) as refused:
        await done(quartet.media.upload(path, on_progress=shrink))
    assert refused.value.code == "file_changed"


async def test_presign_uses_one_key_for_all_attempts(
    log_in: LogIn, new_account: tuple[str, str], proxy: Proxy
) -> None:
    quartet = await log_in(new_account, proxy=proxy.url)
    proxy.plan("POST", PRESIGN, Cut.LOST, Cut.DURING)
    await done(quartet.media.upload(b"x", file_name="a.txt"))
    keys = {seen.headers["idempotency-key"] for seen in proxy.requests("POST", PRESIGN)}
    assert (proxy.count("POST", PRESIGN), len(keys)) == (3, 1)
    # Only the first attempt took effect.
    assert len([asset async for asset in each(quartet.media.assets())]) == 1


@pytest.mark.parametrize("fault", [Cut.LOST, Cut.DURING, Answer(503, {"retry-after": "1"})])
async def test_complete_is_retried(
    log_in: LogIn, account: tuple[str, str], proxy: Proxy, fault: Any
) -> None:
    quartet = await log_in(account, proxy=proxy.url)
    proxy.plan("POST", "/complete", fault)
    asset = await done(quartet.media.upload(b"x", file_name="a.txt"))
    assert asset.status == AssetStatus.READY
    assert proxy.count("POST", "/complete") == 2
