"""Objects that generated requests can refer to."""

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
    response = user.call("POST", "/v1/links/graphql", json={"query": query})
    assert "errors" not in response, response
    return response["data"]


def _presign(user):
    body = {
        "file_name": "hello.txt",
        "content_type": "text/plain",
        "size_bytes": len(CONTENT),
        "visibility": "private",
    }
    return user.call("POST", "/v1/media/presign", json=body)


class Pool:
    """One object per user; a new one for each request that consumes it."""

    def __init__(self, create, consumed=False):
        self._create = create
        self._consumed = consumed
        self._objects = {}
        self._lock = threading.Lock()

    def of(self, user):
        with self._lock:
            if self._consumed or user not in self._objects:
                self._objects[user] = self._create(user)
            return self._objects[user]
