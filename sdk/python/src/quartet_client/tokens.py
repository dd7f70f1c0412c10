"""Tokens of a session, and where they are kept."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

# An access token is renewed when this share of its life is left, or this time if that is less.
_MARGIN_SHARE = 0.2
_MARGIN_SECONDS = 30.0


@dataclass(frozen=True)
class Tokens:
    """What a login gives. ``repr`` shows no secret."""

    access_token: str
    refresh_token: str
    session_id: str
    expires_at: float
    """When the access token ends, in seconds since 1970."""
    lifetime_seconds: float
    """How long the access token was valid when it came."""

    def is_expired(self, now: float) -> bool:
        return now >= self.expires_at

    def needs_refresh(self, now: float) -> bool:
        """True shortly before the end already, so that no request meets it on its way."""
        margin = min(_MARGIN_SECONDS, self.lifetime_seconds * _MARGIN_SHARE)
        return now >= self.expires_at - margin

    def __repr__(self) -> str:
        return f"Tokens(session_id={self.session_id!r}, expires_at={self.expires_at!r})"


class TokenStore(Protocol):
    """Keeps the tokens of one session. Called from several threads, never two at once to save."""

    def load(self) -> Tokens | None: ...

    def save(self, tokens: Tokens | None) -> None: ...


class MemoryTokenStore:
    """Forgets when the process ends."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    def load(self) -> Tokens | None:
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        self._tokens = tokens


class FileTokenStore:
    """A file that only its owner may read. Several processes may share it."""

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
        # mkstemp makes files that only their owner may read; replacing shows no half file.
        handle, draft = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(tokens), file)
            Path(draft).replace(self._path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
