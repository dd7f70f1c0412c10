"""What a generator cannot know: the caller, existing ids, values that are valid only once.

Without this nearly every response would be 401 or 404. Only parts of a request that were
generated to be valid are changed; invalid parts are sent as they are.
"""

import atexit
import random
import uuid

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

import fixtures
import links
from accounts import PASSWORD, UserSlot, new_email
from fixtures import Pool

CALLER = UserSlot()
STRANGER = UserSlot()
# Logs in repeatedly, which ends its oldest sessions.
GUEST = UserSlot()
# These operations end accounts and sessions, so each has users of its own.
DISPOSABLE = {"delete_me": UserSlot(), "update_me": UserSlot(), "delete_session": UserSlot()}

# The objects to which the path parameter of an operation refers.
POOLS = {
    "get_asset": Pool(fixtures.ready_asset),
    "download_asset": Pool(fixtures.ready_asset),
    "delete_asset": Pool(fixtures.pending_asset, consumed=True),
    "complete_upload": Pool(fixtures.uploaded_asset, consumed=True),
    "delete_session": Pool(fixtures.session, consumed=True),
    "follow_link": Pool(fixtures.slug),
    "probe_link": Pool(fixtures.slug),
}
# Short links are public.
PUBLIC = {"follow_link", "probe_link"}
# The share of requests for an object of the caller, and of the stranger.
OWN_SHARE, FOREIGN_SHARE = 0.7, 0.2

# media accepts only configured types; this is one of them.
CONTENT_TYPE = "image/png"

_chance = random.Random(4)
_foreign = set()
# Every access token that was added to a request.
_tokens = set()
# The token of each session that a generated login opened.
_sessions = {}


def operation_id(case):
    raw = case.operation.definition.raw
    return raw.get("operationId", "") if isinstance(raw, dict) else ""


@schemathesis.auth(refresh_interval=None)
class Login:
    def get(self, case, _context):
        return DISPOSABLE.get(operation_id(case), CALLER).user()

    def set(self, case, user, _context):
        _tokens.add(user.access_token)
        case.headers["Authorization"] = f"Bearer {user.access_token}"


@schemathesis.hook
def before_call(context, case, kwargs):
    if links.is_graphql(case):
        links.name_objects(case, CALLER.user())
    if case.meta is None or not operation_id(case):
        return
    if is_good(case, ParameterLocation.PATH):
        name_an_object(case)
    if operation_id(case) == "delete_session":
        end_as_its_owner(case)
    if is_good(case, ParameterLocation.HEADER) and "Idempotency-Key" in case.headers:
        # A key belongs to one request.
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    if is_good(case, ParameterLocation.HEADER) and "If-Match" in case.headers and _chance.random() < 0.5:
        # Matches any current version; otherwise every response would be 412.
        case.headers["If-Match"] = "*"
    if is_good(case, ParameterLocation.QUERY) and "cursor" in (case.query or {}):
        # Cursors are opaque; valid ones come from `next_cursor` in stateful tests.
        del case.query["cursor"]
    if operation_id(case) == "query_graphql" and is_good(case, ParameterLocation.QUERY):
        links.be_a_query(case.query, variables="{}")
    if is_good(case, ParameterLocation.BODY) and isinstance(case.body, dict):
        case.body = usable(operation_id(case), case.body)


def is_good(case, location):
    part = case.meta.components.get(location)
    return part is not None and part.mode.is_positive


def name_an_object(case):
    operation = operation_id(case)
    objects = POOLS.get(operation)
    # In stateful tests the id comes from an earlier response.
    if objects is None or case.meta.phase.name == TestPhase.STATEFUL:
        return
    [parameter] = case.path_parameters
    chance = _chance.random()
    if chance < OWN_SHARE:
        case.path_parameters[parameter] = objects.of(DISPOSABLE.get(operation, CALLER).user())
    elif chance < OWN_SHARE + FOREIGN_SHARE and operation not in PUBLIC:
        foreign = objects.of(STRANGER.user())
        _foreign.add(foreign)
        case.path_parameters[parameter] = foreign


def end_as_its_owner(case):
    """A generated login belongs to another user, and only that user can end the session."""
    token = _sessions.get((case.path_parameters or {}).get("id"))
    sent = case.headers.get("Authorization", "").removeprefix("Bearer ")
    # Requests that deliberately have no valid token are not changed.
    if token is not None and sent in _tokens:
        case.headers["Authorization"] = f"Bearer {token}"


def usable(operation, body):
    """The body with values that meet the rules that a schema cannot express."""
    body = dict(body)
    if operation in ("create_user", "update_me"):
        # An email belongs to one account; guessable passwords are refused.
        if "email" in body:
            body["email"] = new_email()
        if "password" in body:
            body["password"] = f"{PASSWORD} {uuid.uuid4()}"
    confirms = operation == "update_me" and ("email" in body or "password" in body)
    if confirms or operation == "delete_me":
        body["current_password"] = PASSWORD
    if operation == "create_session" and _chance.random() < 0.5:
        body = {"email": GUEST.user().email, "password": PASSWORD}
    if operation == "execute_graphql":
        links.be_a_query(body, variables={})
    if (body.get("display_name") or "x").isspace():
        # Whitespace is not a name.
        body["display_name"] = "Ada"
    if operation == "presign_upload":
        body["content_type"] = CONTENT_TYPE
        if not is_file_name(body["file_name"]):
            body["file_name"] = "a.png"
    return body


def is_file_name(text):
    """What a pattern cannot express: not blank, not a directory, at most 255 bytes."""
    return text.strip() not in ("", ".", "..") and len(text.strip().encode()) <= 255


@schemathesis.hook
def after_call(context, case, response):
    """Replaces disposable users that were used, and remembers the owners of sessions."""
    if operation_id(case) == "create_session" and response.status_code == 201:
        tokens = response.json()
        _sessions[tokens["session_id"]] = tokens["access_token"]
    slot = DISPOSABLE.get(operation_id(case))
    if slot is not None and (response.status_code < 300 or response.status_code == 401):
        slot.discard(slot.user())


class ForeignObject(Failure):
    """An object of another user was shown or changed."""


@schemathesis.check
def foreign_objects_are_hidden(ctx, response, case):
    values = set((case.path_parameters or {}).values())
    if values & _foreign and 200 <= response.status_code < 400:
        raise ForeignObject(
            operation=case.operation.label,
            title="An object of another user",
            message=f"status {response.status_code} for an object of another user",
        )


@schemathesis.hook
def filter_failure(context, failure, case, response):
    return not links.is_refusal(failure, response)


# Responses by operation ---------------------------------------------------------------------------

_statuses = {}


@schemathesis.hook("after_call")
def count(context, case, response):
    statuses = _statuses.setdefault(case.operation.label, {})
    statuses[response.status_code] = statuses.get(response.status_code, 0) + 1


@atexit.register
def print_statuses():
    for label, statuses in sorted(_statuses.items()):
        print(f"{label:45}", "  ".join(f"{status}: {n}" for status, n in sorted(statuses.items())))
