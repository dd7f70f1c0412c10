"""slowhttptest: heads, bodies and readers that are slow, and ranges. The gateway closes their connections within its
time-outs and serves others meanwhile."""

import re
import subprocess
import time

import pytest
from conftest import needs

pytestmark = needs("slowhttptest", "slowhttptest")

# Each continues for as long as it can; the time-outs of the gateway are 2 s.
MODES = {
    "heads": ["-H", "-i", "1", "-x", "24"],
    "bodies": ["-B", "-i", "5", "-s", "8192", "-x", "10"],
    "readers": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"],
    "ranges": ["-R", "-a", "5", "-b", "3000", "-t", "HEAD"],
}
PATHS = {"bodies": "/up", "readers": "/large", "ranges": "/cached/file"}
BOUNDS = ["-c", "100", "-r", "100", "-l", "25", "-p", "5"]


@pytest.mark.parametrize("mode", MODES)
def test_slow(gateway, mode):
    url = gateway.url + PATHS.get(mode, "/")
    command = ["slowhttptest", *MODES[mode], *BOUNDS, "-u", url]
    open_connections = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        # What a reader does not take stays in the kernel's buffers after the gateway has closed the connection, so
        # only the gateway can tell.
        while process.poll() is None:
            open_connections.append(gateway.open_connections())
            time.sleep(0.2)
        output = re.sub(r"\x1b\[[0-9;]*m", "", process.stdout.read())
    available = re.findall(r"service available:\s+(\w+)", output)
    assert available, output
    assert set(available) == {"YES"}, output
    if mode == "readers":
        assert max(open_connections) >= 50, open_connections
        assert open_connections[-1] <= 1, open_connections
    else:
        assert "No open connections left" in output, output
