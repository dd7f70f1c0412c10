"""The transport of the generated operations; copied beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from quartet_client._async.graphql import AsyncGraphQl

from .base_model import UnsetType


class LinksTransport:
    def __init__(self, graphql: AsyncGraphQl) -> None:
        self._graphql = graphql

    async def execute(
        self, query: str, operation_name: str, variables: dict[str, object], **_: Any
    ) -> dict[str, Any]:
        return await self._graphql.run(query, _encode(variables), operation_name)

    def get_data(self, response: dict[str, Any]) -> dict[str, Any]:
        return response

    async def execute_ws(
        self, query: str, operation_name: str, variables: dict[str, object], **_: Any
    ) -> AsyncIterator[dict[str, Any]]:
        async for data in self._graphql.watch(query, _encode(variables), operation_name):
            yield data


def _encode(variables: dict[str, object]) -> dict[str, Any]:
    return {
        name: _jsonable(value)
        for name, value in variables.items()
        if not isinstance(value, UnsetType)
    }


def _jsonable(value: object) -> Any:
    if isinstance(value, BaseModel):
        # What was never set is left out; what was set to None is null.
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return to_jsonable_python(value)
