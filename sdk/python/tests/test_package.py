"""The published package: its examples, its wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT))
    [wheel] = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation of the wheel, without the source tree."""
    place = tmp_path_factory.mktemp("installed")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target")
    run(*pip, str(place), str(wheel))
    return place


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_run(example: str, url: str, installed: Path, tmp_path: Path) -> None:
    output = run(
        "-W", "error", "-c", example, cwd=tmp_path, QUARTET_URL=url, PYTHONPATH=str(installed)
    )
    assert output


def test_the_wheel_contains_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "quartet_client/py.typed" in names
    assert "quartet_client/_generated/sync/client.py" in names
    tops = {name.split("/")[0] for name in names}
    assert {top.split("-")[0] for top in tops} == {"quartet_client"}


def test_callers_are_type_checked(installed: Path, tmp_path: Path) -> None:
    caller = tmp_path / "caller.py"
    caller.write_text(
        "from quartet_client import CreateLinkInput, Quartet\n"
        "quartet = Quartet('http://quartet.test')\n"
        "title: str | None = quartet.links.create(CreateLinkInput(url='x', max_clicks=1)).title\n"
        "size: str = quartet.media.upload(b'').size_bytes\n"
    )
    output = run(
        *("-m", "mypy", "--strict", "--cache-dir", os.devnull, str(caller)),
        cwd=tmp_path,
        expected=1,
        MYPYPATH=str(installed),
    )
    assert "caller.py:4" in output
    assert "Found 1 error" in output


def run(*arguments: str, cwd: Path | None = None, expected: int = 0, **environment: str) -> str:
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout
