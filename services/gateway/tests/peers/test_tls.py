"""testssl.sh and sslyze: which versions, suites and groups the gateway offers, and known attacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import needs

# Certificates of the tests are from an authority of their own, so what is said about those is not looked at.
CHECKS = ["--protocols", "--std", "--fs", "--server-preference", "--vulnerable"]
# What is worth a look but not wrong: the names of the findings, each with its reason.
ACCEPTED = {
    # All suites are good ones: a client takes the one that it computes fastest, as Mozilla's guidelines want.
    "cipher_order",
}


@needs("testssl", "testssl.sh")
def test_testssl(tls_gateway, tmp_path):
    report = tmp_path / "report.json"
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--ip", "one", "--jsonfile", report]
    target = f"localhost:{tls_gateway.tls_port}"
    subprocess.run([*command, *CHECKS, target], stdout=subprocess.DEVNULL, check=False, timeout=900)
    findings = json.loads(report.read_text())
    # Checks of each kind, and the end of the scan.
    assert {"TLS1_3", "PFS", "cipher_order", "RC4", "scanTime"} <= {it["id"] for it in findings}, findings
    severe = {"LOW", "MEDIUM", "HIGH", "CRITICAL"}
    wrong = [it for it in findings if it["severity"] in severe and it["id"] not in ACCEPTED]
    assert wrong == []
    offered = {it["id"]: it["finding"] for it in findings}
    for version in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"]:
        assert offered[version].startswith("not offered"), offered[version]
    for version in ["TLS1_2", "TLS1_3"]:
        assert offered[version].startswith("offered"), offered[version]


@pytest.mark.parametrize("level", ["intermediate", "modern"])
def test_sslyze(tls_gateway, level):
    port = {"intermediate": tls_gateway.tls_port, "modern": tls_gateway.modern_port}[level]
    program = Path(sys.executable).with_name("sslyze")
    trusted = ["--certinfo_ca_file", tls_gateway.authority]
    command = [program, "--mozilla_config", level, *trusted, f"localhost:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
