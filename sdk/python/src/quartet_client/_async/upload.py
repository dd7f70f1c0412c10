"""Sends a file to the object store, with retries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import httpx

from quartet_client import errors, uploads
from quartet_client._generated.rest.models import Presigned, SignedUpload
from quartet_client._runtime import AsyncOperation, AsyncRuntime
from quartet_client.retry import RetryPolicy
from quartet_client.sources import Source
from quartet_client.uploads import Step

Progress = Callable[[int, int], object]
"""Called with the sent and the total number of bytes. A new attempt starts at 0."""

# A URL that expires sooner is not used for another attempt.
_MIN_SECONDS_LEFT = 5.0


class AsyncUploader:
    """Sends each file by one PUT."""

    def __init__(
        self, store: httpx.AsyncClient, policy: RetryPolicy, runtime: AsyncRuntime
    ) -> None:
        # Not the client of the services: the store must never see the access token.
        self._store = store
        self._policy = policy
        self.runtime = runtime

    async def send(
        self,
        source: Source,
        presign: AsyncOperation[[], Presigned],
        on_progress: Progress | None,
    ) -> str:
        """Returns the id of the asset once its file is stored."""
        presigned = await presign()
        attempt = 0
        while True:
            attempt += 1
            failure: errors.QuartetError
            try:
                response = await self._put(presigned.upload, source, on_progress)
            except httpx.TransportError as error:
                failure, step = errors.from_failure(error), Step.AGAIN
            else:
                failure, step = uploads.refused(response), uploads.after_response(response)
            if step is Step.DONE:
                return presigned.asset.id
            if step is Step.GIVE_UP or attempt >= self._policy.attempts:
                raise failure
            await self.runtime.sleep(self._policy.backoff(attempt, self.runtime.jitter))
            if step is Step.NEW_URL or self._expires_soon(presigned.upload):
                presigned = await presign()

    async def _put(
        self, upload: SignedUpload, source: Source, on_progress: Progress | None
    ) -> httpx.Response:
        headers = httpx.Headers(upload.headers.to_dict())
        headers["content-length"] = str(source.size_bytes)
        async with aclosing(self._body(source, on_progress)) as body:
            return await self._store.request(
                upload.method, upload.url, headers=headers, content=body
            )

    async def _body(self, source: Source, on_progress: Progress | None) -> AsyncGenerator[bytes]:
        sent = 0
        chunks = source.chunks()
        try:
            while chunk := await self.runtime.in_thread(next, chunks, b""):
                yield chunk
                sent += len(chunk)
                if on_progress is not None:
                    on_progress(sent, source.size_bytes)
        finally:
            chunks.close()
        if sent != source.size_bytes:
            raise uploads.file_changed(sent, source.size_bytes)

    def _expires_soon(self, upload: SignedUpload) -> bool:
        return upload.expires_at.timestamp() - self.runtime.now() < _MIN_SECONDS_LEFT
