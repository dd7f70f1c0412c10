"""The tokens of a session, and their storage."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

# An access token is renewed when this share of its lifetime is left, or this time if less.
_MARGIN_SHARE = 0.2
_MARGIN_SECONDS = 30.0


@dataclass(frozen=True)
class Tokens:
    """The tokens of a login. ``repr`` hides the secrets."""

    access_token: str
    refresh_token: str
    session_id: str
    expires_at: float
    """When the access token expires, in seconds since 1970."""
    lifetime_seconds: float
    """The total lifetime of the access token."""

    def is_expired(self, now: float) -> bool:
        return now >= self.expires_at

    def needs_refresh(self, now: float) -> bool:
        """True shortly before it expires, so that no request arrives with an expired token."""
        margin = min(_MARGIN_SECONDS, self.lifetime_seconds * _MARGIN_SHARE)
        return now >= self.expires_at - margin

    def __repr__(self) -> str:
        return f"Tokens(session_id={self.session_id!r}, expires_at={self.expires_at!r})"


class TokenStore(Protocol):
    """Stores the tokens of one session. Called from several threads, but saves never overlap."""

    def load(self) -> Tokens | None: ...

    def save(self, tokens: Tokens | None) -> None: ...


class MemoryTokenStore:
    """Stores tokens in memory."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    def load(self) -> Tokens | None:
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        self._tokens = tokens


class FileTokenStore:
    """Stores tokens in a file that only its owner may read. Several processes may share it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> Tokens | None:
        try:
            return Tokens(**json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            # A file that is none of ours counts as no login.
            return None

    def save(self, tokens: Tokens | None) -> None:
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp creates files that only their owner may read; replacing is atomic.
        handle, draft = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(tokens), file)
            Path(draft).replace(self._path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
