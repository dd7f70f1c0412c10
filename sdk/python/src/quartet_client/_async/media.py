"""Uploads and assets."""

from __future__ import annotations

from collections.abc import AsyncIterator

from quartet_client._async.account import new_idempotency_key
from quartet_client._async.upload import AsyncUploader, Progress
from quartet_client._calls import acall, checked, expect
from quartet_client._generated.rest import AuthenticatedClient
from quartet_client._generated.rest.api.assets import (
    delete_asset,
    download_asset,
    get_asset,
    list_assets,
)
from quartet_client._generated.rest.api.uploads import complete_upload, presign_upload
from quartet_client._generated.rest.models import (
    Asset,
    AssetPage,
    AssetStatus,
    Download,
    Presigned,
    PresignRequest,
    Visibility,
)
from quartet_client._generated.rest.types import UNSET
from quartet_client.sources import Source, Uploadable, guess_content_type


class AsyncMedia:
    """The attribute ``media`` of ``AsyncQuartet``."""

    def __init__(self, rest: AuthenticatedClient, uploader: AsyncUploader) -> None:
        self._rest = rest
        self._uploader = uploader

    async def upload(
        self,
        content: Uploadable,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        visibility: Visibility = Visibility.PRIVATE,
        checksum: bool = True,
        on_progress: Progress | None = None,
    ) -> Asset:
        """Presigns, sends the file to the object store, completes; returns the ready asset.

        A broken upload is sent again, to a new URL if the old one has expired. The checksum
        requires reading the file once more; the store then refuses any other content.
        """
        source = await self._uploader.runtime.in_thread(Source, content)
        name = file_name or source.name
        if name is None:
            raise ValueError("file_name is required: the content has no name")
        request = PresignRequest(
            file_name=name,
            content_type=content_type or guess_content_type(name),
            size_bytes=source.size_bytes,
            visibility=Visibility(visibility),
        )
        if checksum:
            request.checksum_sha256 = await self._uploader.runtime.in_thread(source.checksum_sha256)
        asset_id = await self._uploader.send(source, lambda: self.presign(request), on_progress)
        return await self.complete(asset_id)

    async def presign(
        self, request: PresignRequest, *, idempotency_key: str | None = None
    ) -> Presigned:
        """Where and how to send a file; ``upload`` includes this."""
        return expect(
            Presigned,
            await acall(
                presign_upload.asyncio,
                client=self._rest,
                body=checked(request),
                idempotency_key=idempotency_key or new_idempotency_key(),
            ),
        )

    async def complete(self, asset_id: str) -> Asset:
        """Verifies the uploaded file; returns the ready asset."""
        return expect(Asset, await acall(complete_upload.asyncio, id=asset_id, client=self._rest))

    async def assets(
        self,
        *,
        status: AssetStatus | None = None,
        visibility: Visibility | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[Asset]:
        """The assets of the caller, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = expect(
                AssetPage,
                await acall(
                    list_assets.asyncio,
                    client=self._rest,
                    limit=page_size,
                    cursor=cursor or UNSET,
                    status=AssetStatus(status) if status else UNSET,
                    visibility=Visibility(visibility) if visibility else UNSET,
                ),
            )
            for asset in page.data:
                yield asset
            cursor = page.next_cursor
            if cursor is None:
                return

    async def asset(self, asset_id: str) -> Asset:
        return expect(Asset, await acall(get_asset.asyncio, id=asset_id, client=self._rest))

    async def download(self, asset_id: str) -> Download:
        """A URL to download the file from; it expires soon if the file is private."""
        return expect(Download, await acall(download_asset.asyncio, id=asset_id, client=self._rest))

    async def delete(self, asset_id: str) -> None:
        await delete_asset.asyncio_detailed(id=asset_id, client=self._rest)
