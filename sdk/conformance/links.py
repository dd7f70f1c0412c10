"""GraphQL: existing ids and URLs in generated documents, and which errors are allowed."""

import json
import random
import re
from functools import cache

import requests
from schemathesis.graphql.checks import GraphQLServerError

import fixtures
from accounts import TIMEOUT_SECONDS, URL
from fixtures import Pool

LINKS = Pool(fixtures.link)
# Faults of the service: never a response to generated input.
FAULTS = {"INTERNAL", "UNAVAILABLE", "DATABASE_UNAVAILABLE"}
SHARE = 0.6
ARGUMENT = re.compile(r'\b(id|slug|url): "(?:[^"\\]|\\.)*"')

_chance = random.Random(5)


def is_graphql(case):
    return not isinstance(case.operation.definition.raw, dict)


def name_objects(case, user):
    """Inserts existing values: most generated strings are not ids, slugs or URLs."""
    if not isinstance(case.body, str) or _chance.random() > SHARE:
        return
    link = LINKS.of(user)
    deletes = "deleteLink" in case.body
    known = {
        "id": fixtures.link(user)["id"] if deletes else link["id"],
        "slug": f"s-{_chance.getrandbits(40):x}" if "input:" in case.body else link["slug"],
        "url": f"https://example.com/{_chance.getrandbits(40):x}",
    }
    case.body = ARGUMENT.sub(lambda match: f'{match[1]}: "{known[match[1]]}"', case.body)


def be_a_query(parameters, variables):
    """Gives half of the requests a valid document, which a random string hardly ever is."""
    if _chance.random() < 0.5:
        parameters.clear()
        parameters["query"] = "query Slugs { links(first: 3) { nodes { slug } } }"
        parameters["operationName"] = "Slugs"
        parameters["variables"] = variables


@cache
def documented_codes():
    document = requests.get(f"{URL}/openapi.json", timeout=TIMEOUT_SECONDS).json()
    return set(document["paths"]["/v1/links/graphql"]["post"]["x-graphql-error-codes"])


def is_refusal(failure, response):
    """Whether every error is a refusal of the input, with a documented code.

    GraphQL types cannot express all rules (a slug has 3 to 64 characters), so the service may
    refuse documents that match the schema. The check takes every error for a server error.
    """
    if not isinstance(failure, GraphQLServerError):
        return False
    allowed = documented_codes() - FAULTS
    errors = json.loads(response.content)["errors"]
    return all(
        error["extensions"].get("code") in allowed
        and error["extensions"].get("requestId")
        and error["message"]
        for error in errors
    )
