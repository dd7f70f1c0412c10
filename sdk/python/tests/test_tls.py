"""A TLS proxy in front of a live stack, with a certificate of a custom CA."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import trustme

from conftest import Open
from kinds import done
from proxy import pump
from quartet_client import ConnectionFailedError, MemoryTokenStore, NotFoundError, Tokens
from test_links import first


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def door(url: str, authority: trustme.CA) -> Iterator[str]:
    """Terminates TLS and forwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    target = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            inside = socket.create_connection((target.hostname or "", target.port or 80))
            with inside, context.wrap_socket(connection, server_side=True) as outside:
                back = threading.Thread(target=pump, args=(inside, outside))
                back.start()
                pump(outside, inside)
                back.join()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve_one, args=(connection,)).start()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://localhost:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def test_a_custom_ca_is_trusted(
    open_client: Open, door: str, authority: trustme.CA, tokens: Tokens
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    quartet = open_client(address=door, ssl_context=context, token_store=MemoryTokenStore(tokens))
    await done(quartet.account.get())
    with pytest.raises(NotFoundError):
        await first(quartet.links.clicks("lnk_00000000000000000000000000"))


async def test_a_custom_ca_is_not_trusted_by_default(
    open_client: Open, door: str, tokens: Tokens
) -> None:
    quartet = open_client(address=door, token_store=MemoryTokenStore(tokens))
    with pytest.raises(ConnectionFailedError) as failed:
        await done(quartet.account.get())
    assert "certificate" in str(failed.value).lower()
