"""How to react to responses of the object store. Pure functions."""

from __future__ import annotations

import enum
import re

import httpx

from quartet_client.errors import UploadRefusedError

_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")


class Step(enum.Enum):
    DONE = enum.auto()
    """The file is stored."""
    AGAIN = enum.auto()
    """Send it again to the same URL."""
    NEW_URL = enum.auto()
    """The signed URL has expired: request another one."""
    GIVE_UP = enum.auto()


def after_response(response: httpx.Response) -> Step:
    if response.is_success or response.status_code == 412:
        # 412: an earlier attempt, whose response was lost, has stored the file. Completion
        # verifies that it is this file.
        return Step.DONE
    if response.status_code == 403 and error_code(response) != "SignatureDoesNotMatch":
        return Step.NEW_URL
    if response.status_code in (408, 409, 429, 500, 502, 503, 504) or _timed_out(response):
        return Step.AGAIN
    return Step.GIVE_UP


def refused(response: httpx.Response) -> UploadRefusedError:
    return UploadRefusedError(
        "upload_refused",
        "The object store refused the file",
        status=response.status_code,
        detail=error_code(response),
        request_id=response.headers.get("x-amz-request-id"),
    )


def file_changed(sent_bytes: int, size_bytes: int) -> UploadRefusedError:
    return UploadRefusedError(
        "file_changed",
        "The file changed while it was sent",
        detail=f"{sent_bytes} of {size_bytes} bytes could be read",
    )


def error_code(response: httpx.Response) -> str | None:
    """The code in the body of an S3 error."""
    found = _CODE.search(response.content)
    return found.group(1).decode("ascii") if found else None


def _timed_out(response: httpx.Response) -> bool:
    return response.status_code == 400 and error_code(response) == "RequestTimeout"
