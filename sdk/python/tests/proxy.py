"""A forward proxy that injects faults."""

from __future__ import annotations

import contextlib
import enum
import http.client
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx


class Cut(enum.Enum):
    BEFORE = enum.auto()
    """The request does not reach the server; the connection closes without a response."""
    LOST = enum.auto()
    """The request takes effect; the connection closes without a response."""
    DURING = enum.auto()
    """The request takes effect; half of the response arrives."""
    HALF_REQUEST = enum.auto()
    """The connection closes after half of the request body."""


@dataclass(frozen=True)
class Answer:
    """A response of the proxy itself."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Fault = Cut | Answer


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: httpx.Headers


class Proxy:
    """Each fault applies to one matching request, in order."""

    def __init__(self, port: int = 0) -> None:
        self.seen: list[Seen] = []
        self.tunnel_to: int | None = None
        """Where every WebSocket goes, whatever it asks for: a port of this machine."""
        self._faults: list[tuple[str, str, Fault]] = []
        self._tunnels: list[socket.socket] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def plan(self, method: str, path: str, *faults: Fault) -> None:
        """`path` is the beginning of the path, or what the whole address ends in."""
        with self._lock:
            self._faults += [(method, path, fault) for fault in faults]

    def count(self, method: str, path: str) -> int:
        return sum(1 for seen in self.requests(method, path))

    def requests(self, method: str, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and path in seen.path]

    def cut_tunnels(self) -> int:
        """Breaks every WebSocket; returns their number."""
        with self._lock:
            tunnels, self._tunnels = self._tunnels, []
        for tunnel in tunnels:
            with contextlib.suppress(OSError):
                tunnel.shutdown(socket.SHUT_RDWR)
        return len(tunnels)

    def close(self) -> None:
        self._server.shutdown()
        self.cut_tunnels()
        self._server.server_close()
        self._thread.join()

    def note(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            for planned in self._faults:
                method, path, fault = planned
                if method == seen.method and path in seen.path:
                    self._faults.remove(planned)
                    return fault
        return None

    def keep(self, tunnel: socket.socket) -> None:
        with self._lock:
            self._tunnels.append(tunnel)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def handle_one_request(self) -> None:
        # A client that hangs up is what this is for.
        with contextlib.suppress(OSError):
            super().handle_one_request()

    def _relay(self) -> None:
        target = urlsplit(self.path)
        fault = self.proxy.note(
            Seen(self.command, target.path, httpx.Headers(self.headers.items()))
        )
        length = int(self.headers.get("content-length") or 0)
        if fault is Cut.HALF_REQUEST:
            self.rfile.read(length // 2)
            return self._hang_up()
        body = self.rfile.read(length)
        if fault is Cut.BEFORE:
            return self._hang_up()
        if isinstance(fault, Answer):
            return self._answer(fault.status, fault.headers, fault.body)
        upstream = http.client.HTTPConnection(target.hostname or "", target.port or 80)
        path = target.path + (f"?{target.query}" if target.query else "")
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy")}
        upstream.request(self.command, path, body, headers | {"connection": "close"})
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        if fault is Cut.LOST:
            return self._hang_up()
        half = fault is Cut.DURING
        return self._answer(response.status, dict(response.getheaders()), content, half=half)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _relay

    def do_CONNECT(self) -> None:
        fault = self.proxy.note(Seen("CONNECT", self.path, httpx.Headers()))
        if fault is not None:
            return self._hang_up()
        host, port = self.path.rsplit(":", 1)
        if self.proxy.tunnel_to is not None:
            host, port = "127.0.0.1", str(self.proxy.tunnel_to)
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            self.proxy.keep(self.connection)
            there = threading.Thread(target=pump, args=(self.connection, upstream))
            there.start()
            pump(upstream, self.connection)
            there.join()
        return self._hang_up()

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes, *, half: bool = False
    ) -> None:
        left_out = {"connection", "transfer-encoding", "content-length", "server", "date"}
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in left_out:
                self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        if half and not body:
            self.flush_headers()
            return self._hang_up()
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        return self._hang_up() if half else None

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        pass


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
