"""A gateway of its own and an upstream, for each module of tests. $PROGRAMS has the gateway's binary."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from upstream import Upstream

DEADLINE_SECONDS = 20

SETTINGS = """
shipped_routes = false
[server]
listen = [{{ address = "127.0.0.1:{port}", http2 = true }}]
admin_listen = "127.0.0.1:{admin}"
direct_path = {direct}
header_timeout_seconds = 2
write_timeout_seconds = 2
keepalive_timeout_seconds = 10
max_connections_per_client = 1000
[telemetry]
log = "off"
[upstreams.origin]
addresses = ["127.0.0.1:{origin}"]
retries = 0
[defaults]
body_timeout_seconds = 2
body_limit_bytes = 2000000
[caches.files]
[routes.all]
paths = ["/*"]
upstream = "origin"
auth = "public"
[routes.cached]
paths = ["/cached/*"]
upstream = "origin"
auth = "public"
cache = "files"
rewrite = "/*"
[routes.compressed]
paths = ["/compressed/*"]
upstream = "origin"
auth = "public"
compress = true
rewrite = "/*"
"""


def needs(program, package):
    """Marks tests that are skipped, and said to be, where a program is not installed."""
    reason = f"{program} is not installed (Debian: apt-get install {package})"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Gateway:
    def __init__(self, port, admin):
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.admin = f"http://127.0.0.1:{admin}"

    def open_connections(self):
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=DEADLINE_SECONDS) as response:
            found = re.search(rb"^gateway_connections\{.*\} (\d+)$", response.read(), re.MULTILINE)
        return int(found[1])


def wait_for(port, process):
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the gateway does not listen")


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


TLS_SETTINGS = """
[[server.listen]]
address = "127.0.0.1:{tls}"
tls = true
[tls]
min_version = "{version}"
[certificates.localhost]
certificate_path = "{directory}/localhost.pem"
key_path = "{directory}/localhost.key"
"""


def make_certificate(directory):
    """For localhost, by an authority of its own."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    extensions = ["subjectAltName=DNS:localhost", "extendedKeyUsage=serverAuth", "authorityKeyIdentifier=keyid"]
    (directory / "names").write_text("\n".join(extensions))
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    for command in [
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2", *usage],
        ["req", *key, "-keyout", "localhost.key", "-out", "request", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        + ["-days", "90", "-extfile", "names", "-out", "localhost.pem"],
    ]:
        subprocess.run(["openssl", *command], cwd=directory, check=True, capture_output=True)


class TlsGateway:
    """Listens on localhost: both versions at one port, 1.3 alone at the other one."""

    def __init__(self, ports, authority):
        self.tls_port, self.modern_port = ports
        self.authority = authority


@pytest.fixture(scope="module")
def tls_gateway(upstream, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    make_certificate(directory)
    program = Path(os.environ["PROGRAMS"]) / "quartet-gateway"
    environment = {"PATH": os.environ["PATH"]}
    ports, processes = [], []
    try:
        for version in ["1.2", "1.3"]:
            port, tls = free_port(), free_port()
            settings = SETTINGS.format(port=port, admin=free_port(), origin=upstream.port, direct="true")
            # A table of listeners cannot follow a list of them.
            settings = settings.replace("listen = [", "# listen = [")
            settings += TLS_SETTINGS.format(tls=tls, version=version, directory=directory)
            file = directory / f"gateway-{version}.toml"
            file.write_text(settings)
            process = subprocess.Popen([program, "serve", "--config", file], env=environment)
            processes.append(process)
            wait_for(tls, process)
            ports.append(tls)
        yield TlsGateway(ports, directory / "ca.pem")
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=40)


@pytest.fixture(scope="module", params=["direct", "general"])
def gateway(request, upstream, tmp_path_factory):
    port, admin = free_port(), free_port()
    settings = SETTINGS.format(
        port=port,
        admin=admin,
        origin=upstream.port,
        direct="true" if request.param == "direct" else "false",
    )
    file = tmp_path_factory.mktemp("gateway") / "gateway.toml"
    file.write_text(settings)
    program = Path(os.environ["PROGRAMS"]) / "quartet-gateway"
    environment = {"PATH": os.environ["PATH"]}
    process = subprocess.Popen([program, "serve", "--config", file], env=environment)
    try:
        wait_for(port, process)
        yield Gateway(port, admin)
    finally:
        process.terminate()
        process.wait(timeout=40)
