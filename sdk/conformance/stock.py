"""Objects of a user that the generated requests can name."""

import threading

import requests

from accounts import TIMEOUT_SECONDS, log_in

CONTENT = b"hello"


def pending_asset(user):
    return _presign(user)["asset"]["id"]


def uploaded_asset(user):
    presigned = _presign(user)
    upload = presigned["upload"]
    sent = requests.request(
        upload["method"],
        upload["url"],
        data=CONTENT,
        headers=upload["headers"],
        timeout=TIMEOUT_SECONDS,
    )
    sent.raise_for_status()
    return presigned["asset"]["id"]


def ready_asset(user):
    asset = uploaded_asset(user)
    user.call("POST", f"/v1/media/assets/{asset}/complete")
    return asset


def session(user):
    return log_in(user.email)["session_id"]


def link(user):
    return graphql(user, 'mutation { createLink(input: {url: "https://example.com/"}) { id slug } }')[
        "createLink"
    ]


def slug(user):
    return link(user)["slug"]


def graphql(user, query):
    answer = user.call("POST", "/v1/links/graphql", json={"query": query})
    assert "errors" not in answer, answer
    return answer["data"]


def _presign(user):
    body = {
        "file_name": "hello.txt",
        "content_type": "text/plain",
        "size_bytes": len(CONTENT),
        "visibility": "private",
    }
    return user.call("POST", "/v1/media/presign", json=body)


class Stock:
    """One object per user; a new one for each request where requests use it up."""

    def __init__(self, make, used_up=False):
        self._make = make
        self._used_up = used_up
        self._kept = {}
        self._lock = threading.Lock()

    def of(self, user):
        with self._lock:
            if self._used_up or user not in self._kept:
                self._kept[user] = self._make(user)
            return self._kept[user]
