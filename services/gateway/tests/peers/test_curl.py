"""What curl can do: versions of HTTP, uploads, ranges, compression, streams."""

import hashlib
import json
import subprocess

import pytest
from conftest import needs
from upstream import FILE, TEXT

pytestmark = needs("curl", "curl")

# With the version of the response: the highest one that the server knows of the major version (RFC 9110, 2.5).
VERSIONS = {"--http1.0": "1.1", "--http1.1": "1.1", "--http2-prior-knowledge": "2"}
every_version = pytest.mark.parametrize("version", VERSIONS)
PAYLOAD = bytes(range(251)) * 4_000


def curl(*arguments, body=None):
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", *arguments]
    done = subprocess.run(command, input=body, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done


def seen(done):
    return json.loads(done.stdout)


@every_version
def test_get_and_head(gateway, version):
    done = curl(version, "--write-out", "%{stderr}%{http_version} %{http_code}", gateway.url + "/x?y=1")
    assert (seen(done)["method"], seen(done)["path"]) == ("GET", "/x?y=1")
    assert done.stderr.decode() == f"{VERSIONS[version]} 200"
    head = curl(version, "--head", gateway.url + "/file").stdout.decode().lower()
    assert f"content-length: {len(FILE)}" in head


def test_an_offer_of_http2_is_ignored(gateway):
    done = curl("--http2", "--write-out", "%{stderr}%{http_version}", gateway.url + "/")
    assert done.stderr.decode() == "1.1"
    assert "upgrade" not in seen(done)["headers"]


@every_version
def test_a_body_arrives(gateway, version):
    done = curl(version, "--data-binary", "@-", gateway.url + "/", body=PAYLOAD)
    assert seen(done)["digest"] == hashlib.sha256(PAYLOAD).hexdigest()


def test_a_body_that_waits_for_100(gateway):
    expect = ["--header", "expect: 100-continue", "--expect100-timeout", "15"]
    done = curl("--http1.1", "--verbose", *expect, "--data-binary", "@-", gateway.url + "/", body=PAYLOAD)
    assert b"HTTP/1.1 100 Continue" in done.stderr
    assert seen(done)["size"] == len(PAYLOAD)


def test_a_refused_body_is_not_sent(gateway):
    expect = ["--header", "expect: 100-continue", "--expect100-timeout", "15"]
    sizes = "%{stderr}%{http_code} %{size_upload}"
    too_large = PAYLOAD * 3
    done = curl(*expect, "--data-binary", "@-", "--write-out", sizes, gateway.url + "/", body=too_large)
    assert done.stderr.decode() == "413 0"


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_a_body_of_unknown_length(gateway, version):
    done = curl(version, "--upload-file", "-", gateway.url + "/up", body=PAYLOAD)
    assert seen(done)["method"] == "PUT"
    assert seen(done)["digest"] == hashlib.sha256(PAYLOAD).hexdigest()


@every_version
def test_trailers_do_not_harm_the_body(gateway, version):
    assert curl(version, gateway.url + "/trailers").stdout == b"with trailers"


@every_version
@pytest.mark.parametrize("prefix", ["", "/cached"])
def test_ranges(gateway, version, prefix):
    url = f"{gateway.url}{prefix}/file"
    for wanted, part in [("0-9", FILE[:10]), ("1000-", FILE[1000:]), ("-5", FILE[-5:])]:
        done = curl(version, "--range", wanted, "--write-out", "%{stderr}%{http_code}", url)
        assert (done.stdout, done.stderr) == (part, b"206")


@pytest.mark.parametrize("prefix", ["", "/cached"])
def test_a_download_is_resumed(gateway, tmp_path, prefix):
    file = tmp_path / "file"
    file.write_bytes(FILE[:100_000])
    curl("--continue-at", "-", "--output", str(file), f"{gateway.url}{prefix}/file")
    assert file.read_bytes() == FILE


@every_version
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_compression(gateway, version, coding):
    accept = ["--compressed", "--header", f"accept-encoding: {coding}"]
    figures = "%{stderr}%{size_download} %header{content-encoding}"
    done = curl(version, *accept, "--write-out", figures, gateway.url + "/compressed/text")
    assert done.stdout == TEXT
    size, used = done.stderr.decode().split(" ")
    assert (used, int(size) < len(TEXT) / 10) == (coding, True)


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_events_are_not_held_back(gateway, upstream, version):
    command = ["curl", "--silent", "--no-buffer", "--noproxy", "*", version, gateway.url + "/events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for number in range(3):
            assert process.stdout.readline() == b"data: %d\n" % number
            assert process.stdout.readline() == b"\n"
            upstream.send_event()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_connections_are_used_again(gateway):
    urls = [f"{gateway.url}/{number}" for number in range(5)]
    done = curl("--write-out", "%{stderr}%{num_connects}", *urls)
    assert done.stderr.decode() == "10000"


def test_many_at_once(gateway):
    """With HTTP/1.1: this curl fails at it with HTTP/2 and prior knowledge, whatever the server."""
    parallel = ["--parallel", "--parallel-max", "50", "--write-out", "%{http_code}\n"]
    done = curl("--http1.1", *parallel, "--output", "/dev/null", gateway.url + "/file?[1-100]")
    assert done.stdout.decode().split() == ["200"] * 100
