"""An upstream with HTTP/1.1 that has a page for each thing that a client can do."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = bytes(range(256)) * 1024
LARGE = FILE * 16
TEXT = b"All work and no play makes Jack a dull boy.\n" * 2_000
ETAG = '"file"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The status line and each part of a body must not wait for an acknowledgment.
    disable_nagle_algorithm = True

    def do_GET(self):
        path = self.path.partition("?")[0]
        page = {
            "/text": self.text,
            "/file": self.file,
            "/events": self.events,
            "/trailers": self.trailers,
        }
        if path == "/large":
            return self.reply(200, LARGE, content_type="application/octet-stream")
        return page.get(path, self.echo)()

    def do_POST(self):
        self.echo()

    do_HEAD = do_GET
    do_PUT = do_POST

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def reply(self, status, body, **fields):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def echo(self):
        body = self.body()
        seen = {
            "method": self.command,
            "path": self.path,
            "version": self.request_version,
            "size": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        self.reply(200, json.dumps(seen).encode(), content_type="application/json")

    def text(self):
        self.reply(200, TEXT, content_type="text/plain", etag=ETAG, cache_control="max-age=60")

    def file(self):
        fields = {"content_type": "application/octet-stream", "etag": ETAG, "cache_control": "max-age=60"}
        wanted = self.headers.get("range", "")
        if not wanted.startswith("bytes=") or "," in wanted:
            return self.reply(200, FILE, accept_ranges="bytes", **fields)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not first:
            first, last = len(FILE) - int(last), len(FILE) - 1
        first, last = int(first), int(last or len(FILE) - 1)
        content_range = f"bytes {first}-{last}/{len(FILE)}"
        return self.reply(206, FILE[first : last + 1], content_range=content_range, **fields)

    def chunked(self, content_type, **fields):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def events(self):
        """The second event is sent once the client has asked for it, after the first one."""
        self.chunked("text/event-stream")
        for number in range(3):
            self.chunk(b"data: %d\n\n" % number)
            self.server.events.acquire(timeout=20)
        self.wfile.write(b"0\r\n\r\n")

    def trailers(self):
        self.chunked("text/plain", trailer="x-digest")
        self.chunk(b"with trailers")
        self.wfile.write(b"0\r\nx-digest: 1\r\n\r\n")

    def log_message(self, *_arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_arguments):
        """Clients that leave are what is tested."""


class Upstream:
    def __enter__(self):
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.events = threading.Semaphore(0)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def send_event(self):
        self._server.events.release()

    def __exit__(self, *_error):
        self._server.shutdown()
        self._server.server_close()
