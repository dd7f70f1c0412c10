"""The content of uploads."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 256 * 1024

Uploadable = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, bytes, or a binary file object that can seek."""


class Source:
    """Content that can be read from any offset, and more than once."""

    def __init__(self, content: Uploadable) -> None:
        self._content = content
        with self._opened() as file:
            self.size_bytes = file.seek(0, os.SEEK_END)

    @property
    def name(self) -> str | None:
        """The name of the file, if it has one."""
        if isinstance(self._content, (str, os.PathLike)):
            return Path(self._content).name
        name = getattr(self._content, "name", None)
        return Path(name).name if isinstance(name, str) else None

    def chunks(self, offset: int = 0, length: int | None = None) -> Generator[bytes]:
        """The current bytes of a part, or of all."""
        left = self.size_bytes - offset if length is None else length
        with self._opened() as file:
            file.seek(offset)
            while left > 0:
                chunk = file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    return
                left -= len(chunk)
                yield chunk

    def checksum_sha256(self) -> str:
        """As 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        if isinstance(self._content, (str, os.PathLike)):
            with Path(self._content).open("rb") as file:
                yield file
        elif isinstance(self._content, (bytes, bytearray, memoryview)):
            yield io.BytesIO(self._content)
        elif getattr(self._content, "seekable", lambda: False)():
            # A file of the caller stays open.
            yield self._content
        else:
            raise ValueError("the file must be seekable: a broken upload starts over")


def guess_content_type(file_name: str) -> str:
    """The media type, by the file extension."""
    guess, encoding = mimetypes.guess_type(file_name)
    if guess is None or encoding is not None:
        return "application/octet-stream"
    return guess
