"""GraphQL: real ids and addresses in generated documents, and what an error may be."""

import json
import random
import re
from functools import cache

import requests
from schemathesis.graphql.checks import GraphQLServerError

import stock
from accounts import TIMEOUT_SECONDS, URL
from stock import Stock

LINKS = Stock(stock.link)
# The service's own faults: never an answer to generated input.
FAULTS = {"INTERNAL", "UNAVAILABLE", "DATABASE_UNAVAILABLE"}
SHARE = 0.6
ARGUMENT = re.compile(r'\b(id|slug|url): "(?:[^"\\]|\\.)*"')

_chance = random.Random(5)


def is_graphql(case):
    return not isinstance(case.operation.definition.raw, dict)


def name_objects(case, user):
    """Puts in what exists: most generated texts are no id, no slug and no address."""
    if not isinstance(case.body, str) or _chance.random() > SHARE:
        return
    link = LINKS.of(user)
    deletes = "deleteLink" in case.body
    known = {
        "id": stock.link(user)["id"] if deletes else link["id"],
        "slug": f"s-{_chance.getrandbits(40):x}" if "input:" in case.body else link["slug"],
        "url": f"https://example.com/{_chance.getrandbits(40):x}",
    }
    case.body = ARGUMENT.sub(lambda match: f'{match[1]}: "{known[match[1]]}"', case.body)


def be_a_query(parameters, variables):
    """Half of the requests hold a document that can be executed; hardly any text is one."""
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
    """Whether every error says with a documented code that the input was refused.

    The types of GraphQL cannot tell the rules (a slug has 3 to 64 characters), so documents
    that fit the schema are refused rightly; the check counts every error as the service's.
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
