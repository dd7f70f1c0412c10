"""The documentation page in a real browser."""

from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import expect

from accounts import PASSWORD, TIMEOUT_SECONDS

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
LIFETIME_SECONDS = 900
# Chromium drops its requests when a network interface of the machine comes or goes.
INTERFACES_CHANGED = "net::ERR_NETWORK_CHANGED"


class Docs:
    """The page, with everything that it asked for and complained about."""

    def __init__(self, browser, url, **settings):
        self.url = url
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.requests, self.complaints, self.failures = [], [], []
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("requestfailed", lambda request: self.failures.append(request.failure))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message):
        # The browser logs refused requests too; those are what some tests want.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def open(self):
        self.page.goto(f"{self.url}/docs")
        expect(self.page.locator(".opblock").first).to_be_visible(timeout=20_000)

    def log_in(self, email, password=PASSWORD):
        """By keyboard only, as somebody without a mouse."""
        self.page.get_by_label("Mail address").focus()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(email)
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(password)
        self.page.keyboard.press("Enter")
        # The answer moves the focus: keys that are pressed before it would go astray.
        expect(self.message).not_to_have_text("Logging in", timeout=20_000)

    def try_out(self, operation, status):
        """Opens an operation, sends it, and waits for this status."""
        block = self.page.locator(f".opblock[id$='-{operation}']")
        if "is-open" not in (block.get_attribute("class") or ""):
            block.locator(".opblock-summary-control").press("Enter")
        execute = block.get_by_role("button", name="Execute")
        answer = block.locator(".live-responses-table tbody .response-col_status")
        execute.press("Enter")
        try:
            expect(answer).to_contain_text(str(status), timeout=20_000)
        except AssertionError:
            if INTERFACES_CHANGED not in self.failures:
                raise
            execute.press("Enter")
            expect(answer).to_contain_text(str(status), timeout=20_000)
        return block

    def sent(self, method, path):
        return [
            request
            for request in self.requests
            if request.method == method and urlsplit(request.url).path == path
        ]

    @property
    def message(self):
        return self.page.get_by_role("status")


@pytest.fixture
def docs(browser, url):
    docs = Docs(browser, url)
    yield docs
    docs.context.close()


def test_a_login_authorises_every_try_and_nothing_comes_from_elsewhere(docs, user):
    docs.open()
    docs.try_out("get_me", 401)
    docs.log_in(user.email)
    expect(docs.page.get_by_text(f"Logged in as {user.email}")).to_be_visible()
    block = docs.try_out("get_me", 200)
    expect(block.locator(".live-responses-table")).to_contain_text(user.email)
    docs.try_out("list_assets", 200)
    [asked] = docs.sent("GET", "/v1/media/assets")
    assert "cursor" not in asked.url, "an optional example was sent unasked"
    hosts = {urlsplit(request.url).netloc for request in docs.requests if "://" in request.url}
    assert hosts == {urlsplit(docs.url).netloc}
    assert docs.complaints == []


def test_every_operation_of_every_service_is_there(docs):
    docs.open()
    document = requests.get(f"{docs.url}/openapi.json", timeout=TIMEOUT_SECONDS).json()
    wanted = {
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method in METHODS
    }
    assert {"create_user", "presign_upload", "follow_link", "get_health"} <= wanted
    blocks = docs.page.locator(".opblock").evaluate_all("all => all.map(one => one.id)")
    shown = {name for name in wanted if any(block.endswith(f"-{name}") for block in blocks)}
    assert shown == wanted
    assert len(blocks) == len(wanted)


def test_the_documents_are_one_click_away(docs):
    docs.open()
    links = docs.page.get_by_role("navigation", name="Documents").get_by_role("link").all()
    assert len(links) == 4
    for link in links:
        answer = requests.get(
            docs.url + link.get_attribute("href"),
            headers={"accept": "text/html, */*"},
            timeout=TIMEOUT_SECONDS,
        )
        assert answer.status_code == 200, link.get_attribute("href")


def test_the_access_token_is_renewed_when_it_ends(docs, user):
    docs.page.clock.install()
    docs.open()
    docs.log_in(user.email)
    docs.try_out("get_me", 200)
    assert not docs.sent("POST", "/v1/core/sessions/refresh")
    first = docs.sent("GET", "/v1/core/users/me")[-1].header_value("authorization")
    docs.page.clock.fast_forward(LIFETIME_SECONDS * 1000)
    with docs.page.expect_request("**/v1/core/users/me") as again:
        docs.try_out("get_me", 200)
    assert len(docs.sent("POST", "/v1/core/sessions/refresh")) == 1
    assert again.value.header_value("authorization") != first


def test_log_out_ends_the_session_and_forgets(docs, user):
    docs.open()
    docs.log_in(user.email)
    docs.try_out("get_me", 200)
    token = docs.sent("GET", "/v1/core/users/me")[-1].header_value("authorization")
    docs.page.get_by_role("button", name="Log out").press("Enter")
    expect(docs.message).to_have_text("Logged out.")
    docs.try_out("get_me", 401)
    assert docs.sent("GET", "/v1/core/users/me")[-1].header_value("authorization") is None
    headers = {"authorization": token}
    answer = requests.get(f"{docs.url}/v1/core/users/me", headers=headers, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 401


def test_nothing_is_kept_outside_the_page(docs, user):
    docs.open()
    docs.log_in(user.email)
    docs.try_out("get_me", 200)
    assert docs.context.storage_state() == {"cookies": [], "origins": []}
    assert docs.page.evaluate("sessionStorage.length") == 0
    assert docs.page.get_by_label("Password").input_value() == ""
    docs.page.reload()
    docs.try_out("get_me", 401)


def test_a_wrong_password_is_told(docs, user):
    docs.open()
    docs.log_in(user.email, "not the right password")
    expect(docs.message).to_contain_text("wrong")
    expect(docs.page.get_by_role("button", name="Log in")).to_be_enabled()
    docs.log_in(user.email)
    expect(docs.page.get_by_text(f"Logged in as {user.email}")).to_be_visible()


def test_a_session_that_ended_elsewhere_is_told(docs, user):
    docs.open()
    docs.log_in(user.email)
    docs.try_out("get_me", 200)
    for session in user.call("GET", "/v1/core/sessions")["data"]:
        if not session["current"]:
            user.call("DELETE", f"/v1/core/sessions/{session['id']}")
    docs.try_out("get_me", 401)
    expect(docs.message).to_contain_text("Your session has ended")
    expect(docs.page.get_by_label("Mail address")).to_be_visible()


def test_a_narrow_window_needs_no_scrolling_sideways(browser, url):
    docs = Docs(browser, url, viewport={"width": 360, "height": 740})
    docs.open()
    docs.page.locator(".opblock-summary-control").first.press("Enter")
    width = docs.page.evaluate("document.documentElement.scrollWidth")
    docs.context.close()
    assert width <= 360
