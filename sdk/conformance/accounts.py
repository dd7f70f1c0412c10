"""Users of the running stack."""

import itertools
import os
import threading
from dataclasses import dataclass

import requests

URL = os.environ["QUARTET_URL"]
PASSWORD = "tangerine-violin-moss"
TIMEOUT_SECONDS = 30

_numbers = itertools.count(1)


@dataclass(frozen=True)
class User:
    email: str
    access_token: str

    @property
    def headers(self):
        return {"authorization": f"Bearer {self.access_token}"}

    def call(self, method, path, **options):
        """Sends a request that has to succeed; returns its body."""
        response = requests.request(
            method, URL + path, headers=self.headers, timeout=TIMEOUT_SECONDS, **options
        )
        response.raise_for_status()
        return response.json() if response.content else None


def log_in(email, password=PASSWORD):
    body = {"email": email, "password": password}
    response = requests.post(f"{URL}/v1/core/sessions", json=body, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    return response.json()


def new_email():
    return f"user-{os.getpid()}-{next(_numbers)}@example.org"


def sign_up():
    email = new_email()
    body = {"email": email, "password": PASSWORD}
    response = requests.post(f"{URL}/v1/core/users", json=body, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    return User(email, log_in(email)["access_token"])


class UserSlot:
    """Holds a user until it is discarded."""

    def __init__(self):
        self._user = None
        self._lock = threading.Lock()

    def user(self):
        with self._lock:
            if self._user is None:
                self._user = sign_up()
            return self._user

    def discard(self, user):
        with self._lock:
            if self._user is user:
                self._user = None
