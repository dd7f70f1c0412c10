import os
import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

import accounts  # noqa: E402

# Keeps the browser from sending requests of its own.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def url():
    return accounts.URL


@pytest.fixture
def user():
    return accounts.sign_up()


@pytest.fixture(scope="session")
def browser():
    program = os.environ.get("QUARTET_CHROMIUM") or shutil.which("chromium")
    assert program, "Chromium was not found: install it, or set QUARTET_CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()
