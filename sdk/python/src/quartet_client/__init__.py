"""Client of Quartet: users, uploads, short links.

    from quartet_client import Quartet

    with Quartet("http://localhost:8080") as quartet:
        quartet.login("ada@example.org", "tangerine-violin-moss")
        asset = quartet.media.upload("holiday.png")

``AsyncQuartet`` is the same for asyncio.
"""

from quartet_client._async.client import DEFAULT_TIMEOUT, AsyncQuartet
from quartet_client._generated.codes import ProblemCode
from quartet_client._generated.links.enums import (
    BotReason,
    Device,
    Interval,
    LinkOrderField,
    LinkStatus,
    NullsOrder,
    OrderDirection,
)
from quartet_client._generated.links.fragments import (
    ClickEvent,
    ClickPoint,
    Clicks,
    ClickTotals,
    Link,
)
from quartet_client._generated.links.input_types import (
    BooleanComparison,
    CreateLinkInput,
    DateTimeComparison,
    IdComparison,
    IntComparison,
    LinkFilter,
    LinkOrder,
    StringComparison,
    UpdateLinkInput,
)
from quartet_client._generated.rest.models import (
    Asset,
    AssetStatus,
    Download,
    Presigned,
    PresignRequest,
    Session,
    SignedUpload,
    User,
    UserPatch,
    Visibility,
)
from quartet_client._generated.sync.client import Quartet
from quartet_client._runtime import AsyncRuntime, Runtime
from quartet_client._version import __version__
from quartet_client.errors import (
    ClientCode,
    ConflictError,
    ConnectionFailedError,
    ErrorCode,
    FieldError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    QuartetError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedResponseError,
    UploadRefusedError,
)
from quartet_client.retry import RetryPolicy
from quartet_client.sources import Uploadable
from quartet_client.tokens import FileTokenStore, MemoryTokenStore, Tokens, TokenStore

__all__ = [
    "DEFAULT_TIMEOUT",
    "Asset",
    "AssetStatus",
    "AsyncQuartet",
    "AsyncRuntime",
    "BooleanComparison",
    "BotReason",
    "ClickEvent",
    "ClickPoint",
    "ClickTotals",
    "Clicks",
    "ClientCode",
    "ConflictError",
    "ConnectionFailedError",
    "CreateLinkInput",
    "DateTimeComparison",
    "Device",
    "Download",
    "ErrorCode",
    "FieldError",
    "FileTokenStore",
    "ForbiddenError",
    "IdComparison",
    "IntComparison",
    "Interval",
    "InvalidInputError",
    "Link",
    "LinkFilter",
    "LinkOrder",
    "LinkOrderField",
    "LinkStatus",
    "MemoryTokenStore",
    "NotFoundError",
    "NullsOrder",
    "OrderDirection",
    "PresignRequest",
    "Presigned",
    "ProblemCode",
    "Quartet",
    "QuartetError",
    "RateLimitedError",
    "RetryPolicy",
    "Runtime",
    "Session",
    "SignedUpload",
    "StringComparison",
    "TokenStore",
    "Tokens",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedResponseError",
    "UpdateLinkInput",
    "UploadRefusedError",
    "Uploadable",
    "User",
    "UserPatch",
    "Visibility",
    "__version__",
]
