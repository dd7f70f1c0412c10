"""The clients of nghttp2."""

import re
import subprocess

import pytest
from conftest import needs
from upstream import FILE, TEXT

pytestmark = needs("nghttp", "nghttp2-client")

PAYLOAD = b"x" * 300_000


def run(*command):
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--padding=200"],
        ["--continuation"],
        ["--window-bits=10", "--connection-window-bits=10"],
        ["--max-concurrent-streams=1", "--no-dep"],
        ["--header-table-size=0", "--encoder-header-table-size=0"],
        ["--no-push", "--hexdump"],
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_nghttp(gateway, options):
    output = run("nghttp", "--verbose", "--null-out", "--multiply=10", *options, gateway.url + "/text")
    assert len(re.findall(rb":status: 200", output)) == 10, output
    assert b"GOAWAY frame <" in output or b"recv GOAWAY" not in output


def test_nghttp_body(gateway):
    assert run("nghttp", gateway.url + "/file") == FILE


@pytest.mark.parametrize("more", [[], ["--expect-continue"], ["--trailer=x-after: 1"]], ids=str)
def test_nghttp_upload(gateway, tmp_path, more):
    file = tmp_path / "payload"
    file.write_bytes(PAYLOAD)
    output = run("nghttp", f"--data={file}", "--header=:method: POST", *more, gateway.url + "/up")
    assert f'"size": {len(PAYLOAD)}'.encode() in output


@pytest.mark.parametrize("options", [["--max-concurrent-streams=20"], ["--h1"]], ids=["HTTP/2", "HTTP/1.1"])
def test_h2load(gateway, options):
    output = run("h2load", "--requests=2000", "--clients=10", *options, gateway.url + "/cached/text")
    assert b"2000 succeeded, 0 failed, 0 errored" in output, output
    data = re.search(rb"\((\d+)\) data", output)
    assert int(data[1]) == 2000 * len(TEXT)
